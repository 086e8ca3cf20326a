package ledger

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"math/rand/v2"
	"sync"
	"time"

	"github.com/stella-ops/stella"
)

// Options say who writes, and how long a lock lives.
type Options struct {
	Version string // of stella, for the record
	Actor   string // who writes: "ana@example.com"; empty means "unknown"
	Machine string // of this process, as durable.Process.String; goes into locks
	// Lease is how long a lock lives without renewal. Zero means DefaultLease.
	Lease time.Duration
	// Delay is how much longer a waiter waits before it takes a lock over. Zero
	// means DefaultDelay.
	Delay  time.Duration
	Logger *slog.Logger // nil: none
}

// What a lock lives by. A renewal is one push: hosts count them.
const (
	DefaultLease = 45 * time.Second
	DefaultDelay = 5 * time.Second
	RenewEvery   = 15 * time.Second
)

// How often Append tries. Each loss means that somebody else won, so that all
// of as many writers get through.
const (
	maxAttempts  = 24
	firstBackoff = 10 * time.Millisecond
	mostBackoff  = 2 * time.Second
)

// Ledger reads and writes environments' books. It is safe for concurrent use;
// different environments do not wait for each other.
type Ledger struct {
	store Store
	o     Options

	mu      sync.Mutex // guards writers
	writers map[stella.EnvName]chan struct{}
}

// New returns a ledger on the store.
func New(store Store, o Options) *Ledger {
	o.Actor = or(o.Actor, "unknown")
	if o.Lease <= 0 {
		o.Lease = DefaultLease
	}
	if o.Delay <= 0 {
		o.Delay = DefaultDelay
	}
	if o.Logger == nil {
		o.Logger = slog.New(slog.DiscardHandler)
	}
	return &Ledger{store: store, o: o, writers: map[stella.EnvName]chan struct{}{}}
}

// Read returns the book as the cache has it; only without any does it look at
// the remote.
func (l *Ledger) Read(ctx context.Context, env stella.EnvName) (Book, error) {
	head, b, err := l.store.Load(ctx, env)
	if err == nil && head == "" {
		return l.Refresh(ctx, env)
	}
	return b, inEnv("read", env, err)
}

// Refresh looks at the remote and returns the book.
func (l *Ledger) Refresh(ctx context.Context, env stella.EnvName) (Book, error) {
	_, b, err := l.refresh(ctx, env)
	return b, err
}

func (l *Ledger) refresh(ctx context.Context, env stella.EnvName) (Head, Book, error) {
	if err := l.store.Refresh(ctx, env); err != nil {
		return "", Book{}, inEnv("refresh", env, err)
	}
	head, b, err := l.store.Load(ctx, env)
	return head, b, inEnv("read", env, err)
}

// Environments lists the environments that have a ledger, sorted.
func (l *Ledger) Environments(ctx context.Context) ([]stella.EnvName, error) {
	return l.store.Environments(ctx)
}

// Store returns what the ledger is kept in, for Verify.
func (l *Ledger) Store() Store { return l.store }

func inEnv(verb string, env stella.EnvName, err error) error {
	if err == nil {
		return nil
	}
	return fmt.Errorf("%s the ledger of %s: %w", verb, env, err)
}

// Append applies the events that decide returns and stores them as one commit.
// Decide sees the cached book first and, when somebody else was faster or its
// answer was a refusal, a fresh one: it may be called several times and must
// have no effects. No events means that there is nothing to write, and so does
// a Note that says what is known.
//
// Errors: those of decide and of [Book.Apply] on a fresh book as they are;
// stella.ErrConflict when others were faster time and again;
// stella.ErrUnreachable when the remote did not answer, in which case the
// events may have landed: read again before deciding; stella.ErrRefused and
// stella.ErrDenied as the remote says.
func (l *Ledger) Append(ctx context.Context, env stella.EnvName, decide func(Book) ([]Event, error)) (Book, error) {
	// Writers of this process queue up here instead of racing at the remote.
	release, err := l.queue(ctx, env)
	if err != nil {
		return Book{}, inEnv("write", env, err)
	}
	defer release()
	a := &attempt{l: l, env: env, decide: decide}
	for n := range maxAttempts {
		b, again, err := a.try(ctx)
		if !again {
			return b, err
		}
		l.o.Logger.DebugContext(ctx, "ledger moved on", "environment", string(env), "attempt", n+1)
		if err := backoff(ctx, n); err != nil {
			return Book{}, inEnv("write", env, err)
		}
	}
	return Book{}, inEnv("write", env, refuse(stella.ErrConflict, "somebody else was faster %d times", maxAttempts))
}

func (l *Ledger) queue(ctx context.Context, env stella.EnvName) (release func(), err error) {
	l.mu.Lock()
	q := l.writers[env]
	if q == nil {
		q = make(chan struct{}, 1)
		l.writers[env] = q
	}
	l.mu.Unlock()
	select {
	case q <- struct{}{}:
		return func() { <-q }, nil
	case <-ctx.Done():
		return nil, context.Cause(ctx)
	}
}

// attempt is one Append in the course of its tries.
type attempt struct {
	l      *Ledger
	env    stella.EnvName
	decide func(Book) ([]Event, error)
	fresh  bool // the remote was looked at
}

// try decides once and stores once. Again says that somebody else was faster,
// and that the next try sees what they wrote.
func (a *attempt) try(ctx context.Context) (b Book, again bool, err error) {
	head, b, err := a.load(ctx)
	if err != nil {
		return Book{}, false, err
	}
	entry, err := a.apply(b)
	if err != nil && !a.fresh {
		// The cache may be what is refused, not the event.
		a.fresh = true
		if head, b, err = a.l.refresh(ctx, a.env); err != nil {
			return Book{}, false, err
		}
		entry, err = a.apply(b)
	}
	if err != nil || len(entry.Events) == 0 {
		return b, false, err
	}
	// A crash before this leaves nothing, one after it the whole entry.
	_, err = a.l.store.Save(ctx, a.env, head, entry)
	if errors.Is(err, stella.ErrConflict) {
		err = inEnv("refresh", a.env, a.l.store.Refresh(ctx, a.env))
		a.fresh = err == nil
		return Book{}, a.fresh, err
	}
	if err != nil {
		return Book{}, false, inEnv("write", a.env, err)
	}
	return entry.Book, false, nil
}

func (a *attempt) load(ctx context.Context) (Head, Book, error) {
	head, b, err := a.l.store.Load(ctx, a.env)
	if err != nil {
		return "", Book{}, inEnv("read", a.env, err)
	}
	if head == "" && !a.fresh {
		a.fresh = true
		return a.l.refresh(ctx, a.env)
	}
	return head, b, nil
}

func (a *attempt) apply(b Book) (Entry, error) {
	events, err := a.decide(b)
	if err != nil {
		return Entry{}, err
	}
	f := filler{o: a.l.o, now: time.Now().UTC()}
	e := Entry{Book: b}
	for _, ev := range events {
		if ev, err = f.complete(e.Book, ev); err != nil {
			return Entry{}, err
		}
		next, err := e.Book.Apply(ev)
		if err != nil {
			return Entry{}, err
		}
		if !sameNote(ev, e.Book, next) {
			e.Events, e.Book = append(e.Events, ev), next
		}
	}
	return e, nil
}

// sameNote reports whether an event is a note of what is known already.
func sameNote(e Event, before, after Book) bool {
	_, ok := e.(Note)
	return ok && quiet(before) == quiet(after)
}

// quiet is a state's content but for when it was seen.
func quiet(b Book) string {
	s := b.State
	s.At, s.Transitions, s.Rules, s.Summary.At = time.Time{}, 0, 0, time.Time{}
	data, err := EncodeState(s)
	if err != nil {
		return nonce() // differs from everything
	}
	return string(data)
}

// backoff waits before the next try, with jitter, so that racers part.
func backoff(ctx context.Context, n int) error {
	most := min(mostBackoff, firstBackoff<<min(n, 10))
	timer := time.NewTimer(time.Duration(rand.Int64N(int64(most)))) //nolint:gosec // jitter
	defer timer.Stop()
	select {
	case <-timer.C:
		return nil
	case <-ctx.Done():
		return context.Cause(ctx)
	}
}

// Verify proves the environment's chain; see the function [Verify].
func (l *Ledger) Verify(ctx context.Context, env stella.EnvName, exists func(commit string) bool) (Report, error) {
	return Verify(ctx, l.store, env, exists)
}
