package git

import (
	"context"
	"errors"
	"fmt"
	"io"
	"slices"

	"github.com/stella-ops/stella"
	"github.com/stella-ops/stella/internal/git/odb"
	"github.com/stella-ops/stella/internal/git/wire"
	"github.com/stella-ops/stella/internal/safe"
)

// mode says what becomes of the other packs.
type mode bool

const (
	merge   mode = false
	replace mode = true
)

// receive asks for a pack and stores it.
func (r *Repo) receive(ctx context.Context, conn *wire.Conn, req wire.Request, m mode) error {
	resp, err := conn.Fetch(req)
	if err != nil {
		return err
	}
	return r.store(ctx, conn, resp, m)
}

// store writes a response to the cache. The lock is taken when all has come.
func (r *Repo) store(ctx context.Context, conn *wire.Conn, resp *wire.Response, m mode) error {
	in, err := r.db.Receive(ctx, resp.Pack, r.opts.MaxFetchBytes)
	if err != nil {
		return receiveError(err)
	}
	defer in.Discard()
	// What follows the pack is of no interest, but for the connection's sake.
	_, _ = io.CopyN(io.Discard, resp.Pack, 1<<10)
	if err := conn.Close(); err != nil {
		return err
	}
	return r.locked(ctx, func() error {
		if m == replace {
			return in.Replace(resp.Shallows)
		}
		return r.install(in, resp)
	})
}

func receiveError(err error) error {
	switch {
	case errors.Is(err, odb.ErrTooBig):
		return stella.WithHint(fmt.Errorf("%w: %w", stella.ErrInvalid, err), "keep large files out of the repository, or allow larger fetches")
	case errors.Is(err, odb.ErrDamaged):
		// The cache is not: what arrived is.
		return fmt.Errorf("%w: the remote sent a damaged pack: %s", stella.ErrUnreachable, safe.Clip(err.Error(), 200))
	}
	return err
}

// install adds a pack and keeps the file of cuts true at every moment: it may
// name too many commits, never too few.
func (r *Repo) install(in *odb.Incoming, resp *wire.Response) error {
	cuts, err := r.db.Shallow()
	if err != nil && !errors.Is(err, odb.ErrDamaged) {
		return err
	}
	added := slices.DeleteFunc(slices.Clone(resp.Shallows), r.hasParents)
	if len(added) > 0 {
		if err := r.db.SetShallow(append(slices.Clone(cuts), added...)); err != nil {
			return err
		}
	}
	if err := in.Install(); err != nil {
		return err
	}
	if len(added)+len(resp.Unshallows) > 0 {
		final := slices.DeleteFunc(slices.Clone(cuts), func(h odb.Hash) bool { return slices.Contains(resp.Unshallows, h) })
		final = append(final, slices.DeleteFunc(added, r.hasParents)...)
		if err := r.db.SetShallow(final); err != nil {
			return err
		}
	}
	return r.db.Tidy()
}

// hasParents reports whether a commit and all its parents are here, so that
// history is not cut at it, whatever the remote left out this time.
func (r *Repo) hasParents(h odb.Hash) bool {
	_, data, err := r.db.Read(h, maxCommitBytes)
	if err != nil {
		return false
	}
	c, err := parseCommit(idOf(h), data)
	if err != nil {
		return false
	}
	for _, p := range c.Parents {
		if !r.db.HasNow(p.hash()) {
			return false
		}
	}
	return true
}
