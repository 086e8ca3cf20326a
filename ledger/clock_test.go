package ledger_test

import (
	"context"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stella-ops/stella"
	"github.com/stella-ops/stella/ledger"
)

// waitOut waits, with a look each second, until a lock that is there may be
// taken over, and returns for how long.
func waitOut(t *testing.T, l *ledger.Ledger, w *ledger.Watch) time.Duration {
	t.Helper()
	began := time.Now()
	for {
		b, err := l.Refresh(t.Context(), env)
		if err != nil {
			t.Fatal(err)
		}
		if stale, _ := w.Stale(b.State.Lock); stale {
			return time.Since(began)
		}
		time.Sleep(time.Second)
	}
}

// TestAHoldersClockThatJumpsNeitherEndsNorKeepsItsLock: the holder's clock goes
// wrong in every way while it holds the lock, by an hour and by ten years.
func TestAHoldersClockThatJumpsNeitherEndsNorKeepsItsLock(t *testing.T) {
	const year = 365 * 24 * time.Hour
	for _, jump := range []time.Duration{time.Hour, -time.Hour, 10 * year, -10 * year} {
		synctest.Test(t, func(t *testing.T) {
			m := memory()
			holder, waiter := open(m), ledger.New(m.Client(), ledger.Options{Actor: "ben", Machine: "n/b/2/2"})
			mine := mustAppend(t, holder, begin()).State.Lock
			w := waiter.NewWatch()
			for i := range 10 {
				b, err := waiter.Refresh(t.Context(), env)
				if err != nil {
					t.Fatal(err)
				}
				if stale, why := w.Stale(b.State.Lock); stale {
					t.Fatalf("a clock off by %s: renewal %d was overtaken: %s", jump, i, why)
				}
				time.Sleep(ledger.RenewEvery)
				at := time.Now().UTC()
				if i%2 == 1 { // and back again
					at = at.Add(jump)
				}
				renewal := ledger.Progress{ID: "production-1", LockID: mine.ID, Meta: ledger.Meta{At: at}}
				renewal.ExpiresAt = at.Add(ledger.DefaultLease)
				mustAppend(t, holder, renewal)
			}
			if took, want := waitOut(t, waiter, w), ledger.DefaultLease+ledger.DefaultDelay; took < want || took > want+2*time.Second {
				t.Errorf("a clock off by %s: taken over %s after the last renewal, want %s", jump, took, want)
			}
		})
	}
}

// TestAWaitersClockThatIsWrongWaitsAsLong: what the taker writes is ten years
// off, and the fence and the sequence go on all the same.
func TestATakersClockThatIsWrongIsWrittenAndNotCompared(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		m := memory()
		holder, taker := open(m), ledger.New(m.Client(), ledger.Options{Actor: "ben", Machine: "n/b/2/2"})
		mine := mustAppend(t, holder, begin()).State.Lock
		waitOut(t, taker, taker.NewWatch())
		steal := begin()
		steal.Takeover, steal.At = mine.ID, time.Now().UTC().Add(-10*365*24*time.Hour)
		b := mustAppend(t, taker, steal)
		if l := b.State.Lock; l.Fence != mine.Fence+1 || b.State.Sequence != 2 {
			t.Errorf("the lock's fence is %d after %d, the sequence %d", l.Fence, mine.Fence, b.State.Sequence)
		}
		if _, err := holder.Append(t.Context(), env, write(ledger.Progress{ID: "production-1", LockID: mine.ID})); className(err) != "fenced" {
			t.Errorf("the former holder: %v, want stella.ErrFenced", err)
		}
	})
}

// TestAReleaseThatGetsLostFreesNothingOfTheNextHolder: the push that gives the
// lock back is lost on its way there, or its answer is; somebody else takes
// over; then the first one tries again. (K09)
func TestAReleaseThatGetsLostFreesNothingOfTheNextHolder(t *testing.T) {
	for name, answerOnly := range map[string]bool{"the request": false, "the answer": true} {
		synctest.Test(t, func(t *testing.T) {
			m := memory()
			holder, next := open(m), ledger.New(m.Client(), ledger.Options{Actor: "ben", Machine: "n/b/2/2"})
			mine := mustAppend(t, holder, begin()).State.Lock
			d := stella.Deployment{ID: "production-1", Status: stella.Errored}
			giveBack := write(ledger.Finish{Deployment: d, LockID: mine.ID})
			if m.LoseRequests(1); answerOnly {
				m.LoseRequests(0)
				m.LoseResponses(1)
			}
			if _, err := holder.Append(t.Context(), env, giveBack); err == nil {
				t.Errorf("%s was not lost", name)
			}
			took := waitOut(t, next, next.NewWatch())
			if least := ledger.DefaultLease; answerOnly != (took < least) {
				t.Errorf("%s was lost: the lock was free after %s", name, took)
			}
			theirs := begin()
			b, err := next.Append(t.Context(), env, func(b ledger.Book) ([]ledger.Event, error) {
				if l := b.State.Lock; l != nil {
					theirs.Takeover = l.ID
				}
				return []ledger.Event{theirs}, nil
			})
			if err != nil {
				t.Fatal(err)
			}
			if _, err := holder.Append(context.WithoutCancel(t.Context()), env, giveBack); className(err) != "fenced" {
				t.Errorf("%s was lost: giving back again: %v, want stella.ErrFenced", name, err)
			}
			now, err := next.Refresh(t.Context(), env)
			if err != nil || now.State.Lock == nil || now.State.Lock.ID != b.State.Lock.ID || now.State.Lock.Fence != mine.Fence+1 {
				t.Errorf("%s was lost: then the lock is %+v, %v, want %+v", name, now.State.Lock, err, b.State.Lock)
			}
		})
	}
}
