package targettest

import (
	"bytes"
	"cmp"
	"fmt"
	"maps"
	"slices"
	"testing"
	"time"

	gocmp "github.com/google/go-cmp/cmp"

	"github.com/stella-ops/stella"
	"github.com/stella-ops/stella/drift"
	"github.com/stella-ops/stella/reconciler"
)

// Damage is what somebody does to a target behind stella's back. The suite puts
// two services there, "api" and "web" with all that can be asked for; it is done
// to web.
type Damage struct {
	// Do does it, and returns when it has happened.
	Do func(t *testing.T, web stella.Resource)
	// Want is what differs then, and nothing else may.
	Want []Difference
	// Runs says that the process of web goes on all the while: bringing it back
	// must not start it again.
	Runs bool
	// Cannot says why nobody can do this to such a target; Do is nil then.
	Cannot string
}

// Difference is a change without its values.
type Difference struct {
	Class    stella.Class
	Resource stella.ResourceID
	Path     string
}

// Kinds are the damages that every driver has to say something of, in
// Fixture.Damages by these names.
func Kinds() []string {
	return []string{
		"process killed", "supervisor killed",
		"config content changed", "config mode changed", "config owner changed", "config removed",
		"file of the release changed", "file of the release added", "file of the release removed",
		"what names the release changed", "what names the release removed",
		"environment changed", "environment added", "command changed",
		"extra service", "sticker edited", "sticker removed", "record edited", "record removed",
		"record is a directory", "directory unreadable",
	}
}

// damaged does every kind of damage to a target of its own: what is observed is
// exactly that, a watcher is told, the plan brings it back, and nothing else is
// touched.
func (s *suite) damaged() {
	known := Kinds()
	for _, kind := range slices.Sorted(maps.Keys(s.f.Damages)) {
		if !slices.Contains(known, kind) {
			s.Errorf("the fixture has a damage %q that the suite does not know", kind)
		}
	}
	for _, kind := range known {
		d, ok := s.f.Damages[kind]
		switch {
		case !ok || d.Do == nil && d.Cannot == "":
			s.Errorf("the fixture says nothing of %q", kind)
		case d.Do == nil:
			s.Logf("%s: %s", kind, d.Cannot)
		default:
			s.Run(kind, func(t *testing.T) {
				t.Parallel()
				one := &suite{T: t, f: s.fresh(t), fresh: s.fresh, seen: 100}
				one.damage(one.f.Damages[kind])
			})
		}
	}
}

func (s *suite) damage(d Damage) {
	api, web := s.f.Service("api", "1"), s.f.Full(s.f.Service("web", "1"))
	want := state(api, web)
	s.deploy(s.f.Target, api, web)
	beforeAPI, beforeWeb := component(s.observe(s.f.Target), "api"), component(s.observe(s.f.Target), "web")
	told := s.watch()
	d.Do(s.T, web)
	s.waitFor(want, d.Want)
	if told != nil {
		select {
		case <-told:
		case <-time.After(patience):
			s.Error("it watches and was not told")
		}
	}
	s.deploy(s.f.Reopen(s.T), api, web)
	s.sameProcess(s.f.Target, "api", beforeAPI)
	if d.Runs {
		s.sameProcess(s.f.Target, "web", beforeWeb)
	}
	s.waitFor(want, nil)
}

// watch returns a channel that gets something once the target says that it may
// have changed; nil where it can not say.
func (s *suite) watch() <-chan struct{} {
	w, ok := s.f.Target.(reconciler.Watcher)
	if !ok {
		return nil
	}
	told := make(chan struct{}, 1)
	err := w.Watch(s.Context(), func() {
		select {
		case told <- struct{}{}:
		default:
		}
	})
	if err != nil {
		s.Fatalf("watch: %v", err)
	}
	return told
}

// waitFor waits until exactly these differences are observed: the end of a
// process is seen a moment after it.
func (s *suite) waitFor(want stella.State, differences []Difference) {
	s.Helper()
	deadline := time.After(patience)
	for {
		diff := gocmp.Diff(sorted(differences), s.differences(want))
		if diff == "" {
			return
		}
		select {
		case <-deadline:
			s.Fatalf("differences (-want +got)\n%s", diff)
		case <-time.After(20 * time.Millisecond):
		}
	}
}

func (s *suite) differences(want stella.State) []Difference {
	s.Helper()
	var out []Difference
	for _, c := range drift.Compare(want, s.observe(s.f.Target), nil, time.Now()) {
		out = append(out, Difference{c.Class, c.Resource, c.Path})
	}
	return sorted(out)
}

func sorted(ds []Difference) []Difference {
	return slices.SortedFunc(slices.Values(ds), func(a, b Difference) int {
		return cmp.Or(cmp.Compare(a.Resource, b.Resource), cmp.Compare(a.Path, b.Path), cmp.Compare(a.Class, b.Class))
	})
}

// wrecked breaks all that can be broken at once. One order brings everything
// back.
func (s *suite) wrecked() {
	if s.f.Wreck == nil {
		s.Fatal("the fixture can not wreck its target")
	}
	api, web := s.f.Service("api", "1"), s.f.Full(s.f.Service("web", "1"))
	s.deploy(s.f.Target, api, web)
	before := component(s.observe(s.f.Target), "api")
	s.f.Wreck(s.T, web)
	missing := Difference{stella.Missing, web.ID, ""}
	deadline := time.After(patience)
	for !slices.Contains(s.differences(state(api, web)), missing) { // its end is seen a moment after it
		select {
		case <-deadline:
			s.Fatalf("differences %v", s.differences(state(api, web)))
		case <-time.After(20 * time.Millisecond):
		}
	}
	s.deploy(s.f.Reopen(s.T), api, web)
	s.sameProcess(s.f.Target, "api", before)
	s.waitFor(state(api, web), nil)
}

// programs runs programs that change what can be seen of them from outside, as
// any may: none of it is a difference.
func (s *suite) programs() {
	for _, name := range slices.Sorted(maps.Keys(s.f.Programs)) {
		s.Run(name, func(t *testing.T) {
			t.Parallel()
			one := &suite{T: t, f: s.fresh(t), fresh: s.fresh, seen: 100}
			want := state(one.f.Programs[name]("web"))
			if _, err := one.try(t.Context(), one.f.Target, want); err != nil {
				t.Fatalf("deploy: %v", err)
			}
			if got := one.differences(want); len(got) > 0 {
				t.Errorf("right after it was deployed: %v", got)
			}
			if err := one.said(one.f.Output); err != nil {
				t.Fatal(err)
			}
			if got := one.differences(want); len(got) > 0 {
				t.Errorf("once it has settled: %v", got)
			}
			before := component(one.observe(one.f.Target), "web")
			again := one.order(want, plan(want, one.observe(one.f.Target)))
			if err := one.f.Target.Apply(t.Context(), again, nil); err != nil || len(again.Actions) > 0 {
				t.Errorf("%d actions, %v", len(again.Actions), err)
			}
			one.sameProcess(one.f.Target, "web", before)
			one.checkSticker(one.f.Target, &again.Sticker)
		})
	}
}

// said waits until web has printed a text, where the target keeps output.
func (s *suite) said(text string) error {
	l, ok := s.f.Target.(reconciler.Logger)
	if !ok {
		return nil
	}
	deadline := time.After(patience)
	for {
		out, err := l.Logs(s.Context(), "web", 1<<16)
		if err != nil || bytes.Contains(out, []byte(text)) {
			return err
		}
		select {
		case <-deadline:
			return fmt.Errorf("the log has %q, want %q in it", out, text)
		case <-time.After(20 * time.Millisecond):
		}
	}
}
