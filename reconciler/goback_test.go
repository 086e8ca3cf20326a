package reconciler_test

import (
	"testing"

	"github.com/stella-ops/stella"
)

func TestAnAutomaticRollbackThatOwesATargetSaysSo(t *testing.T) {
	w := newWorld(t)
	w.reconcile()
	w.machines["a"].sick[string(digestOf("b"))] = true
	w.machines["a"].prepared = func() {
		m := w.machines["b"]
		m.mu.Lock()
		defer m.mu.Unlock()
		m.down = true // after it was observed, before it is changed
	}
	out, err := w.deploy("b")
	if err != nil || out.Rollback == nil || out.Rollback.Status != stella.Partial {
		t.Fatalf("%+v, rollback %+v, %v", out.Deployment, out.Rollback, err)
	}
	if out.Sync != stella.SyncPartial || out.Reason == "" {
		t.Errorf("b is owed, and it says %s: %s", out.Sync, out.Reason)
	}
}
