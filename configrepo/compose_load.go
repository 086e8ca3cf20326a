package configrepo

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"os"
	"path"
	"path/filepath"

	"github.com/compose-spec/compose-go/v2/interpolation"
	"github.com/compose-spec/compose-go/v2/loader"
	"github.com/compose-spec/compose-go/v2/template"
	"github.com/compose-spec/compose-go/v2/types"

	stella "github.com/stella-ops/stella"
	"github.com/stella-ops/stella/internal/safe"
)

// model is an app as the loader reads it with one set of variables.
type model struct {
	project *types.Project            // normalised and typed; the services that are enabled
	written map[string]map[string]any // service → what is written of it, in canonical form
	volumes map[string]map[string]any // likewise, of the top level
	nets    map[string]map[string]any
	sources []*composeSource
	vars    map[string]string

	profiles []string // that are enabled
}

// scratch is the private directory that the loader reads: nothing is in it but
// the files that the checker let pass.
type scratch struct {
	temp string // what is removed in the end
	dir  string // below it: where the repository's top is; absolute, without symbolic links
	root *os.Root
	has  map[string]bool
}

func newScratch() (*scratch, error) {
	dir, err := os.MkdirTemp("", "stella-render-")
	if err != nil {
		return nil, fmt.Errorf("make a directory to render in: %w", err)
	}
	// Should the loader ever resolve a reference to somewhere else than the
	// checker, it climbs through directories that hold nothing.
	const empty = "1/2/3/4/5/6/7/8"
	real, err := filepath.EvalSymlinks(dir)
	if err == nil {
		real = filepath.Join(real, filepath.FromSlash(empty))
		err = os.MkdirAll(real, 0o700)
	}
	if err == nil {
		var root *os.Root
		if root, err = os.OpenRoot(real); err == nil {
			return &scratch{temp: dir, dir: real, root: root, has: map[string]bool{}}, nil
		}
	}
	return nil, errors.Join(fmt.Errorf("open a directory to render in: %w", err), os.RemoveAll(dir))
}

func (s *scratch) Close() error {
	return errors.Join(s.root.Close(), os.RemoveAll(s.temp))
}

// add writes a file, read only.
func (s *scratch) add(name string, content []byte) error {
	if s.has[name] {
		return nil
	}
	if err := s.root.MkdirAll(path.Dir(name), 0o700); err != nil {
		return fmt.Errorf("make the directory of %s: %w", safe.Line(name), err)
	}
	if err := s.root.WriteFile(name, content, 0o400); err != nil {
		return fmt.Errorf("write %s: %w", safe.Line(name), err)
	}
	s.has[name] = true
	return nil
}

// rel returns the path in the repository of a file of the directory; ok is
// false for any other path.
func (s *scratch) rel(abs string) (name string, ok bool) {
	name, err := filepath.Rel(s.dir, abs)
	if err != nil || !filepath.IsLocal(name) || !filepath.IsAbs(abs) {
		return "", false
	}
	return filepath.ToSlash(name), true
}

// load reads the checked files of an app. What the loader does not accept is
// returned as Problems.
func (s *scratch) load(ctx context.Context, app string, sources []*composeSource, vars map[string]string, profiles []string) (*model, error) {
	for _, one := range sources {
		if err := s.add(one.doc.path, one.doc.clean); err != nil {
			return nil, err
		}
	}
	dir := filepath.Join(s.dir, filepath.FromSlash(app))
	details := types.ConfigDetails{
		WorkingDir:  dir,
		ConfigFiles: []types.ConfigFile{{Filename: filepath.Join(dir, composeFile), Content: sources[0].doc.clean}},
		Environment: maps.Clone(vars),
	}
	m := &model{sources: sources, vars: vars, profiles: profiles}
	err := guard(func() error { return m.load(ctx, details) })
	if err != nil {
		problems := s.loaderProblems(sources, err)
		for i := range problems {
			problems[i].What = safe.Clip(withoutValues(problems[i].What, vars), 300)
		}
		return nil, problems
	}
	return m, nil
}

// load runs the loader. Defaults stay out of what is written, and come in by
// normalising a copy of it.
func (m *model) load(ctx context.Context, details types.ConfigDetails) error {
	x := newExpander(lookupIn(m.vars))
	dict, err := loader.LoadModelWithContext(ctx, details, func(o *loader.Options) {
		o.SetProjectName("app", true)
		o.SkipNormalization = true
		o.SkipDefaultValues = true
		// The mapping that the loader offers holds .env files and names of its
		// own: only what is declared counts.
		o.Interpolate = &interpolation.Options{
			LookupValue:     x.lookup,
			TypeCastMapping: o.Interpolate.TypeCastMapping,
			Substitute:      func(s string, _ template.Mapping) (string, error) { return x.expand(s) },
		}
	})
	if err != nil {
		return err
	}
	m.written, m.volumes, m.nets = mappings(dict["services"]), mappings(dict["volumes"]), mappings(dict["networks"])
	full, ok := copyValue(dict).(map[string]any)
	if !ok {
		return errors.New("is not a mapping")
	}
	withImages(full)
	if full, err = loader.Normalize(full, maps.Clone(details.Environment)); err != nil {
		return err
	}
	opts := loader.ToOptions(&details, []func(*loader.Options){func(o *loader.Options) {
		o.SkipResolveEnvironment = true // by us, without reading the process or the disk
		o.SkipResolveLabels = true
		o.Profiles = m.profiles
	}})
	opts.SetProjectName("app", true)
	m.project, err = loader.ModelToProject(full, opts, details)
	return err
}

// withImages gives every service an image: those that are components may go
// without.
func withImages(dict map[string]any) {
	for _, service := range mappings(dict["services"]) {
		if service["image"] == nil {
			service["image"] = "none"
		}
	}
}

func lookupIn(vars map[string]string) func(string) (string, bool) {
	return func(name string) (string, bool) {
		value, ok := vars[name]
		return value, ok
	}
}

// mappings returns the entries of a section that are mappings; an empty entry
// is an empty mapping.
func mappings(section any) map[string]map[string]any {
	all := map[string]map[string]any{}
	entries, _ := section.(map[string]any)
	for name, entry := range entries {
		one, ok := entry.(map[string]any)
		if ok || entry == nil {
			all[name] = one
		}
	}
	return all
}

// copyValue returns a deep copy of maps and lists.
func copyValue(v any) any {
	switch v := v.(type) {
	case map[string]any:
		c := make(map[string]any, len(v))
		for k, e := range v {
			c[k] = copyValue(e)
		}
		return c
	case []any:
		c := make([]any, len(v))
		for i, e := range v {
			c[i] = copyValue(e)
		}
		return c
	}
	return v
}

// guard turns a panic of the loader, which trusts its input, into an error.
func guard(f func() error) (err error) {
	defer func() {
		if r := recover(); r != nil {
			err = fmt.Errorf("%w: the loader broke off", stella.ErrInvalid)
		}
	}()
	return f()
}
