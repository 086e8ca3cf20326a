package reconciler_test

import (
	"errors"
	"strings"
	"testing"

	"github.com/stella-ops/stella"
	"github.com/stella-ops/stella/internal/git/gittest"
	"github.com/stella-ops/stella/reconciler"
)

// The rows of "Git semantics of rollback"; see docs/faults.md.

func TestARollbackIsExactHoweverOftenItsFilesChangedSince(t *testing.T) {
	w := newWorld(t)
	w.reconcile()
	tree, staging := w.git("rev-parse", "main:envs/prod/app"), w.git("rev-parse", "main:envs/staging")
	w.mustDeploy("b")
	w.commitFile("envs/prod/app/compose.yaml", "services:\n  web:\n    image: r.example.com/shop/web\n    command: [\"/web\"]\n", "the same file again")
	w.reconcile()
	w.mustDeploy("c")
	out, err := w.Rollback(t.Context(), reconciler.RollbackRequest{Environment: prod, To: "prod-1"})
	if err != nil || out.Deployment.Status != stella.Succeeded {
		t.Fatalf("%+v, %v", out.Deployment, err)
	}
	if got := w.git("rev-parse", "main:envs/prod/app"); got != tree {
		t.Errorf("the app's tree is %s, want %s", got, tree)
	}
	if got := w.git("rev-parse", "main:envs/staging"); got != staging {
		t.Errorf("another environment changed: %s", got)
	}
}

func TestTheCommitSaysWhereAnUndoneCommitChangedOtherThingsToo(t *testing.T) {
	w := newWorld(t)
	w.reconcile()
	w.mustDeploy("b")
	alone := w.git("rev-parse", "main")
	both := gittest.Seed(t, w.bare, map[string]string{"envs/prod/app/notes.md": "more\n", "envs/staging/app/notes.md": "more\n"})
	if _, err := w.Rollback(t.Context(), reconciler.RollbackRequest{Environment: prod, To: "prod-1"}); err != nil {
		t.Fatal(err)
	}
	message := w.git("log", "-1", "--format=%B", "main")
	for _, want := range []string{"\nThis reverts commit " + alone + ".\n", "\nThis reverts commit " + both + " in envs/prod.\n"} {
		if !strings.Contains(message, want) {
			t.Errorf("the message lacks %q:\n%s", want, message)
		}
	}
}

func TestARollbackOfARollbackIsANewCommitAndARecordOfItsOwn(t *testing.T) {
	w := newWorld(t)
	w.reconcile()
	w.mustDeploy("b")
	w.rollback(reconciler.Options{})
	o := reconciler.Options{Reason: "it was not the release", Force: []string{reconciler.ForceHold}}
	if out, err := w.Rollback(t.Context(), reconciler.RollbackRequest{Environment: prod, To: "prod-2", Options: o}); err != nil || w.runs() != "bb" {
		t.Fatalf("%+v, %v, runs %s", out.Deployment, err, w.runs())
	}
	if n := w.git("rev-list", "--count", "main"); n != "4" {
		t.Errorf("%s commits, want the seed, b, its revert, and the revert of that", n)
	}
	w.wantHistory(`
prod-1 deploy a succeeded
prod-2 deploy b succeeded
prod-3 rollback a succeeded restores prod-1
prod-4 rollback b succeeded restores prod-2
`)
}

func TestWhatAMergeBroughtIsRestoredAsAnythingElse(t *testing.T) {
	w := newWorld(t)
	w.reconcile()
	// b comes by a merge, as from a pull request.
	base := w.git("rev-parse", "main")
	w.commit("b")
	side := w.git("rev-parse", "main")
	w.git("update-ref", "refs/heads/main", base)
	w.mergeInto("main", side)
	w.reconcile()
	w.mustDeploy("c")
	if w.rollback(reconciler.Options{}); w.runs() != "bb" {
		t.Errorf("runs %s", w.runs())
	}
	if w.rollback(reconciler.Options{}); w.runs() != "aa" {
		t.Errorf("runs %s", w.runs())
	}
}

// mergeInto makes a merge commit on a branch, as a forge does.
func (w *world) mergeInto(branch, side string) {
	w.t.Helper()
	clone := w.t.TempDir()
	gittest.Run(w.t, clone, "clone", "-q", w.bare, ".")
	gittest.Run(w.t, clone, "fetch", "-q", "origin", side)
	gittest.Run(w.t, clone, "merge", "-q", "--no-ff", "-m", "Merge pull request #1 from ana/b", side)
	gittest.Run(w.t, clone, "push", "-q", "origin", "HEAD:"+branch)
}

func TestIdenticalContentNeedsNoCommitAndIsVerifiedAndRecorded(t *testing.T) {
	w := newWorld(t)
	w.reconcile()
	w.mustDeploy("b")
	w.mustDeploy("a")
	head := w.git("rev-parse", "main")
	out, err := w.Rollback(t.Context(), reconciler.RollbackRequest{Environment: prod, To: "prod-1"})
	if err != nil || out.Deployment.Status != stella.Succeeded || out.Deployment.Restores != "prod-1" {
		t.Fatalf("%+v, %v", out.Deployment, err)
	}
	if got := w.git("rev-parse", "main"); got != head {
		t.Errorf("an empty commit %s", got)
	}
	verified := false
	for _, s := range out.Deployment.Steps {
		verified = verified || s.Name == stella.StepVerify && s.Status == stella.StepSucceeded
	}
	if !verified {
		t.Errorf("it was not verified: %+v", out.Deployment.Steps)
	}
	if holds := w.status().Holds; len(holds) != 0 {
		t.Errorf("what runs is held: %+v", holds)
	}
}

func TestAPushThatComesWhileARollbackIsPlannedIsShownAndNeverOverwritten(t *testing.T) {
	w := newWorld(t)
	w.reconcile()
	w.mustDeploy("b")
	shown := w.planRollback(reconciler.RollbackRequest{})
	w.commitFile("envs/prod/app/notes.md", "somebody else's\n", "a commit in between")
	_, err := w.Rollback(t.Context(), reconciler.RollbackRequest{Environment: prod, Options: reconciler.Options{Shown: shown}})
	if !errors.Is(err, stella.ErrConflict) || !strings.Contains(err.Error(), "changed meanwhile") || w.runs() != "bb" {
		t.Errorf("%v, runs %s", err, w.runs())
	}
	// Another environment's commit is none of its business.
	shown = w.planRollback(reconciler.RollbackRequest{})
	w.commitFile("envs/staging/app/notes.md", "staging's\n", "another environment")
	if out, err := w.Rollback(t.Context(), reconciler.RollbackRequest{Environment: prod, Options: reconciler.Options{Shown: shown}}); err != nil || w.runs() != "aa" {
		t.Errorf("%+v, %v, runs %s", out.Deployment, err, w.runs())
	}
	if got := w.git("show", "main:envs/staging/app/notes.md"); got != "staging's" {
		t.Errorf("the other commit is lost: %q", got)
	}
}

func TestARollbackWaitsForADeployThatIsUnderWay(t *testing.T) {
	w := newWorld(t)
	w.reconcile()
	w.mustDeploy("b")
	prepared, block := make(chan struct{}, 4), make(chan struct{})
	for _, m := range w.machines {
		m.block, m.prepared = block, func() { prepared <- struct{}{} }
	}
	deploy := deployWith(w, w.engine("bob", nil), "c", reconciler.Options{})
	<-prepared
	waits := make(chan string, 100)
	ana := w.engine("ana", func(ev reconciler.Event) {
		if e, ok := ev.(reconciler.Waiting); ok {
			waits <- e.For
		}
	})
	rolled := make(chan asked, 1)
	go func() {
		out, err := ana.Rollback(t.Context(), reconciler.RollbackRequest{Environment: prod, To: "prod-1"})
		rolled <- asked{out, err}
	}()
	if why := <-waits; !strings.Contains(why, "bob") {
		t.Errorf("it waits for %q", why)
	}
	close(block)
	if d := <-deploy; d.err != nil || d.out.Deployment.Status != stella.Succeeded {
		t.Errorf("the deploy: %+v, %v", d.out.Deployment, d.err)
	}
	// What it was planned against is no more: a person decides again.
	if r := <-rolled; !errors.Is(r.err, stella.ErrConflict) || w.runs() != "cc" {
		t.Errorf("the rollback: %+v, %v, runs %s", r.out.Deployment, r.err, w.runs())
	}
	if w.rollback(reconciler.Options{}); w.runs() != "bb" {
		t.Errorf("runs %s", w.runs())
	}
}
