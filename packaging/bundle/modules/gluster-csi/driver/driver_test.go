package main

import (
	"context"
	"os"
	"path/filepath"
	"testing"

	"github.com/container-storage-interface/spec/lib/go/csi"
	"golang.org/x/sys/unix"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"
)

// newDriver is a controller and a node on a file system of 64 MiB, in the place of a Gluster volume that is mounted.
// To be run as root, in a mount namespace of its own.
func newDriver(t *testing.T) (*controller, *nodeService) {
	t.Helper()
	where := t.TempDir()
	if err := unix.Mount("tmpfs", where, "tmpfs", 0, "size=64m"); err != nil {
		t.Skipf("a file system cannot be mounted: %v", err)
	}
	t.Cleanup(func() { _ = unix.Unmount(where, unix.MNT_DETACH) })
	claims := &directories{volume: &glusterVolume{name: "shared", where: where}, base: "kubernetes"}
	return &controller{claims: claims, busy: newLocks()}, &nodeService{claims: claims, name: "n", busy: newLocks()}
}

func filesystem() *csi.VolumeCapability {
	return &csi.VolumeCapability{
		AccessType: &csi.VolumeCapability_Mount{Mount: &csi.VolumeCapability_MountVolume{}},
		AccessMode: &csi.VolumeCapability_AccessMode{Mode: csi.VolumeCapability_AccessMode_MULTI_NODE_MULTI_WRITER},
	}
}

func wanted(name string, size int64) *csi.CreateVolumeRequest {
	return &csi.CreateVolumeRequest{
		Name: name, CapacityRange: &csi.CapacityRange{RequiredBytes: size},
		VolumeCapabilities: []*csi.VolumeCapability{filesystem()},
	}
}

func expect(t *testing.T, err error, code codes.Code) {
	t.Helper()
	if status.Code(err) != code {
		t.Fatalf("must be %v; got %v", code, err)
	}
}

func TestAVolumeIsMadeOnceGrowsAndGoes(t *testing.T) {
	c, _ := newDriver(t)
	ctx := context.Background()
	for range 2 { // asked again, it is the same
		made, err := c.CreateVolume(ctx, wanted("pvc-1", 10*mebibyte-1))
		expect(t, err, codes.OK)
		if made.Volume.VolumeId != "pvc-1" || made.Volume.CapacityBytes != 10*mebibyte {
			t.Fatalf("got %v", made.Volume)
		}
	}
	_, err := c.CreateVolume(ctx, wanted("pvc-1", 11*mebibyte))
	expect(t, err, codes.AlreadyExists)
	info, err := os.Stat(c.claims.path("pvc-1"))
	if err != nil || info.Mode().Perm() != 0o777 {
		t.Fatalf("got %v, %v", info, err)
	}
	grow := func(size int64) int64 {
		grown, err := c.ControllerExpandVolume(ctx, &csi.ControllerExpandVolumeRequest{
			VolumeId: "pvc-1", CapacityRange: &csi.CapacityRange{RequiredBytes: size},
		})
		expect(t, err, codes.OK)
		return grown.CapacityBytes
	}
	if grow(20*mebibyte) != 20*mebibyte || grow(5*mebibyte) != 20*mebibyte {
		t.Fatal("must grow, and never shrink")
	}
	if err := os.WriteFile(filepath.Join(c.claims.path("pvc-1"), "file"), nil, 0o600); err != nil {
		t.Fatal(err)
	}
	for range 2 {
		_, err = c.DeleteVolume(ctx, &csi.DeleteVolumeRequest{VolumeId: "pvc-1"})
		expect(t, err, codes.OK)
	}
	if names, err := c.claims.names(); err != nil || len(names) != 0 {
		t.Fatalf("got %v, %v", names, err)
	}
}

func TestWhatIsLeftHalfMadeIsFinished(t *testing.T) {
	c, _ := newDriver(t)
	if err := os.MkdirAll(c.claims.path("pvc-1"), 0o700); err != nil {
		t.Fatal(err)
	}
	made, err := c.CreateVolume(context.Background(), wanted("pvc-1", mebibyte))
	expect(t, err, codes.OK)
	if limit, err := c.claims.limit("pvc-1"); err != nil || limit != made.Volume.CapacityBytes {
		t.Fatalf("got %d, %v", limit, err)
	}
}

func TestSizesArePromises(t *testing.T) {
	c, _ := newDriver(t)
	ctx := context.Background()
	_, err := c.CreateVolume(ctx, wanted("pvc-1", 65*mebibyte))
	expect(t, err, codes.ResourceExhausted)
	_, err = c.CreateVolume(ctx, &csi.CreateVolumeRequest{
		Name: "pvc-1", VolumeCapabilities: []*csi.VolumeCapability{filesystem()},
		CapacityRange: &csi.CapacityRange{RequiredBytes: 2, LimitBytes: 1},
	})
	expect(t, err, codes.OutOfRange)
}

func TestWhatIsNotOfferedIsRefused(t *testing.T) {
	c, _ := newDriver(t)
	block := wanted("pvc-1", mebibyte)
	block.VolumeCapabilities[0].AccessType = &csi.VolumeCapability_Block{}
	copied := wanted("pvc-1", mebibyte)
	copied.VolumeContentSource = &csi.VolumeContentSource{}
	tuned := wanted("pvc-1", mebibyte)
	tuned.Parameters = map[string]string{"replicas": "2"}
	options := wanted("pvc-1", mebibyte)
	options.VolumeCapabilities[0].GetMount().MountFlags = []string{"noexec"}
	for _, request := range []*csi.CreateVolumeRequest{block, copied, tuned, options, wanted("../x", 1), wanted("", 1)} {
		_, err := c.CreateVolume(context.Background(), request)
		expect(t, err, codes.InvalidArgument)
	}
	_, err := c.DeleteVolume(context.Background(), &csi.DeleteVolumeRequest{VolumeId: "../x"})
	expect(t, err, codes.OK)
	_, err = c.CreateSnapshot(context.Background(), &csi.CreateSnapshotRequest{})
	expect(t, err, codes.Unimplemented)
}

func TestAVolumeAppearsInAPodAndGoes(t *testing.T) {
	c, n := newDriver(t)
	ctx := context.Background()
	target := filepath.Join(t.TempDir(), "a pod", "mount")
	if err := os.MkdirAll(filepath.Dir(target), 0o700); err != nil {
		t.Fatal(err)
	}
	publish := func(name string, readonly bool) error {
		_, err := n.NodePublishVolume(ctx, &csi.NodePublishVolumeRequest{
			VolumeId: name, TargetPath: target, VolumeCapability: filesystem(), Readonly: readonly,
		})
		return err
	}
	expect(t, publish("pvc-1", false), codes.NotFound)
	_, err := c.CreateVolume(ctx, wanted("pvc-1", mebibyte))
	expect(t, err, codes.OK)
	for _, readonly := range []bool{false, true} {
		expect(t, publish("pvc-1", readonly), codes.OK)
		expect(t, publish("pvc-1", readonly), codes.OK)
		err := os.WriteFile(filepath.Join(target, "file"), []byte("x"), 0o600)
		if (err != nil) != readonly {
			t.Fatalf("read-only %v: got %v", readonly, err)
		}
		if _, err := os.Stat(filepath.Join(c.claims.path("pvc-1"), "file")); err != nil {
			t.Fatal(err)
		}
		for range 2 {
			_, err := n.NodeUnpublishVolume(ctx, &csi.NodeUnpublishVolumeRequest{VolumeId: "pvc-1", TargetPath: target})
			expect(t, err, codes.OK)
		}
		if _, err := os.Stat(target); !os.IsNotExist(err) {
			t.Fatalf("the target must be gone; got %v", err)
		}
	}
	_, err = n.NodeGetVolumeStats(ctx, &csi.NodeGetVolumeStatsRequest{VolumeId: "pvc-1", VolumePath: target})
	expect(t, err, codes.NotFound)
}

func TestOneCallAtATime(t *testing.T) {
	c, _ := newDriver(t)
	release, err := c.busy.take("pvc-1")
	expect(t, err, codes.OK)
	_, err = c.CreateVolume(context.Background(), wanted("pvc-1", mebibyte))
	expect(t, err, codes.Aborted)
	release()
	_, err = c.CreateVolume(context.Background(), wanted("pvc-1", mebibyte))
	expect(t, err, codes.OK)
}
