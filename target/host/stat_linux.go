package host

import (
	"context"
	"errors"
	"hash"
	"io"
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

// dir writes what is in the directory at path. It is closed before those in it
// are opened: they may lie deeper than there are descriptors. Of one that nobody
// can look into, that is what is written.
func (w *statWalk) dir(ctx context.Context) error {
	if ctx.Err() != nil {
		return context.Cause(ctx)
	}
	entries, err := w.read()
	if isForeign(err) {
		_, _ = io.WriteString(w.h, "closed\n")
		return nil
	}
	if err != nil {
		return err
	}
	at := len(w.path)
	for _, e := range entries {
		w.path = append(append(w.path[:at], '/'), e.name...)
		if err := w.entry(ctx, e.statNumbers); err != nil {
			return err
		}
	}
	w.path = w.path[:at]
	return nil
}

// statEntry is what is in a directory.
type statEntry struct {
	name string
	statNumbers
}

// read looks at what is in the directory at path, sorted by name.
func (w *statWalk) read() (entries []statEntry, err error) {
	f, err := os.OpenFile(string(w.path), os.O_RDONLY|unix.O_DIRECTORY|openNoFollow, 0)
	if errors.Is(err, fs.ErrNotExist) && len(w.path) > w.base {
		return nil, nil // it went meanwhile
	}
	if err != nil {
		return nil, err
	}
	defer func() { err = errors.Join(err, f.Close()) }()
	names, err := f.Readdirnames(-1)
	if err != nil {
		return nil, err
	}
	slices.Sort(names)
	fd, entries := int(f.Fd()), make([]statEntry, 0, len(names))
	for _, name := range names {
		var st unix.Stat_t
		err := unix.Fstatat(fd, name, &st, unix.AT_SYMLINK_NOFOLLOW)
		if errors.Is(err, unix.ENOENT) {
			continue // it went meanwhile
		}
		if err != nil {
			return nil, &fs.PathError{Op: "lstat", Path: string(w.path) + "/" + name, Err: err}
		}
		entries = append(entries, statEntry{name, statNumbers{
			mode: uint64(st.Mode), size: st.Size, mtime: st.Mtim, ctime: st.Ctim, inode: st.Ino,
		}})
	}
	return entries, nil
}

func (w *statWalk) entry(ctx context.Context, st statNumbers) error {
	if w.skip[string(w.path)] {
		return nil
	}
	w.line = appendQuoted(w.line[:0], w.path[w.base:])
	w.line = appendStat(append(w.line, ' '), st)
	_, _ = w.h.Write(append(w.line, '\n')) // it never fails, hash.Hash
	if st.mode&unix.S_IFMT != unix.S_IFDIR {
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
