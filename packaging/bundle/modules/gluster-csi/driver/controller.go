package main

import (
	"context"
	"errors"
	"os"
	"regexp"

	"github.com/container-storage-interface/spec/lib/go/csi"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"
)

const (
	mebibyte    = int64(1) << 20
	defaultSize = 1024 * mebibyte
)

// A volume's name is its id and its directory's name: the provisioner asks for pvc-<uid>.
var validName = regexp.MustCompile(`^[A-Za-z0-9][A-Za-z0-9._-]{0,127}$`)

type controller struct {
	csi.UnimplementedControllerServer
	claims *directories
	busy   *locks
}

func (c *controller) ControllerGetCapabilities(
	context.Context, *csi.ControllerGetCapabilitiesRequest,
) (*csi.ControllerGetCapabilitiesResponse, error) {
	var offered []*csi.ControllerServiceCapability
	for _, kind := range []csi.ControllerServiceCapability_RPC_Type{
		csi.ControllerServiceCapability_RPC_CREATE_DELETE_VOLUME,
		csi.ControllerServiceCapability_RPC_EXPAND_VOLUME,
		csi.ControllerServiceCapability_RPC_SINGLE_NODE_MULTI_WRITER,
	} {
		offered = append(offered, &csi.ControllerServiceCapability{Type: &csi.ControllerServiceCapability_Rpc{
			Rpc: &csi.ControllerServiceCapability_RPC{Type: kind},
		}})
	}
	return &csi.ControllerGetCapabilitiesResponse{Capabilities: offered}, nil
}

func (c *controller) CreateVolume(
	ctx context.Context, request *csi.CreateVolumeRequest,
) (*csi.CreateVolumeResponse, error) {
	name := request.GetName()
	if !validName.MatchString(name) {
		return nil, status.Errorf(codes.InvalidArgument, "name: must be letters, digits, '.', '_' and '-'; got %q", name)
	}
	if err := checkCapabilities(request.GetVolumeCapabilities()); err != nil {
		return nil, err
	}
	if request.GetVolumeContentSource() != nil {
		return nil, status.Error(codes.InvalidArgument,
			"dataSource: must be empty: "+driverName+" makes no volumes from snapshots or from other volumes")
	}
	for key := range request.GetParameters() {
		return nil, status.Errorf(codes.InvalidArgument, "parameters: must be empty; got %s", key)
	}
	size, err := sizeIn(request.GetCapacityRange())
	if err != nil {
		return nil, err
	}
	release, err := c.busy.take(name)
	if err != nil {
		return nil, err
	}
	defer release()
	if err := c.claims.mount(ctx); err != nil {
		return nil, err
	}
	limit, err := c.claims.limit(name)
	switch {
	case err != nil && !errors.Is(err, os.ErrNotExist):
		return nil, status.Errorf(codes.Internal, "%s: %v", name, err)
	case err == nil && limit > 0: // an earlier call made it
		if !fits(limit, request.GetCapacityRange()) {
			return nil, status.Errorf(codes.AlreadyExists, "%s: is there already, with %d bytes", name, limit)
		}
		size = limit
	default:
		if err := c.claims.checkRoom(size); err != nil {
			return nil, err
		}
		if err := c.claims.create(name, size); err != nil {
			return nil, status.Errorf(codes.Internal, "%s: %v", name, err)
		}
	}
	return &csi.CreateVolumeResponse{Volume: &csi.Volume{VolumeId: name, CapacityBytes: size}}, nil
}

// DeleteVolume goes on in the background when the caller is out of patience, who will call again.
func (c *controller) DeleteVolume(
	ctx context.Context, request *csi.DeleteVolumeRequest,
) (*csi.DeleteVolumeResponse, error) {
	name := request.GetVolumeId()
	if name == "" {
		return nil, status.Error(codes.InvalidArgument, "volume_id: must be given")
	}
	if !validName.MatchString(name) { // never ours, so it is not there
		return &csi.DeleteVolumeResponse{}, nil
	}
	release, err := c.busy.take(name)
	if err != nil {
		return nil, err
	}
	if err := c.claims.mount(ctx); err != nil {
		release()
		return nil, err
	}
	done := make(chan error, 1)
	go func() {
		defer release()
		done <- c.claims.remove(name)
	}()
	select {
	case err := <-done:
		if err != nil {
			return nil, status.Errorf(codes.Internal, "%s: %v", name, err)
		}
		return &csi.DeleteVolumeResponse{}, nil
	case <-ctx.Done():
		return nil, status.Errorf(codes.DeadlineExceeded, "%s: is still being removed", name)
	}
}

func (c *controller) ControllerExpandVolume(
	ctx context.Context, request *csi.ControllerExpandVolumeRequest,
) (*csi.ControllerExpandVolumeResponse, error) {
	name := request.GetVolumeId()
	if name == "" || request.GetCapacityRange() == nil {
		return nil, status.Error(codes.InvalidArgument, "volume_id and capacity_range: must be given")
	}
	size, err := sizeIn(request.GetCapacityRange())
	if err != nil {
		return nil, err
	}
	release, err := c.busy.take(name)
	if err != nil {
		return nil, err
	}
	defer release()
	limit, err := c.existing(ctx, name)
	if err != nil {
		return nil, err
	}
	if size > limit { // nothing ever shrinks
		if err := c.claims.checkRoom(size - limit); err != nil {
			return nil, err
		}
		if err := c.claims.setLimit(name, size); err != nil {
			return nil, status.Errorf(codes.Internal, "%s: %v", name, err)
		}
		limit = size
	}
	return &csi.ControllerExpandVolumeResponse{CapacityBytes: limit}, nil
}

func (c *controller) ValidateVolumeCapabilities(
	ctx context.Context, request *csi.ValidateVolumeCapabilitiesRequest,
) (*csi.ValidateVolumeCapabilitiesResponse, error) {
	if request.GetVolumeId() == "" || len(request.GetVolumeCapabilities()) == 0 {
		return nil, status.Error(codes.InvalidArgument, "volume_id and volume_capabilities: must be given")
	}
	if _, err := c.existing(ctx, request.GetVolumeId()); err != nil {
		return nil, err
	}
	if err := checkCapabilities(request.GetVolumeCapabilities()); err != nil {
		return &csi.ValidateVolumeCapabilitiesResponse{Message: status.Convert(err).Message()}, nil
	}
	return &csi.ValidateVolumeCapabilitiesResponse{
		Confirmed: &csi.ValidateVolumeCapabilitiesResponse_Confirmed{
			VolumeContext:      request.GetVolumeContext(),
			VolumeCapabilities: request.GetVolumeCapabilities(),
			Parameters:         request.GetParameters(),
		},
	}, nil
}

// existing is the limit of a volume that must be there.
func (c *controller) existing(ctx context.Context, name string) (int64, error) {
	if !validName.MatchString(name) {
		return 0, status.Errorf(codes.NotFound, "%s: no such volume", name)
	}
	if err := c.claims.mount(ctx); err != nil {
		return 0, err
	}
	limit, err := c.claims.limit(name)
	if errors.Is(err, os.ErrNotExist) {
		return 0, status.Errorf(codes.NotFound, "%s: no such volume", name)
	}
	if err != nil {
		return 0, status.Errorf(codes.Internal, "%s: %v", name, err)
	}
	return limit, nil
}

// sizeIn is the least size in a range, in whole MiB where the range allows.
func sizeIn(wanted *csi.CapacityRange) (int64, error) {
	required, most := wanted.GetRequiredBytes(), wanted.GetLimitBytes()
	if required < 0 || most < 0 || (most > 0 && required > most) {
		return 0, status.Errorf(codes.OutOfRange, "capacity: must be a range; got %d to %d bytes", required, most)
	}
	size := required
	if size == 0 {
		size = defaultSize
	}
	size = (size + mebibyte - 1) / mebibyte * mebibyte
	if most > 0 && size > most {
		size = most
	}
	return size, nil
}

func fits(size int64, wanted *csi.CapacityRange) bool {
	required, most := wanted.GetRequiredBytes(), wanted.GetLimitBytes()
	return size >= required && (most == 0 || size <= most)
}
