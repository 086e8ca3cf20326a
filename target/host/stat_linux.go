package host

import (
	"context"
	"errors"
	"hash"
	"io/fs"
	"os"
	"slices"
	"strconv"

	"golang.org/x/sys/unix"
)

// statTree writes the line of a stat listing to h for everything below dir but
// what skip has, in the order of filepath.WalkDir. It is asked of every release
// every few minutes, and so keeps one buffer for all names.
func statTree(ctx context.Context, dir string, skip map[string]bool, h hash.Hash) error {
	w := statWalk{h: h, skip: skip, path: append(make([]byte, 0, unix.PathMax), dir...), base: len(dir)}
	return w.dir(ctx)
}

type statWalk struct {
	h    hash.Hash
	skip map[string]bool
	path []byte // of what is looked at
	base int    // bytes of path that are not part of its name
	line []byte
}

// dir writes what is in the directory at path.
func (w *statWalk) dir(ctx context.Context) (err error) {
	if ctx.Err() != nil {
		return context.Cause(ctx)
	}
	f, err := os.OpenFile(string(w.path), os.O_RDONLY|unix.O_DIRECTORY|openNoFollow, 0)
	if errors.Is(err, fs.ErrNotExist) && len(w.path) > w.base {
		return nil // it went meanwhile
	}
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, f.Close()) }()
	names, err := f.Readdirnames(-1)
	if err != nil {
		return err
	}
	slices.Sort(names)
	fd, at := int(f.Fd()), len(w.path)
	for _, name := range names {
		w.path = append(append(w.path[:at], '/'), name...)
		if err := w.entry(ctx, fd, name); err != nil {
			return err
		}
	}
	w.path = w.path[:at]
	return nil
}

func (w *statWalk) entry(ctx context.Context, fd int, name string) error {
	if w.skip[string(w.path)] {
		return nil
	}
	var st unix.Stat_t
	err := unix.Fstatat(fd, name, &st, unix.AT_SYMLINK_NOFOLLOW)
	if errors.Is(err, unix.ENOENT) {
		return nil // it went meanwhile
	}
	if err != nil {
		return &fs.PathError{Op: "lstat", Path: string(w.path), Err: err}
	}
	w.line = appendQuoted(w.line[:0], w.path[w.base:])
	w.line = appendStat(append(w.line, ' '), statNumbers{
		mode: uint64(st.Mode), size: st.Size, mtime: st.Mtim, ctime: st.Ctim, inode: st.Ino,
	})
	_, _ = w.h.Write(append(w.line, '\n')) // it never fails, hash.Hash
	if st.Mode&unix.S_IFMT != unix.S_IFDIR {
		return nil
	}
	return w.dir(ctx)
}

// appendQuoted is strconv.AppendQuote, without a copy for the names that nearly
// all files have.
func appendQuoted(b, name []byte) []byte {
	for _, c := range name {
		if c < ' ' || c > '~' || c == '"' || c == '\\' {
			return strconv.AppendQuote(b, string(name))
		}
	}
	return append(append(append(b, '"'), name...), '"')
}

// statNumbers is what of stat(2) goes into a line.
type statNumbers struct {
	mode         uint64
	size         int64
	mtime, ctime unix.Timespec
	inode        uint64
}

// appendStat appends "MODE SIZE MTIME CTIME INODE", the mode octal and the times
// as seconds.nanoseconds. Nobody can set the change time.
func appendStat(b []byte, st statNumbers) []byte {
	b = strconv.AppendUint(b, st.mode, 8)
	b = strconv.AppendInt(append(b, ' '), st.size, 10)
	for _, t := range [...]unix.Timespec{st.mtime, st.ctime} {
		sec, nsec := t.Unix()
		b = strconv.AppendInt(append(b, ' '), sec, 10)
		b = strconv.AppendInt(append(b, '.'), nsec, 10)
	}
	return strconv.AppendUint(append(b, ' '), st.inode, 10)
}
