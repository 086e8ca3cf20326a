package configrepo

import (
	"fmt"
	"strings"

	"github.com/stella-ops/stella/drift"
)

// rendered are the Compose fields that have a place of their own in a resource,
// or none.
func rendered(name string) bool {
	switch name {
	case "image", "entrypoint", "command", "environment", "env_file", "user", "working_dir",
		"stop_signal", "stop_grace_period", "restart", "healthcheck", "ports", "volumes", "configs", "secrets",
		"depends_on", "labels", "label_file", "profiles", "extends":
		return true
	}
	return strings.HasPrefix(name, "x-")
}

// others puts every other field that is written under its Compose name, so that
// a driver can refuse by name what it does not know.
func (s *service) others() error {
	value, err := drift.Value(s.typed)
	if err != nil {
		return fmt.Errorf("render service/%s: %w", s.name, err)
	}
	typed, _ := value.(map[string]any)
	for name, written := range s.written {
		if rendered(name) || isUnset(written) || name == "scale" && typed[name] == 1.0 {
			continue
		}
		switch name {
		case "deploy":
			written = withoutPlacement(written, typed[name])
		case "networks":
			if isDefaultNetwork(written) {
				continue
			}
		default:
			if t, ok := typed[name]; ok {
				written = t
			}
		}
		if written != nil {
			s.fields[name] = s.r.portable(written)
		}
	}
	if s.has("build") {
		s.fail("is not supported: a release is made of digests", "name an image in release.yaml", "build")
	}
	return nil
}

// isUnset reports whether a value says no more than leaving it out.
func isUnset(v any) bool {
	switch v := v.(type) {
	case nil:
		return true
	case bool:
		return !v
	case string:
		return v == ""
	case []any:
		return len(v) == 0
	case map[string]any:
		return len(v) == 0
	}
	return false
}

// withoutPlacement returns what is written below deploy, in its typed form, but
// for the placement and what is so anyway; nil where nothing is left.
func withoutPlacement(written, typed any) any {
	keys, _ := written.(map[string]any)
	values, _ := typed.(map[string]any)
	left := map[string]any{}
	for key, value := range keys {
		if t, ok := values[key]; ok {
			value = t
		}
		asAlways := key == "replicas" && value == 1.0 || key == "mode" && value == "replicated"
		if key != "placement" && !strings.HasPrefix(key, "x-") && !isUnset(value) && !asAlways {
			left[key] = value
		}
	}
	if len(left) == 0 {
		return nil
	}
	return left
}

// isDefaultNetwork reports whether only the network is named that a service is
// on anyway.
func isDefaultNetwork(written any) bool {
	nets, ok := written.(map[string]any)
	if !ok || len(nets) != 1 {
		return false
	}
	settings, ok := nets["default"]
	return ok && isUnset(settings)
}

// portable returns v with the paths of the private directory made relative to
// the app, as they were written.
func (r *renderer) portable(v any) any {
	switch v := v.(type) {
	case string:
		if to, ok := r.scratch.rel(v); ok {
			return r.fromApp(to)
		}
		return v
	case []any:
		for i := range v {
			v[i] = r.portable(v[i])
		}
	case map[string]any:
		for k := range v {
			v[k] = r.portable(v[k])
		}
	}
	return v
}
