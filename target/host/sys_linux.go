package host

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"runtime"
	"strconv"
	"strings"
	"syscall"

	"golang.org/x/sys/unix"

	"github.com/stella-ops/stella"
)

// errNoProcess: there is no process with that pid.
var errNoProcess = unix.ESRCH

const sigKill = int(unix.SIGKILL)

// supported reports whether this machine can be a bare host target.
func supported() error { return nil }

func ownerOf(fi fs.FileInfo) (uid int, ok bool) {
	st, ok := fi.Sys().(*syscall.Stat_t)
	if !ok {
		return 0, false
	}
	return int(st.Uid), true
}

// ownership is "uid:gid" of a file; empty where nobody can tell.
func ownership(fi fs.FileInfo) string {
	st, ok := fi.Sys().(*syscall.Stat_t)
	if !ok {
		return ""
	}
	return fmt.Sprintf("%d:%d", st.Uid, st.Gid)
}

func openPidfd(pid int) (int, error)    { return unix.PidfdOpen(pid, 0) }
func signalPidfd(fd int, sig int) error { return unix.PidfdSendSignal(fd, unix.Signal(sig), nil, 0) }

// statLine is what of a file changes whenever its content or its permissions
// do: nobody can set the change time.
func statLine(fi fs.FileInfo) string {
	st, ok := fi.Sys().(*syscall.Stat_t)
	if !ok {
		return ""
	}
	return fmt.Sprintf("%o %d %d.%d %d.%d %d", st.Mode, st.Size, st.Mtim.Sec, st.Mtim.Nsec, st.Ctim.Sec, st.Ctim.Nsec, st.Ino)
}

// syncAll makes everything on the file system that holds dir durable, in one
// call: an image has tens of thousands of files.
func syncAll(dir string) error {
	d, err := os.Open(dir)
	if err != nil {
		return err
	}
	return errors.Join(unix.Syncfs(int(d.Fd())), d.Close())
}

// canUnshare reports whether this process may make mount namespaces. It tries
// it on a thread that ends afterwards.
func canUnshare() error {
	result := make(chan error)
	go func() {
		runtime.LockOSThread() // never unlocked: the thread has another namespace
		result <- unix.Unshare(unix.CLONE_NEWNS)
	}()
	return <-result
}

// parseSignal reads a signal as Compose and images write it: "SIGTERM", "TERM",
// "15", "SIGRTMIN+3". The empty string is SIGTERM.
func parseSignal(s string) (syscall.Signal, error) {
	if s == "" {
		return unix.SIGTERM, nil
	}
	bad := fmt.Errorf("%w: %q is no signal that stops a process", stella.ErrInvalid, s[:min(len(s), 20)])
	name := strings.TrimPrefix(strings.ToUpper(s), "SIG")
	const rtmin, rtmax, most = 34, 64, 64 // as glibc counts, signal(7)
	for prefix, base := range map[string]int{"RTMIN": rtmin, "RTMAX": rtmax} {
		if rest, ok := strings.CutPrefix(name, prefix); ok {
			n := 0
			if rest != "" {
				var err error
				if n, err = strconv.Atoi(rest); err != nil {
					return 0, bad
				}
			}
			if base+n < rtmin || base+n > rtmax {
				return 0, bad
			}
			return syscall.Signal(base + n), nil
		}
	}
	sig := unix.SignalNum("SIG" + name)
	if n, err := strconv.Atoi(name); err == nil && n > 0 && n <= most {
		sig = unix.Signal(n)
	}
	if sig == 0 || sig == unix.SIGSTOP || sig == unix.SIGCHLD {
		return 0, bad
	}
	return sig, nil
}

// openNoFollow refuses a symbolic link in a file's place.
const openNoFollow = unix.O_NOFOLLOW

// freeBytes is what an ordinary user may still write on the file system of dir.
func freeBytes(dir string) (int64, error) {
	var st unix.Statfs_t
	if err := unix.Statfs(dir, &st); err != nil {
		return 0, err
	}
	return int64(st.Bavail) * int64(st.Bsize), nil //nolint:gosec,unconvert // no disk has that many; not 64 bits everywhere
}
