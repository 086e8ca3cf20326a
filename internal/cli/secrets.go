package cli

import (
	"maps"
	"slices"
	"strings"

	"github.com/stella-ops/stella"
	"github.com/stella-ops/stella/reconciler"
)

// secretHidden stands in a document for a secret value. Unlike in a change, it
// is not known whether it differs.
const secretHidden = "‹secret›"

// withoutSecrets returns the targets' parts of a plan with every secret value
// of their resources replaced. Changes come without them already.
func withoutSecrets(targets []reconciler.TargetPlan) []reconciler.TargetPlan {
	targets = slices.Clone(targets)
	for i, t := range targets {
		targets[i].Actions = slices.Clone(t.Actions)
		for j, action := range t.Actions {
			targets[i].Actions[j].Resource = hideSecrets(action.Resource)
		}
	}
	return targets
}

// hideSecrets returns the resource with what its Secrets point to replaced.
func hideSecrets(r stella.Resource) stella.Resource {
	for _, p := range r.Secrets {
		var steps []string
		for step := range strings.SplitSeq(strings.TrimPrefix(p, "/"), "/") {
			steps = append(steps, strings.NewReplacer("~1", "/", "~0", "~").Replace(step))
		}
		if fields, ok := hidden(r.Fields, steps).(map[string]any); ok {
			r.Fields = fields
		}
	}
	return r
}

// hidden returns v with the value that steps lead to replaced. Where they lead
// through something that is no map, all of that is: too much is hidden, never
// too little.
func hidden(v any, steps []string) any {
	m, ok := v.(map[string]any)
	switch {
	case v == nil:
		return nil
	case len(steps) == 0 || !ok:
		return secretHidden
	}
	m = maps.Clone(m)
	if inner, ok := m[steps[0]]; ok {
		m[steps[0]] = hidden(inner, steps[1:])
	}
	return m
}
