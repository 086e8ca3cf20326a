package acceptance_test

import (
	"os"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/stella-ops/stella/internal/git/gittest"
	"github.com/stella-ops/stella/reconciler"
)

func TestABaselineIsCapturedProvedAndGoneBackTo(t *testing.T) {
	t.Parallel()
	w := newWorld(t, plan{targets: 2, app: furnished{}, more: "rollout: {onFailure: pause}\nbaseline: {after: 1s}\n", verify: "  timeout: 5s\n"})
	if r := w.stella("baseline", "show", production); r.code != 2 || !strings.Contains(r.hint(), "baseline capture production") {
		t.Errorf("without one: %s", r)
	}
	if r := w.stella("baseline", "capture", production, "--reason", "none"); r.code != 5 || r.hint() == "" {
		t.Errorf("before anything was deployed: %s", r)
	}
	w.must("reconcile", production)
	tree := w.appTree("main")

	var first reconciler.CapturedBaseline
	if r := w.document(&first, "baseline", "capture", production, "--reason", "it is the first"); r.code != 0 || first.Commit != w.head() || first.Baseline.Tree != tree {
		t.Fatalf("capture: %s", r)
	}
	w.anotherState() // another person, on another machine
	if r := w.must("baseline", "capture", production, "--reason", "it is the first"); !strings.Contains(r.stdout, "nothing to do") || w.head() != first.Commit {
		t.Errorf("once more: %s", r)
	}
	w.must("baseline", "verify", production)
	w.must("baseline", "diff", production)

	w.must("deploy", production, "--artifact", w.pushed("1.1.0"))
	if r := w.stella("baseline", "diff", production); r.code != 1 || !strings.Contains(r.stdout, "+version: 1.1.0") {
		t.Errorf("diff: %s", r)
	}
	head := w.head()
	motd := below(w.targets[0], "CURRENT/rootfs/www/motd")
	if err := os.Remove(motd); err != nil {
		t.Fatal(err)
	}
	if err := ended(w, w.targets[1]); err != nil {
		t.Fatal(err)
	}
	r := w.stella("baseline", "capture", production, "--reason", "wrecked")
	if r.code != 5 || !strings.Contains(r.stderr, "web-1: it drifted") || !strings.Contains(r.stderr, "web-2: web is") || w.head() != head {
		t.Errorf("drifted on one target, down on the other: %s", r)
	}
	w.must("rollback", production, "--to", "baseline", "--reason", "start over")
	if w.appTree("main") != tree {
		t.Error("it went elsewhere")
	}
	w.agreed("1.0.0")
	w.proposedWhereTheBranchRefuses()
	w.capturedByItself()
	w.soundLedger()
}

// proposedWhereTheBranchRefuses captures under a protected branch.
func (w *world) proposedWhereTheBranchRefuses() {
	w.t.Helper()
	gittest.Hook(w.t, w.bare, "update", `case "$1" in refs/heads/main) echo "protected branch: open a pull request" >&2; exit 1;; esac`)
	if r := w.stella("baseline", "capture", production, "--reason", "again"); r.code == 0 || !strings.Contains(r.hint(), "--pr") {
		w.t.Errorf("a protected branch: %s", r)
	}
	var out reconciler.CapturedBaseline
	if r := w.document(&out, "baseline", "capture", production, "--reason", "again", "--pr"); r.code != 8 || out.Proposal == nil {
		w.t.Errorf("--pr: %s", r)
	}
	gittest.Hook(w.t, w.bare, "update", "exit 0")
}

// capturedByItself has the daemon find that a release proved itself. What is the
// baseline already is not written again.
func (w *world) capturedByItself() {
	w.t.Helper()
	head := w.head()
	c := w.start("serve", "--listen", "127.0.0.1:0", "--poll", "1s")
	w.pushRelease(w.clone(), "1.2.0")
	eventually(w.t, "1.2.0 becomes the baseline", 2*time.Minute, func() string {
		if text := w.git("show", "main:baselines/production.yaml"); !strings.Contains(text, "release: 1.2.0") {
			return text + c.text()
		}
		return ""
	})
	if log := w.git("log", "--format=%s", head+"..main", "--", "baselines"); strings.Contains(log, "\n") {
		w.t.Errorf("it was captured more than once:\n%s", log)
	}
	c.send(syscall.SIGTERM)
	if r := c.wait(); r.code != 0 {
		w.t.Errorf("serve: %s", r)
	}
	if r := w.must("baseline", "list", production); strings.Count(r.stdout, production) < 2 || !strings.Contains(r.stdout, "healthy and undrifted for 1s") {
		w.t.Errorf("list: %s", r)
	}
	w.must("baseline", "verify", "--all")
}
