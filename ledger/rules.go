package ledger

import (
	"fmt"
	"slices"
	"time"

	"github.com/stella-ops/stella"
	"github.com/stella-ops/stella/internal/safe"
)

// Bounds of what a book holds. A fence beyond maxFence would not survive a
// reader that takes JSON numbers for floating point (RFC 8259, section 6).
const (
	maxFence     = int64(1) << 53
	maxFenceJump = 1000
	maxHolds     = 1000
	maxHeld      = 50_000 // resources, of all holds together
	maxPending   = 100
	maxFailed    = 20
	maxTargets   = 10_000
)

// Apply returns the book after the event, or why that is not allowed. It is
// pure: no clock, no chance, and b stays as it is. The event must be complete;
// [Ledger.Append] completes what it is given.
//
// Classes: stella.ErrLocked and stella.ErrFrozen (a [*LockedError]) when
// somebody else holds the environment; stella.ErrFenced when the event names a
// lock that is not the current one; stella.ErrConflict when the deployment is
// not where the event takes it to be; stella.ErrNotFound for a deployment,
// hold or pin that does not exist; stella.ErrRefused for what needs to be
// forced; stella.ErrTampered for an impossible fence; stella.ErrUnsupported
// for rules newer than this binary; else stella.ErrInvalid.
func (b Book) Apply(e Event) (Book, error) {
	next, _, err := b.step(e)
	return next, err
}

// step is Apply that lists the deployments whose records the event writes.
func (b Book) step(e Event) (Book, []string, error) {
	if e == nil {
		return b, nil, refuse(stella.ErrInvalid, "no event")
	}
	e = normalEvent(e)
	m := e.meta()
	if err := b.admit(m); err != nil {
		return b, nil, fmt.Errorf("record %s: %w", typeName(e), err)
	}
	d := &draft{Book: b, at: m.At, by: m.By}
	if err := d.rules(m.Rules, e); err != nil {
		return b, nil, fmt.Errorf("record %s: %w", typeName(e), err)
	}
	d.State.Rules = max(b.State.Rules, m.Rules)
	d.State.Transitions++
	d.State.At = m.At
	return d.Book, d.written, nil
}

// admit checks what all events have in common.
func (b Book) admit(m Meta) error {
	switch {
	case b.State.Environment == "":
		return refuse(stella.ErrInvalid, "the book has no environment")
	case b.State.Rules > RulesVersion || m.Rules > RulesVersion:
		err := refuse(stella.ErrUnsupported, "the ledger of %s is written by rules %d, and this stella knows them up to %d: it is read only",
			b.State.Environment, max(b.State.Rules, m.Rules), RulesVersion)
		return stella.WithHint(err, "update stella on this machine")
	case m.Rules < 1 || m.Rules < b.State.Rules:
		return refuse(stella.ErrInvalid, "rules %d, after rules %d", m.Rules, b.State.Rules)
	case m.Nonce == "" || m.By == "":
		return refuse(stella.ErrInvalid, "want who it is and a nonce")
	case !storable(m.At):
		return refuse(stella.ErrInvalid, "time %d is out of range", m.At.Unix())
	}
	return nil
}

// storable reports whether a time is set and can be written as RFC 3339.
func storable(t time.Time) bool { return !t.IsZero() && t.Year() >= 1970 && t.Year() < 10_000 }

// draft is a book that is being changed. What it shares with the book it came
// from is copied before the first change.
type draft struct {
	Book
	at      time.Time
	by      string
	owned   bool     // Deployments is a copy
	written []string // ids of the deployments that were put
}

// rules dispatches on the version of the rules, so that a transition means for
// ever what it meant when it was written. A change of meaning is a new case.
func (d *draft) rules(version int, e Event) error {
	switch version {
	case 1:
		return d.rules1(e)
	case 2:
		return d.rules2(e)
	default:
		return refuse(stella.ErrUnsupported, "rules %d", version)
	}
}

func (d *draft) rules1(e Event) error {
	switch e := e.(type) {
	case Begin:
		return d.begin(e)
	case Request:
		return d.request(e)
	case Progress:
		return d.progress(e)
	case Finish:
		return d.finish(e)
	case Abort:
		return d.abort(e)
	case Lock:
		return d.lock(e)
	case Unlock:
		return d.unlock(e)
	case Lift:
		return d.lift(e)
	case Note:
		if e.Stopped != nil {
			return refuse(stella.ErrInvalid, "a note by rules 1 knows nothing of being stopped")
		}
		return d.note(e)
	case PinTo:
		return d.pinTo(e)
	case Unpin:
		return d.unpin(e)
	default:
		return refuse(stella.ErrInvalid, "event %T", e)
	}
}

// put writes a deployment's record, new or known.
func (d *draft) put(r stella.Deployment) {
	d.written = append(d.written, r.ID)
	if !d.owned {
		room := make([]stella.Deployment, 0, len(d.Deployments)+1)
		d.Deployments, d.owned = append(room, d.Deployments...), true
	}
	if i, ok := d.index(r.ID); ok {
		d.Deployments[i] = r
		return
	}
	d.Deployments = append(d.Deployments, r)
}

// end ends an open deployment other than by its own outcome.
func (d *draft) end(r stella.Deployment, s stella.Status, why string) {
	at := d.at
	r.Status, r.Error, r.FinishedAt = s, why, &at
	r.DurationSeconds = max(0, at.Sub(r.StartedAt).Seconds())
	d.put(r)
}

// interrupt ends the running deployment whose driver nobody can ask: it may
// have touched any target after it last said where it was.
func (d *draft) interrupt(r stella.Deployment, why string) {
	d.end(r, stella.Aborted, why)
	d.unverified(r)
}

// unverified says that what runs is what r left behind, and not verified. It is
// no longer what a person stopped.
func (d *draft) unverified(r stella.Deployment) {
	d.State.Last, d.State.Current, d.State.Stopped = r.ID, "", nil
}

// touched reports whether a deployment did anything to a target, as far as is
// known. One that was out of reach is owed, not touched.
func touched(r stella.Deployment) bool {
	return slices.ContainsFunc(r.Targets, func(t stella.TargetResult) bool {
		switch t.Status {
		case stella.TargetUntouched, stella.TargetPrepared, stella.TargetOwed:
			return false
		}
		return true
	})
}

// supersede ends pending deployments whose place another one takes.
func (d *draft) supersede(by string, ids ...string) error {
	for _, id := range ids {
		if id == "" {
			continue
		}
		old, ok := d.Deployment(id)
		if !ok {
			return refuse(stella.ErrNotFound, "deployment %q, to be superseded", safe.Clip(id, 100))
		}
		if old.Status != stella.Pending {
			return refuse(stella.ErrConflict, "%s can not be superseded by %s: it is %s", id, by, old.Status)
		}
		d.end(old, stella.Superseded, "superseded by "+by)
	}
	return nil
}
