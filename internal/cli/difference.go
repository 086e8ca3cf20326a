package cli

import (
	"encoding/json"
	"fmt"
	"strings"
	"unicode/utf8"

	udiff "github.com/aymanbagabas/go-udiff"

	"github.com/stella-ops/stella"
	"github.com/stella-ops/stella/internal/safe"
	"github.com/stella-ops/stella/internal/term"
)

// sides is how the two sides of a comparison are spoken of.
type sides struct {
	one, other string // labels of their values
	class      bool   // the class is shown: the words do not tell all of it
	uncounted  string // what is said of one that does not count
	both       string // with both values
	onlyOne    string // with the value that only the first has
	onlyOther  string // with the value that only the second has
	wholeOne   string // a whole resource that only the first has
	wholeOther string // a whole resource that only the second has
}

// liveSides are what is wanted, and what runs.
func liveSides() sides {
	return sides{
		one: "wanted", other: "runs", class: true, uncounted: "ignored", both: "wanted %s, runs %s", onlyOne: "wanted %s, not there",
		onlyOther: "not wanted, there is %s", wholeOne: "wanted, not there", wholeOther: "not wanted, there",
	}
}

// environmentSides are two environments.
func environmentSides(one, other stella.EnvName) sides {
	a, b := string(one), string(other)
	return sides{
		one: a, other: b, uncounted: "intended", both: "%s in " + a + ", %s in " + b, onlyOne: "%s in " + a + ", not in " + b,
		onlyOther: "%s in " + b + ", not in " + a, wholeOne: "only in " + a, wholeOther: "only in " + b,
	}
}

// writeDifference writes one difference: in one line where it fits, else each
// side in one of its own, and texts of several lines as a unified diff.
func writeDifference(p *page, s sides, c stella.Change) {
	const before = indent + indent
	style, lead := styleOfSeverity(c), fmt.Sprintf("%-8s  ", s.severity(c))
	if s.class {
		lead += fmt.Sprintf("%-8s  ", c.Class)
	}
	lead += safe.Line(c.Path)
	if c.Path != "" {
		lead += ": "
	}
	put := func(style term.Style, line string) { p.b.WriteString(before + p.screen.Paint(style, line) + "\n") }
	fits := func(line string) bool { return p.width == 0 || utf8.RuneCountInString(before+line) <= p.width }
	// alone is the lead in a line of its own; a path that is too long even so is in
	// the next one, whole: it is what the answers to a drift are given.
	alone := func() {
		bare := strings.TrimSuffix(lead, ": ")
		if path := safe.Line(c.Path); path != "" && !fits(bare) {
			put(style, strings.TrimRight(strings.TrimSuffix(bare, path), " "))
			put(style, indent+path)
			return
		}
		put(style, bare)
	}
	if text, ok := asText(c); ok {
		const differs = "its text differs"
		if fits(lead + differs) {
			put(style, lead+differs)
		} else {
			alone()
			put(style, indent+differs)
		}
		unified(p, before+indent, textDiff(s, text))
	} else if line := lead + s.words(p, c); fits(line) {
		put(style, line)
	} else if alone(); c.Secret {
		p.wrapped(style, before+indent, s.words(p, c))
	} else {
		label := max(len(s.one), len(s.other))
		for i, text := range s.beside(p, c, len(before)+len(indent)+label+2) {
			put(style, indent+fmt.Sprintf("%-*s  %s", label, []string{s.one, s.other}[i], text))
		}
	}
	if c.Reason != "" {
		p.wrapped(term.Dim, before+indent, reasonWord(c)+c.Reason)
	}
}

func (s sides) severity(c stella.Change) string {
	if c.Ignored {
		return s.uncounted
	}
	return string(c.Severity)
}

func reasonWord(c stella.Change) string {
	if c.Ignored {
		return "because: "
	}
	return ""
}

func styleOfSeverity(c stella.Change) term.Style {
	switch {
	case c.Ignored, c.Severity == stella.SeverityInfo:
		return term.Dim
	case c.Severity == stella.SeverityCritical:
		return term.Bad
	}
	return term.Warn
}

// words say a difference in one line.
func (s sides) words(p *page, c stella.Change) string {
	secret := func(v any) any {
		if v == stella.SecretChanged {
			return "a secret"
		}
		return v
	}
	switch {
	case c.Path == "" && c.Class == stella.Missing:
		return s.wholeOne
	case c.Path == "" && c.Class == stella.Extra:
		return s.wholeOther
	case c.Class == stella.Missing:
		return fmt.Sprintf(s.onlyOne, shown(p, secret(c.Desired), 0))
	case c.Class == stella.Extra:
		return fmt.Sprintf(s.onlyOther, shown(p, secret(c.Live), 0))
	case c.Desired == stella.SecretChanged || c.Live == stella.SecretChanged:
		return stella.SecretChanged
	}
	return fmt.Sprintf(s.both, shown(p, c.Desired, 0), shown(p, c.Live, 0))
}

// beside are the two values, one below the other, cut to fit. What would look
// the same then is not cut.
func (s sides) beside(p *page, c stella.Change, left int) []string {
	one, other := c.Desired, c.Live
	if c.Class == stella.Missing {
		other = "nothing"
	}
	if c.Class == stella.Extra {
		one = "nothing"
	}
	a, b := shown(p, one, left), shown(p, other, left)
	if a == b || c.Path == "/image" {
		a, b = shown(p, one, 0), shown(p, other, 0)
	}
	return []string{a, b}
}

// shown is a value in one line that fits beside what stands left of it; left is
// 0 where it may be as long as it is.
func shown(p *page, v any, left int) string {
	text, is := v.(string)
	if !is {
		b, err := json.Marshal(v)
		if err != nil {
			return "?"
		}
		text = string(b)
	}
	if p.wide {
		return safe.Line(text)
	}
	text = shortDigests(longImage(text))
	if left > 0 && p.width > 0 {
		return safe.Clip(text, max(p.width-left-1, usualWidth/4))
	}
	return safe.Line(text)
}

// shortDigests cuts whole digests in a text to twelve digits.
func shortDigests(s string) string {
	return digestRE.ReplaceAllStringFunc(s, func(d string) string { return stella.Digest(d).Short() })
}

// texts are the two sides of a difference in a text of several lines.
type texts struct{ one, other string }

// asText returns the values where they are texts and one has several lines.
func asText(c stella.Change) (t texts, ok bool) {
	if c.Secret || c.Path == "" {
		return t, false
	}
	one, is := c.Desired.(string)
	other, also := c.Live.(string)
	if !is && c.Desired != nil || !also && c.Live != nil {
		return t, false
	}
	return texts{one, other}, strings.Contains(one, "\n") || strings.Contains(other, "\n")
}

// mostCompared is the longest text of which lines are compared, in bytes.
const mostCompared = 256 << 10

// textDiff is how the two texts differ, in unified format.
func textDiff(s sides, t texts) string {
	if len(t.one) > mostCompared || len(t.other) > mostCompared {
		return fmt.Sprintf("--- %s\n+++ %s\n %d bytes and %d bytes: too long to be compared by line\n", s.one, s.other, len(t.one), len(t.other))
	}
	return udiff.Unified(s.one, s.other, t.one, t.other)
}

// mostLines is how many lines of one text a page shows.
const mostLines = 40

// unified writes a text in unified format, each line cut to the page, and no
// more of them than somebody reads. Where only white space differs, it is made
// visible.
func unified(p *page, before, diff string) {
	lines := strings.Split(strings.TrimSuffix(diff, "\n"), "\n")
	if diff == "" {
		return
	}
	blank := onlySpace(lines)
	for i, line := range lines {
		if i >= mostLines && !p.wide {
			p.b.WriteString(before + p.screen.Paint(term.Dim, fmt.Sprintf("… %s more: '-o wide' shows them", count(len(lines)-i, "line"))) + "\n")
			break
		}
		style := styleOfLine(line, i)
		if blank && style != term.Dim {
			line = line[:1] + strings.NewReplacer(" ", "·", "\t", "→", "\r", "␍").Replace(line[1:])
		}
		p.b.WriteString(before + p.screen.Paint(style, p.cut(before, line)) + "\n")
	}
	if blank {
		p.b.WriteString(before + p.screen.Paint(term.Dim, "(only white space differs)") + "\n")
	}
}

// cut is a line of a text, cut to fit the page beside what stands before it.
func (p *page) cut(before, line string) string {
	line = safe.Line(strings.ReplaceAll(line, "\t", "    "))
	if p.width > 0 && !p.wide {
		line = safe.Clip(line, max(p.width-utf8.RuneCountInString(before)-1, usualWidth/4))
	}
	return line
}

func styleOfLine(line string, at int) term.Style {
	switch {
	case at < 2: // the names of the two
		return term.Dim
	case strings.HasPrefix(line, "+"):
		return term.Good
	case strings.HasPrefix(line, "-"):
		return term.Bad
	}
	return term.Dim
}

// onlySpace reports whether what goes and what comes is the same but for white
// space.
func onlySpace(lines []string) bool {
	var gone, come strings.Builder
	changed := false
	for i, line := range lines {
		switch styleOfLine(line, i) {
		case term.Bad:
			gone.WriteString(line[1:])
			changed = true
		case term.Good:
			come.WriteString(line[1:])
			changed = true
		default:
		}
	}
	squeeze := func(s string) string { return strings.Join(strings.Fields(s), "") }
	return changed && squeeze(gone.String()) == squeeze(come.String())
}
