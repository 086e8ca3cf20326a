package ledger

import (
	"time"

	"github.com/stella-ops/stella"
	"github.com/stella-ops/stella/internal/safe"
)

func (d *draft) begin(e Begin) error {
	r := e.Deployment
	if err := d.take(e.Lock, e.Takeover, e.FenceFloor, r.ID); err != nil {
		return err
	}
	if e.Lock.ByHand {
		return refuse(stella.ErrInvalid, "a deployment's lock is not by hand")
	}
	if r.Fence != e.Lock.Fence {
		return refuse(stella.ErrInvalid, "%s has fence %d and its lock %d", r.ID, r.Fence, e.Lock.Fence)
	}
	if err := d.admitOpen(r, stella.Running); err != nil {
		return err
	}
	d.put(r)
	// Includes and Supersedes last: a deployment can not supersede itself.
	if err := d.supersede(r.ID, append([]string{r.Supersedes}, e.Includes...)...); err != nil {
		return err
	}
	d.prune()
	return nil
}

func (d *draft) request(e Request) error {
	r := e.Deployment
	if l := d.Lock(d.at); l != nil && l.ByHand {
		return &LockedError{Environment: d.State.Environment, Lock: *l, At: d.at}
	}
	if _, known := d.Deployment(r.ID); known {
		return refuse(stella.ErrConflict, "%s exists", r.ID)
	}
	if r.Fence != 0 {
		return refuse(stella.ErrInvalid, "%s is pending and has fence %d", r.ID, r.Fence)
	}
	if err := d.admitOpen(r, stella.Pending); err != nil {
		return err
	}
	d.put(r)
	if err := d.supersede(r.ID, r.Supersedes); err != nil {
		return err
	}
	if n := len(d.Open()); n > maxPending {
		return refuse(stella.ErrRefused, "%d deployments of %s wait already", n-1, d.State.Environment)
	}
	d.prune()
	return nil
}

// admitOpen checks a record that is about to be open: the next of the sequence,
// or one that is pending.
func (d *draft) admitOpen(r stella.Deployment, want stella.Status) error {
	if err := d.checkRecord(r); err != nil {
		return err
	}
	if r.Status != want || r.FinishedAt != nil {
		return refuse(stella.ErrInvalid, "%s is %q, want %s without an end", r.ID, safe.Clip(string(r.Status), 40), want)
	}
	if known, ok := d.Deployment(r.ID); ok {
		if known.Status != stella.Pending {
			return refuse(stella.ErrConflict, "%s is %s", r.ID, known.Status)
		}
		return sameIdentity(known, r)
	}
	if r.Sequence != d.State.Sequence+1 {
		return refuse(stella.ErrConflict, "%s is not the next deployment: that is %s", r.ID, d.NextID())
	}
	d.State.Sequence = r.Sequence
	return nil
}

// checkRecord checks what is true of a record in any status.
func (d *draft) checkRecord(r stella.Deployment) error {
	switch {
	case r.SchemaVersion != 1:
		return refuse(stella.ErrInvalid, "%s has schemaVersion %d, want 1", safe.Clip(r.ID, 100), r.SchemaVersion)
	case r.Environment != d.State.Environment:
		return refuse(stella.ErrInvalid, "%s is of environment %q, not %s", safe.Clip(r.ID, 100), safe.Clip(string(r.Environment), 80), d.State.Environment)
	case r.ID != DeploymentID(r.Environment, r.Sequence) || r.Sequence < 1:
		return refuse(stella.ErrInvalid, "deployment %q has sequence %d", safe.Clip(r.ID, 100), r.Sequence)
	case !knownKind(r.Kind):
		return refuse(stella.ErrInvalid, "%s has kind %q", r.ID, safe.Clip(string(r.Kind), 40))
	case r.Actor == "" || !storable(r.StartedAt):
		return refuse(stella.ErrInvalid, "%s lacks its actor or start", r.ID)
	case len(r.Targets) > maxTargets:
		return refuse(stella.ErrInvalid, "%s has %d targets", r.ID, len(r.Targets))
	}
	return nil
}

func knownKind(k stella.Kind) bool {
	switch k {
	case stella.KindDeploy, stella.KindRollback, stella.KindReset, stella.KindHeal, stella.KindDrill, stella.KindImport:
		return true
	}
	return false
}

// sameIdentity checks that a record is still the one it was: who wanted what
// never changes, what it became may.
func sameIdentity(old, r stella.Deployment) error {
	if old.Kind != r.Kind || old.Actor != r.Actor || old.Restores != r.Restores || old.Automatic != r.Automatic ||
		(old.Supersedes != r.Supersedes && old.Status != stella.Pending) {
		return refuse(stella.ErrInvalid, "%s changes its kind, actor, automatic, restores or supersedes", r.ID)
	}
	return nil
}

func (d *draft) progress(e Progress) error {
	l, err := d.holding(e.LockID)
	if err != nil {
		return err
	}
	if l.ByHand {
		return refuse(stella.ErrInvalid, "a lock by hand is not renewed")
	}
	if e.ID != l.Deployment {
		return refuse(stella.ErrConflict, "the lock is for deployment %q, not %q", l.Deployment, safe.Clip(e.ID, 100))
	}
	if err := renew(l, d.at, e.ExpiresAt); err != nil {
		return err
	}
	d.State.Lock = l
	if e.ID == "" {
		return nil
	}
	r, ok := d.Deployment(e.ID)
	if !ok || r.Status != stella.Running {
		return refuse(stella.ErrConflict, "%s does not run", e.ID)
	}
	if len(e.Targets) > maxTargets {
		return refuse(stella.ErrInvalid, "%s has %d targets", r.ID, len(e.Targets))
	}
	d.put(progressed(r, e))
	return nil
}

func progressed(r stella.Deployment, e Progress) stella.Deployment {
	if e.Commit != "" {
		r.Commit = e.Commit
	}
	if e.Tree != "" {
		r.Tree = e.Tree
	}
	if e.Steps != nil {
		r.Steps = e.Steps
	}
	if e.Targets != nil {
		r.Targets = e.Targets
	}
	return r
}

func renew(l *stella.Lock, at, expires time.Time) error {
	if !storable(expires) || !expires.After(at) {
		return refuse(stella.ErrInvalid, "a lock that ends at %s is over", stamp(expires))
	}
	l.RenewedAt, l.ExpiresAt = at, expires
	return nil
}
