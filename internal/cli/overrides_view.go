package cli

import (
	"fmt"
	"strings"
	"time"

	"github.com/stella-ops/stella/internal/term"
	"github.com/stella-ops/stella/reconciler"
)

// writeOverrides is the section of divergences that release.yaml declares.
func writeOverrides(p *page, overrides []reconciler.DeclaredOverride) {
	p.list("Declared to differ from the release", overrideList(p.now, overrides))
}

func overrideList(now time.Time, overrides []reconciler.DeclaredOverride) *list {
	l := &list{columns: columns("~COMPONENTS", "ON", "FROM", "SINCE", "UNTIL", "~REASON", "~NOTE")}
	for _, o := range overrides {
		on := "all targets"
		if len(o.Targets) > 0 {
			on = strings.Join(o.Targets, ", ")
		}
		l.add(text(images(o.Components)), text(on), text(o.From), ageOf(now, o.Since), ageOf(now, o.Until), text(o.Reason), overrideNote(o))
	}
	return l
}

// overrideNote is what a person should do about it.
func overrideNote(o reconciler.DeclaredOverride) term.Cell {
	switch {
	case !o.InEffect:
		return styled(term.Dim, "ended")
	case o.Old:
		return styled(term.Warn, fmt.Sprintf("older than %s: decide", span(reconciler.OldOverride)))
	}
	return term.Cell{}
}

// ageOf is age for a time that may not be there.
func ageOf(now time.Time, t *time.Time) term.Cell {
	if t == nil {
		return term.Cell{}
	}
	return age(now, *t)
}

// until reads when going back with a part ends: a day, which ends with it in
// UTC, or a time.
func until(text string) (time.Time, bool) {
	if day, err := time.Parse(time.DateOnly, text); err == nil {
		return day.AddDate(0, 0, 1), true
	}
	at, err := time.Parse(time.RFC3339, text)
	return at.UTC(), err == nil
}
