package cli

import (
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/stella-ops/stella"
	"github.com/stella-ops/stella/internal/term"
	"github.com/stella-ops/stella/reconciler"
)

// planDoc is the document of `plan` and of every dry run.
type planDoc struct {
	SchemaVersion int `json:"schemaVersion"`
	reconciler.Plan
}

func planView(plan reconciler.Plan) view {
	plan.Targets = withoutSecrets(plan.Targets)
	return view{
		doc:   planDoc{1, plan},
		names: []string{plan.Hash},
		page:  func(p *page) { writePlan(p, plan) },
	}
}

// announce says on stderr what a command is about to do.
func (a *App) announce(plan *reconciler.Plan) {
	if plan == nil || a.flags.quiet {
		return
	}
	p := &page{screen: a.err(), now: a.process.Now()}
	if p.screen.Terminal {
		p.width = width(p.screen)
	}
	writePlan(p, *plan)
	p.b.WriteByte('\n')
	// Whoever looks on may have left; the work goes on.
	_ = p.flush()
}

func writePlan(p *page, plan reconciler.Plan) {
	p.heading(planTitle(plan))
	p.fields(
		field{label: "release", value: plan.Release},
		field{label: "from commit", value: shortID(plan.Commit)},
		field{label: "plan hash", value: plan.Hash},
		field{label: "takes", value: expected(plan)},
	)
	planConcerns(p, plan)
	planCommits(p, plan)
	planConflicts(p, plan)
	planTargets(p, plan)
	writeOverrides(p, plan.Overrides)
	planArtifacts(p, plan)
}

// expected is how long it may take, going by the last times.
func expected(plan reconciler.Plan) string {
	if plan.ExpectedSeconds == 0 {
		return ""
	}
	return fmt.Sprintf("about %s, as the last ones did", time.Duration(plan.ExpectedSeconds*float64(time.Second)).Round(100*time.Millisecond))
}

// planConcerns are what a person must know first.
func planConcerns(p *page, plan reconciler.Plan) {
	for i, f := range plan.Findings {
		p.wrapped(term.Bad, indent, "refused: "+f.Message)
		again := i+1 < len(plan.Findings) && plan.Findings[i+1].Fix == f.Fix
		if f.Fix != "" && !again {
			p.wrapped(term.Plain, indent+indent, f.Fix)
		}
	}
	for _, c := range plan.Crosses {
		p.indented(term.Warn, "goes back across %s: %s", c.Version, c.Reason)
	}
	for _, w := range plan.Warnings {
		p.wrapped(term.Warn, indent, "warning: "+w)
	}
}

func planTitle(plan reconciler.Plan) string {
	actions, targets := 0, 0
	for _, t := range plan.Targets {
		actions += len(t.Actions)
		if len(t.Actions) > 0 {
			targets++
		}
	}
	switch {
	case len(plan.Conflicts) > 0:
		return fmt.Sprintf("%s: %s can not be undone by itself, %s in the way", plan.Environment, shortIDs(plan.Reverts), count(len(plan.Conflicts), "conflict"))
	case plan.Empty && len(plan.Files) == 0 && len(plan.Findings) > 0:
		return fmt.Sprintf("%s: refused", plan.Environment)
	case plan.Empty && len(plan.Files) == 0:
		return fmt.Sprintf("%s: nothing to change", plan.Environment)
	case plan.Empty:
		return fmt.Sprintf("%s: %s in Git, nothing to change on the targets", plan.Environment, count(len(plan.Files), "file"))
	}
	return fmt.Sprintf("%s: %s on %s", plan.Environment, count(actions, "change"), count(targets, "target"))
}

// count is a number with its noun.
func count(n int, noun string) string {
	if n == 1 {
		return "1 " + noun
	}
	return fmt.Sprintf("%d %ss", n, noun)
}

func planCommits(p *page, plan reconciler.Plan) {
	for _, c := range plan.Undoes {
		if !c.Also {
			p.wrapped(term.Plain, indent, "undoes "+undone(p, c))
		}
	}
	if also := alsoUndone(plan); len(also) > 0 {
		p.indented(term.Warn, "what else goes with it:")
		for _, c := range also {
			p.wrapped(term.Warn, indent+indent, undone(p, c))
		}
		p.indented(term.Dim, "  '--component' takes back a part only, '--commit' one change only")
	}
	for _, f := range plan.Files {
		p.wrapped(term.Plain, indent, f.Op+" "+f.Path)
		fileDiff(p, f.Diff)
	}
}

// fileDiff shows how a file's text changes, without the names that were just
// said.
func fileDiff(p *page, diff string) {
	const before = indent + indent
	for i, line := range strings.Split(strings.TrimSuffix(diff, "\n"), "\n") {
		if i < 2 {
			continue // the names; further down a line may begin as they do
		}
		p.b.WriteString(before + p.screen.Paint(styleOfLine(line, i), p.cut(before, line)) + "\n")
	}
}

// undone is a commit that goes, with whose it is and how old.
func undone(p *page, c reconciler.UndoneCommit) string {
	text := fmt.Sprintf("%s %s (%s, %s)", shortID(c.Commit), c.Subject, c.Author, ago(p.now, c.At))
	if c.Deployment != "" {
		text += ", verified as " + c.Deployment
	}
	return text
}

// alsoUndone are the commits that go although nobody asked for that.
func alsoUndone(plan reconciler.Plan) []reconciler.UndoneCommit {
	return slices.DeleteFunc(slices.Clone(plan.Undoes), func(c reconciler.UndoneCommit) bool { return !c.Also })
}

func planTargets(p *page, plan reconciler.Plan) {
	batches := 0
	for _, t := range plan.Targets {
		batches = max(batches, t.Batch)
	}
	for _, t := range plan.Targets {
		if len(t.Actions) == 0 && len(t.Changes) == 0 {
			continue
		}
		title := t.Target
		if batches > 1 {
			title += fmt.Sprintf(" (batch %d of %d)", t.Batch, batches)
		}
		p.heading(title)
		for _, action := range t.Actions {
			p.indented(styleOfOp(action.Op), "%-6s %s  %s", action.Op, action.Resource.ID, action.Cause)
			writeChanges(p, action.Cause, action.Changes)
		}
		writeRest(p, t)
	}
}

// writeRest shows the differences that lead to no action: those that a rule
// ignores.
func writeRest(p *page, t reconciler.TargetPlan) {
	rest := slices.DeleteFunc(slices.Clone(t.Changes), func(c stella.Change) bool { return !c.Ignored })
	for _, c := range rest {
		p.indented(term.Dim, "ignored %s %s: %s", c.Resource, c.Path, c.Reason)
	}
}

func writeChanges(p *page, cause string, changes []stella.Change) {
	for _, c := range changes {
		if c.Path == "" {
			continue // the whole resource: the action says so
		}
		if c.Path == "/image" && strings.Contains(cause, "image ") && strings.Contains(cause, " → ") && sameRepository(c.Live, c.Desired) {
			continue // the action says from which tag to which
		}
		p.indented(term.Plain, "         %s: %s → %s", c.Path, value(c.Live), value(c.Desired))
	}
}

// sameRepository reports whether two values are images of one repository.
func sameRepository(a, b any) bool {
	one, _ := a.(string)
	two, _ := b.(string)
	x, err := stella.ParseArtifact(one)
	y, err2 := stella.ParseArtifact(two)
	return err == nil && err2 == nil && x.Registry == y.Registry && x.Repository == y.Repository
}

func styleOfOp(op stella.Op) term.Style {
	switch op {
	case stella.OpCreate:
		return term.Good
	case stella.OpUpdate:
		return term.Warn
	case stella.OpRemove:
		return term.Bad
	}
	return term.Plain
}

func planArtifacts(p *page, plan reconciler.Plan) {
	l := &list{columns: columns("IMAGE", "FROM", "PROBLEM")}
	for _, c := range plan.Artifacts {
		where := styled(term.Good, c.Where)
		if !c.Available {
			where = styled(term.Bad, "nowhere")
		}
		l.add(text(longImage(c.Image)), where, text(c.Error))
	}
	p.list("Images", l)
}
