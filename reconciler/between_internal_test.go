package reconciler

import (
	"fmt"
	"slices"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"pgregory.net/rapid"

	"github.com/stella-ops/stella"
	"github.com/stella-ops/stella/configrepo"
	"github.com/stella-ops/stella/drift"
)

// someDesired draws what an environment wants: a few services on a few targets,
// of which some want something of their own.
func someDesired(t *rapid.T, label string) (*source, *configrepo.Desired) {
	name := stella.EnvName(label)
	d := &configrepo.Desired{Environment: name, Release: stella.Release{Version: rapid.SampledFrom([]string{"", "1", "2"}).Draw(t, label+" version")}}
	for i := range rapid.IntRange(1, 3).Draw(t, label+" targets") {
		state := configrepo.TargetState{Name: fmt.Sprintf("%s-%d", label, i)}
		for _, service := range []string{"service/api", "service/db", "volume/data"} {
			if rapid.IntRange(0, 3).Draw(t, label+" has "+service) == 0 {
				continue
			}
			fields := map[string]any{"level": rapid.SampledFrom([]string{"info", "debug", "trace"}).Draw(t, label+" level")}
			if rapid.Bool().Draw(t, label+" waits") {
				fields["dependsOn"] = map[string]any{"db": map[string]any{"condition": "service_started"}}
			}
			state.State.Resources = append(state.State.Resources, stella.Resource{ID: stella.ResourceID(service), Fields: fields, Secrets: []string{"/token"}})
		}
		d.Targets = append(d.Targets, state)
	}
	return &source{name: name, env: &configrepo.Environment{Name: name}, desired: d}, d
}

func held(t *rapid.T, rules []drift.Ignore) (forth, back, self []Difference) {
	here, x := someDesired(t, "here")
	there, y := someDesired(t, "there")
	both := func(a, b *configrepo.Desired) func(stella.ResourceID, stella.ResourceID) bool {
		return func(one, other stella.ResourceID) bool { return colocated(a, one, other) && colocated(b, one, other) }
	}
	a, b := wishOf(here, x, both(x, y)), wishOf(there, y, both(x, y))
	now := time.Time{}
	alone := wishOf(here, x, both(x, x))
	return between(a, b, rules, now), between(b, a, rules, now), between(alone, alone, rules, now)
}

// TestComparingIsTheSameFromTheOtherSide, but for the sides.
func TestComparingIsTheSameFromTheOtherSide(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		forth, back, _ := held(t, nil)
		turned := func(x Difference) string {
			class := map[stella.Class]stella.Class{stella.Missing: stella.Extra, stella.Extra: stella.Missing, stella.Modified: stella.Modified}[x.Class]
			a, b := slices.Sorted(slices.Values(x.WithTargets)), slices.Sorted(slices.Values(x.Targets))
			return fmt.Sprint(x.Aspect, x.Resource, class, x.Path, x.There, x.Here, a, b)
		}
		plain := func(x Difference) string {
			a, b := slices.Sorted(slices.Values(x.Targets)), slices.Sorted(slices.Values(x.WithTargets))
			return fmt.Sprint(x.Aspect, x.Resource, x.Class, x.Path, x.Here, x.There, a, b)
		}
		var one, other []string
		for _, x := range forth {
			one = append(one, plain(x))
		}
		for _, x := range back {
			other = append(other, turned(x))
		}
		slices.Sort(one)
		slices.Sort(other)
		if diff := cmp.Diff(one, other); diff != "" {
			t.Errorf("from here and from there (-here +there):\n%s", diff)
		}
	})
}

func TestComparingWithItselfFindsNothing(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		if _, _, self := held(t, nil); len(self) > 0 {
			t.Errorf("it differs from itself: %+v", self)
		}
	})
}

// TestARuleOnlyEverTakesAway: what is intended covers differences and makes none.
func TestARuleOnlyEverTakesAway(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		rule := drift.Ignore{Resource: rapid.SampledFrom([]string{"*/*", "service/*", "service/api", "app/release"}).Draw(t, "resource"), Path: rapid.SampledFrom([]string{"", "/level", "/*", "/version"}).Draw(t, "path")}
		here, x := someDesired(t, "here")
		there, y := someDesired(t, "there")
		always := func(stella.ResourceID, stella.ResourceID) bool { return true }
		a, b := wishOf(here, x, always), wishOf(there, y, always)
		without, with := between(a, b, nil, time.Time{}), between(a, b, []drift.Ignore{rule}, time.Time{})
		if len(with) != len(without) {
			t.Fatalf("%d differences, %d with a rule", len(without), len(with))
		}
		for i := range with {
			covered := rule.Covers(with[i].change())
			if with[i].Intended != covered {
				t.Errorf("%s %s: intended %t, covered %t", with[i].Resource, with[i].Path, with[i].Intended, covered)
			}
		}
	})
}
