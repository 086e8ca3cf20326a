package ledger_test

import (
	"errors"
	"fmt"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/stella-ops/stella"
	"github.com/stella-ops/stella/ledger"
	"github.com/stella-ops/stella/ledger/ledgertest"
)

const env = stella.EnvName("production")

func noon() time.Time { return time.Date(2026, 3, 1, 12, 0, 0, 0, time.UTC) }

// story applies events one by one, each a minute after the one before, as the
// actor ana@example.com; By in an event's Meta says otherwise.
type story struct {
	t    testing.TB
	book ledger.Book
	now  time.Time
}

func newStory(t testing.TB) *story { return &story{t: t, book: ledger.NewBook(env), now: noon()} }

func options() ledger.Options {
	return ledger.Options{Version: "3.1.0", Actor: "ana@example.com", Machine: "m/b/1/1", Lease: ledger.DefaultLease}
}

func (s *story) try(e ledger.Event) error {
	s.t.Helper()
	complete, err := ledger.Complete(s.book, e, options(), s.now)
	if err != nil {
		return err
	}
	before := s.snapshot()
	next, err := s.book.Apply(complete)
	if diff := cmp.Diff(before, s.snapshot()); diff != "" {
		s.t.Fatalf("Apply of %T changed the book it was given (-before +after):\n%s", e, diff)
	}
	if err != nil {
		return err
	}
	s.book, s.now = next, s.now.Add(time.Minute)
	return nil
}

// snapshot is the book in the form that nothing can change any more.
func (s *story) snapshot() map[string]string {
	files, err := ledger.EncodeEntry(ledger.Entry{Book: s.book})
	if err != nil {
		s.t.Fatal(err)
	}
	out := map[string]string{}
	for name, data := range files {
		out[name] = string(data)
	}
	return out
}

func (s *story) do(events ...ledger.Event) *story {
	s.t.Helper()
	for _, e := range events {
		if err := s.try(e); err != nil {
			s.t.Fatalf("%T: %v", e, err)
		}
	}
	return s
}

func (s *story) lockID() string {
	if l := s.book.State.Lock; l != nil {
		return l.ID
	}
	return ""
}

// begin begins a deployment of an app tree.
func (s *story) begin(d stella.Deployment) *story {
	s.t.Helper()
	if d.Kind == "" {
		d.Kind = stella.KindDeploy
	}
	return s.do(ledger.Begin{Deployment: d})
}

// end ends what runs with a status that fits its targets.
func (s *story) end(status stella.Status) *story {
	s.t.Helper()
	return s.do(s.finish(status))
}

func (s *story) finish(status stella.Status) ledger.Finish {
	s.t.Helper()
	d, ok := s.book.Running()
	if !ok {
		s.t.Fatal("nothing runs")
	}
	d.Status = status
	target := map[stella.Status]stella.TargetStatus{
		stella.Succeeded: stella.TargetVerified, stella.Failed: stella.TargetFailed, stella.Partial: stella.TargetApplied,
		stella.Errored: stella.TargetPrepared, stella.Aborted: stella.TargetApplied, stella.Superseded: stella.TargetUntouched,
	}[status]
	d.Targets = []stella.TargetResult{{Name: "web-1", Status: target}}
	return ledger.Finish{Deployment: d, LockID: s.lockID(), Current: status == stella.Succeeded}
}

// deploy begins and ends a deployment of an app tree.
func (s *story) deploy(tree string, status stella.Status) *story {
	s.t.Helper()
	return s.begin(stella.Deployment{Tree: tree, Commit: "c" + tree, Release: "1." + tree}).end(status)
}

// goBackTo begins and ends a rollback to a deployment.
func (s *story) goBackTo(d stella.Deployment, status stella.Status) *story {
	s.t.Helper()
	return s.begin(stella.Deployment{Kind: stella.KindRollback, Tree: d.Tree, Restores: d.ID, Release: d.Release}).end(status)
}

func frozen(until time.Time) ledger.Lock {
	return ledger.Lock{Lock: stella.Lock{ByHand: true, Purpose: "end of the quarter", ExpiresAt: until}}
}

// className names the class of an error in a table.
func className(err error) string {
	for _, c := range []struct {
		name string
		err  error
	}{
		{"locked", stella.ErrLocked},
		{"frozen", stella.ErrFrozen},
		{"fenced", stella.ErrFenced},
		{"conflict", stella.ErrConflict},
		{"refused", stella.ErrRefused},
		{"tampered", stella.ErrTampered},
		{"unsupported", stella.ErrUnsupported},
		{"not found", stella.ErrNotFound},
		{"invalid", stella.ErrInvalid},
	} {
		if errors.Is(err, c.err) {
			return c.name
		}
	}
	if err == nil {
		return "ok"
	}
	return err.Error()
}

func memory() *ledgertest.Memory { return ledgertest.NewMemory() }

func fmtLocked(why string) error { return fmt.Errorf("%w: %s", stella.ErrLocked, why) }
