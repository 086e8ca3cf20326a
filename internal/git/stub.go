package git

import (
	"context"

	"github.com/stella-ops/stella"
)

// Repo is one remote with its cache.
type Repo struct{}

// Tree is one commit's or directory's content.
type Tree struct{}

// Built is a commit that exists in this process only, until it is pushed.
type Built struct {
	Commit, Tree ID
}

func Open(ctx context.Context, o Options) (*Repo, error) { return nil, stella.ErrUnsupported }
func (r *Repo) Close() error                             { return nil }
func (r *Repo) List(ctx context.Context) (Refs, error)   { return Refs{}, stella.ErrUnsupported }
func (r *Repo) Fetch(ctx context.Context, w Want) (Refs, error) {
	return Refs{}, stella.ErrUnsupported
}

// Seen returns the last-seen heads, without the network.
func (r *Repo) Seen(ctx context.Context) (Refs, error) { return Refs{}, stella.ErrUnsupported }
func (r *Repo) Commit(ctx context.Context, id ID) (Commit, error) {
	return Commit{}, stella.ErrUnsupported
}
func (r *Repo) IsAncestor(ctx context.Context, old, new ID) (bool, error) {
	return false, stella.ErrUnsupported
}
func (r *Repo) Log(ctx context.Context, from ID, path string, most int) ([]Commit, error) {
	return nil, stella.ErrUnsupported
}
func (r *Repo) Tree(ctx context.Context, treeish ID) (*Tree, error) {
	return nil, stella.ErrUnsupported
}
func (t *Tree) ID() ID { return "" }
func (t *Tree) Entries(ctx context.Context, dir string) ([]Entry, error) {
	return nil, stella.ErrUnsupported
}
func (t *Tree) Lookup(ctx context.Context, path string) (Entry, error) {
	return Entry{}, stella.ErrUnsupported
}
func (t *Tree) Read(ctx context.Context, path string, maxBytes int64) ([]byte, error) {
	return nil, stella.ErrUnsupported
}
func (r *Repo) Build(ctx context.Context, d Draft) (*Built, error) {
	return nil, stella.ErrUnsupported
}
func (r *Repo) Push(ctx context.Context, updates []Update, objs ...*Built) error {
	return stella.ErrUnsupported
}
func (r *Repo) AcceptHead(ref string, id ID) error     { return stella.ErrUnsupported }
func (r *Repo) Identity(ctx context.Context) Signature { return Signature{} }
