package ledger_test

import (
	"fmt"
	"slices"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"pgregory.net/rapid"

	"github.com/stella-ops/stella"
	"github.com/stella-ops/stella/ledger"
)

// world is a book under random events, most of them refused, and what was true
// of it so far.
type world struct {
	book  ledger.Book
	now   time.Time
	locks map[string]int64             // lock → its fence, for every lock there was
	ended map[string]stella.Deployment // deployments that have ended
	lifts map[string]bool              // holds that were lifted
	holds map[string]bool              // holds that there were
	done  map[string]int               // events that were allowed, by type
}

// pick draws one of the values; those first in the list come more often.
func pick[V any](t *rapid.T, what string, values ...V) V {
	return rapid.SampledFrom(values).Draw(t, what)
}

// rarely is true once in a while.
func rarely(t *rapid.T, what string) bool { return rapid.IntRange(0, 99).Draw(t, what)%8 == 7 }

// id draws the id of a deployment: mostly one that is open.
func (w *world) id(t *rapid.T) string {
	var ids []string
	if d, ok := w.book.Running(); ok {
		ids = append(ids, d.ID)
	}
	for _, d := range w.book.Open() {
		ids = append(ids, d.ID)
	}
	return pick(t, "id", append(ids, w.book.NextID(), "production-1", "production-999")...)
}

// lock draws the id of a lock: mostly the current one.
func (w *world) lock(t *rapid.T) string {
	if l := w.book.State.Lock; l != nil && !rarely(t, "other lock") {
		return l.ID
	}
	return pick(t, "lock", "other", "")
}

func (w *world) takeover(t *rapid.T) string {
	if rapid.IntRange(0, 99).Draw(t, "takeover")%3 == 2 {
		return w.lock(t)
	}
	return ""
}

// events draw an event of each type, with ids that often fit and often do not.
func (w *world) events() map[string]func(t *rapid.T, m ledger.Meta) ledger.Event {
	floor := func(t *rapid.T) int64 {
		return pick(t, "floor", 0, 0, 0, w.book.State.Fence+5, w.book.State.Fence+2000)
	}
	return map[string]func(t *rapid.T, m ledger.Meta) ledger.Event{
		"begin": func(t *rapid.T, m ledger.Meta) ledger.Event {
			return ledger.Begin{Meta: m, Deployment: w.draft(t), Takeover: w.takeover(t), FenceFloor: floor(t)}
		},
		"request": func(t *rapid.T, m ledger.Meta) ledger.Event { return ledger.Request{Meta: m, Deployment: w.draft(t)} },
		"progress": func(t *rapid.T, m ledger.Meta) ledger.Event {
			return ledger.Progress{Meta: m, ID: pick(t, "lock only", w.id(t), ""), LockID: w.lock(t), Commit: "c", Targets: results(t)}
		},
		"finish": func(t *rapid.T, m ledger.Meta) ledger.Event { return w.finish(t, m) },
		"abort": func(t *rapid.T, m ledger.Meta) ledger.Event {
			return ledger.Abort{Meta: m, ID: w.id(t), LockID: w.lock(t), Reason: "r", Targets: results(t)}
		},
		"lock": func(t *rapid.T, m ledger.Meta) ledger.Event {
			l := stella.Lock{ByHand: rapid.Bool().Draw(t, "by hand"), Purpose: "p", ExpiresAt: w.now.Add(3 * time.Minute)}
			return ledger.Lock{Meta: m, Lock: l, Takeover: w.takeover(t), FenceFloor: floor(t)}
		},
		"unlock": func(t *rapid.T, m ledger.Meta) ledger.Event {
			return ledger.Unlock{Meta: m, LockID: w.lock(t), Force: rapid.Bool().Draw(t, "force"), Reason: "r"}
		},
		"lift": func(t *rapid.T, m ledger.Meta) ledger.Event {
			var holds []string
			for _, h := range w.book.State.Holds {
				holds = append(holds, h.ID)
			}
			return ledger.Lift{Meta: m, HoldID: pick(t, "hold", append(holds, "none")...), Reason: "r"}
		},
		"note": func(_ *rapid.T, m ledger.Meta) ledger.Event {
			return ledger.Note{Meta: m, Summary: ledger.Summary{Sync: stella.Synced, Drifted: 7}, Machines: map[string]string{"web": "m"}}
		},
		"found": func(t *rapid.T, m ledger.Meta) ledger.Event { return w.found(t, m) },
	}
}

func (w *world) finish(t *rapid.T, m ledger.Meta) ledger.Event {
	f := ledger.Finish{Meta: m, Deployment: w.outcome(t, w.id(t)), LockID: w.lock(t), KeepLock: rarely(t, "keep lock")}
	f.Current = f.Deployment.Status == stella.Succeeded && !rarely(t, "not current")
	if rapid.Bool().Draw(t, "hold") {
		f.Hold = &stella.Hold{Tree: f.Deployment.Tree + "x"}
	}
	return f
}

// found begins findings that are open already, and ends those that are not, too.
func (w *world) found(t *rapid.T, m ledger.Meta) ledger.Event {
	e := ledger.Found{Meta: m, Sequence: w.book.State.Sequence, Seen: []string{"web"}, SeenAt: w.now, Uncounted: pick(t, "uncounted", 0, 0, 3)}
	if rarely(t, "old look") {
		e.Sequence--
	}
	for _, f := range w.book.Drift.Open {
		if rapid.Bool().Draw(t, "ends") {
			f.Ended, f.EndedAt = pick(t, "how", stella.EndHealed, stella.EndAdopted, stella.EndIgnored, stella.EndWentAway, stella.EndHealed, ""), &w.now
			e.Ended = append(e.Ended, f)
		}
	}
	if rapid.Bool().Draw(t, "begins") {
		e.Opened = append(e.Opened, finding("web", pick[stella.ResourceID](t, "resource", "service/a", "service/b", ""), pick(t, "path", "", "/image", "x"), w.now))
	}
	return e
}

func results(t *rapid.T) []stella.TargetResult {
	s := pick(t, "target", stella.TargetVerified, stella.TargetFailed, stella.TargetUntouched, stella.TargetPrepared, stella.TargetApplied,
		stella.TargetOwed, stella.TargetUnknown)
	return []stella.TargetResult{{Name: "web", Status: s}}
}

func (w *world) draft(t *rapid.T) stella.Deployment {
	d := stella.Deployment{Kind: pick(t, "kind", stella.KindDeploy, stella.KindRollback), Tree: pick(t, "tree", "a", "b", "c", "d")}
	if rarely(t, "unknown kind") {
		d.Kind = "none"
	}
	if rarely(t, "superseding") {
		d.Supersedes = w.id(t)
	}
	if known, ok := w.book.Deployment(w.id(t)); ok {
		d.ID, d.Kind, d.Actor, d.Sequence = known.ID, known.Kind, known.Actor, known.Sequence
	}
	return d
}

func (w *world) outcome(t *rapid.T, id string) stella.Deployment {
	d, _ := w.book.Deployment(id)
	d.Status = pick(t, "status", stella.Succeeded, stella.Failed, stella.Partial, stella.Errored, stella.Aborted, stella.Running)
	d.Targets = []stella.TargetResult{{Name: "web", Status: stella.TargetVerified}}
	if rarely(t, "any results") {
		d.Targets = results(t)
	}
	return d
}

// planned draws an event of a type and completes it for the book as it is.
func (w *world) planned(t *rapid.T, draw func(t *rapid.T, m ledger.Meta) ledger.Event) ledger.Event {
	w.now = w.now.Add(time.Duration(rapid.IntRange(-30, 120).Draw(t, "seconds")) * time.Second)
	m := ledger.Meta{By: pick(t, "by", "ana", "ben"), At: w.now}
	e, err := ledger.Complete(w.book, draw(t, m), ledger.Options{Version: "v", Lease: time.Minute}, w.now)
	if err != nil {
		t.Fatalf("complete: %v", err)
	}
	return e
}

func (w *world) step(t *rapid.T, e ledger.Event) {
	next, err := w.book.Apply(e)
	if err != nil {
		if diff := cmp.Diff(w.book, next); diff != "" {
			t.Fatalf("a refusal (%v) returns another book:\n%s", err, diff)
		}
		if className(err) == err.Error() {
			t.Fatalf("a refusal without a class: %v", err)
		}
		return
	}
	w.check(t, e, next)
	w.book = next
	w.done[fmt.Sprintf("%T", e)]++
}

// check holds the invariants of every transition against one.
func (w *world) check(t *rapid.T, e ledger.Event, next ledger.Book) {
	before, after := w.book.State, next.State
	if after.Transitions != before.Transitions+1 {
		t.Fatalf("transitions go from %d to %d", before.Transitions, after.Transitions)
	}
	if after.Sequence != before.Sequence && after.Sequence != before.Sequence+1 {
		t.Fatalf("the sequence goes from %d to %d", before.Sequence, after.Sequence)
	}
	if err := next.Check(); err != nil {
		t.Fatalf("after %T: %v", e, err)
	}
	w.checkLock(t, e, before, after)
	w.checkEnds(t, e, next)
	w.checkHolds(t, e, after)
	w.checkDrift(t, e, next)
	if diff := cmp.Diff(next, roundTrip(t, ledger.Entry{Events: []ledger.Event{e}, Book: next})); diff != "" {
		t.Fatalf("the stored form of %T reads as another book:\n%s", e, diff)
	}
}

func (w *world) checkLock(t *rapid.T, e ledger.Event, before, after ledger.State) {
	if after.Fence < before.Fence {
		t.Fatalf("%T lets the fence fall from %d to %d", e, before.Fence, after.Fence)
	}
	l := after.Lock
	if l == nil {
		return
	}
	fence, known := w.locks[l.ID]
	switch {
	case known && fence != l.Fence:
		t.Fatalf("lock %s changes its fence from %d to %d", l.ID, fence, l.Fence)
	case known && (before.Lock == nil || before.Lock.ID != l.ID):
		t.Fatalf("%T brings lock %s back", e, l.ID)
	case !known && (l.Fence != after.Fence || after.Fence <= before.Fence):
		t.Fatalf("%T makes a lock with fence %d after %d", e, l.Fence, before.Fence)
	}
	w.locks[l.ID] = l.Fence
}

func (w *world) checkEnds(t *rapid.T, e ledger.Event, next ledger.Book) {
	for i, d := range next.Deployments {
		if d.Sequence != int64(i+1) && len(next.Deployments) <= ledger.KeepNewest {
			t.Fatalf("deployment %d has sequence %d", i, d.Sequence)
		}
		was, ended := w.ended[d.ID]
		if ended {
			if diff := cmp.Diff(was, d); diff != "" {
				t.Fatalf("%T changes %s after its end:\n%s", e, d.ID, diff)
			}
		}
		if !d.Status.Open() {
			if d.FinishedAt == nil {
				t.Fatalf("%s is %s without an end", d.ID, d.Status)
			}
			w.ended[d.ID] = d
		}
	}
	if c := next.State.Current; c != "" && w.ended[c].Status != stella.Succeeded {
		t.Fatalf("current is %s, which is %s", c, w.ended[c].Status)
	}
}

func (w *world) checkHolds(t *rapid.T, e ledger.Event, after ledger.State) {
	if l, ok := e.(ledger.Lift); ok {
		w.lifts[l.HoldID] = true
	}
	now := map[string]bool{}
	for _, h := range after.Holds {
		now[h.ID], w.holds[h.ID] = true, true
	}
	for id := range w.holds {
		if !now[id] && !w.lifts[id] {
			t.Fatalf("%T ends hold %s", e, id)
		}
	}
}

// checkDrift holds findings against their story: each begins once before it
// ends, ends once, and lasts from the one to the other.
func (w *world) checkDrift(t *rapid.T, e ledger.Event, next ledger.Book) {
	checkSummary(t, e, next)
	f, ok := e.(ledger.Found)
	if !ok {
		if diff := cmp.Diff(w.book.Drift, next.Drift); diff != "" {
			t.Fatalf("%T changes findings:\n%s", e, diff)
		}
		return
	}
	open := map[string]bool{}
	for _, o := range w.book.Drift.Open {
		open[fmt.Sprint(o.Target, o.Resource, o.Path, o.Class)] = true
	}
	for _, o := range f.Ended {
		if id := fmt.Sprint(o.Target, o.Resource, o.Path, o.Class); !open[id] || o.Duration(w.now) < 0 {
			t.Fatalf("%+v ends and was not open, or lasts less than nothing", o)
		} else {
			delete(open, id)
		}
	}
	for _, o := range f.Opened {
		if id := fmt.Sprint(o.Target, o.Resource, o.Path, o.Class); open[id] {
			t.Fatalf("%+v begins twice", o)
		} else {
			open[id] = true
		}
	}
	if len(open) != len(next.Drift.Open) {
		t.Fatalf("%d are open and %d are recorded", len(open), len(next.Drift.Open))
	}
}

// checkSummary: the summary says what the findings say, whoever wrote it last.
func checkSummary(t *rapid.T, e ledger.Event, next ledger.Book) {
	var since *time.Time
	for _, f := range next.Drift.Open {
		if since == nil || f.FirstSeen.Before(*since) {
			since = &f.FirstSeen
		}
	}
	s := next.State.Summary
	if s.Drifted != next.Drift.Count() || !cmp.Equal(s.DriftSince, since) {
		t.Fatalf("after %T %d are counted since %v, and there are %d since %v", e, s.Drifted, s.DriftSince, next.Drift.Count(), since)
	}
}

func roundTrip(t *rapid.T, e ledger.Entry) ledger.Book {
	files, err := ledger.EncodeEntry(e)
	if err != nil {
		t.Fatalf("encode: %v", err)
	}
	back, err := ledger.DecodeEntry(env, files)
	if err != nil {
		t.Fatalf("decode: %v", err)
	}
	if diff := cmp.Diff(e.Events, back.Events); diff != "" {
		t.Fatalf("events read differently:\n%s", diff)
	}
	back.Book.Trees = e.Book.Trees
	if len(e.Book.Deployments) == 0 {
		back.Book.Deployments = e.Book.Deployments
	}
	return back.Book
}

func newWorld(done map[string]int) *world {
	return &world{
		book: ledger.NewBook(env), now: noon(), locks: map[string]int64{}, ended: map[string]stella.Deployment{},
		lifts: map[string]bool{}, holds: map[string]bool{}, done: done,
	}
}

// actions make rapid's actions of what the world may do.
func (w *world) actions(do func(t *rapid.T, draw func(*rapid.T, ledger.Meta) ledger.Event)) map[string]func(*rapid.T) {
	actions := map[string]func(*rapid.T){}
	for name, draw := range w.events() {
		actions[name] = func(t *rapid.T) { do(t, draw) }
	}
	// What makes a life of a deployment comes more often.
	for _, name := range []string{"begin", "finish", "finish", "progress"} {
		actions[fmt.Sprint(name, len(actions))] = actions[name]
	}
	return actions
}

func TestInvariantsHoldUnderAnyEvents(t *testing.T) {
	done := map[string]int{}
	rapid.Check(t, func(t *rapid.T) {
		w := newWorld(done)
		t.Repeat(w.actions(func(t *rapid.T, draw func(*rapid.T, ledger.Meta) ledger.Event) { w.step(t, w.planned(t, draw)) }))
	})
	for _, e := range []ledger.Event{
		ledger.Begin{}, ledger.Request{}, ledger.Progress{}, ledger.Finish{}, ledger.Abort{}, ledger.Lock{}, ledger.Unlock{}, ledger.Lift{}, ledger.Note{}, ledger.Found{},
	} {
		if name := fmt.Sprintf("%T", e); done[name] < 5 {
			t.Errorf("%s was allowed %d times: the machine hardly tries it", name, done[name])
		}
	}
	fmt.Fprintln(t.Output(), "allowed events:", done)
}

// TestEventsPlannedOnAnOldBookAreSafe plans an event, lets somebody else write,
// and then applies it: whatever is allowed then keeps the invariants, so that
// nothing depends on a decision being made on the newest book.
func TestEventsPlannedOnAnOldBookAreSafe(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		w := newWorld(map[string]int{})
		var late ledger.Event
		t.Repeat(w.actions(func(t *rapid.T, draw func(*rapid.T, ledger.Meta) ledger.Event) {
			e := w.planned(t, draw)
			if rapid.Bool().Draw(t, "late") {
				late, e = e, late
			}
			if e != nil {
				w.step(t, e)
			}
		}))
	})
}

func TestOpenRunningOwnsTheLock(t *testing.T) {
	s := newStory(t).do(ledger.Request{Deployment: stella.Deployment{Kind: stella.KindDeploy}}).begin(stella.Deployment{})
	open := s.book.Open()
	got := []string{}
	for _, d := range open {
		got = append(got, d.ID+" "+string(d.Status))
	}
	if want := []string{"production-1 pending", "production-2 running"}; !slices.Equal(got, want) {
		t.Errorf("open are %v, want %v", got, want)
	}
	if d, ok := s.book.Running(); !ok || s.book.State.Lock.Deployment != d.ID {
		t.Errorf("%s runs, the lock is for %s", d.ID, s.book.State.Lock.Deployment)
	}
}
