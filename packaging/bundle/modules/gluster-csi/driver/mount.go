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
	"time"

	"golang.org/x/sys/unix"
)

// glusterVolume is a Gluster volume mounted on this machine, by the machine's own systemd and Gluster client.
type glusterVolume struct {
	servers []string
	name    string
	host    string // the machine's root
	where   string // the same path here and on the machine
	helper  bool   // by a client that may set limits
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
	if err := os.MkdirAll(v.where, 0o700); err != nil {
		return err
	}
	argv := v.mountUnit()
	if v.helper {
		argv = v.helperUnit()
	}
	command := exec.CommandContext(ctx, argv[0], argv[1:]...)
	command.Dir, command.SysProcAttr = "/", &syscall.SysProcAttr{Chroot: v.host}
	if output, err := command.CombinedOutput(); err != nil {
		return fmt.Errorf("Gluster volume %s cannot be mounted: %w: %s", v.name, err, strings.TrimSpace(string(output)))
	}
	for range 50 {
		if mounted, err := isMounted(v.where); mounted || err != nil {
			return err
		}
		time.Sleep(100 * time.Millisecond)
	}
	return fmt.Errorf("Gluster volume %s: is not mounted at %s, see /var/log/glusterfs there", v.name, v.where)
}

// mountUnit has systemd mount the volume.
func (v *glusterVolume) mountUnit() []string {
	options := []string{"log-level=WARNING"}
	if len(v.servers) > 1 {
		options = append(options, "backup-volfile-servers="+strings.Join(v.servers[1:], ":"))
	}
	return []string{
		"/usr/bin/systemd-mount", "--quiet", "--collect", "--type=glusterfs", "--options=" + strings.Join(options, ","),
		fmt.Sprintf("%s:/%s", v.servers[0], v.name), v.where,
	}
}

// helperUnit has systemd run a client of Gluster's own, for which mount(8) has no option.
func (v *glusterVolume) helperUnit() []string {
	argv := []string{
		"/usr/bin/systemd-run", "--quiet", "--collect", "--service-type=forking",
		"--description=Gluster volume " + v.name + ", to set limits",
		"/usr/sbin/glusterfs", helperOption, "--process-name=quota", "--log-level=WARNING", "--volfile-id=" + v.name,
	}
	for _, server := range v.servers {
		argv = append(argv, "--volfile-server="+server)
	}
	return append(argv, v.where)
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
