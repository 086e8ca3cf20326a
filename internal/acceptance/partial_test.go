package acceptance_test

import (
	"fmt"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/stella-ops/stella"
	"github.com/stella-ops/stella/reconciler"
)

func TestOneComponentOnOneTargetGoesBackAndTheRestStays(t *testing.T) {
	t.Parallel()
	w := newWorld(t, plan{targets: 2, services: []string{"api", "web"}})
	w.must("reconcile", production)
	image := func(service, version string) string {
		a := w.push(service, version)
		a.Digest = ""
		return service + "=" + a.String()
	}
	w.must("deploy", production, "--artifact", image("api", "2.0.0"), "--artifact", image("web", "2.0.0"), "--version", "2.0.0")
	before := w.allRunning()

	var shown reconciler.Plan
	back := []string{"rollback", production, "--component", "api", "--target", "web-1", "--reason", "5xx on web-1 only"}
	w.document(&shown, append(back, "--dry-run")...)
	if warned := strings.Join(shown.Warnings, "\n"); !strings.Contains(warned, "never verified") || !strings.Contains(warned, "production-1 (1.0.0)") || len(shown.Overrides) != 1 {
		t.Errorf("the plan warns of %q and declares %+v", warned, shown.Overrides)
	}
	w.must(append(back, "--plan-hash", shown.Hash)...)

	after := w.allRunning()
	want := map[string]string{"web-1/api": "1.0.0", "web-1/web": "2.0.0", "web-2/api": "2.0.0", "web-2/web": "2.0.0"}
	if diff := cmp.Diff(want, versions(after)); diff != "" {
		t.Errorf("versions (-want +got)\n%s", diff)
	}
	for name, p := range before {
		if (after[name] == p) == (name == "web-1/api") {
			t.Errorf("%s was %+v and is %+v", name, p, after[name])
		}
	}
	if s := w.sticker(w.targets[0]); s.Deployment != "production-3" || !strings.Contains(s.Components["api"], ":1.0.0@") {
		t.Errorf("web-1's sticker is %+v", s)
	}
	var witnesses reconciler.RollbackStatus
	if w.document(&witnesses, "rollback", "status", production); !witnesses.Agrees || witnesses.Deployment.ID != "production-3" {
		t.Errorf("the witnesses: %+v", witnesses)
	}

	var st reconciler.EnvironmentStatus
	w.document(&st, "orch", "env", "status", production)
	if st.Sync != stella.Synced || st.Drift.Count != 0 || len(st.Overrides) != 1 || !st.Overrides[0].InEffect || st.Overrides[0].From != "production-1" {
		t.Errorf("%s (%s), drift %d, declared %+v", st.Sync, st.Reason, st.Drift.Count, st.Overrides)
	}
	if r := w.must("why", production, "-o", "table"); !strings.Contains(r.stdout, "Declared to differ") || !strings.Contains(r.stdout, "5xx on web-1 only") {
		t.Errorf("why does not say it: %s", r)
	}
	w.must("reconcile", production)
	if diff := cmp.Diff(fmt.Sprint(after), fmt.Sprint(w.allRunning())); diff != "" {
		t.Errorf("a pass touched something\n%s", diff)
	}

	if r := w.stella("deploy", production, "--artifact", image("api", "2.0.0")); r.code == 0 || !strings.Contains(r.stderr, "held") {
		t.Errorf("what went back is not held: %s", r)
	}
	w.must("deploy", production, "--artifact", image("api", "3.0.0"))
	want = map[string]string{"web-1/api": "3.0.0", "web-1/web": "2.0.0", "web-2/api": "3.0.0", "web-2/web": "2.0.0"}
	if diff := cmp.Diff(want, versions(w.allRunning())); diff != "" {
		t.Errorf("after the next deploy (-want +got)\n%s", diff)
	}
	w.document(&st, "orch", "env", "status", production)
	if len(st.Overrides) != 0 || strings.Contains(w.git("show", "main:envs/production/app/release.yaml"), "overrides") {
		t.Errorf("still declared: %+v", st.Overrides)
	}

	if r := w.stella("rollback", production, "--component", "db"); r.code == 0 || !strings.Contains(r.hint(), "api, web") {
		t.Errorf("an unknown component: %s", r)
	}
	w.soundLedger()
}
