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

// protect makes the repository refuse every push to main, as a protected branch
// does.
func (w *world) protect() {
	w.t.Helper()
	gittest.Hook(w.t, w.bare, "update", `case "$1" in refs/heads/main) echo "protected branch: open a pull request" >&2; exit 1;; esac`)
}

func (w *world) unprotect() {
	w.t.Helper()
	gittest.Hook(w.t, w.bare, "update", "exit 0")
}

func (w *world) git(args ...string) string {
	w.t.Helper()
	return gittest.Run(w.t, gittest.Dir(w.bare), args...)
}

func (w *world) status() reconciler.EnvironmentStatus {
	w.t.Helper()
	st, err := w.Status(w.t.Context(), prod, false)
	if err != nil {
		w.t.Fatal(err)
	}
	return st
}

func (w *world) rollback(o reconciler.Options) reconciler.Outcome {
	w.t.Helper()
	out, err := w.Rollback(w.t.Context(), reconciler.RollbackRequest{Environment: prod, Options: o})
	if err != nil {
		w.t.Fatal(err)
	}
	return out
}

// wantPinned checks an environment that runs a while the branch asks for
// something else, and returns the branch of the proposal.
func (w *world) wantPinned(out reconciler.Outcome) string {
	w.t.Helper()
	if out.Sync != stella.Pinned || out.Proposal == nil || w.runs() != "aa" {
		w.t.Fatalf("%s, proposal %+v, runs %s", out.Sync, out.Proposal, w.runs())
	}
	if st := w.status(); st.Sync != stella.Pinned || st.Pin == nil || st.Pin.Branch != out.Proposal.Branch || st.Desired.Release != "a" || len(st.Holds) != 1 {
		w.t.Errorf("status %s %s, pin %+v, holds %+v", st.Sync, st.Reason, st.Pin, st.Holds)
	}
	if out := w.reconcile(); !out.Nothing || out.Sync != stella.Pinned || w.runs() != "aa" {
		w.t.Errorf("a pass under the pin: %+v, runs %s", out, w.runs())
	}
	st, err := w.RollbackStatus(w.t.Context(), prod, "")
	if err != nil || st.Agrees || st.Witnesses.Git.OK || !st.Witnesses.Git.Pinned || !st.Witnesses.Ledger.OK || !strings.Contains(st.Witnesses.Git.Error, "merged") {
		w.t.Errorf("witnesses under the pin: %+v, %v", st.Witnesses, err)
	}
	if plan, err := w.Plan(w.t.Context(), prod, ""); err != nil || !plan.Empty || !strings.Contains(strings.Join(plan.Warnings, "\n"), "pinned to ") {
		w.t.Errorf("a plan under the pin: %+v, %v", plan.Warnings, err)
	}
	return out.Proposal.Branch
}

// wantAgreed merges the proposal and checks that the pin ends by itself.
func (w *world) wantAgreed(branch string) {
	w.t.Helper()
	w.unprotect()
	w.git("update-ref", "refs/heads/main", "refs/heads/"+branch)
	w.git("update-ref", "-d", "refs/heads/"+branch)
	if st := w.status(); st.Sync != stella.Synced || st.Pin != nil {
		w.t.Errorf("merged, before a pass: %s, pin %+v", st.Sync, st.Pin)
	}
	if out := w.reconcile(); !out.Nothing || out.Sync != stella.Synced {
		w.t.Errorf("merged: %+v", out)
	}
	b, err := w.Book(w.t.Context(), prod)
	if err != nil || b.State.Pin != nil || b.State.Summary.Sync != stella.Synced {
		w.t.Errorf("the ledger says %+v, pin %+v, %v", b.State.Summary, b.State.Pin, err)
	}
	if st, err := w.RollbackStatus(w.t.Context(), prod, ""); err != nil || !st.Agrees {
		w.t.Errorf("witnesses after the merge: %+v, %v", st.Witnesses, err)
	}
}

func TestARollbackThatIsToBeReviewedRunsOnAPin(t *testing.T) {
	w := newWorld(t)
	w.reconcile()
	w.mustDeploy("b")
	head := w.git("rev-parse", "main")
	branch := w.wantPinned(w.rollback(reconciler.Options{PullRequest: true, Reason: "5xx"}))
	if now := w.git("rev-parse", "main"); now != head {
		t.Errorf("the branch moved to %s", now)
	}
	if got := w.git("rev-parse", branch+"^"); got != head {
		t.Errorf("the proposal is on top of %s, want %s", got, head)
	}
	w.wantAgreed(branch)
	w.wantHistory(`
prod-1 deploy a succeeded
prod-2 deploy b succeeded
prod-3 rollback a succeeded restores prod-1
`)
}

func TestAProtectedBranchDoesNotMakeProductionWait(t *testing.T) {
	w := newWorld(t)
	w.reconcile()
	w.mustDeploy("b")
	w.protect()
	w.wantAgreed(w.wantPinned(w.rollback(reconciler.Options{})))
}

func TestANameThatIsTakenDoesNotStopARollback(t *testing.T) {
	for _, taken := range []string{"stella", "stella/rollback/prod/prod-3"} {
		t.Run(taken, func(t *testing.T) {
			w := newWorld(t)
			w.reconcile()
			w.mustDeploy("b")
			w.git("branch", taken, "main")
			w.protect()
			w.wantAgreed(w.wantPinned(w.rollback(reconciler.Options{})))
		})
	}
}

func TestAnAutomaticRollbackPinsToo(t *testing.T) {
	w := newWorld(t)
	w.reconcile()
	for _, m := range w.machines {
		m.sick[string(digestOf("b"))] = true
	}
	w.commit("b")
	w.protect()
	out := w.reconcile()
	if out.Rollback == nil || out.Rollback.Status != stella.Succeeded {
		t.Fatalf("deployment %+v, rollback %+v", out.Deployment, out.Rollback)
	}
	w.wantAgreed(w.wantPinned(out))
	w.wantHistory(`
prod-1 deploy a succeeded
prod-2 deploy b partial
prod-3 rollback a succeeded restores prod-1
`)
}

// commit puts a release on main as a person would, and pushes it.
func (w *world) commit(version string, message ...string) {
	w.t.Helper()
	path := "envs/prod/app/release.yaml"
	old := gittest.Run(w.t, gittest.Dir(w.bare), "show", "main:"+path)
	lines := strings.Split(old, "\n")
	for i, line := range lines {
		switch {
		case strings.HasPrefix(line, "version:"):
			lines[i] = "version: " + version
		case strings.HasPrefix(line, "  web:"):
			lines[i] = "  web: r.example.com/shop/web:" + version + "@" + string(digestOf(version))
		}
	}
	w.commitFile(path, strings.Join(lines, "\n")+"\n", append(message, "release "+version)[0])
}

func (w *world) commitFile(path, content, message string) {
	w.t.Helper()
	clone := w.t.TempDir()
	gittest.Run(w.t, clone, "clone", "-q", w.bare, ".")
	file := filepath.Join(clone, path)
	if err := errors.Join(os.MkdirAll(filepath.Dir(file), 0o750), os.WriteFile(file, []byte(content), 0o600)); err != nil {
		w.t.Fatal(err)
	}
	gittest.Run(w.t, clone, "add", "-A")
	gittest.Run(w.t, clone, "commit", "-q", "-m", message)
	gittest.Run(w.t, clone, "push", "-q", "origin", "HEAD:main")
}

func TestAFixOnTheBranchEndsThePinAndAnythingElseDoesNot(t *testing.T) {
	w := newWorld(t)
	w.reconcile()
	w.mustDeploy("b")
	w.rollback(reconciler.Options{PullRequest: true})
	w.commitFile("envs/prod/app/notes.md", "still b\n", "unrelated") // b is asked for still
	if out := w.reconcile(); out.Sync != stella.Pinned || w.runs() != "aa" {
		t.Errorf("a commit that keeps what is held: %+v, runs %s", out, w.runs())
	}
	w.commit("c")
	if out := w.reconcile(); out.Sync != stella.Synced || w.runs() != "cc" {
		t.Errorf("the fix: %+v, runs %s", out, w.runs())
	}
	if b, err := w.Book(t.Context(), prod); err != nil || b.State.Pin != nil {
		t.Errorf("the pin is still there: %+v, %v", b.State.Pin, err)
	}
	// And back: to what was pinned, over what was held.
	if w.rollback(reconciler.Options{}); w.runs() != "aa" {
		t.Errorf("runs %s", w.runs())
	}
}

func TestAReviewedCommitLiftsAHold(t *testing.T) {
	w := newWorld(t)
	w.reconcile()
	w.mustDeploy("b")
	w.rollback(reconciler.Options{})
	w.commit("b")
	if out := w.reconcile(); out.Sync != stella.Held || w.runs() != "aa" {
		t.Fatalf("a held release came back: %+v, runs %s", out, w.runs())
	}
	hold := w.status().Holds[0].ID
	w.commitFile("README.md", "b is good\n", "b is good after all\n\nStella-Lifts: "+hold)
	if out := w.reconcile(); out.Sync != stella.Synced || w.runs() != "bb" {
		t.Errorf("lifted: %+v, runs %s", out, w.runs())
	}
	if holds := w.status().Holds; len(holds) != 0 {
		t.Errorf("holds %+v", holds)
	}
}

func TestARevertBySomebodyElseIsARollbackAndHolds(t *testing.T) {
	w := newWorld(t)
	w.reconcile()
	w.commit("b")
	w.reconcile()
	w.commit("a", "Revert \"release b\"\n\nThis reverts commit "+w.git("rev-parse", "main")+".")
	if out := w.reconcile(); out.Deployment == nil || out.Deployment.Kind != stella.KindRollback || w.runs() != "aa" {
		t.Fatalf("%+v, runs %s", out.Deployment, w.runs())
	}
	if holds := w.status().Holds; len(holds) != 1 || holds[0].Release != "b" {
		t.Errorf("holds %+v", holds)
	}
	w.commit("c")
	w.reconcile()
	w.commit("a") // asked for again, and nobody says that c is bad
	if out := w.reconcile(); out.Deployment == nil || out.Deployment.Kind != stella.KindRollback || w.runs() != "aa" {
		t.Fatalf("%+v, runs %s", out.Deployment, w.runs())
	}
	if holds := w.status().Holds; len(holds) != 1 {
		t.Errorf("holds %+v", holds)
	}
	w.wantHistory(`
prod-1 deploy a succeeded
prod-2 deploy b succeeded
prod-3 rollback a succeeded restores prod-1
prod-4 deploy c succeeded
prod-5 rollback a succeeded restores prod-1
`)
}

func TestARevertOfARevertHoldsNothing(t *testing.T) {
	w := newWorld(t)
	w.reconcile()
	w.commit("b")
	w.reconcile()
	w.commit("a", "Revert \"release b\"\n\nThis reverts commit "+w.git("rev-parse", "main")+".")
	w.reconcile()
	hold := w.status().Holds[0].ID
	w.commit("b", "Reapply \"release b\"\n\nThis reverts commit "+w.git("rev-parse", "main")+".\n\nStella-Lifts: "+hold)
	if out := w.reconcile(); out.Deployment == nil || w.runs() != "bb" {
		t.Fatalf("%+v, runs %s", out.Deployment, w.runs())
	}
	if holds := w.status().Holds; len(holds) != 0 {
		t.Errorf("what was gone back to before is held now: %+v", holds)
	}
}
