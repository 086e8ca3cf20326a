package reconciler_test

import (
	"context"
	"strings"
	"sync"
	"testing"

	"github.com/stella-ops/stella"
	"github.com/stella-ops/stella/artifact"
	"github.com/stella-ops/stella/configrepo"
	"github.com/stella-ops/stella/internal/git/gittest"
	"github.com/stella-ops/stella/reconciler"
)

// counted counts how often machines were opened and images were looked for.
type counted struct {
	site
	*shelf

	mu     sync.Mutex
	opened map[string]int
	looked map[string]int
}

func (c *counted) Open(ctx context.Context, spec reconciler.TargetSpec) (reconciler.Target, error) {
	c.mu.Lock()
	c.opened[string(spec.Environment.Name)+"/"+spec.Target.Name]++
	c.mu.Unlock()
	return c.site.Open(ctx, spec)
}

func (c *counted) Check(ctx context.Context, a stella.Artifact, p ...artifact.Platform) (artifact.Report, error) {
	c.mu.Lock()
	c.looked[a.Tag]++
	c.mu.Unlock()
	return c.shelf.Check(ctx, a, p...)
}

func (w *world) ready(envs ...stella.EnvName) []reconciler.EnvironmentReadiness {
	w.t.Helper()
	all, err := w.Ready(w.t.Context(), envs...)
	if err != nil {
		w.t.Fatal(err)
	}
	return all
}

// words are an environment's candidates in one line: "prod-2 b ready".
func words(r reconciler.EnvironmentReadiness) string {
	var out []string
	for _, c := range r.Candidates {
		line := c.Deployment + " " + c.Release
		if c.Ready {
			line += " ready"
		}
		for _, b := range c.Blockers {
			line += " " + b.Code
		}
		out = append(out, line)
	}
	for _, b := range r.Blockers {
		out = append(out, b.Code)
	}
	return strings.Join(out, ", ")
}

func TestReadyNamesWhatEachEnvironmentCouldGoBackToInTheOrderInWhichItWould(t *testing.T) {
	w := newWorld(t)
	w.reconcile()
	w.mustDeploy("b")
	w.mustDeploy("c")
	w.shelf.missing[digestOf("a")] = true
	before := w.history()
	all := w.ready()
	if len(all) != 2 || all[0].Environment != prod || all[1].Environment != "staging" {
		t.Fatalf("%+v", all)
	}
	if got, want := words(all[0]), "prod-2 b ready, prod-1 a artifact-missing"; got != want || !all[0].Ready || all[0].To != "prod-2" {
		t.Errorf("prod: %s, want %s", got, want)
	}
	for _, f := range all[0].Candidates[1].Blockers {
		if f.Message == "" || f.Fix == "" {
			t.Errorf("a blocker without its fix: %+v", f)
		}
	}
	if got := words(all[1]); got != reconciler.FindingNowhere || all[1].Ready || all[1].Blockers[0].Fix == "" {
		t.Errorf("staging: %s", got)
	}
	if w.history() != before || w.runs() != "cc" {
		t.Error("it changed something")
	}
}

func TestReadyAgreesWithWhatARollbackThenDoes(t *testing.T) {
	w := newWorld(t)
	w.reconcile()
	w.mustDeploy("b")
	w.mustDeploy("c")
	w.shelf.missing[digestOf("b")] = true
	r := w.ready(prod)[0]
	_, err := w.Rollback(t.Context(), reconciler.RollbackRequest{Environment: prod})
	if r.Ready || err == nil || !strings.Contains(err.Error(), r.Candidates[0].Blockers[0].Message) {
		t.Errorf("ready says %s, the rollback %v", words(r), err)
	}
	if _, err := w.Rollback(t.Context(), reconciler.RollbackRequest{Environment: prod, To: "prod-1"}); err != nil || !r.Candidates[1].Ready {
		t.Errorf("ready says %s, the rollback to prod-1 %v", words(r), err)
	}
}

func TestReadyAsksEachTargetAndEachImageOnce(t *testing.T) {
	w := newWorld(t)
	w.reconcile()
	for _, v := range []string{"b", "c", "d"} {
		w.mustDeploy(v)
	}
	config := w.config("bob", nil)
	c := &counted{site: w.machines, shelf: w.shelf, opened: map[string]int{}, looked: map[string]int{}}
	config.Targets = c
	config.Artifacts = func(*configrepo.Project) reconciler.Artifacts { return c }
	all, err := reconciler.New(config).Ready(t.Context(), prod)
	if err != nil || words(all[0]) != "prod-3 c ready, prod-2 b ready, prod-1 a ready" {
		t.Fatalf("%v: %+v", err, all)
	}
	for what, n := range c.opened {
		if n != 1 {
			t.Errorf("%s was opened %d times", what, n)
		}
	}
	for _, tag := range []string{"a", "b", "c"} {
		if c.looked[tag] != 1 {
			t.Errorf("%s was looked for %d times", tag, c.looked[tag])
		}
	}
}

func TestABadEnvironmentStopsNoOther(t *testing.T) {
	w := newWorld(t)
	w.reconcile()
	w.mustDeploy("b")
	gittest.Seed(t, w.bare, map[string]string{"envs/staging/environment.yaml": "nonsense: ["})
	all := w.ready()
	if !all[0].Ready || all[1].Ready {
		t.Errorf("%+v", all)
	}
	if _, err := w.Ready(t.Context(), "nowhere"); err == nil {
		t.Error("an environment that is not there was found")
	}
}

func TestReadinessIsRememberedWhenItChangesAndOnlyThen(t *testing.T) {
	w := newWorld(t)
	w.reconcile()
	w.mustDeploy("b")
	check := func() {
		t.Helper()
		if _, err := w.CheckReady(t.Context(), prod); err != nil {
			t.Fatal(err)
		}
	}
	status := func() reconciler.Readiness {
		t.Helper()
		s, err := w.Status(t.Context(), prod, false)
		if err != nil {
			t.Fatal(err)
		}
		return s.Ready
	}
	transitions := func() int64 {
		t.Helper()
		b, err := w.Book(t.Context(), prod)
		if err != nil {
			t.Fatal(err)
		}
		return b.State.Transitions
	}
	if r := status(); !r.Ready || r.To != "prod-1" || r.CheckedAt != nil {
		t.Errorf("before anybody looked: %+v", r)
	}
	check()
	if r := status(); !r.Ready || r.To != "prod-1" || r.CheckedAt == nil {
		t.Errorf("after: %+v", r)
	}
	n := transitions()
	check()
	if got := transitions(); got != n {
		t.Errorf("the same verdict was written again: %d transitions, then %d", n, got)
	}
	w.shelf.missing[digestOf("a")] = true
	check()
	r := status()
	if r.Ready || len(r.Blockers) != 1 || !strings.HasPrefix(r.Blockers[0], reconciler.FindingArtifact+": ") || transitions() != n+1 {
		t.Errorf("a changed verdict: %+v after %d transitions", r, transitions()-n)
	}
	w.mustDeploy("c")
	if r := status(); !r.Ready || r.To != "prod-2" || r.CheckedAt != nil {
		t.Errorf("a verdict on another way back was shown: %+v", r)
	}
	w.wantHistory(`
prod-1 deploy a succeeded
prod-2 deploy b succeeded
prod-3 deploy c succeeded
`)
}
