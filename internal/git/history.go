package git

import (
	"container/heap"
	"context"
	"errors"
	"fmt"
	"math"
	"slices"
	"strings"

	"github.com/stella-ops/stella"
	"github.com/stella-ops/stella/internal/git/odb"
	"github.com/stella-ops/stella/internal/git/wire"
)

// Depths to which history is fetched, one after the other, until it suffices.
const (
	firstDepth     = 64
	pastEverything = math.MaxInt
)

// deeper returns the next depth to try.
func deeper(depth int) int {
	switch {
	case depth == wire.Everything:
		return pastEverything
	case depth > 30_000:
		return wire.Everything
	}
	return depth * 8
}

// deepen fetches history so many commits down from a commit.
func (r *Repo) deepen(ctx context.Context, from ID, depth int) error {
	cuts, err := r.cuts(ctx)
	if err != nil {
		return err
	}
	ctx, cancel := context.WithTimeoutCause(ctx, patience*r.opts.Timeout, errTooSlow)
	defer cancel()
	conn, err := r.remote.Open(ctx, wire.UploadPack, 2)
	if err != nil {
		return err
	}
	defer func() { _ = conn.Close() }()
	if conn.Advert.Version == 2 {
		resp, err := conn.FetchExact(r.deeperFrom(ctx, from, depth, cuts))
		if err == nil {
			err = r.store(ctx, conn, resp, merge)
		}
		if err == nil || !isNotOurs(err) {
			return wrap("fetch history from "+r.Remote(), err)
		}
	}
	// Version 0 only gives what a head leads to, counted from the head.
	if err := conn.Close(); err != nil {
		return err
	}
	return wrap("fetch history from "+r.Remote(), r.deepenRef(ctx, r.branchOf(from), depth))
}

// wrap adds what was attempted to an error, and nothing to none.
func wrap(what string, err error) error {
	if err == nil {
		return nil
	}
	return fmt.Errorf("%s: %w", what, err)
}

// deeperFrom asks for more of what a commit leads to. Other history that is cut
// is not mentioned, or with wire.Everything it would come, too.
func (r *Repo) deeperFrom(ctx context.Context, from ID, depth int, cuts []odb.Hash) wire.Request {
	req := wire.Request{Wants: hashes([]ID{from}), Depth: min(depth, wire.Everything)}
	if r.db.HasNow(from.hash()) {
		req.Haves, req.Shallows = req.Wants, r.cutsBelow(ctx, from, cuts)
	}
	return req
}

// deepenRef fetches history so many commits down from a ref's head, or from the
// default branch's where none is named.
func (r *Repo) deepenRef(ctx context.Context, ref string, depth int) error {
	cuts, err := r.cuts(ctx)
	if err != nil {
		return err
	}
	return r.session(ctx, func(ctx context.Context, conn *wire.Conn) error {
		refs := refsOf(conn.Advert)
		tip, ok := refs.IDs[ref]
		if !ok {
			tip, ok = refs.IDs[refs.Default]
		}
		if !ok {
			return fmt.Errorf("%w: the remote has no branch to fetch history of", stella.ErrNotFound)
		}
		return r.receive(ctx, conn, r.deeperFrom(ctx, tip, depth, cuts), merge)
	})
}

// Commit returns a commit, which is fetched if it is not here. Errors:
// stella.ErrNotFound, and stella.ErrInvalid for what is no sound commit.
func (r *Repo) Commit(ctx context.Context, id ID) (Commit, error) {
	kind, data, err := r.object(ctx, id, maxCommitBytes, named)
	if errors.Is(err, odb.ErrTooBig) {
		err = fmt.Errorf("%w: it is too big", stella.ErrInvalid)
	}
	if err == nil && kind != odb.Commit {
		err = fmt.Errorf("%w: it is a %s", stella.ErrInvalid, kind)
	}
	if err != nil {
		return Commit{}, fmt.Errorf("read commit %s: %w", id.Short(), err)
	}
	return parseCommit(id, data)
}

// Peel follows annotated tags to what they point at; any other object is its
// own. Errors are those of Commit.
func (r *Repo) Peel(ctx context.Context, id ID) (ID, error) {
	const most = 10 // a tag of a tag is rare enough
	for range most {
		kind, data, err := r.object(ctx, id, maxCommitBytes, named)
		if err != nil {
			return "", fmt.Errorf("read %s: %w", id.Short(), err)
		}
		if kind != odb.Tag {
			return id, nil
		}
		line, _, _ := strings.Cut(string(data), "\n")
		if id, err = ParseID(strings.TrimPrefix(line, "object ")); err != nil {
			return "", fmt.Errorf("%w: a malformed tag", stella.ErrInvalid)
		}
	}
	return "", fmt.Errorf("%w: a tag of a tag of a tag, %d times", stella.ErrInvalid, most)
}

// local returns a commit only if it is here.
func (r *Repo) local(id ID) (Commit, error) {
	if o, ok := r.overlay.get(id); ok {
		return parseCommit(id, o.data)
	}
	kind, data, err := r.db.Read(id.hash(), maxCommitBytes)
	if err == nil && kind != odb.Commit {
		err = fmt.Errorf("%w: %s is a %s and not a commit", stella.ErrInvalid, id.Short(), kind)
	}
	if err != nil {
		return Commit{}, err
	}
	return parseCommit(id, data)
}

// IsAncestor reports whether old is new or one of its ancestors, fetching as
// much history as it takes to know. Errors: stella.ErrNotFound for a new that
// nobody has, and those of a fetch.
func (r *Repo) IsAncestor(ctx context.Context, old, new ID) (bool, error) {
	if old == new && old != "" {
		return true, nil
	}
	if _, err := r.Commit(ctx, new); err != nil {
		return false, err
	}
	if _, err := ParseID(string(old)); err != nil {
		return false, err
	}
	if rel := r.relate(old, new); rel.err != nil || rel.state != unknown {
		return rel.state == isAncestor, rel.err
	}
	ok, err := r.descends(ctx, old, new)
	if err != nil {
		return false, fmt.Errorf("compare %s with %s: %w", old.Short(), new.Short(), err)
	}
	return ok, nil
}

type relation int

const (
	unknown     relation = iota // history is cut before it can be told
	isAncestor                  // old is new or an ancestor of it
	notAncestor                 // it is not
)

type related struct {
	state relation
	err   error // damage, for one; a commit that is not here is none
}

// Where a commit was reached from.
const (
	fromOld = 1 << iota
	fromNew
)

// relate tells from what is here whether old is an ancestor of new. It walks
// from both, younger commits first, until all that is left to walk from new is
// known to be an ancestor of old. So a walk is as long as the two are apart,
// and its result does not depend on what dates commits claim: those only say
// where to look first.
func (r *Repo) relate(old, new ID) related {
	w := &walk{r: r, flags: map[ID]int{}}
	w.push(new, fromNew)
	w.push(old, fromOld)
	var cuts []ID // where history from new ends before its end
	for w.onlyNew > 0 {
		c := w.pop()
		flags := w.flags[c.id]
		if c.err != nil {
			if !errors.Is(c.err, odb.ErrMissing) {
				return related{err: c.err}
			}
			if flags == fromNew {
				cuts = append(cuts, c.id)
			}
			continue
		}
		for _, p := range c.parents {
			w.push(p, flags)
			if p == old && flags&fromNew != 0 {
				return related{state: isAncestor}
			}
		}
	}
	switch {
	case old == new:
		return related{state: isAncestor}
	case slices.ContainsFunc(cuts, func(id ID) bool { return w.flags[id] == fromNew }):
		return related{state: unknown}
	}
	return related{state: notAncestor}
}

// walk is a queue of commits, youngest first.
type walk struct {
	r       *Repo
	flags   map[ID]int
	queue   commitQueue
	queued  map[ID]int // flags with which a commit is in the queue
	onlyNew int        // commits in the queue that were reached from new alone
}

type queued struct {
	id      ID
	parents []ID
	when    int64
	err     error
}

// push queues a commit unless it was reached in this way before.
func (w *walk) push(id ID, flags int) {
	had := w.flags[id]
	if had|flags == had {
		return
	}
	w.flags[id] = had | flags
	if w.queued == nil {
		w.queued = map[ID]int{}
	}
	if was, ok := w.queued[id]; ok {
		if was == fromNew {
			w.onlyNew--
		}
		w.queued[id] = had | flags
		return
	}
	c, err := w.r.local(id)
	heap.Push(&w.queue, queued{id: id, parents: c.Parents, when: c.Committer.When.Unix(), err: err})
	w.queued[id] = had | flags
	if had|flags == fromNew {
		w.onlyNew++
	}
}

func (w *walk) pop() queued {
	c, _ := heap.Pop(&w.queue).(queued)
	if w.queued[c.id] == fromNew {
		w.onlyNew--
	}
	delete(w.queued, c.id)
	return c
}

// commitQueue implements heap.Interface.
type commitQueue []queued

func (q commitQueue) Len() int           { return len(q) }
func (q commitQueue) Less(i, j int) bool { return q[i].when > q[j].when }
func (q commitQueue) Swap(i, j int)      { q[i], q[j] = q[j], q[i] }

// Push implements heap.Interface.
func (q *commitQueue) Push(x any) { *q = append(*q, x.(queued)) } //nolint:errcheck // only queued goes in

// Pop implements heap.Interface.
func (q *commitQueue) Pop() any {
	old := *q
	last := old[len(old)-1]
	*q = old[:len(old)-1]
	return last
}
