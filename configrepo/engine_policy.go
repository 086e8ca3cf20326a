package configrepo

import (
	"fmt"
	"path"
	"slices"
	"strings"

	stella "github.com/stella-ops/stella"
	"github.com/stella-ops/stella/internal/safe"
)

// demand is something that an app asks of an engine and that is denied unless
// the environment allows it. Demands are read from rendered fields, the only
// shape that a driver sees: whatever way of writing led there.
type demand struct {
	what  string
	needs Permission // empty where nothing allows it
	fix   string     // where needs is empty
	keys  []string   // of the Compose field
}

// policy is what an environment allows on one target.
type policy struct {
	allow  []Permission
	roots  []string
	socket string // of the target's own engine; empty where it is not on a socket
}

func newPolicy(e *Environment, t Target) policy {
	p := policy{allow: e.Allow, roots: e.BindRoots}
	if t.Docker != nil {
		p.socket, _ = strings.CutPrefix(t.Docker.Host, "unix://")
	}
	return p
}

func (p policy) denies(d demand) bool { return d.needs == "" || !slices.Contains(p.allow, d.needs) }

func (d demand) advice() string {
	if d.needs == "" {
		return d.fix
	}
	return fmt.Sprintf("remove it, or add allow: [%s] to environment.yaml", d.needs)
}

// policy reports what a service asks of its target and is not allowed.
func (r *renderer) policy(m *model, t Target, name string, fields map[string]any) {
	if t.Docker == nil {
		r.hostPolicy(m, name, fields)
		return
	}
	p := newPolicy(r.e, t)
	for _, d := range p.service(fields) {
		if p.denies(d) {
			r.problems = append(r.problems, m.serviceProblem(name, d.what, d.advice(), d.keys...))
		}
	}
}

// hostPolicy keeps paths of the machine from a target that has no engine.
func (r *renderer) hostPolicy(m *model, name string, fields map[string]any) {
	for _, one := range entries(fields["volumes"]) {
		if from := text(one["source"]); text(one["type"]) == "bind" && path.IsAbs(from) {
			r.problems = append(r.problems, m.serviceProblem(name,
				"mounts a path outside the app", "use a named volume, or configs for files of the app", "volumes"))
		}
	}
}

// sharedPolicy reports what a volume or a network asks of its target and is not
// allowed.
func (r *renderer) sharedPolicy(m *model, t Target, one stella.Resource) {
	if t.Docker == nil {
		return // the driver of hosts knows no options
	}
	p := newPolicy(r.e, t)
	kind, name, _ := strings.Cut(string(one.ID), "/")
	demands := p.volume(one.Fields)
	if kind == "network" {
		demands = p.network(one.Fields)
	}
	for _, d := range demands {
		if p.denies(d) {
			r.problems = append(r.problems, m.topProblem(kind+"s", name, d.what, d.advice(), d.keys...))
		}
	}
}

// topProblem is a Problem at an entry of the top level, where it is written.
func (m *model) topProblem(section, name, what, fix string, keys ...string) Problem {
	at := append([]string{section, name}, keys...)
	best, longest := m.sources[0], ""
	for _, one := range m.sources {
		if _, found := find(one.doc.root, at...); len(found) > len(longest) {
			best, longest = one, found
		}
	}
	n, _ := find(best.doc.root, at...)
	field := ""
	for _, key := range at {
		field = joinField(field, key)
	}
	return problemAt(best.doc.path, n, field, what, fix)
}

// service returns everything that a service asks for and that may be denied.
func (p policy) service(fields map[string]any) []demand {
	all := slices.Concat(namespaces(fields), privileges(fields), devices(fields), foreign(fields), names(fields), ownLabels(fields["labels"]), p.logs(fields))
	for _, one := range entries(fields["volumes"]) {
		all = append(all, p.mount(one)...)
	}
	return all
}

// mount returns what a mount of a service asks for.
func (p policy) mount(one map[string]any) []demand {
	switch kind, from := text(one["type"]), text(one["source"]); kind {
	case "volume", "tmpfs":
		return nil
	case "bind":
		return p.bind(from, "volumes")
	case "image":
		if a, err := stella.ParseArtifact(from); err != nil || a.Digest == "" {
			return []demand{{what: "mounts an image without a digest", fix: "write registry/repository:tag@sha256:…", keys: []string{"volumes"}}}
		}
		return nil
	default:
		return []demand{{what: "mounts something of the kind " + safe.Clip(kind, 40), fix: "use bind, volume, tmpfs or image", keys: []string{"volumes"}}}
	}
}

// bind returns what a path of the machine that is mounted asks for. Paths are
// compared as they are written: a symbolic link below a root is the machine's.
func (p policy) bind(from string, keys ...string) []demand {
	clean := path.Clean(from)
	shown := safe.Clip(clean, 120)
	if !path.IsAbs(from) {
		return []demand{{
			what: "mounts a path relative to the app, which is not on the engine's machine",
			fix:  "use configs for files of the app, or an absolute path below bindRoots", keys: keys,
		}}
	}
	var all []demand
	socket, parent := p.reachesSocket(clean)
	if socket || parent {
		all = append(all, demand{what: "mounts the engine's socket, or a directory that leads to it: " + shown, needs: AllowEngineSocket, keys: keys})
	}
	if below(clean, "/dev") {
		all = append(all, demand{what: "mounts devices: " + shown, needs: AllowDevices, keys: keys})
	}
	if !socket && !slices.ContainsFunc(p.roots, func(root string) bool { return below(clean, root) }) {
		all = append(all, demand{
			what: "mounts " + shown + ", which is outside bindRoots",
			fix:  "use a named volume or configs, or add its directory to bindRoots in environment.yaml", keys: keys,
		})
	}
	return all
}

// below reports whether a clean path is a directory or within it.
func below(at, dir string) bool {
	return at == dir || strings.HasPrefix(at, strings.TrimSuffix(dir, "/")+"/")
}

// engineSockets are where engines and what they stand on listen.
func engineSockets() []string {
	return []string{
		"/run/docker.sock", "/var/run/docker.sock", "/run/podman/podman.sock", "/var/run/podman/podman.sock",
		"/run/containerd/containerd.sock", "/var/run/containerd/containerd.sock", "/run/crio/crio.sock", "/var/run/crio/crio.sock",
		"/run/user/0/docker.sock", "/var/run/user/0/podman/podman.sock",
		"/proc/1/root", // all of the machine, by another name
	}
}

// reachesSocket reports whether a path is the socket of an engine, or one of the
// directories above it.
func (p policy) reachesSocket(at string) (socket, parent bool) {
	switch path.Base(at) {
	case "docker.sock", "podman.sock", "containerd.sock", "crio.sock":
		return true, false
	}
	if below(at, "/proc") || below(at, "/run/user") || below(at, "/var/run/user") ||
		below(at, "/run/containerd") || below(at, "/run/podman") || below(at, "/var/run/podman") {
		return false, true
	}
	for _, one := range append(engineSockets(), p.socket) {
		if one != "" && below(one, at) {
			return one == at, one != at
		}
	}
	return false, false
}

// volume returns what a named volume asks for.
func (p policy) volume(fields map[string]any) []demand {
	all := ownLabels(fields["labels"])
	driver := text(fields["driver"])
	if driver != "" && driver != "local" {
		all = append(all, demand{what: "is of a driver that is a plugin", needs: AllowPlugins, keys: []string{"driver"}})
	}
	opts, _ := fields["driver_opts"].(map[string]any)
	if len(opts) == 0 || driver != "" && driver != "local" {
		return all
	}
	kind, device := text(opts["type"]), text(opts["device"])
	options := strings.Split(strings.ToLower(text(opts["o"])), ",")
	binds := slices.ContainsFunc(options, func(o string) bool {
		return strings.Contains(o, "bind") || strings.Contains(o, "move") || strings.Contains(o, "remount") && kind != "tmpfs"
	})
	remote := strings.HasPrefix(device, ":") || strings.HasPrefix(device, "//")
	switch {
	case kind == "tmpfs" && !binds, kind == "" && device == "" && !binds:
	case !binds && remote && slices.Contains([]string{"nfs", "nfs4", "cifs", "smb3"}, kind):
	case path.IsAbs(device) && !remote && (binds || kind == "" || kind == "none"):
		all = append(all, p.bind(device, "driver_opts")...)
	case path.IsAbs(device) && !remote && slices.Contains([]string{"ext2", "ext3", "ext4", "xfs", "btrfs"}, kind):
		all = append(all, demand{what: "mounts a device of the machine", needs: AllowDevices, keys: []string{"driver_opts"}})
	default:
		all = append(all, demand{
			what: "mounts something of the machine", keys: []string{"driver_opts"},
			fix: "use tmpfs, nfs, cifs or a bind of an absolute path below bindRoots",
		})
	}
	return all
}

// network returns what a network asks for.
func (p policy) network(fields map[string]any) []demand {
	all := ownLabels(fields["labels"])
	driver := strings.ToLower(text(fields["driver"]))
	opts, _ := fields["driver_opts"].(map[string]any)
	switch {
	case driver == "host" || text(fields["name"]) == "host":
		all = append(all, demand{what: "is the machine's own network", needs: AllowHostNetwork})
	case driver == "macvlan" || driver == "ipvlan":
		all = append(all, demand{what: "is on the machine's own network", needs: AllowHostNetwork, keys: []string{"driver"}})
	case !slices.Contains([]string{"", "bridge", "overlay", "none", "null"}, driver):
		all = append(all, demand{what: "is of a driver that is a plugin", needs: AllowPlugins, keys: []string{"driver"}})
	}
	if opts["com.docker.network.bridge.name"] != nil || opts["parent"] != nil {
		all = append(all, demand{what: "names an interface of the machine", needs: AllowHostNetwork, keys: []string{"driver_opts"}})
	}
	ipam, _ := fields["ipam"].(map[string]any)
	if by := text(ipam["driver"]); by != "" && by != "default" {
		all = append(all, demand{what: "takes its addresses from a plugin", needs: AllowPlugins, keys: []string{"ipam"}})
	}
	return all
}

// ownLabels keeps from the app the labels by which Stella and Compose know what
// is theirs.
func ownLabels(labels any) []demand {
	for _, name := range namesIn(labels) {
		if strings.HasPrefix(name, "stella.") || strings.HasPrefix(name, "com.docker.compose.") {
			return []demand{{what: "has a label by which Stella or Compose knows its own", fix: "rename the label", keys: []string{"labels"}}}
		}
	}
	return nil
}

// namesIn returns the names of a mapping, or what a list has in its place, values
// and all.
func namesIn(v any) []string {
	if mapping, ok := v.(map[string]any); ok {
		return sortedKeys(mapping)
	}
	return textsOf(v)
}

func text(v any) string { s, _ := v.(string); return s }

// entries returns the mappings of a list.
func entries(v any) []map[string]any {
	list, _ := v.([]any)
	var all []map[string]any
	for _, one := range list {
		if entry, ok := one.(map[string]any); ok {
			all = append(all, entry)
		}
	}
	return all
}
