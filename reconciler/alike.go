package reconciler

import (
	"context"
	"fmt"
	"maps"
	"slices"
	"strings"
	"time"

	"github.com/stella-ops/stella"
	"github.com/stella-ops/stella/configrepo"
	"github.com/stella-ops/stella/drift"
)

// Two environments have other targets, and as many as they need. So that only
// what is worth knowing differs, they are made alike first: both are rendered
// with the same values for the variables that targets of both define, and each
// resource is compared as the set of its variants, however many targets want
// each (docs/design/0014-two-environments.md).

// wish is what one of two environments wants.
type wish struct {
	env      stella.EnvName
	variants map[stella.ResourceID][]*variant // in the order of the targets
}

// variant is a resource as some targets of an environment want it.
type variant struct {
	resource stella.Resource
	key      string   // equal for equal content
	targets  []string // that want it so
}

// state is the variant as the comparer takes it; that of nil is without it.
func (v *variant) state(id stella.ResourceID) stella.State {
	if v == nil {
		return stella.State{}
	}
	r := v.resource
	r.ID = id
	return stella.State{Resources: []stella.Resource{r}}
}

func (v *variant) on() []string {
	if v == nil {
		return []string{}
	}
	return v.targets
}

// places are the targets that want a resource.
func (w *wish) places(id stella.ResourceID) []string {
	out := []string{}
	for _, v := range w.variants[id] {
		out = append(out, v.targets...)
	}
	return out
}

// alike renders two environments so that they can be compared. Where one can
// not be rendered with the values of the other, both stay as they are, and a
// note says so.
func (e *Engine) alike(ctx context.Context, here, there *source) (a, b *wish, byTarget, notes []string) {
	x, y := here.desired, there.desired
	names, values := ownVariables(here, there)
	byTarget, notes = []string{}, []string{}
	if len(names) > 0 {
		x2, errX := e.renderWith(ctx, here, values)
		y2, errY := e.renderWith(ctx, there, values)
		if errX == nil && errY == nil {
			x, y, byTarget = x2, y2, names
		} else {
			notes = append(notes, fmt.Sprintf("the variables of targets (%s) are compared as they are: one environment can not be rendered with the other's values", strings.Join(names, ", ")))
		}
	}
	inBoth := func(one, other stella.ResourceID) bool { return colocated(x, one, other) && colocated(y, one, other) }
	return wishOf(here, x, inBoth), wishOf(there, y, inBoth), byTarget, notes
}

// ownVariables are the variables that targets of both environments define, with
// one value for each: that of the first target which defines it, of the
// environment whose name comes first.
func ownVariables(here, there *source) (names []string, values map[string]string) {
	first, second := here, there
	if second.name < first.name {
		first, second = second, first
	}
	in := func(s *source) map[string]string {
		all := map[string]string{}
		for _, t := range slices.Backward(s.env.Targets) {
			maps.Copy(all, t.Variables)
		}
		return all
	}
	values = in(first)
	others := in(second)
	maps.DeleteFunc(values, func(name, _ string) bool { _, ok := others[name]; return !ok })
	return sortedKeys(values), values
}

// renderWith renders what a source wants as if all its targets defined these
// values.
func (e *Engine) renderWith(ctx context.Context, s *source, values map[string]string) (*configrepo.Desired, error) {
	env := *s.env
	env.Targets = slices.Clone(s.env.Targets)
	for i := range env.Targets {
		all := map[string]string{}
		maps.Copy(all, env.Targets[i].Variables)
		maps.Copy(all, values)
		env.Targets[i].Variables = all
	}
	return configrepo.Render(ctx, s.tree, s.project, &env, s.release.At(e.cfg.Now()))
}

// wishOf collects the variants of every resource, and the release.
func wishOf(s *source, d *configrepo.Desired, together func(one, other stella.ResourceID) bool) *wish {
	out := &wish{env: s.name, variants: map[stella.ResourceID][]*variant{}}
	for _, t := range d.Targets {
		for _, r := range t.State.Resources {
			out.add(t.Name, withoutPlacement(r, together))
		}
	}
	release := stella.Resource{ID: releaseResource, Fields: map[string]any{}}
	if v := d.Release.Version; v != "" {
		release.Fields["version"] = v
	}
	for _, t := range d.Targets {
		out.add(t.Name, release)
	}
	return out
}

func (w *wish) add(target string, r stella.Resource) {
	text, err := drift.Canonical(map[string]any{"fields": r.Fields, "secrets": strings.Join(r.Secrets, " ")})
	if err != nil {
		panic("reconciler: a rendered resource is not canonical: " + err.Error()) // Render returns nothing else
	}
	for _, v := range w.variants[r.ID] {
		if v.key == string(text) {
			v.targets = append(v.targets, target)
			return
		}
	}
	w.variants[r.ID] = append(w.variants[r.ID], &variant{resource: r, key: string(text), targets: []string{target}})
}

// colocated reports whether some target has both resources.
func colocated(d *configrepo.Desired, one, other stella.ResourceID) bool {
	return slices.ContainsFunc(d.Targets, func(t configrepo.TargetState) bool {
		_, a := t.State.Resource(one)
		_, b := t.State.Resource(other)
		return a && b
	})
}

// withoutPlacement leaves out what a service waits for that does not run beside
// it in both environments: there it orders the targets instead.
func withoutPlacement(r stella.Resource, together func(one, other stella.ResourceID) bool) stella.Resource {
	deps, ok := r.Fields["dependsOn"].(map[string]any)
	if !ok {
		return r
	}
	kept := maps.Clone(deps)
	maps.DeleteFunc(kept, func(name string, _ any) bool { return !together(r.ID, stella.ResourceID("service/"+name)) })
	r.Fields = maps.Clone(r.Fields)
	if r.Fields["dependsOn"] = kept; len(kept) == 0 {
		delete(r.Fields, "dependsOn")
	}
	return r
}

// pair is what is compared: one of them is nil where that side has nothing.
type pair struct{ here, there *variant }

// pairs says which variants of a resource are compared. What both sides have is
// the same; every other one is held against that of the other side which is
// nearest to it.
func pairs(here, there []*variant) []pair {
	if len(here) == 0 || len(there) == 0 {
		return oneSided(here, there)
	}
	var out []pair
	add := func(p pair) {
		if !slices.Contains(out, p) {
			out = append(out, p)
		}
	}
	for _, v := range here {
		if !has(there, v.key) {
			add(pair{v, nearest(v, there)})
		}
	}
	for _, v := range there {
		if !has(here, v.key) {
			add(pair{nearest(v, here), v})
		}
	}
	return out
}

// oneSided is a resource that only one side has, all of its targets together.
func oneSided(here, there []*variant) []pair {
	whole := func(all []*variant) *variant {
		if len(all) == 0 {
			return nil
		}
		v := *all[0]
		v.targets = nil
		for _, one := range all {
			v.targets = append(v.targets, one.targets...)
		}
		return &v
	}
	return []pair{{whole(here), whole(there)}}
}

func has(all []*variant, key string) bool {
	return slices.ContainsFunc(all, func(v *variant) bool { return v.key == key })
}

// nearest is the variant with the fewest differences, the first of several.
func nearest(v *variant, among []*variant) *variant {
	var best *variant
	fewest := 0
	for _, one := range among {
		n := len(drift.Compare(v.state(v.resource.ID), one.state(v.resource.ID), nil, time.Time{}))
		if best == nil || n < fewest {
			best, fewest = one, n
		}
	}
	return best
}
