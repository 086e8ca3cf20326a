package cli

import (
	"fmt"

	"github.com/stella-ops/stella/internal/term"
	"github.com/stella-ops/stella/reconciler"
)

// planConflicts shows where undoing one commit meets what came after it: each
// place as it is now, as the commit left it and as it was before.
func planConflicts(p *page, plan reconciler.Plan) {
	for _, c := range plan.Conflicts {
		for _, h := range c.Hunks {
			p.heading(fmt.Sprintf("%s:%d", c.Path, h.Now.Line))
			conflictSide(p, "now", term.Plain, h.Now)
			conflictSide(p, "commit", term.Bad, h.Commit)
			conflictSide(p, "before", term.Good, h.Before)
			if h.Ambiguous {
				p.indented(term.Dim, "one of the changes could as well stand at another place here")
			}
		}
	}
}

func conflictSide(p *page, label string, style term.Style, s reconciler.ConflictSide) {
	if len(s.Lines) == 0 {
		p.indented(term.Dim, "%-6s %4s  nothing", label, "")
	}
	for i, line := range s.Lines {
		p.indented(style, "%-6s %4d  %s", label, s.Line+i, line)
		label = ""
	}
	if s.More > 0 {
		p.indented(term.Dim, "%-6s %4s  and %s more", "", "", count(s.More, "line"))
	}
}
