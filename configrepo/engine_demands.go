package configrepo

import (
	"regexp"
	"slices"
	"strings"
	"unicode"

	"github.com/stella-ops/stella/internal/safe"
)

// namespaces returns what a service shares with its machine or with others.
// Words that are not known are denied: an engine may know them.
func namespaces(fields map[string]any) []demand {
	type mode struct {
		field    string
		harmless []string
		needs    Permission // for "host"
	}
	var all []demand
	for _, one := range []mode{
		{"network_mode", []string{"none", "bridge", "default"}, AllowHostNetwork},
		{"pid", []string{"private"}, AllowHostPID},
		{"ipc", []string{"none", "private", "shareable"}, AllowHostIPC},
		{"uts", []string{"private"}, AllowHostNetwork},
		{"userns_mode", []string{"private"}, AllowUnconfined},
		{"cgroup", []string{"private"}, AllowUnconfined},
	} {
		value := strings.ToLower(strings.TrimSpace(text(fields[one.field])))
		_, ofService := strings.CutPrefix(value, "service:")
		switch {
		case fields[one.field] == nil, slices.Contains(one.harmless, value), ofService && one.field != "userns_mode":
		case value == "host":
			all = append(all, demand{what: "shares a namespace of the machine", needs: one.needs, keys: []string{one.field}})
		default:
			all = append(all, demand{
				what: "is " + safe.Clip(value, 60) + ", which is not of the app", keys: []string{one.field},
				fix: "name a service of the app, or declare an external network and list it under networks",
			})
		}
	}
	return all
}

// usualCapabilities are those that an engine gives to every container; see
// https://github.com/moby/moby/blob/master/daemon/pkg/oci/caps/defaults.go.
func usualCapabilities() []string {
	return []string{
		"AUDIT_WRITE", "CHOWN", "DAC_OVERRIDE", "FOWNER", "FSETID", "KILL", "MKNOD",
		"NET_BIND_SERVICE", "NET_RAW", "SETFCAP", "SETGID", "SETPCAP", "SETUID", "SYS_CHROOT",
	}
}

// privileges returns what a service may do that others may not.
func privileges(fields map[string]any) []demand {
	var all []demand
	if !isUnset(fields["privileged"]) {
		all = append(all, demand{what: "runs with all rights on the machine", needs: AllowPrivileged, keys: []string{"privileged"}})
	}
	for _, hook := range []string{"post_start", "pre_stop"} {
		if slices.ContainsFunc(entries(fields[hook]), func(one map[string]any) bool { return !isUnset(one["privileged"]) }) {
			all = append(all, demand{what: "runs a hook with all rights on the machine", needs: AllowPrivileged, keys: []string{hook}})
		}
	}
	for _, name := range textsOf(fields["cap_add"]) {
		if bare := strings.TrimPrefix(strings.ToUpper(strings.TrimSpace(name)), "CAP_"); !slices.Contains(usualCapabilities(), bare) {
			all = append(all, demand{what: "adds the capability " + safe.Clip(name, 40), needs: AllowCapabilities, keys: []string{"cap_add"}})
		}
	}
	for _, option := range textsOf(fields["security_opt"]) {
		if !harmlessOption(option) {
			all = append(all, demand{what: "lifts what confines it: " + safe.Clip(option, 60), needs: AllowUnconfined, keys: []string{"security_opt"}})
		}
	}
	for _, field := range []string{"runtime", "cgroup_parent"} {
		if !isUnset(fields[field]) {
			all = append(all, demand{what: "leaves what the engine runs containers with", needs: AllowRuntime, keys: []string{field}})
		}
	}
	return all
}

// harmlessOption reports whether a security option confines no less than none.
func harmlessOption(option string) bool {
	name, value, _ := strings.Cut(strings.ReplaceAll(strings.TrimSpace(option), "=", ":"), ":")
	switch name {
	case "no-new-privileges":
		return value == "" || value == "true"
	case "seccomp":
		return value == "builtin"
	case "apparmor":
		return value == "docker-default"
	case "label":
		return strings.HasPrefix(value, "level:")
	}
	return false
}

// devices returns what a service has of the machine's devices.
func devices(fields map[string]any) []demand {
	var all []demand
	for _, field := range []string{"devices", "device_cgroup_rules", "gpus"} {
		if !isUnset(fields[field]) {
			all = append(all, demand{what: "has devices of the machine", needs: AllowDevices, keys: []string{field}})
		}
	}
	at := fields["deploy"]
	for _, key := range []string{"resources", "reservations"} {
		keys, _ := at.(map[string]any)
		at = keys[key]
	}
	reserved, _ := at.(map[string]any)
	for _, key := range []string{"devices", "generic_resources"} {
		if !isUnset(reserved[key]) {
			all = append(all, demand{what: "has devices of the machine", needs: AllowDevices, keys: []string{"deploy", "resources", "reservations", key}})
		}
	}
	return all
}

// foreign returns what a service takes from something else than the app.
func foreign(fields map[string]any) []demand {
	var all []demand
	if !isUnset(fields["use_api_socket"]) {
		all = append(all, demand{what: "is given the engine's socket", needs: AllowEngineSocket, keys: []string{"use_api_socket"}})
	}
	for _, from := range textsOf(fields["volumes_from"]) {
		if strings.HasPrefix(strings.TrimSpace(from), "container:") {
			all = append(all, demand{what: "has the volumes of a container that is not of the app", fix: "name a service of the app", keys: []string{"volumes_from"}})
		}
	}
	for field, fix := range map[string]string{
		"credential_spec": "remove it", "external_links": "put both on a network, and remove it",
		"provider": "remove it: it runs a program of the machine that stella runs on", "pre_start": "write a service with x-stella: {job: pre-deploy}",
	} {
		if !isUnset(fields[field]) {
			all = append(all, demand{what: "is not supported", fix: fix, keys: []string{field}})
		}
	}
	logging, _ := fields["logging"].(map[string]any)
	if driver := text(logging["driver"]); driver != "" && !slices.Contains(usualLogging(), driver) {
		all = append(all, demand{what: "logs to a driver that is a plugin", needs: AllowPlugins, keys: []string{"logging", "driver"}})
	}
	return all
}

// containerName is what engines take for one; see
// https://github.com/moby/moby/blob/master/daemon/names/names.go.
var containerName = regexp.MustCompile(`^[a-zA-Z0-9][a-zA-Z0-9_.-]*$`)

// names returns what a service may not be called, or call its variables.
func names(fields map[string]any) []demand {
	var all []demand
	switch name := text(fields["container_name"]); {
	case name == "":
	case strings.HasPrefix(name, "stella."):
		all = append(all, demand{what: "has a name by which Stella knows its own", fix: "choose one that does not begin with 'stella.'", keys: []string{"container_name"}})
	case !containerName.MatchString(name):
		all = append(all, demand{what: "is no name for a container: " + safe.Clip(name, 60), fix: "use letters, digits, '_', '.' and '-'", keys: []string{"container_name"}})
	}
	for _, variable := range namesIn(fields["environment"]) {
		if name, _, _ := strings.Cut(variable, "="); strings.ContainsFunc(name, unicode.IsControl) {
			all = append(all, demand{what: "has control characters in the name of a variable: " + safe.Clip(name, 60), fix: "remove them", keys: []string{"environment"}})
		}
	}
	return all
}

// logs returns what the place where a service logs to asks for: a socket of the
// machine is a path of it, however it is written.
func (p policy) logs(fields map[string]any) []demand {
	logging, _ := fields["logging"].(map[string]any)
	options, _ := logging["options"].(map[string]any)
	var all []demand
	for _, option := range sortedKeys(options) {
		scheme, at, ok := strings.Cut(strings.TrimSpace(text(options[option])), ":")
		if ok && strings.HasPrefix(strings.ToLower(scheme), "unix") {
			all = append(all, p.bind(strings.TrimPrefix(at, "//"), "logging", "options", option)...)
		}
	}
	return all
}

// usualLogging are the logging drivers that are part of an engine.
func usualLogging() []string {
	return []string{
		"none", "local", "json-file", "journald", "syslog", "gelf", "fluentd", "awslogs", "splunk", "gcplogs", "etwlogs", "k8s-file", "passthrough",
	}
}

// textsOf returns the texts of a list, or the one text.
func textsOf(v any) []string {
	list, ok := v.([]any)
	if !ok && text(v) != "" {
		return []string{text(v)}
	}
	var all []string
	for _, one := range list {
		all = append(all, text(one))
	}
	return all
}
