package ledger

import (
	"fmt"
	"slices"
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

func (d *draft) finish(e Finish) error {
	l, err := d.holding(e.LockID)
	if err != nil {
		return err
	}
	r := e.Deployment
	if err := d.admitEnd(r, l); err != nil {
		return err
	}
	if e.Current && r.Status != stella.Succeeded {
		return refuse(stella.ErrInvalid, "%s is %s and can not be current", r.ID, r.Status)
	}
	d.put(r)
	d.settle(r, e.Current)
	if err := d.hold(e.Hold); err != nil {
		return err
	}
	if d.State.Lock = nil; e.KeepLock {
		// The lease runs on from here; the deployment has let go of it.
		lease := l.ExpiresAt.Sub(l.RenewedAt)
		l.Deployment, l.RenewedAt, l.ExpiresAt = "", d.at, d.at.Add(lease)
		d.State.Lock = l
	}
	return nil
}

// admitEnd checks the whole record of a deployment that ends.
func (d *draft) admitEnd(r stella.Deployment, l *stella.Lock) error {
	if err := d.checkRecord(r); err != nil {
		return err
	}
	known, ok := d.Deployment(r.ID)
	if !ok || l.Deployment != r.ID {
		return refuse(stella.ErrConflict, "the lock is for deployment %q, not %s", l.Deployment, r.ID)
	}
	if known.Status != stella.Running {
		return refuse(stella.ErrConflict, "%s is %s", r.ID, known.Status)
	}
	if err := sameIdentity(known, r); err != nil {
		return err
	}
	if !r.StartedAt.Equal(known.StartedAt) || r.Fence != known.Fence {
		return refuse(stella.ErrInvalid, "%s changes its start or fence", r.ID)
	}
	if r.FinishedAt == nil || !storable(*r.FinishedAt) || !(r.DurationSeconds >= 0) {
		return refuse(stella.ErrInvalid, "%s lacks its end", r.ID)
	}
	return outcome(r)
}

// outcome checks that a status and what became of the targets go together.
func outcome(r stella.Deployment) error {
	forbidden := map[stella.Status][]stella.TargetStatus{
		stella.Succeeded:  {stella.TargetFailed, stella.TargetOwed, stella.TargetUnknown},
		stella.Errored:    {stella.TargetApplied, stella.TargetFailed},
		stella.Failed:     nil,
		stella.Partial:    nil,
		stella.Aborted:    nil,
		stella.Superseded: nil,
	}
	never, ok := forbidden[r.Status]
	if !ok {
		return refuse(stella.ErrInvalid, "%s ends as %q", r.ID, safe.Clip(string(r.Status), 40))
	}
	for _, t := range r.Targets {
		if slices.Contains(never, t.Status) {
			return refuse(stella.ErrInvalid, "%s is %s, and its target %q is %s", r.ID, r.Status, safe.Clip(t.Name, 80), t.Status)
		}
	}
	return nil
}

// settle brings the state in line with an outcome.
func (d *draft) settle(r stella.Deployment, current bool) {
	switch {
	case current:
		d.State.Current, d.State.LastGood, d.State.Last = r.ID, r.ID, r.ID
		d.State.Owed = owed(d.State.Owed, r.Targets)
	case touched(r):
		d.unverified(r)
		d.State.Owed = owed(d.State.Owed, r.Targets)
	}
	if r.Status == stella.Succeeded {
		d.keepTrees()
	}
	if r.Commit != "" {
		d.remember(r)
	}
}

// remember keeps which commits were rejected by a target: being out of reach
// is no rejection.
func (d *draft) remember(r stella.Deployment) {
	rejected := r.Status == stella.Failed || slices.ContainsFunc(r.Targets, func(t stella.TargetResult) bool { return t.Status == stella.TargetFailed })
	if !rejected && r.Status != stella.Succeeded {
		return
	}
	failed := slices.DeleteFunc(slices.Clone(d.State.FailedCommits), func(f FailedCommit) bool { return f.Commit == r.Commit })
	if rejected {
		failed = append(failed, FailedCommit{Commit: r.Commit, Tree: r.Tree, Deployment: r.ID, At: d.at})
	}
	d.State.FailedCommits = failed[max(0, len(failed)-maxFailed):]
}

// owed returns which targets are owed after a deployment with these results:
// one that it did not get to stays as it was.
func owed(before []string, targets []stella.TargetResult) []string {
	now := map[string]bool{}
	for _, name := range before {
		now[name] = true
	}
	for _, t := range targets {
		switch t.Status {
		case stella.TargetOwed:
			now[t.Name] = true
		case stella.TargetVerified:
			delete(now, t.Name)
		}
	}
	return sortedKeys(now)
}

func (d *draft) abort(e Abort) error {
	if e.Reason == "" {
		return refuse(stella.ErrInvalid, "want a reason")
	}
	r, ok := d.Deployment(e.ID)
	if !ok {
		return refuse(stella.ErrNotFound, "deployment %q", safe.Clip(e.ID, 100))
	}
	if !r.Status.Open() {
		return refuse(stella.ErrConflict, "%s is %s", r.ID, r.Status)
	}
	if err := d.letGo(r.ID, e.LockID); err != nil {
		return err
	}
	ran := r.Status == stella.Running
	if e.Targets != nil {
		r.Targets = e.Targets
	}
	d.end(r, stella.Aborted, fmt.Sprintf("aborted by %s: %s", d.by, e.Reason))
	if ran && (len(r.Targets) == 0 || touched(r)) {
		d.unverified(r)
		d.State.Owed = owed(d.State.Owed, r.Targets)
	}
	return nil
}

// letGo frees the lock that a deployment runs under, if there is one.
func (d *draft) letGo(deployment, lock string) error {
	l := d.State.Lock
	if l == nil || l.Deployment != deployment {
		return nil
	}
	if lock == "" {
		return &LockedError{Environment: d.State.Environment, Lock: *l, At: d.at}
	}
	if _, err := d.holding(lock); err != nil {
		return err
	}
	d.State.Lock = nil
	return nil
}
