package drift

import (
	"cmp"
	"slices"
	"strings"
	"time"
	"unicode/utf8"

	"github.com/stella-ops/stella"
)

// MaxIdentityBytes bounds what a finding is about: its target, resource and path
// together. A longer path is cut at a segment, so that the differences below are
// one finding.
const MaxIdentityBytes = 1000

// Look is one look at the targets of an environment, compared.
type Look struct {
	At      time.Time
	Targets []string // all that the environment has
	// Read has the differences of each target that could be read, ignored ones
	// among them. Of a target that is not in it nothing is known.
	Read map[string][]stella.Change
	// Deployed are the targets that a deployment verified since findings were last
	// written.
	Deployed map[string]bool
	// Seen is when each target was last read and found as it was known; what ended
	// on it since then was last seen at that time. A target may be absent.
	Seen map[string]time.Time
}

// Known is what was known of an environment's drift before a look.
type Known struct {
	Open      []stella.DriftFinding
	Uncounted int // how many more differences there were
	Most      int // how many findings may be open
}

// Turn is what a look changes of what is known.
type Turn struct {
	Open      []stella.DriftFinding // all that are open now, in order
	Opened    []stella.DriftFinding // those of them that are new
	Ended     []stella.DriftFinding // in order, with how and when
	Uncounted int                   // differences that are not among Open, for want of room
}

// Changed reports whether there is anything to remember.
func (t Turn) Changed(k Known) bool {
	return len(t.Opened) > 0 || len(t.Ended) > 0 || t.Uncounted != k.Uncounted
}

// Follow brings what is known of an environment's drift up to date with a look.
// A target that could not be read changes nothing of its findings, and neither
// does one that differs as a whole: of what is in a resource that is missing
// nothing is seen.
func Follow(k Known, look Look) Turn {
	var t Turn
	f := follower{look: look, seen: map[string]*sighted{}}
	for target, changes := range look.Read {
		f.seen[target] = sight(target, changes, look.At)
	}
	for _, was := range k.Open {
		switch how, now := f.fate(was); {
		case how != "":
			t.Ended = append(t.Ended, f.end(was, how))
		default:
			t.Open = append(t.Open, now)
		}
	}
	t.Uncounted = t.open(f.fresh(k.Open), k.Most)
	if len(look.Read) < len(look.Targets) {
		t.Uncounted = max(t.Uncounted, k.Uncounted) // some of them may be where nobody could look
	}
	slices.SortFunc(t.Open, stella.DriftFinding.Compare)
	slices.SortFunc(t.Opened, stella.DriftFinding.Compare)
	slices.SortFunc(t.Ended, stella.DriftFinding.Compare)
	return t
}

// open opens as many of the findings as there is room for, the worst first, and
// returns how many it left out.
func (t *Turn) open(fresh []stella.DriftFinding, most int) int {
	slices.SortFunc(fresh, func(a, b stella.DriftFinding) int {
		return cmp.Or(cmp.Compare(rank(b.Severity), rank(a.Severity)), a.Compare(b))
	})
	room := min(max(0, most-len(t.Open)), len(fresh))
	t.Opened = fresh[:room:room]
	t.Open = append(t.Open, t.Opened...)
	return len(fresh) - room
}

func rank(s stella.Severity) int {
	return slices.Index([]stella.Severity{stella.SeverityInfo, stella.SeverityWarning, stella.SeverityCritical}, s)
}

// follower is one Follow under way.
type follower struct {
	look Look
	seen map[string]*sighted // by target, of those that were read
}

// sighted is what was seen of one target: findings by what they are about, and
// apart from them those that a rule covers.
type sighted struct {
	count, ignored map[stella.DriftFinding]stella.DriftFinding
}

func sight(target string, changes []stella.Change, at time.Time) *sighted {
	s := &sighted{count: map[stella.DriftFinding]stella.DriftFinding{}, ignored: map[stella.DriftFinding]stella.DriftFinding{}}
	for _, c := range changes {
		f := Identify(target, c)
		into := s.count
		if c.Ignored {
			into = s.ignored
		}
		found := f
		found.Severity, found.FirstSeen, found.LastSeen = c.Severity, at, at
		if was, ok := into[f]; !ok || rank(was.Severity) < rank(found.Severity) {
			into[f] = found
		}
	}
	return s
}

// Identify returns what a finding about a difference is about, and nothing else
// of it.
func Identify(target string, c stella.Change) stella.DriftFinding {
	f := stella.DriftFinding{Target: target, Resource: stella.ResourceID(whole8(string(c.Resource))), Path: whole8(c.Path), Class: c.Class}
	if room := max(0, MaxIdentityBytes-len(target)); len(f.Resource) > room {
		f.Resource = stella.ResourceID(cut(string(f.Resource), room))
	}
	room := max(0, MaxIdentityBytes-len(target)-len(f.Resource))
	for len(f.Path) > room {
		f.Path = f.Path[:strings.LastIndexByte(f.Path, '/')]
	}
	return f
}

// whole8 is text as it is read back once it was stored: a file's name need not be
// UTF-8.
func whole8(s string) string { return strings.ToValidUTF8(s, "\uFFFD") }

func cut(s string, most int) string {
	most = max(0, most)
	for most > 0 && !utf8.RuneStart(s[most]) {
		most--
	}
	return s[:most]
}

func identity(f stella.DriftFinding) stella.DriftFinding {
	return stella.DriftFinding{Target: f.Target, Resource: f.Resource, Path: f.Path, Class: f.Class}
}

// fate says how a finding ended; empty where it is still open, as it is now.
func (f *follower) fate(was stella.DriftFinding) (stella.DriftEnd, stella.DriftFinding) {
	s := f.seen[was.Target]
	switch {
	case !slices.Contains(f.look.Targets, was.Target):
		return stella.EndWentAway, was
	case s == nil:
		return "", was
	}
	id := identity(was)
	if _, still := s.count[id]; still {
		was.LastSeen = latest(was.LastSeen, f.look.At)
		return "", was
	}
	if s.above(id, s.count) {
		return "", was
	}
	if _, covered := s.ignored[id]; covered || s.above(id, s.ignored) {
		return stella.EndIgnored, was
	}
	if f.look.Deployed[was.Target] {
		return stella.EndHealed, was
	}
	return stella.EndWentAway, was
}

// above reports whether something that the finding is part of differs as a whole.
func (s *sighted) above(id stella.DriftFinding, in map[stella.DriftFinding]stella.DriftFinding) bool {
	for id.Path != "" {
		id.Path = id.Path[:strings.LastIndexByte(id.Path, '/')]
		for _, class := range []stella.Class{stella.Missing, stella.Extra, stella.Modified} {
			id.Class = class
			if _, ok := in[id]; ok {
				return true
			}
		}
	}
	return false
}

func (f *follower) end(was stella.DriftFinding, how stella.DriftEnd) stella.DriftFinding {
	at := latest(f.look.At, was.LastSeen)
	if seen, ok := f.look.Seen[was.Target]; ok && seen.Before(at) {
		was.LastSeen = latest(was.LastSeen, seen)
	}
	was.EndedAt, was.Ended = &at, how
	return was
}

func latest(a, b time.Time) time.Time {
	if b.After(a) {
		return b
	}
	return a
}

// fresh are the differences that count and are not among the open findings.
func (f *follower) fresh(open []stella.DriftFinding) []stella.DriftFinding {
	known := make(map[stella.DriftFinding]bool, len(open))
	for _, o := range open {
		known[identity(o)] = true
	}
	var fresh []stella.DriftFinding
	for target, s := range f.seen {
		if !slices.Contains(f.look.Targets, target) {
			continue
		}
		for id, found := range s.count {
			if !known[id] {
				fresh = append(fresh, found)
			}
		}
	}
	return fresh
}

// Settlement is what a deployment did to the targets that it verified.
type Settlement struct {
	At time.Time
	// Verified has for each of those targets the differences that it began with.
	Verified map[string][]stella.Change
	// Alone are the places that it was told to leave as they are.
	Alone []Place
	// Wanted reports whether the deployment wants something else of a finding's
	// place than the one before it did.
	Wanted func(stella.DriftFinding) bool
}

// Settle says how the findings ended that a deployment ended: nothing that counts
// differs any more on a target that was verified. What differed from what the
// deployment wants was healed by it; what did not, though something else is
// wanted there now, was adopted.
func Settle(open []stella.DriftFinding, s Settlement) (ended []stella.DriftFinding) {
	for _, was := range open {
		changes, ok := s.Verified[was.Target]
		if !ok || slices.Contains(s.Alone, Place{was.Target, was.Resource}) {
			continue
		}
		how := stella.EndWentAway
		switch met, ignored := meets(was, changes); {
		case met && ignored:
			how = stella.EndIgnored
		case met:
			how = stella.EndHealed
		case s.Wanted(was):
			how = stella.EndAdopted
		}
		at := latest(s.At, was.LastSeen)
		was.EndedAt, was.Ended = &at, how
		ended = append(ended, was)
	}
	return ended
}

// meets reports whether one of the changes is where the finding is, above it or
// below it, and whether a rule covers all of those.
func meets(f stella.DriftFinding, changes []stella.Change) (met, ignored bool) {
	ignored = true
	for _, c := range changes {
		id := Identify(f.Target, c)
		if id.Resource != f.Resource || !within(id.Path, f.Path) && !within(f.Path, id.Path) {
			continue
		}
		met, ignored = true, ignored && c.Ignored
	}
	return met, met && ignored
}

// within reports whether a path is another one or below it.
func within(path, above string) bool {
	rest, ok := strings.CutPrefix(path, above)
	return ok && (rest == "" || rest[0] == '/')
}
