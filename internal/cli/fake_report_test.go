package cli

import (
	"context"
	"fmt"
	"maps"
	"slices"
	"time"

	"github.com/stella-ops/stella"
	"github.com/stella-ops/stella/ledger"
	"github.com/stella-ops/stella/reconciler"
)

func (f *fakeEngine) Ready(_ context.Context, envs ...stella.EnvName) ([]reconciler.EnvironmentReadiness, error) {
	if len(envs) == 0 {
		envs = slices.Sorted(maps.Keys(f.books))
	}
	all := []reconciler.EnvironmentReadiness{}
	for _, env := range envs {
		b, err := f.book(env)
		if err != nil {
			return nil, err
		}
		r := reconciler.EnvironmentReadiness{Environment: env, CheckedAt: noon(), Ready: len(f.findings) == 0 && !f.agreesNot, Error: f.away}
		for _, d := range b.Deployments {
			if f.agreesNot {
				break
			}
			r.Candidates = append(r.Candidates, reconciler.Candidate{
				Deployment: d.ID, Release: d.Release, VerifiedAt: d.FinishedAt, Ready: len(f.findings) == 0 || len(r.Candidates) > 0,
			})
		}
		if f.agreesNot {
			r.Blockers = []reconciler.Finding{{Code: reconciler.FindingNowhere, Message: "no older deployment of production was verified", Fix: "deploy another release to production: what runs now is then what it can go back to"}}
		} else {
			r.To, r.Candidates[0].Blockers = r.Candidates[0].Deployment, f.findings
		}
		all = append(all, r)
	}
	return all, f.err
}

func (f *fakeEngine) RollbackStatus(_ context.Context, env stella.EnvName, id string) (reconciler.RollbackStatus, error) {
	b, err := f.book(env)
	if err != nil {
		return reconciler.RollbackStatus{}, err
	}
	d := f.deployment(b, id)
	ok := !f.agreesNot && (d == nil || d.Status == stella.Succeeded)
	st := reconciler.RollbackStatus{
		Environment: env, Deployment: d, Agrees: ok, Driver: f.driver(d),
		Witnesses: reconciler.Witnesses{
			Git:    reconciler.GitWitness{Tree: tree1, Commit: commit2, OK: true},
			Ledger: reconciler.LedgerWitness{Deployment: "production-2", Status: stella.Succeeded, OK: true},
			Targets: []reconciler.TargetWitness{{
				Name: "web-1", Sticker: reconciler.StickerWitness{Deployment: "production-2", OK: ok},
				Running: map[string]string{"api": "sha256:1111111111111111111111111111111111111111111111111111111111111111"}, OK: ok,
			}},
		},
	}
	if !ok {
		st.Disagree, st.Witnesses.Targets[0].Error = []string{"web-1"}, "api runs 222222222222, not 111111111111: somebody started it by hand with another image"
	}
	return st, nil
}

func (f *fakeEngine) deployment(b ledger.Book, id string) *stella.Deployment {
	return newest(b.Deployments, func(d stella.Deployment) bool { return d.ID == id || id == "" && isRollback(d) })
}

// driver is who drives what has not ended.
func (f *fakeEngine) driver(d *stella.Deployment) *reconciler.Driver {
	if d == nil || !d.Status.Open() {
		return nil
	}
	since, renewed, takeover := noon().Add(-2*time.Minute), noon().Add(-70*time.Second), noon().Add(-20*time.Second)
	out := &reconciler.Driver{
		State: reconciler.DriverAlive, Holder: "Bob Builder <bob.builder@example.com>", Machine: "another machine (0a1b2c3d), process 4711",
		Since: &since, RenewedAt: &renewed, TakeoverAt: &takeover, Reason: "it renews its lock", Next: "run 'stella rollback status " + d.ID + " --follow'",
	}
	if f.dead {
		out.State, out.Reason = reconciler.DriverSilent, "it has not renewed its lock since 2026-11-23T11:58:50Z"
		out.Next = "run 'stella reconcile production': it takes the lock over when it has watched it for 50s"
	}
	return out
}

func (f *fakeEngine) Trace(_ context.Context, env stella.EnvName, id string, logs bool) (reconciler.Trace, error) {
	b, err := f.book(env)
	if err != nil {
		return reconciler.Trace{}, err
	}
	d, at := f.deployment(b, id), noon().Add(-3*time.Hour)
	if d == nil {
		return reconciler.Trace{}, fmt.Errorf("%s was never rolled back: %w", env, stella.ErrNotFound)
	}
	t := reconciler.Trace{
		Deployment: *d, Driver: f.driver(d), Held: b.State.Holds,
		Components: []reconciler.Moved{{Component: "api", From: []string{newImage}, To: oldImage}},
		Undone:     []reconciler.Undone{{Commit: commit2, Subject: "Deploy 2.4.0 to production, with the new checkout and a subject that is long", Author: "Bob Builder", At: &at}},
		Next:       "deploy a fix; what is held comes back with 'stella orch holds release production --reason …'",
	}
	if t.Driver != nil {
		t.Next = t.Driver.Next
	}
	if logs {
		t.Logs = []reconciler.LogTail{{Target: "web-1", Component: "api", Text: "listening on :8080\npanic: no database"}}
	}
	return t, nil
}

// Follow tells what becomes of production-3, which then has ended.
func (f *fakeEngine) Follow(ctx context.Context, env stella.EnvName, id string, _ time.Duration) error {
	b, err := f.book(env)
	if err != nil {
		return err
	}
	f.followed = append(f.followed, id)
	i := slices.IndexFunc(b.Deployments, func(d stella.Deployment) bool { return d.ID == id })
	d := b.Deployments[i]
	f.notify(reconciler.Started{Deployment: d})
	if f.waits {
		<-ctx.Done()
		return fmt.Errorf("stopped following %s: %w", id, context.Cause(ctx))
	}
	if f.dead {
		f.notify(reconciler.Warned{Environment: env, Text: "nobody carries " + id + " out any more: its holder on this machine is gone"})
		return nil
	}
	for _, s := range d.Steps {
		s.Status = stella.StepSucceeded
		f.notify(reconciler.StepEnded{Environment: env, Deployment: id, Step: s})
	}
	end := noon()
	d.Status, d.FinishedAt, d.DurationSeconds = stella.Succeeded, &end, 120
	b.Deployments = slices.Clone(b.Deployments)
	b.Deployments[i] = d
	f.books[env] = b
	f.notify(reconciler.Ended{Deployment: d})
	return nil
}

// running has somebody else roll back.
func (f *fakeEngine) running() {
	d := rolledBack()
	d.ID, d.Sequence, d.Status, d.FinishedAt, d.DurationSeconds = "production-3", 3, stella.Running, nil, 0
	d.StartedAt = noon().Add(-2 * time.Minute)
	for i := range d.Steps {
		d.Steps[i].StartedAt = d.StartedAt.Add(time.Duration(i) * time.Second)
	}
	d.Steps[1].Status, d.Steps[1].DurationSeconds, d.Steps[1].Detail = stella.StepRunning, 0, nil
	d.Targets[0].Status, d.Targets[0].After = stella.TargetApplied, nil
	b := f.books["production"]
	b.Deployments = append(slices.Clone(b.Deployments), d)
	b.State.Sequence = 3
	f.books["production"] = b
}

// broken makes the last rollback one that failed at its second try.
func (f *fakeEngine) broken() {
	b := f.books["production"]
	b.Deployments = slices.Clone(b.Deployments)
	d := &b.Deployments[1]
	d.Status, d.Actor, d.Error = stella.Failed, "Ana Maria de la Vega <ana.maria.de.la.vega@example.com>", "verify web-1: check web answers: status 503, want 200; api is unhealthy: its check fails"
	d.Targets[0].Status, d.Targets[0].Error = stella.TargetFailed, d.Error
	d.Steps = slices.Clone(d.Steps)
	failed := stella.Step{
		Name: stella.StepVerify, Target: "web-1", Status: stella.StepFailed, StartedAt: d.StartedAt.Add(2 * time.Second), DurationSeconds: 31.5, Error: d.Error,
		Detail: map[string]any{"checks": 2.0},
	}
	d.Steps = append(d.Steps, failed, failed)
	f.books["production"] = b
}
