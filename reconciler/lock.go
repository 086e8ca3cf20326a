package reconciler

import (
	"github.com/stella-ops/stella"
	"github.com/stella-ops/stella/internal/durable"
	"github.com/stella-ops/stella/ledger"
)

// ledger returns the ledger of h's project. There is one for all of the
// engine's life: it remembers what it proved.
func (e *Engine) ledger(h *head) *ledger.Ledger {
	e.mu.Lock()
	defer e.mu.Unlock()
	l, ok := e.ledgers[h.project.LedgerRef]
	if !ok {
		l = e.cfg.Ledger(h.project.LedgerRef)
		e.ledgers[h.project.LedgerRef] = l
	}
	return l
}

// stale reports whether a lock may be taken over, and why or why not. What was
// seen of it counts over all passes of the engine. A lock that names this
// process and that this engine does not hold was left behind: its outcome could
// not be recorded.
func (e *Engine) stale(l *ledger.Ledger, env stella.EnvName, lock *stella.Lock) (stale bool, why string) {
	e.mu.Lock()
	w, ok := e.watches[env]
	if !ok {
		w = l.NewWatch()
		e.watches[env] = w
	}
	held := lock != nil && e.mine[lock.ID]
	e.mu.Unlock()
	stale, why = w.Stale(lock)
	if self, err := durable.Self(); err == nil && !stale && !held && lock != nil && lock.Machine == self.String() && e.cfg.Alone {
		return true, "left behind by this process"
	}
	return stale, why
}

// hold and release keep account of the locks that this engine holds.
func (e *Engine) hold(id string) {
	e.mu.Lock()
	defer e.mu.Unlock()
	e.mine[id] = true
}

func (e *Engine) release(id string) {
	e.mu.Lock()
	defer e.mu.Unlock()
	delete(e.mine, id)
}
