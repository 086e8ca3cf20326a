package ledgertest

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"sync"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/stella-ops/stella"
	"github.com/stella-ops/stella/ledger"
)

// Env is the environment that the suite writes to.
const Env = stella.EnvName("production")

// Run holds a store against what ledger.Store promises. Each call of open makes
// an empty remote; each call of the function that it returns opens another
// client of that one, with a cache of its own.
func Run(t *testing.T, open func(t *testing.T) (client func() ledger.Store)) {
	tests := []struct {
		name string
		run  func(t *testing.T, client func() ledger.Store)
	}{
		{"a new environment has no head and a new book", newEnvironment},
		{"what was saved is loaded, here and elsewhere", reload},
		{"the cache changes by Refresh and Save only", cache},
		{"of many racers one wins", race},
		{"a ledger that exists is not begun again", begunOnce},
		{"environments do not contend", environments},
		{"a book of another environment is refused", foreign},
		{"a walk goes from the oldest to the newest", walk},
		{"a walk ends with the error of its function", walkEnds},
		{"nothing is lost under concurrent Append", concurrent},
		{"a cancelled context ends at once", cancelled},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) { tt.run(t, open(t)) })
	}
}

// entry applies events to a book.
func entry(t *testing.T, b ledger.Book, events ...ledger.Event) ledger.Entry {
	t.Helper()
	e := ledger.Entry{Events: events, Book: b}
	for _, ev := range events {
		var err error
		if e.Book, err = e.Book.Apply(ev); err != nil {
			t.Fatalf("apply %T: %v", ev, err)
		}
	}
	return e
}

// request is a complete event that is allowed on b.
func request(b ledger.Book, by string) ledger.Request {
	at := time.Date(2026, 3, 1, 10, 0, int(b.State.Transitions%60), 0, time.UTC)
	return ledger.Request{
		Meta: ledger.Meta{At: at, By: by, Version: "test", Rules: ledger.RulesVersion, Nonce: fmt.Sprintf("%s-%d", by, b.State.Transitions)},
		Deployment: stella.Deployment{
			SchemaVersion: 1, ID: b.NextID(), Environment: b.State.Environment, Sequence: b.State.Sequence + 1,
			Kind: stella.KindDeploy, Status: stella.Pending, Actor: by, StartedAt: at, Release: "2.4.0",
			Components: map[string]string{"api": "registry.example.com/shop/api:2.4.0"},
			Shared:     map[string]string{}, Reverts: []string{}, Forced: []string{}, Targets: []stella.TargetResult{}, Steps: []stella.Step{},
		},
	}
}

func save(t *testing.T, s ledger.Store, by string) (ledger.Head, ledger.Entry) {
	t.Helper()
	head, b := load(t, s)
	e := entry(t, b, request(b, by))
	head, err := s.Save(t.Context(), Env, head, e)
	if err != nil {
		t.Fatalf("Save: %v", err)
	}
	return head, e
}

func load(t *testing.T, s ledger.Store) (ledger.Head, ledger.Book) {
	t.Helper()
	head, b, err := s.Load(t.Context(), Env)
	if err != nil {
		t.Fatalf("Load: %v", err)
	}
	return head, b
}

func refresh(t *testing.T, s ledger.Store) {
	t.Helper()
	if err := s.Refresh(t.Context(), Env); err != nil {
		t.Fatalf("Refresh: %v", err)
	}
}

func same(t *testing.T, what string, want, got any) {
	t.Helper()
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("%s (-want +got):\n%s", what, diff)
	}
}

func newEnvironment(t *testing.T, client func() ledger.Store) {
	s := client()
	refresh(t, s)
	head, b := load(t, s)
	same(t, "head", ledger.Head(""), head)
	same(t, "book", ledger.NewBook(Env), b)
}

func reload(t *testing.T, client func() ledger.Store) {
	s, other := client(), client()
	var head ledger.Head
	var e ledger.Entry
	for range 3 {
		head, e = save(t, s, "ana")
	}
	refresh(t, other)
	for name, s := range map[string]ledger.Store{"the writer": s, "another client": other} {
		gotHead, got := load(t, s)
		same(t, name+": head", head, gotHead)
		same(t, name+": state", e.Book.State, got.State)
		same(t, name+": deployments", e.Book.Deployments, got.Deployments)
	}
}

func cache(t *testing.T, client func() ledger.Store) {
	s, other := client(), client()
	head, _ := save(t, s, "ana")
	refresh(t, other)
	newer, _ := save(t, other, "ben")
	if got, _ := load(t, s); got != head {
		t.Errorf("before Refresh the head is %q, want %q", got, head)
	}
	refresh(t, s)
	if got, _ := load(t, s); got != newer {
		t.Errorf("after Refresh the head is %q, want %q", got, newer)
	}
}

func race(t *testing.T, client func() ledger.Store) {
	first := client()
	old, _ := save(t, first, "ana")
	const racers = 8
	stores := make([]ledger.Store, racers)
	for i := range stores {
		stores[i] = client()
		refresh(t, stores[i])
	}
	errs := make([]error, racers)
	var wg sync.WaitGroup
	for i, s := range stores {
		_, b := load(t, s)
		e := entry(t, b, request(b, fmt.Sprintf("racer-%d", i)))
		wg.Go(func() { _, errs[i] = s.Save(t.Context(), Env, old, e) })
	}
	wg.Wait()
	won := 0
	for i, err := range errs {
		switch {
		case err == nil:
			won++
		case !errors.Is(err, stella.ErrConflict):
			t.Errorf("racer %d: %v, want stella.ErrConflict", i, err)
		case err.Error() == stella.ErrConflict.Error():
			t.Errorf("racer %d: %q does not say what the conflict is", i, err)
		}
	}
	if won != 1 {
		t.Errorf("%d racers won, want 1", won)
	}
}

func begunOnce(t *testing.T, client func() ledger.Store) {
	s, other := client(), client()
	save(t, s, "ana")
	b := ledger.NewBook(Env)
	if _, err := other.Save(t.Context(), Env, "", entry(t, b, request(b, "ben"))); !errors.Is(err, stella.ErrConflict) {
		t.Errorf("Save: %v, want stella.ErrConflict", err)
	}
}

func environments(t *testing.T, client func() ledger.Store) {
	s, other := client(), client()
	envs := []stella.EnvName{"staging", "production", "production-eu"}
	for i, env := range envs {
		// Another client wrote somewhere else in between.
		c := []ledger.Store{s, other}[i%2]
		b := ledger.NewBook(env)
		if _, err := c.Save(t.Context(), env, "", entry(t, b, request(b, "ana"))); err != nil {
			t.Fatalf("Save %s: %v", env, err)
		}
	}
	got, err := client().Environments(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	slices.Sort(envs)
	same(t, "environments", envs, got)
}

func foreign(t *testing.T, client func() ledger.Store) {
	b := ledger.NewBook("staging")
	if _, err := client().Save(t.Context(), Env, "", entry(t, b, request(b, "ana"))); !errors.Is(err, stella.ErrInvalid) {
		t.Errorf("Save: %v, want stella.ErrInvalid", err)
	}
}

func walk(t *testing.T, client func() ledger.Store) {
	s := client()
	var want []ledger.Entry
	for range 4 {
		_, e := save(t, s, "ana")
		want = append(want, e)
	}
	var parent ledger.Head
	n := 0
	err := client().Walk(t.Context(), Env, func(r ledger.Record) error {
		if r.Err != nil {
			t.Errorf("record %d: %v", n, r.Err)
		}
		if n < len(want) {
			same(t, "events", want[n].Events[0], r.Entry.Events[0])
			same(t, "state", want[n].Book.State, r.Entry.Book.State)
			if !r.Proved {
				same(t, "changed", []string{want[n].Book.Deployments[n].ID}, r.Changed)
			}
		}
		same(t, "parent", parent, r.Parent)
		parent = r.Head
		n++
		return nil
	})
	if err != nil || n != len(want) {
		t.Errorf("walked %d records, %v, want %d", n, err, len(want))
	}
	if head, _ := load(t, s); parent != head {
		t.Errorf("the walk ends at %q, want %q", parent, head)
	}
}

func walkEnds(t *testing.T, client func() ledger.Store) {
	s := client()
	save(t, s, "ana")
	save(t, s, "ana")
	enough := errors.New("enough")
	n := 0
	err := s.Walk(t.Context(), Env, func(ledger.Record) error { n++; return enough })
	if !errors.Is(err, enough) || n != 1 {
		t.Errorf("Walk: %v after %d records, want %v after 1", err, n, enough)
	}
}

func concurrent(t *testing.T, client func() ledger.Store) {
	const writers, each = 8, 2
	var wg sync.WaitGroup
	for i := range writers {
		l := ledger.New(client(), ledger.Options{Version: "test", Actor: fmt.Sprintf("writer-%d", i)})
		wg.Go(func() {
			for range each {
				_, err := l.Append(t.Context(), Env, func(ledger.Book) ([]ledger.Event, error) {
					return []ledger.Event{ledger.Request{Deployment: stella.Deployment{Kind: stella.KindDeploy}}}, nil
				})
				if err != nil {
					t.Errorf("writer %d: %v", i, err)
				}
			}
		})
	}
	wg.Wait()
	s := client()
	b, err := ledger.New(s, ledger.Options{}).Refresh(t.Context(), Env)
	if err != nil {
		t.Fatal(err)
	}
	by := map[string]int{}
	for i, d := range b.Deployments {
		by[d.Actor]++
		if d.Sequence != int64(i+1) {
			t.Errorf("deployment %d has sequence %d", i, d.Sequence)
		}
	}
	for i := range writers {
		if n := by[fmt.Sprintf("writer-%d", i)]; n != each {
			t.Errorf("writer %d has %d deployments, want %d", i, n, each)
		}
	}
	report, err := ledger.Verify(t.Context(), s, Env, nil)
	if err != nil || !report.OK() || report.Transitions != writers*each {
		t.Errorf("Verify: %+v, %v", report, err)
	}
}

func cancelled(t *testing.T, client func() ledger.Store) {
	s := client()
	save(t, s, "ana")
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if err := s.Refresh(ctx, Env); err == nil {
		t.Error("Refresh under a cancelled context succeeded")
	}
	head, b := load(t, s)
	if _, err := s.Save(ctx, Env, head, entry(t, b, request(b, "ana"))); err == nil {
		t.Error("Save under a cancelled context succeeded")
	}
}
