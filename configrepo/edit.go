package configrepo

import (
	"errors"
	"fmt"
	"maps"
	"reflect"
	"slices"

	"go.yaml.in/yaml/v4"

	stella "github.com/stella-ops/stella"
	"github.com/stella-ops/stella/internal/safe"
	"github.com/stella-ops/stella/internal/strictyaml"
)

// releaseFileName is what problems of bytes that are in no Tree are reported of.
const releaseFileName = "release.yaml"

// SetRelease returns a release.yaml with other images for some components, and
// another version unless it is empty. A component that is not there is added,
// in the style of those that are; overrides of the components are removed.
// Every other byte stays, comments and line breaks among them. It is idempotent.
//
// Errors are Problems where src is not a release, and of class ErrInvalid where
// the wanted one would not be, or where src is written in a way that can not be
// edited.
func SetRelease(src []byte, version string, components map[string]stella.Artifact) ([]byte, error) {
	if err := checkWanted(version, components); err != nil {
		return nil, err
	}
	e, err := openEdit(src)
	if err != nil {
		return nil, err
	}
	want := e.file.with(version, components)
	e.setVersion(version)
	e.setComponents(components)
	e.clearOverrides(components)
	return e.finish(want)
}

// checkWanted refuses what could be written and not be read again.
func checkWanted(version string, components map[string]stella.Artifact) error {
	if !versionRE.MatchString(version) || len(version) > maxVersion {
		return fmt.Errorf("%w: version %q: %s", stella.ErrInvalid, safe.Clip(version, 80), versionWant)
	}
	for _, name := range slices.Sorted(maps.Keys(components)) {
		if _, err := stella.ParseName(name); err != nil {
			return fmt.Errorf("set component: %w", err)
		}
		if a, err := stella.ParseArtifact(components[name].String()); err != nil || a != components[name] {
			return fmt.Errorf("set component %s: %w: its image is not a reference", name, stella.ErrInvalid)
		}
	}
	return nil
}

// PinDigests returns a release.yaml in which every image without a digest is
// replaced by what resolve returns for it. Every other byte stays. Errors of
// resolve are returned all at once, unless one is of class ErrUnreachable, which
// ends it.
func PinDigests(src []byte, resolve func(stella.Artifact) (stella.Artifact, error)) ([]byte, error) {
	e, err := openEdit(src)
	if err != nil {
		return nil, err
	}
	p := pinning{resolve: resolve, known: map[stella.Artifact]stella.Artifact{}}
	want := e.file.clone()
	p.pin(e, e.root.At("components"), want.Release.Components)
	for i, o := range want.Overrides {
		p.pin(e, e.root.At("overrides").Index(i).At("components"), o.Components)
	}
	if err := errors.Join(p.errs...); err != nil {
		return nil, err
	}
	return e.finish(want)
}

// pinning resolves each image once.
type pinning struct {
	resolve func(stella.Artifact) (stella.Artifact, error)
	known   map[stella.Artifact]stella.Artifact
	errs    []error
	ended   bool
}

func (p *pinning) pin(e *edit, at strictyaml.Value, components map[string]stella.Artifact) {
	for _, name := range slices.Sorted(maps.Keys(components)) {
		a := components[name]
		if a.Digest != "" || p.ended {
			continue
		}
		pinned, has := p.known[a]
		if !has {
			var err error
			if pinned, err = p.resolve(a); err == nil && pinned.Digest == "" {
				err = fmt.Errorf("%w: the registry told no digest", stella.ErrNotFound)
			}
			if err != nil {
				p.errs = append(p.errs, fmt.Errorf("pin component %s: %w", name, err))
				p.ended = errors.Is(err, stella.ErrUnreachable)
				continue
			}
			p.known[a] = pinned
		}
		components[name] = pinned
		e.replace(at.At(name).Node(), pinned.String())
	}
}

// patch is a file with the edits that are to be made to it.
type patch struct {
	*source
	edits []splice
}

// edit is a release.yaml that is being changed.
type edit struct {
	*patch
	root strictyaml.Value
	file *ReleaseFile
}

func openEdit(src []byte) (*edit, error) {
	file, doc, err := parseRelease(src)
	if err != nil {
		return nil, err
	}
	return &edit{patch: &patch{source: newSource(src, doc.Root().Node())}, root: doc.Root(), file: file}, nil
}

func parseRelease(src []byte) (*ReleaseFile, *strictyaml.Doc, error) {
	if isLFS(src) {
		return nil, nil, Problems{{Path: releaseFileName, What: "is a Git LFS pointer and not the file", Fix: "commit the file itself"}}
	}
	doc := strictyaml.Parse(src)
	file := strictyaml.Read(doc, releaseShape(releaseFileName))
	if !doc.OK() {
		return nil, nil, problemsOf(releaseFileName, doc)
	}
	return &file, doc, nil
}

// finish splices and reads the result again: it must be exactly what is wanted.
func (e *edit) finish(want *ReleaseFile) ([]byte, error) {
	out, err := e.splices(e.edits)
	if err == nil {
		var got *ReleaseFile
		if got, _, err = parseRelease(out); err == nil && !got.equal(want) {
			err = errEditStyle
		}
	}
	if err == nil {
		return out, nil
	}
	return nil, notEditable(releaseFileName, err)
}

// notEditable says that a file is written in a way that edits do not know.
func notEditable(name string, err error) error {
	if !errors.Is(err, stella.ErrInvalid) {
		err = fmt.Errorf("%w: %w", stella.ErrInvalid, err)
	}
	return stella.WithHint(fmt.Errorf("edit %s: %w", name, err), "write "+name+" with one 'key: value' on each line")
}

// setVersion changes the version, or adds it after the kind.
func (e *edit) setVersion(version string) {
	switch {
	case version == "" || version == e.file.Release.Version && e.root.Has("version"):
	case e.root.Has("version"):
		e.replace(e.root.At("version").Node(), version)
	default:
		e.insertAfter(e.root.Node(), "kind", []pair{{"version", version}})
	}
}

// setComponents changes images and adds components.
func (e *edit) setComponents(components map[string]stella.Artifact) {
	var added []pair
	at := e.root.At("components")
	for _, name := range slices.Sorted(maps.Keys(components)) {
		image := components[name]
		switch old, has := e.file.Release.Components[name]; {
		case !has:
			added = append(added, pair{name, image.String()})
		case old != image:
			e.replace(at.At(name).Node(), image.String())
		}
	}
	if len(added) > 0 {
		e.insertAfter(at.Node(), "", added)
	}
}

// clearOverrides removes the components from the overrides, the overrides that
// have none left, and the list when it has none left.
func (e *edit) clearOverrides(components map[string]stella.Artifact) {
	list := e.root.At("overrides")
	gone := map[*yaml.Node]bool{}
	for i, o := range e.file.Overrides {
		left := map[*yaml.Node]bool{}
		at := list.Index(i).At("components")
		for name := range o.Components {
			if _, is := components[name]; is {
				left[keyOf(at.Node(), name)] = true
			}
		}
		switch {
		case len(left) == len(o.Components):
			gone[list.Index(i).Node()] = true
		case len(left) > 0:
			e.remove(at.Node(), left)
		}
	}
	e.removeOverrides(gone)
}

// removeOverrides removes items of the list, and the list with its last one.
func (e *edit) removeOverrides(gone map[*yaml.Node]bool) {
	switch {
	case len(gone) == 0:
	case len(gone) == len(e.file.Overrides):
		e.remove(e.root.Node(), map[*yaml.Node]bool{keyOf(e.root.Node(), "overrides"): true})
	default:
		e.remove(e.root.At("overrides").Node(), gone)
	}
}

// replace puts a text in the place of a scalar, in its style.
func (e *patch) replace(n *yaml.Node, text string) {
	from := e.offset(n)
	e.edits = append(e.edits, splice{from, e.end(n), scalarText(text, n.Style)})
}

// keyOf returns the node of a key.
func keyOf(mapping *yaml.Node, name string) *yaml.Node {
	for i := 0; i+1 < len(mapping.Content); i += 2 {
		if mapping.Content[i].Value == name {
			return mapping.Content[i]
		}
	}
	return nil
}

// with returns the release that SetRelease wants.
func (f *ReleaseFile) with(version string, components map[string]stella.Artifact) *ReleaseFile {
	want := f.clone()
	if version != "" {
		want.Release.Version = version
	}
	maps.Copy(want.Release.Components, components)
	want.Overrides = slices.DeleteFunc(want.Overrides, func(o Override) bool {
		maps.DeleteFunc(o.Components, func(name string, _ stella.Artifact) bool {
			_, is := components[name]
			return is
		})
		return len(o.Components) == 0
	})
	return want
}

func (f *ReleaseFile) clone() *ReleaseFile {
	c := *f
	c.Release.Components = maps.Clone(f.Release.Components)
	c.Variables = maps.Clone(f.Variables)
	c.Overrides = slices.Clone(f.Overrides)
	for i := range c.Overrides {
		c.Overrides[i].Components = maps.Clone(c.Overrides[i].Components)
	}
	return &c
}

// equal compares what the files say; an empty list is one that is not there.
func (f *ReleaseFile) equal(other *ReleaseFile) bool {
	return f.Release.Version == other.Release.Version &&
		maps.Equal(f.Release.Components, other.Release.Components) &&
		maps.Equal(f.Variables, other.Variables) &&
		slices.EqualFunc(f.Overrides, other.Overrides, func(a, b Override) bool { return reflect.DeepEqual(a, b) })
}
