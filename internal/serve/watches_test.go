package serve

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"syscall"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stella-ops/stella"
	"github.com/stella-ops/stella/configrepo"
	"github.com/stella-ops/stella/reconciler"
)

// errPartly is of one target that can not be watched; the others are.
var errPartly = errors.New("web-2 can not be watched")

func (b *branch) letWatch(watchable func(there int) error) {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.watchable = watchable
}

// watched is how often it was begun to watch, and how many watches there are.
func (b *branch) watched(env stella.EnvName) (begun, there int) {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.watches, len(b.watchers[env])
}

// redeployed answers passes with a deployment for each thing that is asked for.
func (b *branch) redeployed(env stella.EnvName) (reconciler.Outcome, error) {
	b.mu.Lock()
	defer b.mu.Unlock()
	return reconciler.Outcome{Sync: stella.Synced, Commit: b.keys[env]}, nil
}

func TestTargetsThatCanNotBeWatchedAreNotScannedAllTheTime(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := scheduled("", "production")
		b.letWatch(func(int) error { return errors.Join(errPartly) })
		stop := runWith(t, b, Config{})
		defer stop()
		for end := time.Now().Add(10 * time.Minute); time.Now().Before(end); time.Sleep(50 * time.Millisecond) { // simulated
			b.tell("production") // by what of it is watched
		}
		if begun, _ := b.watched("production"); begun < 5 || begun > 25 {
			t.Errorf("it was tried %d times in ten minutes to watch them", begun)
		}
		if n := b.scanned("production"); n < 22 || n > 60 { // every thirty seconds, and with each new try
			t.Errorf("%d scans in ten minutes", n)
		}
		b.letWatch(nil)
		time.Sleep(2 * time.Hour)
		begun, there := b.watched("production")
		if there != 1 {
			t.Fatalf("%d watches though they can be watched again", there)
		}
		time.Sleep(5 * time.Hour)
		if after, _ := b.watched("production"); after != begun {
			t.Errorf("%d watches were begun of what is watched", after-begun)
		}
	})
}

// TestTargetsThatCanBeReadAgainAreWatchedAtOnce, however long it was not tried.
func TestTargetsThatCanBeReadAgainAreWatchedAtOnce(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := scheduled("", "production")
		away := errors.New("no route to host")
		b.letWatch(func(int) error { return away })
		b.scan = func(context.Context, stella.EnvName) (reconciler.Scan, error) { return reconciler.Scan{}, away }
		stop := runWith(t, b, Config{})
		defer stop()
		time.Sleep(10 * time.Hour) // simulated
		b.letWatch(nil)
		b.mu.Lock()
		b.scan = nil
		b.mu.Unlock()
		time.Sleep(8 * time.Minute) // a scan that failed is tried again every five minutes or so
		if _, there := b.watched("production"); there != 1 {
			t.Errorf("%d watches", there)
		}
	})
}

func TestAWatchThatFailsDoesNotEndTheOneBefore(t *testing.T) {
	for what, err := range map[string]error{"one target": errors.Join(errPartly), "all of it": errors.New("the ledger can not be read")} {
		t.Run(what, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				b := scheduled("", "production")
				b.answer = b.redeployed
				stop := runWith(t, b, Config{})
				defer stop()
				time.Sleep(5 * time.Minute) // simulated
				b.letWatch(func(int) error { return err })
				b.ask("production", "2")
				time.Sleep(30 * time.Minute)
				if begun, there := b.watched("production"); begun < 2 || there != 1 {
					t.Fatalf("%d watches were begun, %d are there", begun, there)
				}
				before := b.scanned("production")
				b.tell("production")
				time.Sleep(time.Second)
				if n := b.scanned("production") - before; n < 1 {
					t.Error("what a target tells is not looked at")
				}
				b.letWatch(nil)
				time.Sleep(2 * time.Hour)
				if _, there := b.watched("production"); there != 1 {
					t.Errorf("%d watches", there)
				}
			})
		})
	}
}

// TestAWatchGivesWayToTheNewOneWhereThereIsNoRoomForBoth: the kernel allows so
// many at a time.
func TestAWatchGivesWayToTheNewOneWhereThereIsNoRoomForBoth(t *testing.T) {
	for _, limit := range []error{syscall.EMFILE, syscall.ENOSPC} {
		t.Run(limit.Error(), func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				b := scheduled("", "production")
				b.answer = b.redeployed
				b.letWatch(func(there int) error {
					if there > 0 {
						return errors.Join(fmt.Errorf("watch web-1: %w", limit))
					}
					return nil
				})
				stop := runWith(t, b, Config{})
				defer stop()
				time.Sleep(5 * time.Minute) // simulated
				begun, _ := b.watched("production")
				b.ask("production", "2")
				time.Sleep(2 * time.Minute)
				after, there := b.watched("production")
				if after == begun || there != 1 {
					t.Fatalf("%d watches were begun, %d are there", after-begun, there)
				}
				time.Sleep(5 * time.Hour)
				if ended, _ := b.watched("production"); ended != after {
					t.Errorf("%d more watches were begun, though all is watched", ended-after)
				}
			})
		})
	}
}

// TestAWatchThatNobodyWantsAnyMoreIsNotLeftBehind: the policy became off, or the
// environment is gone, while it began.
func TestAWatchThatNobodyWantsAnyMoreIsNotLeftBehind(t *testing.T) {
	for what, change := range map[string]func(d *daemon){
		"off":  func(d *daemon) { d.environments["production"].drift.policy.Mode = configrepo.DriftOff },
		"gone": func(d *daemon) { delete(d.environments, "production") },
		"new":  func(d *daemon) { d.environments["production"] = &environment{} },
	} {
		t.Run(what, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				b := &branch{}
				d, j := claimed(b)
				b.watchable = func(int) error {
					d.mu.Lock()
					defer d.mu.Unlock()
					change(d)
					return nil
				}
				d.watchTargets(t.Context(), j)
				synctest.Wait()
				if begun, there := b.watched("production"); begun != 1 || there != 0 {
					t.Errorf("%d watches were begun, %d are there", begun, there)
				}
			})
		})
	}
}

// claimed is a daemon with one environment, whose first scan has begun.
func claimed(b *branch) (*daemon, job) {
	d := newDaemon(Config{Engine: b, Poll: time.Minute, Logger: slog.New(slog.DiscardHandler)})
	env := &environment{}
	d.environments["production"] = env
	env.drift.take(configrepo.DriftPolicy{Schedule: "* * * * *", Mode: configrepo.DriftReport}, storedScan{}, time.Now())
	return d, d.claimScan("production", time.Now())
}

// TestAScanThatHangsIsNotBegunOnceMore at any moment, as nothing comes between
// its end and that it is known to hang.
func TestAScanThatHangsIsNotBegunOnceMore(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		d, j := claimed(&branch{})
		d.scanned(t.Context(), j, time.Now(), seen{err: errors.New("it does not end")}, true)
		time.Sleep(time.Hour) // simulated
		if jobs, _ := d.dueScans(time.Now()); len(jobs) != 0 {
			t.Errorf("%d scans beside one that hangs", len(jobs))
		}
		d.hangsNoMore(j)
		if jobs, _ := d.dueScans(time.Now()); len(jobs) != 1 {
			t.Errorf("%d scans when it has ended", len(jobs))
		}
	})
}
