package cli

import (
	"fmt"
	"io"
	"strings"
	"time"
	"unicode/utf8"

	"github.com/stella-ops/stella/internal/safe"
	"github.com/stella-ops/stella/internal/term"
)

// page is a report for a person: headings, aligned fields and tables. It is the
// same text on a terminal and off it, apart from colour.
type page struct {
	screen term.Screen
	now    time.Time
	wide   bool
	b      strings.Builder
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
			p.b.WriteString(indent + label + "  " + p.screen.Paint(f.style, safe.Line(line)) + "\n")
			label = strings.Repeat(" ", width)
		}
	}
}

// list writes a section with a table, or nothing where there are no rows.
func (p *page) list(heading string, l *list) {
	if len(l.rows) == 0 {
		return
	}
	p.heading(heading)
	s := p.screen
	s.W = &p.b
	// A strings.Builder never fails.
	_ = l.table(p.wide).Aligned(s, indent)
}

// moment is a time in UTC and how long ago that was; empty where unknown.
func (p *page) moment(t time.Time) string {
	if t.IsZero() {
		return ""
	}
	return t.UTC().Format("2006-01-02 15:04:05 UTC") + " (" + ago(p.now, t) + ")"
}

// instant is moment for a time that may not be there.
func (p *page) instant(t *time.Time) string {
	if t == nil {
		return ""
	}
	return p.moment(*t)
}
