package cli

import (
	"context"
	"fmt"
	"time"

	"github.com/stella-ops/stella"
	"github.com/stella-ops/stella/reconciler"
)

// agreed is the baseline of the tests.
func (f *fakeEngine) agreed(deployment, why string) *reconciler.BaselineFile {
	b := f.books["production"]
	d := b.Deployments[0]
	return &reconciler.BaselineFile{
		Environment: "production", Deployment: deployment, Commit: commit1, Tree: tree1, Release: "2.3.0", Components: d.Components,
		Shared: map[string]string{"shared/base": tree2}, Desired: d.Desired, CapturedAt: noon().Add(-30 * time.Hour), CapturedBy: d.Actor, Reason: why,
	}
}

func (f *fakeEngine) CaptureBaseline(_ context.Context, req reconciler.BaselineRequest) (reconciler.CapturedBaseline, error) {
	out := reconciler.CapturedBaseline{Environment: req.Environment}
	if _, err := f.book(req.Environment); err != nil {
		return out, err
	}
	plan := reconciler.Plan{
		Environment: req.Environment, Commit: commit2, Tree: tree1, Release: "2.3.0", Hash: planHash, Empty: true, Findings: f.findings,
		Files:    []reconciler.FileChange{{Path: "baselines/production.yaml", Op: "modify", Diff: "--- a/baselines/production.yaml\n+++ b/baselines/production.yaml\n@@ -1,1 +1,1 @@\n-deployment: production-1\n+deployment: production-2\n"}},
		Warnings: []string{"replaces production-1 (2.3.0), captured 2026-11-22 by Ana <ana@example.com>"},
	}
	out.Plan, out.Replaces = &plan, f.agreed("production-1", "proven")
	switch {
	case len(f.findings) > 0:
		out.Plan.Files = nil
		if req.DryRun {
			return out, nil
		}
		return out, stella.WithHint(&reconciler.RefusedError{What: "cannot capture the baseline of production", Findings: f.findings}, f.findings[0].Fix)
	case f.agreesNot:
		out.Nothing, out.Baseline = true, out.Replaces
		return out, nil
	}
	out.Baseline = f.agreed("production-2", req.Reason)
	switch {
	case req.DryRun:
	case f.protected && req.PlanHash == "" && !req.Confirmed:
		return out, fmt.Errorf("want a plan hash: %w", stella.ErrInvalid)
	case req.PullRequest:
		out.Proposal = &reconciler.Proposal{Branch: "stella/baseline/production/" + commit2[:12], Commit: commit2}
	default:
		f.got = append(f.got, req.Options)
		out.Commit = commit2
	}
	return out, nil
}

func (f *fakeEngine) report(asked bool) reconciler.BaselineReport {
	r := reconciler.BaselineReport{
		Environment: "production", Baseline: f.agreed("production-1", "proven"), OK: !f.agreesNot && f.away == "", InEffect: true,
		AgeSeconds: 108000, Findings: []string{},
	}
	r.Witnesses = []reconciler.BaselineWitness{
		{Name: "commit", OK: true},
		{Name: "tree", OK: true},
		{Name: "ledger", OK: !f.agreesNot},
		{Name: "today", OK: true, Why: "the environment is operated otherwise today: what comes back is the app, not environment.yaml"},
	}
	if f.agreesNot {
		r.Witnesses[2].Why = "the ledger has never seen production-1: it was lost, or begun anew"
		r.Findings = append(r.Findings, "ledger: "+r.Witnesses[2].Why)
	}
	if asked {
		w := reconciler.BaselineWitness{Name: oldImage, OK: true, Why: "the registry has it"}
		if f.away != "" {
			w.OK, w.Unknown, w.Why, r.Unknown = false, true, f.away, true
			r.Findings = append(r.Findings, oldImage+": "+f.away)
		}
		r.Witnesses = append(r.Witnesses, w)
	}
	return r
}

func (f *fakeEngine) ShowBaseline(_ context.Context, env stella.EnvName) (reconciler.BaselineReport, error) {
	if _, err := f.book(env); err != nil {
		return reconciler.BaselineReport{}, err
	}
	return f.report(false), f.err
}

func (f *fakeEngine) VerifyBaselines(_ context.Context, envs ...stella.EnvName) (all []reconciler.BaselineReport, without []stella.EnvName, err error) {
	for _, env := range envs {
		f.verified = append(f.verified, string(env))
	}
	for _, env := range envs {
		if _, err := f.book(env); err != nil {
			return nil, nil, err
		}
	}
	if len(envs) == 0 {
		without = []stella.EnvName{"staging"}
	}
	return []reconciler.BaselineReport{f.report(true)}, without, f.err
}

func (f *fakeEngine) ListBaselines(_ context.Context, env stella.EnvName) ([]reconciler.BaselineEntry, error) {
	now := reconciler.BaselineEntry{Environment: "production", Baseline: f.agreed("production-1", "proven")}
	if env == "" {
		return []reconciler.BaselineEntry{now}, f.err
	}
	if _, err := f.book(env); err != nil {
		return nil, err
	}
	now.Commit, now.Author, now.At = commit2, "Ana", noon().Add(-30*time.Hour)
	return []reconciler.BaselineEntry{
		now,
		{Environment: env, Commit: commit1, Author: "Bob", At: noon().Add(-50 * time.Hour), Removed: true},
		{Environment: env, Commit: commit1, Author: "Bob", At: noon().Add(-60 * time.Hour), Error: "baselines/production.yaml:2:7: kind: is not one of the values; want Baseline"},
	}, f.err
}

func (f *fakeEngine) DiffBaseline(_ context.Context, env stella.EnvName) (reconciler.BaselineDiff, error) {
	if _, err := f.book(env); err != nil {
		return reconciler.BaselineDiff{}, err
	}
	d := reconciler.BaselineDiff{Environment: env, Baseline: f.agreed("production-1", "proven"), Commit: commit2, Same: !f.drifted}
	d.Release = reconciler.ValueChange{From: "2.3.0", To: "2.3.0"}
	if f.drifted {
		d.Release.To = "2.4.0"
		d.Components = []reconciler.ComponentChange{{Name: "api", From: oldImage, To: newImage}, {Name: "worker", To: newImage}}
		d.Files = f.plan(env).Files
		d.Shared = []reconciler.SharedChange{{Directory: "shared/base", From: tree1, To: tree2}}
		d.Commits = []reconciler.CommitSummary{{Commit: commit2, Subject: "Deploy 2.4.0 to production", Author: "Ana", At: noon().Add(-time.Hour)}}
	}
	return d, f.err
}
