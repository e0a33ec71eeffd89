package main

import (
	"context"
	"errors"
	"fmt"
	"log"
	"os"
	"path/filepath"
	"strconv"
	"time"

	"golang.org/x/sys/unix"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"
)

// The extended attributes of Gluster's simple quota (features/simple-quota, Gluster 11): a directory that is a namespace
// has a limit in bytes; every brick counts what is written below it and refuses (EDQUOT) what would go beyond.
const (
	namespaceKey = "trusted.glusterfs.namespace"
	limitKey     = "trusted.gfs.squota.limit"
	usageKey     = "glusterfs.quota.total-usage"

	// The client that Gluster's bricks take for the one that looks after accounts: when it asks for a directory's size,
	// they write down what they have counted.
	helperOption = "client-pid=-14"

	accountsEvery = 5 * time.Second
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
	if err := unix.Setxattr(d.path(name), namespaceKey, []byte("true"), 0); err != nil {
		return fmt.Errorf("%s: %w", namespaceKey, err)
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
	if err := unix.Setxattr(d.path(name), limitKey, []byte(strconv.FormatInt(size, 10)), 0); err != nil {
		return fmt.Errorf("%s: %w", limitKey, err)
	}
	return nil
}

// limit is a volume's size in bytes, 0 for one that is not finished; os.ErrNotExist without one.
func (d *directories) limit(name string) (int64, error) {
	var value [32]byte
	length, err := unix.Getxattr(d.path(name), limitKey, value[:])
	if errors.Is(err, unix.ENODATA) {
		return 0, nil
	}
	if err != nil {
		return 0, err
	}
	return strconv.ParseInt(string(value[:length]), 10, 64)
}

// used is what a volume holds, in bytes, by the brick that counts most.
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

// keepAccounts has the bricks write down what they have counted, so that one that loses its power forgets no more than
// a few seconds, and tells each the highest count: one that was away has missed what was written meanwhile.
func (d *directories) keepAccounts(ctx context.Context) {
	for {
		select {
		case <-ctx.Done():
			return
		case <-time.After(accountsEvery):
		}
		if err := d.settle(ctx); err != nil {
			log.Printf("accounts: %v", err)
		}
	}
}

func (d *directories) settle(ctx context.Context) error {
	if err := d.volume.mount(ctx); err != nil {
		return err
	}
	names, err := d.names()
	if err != nil {
		return err
	}
	for _, name := range names {
		if limit, err := d.limit(name); err != nil || limit == 0 {
			continue // being made or removed
		}
		used, err := d.used(name)
		if err == nil {
			err = unix.Setxattr(d.path(name), usageKey, []byte(strconv.FormatInt(used, 10)), 0)
		}
		if err != nil && !errors.Is(err, unix.ENOENT) {
			return fmt.Errorf("%s: %w", name, err)
		}
	}
	return nil
}
