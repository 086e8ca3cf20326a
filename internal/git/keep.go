package git

import (
	"bytes"
	"context"
	"slices"

	"github.com/stella-ops/stella/internal/git/odb"
	"github.com/stella-ops/stella/internal/git/wire"
)

// keep takes what landed into the cache, so that it need not be fetched. That it
// landed stands, whatever happens here.
func (r *Repo) keep(ctx context.Context, updates []Update, objs []*Built, pack []byte) {
	ctx = context.WithoutCancel(ctx)
	if err := r.keepPack(ctx, updates, pack); err != nil {
		r.opts.Logger.WarnContext(ctx, "keep what was pushed", "remote", r.Remote(), "err", err)
		return
	}
	for _, b := range objs {
		r.overlay.remove(b)
	}
}

func (r *Repo) keepPack(ctx context.Context, updates []Update, pack []byte) error {
	in, err := r.db.Receive(ctx, bytes.NewReader(pack), max(int64(len(pack)), 1))
	if err != nil {
		return err
	}
	defer in.Discard()
	return r.locked(ctx, func() error {
		var cut []odb.Hash
		for _, u := range updates {
			// A commit on top of what is not here is where history is cut.
			if o, ok := r.overlay.get(u.New); ok && !r.parentsHere(u.New, o.data) {
				cut = append(cut, u.New.hash())
			}
		}
		if err := r.install(in, &wire.Response{Shallows: cut}); err != nil {
			return err
		}
		return r.seen.update(func(h *heads) bool { return h.move(updates) })
	})
}

func (r *Repo) parentsHere(id ID, data []byte) bool {
	c, err := parseCommit(id, data)
	return err == nil && !slices.ContainsFunc(c.Parents, func(p ID) bool { return !r.db.HasNow(p.hash()) })
}

// move follows a push that landed. A head that is known to be elsewhere is
// newer, and stays.
func (h *heads) move(updates []Update) (changed bool) {
	for _, u := range updates {
		now, known := h.Heads[u.Ref]
		switch {
		case known && now != u.Old:
		case u.New == "":
			delete(h.Heads, u.Ref)
			changed = changed || known
		default:
			h.Heads[u.Ref], changed = u.New, true
			if h.Proved[u.Ref] == u.Old && u.Old != "" {
				h.Proved[u.Ref] = u.New
			}
		}
	}
	return changed
}
