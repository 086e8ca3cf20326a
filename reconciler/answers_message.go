package reconciler

import (
	"fmt"
	"strings"
	"time"

	"github.com/stella-ops/stella"
	"github.com/stella-ops/stella/drift"
	"github.com/stella-ops/stella/internal/safe"
)

// ignoreMessage words the commit of a rule.
func ignoreMessage(env stella.EnvName, rules []drift.Ignore, o Options) string {
	var b strings.Builder
	spots := make([]string, len(rules))
	for i, r := range rules {
		spots[i] = spotOf(stella.ResourceID(r.Resource), r.Path)
	}
	fmt.Fprintf(&b, "Ignore drift of %s in %s\n\n", safe.Clip(spots[0], maxPartRunes), env)
	if until := rules[0].Until; !until.IsZero() {
		fmt.Fprintf(&b, "The rule ends on %s.\n\n", until.UTC().Format(time.RFC3339))
	}
	fmt.Fprintf(&b, "Stella-Environment: %s\n", env)
	for _, s := range spots {
		fmt.Fprintf(&b, "Stella-Ignores: %s\n", s)
	}
	b.WriteString(whyTrailers(o))
	return b.String()
}

// adoptMessage words the commit of what runs and is wanted from now on.
func adoptMessage(env stella.EnvName, a *adoption, o Options) string {
	var b strings.Builder
	what := string(a.resource)
	if len(a.paths) == 1 {
		what = spotOf(a.resource, a.paths[0])
	}
	fmt.Fprintf(&b, "Adopt what runs: %s in %s\n\n", safe.Clip(what, maxPartRunes), env)
	for _, field := range a.place.Fields {
		fmt.Fprintf(&b, "%s\n", safe.Clip(field, maxReasonRunes))
	}
	fmt.Fprintf(&b, "\nStella-Environment: %s\n", env)
	for _, p := range a.paths {
		fmt.Fprintf(&b, "Stella-Adopts: %s\n", spotOf(a.resource, p))
	}
	b.WriteString(whyTrailers(o))
	return b.String()
}

// whyTrailers say why, and for which incident.
func whyTrailers(o Options) string {
	var b strings.Builder
	if o.Reason != "" {
		fmt.Fprintf(&b, "Stella-Reason: %s\n", safe.Clip(o.Reason, maxReasonRunes))
	}
	if o.Incident != "" {
		fmt.Fprintf(&b, "Stella-Incident: %s\n", safe.Clip(o.Incident, maxReasonRunes))
	}
	return b.String()
}
