package cli

import (
	"fmt"
	"strings"

	"github.com/stella-ops/stella"
	"github.com/stella-ops/stella/internal/term"
	"github.com/stella-ops/stella/reconciler"
)

// traceDoc is the document of `rollback trace`.
type traceDoc struct {
	SchemaVersion int `json:"schemaVersion"`
	reconciler.Trace
}

func traceView(t reconciler.Trace, verbose bool) view {
	return view{
		doc:   traceDoc{1, t},
		names: []string{t.Deployment.ID},
		page:  func(p *page) { writeTrace(p, t, verbose || p.wide) },
	}
}

// writeTrace is a deployment as an incident report: what happened, to whom it
// is due, from what to what, step by step, what is held and what to do next.
func writeTrace(p *page, t reconciler.Trace, verbose bool) {
	d := t.Deployment
	p.line(styleOfStatus(d.Status), "%s", deploymentTitle(d))
	p.fields(deploymentFields(p, d)...)
	writeDriver(p, t.Driver)
	writeMoved(p, t.Components, d.Targets)
	writeUndone(p, t)
	writeTargetResults(p, d)
	if verbose {
		writeInputs(p, d)
		writeOutputs(p, d.Targets)
	}
	writeSteps(p, d, verbose)
	writeLogs(p, t.Logs)
	if len(t.Held) > 0 {
		p.heading("Held now")
		for _, h := range t.Held {
			p.wrapped(term.Bad, indent, strings.TrimSuffix(fmt.Sprintf("%s (%s, %s): %s", heldWords(h), h.ID, ago(p.now, h.Since), h.Reason), ": "))
		}
	}
	if t.Next != "" {
		p.heading("Next")
		p.wrapped(term.Plain, indent, t.Next)
	}
}

// heldWords names what is held: the release, and the one resource where it is
// only that.
func heldWords(h stella.Hold) string {
	words := "release " + orDash(h.Release)
	if len(h.Resources) == 1 {
		resource, _, _ := strings.Cut(h.Resources[0], "@")
		words += " in " + resource
	}
	return words
}

// writeDriver says who carries out what has not ended.
func writeDriver(p *page, d *reconciler.Driver) {
	if d == nil {
		return
	}
	style := term.Warn
	if d.State == reconciler.DriverDead {
		style = term.Bad
	}
	p.heading("Driver")
	p.fields(
		field{"state", strings.TrimSuffix(fmt.Sprintf("%s: %s", d.State, d.Reason), ": "), style},
		field{"who", strings.Trim(fmt.Sprintf("%s, %s", d.Holder, d.Machine), ", "), term.Plain},
		field{"since", p.instant(d.Since), term.Plain},
		field{"renewed", p.instant(d.RenewedAt), term.Plain},
		field{"taken over", takeover(p, d), term.Plain},
	)
}

// takeover says from when on others may take the lock: where its holder is
// silent.
func takeover(p *page, d *reconciler.Driver) string {
	switch {
	case d.TakeoverAt == nil || d.State == reconciler.DriverAlive:
		return ""
	case d.State == reconciler.DriverDead:
		return "by the next pass"
	}
	return "by the next pass that has watched it, from " + p.instant(d.TakeoverAt) + " on"
}

// writeMoved says what each component was and is. The release is not what runs
// everywhere after a rollback of a part: where a target was seen to run
// something else, that is said.
func writeMoved(p *page, all []reconciler.Moved, targets []stella.TargetResult) {
	l := &list{columns: columns("COMPONENT", "~FROM", "~TO")}
	show := image
	if p.wide {
		show = longImage
	}
	for _, m := range all {
		from := make([]string, len(m.From))
		for i, one := range m.From {
			from[i] = show(one)
		}
		to := append([]string{show(m.To)}, exceptions(m, targets)...)
		l.add(text(m.Component), text(strings.Join(from, ", ")), text(strings.Join(to, ", ")))
	}
	p.list("Release", l)
}

// exceptions are the targets that were seen to run another image of a component
// than the release has.
func exceptions(m reconciler.Moved, targets []stella.TargetResult) []string {
	var out []string
	want, err := stella.ParseArtifact(m.To)
	if err != nil {
		return nil
	}
	for _, t := range targets {
		if got := t.After[m.Component]; got != "" && got != string(want.Digest) {
			out = append(out, fmt.Sprintf("%s on %s", stella.Digest(got).Short(), t.Name))
		}
	}
	return out
}

// writeInputs shows whole what the deployment was given: to be copied.
func writeInputs(p *page, d stella.Deployment) {
	p.heading("Inputs")
	fields := []field{
		{"commit", d.Commit, term.Plain},
		{"app tree", d.Tree, term.Plain},
		{"desired", string(d.Desired), term.Plain},
		{"fence", fmt.Sprint(d.Fence), term.Plain},
	}
	for _, dir := range names(d.Shared) {
		fields = append(fields, field{dir, d.Shared[dir], term.Plain})
	}
	for _, name := range names(d.Components) {
		fields = append(fields, field{name, d.Components[name], term.Plain})
	}
	p.fields(fields...)
}

// writeOutputs shows whole what each target was seen to run before and after.
func writeOutputs(p *page, targets []stella.TargetResult) {
	if len(targets) > 0 {
		p.heading("Outputs")
	}
	for _, t := range targets {
		p.indented(term.Plain, "%s", t.Name)
		for _, name := range names(t.Before) {
			p.indented(term.Plain, "  before  %s %s", name, t.Before[name])
		}
		for _, name := range names(t.After) {
			p.indented(term.Plain, "  after   %s %s", name, t.After[name])
		}
	}
}

func writeUndone(p *page, t reconciler.Trace) {
	l := &list{columns: columns("COMMIT", "WHEN", "~AUTHOR", "~SUBJECT")}
	for _, u := range t.Undone {
		l.add(gitID(u.Commit), p.when(u.At), text(u.Author), text(u.Subject))
	}
	p.list("Undone", l)
}

// writeLogs shows what components wrote, as it is: every line made safe.
func writeLogs(p *page, logs []reconciler.LogTail) {
	for _, t := range logs {
		p.heading(strings.TrimSpace(fmt.Sprintf("Log of %s on %s, as it ends now", orDash(t.Component), t.Target)))
		if t.Error != "" {
			p.wrapped(term.Bad, indent, t.Error)
		}
		for line := range strings.SplitSeq(t.Text, "\n") {
			if t.Text != "" {
				p.indented(term.Dim, "%s", line)
			}
		}
	}
}

// known is what is left to tell of a deployment where only its record is known.
func known(d stella.Deployment) reconciler.Trace {
	t := reconciler.Trace{Deployment: d}
	for _, id := range d.Reverts {
		t.Undone = append(t.Undone, reconciler.Undone{Commit: id})
	}
	for _, name := range names(d.Components) {
		t.Components = append(t.Components, reconciler.Moved{Component: name, From: before(d, name), To: d.Components[name]})
	}
	return t
}
