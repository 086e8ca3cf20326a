package acceptance_test

import (
	"fmt"
	"maps"
	"os"
	"strings"
	"testing"

	"github.com/stella-ops/stella"
)

// TestADriftIsHealedWhereItIs wrecks the second of two hosts: by a person's
// reconcile and by the daemon it is brought back, the first one goes on running
// as it did, and the history has it all.
func TestADriftIsHealedWhereItIs(t *testing.T) {
	t.Parallel()
	w := newWorld(t, plan{targets: 2, app: furnished{}, more: "drift: {mode: heal}\n", verify: "  timeout: 2s\n"})
	w.must("reconcile", production)
	second := w.targets[1]
	untouched := func() map[string]process {
		all := w.allRunning()
		maps.DeleteFunc(all, func(name string, _ process) bool { return strings.HasPrefix(name, second.name) })
		return all
	}
	before := untouched()
	if len(before) != 1 {
		t.Fatalf("on the first host run %v", before)
	}
	wantHealed := func(what string, d stella.Deployment, automatic bool) {
		t.Helper()
		if d.Kind != stella.KindHeal || d.Status != stella.Succeeded || d.Automatic != automatic {
			t.Errorf("%s: %s is a %s, %s, automatic %v: %s", what, d.ID, d.Kind, d.Status, d.Automatic, d.Error)
		}
		if now := untouched(); fmt.Sprint(now) != fmt.Sprint(before) {
			t.Errorf("%s: on the first host run %v, not %v", what, now, before)
		}
		if r := w.stella("drift", "detect", production); r.code != 0 {
			t.Errorf("%s: after the heal %s", what, r)
		}
	}
	damage := func(wreck wreck) {
		t.Helper()
		if err := wreck.do(w, second); err != nil {
			t.Fatalf("%s: %v", wreck.name, err)
		}
	}
	for _, wreck := range []wreck{
		{"its processes are killed", ended},
		{"a file is there that nobody asked for", func(_ *world, target target) error {
			return os.WriteFile(below(target, "CURRENT/rootfs/www/more"), []byte("more\n"), 0o600)
		}},
	} {
		damage(wreck)
		if r := w.stella("drift", "detect", production); r.code != 1 {
			t.Errorf("%s: %s", wreck.name, r)
		}
		if why := w.must("why", production).stdout; !strings.Contains(why, "mode heal: run 'stella reconcile production'") {
			t.Errorf("%s: why does not say so:\n%s", wreck.name, why)
		}
		w.must("reconcile", production)
		all := w.deployments()
		wantHealed(wreck.name, all[len(all)-1], false)
	}
	d := w.serve()
	for i, wreck := range []wreck{
		{"a configuration is changed", garbled("CURRENT/rootfs/www/motd")},
		{"a file is gone", gone("CURRENT/rootfs/www/healthz")},
	} {
		damage(wreck)
		healed := d.ended(w, i+1, patience)
		wantHealed(wreck.name, healed, true)
		if !strings.Contains(healed.Reason, "drift from production-") || !strings.Contains(healed.Reason, second.name) {
			t.Errorf("%s: the reason is %q", wreck.name, healed.Reason)
		}
	}
	var history struct {
		Findings []struct {
			Target, Ended   string
			Open            bool
			DurationSeconds float64
		}
	}
	w.document(&history, "drift", "history", production)
	if len(history.Findings) < 4 {
		t.Errorf("the history has %+v", history.Findings)
	}
	for _, f := range history.Findings {
		if f.Target != second.name || f.Ended != "healed" || f.Open || f.DurationSeconds <= 0 {
			t.Errorf("in the history is %+v", f)
		}
	}
	w.soundLedger()
}
