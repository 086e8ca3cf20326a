package reconciler_test

import (
	"errors"
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/stella-ops/stella"
	"github.com/stella-ops/stella/reconciler"
)

func TestAnOfflineRollbackHoldsWhatRanNotWhatWasLastSeen(t *testing.T) {
	w := newWorld(t)
	w.keep("a", "b", "c")
	w.reconcile()
	w.mustDeploy("b")
	bob := w.engine("bob", nil)
	if _, err := bob.Status(t.Context(), prod, false); err != nil {
		t.Fatal(err)
	}
	w.mustDeploy("c") // bob's cache does not know it
	restore := w.cutOff()
	out, err := bob.Rollback(t.Context(), reconciler.RollbackRequest{Environment: prod, Offline: true, Options: reconciler.Options{Reason: "fire"}})
	if err != nil || w.runs() != "aa" || !strings.Contains(out.Plan.String(), "the targets run prod-3") {
		t.Fatalf("%v, runs %s, plan:\n%s", err, w.runs(), out.Plan)
	}
	// Once more: it still is prod-3 that the environment went away from.
	if _, err = bob.Rollback(t.Context(), reconciler.RollbackRequest{Environment: prod, To: "prod-1", Offline: true, Options: reconciler.Options{Reason: "fire"}}); err != nil {
		t.Fatal(err)
	}
	restore()
	for range 3 {
		if out := w.reconcile(); out.Sync != stella.Pinned || w.runs() != "aa" {
			t.Errorf("%+v, runs %s", out, w.runs())
		}
	}
	if holds := w.status().Holds; len(holds) != 1 || holds[0].Release != "c" {
		t.Errorf("holds %+v", holds)
	}
}

func TestAStickerThatNobodyCanRecordIsToldAndARollbackEndsIt(t *testing.T) {
	for name, rec := range map[string]stella.OfflineRecord{
		"unknown":                  {ID: "offline-1", Actor: "eve\x1b[31m", Reason: "x\ny", Restores: "prod-99", From: "\x00", StartedAt: time.Now()},
		"of another environment":   {ID: "offline-1", Actor: "eve", Restores: "staging-1", StartedAt: time.Now()},
		"of what was not verified": {ID: "offline-1", Actor: "eve", Restores: "prod-2", StartedAt: time.Now()},
		"empty":                    {},
	} {
		t.Run(name, func(t *testing.T) {
			w := newWorld(t)
			w.reconcile()
			w.machines["a"].sick[string(digestOf("b"))] = true
			if _, err := w.deploy("b"); err != nil {
				t.Fatal(err)
			}
			sticker := *w.machines["a"].sticker
			sticker.Offline = &rec
			w.machines["a"].sticker = &sticker
			w.Engine = w.engine("ana", nil) // who has not asked the targets yet
			for range 2 {
				_, err := w.Reconcile(t.Context(), reconciler.ReconcileRequest{Environment: prod, Automatic: true})
				if !errors.Is(err, stella.ErrRefused) || stella.Hint(err) == "" || strings.Contains(err.Error(), "\x1b") {
					t.Errorf("a pass: %q", err)
				}
			}
			if _, err := w.deploy("c"); !errors.Is(err, stella.ErrRefused) || w.runs() != "aa" {
				t.Errorf("a deploy: %v, runs %s", err, w.runs())
			}
			out, err := w.Rollback(t.Context(), reconciler.RollbackRequest{Environment: prod, To: "prod-1"})
			if err != nil || out.Deployment.Status != stella.Succeeded || w.machines["a"].sticker.Offline != nil {
				t.Errorf("the way out: %+v, %v", out.Deployment, err)
			}
			w.mustDeploy("c")
		})
	}
}

func TestTwoWhoWentBackApartAreBothRecorded(t *testing.T) {
	w := newWorld(t)
	w.keep("a", "b", "c")
	w.reconcile()
	w.mustDeploy("b")
	w.mustDeploy("c")
	bob := w.engine("bob", nil)
	if _, err := bob.Status(t.Context(), prod, false); err != nil {
		t.Fatal(err)
	}
	restore := w.cutOff()
	for _, one := range []struct {
		engine   *reconciler.Engine
		away, to string
	}{{w.Engine, "b", "prod-2"}, {bob, "a", "prod-1"}} {
		w.machines[one.away].down = true
		_, err := one.engine.Rollback(t.Context(), reconciler.RollbackRequest{
			Environment: prod, To: one.to, Offline: true, Options: reconciler.Options{Reason: "to " + one.to},
		})
		w.machines[one.away].down = false
		if err != nil {
			t.Fatal(err)
		}
	}
	if w.runs() != "ba" {
		t.Fatalf("runs %s", w.runs())
	}
	restore()
	out := w.reconcile()
	if out.Deployment == nil || out.Deployment.Restores != "prod-1" || out.Deployment.Actor != "bob" || w.runs() != "aa" {
		t.Fatalf("%+v, runs %s", out.Deployment, w.runs())
	}
	var told []string
	for _, s := range out.Deployment.Steps {
		if s.Name == stella.StepOffline {
			told = append(told, fmt.Sprint(s.Detail["actor"], " ", s.Detail["reason"], " ", s.Detail["restores"]))
		}
	}
	if got := strings.Join(told, ", "); got != "ana to prod-2 prod-2, bob to prod-1 prod-1" {
		t.Errorf("told: %s", got)
	}
	if out := w.reconcile(); !out.Nothing || w.runs() != "aa" {
		t.Errorf("afterwards: %+v, runs %s", out, w.runs())
	}
}
