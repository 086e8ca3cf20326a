package host

import (
	"maps"
	"slices"
	"strings"

	"github.com/stella-ops/stella"
)

// inOrder returns the actions in plan order, changed only as far as a service
// must come after those on this target that it depends on: waiting for one that
// comes later would never end.
func inOrder(actions []stella.Action, d desiredSet) []stella.Action {
	byID := map[stella.ResourceID]int{}
	for i, a := range actions {
		if a.Op != stella.OpRemove {
			byID[a.Resource.ID] = i
		}
	}
	var out []stella.Action
	done := make([]bool, len(actions))
	var visit func(i int)
	visit = func(i int) {
		if done[i] {
			return
		}
		done[i] = true // before its dependencies: a circle was refused, and must not hang
		if name, ok := serviceName(actions[i].Resource.ID); ok && actions[i].Op != stella.OpRemove {
			s, _ := d.service(name)
			for _, on := range slices.Sorted(maps.Keys(s.fields.DependsOn)) {
				if j, ok := byID[serviceID(on)]; ok {
					visit(j)
				}
			}
		}
		out = append(out, actions[i])
	}
	for i := range actions {
		visit(i)
	}
	return out
}

// stopOrder lists services with those that depend on others first.
func stopOrder(services []service) []string {
	var out []string
	seen := map[string]bool{}
	var visit func(s service)
	visit = func(s service) {
		if seen[s.name] {
			return
		}
		seen[s.name] = true
		for _, other := range services {
			if _, ok := other.fields.DependsOn[s.name]; ok {
				visit(other)
			}
		}
		out = append(out, s.name)
	}
	for _, s := range services {
		visit(s)
	}
	return out
}

// findCycle returns a circle in dependsOn as "a → b → a", empty for none.
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
		for _, on := range slices.Sorted(maps.Keys(byName[name].fields.DependsOn)) {
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
			from := slices.Index(path, path[len(path)-1])
			return strings.Join(path[from:], " → ")
		}
	}
	return ""
}
