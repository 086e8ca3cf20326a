package configrepo

import (
	"maps"
	"regexp"
	"slices"
	"strings"

	"github.com/compose-spec/compose-go/v2/types"

	stella "github.com/stella-ops/stella"
	"github.com/stella-ops/stella/drift"
)

// components returns the images of the release's components on a target, with
// the overrides that name it.
func (r *renderer) components(target string) map[string]stella.Artifact {
	all := make(map[string]stella.Artifact, len(r.release.Release.Components))
	maps.Copy(all, r.release.Release.Components)
	for _, o := range r.release.Overrides {
		if len(o.Targets) > 0 && !slices.Contains(o.Targets, target) {
			continue
		}
		for name, a := range o.Components {
			if _, ok := all[name]; ok {
				all[name] = a
			}
		}
	}
	return all
}

// image returns what a service runs: the component of its name, or its own
// image with a digest.
func (r *renderer) image(m *model, components map[string]stella.Artifact, name string) (stella.Artifact, bool) {
	if a, ok := components[name]; ok {
		if a.Digest == "" && len(r.release.undigested) == 0 { // else they are reported
			r.componentProblem(name, "has no digest", "pin it: run 'stella validate --fix'")
		}
		return a, a.Digest != ""
	}
	text, _ := m.written[name]["image"].(string)
	a, err := stella.ParseArtifact(text)
	switch {
	case text == "":
		r.problems = append(r.problems, m.serviceProblem(name, "has no image", "add a component of its name to release.yaml"))
	case err != nil || a.Digest == "":
		r.problems = append(r.problems, m.serviceProblem(name, "is not a component of release.yaml and its image has no digest",
			"add it to components in release.yaml, or write registry/repository:tag@sha256:…", "image"))
	default:
		return a, true
	}
	return a, false
}

// checkComponents reports components that are no service of the app.
func (r *renderer) checkComponents() {
	r.problems = append(r.problems, r.release.undigested...)
	for _, name := range sortedKeys(r.release.Release.Components) {
		enabled, disabled := false, false
		for _, m := range r.models {
			_, on := m.project.Services[name]
			_, off := m.project.DisabledServices[name]
			enabled, disabled = enabled || on, disabled || off
		}
		switch {
		case enabled:
		case disabled:
			r.componentProblem(name, "its service has profiles and is not run", "remove the profiles from "+composeFile+", or the component")
		default:
			r.componentProblem(name, "there is no such service in "+composeFile, "name it as the service is named, or remove it")
		}
	}
}

// componentProblem reports a component where release.yaml has it.
func (r *renderer) componentProblem(name, what, fix string) {
	file := r.app + "/release.yaml"
	p := Problem{Path: file, Field: joinField("components", name), What: what, Fix: fix}
	if doc, _ := parseCompose(file, r.files[file]); doc != nil {
		if n, field := find(doc.root, "components", name); field != "" {
			p.Line, p.Column = n.Line, n.Column
		}
	}
	r.problems = append(r.problems, p)
}

// dependencies returns what a service waits for on its own target; what runs
// elsewhere orders the targets.
func dependencies(m *model, name, target string, place placement) map[string]any {
	all := map[string]any{}
	for needed, d := range m.project.Services[name].DependsOn {
		if !place.services[needed][target] {
			continue
		}
		entry := map[string]any{"condition": d.Condition}
		if d.Restart {
			entry["restart"] = true
		}
		if !d.Required {
			entry["required"] = false
		}
		all[needed] = entry
	}
	return all
}

// uses adds the volumes and networks of the top level that a service uses.
func (m *model) uses(name string, volumes, nets map[string]bool) {
	for _, v := range m.project.Services[name].Volumes {
		if v.Type == types.VolumeTypeVolume && v.Source != "" {
			volumes[v.Source] = true
		}
	}
	for net := range m.project.Services[name].Networks {
		if written, ok := m.nets[net]; ok && (net != "default" || len(written) > 0) {
			nets[net] = true
		}
	}
}

var engineNameRE = regexp.MustCompile(`^[a-zA-Z0-9][a-zA-Z0-9_.-]{0,254}$`)

// topLevel renders the used entries of a section: their names and what else is
// written of them, under its Compose name.
func (r *renderer) topLevel(m *model, kind string, section map[string]map[string]any, used map[string]bool) []stella.Resource {
	var all []stella.Resource
	for _, name := range sortedKeys(used) {
		fields := map[string]any{"name": name}
		for key, value := range section[name] {
			ipv4 := key == "enable_ipv4" && value != nil // false says something: networks have IPv4 otherwise
			if (ipv4 || !isUnset(value)) && !strings.HasPrefix(key, "x-") {
				fields[key] = value
			}
		}
		if section[name]["name"] != nil {
			fields["named"] = true // on an engine it is the name as it is, without the project's
		}
		// A driver may make a directory of the name.
		if text, ok := fields["name"].(string); !ok || !engineNameRE.MatchString(text) {
			n, field := find(m.sources[0].doc.root, kind+"s", name, "name")
			r.problems = append(r.problems, problemAt(m.sources[0].doc.path, n, field, "is not a name", "use letters, digits, _, . and -"))
		}
		if value, err := drift.Value(fields); err == nil {
			fields, _ = value.(map[string]any)
		}
		all = append(all, stella.Resource{ID: stella.ResourceID(kind + "/" + name), Fields: fields})
	}
	return all
}
