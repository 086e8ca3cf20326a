package drift

import (
	"strings"

	"github.com/stella-ops/stella"
)

// severityRule says how much a difference matters. Empty parts match anything.
type severityRule struct {
	kind     string // of the resource, before the slash of its id
	class    stella.Class
	field    string // first segment of the path; "-" for a whole resource
	severity stella.Severity
}

const wholeResource = "-"

// severityRules are tried in order; the first that matches decides. What
// program runs is critical; how it runs is a warning; what nobody executes is
// information.
func severityRules() []severityRule {
	return []severityRule{
		{"", stella.Missing, wholeResource, stella.SeverityCritical},
		{"service", "", "image", stella.SeverityCritical},
		{"service", "", "command", stella.SeverityCritical},
		{"service", "", "entrypoint", stella.SeverityCritical},
		{"", "", "labels", stella.SeverityInfo},
		{"", "", "", stella.SeverityWarning},
	}
}

func severityOf(rules []severityRule, c *stella.Change) stella.Severity {
	kind, _, _ := strings.Cut(string(c.Resource), "/")
	field := wholeResource
	if c.Path != "" {
		field, _ = cutSegment(c.Path)
	}
	for _, r := range rules {
		if (r.kind == "" || r.kind == kind) && (r.class == "" || r.class == c.Class) && (r.field == "" || r.field == field) {
			return r.severity
		}
	}
	return stella.SeverityWarning
}
