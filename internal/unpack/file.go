package unpack

import (
	"archive/tar"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"strings"
	"time"

	"github.com/stella-ops/stella"
	"github.com/stella-ops/stella/internal/imagetree"
)

func (u *unpacker) file(dir *imagetree.Node, name string, h *tar.Header, body io.Reader) error {
	switch {
	case h.Size > u.limits.FileBytes:
		return refuse(fmt.Sprintf("a file of %d bytes is larger than allowed", h.Size))
	case isSparse(h):
		// A few bytes that stand for gigabytes of zeros; tools that build
		// images do not write them.
		return refuse("sparse files are not accepted")
	case strings.HasSuffix(h.Name, "/"):
		return refuse("a file with the name of a directory")
	}
	n, err := u.tree.Put(dir, name, imagetree.Node{Kind: imagetree.File})
	if err != nil {
		return err
	}
	if err := u.enter(n.Parent()); err != nil {
		return err
	}
	if err := u.write(name, h, body); err != nil {
		return err
	}
	u.stats.Files++
	u.stats.Bytes += h.Size
	return nil
}

// enter makes dir lastDir.
func (u *unpacker) enter(dir *imagetree.Node) error {
	if u.last == dir {
		return nil
	}
	u.leave()
	if err := u.mkdir(dir); err != nil {
		return err
	}
	found, err := u.root.OpenRoot(dir.Path())
	if err != nil {
		return err
	}
	u.last, u.lastDir = dir, found
	return nil
}

func (u *unpacker) leave() {
	if u.lastDir != nil {
		_ = u.lastDir.Close() // a directory: nothing to flush
		u.last, u.lastDir = nil, nil
	}
}

// write writes a file of lastDir.
func (u *unpacker) write(name string, h *tar.Header, body io.Reader) (err error) {
	mode := fs.FileMode(0o644)
	if h.Mode&0o111 != 0 {
		mode = 0o755
	}
	f, err := u.lastDir.OpenFile(name, os.O_WRONLY|os.O_CREATE|os.O_EXCL, 0o600)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, f.Close()) }()
	// onlyWriter hides ReadFrom, which would bring its own buffer for each file.
	n, err := io.CopyBuffer(onlyWriter{f}, body, u.buf)
	switch {
	case errors.Is(err, io.ErrUnexpectedEOF), err == nil && n != h.Size:
		return fmt.Errorf("%w: the archive ends within the file", stella.ErrInvalid)
	case err != nil:
		return err
	}
	if err := f.Chmod(mode); err != nil { // after O_CREATE, which the umask narrows
		return err
	}
	if t := clampTime(h.ModTime); !t.IsZero() {
		if err := u.lastDir.Chtimes(name, t, t); err != nil {
			return err
		}
	}
	if u.limits.Sync == SyncAll {
		return f.Sync()
	}
	return nil
}

type onlyWriter struct{ io.Writer }

// isSparse finds the sparse files of GNU tar in PAX form; archive/tar gives
// those of the older form a type of their own.
func isSparse(h *tar.Header) bool {
	for key := range h.PAXRecords {
		if strings.HasPrefix(key, "GNU.sparse.") {
			return true
		}
	}
	return false
}

// clampTime returns a time that file systems can store, or the zero time for
// one that none can: after 1970, and before the timestamps of ext4 end in 2446.
func clampTime(t time.Time) time.Time {
	if sec := t.Unix(); sec < 0 || sec > 15_000_000_000 {
		return time.Time{}
	}
	return t
}

func (u *unpacker) sync() error {
	switch u.limits.Sync {
	case SyncNone:
		return nil
	case SyncFS:
		if done, err := syncFS(u.root); done || err != nil {
			return err
		}
		if err := u.syncFiles(); err != nil {
			return err
		}
	}
	return u.syncDirs()
}

// syncFiles does afterwards what SyncAll does on the way.
func (u *unpacker) syncFiles() error {
	return fs.WalkDir(u.root.FS(), ".", func(path string, d fs.DirEntry, err error) error {
		if err != nil || !d.Type().IsRegular() {
			return err
		}
		return u.syncOne(path)
	})
}

func (u *unpacker) syncDirs() error {
	for _, path := range append(u.made(), ".") {
		if err := u.syncOne(path); err != nil {
			return err
		}
	}
	return nil
}

func (u *unpacker) syncOne(path string) error {
	f, err := u.root.Open(path)
	if err != nil {
		return err
	}
	return errors.Join(f.Sync(), f.Close())
}
