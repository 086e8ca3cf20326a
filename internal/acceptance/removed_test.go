package acceptance_test

import (
	"strings"
	"testing"

	"github.com/stella-ops/stella/internal/git/gittest"
	"github.com/stella-ops/stella/reconciler"
)

func TestALineThatIsTakenOutOfTheComposeFileIsTakenOutOfTheProcess(t *testing.T) {
	t.Parallel()
	w := newWorld(t, plan{})
	const file = "envs/production/app/compose.yaml"
	plain := w.git("show", "main:"+file) + "\n"
	gittest.Seed(t, w.bare, map[string]string{file: plain + "    environment: {EXTRA: \"1\"}\n"})
	w.must("reconcile", production)
	before := w.running(w.targets[0], "web")
	if got := variable(t, before.PID, "EXTRA"); got != "1" {
		t.Fatalf("EXTRA=%q", got)
	}

	gittest.Seed(t, w.bare, map[string]string{file: plain})
	var p reconciler.Plan
	w.document(&p, "plan", production)
	if len(p.Targets) != 1 || len(p.Targets[0].Changes) != 1 || p.Targets[0].Changes[0].Path != "/environment" {
		t.Errorf("plan %s", p)
	}
	if r := w.must("orch", "env", "status", production, "--detailed"); !strings.Contains(r.stdout, "extra    service/web  /environment") || !strings.Contains(r.stdout, "drift      none") {
		t.Errorf("it is what the branch asks for, and no drift: %s", r)
	}
	w.must("reconcile", production)
	after := w.running(w.targets[0], "web")
	if after == before || variable(t, after.PID, "EXTRA") != "" || variable(t, after.PID, versionVariable) != "1.0.0" {
		t.Errorf("%+v runs with EXTRA=%q, it was %+v", after, variable(t, after.PID, "EXTRA"), before)
	}
	w.document(&p, "plan", production)
	if !p.Empty {
		t.Errorf("there is still something to do: %s", p)
	}
	w.soundLedger()
}
