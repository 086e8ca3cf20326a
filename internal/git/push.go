package git

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/go-git/go-git/v5/plumbing"
	"github.com/go-git/go-git/v5/plumbing/format/packfile"
	"github.com/go-git/go-git/v5/storage/memory"

	"github.com/stella-ops/stella"
	"github.com/stella-ops/stella/internal/git/odb"
	"github.com/stella-ops/stella/internal/git/wire"
	"github.com/stella-ops/stella/internal/safe"
)

// Push moves refs of the remote, all or none, each only if it is at Old. The
// commits that were built are sent with it.
//
// Nil means that the refs are, or were, at New: also when that was only found
// out by looking after the answer was lost, or when an earlier Push of the same
// commit had landed. So two writers must not make the same commit: whoever has
// to tell them apart puts something unique into it.
//
// Errors: stella.ErrConflict, a ref is not at Old; *RejectedError (class
// stella.ErrRefused), a hook or a rule of the remote said no; stella.ErrDenied,
// credentials; stella.ErrUnreachable, it did not land. When the remote can not
// be asked whether it did, errors.Is(err, ErrUnknownOutcome), too. After any of
// these it is safe to try again with the same Old: at most one of the tries can
// land.
func (r *Repo) Push(ctx context.Context, updates []Update, objs ...*Built) error {
	err := r.push(ctx, updates, objs)
	if err != nil {
		return fmt.Errorf("push to %s: %w", r.Remote(), err)
	}
	return nil
}

func (r *Repo) push(ctx context.Context, updates []Update, objs []*Built) error {
	commands, err := commandsOf(updates)
	if err != nil {
		return err
	}
	pack, err := packOf(updates, objs)
	if err != nil {
		return err
	}
	for try := 0; ; try++ {
		v := r.attempt(ctx, updates, commands, pack)
		if v.landed {
			r.keep(ctx, updates, objs, pack)
			return nil
		}
		if !v.contended || try == len(contention()) {
			return v.err
		}
		// Somebody else has the ref's lock on the server. Trying again with the
		// same Old can not do harm.
		if err := pause(ctx, contention()[try]); err != nil {
			return v.err
		}
	}
}

// contention is how long to wait for somebody else's lock on a ref, each time.
// A push holds it for some milliseconds; one that is held longer is stale.
func contention() []time.Duration {
	return []time.Duration{50 * time.Millisecond, 150 * time.Millisecond, 500 * time.Millisecond, time.Second}
}

func pause(ctx context.Context, d time.Duration) error {
	timer := time.NewTimer(d)
	defer timer.Stop()
	select {
	case <-timer.C:
		return nil
	case <-ctx.Done():
		return context.Cause(ctx)
	}
}

// verdict is what became of one attempt.
type verdict struct {
	landed    bool
	contended bool // a lock on the server was in the way
	err       error
}

func (r *Repo) attempt(ctx context.Context, updates []Update, commands []wire.Command, pack []byte) verdict {
	conn, err := r.remote.Open(ctx, wire.ReceivePack, 0)
	if err != nil {
		return verdict{err: err}
	}
	defer func() { _ = conn.Close() }()
	// What is moved already need not be sent.
	if state := stateOf(conn.Advert, updates); state.kind != atOld {
		return state.verdict()
	}
	report, err := conn.Push(commands, pack)
	var lost *wire.UnknownError
	switch {
	case errors.As(err, &lost):
		return r.readBack(ctx, updates, lost.Err)
	case err != nil:
		return verdict{err: err}
	}
	if report.Unpack == "ok" && !slices.ContainsFunc(updates, func(u Update) bool { return report.Refs[u.Ref] != "ok" }) {
		return verdict{landed: true}
	}
	return r.lost(ctx, updates, report)
}

// lost says why the remote did not move the refs. A stale Old and a lock that
// somebody else has just now give the same text: only looking tells.
func (r *Repo) lost(ctx context.Context, updates []Update, report *wire.Report) verdict {
	refused := rejected(updates, report)
	if refused != nil && isPolicy(refused.Reason) {
		return verdict{err: explainRejected(refused, report)}
	}
	state, err := r.look(ctx, updates)
	switch {
	case err != nil:
		return verdict{err: fmt.Errorf("%w (and the remote could not be asked: %w)", explainRejected(refused, report), err)}
	case state.kind != atOld:
		return state.verdict()
	}
	return verdict{err: explainRejected(refused, report), contended: isContention(refused.Reason, report)}
}

// readBack finds out what became of a push without an answer. It outlives ctx,
// whose end may be why there is none.
func (r *Repo) readBack(ctx context.Context, updates []Update, cause error) verdict {
	ctx, cancel := context.WithTimeoutCause(context.WithoutCancel(ctx), r.opts.Timeout, errTooSlow)
	defer cancel()
	var state refState
	// The server may still be at it: the first look can be too early.
	for _, wait := range []time.Duration{0, 200 * time.Millisecond, time.Second} {
		if err := pause(ctx, wait); err != nil {
			break
		}
		var err error
		if state, err = r.look(ctx, updates); err != nil {
			return verdict{err: fmt.Errorf("%w: %w: %w; asking whether it landed failed, too: %w", stella.ErrUnreachable, ErrUnknownOutcome, cause, err)}
		}
		if state.kind != atOld {
			break
		}
	}
	switch state.kind {
	case atNew:
		r.opts.Logger.InfoContext(ctx, "the answer to a push was lost; it had landed", "remote", r.Remote(), "err", cause)
		return verdict{landed: true}
	case atOld:
		return verdict{err: asUnreachable(fmt.Errorf("it did not land: %w", cause))}
	}
	return r.overtaken(ctx, updates, state)
}

// overtaken tells whether a ref is elsewhere because somebody built upon ours.
func (r *Repo) overtaken(ctx context.Context, updates []Update, state refState) verdict {
	for _, u := range updates {
		now := state.refs[u.Ref]
		if now == u.New {
			continue
		}
		if now == "" || u.New == "" {
			return state.verdict()
		}
		_, err := r.Fetch(ctx, Want{Names: []string{u.Ref}, Unchecked: true})
		ours := false
		if err == nil {
			ours, err = r.descends(ctx, u.New, now)
		}
		if err != nil {
			return verdict{err: fmt.Errorf("%w: %w: %s moved, and whether it descends from what was pushed is not known: %w",
				stella.ErrUnreachable, ErrUnknownOutcome, safe.Line(u.Ref), err)}
		}
		if !ours {
			return state.verdict()
		}
	}
	return verdict{landed: true}
}

func asUnreachable(err error) error {
	if errors.Is(err, stella.ErrUnreachable) {
		return err
	}
	return fmt.Errorf("%w: %w", stella.ErrUnreachable, err)
}

// look lists the refs as a push sees them.
func (r *Repo) look(ctx context.Context, updates []Update) (refState, error) {
	conn, err := r.remote.Open(ctx, wire.ReceivePack, 0)
	if err != nil {
		return refState{}, err
	}
	state := stateOf(conn.Advert, updates)
	return state, conn.Close()
}

func commandsOf(updates []Update) ([]wire.Command, error) {
	if len(updates) == 0 {
		return nil, fmt.Errorf("%w: nothing to push", stella.ErrInvalid)
	}
	var commands []wire.Command
	seen := map[string]bool{}
	for _, u := range updates {
		if err := CheckRef(u.Ref); err != nil {
			return nil, err
		}
		for _, id := range []ID{u.Old, u.New} {
			if _, err := ParseID(string(id)); err != nil && id != "" {
				return nil, err
			}
		}
		switch {
		case u.Old == u.New:
			// The remote would not even look at it: it fences nothing.
			return nil, fmt.Errorf("%w: the push does not move %s", stella.ErrInvalid, safe.Line(u.Ref))
		case seen[u.Ref]:
			return nil, fmt.Errorf("%w: the push moves %s twice", stella.ErrInvalid, safe.Line(u.Ref))
		}
		seen[u.Ref] = true
		commands = append(commands, wire.Command{Ref: u.Ref, Old: u.Old.hash(), New: u.New.hash()})
	}
	return commands, nil
}

// packOf packs exactly what was built; nil when refs are only deleted. A pack
// without objects is right where the remote has all of them.
func packOf(updates []Update, objs []*Built) ([]byte, error) {
	if !slices.ContainsFunc(updates, func(u Update) bool { return u.New != "" }) {
		return nil, nil
	}
	store := memory.NewStorage()
	var ids []odb.Hash
	for _, b := range objs {
		for id, o := range b.objects {
			m := &plumbing.MemoryObject{}
			m.SetType(o.kind)
			if _, err := m.Write(o.data); err != nil {
				return nil, err
			}
			if _, err := store.SetEncodedObject(m); err != nil {
				return nil, err
			}
			ids = append(ids, id.hash())
		}
	}
	plumbing.HashesSort(ids)
	ids = slices.Compact(ids)
	var b bytes.Buffer
	// No deltas: what is sent is small, and finding them is the costly part.
	if _, err := packfile.NewEncoder(&b, store, false).Encode(ids, 0); err != nil {
		return nil, err
	}
	return b.Bytes(), nil
}

// isNotOurs reports whether a remote refused to hand out an object by its id.
func isNotOurs(err error) bool {
	text := err.Error()
	return errors.Is(err, stella.ErrNotFound) || strings.Contains(text, "not our ref") || strings.Contains(text, "bad object") ||
		strings.Contains(text, "unadvertised object") || strings.Contains(text, "not valid")
}
