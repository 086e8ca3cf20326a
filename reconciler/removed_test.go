package reconciler_test

import (
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/stella-ops/stella"
	"github.com/stella-ops/stella/internal/git/gittest"
)

func TestAFieldThatIsTakenOutOfAFileIsTakenOutOfWhatRuns(t *testing.T) {
	w := newWorld(t)
	w.reconcile()
	gittest.Seed(t, w.bare, map[string]string{
		"envs/prod/app/compose.yaml": "services:\n  web:\n    image: r.example.com/shop/web\n",
	})
	st, err := w.Status(t.Context(), prod, true)
	if err != nil || st.Sync != stella.OutOfSync {
		t.Errorf("status %s (%s), %v", st.Sync, st.Reason, err)
	}
	plan, err := w.Plan(t.Context(), prod, "")
	if err != nil || plan.Empty {
		t.Fatalf("plan %s, %v", plan, err)
	}
	const want = "[1] a: update service/web (environment is not wanted)\n[2] b: update service/web (environment is not wanted)\n"
	if diff := cmp.Diff(want, plan.String()); diff != "" {
		t.Errorf("plan (-want +got)\n%s", diff)
	}
	if out := w.reconcile(); out.Sync != stella.Synced || out.Deployment == nil {
		t.Fatalf("%+v", out)
	}
	for name, m := range w.machines {
		if _, ok := m.state.Resources[0].Fields["environment"]; ok {
			t.Errorf("%s runs with %v", name, m.state.Resources[0].Fields)
		}
	}
	st, err = w.Status(t.Context(), prod, true)
	if err != nil || st.Sync != stella.Synced || st.Drift.Count != 0 {
		t.Errorf("status %+v, %v", st, err)
	}
}
