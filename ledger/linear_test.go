package ledger_test

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stella-ops/stella"
	"github.com/stella-ops/stella/ledger"
	"github.com/stella-ops/stella/ledger/ledgertest"
)

// An operation is known in the chain by its nonce, and by its writer as one of
// these.
type answer string

const (
	acknowledged answer = "acknowledged"
	refused      answer = "refused"
	uncertain    answer = "uncertain" // the response got lost
)

// operation is what a client did and heard.
type operation struct {
	nonce  string
	fence  int64 // of the lock that it was done under
	answer answer
}

// client is one of several processes that take the lock, write under it and
// give it back, at random and over a network that loses things.
type client struct {
	l      *ledger.Ledger
	m      *ledgertest.Memory
	r      *rand.Rand
	name   string
	broken breakage
	held   *stella.Lock
	ops    []operation
}

// breakage is what a client gets wrong on purpose.
type breakage struct {
	force      bool // overwrites what others wrote, as a push by force does
	blindRetry bool // sends again after a lost response, without looking
	anyLock    bool // writes under whatever lock there is
}

// forced is a store that knows no conflict.
type forced struct{ ledger.Store }

func (f forced) Save(ctx context.Context, env stella.EnvName, old ledger.Head, e ledger.Entry) (ledger.Head, error) {
	head, err := f.Store.Save(ctx, env, old, e)
	if !errors.Is(err, stella.ErrConflict) {
		return head, err
	}
	if err := f.Refresh(ctx, env); err != nil {
		return "", err
	}
	now, _, err := f.Load(ctx, env)
	if err != nil {
		return "", err
	}
	return f.Store.Save(ctx, env, now, e)
}

func (c *client) step(ctx context.Context) {
	switch c.r.IntN(6) {
	case 0:
		c.m.LoseResponses(1)
	case 1:
		c.m.LoseRequests(1)
	}
	nonce := fmt.Sprintf("%s-%d", c.name, len(c.ops))
	meta := ledger.Meta{By: c.name, Nonce: nonce}
	var fence int64
	decide := func(b ledger.Book) ([]ledger.Event, error) {
		if c.held == nil {
			// Whoever has the lock is taken to be dead: takeovers are what hurts.
			e := ledger.Lock{Meta: meta, Lock: stella.Lock{ID: "lock-" + nonce, Purpose: "test"}}
			if l := b.State.Lock; l != nil {
				e.Takeover = l.ID
			}
			fence = b.State.Fence + 1
			return []ledger.Event{e}, nil
		}
		id := c.held.ID
		if l := b.State.Lock; c.broken.anyLock && l != nil {
			id = l.ID
		}
		fence = c.held.Fence
		return []ledger.Event{ledger.Progress{Meta: meta, LockID: id}}, nil
	}
	b, err := c.l.Append(ctx, env, decide)
	if c.broken.blindRetry && errors.Is(err, stella.ErrUnreachable) {
		b, err = c.l.Append(ctx, env, decide)
	}
	c.note(operation{nonce: nonce, fence: fence}, b, err)
}

func (c *client) note(op operation, b ledger.Book, err error) {
	switch {
	case err == nil:
		op.answer = acknowledged
		l := *b.State.Lock
		if c.held = &l; c.r.IntN(4) == 0 {
			c.held = nil // it goes on to something else, and leaves the lock behind
		}
	case errors.Is(err, stella.ErrUnreachable):
		op.answer = uncertain
		c.held = nil
	default:
		op.answer = refused
		c.held = nil
	}
	c.ops = append(c.ops, op)
}

// runClients lets four clients loose and returns what is wrong with the chain
// that they leave, empty for nothing.
func runClients(t *testing.T, seed uint64, broken breakage) (wrong string) {
	m := ledgertest.NewMemory()
	clients := make([]*client, 4)
	for i := range clients {
		mine := m.Client()
		var s ledger.Store = mine
		if broken.force {
			s = forced{mine}
		}
		name := fmt.Sprint("client", i)
		clients[i] = &client{
			l: ledger.New(s, ledger.Options{Actor: name}), m: mine, name: name, broken: broken, r: rand.New(rand.NewPCG(seed, uint64(i))),
		}
	}
	synctest.Test(t, func(t *testing.T) {
		var wg sync.WaitGroup
		for _, c := range clients {
			wg.Go(func() {
				for range 12 {
					c.step(t.Context())
					time.Sleep(time.Duration(1+c.r.IntN(50)) * time.Millisecond)
				}
			})
		}
		wg.Wait()
		wrong = judge(t, m.Client(), clients)
	})
	return wrong
}

// judge compares the chain with what the clients heard: an acknowledged
// operation is there once, under the lock it was meant for; a refused one is
// not there; an uncertain one at most once; nothing else is there; and every
// transition is allowed.
func judge(t *testing.T, s ledger.Store, clients []*client) string {
	count, fences := map[string]int{}, map[string]int64{}
	err := s.Walk(t.Context(), env, func(r ledger.Record) error {
		for _, e := range r.Entry.Events {
			var m ledger.Meta
			switch e := e.(type) {
			case ledger.Lock:
				m = e.Meta
			case ledger.Progress:
				m = e.Meta
			}
			count[m.Nonce]++
			fences[m.Nonce] = r.Entry.Book.State.Lock.Fence
		}
		return r.Err
	})
	if err != nil {
		return err.Error()
	}
	for _, c := range clients {
		for _, op := range c.ops {
			n := count[op.nonce]
			delete(count, op.nonce)
			switch {
			case op.answer == acknowledged && n != 1, op.answer == refused && n != 0, n > 1:
				return fmt.Sprintf("%s was %s and is there %d times", op.nonce, op.answer, n)
			case n == 1 && op.answer == acknowledged && fences[op.nonce] != op.fence:
				return fmt.Sprintf("%s was done under fence %d and landed under %d", op.nonce, op.fence, fences[op.nonce])
			}
		}
	}
	if len(count) > 0 {
		return fmt.Sprintf("nobody did %v", count)
	}
	report, err := ledger.Verify(t.Context(), s, env, nil)
	if err != nil || !report.OK() {
		return fmt.Sprintf("%+v, %v", report.Findings, err)
	}
	return ""
}

func TestNothingIsLostDoneTwiceOrDoneUnfenced(t *testing.T) {
	for seed := range uint64(25) {
		if wrong := runClients(t, seed, breakage{}); wrong != "" {
			t.Errorf("seed %d: %s", seed, wrong)
		}
	}
}

// TestTheJudgeCatchesWhatItIsThereFor: each known way to get this wrong is
// found out within a few runs.
func TestTheJudgeCatchesWhatItIsThereFor(t *testing.T) {
	for name, broken := range map[string]breakage{
		"a push by force":                     {force: true},
		"a blind retry after a lost response": {blindRetry: true},
		"a write under somebody else's lock":  {anyLock: true},
	} {
		caught := false
		for seed := uint64(0); seed < 40 && !caught; seed++ {
			caught = runClients(t, seed, broken) != ""
		}
		if !caught {
			t.Errorf("%s was not caught", name)
		}
	}
}
