package ledger

import (
	"fmt"
	"sync"
	"time"

	"github.com/stella-ops/stella"
	"github.com/stella-ops/stella/internal/durable"
)

// maxLease bounds what a holder may ask waiters to wait for.
const maxLease = 10 * time.Minute

// Watch tells when a lock that somebody else holds may be taken over. It waits
// on this process's monotonic clock until it has seen the same lock unchanged
// for its lease and delay: clocks of two machines are never compared. It is
// safe for concurrent use and good for one environment.
type Watch struct {
	lease, delay time.Duration

	mu      sync.Mutex // guards what follows
	id      string
	renewed time.Time // as the lock says
	since   time.Time // when it was first seen so, by the monotonic clock
}

// NewWatch returns a watch for one environment's lock.
func (l *Ledger) NewWatch() *Watch { return &Watch{lease: l.o.Lease, delay: l.o.Delay} }

// Stale reports whether the lock may be taken over, and why or why not, in
// words. Call it with each freshly read lock: the first call starts the wait.
// The holder's own machine knows better: a holder whose process is gone is
// stale at once. A lock by hand only ends at its ExpiresAt; nil is free.
func (w *Watch) Stale(lock *stella.Lock) (stale bool, why string) {
	if lock == nil {
		return true, "nobody holds it"
	}
	now := time.Now()
	if lock.ByHand {
		if now.Before(lock.ExpiresAt) {
			return false, "taken by hand until " + stamp(lock.ExpiresAt)
		}
		return true, "taken by hand, and over since " + stamp(lock.ExpiresAt)
	}
	seen := w.see(lock, now)
	if holderIsGone(lock.Machine) {
		return true, "its holder on this machine is gone"
	}
	// A holder with a longer lease renews less often.
	wait := max(w.lease, min(lock.ExpiresAt.Sub(lock.RenewedAt), maxLease)) + w.delay
	if seen >= wait {
		return true, fmt.Sprintf("not renewed for %s", seen.Truncate(time.Second))
	}
	return false, fmt.Sprintf("its holder may be alive; wait %s more", (wait - seen).Round(time.Second))
}

// see returns for how long the lock has been seen as it is.
func (w *Watch) see(lock *stella.Lock, now time.Time) time.Duration {
	w.mu.Lock()
	defer w.mu.Unlock()
	if w.since.IsZero() || w.id != lock.ID || !w.renewed.Equal(lock.RenewedAt) {
		w.id, w.renewed, w.since = lock.ID, lock.RenewedAt, now
	}
	return now.Sub(w.since)
}

// holderIsGone reports whether the holder is known to be dead: a process of
// this machine that does not run any more.
func holderIsGone(machine string) bool {
	p, err := durable.ParseProcess(machine)
	return err == nil && p.Local() && !p.Alive()
}
