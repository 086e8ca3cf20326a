package reconciler

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/stella-ops/stella"
	"github.com/stella-ops/stella/ledger"
)

// tenure is the time in which an environment's lock is ours.
type tenure struct {
	done     <-chan struct{}                      // closed when it ends
	lose     context.CancelCauseFunc              // ends it; the first cause stays
	lost     func() error                         // why it ended: who took the lock, or errEnded; nil while it is ours
	whenLost func(func(error)) (stop func() bool) // runs something when it ends
}

// newTenure is the tenure that lasts as long as a context.
func newTenure(held context.Context, lose context.CancelCauseFunc) tenure {
	return tenure{
		done: held.Done(), lose: lose, lost: func() error { return context.Cause(held) },
		whenLost: func(f func(error)) func() bool { return context.AfterFunc(held, func() { f(context.Cause(held)) }) },
	}
}

// keepAlive renews an environment's lock until held ends. Not to be able to
// renew it is to lose it: somebody else may have it when its lease is over.
func (e *Engine) keepAlive(held context.Context, lose context.CancelCauseFunc, env stella.EnvName, renew func(context.Context) error) {
	tick := time.NewTicker(ledger.RenewEvery)
	defer tick.Stop()
	last := time.Now()
	for {
		select {
		case <-held.Done():
			return
		case <-tick.C:
		}
		began := time.Now()
		ctx, cancel := context.WithTimeout(held, ledger.RenewEvery)
		err := renew(ctx)
		cancel()
		if held.Err() != nil {
			return // it ended meanwhile, and with it what was under way
		}
		switch {
		case err == nil:
			last = began // the lease runs from when it was asked for
		case errors.Is(err, stella.ErrFenced), errors.Is(err, stella.ErrLocked), time.Since(last) > ledger.DefaultLease-ledger.RenewEvery:
			lose(fmt.Errorf("the lock on %s was lost: %w", env, err))
			return
		default:
			e.cfg.Logger.WarnContext(held, "renew lock", "environment", env, "err", err)
		}
	}
}
