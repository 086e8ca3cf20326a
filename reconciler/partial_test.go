package reconciler_test

import (
	"errors"
	"fmt"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/stella-ops/stella"
	"github.com/stella-ops/stella/internal/git/gittest"
	"github.com/stella-ops/stella/reconciler"
)

const releasePath = "envs/prod/app/release.yaml"

// partWorld is a world of two components on two targets, with a clock.
type partWorld struct {
	*world

	now time.Time
}

func newPartWorld(t *testing.T, change ...string) *partWorld {
	t.Helper()
	w := &partWorld{world: newWorld(t, change...), now: time.Date(2026, 11, 23, 12, 0, 0, 0, time.UTC)}
	gittest.Seed(t, w.bare, map[string]string{
		"envs/prod/app/compose.yaml": "services:\n  api: {}\n  web: {}\n",
		releasePath: "apiVersion: stella/v1\nkind: Release\nversion: a # people's\ncomponents:\n" +
			"  api: " + part("api", "a").String() + "\n  web: " + part("web", "a").String() + "\n",
	})
	cfg := w.config("ana", nil)
	cfg.Now = func() time.Time { return w.now }
	w.Engine = reconciler.New(cfg)
	w.reconcile()
	return w
}

func part(component, version string) stella.Artifact {
	return stella.Artifact{Registry: "r.example.com", Repository: "shop/" + component, Tag: version, Digest: digestOf(version)}
}

// put deploys versions: "api=b".
func (w *partWorld) put(o reconciler.Options, versions ...string) error {
	w.t.Helper()
	artifacts := map[string]stella.Artifact{}
	for _, v := range versions {
		component, version, _ := strings.Cut(v, "=")
		a := part(component, version)
		a.Digest = ""
		artifacts[component] = a
	}
	out, err := w.Deploy(w.t.Context(), reconciler.DeployRequest{Environment: prod, Artifacts: artifacts, Options: o})
	if err == nil && (out.Deployment == nil || out.Deployment.Status != stella.Succeeded) {
		return fmt.Errorf("outcome %+v", out)
	}
	return err
}

func (w *partWorld) mustPut(versions ...string) {
	w.t.Helper()
	if err := w.put(reconciler.Options{}, versions...); err != nil {
		w.t.Fatalf("deploy %v: %v", versions, err)
	}
}

func (w *partWorld) back(req reconciler.RollbackRequest) (reconciler.Outcome, error) {
	req.Environment = prod
	return w.Rollback(w.t.Context(), req)
}

func (w *partWorld) mustBack(req reconciler.RollbackRequest) reconciler.Outcome {
	w.t.Helper()
	out, err := w.back(req)
	if err != nil || out.Deployment == nil || out.Deployment.Status != stella.Succeeded || out.Sync != stella.Synced {
		w.t.Fatalf("roll back %+v: %+v, %v", req, out.Deployment, err)
	}
	return out
}

// want checks what runs: "a: api=b web=a; b: api=a web=a".
func (w *partWorld) want(want string) {
	w.t.Helper()
	var got []string
	for _, name := range []string{"a", "b"} {
		var all []string
		for _, r := range w.machines[name].state.Resources {
			a, _ := stella.ParseArtifact(fmt.Sprint(r.Fields["image"]))
			all = append(all, strings.TrimPrefix(string(r.ID), "service/")+"="+a.Tag)
		}
		slices.Sort(all)
		got = append(got, name+": "+strings.Join(all, " "))
	}
	if got := strings.Join(got, "; "); got != want {
		w.t.Errorf("runs %q, want %q", got, want)
	}
}

func (w *partWorld) status() reconciler.EnvironmentStatus {
	w.t.Helper()
	st, err := w.Status(w.t.Context(), prod, true)
	if err != nil {
		w.t.Fatal(err)
	}
	return st
}

func (w *partWorld) release() string {
	return gittest.Run(w.t, gittest.Dir(w.bare), "show", "main:"+releasePath) + "\n"
}

// TestPartsGoBackOneByOne tells histories: a step is versions to deploy, or what
// of an environment to roll back, and then what runs.
func TestPartsGoBackOneByOne(t *testing.T) {
	comp, target := func(names ...string) reconciler.RollbackRequest {
		return reconciler.RollbackRequest{Components: names}
	}, func(r reconciler.RollbackRequest, names ...string) reconciler.RollbackRequest {
		r.Targets = names
		return r
	}
	to := func(r reconciler.RollbackRequest, id string) reconciler.RollbackRequest { r.To = id; return r }
	type step struct {
		do   any // []string to deploy, or a request
		want string
	}
	for name, steps := range map[string][]step{
		"one component on one target, twice": {
			{[]string{"api=b"}, ""},
			{[]string{"api=c", "web=c"}, ""},
			{target(comp("api"), "a"), "a: api=b web=c; b: api=c web=c"},
			{target(comp("api"), "a"), "a: api=a web=c; b: api=c web=c"},
		},
		"a component everywhere goes to the one before the newest that runs": {
			{[]string{"api=b"}, ""},
			{[]string{"api=c"}, ""},
			{target(comp("api"), "a"), "a: api=b web=a; b: api=c web=a"},
			{comp("api"), "a: api=b web=a; b: api=b web=a"},
			{comp("api"), "a: api=a web=a; b: api=a web=a"},
		},
		"deployments that did not change the component are passed over": {
			{[]string{"api=b"}, ""},
			{[]string{"web=b"}, ""},
			{[]string{"web=c"}, ""},
			{comp("api"), "a: api=a web=c; b: api=a web=c"},
		},
		"two components come from two deployments": {
			{[]string{"api=b"}, ""},
			{[]string{"web=b"}, ""},
			{comp("api", "web"), "a: api=a web=a; b: api=a web=a"},
		},
		"a whole target goes to what it ran before": {
			{[]string{"api=b", "web=b"}, ""},
			{[]string{"api=c"}, ""},
			{target(comp(), "b"), "a: api=c web=b; b: api=b web=b"},
			{target(comp(), "b"), "a: api=c web=b; b: api=a web=a"},
		},
		"a deployment that is named": {
			{[]string{"api=b", "web=b"}, ""},
			{[]string{"api=c"}, ""},
			{to(target(comp("web"), "a"), "prod-1"), "a: api=c web=a; b: api=c web=b"},
			{to(target(comp(), "a"), "prod-1"), "a: api=a web=a; b: api=c web=b"},
		},
		"what a partial rollback left is gone back to": {
			{[]string{"api=b"}, ""},
			{target(comp("api"), "a"), "a: api=a web=a; b: api=b web=a"},
			{[]string{"api=c"}, "a: api=c web=a; b: api=c web=a"},
			{to(comp("api"), "prod-3"), "a: api=a web=a; b: api=b web=a"},
		},
	} {
		t.Run(name, func(t *testing.T) {
			w := newPartWorld(t)
			for _, s := range steps {
				switch do := s.do.(type) {
				case []string:
					w.mustPut(do...)
				case reconciler.RollbackRequest:
					w.mustBack(do)
				}
				if s.want != "" {
					w.want(s.want)
				}
				if st := w.status(); st.Sync != stella.Synced || st.Drift.Count != 0 {
					t.Errorf("status %s (%s), drift %d", st.Sync, st.Reason, st.Drift.Count)
				}
				if out := w.reconcile(); !out.Nothing {
					t.Errorf("a pass finds something to do: %+v", out)
				}
				if st, err := w.RollbackStatus(t.Context(), prod, ""); err != nil || !st.Agrees {
					t.Errorf("witnesses %+v, %v", st.Witnesses, err)
				}
			}
		})
	}
}

func TestAPartThatWentBackIsDeclaredAndClearedByTheNextDeploy(t *testing.T) {
	w := newPartWorld(t)
	w.mustPut("api=b", "web=b")
	before := w.release()
	req := reconciler.RollbackRequest{Components: []string{"api"}, Targets: []string{"a"}, Options: reconciler.Options{Reason: "5xx on a only", Incident: "INC-7"}}
	dry := req
	dry.DryRun = true
	shown, err := w.back(dry)
	if err != nil {
		t.Fatal(err)
	}
	const want = "[1] a: update service/api (image b@bbbbbbbbbbbb → a@aaaaaaaaaaaa)\n" +
		"warning: api on a: back to prod-1 (a), declared in release.yaml until 2026-12-24T00:00:00Z or the next deploy of it\n" +
		"warning: this combination was never verified: it is only when this rollback is\n"
	got := strings.ReplaceAll(strings.ReplaceAll(shown.Plan.String(), digestOf("b").Short(), "bbbbbbbbbbbb"), digestOf("a").Short(), "aaaaaaaaaaaa")
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("plan (-want +got)\n%s", diff)
	}
	if w.release() != before {
		t.Error("a dry run changed release.yaml")
	}
	req.Shown, req.PlanHash = shown.Plan, shown.Plan.Hash
	out := w.mustBack(req)
	if out.Deployment.Kind != stella.KindRollback || out.Deployment.Restores != "prod-1" {
		t.Errorf("recorded as %+v", out.Deployment)
	}
	override := "overrides:\n- targets: [a]\n  components: {api: \"" + part("api", "a").String() + "\"}\n" +
		"  from: prod-1\n  reason: \"5xx on a only\"\n  until: 2026-12-23\n"
	if diff := cmp.Diff(before+override, w.release()); diff != "" {
		t.Errorf("release.yaml (-want +got)\n%s", diff)
	}
	message := gittest.Run(t, gittest.Dir(w.bare), "log", "-1", "--format=%B", "main")
	for _, want := range []string{
		"Roll back api on a to prod-1 (a)\n", "Stella-Environment: prod", "Stella-Restores: prod-1", "Stella-Reason: 5xx on a only", "Stella-Incident: INC-7",
	} {
		if !strings.Contains(message, want) {
			t.Errorf("the message lacks %q:\n%s", want, message)
		}
	}
	st := w.status()
	if len(st.Overrides) != 1 || st.Sync != stella.Synced {
		t.Fatalf("status %s, overrides %+v", st.Sync, st.Overrides)
	}
	o := st.Overrides[0]
	if o.From != "prod-1" || o.Reason != "5xx on a only" || !o.InEffect || o.Old || o.Since == nil || o.Until == nil ||
		!o.Until.Equal(time.Date(2026, 12, 24, 0, 0, 0, 0, time.UTC)) {
		t.Errorf("override %+v", o)
	}
	if s := w.machines["a"].sticker; s.Components["api"] != part("api", "a").String() || s.Components["web"] != part("web", "b").String() {
		t.Errorf("the sticker says %v", s.Components)
	}

	// Another component's deploy leaves it, its own takes it away.
	w.mustPut("web=c")
	w.want("a: api=a web=c; b: api=b web=c")
	w.mustPut("api=c")
	w.want("a: api=c web=c; b: api=c web=c")
	if st := w.status(); len(st.Overrides) != 0 || strings.Contains(w.release(), "overrides") {
		t.Errorf("still declared: %+v\n%s", st.Overrides, w.release())
	}
	// And a whole rollback takes the app of then, with its override.
	w.mustBack(reconciler.RollbackRequest{})
	w.want("a: api=a web=c; b: api=b web=c")
	w.mustBack(reconciler.RollbackRequest{To: "prod-1"})
	if st := w.status(); len(st.Overrides) != 0 {
		t.Errorf("still declared: %+v", st.Overrides)
	}
	w.wantHistory(`
prod-1 deploy a succeeded
prod-2 deploy a succeeded
prod-3 rollback a succeeded restores prod-1
prod-4 deploy c succeeded
prod-5 deploy c succeeded
prod-6 rollback c succeeded restores prod-4
prod-7 rollback a succeeded restores prod-1
`)
}

func TestAPartThatWentBackIsHeldAndTheRestIsNot(t *testing.T) {
	w := newPartWorld(t)
	w.mustPut("api=b", "web=b")
	w.mustBack(reconciler.RollbackRequest{Components: []string{"api"}, Targets: []string{"a"}})
	st := w.status()
	if len(st.Holds) != 1 || len(st.Holds[0].Resources) != 1 || !strings.HasPrefix(st.Holds[0].Resources[0], "a/service/api@") {
		t.Fatalf("holds %+v", st.Holds)
	}
	if st.Sync != stella.Synced {
		t.Errorf("status %s: %s", st.Sync, st.Reason)
	}
	if err := w.put(reconciler.Options{}, "api=b"); !errors.Is(err, stella.ErrRefused) || !strings.Contains(fmt.Sprint(err), "held") {
		t.Errorf("the very same release is not refused: %v", err)
	}
	w.want("a: api=a web=b; b: api=b web=b")
	w.mustPut("web=c")
	if err := w.put(reconciler.Options{}, "api=b"); !errors.Is(err, stella.ErrRefused) {
		t.Errorf("the same image in another release is not refused: %v", err)
	}
	if err := w.put(reconciler.Options{Force: []string{reconciler.ForceHold}, Reason: "it was the network"}, "api=b"); err != nil {
		t.Fatal(err)
	}
	w.want("a: api=b web=c; b: api=b web=c")
	if st := w.status(); len(st.Holds) != 0 || st.Sync != stella.Synced {
		t.Errorf("status %s, holds %+v", st.Sync, st.Holds)
	}
}

func TestAPartWhoseDriverDiedIsFinishedAndHeld(t *testing.T) {
	w := newPartWorld(t)
	w.mustPut("api=b", "web=b")
	block, begun := make(chan struct{}), make(chan struct{})
	var once sync.Once
	w.machines["a"].block = block
	w.machines["a"].prepared = func() { once.Do(func() { close(begun) }) }
	dead := make(chan error, 1)
	go func() {
		_, err := w.Rollback(t.Context(), reconciler.RollbackRequest{Environment: prod, Components: []string{"api"}, Targets: []string{"a"}})
		dead <- err
	}()
	<-begun
	w.machines["a"].mu.Lock()
	w.machines["a"].block = nil // for everybody but the one that waits already
	w.machines["a"].mu.Unlock()
	config := w.config("bob", nil)
	config.Alone = true // the other engine of this process counts as dead
	bob := reconciler.New(config)
	if st, err := bob.Status(t.Context(), prod, false); err != nil || !strings.Contains(st.Reason, "ana, who drove it, is gone") {
		t.Errorf("%s: %s, %v", st.Sync, st.Reason, err)
	}
	out, err := bob.Reconcile(t.Context(), reconciler.ReconcileRequest{Environment: prod})
	if err != nil || out.Deployment == nil || out.Deployment.Kind != stella.KindRollback {
		t.Fatalf("%+v, %v", out.Deployment, err)
	}
	close(block)
	if err := <-dead; err == nil {
		t.Error("the one that was taken for dead went on")
	}
	w.want("a: api=a web=b; b: api=b web=b")
	if holds := w.status().Holds; len(holds) != 1 || len(holds[0].Resources) != 1 || !strings.HasPrefix(holds[0].Resources[0], "a/service/api@") {
		t.Errorf("holds %+v", holds)
	}
}

func TestGoingBackFromAPartGoesToWhatIsNotHeld(t *testing.T) {
	w := newPartWorld(t)
	w.mustPut("api=b")
	w.mustPut("api=c")
	w.mustBack(reconciler.RollbackRequest{Targets: []string{"a"}})
	w.mustBack(reconciler.RollbackRequest{})
	w.want("a: api=b web=a; b: api=b web=a")
	w.wantHistory(`
prod-1 deploy a succeeded
prod-2 deploy b succeeded
prod-3 deploy c succeeded
prod-4 rollback c succeeded restores prod-2
prod-5 rollback b succeeded restores prod-2
`)
}

func TestAnOverrideEnds(t *testing.T) {
	w := newPartWorld(t)
	w.mustPut("api=b")
	until := w.now.Add(48 * time.Hour)
	w.mustBack(reconciler.RollbackRequest{Components: []string{"api"}, Targets: []string{"a"}, Until: until})
	before, err := w.Heads(t.Context())
	if err != nil {
		t.Fatal(err)
	}

	w.now = until.Add(-time.Second)
	if out := w.reconcile(); !out.Nothing {
		t.Errorf("it ended early: %+v", out)
	}
	w.now = until
	after, err := w.Heads(t.Context())
	if err != nil || after.Commit != before.Commit {
		t.Fatal(err)
	}
	if after.Keys[prod] == before.Keys[prod] || after.Keys["staging"] != before.Keys["staging"] {
		t.Errorf("a poll does not see it: %v, then %v", before.Keys, after.Keys)
	}

	// What was rolled back is known to be bad: the end alone does not bring it back.
	if out := w.reconcile(); out.Sync != stella.Held || !strings.Contains(out.Reason, "the override of api on a ended 2026-11-25T12:00:00Z") {
		t.Errorf("%+v", out)
	}
	w.want("a: api=a web=a; b: api=b web=a")
	if _, err := w.LiftHold(t.Context(), prod, "", "it was the network"); err != nil {
		t.Fatal(err)
	}
	if st := w.status(); st.Sync != stella.OutOfSync || !strings.Contains(st.Reason, "ended") || len(st.Overrides) != 1 || st.Overrides[0].InEffect {
		t.Errorf("status %s (%s), overrides %+v", st.Sync, st.Reason, st.Overrides)
	}
	if out := w.reconcile(); out.Sync != stella.Synced || out.Deployment == nil || !strings.Contains(out.Deployment.Reason, "the override of api on a ended") {
		t.Errorf("%+v", out)
	}
	w.want("a: api=b web=a; b: api=b web=a")
	if out := w.reconcile(); !out.Nothing {
		t.Errorf("a second pass: %+v", out)
	}
	// The next one takes it out of the file, and going back brings no end back.
	w.mustPut("web=b")
	plan, err := w.back(reconciler.RollbackRequest{To: "prod-3", Options: reconciler.Options{DryRun: true}})
	if err != nil || !strings.Contains(strings.Join(plan.Plan.Warnings, "\n"), "it does not come back") {
		t.Errorf("the plan is silent about the override of then: %v, %v", plan.Plan, err)
	}
	w.mustBack(reconciler.RollbackRequest{Components: []string{"web"}})
	if text := w.release(); strings.Count(text, "from:") != 1 || strings.Contains(text, "targets:") {
		t.Errorf("the override that ended is still there:\n%s", text)
	}
}

func TestAnOldOverrideIsPointedAt(t *testing.T) {
	w := newPartWorld(t)
	w.mustPut("api=b")
	w.mustBack(reconciler.RollbackRequest{Components: []string{"api"}})
	since := w.status().Overrides[0].Since
	w.now = since.Add(reconciler.OldOverride)
	if st := w.status(); len(st.OldOverrides()) != 0 || st.Reason != "" {
		t.Errorf("too early: %q, %+v", st.Reason, st.Overrides)
	}
	w.now = since.Add(reconciler.OldOverride + time.Second)
	if st := w.status(); len(st.OldOverrides()) != 1 || !strings.Contains(st.Reason, "api") || st.Sync != stella.Synced {
		t.Errorf("%s: %q, %+v", st.Sync, st.Reason, st.Overrides)
	}
}

func TestAPartIsNotRestoredOnTopOfAPin(t *testing.T) {
	w := newPartWorld(t)
	w.mustPut("api=b")
	w.mustPut("web=b")
	if out := w.rollback(reconciler.Options{PullRequest: true}); out.Sync != stella.Pinned {
		t.Fatalf("%+v", out)
	}
	for name, o := range map[string]reconciler.Options{"pushed": {}, "proposed": {PullRequest: true}} {
		t.Run(name, func(t *testing.T) {
			_, err := w.back(reconciler.RollbackRequest{Components: []string{"api"}, Options: o})
			if !errors.Is(err, stella.ErrRefused) || !strings.Contains(err.Error(), "pinned to prod-2") || stella.Hint(err) == "" {
				t.Errorf("%v, hint %q", err, stella.Hint(err))
			}
		})
	}
	w.want("a: api=b web=a; b: api=b web=a")
}
