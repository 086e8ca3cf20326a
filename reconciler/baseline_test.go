package reconciler_test

import (
	"errors"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/stella-ops/stella"
	"github.com/stella-ops/stella/internal/git/gittest"
	"github.com/stella-ops/stella/reconciler"
)

// baseline puts a baseline on main.
func (w *world) baseline(deployment, commit, tree, version string) {
	w.t.Helper()
	w.commitFile("baselines/prod.yaml", "apiVersion: stella/v1\nkind: Baseline\nenvironment: prod\ndeployment: "+deployment+
		"\ncommit: "+commit+"\ntree: "+tree+"\ncomponents:\n  web: r.example.com/shop/web:"+version+"@"+string(digestOf(version))+
		"\ndesired: sha256:"+strings.Repeat("0", 64)+"\ncapturedAt: 2026-01-01T00:00:00Z\n", "baseline")
}

// aside pushes a release to a branch of its own that nobody reviewed.
func (w *world) aside(branch, version string) {
	w.t.Helper()
	clone := w.t.TempDir()
	gittest.Run(w.t, clone, "clone", "-q", w.bare, ".")
	file := filepath.Join(clone, "envs/prod/app/release.yaml")
	old, err := os.ReadFile(file)
	if err == nil {
		text := strings.ReplaceAll(string(old), "web:b@"+string(digestOf("b")), "web:"+version+"@"+string(digestOf(version)))
		err = os.WriteFile(file, []byte(text), 0o600)
	}
	if err != nil {
		w.t.Fatal(err)
	}
	gittest.Run(w.t, clone, "commit", "-q", "-a", "-m", "aside")
	gittest.Run(w.t, clone, "push", "-q", "origin", "HEAD:"+branch)
}

func TestABaselineThatNamesWhatNeverWasIsRefused(t *testing.T) {
	w := newWorld(t)
	w.reconcile()
	first := w.git("rev-parse", "main")
	w.mustDeploy("b")
	w.aside("elsewhere", "d")
	commit, tree := w.git("rev-parse", "elsewhere"), w.git("rev-parse", "elsewhere:envs/prod/app")
	if _, err := w.Plan(t.Context(), prod, "elsewhere"); err != nil {
		t.Fatal(err) // and so the objects are here
	}
	toBaseline := reconciler.RollbackRequest{Environment: prod, To: "baseline"}
	for name, c := range map[string]struct{ deployment, commit, tree, want string }{
		"another tree of a deployment":        {"prod-1", first, tree, "prod-1 did not verify"},
		"a commit that was not on the branch": {"prod-77", commit, tree, "was never on the branch"},
		"a tree that the commit did not have": {"prod-77", first, tree, "does not have tree"},
		"another environment's deployment":    {"staging-1", first, w.git("rev-parse", first+":envs/prod/app"), "staging-1 is no deployment of prod"},
		"one of an environment named alike":   {"prod-eu-1", first, w.git("rev-parse", first+":envs/prod/app"), "prod-eu-1 is no deployment of prod"},
		"a commit that is a tree":             {"prod-77", tree, tree, ""},
		"a commit that nobody has":            {"prod-77", strings.Repeat("1a", 20), tree, "was never on the branch"},
	} {
		t.Run(name, func(t *testing.T) {
			w.baseline(c.deployment, c.commit, c.tree, "d")
			if _, err := w.Rollback(t.Context(), toBaseline); !errors.Is(err, stella.ErrRefused) || !strings.Contains(err.Error(), c.want) {
				t.Errorf("got %v", err)
			}
			if w.runs() != "bb" {
				t.Errorf("runs %s", w.runs())
			}
		})
	}
	// One that the ledger has forgotten is gone back to, where the branch had it.
	w.baseline("prod-77", first, w.git("rev-parse", first+":envs/prod/app"), "a")
	if out, err := w.Rollback(t.Context(), toBaseline); err != nil || out.Deployment.Status != stella.Succeeded || w.runs() != "aa" {
		t.Errorf("%+v, %v, runs %s", out.Deployment, err, w.runs())
	}
}

// TestABaselineOfALostLedgerIsBorneOutByTheBranch: what is restored is what the
// commit had, whatever else the file says, and it is said that nobody knows.
func TestABaselineOfALostLedgerIsBorneOutByTheBranch(t *testing.T) {
	w := newWorld(t)
	w.reconcile()
	w.mustDeploy("b")
	w.mustDeploy("c")
	w.mustCapture("prod-2", "good")
	w.git("update-ref", "-d", "refs/stella/ledger/prod")
	w.Engine = w.engine("ana", nil)
	toBaseline := reconciler.RollbackRequest{Environment: prod, To: "baseline"}
	for _, forged := range []string{"a", "d"} { // images that were there once, and that never were
		was := w.git("show", "main:baselines/prod.yaml")
		w.rewrite("web:b@"+string(digestOf("b")), "web:"+forged+"@"+string(digestOf(forged)))
		dry := toBaseline
		dry.DryRun = true
		out, err := w.Rollback(t.Context(), dry)
		if err != nil || out.Plan.Release != "b" || !strings.Contains(strings.Join(out.Plan.Warnings, "\n"), "the ledger does not know prod-2") {
			t.Errorf("%+v, %v", out.Plan, err)
		}
		w.commitFile("baselines/prod.yaml", was+"\n", "as it was")
	}
	if out, err := w.Rollback(t.Context(), toBaseline); err != nil || out.Deployment.Status != stella.Succeeded || w.runs() != "bb" {
		t.Errorf("%+v, %v, runs %s", out.Deployment, err, w.runs())
	}
}

// TestAPushedBaselineMakesNothingVerified: whoever can push a commit and a file
// that names it can not have it run without its being verified, where the ledger
// knows better.
func TestAPushedBaselineMakesNothingVerified(t *testing.T) {
	w := newWorld(t)
	w.reconcile()
	for _, m := range w.machines {
		m.sick[string(digestOf("b"))] = true
	}
	out, err := w.deploy("b")
	if err != nil || out.Rollback == nil {
		t.Fatalf("%+v, %v", out, err)
	}
	bad := out.Deployment
	w.baseline(bad.ID, bad.Commit, bad.Tree, "b")
	if _, err := w.Rollback(t.Context(), reconciler.RollbackRequest{Environment: prod, To: "baseline"}); !errors.Is(err, stella.ErrRefused) {
		t.Errorf("what failed was gone back to: %v", err)
	}
	if r := w.verified(); r.OK || w.runs() != "aa" {
		t.Errorf("%+v, runs %s", r, w.runs())
	}
}
