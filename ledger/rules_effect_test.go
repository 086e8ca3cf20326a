package ledger_test

import (
	"errors"
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/stella-ops/stella"
	"github.com/stella-ops/stella/ledger"
)

func (s *story) deployment(id string) stella.Deployment {
	s.t.Helper()
	d, ok := s.book.Deployment(id)
	if !ok {
		s.t.Fatalf("no deployment %s", id)
	}
	return d
}

func equal(t *testing.T, what string, want, got any) {
	t.Helper()
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("%s (-want +got):\n%s", what, diff)
	}
}

func TestTakeoverEndsWhatRanAndRaisesTheFence(t *testing.T) {
	s := newStory(t).deploy("a", stella.Succeeded).begin(stella.Deployment{Tree: "b"})
	old := *s.book.State.Lock
	s.do(ledger.Begin{Meta: ledger.Meta{By: "ben"}, Deployment: stella.Deployment{Kind: stella.KindDeploy, Tree: "c"}, Takeover: old.ID})
	was := s.deployment("production-2")
	equal(t, "status", stella.Aborted, was.Status)
	if !strings.Contains(was.Error, "ben took it over") || !strings.Contains(was.Error, "ana@example.com last renewed") {
		t.Errorf("the record says %q", was.Error)
	}
	if l := s.book.State.Lock; l.Fence <= old.Fence || l.Deployment != "production-3" || l.Holder != "ben" {
		t.Errorf("the lock is %+v, after one with fence %d", l, old.Fence)
	}
	// Nobody knows what it touched: what runs is not verified any more.
	equal(t, "current", "", s.book.State.Current)
	equal(t, "last good", "production-1", s.book.State.LastGood)
	equal(t, "last", "production-2", s.book.State.Last)
	for _, e := range []ledger.Event{
		ledger.Progress{ID: "production-2", LockID: old.ID},
		ledger.Finish{Deployment: withStatus(was, stella.Succeeded), LockID: old.ID},
		ledger.Abort{ID: "production-3", LockID: old.ID, Reason: "mine"},
		ledger.Unlock{LockID: old.ID},
	} {
		err := s.try(e)
		if !errors.Is(err, stella.ErrFenced) || !strings.Contains(fmt.Sprint(err), "of ben since") {
			t.Errorf("%T of the old holder: %v, want stella.ErrFenced that names ben", e, err)
		}
	}
}

func withStatus(d stella.Deployment, s stella.Status) stella.Deployment {
	d.Status = s
	return d
}

func TestHandOverInOneEntryKeepsTheEnvironmentLocked(t *testing.T) {
	s := newStory(t).deploy("a", stella.Succeeded).begin(stella.Deployment{Tree: "b", Commit: "cb"})
	mine := s.lockID()
	f := s.finish(stella.Failed)
	f.KeepLock, f.Hold = true, &stella.Hold{Tree: "b", Reason: "5xx"}
	s.do(f)
	if err := s.try(ledger.Begin{Deployment: stella.Deployment{Kind: stella.KindDeploy}}); !errors.Is(err, stella.ErrLocked) {
		t.Errorf("somebody else's begin: %v, want stella.ErrLocked", err)
	}
	s.do(ledger.Begin{Deployment: stella.Deployment{Kind: stella.KindRollback, Tree: "a", Restores: "production-1"}, Takeover: mine})
	equal(t, "status of the failed", stella.Failed, s.deployment("production-2").Status)
	if h, ok := s.book.Held("b"); !ok || h.By != "ana@example.com" || h.Environment != env || !strings.HasPrefix(h.ID, "hold-") {
		t.Errorf("hold is %+v, %v", h, ok)
	}
	if f, ok := s.book.FailedCommit("cb"); !ok || f.Deployment != "production-2" {
		t.Errorf("failed commit is %+v, %v", f, ok)
	}
	s.end(stella.Succeeded)
	equal(t, "current", "production-3", s.book.State.Current)
	equal(t, "lock", (*stella.Lock)(nil), s.book.State.Lock)
}

func TestLockedErrorSaysWhoSinceWhenAndWhatNext(t *testing.T) {
	s := newStory(t).begin(stella.Deployment{Release: "2.4.0"})
	s.now = s.now.Add(70 * time.Second)
	err := s.try(ledger.Begin{Deployment: stella.Deployment{Kind: stella.KindDeploy}})
	var locked *ledger.LockedError
	if !errors.As(err, &locked) || locked.Lock.Deployment != "production-1" {
		t.Fatalf("got %v, want a LockedError", err)
	}
	want := "record begin: production is locked by ana@example.com since 2026-03-01T12:00:00Z (2m10s) for production-1: deploy 2.4.0, lease until 2026-03-01T12:00:45Z"
	equal(t, "text", want, err.Error())
	equal(t, "hint", "run 'stella orch locks list production'", stella.Hint(err))

	s = newStory(t).do(frozen(noon().Add(time.Hour)))
	err = s.try(ledger.Request{Deployment: stella.Deployment{Kind: stella.KindDeploy}})
	want = "record request: production is frozen by ana@example.com since 2026-03-01T12:00:00Z (1m0s): end of the quarter, until 2026-03-01T13:00:00Z"
	equal(t, "text", want, err.Error())
}

func TestForcedUnlockNamesWhatItInterrupts(t *testing.T) {
	s := newStory(t).begin(stella.Deployment{})
	s.do(ledger.Unlock{Meta: ledger.Meta{By: "ben"}, LockID: s.lockID(), Force: true, Reason: "the runner was deleted"})
	d := s.deployment("production-1")
	equal(t, "status", stella.Aborted, d.Status)
	equal(t, "text", "interrupted: ben released the lock of ana@example.com by force: the runner was deleted", d.Error)
	if d.FinishedAt == nil || d.DurationSeconds != 60 {
		t.Errorf("it ended at %v after %v s", d.FinishedAt, d.DurationSeconds)
	}
}

func TestPendingDeploymentsAreSuperseded(t *testing.T) {
	request := func(supersedes string) ledger.Request {
		return ledger.Request{Deployment: stella.Deployment{Kind: stella.KindDeploy, Supersedes: supersedes}}
	}
	s := newStory(t).do(request(""), request("production-1"), request(""))
	equal(t, "the first", stella.Superseded, s.deployment("production-1").Status)
	s.do(ledger.Begin{Deployment: withID(stella.Deployment{Kind: stella.KindDeploy}, "production-3", 3), Includes: []string{"production-2"}})
	equal(t, "the second", stella.Superseded, s.deployment("production-2").Status)
	equal(t, "its text", "superseded by production-3", s.deployment("production-2").Error)
	equal(t, "the third", stella.Running, s.deployment("production-3").Status)
	for supersedes, want := range map[string]string{"production-1": "conflict", "production-3": "conflict", "production-77": "not found"} {
		if got := className(s.try(request(supersedes))); got != want {
			t.Errorf("superseding %s: %s, want %s", supersedes, got, want)
		}
	}
	equal(t, "sequence", int64(3), s.book.State.Sequence)
}

func TestFenceIsAboveLedgerAndTargets(t *testing.T) {
	begin := func(floor int64) ledger.Begin {
		return ledger.Begin{Deployment: stella.Deployment{Kind: stella.KindDeploy}, FenceFloor: floor}
	}
	s := newStory(t).do(begin(5_000_000)) // a new ledger starts wherever the targets are
	equal(t, "first fence", int64(5_000_001), s.book.State.Fence)
	s.end(stella.Succeeded).do(begin(5_000_100)).end(stella.Succeeded)
	equal(t, "second fence", int64(5_000_101), s.book.State.Fence)
	s.do(begin(3)).end(stella.Succeeded)
	equal(t, "third fence", int64(5_000_102), s.book.State.Fence)
	for name, c := range map[string]struct {
		event ledger.Event
		want  string
	}{
		"a jump by 1000":      {begin(5_000_102 + 999), "ok"},
		"a jump by 1001":      {begin(5_000_102 + 1000), "tampered"},
		"a far future":        {begin(1 << 62), "tampered"},
		"a negative floor":    {begin(-1), "tampered"},
		"a fence that is old": {ledger.Lock{Lock: stella.Lock{Fence: 5_000_102, Purpose: "x"}}, "invalid"},
		"a fence below the targets'": {ledger.Begin{
			Deployment: stella.Deployment{Kind: stella.KindDeploy}, Lock: stella.Lock{Fence: 5_000_103}, FenceFloor: 5_000_103,
		}, "invalid"},
	} {
		c2 := *s
		if got := className(c2.try(c.event)); got != c.want {
			t.Errorf("%s: %s, want %s", name, got, c.want)
		}
	}
	first := newStory(t)
	equal(t, "a new ledger at 2^62", "tampered", className(first.try(begin(1<<62))))
}

func TestARecordKeepsItsIdentity(t *testing.T) {
	for name, change := range map[string]func(*stella.Deployment){
		"kind":        func(d *stella.Deployment) { d.Kind = stella.KindRollback },
		"actor":       func(d *stella.Deployment) { d.Actor = "eve" },
		"start":       func(d *stella.Deployment) { d.StartedAt = d.StartedAt.Add(time.Second) },
		"fence":       func(d *stella.Deployment) { d.Fence = 99 },
		"restores":    func(d *stella.Deployment) { d.Restores = "production-1" },
		"supersedes":  func(d *stella.Deployment) { d.Supersedes = "production-1" },
		"automatic":   func(d *stella.Deployment) { d.Automatic = true },
		"environment": func(d *stella.Deployment) { d.Environment = "staging" },
		"sequence":    func(d *stella.Deployment) { d.Sequence = 7 },
		"unhealthy":   func(d *stella.Deployment) { d.Targets[0].Status = stella.TargetFailed },
		"owed":        func(d *stella.Deployment) { d.Targets[0].Status = stella.TargetOwed },
		"a kind":      func(d *stella.Deployment) { d.Kind = "party" },
		"a status":    func(d *stella.Deployment) { d.Status = "great" },
	} {
		s := newStory(t).begin(stella.Deployment{})
		f := s.finish(stella.Succeeded)
		change(&f.Deployment)
		if err := s.try(f); !errors.Is(err, stella.ErrInvalid) {
			t.Errorf("finish that changes %s: %v, want stella.ErrInvalid", name, err)
		}
	}
	s := newStory(t).begin(stella.Deployment{})
	f := s.finish(stella.Succeeded)
	f.Deployment.Commit, f.Deployment.Tree, f.Deployment.Release = "landed", "tree", "2.4.1"
	s.do(f)
	equal(t, "commit as it landed", "landed", s.deployment("production-1").Commit)
}

func TestWhatRunsFollowsTheTargets(t *testing.T) {
	touch := func(status stella.Status, targets ...stella.TargetStatus) *story {
		s := newStory(t).deploy("a", stella.Succeeded).begin(stella.Deployment{Tree: "b"})
		f := s.finish(status)
		f.Deployment.Targets = nil
		for i, ts := range targets {
			f.Deployment.Targets = append(f.Deployment.Targets, stella.TargetResult{Name: fmt.Sprintf("web-%d", i), Status: ts})
		}
		return s.do(f)
	}
	for name, c := range map[string]struct {
		s                       *story
		current, lastGood, last string
		owed                    []string
	}{
		"verified":               {touch(stella.Succeeded, stella.TargetVerified), "production-2", "production-2", "production-2", []string{}},
		"rejected":               {touch(stella.Failed, stella.TargetFailed), "", "production-1", "production-2", []string{}},
		"nothing touched":        {touch(stella.Errored, stella.TargetPrepared), "production-1", "production-1", "production-1", []string{}},
		"nothing in reach":       {touch(stella.Errored, stella.TargetOwed), "production-1", "production-1", "production-1", []string{}},
		"one in reach":           {touch(stella.Partial, stella.TargetVerified, stella.TargetOwed), "", "production-1", "production-2", []string{"web-1"}},
		"one nobody can observe": {touch(stella.Partial, stella.TargetUnknown), "", "production-1", "production-2", []string{}},
	} {
		st := c.s.book.State
		equal(t, name+": current, last good, last, owed", []any{c.current, c.lastGood, c.last, c.owed}, []any{st.Current, st.LastGood, st.Last, st.Owed})
	}
	s := touch(stella.Partial, stella.TargetVerified, stella.TargetOwed).begin(stella.Deployment{Kind: stella.KindHeal, Tree: "b"})
	f := s.finish(stella.Succeeded)
	f.Deployment.Targets = []stella.TargetResult{{Name: "web-1", Status: stella.TargetVerified}}
	equal(t, "owed after the debt was paid", []string{}, s.do(f).book.State.Owed)
}

func TestNotesRememberTheFirstMachine(t *testing.T) {
	note := func(machine string, forget ...string) ledger.Note {
		return ledger.Note{Machines: map[string]string{"web-1": machine}, Forget: forget}
	}
	s := newStory(t).do(note("one"), note("two"))
	equal(t, "machine", "one", s.book.State.Machines["web-1"])
	s.do(note("two", "web-1"))
	equal(t, "machine after it was forgotten", "two", s.book.State.Machines["web-1"])
}

func TestHoldsEndByLiftOnly(t *testing.T) {
	s := newStory(t)
	hold := func(id, tree string) ledger.Finish {
		s.begin(stella.Deployment{Tree: tree})
		f := s.finish(stella.Failed)
		f.Hold = &stella.Hold{ID: id, Tree: tree}
		return f
	}
	s.do(hold("hold-1", "b")).do(hold("hold-2", "b"))
	equal(t, "a tree is held once", 1, len(s.book.State.Holds))
	if err := s.try(hold("hold-1", "c")); !errors.Is(err, stella.ErrConflict) {
		t.Errorf("a second hold with the same id: %v, want stella.ErrConflict", err)
	}
	s.end(stella.Failed).do(ledger.Lift{HoldID: "hold-1", Reason: "fixed"})
	equal(t, "holds", []stella.Hold{}, s.book.State.Holds)
}

func TestTheTipForgetsOnlyWhatNobodyNeeds(t *testing.T) {
	s := newStory(t).deploy("a", stella.Succeeded).deploy("b", stella.Succeeded)
	s.do(ledger.Request{Deployment: stella.Deployment{Kind: stella.KindDeploy}})
	for range 150 {
		s.deploy("bad", stella.Failed)
	}
	b := s.book
	if n := len(b.Deployments); n != ledger.KeepNewest+3 {
		t.Errorf("%d deployments are kept, want %d", n, ledger.KeepNewest+3)
	}
	for _, id := range []string{"production-1", "production-2", "production-3"} {
		if _, ok := b.Deployment(id); !ok {
			t.Errorf("%s is gone", id)
		}
	}
	if d, ok := b.Previous(); !ok || d.ID != "production-2" {
		t.Errorf("Previous is %s, %v, want production-2", d.ID, ok)
	}
	equal(t, "trees", map[string]string{"production-1": "a", "production-2": "b"}, b.Trees)
	if err := b.Check(); err != nil {
		t.Error(err)
	}
}

func TestFailedCommitsAreForgottenOnceTheyWork(t *testing.T) {
	s := newStory(t).deploy("a", stella.Failed)
	if _, ok := s.book.FailedCommit("ca"); !ok {
		t.Error("the failed commit is not remembered")
	}
	s.deploy("a", stella.Succeeded)
	if _, ok := s.book.FailedCommit("ca"); ok {
		t.Error("the commit works and counts as failed")
	}
	for i := range 30 {
		s.deploy(fmt.Sprint(i), stella.Failed)
	}
	equal(t, "how many are remembered", 20, len(s.book.State.FailedCommits))
	equal(t, "the newest", "c29", s.book.State.FailedCommits[19].Commit)
}

func TestIncompleteEventsAreRefused(t *testing.T) {
	b := ledger.NewBook(env)
	whole := func() ledger.Request {
		e, err := ledger.Complete(b, ledger.Request{Deployment: stella.Deployment{Kind: stella.KindDeploy}}, options(), noon())
		if err != nil {
			t.Fatal(err)
		}
		r, ok := e.(ledger.Request)
		if !ok {
			t.Fatalf("got %T", e)
		}
		return r
	}
	for name, spoil := range map[string]func(*ledger.Request){
		"no author":        func(e *ledger.Request) { e.By = "" },
		"no nonce":         func(e *ledger.Request) { e.Nonce = "" },
		"no time":          func(e *ledger.Request) { e.At = time.Time{} },
		"the year 12000":   func(e *ledger.Request) { e.At = time.Date(12000, 1, 1, 0, 0, 0, 0, time.UTC) },
		"no rules":         func(e *ledger.Request) { e.Rules = 0 },
		"no schema":        func(e *ledger.Request) { e.Deployment.SchemaVersion = 0 },
		"no start":         func(e *ledger.Request) { e.Deployment.StartedAt = time.Time{} },
		"another id":       func(e *ledger.Request) { e.Deployment.ID = "production-01" },
		"a fence":          func(e *ledger.Request) { e.Deployment.Fence = 3 },
		"ended already":    func(e *ledger.Request) { e.Deployment.FinishedAt = &e.At },
		"a running one":    func(e *ledger.Request) { e.Deployment.Status = stella.Running },
		"an unknown kind":  func(e *ledger.Request) { e.Deployment.Kind = "" },
		"too many targets": func(e *ledger.Request) { e.Deployment.Targets = make([]stella.TargetResult, 10_001) },
	} {
		e := whole()
		spoil(&e)
		if _, err := b.Apply(e); !errors.Is(err, stella.ErrInvalid) {
			t.Errorf("%s: %v, want stella.ErrInvalid", name, err)
		}
	}
	if _, err := b.Apply(nil); !errors.Is(err, stella.ErrInvalid) {
		t.Errorf("nil: %v, want stella.ErrInvalid", err)
	}
	if _, err := (ledger.Book{}).Apply(whole()); !errors.Is(err, stella.ErrInvalid) {
		t.Errorf("a book of nothing: %v, want stella.ErrInvalid", err)
	}
	e := whole()
	e.Rules = ledger.RulesVersion + 1
	if _, err := b.Apply(e); !errors.Is(err, stella.ErrUnsupported) || stella.Hint(err) == "" {
		t.Errorf("newer rules: %v, want stella.ErrUnsupported with a hint", err)
	}
}
