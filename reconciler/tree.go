package reconciler

import (
	"context"
	"fmt"
	"strings"

	"github.com/stella-ops/stella"
	"github.com/stella-ops/stella/configrepo"
	"github.com/stella-ops/stella/internal/git"
)

// GitTree lets configrepo read a commit without knowing Git.
type GitTree struct {
	t *git.Tree
	// instead are directories that are not read from t, the last put there first.
	instead []placed
}

// placed is a directory that is read from a tree of its own; nil for nothing.
type placed struct {
	at   string
	tree *git.Tree
}

// TreeOf returns the tree as configrepo reads one.
func TreeOf(t *git.Tree) GitTree { return GitTree{t: t} }

// with returns the tree with another directory in the place of one of its own, or
// with none there.
func (g GitTree) with(dir string, instead *git.Tree) GitTree {
	return GitTree{t: g.t, instead: append([]placed{{dir, instead}}, g.instead...)}
}

// id names all that can be read from the tree.
func (g GitTree) id() string {
	ids := []string{string(g.t.ID())}
	for _, p := range g.instead {
		ids = append(ids, p.at+"="+string(idOf(p.tree)))
	}
	return strings.Join(ids, " ")
}

// place finds which tree has a path, and where in it. Errors are of class
// stella.ErrNotFound.
func (g GitTree) place(path string) (*git.Tree, string, error) {
	for _, p := range g.instead {
		below, ok := strings.CutPrefix(path, p.at+"/")
		switch {
		case !ok && path != p.at:
			continue
		case p.tree == nil:
			return nil, "", fmt.Errorf("%s: %w", path, stella.ErrNotFound)
		case !ok:
			return p.tree, "", nil
		}
		return p.tree, below, nil
	}
	return g.t, path, nil
}

// Entries implements configrepo.Tree.
func (g GitTree) Entries(ctx context.Context, dir string) ([]configrepo.Entry, error) {
	t, dir, err := g.place(dir)
	if err != nil {
		return nil, err
	}
	entries, err := t.Entries(ctx, dir)
	if err != nil {
		return nil, err
	}
	out := make([]configrepo.Entry, len(entries))
	for i, e := range entries {
		out[i] = entry(e)
	}
	return out, nil
}

// Read implements configrepo.Tree.
func (g GitTree) Read(ctx context.Context, path string, maxBytes int64) ([]byte, error) {
	t, path, err := g.place(path)
	if err != nil {
		return nil, err
	}
	return t.Read(ctx, path, maxBytes)
}

// Lookup spares configrepo the listing of a directory that it wants one entry
// of.
func (g GitTree) Lookup(ctx context.Context, path string) (configrepo.Entry, error) {
	t, inside, err := g.place(path)
	if err != nil {
		return configrepo.Entry{}, err
	}
	if inside == "" {
		return configrepo.Entry{Name: path[strings.LastIndexByte(path, '/')+1:], Mode: configrepo.ModeDir, ID: string(t.ID())}, nil
	}
	e, err := t.Lookup(ctx, inside)
	return entry(e), err
}

func entry(e git.Entry) configrepo.Entry {
	return configrepo.Entry{Name: e.Name, Mode: e.Mode, ID: string(e.ID), SizeBytes: e.SizeBytes}
}
