package host

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"syscall"

	"golang.org/x/sys/unix"
)

// detached makes a shim outlive whoever starts it, without a terminal.
func detached() *syscall.SysProcAttr { return &syscall.SysProcAttr{Setsid: true} }

func (p program) fork(files [3]*os.File, dies bool) (int, error) {
	sys := &syscall.SysProcAttr{Setsid: true}
	if dies {
		sys.Pdeathsig = unix.SIGKILL
	}
	if p.chroot {
		// No Groups: supplementary groups are dropped.
		sys.Chroot, sys.Credential = p.rootfs, &syscall.Credential{Uid: p.user.uid, Gid: p.user.gid}
		if p.bind && p.user.uid != 0 {
			sys.AmbientCaps = []uintptr{unix.CAP_NET_BIND_SERVICE}
		}
	}
	attr := &syscall.ProcAttr{
		Dir: p.dir, Env: p.env, Sys: sys,
		Files: []uintptr{files[0].Fd(), files[1].Fd(), files[2].Fd()},
	}
	pid, err := syscall.ForkExec(p.path, p.argv, attr)
	if err != nil {
		return 0, fmt.Errorf("execute %s: %w", p.path, err)
	}
	return pid, nil
}

// keptCapabilities is what a service that runs as root keeps: what a daemon
// needs to serve its own files, open low ports and drop to its workers' user.
// None of them lets it mount, load modules, make devices or trace others.
func keptCapabilities() map[int]bool {
	return map[int]bool{
		unix.CAP_CHOWN: true, unix.CAP_DAC_OVERRIDE: true, unix.CAP_FOWNER: true, unix.CAP_FSETID: true,
		unix.CAP_KILL: true, unix.CAP_SETGID: true, unix.CAP_SETUID: true, unix.CAP_NET_BIND_SERVICE: true,
	}
}

// giveUpPrivileges limits what this thread's children can ever get: nothing
// from set-user-ID programs, and no more than keptCapabilities.
func giveUpPrivileges() error {
	if err := unix.Prctl(unix.PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0); err != nil {
		return fmt.Errorf("set no_new_privs: %w", err)
	}
	if os.Geteuid() != 0 {
		return nil
	}
	keep := keptCapabilities()
	for c := range 64 {
		if keep[c] {
			continue
		}
		err := unix.Prctl(unix.PR_CAPBSET_DROP, uintptr(c), 0, 0, 0)
		if errors.Is(err, unix.EINVAL) {
			return nil // beyond the last one of this kernel
		}
		if err != nil {
			return fmt.Errorf("drop capability %d: %w", c, err)
		}
	}
	return nil
}

// adoptOrphans makes this process the parent of whatever its descendants leave
// behind, so that nothing gets away.
func adoptOrphans() error { return unix.Prctl(unix.PR_SET_CHILD_SUBREAPER, 1, 0, 0, 0) }

// closeInherited closes what the caller of stella left open, but the standard
// files and keep. Go opens everything with close-on-exec: what is without it
// came from outside.
func closeInherited(keep int) error {
	entries, err := os.ReadDir("/proc/self/fd")
	if err != nil {
		return err
	}
	for _, e := range entries {
		var fd int
		if _, err := fmt.Sscan(e.Name(), &fd); err != nil || fd <= 2 {
			continue
		}
		flags, err := unix.FcntlInt(uintptr(fd), unix.F_GETFD, 0)
		if err != nil || flags&unix.FD_CLOEXEC != 0 {
			continue
		}
		if fd == keep {
			unix.CloseOnExec(fd)
			continue
		}
		_ = unix.Close(fd)
	}
	return nil
}

// enterNamespace puts this thread into the mount namespace of a process. The
// thread must be locked and never given back.
func enterNamespace(pid int) error {
	ns, err := os.Open(filepath.Join("/proc", fmt.Sprint(pid), "ns/mnt"))
	if err != nil {
		return err
	}
	defer func() { _ = ns.Close() }()
	// The thread's own root and working directory, apart from the process's:
	// setns(2) refuses otherwise.
	if err := unix.Unshare(unix.CLONE_FS); err != nil {
		return fmt.Errorf("unshare: %w", err)
	}
	if err := unix.Setns(int(ns.Fd()), unix.CLONE_NEWNS); err != nil {
		return fmt.Errorf("enter mount namespace of process %d: %w", pid, err)
	}
	return nil
}
