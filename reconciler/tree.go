package reconciler

import (
	"context"

	"github.com/stella-ops/stella/configrepo"
	"github.com/stella-ops/stella/internal/git"
)

// gitTree lets configrepo read a commit without knowing Git.
type gitTree struct{ t *git.Tree }

// Entries implements configrepo.Tree.
func (g gitTree) Entries(ctx context.Context, dir string) ([]configrepo.Entry, error) {
	entries, err := g.t.Entries(ctx, dir)
	if err != nil {
		return nil, err
	}
	out := make([]configrepo.Entry, len(entries))
	for i, e := range entries {
		out[i] = configrepo.Entry{Name: e.Name, Mode: e.Mode, ID: string(e.ID), SizeBytes: e.SizeBytes}
	}
	return out, nil
}

// Read implements configrepo.Tree.
func (g gitTree) Read(ctx context.Context, path string, maxBytes int64) ([]byte, error) {
	return g.t.Read(ctx, path, maxBytes)
}
