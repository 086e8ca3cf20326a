package reconciler_test

import (
	"errors"
	"os"
	"strings"
	"testing"
	"time"

	"github.com/stella-ops/stella"
	"github.com/stella-ops/stella/internal/git/gittest"
	"github.com/stella-ops/stella/reconciler"
)

// cutOff takes the config repository away; what it returns brings it back.
func (w *world) cutOff() (restore func()) {
	w.t.Helper()
	dir := gittest.Dir(w.bare)
	if err := os.Rename(dir, dir+".away"); err != nil {
		w.t.Fatal(err)
	}
	return func() {
		w.t.Helper()
		if err := os.Rename(dir+".away", dir); err != nil {
			w.t.Fatal(err)
		}
	}
}

// keep makes every machine keep the images of these releases.
func (w *world) keep(versions ...string) {
	for _, m := range w.machines {
		m.keeps = map[stella.Digest]bool{}
		for _, v := range versions {
			m.keeps[digestOf(v)] = true
		}
	}
}

func (w *world) offline(o reconciler.Options) (reconciler.Outcome, error) {
	o.Reason = "everything is on fire"
	return w.Rollback(w.t.Context(), reconciler.RollbackRequest{Environment: prod, Offline: true, Options: o})
}

func TestARollbackWithoutGitIsRecordedAndProposedWhenItIsBack(t *testing.T) {
	w := newWorld(t)
	w.keep("a", "b")
	w.reconcile()
	w.mustDeploy("b")
	fence := w.machines["a"].fence
	restore := w.cutOff()
	if _, err := w.Rollback(t.Context(), reconciler.RollbackRequest{Environment: prod}); !strings.Contains(stella.Hint(err), "rollback prod --offline") {
		t.Fatalf("that can not work without Git, and should say what does: %v (%s)", err, stella.Hint(err))
	}
	out, err := w.offline(reconciler.Options{})
	if err != nil || !out.Offline || out.Deployment.Status != stella.Succeeded || w.runs() != "aa" {
		t.Fatalf("%+v, %v, runs %s", out.Deployment, err, w.runs())
	}
	if s := w.machines["a"].sticker; s.Offline == nil || s.Offline.Restores != "prod-1" || s.Fence <= fence {
		t.Errorf("sticker %+v", s)
	}
	restore()
	if plan, err := w.Plan(t.Context(), prod, ""); err != nil || !strings.Contains(strings.Join(plan.Warnings, "\n"), "went back to prod-1 without") {
		t.Errorf("a plan before the reunion: %+v, %v", plan.Warnings, err)
	}
	if st, err := w.RollbackStatus(t.Context(), prod, ""); err != nil || st.Agrees || !strings.Contains(st.Witnesses.Targets[0].Error, "went back to prod-1 without") {
		t.Errorf("witnesses before the reunion: %+v, %v", st.Witnesses, err)
	}
	if out := w.reconcile(); out.Deployment == nil || out.Deployment.Actor != "ana" || out.Sync != stella.Pinned {
		t.Errorf("reunion: %+v, %+v", out, out.Deployment)
	}
	if s := w.machines["a"].sticker; s.Offline != nil || s.Deployment != "prod-3" {
		t.Errorf("sticker %+v", s)
	}
	b, err := w.Book(t.Context(), prod)
	if err != nil || b.State.Pin == nil || len(b.State.Holds) != 1 || b.State.Holds[0].Release != "b" {
		t.Fatalf("pin %+v, holds %+v, %v", b.State.Pin, b.State.Holds, err)
	}
	if d, _ := b.Deployment("prod-3"); d.Steps[0].Name != stella.StepOffline || d.Reason != "everything is on fire" {
		t.Errorf("the record does not tell: %+v", d)
	}
	w.wantAgreed(strings.TrimPrefix(b.State.Pin.Ref, "refs/heads/"))
	w.wantHistory(`
prod-1 deploy a succeeded
prod-2 deploy b succeeded
prod-3 rollback a succeeded restores prod-1
`)
}

func TestOfflineIsOnlyForWhatTheTargetsStillHave(t *testing.T) {
	w := newWorld(t)
	w.keep("b")
	w.reconcile()
	w.mustDeploy("b")
	restore := w.cutOff()
	defer restore()
	out, err := w.offline(reconciler.Options{})
	if !errors.Is(err, stella.ErrRefused) || w.runs() != "bb" || len(out.Plan.Findings) == 0 {
		t.Errorf("%v, runs %s", err, w.runs())
	}
	// A machine that never saw the repository knows nothing.
	_, err = w.engine("bob", nil).Rollback(t.Context(), reconciler.RollbackRequest{Environment: prod, Offline: true})
	if err == nil || stella.Hint(err) == "" {
		t.Errorf("from nothing: %v", err)
	}
}

func TestACommandAfterAnOutageLearnsFirstWhatWasDone(t *testing.T) {
	w := newWorld(t)
	w.keep("a", "b")
	w.reconcile()
	w.mustDeploy("b")
	restore := w.cutOff()
	if _, err := w.offline(reconciler.Options{}); err != nil {
		t.Fatal(err)
	}
	restore()
	if _, err := w.deploy("c"); !errors.Is(err, stella.ErrConflict) || !strings.Contains(err.Error(), "prod-3") {
		t.Errorf("a deploy that does not know: %v", err)
	}
	if w.runs() != "aa" {
		t.Errorf("runs %s", w.runs())
	}
	w.mustDeploy("c")
	if b, err := w.Book(t.Context(), prod); err != nil || b.State.Pin != nil {
		t.Errorf("the fix did not end the pin: %+v, %v", b.State.Pin, err)
	}
}

func TestWhoHeldTheLockIsFencedOffByAnOfflineRollback(t *testing.T) {
	w := newWorld(t)
	w.keep("a", "b")
	w.reconcile()
	w.mustDeploy("b")
	prepared, block := make(chan struct{}, 2), make(chan struct{})
	for _, m := range w.machines {
		m.block, m.prepared = block, func() { prepared <- struct{}{} }
	}
	type end struct {
		out reconciler.Outcome
		err error
	}
	ended := make(chan end, 1)
	go func() {
		out, err := w.engine("bob", nil).Deploy(t.Context(), reconciler.DeployRequest{Environment: prod, Artifacts: map[string]stella.Artifact{"": ref("c")}})
		ended <- end{out, err}
	}()
	<-prepared
	<-prepared
	restore := w.cutOff()
	for _, m := range w.machines {
		m.mu.Lock()
		m.block, m.prepared = nil, nil // only the deploy waits
		m.mu.Unlock()
	}
	if _, err := w.offline(reconciler.Options{}); err != nil || w.runs() != "aa" {
		t.Fatalf("%v, runs %s", err, w.runs())
	}
	restore()
	close(block)
	if e := <-ended; e.err == nil && e.out.Deployment.Status == stella.Succeeded {
		t.Errorf("the deploy went on: %+v", e.out.Deployment)
	}
	if w.runs() != "aa" {
		t.Errorf("runs %s", w.runs())
	}
	if out := w.reconcile(); out.Deployment == nil || out.Deployment.Restores != "prod-1" || w.runs() != "aa" {
		t.Errorf("reunion: %+v, runs %s", out, w.runs())
	}
}

// goesOffline rolls back without the config repository, which is back afterwards.
func (w *world) goesOffline(to string) error {
	w.t.Helper()
	restore := w.cutOff()
	defer restore()
	_, err := w.Rollback(w.t.Context(), reconciler.RollbackRequest{
		Environment: prod, Offline: true, To: to, Options: reconciler.Options{Reason: "everything is on fire"},
	})
	return err
}

func TestOfflineIsOnlyForWhatWasVerified(t *testing.T) {
	w := newWorld(t, "onFailure: rollback", "onFailure: pause")
	w.keep("a", "b", "c")
	w.reconcile()
	w.machines["a"].sick[string(digestOf("b"))] = true
	w.machines["b"].sick[string(digestOf("b"))] = true
	if _, err := w.deploy("b"); err != nil {
		t.Fatal(err)
	}
	w.mustDeploy("c")
	if err := w.goesOffline("prod-2"); !errors.Is(err, stella.ErrRefused) || !strings.Contains(err.Error(), "never verified") || w.runs() != "cc" {
		t.Errorf("back to what failed: %v, runs %s", err, w.runs())
	}
}

func TestARecordThatNobodyCanPlaceDoesNotStopARollback(t *testing.T) {
	w := newWorld(t)
	w.keep("a", "b")
	w.reconcile()
	w.mustDeploy("b")
	if err := w.goesOffline(""); err != nil {
		t.Fatal(err)
	}
	for _, m := range w.machines {
		m.sticker.Offline.Restores = "prod-7" // the ledger was lost, and begun anew
	}
	_, err := w.Reconcile(t.Context(), reconciler.ReconcileRequest{Environment: prod, Automatic: true})
	if !errors.Is(err, stella.ErrRefused) || !strings.Contains(stella.Hint(err), "stella rollback prod --to") {
		t.Fatalf("a pass decides by itself: %v, hint %q", err, stella.Hint(err))
	}
	out, err := w.Rollback(t.Context(), reconciler.RollbackRequest{Environment: prod, To: "prod-1"})
	if err != nil || out.Deployment.Status != stella.Succeeded || w.runs() != "aa" || w.machines["a"].sticker.Offline != nil {
		t.Errorf("what the hint says: %+v, %v, runs %s", out.Deployment, err, w.runs())
	}
	if out := w.reconcile(); !out.Nothing {
		t.Errorf("afterwards: %+v", out)
	}
}

func TestATargetThatComesBackWithAnOldRecordGoesForwardWithTheOthers(t *testing.T) {
	w := newWorld(t)
	w.keep("a", "b")
	w.reconcile()
	w.mustDeploy("b")
	if err := w.goesOffline(""); err != nil {
		t.Fatal(err)
	}
	w.machines["b"].down = true
	if out := w.reconcile(); out.Deployment == nil || out.Deployment.Status != stella.Partial {
		t.Fatalf("reunion without b: %+v, %+v", out, out.Deployment)
	}
	w.machines["b"].down = false
	w.mustDeploy("c")
	if w.runs() != "cc" || w.machines["b"].sticker.Offline != nil {
		t.Errorf("runs %s, sticker %+v", w.runs(), w.machines["b"].sticker)
	}
	w.wantHistory(`
prod-1 deploy a succeeded
prod-2 deploy b succeeded
prod-3 rollback a partial restores prod-1
prod-4 deploy c succeeded
`)
}

func TestOfflineAsksWhatEveryRollbackAsks(t *testing.T) {
	w := newWorld(t, "rollout:", "irreversible: [{version: b, reason: drops a column}]\nrollout:")
	w.keep("a", "b")
	w.reconcile()
	w.mustDeploy("b")
	err := w.goesOffline("")
	if !errors.Is(err, stella.ErrRefused) || !strings.Contains(stella.Hint(err), "--offline --to prod-1 --cross b") || w.runs() != "bb" {
		t.Fatalf("across what is irreversible: %v, hint %q, runs %s", err, stella.Hint(err), w.runs())
	}
	restore := w.cutOff()
	defer restore()
	_, err = w.Rollback(t.Context(), reconciler.RollbackRequest{
		Environment: prod, Offline: true, Scope: reconciler.Scope{Cross: []string{"b"}}, Options: reconciler.Options{Reason: "it can live with that"},
	})
	if err != nil || w.runs() != "aa" {
		t.Errorf("told to cross it: %v, runs %s", err, w.runs())
	}
}

func TestAFreezeIsKnownWithoutGitToo(t *testing.T) {
	w := newWorld(t)
	w.keep("a", "b")
	w.reconcile()
	w.mustDeploy("b")
	if _, err := w.AcquireLock(t.Context(), prod, "black friday", time.Hour); err != nil {
		t.Fatal(err)
	}
	force := reconciler.Options{Reason: "everything is on fire", Force: []string{reconciler.ForceLock}}
	if _, err := w.offline(force); !errors.Is(err, stella.ErrFrozen) {
		t.Errorf("Git answers, and it could be released: %v", err)
	}
	restore := w.cutOff()
	defer restore()
	if _, err := w.offline(reconciler.Options{}); !errors.Is(err, stella.ErrFrozen) || !strings.Contains(stella.Hint(err), "--force lock") || w.runs() != "bb" {
		t.Errorf("%v, hint %q, runs %s", err, stella.Hint(err), w.runs())
	}
	if _, err := w.offline(force); err != nil || w.runs() != "aa" {
		t.Errorf("by force: %v, runs %s", err, w.runs())
	}
}

func TestASecondRollbackWithoutGitSaysWhereToAndKeepsBothReasons(t *testing.T) {
	w := newWorld(t)
	w.keep("a", "b", "c")
	w.reconcile()
	w.mustDeploy("b")
	w.mustDeploy("c")
	restore := w.cutOff()
	if _, err := w.offline(reconciler.Options{}); err != nil || w.runs() != "bb" {
		t.Fatalf("%v, runs %s", err, w.runs())
	}
	out, err := w.offline(reconciler.Options{})
	if !errors.Is(err, stella.ErrRefused) || out.Plan.Findings[0].Code != reconciler.FindingNowhere || w.runs() != "bb" {
		t.Errorf("it went to the same place again: %v, runs %s", err, w.runs())
	}
	_, err = w.Rollback(t.Context(), reconciler.RollbackRequest{
		Environment: prod, Offline: true, To: "prod-1", Options: reconciler.Options{Reason: "b is bad too"},
	})
	if err != nil || w.runs() != "aa" {
		t.Fatalf("%v, runs %s", err, w.runs())
	}
	restore()
	d := w.reconcile().Deployment
	if d == nil || d.Restores != "prod-1" || !strings.Contains(d.Reason, "b is bad too") || !strings.Contains(d.Reason, "everything is on fire") {
		t.Errorf("reunion: %+v", d)
	}
	if w.runs() != "aa" {
		t.Errorf("runs %s", w.runs())
	}
}
