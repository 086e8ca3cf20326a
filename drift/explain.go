package drift

import (
	"fmt"
	"strings"
	"time"

	"github.com/stella-ops/stella"
	"github.com/stella-ops/stella/internal/safe"
)

// Terms are those of the comparison whose changes are explained.
type Terms struct {
	Ignores []Ignore  // the rules it was made with
	Now     time.Time // and its time
	// Desired and Live name the sides in words, such as "the baseline" or
	// "staging". Empty means "desired" and "live".
	Desired, Live string
}

// Explanation says why a difference is one and why it counts or does not. It has
// no values besides those of the change, so no secrets.
type Explanation struct {
	Side  Side     `json:"side"`  // which side has a value there
	Field []string `json:"field"` // the path's segments, unescaped; empty for a whole resource
	// Rule is the name of the rule that gave the severity, and Because its words.
	Rule    string `json:"rule"`
	Because string `json:"because"`
	// Ignore is the ignore rule that covers the change or, where none in force
	// does, the first that did until it expired. Null where there is neither.
	Ignore *Cover `json:"ignore"`
	// Words are sentences for a person, one thing each: what differs, why it is of
	// its severity, and whether it counts. Each is one printable line.
	Words []string `json:"words"`
}

// Side says which sides of a comparison have a value.
type Side string

// The sides.
const (
	OnlyDesired Side = "desired"
	OnlyLive    Side = "live"
	BothSides   Side = "both"
)

// Cover is an ignore rule as documents print it.
type Cover struct {
	Resource string     `json:"resource"`
	Path     string     `json:"path"`
	Reason   string     `json:"reason"`
	Until    *time.Time `json:"until"`   // null for never
	Expired  bool       `json:"expired"` // it covers nothing any more
	BuiltIn  bool       `json:"builtIn"` // it is not written in environment.yaml
}

// Cover returns the rule as documents print it. Text from the config repository
// is made printable.
func (i Ignore) Cover(now time.Time) Cover {
	c := Cover{Resource: safe.Line(i.Resource), Path: safe.Line(i.Path), Reason: safe.Line(i.Reason), Expired: i.Expired(now)}
	if !i.Until.IsZero() {
		until := i.Until.UTC()
		c.Until = &until
	}
	return c
}

// String is the rule in words: what it covers, until when, and why.
func (c Cover) String() string {
	var b strings.Builder
	b.WriteString(strings.TrimSpace(c.Resource + " " + c.Path))
	switch {
	case c.Until != nil && c.Expired:
		b.WriteString(", which expired on " + c.Until.Format(time.DateOnly))
	case c.Until != nil:
		b.WriteString(", until " + c.Until.Format(time.DateOnly))
	}
	if c.Reason != "" {
		b.WriteString(": " + c.Reason)
	}
	return b.String()
}

// Explain says of a change that [Compare] returned which side has what in which
// field, which rule gave its severity, and which ignore rule covers it or did
// until it expired.
func Explain(c stella.Change, terms Terms) Explanation {
	r := severityOf(severityRules(), &c)
	x := Explanation{Side: side(c.Class), Field: []string{}, Rule: r.name, Because: r.because, Ignore: decides(c, r, terms)}
	if segments, err := ParsePointer(c.Path); err == nil && len(segments) > 0 {
		x.Field = segments
	}
	x.Words = []string{
		differs(c, x, terms),
		fmt.Sprintf("It is %s by the rule %q: %s.", c.Severity, x.Rule, x.Because),
		counts(c, x.Ignore),
	}
	return x
}

func side(class stella.Class) Side {
	switch class {
	case stella.Missing:
		return OnlyDesired
	case stella.Extra:
		return OnlyLive
	default:
		return BothSides
	}
}

// decides returns the ignore rule that decides about a change, as judge would.
func decides(c stella.Change, r *severityRule, terms Terms) *Cover {
	if r.ignored {
		return &Cover{Resource: safe.Line(string(c.Resource)), Path: safe.Line(c.Path), Reason: r.because, BuiltIn: true}
	}
	var expired *Cover
	for _, ig := range terms.Ignores {
		if !ig.Covers(c) {
			continue
		}
		cover := ig.Cover(terms.Now)
		if !cover.Expired {
			return &cover
		}
		if expired == nil {
			expired = &cover
		}
	}
	return expired
}

// differs is the sentence of what differs.
func differs(c stella.Change, x Explanation, terms Terms) string {
	desired, live := orElse(terms.Desired, "desired"), orElse(terms.Live, "live")
	what := safe.Line(string(c.Resource))
	if len(x.Field) > 0 {
		what = safe.Line(strings.Join(x.Field, " ")) + " of " + what
	}
	switch {
	case x.Side == BothSides && c.Secret:
		return fmt.Sprintf("%s differs between %s and %s; its values are secret.", what, desired, live)
	case x.Side == BothSides:
		return fmt.Sprintf("%s: %s has %s, %s has %s.", what, desired, inWords(c.Desired), live, inWords(c.Live))
	case x.Side == OnlyDesired && c.Path == "":
		return fmt.Sprintf("%s: %s has it, %s does not.", what, desired, live)
	case x.Side == OnlyDesired:
		return fmt.Sprintf("%s: %s has %s, %s does not have it.", what, desired, inWords(c.Desired), live)
	case c.Path == "":
		return fmt.Sprintf("%s: %s has it, %s does not.", what, live, desired)
	default:
		return fmt.Sprintf("%s: %s has %s, %s does not have it.", what, live, inWords(c.Live), desired)
	}
}

// counts is the sentence of whether a change counts.
func counts(c stella.Change, ignore *Cover) string {
	switch {
	case c.Ignored && ignore != nil && ignore.BuiltIn:
		return "It does not count: " + ignore.Reason + "."
	case c.Ignored && ignore != nil:
		return "It does not count: the ignore rule " + ignore.String() + "."
	case c.Ignored:
		return "It does not count: " + safe.Line(c.Reason) + "."
	case ignore != nil && ignore.Expired:
		return "It counts again: it was covered by the ignore rule " + ignore.String() + "."
	default:
		return "It counts: no ignore rule covers it."
	}
}

func orElse(s, otherwise string) string {
	if s == "" {
		return otherwise
	}
	return safe.Line(s)
}

// maxWordRunes bounds a value within a sentence: the change has all of it.
const maxWordRunes = 120

// inWords is a value within a sentence.
func inWords(v any) string {
	if v == stella.SecretChanged {
		return "a secret"
	}
	text, err := encode(v)
	if err != nil {
		return "a value that is not JSON"
	}
	return safe.Clip(string(text), maxWordRunes)
}
