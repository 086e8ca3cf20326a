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
		page:  func(p *page) { writeDeployment(p, d, verbose || p.wide) },
	}
}

func writeDeployment(p *page, d stella.Deployment, verbose bool) {
	p.line(styleOfStatus(d.Status), "%s", deploymentTitle(d))
	p.fields(deploymentFields(p, d)...)
	writeComponents(p, d.Components)
	writeTargetResults(p, d.Targets)
	writeSteps(p, d, verbose)
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
	if !d.Status.Open() {
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
		{"undoes", shortIDs(d.Reverts), term.Plain},
		{"supersedes", d.Supersedes, term.Plain},
		{"forced", strings.Join(d.Forced, ", "), term.Warn},
	}
}

func shortIDs(ids []string) string {
	short := make([]string, len(ids))
	for i, id := range ids {
		short[i] = shortID(id)
	}
	return strings.Join(short, ", ")
}

func writeComponents(p *page, components map[string]string) {
	l := &list{columns: columns("COMPONENT", "IMAGE")}
	for _, name := range slices.Sorted(maps.Keys(components)) {
		l.add(text(name), text(longImage(components[name])))
	}
	p.list("Release", l)
}

func writeTargetResults(p *page, targets []stella.TargetResult) {
	l := &list{columns: columns("TARGET", "RESULT", "BEFORE", "AFTER", "ERROR")}
	for _, t := range targets {
		l.add(text(t.Name), styled(styleOfTarget(t.Status), string(t.Status)), text(images(t.Before)), text(images(t.After)), text(t.Error))
	}
	p.list("Targets", l)
}

func writeSteps(p *page, d stella.Deployment, verbose bool) {
	if !verbose {
		l := &list{columns: columns("AT", "STEP", "TARGET", "RESULT", "TOOK", "ERROR")}
		for _, s := range d.Steps {
			l.add(stepCells(d, s)...)
		}
		p.list("Steps", l)
		return
	}
	if len(d.Steps) > 0 {
		p.heading("Steps")
	}
	for _, s := range d.Steps {
		p.indented(styleOfStep(s.Status), "%s  %s", offset(d, s), stepLine(s))
		writeDetail(p, s.Detail)
	}
}

func stepCells(d stella.Deployment, s stella.Step) []term.Cell {
	return []term.Cell{
		text(offset(d, s)), text(s.Name), text(s.Target), styled(styleOfStep(s.Status), string(s.Status)),
		duration(s.DurationSeconds), text(s.Error),
	}
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
			p.indented(term.Plain, "    %s: %s", key, lines[0])
			continue
		}
		p.indented(term.Plain, "    %s:", key)
		for _, line := range lines {
			p.indented(term.Dim, "      %s", line)
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
