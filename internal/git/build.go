package git

import (
	"bytes"
	"context"
	"encoding/hex"
	"fmt"
	"maps"
	"slices"

	"github.com/go-git/go-git/v5/plumbing"

	"github.com/stella-ops/stella"
	"github.com/stella-ops/stella/internal/git/odb"
	"github.com/stella-ops/stella/internal/safe"
)

// Built is a commit that exists in this process only, until it is pushed. It can
// be read like any other: until then, or until so much more was built that the
// Repo forgets it (the Built itself can be pushed all the same).
type Built struct {
	Commit, Tree ID

	objects map[ID]built // what the remote does not have
	signed  bool
}

// Build makes a commit: the tree of Base with the edits, in their order. Only
// directories on the way to an edit are made anew. Nothing is written to disk
// or sent. Errors: stella.ErrInvalid for an edit that can not be made,
// stella.ErrNotFound for a Base or Graft that nobody has.
func (r *Repo) Build(ctx context.Context, d Draft) (*Built, error) {
	b, err := r.build(ctx, d)
	if err != nil {
		return nil, fmt.Errorf("build a commit: %w", err)
	}
	r.overlay.add(b)
	return b, nil
}

func (r *Repo) build(ctx context.Context, d Draft) (*Built, error) {
	if err := d.complete(); err != nil {
		return nil, err
	}
	e := &editor{r: r, objects: map[ID]built{}}
	root := &node{}
	if d.Base != "" {
		base, err := r.Tree(ctx, d.Base)
		if err != nil {
			return nil, err
		}
		root.id = base.ID()
	}
	for _, edit := range d.Edits {
		if err := e.apply(ctx, root, edit); err != nil {
			return nil, fmt.Errorf("edit %s: %w", shownPath(edit.Path), err)
		}
	}
	tree, err := e.write(ctx, root)
	if err != nil {
		return nil, err
	}
	b := &Built{Tree: tree, objects: e.objects}
	b.Commit = e.add(odb.Commit, encodeCommit(tree, d))
	return b, nil
}

// complete checks a draft and fills in what it leaves open.
func (d *Draft) complete() error {
	for _, p := range d.Parents {
		if _, err := ParseID(string(p)); err != nil {
			return fmt.Errorf("parent: %w", err)
		}
	}
	if d.Committer.Name == "" && d.Committer.Email == "" {
		d.Committer.Name, d.Committer.Email = d.Author.Name, d.Author.Email
	}
	if d.Committer.When.IsZero() {
		d.Committer.When = d.Author.When
	}
	if d.Author.When.IsZero() {
		d.Author.When = d.Committer.When
	}
	if d.Author.When.Unix() < 0 || d.Committer.When.Unix() < 0 {
		return fmt.Errorf("%w: the commit has no time", stella.ErrInvalid)
	}
	return nil
}

// node is a directory that is being edited. Its entries are read when an edit
// leads into it.
type node struct {
	id      ID               // as it was; empty for one that is new
	entries map[string]Entry // nil until it is read
	dirs    map[string]*node // the directories among them that were looked into
	dirty   bool
}

type editor struct {
	r       *Repo
	objects map[ID]built
}

func (e *editor) add(kind odb.Kind, data []byte) ID {
	id := idOf(plumbing.ComputeHash(kind, data))
	e.objects[id] = built{kind: kind, data: data}
	return id
}

func (e *editor) load(ctx context.Context, n *node) error {
	if n.entries != nil {
		return nil
	}
	n.entries, n.dirs = map[string]Entry{}, map[string]*node{}
	if n.id == "" {
		return nil
	}
	entries, err := e.r.dir(ctx, n.id)
	for _, entry := range entries {
		n.entries[entry.Name] = entry
	}
	return err
}

// apply makes one edit below root.
func (e *editor) apply(ctx context.Context, root *node, edit Edit) error {
	parts, err := splitPath(edit.Path)
	if err != nil {
		return err
	}
	if len(parts) == 0 {
		return fmt.Errorf("%w: an edit needs a path", stella.ErrInvalid)
	}
	var put Entry
	if !edit.Delete {
		if put, err = e.entry(ctx, edit); err != nil {
			return err
		}
	}
	way := []*node{root}
	for _, name := range parts[:len(parts)-1] {
		next, err := e.enter(ctx, way[len(way)-1], name, !edit.Delete)
		if err != nil || next == nil {
			return err
		}
		way = append(way, next)
	}
	dir, name := way[len(way)-1], parts[len(parts)-1]
	if err := e.load(ctx, dir); err != nil {
		return err
	}
	if _, there := dir.entries[name]; edit.Delete && !there {
		return nil
	}
	delete(dir.entries, name)
	delete(dir.dirs, name)
	if !edit.Delete {
		put.Name = name
		dir.entries[name] = put
	}
	for _, n := range way {
		n.dirty = true
	}
	return nil
}

// enter returns the directory of that name, making it if need be; nil when it
// is not there and not to be made.
func (e *editor) enter(ctx context.Context, n *node, name string, create bool) (*node, error) {
	if err := e.load(ctx, n); err != nil {
		return nil, err
	}
	if child, ok := n.dirs[name]; ok {
		return child, nil
	}
	child := &node{}
	switch entry, there := n.entries[name]; {
	case there && !entry.IsDir():
		return nil, fmt.Errorf("%w: %q is no directory", stella.ErrInvalid, safe.Line(name))
	case there:
		child.id = entry.ID
	case !create:
		return nil, nil
	default:
		n.entries[name] = Entry{Name: name, Mode: ModeDir}
	}
	n.dirs[name] = child
	return child, nil
}

// entry makes the entry that an edit puts.
func (e *editor) entry(ctx context.Context, edit Edit) (Entry, error) {
	if edit.Graft != "" {
		return e.graft(ctx, edit)
	}
	mode := edit.Mode
	if mode == 0 {
		mode = ModeFile
	}
	if mode != ModeFile && mode != ModeExecutable {
		return Entry{}, fmt.Errorf("%w: mode %o is none of a file", stella.ErrInvalid, mode)
	}
	return Entry{Mode: mode, ID: e.add(odb.Blob, slices.Clone(edit.Content))}, nil
}

// graft makes sure that what is put exists and is what the mode says.
func (e *editor) graft(ctx context.Context, edit Edit) (Entry, error) {
	mode, want := edit.GraftMode, odb.Blob
	if mode == 0 {
		mode = ModeDir
	}
	switch mode {
	case ModeDir:
		want = odb.Tree
	case ModeFile, ModeExecutable:
	default:
		return Entry{}, fmt.Errorf("%w: mode %o can not be grafted", stella.ErrInvalid, mode)
	}
	kind, _, err := e.r.object(ctx, edit.Graft, maxTreeBytes, named)
	if err == nil && kind != want {
		err = fmt.Errorf("%w: %s is a %s and not a %s", stella.ErrInvalid, edit.Graft.Short(), kind, want)
	}
	return Entry{Mode: mode, ID: edit.Graft}, err
}

// write makes the trees of what was edited and returns the id of n's. A
// directory that became empty is left out by its parent: Git has none.
func (e *editor) write(ctx context.Context, n *node) (ID, error) {
	if !n.dirty && n.id != "" {
		return n.id, nil
	}
	if err := e.load(ctx, n); err != nil {
		return "", err
	}
	for name, child := range n.dirs {
		if !child.dirty {
			continue
		}
		id, err := e.write(ctx, child)
		if err != nil {
			return "", err
		}
		if len(child.entries) == 0 {
			delete(n.entries, name)
			continue
		}
		n.entries[name] = Entry{Name: name, Mode: ModeDir, ID: id}
	}
	var b bytes.Buffer
	for _, entry := range slices.SortedFunc(maps.Values(n.entries), compareEntries) {
		raw, err := hex.DecodeString(string(entry.ID))
		if err != nil {
			return "", err
		}
		fmt.Fprintf(&b, "%o %s\x00%s", entry.Mode, entry.Name, raw)
	}
	id := idOf(plumbing.ComputeHash(odb.Tree, b.Bytes()))
	if id != n.id {
		e.add(odb.Tree, b.Bytes())
	}
	return id, nil
}
