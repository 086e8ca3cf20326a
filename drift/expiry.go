package drift

import (
	"path"
	"time"

	"github.com/stella-ops/stella"
)

// Expired reports whether the rule ended: from Until on it covers nothing.
func (i Ignore) Expired(now time.Time) bool {
	return !i.Until.IsZero() && !now.Before(i.Until)
}

// Covers reports whether the rule's resource and path match the change, whether
// the rule has expired or not. A rule that is not valid covers nothing.
func (i Ignore) Covers(c stella.Change) bool {
	r, ok := prepared(i, time.Time{})
	return ok && r.matches(c.Resource) && r.covers(c.Path)
}

// Expired returns the rules that ended, in their order, whether they would cover
// anything or not: an expired rule is a finding of its own, of
// [stella.SeverityInfo]. Nil where none has.
func Expired(ignores []Ignore, now time.Time) []Ignore {
	var ended []Ignore
	for _, ig := range ignores {
		if ig.Expired(now) {
			ended = append(ended, ig)
		}
	}
	return ended
}

// Unused returns the rules in force that cover none of the changes, in their
// order: what they were written for is gone, and they would hide what comes
// next. The changes must be those of all targets that the rules hold for,
// ignored ones included, and all of these must have been read: a rule for what
// nobody saw is not unused. Nil where none is.
func Unused(ignores []Ignore, changes []stella.Change, now time.Time) []Ignore {
	var unused []Ignore
	for _, ig := range ignores {
		if r, ok := prepared(ig, now); !ig.Expired(now) && !(ok && r.coversAny(changes)) {
			unused = append(unused, ig)
		}
	}
	return unused
}

func (r *rule) coversAny(changes []stella.Change) bool {
	var id stella.ResourceID
	matches := false
	for i := range changes {
		if c := &changes[i]; i == 0 || c.Resource != id { // a pattern costs more than a path
			id, matches = c.Resource, r.matches(c.Resource)
		}
		if matches && r.covers(changes[i].Path) {
			return true
		}
	}
	return false
}

// matches reports whether the rule's pattern matches the resource's id.
func (r *rule) matches(id stella.ResourceID) bool {
	if r.plain {
		return r.Resource == string(id)
	}
	ok, err := path.Match(r.Resource, string(id))
	return ok && err == nil
}
