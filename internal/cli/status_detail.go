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

// mostDeployments is how many of the last deployments a detailed status shows.
const mostDeployments = 5

// writeStatusDetail is the page of `orch env status --detailed`.
func writeStatusDetail(p *page, s reconciler.EnvironmentStatus, deployments []stella.Deployment) {
	writeStatusHead(p, s)
	for _, t := range s.Targets {
		writeTarget(p, t)
	}
	writeOverrides(p, s.Overrides)
	writeHolds(p, s.Holds)
	p.list("Last deployments", deploymentList(p.now, newestFirst(deployments, mostDeployments)))
}

// newestFirst returns the last n, newest first.
func newestFirst(ascending []stella.Deployment, n int) []stella.Deployment {
	last := slices.Clone(ascending[max(0, len(ascending)-n):])
	slices.Reverse(last)
	return last
}

func writeTarget(p *page, t reconciler.TargetStatus) {
	p.heading("Target " + t.Name)
	p.fields(
		field{label: "state", value: targetWords(t), style: worse(styleOfSync(t.Sync), styleOfHealth(t.Health))},
		field{label: "error", value: t.Error, style: term.Bad},
		field{label: "sticker", value: stickerWords(p, t)},
	)
	for _, note := range t.Notes {
		p.indented(term.Dim, "note: %s", note)
	}
	for _, l := range []*list{componentList(p.now, t), checkList(t.Checks), changeList(t.Changes)} {
		if len(l.rows) > 0 {
			p.b.WriteByte('\n')
			s := p.screen
			s.W = &p.b
			_ = l.table(p.wide).Aligned(s, indent) // a strings.Builder never fails
		}
	}
}

func targetWords(t reconciler.TargetStatus) string {
	words := fmt.Sprintf("%s, %s", t.Sync, t.Health)
	if !t.Reachable {
		words = "not reachable"
	}
	return words + " (" + t.Driver + ")"
}

func stickerWords(p *page, t reconciler.TargetStatus) string {
	s := stickerOf(t)
	if t.Sticker == nil {
		if t.Reachable {
			return "none: nothing was ever put there"
		}
		return ""
	}
	return fmt.Sprintf("%s, release %s, commit %s, fence %d, written %s", s.Deployment, orDash(s.Release), shortID(s.Commit), s.Fence, p.moment(s.WrittenAt))
}

func componentList(now time.Time, t reconciler.TargetStatus) *list {
	l := &list{columns: columns("COMPONENT", "DESIRED", "RUNNING", "STATE", "HEALTH", "+RESTARTS", "SINCE", "DETAIL")}
	for _, c := range t.Components {
		match := term.Good
		if digestOf(c.Desired) != digestOf(c.Running) {
			match = term.Bad
		}
		l.add(text(c.Name), text(digestOf(c.Desired)), styled(match, digestOf(c.Running)), styled(styleOfRun(c.State), string(c.State)),
			text(string(c.Health)), number(c.Restarts), age(now, c.Since), text(c.Detail))
	}
	return l
}

// digestOf is the short digest of an image, or its name where it has none.
func digestOf(ref string) string {
	_, digest, ok := strings.Cut(ref, "@")
	if d, err := stella.ParseDigest(digest); ok && err == nil {
		return d.Short()
	}
	return image(ref)
}

func styleOfRun(s stella.RunState) term.Style {
	switch s {
	case stella.RunRunning:
		return term.Good
	case stella.RunStarting, stella.RunUnknown:
		return term.Warn
	case stella.RunExited, stella.RunMissing:
		return term.Bad
	}
	return term.Plain
}

func checkList(checks []reconciler.CheckResult) *list {
	l := &list{columns: columns("CHECK", "TARGET", "RESULT", "LATENCY", "ERROR")}
	for _, c := range checks {
		l.add(text(c.Name), text(c.Target), checkWord(c.OK), millis(c.LatencyMillis), text(c.Error))
	}
	return l
}

func checkWord(ok bool) term.Cell {
	if ok {
		return styled(term.Good, "ok")
	}
	return styled(term.Bad, "failed")
}

func millis(ms float64) term.Cell {
	return term.Cell{Text: fmt.Sprintf("%.0fms", ms), Machine: fmt.Sprintf("%.3f", ms)}
}

func changeList(changes []stella.Change) *list {
	l := &list{columns: columns("DIFFERS", "RESOURCE", "PATH", "DESIRED", "LIVE", "NOTE")}
	for _, c := range changes {
		note := ""
		if c.Ignored {
			note = "ignored: " + c.Reason
		}
		l.add(text(string(c.Class)), text(string(c.Resource)), text(c.Path), text(side(c.Path, c.Desired)), text(side(c.Path, c.Live)), text(note))
	}
	return l
}

// side is one side of a difference. Of a whole resource it says only whether it
// is there: its fields would fill the screen.
func side(path string, v any) string {
	if path == "" && v != nil {
		return "there"
	}
	return value(v)
}
