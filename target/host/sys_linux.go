package host

import (
	"context"
	"encoding/hex"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"runtime"
	"strconv"
	"strings"
	"syscall"
	"time"

	"golang.org/x/sys/unix"

	"github.com/stella-ops/stella"
	"github.com/stella-ops/stella/internal/durable"
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

// changedAt is when a file's content, owner or permissions last were changed:
// nobody can set it.
func changedAt(fi fs.FileInfo) time.Time {
	st, ok := fi.Sys().(*syscall.Stat_t)
	if !ok {
		return fi.ModTime()
	}
	return time.Unix(st.Ctim.Unix())
}

// lockID names a file as proc_locks(5) does: "08:01" and ":1234".
func lockID(fi fs.FileInfo) (device, inode string) {
	st, ok := fi.Sys().(*syscall.Stat_t)
	if !ok {
		return "", ""
	}
	dev := uint64(st.Dev) //nolint:unconvert // not 64 bits everywhere
	return fmt.Sprintf("%02x:%02x", unix.Major(dev), unix.Minor(dev)), fmt.Sprintf(":%d", st.Ino)
}

// ownership is "uid:gid" of a file; empty where nobody can tell.
func ownership(fi fs.FileInfo) string {
	st, ok := fi.Sys().(*syscall.Stat_t)
	if !ok {
		return ""
	}
	return fmt.Sprintf("%d:%d", st.Uid, st.Gid)
}

// capabilitiesOf returns the file capabilities of a file that is no link, in
// hexadecimal; empty for none. See capabilities(7).
func capabilitiesOf(path string) string {
	var buf [64]byte // the newest revision has 24 bytes
	switch n, err := unix.Lgetxattr(path, "security.capability", buf[:]); {
	case err == nil:
		return hex.EncodeToString(buf[:n])
	case errors.Is(err, unix.ENODATA), errors.Is(err, unix.ENOTSUP):
		return ""
	default:
		return "unreadable"
	}
}

func openPidfd(pid int) (int, error)    { return unix.PidfdOpen(pid, 0) }
func signalPidfd(fd int, sig int) error { return unix.PidfdSendSignal(fd, unix.Signal(sig), nil, 0) }

// awaitPidfd waits for the end of a process without a thread of its own: a
// pidfd can be read from once the process is gone, pidfd_open(2). It is not ok
// where the kernel, or a limit, gives none.
func awaitPidfd(ctx context.Context, p durable.Process) (ended, ok bool) {
	fd, err := unix.PidfdOpen(p.PID, unix.PIDFD_NONBLOCK)
	if errors.Is(err, unix.ESRCH) {
		return true, true
	}
	if err != nil {
		return false, false
	}
	f := os.NewFile(uintptr(fd), "pidfd")
	defer func() { _ = f.Close() }()
	if !p.Alive() { // somebody else has its pid by now
		return true, true
	}
	raw, err := f.SyscallConn()
	if err != nil || f.SetReadDeadline(time.Time{}) != nil {
		return false, false // not with the runtime's poller
	}
	stop := context.AfterFunc(ctx, func() { _ = f.SetReadDeadline(time.Unix(1, 0)) })
	defer stop()
	err = raw.Read(func(fd uintptr) bool {
		n, err := unix.Poll([]unix.PollFd{{Fd: int32(fd), Events: unix.POLLIN}}, 0) //nolint:gosec // a descriptor is small
		return n > 0 || err != nil && !errors.Is(err, unix.EINTR)
	})
	return err == nil, err == nil || ctx.Err() != nil
}

// statLine is what of a file changes whenever its content, its owner or its
// permissions do.
func statLine(fi fs.FileInfo) string {
	st, ok := fi.Sys().(*syscall.Stat_t)
	if !ok {
		return ""
	}
	return string(appendStat(nil, statNumbers{
		mode: uint64(st.Mode), size: st.Size, mtime: unix.Timespec(st.Mtim), ctime: unix.Timespec(st.Ctim), inode: st.Ino,
	}))
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

// openNoFollow refuses a symbolic link in a file's place; openNoWait does not
// wait for who writes to a pipe in it.
const (
	openNoFollow = unix.O_NOFOLLOW
	openNoWait   = unix.O_NONBLOCK
)

// freeBytes is what an ordinary user may still write on the file system of dir.
func freeBytes(dir string) (int64, error) {
	var st unix.Statfs_t
	if err := unix.Statfs(dir, &st); err != nil {
		return 0, err
	}
	return int64(st.Bavail) * int64(st.Bsize), nil //nolint:gosec,unconvert // no disk has that many; not 64 bits everywhere
}
