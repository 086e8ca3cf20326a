package cli

import (
	"encoding/json"
	"fmt"
	"maps"
	"slices"
	"strings"
	"time"

	"github.com/stella-ops/stella"
	"github.com/stella-ops/stella/internal/safe"
	"github.com/stella-ops/stella/internal/term"
)

func text(s string) term.Cell { return term.Cell{Text: oneLine(s)} }

func styled(style term.Style, s string) term.Cell { return term.Cell{Text: oneLine(s), Style: style} }

func number(n int) term.Cell { return term.Cell{Text: fmt.Sprint(n)} }

// yes is a cell for a statement: the word where it holds.
func yes(holds bool, word string, style term.Style) term.Cell {
	if !holds {
		return term.Cell{}
	}
	return term.Cell{Text: word, Style: style}
}

// age is a time as people read it, and as programs do.
func age(now, t time.Time) term.Cell {
	if t.IsZero() {
		return term.Cell{}
	}
	return term.Cell{Text: ago(now, t), Machine: stamp(t)}
}

// stamp is a time as in documents.
func stamp(t time.Time) string {
	if t.IsZero() {
		return ""
	}
	return t.UTC().Truncate(time.Second).Format(time.RFC3339)
}

// ago says how long before now t was, in one unit.
func ago(now, t time.Time) string {
	d := now.Sub(t)
	if d < 0 {
		return "in " + span(-d)
	}
	return span(d) + " ago"
}

// span is a duration in its largest unit: 12s, 3m, 5h, 2d.
func span(d time.Duration) string {
	const day = 24 * time.Hour
	switch {
	case d < 2*time.Minute:
		return fmt.Sprintf("%ds", int(d.Seconds()))
	case d < 2*time.Hour:
		return fmt.Sprintf("%dm", int(d.Minutes()))
	case d < 2*day:
		return fmt.Sprintf("%dh", int(d.Hours()))
	}
	return fmt.Sprintf("%dd", int(d/day))
}

// took is a measured time: 0.3s, 12.4s, 2m05s.
func took(seconds float64) string {
	d := time.Duration(seconds * float64(time.Second))
	if d < 2*time.Minute {
		return fmt.Sprintf("%.1fs", d.Seconds())
	}
	return fmt.Sprintf("%dm%02ds", int(d.Minutes()), int(d.Seconds())%60)
}

func duration(seconds float64) term.Cell {
	if seconds == 0 {
		return term.Cell{}
	}
	return term.Cell{Text: took(seconds), Machine: fmt.Sprintf("%.3f", seconds)}
}

// shortID is the first twelve digits of a Git object id.
func shortID(id string) string { return id[:min(12, len(id))] }

// shortIDs lists Git object ids.
func shortIDs(ids []string) string {
	short := make([]string, len(ids))
	for i, id := range ids {
		short[i] = shortID(id)
	}
	return strings.Join(short, ", ")
}

// person is who did something: the name, and for programs the address as well.
func person(actor string) term.Cell {
	name, _, _ := strings.Cut(actor, " <")
	return term.Cell{Text: name, Machine: actor}
}

func gitID(id string) term.Cell { return term.Cell{Text: shortID(id), Machine: id} }

// image is an image as people tell it from others: tag and twelve digits of the
// digest. What is no image is returned as it is.
func image(ref string) string {
	if d, err := stella.ParseDigest(ref); err == nil {
		return d.Short()
	}
	a, err := stella.ParseArtifact(ref)
	if err != nil {
		return ref
	}
	return strings.Trim(a.Tag+"@"+a.Digest.Short(), "@")
}

// images lists components with their images, in order of their names.
func images(components map[string]string) string {
	var all []string
	for _, name := range slices.Sorted(maps.Keys(components)) {
		all = append(all, name+" "+image(components[name]))
	}
	return strings.Join(all, ", ")
}

// value is one side of a difference, short enough for a line.
func value(v any) string {
	if v == nil {
		return "∅"
	}
	if s, ok := v.(string); ok {
		return safe.Clip(longImage(s), mostValue)
	}
	b, err := json.Marshal(v)
	if err != nil {
		return "?"
	}
	return safe.Clip(string(b), mostValue)
}

// mostValue is how many runes of a value a line shows; a document has it whole.
const mostValue = 72

// longImage is an image with its digest cut to twelve digits.
func longImage(s string) string {
	name, digest, ok := strings.Cut(s, "@")
	if d, err := stella.ParseDigest(digest); ok && err == nil {
		return name + "@" + d.Short()
	}
	return s
}

func styleOfSync(s stella.Sync) term.Style {
	switch s {
	case stella.Synced:
		return term.Good
	case stella.OutOfSync, stella.Progressing, stella.Pinned, stella.SyncUnknown:
		return term.Warn
	case stella.Held, stella.Invalid, stella.SyncFailed, stella.SyncPartial:
		return term.Bad
	}
	return term.Plain
}

func styleOfHealth(h stella.Health) term.Style {
	switch h {
	case stella.Healthy:
		return term.Good
	case stella.Degraded, stella.HealthUnknown:
		return term.Warn
	case stella.Unhealthy:
		return term.Bad
	}
	return term.Plain
}

func styleOfStatus(s stella.Status) term.Style {
	switch s {
	case stella.Succeeded:
		return term.Good
	case stella.Pending, stella.Running, stella.Aborted, stella.Superseded:
		return term.Warn
	case stella.Failed, stella.Errored, stella.Partial:
		return term.Bad
	}
	return term.Plain
}

func styleOfTarget(s stella.TargetStatus) term.Style {
	switch s {
	case stella.TargetVerified:
		return term.Good
	case stella.TargetFailed, stella.TargetUnknown:
		return term.Bad
	case stella.TargetOwed, stella.TargetApplied, stella.TargetPrepared:
		return term.Warn
	case stella.TargetUntouched:
	}
	return term.Plain
}

func styleOfStep(s stella.StepStatus) term.Style {
	switch s {
	case stella.StepSucceeded:
		return term.Good
	case stella.StepFailed:
		return term.Bad
	case stella.StepRunning, stella.StepSkipped:
		return term.Dim
	}
	return term.Plain
}
