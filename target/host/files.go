package host

import (
	"context"
	"crypto/sha256"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"syscall"

	"github.com/stella-ops/stella"
	"github.com/stella-ops/stella/internal/durable"
)

// What lies below a root may have been changed by anybody who may write there:
// in a file's place may be a directory, a link to somewhere else, or a pipe that
// nobody writes to.

// openRegular opens a file of ours for reading. It waits for nobody. What is no
// regular file, or may not be read, is of class stella.ErrTampered; what is not
// there is fs.ErrNotExist.
func openRegular(path string) (*os.File, fs.FileInfo, error) {
	f, err := os.OpenFile(path, os.O_RDONLY|openNoFollow|openNoWait, 0)
	return regular(f, err)
}

// regular takes what an open returned.
func regular(f *os.File, err error) (*os.File, fs.FileInfo, error) {
	if err != nil {
		if isForeign(err) {
			err = fmt.Errorf("%w: %w", stella.ErrTampered, err)
		}
		return nil, nil, err
	}
	fi, err := f.Stat()
	if err == nil && !fi.Mode().IsRegular() {
		err = fmt.Errorf("%w: %s is no file", stella.ErrTampered, f.Name())
	}
	if err != nil {
		_ = f.Close()
		return nil, nil, err
	}
	return f, fi, nil
}

// isForeign reports whether something can not be looked at since somebody
// changed what it is, or who may: a link, a socket, a file in the place of a
// directory, a directory in one that is too deep to be named.
func isForeign(err error) bool {
	for _, e := range []error{fs.ErrPermission, syscall.ELOOP, syscall.ENXIO, syscall.ENOTDIR, syscall.EISDIR, syscall.ENAMETOOLONG} {
		if errors.Is(err, e) {
			return true
		}
	}
	return false
}

// readRegular reads a file of ours that holds at most so many bytes; a larger
// one is of class stella.ErrTampered.
func readRegular(path string, most int64) ([]byte, error) {
	f, _, err := openRegular(path)
	if err != nil {
		return nil, err
	}
	defer func() { _ = f.Close() }()
	return readBounded(f, most)
}

func readBounded(f *os.File, most int64) ([]byte, error) {
	data, err := io.ReadAll(io.LimitReader(f, most+1))
	if err == nil && int64(len(data)) > most {
		return nil, fmt.Errorf("%w: %s is larger than %d bytes", stella.ErrTampered, f.Name(), most)
	}
	return data, err
}

// digestFile digests as much of a file as there was when it was opened. It ends
// with the context.
func digestFile(ctx context.Context, path string) (stella.Digest, error) {
	f, fi, err := openRegular(path)
	if err != nil {
		return "", err
	}
	defer func() { _ = f.Close() }()
	return digestOpen(ctx, f, fi.Size())
}

func digestOpen(ctx context.Context, f *os.File, size int64) (stella.Digest, error) {
	h := sha256.New()
	if _, err := io.Copy(h, io.LimitReader(untilDone{ctx, f}, size)); err != nil {
		return "", err
	}
	return sumOf(h.Sum(nil)), nil
}

// untilDone is a reader that ends with a context.
type untilDone struct {
	ctx context.Context
	r   io.Reader
}

func (r untilDone) Read(p []byte) (int, error) {
	if r.ctx.Err() != nil {
		return 0, context.Cause(r.ctx)
	}
	return r.r.Read(p)
}

// makeWay renames away a directory that lies where a file or a link of ours is
// about to be put: nothing can be renamed over one. What is in it may be all
// that is left of what somebody is looking for, and is kept.
func makeWay(path string) error {
	fi, err := os.Lstat(path)
	if err != nil || !fi.IsDir() {
		return nil //nolint:nilerr // who writes there finds out
	}
	return durable.Rename(path, freeName(path+tamperedSuffix))
}

// writeFile replaces a file durably, whatever is in its place.
func writeFile(path string, data []byte, mode fs.FileMode) error {
	if err := makeWay(path); err != nil {
		return err
	}
	return durable.WriteFile(path, data, mode)
}

// discard removes a file durably, whatever is in its place.
func discard(path string) error {
	if err := makeWay(path); err != nil {
		return err
	}
	return durable.Remove(path)
}

// pidOf reads the process that a pid file names, while it lives.
func (l layout) pidOf(service string) (durable.Process, bool) {
	const most = 4 << 10
	data, err := readRegular(l.pid(service), most)
	if err != nil {
		return durable.Process{}, false
	}
	p, err := durable.ParseProcess(strings.TrimSpace(string(data)))
	return p, err == nil && p.Local() && p.Alive()
}

// inRelease opens the directory that a release lies in, and names a config file
// from there. What is opened that way is in it, whatever links somebody made on
// the way; what leads out of it is an error.
func inRelease(dir string, c configRecord) (*os.Root, string, error) {
	root, err := os.OpenRoot(filepath.Dir(dir))
	return root, filepath.Join(filepath.Base(dir), "rootfs", filepath.FromSlash(c.File)), err
}

// statConfig looks at a config file of a release, not through a link.
func statConfig(dir string, c configRecord) (fs.FileInfo, error) {
	root, name, err := inRelease(dir, c)
	if err != nil {
		return nil, err
	}
	defer func() { _ = root.Close() }()
	return root.Lstat(name)
}

// openConfig opens a config file of a release, as openRegular does.
func openConfig(dir string, c configRecord) (*os.File, fs.FileInfo, error) {
	root, name, err := inRelease(dir, c)
	if err != nil {
		return nil, nil, err
	}
	defer func() { _ = root.Close() }()
	return regular(root.OpenFile(name, os.O_RDONLY|openNoWait, 0))
}

// liesInside reports whether the directory of a config file is one of its
// release, and nobody made it lead to another.
func liesInside(dir string, c configRecord) bool {
	root, name, err := inRelease(dir, c)
	if err != nil {
		return false
	}
	defer func() { _ = root.Close() }()
	fi, err := root.Stat(filepath.Dir(name))
	return err == nil && fi.IsDir()
}
