package history_test

import (
	"context"
	"fmt"
	"slices"
	"strings"
	"testing"

	"github.com/stella-ops/stella/internal/git"
	"github.com/stella-ops/stella/ledger"
)

// chain is what the final ledger says.
type chain struct {
	count   map[string]int   // nonce → how many events have it
	under   map[string]int64 // nonce → the fence that it landed under
	began   map[string]int64 // deployment → its fence
	ended   []string         // deployments that succeeded
	fences  []int64          // in the order of their locks
	numbers []int64          // sequences, in the order of their beginning
}

// readChain walks the whole ledger from a fresh clone, and verifies it.
func readChain(t testing.TB, bare string) (c chain, wrong []string) {
	t.Helper()
	repo, err := git.Open(t.Context(), git.Options{URL: bare, Dir: t.TempDir(), Getenv: clean})
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = repo.Close() }()
	s := ledger.NewGitStore(repo, "")
	if err := s.Refresh(t.Context(), env); err != nil {
		return c, []string{"refresh: " + err.Error()}
	}
	c = chain{count: map[string]int{}, under: map[string]int64{}, began: map[string]int64{}}
	var lock int64 // before the event
	err = s.Walk(context.WithoutCancel(t.Context()), env, func(r ledger.Record) error {
		for _, e := range r.Entry.Events {
			c.event(e, lock)
		}
		if l := r.Entry.Book.State.Lock; l != nil {
			lock = l.Fence
		}
		return r.Err
	})
	if err != nil {
		wrong = append(wrong, "walk: "+err.Error())
	}
	report, err := ledger.Verify(t.Context(), s, env, nil)
	if err != nil {
		t.Fatal(err)
	}
	for _, f := range report.Findings {
		if !f.Warning && f.Code != ledger.CodeNoEnd { // the last ones were stopped where they were
			wrong = append(wrong, "verify: "+f.Code+": "+f.Message)
		}
	}
	return c, wrong
}

func (c *chain) event(e ledger.Event, lock int64) {
	var m ledger.Meta
	switch e := e.(type) {
	case ledger.Begin:
		m, lock = e.Meta, e.Lock.Fence
		c.began[e.Deployment.ID] = e.Lock.Fence
		c.fences, c.numbers = append(c.fences, e.Lock.Fence), append(c.numbers, e.Deployment.Sequence)
	case ledger.Lock:
		m, lock = e.Meta, e.Lock.Fence
		c.fences = append(c.fences, e.Lock.Fence)
	case ledger.Progress:
		m = e.Meta
	case ledger.Finish:
		m = e.Meta
		c.ended = append(c.ended, e.Deployment.ID)
	case ledger.Unlock:
		m = e.Meta
	}
	c.count[m.Nonce]++
	c.under[m.Nonce] = lock
}

// judge compares the final ledger and the target with what the clients heard.
func judge(t testing.TB, dir, bare string, all []operation) []string {
	t.Helper()
	c, wrong := readChain(t, bare)
	if c.count == nil {
		return wrong
	}
	wrong = append(wrong, c.answers(all)...)
	wrong = append(wrong, c.order()...)
	effects, err := (&target{dir: dir}).effects()
	if err != nil {
		t.Fatal(err)
	}
	return append(wrong, c.effects(effects)...)
}

// answers: what was acknowledged is there once and under its own lock, what was
// refused is not there, what is unknown at most once, and nothing else is.
func (c *chain) answers(all []operation) (wrong []string) {
	known := map[string]bool{}
	for _, o := range all {
		if o.Op == apply {
			continue
		}
		known[o.Nonce] = true
		n := c.count[o.Nonce]
		switch {
		case o.Answer == answered && n == 0:
			wrong = append(wrong, fmt.Sprintf("lost: %s %s was acknowledged", o.Op, o.Nonce))
		case o.Answer == refused && n > 0:
			wrong = append(wrong, fmt.Sprintf("ghost: %s %s was refused (%s)", o.Op, o.Nonce, o.Class))
		case n > 1:
			wrong = append(wrong, fmt.Sprintf("duplicate: %s %s is there %d times", o.Op, o.Nonce, n))
		case n == 1 && o.Fence != c.under[o.Nonce]:
			wrong = append(wrong, fmt.Sprintf("unfenced: %s %s was done under %d and landed under %d", o.Op, o.Nonce, o.Fence, c.under[o.Nonce]))
		}
	}
	for nonce := range c.count {
		if !known[nonce] {
			wrong = append(wrong, "nobody did "+nonce)
		}
	}
	return wrong
}

// order: fences grow strictly, and deployments are numbered without a gap.
func (c *chain) order() (wrong []string) {
	for i, f := range c.fences[min(1, len(c.fences)):] {
		if f <= c.fences[i] {
			wrong = append(wrong, fmt.Sprintf("fence %d follows %d", f, c.fences[i]))
		}
	}
	for i, n := range c.numbers {
		if n != int64(i+1) {
			wrong = append(wrong, fmt.Sprintf("deployment %d has sequence %d", i+1, n))
		}
	}
	return wrong
}

// effects: each has its intent, under the same fence; and what succeeded has its
// effect.
func (c *chain) effects(all []effect) (wrong []string) {
	done := map[string]bool{}
	for _, e := range all {
		done[e.deployment] = true
		if fence, ok := c.began[e.deployment]; !ok || fence != e.fence {
			wrong = append(wrong, fmt.Sprintf("unrecorded: the target has %s under fence %d, the ledger under %d", e.deployment, e.fence, fence))
		}
	}
	for _, id := range c.ended {
		if !done[id] {
			wrong = append(wrong, fmt.Sprintf("untrue: %s succeeded, and the target never saw it", id))
		}
	}
	return wrong
}

// kinds are what findings start with, sorted.
func kinds(wrong []string) []string {
	var k []string
	for _, w := range wrong {
		kind, _, _ := strings.Cut(w, ":")
		if strings.HasPrefix(w, "verify: ") {
			kind = "verify"
		}
		k = append(k, kind)
	}
	slices.Sort(k)
	return slices.Compact(k)
}
