package cli

import (
	"fmt"
	"io"
	"regexp"
	"strings"
	"time"
	"unicode/utf8"

	"github.com/stella-ops/stella"
	"github.com/stella-ops/stella/internal/safe"
	"github.com/stella-ops/stella/internal/term"
)

// page is a report for a person: headings, aligned fields and tables. It is the
// same text on a terminal and off it, apart from colour.
type page struct {
	screen term.Screen
	now    time.Time
	wide   bool
	// width is how many columns there are: tables are cut and prose is broken to
	// fit. Zero where a program may read it, or all is wanted: nothing is.
	width int
	b     strings.Builder
}

// field is one labelled value of a report; an empty value is left out.
type field struct {
	label string
	value string
	style term.Style
}

func (p *page) flush() error {
	_, err := io.WriteString(p.screen.W, p.b.String())
	return err
}

// line writes one line of text.
func (p *page) line(style term.Style, format string, args ...any) {
	p.b.WriteString(p.screen.Paint(style, safe.Line(fmt.Sprintf(format, args...))) + "\n")
}

// indented writes one line below a heading.
func (p *page) indented(style term.Style, format string, args ...any) {
	p.b.WriteString(indent)
	p.line(style, format, args...)
}

const indent = "  "

// heading starts a section.
func (p *page) heading(text string) {
	if p.b.Len() > 0 {
		p.b.WriteByte('\n')
	}
	p.line(term.Bold, "%s", text)
}

// fields writes labels and values in two columns.
func (p *page) fields(fields ...field) {
	width := 0
	for _, f := range fields {
		if f.value != "" {
			width = max(width, utf8.RuneCountInString(f.label))
		}
	}
	for _, f := range fields {
		if f.value == "" {
			continue
		}
		label := p.screen.Paint(term.Dim, f.label) + strings.Repeat(" ", width-utf8.RuneCountInString(f.label))
		for line := range strings.SplitSeq(f.value, "\n") {
			for _, part := range p.wrap(safe.Line(line), len(indent)+width+len("  ")) {
				p.b.WriteString(indent + label + "  " + p.screen.Paint(f.style, part) + "\n")
				label = strings.Repeat(" ", width)
			}
		}
	}
}

// list writes a section with a table, or nothing where there are no rows.
func (p *page) list(heading string, l *list) {
	if len(l.rows) == 0 {
		return
	}
	p.heading(heading)
	p.table(l)
}

// table writes rows under their header, or nothing where there are none.
func (p *page) table(l *list) {
	if len(l.rows) == 0 {
		return
	}
	s := p.screen
	s.W = &p.b
	t := l.table(p.wide)
	if p.width > 0 {
		t.Fit(p.width - len(indent))
	}
	// A strings.Builder never fails.
	_ = t.Aligned(s, indent)
}

// usualWidth is how many columns a page has where nobody knows.
const usualWidth = 80

// width is how many columns there are.
func width(s term.Screen) int {
	if s.Width > 0 {
		return s.Width
	}
	return usualWidth
}

// wrapped writes a text in as many lines as it takes, those after the first one
// step further in.
func (p *page) wrapped(style term.Style, before, s string) {
	if s = oneLine(s); !p.wide {
		s = digestRE.ReplaceAllStringFunc(s, func(d string) string { return stella.Digest(d).Short() })
	}
	for i, line := range p.wrap(safe.Line(s), len(before)+len(indent)) {
		if i > 0 {
			line = indent + line
		}
		p.b.WriteString(before + p.screen.Paint(style, line) + "\n")
	}
}

// digestRE finds whole digests in a text: people tell them apart by twelve
// digits.
var digestRE = regexp.MustCompile(`sha256:[0-9a-f]{64}`)

// wrap breaks a line between words so that it fits beside what stands left of
// it. A word that is too long stays whole: ids and commands are copied.
func (p *page) wrap(line string, left int) []string {
	room := max(p.width-left, usualWidth/4)
	if p.width == 0 || utf8.RuneCountInString(line) <= room {
		return []string{line}
	}
	var lines []string
	now := ""
	for word := range strings.SplitSeq(line, " ") {
		if now != "" && utf8.RuneCountInString(now)+1+utf8.RuneCountInString(word) > room {
			lines, now = append(lines, now), word
			continue
		}
		if now != "" {
			now += " "
		}
		now += word
	}
	return append(lines, now)
}

// moment is a time in UTC and how long ago that was; empty where unknown.
func (p *page) moment(t time.Time) string {
	if t.IsZero() {
		return ""
	}
	return t.UTC().Format("2006-01-02 15:04:05 UTC") + " (" + ago(p.now, t) + ")"
}

// when is how long ago a time was that may not be there, as a cell.
func (p *page) when(t *time.Time) term.Cell {
	if t == nil {
		return term.Cell{}
	}
	return age(p.now, *t)
}

// instant is moment for a time that may not be there.
func (p *page) instant(t *time.Time) string {
	if t == nil {
		return ""
	}
	return p.moment(*t)
}
