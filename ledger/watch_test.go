package ledger_test

import (
	"os/exec"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stella-ops/stella"
	"github.com/stella-ops/stella/internal/durable"
	"github.com/stella-ops/stella/ledger"
)

func watch() *ledger.Watch { return ledger.New(nil, ledger.Options{}).NewWatch() }

func lockAt(renewed time.Time) *stella.Lock {
	return &stella.Lock{ID: "one", Holder: "ben", Machine: "elsewhere/boot/1/1", RenewedAt: renewed, ExpiresAt: renewed.Add(ledger.DefaultLease)}
}

func TestALockIsStaleOnceItWasSeenUnchangedForLeaseAndDelay(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := watch()
		// The holder's clock is ten years off, both ways: nobody looks at it.
		for _, off := range []time.Duration{0, 10 * 365 * 24 * time.Hour, -10 * 365 * 24 * time.Hour} {
			l := lockAt(time.Now().Add(off))
			if stale, why := w.Stale(l); stale {
				t.Fatalf("stale at once: %s", why)
			}
			time.Sleep(49 * time.Second)
			if stale, why := w.Stale(l); stale {
				t.Fatalf("stale after 49 s: %s", why)
			}
			time.Sleep(time.Second)
			if stale, why := w.Stale(l); !stale || why != "not renewed for 50s" {
				t.Fatalf("after 50 s stale is %v: %s", stale, why)
			}
		}
	})
}

func TestARenewalOrAnotherLockStartsTheWaitAgain(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := watch()
		l := lockAt(time.Now())
		for range 10 {
			w.Stale(l)
			time.Sleep(30 * time.Second)
			l.RenewedAt = l.RenewedAt.Add(30 * time.Second)
			l.ExpiresAt = l.ExpiresAt.Add(30 * time.Second)
		}
		if stale, why := w.Stale(l); stale {
			t.Errorf("a lock that is renewed is stale: %s", why)
		}
		time.Sleep(40 * time.Second)
		other := *l
		other.ID = "two"
		w.Stale(&other)
		time.Sleep(40 * time.Second)
		if stale, why := w.Stale(&other); stale {
			t.Errorf("the next lock is stale too early: %s", why)
		}
	})
}

func TestAHolderMayHaveALongerLeaseButNotAnEndlessOne(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := watch()
		l := lockAt(time.Now())
		l.ExpiresAt = l.RenewedAt.Add(24 * time.Hour)
		w.Stale(l)
		time.Sleep(9 * time.Minute)
		if stale, why := w.Stale(l); stale {
			t.Errorf("stale within its lease: %s", why)
		}
		time.Sleep(2 * time.Minute)
		if stale, why := w.Stale(l); !stale {
			t.Errorf("not stale after eleven minutes: %s", why)
		}
	})
}

func TestALockByHandEndsAtItsTimeOnly(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := watch()
		l := lockAt(time.Now())
		l.ByHand, l.ExpiresAt, l.Machine = true, time.Now().Add(time.Hour), ""
		w.Stale(l)
		time.Sleep(59 * time.Minute)
		if stale, why := w.Stale(l); stale {
			t.Errorf("stale before its end: %s", why)
		}
		time.Sleep(time.Minute)
		if stale, why := w.Stale(l); !stale {
			t.Errorf("not stale at its end: %s", why)
		}
	})
	if stale, _ := watch().Stale(nil); !stale {
		t.Error("no lock is not free")
	}
}

func TestADeadHolderOnThisMachineIsStaleAtOnce(t *testing.T) {
	cmd := exec.Command("cat")
	in, err := cmd.StdinPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	p, err := durable.FindProcess(cmd.Process.Pid)
	if err != nil {
		t.Fatal(err)
	}
	l := lockAt(time.Now())
	l.Machine = p.String()
	w := watch()
	if stale, why := w.Stale(l); stale {
		t.Errorf("a living holder is stale: %s", why)
	}
	_ = in.Close()
	if err := cmd.Wait(); err != nil {
		t.Fatal(err)
	}
	if stale, why := w.Stale(l); !stale {
		t.Errorf("a dead holder is not stale: %s", why)
	}
	p.Machine = "another"
	l.Machine = p.String()
	if stale, why := watch().Stale(l); stale {
		t.Errorf("a process of another machine counts as dead: %s", why)
	}
}

// TestTakeoverFencesTheSleeper: a holder is stopped for longer than its lease,
// another one takes over, and what the first one then writes is refused.
func TestTakeoverFencesTheSleeper(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		m := memory()
		sleeper, waiter := open(m), ledger.New(m.Client(), ledger.Options{Actor: "ben", Machine: "n/b/2/2"})
		b := mustAppend(t, sleeper, begin())
		w := waiter.NewWatch()
		takeOver := func(b ledger.Book) ([]ledger.Event, error) {
			if stale, why := w.Stale(b.State.Lock); !stale {
				return nil, fmtLocked(why)
			}
			e := begin()
			e.Takeover = b.State.Lock.ID
			return []ledger.Event{e}, nil
		}
		tries := 0
		for {
			_, err := waiter.Append(t.Context(), env, takeOver)
			if err == nil {
				break
			}
			if className(err) != "locked" {
				t.Fatal(err)
			}
			tries++
			time.Sleep(5 * time.Second)
		}
		if tries != 10 {
			t.Errorf("taken over after %d tries of five seconds, want 10", tries)
		}
		_, err := sleeper.Append(t.Context(), env, write(ledger.Progress{ID: "production-1", LockID: b.State.Lock.ID}))
		if className(err) != "fenced" {
			t.Errorf("the sleeper's renewal: %v, want stella.ErrFenced", err)
		}
	})
}
