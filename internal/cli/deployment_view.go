package cli

import (
	"encoding/json"
	"fmt"
	"maps"
	"slices"
	"strings"

	"github.com/stella-ops/stella"
	"github.com/stella-ops/stella/internal/safe"
	"github.com/stella-ops/stella/internal/term"
)

// deploymentDoc is the document of one whole deployment.
type deploymentDoc struct {
	SchemaVersion int               `json:"schemaVersion"`
	Deployment    stella.Deployment `json:"deployment"`
}

// deploymentView is the report of one deployment: what it was, what became of
// each target, and its steps.
func deploymentView(d stella.Deployment, verbose bool) view {
	return view{
		doc:   deploymentDoc{1, d},
		names: []string{d.ID},
		page:  func(p *page) { writeTrace(p, known(d), verbose || p.wide) },
	}
}

// deploymentTitle says in one line what happened: "production-42: rollback to
// production-40 (2.3.0) succeeded in 12.4s".
func deploymentTitle(d stella.Deployment) string {
	var b strings.Builder
	fmt.Fprintf(&b, "%s: ", d.ID)
	if d.Automatic {
		b.WriteString("automatic ")
	}
	b.WriteString(string(d.Kind))
	if d.Restores != "" {
		b.WriteString(" to " + d.Restores)
	}
	if d.Release != "" {
		b.WriteString(" (" + d.Release + ")")
	}
	b.WriteString(" " + string(d.Status))
	if !d.Status.Open() && d.DurationSeconds > 0 {
		b.WriteString(" in " + took(d.DurationSeconds))
	}
	return b.String()
}

func deploymentFields(p *page, d stella.Deployment) []field {
	return []field{
		{"error", d.Error, term.Bad},
		{"reason", d.Reason, term.Plain},
		{"incident", d.Incident, term.Plain},
		{"by", d.Actor, term.Plain},
		{"started", p.moment(d.StartedAt), term.Plain},
		{"finished", p.instant(d.FinishedAt), term.Plain},
		{"commit", shortID(d.Commit), term.Plain},
		{"supersedes", d.Supersedes, term.Plain},
		{"forced", strings.Join(d.Forced, ", "), term.Warn},
	}
}

// before lists what a component was seen to run before a deployment, once each.
func before(d stella.Deployment, component string) []string {
	var all []string
	for _, t := range d.Targets {
		if digest := t.Before[component]; digest != "" && !slices.Contains(all, digest) {
			all = append(all, digest)
		}
	}
	return all
}

func names(components map[string]string) []string { return slices.Sorted(maps.Keys(components)) }

// writeTargetResults is each target in a line, and below it what went wrong in
// full.
func writeTargetResults(p *page, d stella.Deployment) {
	l := &list{columns: columns("TARGET", "RESULT", "~BEFORE", "~AFTER")}
	for _, t := range d.Targets {
		l.add(text(t.Name), styled(styleOfTarget(t.Status), string(t.Status)), text(images(t.Before)), text(images(t.After)))
	}
	p.list("Targets", l)
	for _, t := range d.Targets {
		if t.Error != "" && !strings.Contains(d.Error, t.Error) { // else it was told above
			p.wrapped(term.Bad, indent, t.Name+": "+t.Error)
		}
	}
}

// writeSteps shows when each step began, counted from the start, and how long it
// took; what went wrong is below it in full. Verbose adds what each was given and
// found out, and who it was, when by the clock.
func writeSteps(p *page, d stella.Deployment, verbose bool) {
	if len(d.Steps) > 0 {
		p.heading("Steps")
	}
	tries := map[string]int{}
	for _, s := range d.Steps {
		tries[stepName(s)]++
		line := fmt.Sprintf("%7s  %s", offset(d, s), stepTitle(s))
		if n := tries[stepName(s)]; n > 1 {
			line += fmt.Sprintf(" (try %d)", n)
		}
		p.indented(styleOfStep(s.Status), "%s", line)
		if s.Error != "" {
			p.wrapped(term.Bad, indent+"         ", s.Error)
		}
		if verbose {
			writeDetail(p, s.Detail)
		}
	}
}

// stepTitle is stepLine without the error, which a page has room for.
func stepTitle(s stella.Step) string {
	s.Error = ""
	if s.Status == stella.StepRunning {
		return stepName(s) + " running"
	}
	return stepLine(s)
}

// offset is when a step began, counted from its deployment's start: what
// matters in an incident report.
func offset(d stella.Deployment, s stella.Step) string {
	if s.StartedAt.IsZero() || d.StartedAt.IsZero() {
		return ""
	}
	return "+" + took(max(0, s.StartedAt.Sub(d.StartedAt).Seconds()))
}

// writeDetail shows what a step was given and found out. Text of several lines,
// a log's tail, is shown as such.
func writeDetail(p *page, detail map[string]any) {
	for _, key := range slices.Sorted(maps.Keys(detail)) {
		lines := detailLines(detail[key])
		if len(lines) == 1 {
			p.indented(term.Plain, "         %s: %s", key, lines[0])
			continue
		}
		p.indented(term.Plain, "         %s:", key)
		for _, line := range lines {
			p.indented(term.Dim, "           %s", line)
		}
	}
}

// mostDetail is how many runes of one line of a step's detail are shown.
const mostDetail = 400

func detailLines(v any) []string {
	var lines []string
	switch v := v.(type) {
	case string:
		lines = strings.Split(strings.TrimRight(v, "\n"), "\n")
	case []any:
		for _, one := range v {
			lines = append(lines, detailLines(one)...)
		}
	case []string:
		lines = slices.Clone(v)
	default:
		b, err := json.Marshal(v)
		if err != nil {
			return []string{"?"}
		}
		lines = []string{string(b)}
	}
	for i, line := range lines {
		lines[i] = safe.Clip(line, mostDetail)
	}
	return lines
}
