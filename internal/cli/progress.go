package cli

import (
	"fmt"
	"slices"
	"strings"

	"github.com/stella-ops/stella"
	"github.com/stella-ops/stella/health"
	"github.com/stella-ops/stella/internal/term"
	"github.com/stella-ops/stella/reconciler"
)

// notify tells a person on stderr what the engine does. The engine calls it for
// one event at a time.
func (a *App) notify(ev reconciler.Event) {
	s := a.progress()
	switch e := ev.(type) {
	case reconciler.Started:
		a.followed = true
		s.Line(term.Bold, startedLine(e.Deployment))
	case reconciler.StepBegan:
		a.steps = append(a.steps, stepName(e.Step))
		s.Doing(a.underWay(e.Environment))
	case reconciler.StepEnded:
		a.steps = slices.DeleteFunc(a.steps, func(step string) bool { return step == stepName(e.Step) })
		s.Doing(a.underWay(e.Environment))
		s.Line(styleOfStep(e.Step.Status), fmt.Sprintf("%s: %s", e.Environment, stepLine(e.Step)))
	case reconciler.ActionDone:
		line, style := actionLine(e)
		s.Line(style, line)
	case reconciler.Checked:
		s.Doing(fmt.Sprintf("%s: %s", e.Environment, checkedLine(e.Results)))
	case reconciler.Waiting:
		a.followed = true
		s.Line(term.Warn, fmt.Sprintf("%s: waiting for %s", e.Environment, e.For))
		s.Doing(fmt.Sprintf("%s: waiting for %s", e.Environment, e.For))
	case reconciler.Warned:
		s.Line(term.Warn, fmt.Sprintf("%s: warning: %s", e.Environment, e.Text))
	case reconciler.Unfetched:
		a.unfetched = &e
	case reconciler.Ended:
		s.Close()
		s.Line(styleOfStatus(e.Deployment.Status), endedLine(e.Deployment))
	}
}

// underWay names the steps that run now; empty for none.
func (a *App) underWay(env stella.EnvName) string {
	if len(a.steps) == 0 {
		return ""
	}
	return fmt.Sprintf("%s: %s", env, strings.Join(a.steps, ", "))
}

// oneLine joins the lines of a text that says several things: an account has a
// line for each thing that happened.
func oneLine(s string) string { return strings.Join(strings.Split(strings.TrimSpace(s), "\n"), "; ") }

func startedLine(d stella.Deployment) string {
	line := fmt.Sprintf("%s: %s %s", d.Environment, d.ID, d.Kind)
	if d.Restores != "" {
		line += " to " + d.Restores
	}
	if d.Release != "" {
		line += " (" + d.Release + ")"
	}
	return line + " begins"
}

func endedLine(d stella.Deployment) string {
	line := fmt.Sprintf("%s: %s %s … %s", d.Environment, d.ID, d.Status, took(d.DurationSeconds))
	if d.Error != "" {
		line += ": " + oneLine(d.Error)
	}
	return line
}

func stepName(s stella.Step) string {
	if s.Target == "" {
		return s.Name
	}
	return s.Name + " " + s.Target
}

func stepLine(s stella.Step) string {
	line := stepName(s)
	if s.Status != stella.StepSucceeded {
		line += " " + string(s.Status)
	}
	line += " … " + took(s.DurationSeconds)
	if s.Error != "" {
		line += ": " + oneLine(s.Error)
	}
	return line
}

func actionLine(e reconciler.ActionDone) (string, term.Style) {
	line := fmt.Sprintf("%s: %s %s %s", e.Environment, e.Target, e.Action.Op, e.Action.Resource.ID)
	if e.Err != nil {
		return line + " failed: " + oneLine(e.Err.Error()), term.Bad
	}
	return line, term.Dim
}

// checkedLine sums a round of verification up: how many answer, and the first
// that does not.
func checkedLine(results []health.Result) string {
	ok := 0
	first := ""
	for _, r := range results {
		if r.OK {
			ok++
		} else if first == "" {
			first = ": " + checkName(r.Name, r.Target) + ": " + r.Error
		}
	}
	return fmt.Sprintf("verify %d of %d checks%s", ok, len(results), first)
}

func checkName(name, target string) string {
	if target == "" {
		return name
	}
	return name + " on " + target
}
