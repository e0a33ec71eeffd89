package main

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"strings"
	"sync"
	"syscall"

	"golang.org/x/sys/unix"
)

// glusterVolume is a Gluster volume mounted on this machine, by the machine's own systemd and Gluster client.
type glusterVolume struct {
	servers []string
	name    string
	host    string // the machine's root
	where   string // the same path here and on the machine
	options []string
	mutex   sync.Mutex
}

// mount sees to it that the volume is mounted and answers. One whose client has died is mounted anew; pods that used it
// have to be restarted.
func (v *glusterVolume) mount(ctx context.Context) error {
	v.mutex.Lock()
	defer v.mutex.Unlock()
	mounted, err := isMounted(v.where)
	if err != nil {
		return err
	}
	if mounted {
		var found unix.Statfs_t
		err := unix.Statfs(v.where, &found)
		if !errors.Is(err, unix.ENOTCONN) {
			return err
		}
		if err := unix.Unmount(v.where, unix.MNT_DETACH); err != nil {
			return fmt.Errorf("%s: its Gluster client has died, and it cannot be unmounted: %w", v.where, err)
		}
	}
	options := append([]string{"log-level=WARNING"}, v.options...)
	if len(v.servers) > 1 {
		options = append(options, "backup-volfile-servers="+strings.Join(v.servers[1:], ":"))
	}
	command := exec.CommandContext(ctx, "/usr/bin/systemd-mount", "--quiet", "--collect", "--type=glusterfs",
		"--options="+strings.Join(options, ","), fmt.Sprintf("%s:/%s", v.servers[0], v.name), v.where)
	command.Dir, command.SysProcAttr = "/", &syscall.SysProcAttr{Chroot: v.host}
	if output, err := command.CombinedOutput(); err != nil {
		return fmt.Errorf("Gluster volume %s cannot be mounted: %w: %s", v.name, err, strings.TrimSpace(string(output)))
	}
	if mounted, err := isMounted(v.where); err != nil || !mounted {
		return errors.Join(fmt.Errorf("Gluster volume %s is not mounted at %s", v.name, v.where), err)
	}
	return nil
}

// bind makes a directory appear at target too. What is there already stays, unless its Gluster client has died.
func bind(source, target string, readonly bool) error {
	if mounted, err := isMounted(target); err != nil {
		return err
	} else if mounted {
		var found unix.Statfs_t
		if err := unix.Statfs(target, &found); !errors.Is(err, unix.ENOTCONN) {
			return err
		}
		if err := unix.Unmount(target, unix.MNT_DETACH); err != nil {
			return err
		}
	}
	if err := os.MkdirAll(target, 0o750); err != nil {
		return err
	}
	if err := unix.Mount(source, target, "", unix.MS_BIND, ""); err != nil {
		return err
	}
	if readonly {
		if err := unix.Mount("", target, "", unix.MS_BIND|unix.MS_REMOUNT|unix.MS_RDONLY, ""); err != nil {
			return errors.Join(err, unbind(target))
		}
	}
	return nil
}

// unbind may be called for what is not there.
func unbind(target string) error {
	mounted, err := isMounted(target)
	if err != nil {
		return err
	}
	if mounted {
		if err := unix.Unmount(target, 0); errors.Is(err, unix.ENOTCONN) {
			err = unix.Unmount(target, unix.MNT_DETACH)
			if err != nil {
				return err
			}
		} else if err != nil {
			return err
		}
	}
	if err := os.Remove(target); err != nil && !errors.Is(err, os.ErrNotExist) {
		return err
	}
	return nil
}

var unescape = strings.NewReplacer(`\040`, " ", `\011`, "\t", `\012`, "\n", `\134`, `\`)

// isMounted asks the kernel's table (proc_pid_mountinfo(5)), never the file system, which may not answer.
func isMounted(path string) (bool, error) {
	file, err := os.Open("/proc/self/mountinfo")
	if err != nil {
		return false, err
	}
	defer file.Close()
	lines := bufio.NewScanner(file)
	lines.Buffer(nil, 1<<20)
	for lines.Scan() {
		if fields := strings.Fields(lines.Text()); len(fields) > 4 && unescape.Replace(fields[4]) == path {
			return true, nil
		}
	}
	return false, lines.Err()
}
