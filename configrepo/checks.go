package configrepo

import (
	"strings"

	"github.com/stella-ops/stella/health"
)

// The names that a check may use as ${name}.
const (
	targetNameVar    = "${target.name}"
	targetAddressVar = "${target.address}"
)

// EnvironmentChecks returns the checks that name no target: they run once for
// the whole environment. An exec among them runs on any target that runs its
// component.
func (e *Environment) EnvironmentChecks() []health.Check {
	var checks []health.Check
	for _, c := range e.Verify.Checks {
		if !ofTarget(c) {
			checks = append(checks, c)
		}
	}
	return checks
}

// ChecksFor returns the checks that run for each target, with t's name and
// address in place.
func (e *Environment) ChecksFor(t Target) []health.Check {
	var checks []health.Check
	for _, c := range e.Verify.Checks {
		if ofTarget(c) {
			checks = append(checks, expandCheck(c, t))
		}
	}
	return checks
}

// ofTarget reports whether a check runs for each target.
func ofTarget(c health.Check) bool {
	for _, s := range checkStrings(&c) {
		if strings.Contains(*s, targetNameVar) || strings.Contains(*s, targetAddressVar) {
			return true
		}
	}
	return false
}

// expandCheck returns a copy of c for t; c itself is shared and stays.
func expandCheck(c health.Check, t Target) health.Check {
	c.Target = t.Name
	if c.HTTP != nil {
		http := *c.HTTP
		c.HTTP = &http
	}
	if c.TCP != nil {
		tcp := *c.TCP
		c.TCP = &tcp
	}
	if c.Exec != nil {
		exec := *c.Exec
		exec.Command = append([]string(nil), exec.Command...)
		c.Exec = &exec
	}
	replace := strings.NewReplacer(targetNameVar, t.Name, targetAddressVar, t.Address)
	for _, s := range checkStrings(&c) {
		*s = replace.Replace(*s)
	}
	return c
}

// checkStrings returns where a check may name a target.
func checkStrings(c *health.Check) []*string {
	var all []*string
	if c.HTTP != nil {
		all = append(all, &c.HTTP.URL, &c.HTTP.BodyContains)
	}
	if c.TCP != nil {
		all = append(all, &c.TCP.Address)
	}
	if c.Exec != nil {
		for i := range c.Exec.Command {
			all = append(all, &c.Exec.Command[i])
		}
	}
	return all
}
