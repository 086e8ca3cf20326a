package reconciler_test

import (
	"context"
	"strings"
	"testing"
	"time"

	"github.com/stella-ops/stella/configrepo"
)

func TestWatchIsToldOfEveryTargetThatCanBeWatched(t *testing.T) {
	w := newWorld(t)
	changes := make(chan struct{}, 10)
	ctx, cancel := context.WithCancel(t.Context())
	tell := func() { changes <- struct{}{} }
	if _, err := w.Heads(t.Context()); err != nil {
		t.Fatal(err)
	}
	if err := w.Watch(ctx, prod, tell); err != nil || w.machines["a"].watched != nil {
		t.Errorf("nothing is deployed, and something is watched: %v", err)
	}
	w.reconcile()
	w.machines["b"].blind = true
	if err := w.Watch(ctx, prod, tell); err == nil || !strings.Contains(err.Error(), "watch b of prod: no watches are left") {
		t.Errorf("%v: want the target that is not watched", err)
	}
	w.machines["a"].watched()
	<-changes

	cancel()
	for deadline := time.Now().Add(time.Minute); ; {
		w.machines["a"].mu.Lock()
		gone := w.machines["a"].watched == nil
		w.machines["a"].mu.Unlock()
		if gone {
			break
		}
		if time.Now().After(deadline) {
			t.Fatal("the watch outlives its context")
		}
	}
}

func TestDriftPoliciesAreThoseOfTheHead(t *testing.T) {
	w := newWorld(t, "verify:", "drift: {schedule: '*/5 * * * *', mode: heal}\nverify:")
	want := func(schedule, mode string) {
		t.Helper()
		all, err := w.DriftPolicies(t.Context())
		if err != nil {
			t.Fatal(err)
		}
		if got := all[prod]; got.Schedule != schedule || got.Mode != mode {
			t.Errorf("got %+v, want %q and %q", got, schedule, mode)
		}
		if other := all["staging"]; other.Mode != configrepo.DriftReport {
			t.Errorf("staging: %+v", other)
		}
	}
	look := func() {
		t.Helper()
		if _, err := w.Heads(t.Context()); err != nil {
			t.Fatal(err)
		}
	}
	want("*/5 * * * *", configrepo.DriftHeal)
	w.commitFile("envs/prod/environment.yaml", environmentYAML+"drift: {mode: 'off'}\n", "quiet")
	want("*/5 * * * *", configrepo.DriftHeal) // nobody has looked yet
	look()
	want("", configrepo.DriftOff)
	w.commitFile("envs/prod/environment.yaml", "drift: {mode: heal}\n", "broken")
	look()
	want("", configrepo.DriftReport)
	w.commitFile("envs/prod/environment.yaml", environmentYAML+"drift: {mode: heal}\n", "mended")
	look()
	want("", configrepo.DriftHeal)
}
