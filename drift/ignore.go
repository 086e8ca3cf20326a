package drift

import (
	"strings"
	"time"

	"github.com/stella-ops/stella"
	"github.com/stella-ops/stella/internal/safe"
)

// Ignore is a rule for differences that do not count as drift, as written in
// environment.yaml under drift.ignore. A rule whose pattern or path is not
// valid covers nothing: when in doubt, a difference counts.
type Ignore struct {
	// Resource is matched with path.Match against the resource's id:
	// "service/api", "service/*". Empty matches nothing.
	Resource string
	// Path is a JSON Pointer (RFC 6901) into the resource, in which a segment
	// of "*" stands for any one segment, one that is "*" itself among them. It
	// covers everything below it; empty covers the whole resource, its absence
	// included.
	Path string
	// Reason is shown with every difference that the rule covers.
	Reason string
	// Until ends the rule: it covers nothing from then on. The zero value
	// means never.
	Until time.Time
}

// rule is an Ignore made ready for matching.
type rule struct {
	Ignore
	segments []string // escaped as Pointer writes them
	expired  bool
	plain    bool // the pattern is the id itself
}

// prepare drops rules that are not valid; the reader of environment.yaml has
// reported them with file and line.
func prepare(ignores []Ignore, now time.Time) []rule {
	rules := make([]rule, 0, len(ignores))
	for _, ig := range ignores {
		if r, ok := prepared(ig, now); ok {
			rules = append(rules, r)
		}
	}
	return rules
}

func prepared(ig Ignore, now time.Time) (r rule, ok bool) {
	segments, err := ParsePointer(ig.Path)
	if err != nil {
		return rule{}, false
	}
	for i := range segments {
		segments[i] = escapeSegment(segments[i])
	}
	plain := !strings.ContainsAny(ig.Resource, `*?[\`)
	return rule{Ignore: ig, segments: segments, expired: ig.Expired(now), plain: plain}, true
}

// judge marks the changes of one resource that a rule covers. The first rule
// in force decides; where only expired ones match, the change counts and its
// reason says so.
func judge(changes []stella.Change, id stella.ResourceID, rules []rule) {
	for i := range rules {
		r := &rules[i]
		if !r.matches(id) {
			continue
		}
		for j := range changes {
			if c := &changes[j]; !c.Ignored && r.covers(c.Path) {
				r.mark(c)
			}
		}
	}
}

func (r *rule) mark(c *stella.Change) {
	switch {
	case !r.expired:
		c.Ignored, c.Reason = true, r.words()
	case c.Reason == "":
		c.Reason = "the ignore rule expired on " + r.Until.UTC().Format(time.DateOnly) + ": " + r.words()
	}
}

// words is the reason as shown. It comes from the config repository.
func (r *rule) words() string {
	if r.Reason == "" {
		return "ignored by the rule " + safe.Line(r.Resource+" "+r.Path)
	}
	return safe.Line(r.Reason)
}

// covers reports whether the rule's path is the pointer or one above it. The
// pointer is one that Compare made, so that equal segments are written equally
// and need no unescaping.
func (r *rule) covers(pointer string) bool {
	for _, want := range r.segments {
		if pointer == "" {
			return false
		}
		var segment string
		segment, pointer = cutSegment(pointer)
		if want != "*" && want != segment {
			return false
		}
	}
	return true
}

// cutSegment splits "/a/b" into "a" and "/b".
func cutSegment(pointer string) (segment, rest string) {
	end := strings.IndexByte(pointer[1:], '/') + 1
	if end == 0 {
		return pointer[1:], ""
	}
	return pointer[1:end], pointer[end:]
}
