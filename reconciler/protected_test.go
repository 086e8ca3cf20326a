package reconciler_test

import (
	"errors"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/stella-ops/stella"
	"github.com/stella-ops/stella/internal/git/gittest"
	"github.com/stella-ops/stella/reconciler"
)

// needed is what an environment needs, in a line for each image.
func (w *world) needed(envs ...stella.EnvName) string {
	w.t.Helper()
	all, err := w.Protected(w.t.Context(), envs...)
	if err != nil {
		w.t.Fatal(err)
	}
	var out strings.Builder
	for _, p := range all {
		out.WriteString(p.Component + " " + p.Image.Tag + " " + p.Deployment + ": " + strings.Join(p.Why, "; ") + "\n")
	}
	return out.String()
}

func TestWhatRunsAndWhatCanBeGoneBackToIsProtected(t *testing.T) {
	w := newWorld(t)
	w.commitFile("stella.yaml", "apiVersion: stella/v1\nkind: Project\nname: shop\nretention: {minVersions: 2}\n", "Keep two")
	w.reconcile()
	for _, v := range []string{"b", "c", "d"} {
		w.mustDeploy(v)
	}
	const four = `web d prod-4: in effect; wanted by the branch; last brought to a target; the last one that was verified; on a; runs on a; on b; runs on b
web c prod-3: seen on a by prod-4; seen on b by prod-4; what a rollback goes back to; one of the last 2 verified
web b prod-2: a way back; one of the last 2 verified
`
	if diff := cmp.Diff(four, w.needed(prod)); diff != "" {
		t.Errorf("after four releases (-want +got)\n%s", diff)
	}
	w.mustCapture("prod-2", "it was good")
	w.rollback(reconciler.Options{Reason: "5xx"})
	for _, want := range []string{
		"web c prod-5: in effect",
		"web b prod-2: what a rollback goes back to; one of the last 2 verified; the baseline\n",
		"web a prod-1: a way back; one of the last 2 verified\n", // of those that rollbacks go through
		"web d prod-4: seen on a by prod-5; seen on b by prod-5; one of the last 2 verified\n",
	} {
		if got := w.needed(prod); !strings.Contains("\n"+got, "\n"+want) {
			t.Errorf("after a rollback %q is not in\n%s", want, got)
		}
	}
}

func TestAnUnreadableEnvironmentNeverProtectsNothing(t *testing.T) {
	w := newWorld(t)
	w.reconcile()
	w.commitFile("envs/prod/app/release.yaml", "version: [\n", "Break it")
	if got, err := w.Protected(t.Context()); err == nil || got != nil {
		t.Errorf("got %d protections and %v", len(got), err)
	}
	if got, err := w.Protected(t.Context(), "staging"); err != nil || len(got) == 0 {
		t.Errorf("another environment: %d protections and %v", len(got), err)
	}
	w.commitFile("envs/prod/app/release.yaml", "", "Empty it")
	if _, err := w.Protected(t.Context()); !errors.Is(err, stella.ErrInvalid) {
		t.Errorf("an empty release: %v", err)
	}
	if _, err := w.Protected(t.Context(), "nowhere"); !errors.Is(err, stella.ErrNotFound) {
		t.Errorf("no such environment: %v", err)
	}
	if _, err := w.Protected(t.Context(), "../x"); !errors.Is(err, stella.ErrInvalid) {
		t.Errorf("not a name: %v", err)
	}
}

func TestABaselineThatCanNotBeReadIsAnError(t *testing.T) {
	w := newWorld(t)
	w.reconcile()
	w.commitFile("baselines/prod.yaml", "nonsense: true\n", "Break the baseline")
	if _, err := w.Protected(t.Context(), prod); !errors.Is(err, stella.ErrInvalid) {
		t.Errorf("%v", err)
	}
}

func TestWhatTargetsRunIsProtectedThoughOneIsAway(t *testing.T) {
	w := newWorld(t)
	w.reconcile()
	w.mustDeploy("b")
	w.machines["a"].down = true
	if got := w.needed(prod); !strings.Contains(got, "on b; runs on b") || strings.Contains(got, "on a; runs") {
		t.Errorf("one target is away:\n%s", got)
	}
}

func TestAnEnvironmentThatIsGoneFromTheBranchIsStillProtected(t *testing.T) {
	w := newWorld(t)
	w.reconcile()
	clone := t.TempDir()
	gittest.Run(t, clone, "clone", "-q", w.bare, ".")
	gittest.Run(t, clone, "rm", "-qr", "envs/prod")
	gittest.Run(t, clone, "commit", "-qm", "Remove prod")
	gittest.Run(t, clone, "push", "-q", "origin", "HEAD:main")
	all, err := w.Protected(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	if !slices.ContainsFunc(all, func(p reconciler.Protection) bool { return p.Environment == prod && p.Why[0] == "in effect" }) {
		t.Errorf("nothing of prod in %+v", all)
	}
}

func TestWhatAFailedDeploymentWantedIsProtected(t *testing.T) {
	w := newWorld(t, "onFailure: rollback", "onFailure: pause")
	w.reconcile()
	w.sicken("b")
	if out, err := w.deploy("b"); err != nil || out.Deployment.Status == stella.Succeeded {
		t.Fatalf("the release is sick: %+v, %v", out.Deployment, err)
	}
	got := w.needed(prod)
	for _, want := range []string{"web b prod-2: wanted by the branch; last brought to a target", "web a prod-1: "} {
		if !strings.Contains("\n"+got, "\n"+want) {
			t.Errorf("%q is not in\n%s", want, got)
		}
	}
}
