package main

import (
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"math"
	"os"
	"path/filepath"

	"golang.org/x/sys/unix"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"
)

// The extended attribute that holds a directory's limit, two numbers of 64 bits, the higher byte first: bytes, and the
// percentage of them from which on Gluster warns (-1: its default). It is what `gluster volume quota … limit-usage` writes,
// and bricks let only Gluster's own clients write it, which have a process id below 0.
const (
	limitKey     = "trusted.glusterfs.quota.limit-set"
	limitLength  = 16
	helperOption = "--client-pid=-5"
)

// directories are our volumes: directories below one of the Gluster volume.
type directories struct {
	volume *glusterVolume
	base   string
}

func (d *directories) root() string            { return filepath.Join(d.volume.where, d.base) }
func (d *directories) path(name string) string { return filepath.Join(d.root(), name) }

func (d *directories) mount(ctx context.Context) error {
	if err := d.volume.mount(ctx); err != nil {
		return status.Error(codes.Unavailable, err.Error())
	}
	return nil
}

// create makes a volume. Whoever calls again after a failure finishes it: without a limit, it is not there yet.
func (d *directories) create(name string, size int64) error {
	if err := os.MkdirAll(d.path(name), 0o755); err != nil {
		return err
	}
	// For pods of any user; other volumes are out of their sight.
	if err := os.Chmod(d.path(name), 0o777); err != nil {
		return err
	}
	return d.setLimit(name, size)
}

// remove may be called for what is not there.
func (d *directories) remove(name string) error {
	return os.RemoveAll(d.path(name))
}

func (d *directories) setLimit(name string, size int64) error {
	var value [limitLength]byte
	binary.BigEndian.PutUint64(value[:8], uint64(size))
	binary.BigEndian.PutUint64(value[8:], math.MaxUint64)
	if err := unix.Setxattr(d.path(name), limitKey, value[:], 0); err != nil {
		return fmt.Errorf("%s: %w", limitKey, err)
	}
	return nil
}

// limit is a volume's size in bytes, 0 for one that is not finished; os.ErrNotExist without one.
func (d *directories) limit(name string) (int64, error) {
	var value [limitLength]byte
	length, err := unix.Getxattr(d.path(name), limitKey, value[:])
	if errors.Is(err, unix.ENODATA) {
		return 0, nil
	}
	if err != nil {
		return 0, err
	}
	if length != limitLength {
		return 0, fmt.Errorf("%s: must have %d bytes; got %d", limitKey, limitLength, length)
	}
	return int64(binary.BigEndian.Uint64(value[:8])), nil
}

// used is what a volume holds, in bytes: with a limit, df shows the limit and what is below the directory.
func (d *directories) used(name string) (int64, error) {
	var found unix.Statfs_t
	if err := unix.Statfs(d.path(name), &found); err != nil {
		return 0, err
	}
	return int64(found.Blocks-found.Bfree) * int64(found.Bsize), nil
}

// names are the volumes that are there.
func (d *directories) names() ([]string, error) {
	entries, err := os.ReadDir(d.root())
	if errors.Is(err, os.ErrNotExist) {
		return nil, nil
	}
	var names []string
	for _, entry := range entries {
		if entry.IsDir() && validName.MatchString(entry.Name()) {
			names = append(names, entry.Name())
		}
	}
	return names, err
}

// checkRoom refuses what the Gluster volume could not hold if every volume were filled: a size is a promise.
func (d *directories) checkRoom(more int64) error {
	var found unix.Statfs_t
	if err := unix.Statfs(d.volume.where, &found); err != nil {
		return status.Error(codes.Unavailable, err.Error())
	}
	names, err := d.names()
	if err != nil {
		return status.Error(codes.Unavailable, err.Error())
	}
	free := int64(found.Bavail) * int64(found.Bsize)
	for _, name := range names {
		limit, err := d.limit(name)
		if err != nil {
			continue // just removed
		}
		if used, err := d.used(name); err == nil && used < limit {
			free -= limit - used
		}
	}
	if more > free {
		return status.Errorf(codes.ResourceExhausted,
			"%d MiB: must be at most %d MiB, what Gluster volume %s has left to promise",
			more/mebibyte, max(free, 0)/mebibyte, d.volume.name)
	}
	return nil
}
