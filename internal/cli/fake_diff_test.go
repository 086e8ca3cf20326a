package cli

import (
	"context"
	"fmt"
	"time"

	"github.com/stella-ops/stella"
	"github.com/stella-ops/stella/drift"
	"github.com/stella-ops/stella/reconciler"
)

// diffCases are command lines that compare.
func diffCases() []documentCase {
	const diff = "orch env config diff production"
	return []documentCase{
		{"diff-none", diff, 0, nil},
		{"diff", diff, 1, func(f *fakeEngine) { f.diff = drifted }},
		{"diff-explain", diff + " --explain", 1, func(f *fakeEngine) { f.diff = drifted }},
		{"diff-files", diff, 1, func(f *fakeEngine) { f.diff = notDeployed }},
		{"diff-pinned", diff, 0, func(f *fakeEngine) { f.diff = whilePinned }},
		{"diff-failed", diff, 1, func(f *fakeEngine) { f.diff = afterFailure }},
		{"diff-unread", diff, 2, func(f *fakeEngine) { f.diff = notAllRead }},
		{"diff-invalid", diff, 2, func(f *fakeEngine) { f.diff = notReadable }},
		{"diff-ref", diff + " --ref production-1", 1, func(f *fakeEngine) { f.diff = drifted }},
		{"diff-baseline", diff + " --baseline", 1, func(f *fakeEngine) { f.diff = drifted }},
		{"diff-with", diff + " --with staging", 1, func(f *fakeEngine) { f.diff = unlikeStaging }},
		{"diff-with-explain", diff + " --with staging --explain", 1, func(f *fakeEngine) { f.diff = unlikeStaging }},
		{"diff-with-same", diff + " --with staging", 0, func(f *fakeEngine) { f.diff = likeStaging }},
	}
}

// Diff answers what the test says, and nothing where it says nothing.
func (f *fakeEngine) Diff(_ context.Context, req reconciler.DiffRequest) (reconciler.Diff, error) {
	if _, err := f.book(req.Environment); err != nil {
		return reconciler.Diff{}, err
	}
	d := reconciler.Diff{
		Environment: req.Environment, Against: "desired", Commit: commit2, Release: "2.4.0", ObservedAt: noon().Add(-2 * time.Second),
		Standing: reconciler.Standing{Sync: stella.Synced, Deployment: "production-2"},
		Targets:  []reconciler.TargetDiff{{Target: "web-1", Reachable: true}, {Target: "web-2", Reachable: true}, {Target: "web-3", Reachable: true}},
	}
	switch {
	case req.Ref != "":
		d.Against = req.Ref
	case req.Baseline:
		d.Against = "baseline"
	case req.With != "":
		d.Against, d.Targets, d.ObservedAt = string(req.With), nil, time.Time{}
	}
	if f.diff != nil {
		f.diff(&d)
	}
	if req.Explain {
		for i := range d.Targets {
			for _, c := range d.Targets[i].Changes {
				terms := drift.Terms{Ignores: ignoreRules(), Now: noon(), Desired: "what is wanted", Live: "what runs"}
				d.Targets[i].Explanations = append(d.Targets[i].Explanations, drift.Explain(c, terms))
			}
		}
	}
	return d, f.err
}

func ignoreRules() []drift.Ignore {
	return []drift.Ignore{
		{Resource: "service/*", Path: "/labels", Reason: "whoever looks after the machine writes them"},
		{Resource: "service/api", Path: "/environment/LOG_LEVEL", Reason: "raised during the incident of last week", Until: noon().Add(-24 * time.Hour)},
	}
}

const wantedConf = "listen 8080\nworkers 4\nlog info\nroot /srv/www\nindex index.html\n"

// drifted is an environment somebody worked on by hand: two targets in the same
// way.
func drifted(d *reconciler.Diff) {
	changes := []stella.Change{
		{Resource: "service/api", Class: stella.Modified, Path: "/configs/~1etc~1api.conf/content", Desired: wantedConf, Live: "listen 8080\nworkers 64\nlog debug\t# raised\nroot /srv/www\nindex index.html\n", Severity: stella.SeverityWarning},
		{Resource: "service/api", Class: stella.Modified, Path: "/environment/LOG_LEVEL", Desired: "info", Live: "debug", Severity: stella.SeverityWarning, Reason: "the ignore rule expired on 2026-11-22: raised during the incident of last week"},
		{Resource: "service/api", Class: stella.Modified, Path: "/environment/TOKEN", Desired: stella.SecretChanged, Live: stella.SecretChanged, Severity: stella.SeverityWarning, Secret: true},
		{Resource: "service/api", Class: stella.Modified, Path: "/image", Desired: newImage, Live: oldImage, Severity: stella.SeverityCritical},
		{Resource: "service/api", Class: stella.Extra, Path: "/labels/owner", Live: "ops", Severity: stella.SeverityInfo, Ignored: true, Reason: "whoever looks after the machine writes them"},
		{Resource: "service/worker", Class: stella.Missing, Path: "", Desired: map[string]any{"image": newImage}, Severity: stella.SeverityCritical},
	}
	d.Drifted = true
	d.Targets[0].Changes, d.Targets[1].Changes = changes, changes
	d.Targets[0].Notes = []string{"runs without root: in place"}
	d.Targets[2].Changes = changes[4:5]
	d.Expired = []drift.Cover{ignoreRules()[1].Cover(noon())}
}

// notDeployed is a commit that changes nothing that runs.
func notDeployed(d *reconciler.Diff) {
	d.OutOfSync, d.Sync, d.Reason = true, stella.OutOfSync, "commit 200000000000 is not deployed"
	d.Files = []reconciler.FileChange{
		{Path: "envs/production/app/compose.yaml", Op: "modify", Diff: "--- a/envs/production/app/compose.yaml\n+++ b/envs/production/app/compose.yaml\n@@ -1,3 +1,3 @@\n services:\n-  api: {}\n+  api:  {} \n   worker: {}\n"},
		{Path: "envs/production/app/notes.txt", Op: "add", Diff: "--- a/envs/production/app/notes.txt\n+++ b/envs/production/app/notes.txt\n@@ -0,0 +1,2 @@\n+-- ask Ana before you raise the number of workers, since the database of production allows only forty\n+thanks\n"},
		{Path: "envs/production/app/logo.png", Op: "modify"},
	}
}

func whilePinned(d *reconciler.Diff) {
	notDeployed(d)
	d.OutOfSync, d.Sync, d.Reason = false, stella.Pinned, "pinned to production-2 since 2026-11-23T11:00:00Z by Ana, until stella/rollback/production/production-2 is merged or the branch asks for something that is not held"
	d.Files = d.Files[:1]
}

func afterFailure(d *reconciler.Diff) {
	d.OutOfSync, d.Sync, d.Reason, d.Deployment = true, stella.SyncFailed, "production-3 failed: check web answers on web-1: status 503, want 200", ""
}

func notAllRead(d *reconciler.Diff) {
	drifted(d)
	d.Targets = append(d.Targets,
		reconciler.TargetDiff{Target: "web-4", Error: "dial tcp 10.0.0.4:22: connect: connection refused: unreachable"},
		reconciler.TargetDiff{Target: "web-5", Error: "dial tcp 10.0.0.4:22: connect: connection refused: unreachable"})
	d.Sync, d.Reason, d.OutOfSync, d.Owed = stella.SyncPartial, "production-2 still owes web-4", true, []string{"web-4"}
}

func notReadable(d *reconciler.Diff) {
	d.Against, d.Error, d.Sync, d.OutOfSync = "production-2", "envs/production/app/release.yaml:3:10: version: is not a version", stella.Invalid, true
	d.Reason = d.Error
	d.Files = []reconciler.FileChange{{Path: "envs/production/app/release.yaml", Op: "modify", Diff: "--- a/x\n+++ b/x\n@@ -3,1 +3,1 @@\n-version: 2.3.0\n+version: [\n"}}
}

func likeStaging(d *reconciler.Diff) {
	d.Comparison = &reconciler.Comparison{
		With: "staging", Commit: commit2, Release: "2.4.0", ByTarget: []string{"HTTP_PORT"},
		Places: []reconciler.Place{{Service: "api", Targets: []string{"web-1", "web-2"}, WithTargets: []string{"local"}}, {Service: "worker", Targets: []string{"web-1", "web-2"}, WithTargets: []string{"local"}}},
	}
}

// unlikeStaging has every aspect, an override on one target, and something that
// is meant to be.
func unlikeStaging(d *reconciler.Diff) {
	likeStaging(d)
	d.Drifted = true
	everywhere, there := []string{"web-1", "web-2"}, []string{"local"}
	level := reconciler.Difference{
		Aspect: reconciler.AspectConfiguration, Resource: "service/api", Class: stella.Modified, Path: "/environment/LOG_LEVEL", Here: "info", There: "debug",
		Severity: stella.SeverityWarning, Intended: true, Reason: "staging says more", Targets: everywhere, WithTargets: there,
	}
	rule := []drift.Ignore{{Resource: "service/*", Path: "/environment/LOG_LEVEL", Reason: "staging says more"}}
	level.Explanation = new(drift.Explain(stella.Change{
		Resource: level.Resource, Class: level.Class, Path: level.Path, Desired: level.Here, Live: level.There, Severity: level.Severity, Ignored: true, Reason: level.Reason,
	}, drift.Terms{Ignores: rule, Now: noon(), Desired: "production", Live: "staging"}))
	d.Comparison.Release = "2.3.0"
	d.Comparison.Differences = []reconciler.Difference{
		{Aspect: reconciler.AspectRelease, Resource: "app/release", Class: stella.Modified, Path: "/version", Here: "2.4.0", There: "2.3.0", Severity: stella.SeverityWarning, Targets: everywhere, WithTargets: there},
		{Aspect: reconciler.AspectRelease, Resource: "service/api", Class: stella.Modified, Path: "/image", Here: newImage, There: oldImage, Severity: stella.SeverityCritical, Targets: everywhere[:1], WithTargets: there},
		{Aspect: reconciler.AspectConfiguration, Resource: "service/api", Class: stella.Modified, Path: "/configs/~1etc~1api.conf/content", Here: wantedConf, There: fmt.Sprintf("%slast line\n", wantedConf), Severity: stella.SeverityWarning, Targets: everywhere, WithTargets: there},
		level,
		{Aspect: reconciler.AspectStructure, Resource: "service/mailhog", Class: stella.Extra, There: map[string]any{"image": oldImage}, Severity: stella.SeverityWarning, WithTargets: there},
	}
	d.Comparison.Places = append(d.Comparison.Places, reconciler.Place{Service: "mailhog", WithTargets: there})
}
