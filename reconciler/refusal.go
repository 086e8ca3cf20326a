package reconciler

import (
	"fmt"
	"slices"
	"strings"

	"github.com/stella-ops/stella"
)

// RefusedError is what preflight says no to, with every reason and the way out
// of each. Its class is stella.ErrRefused, or stella.ErrFrozen where a freeze is
// all that stands in the way.
type RefusedError struct {
	What     string    // was asked for: "cannot restore previous version"
	Findings []Finding // at least one
}

// Error implements error, in one line.
func (r *RefusedError) Error() string {
	lines := make([]string, len(r.Findings))
	for i, f := range r.Findings {
		lines[i] = f.Message
	}
	return fmt.Sprintf("%s: %s: %s, nothing was touched", r.What, strings.Join(lines, "; "), r.Unwrap())
}

// Unwrap returns the class.
func (r *RefusedError) Unwrap() error {
	if slices.ContainsFunc(r.Findings, func(f Finding) bool { return f.Code != FindingFrozen }) {
		return stella.ErrRefused
	}
	return stella.ErrFrozen
}

// refusal is the error for a plan with findings, nil for one without. Every
// finding is in it; its hint is the way out, where there is one only.
func refusal(what string, p Plan) error {
	same := func(f Finding) bool { return f.Fix == p.Findings[0].Fix }
	switch {
	case len(p.Findings) == 0:
		return nil
	case !slices.ContainsFunc(p.Findings, func(f Finding) bool { return !same(f) }):
		return stella.WithHint(&RefusedError{What: what, Findings: p.Findings}, p.Findings[0].Fix)
	}
	return stella.WithHint(&RefusedError{What: what, Findings: p.Findings}, "run the same command with --dry-run once each of them is mended: it shows what is left")
}

// refused is refusal for a request: what was shown to be refused is not carried
// out either, though it could be by now, since nobody has seen what would be done.
func refused(what string, p Plan, o Options) error {
	if err := refusal(what, p); err != nil || o.Shown == nil {
		return err
	}
	return refusal(what, *o.Shown)
}
