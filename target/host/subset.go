package host

import (
	"errors"
	"fmt"
	"maps"
	"slices"
	"strconv"
	"strings"

	"github.com/stella-ops/stella"
	"github.com/stella-ops/stella/drift"
	"github.com/stella-ops/stella/internal/safe"
)

// desiredSet is a desired state that a bare host can carry out.
type desiredSet struct {
	services []service // sorted by name
	volumes  []stella.Resource
}

func (d desiredSet) service(name string) (service, bool) {
	i, ok := slices.BinarySearchFunc(d.services, name, func(s service, n string) int { return strings.Compare(s.name, n) })
	if !ok {
		return service{}, false
	}
	return d.services[i], true
}

// parseDesired checks the whole of a desired state and returns every finding at
// once, one per line: of class stella.ErrUnsupported what a bare host does not
// do, of stella.ErrInvalid what is wrong anywhere.
func (h *Host) parseDesired(s stella.State) (desiredSet, error) {
	var out desiredSet
	var all []error
	for _, r := range s.Resources {
		id := string(r.ID)
		kind, name, _ := strings.Cut(id, "/")
		if _, err := stella.ParseName(name); err != nil {
			all = append(all, finding{safe.Clip(id, 100) + ": " + err.Error(), stella.ErrInvalid})
			continue
		}
		switch kind {
		case "service":
			if unknown := unknownFields(r); len(unknown) > 0 {
				all = append(all, unknown...)
				continue
			}
			if value, err := drift.Value(r.Fields); err == nil {
				r.Fields, _ = value.(map[string]any) // so that it can be compared with what is read back
			}
			svc, errs := decodeService(r)
			all = append(all, errs...)
			out.services = append(out.services, svc)
		case "volume":
			all = append(all, checkVolume(r)...)
			out.volumes = append(out.volumes, r)
		default:
			all = append(all, unsupported(safe.Clip(id, 100), safe.Clip(kind, 40), "only services and volumes are"))
		}
	}
	slices.SortFunc(out.services, func(a, b service) int { return strings.Compare(a.name, b.name) })
	all = append(all, h.checkMode(out)...)
	all = append(all, checkTogether(out)...)
	return out, errors.Join(all...)
}

// known lists the fields of a service and of what is nested in it, with the
// names that Compose gives them.
func known(field string) map[string]string {
	switch field {
	case "":
		return map[string]string{
			"image": "", "entrypoint": "", "command": "", "environment": "", "user": "", "workingDir": "working_dir",
			"stopSignal": "stop_signal", "stopGracePeriodSeconds": "stop_grace_period", "restart": "", "healthcheck": "",
			"ports": "", "volumes": "", "configs": "", "dependsOn": "depends_on", "labels": "",
		}
	case "healthcheck":
		return map[string]string{
			"test": "", "intervalSeconds": "interval", "timeoutSeconds": "timeout", "startPeriodSeconds": "start_period",
			"startIntervalSeconds": "start_interval", "retries": "",
		}
	case "ports":
		return map[string]string{"target": "", "published": "", "protocol": "", "hostIP": "host_ip"}
	case "volumes":
		return map[string]string{"type": "", "source": "", "target": "", "readOnly": "read_only"}
	case "configs":
		return map[string]string{"content": "", "contentBase64": "", "digest": "", "mode": "", "uid": "", "gid": ""}
	case "dependsOn":
		return map[string]string{"condition": ""}
	}
	return nil
}

// instead says what to do about some fields; for all others there is one answer.
func instead(field string) string {
	switch field {
	case "network_mode", "networks":
		return "services share the machine's network; remove it"
	case "build":
		return "name an image that was pushed"
	case "env_file":
		return "use environment"
	case "secrets":
		return "use configs"
	}
	return "remove it, or use a docker target"
}

// unknownFields refuses every field that is not known, sorted.
func unknownFields(r stella.Resource) []error {
	var all []error
	refuse := func(field string) {
		all = append(all, unsupported(string(r.ID), safe.Clip(field, 100), instead(field)))
	}
	top := known("")
	for _, field := range slices.Sorted(maps.Keys(r.Fields)) {
		if _, ok := top[field]; !ok {
			refuse(field)
			continue
		}
		nested := known(field)
		if nested == nil {
			continue
		}
		compose := field
		if name := top[field]; name != "" {
			compose = name
		}
		for _, in := range nestedMaps(field, r.Fields[field]) {
			for _, k := range slices.Sorted(maps.Keys(in.fields)) {
				if _, ok := nested[k]; !ok {
					refuse(compose + in.where + "." + k)
				}
			}
		}
	}
	return all
}

type nestedMap struct {
	where  string // "[0]", ".db", ""
	fields map[string]any
}

// nestedMaps lists the maps in a field: the field itself, or the elements of
// its list, or the values of its map.
func nestedMaps(field string, v any) []nestedMap {
	var out []nestedMap
	switch v := v.(type) {
	case []any:
		for i, e := range v {
			if m, ok := e.(map[string]any); ok {
				out = append(out, nestedMap{"[" + strconv.Itoa(i) + "]", m})
			}
		}
	case map[string]any:
		if field == "healthcheck" {
			return []nestedMap{{"", v}}
		}
		for _, k := range slices.Sorted(maps.Keys(v)) {
			if m, ok := v[k].(map[string]any); ok {
				out = append(out, nestedMap{"." + k, m})
			}
		}
	}
	return out
}

func checkVolume(r stella.Resource) []error {
	var all []error
	for _, field := range slices.Sorted(maps.Keys(r.Fields)) {
		if field == "named" {
			continue // for engines, which know volumes by name
		}
		if _, isText := r.Fields[field].(string); field != "name" || !isText {
			all = append(all, unsupported(string(r.ID), safe.Clip(field, 100), "a volume is a directory below the target's root"))
		}
	}
	return all
}

// checkMode refuses what needs root where this process is not.
func (h *Host) checkMode(d desiredSet) []error {
	if h.chroots {
		return nil
	}
	var all []error
	need := func(where, field string) {
		all = append(all, finding{fmt.Sprintf("%s: %s: not supported on a bare host without root; run stella as root, or remove it", where, field), stella.ErrUnsupported})
	}
	for _, s := range d.services {
		where := string(s.resource.ID)
		if len(s.volumes) > 0 {
			need(where, "volumes")
		}
		if s.fields.User != "" && s.fields.User != strconv.Itoa(h.uid) {
			need(where, "user")
		}
		for _, c := range s.configs {
			if c.uid >= 0 && c.uid != h.uid || c.gid >= 0 {
				need(where, "configs: uid and gid")
				break
			}
		}
	}
	return all
}

// checkTogether refuses what only several resources together get wrong.
func checkTogether(d desiredSet) []error {
	var all []error
	declared := map[string]bool{}
	for _, v := range d.volumes {
		declared[strings.TrimPrefix(string(v.ID), "volume/")] = true
	}
	for i, s := range d.services {
		for _, v := range s.volumes {
			if !declared[v.Source] {
				all = append(all, invalid(string(s.resource.ID), "volumes: %s is not a volume of this target", v.Source))
			}
		}
		for _, other := range d.services[i+1:] {
			if p, ok := collide(s.ports, other.ports); ok {
				all = append(all, invalid(string(s.resource.ID), "ports: %s is also published by %s", p, other.resource.ID))
			}
		}
		for _, on := range slices.Sorted(maps.Keys(s.fields.DependsOn)) {
			switch c := s.fields.DependsOn[on].Condition; c {
			case conditionStarted, conditionHealthy, conditionCompleted:
			default:
				all = append(all, invalid(string(s.resource.ID), "depends_on.%s.condition: %q is not known", on, safe.Clip(c, 40)))
			}
		}
	}
	if cycle := findCycle(d.services); cycle != "" {
		all = append(all, invalid("services", "depends_on goes in a circle: %s", cycle))
	}
	return all
}
