package reconciler_test

import (
	"strings"
	"sync/atomic"
	"testing"

	"github.com/stella-ops/stella/reconciler"
)

// during calls fn at the nth time from now on that a machine is observed.
func (w *world) during(machine string, nth int32, fn func()) {
	var n atomic.Int32
	m := w.machines[machine]
	m.mu.Lock()
	defer m.mu.Unlock()
	m.observing = func() {
		if n.Add(1) == nth {
			fn()
		}
	}
}

// TestWhatIsStoppedWhileAHealIsPreparedStaysStopped: the first observation is the
// scan's, the second one the heal's.
func TestWhatIsStoppedWhileAHealIsPreparedStaysStopped(t *testing.T) {
	w := drifting(t, "heal")
	w.tamper("a", "user", "root")
	bob := w.engine("bob", nil)
	w.during("a", 2, func() {
		if err := bob.Stop(t.Context(), prod, reconciler.Options{Reason: "the night"}); err != nil {
			t.Error(err)
		}
	})
	s := w.scan()
	if s.Healed != nil || !strings.Contains(s.NotHealed, "stopped on its targets by bob") {
		t.Errorf("healed %+v, not healed %q", s.Healed, s.NotHealed)
	}
	if w.runs() != "--" {
		t.Errorf("runs %s after it was stopped", w.runs())
	}
	w.wantHistory("prod-1 deploy a succeeded\n")
}

// TestAStopThatWasCutOffIsRemembered: once a person asked for it nothing is
// started again by itself, though the lock of who did it is left behind.
func TestAStopThatWasCutOffIsRemembered(t *testing.T) {
	for name, before := range map[string]int{"the first": 0, "the second": 1} {
		t.Run(name, func(t *testing.T) {
			w := drifting(t, "heal")
			for range before {
				if err := w.Stop(t.Context(), prod, reconciler.Options{Reason: "the night"}); err != nil {
					t.Fatal(err)
				}
			}
			w.kill("a")
			// It stands for the same process after a restart: the lock names it, and
			// it does not hold it.
			cfg := w.config("bob", nil)
			cfg.Alone = true
			again := reconciler.New(cfg)
			var seen reconciler.Scan
			var lock, stopped bool
			w.machines["b"].stopping = func() {
				var err error
				if seen, err = again.Scan(t.Context(), prod); err != nil {
					t.Error(err)
				}
				state := w.book().State
				lock, stopped = state.Lock != nil, state.Stopped != nil
			}
			if err := w.Stop(t.Context(), prod, reconciler.Options{Reason: "the night"}); err != nil {
				t.Fatal(err)
			}
			if !lock || !stopped {
				t.Errorf("half way: locked %v, stopped %v", lock, stopped)
			}
			if seen.Healed != nil || seen.Diff.Drifted || seen.Diff.Error != "" || !strings.Contains(seen.NotHealed, "stopped on its targets by ana") {
				t.Errorf("a scan half way: healed %+v, %q, %+v", seen.Healed, seen.NotHealed, seen.Diff)
			}
			if b := w.book(); b.State.Lock != nil || b.State.Stopped == nil || b.State.Summary.Reason == "" {
				t.Errorf("at the end: %+v", b.State)
			}
		})
	}
}

// TestAStatusSaysNoDriftOfWhatWasStopped: what was stopped on purpose has not
// drifted, in the status as in a look.
func TestAStatusSaysNoDriftOfWhatWasStopped(t *testing.T) {
	w := drifting(t, "report")
	if err := w.Stop(t.Context(), prod, reconciler.Options{Reason: "the night"}); err != nil {
		t.Fatal(err)
	}
	if d := w.status().Drift; d.Count != 0 || d.Since != nil {
		t.Errorf("the status says %+v", d)
	}
}
