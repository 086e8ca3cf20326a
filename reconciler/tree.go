package reconciler

import (
	"context"
	"strings"

	"github.com/stella-ops/stella/configrepo"
	"github.com/stella-ops/stella/internal/git"
)

// GitTree lets configrepo read a commit without knowing Git.
type GitTree struct {
	t *git.Tree
	// at is a directory that is read from instead, not from t; empty for none.
	at      string
	instead *git.Tree
}

// TreeOf returns the tree as configrepo reads one.
func TreeOf(t *git.Tree) GitTree { return GitTree{t: t} }

// with returns the tree with another directory in the place of one of its own.
func (g GitTree) with(dir string, instead *git.Tree) GitTree {
	return GitTree{t: g.t, at: dir, instead: instead}
}

// id names all that can be read from the tree.
func (g GitTree) id() string {
	if g.instead == nil {
		return string(g.t.ID())
	}
	return string(g.t.ID()) + " " + g.at + "=" + string(g.instead.ID())
}

// place finds which tree has a path, and where in it.
func (g GitTree) place(path string) (*git.Tree, string) {
	if g.instead == nil {
		return g.t, path
	}
	if path == g.at {
		return g.instead, ""
	}
	if below, ok := strings.CutPrefix(path, g.at+"/"); ok {
		return g.instead, below
	}
	return g.t, path
}

// Entries implements configrepo.Tree.
func (g GitTree) Entries(ctx context.Context, dir string) ([]configrepo.Entry, error) {
	t, dir := g.place(dir)
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
	t, path := g.place(path)
	return t.Read(ctx, path, maxBytes)
}

// Lookup spares configrepo the listing of a directory that it wants one entry
// of.
func (g GitTree) Lookup(ctx context.Context, path string) (configrepo.Entry, error) {
	if g.instead != nil && path == g.at {
		return configrepo.Entry{Name: path[strings.LastIndexByte(path, '/')+1:], Mode: configrepo.ModeDir, ID: string(g.instead.ID())}, nil
	}
	t, path := g.place(path)
	e, err := t.Lookup(ctx, path)
	return entry(e), err
}

func entry(e git.Entry) configrepo.Entry {
	return configrepo.Entry{Name: e.Name, Mode: e.Mode, ID: string(e.ID), SizeBytes: e.SizeBytes}
}
