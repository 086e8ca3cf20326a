package reconciler

import (
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/stella-ops/stella"
	"github.com/stella-ops/stella/configrepo"
	"github.com/stella-ops/stella/internal/safe"
	"github.com/stella-ops/stella/ledger"
)

// OldOverride is how long an override may be in effect before people are told:
// a divergence that nobody decides about becomes the normal state.
const OldOverride = 7 * 24 * time.Hour

// OldOverrides are the overrides in effect that somebody should decide about.
func (s EnvironmentStatus) OldOverrides() []DeclaredOverride {
	var old []DeclaredOverride
	for _, o := range s.Overrides {
		if o.Old {
			old = append(old, o)
		}
	}
	return old
}

// declared are the overrides of a source's release, as people see them.
func declared(s *source, book ledger.Book, now time.Time) []DeclaredOverride {
	out := []DeclaredOverride{}
	if s.release == nil {
		return out
	}
	for _, o := range s.release.Overrides {
		d := DeclaredOverride{
			Targets: orEmpty(o.Targets), Components: map[string]string{}, From: o.From, Reason: o.Reason,
			Since: since(book, o), InEffect: !o.Ended(now),
		}
		for name, a := range o.Components {
			d.Components[name] = a.String()
		}
		if !o.Until.IsZero() {
			until := o.Until.UTC()
			d.Until = &until
		}
		d.Old = d.InEffect && d.Since != nil && now.Sub(*d.Since) > OldOverride
		out = append(out, d)
	}
	return out
}

// since is when an override was brought to the targets: the end of the last
// deployment that changed one of its components there, if it was to its image.
// Nil where the ledger knows of none.
func since(book ledger.Book, o configrepo.Override) *time.Time {
	for _, d := range slices.Backward(book.Deployments) {
		changed, to := changes(d, o)
		switch {
		case !changed:
		case !to || d.FinishedAt == nil:
			return nil
		default:
			at := d.FinishedAt.UTC()
			return &at
		}
	}
	return nil
}

// changes reports whether a deployment changed a component of an override where
// that holds, and whether it was to its image.
func changes(d stella.Deployment, o configrepo.Override) (changed, to bool) {
	for _, t := range d.Targets {
		if len(o.Targets) > 0 && !slices.Contains(o.Targets, t.Name) {
			continue
		}
		for name, a := range o.Components {
			if t.After[name] != "" && t.Before[name] != t.After[name] {
				changed, to = true, to || t.After[name] == string(a.Digest)
			}
		}
	}
	return changed, to
}

// words say what is declared.
func (o DeclaredOverride) words() string {
	var what []string
	for _, name := range sortedKeys(o.Components) {
		what = append(what, name+" "+shortImage(o.Components[name]))
	}
	return fmt.Sprintf("%s is declared to run on %s", strings.Join(what, ", "), onTargets(o.Targets))
}

// over says which overrides ended, after lead; nothing where none did.
func (s *source) over(lead string) string {
	if len(s.ended) == 0 {
		return ""
	}
	var all []string
	for _, o := range s.ended {
		all = append(all, fmt.Sprintf("the override of %s on %s ended %s", strings.Join(sortedKeys(o.Components), ", "),
			onTargets(o.Targets), o.Until.UTC().Format(time.RFC3339)))
	}
	return lead + safe.Line(strings.Join(all, "; "))
}

// endedAfter reports whether an override ended after t.
func (s *source) endedAfter(t time.Time) bool {
	return slices.ContainsFunc(s.ended, func(o configrepo.Override) bool { return o.Until.After(t) })
}

func onTargets(names []string) string {
	if len(names) == 0 {
		return "all targets"
	}
	return strings.Join(names, ", ")
}
