package ledger

import (
	"fmt"
	"maps"
	"slices"
	"time"

	"github.com/stella-ops/stella"
	"github.com/stella-ops/stella/internal/safe"
)

// Lock returns the lock that counts at a time: one taken by hand ends by
// itself, any other only by being given back or taken over.
func (b Book) Lock(now time.Time) *stella.Lock {
	if l := b.State.Lock; l != nil && !(l.ByHand && !now.Before(l.ExpiresAt)) {
		return l
	}
	return nil
}

// holding returns a copy of the current lock if it is the one named. It is the
// fence at the ledger: whoever lost a lock can not write under it.
func (d *draft) holding(id string) (*stella.Lock, error) {
	l := d.State.Lock
	switch {
	case id == "":
		return nil, refuse(stella.ErrInvalid, "want the id of the lock")
	case l == nil:
		return nil, refuse(stella.ErrFenced, "lock %s of %s is gone: nobody holds it now", safe.Clip(id, 80), d.State.Environment)
	case l.ID != id:
		return nil, refuse(stella.ErrFenced, "lock %s of %s is gone: now it is %s, of %s", safe.Clip(id, 80), d.State.Environment, l.ID, holding(*l, d.at))
	}
	copied := *l
	return &copied, nil
}

// take takes the lock for a deployment, or for none.
func (d *draft) take(l stella.Lock, takeover string, floor int64, deployment string) error {
	if err := d.makeWay(takeover, l.Holder); err != nil {
		return err
	}
	if r, ok := d.Running(); ok {
		// Only a book that was tampered with has such a one.
		err := refuse(stella.ErrConflict, "%s runs without a lock", r.ID)
		return stella.WithHint(err, "run 'stella reconcile "+string(r.Environment)+"', which ends it and goes on")
	}
	switch {
	case l.ID == "" || l.Holder == "" || l.ID == takeover:
		return refuse(stella.ErrInvalid, "want a lock with a holder and an id of its own")
	case l.Deployment != deployment:
		return refuse(stella.ErrInvalid, "the lock is for %q, not %q", safe.Clip(l.Deployment, 100), safe.Clip(deployment, 100))
	case !storable(l.AcquiredAt) || !l.RenewedAt.Equal(l.AcquiredAt) || !storable(l.ExpiresAt) || !l.ExpiresAt.After(l.AcquiredAt):
		return refuse(stella.ErrInvalid, "the lock's times are not in order")
	}
	if err := d.fence(l.Fence, floor); err != nil {
		return err
	}
	d.State.Lock, d.State.Fence = &l, l.Fence
	return nil
}

// makeWay refuses unless the environment is free or its lock is the one to be
// taken over; what ran under that one ends here.
func (d *draft) makeWay(takeover, holder string) error {
	l := d.Lock(d.at)
	switch {
	case l == nil && (takeover == "" || d.State.Lock != nil && takeover == d.State.Lock.ID):
		return nil
	case l == nil:
		return refuse(stella.ErrConflict, "lock %s, to be taken over, is gone", safe.Clip(takeover, 80))
	case l.ByHand || takeover == "":
		return &LockedError{Environment: d.State.Environment, Lock: *l, At: d.at}
	case takeover != l.ID:
		return refuse(stella.ErrConflict, "lock %s is gone: now it is %s, of %s", safe.Clip(takeover, 80), l.ID, holding(*l, d.at))
	}
	if r, ok := d.Running(); ok && r.ID == l.Deployment {
		d.interrupt(r, fmt.Sprintf("interrupted: %s last renewed the lock at %s, and %s took it over",
			l.Holder, stamp(l.RenewedAt), holder))
	}
	return nil
}

// fence checks the number of a new lock. A new ledger starts wherever the
// targets are; later a jump by more than maxFenceJump is nobody's honest work.
func (d *draft) fence(fence, floor int64) error {
	switch {
	case floor < 0 || fence > maxFence:
		return refuse(stella.ErrTampered, "fence %d, above %d", fence, floor)
	case fence <= d.State.Fence || fence <= floor:
		return refuse(stella.ErrInvalid, "fence %d is not above %d", fence, max(d.State.Fence, floor))
	case fence-d.State.Fence > maxFenceJump && d.State.Fence > 0:
		return refuse(stella.ErrTampered, "fence jumps from %d to %d", d.State.Fence, fence)
	}
	return nil
}

func (d *draft) lock(e Lock) error {
	if e.Lock.ByHand && e.Lock.Purpose == "" {
		return refuse(stella.ErrInvalid, "a lock by hand wants a purpose")
	}
	return d.take(e.Lock, e.Takeover, e.FenceFloor, "")
}

func (d *draft) unlock(e Unlock) error {
	l, err := d.holding(e.LockID)
	if err != nil {
		return err
	}
	running, busy := d.Running()
	if e.Force && e.Reason == "" {
		return refuse(stella.ErrInvalid, "force wants a reason")
	}
	over := d.Lock(d.at) == nil // a lock by hand that ran out is anybody's to clear away
	if (busy || l.Holder != d.by) && !over && !e.Force {
		return &LockedError{Environment: d.State.Environment, Lock: *l, At: d.at}
	}
	if busy {
		d.interrupt(running, fmt.Sprintf("interrupted: %s released the lock of %s by force: %s", d.by, l.Holder, e.Reason))
	}
	d.State.Lock = nil
	return nil
}

// hold adds a hold; an app tree that is held already stays held as it was.
func (d *draft) hold(h *stella.Hold) error {
	if h == nil {
		return nil
	}
	if h.ID == "" || h.Environment != d.State.Environment || h.By == "" || !storable(h.Since) || (h.Tree == "" && len(h.Resources) == 0) {
		return refuse(stella.ErrInvalid, "the hold lacks its id, environment, author, start or what it holds")
	}
	if slices.ContainsFunc(d.State.Holds, func(o stella.Hold) bool { return o.ID == h.ID }) {
		return refuse(stella.ErrConflict, "hold %s exists", safe.Clip(h.ID, 100))
	}
	if _, held := d.Held(h.Tree); held {
		return nil
	}
	if len(d.State.Holds) >= maxHolds {
		return refuse(stella.ErrRefused, "%d holds already: lift some first", len(d.State.Holds))
	}
	added := *h
	if n := len(h.Resources); h.Tree != "" && n > 0 && n+heldResources(d.State.Holds) > maxHeld {
		// The state has to stay readable: the tree alone is held then.
		added.Resources = []string{}
	}
	d.State.Holds = append(slices.Clone(d.State.Holds), added)
	return nil
}

func heldResources(holds []stella.Hold) int {
	n := 0
	for _, h := range holds {
		n += len(h.Resources)
	}
	return n
}

func (d *draft) lift(e Lift) error {
	if e.Reason == "" {
		return refuse(stella.ErrInvalid, "want a reason")
	}
	i := slices.IndexFunc(d.State.Holds, func(h stella.Hold) bool { return h.ID == e.HoldID })
	if i < 0 {
		return refuse(stella.ErrNotFound, "hold %q", safe.Clip(e.HoldID, 100))
	}
	d.State.Holds = slices.Delete(slices.Clone(d.State.Holds), i, i+1)
	return nil
}

func (d *draft) note(e Note) error {
	machines := maps.Clone(d.State.Machines)
	for _, name := range e.Forget {
		delete(machines, name)
	}
	for _, name := range slices.Sorted(maps.Keys(e.Machines)) {
		if machines[name] == "" {
			machines[name] = e.Machines[name]
		}
	}
	if len(machines) > maxTargets {
		return refuse(stella.ErrInvalid, "a note on %d targets", len(machines))
	}
	d.State.Machines, d.State.Summary = machines, e.Summary
	d.State.Owed = slices.DeleteFunc(slices.Clone(d.State.Owed), func(name string) bool { return slices.Contains(e.Forget, name) })
	return nil
}

func (d *draft) pinTo(e PinTo) error {
	p := e.Pin
	if p.Ref == "" || p.Commit == "" || p.Tree == "" || p.By == "" || !storable(p.Since) {
		return refuse(stella.ErrInvalid, "the pin lacks its ref, commit, tree, author or start")
	}
	r, ok := d.Deployment(p.Deployment)
	if !ok || r.Status != stella.Succeeded || r.Tree != p.Tree {
		// Nothing unreviewed ever runs: only what was verified before.
		return refuse(stella.ErrRefused, "a pin restores what was verified before, and %q with this tree was not", safe.Clip(p.Deployment, 100))
	}
	d.State.Pin = &p
	return d.hold(e.Hold)
}

func (d *draft) unpin(Unpin) error {
	if d.State.Pin == nil {
		return refuse(stella.ErrNotFound, "pin of %s", d.State.Environment)
	}
	d.State.Pin = nil
	return nil
}

func sortedKeys[V any](m map[string]V) []string {
	return append([]string{}, slices.Sorted(maps.Keys(m))...)
}
