package configrepo

import (
	"cmp"
	"context"
	"crypto/sha1" // Git's object ids
	"encoding/hex"
	"errors"
	"fmt"
	"hash"
	"io"
	"io/fs"
	"os"
	"path"
	"slices"
	"strings"
	"syscall"

	stella "github.com/stella-ops/stella"
	"github.com/stella-ops/stella/internal/safe"
)

// The budget of one listing of a working copy. What would cost more gets no ID.
const (
	maxHashedEntries = 20_000
	maxHashedBytes   = 64 << 20
	maxListed        = 50_000 // entries of one directory
)

// DirTree is a working copy. Links are never followed and have ModeSymlink;
// what Git can not hold (a socket, a device) has the mode 0. Git's own
// directory at the top is left out. IDs are Git's ids of the files and
// directories as they are on disk; where computing them would read more than
// 64 MiB, they are empty. The caller keeps root open.
func DirTree(root *os.Root) Tree { return dirTree{root: root} }

type dirTree struct{ root *os.Root }

// Entries implements Tree.
func (t dirTree) Entries(ctx context.Context, dir string) ([]Entry, error) {
	h := hashing{tree: t, entries: maxHashedEntries, bytes: maxHashedBytes}
	entries, err := t.list(dir)
	if err != nil {
		return nil, err
	}
	for i := range entries {
		if err := ctx.Err(); err != nil {
			return nil, context.Cause(ctx)
		}
		entries[i].ID = h.id(path.Join(dir, entries[i].Name), entries[i])
	}
	return entries, nil
}

// Lookup returns a single entry, without the ID of a directory.
func (t dirTree) Lookup(_ context.Context, name string) (Entry, error) {
	info, err := t.lstat(name)
	if err != nil {
		return Entry{}, err
	}
	e := entryOf(info)
	if e.Mode != ModeDir {
		h := hashing{tree: t, entries: 1, bytes: maxHashedBytes}
		e.ID = h.id(name, e)
	}
	return e, nil
}

// Read implements Tree.
func (t dirTree) Read(_ context.Context, name string, maxBytes int64) ([]byte, error) {
	f, err := t.open(name)
	if err != nil {
		return nil, err
	}
	defer func() { _ = f.Close() }()
	content, err := io.ReadAll(io.LimitReader(f, maxBytes+1))
	if err != nil {
		return nil, t.classify(name, err)
	}
	if int64(len(content)) > maxBytes {
		return nil, Problems{{Path: safe.Line(name), What: fmt.Sprintf("is more than %d bytes long", maxBytes), Fix: "shorten it"}}
	}
	return content, nil
}

// open opens a plain file. A pipe that took its place since would block, were
// it not for the flag.
func (t dirTree) open(name string) (*os.File, error) {
	if info, err := t.lstat(name); err != nil {
		return nil, err
	} else if !info.Mode().IsRegular() {
		return nil, fmt.Errorf("%s is not a file: %w", safe.Line(name), stella.ErrInvalid)
	}
	f, err := t.root.OpenFile(name, os.O_RDONLY|syscall.O_NONBLOCK|syscall.O_NOFOLLOW, 0)
	if err != nil {
		return nil, t.classify(name, err)
	}
	return f, nil
}

// lstat looks at a path without following a link anywhere on the way: os.Root
// alone would follow one that stays inside.
func (t dirTree) lstat(name string) (fs.FileInfo, error) {
	if !fs.ValidPath(name) {
		return nil, fmt.Errorf("%s is not a path within the repository: %w", safe.Line(name), stella.ErrInvalid)
	}
	for i, c := range name {
		if c != '/' {
			continue
		}
		info, err := t.root.Lstat(name[:i])
		if err != nil {
			return nil, t.classify(name, err)
		}
		if !info.IsDir() {
			return nil, fmt.Errorf("%s: %w", safe.Line(name), stella.ErrNotFound)
		}
	}
	info, err := t.root.Lstat(name)
	if err != nil {
		return nil, t.classify(name, err)
	}
	return info, nil
}

func (t dirTree) classify(name string, err error) error {
	if errors.Is(err, fs.ErrNotExist) {
		return fmt.Errorf("%s: %w", safe.Line(name), stella.ErrNotFound)
	}
	// The error of the os package names the path as it is.
	if e, is := errors.AsType[*fs.PathError](err); is {
		err = e.Err
	}
	return fmt.Errorf("%s: %w", safe.Line(name), err)
}

// list returns a directory's entries without IDs, in Git's order.
func (t dirTree) list(dir string) ([]Entry, error) {
	if dir != "" {
		info, err := t.lstat(dir)
		if err != nil {
			return nil, err
		}
		if !info.IsDir() {
			return nil, fmt.Errorf("%s: %w", safe.Line(dir), stella.ErrNotFound)
		}
	}
	f, err := t.root.Open(cmp.Or(dir, "."))
	if err != nil {
		return nil, t.classify(dir, err)
	}
	defer func() { _ = f.Close() }()
	infos, err := f.Readdir(maxListed + 1)
	if err != nil && !errors.Is(err, io.EOF) {
		return nil, t.classify(dir, err)
	}
	if len(infos) > maxListed {
		return nil, Problems{{Path: safe.Line(cmp.Or(dir, ".")), What: fmt.Sprintf("has more than %d entries", maxListed), Fix: "remove some"}}
	}
	entries := make([]Entry, 0, len(infos))
	for _, info := range infos {
		if dir == "" && info.Name() == ".git" {
			continue
		}
		entries = append(entries, entryOf(info))
	}
	slices.SortFunc(entries, func(a, b Entry) int { return strings.Compare(gitOrder(a), gitOrder(b)) })
	return entries, nil
}

// gitOrder is what Git sorts the entries of a tree by.
func gitOrder(e Entry) string {
	if e.Mode == ModeDir {
		return e.Name + "/"
	}
	return e.Name
}

func entryOf(info fs.FileInfo) Entry {
	e := Entry{Name: info.Name()}
	switch mode := info.Mode(); {
	case mode.IsDir():
		e.Mode = ModeDir
	case mode&fs.ModeSymlink != 0:
		e.Mode = ModeSymlink
	case mode.IsRegular() && mode&0o100 != 0:
		e.Mode, e.SizeBytes = ModeExecutable, info.Size()
	case mode.IsRegular():
		e.Mode, e.SizeBytes = ModeFile, info.Size()
	}
	return e
}

// hashing computes Git's object ids within a budget.
type hashing struct {
	tree    dirTree
	entries int
	bytes   int64
}

// id returns the object id of an entry, empty where it can not be told.
func (h *hashing) id(name string, e Entry) string {
	if h.entries--; h.entries < 0 {
		return ""
	}
	switch e.Mode {
	case ModeFile, ModeExecutable:
		return h.file(name, e.SizeBytes)
	case ModeSymlink:
		to, err := h.tree.root.Readlink(name)
		if err != nil {
			return ""
		}
		sum := object("blob", int64(len(to)))
		_, _ = io.WriteString(sum, to)
		return hex.EncodeToString(sum.Sum(nil))
	case ModeDir:
		return h.dir(name)
	}
	return ""
}

func (h *hashing) file(name string, size int64) string {
	if h.bytes -= size; h.bytes < 0 {
		return ""
	}
	f, err := h.tree.open(name)
	if err != nil {
		return ""
	}
	defer func() { _ = f.Close() }()
	sum := object("blob", size)
	// A file that changes size meanwhile has no id.
	if n, err := io.Copy(sum, io.LimitReader(f, size+1)); err != nil || n != size {
		return ""
	}
	return hex.EncodeToString(sum.Sum(nil))
}

func (h *hashing) dir(name string) string {
	entries, err := h.tree.list(name)
	if err != nil {
		return ""
	}
	var body strings.Builder
	for _, e := range entries {
		hexID := h.id(path.Join(name, e.Name), e)
		if hexID == emptyTree {
			continue
		}
		id, err := hex.DecodeString(hexID)
		if err != nil || len(id) != sha1.Size {
			return ""
		}
		fmt.Fprintf(&body, "%o %s\x00%s", e.Mode, e.Name, id)
	}
	sum := object("tree", int64(body.Len()))
	_, _ = io.WriteString(sum, body.String())
	return hex.EncodeToString(sum.Sum(nil))
}

// emptyTree is the id of a directory without a file. Git does not record one.
const emptyTree = "4b825dc642cb6eb9a060e54bf8d69288fbee4904"

// object begins the hash of a Git object.
func object(kind string, size int64) hash.Hash {
	sum := sha1.New()
	fmt.Fprintf(sum, "%s %d\x00", kind, size)
	return sum
}
