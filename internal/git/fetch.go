package git

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/stella-ops/stella"
	"github.com/stella-ops/stella/internal/git/odb"
	"github.com/stella-ops/stella/internal/git/wire"
	"github.com/stella-ops/stella/internal/safe"
)

var errTooSlow = fmt.Errorf("%w: the remote is too slow", stella.ErrUnreachable)

// List lists the remote's refs. An empty repository has none, which is no
// error. Errors: stella.ErrUnreachable, ErrDenied, ErrNotFound, ErrInvalid (not
// a Git server), ErrUnsupported, ErrTampered (a changed host key).
func (r *Repo) List(ctx context.Context) (Refs, error) {
	conn, err := r.remote.Open(ctx, wire.UploadPack, 0)
	if err != nil {
		return Refs{}, wrap("list "+r.Remote(), err)
	}
	refs := refsOf(conn.Advert)
	return refs, wrap("list "+r.Remote(), conn.Close())
}

// refsOf takes over what a remote advertised. A ref whose name is not valid is
// left out: it can not be asked for, either.
func refsOf(a *wire.Advert) Refs {
	refs := Refs{IDs: make(map[string]ID, len(a.Refs)), At: time.Now()}
	for name, h := range a.Refs {
		if CheckRef(name) == nil && !h.IsZero() {
			refs.IDs[name] = idOf(h)
		}
	}
	if CheckRef(a.Default) == nil && strings.HasPrefix(a.Default, "refs/heads/") {
		refs.Default = a.Default
	}
	return refs
}

// session runs fn with a conversation to fetch, which ends in time.
func (r *Repo) session(ctx context.Context, fn func(context.Context, *wire.Conn) error) error {
	ctx, cancel := context.WithTimeoutCause(ctx, patience*r.opts.Timeout, errTooSlow)
	defer cancel()
	conn, err := r.remote.Open(ctx, wire.UploadPack, 0)
	if err != nil {
		return err
	}
	return errors.Join(fn(ctx, conn), conn.Close())
}

// Fetch lists the remote's refs, fetches what is wanted and not in the cache,
// and checks that each head descends from where it was last seen. On first
// contact a ref is trusted, and only its commit is fetched, unless Deep.
//
// A ref that does not descend is a *RewoundError (class stella.ErrTampered), of
// which there may be several in one error. The Refs are valid then, too, the
// objects are in the cache, and the other heads were taken over: whoever needs
// those may go on. Further errors are those of List, and with Branch ErrEmpty
// and stella.ErrNotFound when there is no default branch.
func (r *Repo) Fetch(ctx context.Context, w Want) (Refs, error) {
	refs, err := r.fetch(ctx, w)
	if err != nil {
		return refs, fmt.Errorf("fetch from %s: %w", r.Remote(), err)
	}
	return refs, nil
}

func (r *Repo) fetch(ctx context.Context, w Want) (refs Refs, err error) {
	// Before listing: what is listed later than this must descend from this.
	before, err := r.seen.read()
	if err != nil {
		return Refs{}, err
	}
	var wanted map[string]ID
	err = r.session(ctx, func(ctx context.Context, conn *wire.Conn) error {
		refs = refsOf(conn.Advert)
		if wanted, err = w.choose(refs); err != nil {
			return err
		}
		req, err := r.plan(ctx, wanted, before, w.Deep)
		if err != nil || len(req.Wants) == 0 {
			return err
		}
		return r.receive(ctx, conn, req, merge)
	})
	if err != nil {
		return refs, err
	}
	err = r.settle(ctx, refs, wanted, before, w)
	return refs, errors.Join(err, r.shrink(ctx))
}

// choose returns the refs that are wanted, as far as the remote has them.
func (w Want) choose(refs Refs) (map[string]ID, error) {
	wanted := map[string]ID{}
	for _, name := range w.Names {
		if id, ok := refs.IDs[name]; ok {
			wanted[name] = id
		}
	}
	for name, id := range refs.IDs {
		if w.hasPrefix(name) {
			wanted[name] = id
		}
	}
	if w.Branch {
		id, ok := refs.IDs[refs.Default]
		switch {
		case len(refs.IDs) == 0:
			return nil, stella.WithHint(fmt.Errorf("%w: %w", stella.ErrNotFound, ErrEmpty), "push a first commit")
		case !ok && refs.Default != "":
			return nil, stella.WithHint(fmt.Errorf("%w: the remote's HEAD points to %s, which does not exist", stella.ErrNotFound, safe.Line(refs.Default)),
				"set the repository's default branch")
		case !ok:
			return nil, stella.WithHint(fmt.Errorf("%w: the remote has no default branch", stella.ErrNotFound), "set the repository's default branch")
		}
		wanted[refs.Default] = id
	}
	return wanted, nil
}

func (w Want) hasPrefix(ref string) bool {
	return slices.ContainsFunc(w.Prefixes, func(p string) bool { return strings.HasPrefix(ref, p) })
}

// window is how many commits are fetched at once where the cache has only a part
// of the history. Without a bound, the first merge of a branch that forked off
// below that part would bring the whole history with it. It costs little: trees
// of one file changed are some hundred bytes each.
const window = 32

// maxHaves bounds what the remote is told that we have.
const maxHaves = 64

// plan decides what to ask for; nothing when all is here.
func (r *Repo) plan(ctx context.Context, wanted map[string]ID, before heads, deep bool) (wire.Request, error) {
	cuts, err := r.cuts(ctx)
	if err != nil {
		return wire.Request{}, err
	}
	// Once for all, and not for each that is missing.
	if _, err := r.db.Reload(); err != nil {
		return wire.Request{}, err
	}
	if deep {
		return r.planDeep(ctx, wanted, before, cuts), nil
	}
	req := wire.Request{Shallows: cuts}
	for ref, id := range wanted {
		if r.db.HasNow(id.hash()) {
			continue
		}
		req.Wants = append(req.Wants, id.hash())
		if base := before.Heads[ref]; base != "" && r.db.HasNow(base.hash()) {
			req.Haves = append(req.Haves, base.hash())
		}
	}
	req.Depth = depthFor(len(req.Haves), len(req.Wants), len(cuts))
	if base := before.Heads[before.Default]; base != "" && r.db.HasNow(base.hash()) {
		req.Haves = append(req.Haves, base.hash())
	}
	req.Haves = req.Haves[:min(len(req.Haves), maxHaves)]
	return req, nil
}

// planDeep asks for whole histories. Of what is here, only what leads to the
// same refs is mentioned: all history that is said to be cut would come.
func (r *Repo) planDeep(ctx context.Context, wanted map[string]ID, before heads, cuts []odb.Hash) wire.Request {
	var req wire.Request
	for ref, id := range wanted {
		have := r.db.HasNow(id.hash())
		base := before.Heads[ref]
		if have {
			base = id
		}
		var open []odb.Hash
		if base != "" && r.db.HasNow(base.hash()) {
			open = r.cutsBelow(ctx, base, cuts)
			req.Haves, req.Shallows = append(req.Haves, base.hash()), append(req.Shallows, open...)
		}
		if !have || len(open) > 0 {
			req.Wants = append(req.Wants, id.hash())
		}
	}
	if len(req.Shallows) > 0 {
		req.Depth = wire.Everything
	}
	return req
}

// depthFor says how much history to ask for, when so many of the wants have an
// earlier head here.
func depthFor(based, wants, cuts int) int {
	switch {
	case based == 0:
		return 1
	case cuts == 0 && based == wants:
		return 0
	}
	return window
}

// cuts returns the commits whose parents are not here.
func (r *Repo) cuts(ctx context.Context) ([]odb.Hash, error) {
	cuts, err := r.db.Shallow()
	if errors.Is(err, odb.ErrDamaged) {
		// Every commit is as good as cut: what is there can not be built upon.
		err = r.rebuild(ctx, err)
		if err == nil {
			cuts, err = r.db.Shallow()
		}
	}
	return cuts, err
}

func hashes(ids []ID) []odb.Hash {
	out := make([]odb.Hash, len(ids))
	for i, id := range ids {
		out[i] = id.hash()
	}
	return out
}
