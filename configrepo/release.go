package configrepo

import (
	"maps"
	"slices"
	"time"

	stella "github.com/stella-ops/stella"
	"github.com/stella-ops/stella/internal/safe"
	"github.com/stella-ops/stella/internal/strictyaml"
)

// maxOverridden bounds the pairs of a target and a component that a release's
// overrides name.
const maxOverridden = 50_000

// releaseShape reads the release.yaml at a path.
func releaseShape(at string) strictyaml.Shape[ReleaseFile] {
	fields := append(header[ReleaseFile](KindRelease),
		strictyaml.Optional("version", "The release's version, as people call it. Default: none.", versionShape(),
			func(f *ReleaseFile) *string { return &f.Release.Version }),
		strictyaml.Required("components", "Component → image, with its digest: registry/repository:tag@sha256:….", imagesShape(),
			func(f *ReleaseFile) *map[string]stella.Artifact { return &f.Release.Components }),
		strictyaml.Optional("variables", "What ${…} in the app may use, with the target's.", variablesShape(),
			func(f *ReleaseFile) *map[string]string { return &f.Variables }),
		strictyaml.Optional("overrides", "Declared divergences, as a partial rollback writes them.", strictyaml.List(overrideShape(), 0, 1000),
			func(f *ReleaseFile) *[]Override { return &f.Overrides }),
	)
	return strictyaml.Object(ReleaseFile{}, fields...).Check(func(v strictyaml.Value, f *ReleaseFile) {
		checkOverrides(v, f)
		f.findUndigested(safe.Line(at), v)
	})
}

func overrideShape() strictyaml.Shape[Override] {
	targets := strictyaml.List(nameShape(), 1, 1000).Check(func(v strictyaml.Value, names *[]string) { twice(v, *names, itself) })
	components := imagesShape().Check(func(v strictyaml.Value, m *map[string]stella.Artifact) {
		if len(*m) == 0 {
			v.Problem("is empty", "name a component, or remove the override")
		}
	}).Describe(strictyaml.Schema{"minProperties": 1})
	deployment := strictyaml.Text(strictyaml.TextRule{
		Pattern: deployRE, What: "is not the id of a deployment", Want: "want one such as production-40", Most: 100,
	})
	return strictyaml.Object(Override{},
		strictyaml.Optional("targets", "Where it holds. Default: on all targets.", targets, func(o *Override) *[]string { return &o.Targets }),
		strictyaml.Required("components", "Component → image, in place of the release's.", components,
			func(o *Override) *map[string]stella.Artifact { return &o.Components }),
		strictyaml.Optional("from", "The deployment that the images come from.", deployment, func(o *Override) *string { return &o.From }),
		strictyaml.Optional("reason", "Why.", strictyaml.Line(MostReason), func(o *Override) *string { return &o.Reason }),
		strictyaml.Optional("until", "When it ends: with a day in UTC, or at a time. Default: with the next deploy of the component.", strictyaml.Until(),
			func(o *Override) *time.Time { return &o.Until }))
}

// checkOverrides looks for components that the release does not have, and for
// two overrides of one component on one target.
func checkOverrides(v strictyaml.Value, f *ReleaseFile) {
	type pair struct{ target, component string }
	seen := map[pair]bool{}
	anywhere := map[string]bool{} // component → whether an override named it
	for i, o := range f.Overrides {
		if len(seen)+len(o.Targets)*len(o.Components) > maxOverridden {
			v.At("overrides").Index(i).Problem("brings the overrides to too many targets and components", "leave targets out where all are meant")
			return
		}
		at := v.At("overrides").Index(i).At("components")
		for _, component := range slices.Sorted(maps.Keys(o.Components)) {
			if _, has := f.Release.Components[component]; !has && v.Has("components") {
				at.At(component).Problem("is not a component of the release", "add it to components, or remove it here")
			}
			clash := seen[pair{"", component}] || len(o.Targets) == 0 && anywhere[component]
			for _, target := range o.Targets {
				clash = clash || seen[pair{target, component}]
			}
			if clash {
				at.At(component).Problem("has another override on the same target", "keep one of them")
			}
			for _, target := range orAll(o.Targets) {
				seen[pair{target, component}] = true
			}
			anywhere[component] = true
		}
	}
}

// orAll is the targets of an override, with "" for all.
func orAll(targets []string) []string {
	if len(targets) == 0 {
		return []string{""}
	}
	return targets
}

// findUndigested collects the components without a digest.
func (f *ReleaseFile) findUndigested(path string, v strictyaml.Value) {
	names := map[string]bool{}
	add := func(at strictyaml.Value, components map[string]stella.Artifact) {
		for name, a := range components {
			if a.Digest != "" {
				continue
			}
			names[name] = true
			where := at.At(name).Node()
			f.undigested = append(f.undigested, Problem{
				Path: path, Line: where.Line, Column: where.Column, Field: at.At(name).Field(),
				What: "has no digest", Fix: "run 'stella validate --fix'",
			})
		}
	}
	add(v.At("components"), f.Release.Components)
	for i, o := range f.Overrides {
		add(v.At("overrides").Index(i).At("components"), o.Components)
	}
	f.Undigested = slices.Sorted(maps.Keys(names))
	f.undigested = f.undigested.sorted()
}
