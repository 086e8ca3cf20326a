// Package unpack writes the file tree of an image below one directory. Start
// with [Tar].
//
// The invariant: nothing outside that directory is read, written, linked to or
// changed, whatever the archive says, and nothing that lies in it afterwards
// leads out of it. It does not know where archives come from; that their bytes
// are the right ones is verified by the reader it is given, at its end.
package unpack

import (
	"archive/tar"
	"context"
	"errors"
	"fmt"
	"io"
	"maps"
	"os"
	"slices"
	"strings"

	"github.com/stella-ops/stella"
	"github.com/stella-ops/stella/internal/imagetree"
	"github.com/stella-ops/stella/internal/safe"
)

// Sync says how hard Tar makes what it wrote durable before it returns.
type Sync int

// The policies.
const (
	SyncAll  Sync = iota // fsync of every file and directory; the zero value
	SyncFS               // one syncfs(2) at the end, where the system has it; else as SyncAll
	SyncNone             // nothing: tests and throw-away trees
)

// Limits bound an archive. Zero fields mean the defaults.
type Limits struct {
	TotalBytes int64 // of the whole stream, headers and padding too; 16 GiB
	FileBytes  int64 // of one file; 8 GiB
	Entries    int   // names, directories that only follow from other names too; 500,000
	Sync       Sync
}

const (
	defaultTotalBytes = 16 << 30
	defaultFileBytes  = 8 << 30
	defaultEntries    = 500_000
)

func (l Limits) withDefaults() Limits {
	if l.TotalBytes == 0 {
		l.TotalBytes = defaultTotalBytes
	}
	if l.FileBytes == 0 {
		l.FileBytes = defaultFileBytes
	}
	if l.Entries == 0 {
		l.Entries = defaultEntries
	}
	return l
}

// Stats is what Tar wrote.
type Stats struct {
	Files, Dirs, Symlinks, Hardlinks int
	Bytes                            int64    // of regular files
	Skipped                          []string // device nodes and the like below dev/, at most 100, printable
}

// maxSkipped bounds Stats.Skipped: a tool may list a whole /dev.
const maxSkipped = 100

// Tar unpacks the archive r into root, which must be empty, and reads r to its
// end: a reader that verifies what it gave says so there. On an error root is
// left half written, for the caller to remove.
//
// What is accepted is less than the format allows. Names are clean relative
// paths (imagetree.ParseName), each there once, of regular files, directories,
// symbolic links, and hard links to regular files that came before. A path
// whose parent is a symbolic link of the archive ("bin/sh" where bin ->
// usr/bin) is followed within the root as a chroot would, before anything
// touches the disk; links are made last, so that nothing is ever written
// through one. Their targets are stored as imagetree.Tree.Target says: absolute
// ones relative, and climbing ends at the root.
//
// Modes become 0644, or 0755 with any execute bit; owners, extended attributes
// and set-user-ID bits are dropped; modification times of files are kept, since
// interpreters compare them. Device nodes, FIFOs and sockets are left out below
// dev/, with a note, and refused elsewhere, as are whiteouts (those of a single
// layer mean nothing in a whole tree) and sparse files. Zeros may follow the
// archive's end marker, nothing else.
//
// An archive that breaks a rule gives an error of class stella.ErrInvalid; an
// error of r comes back as it is.
func Tar(ctx context.Context, r io.Reader, root *os.Root, l Limits) (Stats, error) {
	l = l.withDefaults()
	if err := checkEmpty(root); err != nil {
		return Stats{}, err
	}
	in := &meter{ctx: ctx, r: r, left: l.TotalBytes}
	u := &unpacker{root: root, limits: l, tree: imagetree.New(l.Entries), buf: make([]byte, 256<<10), dirs: map[*imagetree.Node]bool{}}
	defer u.leave()
	if err := u.entries(tar.NewReader(in)); err != nil {
		if in.err == nil && errors.Is(err, errArchive) {
			return u.stats, fmt.Errorf("%w: %w", stella.ErrInvalid, err)
		}
		return u.stats, err
	}
	if err := drain(in); err != nil {
		return u.stats, err
	}
	if err := u.links(); err != nil {
		return u.stats, err
	}
	return u.stats, u.sync()
}

func checkEmpty(root *os.Root) error {
	dir, err := root.Open(".")
	if err != nil {
		return err
	}
	_, err = dir.Readdirnames(1)
	if err := errors.Join(ignoreEOF(err), dir.Close()); err != nil {
		return err
	}
	if err == nil {
		return fmt.Errorf("unpack into %s: %w: the directory is not empty", safe.Line(root.Name()), stella.ErrConflict)
	}
	return nil
}

func ignoreEOF(err error) error {
	if errors.Is(err, io.EOF) {
		return nil
	}
	return err
}

// meter reads at most left bytes. What is more is an error, not an end: a plain
// io.LimitReader makes a cut archive look like a whole one.
type meter struct {
	ctx  context.Context // lives as long as one call of Tar
	r    io.Reader
	left int64
	err  error // of r, other than its end
}

// errArchive marks what archive/tar says, as long as its reader had nothing to
// say: it gives most of its errors no name.
var errArchive = errors.New("read archive")

func (m *meter) Read(p []byte) (int, error) {
	if err := context.Cause(m.ctx); err != nil {
		m.err = err
		return 0, err
	}
	n, err := m.r.Read(p)
	m.err = ignoreEOF(err)
	if m.left -= int64(n); m.left < 0 {
		return 0, fmt.Errorf("%w: the archive is larger than allowed", stella.ErrInvalid)
	}
	return n, err
}

// drain reads what the tar reader left after the end marker, up to where a
// verifying reader gives its verdict.
func drain(r io.Reader) error {
	buf := make([]byte, 32<<10)
	for {
		n, err := r.Read(buf)
		if slices.ContainsFunc(buf[:n], func(b byte) bool { return b != 0 }) {
			return fmt.Errorf("%w: data after the end of the archive", stella.ErrInvalid)
		}
		if errors.Is(err, io.EOF) {
			return nil
		}
		if err != nil {
			return fmt.Errorf("read archive: %w", err)
		}
	}
}

type unpacker struct {
	root   *os.Root
	limits Limits
	tree   *imagetree.Tree
	buf    []byte
	stats  Stats
	dirs   map[*imagetree.Node]bool // made on disk
	// last is the directory that the last file went to, and lastDir that
	// directory on disk: files of one come together, and its path is then walked
	// once for all of them, which is half of the work.
	last    *imagetree.Node
	lastDir *os.Root
	// soft and hard links, in the order of the archive.
	soft []*imagetree.Node
	hard []hardlink
}

func (u *unpacker) entries(tr *tar.Reader) error {
	for {
		h, err := tr.Next()
		switch {
		case errors.Is(err, io.EOF):
			return nil
		case err != nil:
			return fmt.Errorf("%w: %w", errArchive, err)
		}
		if err := u.entry(h, tr); err != nil {
			return fmt.Errorf("unpack %q: %w", safe.Clip(h.Name, 80), err)
		}
	}
}

func (u *unpacker) entry(h *tar.Header, body io.Reader) error {
	if h.Typeflag == tar.TypeXGlobalHeader {
		return nil // holds defaults for headers, which archive/tar does not apply
	}
	parts, err := imagetree.ParseName(h.Name)
	if err != nil {
		return err
	}
	if len(parts) == 0 {
		if h.Typeflag != tar.TypeDir {
			return refuse("the root is not a directory")
		}
		return nil
	}
	for _, part := range parts {
		if strings.HasPrefix(part, ".wh.") {
			return refuse("a whiteout outside a layer")
		}
	}
	name := parts[len(parts)-1]
	dir, err := u.tree.Dir(parts[:len(parts)-1], 0)
	if err != nil {
		return err
	}
	switch h.Typeflag {
	case tar.TypeDir:
		return u.dir(dir, name)
	case tar.TypeReg:
		return u.file(dir, name, h, body)
	case tar.TypeSymlink:
		return u.symlink(dir, name, h.Linkname)
	case tar.TypeLink:
		return u.hardlink(dir, name, h.Linkname)
	case tar.TypeChar, tar.TypeBlock, tar.TypeFifo:
		return u.device(dir, name)
	}
	return refuse(fmt.Sprintf("entries of type %q are not accepted", h.Typeflag))
}

func (u *unpacker) dir(dir *imagetree.Node, name string) error {
	if n := dir.Child(name); n != nil && n.Kind == imagetree.Dir && n.Made {
		n.Made = false // something below it came first
		return u.mkdir(n)
	}
	n, err := u.tree.Put(dir, name, imagetree.Node{Kind: imagetree.Dir})
	if err != nil {
		return err
	}
	return u.mkdir(n)
}

// mkdir makes the directory and those above it that are not there yet.
func (u *unpacker) mkdir(n *imagetree.Node) error {
	if u.dirs[n] || n == u.tree.Root() {
		return nil
	}
	if err := u.mkdir(n.Parent()); err != nil {
		return err
	}
	if err := u.root.Mkdir(n.Path(), 0o755); err != nil {
		return err
	}
	u.dirs[n] = true
	u.stats.Dirs++
	// Mkdir is subject to the umask. No link is on disk yet that Chmod could
	// follow.
	return u.root.Chmod(n.Path(), 0o755)
}

func (u *unpacker) device(dir *imagetree.Node, name string) error {
	n, err := u.tree.Put(dir, name, imagetree.Node{Kind: imagetree.Other})
	if err != nil {
		return err
	}
	if !strings.HasPrefix(n.Path(), "dev/") {
		return refuse("device nodes and FIFOs are accepted below dev/ only")
	}
	if len(u.stats.Skipped) < maxSkipped {
		u.stats.Skipped = append(u.stats.Skipped, safe.Line(n.Path()))
	}
	return nil
}

func refuse(why string) error { return fmt.Errorf("%w: %s", stella.ErrInvalid, why) }

// made returns the paths of the directories that were made, deepest first.
func (u *unpacker) made() []string {
	paths := make([]string, 0, len(u.dirs))
	for n := range maps.Keys(u.dirs) {
		paths = append(paths, n.Path())
	}
	slices.SortFunc(paths, func(a, b string) int { return strings.Count(b, "/") - strings.Count(a, "/") })
	return paths
}
