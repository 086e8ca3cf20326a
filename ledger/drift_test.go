package ledger_test

import (
	"bytes"
	"errors"
	"fmt"
	"maps"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/rogpeppe/go-internal/txtar"

	"github.com/stella-ops/stella"
	"github.com/stella-ops/stella/ledger"
)

// TestAChainOfRules1ReplaysToTheLastByte: what an older stella wrote means what
// it meant, and is what it was.
func TestAChainOfRules1ReplaysToTheLastByte(t *testing.T) {
	archive, err := txtar.ParseFile("testdata/rules1.txtar")
	if err != nil {
		t.Fatal(err)
	}
	commits := map[string]map[string][]byte{}
	for _, f := range archive.Files {
		n, name, _ := strings.Cut(f.Name, "/")
		if commits[n] == nil {
			commits[n] = map[string][]byte{}
		}
		commits[n][name] = f.Data
	}
	book := ledger.NewBook(env)
	for _, n := range slices.Sorted(maps.Keys(commits)) {
		e, err := ledger.DecodeEntry(env, commits[n])
		if err != nil {
			t.Fatalf("%s: %v", n, err)
		}
		for _, ev := range e.Events {
			if book, err = book.Apply(ev); err != nil {
				t.Fatalf("%s: %v", n, err)
			}
		}
		again, err := ledger.EncodeEntry(ledger.Entry{Events: e.Events, Book: book})
		if err != nil {
			t.Fatal(err)
		}
		for _, name := range slices.Sorted(maps.Keys(again)) {
			if !bytes.Equal(again[name], commits[n][name]) {
				t.Errorf("%s/%s is written otherwise now:\n%s", n, name, cmp.Diff(string(commits[n][name]), string(again[name])))
			}
		}
	}
	if len(commits) < 9 || book.State.Rules != 1 {
		t.Errorf("%d commits, rules %d", len(commits), book.State.Rules)
	}
	// And it can be gone on with.
	if e, err := ledger.Complete(book, ledger.Found{Sequence: 2, Opened: []stella.DriftFinding{finding("web-1", "service/api", "", noon())}}, options(), noon()); err != nil {
		t.Fatal(err)
	} else if book, err = book.Apply(e); err != nil || book.State.Rules != 2 || len(book.Drift.Open) != 1 {
		t.Errorf("%+v, %v", book.Drift, err)
	}
}

func TestFindingsAreRefusedWhereTheyDoNotFit(t *testing.T) {
	at := noon()
	api, worker := finding("web-1", "service/api", "/command", at), finding("web-1", "service/worker", "", at)
	later := func(f stella.DriftFinding) stella.DriftFinding {
		f.FirstSeen = f.FirstSeen.Add(time.Second)
		f.LastSeen = f.FirstSeen
		return f
	}
	with := func(f stella.DriftFinding, change func(*stella.DriftFinding)) stella.DriftFinding {
		change(&f)
		return f
	}
	many := make([]stella.DriftFinding, ledger.MaxOpenFindings)
	for i := range many {
		many[i] = finding("web-1", stella.ResourceID(fmt.Sprintf("service/%03d", i)), "", at)
	}
	opened := func(fs ...stella.DriftFinding) ledger.Found { return ledger.Found{Sequence: 1, Opened: fs} }
	for _, c := range []struct {
		name string
		e    ledger.Found
		want string
	}{
		{"one that is new", opened(worker), "ok"},
		{"one that is open", opened(api), "conflict"},
		{"the same twice", opened(worker, worker), "conflict"},
		{"one that ends", ledger.Found{Sequence: 1, Ended: []stella.DriftFinding{ended(api, stella.EndHealed, at)}}, "ok"},
		{"one that is not open", ledger.Found{Sequence: 1, Ended: []stella.DriftFinding{ended(worker, stella.EndHealed, at)}}, "conflict"},
		{"another one about the same", ledger.Found{Sequence: 1, Ended: []stella.DriftFinding{ended(later(api), stella.EndHealed, at.Add(time.Hour))}}, "conflict"},
		{"one that ends twice", ledger.Found{Sequence: 1, Ended: []stella.DriftFinding{ended(api, stella.EndHealed, at), ended(api, stella.EndHealed, at)}}, "conflict"},
		{"an end without how", ledger.Found{Sequence: 1, Ended: []stella.DriftFinding{ended(api, "", at)}}, "invalid"},
		{"an end before the start", ledger.Found{Sequence: 1, Ended: []stella.DriftFinding{ended(api, stella.EndHealed, at.Add(-time.Second))}}, "invalid"},
		{"an end without an end", ledger.Found{Sequence: 1, Ended: []stella.DriftFinding{api}}, "invalid"},
		{"a beginning with an end", opened(ended(worker, stella.EndHealed, at)), "invalid"},
		{"nothing", ledger.Found{Sequence: 1}, "invalid"},
		{"what was seen of another deployment", ledger.Found{Sequence: 2, Opened: []stella.DriftFinding{worker}}, "conflict"},
		{"no target", opened(with(worker, func(f *stella.DriftFinding) { f.Target = "" })), "invalid"},
		{"no resource", opened(with(worker, func(f *stella.DriftFinding) { f.Resource = "" })), "invalid"},
		{"no pointer", opened(with(worker, func(f *stella.DriftFinding) { f.Path = "command" })), "invalid"},
		{"another class", opened(with(worker, func(f *stella.DriftFinding) { f.Class = "odd" })), "invalid"},
		{"another severity", opened(with(worker, func(f *stella.DriftFinding) { f.Severity = "odd" })), "invalid"},
		{"no time", opened(with(worker, func(f *stella.DriftFinding) { f.FirstSeen = time.Time{} })), "invalid"},
		{"a path without end", opened(with(worker, func(f *stella.DriftFinding) { f.Path = "/" + strings.Repeat("x", 1<<10) })), "invalid"},
		{"too many", opened(many...), "invalid"},
		{"fewer than none left out", ledger.Found{Sequence: 1, Uncounted: -1}, "invalid"},
	} {
		s := newStory(t).deploy("a", stella.Succeeded).do(opened(api))
		if got := className(s.try(c.e)); got != c.want {
			t.Errorf("%s: %s, want %s", c.name, got, c.want)
		}
	}
	s := newStory(t).deploy("a", stella.Succeeded).begin(stella.Deployment{})
	if err := s.try(ledger.Found{Sequence: 2, Opened: []stella.DriftFinding{api}}); !errors.Is(err, stella.ErrConflict) {
		t.Errorf("while a deployment runs: %v, want a conflict", err)
	}
}

func TestTheNewestEndedFindingsAreKept(t *testing.T) {
	s := newStory(t).deploy("a", stella.Succeeded)
	const rounds = 25
	for range rounds {
		var open, over []stella.DriftFinding
		for i := range 90 {
			f := finding("web-1", stella.ResourceID(fmt.Sprintf("service/%02d", i)), "", s.now)
			open, over = append(open, f), append(over, ended(f, stella.EndWentAway, s.now))
		}
		s.do(ledger.Found{Sequence: 1, Opened: open}, ledger.Found{Sequence: 1, Ended: over})
	}
	kept := s.book.Drift.Ended
	if len(kept) != ledger.MaxEndedFindings || len(s.book.Drift.Open) != 0 || s.book.State.Summary.Drifted != 0 || s.book.State.Summary.DriftSince != nil {
		t.Fatalf("%d kept, %d open, %+v", len(kept), len(s.book.Drift.Open), s.book.State.Summary)
	}
	if newest := kept[len(kept)-1]; newest.Resource != "service/89" || !newest.EndedAt.Equal(s.now.Add(-2*time.Minute)) {
		t.Errorf("the newest is %+v", newest)
	}
}

func TestWhatIsStillOpenIsSeenAgainOnlyWhereItWasLookedFor(t *testing.T) {
	at := noon()
	a, b := finding("web-1", "service/api", "", at), finding("web-2", "service/api", "", at)
	s := newStory(t).deploy("a", stella.Succeeded).do(ledger.Found{Sequence: 1, Opened: []stella.DriftFinding{a, b}, Uncounted: 4})
	if sum := s.book.State.Summary; sum.Drifted != 6 || sum.DriftSince == nil || !sum.DriftSince.Equal(at) {
		t.Errorf("summary %+v", sum)
	}
	s.do(ledger.Found{Sequence: 1, Seen: []string{"web-1"}, SeenAt: at.Add(time.Hour)})
	defer func() {
		// What is in a service that is gone by now was not looked at.
		s.do(ledger.Found{Sequence: 1, Opened: []stella.DriftFinding{finding("web-2", "service/worker", "/command", at)}})
		s.do(ledger.Found{Sequence: 1, Opened: []stella.DriftFinding{finding("web-2", "service/worker", "", at)}, Seen: []string{"web-2"}, SeenAt: at.Add(2 * time.Hour)})
		s.do(ledger.Found{Sequence: 1, Seen: []string{"web-2"}, SeenAt: at.Add(3 * time.Hour), Uncounted: 1})
		for _, f := range s.book.Drift.Open {
			if f.Path != "" && !f.LastSeen.Equal(at) {
				t.Errorf("%s of a service that is gone was last seen %v", f.Path, f.LastSeen)
			}
		}
	}()
	if got := s.book.Drift.Open; !got[0].LastSeen.Equal(at.Add(time.Hour)) || !got[1].LastSeen.Equal(at) {
		t.Errorf("last seen %v and %v", got[0].LastSeen, got[1].LastSeen)
	}
}

func TestBeingStoppedEndsWithTheNextDeploymentThatTouches(t *testing.T) {
	stop := ledger.Note{Stopped: &ledger.Stopped{How: "stopped", Reason: "the night"}}
	s := newStory(t).deploy("a", stella.Succeeded).do(stop)
	if got := s.book.State.Stopped; got == nil || got.By != "ana@example.com" || got.At.IsZero() {
		t.Fatalf("stopped: %+v", got)
	}
	if s.do(ledger.Note{}); s.book.State.Stopped == nil {
		t.Error("another note forgets it")
	}
	if s.deploy("b", stella.Errored); s.book.State.Stopped == nil {
		t.Error("a deployment that touched nothing forgets it")
	}
	for how, end := range map[string]func(s *story){
		"a deployment that succeeded": func(s *story) { s.deploy("b", stella.Succeeded) },
		"one that failed":             func(s *story) { s.deploy("b", stella.Failed) },
		"one that was aborted": func(s *story) {
			s.begin(stella.Deployment{}).do(ledger.Abort{ID: "production-2", LockID: s.lockID(), Reason: "enough"})
		},
		"one whose lock a deployment took over": func(s *story) {
			s.begin(stella.Deployment{}).do(ledger.Begin{Deployment: stella.Deployment{Kind: stella.KindDeploy}, Takeover: s.lockID()})
		},
		"one whose lock other work took over": func(s *story) {
			s.begin(stella.Deployment{}).do(ledger.Lock{Lock: stella.Lock{Purpose: "p"}, Takeover: s.lockID()})
		},
		"one whose lock was released by force": func(s *story) {
			s.begin(stella.Deployment{}).do(ledger.Unlock{LockID: s.lockID(), Force: true, Reason: "r"})
		},
	} {
		s := newStory(t).deploy("a", stella.Succeeded).do(stop)
		if end(s); s.book.State.Stopped != nil {
			t.Errorf("it is remembered after %s", how)
		}
	}
	if err := s.try(ledger.Note{Meta: ledger.Meta{Rules: 1}, Stopped: stop.Stopped}); !errors.Is(err, stella.ErrInvalid) {
		t.Errorf("by rules 1: %v", err)
	}
}

// FuzzDrift: drift.json of any bytes never panics, and what is read is written
// and read again as the same.
func FuzzDrift(f *testing.F) {
	at := noon()
	s := newStory(f).deploy("a", stella.Succeeded).do(ledger.Found{Sequence: 1, Opened: []stella.DriftFinding{finding("w", "service/a", "", at), finding("w", "service/b", "/a~1b", at)}, Uncounted: 1})
	for _, d := range []ledger.Drift{{}, s.book.Drift, s.do(ledger.Found{Sequence: 1, Ended: []stella.DriftFinding{ended(finding("w", "service/a", "", at), stella.EndAdopted, at)}}).book.Drift} {
		data, err := ledger.EncodeDrift(env, d)
		if err != nil {
			f.Fatal(err)
		}
		f.Add(data)
	}
	f.Fuzz(func(t *testing.T, data []byte) {
		d, err := ledger.DecodeDrift(env, data, true)
		if err != nil {
			return
		}
		again, err := ledger.EncodeDrift(env, d)
		if err != nil {
			t.Fatalf("what was read can not be written: %v", err)
		}
		back, err := ledger.DecodeDrift(env, again, true)
		if err != nil {
			t.Fatalf("what was written can not be read: %v\n%s", err, again)
		}
		if diff := cmp.Diff(d, back); diff != "" {
			t.Fatalf("reads differently the second time:\n%s", diff)
		}
	})
}

func TestADriftFileThatIsNotInItsPlaceIsRefused(t *testing.T) {
	s := newStory(t).deploy("a", stella.Succeeded).do(ledger.Found{Sequence: 1, Opened: []stella.DriftFinding{finding("w", "service/a", "", noon()), finding("w", "service/b", "", noon())}})
	whole, err := ledger.EncodeDrift(env, s.book.Drift)
	if err != nil {
		t.Fatal(err)
	}
	for name, c := range map[string]struct{ old, now, want string }{
		"as it is":            {"", "", "ok"},
		"another environment": {`"production"`, `"staging"`, "tampered"},
		"out of order":        {"service/a", "service/c", "tampered"},
		"the same twice":      {"service/b", "service/a", "tampered"},
		"an unknown field":    {`"uncounted"`, `"mood": 1, "uncounted"`, "invalid"},
		"one that ended":      {`"ended": ""`, `"ended": "healed"`, "tampered"},
		"a newer schema":      {`"schemaVersion": 1`, `"schemaVersion": 2`, "unsupported"},
	} {
		_, err := ledger.DecodeDrift(env, []byte(strings.Replace(string(whole), c.old, c.now, 1)), true)
		if got := className(err); got != c.want {
			t.Errorf("%s: %s, want %s", name, got, c.want)
		}
	}
}
