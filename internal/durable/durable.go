// Package durable writes files that survive a crash and takes locks that do
// not. Start with [WriteFile] and [Lock]; [Process] names a process in a way
// that a reused pid can not fake. A file written here is whole or absent after
// a power cut: temporary file, fsync, rename, fsync of the directory. Every
// change of a name is an effect ([effect.Do]); callers need not make it one.
package durable

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"time"

	"golang.org/x/sys/unix"

	"github.com/stella-ops/stella"
	"github.com/stella-ops/stella/internal/effect"
)

// WriteFile replaces the file at path with data. The temporary file is made
// beside it under a random name, so that nobody can put something in its place.
func WriteFile(path string, data []byte, mode fs.FileMode) (err error) {
	tmp, err := os.CreateTemp(filepath.Dir(path), "."+filepath.Base(path)+strayInfix+"*")
	if err != nil {
		return err
	}
	defer func() {
		if err != nil {
			_ = os.Remove(tmp.Name())
		}
	}()
	_, err = tmp.Write(data)
	err = errors.Join(err, tmp.Chmod(mode), tmp.Sync(), tmp.Close())
	if err != nil {
		return err
	}
	// A crash before the rename leaves the old file and a stray temporary one;
	// after it, the new file.
	return effect.Do("write", path, func() error { return rename(tmp.Name(), path) })
}

// strayInfix is in the names of files that were never put in place.
const strayInfix = ".tmp-"

// Strays lists the files of a directory that were never put in place, since
// their writer was killed. Who removes them has to know that nobody writes there
// now.
func Strays(dir string) ([]string, error) {
	entries, err := os.ReadDir(dir)
	var strays []string
	for _, e := range entries {
		if strings.HasPrefix(e.Name(), ".") && strings.Contains(e.Name(), strayInfix) && e.Type().IsRegular() {
			strays = append(strays, filepath.Join(dir, e.Name()))
		}
	}
	return strays, err
}

// Rename gives a file or directory another name, durably. What has that name
// already is replaced, as rename(2) does.
func Rename(from, to string) error {
	return effect.Do("rename", to, func() error { return rename(from, to) })
}

func rename(from, to string) error {
	if err := os.Rename(from, to); err != nil {
		return err
	}
	return SyncDir(filepath.Dir(to))
}

// Symlink points the link at path to target, durably, and replaces what is at
// path. The caller sees to it that nobody else does the same meanwhile.
func Symlink(target, path string) error {
	next := path + ".next"
	if err := os.Remove(next); err != nil && !errors.Is(err, fs.ErrNotExist) {
		return err
	}
	if err := os.Symlink(target, next); err != nil {
		return err
	}
	// A crash before the rename leaves the old link and a stray one, which the
	// next Symlink removes.
	return effect.Do("symlink", path, func() error { return rename(next, path) })
}

// Remove removes a file durably; one that is not there is fine.
func Remove(path string) error {
	return effect.Do("remove", path, func() error {
		err := os.Remove(path)
		if errors.Is(err, fs.ErrNotExist) {
			return nil
		}
		if err != nil {
			return err
		}
		return SyncDir(filepath.Dir(path))
	})
}

// SyncDir makes the names in a directory durable.
func SyncDir(dir string) error {
	d, err := os.Open(dir)
	if err != nil {
		return err
	}
	return errors.Join(d.Sync(), d.Close())
}

// Lock is an exclusive lock on a file, held by this process until Unlock or
// its death, whichever comes first (flock(2)).
type Lock struct{ f *os.File }

// TryLock takes the lock on the file at path, which it creates with mode 0600.
// It returns an error of class stella.ErrLocked when somebody else has it.
func TryLock(path string) (*Lock, error) {
	f, err := os.OpenFile(path, os.O_RDWR|os.O_CREATE|unix.O_CLOEXEC|unix.O_NOFOLLOW, 0o600)
	if err != nil {
		return nil, err
	}
	if err := unix.Flock(int(f.Fd()), unix.LOCK_EX|unix.LOCK_NB); err != nil {
		_ = f.Close()
		if errors.Is(err, unix.EWOULDBLOCK) {
			return nil, fmt.Errorf("%w: %s", stella.ErrLocked, path)
		}
		return nil, fmt.Errorf("lock %s: %w", path, err)
	}
	return &Lock{f: f}, nil
}

// lockPoll is how often WaitLock looks again: short beside any Git operation.
const lockPoll = 20 * time.Millisecond

// WaitLock is TryLock that waits until ctx ends.
func WaitLock(ctx context.Context, path string) (*Lock, error) {
	for {
		l, err := TryLock(path)
		if err == nil || !errors.Is(err, stella.ErrLocked) {
			return l, err
		}
		select {
		case <-ctx.Done():
			return nil, fmt.Errorf("%w: %w", err, context.Cause(ctx))
		case <-time.After(lockPoll):
		}
	}
}

// Unlock gives the lock back. The file stays: removing it would let two
// processes lock two files of one name.
//
// Closing alone would leave the lock to a process that this one has forked and
// that has not come to its exec: it has the same open file.
func (l *Lock) Unlock() error {
	return errors.Join(unix.Flock(int(l.f.Fd()), unix.LOCK_UN), l.f.Close())
}
