package reconciler_test

import (
	"errors"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/stella-ops/stella"
	"github.com/stella-ops/stella/internal/git/gittest"
	"github.com/stella-ops/stella/ledger"
	"github.com/stella-ops/stella/reconciler"
)

// asked is how a request in the background ended.
type asked struct {
	out reconciler.Outcome
	err error
}

func deployWith(w *world, e *reconciler.Engine, version string, o reconciler.Options) <-chan asked {
	done := make(chan asked, 1)
	go func() {
		out, err := e.Deploy(w.t.Context(), reconciler.DeployRequest{
			Environment: prod, Artifacts: map[string]stella.Artifact{"web": ref(version)}, Options: o,
		})
		done <- asked{out, err}
	}()
	return done
}

func TestAPollBringsOwedTargetsHomeWhenTheyAnswer(t *testing.T) {
	w := newWorld(t)
	w.reconcile()
	w.mustDeploy("b")
	w.machines["b"].down = true
	if _, err := w.Rollback(t.Context(), reconciler.RollbackRequest{Environment: prod}); err != nil {
		t.Fatal(err)
	}
	if out := w.reconcile(); out.Sync != stella.SyncPartial || out.Deployment != nil {
		t.Errorf("while it is away: %+v", out)
	}
	w.machines["b"].down = false
	if out := w.reconcile(); out.Sync != stella.Synced || w.runs() != "aa" {
		t.Errorf("when it is back: %+v, runs %s", out, w.runs())
	}
	w.wantHistory(`
prod-1 deploy a succeeded
prod-2 deploy b succeeded
prod-3 rollback a partial restores prod-1
prod-4 rollback a succeeded restores prod-1
`)
}

func TestARollbackOfADeploymentWhoseDriverDiedGoesBackOneReleaseAndFencesItOff(t *testing.T) {
	w := newWorld(t)
	w.reconcile()
	w.mustDeploy("b")
	block, begun := make(chan struct{}), make(chan struct{})
	var once sync.Once
	w.machines["a"].block = block
	w.machines["a"].prepared = func() { once.Do(func() { close(begun) }) }
	dead := deployWith(w, w.Engine, "c", reconciler.Options{})
	<-begun
	w.machines["a"].mu.Lock()
	w.machines["a"].block = nil // for everybody but the one that waits already
	w.machines["a"].mu.Unlock()
	config := w.config("bob", nil)
	config.Alone = true // the other engine of this process counts as dead
	out, err := reconciler.New(config).Rollback(t.Context(), reconciler.RollbackRequest{Environment: prod})
	if err != nil || out.Deployment.Restores != "prod-2" || w.runs() != "bb" {
		t.Fatalf("%+v, %v: runs %s", out.Deployment, err, w.runs())
	}
	close(block)
	if r := <-dead; r.err == nil {
		t.Errorf("the one that was taken for dead went on: %+v", r.out.Deployment)
	}
	if w.runs() != "bb" {
		t.Errorf("it changed targets after all: runs %s", w.runs())
	}
	w.wantHistory(`
prod-1 deploy a succeeded
prod-2 deploy b succeeded
prod-3 deploy c aborted
prod-4 rollback b succeeded restores prod-2
`)
}

func TestWhatTheDaemonAppliesIsAskedForAndFollowed(t *testing.T) {
	w := newWorld(t, "name: prod\n", "name: prod\napply: serve\n")
	w.reconcile()
	waits := make(chan struct{})
	var once sync.Once
	ana := w.engine("ana", func(ev reconciler.Event) {
		if _, ok := ev.(reconciler.Waiting); ok {
			once.Do(func() { close(waits) })
		}
	})
	done := deployWith(w, ana, "b", reconciler.Options{})
	<-waits
	if out := w.reconcile(); out.Sync != stella.Synced {
		t.Fatalf("the daemon's pass: %+v", out)
	}
	if r := <-done; r.err != nil || r.out.Deployment == nil || r.out.Deployment.ID != "prod-3" {
		t.Errorf("followed: %+v, %v", r.out.Deployment, r.err)
	}
	w.wantHistory(`
prod-1 deploy a succeeded
prod-2 deploy b superseded
prod-3 deploy b succeeded
`)
}

func TestAFreezeHoldsWhereTheDaemonAppliesToo(t *testing.T) {
	w := newWorld(t, "name: prod\n", "name: prod\napply: serve\n")
	w.reconcile()
	if _, err := w.AcquireLock(t.Context(), prod, "holidays", 1e12); err != nil {
		t.Fatal(err)
	}
	head := gittest.Ref(t, w.bare, "refs/heads/main")
	if _, err := w.deploy("b"); !errors.Is(err, stella.ErrFrozen) {
		t.Errorf("got %v", err)
	}
	if gittest.Ref(t, w.bare, "refs/heads/main") != head {
		t.Error("the branch moved behind the freeze")
	}
}

func TestWhatNobodyAgreedToDoesNotLand(t *testing.T) {
	w := newWorld(t, "name: prod\n", "name: prod\nprotected: true\n")
	w.reconcile()
	plan, err := w.Deploy(t.Context(), reconciler.DeployRequest{
		Environment: prod, Artifacts: map[string]stella.Artifact{"web": ref("b")}, Options: reconciler.Options{DryRun: true},
	})
	if err != nil {
		t.Fatal(err)
	}
	var once sync.Once
	ana := w.engine("ana", func(ev reconciler.Event) {
		if _, ok := ev.(reconciler.Started); ok {
			once.Do(func() { // between the plan and its commit
				path := "envs/prod/app/release.yaml"
				old := gittest.Run(t, gittest.Dir(w.bare), "show", "main:"+path)
				gittest.Seed(t, w.bare, map[string]string{path: strings.Replace(old, "LEVEL: info", "LEVEL: debug", 1)})
			})
		}
	})
	r := <-deployWith(w, ana, "b", reconciler.Options{PlanHash: plan.Plan.Hash})
	if !errors.Is(r.err, stella.ErrConflict) || w.runs() != "aa" {
		t.Errorf("%+v, %v: runs %s", r.out.Deployment, r.err, w.runs())
	}
	if log := gittest.Run(t, gittest.Dir(w.bare), "log", "--format=%s", "main"); strings.Contains(log, "Deploy b") {
		t.Errorf("it landed:\n%s", log)
	}
}

func TestASuspectedLockIsSkippedByForceAndALiveOneIsNot(t *testing.T) {
	w := newWorld(t)
	w.reconcile()
	w.mustDeploy("b")
	repo := w.config("bob", nil).Repo
	leave := func(lease time.Duration) {
		t.Helper()
		led := ledger.New(ledger.NewGitStore(repo, ""), ledger.Options{Version: "test", Actor: "bob", Machine: "elsewhere", Lease: lease})
		if _, err := led.Refresh(t.Context(), prod); err != nil {
			t.Fatal(err)
		}
		if _, err := led.Append(t.Context(), prod, func(ledger.Book) ([]ledger.Event, error) {
			return []ledger.Event{ledger.Lock{Lock: stella.Lock{Purpose: "deploy"}}}, nil
		}); err != nil {
			t.Fatal(err)
		}
	}
	leave(time.Hour)
	o := reconciler.Options{Reason: "bob's machine burned down", Timeout: time.Nanosecond, Force: []string{reconciler.ForceLock}}
	if _, err := w.Rollback(t.Context(), reconciler.RollbackRequest{Environment: prod, Options: o}); !errors.Is(err, stella.ErrLocked) {
		t.Errorf("a lock that lives: %v", err)
	}
	if _, err := w.ReleaseLock(t.Context(), string(prod), "gone", true); err != nil {
		t.Fatal(err)
	}
	leave(time.Nanosecond)
	if out := w.rollback(o); out.Deployment.Status != stella.Succeeded || w.runs() != "aa" {
		t.Errorf("%+v, runs %s", out.Deployment, w.runs())
	}
}
