package configrepo

import (
	"regexp"
	"slices"
	"strings"

	"github.com/compose-spec/compose-go/v2/types"
)

// constraint is one line of deploy.placement.constraints: what a target's label
// has to be, or not to be. A target without the label has none of its values.
type constraint struct {
	label string
	value string
	not   bool
}

func (c constraint) allows(labels map[string]string) bool {
	value, ok := labels[c.label]
	return (ok && value == c.value) != c.not
}

var constraintRE = regexp.MustCompile(`^\s*node\.labels\.([A-Za-z0-9._/-]+)\s*(==|!=)\s*([A-Za-z0-9._/ -]*[A-Za-z0-9._/-])\s*$`)

// parseConstraint reads "node.labels.role == web"; nothing else is understood.
func parseConstraint(s string) (constraint, bool) {
	m := constraintRE.FindStringSubmatch(s)
	if m == nil {
		return constraint{}, false
	}
	return constraint{label: m[1], not: m[2] == "!=", value: m[3]}, true
}

// placement is where the services of an app run.
type placement struct {
	targets  []string                   // in the environment's order
	services map[string]map[string]bool // service → targets that it runs on
}

// allowed reports whether a service may run on a target with these labels, by
// the constraints that its model writes.
func (r *renderer) allowed(m *model, s types.ServiceConfig, labels map[string]string) bool {
	if s.Deploy == nil {
		return true
	}
	p := s.Deploy.Placement
	if len(p.Preferences) > 0 || p.MaxReplicas > 0 {
		r.problems = append(r.problems, m.serviceProblem(s.Name,
			"only constraints are supported", "remove the rest", "deploy", "placement"))
	}
	all := true
	for _, text := range p.Constraints {
		c, ok := parseConstraint(text)
		if !ok {
			r.problems = append(r.problems, m.serviceProblem(s.Name,
				"has a constraint that is not supported", "write node.labels.NAME == VALUE, or !=", "deploy", "placement", "constraints"))
			continue
		}
		all = all && c.allows(labels)
	}
	return all
}

// place says where each service runs and reports those that run nowhere.
func (r *renderer) place() placement {
	p := placement{services: map[string]map[string]bool{}}
	somewhere := map[string]*model{}
	for _, t := range r.e.Targets {
		p.targets = append(p.targets, t.Name)
		m := r.models[t.Name]
		for _, name := range sortedKeys(m.project.Services) {
			if p.services[name] == nil {
				p.services[name], somewhere[name] = map[string]bool{}, m
			}
			if r.allowed(m, m.project.Services[name], t.Labels) {
				p.services[name][t.Name] = true
			}
		}
	}
	for _, name := range sortedKeys(p.services) {
		if len(p.services[name]) == 0 {
			r.problems = append(r.problems, somewhere[name].serviceProblem(name,
				"no target of the environment matches its constraints",
				"label a target in environment.yaml, or change the constraints", "deploy", "placement", "constraints"))
		}
	}
	return p
}

// waits returns, for each target, those that have to come before it: they run
// what a service of it depends on and what it does not run itself.
func (r *renderer) waits(p placement) map[string][]string {
	waits := map[string][]string{}
	for _, t := range p.targets {
		before := map[string]bool{}
		for name, s := range r.models[t].project.Services {
			if !p.services[name][t] {
				continue
			}
			for needed := range s.DependsOn {
				if on := p.services[needed]; !on[t] {
					for other := range on {
						before[other] = true
					}
				}
			}
		}
		for _, other := range p.targets {
			if before[other] {
				waits[t] = append(waits[t], other)
			}
		}
	}
	return waits
}

// waves orders targets by what they wait for. Those left over wait for each
// other.
func waves(targets []string, waits map[string][]string) (order [][]string, left []string) {
	done := map[string]bool{}
	left = slices.Clone(targets)
	for len(left) > 0 {
		var wave, later []string
		for _, t := range left {
			if slices.ContainsFunc(waits[t], func(other string) bool { return !done[other] }) {
				later = append(later, t)
			} else {
				wave = append(wave, t)
			}
		}
		if len(wave) == 0 {
			return order, left
		}
		for _, t := range wave {
			done[t] = true
		}
		order, left = append(order, wave), later
	}
	return order, nil
}

// checkOrder reports targets that wait for each other.
func (r *renderer) checkOrder(p placement, waits map[string][]string) {
	_, left := waves(p.targets, waits)
	if len(left) == 0 {
		return
	}
	for _, name := range sortedKeys(p.services) {
		for _, t := range left {
			s, m := r.models[t].project.Services[name], r.models[t]
			for _, needed := range sortedKeys(s.DependsOn) {
				if p.services[name][t] && !p.services[needed][t] && slices.ContainsFunc(left, func(o string) bool { return p.services[needed][o] }) {
					r.problems = append(r.problems, m.serviceProblem(name,
						"makes targets wait for each other: "+strings.Join(left, ", "),
						"place what depends on each other on one target", "depends_on", needed))
				}
			}
		}
	}
}
