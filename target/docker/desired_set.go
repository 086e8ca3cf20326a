package docker

import (
	"errors"
	"fmt"
	"maps"
	"slices"
	"strings"

	"github.com/stella-ops/stella"
)

// The conditions of depends_on.
const (
	conditionStarted   = "service_started"
	conditionHealthy   = "service_healthy"
	conditionCompleted = "service_completed_successfully"
)

// service is one that is desired.
type service struct {
	resource stella.Resource
	name     string
	image    stella.Artifact
	called   string            // its container's name on the engine
	depends  map[string]string // service → condition
}

// desiredSet is a desired state by kind, each sorted by id.
type desiredSet struct {
	state    stella.State
	services []service
	networks []stella.Resource
	volumes  []stella.Resource
}

func (s desiredSet) service(name string) (service, bool) {
	i := slices.IndexFunc(s.services, func(w service) bool { return w.name == name })
	if i < 0 {
		return service{}, false
	}
	return s.services[i], true
}

func (s desiredSet) has(id stella.ResourceID) bool {
	_, ok := s.state.Resource(id)
	return ok
}

// parseDesired sorts a desired state. Every service is compiled, for what is
// wrong with it to be known before anything is touched: all findings are returned.
func (d *Docker) parseDesired(state stella.State, inv *inventory) (desiredSet, error) {
	out := desiredSet{state: state}
	var all []error
	for _, r := range state.Resources {
		d.hidden.learn("desired", r)
		kind, name, _ := strings.Cut(string(r.ID), "/")
		switch kind {
		case "network":
			out.networks = append(out.networks, r)
		case "volume":
			out.volumes = append(out.volumes, r)
		case "service":
			s, err := d.parseService(r, name)
			out.services = append(out.services, s)
			all = append(all, err, checkJob(r))
		default:
			all = append(all, fmt.Errorf("%w: %s: a container engine has no such thing", stella.ErrUnsupported, r.ID))
		}
	}
	sc := d.scopeOf(inv, out)
	for _, s := range out.services {
		if sc.containers[s.name] == "" {
			sc.containers[s.name] = "to-be-made"
		}
	}
	for _, s := range out.services {
		_, errs := compile(s.resource, sc)
		all = append(all, errs...)
	}
	if circle := findCycle(out.services); circle != "" {
		all = append(all, fmt.Errorf("%w: depends_on goes in a circle: %s", stella.ErrInvalid, circle))
	}
	return out, errors.Join(all...)
}

func (d *Docker) scopeOf(inv *inventory, s desiredSet) scope {
	return d.scope(inv, s.networks, s.volumes)
}

func (d *Docker) parseService(r stella.Resource, name string) (service, error) {
	s := service{resource: r, name: name, depends: map[string]string{}, called: d.nameFor(name, r.Fields)}
	if _, err := stella.ParseName(name); err != nil {
		return s, fmt.Errorf("%s: %w", r.ID, err)
	}
	image, _ := r.Fields["image"].(string)
	var err error
	if s.image, err = stella.ParseArtifact(image); err == nil && s.image.Digest == "" {
		err = fmt.Errorf("%w: image %s has no digest", stella.ErrInvalid, image)
	}
	if err != nil {
		return s, fmt.Errorf("%s: %w", r.ID, err)
	}
	needs, _ := r.Fields["dependsOn"].(map[string]any)
	for on, v := range needs {
		f, _ := v.(map[string]any)
		condition, _ := f["condition"].(string)
		switch condition {
		case "":
			condition = conditionStarted
		case conditionStarted, conditionHealthy, conditionCompleted:
		default:
			return s, fmt.Errorf("%w: %s: depends_on.%s: condition %q is not known", stella.ErrUnsupported, r.ID, on, condition)
		}
		s.depends[on] = condition
	}
	for _, host := range hostsOf(r) {
		if s.depends[host] == "" {
			s.depends[host] = conditionStarted
		}
	}
	return s, nil
}

// awaits reports whether a service waits for the success of the named one.
func (s desiredSet) awaits(name string) bool {
	return slices.ContainsFunc(s.services, func(waits service) bool { return waits.depends[name] == conditionCompleted })
}

// inOrder returns the actions as they are carried out: what goes first, then
// networks and volumes, then services after those that they depend on, and last
// the networks and volumes that nobody is on any more. Otherwise the plan's order
// stays.
func inOrder(actions []stella.Action, s desiredSet) []stella.Action {
	phases := make([][]stella.Action, 4)
	for _, a := range actions {
		isService := strings.HasPrefix(string(a.Resource.ID), servicePrefix)
		storage := strings.HasPrefix(string(a.Resource.ID), "network/") || strings.HasPrefix(string(a.Resource.ID), "volume/")
		n := 0
		switch {
		case a.Op == stella.OpRemove && storage:
			n = 3
		case a.Op == stella.OpRemove:
		case isService:
			n = 2
		default:
			n = 1
		}
		phases[n] = append(phases[n], a)
	}
	phases[2] = dependenciesFirst(phases[2], s)
	return slices.Concat(phases...)
}

func dependenciesFirst(actions []stella.Action, s desiredSet) []stella.Action {
	byName := map[string]stella.Action{}
	for _, a := range actions {
		byName[strings.TrimPrefix(string(a.Resource.ID), servicePrefix)] = a
	}
	var out []stella.Action
	done := map[string]bool{}
	var visit func(name string)
	visit = func(name string) {
		if done[name] {
			return
		}
		done[name] = true // before its dependencies: a circle was refused, and must not hang
		if w, ok := s.service(name); ok {
			for _, on := range slices.Sorted(maps.Keys(w.depends)) {
				visit(on)
			}
		}
		if a, ok := byName[name]; ok {
			out = append(out, a)
		}
	}
	for _, a := range actions {
		visit(strings.TrimPrefix(string(a.Resource.ID), servicePrefix))
	}
	return out
}

// stopOrder lists services with those that depend on others first.
func stopOrder(depends map[string]map[string]string) []string {
	var out []string
	seen := map[string]bool{}
	names := slices.Sorted(maps.Keys(depends))
	var visit func(name string)
	visit = func(name string) {
		if seen[name] {
			return
		}
		seen[name] = true
		for _, other := range names {
			if _, ok := depends[other][name]; ok {
				visit(other)
			}
		}
		out = append(out, name)
	}
	for _, name := range names {
		visit(name)
	}
	return out
}

// findCycle returns a circle of dependencies as "a → b → a", empty for none.
func findCycle(services []service) string {
	byName := map[string]service{}
	for _, s := range services {
		byName[s.name] = s
	}
	state := map[string]int{} // 1: on the path, 2: done
	var path []string
	var visit func(name string) bool
	visit = func(name string) bool {
		path = append(path, name)
		if state[name] == 1 {
			return true
		}
		state[name] = 1
		for _, on := range slices.Sorted(maps.Keys(byName[name].depends)) {
			if _, ok := byName[on]; ok && state[on] != 2 && visit(on) {
				return true
			}
		}
		state[name] = 2
		path = path[:len(path)-1]
		return false
	}
	for _, s := range services {
		if state[s.name] == 0 && visit(s.name) {
			return strings.Join(path[slices.Index(path, path[len(path)-1]):], " → ")
		}
	}
	return ""
}
