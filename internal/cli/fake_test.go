package cli

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"slices"
	"time"

	"github.com/stella-ops/stella"
	"github.com/stella-ops/stella/health"
	"github.com/stella-ops/stella/ledger"
	"github.com/stella-ops/stella/reconciler"
)

// The images and ids of the tests.
const (
	oldImage = "registry.example.com/shop/api:2.3.0@sha256:1111111111111111111111111111111111111111111111111111111111111111"
	newImage = "registry.example.com/shop/api:2.4.0@sha256:2222222222222222222222222222222222222222222222222222222222222222"
	commit1  = "1000000000000000000000000000000000000001"
	commit2  = "2000000000000000000000000000000000000002"
	tree1    = "a00000000000000000000000000000000000000a"
	tree2    = "b00000000000000000000000000000000000000b"
	planHash = "0123456789abcdef"
)

// noon is when everything in the tests happens.
func noon() time.Time { return time.Date(2026, 11, 23, 12, 0, 0, 0, time.UTC) }

// fakeEngine behaves as the engine does, in memory and without targets: it
// refuses what is locked, plans without touching anything, and remembers what
// it deployed.
type fakeEngine struct {
	notify    func(reconciler.Event)
	protected bool
	books     map[stella.EnvName]ledger.Book
	// fails makes the next change end in this status; rollsBack lets an automatic
	// rollback follow.
	fails     stella.Status
	rollsBack bool
	findings  []reconciler.Finding
	away      string // why nobody can tell whether the environment is ready
	reverts   []string
	conflict  bool  // what is to be undone meets what came after it
	err       error // every request ends with it
	waits     bool  // a change waits until its context ends
	drifted   bool
	diff      func(*reconciler.Diff)                    // what a comparison finds; nil for nothing
	others    map[stella.EnvName]func(*reconciler.Diff) // what a look for drift finds in other environments
	agreesNot bool
	dead      bool     // whoever drives does not any more
	followed  []string // ids of deployments
	stopped   []stella.EnvName
	got       []reconciler.Options // of the changes that were carried out
	verified  []string             // environments whose baselines were to be verified
}

func newFake() *fakeEngine {
	f := &fakeEngine{books: map[stella.EnvName]ledger.Book{}}
	b := ledger.NewBook("production")
	b.Deployments = []stella.Deployment{deployed("production-1", stella.KindDeploy, oldImage), rolledBack()}
	b.State.Sequence, b.State.Current, b.State.LastGood, b.State.Last = 2, "production-2", "production-2", "production-2"
	b.State.Holds = []stella.Hold{{
		ID: "hold-1", Environment: "production", Release: "2.4.0", Tree: tree2, Resources: []string{"service/api"},
		Deployment: "production-1", Since: noon().Add(-time.Hour), By: "Ana <ana@example.com>", Reason: "5xx after 2.4.0",
	}}
	f.books["production"] = b
	return f
}

func deployed(id string, kind stella.Kind, image string) stella.Deployment {
	end := noon().Add(-2 * time.Hour)
	a, err := stella.ParseArtifact(image)
	if err != nil {
		panic(err)
	}
	return stella.Deployment{
		SchemaVersion: 1, ID: id, Environment: "production", Sequence: 1, Kind: kind, Status: stella.Succeeded,
		Commit: commit1, Tree: tree1, Release: a.Tag, Components: map[string]string{"api": image},
		Actor: "Ana <ana@example.com>", Reason: "release", StartedAt: end.Add(-12400 * time.Millisecond), FinishedAt: &end, DurationSeconds: 12.4,
		Fence: 7, Desired: a.Digest,
		Targets: []stella.TargetResult{{Name: "web-1", Status: stella.TargetVerified, After: map[string]string{"api": string(a.Digest)}}},
		Steps: []stella.Step{
			{Name: stella.StepPreflight, Status: stella.StepSucceeded, StartedAt: end.Add(-12400 * time.Millisecond), DurationSeconds: 0.3},
			{
				Name: stella.StepApply, Target: "web-1", Status: stella.StepSucceeded, StartedAt: end.Add(-11 * time.Second), DurationSeconds: 1.25,
				Detail: map[string]any{"actions": []any{"update service/api"}, "log": "started\nlistening on :8080\n"},
			},
		},
	}
}

func rolledBack() stella.Deployment {
	d := deployed("production-2", stella.KindRollback, oldImage)
	d.Sequence, d.Restores, d.Reverts, d.Reason, d.Incident = 2, "production-1", []string{commit2}, "5xx after 2.4.0", "INC-7"
	d.StartedAt = noon().Add(-time.Hour)
	end := d.StartedAt.Add(3 * time.Second)
	d.FinishedAt, d.DurationSeconds, d.Commit = &end, 3, commit2
	d.Targets[0].Before = map[string]string{"api": "sha256:2222222222222222222222222222222222222222222222222222222222222222"}
	for i := range d.Steps {
		d.Steps[i].StartedAt = d.StartedAt.Add(time.Duration(i) * time.Second)
	}
	return d
}

func (f *fakeEngine) book(env stella.EnvName) (ledger.Book, error) {
	b, ok := f.books[env]
	if !ok {
		err := fmt.Errorf("environment %s: %w", env, stella.ErrNotFound)
		return b, stella.WithHint(err, "run 'stella orch env list'")
	}
	return b, f.err
}

func (f *fakeEngine) Book(_ context.Context, env stella.EnvName) (ledger.Book, error) {
	return f.book(env)
}

func (f *fakeEngine) Books(context.Context) (map[stella.EnvName]ledger.Book, error) {
	return f.books, f.err
}

func (f *fakeEngine) FindDeployment(_ context.Context, s string) (stella.EnvName, *stella.Deployment, error) {
	if _, ok := f.books[stella.EnvName(s)]; ok {
		return stella.EnvName(s), nil, f.err
	}
	for env, b := range f.books {
		for _, d := range b.Deployments {
			if d.ID == s {
				return env, &d, f.err
			}
		}
	}
	return "", nil, fmt.Errorf("deployment %s: %w", s, stella.ErrNotFound)
}

func (f *fakeEngine) Environments(context.Context) ([]reconciler.EnvironmentSummary, error) {
	var all []reconciler.EnvironmentSummary
	for _, env := range slices.Sorted(maps.Keys(f.books)) {
		b := f.books[env]
		s := reconciler.EnvironmentSummary{Name: env, Sync: stella.Synced, Health: stella.Healthy, Commit: commit2, Ready: true, ReadyCheckedAt: new(noon().Add(-3 * time.Minute)), Held: len(b.State.Holds) > 0, Drifted: f.drifted}
		if d, ok := b.Current(); ok {
			s.Release, s.Deployment = d.Release, d.ID
		}
		all = append(all, s)
	}
	return all, f.err
}

func (f *fakeEngine) Status(_ context.Context, env stella.EnvName, observe bool) (reconciler.EnvironmentStatus, error) {
	b, err := f.book(env)
	if err != nil {
		return reconciler.EnvironmentStatus{}, err
	}
	s := reconciler.EnvironmentStatus{
		Environment: env, Sync: stella.Held, Health: stella.Healthy, Reason: "2.4.0 was rolled back: 5xx after 2.4.0",
		SeenCommit: commit2, FetchedAt: noon().Add(-5 * time.Second), Holds: b.State.Holds,
		Desired: reconciler.DesiredSummary{Commit: commit2, Tree: tree2, Release: "2.4.0", Components: map[string]string{"api": newImage}},
		Ready:   reconciler.Readiness{Ready: true, To: "production-1"},
	}
	since, until := noon().Add(-8*24*time.Hour), noon().Add(30*24*time.Hour)
	s.Overrides = []reconciler.DeclaredOverride{{
		Targets: []string{"web-1"}, Components: map[string]string{"api": oldImage}, From: "production-1", Reason: "5xx on web-1 only",
		Since: &since, Until: &until, InEffect: true, Old: true,
	}}
	if n := b.Drift.Count(); n > 0 {
		s.Drift = reconciler.DriftSummary{Count: n, Since: b.State.Summary.DriftSince, Mode: "report"}
	}
	if d, ok := b.Current(); ok {
		d.Steps = nil
		s.Current, s.Last = &d, &d
	}
	if b.State.Lock != nil {
		s.Lock = &f.locks(env)[0]
	}
	if observe {
		at := noon()
		s.ObservedAt, s.Targets = &at, []reconciler.TargetStatus{f.target()}
	}
	return s, nil
}

func (f *fakeEngine) target() reconciler.TargetStatus {
	return reconciler.TargetStatus{
		Name: "web-1", Driver: "host", Reachable: true, Sync: stella.Synced, Health: stella.Healthy,
		Sticker: &stella.Sticker{
			SchemaVersion: 1, Environment: "production", Target: "web-1", Deployment: "production-2", Release: "2.3.0",
			Commit: commit2, Components: map[string]string{"api": oldImage}, Fence: 7, WrittenAt: noon().Add(-time.Hour),
		},
		Components: []stella.ComponentStatus{{Name: "api", Desired: oldImage, Running: oldImage, State: stella.RunRunning, Health: stella.RunHealthHealthy, Since: noon().Add(-time.Hour)}},
		Checks:     []reconciler.CheckResult{{Name: "web answers", Target: "web-1", OK: true, LatencyMillis: 3.25}},
		Notes:      []string{"runs without root: in place"},
	}
}

// conflicting is the plan of an undo that conflicts.
func (f *fakeEngine) conflicting(env stella.EnvName) reconciler.Plan {
	path := "envs/production/app/release.yaml"
	message, fix := path+": lines that it changed were changed again, or lines next to them (line 6)", "run 'stella rollback production --to production-1' to go back to before it"
	side := func(level string) reconciler.ConflictSide {
		return reconciler.ConflictSide{Line: 6, Lines: []string{"variables: {LEVEL: " + level + "}"}}
	}
	before := side("info")
	before.More = 3
	return reconciler.Plan{
		Environment: env, Commit: commit2, Tree: tree1, Release: "2.4.0", Hash: planHash, Empty: true, Reverts: f.reverts, Undoes: f.undoes(),
		Findings: []reconciler.Finding{
			{Code: reconciler.FindingRevertConflict, Message: message, Fix: fix},
			{Code: reconciler.FindingRevertConflict, Message: "envs/production/app/motd: it added it, and it is gone: moved, perhaps", Fix: fix},
		},
		Conflicts: []reconciler.RevertConflict{
			{Path: path, Why: "lines", Message: message, Hunks: []reconciler.ConflictHunk{
				{Now: side("trace"), Commit: side("debug"), Before: before},
				{Now: reconciler.ConflictSide{Line: 9}, Commit: side("debug"), Before: side("info"), Ambiguous: true},
			}},
			{Path: "envs/production/app/motd", Why: "gone", Message: "envs/production/app/motd: it added it, and it is gone: moved, perhaps"},
		},
	}
}

func (f *fakeEngine) plan(env stella.EnvName) reconciler.Plan {
	if f.conflict {
		return f.conflicting(env)
	}
	change := stella.Change{Resource: "service/api", Class: stella.Modified, Path: "/image", Desired: oldImage, Live: newImage, Severity: stella.SeverityCritical}
	return reconciler.Plan{
		Environment: env, Commit: commit2, Tree: tree1, Release: "2.3.0", Hash: planHash, Reverts: f.reverts, Undoes: f.undoes(),
		Files: []reconciler.FileChange{{
			Path: "envs/production/app/release.yaml", Op: "modify",
			Diff: "--- a/release.yaml\n+++ b/release.yaml\n@@ -3,3 +3,3 @@\n kind: Release\n-version: 2.4.0\n+version: 2.3.0\n components:\n",
		}},
		Artifacts: []reconciler.ArtifactCheck{{Image: oldImage, Available: len(f.findings) == 0, Where: "registry"}},
		Targets: []reconciler.TargetPlan{{Target: "web-1", Batch: 1, Changes: []stella.Change{change}, Actions: []stella.Action{{
			Op: stella.OpUpdate, Resource: stella.Resource{ID: "service/api", Fields: map[string]any{"image": oldImage}}, Cause: "image differs", Changes: []stella.Change{change},
		}}}},
		Findings: f.findings,
	}
}

// undoes describes the reverts of the plan.
func (f *fakeEngine) undoes() []reconciler.UndoneCommit {
	out := []reconciler.UndoneCommit{}
	for i, c := range f.reverts {
		out = append(out, reconciler.UndoneCommit{
			Commit: c, Subject: "Deploy 2.4.0 to production", Author: "Ana", At: noon().Add(-time.Hour), Deployment: "production-2", Also: i > 0,
		})
	}
	return out
}

func (f *fakeEngine) Plan(_ context.Context, env stella.EnvName, _ string) (reconciler.Plan, error) {
	if _, err := f.book(env); err != nil {
		return reconciler.Plan{}, err
	}
	p := f.plan(env)
	if !f.drifted {
		p = reconciler.Plan{Environment: env, Commit: commit2, Tree: tree2, Release: "2.4.0", Hash: planHash, Empty: true}
	}
	return p, nil
}

func (f *fakeEngine) Deploy(ctx context.Context, req reconciler.DeployRequest) (reconciler.Outcome, error) {
	return f.change(ctx, req.Environment, stella.KindDeploy, req.Options)
}

func (f *fakeEngine) TakeOver(ctx context.Context, req reconciler.TakeOverRequest) (reconciler.Outcome, error) {
	return f.change(ctx, req.Environment, stella.KindImport, req.Options)
}

func (f *fakeEngine) Adopt(ctx context.Context, req reconciler.AdoptRequest) (reconciler.Outcome, error) {
	return f.change(ctx, req.Environment, stella.KindDeploy, req.Options)
}

// Ignore commits a rule for one difference.
func (f *fakeEngine) Ignore(_ context.Context, req reconciler.IgnoreRequest) (reconciler.Outcome, error) {
	if _, err := f.book(req.Environment); err != nil {
		return reconciler.Outcome{}, err
	}
	path := "envs/production/environment.yaml"
	plan := reconciler.Plan{
		Environment: req.Environment, Commit: commit2, Tree: tree2, Release: "2.4.0", Hash: planHash, Empty: true,
		Files: []reconciler.FileChange{{Path: path, Op: "modify", Diff: "--- a/" + path + "\n+++ b/" + path +
			"\n@@ -4,3 +4,7 @@\n drift:\n   mode: report\n+  ignore:\n+  - resource: " + req.Resource + "\n+    path: " + req.Path + "\n+    reason: \"" + req.Reason + "\"\n"}},
		Targets: []reconciler.TargetPlan{{Target: "web-1", Batch: 1, Changes: []stella.Change{{
			Resource: stella.ResourceID(req.Resource), Class: stella.Modified, Path: req.Path, Desired: "info", Live: "debug",
			Severity: stella.SeverityWarning, Ignored: true, Reason: req.Reason,
		}}}},
		Warnings: []string{"the rule has no end: --until gives it one"},
	}
	out := reconciler.Outcome{Plan: &plan, Sync: stella.Synced}
	switch {
	case req.DryRun || f.err != nil:
		return out, f.err
	case f.protected && req.PlanHash == "" && !req.Confirmed:
		return out, fmt.Errorf("environment %s is protected: %w", req.Environment, stella.ErrInvalid)
	}
	f.got = append(f.got, req.Options)
	out.Committed, out.Commit = true, commit2
	return out, nil
}

func (f *fakeEngine) Rollback(ctx context.Context, req reconciler.RollbackRequest) (reconciler.Outcome, error) {
	return f.change(ctx, req.Environment, stella.KindRollback, req.Options)
}

func (f *fakeEngine) Reset(ctx context.Context, req reconciler.ResetRequest) (reconciler.Outcome, error) {
	return f.change(ctx, req.Environment, stella.KindReset, req.Options)
}

func (f *fakeEngine) Reconcile(ctx context.Context, req reconciler.ReconcileRequest) (reconciler.Outcome, error) {
	return f.change(ctx, req.Environment, stella.KindDeploy, req.Options)
}

func (f *fakeEngine) change(ctx context.Context, env stella.EnvName, kind stella.Kind, o reconciler.Options) (reconciler.Outcome, error) {
	b, err := f.book(env)
	if err != nil {
		return reconciler.Outcome{}, err
	}
	plan := f.plan(env)
	switch {
	case o.DryRun:
		return reconciler.Outcome{Plan: &plan}, nil
	case o.PlanHash != "" && o.PlanHash != plan.Hash:
		return reconciler.Outcome{Plan: &plan}, fmt.Errorf("the plan is %s now, not %s: %w", plan.Hash, o.PlanHash, stella.ErrConflict)
	case len(f.findings) > 0:
		no := &reconciler.RefusedError{What: "cannot restore previous version", Findings: f.findings}
		hint := "run the same command with --dry-run once each of them is mended: it shows what is left"
		if len(f.findings) == 1 {
			hint = f.findings[0].Fix
		}
		return reconciler.Outcome{Plan: &plan}, stella.WithHint(no, hint)
	case f.protected && o.PlanHash == "" && !o.Confirmed:
		return reconciler.Outcome{Plan: &plan}, fmt.Errorf("environment %s is protected: %w", env, stella.ErrInvalid)
	case b.State.Lock != nil && b.State.Lock.ByHand:
		return reconciler.Outcome{Plan: &plan}, fmt.Errorf("%s: %w by %s", env, stella.ErrFrozen, b.State.Lock.Holder)
	case b.State.Lock != nil:
		return f.wait(ctx, env)
	}
	f.got = append(f.got, o)
	return f.carryOut(ctx, b, kind, o)
}

// wait is for the lock, until ctx ends.
func (f *fakeEngine) wait(ctx context.Context, env stella.EnvName) (reconciler.Outcome, error) {
	f.notify(reconciler.Waiting{Environment: env, For: "the lock of bob@ci", Since: noon()})
	if !f.waits {
		return reconciler.Outcome{}, fmt.Errorf("%s: %w by bob@ci", env, stella.ErrLocked)
	}
	<-ctx.Done()
	return reconciler.Outcome{}, errors.Join(context.Cause(ctx), fmt.Errorf("%s: %w by bob@ci", env, stella.ErrLocked))
}

func (f *fakeEngine) carryOut(ctx context.Context, b ledger.Book, kind stella.Kind, o reconciler.Options) (reconciler.Outcome, error) {
	d := deployed(b.NextID(), kind, newImage)
	d.Sequence, d.Reason, d.StartedAt, d.FinishedAt, d.Status = b.State.Sequence+1, o.Reason, noon(), nil, stella.Running
	f.notify(reconciler.Started{Deployment: d})
	step := stella.Step{Name: stella.StepApply, Target: "web-1", StartedAt: noon()}
	f.notify(reconciler.StepBegan{Environment: "production", Deployment: d.ID, Step: step})
	f.notify(reconciler.ActionDone{Environment: "production", Deployment: d.ID, Target: "web-1", Action: f.plan("production").Targets[0].Actions[0]})
	step.Status, step.DurationSeconds = stella.StepSucceeded, 1.2
	f.notify(reconciler.StepEnded{Environment: "production", Deployment: d.ID, Step: step})
	f.notify(reconciler.Checked{Environment: "production", Deployment: d.ID, Results: []health.Result{{Name: "web answers", Target: "web-1", OK: f.fails == ""}}})
	d.Status = stella.Succeeded
	out := reconciler.Outcome{Deployment: &d, Sync: stella.Synced, Commit: commit2}
	if f.waits {
		<-ctx.Done() // the step under way ends, then the deployment stops
		d.Status, d.Error = stella.Aborted, context.Cause(ctx).Error()
	}
	if f.fails != "" {
		d.Status, d.Error, out.Sync = f.fails, "web-1: check web answers: 503", stella.SyncFailed
	}
	end := noon().Add(2 * time.Second)
	d.FinishedAt, d.DurationSeconds = &end, 2
	b.Deployments = append(slices.Clone(b.Deployments), d)
	b.State.Sequence++
	if f.rollsBack {
		back := rolledBack()
		back.ID, back.Automatic = b.NextID(), true
		out.Rollback, out.Sync = &back, stella.Held
		b.Deployments = append(b.Deployments, back)
		b.State.Sequence++
	}
	f.books["production"] = b
	f.notify(reconciler.Ended{Deployment: d})
	return out, f.err
}

func (f *fakeEngine) Stop(_ context.Context, env stella.EnvName, _ reconciler.Options) error {
	f.stopped = append(f.stopped, env)
	return f.err
}

func (f *fakeEngine) Delete(ctx context.Context, env stella.EnvName, o reconciler.Options) error {
	return f.Stop(ctx, env, o)
}

func (f *fakeEngine) HealthCheck(_ context.Context, env stella.EnvName) (reconciler.HealthReport, error) {
	if _, err := f.book(env); err != nil {
		return reconciler.HealthReport{}, err
	}
	ok := f.fails == ""
	c := reconciler.CheckResult{Name: "web answers", Target: "web-1", OK: ok, LatencyMillis: 3.2514}
	if !ok {
		c.Error = "status 503, want 200"
	}
	return reconciler.HealthReport{Environment: env, Healthy: ok, Checks: []reconciler.CheckResult{c}}, nil
}

func (f *fakeEngine) locks(env stella.EnvName) []reconciler.LockStatus {
	all := []reconciler.LockStatus{}
	for _, name := range slices.Sorted(maps.Keys(f.books)) {
		if l := f.books[name].State.Lock; l != nil && (env == "" || env == name) {
			all = append(all, reconciler.LockStatus{Lock: *l, Environment: name, AgeSeconds: noon().Sub(l.AcquiredAt).Seconds()})
		}
	}
	return all
}

func (f *fakeEngine) Locks(_ context.Context, env stella.EnvName) ([]reconciler.LockStatus, error) {
	return f.locks(env), f.err
}

func (f *fakeEngine) AcquireLock(_ context.Context, env stella.EnvName, reason string, d time.Duration) (stella.Lock, error) {
	b, err := f.book(env)
	if err != nil {
		return stella.Lock{}, err
	}
	if b.State.Lock != nil {
		return stella.Lock{}, fmt.Errorf("lock %s: %w by %s", env, stella.ErrLocked, b.State.Lock.Holder)
	}
	b.State.Lock = &stella.Lock{ID: "lock-9", Holder: "Ana <ana@example.com>", Purpose: reason, AcquiredAt: noon(), RenewedAt: noon(), ExpiresAt: noon().Add(d), Fence: 8, ByHand: true}
	f.books[env] = b
	return *b.State.Lock, nil
}

func (f *fakeEngine) ReleaseLock(_ context.Context, what, _ string, force bool) (stella.Lock, error) {
	for env, b := range f.books {
		l := b.State.Lock
		if l == nil || string(env) != what && l.ID != what {
			continue
		}
		if !l.ByHand && !force {
			return *l, fmt.Errorf("%s: %w by %s", env, stella.ErrLocked, l.Holder)
		}
		b.State.Lock = nil
		f.books[env] = b
		return *l, nil
	}
	return stella.Lock{}, fmt.Errorf("lock %q: %w", what, stella.ErrNotFound)
}

// lock has somebody else deploy.
func (f *fakeEngine) lock(byHand bool) {
	b := f.books["production"]
	b.State.Lock = &stella.Lock{
		ID: "lock-8", Holder: "bob@ci", Purpose: "deploy", Deployment: "production-3", AcquiredAt: noon().Add(-30 * time.Second),
		RenewedAt: noon(), ExpiresAt: noon().Add(45 * time.Second), Fence: 8, ByHand: byHand,
	}
	f.books["production"] = b
}

func (f *fakeEngine) AcceptHeads(_ context.Context, env stella.EnvName, _ string) ([]reconciler.AcceptedHead, error) {
	if _, err := f.book(env); env != "" && err != nil {
		return nil, err
	}
	return []reconciler.AcceptedHead{{Ref: "refs/heads/main", Was: headA, Is: headB}}, nil
}

func (f *fakeEngine) LiftHold(_ context.Context, env stella.EnvName, id, _ string) ([]stella.Hold, error) {
	b, err := f.book(env)
	if err != nil {
		return nil, err
	}
	var lifted []stella.Hold
	b.State.Holds = slices.DeleteFunc(slices.Clone(b.State.Holds), func(h stella.Hold) bool {
		if id == "" || h.ID == id {
			lifted = append(lifted, h)
			return true
		}
		return false
	})
	f.books[env] = b
	return lifted, nil
}

func (f *fakeEngine) VerifyLedger(_ context.Context, env stella.EnvName) ([]ledger.Report, error) {
	var all []ledger.Report
	for _, name := range slices.Sorted(maps.Keys(f.books)) {
		if env == "" || env == name {
			r := ledger.Report{Environment: name, Transitions: 4}
			if f.agreesNot {
				r.Findings = []ledger.Finding{{Code: "state-differs", Message: "the state is not what its transitions lead to", At: commit1, Fix: "run 'stella orch db repair'"}}
			}
			all = append(all, r)
		}
	}
	return all, f.err
}

// The heads of a branch that was rewound.
const (
	headA = "aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa"
	headB = "bbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbb"
)
