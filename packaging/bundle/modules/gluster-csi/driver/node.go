package main

import (
	"context"
	"errors"
	"os"

	"github.com/container-storage-interface/spec/lib/go/csi"
	"golang.org/x/sys/unix"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"
)

type nodeService struct {
	csi.UnimplementedNodeServer
	claims *directories
	name   string
	busy   *locks
}

func (n *nodeService) NodeGetInfo(context.Context, *csi.NodeGetInfoRequest) (*csi.NodeGetInfoResponse, error) {
	return &csi.NodeGetInfoResponse{NodeId: n.name}, nil
}

func (n *nodeService) NodeGetCapabilities(
	context.Context, *csi.NodeGetCapabilitiesRequest,
) (*csi.NodeGetCapabilitiesResponse, error) {
	var offered []*csi.NodeServiceCapability
	for _, kind := range []csi.NodeServiceCapability_RPC_Type{
		csi.NodeServiceCapability_RPC_GET_VOLUME_STATS,
		csi.NodeServiceCapability_RPC_SINGLE_NODE_MULTI_WRITER,
	} {
		offered = append(offered, &csi.NodeServiceCapability{Type: &csi.NodeServiceCapability_Rpc{
			Rpc: &csi.NodeServiceCapability_RPC{Type: kind},
		}})
	}
	return &csi.NodeGetCapabilitiesResponse{Capabilities: offered}, nil
}

func (n *nodeService) NodePublishVolume(
	ctx context.Context, request *csi.NodePublishVolumeRequest,
) (*csi.NodePublishVolumeResponse, error) {
	name, target := request.GetVolumeId(), request.GetTargetPath()
	if name == "" || target == "" || request.GetVolumeCapability() == nil {
		return nil, status.Error(codes.InvalidArgument, "volume_id, target_path and volume_capability: must be given")
	}
	if err := checkCapabilities([]*csi.VolumeCapability{request.GetVolumeCapability()}); err != nil {
		return nil, err
	}
	if !validName.MatchString(name) {
		return nil, status.Errorf(codes.NotFound, "%s: no such volume", name)
	}
	release, err := n.busy.take(target)
	if err != nil {
		return nil, err
	}
	defer release()
	if err := n.claims.mount(ctx); err != nil {
		return nil, err
	}
	source := n.claims.path(name)
	if info, err := os.Stat(source); errors.Is(err, os.ErrNotExist) || (err == nil && !info.IsDir()) {
		return nil, status.Errorf(codes.NotFound, "%s: no such volume", name)
	} else if err != nil {
		return nil, status.Errorf(codes.Unavailable, "%s: %v", name, err)
	}
	if err := bind(source, target, request.GetReadonly()); err != nil {
		return nil, status.Errorf(codes.Internal, "%s: %v", target, err)
	}
	return &csi.NodePublishVolumeResponse{}, nil
}

func (n *nodeService) NodeUnpublishVolume(
	_ context.Context, request *csi.NodeUnpublishVolumeRequest,
) (*csi.NodeUnpublishVolumeResponse, error) {
	target := request.GetTargetPath()
	if request.GetVolumeId() == "" || target == "" {
		return nil, status.Error(codes.InvalidArgument, "volume_id and target_path: must be given")
	}
	release, err := n.busy.take(target)
	if err != nil {
		return nil, err
	}
	defer release()
	if err := unbind(target); err != nil {
		return nil, status.Errorf(codes.Internal, "%s: %v", target, err)
	}
	return &csi.NodeUnpublishVolumeResponse{}, nil
}

func (n *nodeService) NodeGetVolumeStats(
	_ context.Context, request *csi.NodeGetVolumeStatsRequest,
) (*csi.NodeGetVolumeStatsResponse, error) {
	path := request.GetVolumePath()
	if request.GetVolumeId() == "" || path == "" {
		return nil, status.Error(codes.InvalidArgument, "volume_id and volume_path: must be given")
	}
	if mounted, err := isMounted(path); err != nil {
		return nil, status.Errorf(codes.Internal, "%s: %v", path, err)
	} else if !mounted {
		return nil, status.Errorf(codes.NotFound, "%s: no volume there", path)
	}
	var found unix.Statfs_t
	if err := unix.Statfs(path, &found); err != nil {
		return nil, status.Errorf(codes.Internal, "%s: %v", path, err)
	}
	block := int64(found.Bsize)
	return &csi.NodeGetVolumeStatsResponse{Usage: []*csi.VolumeUsage{{
		Unit:      csi.VolumeUsage_BYTES,
		Total:     int64(found.Blocks) * block,
		Available: int64(found.Bavail) * block,
		Used:      int64(found.Blocks-found.Bfree) * block,
	}}}, nil
}
