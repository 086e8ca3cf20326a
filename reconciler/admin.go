package reconciler

import (
	"context"
	"fmt"
	"strings"
	"time"

	"github.com/stella-ops/stella"
	"github.com/stella-ops/stella/internal/durable"
	"github.com/stella-ops/stella/internal/git"
	"github.com/stella-ops/stella/ledger"
)

// AcquireLock takes an environment's lock by hand: a freeze. It ends at its
// time or by ReleaseLock, never by a lease.
func (e *Engine) AcquireLock(ctx context.Context, env stella.EnvName, reason string, d time.Duration) (stella.Lock, error) {
	sc, err := e.look(ctx, env)
	if err != nil {
		return stella.Lock{}, err
	}
	id := nonce()
	book, err := sc.ledger.Append(ctx, env, func(b ledger.Book) ([]ledger.Event, error) {
		if held := b.Lock(time.Now()); held != nil {
			return nil, lockedError(env, *held)
		}
		now := time.Now().UTC()
		return []ledger.Event{ledger.Lock{Lock: stella.Lock{
			ID: id, Holder: e.cfg.Actor, Purpose: reason, ByHand: true, AcquiredAt: now, ExpiresAt: now.Add(d),
		}}}, nil
	})
	if err != nil {
		return stella.Lock{}, fmt.Errorf("lock %s: %w", env, err)
	}
	if book.State.Lock == nil || book.State.Lock.ID != id {
		return stella.Lock{}, fmt.Errorf("lock %s: %w", env, stella.ErrConflict)
	}
	return *book.State.Lock, nil
}

// ReleaseLock gives back a lock, named by its environment or its id. One that
// belongs to a living deployment needs force, which ends that deployment as
// aborted and says so in the ledger.
func (e *Engine) ReleaseLock(ctx context.Context, what, reason string, force bool) (stella.Lock, error) {
	env, lock, err := e.findLock(ctx, what)
	if err != nil {
		return stella.Lock{}, err
	}
	h, err := e.fetch(ctx, env)
	if err != nil {
		return stella.Lock{}, err
	}
	_, err = e.ledger(h).Append(ctx, env, func(b ledger.Book) ([]ledger.Event, error) {
		if b.State.Lock == nil || b.State.Lock.ID != lock.ID {
			return nil, fmt.Errorf("lock %s is gone: %w", lock.ID, stella.ErrConflict)
		}
		if !force && !b.State.Lock.ByHand {
			return nil, lockedError(env, *b.State.Lock)
		}
		return []ledger.Event{ledger.Unlock{LockID: lock.ID, Reason: reason, Force: force}}, nil
	})
	if err != nil {
		return lock, fmt.Errorf("release the lock of %s: %w", env, err)
	}
	return lock, nil
}

func (e *Engine) findLock(ctx context.Context, what string) (stella.EnvName, stella.Lock, error) {
	books, err := e.Books(ctx)
	if err != nil {
		return "", stella.Lock{}, err
	}
	for _, name := range sortedKeys(books) {
		if lock := books[name].State.Lock; lock != nil && (string(name) == what || lock.ID == what) {
			return name, *lock, nil
		}
	}
	return "", stella.Lock{}, stella.WithHint(fmt.Errorf("lock %q: %w", what, stella.ErrNotFound), "run 'stella orch locks list'")
}

// LiftHold ends an environment's holds: the one with the id, or all with an
// empty one. It returns those that it ended.
func (e *Engine) LiftHold(ctx context.Context, env stella.EnvName, id, reason string) ([]stella.Hold, error) {
	h, err := e.fetch(ctx, env)
	if err != nil {
		return nil, err
	}
	var lifted []stella.Hold
	_, err = e.ledger(h).Append(ctx, env, func(b ledger.Book) ([]ledger.Event, error) {
		lifted = nil
		var events []ledger.Event
		for _, hold := range b.State.Holds {
			if id == "" || hold.ID == id {
				lifted = append(lifted, hold)
				events = append(events, ledger.Lift{HoldID: hold.ID, Reason: reason})
			}
		}
		if len(events) == 0 {
			return nil, stella.WithHint(fmt.Errorf("hold on %s: %w", env, stella.ErrNotFound), "run 'stella orch holds list'")
		}
		return events, nil
	})
	if err != nil {
		return nil, fmt.Errorf("lift the hold on %s: %w", env, err)
	}
	return lifted, nil
}

// Stop ends what runs on every target of an environment and leaves everything
// else in place: `reconcile` starts it again.
func (e *Engine) Stop(ctx context.Context, env stella.EnvName, o Options) error {
	return e.end(ctx, env, o, "stop", Stopper.Stop)
}

// Delete ends what runs on every target and removes what was put there. Files
// in Git, the ledger and named volumes stay.
func (e *Engine) Delete(ctx context.Context, env stella.EnvName, o Options) error {
	return e.end(ctx, env, o, "delete", Stopper.Remove)
}

// end carries out a stop or delete under the environment's lock.
func (e *Engine) end(ctx context.Context, env stella.EnvName, o Options, verb string, act func(Stopper, context.Context, int64) error) error {
	sc, err := e.look(ctx, env)
	if err != nil {
		return err
	}
	if sc.env == nil {
		return sc.invalid
	}
	sv := e.openSites(ctx, sc.project, sc.env, sc.book)
	// That nothing is to run is recorded before anything ends: whoever looks while
	// this is under way, or after it was cut off, must not start it again.
	lock, err := e.lockFor(ctx, sc, sv, verb, func(b ledger.Book) ledger.Event {
		return ledger.Note{Summary: e.ended(b, verb, o.Reason), Stopped: e.stopped(verb, o.Reason)}
	})
	if err != nil {
		return err
	}
	defer e.release(lock.ID)
	keep, done := e.keepLock(ctx, sc, lock)
	defer done()
	r := &run{e: e, scene: sc, survey: sv}
	err = r.each(targetNames(sc.env), func(name string) error {
		s := sv.site(name)
		stopper, ok := s.target.(Stopper)
		switch {
		case s.err != nil:
			return fmt.Errorf("%s %s: %w", verb, name, s.err)
		case !ok:
			return fmt.Errorf("%s %s: %w", verb, name, stella.ErrUnsupported)
		}
		if err := act(stopper, keep, lock.Fence); err != nil {
			return fmt.Errorf("%s %s: %w", verb, name, err)
		}
		return nil
	})
	unlockCtx, cancel := context.WithTimeout(context.WithoutCancel(ctx), recordTimeout)
	defer cancel()
	if _, unlockErr := sc.ledger.Append(unlockCtx, env, func(b ledger.Book) ([]ledger.Event, error) {
		return []ledger.Event{
			ledger.Note{Summary: e.ended(b, verb, o.Reason)},
			ledger.Unlock{LockID: lock.ID, Reason: verb + ": " + o.Reason},
		}, nil
	}); err == nil {
		err = unlockErr
	}
	return err
}

// stopped remembers that nothing runs because a person wanted it. Who was told so
// by a run that stopped half way is told the same: what still runs is not wanted.
func (e *Engine) stopped(verb, reason string) *ledger.Stopped {
	return &ledger.Stopped{How: map[string]string{"stop": "stopped", "delete": "deleted"}[verb], By: e.cfg.Actor, At: e.cfg.Now().UTC(), Reason: reason}
}

// ended is the summary of an environment that a person stopped or deleted.
func (e *Engine) ended(b ledger.Book, verb, reason string) ledger.Summary {
	s := b.State.Summary
	past := map[string]string{"stop": "stopped", "delete": "deleted"}[verb]
	s.Health, s.At = stella.HealthUnknown, e.cfg.Now().UTC()
	s.Reason = strings.TrimSuffix(fmt.Sprintf("%s on its targets by %s: %s", past, e.cfg.Actor, reason), ": ")
	return s
}

// keepLock renews a lock that no deployment holds until the returned context
// ends; it ends by itself when the lock is lost.
func (e *Engine) keepLock(ctx context.Context, sc *scene, lock stella.Lock) (context.Context, context.CancelFunc) {
	ctx, lose := context.WithCancelCause(ctx)
	go e.keepAlive(ctx, lose, sc.name, func(ctx context.Context) error {
		_, err := sc.ledger.Append(ctx, sc.name, func(ledger.Book) ([]ledger.Event, error) {
			return []ledger.Event{ledger.Progress{LockID: lock.ID}}, nil
		})
		return err
	})
	return ctx, func() { lose(errEnded) }
}

// lockFor takes the environment's lock for work that is not a deployment, and
// records in the same transition what it is for.
func (e *Engine) lockFor(ctx context.Context, sc *scene, sv *survey, purpose string, intent func(ledger.Book) ledger.Event) (stella.Lock, error) {
	self, err := durable.Self()
	if err != nil {
		return stella.Lock{}, err
	}
	id := nonce()
	e.hold(id)
	book, err := sc.ledger.Append(ctx, sc.name, func(b ledger.Book) ([]ledger.Event, error) {
		takeover, err := e.free(b, sc, Options{})
		if err != nil {
			return nil, err
		}
		return []ledger.Event{ledger.Lock{
			Lock:     stella.Lock{ID: id, Holder: e.cfg.Actor, Purpose: purpose, Machine: self.String()},
			Takeover: takeover, FenceFloor: sv.fence(),
		}, intent(b)}, nil
	})
	if err != nil {
		e.release(id)
		return stella.Lock{}, fmt.Errorf("lock %s: %w", sc.name, err)
	}
	return *book.State.Lock, nil
}

// VerifyLedger proves the ledger of one environment, or of all with an empty
// name: every transition is replayed, and every commit that it names looked up.
func (e *Engine) VerifyLedger(ctx context.Context, env stella.EnvName) ([]ledger.Report, error) {
	envs := []stella.EnvName{env}
	if env != "" {
		if _, err := e.Book(ctx, env); err != nil {
			return nil, err // also: there is no such environment
		}
	}
	h, err := e.fetch(ctx, env)
	if env == "" {
		var books map[stella.EnvName]ledger.Book
		if books, err = e.Books(ctx); err != nil {
			return nil, err
		}
		envs = sortedKeys(books)
		h, err = e.fetch(ctx)
	}
	if err != nil {
		return nil, err
	}
	if _, err := e.cfg.Repo.Fetch(ctx, git.Want{Names: []string{h.ref}, Deep: true}); err != nil {
		return nil, fmt.Errorf("fetch the branch's history: %w", err)
	}
	exists := func(commit string) bool {
		_, err := e.cfg.Repo.Commit(ctx, git.ID(commit))
		return err == nil
	}
	reports := make([]ledger.Report, 0, len(envs))
	for _, name := range envs {
		report, err := e.ledger(h).Verify(ctx, name, exists)
		if err != nil {
			return reports, fmt.Errorf("verify the ledger of %s: %w", name, err)
		}
		reports = append(reports, report)
	}
	return reports, nil
}
