package ledger

import (
	"fmt"
	"slices"

	"github.com/stella-ops/stella"
	"github.com/stella-ops/stella/internal/safe"
)

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
		d.State.Current, d.State.LastGood, d.State.Last, d.State.Stopped = r.ID, r.ID, r.ID, nil
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
