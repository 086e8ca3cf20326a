package reconciler

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"reflect"
	"slices"
	"time"

	"github.com/stella-ops/stella"
	"github.com/stella-ops/stella/configrepo"
	"github.com/stella-ops/stella/drift"
	"github.com/stella-ops/stella/ledger"
)

// errOvertaken is that somebody else changed or recorded something after the
// targets were observed: what was seen is of another moment.
var errOvertaken = errors.New("overtaken: somebody else was at it meanwhile")

// rememberDrift writes to the ledger which findings began and which ended. A look
// that found what is known writes nothing. It is decided on the newest book, so
// that of two that look at the same time only one writes: the other one, like one
// that a deployment overtook, gets errOvertaken. Where drift.mode is off nothing
// is written.
func (e *Engine) rememberDrift(ctx context.Context, s *sight) (drift.Turn, ledger.Book, error) {
	var turn drift.Turn
	known := s.known(s.sc.book)
	look := e.lookOf(s)
	off := s.sc.driftMode() == configrepo.DriftOff
	if turn = drift.Follow(known, look); off || !turn.Changed(known) {
		if e.overtookUnwritten(ctx, s) {
			return turn, s.sc.book, errOvertaken
		}
		if off {
			return s.unchanged(), s.sc.book, nil
		}
		e.sighted(s.sc.name, look)
		return turn, s.sc.book, nil
	}
	if err := e.mayWrite(s.sc.project); err != nil {
		return turn, s.sc.book, err
	}
	book, err := s.sc.ledger.Append(ctx, s.sc.name, func(b ledger.Book) ([]ledger.Event, error) {
		if overtook(b, s.sc.book) {
			return nil, errOvertaken
		}
		return []ledger.Event{ledger.Found{
			Sequence: b.State.Sequence, Opened: turn.Opened, Ended: turn.Ended, Uncounted: turn.Uncounted,
			Seen: slices.Sorted(maps.Keys(look.Read)), SeenAt: look.At,
		}}, nil
	})
	if err != nil {
		return turn, s.sc.book, fmt.Errorf("record drift of %s: %w", s.sc.name, err)
	}
	e.sighted(s.sc.name, look)
	return turn, book, nil
}

// overtookUnwritten is overtook for a look that writes nothing: only where it found
// something that differs the ledger is read once more for it. Where that can not
// be read, what was read before holds.
func (e *Engine) overtookUnwritten(ctx context.Context, s *sight) bool {
	if !s.diff.Drifted {
		return false
	}
	book, err := s.sc.ledger.Refresh(ctx, s.sc.name)
	return err == nil && overtook(book, s.sc.book)
}

// overtook reports whether a book is not the one that a look began with, in
// anything that what was seen depends on.
func overtook(now, then ledger.Book) bool {
	a, b := now.State, then.State
	_, busy := now.Running()
	return busy || a.Sequence != b.Sequence || a.Last != b.Last || a.Current != b.Current || !reflect.DeepEqual(a.Stopped, b.Stopped) ||
		a.Lock != nil && !a.Lock.ByHand && (b.Lock == nil || a.Lock.ID != b.Lock.ID) || !reflect.DeepEqual(now.Drift, then.Drift)
}

func (s *sight) known(b ledger.Book) drift.Known {
	return drift.Known{Open: b.Drift.Open, Uncounted: b.Drift.Uncounted, Most: ledger.MaxOpenFindings}
}

// lookOf is what was seen. A target that is still owed what is in effect runs
// something else on purpose: nothing is claimed of it, and neither of any where
// what runs was never verified.
func (e *Engine) lookOf(s *sight) drift.Look {
	look := drift.Look{At: s.diff.ObservedAt, Targets: targetNames(s.want.env), Read: map[string][]stella.Change{}, Deployed: map[string]bool{}}
	b := s.sc.book
	for _, t := range s.diff.Targets {
		if t.Error == "" && s.verified() && !slices.Contains(b.State.Owed, t.Target) {
			look.Read[t.Target] = t.Changes
		}
	}
	for _, d := range b.Deployments {
		if d.Sequence <= b.Drift.Sequence {
			continue
		}
		for _, t := range d.Targets {
			if t.Status == stella.TargetVerified || t.Status == stella.TargetApplied || t.Status == stella.TargetFailed {
				look.Deployed[t.Name] = true
			}
		}
	}
	e.mu.Lock()
	defer e.mu.Unlock()
	look.Seen = maps.Clone(e.looked[s.sc.name])
	return look
}

// sighted remembers when targets were read: a look that finds what is known
// writes nothing, and what ends later was still seen by it.
func (e *Engine) sighted(env stella.EnvName, look drift.Look) {
	e.mu.Lock()
	defer e.mu.Unlock()
	if e.looked[env] == nil {
		e.looked[env] = map[string]time.Time{}
	}
	for name := range look.Read {
		e.looked[env][name] = look.At
	}
}

// DriftHistory are the findings of one environment, those that are open first
// and then the others, the newest first. Of an environment that is gone from the
// branch its ledger still tells.
func (e *Engine) DriftHistory(ctx context.Context, env stella.EnvName) ([]stella.DriftFinding, error) {
	b, err := e.Book(ctx, env)
	if err != nil {
		return nil, err
	}
	return b.Drift.History(), nil
}

// untold reports whether a deployment changed a target that it did not verify:
// which of the findings there it ended, only a look can tell.
func untold(d stella.Deployment) bool {
	return slices.ContainsFunc(d.Targets, func(t stella.TargetResult) bool {
		return t.Status == stella.TargetApplied || t.Status == stella.TargetFailed || t.Status == stella.TargetUnknown
	})
}

// settles ends the findings that a deployment ended, once its outcome is in the
// ledger. An outcome is recorded whatever becomes of this: what is not ended here
// the next look ends.
func (r *run) settles(ctx context.Context, before ledger.Book, d stella.Deployment) {
	if r.scene.book.Drift.Count() == 0 {
		return
	}
	if untold(d) {
		return // what is written now would hide from the next look that this deployment was there
	}
	plan := r.plan
	s := drift.Settlement{
		At: r.e.cfg.Now().UTC(), Verified: map[string][]stella.Change{}, Alone: r.scene.alone,
		Wanted: r.wantedNow(ctx, before),
	}
	for _, t := range d.Targets {
		if t.Status == stella.TargetVerified {
			s.Verified[t.Name] = plan.target(t.Name).Changes
		}
	}
	book, err := r.scene.ledger.Append(ctx, d.Environment, func(b ledger.Book) ([]ledger.Event, error) {
		uncounted := b.Drift.Uncounted
		if len(s.Verified) == len(d.Targets) && len(s.Alone) == 0 {
			uncounted = 0
		}
		ended := drift.Settle(b.Drift.Open, s)
		if _, busy := b.Running(); busy || len(ended) == 0 && uncounted == b.Drift.Uncounted {
			return nil, nil
		}
		return []ledger.Event{ledger.Found{Sequence: b.State.Sequence, Ended: ended, Uncounted: uncounted, SeenAt: s.At}}, nil
	})
	if err != nil {
		r.e.cfg.Logger.WarnContext(ctx, "record which drift ended", "environment", d.Environment, "err", err)
		return
	}
	r.scene.book = book
}

// wantedNow reports whether the deployment wants something else of a finding's
// place than what was in effect before it. Where that can not be read any more
// nothing is claimed.
func (r *run) wantedNow(ctx context.Context, before ledger.Book) func(stella.DriftFinding) bool {
	var old *source
	in, ok := before.Current()
	if ok && in.Tree != string(r.scene.app) {
		src, err := r.e.asOperated(ctx, r.scene, in)
		if err == nil {
			old = src
		}
	}
	return func(f stella.DriftFinding) bool {
		if old == nil || old.desired == nil {
			return false
		}
		was, _ := old.desired.Target(f.Target)
		now, _ := r.scene.desired.Target(f.Target)
		return !reflect.DeepEqual(valueAt(was, f), valueAt(now, f))
	}
}

// valueAt is what a state has in a finding's place; nil for nothing.
func valueAt(s stella.State, f stella.DriftFinding) any {
	r, ok := s.Resource(f.Resource)
	if !ok {
		return nil
	}
	v, _ := drift.Lookup(r.Fields, f.Path)
	return v
}
