package reconciler

import (
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/stella-ops/stella"
	"github.com/stella-ops/stella/drift"
	"github.com/stella-ops/stella/internal/safe"
)

// check refuses a commit after which what is wanted is not what was to be
// adopted, or something else is wanted as well.
func (a *adoption) check(now *source) error {
	for _, t := range a.want.desired.Targets {
		before := t.State
		after, _ := now.desired.Target(t.Name)
		expected, adopts := a.after[t.Name]
		if adopts {
			before = withFields(before, a.resource, expected)
		}
		for _, c := range drift.Compare(before, after, nil, time.Time{}) {
			if !adopts && c.Resource == a.resource && a.adopted(c.Path) {
				continue // another target follows
			}
			return a.beside(c, t.Name, adopts && c.Resource == a.resource && a.adopted(c.Path))
		}
	}
	return nil
}

// beside says what a commit would change that it must not, or would not change.
func (a *adoption) beside(c stella.Change, target string, own bool) error {
	what := fmt.Sprintf("would also change %s on %s", spotOf(c.Resource, c.Path), target)
	if own {
		what = fmt.Sprintf("would not make %s what runs on %s", spotOf(c.Resource, c.Path), target)
	}
	err := fmt.Errorf("adopt %s: writing %s in %s %s: %w", spotOf(a.resource, ""), strings.Join(a.place.Fields, ", "), safe.Line(a.place.Path), what, stella.ErrRefused)
	return stella.WithHint(err, fmt.Sprintf("change it by hand and commit that, or bring it back with 'stella reconcile %s'", a.scene.name))
}

// adopted reports whether a path is at, below or above one that is adopted.
func (a *adoption) adopted(path string) bool {
	return slices.ContainsFunc(a.paths, func(p string) bool {
		return p == path || strings.HasPrefix(path, p+"/") || strings.HasPrefix(p, path+"/")
	})
}

// withFields returns a state in which a resource has other fields.
func withFields(s stella.State, id stella.ResourceID, fields map[string]any) stella.State {
	s.Resources = slices.Clone(s.Resources)
	for i := range s.Resources {
		if s.Resources[i].ID == id {
			s.Resources[i].Fields = fields
		}
	}
	return s
}

// rest looks at what the deployment of the adopted state would do besides: bring
// back what else differs. That is refused unless it was asked for. Where a target
// was picked, the others follow it.
func (a *adoption) rest(p *Plan, heal bool) {
	for _, t := range p.Targets {
		var others []string
		for _, act := range t.Actions {
			for _, c := range act.Changes {
				if a.picked && c.Resource == a.resource && c.Path != "" && a.adopted(c.Path) {
					continue
				}
				others = append(others, spotOf(c.Resource, c.Path))
			}
		}
		switch {
		case len(others) == 0:
		case heal:
			p.Warnings = append(p.Warnings, fmt.Sprintf("%s: brings back %s as well", t.Target, safe.Clip(strings.Join(others, ", "), maxReasonRunes)))
		default:
			p.Findings = append(p.Findings, Finding{
				Code: FindingAlsoDrifted, Target: t.Target,
				Message: fmt.Sprintf("%s differs elsewhere too, which a deployment brings back: %s", t.Target, safe.Clip(strings.Join(others, ", "), maxReasonRunes)),
				Fix:     "adopt or ignore that first, or bring it back as well with --heal",
			})
		}
	}
}
