package reconciler_test

import (
	"strings"
	"sync/atomic"
	"testing"

	"github.com/stella-ops/stella"
	"github.com/stella-ops/stella/reconciler"
)

// whenOpened has another engine deploy, up to most times, when a's machine is
// about to be asked: after the ledger was read and before anything was seen. Each
// deployment is of another version than the one before.
func (w *world) whenOpened(most int) (deployed *atomic.Int32) {
	w.t.Helper()
	other := w.engine("bob", nil)
	var busy atomic.Bool
	deployed = new(atomic.Int32)
	w.machines["a"].opened = func() {
		n := int(deployed.Load())
		if n >= most || !busy.CompareAndSwap(false, true) {
			return
		}
		defer busy.Store(false)
		out, err := other.Deploy(w.t.Context(), reconciler.DeployRequest{
			Environment: prod, Artifacts: map[string]stella.Artifact{"": ref([]string{"b", "a"}[n%2])},
		})
		if err != nil || out.Deployment == nil || out.Deployment.Status != stella.Succeeded {
			w.t.Errorf("deploy: %+v, %v", out.Deployment, err)
		}
		deployed.Add(1)
	}
	return deployed
}

// TestADeploymentThatOvertakesALookIsNoDrift: it begins and ends after the ledger
// was read and before the targets were.
func TestADeploymentThatOvertakesALookIsNoDrift(t *testing.T) {
	looks := map[string]func(w *world) reconciler.Diff{
		"detect": func(w *world) reconciler.Diff {
			diffs, err := w.Detect(w.t.Context(), reconciler.DetectRequest{Environments: []stella.EnvName{prod}})
			if err != nil {
				w.t.Fatal(err)
			}
			return diffs[0]
		},
		"scan": func(w *world) reconciler.Diff {
			s := w.scan()
			if s.Healed != nil || len(s.Opened) != 0 || len(s.Open) != 0 {
				w.t.Errorf("healed %+v, opened %s, open %s", s.Healed, told(s.Opened), told(s.Open))
			}
			if (s.Diff.Error != "") != (s.NotHealed != "") {
				w.t.Errorf("error %q, not healed %q", s.Diff.Error, s.NotHealed)
			}
			return s.Diff
		},
	}
	for name, look := range looks {
		for _, mode := range []string{"heal", "off"} {
			if name == "scan" && mode == "off" {
				continue // it asks no target
			}
			t.Run(name+" once, mode "+mode, func(t *testing.T) {
				w := drifting(t, mode)
				deployed := w.whenOpened(1)
				d := look(w)
				if deployed.Load() != 1 || d.Drifted || d.Error != "" || d.Against != "prod-2" {
					t.Errorf("%d deployments, drifted %v, error %q, against %s", deployed.Load(), d.Drifted, d.Error, d.Against)
				}
				w.wantHistoryOfDrift("")
			})
		}
		t.Run(name+" again and again", func(t *testing.T) {
			w := drifting(t, "heal")
			deployed := w.whenOpened(100)
			d := look(w)
			if deployed.Load() != 3 || d.Drifted || len(d.Targets) != 0 || !strings.Contains(d.Error, "overtaken") {
				t.Errorf("%d deployments, %+v", deployed.Load(), d)
			}
			w.wantHistoryOfDrift("")
		})
	}
}

// TestWhatFailedAndWasThenDeployedIsNoDrift: nothing is written of what was never
// verified, so that nothing but a second look at the ledger can tell.
func TestWhatFailedAndWasThenDeployedIsNoDrift(t *testing.T) {
	w := drifting(t, "report", "onFailure: rollback", "onFailure: pause")
	w.machines["b"].sick[string(digestOf("c"))] = true
	if _, err := w.deploy("c"); err != nil {
		t.Fatal(err)
	}
	if d := w.book().Deployments; d[len(d)-1].Status == stella.Succeeded {
		t.Fatal("it did not fail")
	}
	w.whenOpened(1)
	diffs, err := w.Detect(t.Context(), reconciler.DetectRequest{Environments: []stella.EnvName{prod}})
	if err != nil || diffs[0].Drifted || diffs[0].Against != "prod-3" {
		t.Errorf("%+v, %v", diffs, err)
	}
}
