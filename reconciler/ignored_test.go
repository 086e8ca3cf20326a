package reconciler_test

import (
	"context"
	"maps"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/stella-ops/stella"
	"github.com/stella-ops/stella/reconciler"
)

// ruleEnds is when the ignore rules of letBe end.
var ruleEnds = time.Date(2040, 1, 1, 0, 0, 0, 0, time.UTC)

const letBe = `verify: {timeout: 2s}
drift:
  ignore:
  - {resource: service/web, path: /environment/LEVEL, reason: raised in incidents, until: 2040-01-01T00:00:00Z}
  - {resource: service/debug, reason: somebody looks for something, until: 2040-01-01T00:00:00Z}
`

// meddled is a machine on which somebody keeps the level at debug and has a
// service of their own, which is not healthy. What was applied is under it.
type meddled struct{ *machine }

func (m meddled) Observe(ctx context.Context) (stella.State, error) {
	s, err := m.machine.Observe(ctx)
	if err != nil {
		return s, err
	}
	own := stella.Resource{ID: "service/debug", Fields: map[string]any{"image": "r.example.com/shop/debug:f@" + string(digestOf("f"))}}
	all := []stella.Resource{own}
	for _, r := range s.Resources {
		if r.ID == "service/web" {
			r.Fields = maps.Clone(r.Fields)
			r.Fields["environment"] = map[string]any{"LEVEL": "debug"}
		}
		all = append(all, r)
	}
	s.Resources = all
	s.Observed.Components = append(s.Observed.Components, stella.ComponentStatus{
		Name: "debug", Running: "r.example.com/shop/debug:f@" + string(digestOf("f")), State: stella.RunExited, Detail: "exited with 1",
	})
	return s, nil
}

type meddledSite struct{ site }

func (s meddledSite) Open(ctx context.Context, spec reconciler.TargetSpec) (reconciler.Target, error) {
	t, err := s.site.Open(ctx, spec)
	if err != nil {
		return nil, err
	}
	m, _ := t.(*machine)
	return meddled{m}, nil
}

// clock is a time that the test sets.
type clock struct {
	mu sync.Mutex // guards at
	at time.Time
}

func (c *clock) now() time.Time {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.at
}

func (c *clock) set(at time.Time) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.at = at
}

// meddle makes the world one where the rules of letBe hold, somebody meddles
// with every machine, and the test has the clock.
func meddle(t *testing.T) (*world, *clock) {
	t.Helper()
	w := newWorld(t, "verify: {timeout: 2s}\n", letBe)
	cl := &clock{at: ruleEnds.Add(-time.Hour)}
	cfg := w.config("ana", nil)
	cfg.Targets, cfg.Now = meddledSite{w.machines}, cl.now
	w.Engine = reconciler.New(cfg)
	return w, cl
}

func (w *world) starts() int { return w.machines["a"].starts + w.machines["b"].starts }

const bothShown = `a service/debug  extra ignored: somebody looks for something
a service/web /environment/LEVEL modified ignored: raised in incidents
b service/debug  extra ignored: somebody looks for something
b service/web /environment/LEVEL modified ignored: raised in incidents
`

func shown(target string, changes []stella.Change) string {
	var b strings.Builder
	for _, c := range changes {
		b.WriteString(target + " " + string(c.Resource) + " " + c.Path + " " + string(c.Class))
		if c.Ignored {
			b.WriteString(" ignored")
		}
		b.WriteString(": " + c.Reason + "\n")
	}
	return b.String()
}

// One comparison serves all: what a rule covers is shown wherever people look,
// and moves nothing anywhere.
func TestWhatIsIgnoredIsShownAndMovesNothing(t *testing.T) {
	w, _ := meddle(t)
	w.mustDeploy("b") // verified, though neither machine is as desired
	starts := w.starts()

	diff, err := w.Diff(t.Context(), reconciler.DiffRequest{Environment: prod})
	if err != nil || diff.Drifted {
		t.Fatalf("diff: %+v, %v", diff, err)
	}
	var text string
	for _, d := range diff.Targets {
		text += shown(d.Target, d.Changes)
	}
	if diff := cmp.Diff(bothShown, text); diff != "" {
		t.Errorf("diff (-want +got)\n%s", diff)
	}

	st, err := w.Status(t.Context(), prod, true)
	if err != nil || st.Sync != stella.Synced || st.Health != stella.Healthy || st.Drift.Count != 0 {
		t.Errorf("status: %s, %s, %d, %v", st.Sync, st.Health, st.Drift.Count, err)
	}
	text = ""
	for _, target := range st.Targets {
		text += shown(target.Name, target.Changes)
	}
	if diff := cmp.Diff(bothShown, text); diff != "" {
		t.Errorf("status (-want +got)\n%s", diff)
	}
	if h, err := w.HealthCheck(t.Context(), prod); err != nil || !h.Healthy {
		t.Errorf("health: %+v, %v", h, err)
	}

	for _, dry := range []bool{true, false} {
		out, err := w.Reconcile(t.Context(), reconciler.ReconcileRequest{Environment: prod, Heal: true, Options: reconciler.Options{DryRun: dry}})
		if err != nil || !out.Nothing || out.Plan == nil || out.Plan.String() != "nothing to do\n" {
			t.Fatalf("heal: %+v, %v", out, err)
		}
		text = ""
		for _, target := range out.Plan.Targets {
			text += shown(target.Target, target.Changes)
		}
		if diff := cmp.Diff(bothShown, text); diff != "" {
			t.Errorf("plan (-want +got)\n%s", diff)
		}
	}
	if got := w.starts(); got != starts {
		t.Errorf("healing started %d services", got-starts)
	}
}

// From its end on a rule covers nothing, by the engine's clock and not the
// machine's: the plan moves what it covered, and a verification misses it.
func TestAnExpiredRuleCoversNothing(t *testing.T) {
	w, cl := meddle(t)
	w.mustDeploy("b")
	cl.set(ruleEnds)
	diff, err := w.Diff(t.Context(), reconciler.DiffRequest{Environment: prod})
	if err != nil || !diff.Drifted || !strings.Contains(shown("a", diff.Targets[0].Changes), "the ignore rule expired on 2040-01-01: raised in incidents") {
		t.Fatalf("diff: %+v, %v", diff, err)
	}
	if st, err := w.Status(t.Context(), prod, true); err != nil || st.Health != stella.Unhealthy || st.Drift.Count != 4 {
		t.Errorf("status: %s, %d, %v", st.Health, st.Drift.Count, err)
	}
	out, err := w.Reconcile(t.Context(), reconciler.ReconcileRequest{Environment: prod, Heal: true, Options: reconciler.Options{DryRun: true}})
	want := "[1] a: remove service/debug (not wanted any more)\n[1] a: update service/web (environment LEVEL differs)\n" +
		"[2] b: remove service/debug (not wanted any more)\n[2] b: update service/web (environment LEVEL differs)\n"
	if err != nil || out.Plan.String() != want {
		t.Errorf("heal: %v\n%s", err, cmp.Diff(want, out.Plan.String()))
	}
	if out, _ := w.deploy("c"); out.Deployment == nil || !strings.Contains(out.Deployment.Error, "verify a: ") {
		t.Errorf("what nobody could apply was verified: %+v", out.Deployment)
	}
}

// A rule that ends while a deployment is under way ends for what is planned
// after it: nobody planned to change what it covered.
func TestARuleThatEndsOnTheWayFailsNoVerification(t *testing.T) {
	w, cl := meddle(t)
	for _, m := range w.machines {
		m.prepared = func() { cl.set(ruleEnds) } // planned by then
	}
	w.mustDeploy("b")
	if !cl.now().Equal(ruleEnds) {
		t.Fatal("the rule did not end on the way")
	}
}

// A release is its digests: the same ones by other tags are recorded as any
// release, and start nothing.
func TestAnotherTagOfTheSameDigestStartsNothing(t *testing.T) {
	w := newWorld(t)
	w.mustDeploy("b")
	starts := w.starts()
	w.shelf.tags["b2"] = digestOf("b")
	w.mustDeploy("b2")
	if got := w.starts(); got != starts {
		t.Errorf("the same digest by another tag started %d services", got-starts)
	}
	if diff, err := w.Diff(t.Context(), reconciler.DiffRequest{Environment: prod}); err != nil || diff.Drifted {
		t.Errorf("diff: %+v, %v", diff, err)
	}
}
