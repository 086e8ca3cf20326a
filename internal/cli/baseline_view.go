package cli

import (
	"fmt"
	"time"

	"github.com/stella-ops/stella/internal/term"
	"github.com/stella-ops/stella/reconciler"
)

func writeBaseline(p *page, r reconciler.BaselineReport) {
	title, style := baselineTitle(r)
	p.line(style, "%s: %s", r.Environment, title)
	b := r.Baseline
	if b == nil {
		return
	}
	runs := "no"
	if r.InEffect {
		runs = "yes"
	}
	p.fields(
		field{label: "release", value: b.Release},
		field{label: "components", value: images(b.Components)},
		field{label: "commit", value: shortID(b.Commit)},
		field{label: "captured", value: p.moment(b.CapturedAt)},
		field{label: "by", value: b.CapturedBy},
		field{label: "reason", value: b.Reason},
		field{label: "in effect", value: runs},
	)
}

func baselineTitle(r reconciler.BaselineReport) (string, term.Style) {
	what := "the baseline"
	if r.Baseline != nil {
		what += " is " + titleOf(r.Baseline)
	}
	switch {
	case r.Error != "":
		return "could not tell: " + r.Error, term.Bad
	case r.Unknown:
		return what + "; not all witnesses answered", term.Warn
	case !r.OK && r.Baseline == nil:
		return what + " can not be read", term.Bad
	case !r.OK:
		return what + "; it can not be relied on", term.Bad
	}
	return what, term.Good
}

// writeTestimony lists what witnesses say: all, or those that have something to
// say.
func writeTestimony(p *page, r reconciler.BaselineReport, all bool) {
	for _, w := range r.Witnesses {
		text, style := w.Name+": ", term.Bad
		switch {
		case w.OK && w.Why == "" && !all:
			continue
		case w.OK:
			text, style = text+"agrees", term.Good
		case w.Unknown:
			text, style = text+"could not be asked", term.Warn
		default:
			text += "does not agree"
		}
		if w.Why != "" {
			text += ": " + w.Why
		}
		p.wrapped(style, indent, text)
	}
}

func baselineList(all []reconciler.BaselineEntry, now time.Time) *list {
	l := &list{columns: columns("ENVIRONMENT", "DEPLOYMENT", "RELEASE", "CAPTURED", "~BY", "+COMMIT", "~REASON")}
	for _, e := range all {
		switch b := e.Baseline; {
		case b != nil:
			l.add(text(string(e.Environment)), text(b.Deployment), text(b.Release), age(now, b.CapturedAt), person(b.CapturedBy), gitID(e.Commit), text(b.Reason))
		case e.Removed:
			l.add(text(string(e.Environment)), text(""), text(""), age(now, e.At), person(e.Author), gitID(e.Commit), text("removed"))
		default:
			l.add(text(string(e.Environment)), text(""), text(""), age(now, e.At), person(e.Author), gitID(e.Commit), styled(term.Bad, "can not be read: "+e.Error))
		}
	}
	return l
}

func writeBaselineDiff(p *page, d reconciler.BaselineDiff) {
	if d.Same {
		p.line(term.Good, "%s: nothing changed since the baseline %s", d.Environment, titleOf(d.Baseline))
		return
	}
	p.line(term.Warn, "%s: what changed since the baseline %s", d.Environment, titleOf(d.Baseline))
	release := ""
	if d.Release.From != d.Release.To {
		release = fmt.Sprintf("%s → %s", orNone(d.Release.From), orNone(d.Release.To))
	}
	p.fields(field{label: "release", value: release}, field{label: "captured", value: p.moment(d.Baseline.CapturedAt)})
	for _, c := range d.Components {
		p.wrapped(term.Plain, indent, fmt.Sprintf("%s: %s → %s", c.Name, orNone(image(c.From)), orNone(image(c.To))))
	}
	for _, s := range d.Shared {
		p.wrapped(term.Plain, indent, fmt.Sprintf("shared directory %s: tree %s → %s", s.Directory, shortID(s.From), orNone(shortID(s.To))))
	}
	if len(d.Commits) > 0 {
		p.heading("Commits")
	}
	for _, c := range d.Commits {
		p.wrapped(term.Plain, indent, fmt.Sprintf("%s %s (%s, %s)", shortID(c.Commit), c.Subject, c.Author, ago(p.now, c.At)))
	}
	if d.More {
		p.indented(term.Dim, "and older ones")
	}
	if len(d.Files) > 0 {
		p.heading("Files")
	}
	writeFileChanges(p, d.Files)
}

func orNone(s string) string {
	if s == "" {
		return "none"
	}
	return s
}
