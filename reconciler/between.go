package reconciler

import (
	"context"
	"fmt"
	"maps"
	"slices"
	"strings"
	"time"

	"github.com/stella-ops/stella"
	"github.com/stella-ops/stella/drift"
)

// Comparison is how what two environments want differs. No target is asked.
type Comparison struct {
	With    stella.EnvName `json:"with"`
	Commit  string         `json:"commit"`  // that the other one was rendered from
	Release string         `json:"release"` // version of the other one
	// Differences are sorted by aspect, resource and path.
	Differences []Difference `json:"differences"`
	// Places say where services run. They differ by nature and are not counted.
	Places []Place `json:"places"`
	// ByTarget are the variables that targets of both define. They are the places'
	// own: both were rendered with the same values for them.
	ByTarget []string `json:"byTarget"`
}

// Difference is one difference between what two environments want.
type Difference struct {
	Aspect   Aspect            `json:"aspect"`
	Resource stella.ResourceID `json:"resource"`
	Class    stella.Class      `json:"class"` // missing: the other one does not have it; extra: only the other one has it
	Path     string            `json:"path"`
	Here     any               `json:"here"`  // null where absent
	There    any               `json:"there"` // null where absent
	Severity stella.Severity   `json:"severity"`
	Intended bool              `json:"intended"` // a rule of either environment says so; it does not count
	Reason   string            `json:"reason"`
	Secret   bool              `json:"secret"`
	// Targets and WithTargets are where the two values are wanted.
	Targets     []string `json:"targets"`
	WithTargets []string `json:"withTargets"`
	// Explanation says why it is one; nil unless asked for.
	Explanation *drift.Explanation `json:"explanation"`
}

// Place says where a service runs in two environments.
type Place struct {
	Service     string   `json:"service"`
	Targets     []string `json:"targets"`
	WithTargets []string `json:"withTargets"`
}

// Aspect is which of an environment's concerns a difference belongs to.
type Aspect string

// The aspects, in the order in which they are shown.
const (
	AspectRelease       Aspect = "release"       // what is released: versions and images
	AspectConfiguration Aspect = "configuration" // how a service is run: environment, files, command
	AspectStructure     Aspect = "structure"     // of what the app consists: services, volumes, networks
)

// releaseResource stands for the release itself, which no target has.
const releaseResource = stella.ResourceID("app/release")

func aspectOf(c stella.Change) Aspect {
	field, _, _ := strings.Cut(strings.TrimPrefix(c.Path, "/"), "/")
	switch {
	case c.Resource == releaseResource, field == "image" && c.Path != "":
		return AspectRelease
	case c.Path == "", !strings.HasPrefix(string(c.Resource), "service/"),
		field == "volumes", field == "networks", field == "dependsOn":
		return AspectStructure
	}
	return AspectConfiguration
}

// compareEnvironments compares what two environments want.
func (e *Engine) compareEnvironments(ctx context.Context, req DiffRequest) (Diff, error) {
	for _, name := range []stella.EnvName{req.Environment, req.With} {
		if _, err := stella.ParseName(string(name)); err != nil {
			return Diff{}, err
		}
	}
	h, err := e.fetchOrSeen(ctx, req.Environment, req.With)
	if err != nil {
		return Diff{}, err
	}
	here, err := e.wantedAt(ctx, h, req.Environment)
	if err != nil {
		return Diff{}, err
	}
	there, err := e.wantedAt(ctx, h, req.With)
	if err != nil {
		return Diff{}, err
	}
	a, b, byTarget, notes := e.alike(ctx, here.source, there.source)
	now, st := e.cfg.Now(), e.statusOf(here)
	rules := intended(here.source, there.source)
	d := Diff{
		Environment: here.name, Against: string(there.name), Commit: string(here.commit), Targets: []TargetDiff{},
		Release: here.release.Release.Version, Standing: Standing{Sync: st.Sync, Reason: st.Reason, Files: []FileChange{}},
		Overrides: declared(here.source, here.book, now), Owed: orEmpty(here.book.State.Owed),
		Expired: covers(drift.Expired(rules, now), now), Notes: notes, Error: h.lastSeen(),
		Comparison: &Comparison{
			With: there.name, Commit: string(there.commit), Release: there.release.Release.Version,
			Differences: between(a, b, rules, now), Places: places(a, b), ByTarget: byTarget,
		},
	}
	for i := range d.Comparison.Differences {
		x := &d.Comparison.Differences[i]
		d.Drifted = d.Drifted || !x.Intended
		if req.Explain {
			terms := drift.Terms{Ignores: rules, Now: now, Desired: string(here.name), Live: string(there.name)}
			x.Explanation = new(drift.Explain(x.change(), terms))
		}
	}
	return d, nil
}

// wantedAt is an environment of which can be told what it wants.
func (e *Engine) wantedAt(ctx context.Context, h *head, env stella.EnvName) (*scene, error) {
	sc, err := e.sceneAt(ctx, h, env)
	if err != nil {
		return nil, err
	}
	if sc.invalid != nil {
		return nil, fmt.Errorf("environment %s: %w", env, sc.invalid)
	}
	return sc, nil
}

// intended are the rules of two environments for how they differ: either may
// say it.
func intended(here, there *source) []drift.Ignore {
	var rules []drift.Ignore
	for _, one := range []struct{ of, with *source }{{here, there}, {there, here}} {
		for _, i := range one.of.env.Drift.Intended {
			if i.With == one.with.name {
				rules = append(rules, i.Ignore)
			}
		}
	}
	return rules
}

// change is the difference as the comparer had it.
func (x Difference) change() stella.Change {
	return stella.Change{
		Resource: x.Resource, Class: x.Class, Path: x.Path, Desired: x.Here, Live: x.There,
		Severity: x.Severity, Ignored: x.Intended, Reason: x.Reason, Secret: x.Secret,
	}
}

// between lists the differences of two sides, each once with all the targets
// that it holds for.
func between(a, b *wish, rules []drift.Ignore, now time.Time) []Difference {
	out := []Difference{}
	for _, id := range ids(a, b) {
		for _, p := range pairs(a.variants[id], b.variants[id]) {
			for _, c := range drift.Compare(p.here.state(id), p.there.state(id), rules, now) {
				out = join(out, Difference{
					Aspect: aspectOf(c), Resource: c.Resource, Class: c.Class, Path: c.Path, Here: c.Desired, There: c.Live,
					Severity: c.Severity, Intended: c.Ignored, Reason: c.Reason, Secret: c.Secret,
					Targets: p.here.on(), WithTargets: p.there.on(),
				})
			}
		}
	}
	order := []Aspect{AspectRelease, AspectConfiguration, AspectStructure}
	slices.SortStableFunc(out, func(x, y Difference) int { return slices.Index(order, x.Aspect) - slices.Index(order, y.Aspect) })
	return out
}

// join adds a difference to those that are known; one with the same values is
// the same at more targets.
func join(known []Difference, x Difference) []Difference {
	for i := range known {
		k := &known[i]
		if k.Resource == x.Resource && k.Path == x.Path && k.Class == x.Class && sameValue(k.Here, x.Here) && sameValue(k.There, x.There) {
			k.Targets = withAll(k.Targets, x.Targets)
			k.WithTargets = withAll(k.WithTargets, x.WithTargets)
			return known
		}
	}
	return append(known, x)
}

func sameValue(a, b any) bool {
	x, errX := drift.Canonical(a)
	y, errY := drift.Canonical(b)
	return errX == nil && errY == nil && string(x) == string(y)
}

// ids are those of all resources of two sides, sorted.
func ids(a, b *wish) []stella.ResourceID {
	all := slices.AppendSeq(slices.Collect(maps.Keys(a.variants)), maps.Keys(b.variants))
	slices.Sort(all)
	return slices.Compact(all)
}

// withAll adds to a list what it lacks.
func withAll(list, more []string) []string {
	out := slices.Clone(list)
	for _, s := range more {
		if !slices.Contains(out, s) {
			out = append(out, s)
		}
	}
	return out
}

// places says where each service runs.
func places(a, b *wish) []Place {
	out := []Place{}
	for _, id := range ids(a, b) {
		if name, ok := strings.CutPrefix(string(id), "service/"); ok {
			out = append(out, Place{Service: name, Targets: a.places(id), WithTargets: b.places(id)})
		}
	}
	return out
}
