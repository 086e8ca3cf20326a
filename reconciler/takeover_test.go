package reconciler_test

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"testing"

	"github.com/stella-ops/stella"
	"github.com/stella-ops/stella/reconciler"
)

// Running implements reconciler.Adopter: what the test put on the machine.
func (m *machine) Running(context.Context) (stella.Found, error) {
	m.mu.Lock()
	defer m.mu.Unlock()
	var f stella.Found
	for _, r := range m.found.Resources {
		image, _ := r.Fields["image"].(string)
		a, err := stella.ParseArtifact(image)
		c := stella.FoundComponent{Name: strings.TrimPrefix(string(r.ID), "service/"), Image: a.Registry + "/" + a.Repository + ":" + a.Tag, Artifacts: []stella.Artifact{}}
		if a.Tag = ""; err == nil && a.Digest != "" {
			c.Artifacts = append(c.Artifacts, a)
		}
		f.Components = append(f.Components, c)
	}
	if len(f.Components) == 0 {
		return f, stella.WithHint(fmt.Errorf("%w: nothing runs there", stella.ErrNotFound), "run 'docker compose up -d'")
	}
	return f, nil
}

// Foresee implements reconciler.Adopter.
func (m *machine) Foresee(context.Context, stella.State) (stella.State, error) {
	m.mu.Lock()
	defer m.mu.Unlock()
	seen := stella.State{Resources: m.found.Resources, Observed: &stella.Observation{}}
	if len(m.meddled.Resources) > 0 {
		m.found = m.meddled
	}
	return seen, nil
}

// Adopt implements reconciler.Adopter.
func (m *machine) Adopt(_ context.Context, o stella.Order) error {
	m.mu.Lock()
	defer m.mu.Unlock()
	if m.failAdopt {
		m.failAdopt = false
		return errors.New("the engine went away")
	}
	if o.Fence < m.fence {
		return stella.ErrFenced
	}
	m.state, m.fence, m.sticker = m.found, o.Fence, &o.Sticker
	return nil
}

// someonesWeb is web as somebody else started it.
func someonesWeb(version, level string) stella.State {
	return stella.State{Resources: []stella.Resource{{
		ID: "service/web", Fields: map[string]any{"image": ref(version).String() + "@" + string(digestOf(version)), "environment": map[string]any{"LEVEL": level}},
	}}}
}

func newAdoptable(t *testing.T, version string) *world {
	t.Helper()
	w := newWorld(t)
	for _, m := range w.machines {
		m.found = someonesWeb(version, "info")
	}
	return w
}

func (w *world) takeOver(o reconciler.Options) (reconciler.Outcome, error) {
	return w.TakeOver(w.t.Context(), reconciler.TakeOverRequest{Environment: prod, Options: o})
}

func TestWhatRunsIsTakenOverAndARollbackGoesBackToIt(t *testing.T) {
	w := newAdoptable(t, "b") // the branch asks for a
	out, err := w.takeOver(reconciler.Options{Reason: "from compose"})
	if err != nil || out.Deployment == nil || out.Deployment.Status != stella.Succeeded || out.Deployment.Kind != stella.KindImport {
		t.Fatalf("adopt: %+v, %v", out.Deployment, err)
	}
	for name, m := range w.machines {
		if m.starts != 0 {
			t.Errorf("%s: %d services were started", name, m.starts)
		}
	}
	if got := out.Deployment.Components["web"]; !strings.HasSuffix(got, string(digestOf("b"))) {
		t.Errorf("release.yaml has %s", got)
	}
	if again, err := w.takeOver(reconciler.Options{}); err != nil || !again.Nothing {
		t.Fatalf("again: %+v, %v", again, err)
	}
	if out := w.reconcile(); !out.Nothing {
		t.Fatalf("a pass after it: %+v", out)
	}
	w.mustDeploy("c")
	back, err := w.Rollback(w.t.Context(), reconciler.RollbackRequest{Environment: prod})
	if err != nil || back.Deployment == nil || back.Deployment.Restores != "prod-1" || back.Deployment.Status != stella.Succeeded {
		t.Fatalf("rollback: %+v, %v", back.Deployment, err)
	}
}

func TestWhatRunsOtherwiseIsNotTakenOver(t *testing.T) {
	w := newAdoptable(t, "a")
	w.machines["b"].found = someonesWeb("a", "debug")
	out, err := w.takeOver(reconciler.Options{DryRun: true})
	if err != nil || len(out.Plan.Findings) != 1 || out.Plan.Findings[0].Code != reconciler.FindingDiffers {
		t.Fatalf("dry run: %+v, %v", out.Plan, err)
	}
	if _, err = w.takeOver(reconciler.Options{}); !errors.Is(err, stella.ErrRefused) {
		t.Fatalf("adopt: %v", err)
	}
	if w.machines["a"].sticker != nil {
		t.Error("the other target was taken over")
	}
}

func TestWhatSomebodyChangesMeanwhileIsNotTakenOver(t *testing.T) {
	w := newAdoptable(t, "a")
	w.machines["b"].meddled = someonesWeb("a", "debug")
	out, err := w.takeOver(reconciler.Options{})
	if out.Deployment == nil || out.Deployment.Status == stella.Succeeded {
		t.Errorf("it was taken over: %+v, %v", out.Deployment, err)
	}
	for _, target := range out.Deployment.Targets {
		if target.Name == "b" && !strings.Contains(target.Error, "service/web") {
			t.Errorf("target b: %q", target.Error)
		}
	}
	if w.machines["b"].sticker != nil {
		t.Error("it is recorded as it was not inspected")
	}
}

func TestTargetsThatCanNotBeTakenOverAreNamed(t *testing.T) {
	for name, c := range map[string]struct {
		found stella.State
		want  string
	}{
		"nothing runs":      {stella.State{}, reconciler.FindingNothingRuns},
		"another image":     {someonesWeb("c", "info"), reconciler.FindingUnlike},
		"it was not pushed": {stella.State{Resources: []stella.Resource{{ID: "service/web", Fields: map[string]any{"image": "shop-web"}}}}, reconciler.FindingUnpushed},
	} {
		t.Run(name, func(t *testing.T) {
			w := newAdoptable(t, "a")
			w.machines["b"].found = c.found
			out, err := w.takeOver(reconciler.Options{DryRun: true})
			if err != nil || len(out.Plan.Findings) != 1 || out.Plan.Findings[0].Code != c.want {
				t.Fatalf("%+v, %v", out.Plan, err)
			}
		})
	}
}

func TestATakeOverThatBrokeOffIsRepeated(t *testing.T) {
	w := newAdoptable(t, "b")
	w.machines["b"].failAdopt = true
	out, err := w.takeOver(reconciler.Options{})
	if out.Deployment == nil || out.Deployment.Status == stella.Succeeded || out.Rollback != nil {
		t.Fatalf("first: %+v, %v", out, err)
	}
	out, err = w.takeOver(reconciler.Options{})
	if err != nil || out.Deployment == nil || out.Deployment.Status != stella.Succeeded {
		t.Fatalf("second: %+v, %v", out.Deployment, err)
	}
	if w.machines["a"].starts+w.machines["b"].starts != 0 {
		t.Error("something was started")
	}
}
