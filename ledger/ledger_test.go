package ledger_test

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stella-ops/stella"
	"github.com/stella-ops/stella/ledger"
	"github.com/stella-ops/stella/ledger/ledgertest"
)

func open(s ledger.Store) *ledger.Ledger { return ledger.New(s, options()) }

func write(events ...ledger.Event) func(ledger.Book) ([]ledger.Event, error) {
	return func(ledger.Book) ([]ledger.Event, error) { return events, nil }
}

func begin() ledger.Begin {
	return ledger.Begin{Deployment: stella.Deployment{Kind: stella.KindDeploy, Release: "2.4.0"}}
}

func request() ledger.Request {
	return ledger.Request{Deployment: stella.Deployment{Kind: stella.KindDeploy}}
}

func mustAppend(t *testing.T, l *ledger.Ledger, events ...ledger.Event) ledger.Book {
	t.Helper()
	b, err := l.Append(t.Context(), env, write(events...))
	if err != nil {
		t.Fatal(err)
	}
	return b
}

func TestAppendFillsInWhatACallerNeedNotSay(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		l := open(ledgertest.NewMemory())
		now := time.Now().UTC()
		b := mustAppend(t, l, begin())
		d, lock := b.Deployments[0], b.State.Lock
		equal(t, "deployment", stella.Deployment{
			SchemaVersion: 1, ID: "production-1", Environment: env, Sequence: 1, Kind: stella.KindDeploy, Status: stella.Running,
			Release: "2.4.0", Actor: "ana@example.com", StartedAt: now, Fence: 1,
			Shared: map[string]string{}, Components: map[string]string{}, Reverts: []string{}, Forced: []string{},
			Targets: []stella.TargetResult{}, Steps: []stella.Step{},
		}, d)
		if lock.ID == "" {
			t.Error("the lock has no id")
		}
		equal(t, "lock", stella.Lock{
			ID: lock.ID, Holder: "ana@example.com", Purpose: "deploy 2.4.0", Deployment: "production-1", Machine: "m/b/1/1",
			AcquiredAt: now, RenewedAt: now, ExpiresAt: now.Add(45 * time.Second), Fence: 1,
		}, *lock)
		time.Sleep(15 * time.Second)
		b = mustAppend(t, l, ledger.Progress{ID: d.ID, LockID: lock.ID})
		equal(t, "renewed until", now.Add(60*time.Second), b.State.Lock.ExpiresAt)
		time.Sleep(5 * time.Second)
		b = mustAppend(t, l, ledger.Finish{
			Deployment: stella.Deployment{ID: d.ID, Status: stella.Succeeded, Tree: "t"}, LockID: lock.ID, Current: true, Hold: &stella.Hold{Tree: "x"},
		})
		d = b.Deployments[0]
		if d.FinishedAt == nil || !d.FinishedAt.Equal(now.Add(20*time.Second)) || d.DurationSeconds != 20 || d.Kind != stella.KindDeploy {
			t.Errorf("the outcome is %+v", d)
		}
	})
}

func TestDecideSeesAFreshBookBeforeItsRefusalCounts(t *testing.T) {
	m := ledgertest.NewMemory()
	l, other := open(m), open(m.Client())
	b := mustAppend(t, l, begin())
	if _, err := other.Read(t.Context(), env); err != nil {
		t.Fatal(err)
	}
	mustAppend(t, l, ledger.Finish{Deployment: stella.Deployment{ID: "production-1", Status: stella.Errored}, LockID: b.State.Lock.ID})
	// The other's cache still has the lock: it must look before it gives up.
	calls := 0
	_, err := other.Append(t.Context(), env, func(b ledger.Book) ([]ledger.Event, error) {
		calls++
		if b.State.Lock != nil {
			return nil, stella.ErrLocked
		}
		return []ledger.Event{begin()}, nil
	})
	if err != nil || calls != 2 {
		t.Errorf("Append: %v after %d calls, want success after 2", err, calls)
	}
	calls = 0
	no := errors.New("no")
	_, err = other.Append(t.Context(), env, func(ledger.Book) ([]ledger.Event, error) { calls++; return nil, no })
	if !errors.Is(err, no) || calls != 2 {
		t.Errorf("Append: %v after %d calls, want the refusal after 2", err, calls)
	}
}

func TestConflictIsDecidedAgainOnWhatTheOthersWrote(t *testing.T) {
	m := ledgertest.NewMemory()
	l, other := open(m), open(m.Client())
	mustAppend(t, l, request())
	if _, err := other.Read(t.Context(), env); err != nil {
		t.Fatal(err)
	}
	mustAppend(t, l, request())
	var saw []int64
	b, err := other.Append(t.Context(), env, func(b ledger.Book) ([]ledger.Event, error) {
		saw = append(saw, b.State.Sequence)
		return []ledger.Event{request()}, nil
	})
	if err != nil || b.State.Sequence != 3 {
		t.Errorf("Append: sequence %d, %v", b.State.Sequence, err)
	}
	equal(t, "what decide saw", []int64{1, 2}, saw)
}

// contended is a store whose remote moves on before every Save.
type contended struct {
	ledger.Store
	saves int
}

func (c *contended) Save(context.Context, stella.EnvName, ledger.Head, ledger.Entry) (ledger.Head, error) {
	c.saves++
	return "", fmt.Errorf("%w: the ref moved", stella.ErrConflict)
}

func TestConflictsEndAfterBoundedTriesWithPauses(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c := &contended{Store: ledgertest.NewMemory()}
		start := time.Now()
		_, err := open(c).Append(t.Context(), env, write(request()))
		if !errors.Is(err, stella.ErrConflict) || c.saves != ledger.MaxAttempts {
			t.Errorf("Append: %v after %d saves, want stella.ErrConflict after %d", err, c.saves, ledger.MaxAttempts)
		}
		if took := time.Since(start); took < time.Second || took > time.Minute {
			t.Errorf("it gave up after %s", took)
		}
	})
}

func TestConflictsEndWithTheirContext(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		ctx, cancel := context.WithTimeoutCause(t.Context(), 100*time.Millisecond, errors.New("enough"))
		defer cancel()
		_, err := open(&contended{Store: ledgertest.NewMemory()}).Append(ctx, env, write(request()))
		if err == nil || !strings.Contains(err.Error(), "enough") {
			t.Errorf("Append: %v, want the cause", err)
		}
	})
}

// failing is a store whose Save fails otherwise.
type failing struct {
	ledger.Store
	err   error
	saves int
}

func (f *failing) Save(context.Context, stella.EnvName, ledger.Head, ledger.Entry) (ledger.Head, error) {
	f.saves++
	return "", f.err
}

func TestOtherErrorsAreNotTriedAgain(t *testing.T) {
	for _, class := range []error{stella.ErrRefused, stella.ErrDenied, stella.ErrUnreachable, stella.ErrTampered} {
		f := &failing{Store: ledgertest.NewMemory(), err: fmt.Errorf("%w: because", class)}
		_, err := open(f).Append(t.Context(), env, write(request()))
		if !errors.Is(err, class) || f.saves != 1 {
			t.Errorf("%v: got %v after %d saves", class, err, f.saves)
		}
	}
}

func TestLostResponseIsFoundByWhoDecidesAgain(t *testing.T) {
	m := ledgertest.NewMemory()
	l := open(m)
	mustAppend(t, l, request())
	m.LoseResponses(1)
	b := begin()
	b.Lock.ID = "mine"
	decide := func(book ledger.Book) ([]ledger.Event, error) {
		if lock := book.State.Lock; lock != nil && lock.ID == "mine" {
			return nil, nil // it has landed
		}
		return []ledger.Event{b}, nil
	}
	if _, err := l.Append(t.Context(), env, decide); !errors.Is(err, stella.ErrUnreachable) {
		t.Fatalf("Append: %v, want stella.ErrUnreachable", err)
	}
	book, err := l.Append(t.Context(), env, decide)
	if err != nil || book.State.Transitions != 2 || book.State.Lock.ID != "mine" {
		t.Errorf("Append again: %+v, %v", book.State, err)
	}
}

func TestNotesThatSayWhatIsKnownAreNotWritten(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		m := ledgertest.NewMemory()
		l := open(m)
		note := func() ledger.Note {
			return ledger.Note{Summary: ledger.Summary{Sync: stella.Synced, Health: stella.Healthy, At: time.Now()}, Machines: map[string]string{"web": "m"}}
		}
		mustAppend(t, l, note())
		for range 3 {
			time.Sleep(time.Minute)
			mustAppend(t, l, note())
		}
		mustAppend(t, l)
		if m.Saves() != 1 {
			t.Errorf("%d saves, want 1", m.Saves())
		}
		n := note()
		n.Summary.Reason = "another"
		b := mustAppend(t, l, n, begin())
		if m.Saves() != 2 || b.State.Transitions != 3 {
			t.Errorf("%d saves, %d transitions, want 2 and 3", m.Saves(), b.State.Transitions)
		}
	})
}

func TestSeveralEventsAreOneEntryOrNone(t *testing.T) {
	m := ledgertest.NewMemory()
	l := open(m)
	b := mustAppend(t, l, request(), request(), begin())
	if m.Saves() != 1 || b.State.Sequence != 3 || b.State.Transitions != 3 {
		t.Errorf("%d saves, state %+v", m.Saves(), b.State)
	}
	if _, err := l.Append(t.Context(), env, write(request(), begin())); !errors.Is(err, stella.ErrLocked) {
		t.Errorf("Append: %v, want stella.ErrLocked", err)
	}
	b, err := l.Refresh(t.Context(), env)
	if err != nil || b.State.Sequence != 3 {
		t.Errorf("a refused entry left its first event: %+v, %v", b.State, err)
	}
}

func TestWritersOfOneProcessQueueUp(t *testing.T) {
	m := ledgertest.NewMemory()
	l := open(m)
	envs := []stella.EnvName{"one", "two", "three"}
	var wg sync.WaitGroup
	for _, e := range envs {
		for range 10 {
			wg.Go(func() {
				if _, err := l.Append(t.Context(), e, write(request())); err != nil {
					t.Error(err)
				}
			})
		}
	}
	wg.Wait()
	for _, e := range envs {
		b, err := l.Read(t.Context(), e)
		if err != nil || b.State.Sequence != 10 {
			t.Errorf("%s: sequence %d, %v", e, b.State.Sequence, err)
		}
	}
}

func TestAnOutcomeIsRecordedHoweverMuchThereIsToSay(t *testing.T) {
	l := open(ledgertest.NewMemory())
	b := mustAppend(t, l, begin())
	long := strings.Repeat("ж", 100_000)
	d := stella.Deployment{ID: "production-1", Status: stella.Failed, Error: long, Reason: long}
	for i := range 5000 {
		d.Steps = append(d.Steps, stella.Step{
			Name: stella.StepApply, Status: stella.StepFailed, Error: long, StartedAt: noon().Add(time.Duration(i) * time.Second),
			Detail: map[string]any{"log": long, "n": 7, "big": int64(1) << 60},
		})
	}
	for i := range 500 {
		d.Targets = append(d.Targets, stella.TargetResult{Name: fmt.Sprintf("web-%d", i), Status: stella.TargetFailed, Error: long})
	}
	b = mustAppend(t, l, ledger.Progress{ID: d.ID, LockID: b.State.Lock.ID, Steps: d.Steps[:3]})
	b = mustAppend(t, l, ledger.Finish{Deployment: d, LockID: b.State.Lock.ID})
	got := b.Deployments[0]
	if len(got.Error) > ledger.MaxText+10 || !strings.HasSuffix(got.Error, "ж…") {
		t.Errorf("the error has %d bytes and ends %q", len(got.Error), got.Error[len(got.Error)-8:])
	}
	if n := len(got.Steps); n < 50 || !got.Steps[n-1].StartedAt.Equal(d.Steps[4999].StartedAt) || !got.Steps[0].StartedAt.Equal(d.Steps[0].StartedAt) {
		t.Errorf("%d steps are kept, not the first and the last", n)
	}
	equal(t, "targets", 500, len(got.Targets))
}

func TestWhatCanNotBeWrittenIsRefusedBeforehand(t *testing.T) {
	l := open(ledgertest.NewMemory())
	e := begin()
	e.Deployment.Steps = []stella.Step{{Name: "apply", Detail: map[string]any{"f": func() {}}}}
	if _, err := l.Append(t.Context(), env, write(e)); !errors.Is(err, stella.ErrInvalid) {
		t.Errorf("a function in the detail: %v, want stella.ErrInvalid", err)
	}
	if _, err := l.Append(t.Context(), env, write(nil)); !errors.Is(err, stella.ErrInvalid) {
		t.Errorf("no event: %v, want stella.ErrInvalid", err)
	}
}

func TestReadsNeedNoNetworkOnceThereIsACache(t *testing.T) {
	m := ledgertest.NewMemory()
	mustAppend(t, open(m), request())
	c := m.Client()
	l := open(c)
	if b, err := l.Read(t.Context(), env); err != nil || b.State.Sequence != 1 {
		t.Fatalf("first Read: %+v, %v", b.State, err)
	}
	c.SetOffline(true)
	if b, err := l.Read(t.Context(), env); err != nil || b.State.Sequence != 1 {
		t.Errorf("Read offline: %+v, %v", b.State, err)
	}
	if _, err := l.Refresh(t.Context(), env); !errors.Is(err, stella.ErrUnreachable) {
		t.Errorf("Refresh offline: %v, want stella.ErrUnreachable", err)
	}
}

func TestAnUnknownEnvironmentIsANewBook(t *testing.T) {
	l := open(ledgertest.NewMemory())
	b, err := l.Read(t.Context(), env)
	if err != nil {
		t.Fatal(err)
	}
	equal(t, "book", ledger.NewBook(env), b)
	if envs, err := l.Environments(t.Context()); err != nil || len(envs) != 0 {
		t.Errorf("environments are %v, %v", envs, err)
	}
}
