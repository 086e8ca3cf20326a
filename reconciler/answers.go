package reconciler

import (
	"context"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/stella-ops/stella"
	"github.com/stella-ops/stella/drift"
	"github.com/stella-ops/stella/internal/safe"
)

// A drift has three answers. Bringing what runs back is a reconcile; the two
// others are commits: a rule that lets a difference be, and what runs as what is
// wanted. Both are about differences that are there now, to the deployment in
// effect; see docs/design/0015-answers.md.

// question is what a person answers: the differences of one resource between the
// deployment in effect and what runs.
type question struct {
	scene    *scene
	want     *source // the deployment in effect
	in       stella.Deployment
	resource stella.ResourceID
	targets  []TargetDiff // all of them, with all differences
	live     map[string]stella.State
}

// seen is a difference on a target.
type seen struct {
	target string
	stella.Change
}

func (s seen) String() string { return fmt.Sprintf("%s on %s", spotOf(s.Resource, s.Path), s.target) }

// spotOf names a place in a resource.
func spotOf(id stella.ResourceID, path string) string {
	return safe.Line(strings.TrimSpace(string(id) + " " + path))
}

// ask looks at an environment's targets and finds the resource that is meant: an
// id, or the name of a service. What is seen while somebody is at work on them is
// no drift.
func (e *Engine) ask(ctx context.Context, env stella.EnvName, resource string, o Options) (*question, error) {
	sc, err := e.look(ctx, env)
	if err != nil {
		return nil, err
	}
	if lock := sc.book.Lock(time.Now()); lock != nil && !e.mayTakeOver(sc, lock, o) {
		return nil, lockedError(env, *lock)
	}
	want, in, err := e.inEffect(ctx, sc)
	if err != nil {
		return nil, err
	}
	if want.invalid != nil {
		return nil, want.invalid
	}
	q := &question{scene: sc, want: want, in: in, live: map[string]stella.State{}}
	sv := e.sites(ctx, want, sc.book)
	for _, s := range sv.sites {
		q.targets = append(q.targets, compareSite(s, want.desired, want.env.Drift.Ignore, e.cfg.Now()))
		if s.err == nil {
			q.live[s.spec.Name] = s.live
		}
	}
	return q, q.name(resource)
}

// name finds the resource that is meant.
func (q *question) name(resource string) error {
	known := map[stella.ResourceID]bool{}
	for _, t := range q.want.desired.Targets {
		for _, r := range t.State.Resources {
			known[r.ID] = true
		}
	}
	for _, t := range q.targets {
		for _, c := range t.Changes {
			known[c.Resource] = true
		}
	}
	q.resource = stella.ResourceID(resource)
	if !strings.Contains(resource, "/") {
		q.resource = stella.ResourceID("service/" + resource)
	}
	if known[q.resource] {
		return nil
	}
	var names []string
	for id := range known {
		names = append(names, safe.Line(string(id)))
	}
	slices.Sort(names)
	err := fmt.Errorf("resource %s of %s: %w", safe.Clip(resource, 200), q.scene.name, stella.ErrNotFound)
	return stella.WithHint(err, "it has "+safe.Clip(strings.Join(names, ", "), 500))
}

// differing are the differences of the resource that a rule would cover,
// whether another rule covers them already or not.
func (q *question) differing(rule drift.Ignore) []seen {
	var all []seen
	for _, t := range q.targets {
		for _, c := range t.Changes {
			if rule.Covers(c) {
				all = append(all, seen{t.Target, c})
			}
		}
	}
	return all
}

// unread says which targets could not be read, empty for none.
func (q *question) unread() string {
	var names []string
	for _, t := range q.targets {
		if t.Error != "" {
			names = append(names, fmt.Sprintf("%s (%s)", t.Target, firstLine(t.Error)))
		}
	}
	return strings.Join(names, ", ")
}

// nothingThere says that what is meant does not differ now.
func (q *question) nothingThere(path, otherwise string) error {
	what := fmt.Sprintf("%s does not differ from %s now", spotOf(q.resource, path), q.in.ID)
	if unread := q.unread(); unread != "" {
		what += ", as far as could be seen: " + unread + " could not be read"
	}
	err := fmt.Errorf("%s: %w", what, stella.ErrRefused)
	if others := pathsOf(q.differing(drift.Ignore{Resource: patternOf(q.resource)})); len(others) > 0 {
		return stella.WithHint(err, "what differs of it is "+strings.Join(others, ", "))
	}
	return stella.WithHint(err, otherwise)
}

// pathsOf lists the paths of differences, each once.
func pathsOf(all []seen) []string {
	var paths []string
	for _, s := range all {
		if p := spotOf("", s.Path); p != "" && !slices.Contains(paths, p) {
			paths = append(paths, p)
		}
	}
	slices.Sort(paths)
	return paths
}

// checkPath refuses what is no JSON Pointer, in words that help.
func checkPath(path string) error {
	if _, err := drift.ParsePointer(path); err != nil {
		return stella.WithHint(err, "write it as 'stella drift detect' shows it, such as /environment/LOG_LEVEL")
	}
	return nil
}

// oneConfig returns the path of the config that a difference is in the content
// of, empty for any other. The content and its digest differ together: they are
// one difference to a person.
func oneConfig(path string) string {
	segments, err := drift.ParsePointer(path)
	if err != nil || len(segments) != 3 || segments[0] != "configs" {
		return ""
	}
	switch segments[2] {
	case "content", "contentBase64", "digest":
		return drift.Pointer(segments[:2]...)
	}
	return ""
}

// byOne groups paths that are one difference to a person.
func byOne(paths []string) map[string][]string {
	groups := map[string][]string{}
	for _, p := range paths {
		key := p
		if config := oneConfig(p); config != "" {
			key = config + "/content"
		}
		groups[key] = append(groups[key], p)
	}
	return groups
}
