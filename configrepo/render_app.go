package configrepo

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"path"
	"slices"
	"strings"

	stella "github.com/stella-ops/stella"
	"github.com/stella-ops/stella/drift"
	"github.com/stella-ops/stella/internal/safe"
)

// What an environment may add up to over its targets. Targets with the same
// variables count once.
const (
	maxRenderNodes = 1_000_000 // values of Compose files
	maxRenderBytes = 64 << 20  // of expanded strings

	maxRenderProblems = 100 // that are shown; rendering gives up when it has found more
)

// renderer renders one environment.
type renderer struct {
	e       *Environment
	release *ReleaseFile
	app     string // directory
	engine  bool   // a target is a container engine
	files   map[string][]byte
	scratch *scratch

	docs     map[string]*document
	models   map[string]*model // by target; targets with equal variables share one
	built    map[*model]map[string]map[string]any
	nodes    int
	bytes    int
	content  int // bytes of configs
	problems Problems
	notes    map[string]bool
}

func newRenderer(p *Project, e *Environment, r *ReleaseFile, files []File, s *scratch) *renderer {
	re := &renderer{
		e: e, release: r, app: AppPath(p, e.Name), files: make(map[string][]byte, len(files)), scratch: s,
		docs: map[string]*document{}, models: map[string]*model{},
		built: map[*model]map[string]map[string]any{}, notes: map[string]bool{},
	}
	for _, f := range files {
		re.files[f.Path] = f.Content
	}
	re.engine = slices.ContainsFunc(e.Targets, func(t Target) bool { return t.Docker != nil })
	return re
}

func (r *renderer) read(path string) ([]byte, bool) {
	content, ok := r.files[path]
	return content, ok
}

func (r *renderer) render(ctx context.Context) (*Desired, error) {
	if err := r.loadAll(ctx); err != nil {
		return nil, err
	}
	place := r.place()
	r.checkComponents()
	waits := r.waits(place)
	r.checkOrder(place, waits)
	d := &Desired{Environment: r.e.Name, Release: r.release.Release, Waits: waits}
	images := map[stella.Artifact]bool{}
	for _, t := range r.e.Targets {
		state, err := r.state(t, place, images)
		if err != nil {
			return nil, err
		}
		d.Targets = append(d.Targets, TargetState{Name: t.Name, State: state})
	}
	if err := r.found(); err != nil {
		return nil, err
	}
	d.Notes = sortedKeys(r.notes)
	d.Artifacts = slices.SortedFunc(maps.Keys(images), func(a, b stella.Artifact) int {
		return strings.Compare(a.String(), b.String())
	})
	return d, d.sum()
}

// sum sets the digest. Values of secrets are no part of it: it is recorded, and
// an old release runs with today's secrets.
func (d *Desired) sum() error {
	values := make([]any, 0, len(d.Targets))
	for _, t := range d.Targets {
		values = append(values, map[string]any{"target": t.Name, "resources": withoutSecrets(t.State.Resources)})
	}
	var err error
	if d.Digest, err = drift.Digest(values...); err != nil {
		return fmt.Errorf("digest the desired state: %w", err)
	}
	return nil
}

// loadAll loads the app once for each set of variables that targets have.
func (r *renderer) loadAll(ctx context.Context) error {
	byVariables := map[string]*model{}
	for _, t := range r.e.Targets {
		switch {
		case ctx.Err() != nil:
			return context.Cause(ctx)
		case len(r.problems) > maxRenderProblems || r.nodes > maxRenderNodes || r.bytes > maxRenderBytes:
			return r.found()
		}
		vars := maps.Clone(r.release.Variables)
		if vars == nil {
			vars = map[string]string{}
		}
		maps.Copy(vars, t.Variables)
		key, err := json.Marshal(vars)
		if err != nil {
			return fmt.Errorf("render %s: %w", t.Name, err)
		}
		m, ok := byVariables[string(key)]
		if !ok {
			var bad Problems
			if m, err = r.load(ctx, vars); errors.As(err, &bad) {
				r.problems = append(r.problems, bad...)
			} else if err != nil {
				return err
			}
			byVariables[string(key)] = m
			if m != nil && r.engine {
				r.checkJobs(m)
			}
		}
		r.models[t.Name] = m
	}
	return r.found()
}

// found returns what is wrong, as an error.
func (r *renderer) found() error {
	all := r.problems.sorted()
	if more := len(all) - maxRenderProblems; more > 0 {
		last := all[maxRenderProblems-1]
		all = append(all[:maxRenderProblems], Problem{
			Path: last.Path, Line: last.Line, Column: last.Column,
			What: fmt.Sprintf("and %d more problems", more), Fix: "correct these first",
		})
	}
	if len(all) == 0 {
		return nil
	}
	return all
}

// load checks and loads the app with one set of variables. It returns Problems
// for what is wrong with it: other variables may tell of more.
func (r *renderer) load(ctx context.Context, vars map[string]string) (*model, error) {
	c := newChecker(r.app, r.e.Shared, r.read, newExpander(lookupIn(vars)))
	c.docs, c.engine = r.docs, r.engine
	c.secrets, c.secretsDir = r.e.Secrets, path.Join(path.Dir(r.app), secretsName)
	c.check()
	r.nodes += c.work
	r.bytes += maxExpandedBytes - *c.vars.budget
	switch {
	case len(c.problems) > 0:
		return nil, c.problems
	case r.nodes > maxRenderNodes || r.bytes > maxRenderBytes:
		return nil, Problems{{
			Path: r.app + "/" + composeFile,
			What: "adds up to too much over the targets", Fix: "use fewer or shorter variables",
		}}
	}
	return r.scratch.load(ctx, r.app, c.order, vars, r.e.Profiles)
}

// state renders one target.
func (r *renderer) state(t Target, place placement, images map[stella.Artifact]bool) (stella.State, error) {
	m := r.models[t.Name]
	var state stella.State
	components := r.components(t.Name)
	volumes, nets := map[string]bool{}, map[string]bool{}
	for _, name := range sortedKeys(m.project.Services) {
		if !place.services[name][t.Name] {
			continue
		}
		fields, err := r.fields(m, name)
		if err != nil {
			return stella.State{}, err
		}
		fields = maps.Clone(fields)
		if a, ok := r.image(m, components, name); ok {
			fields["image"], images[a] = a.String(), true
		}
		if needs := dependencies(m, name, t.Name, place); len(needs) > 0 {
			fields["dependsOn"] = needs
		}
		m.uses(name, volumes, nets)
		r.policy(m, t, name, fields)
		state.Resources = append(state.Resources, stella.Resource{
			ID: stella.ResourceID("service/" + name), Fields: fields, Secrets: secretPointers(fields),
		})
	}
	shared := append(r.topLevel(m, "volume", m.volumes, volumes), r.topLevel(m, "network", m.nets, nets)...)
	for _, one := range shared {
		r.sharedPolicy(m, t, one)
	}
	state.Resources = append(state.Resources, shared...)
	slices.SortFunc(state.Resources, func(a, b stella.Resource) int { return strings.Compare(string(a.ID), string(b.ID)) })
	for _, name := range sortedKeys(m.project.DisabledServices) {
		r.notes[fmt.Sprintf("service %s is not run: it has profiles", safe.Clip(name, 80))] = true
	}
	return state, nil
}

// fields renders a service once for each model.
func (r *renderer) fields(m *model, name string) (map[string]any, error) {
	if fields, ok := r.built[m][name]; ok {
		return fields, nil
	}
	s := &service{r: r, m: m, name: name, typed: m.project.Services[name], written: m.written[name]}
	if _, err := stella.ParseName(name); err != nil {
		s.fail("is not named as a DNS label", "use a-z, 0-9 and -")
	}
	var fields map[string]any
	err := guard(func() (err error) {
		fields, err = s.build()
		return err
	})
	if err != nil {
		return nil, err
	}
	if r.built[m] == nil {
		r.built[m] = map[string]map[string]any{}
	}
	r.built[m][name] = fields
	return fields, nil
}
