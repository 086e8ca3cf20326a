package git

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"sync"

	"github.com/stella-ops/stella"
	"github.com/stella-ops/stella/internal/git/odb"
	"github.com/stella-ops/stella/internal/safe"
)

// Tree is the content of a commit or of a directory. It is immutable, and safe
// for several goroutines. Directories are read when they are asked for, and
// what was read lately is kept.
type Tree struct {
	r    *Repo
	root ID
}

// Tree returns the tree of a commit, or a tree by its own id. Errors:
// stella.ErrNotFound when neither the cache nor the remote has it.
func (r *Repo) Tree(ctx context.Context, treeish ID) (*Tree, error) {
	kind, data, err := r.object(ctx, treeish, maxTreeBytes, named)
	if err != nil {
		return nil, fmt.Errorf("read tree %s: %w", treeish.Short(), err)
	}
	switch kind {
	case odb.Commit:
		c, err := parseCommit(treeish, data)
		if err != nil {
			return nil, err
		}
		return &Tree{r: r, root: c.Tree}, nil
	case odb.Tree:
		return &Tree{r: r, root: treeish}, nil
	}
	return nil, fmt.Errorf("%w: %s is a %s and not a tree", stella.ErrInvalid, treeish.Short(), kind)
}

// ID returns the id of the tree itself.
func (t *Tree) ID() ID { return t.root }

// Entries lists a directory ("" is the top), sorted by name. Errors:
// stella.ErrNotFound, and stella.ErrInvalid for a file or for a directory with
// names, modes or duplicates that are not accepted.
func (t *Tree) Entries(ctx context.Context, dir string) ([]Entry, error) {
	entries, err := t.entries(ctx, dir)
	if err != nil {
		return nil, fmt.Errorf("read %s: %w", shownPath(dir), err)
	}
	out := slices.Clone(entries)
	for i := range out {
		if err := t.r.addSize(ctx, &out[i]); err != nil {
			return nil, fmt.Errorf("read %s: %w", shownPath(dir), err)
		}
	}
	return out, nil
}

func (t *Tree) entries(ctx context.Context, dir string) ([]Entry, error) {
	id := t.root
	if dir != "" && dir != "." {
		e, err := t.lookup(ctx, dir)
		if err != nil {
			return nil, err
		}
		if !e.IsDir() {
			return nil, fmt.Errorf("%w: it is no directory", stella.ErrInvalid)
		}
		id = e.ID
	}
	return t.r.dir(ctx, id)
}

// addSize sets the size of what has one.
func (r *Repo) addSize(ctx context.Context, e *Entry) (err error) {
	if e.IsFile() || e.Mode == ModeSymlink {
		e.SizeBytes, err = r.size(ctx, e.ID)
	}
	return err
}

// Lookup returns the entry at a path. Errors are those of Entries.
func (t *Tree) Lookup(ctx context.Context, path string) (Entry, error) {
	e, err := t.lookup(ctx, path)
	if err == nil {
		err = t.r.addSize(ctx, &e)
	}
	if err != nil {
		return Entry{}, fmt.Errorf("look up %s: %w", shownPath(path), err)
	}
	return e, nil
}

func (t *Tree) lookup(ctx context.Context, path string) (Entry, error) {
	parts, err := splitPath(path)
	if err != nil {
		return Entry{}, err
	}
	e := Entry{Mode: ModeDir, ID: t.root}
	for _, name := range parts {
		if !e.IsDir() {
			return Entry{}, stella.ErrNotFound
		}
		entries, err := t.r.dir(ctx, e.ID)
		if err != nil {
			return Entry{}, err
		}
		i, ok := slices.BinarySearchFunc(entries, name, func(e Entry, name string) int { return compareNames(e.Name, name) })
		if !ok {
			return Entry{}, stella.ErrNotFound
		}
		e = entries[i]
	}
	return e, nil
}

// Read returns the content of a file of at most maxBytes; its size is known
// before it is read. Symlinks, submodules and directories are refused with
// class stella.ErrInvalid, as is a file that is too big.
func (t *Tree) Read(ctx context.Context, path string, maxBytes int64) ([]byte, error) {
	data, err := t.read(ctx, path, maxBytes)
	if err != nil {
		return nil, fmt.Errorf("read %s: %w", shownPath(path), err)
	}
	return data, nil
}

func (t *Tree) read(ctx context.Context, path string, maxBytes int64) ([]byte, error) {
	e, err := t.lookup(ctx, path)
	switch {
	case err != nil:
		return nil, err
	case e.Mode == ModeSymlink:
		return nil, fmt.Errorf("%w: it is a symbolic link, which is not followed", stella.ErrInvalid)
	case e.Mode == ModeSubmodule:
		return nil, fmt.Errorf("%w: it is a submodule, which is not fetched", stella.ErrInvalid)
	case e.IsDir():
		return nil, fmt.Errorf("%w: it is a directory", stella.ErrInvalid)
	}
	kind, data, err := t.r.object(ctx, e.ID, maxBytes, reached)
	if errors.Is(err, odb.ErrTooBig) {
		return nil, fmt.Errorf("%w: it has more than %d bytes", stella.ErrInvalid, maxBytes)
	}
	if err == nil && kind != odb.Blob {
		err = fmt.Errorf("%w: it is a %s where a file should be", stella.ErrInvalid, kind)
	}
	if err != nil {
		return nil, err
	}
	return slices.Clone(data), nil
}

func shownPath(path string) string {
	if path == "" || path == "." {
		return "the top directory"
	}
	return safe.Clip(path, 200)
}

// dir returns the validated entries of a directory, sorted by name and not to
// be changed.
func (r *Repo) dir(ctx context.Context, id ID) ([]Entry, error) {
	if entries, ok := r.dirs.get(id); ok {
		return entries, nil
	}
	kind, data, err := r.object(ctx, id, maxTreeBytes, reached)
	if errors.Is(err, odb.ErrTooBig) {
		return nil, fmt.Errorf("%w: the directory is too big", stella.ErrInvalid)
	}
	if err != nil {
		return nil, err
	}
	if kind != odb.Tree {
		return nil, fmt.Errorf("%w: it is a %s where a directory should be", stella.ErrInvalid, kind)
	}
	entries, err := parseTree(data)
	if err != nil {
		return nil, err
	}
	// Trees are sorted with a slash after directories, which is not by name.
	slices.SortFunc(entries, func(a, b Entry) int { return compareNames(a.Name, b.Name) })
	r.dirs.put(id, entries)
	return entries, nil
}

// dirCache keeps parsed directories, so that looking up many paths below one
// directory parses it once. It is emptied when it is full: what matters is the
// one pass that a caller is in.
type dirCache struct {
	mu      sync.Mutex // guards what follows
	dirs    map[ID][]Entry
	entries int
}

// maxCachedEntries is about 15 MB.
const maxCachedEntries = 100_000

func newDirCache() *dirCache { return &dirCache{dirs: map[ID][]Entry{}} }

func (c *dirCache) get(id ID) ([]Entry, bool) {
	c.mu.Lock()
	defer c.mu.Unlock()
	entries, ok := c.dirs[id]
	return entries, ok
}

func (c *dirCache) put(id ID, entries []Entry) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.entries += len(entries) + 1; c.entries > maxCachedEntries {
		clear(c.dirs)
		c.entries = len(entries) + 1
	}
	c.dirs[id] = entries
}
