// Package targettest is what every target driver has to pass. Start with [Run]
// and [Fixture]; a driver's own test makes one fixture for each test.
//
// The suite knows a driver by the interfaces of package reconciler and by what
// its fixture does to the target behind its back. It plans as the engine does,
// from what was observed; the optional interfaces are tested where a driver has
// them.
package targettest

import (
	"context"
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/stella-ops/stella"
	"github.com/stella-ops/stella/drift"
	"github.com/stella-ops/stella/reconciler"
)

// Fixture is one empty target of a driver, with a registry that it pulls from.
// What a test starts there the fixture ends in a cleanup of its own.
type Fixture struct {
	Target reconciler.Target
	// Name and Environment go into stickers.
	Name        string
	Environment stella.EnvName
	// Reopen opens the same target again, as another stella would.
	Reopen func(t *testing.T) reconciler.Target
	// Service is a service that runs for good in the given version of its
	// image, "1" to "3", and is not restarted when it dies.
	Service func(name, version string) stella.Resource
	// Set returns the service with an environment variable changed or added.
	Set func(service stella.Resource, key, value string) stella.Resource
	// Full returns the service with every field that can be asked for besides
	// its image, and in which it runs as before: its command, an environment of
	// several variables, config files, labels and whatever else the driver has.
	Full func(service stella.Resource) stella.Resource
	// Volume is a named volume that Mount puts into a service; nil where the
	// driver has none.
	Volume func(name string) stella.Resource
	// Kill ends a component's process behind stella's back, and returns when
	// it is gone.
	Kill func(t *testing.T, component string)
	// Offline takes the registry away for good.
	Offline func(t *testing.T)
	// Foreign puts something on the target that stella did not make, and
	// returns a function that fails the test if it was touched.
	Foreign func(t *testing.T) (untouched func(t *testing.T))
	// Faulty opens the target so that its n-th effect, counted from 1 over all
	// calls, fails: before it takes effect, or after it did (persist). n = 0
	// lets none fail. effects is how many there were. Nil where effects can
	// not be made to fail.
	Faulty func(t *testing.T, n int, persist bool) (target reconciler.Target, effects func() int)
	// Damages are what can be done to the target behind stella's back: one for
	// each of Kinds.
	Damages map[string]Damage
	// Wreck breaks at once all of a service that can be broken: it is killed, and
	// its files and records are changed or gone.
	Wreck func(t *testing.T, web stella.Resource)
	// Programs are services that run for good and change what can be seen of them
	// from outside: they execute other programs, rewrite their arguments, give up
	// rights. Each prints Output once it has settled.
	Programs map[string]func(name string) stella.Resource
	// Say is a command that prints a text, for drivers that are an Executor.
	Say func(text string) []string
	// Output is a text that every service of the fixture prints when it starts,
	// for drivers that are a Logger.
	Output string
}

// Run runs the suite; newFixture is called for every test in it, several at a
// time.
func Run(t *testing.T, newFixture func(t *testing.T) Fixture) {
	for _, test := range []struct {
		name string
		run  func(s *suite)
	}{
		{"an empty target is observed as empty", (*suite).empty},
		{"what was applied is observed", (*suite).applied},
		{"actions are reported in order", (*suite).reported},
		{"an order that took effect does nothing", (*suite).idempotent},
		{"an order without actions writes the sticker", (*suite).stickerOnly},
		{"an upgrade replaces what runs", (*suite).upgrade},
		{"preparing touches nothing that runs", (*suite).prepare},
		{"going back needs no registry", (*suite).goBack},
		{"a changed variable is a difference until it is applied", (*suite).variable},
		{"what is taken out of a service is gone after the next order", (*suite).takenOut},
		{"a stale fence is refused, by whoever opens the target", (*suite).fence},
		{"what is not wanted any more is removed and the rest left alone", (*suite).removal},
		{"an extra service is observed", (*suite).extra},
		{"a volume that goes keeps what is in it out of sight", (*suite).volume},
		{"what stella did not make is left alone", (*suite).foreign},
		{"a dead process is seen and started again", (*suite).dead},
		{"every kind of damage is seen for what it is and brought back", (*suite).damaged},
		{"one order brings back what was wrecked", (*suite).wrecked},
		{"what a program does to itself is no difference", (*suite).programs},
		{"what the driver does not know is refused by name", (*suite).unknown},
		{"a failed order leaves the sticker as it was", (*suite).stickerTruth},
		{"every effect may fail, before and after it", (*suite).faults},
		{"stop ends everything and the next order starts it", (*suite).stop},
		{"remove takes everything away", (*suite).remove},
		{"a command runs beside a component", (*suite).exec},
		{"output is kept", (*suite).logs},
	} {
		t.Run(test.name, func(t *testing.T) {
			t.Parallel()
			test.run(&suite{T: t, f: newFixture(t), fresh: newFixture, seen: 100})
		})
	}
}

// suite is one test of it.
type suite struct {
	*testing.T
	f     Fixture
	fresh func(t *testing.T) Fixture
	seen  int64 // the highest fence so far
}

// patience is how long a target may take to get to where it was told to go.
const patience = 60 * time.Second

func (s *suite) observe(t reconciler.Target) stella.State {
	s.Helper()
	live, err := t.Observe(s.Context())
	if err != nil {
		s.Fatalf("observe: %v", err)
	}
	if live.Observed == nil {
		s.Fatal("a live state has no observation")
	}
	return live
}

// plan says what brings a target to a state, removals first.
func plan(want, live stella.State) []stella.Action {
	byID := map[stella.ResourceID]*stella.Action{}
	var gone, rest []stella.Action
	for _, c := range drift.Compare(want, live, nil, time.Now()) {
		if c.Class == stella.Extra && c.Path == "" {
			gone = append(gone, stella.Action{Op: stella.OpRemove, Resource: stella.Resource{ID: c.Resource}, Changes: []stella.Change{c}})
			continue
		}
		if a, ok := byID[c.Resource]; ok {
			a.Changes = append(a.Changes, c)
			continue
		}
		a := &stella.Action{Op: stella.OpUpdate, Changes: []stella.Change{c}}
		a.Resource, _ = want.Resource(c.Resource)
		if c.Class == stella.Missing && c.Path == "" {
			a.Op = stella.OpCreate
		}
		byID[c.Resource] = a
	}
	for _, services := range []bool{false, true} { // volumes before those who use them
		for _, r := range want.Resources {
			if a, ok := byID[r.ID]; ok && strings.HasPrefix(string(r.ID), "service/") == services {
				rest = append(rest, *a)
			}
		}
	}
	return append(gone, rest...)
}

func (s *suite) order(want stella.State, actions []stella.Action) stella.Order {
	s.seen++
	components := map[string]string{}
	for _, r := range want.Resources {
		if name, ok := strings.CutPrefix(string(r.ID), "service/"); ok {
			components[name] = image(r)
		}
	}
	return stella.Order{Fence: s.seen, Actions: actions, Desired: want, Sticker: stella.Sticker{
		SchemaVersion: 1, Environment: s.f.Environment, Target: s.f.Name, Deployment: fmt.Sprintf("%s-%d", s.f.Environment, s.seen),
		Release: fmt.Sprint(s.seen), Commit: "4b825dc642cb6eb9a060e54bf8d69288fbee4904", Components: components, Fence: s.seen,
		WrittenAt: time.Date(2026, 11, 23, 12, 0, 0, 0, time.UTC),
	}}
}

func image(r stella.Resource) string {
	text, _ := r.Fields["image"].(string)
	return text
}

// try prepares and applies, as planned from what is observed.
func (s *suite) try(ctx context.Context, t reconciler.Target, want stella.State) (stella.Order, error) {
	live, err := t.Observe(ctx)
	if err != nil {
		return stella.Order{}, err
	}
	o := s.order(want, plan(want, live))
	if p, ok := t.(reconciler.Preparer); ok {
		if err := p.Prepare(ctx, want, o.Fence); err != nil {
			return o, err
		}
	}
	return o, t.Apply(ctx, o, nil)
}

// deploy brings the target to a state and waits until it is observed there.
func (s *suite) deploy(t reconciler.Target, resources ...stella.Resource) stella.Order {
	s.Helper()
	want := state(resources...)
	o, err := s.try(s.Context(), t, want)
	if err != nil {
		s.Fatalf("deploy: %v", err)
	}
	s.settle(t, want)
	return o
}

func state(resources ...stella.Resource) stella.State {
	return stella.State{Resources: append([]stella.Resource{}, resources...)}
}

// settle waits until a target is observed as desired, with all that it runs.
func (s *suite) settle(t reconciler.Target, want stella.State) {
	s.Helper()
	deadline := time.After(patience)
	for {
		why := s.unsettled(t, want)
		if why == "" {
			return
		}
		select {
		case <-deadline:
			s.Fatalf("the target does not get there: %s", why)
		case <-time.After(20 * time.Millisecond):
		}
	}
}

func (s *suite) unsettled(t reconciler.Target, want stella.State) string {
	s.Helper()
	live := s.observe(t)
	for _, c := range drift.Compare(want, live, nil, time.Now()) {
		return fmt.Sprintf("%s%s: want %v, got %v", c.Resource, c.Path, c.Desired, c.Live)
	}
	for _, r := range want.Resources {
		name, ok := strings.CutPrefix(string(r.ID), "service/")
		if !ok {
			continue
		}
		c := component(live, name)
		if c.State != stella.RunRunning || c.Running != image(r) {
			return fmt.Sprintf("component %+v, want %s to run", c, image(r))
		}
	}
	return ""
}

func component(live stella.State, name string) stella.ComponentStatus {
	for _, c := range live.Observed.Components {
		if c.Name == name {
			return c
		}
	}
	return stella.ComponentStatus{Name: name, State: stella.RunMissing}
}

// checkSticker compares the sticker with that of an order; nil wants none.
func (s *suite) checkSticker(t reconciler.Target, want *stella.Sticker) {
	s.Helper()
	got := s.observe(t).Observed.Sticker
	if diff := cmp.Diff(want, got); diff != "" {
		s.Errorf("sticker (-want +got)\n%s", diff)
	}
}

// sameProcess fails if a component was started again since before.
func (s *suite) sameProcess(t reconciler.Target, name string, before stella.ComponentStatus) {
	s.Helper()
	after := component(s.observe(t), name)
	if after.State != stella.RunRunning || !after.Since.Equal(before.Since) || after.Restarts != before.Restarts {
		s.Errorf("%s was touched: before %+v, after %+v", name, before, after)
	}
}
