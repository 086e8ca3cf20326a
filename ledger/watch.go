package ledger

import "github.com/stella-ops/stella"

// Watch tells when a lock that somebody else holds may be taken over.
type Watch struct{}

// NewWatch returns a watch for one environment's lock.
func (l *Ledger) NewWatch() *Watch { return &Watch{} }

// Stale reports whether the lock may be taken over, and why or why not, in
// words. Call it with each freshly read lock.
func (w *Watch) Stale(lock *stella.Lock) (stale bool, why string) { return false, "" }
