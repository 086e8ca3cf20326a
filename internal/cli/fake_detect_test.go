package cli

import (
	"context"
	"maps"
	"slices"
	"time"

	"github.com/stella-ops/stella"
	"github.com/stella-ops/stella/drift"
	"github.com/stella-ops/stella/reconciler"
)

// detectCases are command lines that look for drift.
func detectCases() []documentCase {
	return []documentCase{
		{"detect-none", "drift detect --all", 0, nil},
		{"detect", "drift detect production", 1, func(f *fakeEngine) { f.diff = drifted }},
		{"detect-unread", "drift detect --env production", 2, func(f *fakeEngine) { f.diff = notAllRead }},
		{"detect-expired", "drift detect production", 0, func(f *fakeEngine) { f.diff = onlyExpired }},
		{"detect-several", "drift detect production staging qa", 2, func(f *fakeEngine) { f.several() }},
	}
}

// Detect answers what the test says of production, and of others what several
// said.
func (f *fakeEngine) Detect(_ context.Context, req reconciler.DetectRequest) ([]reconciler.Diff, error) {
	envs := req.Environments
	if len(envs) == 0 {
		envs = slices.Sorted(maps.Keys(f.books))
	}
	all := []reconciler.Diff{}
	for _, env := range envs {
		if _, err := f.book(env); err != nil {
			return nil, err
		}
		d := reconciler.Diff{
			Environment: env, Against: string(env) + "-2", Commit: commit2, Release: "2.4.0", ObservedAt: noon().Add(-2 * time.Second),
			Targets: []reconciler.TargetDiff{{Target: "web-1", Reachable: true}, {Target: "web-2", Reachable: true}, {Target: "web-3", Reachable: true}},
		}
		change := f.diff
		if f.others[env] != nil {
			change = f.others[env]
		}
		if change != nil {
			change(&d)
		}
		d.Standing = reconciler.Standing{} // a look for drift does not ask where the branch is
		all = append(all, d)
	}
	return all, f.err
}

// several are three environments: one drifted, one is fine, one can not be told
// of.
func (f *fakeEngine) several() {
	f.books["staging"], f.books["qa"] = f.books["production"], f.books["production"]
	f.diff = drifted
	f.others = map[stella.EnvName]func(*reconciler.Diff){
		"staging": func(*reconciler.Diff) {},
		"qa": func(d *reconciler.Diff) {
			d.Targets, d.ObservedAt, d.Error = nil, time.Time{}, "qa-7, a deploy by Ana <ana@example.com>, runs since 2026-11-23T11:59:00Z: what is half changed has not drifted"
		},
	}
}

func onlyExpired(d *reconciler.Diff) {
	d.Expired = []drift.Cover{ignoreRules()[1].Cover(noon())}
}
