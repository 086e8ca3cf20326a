package ledger

import (
	"encoding/json"
	"strings"
	"unicode/utf8"

	"github.com/stella-ops/stella"
)

// What a record is cut to. An outcome must always be recordable, however much
// a target had to say: what is too long is cut, never refused.
const (
	maxText        = 4 << 10
	maxListedSteps = 1000
	fitBytes       = MaxDeploymentBytes / 4 // compact; indented it is about half as long again
)

// clip cuts a text that somebody else wrote.
func clip(s string) string {
	if len(s) <= maxText {
		return s
	}
	cut := maxText
	for cut > 0 && !utf8.RuneStart(s[cut]) {
		cut--
	}
	return s[:cut] + "…"
}

// fit cuts a deployment's record to what is stored: texts first, then the
// details of its steps, steps in the middle, and last what each target ran.
func fit(d stella.Deployment) stella.Deployment {
	d.Error, d.Reason, d.Incident = clip(d.Error), clip(d.Reason), clip(d.Incident)
	d.Steps, d.Targets = fitSteps(d.Steps), fitTargets(d.Targets)
	for _, cut := range []func(*stella.Deployment){dropDetails, dropSteps, dropTexts, dropDigests} {
		if sizeOf(d) <= fitBytes {
			break
		}
		cut(&d)
	}
	return d
}

func sizeOf(v any) int {
	data, err := json.Marshal(v)
	if err != nil {
		return 0 // what can not be written is refused where it is written
	}
	return len(data)
}

// fitSteps keeps the first and the last steps of a list that is too long, and
// says so in between.
func fitSteps(steps []stella.Step) []stella.Step {
	if steps == nil {
		return nil
	}
	if len(steps) > maxListedSteps {
		steps = middleOut(steps, maxListedSteps)
	}
	total := 0
	out := each(steps, func(s stella.Step) stella.Step {
		s.Error = clip(s.Error)
		if total += sizeOf(s.Detail); total > fitBytes {
			s.Detail = nil
		}
		return s
	})
	return out
}

func middleOut(steps []stella.Step, keep int) []stella.Step {
	head, tail := steps[:keep/2], steps[len(steps)-keep/2:]
	gap := stella.Step{
		Name: head[len(head)-1].Name, Status: stella.StepSkipped, StartedAt: tail[0].StartedAt,
		Detail: map[string]any{"left out": float64(len(steps) - 2*(keep/2))},
	}
	return append(append(append([]stella.Step{}, head...), gap), tail...)
}

func fitTargets(targets []stella.TargetResult) []stella.TargetResult {
	if targets == nil {
		return nil
	}
	return each(targets, func(t stella.TargetResult) stella.TargetResult {
		t.Error = clip(t.Error)
		return t
	})
}

func dropDetails(d *stella.Deployment) {
	d.Steps = each(d.Steps, func(s stella.Step) stella.Step {
		s.Detail = nil
		return s
	})
}

func dropSteps(d *stella.Deployment) {
	const keep = 100
	if len(d.Steps) > keep {
		d.Steps = middleOut(d.Steps, keep)
	}
}

// dropTexts leaves a line per target and step.
func dropTexts(d *stella.Deployment) {
	d.Targets = each(d.Targets, func(t stella.TargetResult) stella.TargetResult {
		t.Error = firstLine(t.Error)
		return t
	})
	d.Steps = each(d.Steps, func(s stella.Step) stella.Step {
		s.Error = firstLine(s.Error)
		return s
	})
}

// dropDigests is the last resort: what each of thousands of targets ran is in
// its own record as well.
func dropDigests(d *stella.Deployment) {
	d.Targets = each(d.Targets, func(t stella.TargetResult) stella.TargetResult {
		t.Before, t.After = nil, nil
		return t
	})
}

func firstLine(s string) string {
	s, _, _ = strings.Cut(s, "\n")
	const most = 200
	if len(s) > most {
		return strings.ToValidUTF8(s[:most], "") + "…"
	}
	return s
}
