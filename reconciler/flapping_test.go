package reconciler_test

import (
	"context"
	"testing"

	"github.com/stella-ops/stella"
	"github.com/stella-ops/stella/reconciler"
)

// quarrelling is a world in which a's service is changed back as often as it is
// healed, and is as somebody else wants it now.
func quarrelling(t *testing.T) *world {
	t.Helper()
	w := drifting(t, "heal")
	for range 6 {
		w.tamper("a", "user", "root")
		w.scan()
	}
	if s := w.scan(); len(s.Flapping) != 1 || s.Healed != nil {
		t.Fatalf("flapping %+v, healed %+v", s.Flapping, s.Healed)
	}
	return w
}

// TestWhatFlapsOnOneTargetIsHealedOnTheOthers: the same resource of another
// target is nobody else's.
func TestWhatFlapsOnOneTargetIsHealedOnTheOthers(t *testing.T) {
	w := quarrelling(t)
	w.tamper("b", "user", "root")
	s := w.scan()
	if s.Healed == nil || s.Healed.Status != stella.Succeeded || told(s.Ended) != "b service/web/user extra healed" || told(s.Open) != "a service/web/user extra" {
		t.Errorf("healed %+v, not healed %q, ended %s, open %s", s.Healed, s.NotHealed, told(s.Ended), told(s.Open))
	}
}

// TestAHealThatWasInterruptedGoesOnWithoutWhatFlaps: whoever takes it up leaves
// alone what it was to leave alone.
func TestAHealThatWasInterruptedGoesOnWithoutWhatFlaps(t *testing.T) {
	w := quarrelling(t)
	w.intrude("a")
	w.intrude("b")
	ctx, cancel := context.WithCancel(t.Context())
	defer cancel()
	_, _ = w.engine("cron", func(ev reconciler.Event) {
		if _, ok := ev.(reconciler.ActionDone); ok {
			cancel()
		}
	}).Scan(ctx, prod)
	if all := w.book().Deployments; all[len(all)-1].Status != stella.Aborted || all[len(all)-1].Kind != stella.KindHeal {
		t.Fatalf("the heal is %s", all[len(all)-1].Status)
	}
	out := w.reconcile()
	if out.Deployment == nil || out.Deployment.Kind != stella.KindHeal || out.Deployment.Status != stella.Succeeded {
		t.Fatalf("%+v", out)
	}
	s := w.scan()
	if len(s.Flapping) != 1 || s.Healed != nil || told(s.Open) != "a service/web/user extra" {
		t.Errorf("flapping %+v, healed %+v, open %s", s.Flapping, s.Healed, told(s.Open))
	}
}
