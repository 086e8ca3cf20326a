package reconciler

import (
	"context"

	"github.com/stella-ops/stella/configrepo"
	"github.com/stella-ops/stella/internal/git"
)

// GitTree lets configrepo read a commit without knowing Git.
type GitTree struct{ t *git.Tree }

// TreeOf returns the tree as configrepo reads one.
func TreeOf(t *git.Tree) GitTree { return GitTree{t} }

// Entries implements configrepo.Tree.
func (g GitTree) Entries(ctx context.Context, dir string) ([]configrepo.Entry, error) {
	entries, err := g.t.Entries(ctx, dir)
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
	return g.t.Read(ctx, path, maxBytes)
}

// Lookup spares configrepo the listing of a directory that it wants one entry
// of.
func (g GitTree) Lookup(ctx context.Context, path string) (configrepo.Entry, error) {
	e, err := g.t.Lookup(ctx, path)
	return entry(e), err
}

func entry(e git.Entry) configrepo.Entry {
	return configrepo.Entry{Name: e.Name, Mode: e.Mode, ID: string(e.ID), SizeBytes: e.SizeBytes}
}
