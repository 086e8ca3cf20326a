package configrepo

import (
	"context"
	"errors"
	"fmt"
	"path"

	stella "github.com/stella-ops/stella"
	"github.com/stella-ops/stella/internal/safe"
	"github.com/stella-ops/stella/internal/strictyaml"
)

// APIVersion is what every file of ours says in its apiVersion.
const APIVersion = "stella/v1"

// The kinds of files of ours.
const (
	KindProject     = "Project"
	KindEnvironment = "Environment"
	KindRelease     = "Release"
	KindBaseline    = "Baseline"
)

// ReadProject reads stella.yaml. Errors are Problems, of class ErrInvalid, and
// where there is none of class ErrNotFound too; others are the Tree's. That
// holds for every Read function of this package.
func ReadProject(ctx context.Context, t Tree) (*Project, error) {
	p, _, err := readKind(ctx, t, ProjectPath, projectShape())
	return p, err
}

// ReadEnvironment reads an environment's environment.yaml and looks whether its
// shared directories are there.
func ReadEnvironment(ctx context.Context, t Tree, p *Project, name stella.EnvName) (*Environment, error) {
	e, _, err := readEnvironment(ctx, t, p, name)
	return e, err
}

func readEnvironment(ctx context.Context, t Tree, p *Project, name stella.EnvName) (*Environment, *strictyaml.Doc, error) {
	if err := checkEnvName(name); err != nil {
		return nil, nil, err
	}
	return readKind(ctx, t, EnvironmentPath(p, name), environmentShape(p, name),
		func(doc *strictyaml.Doc, e *Environment) error { return checkShared(ctx, t, p, doc, e) })
}

// ReadRelease reads an environment's release.yaml. A component without a digest
// is no error here: see ReleaseFile.Pinned.
func ReadRelease(ctx context.Context, t Tree, p *Project, name stella.EnvName) (*ReleaseFile, error) {
	r, _, err := readRelease(ctx, t, p, name)
	return r, err
}

func readRelease(ctx context.Context, t Tree, p *Project, name stella.EnvName) (*ReleaseFile, *strictyaml.Doc, error) {
	if err := checkEnvName(name); err != nil {
		return nil, nil, err
	}
	at := ReleasePath(p, name)
	return readKind(ctx, t, at, releaseShape(at))
}

// ReadBaseline reads an environment's baseline.
func ReadBaseline(ctx context.Context, t Tree, p *Project, name stella.EnvName) (*Baseline, error) {
	if err := checkEnvName(name); err != nil {
		return nil, err
	}
	b, _, err := readKind(ctx, t, BaselinePath(p, name), baselineShape(name))
	return b, err
}

// checkEnvName keeps a name that was not checked from becoming a path.
func checkEnvName(name stella.EnvName) error {
	if _, err := stella.ParseName(string(name)); err != nil {
		return fmt.Errorf("%w: environment %s is not a name; %s", stella.ErrInvalid, safe.Clip(string(name), 80), nameWant)
	}
	return nil
}

// readKind reads one file of ours; more look at what a shape can not.
func readKind[T any](ctx context.Context, t Tree, at string, shape strictyaml.Shape[T], more ...func(*strictyaml.Doc, *T) error) (*T, *strictyaml.Doc, error) {
	src, err := readOwn(ctx, t, at)
	if err != nil {
		return nil, nil, err
	}
	doc := strictyaml.Parse(src)
	read := strictyaml.Read(doc, shape)
	for _, look := range more {
		if err := look(doc, &read); err != nil {
			return nil, nil, err
		}
	}
	if !doc.OK() {
		return nil, nil, problemsOf(at, doc)
	}
	return &read, doc, nil
}

func problemsOf(at string, doc *strictyaml.Doc) error {
	var problems Problems
	for _, p := range doc.Problems() {
		problems = append(problems, Problem{
			Path: safe.Line(at), Line: p.Line, Column: p.Column, Field: p.Field, What: p.What, Fix: p.Fix,
		})
	}
	return problems.orNil()
}

// Environments lists the environments by their directories. It reads one tree,
// and one more for each environment, and no file.
//
// A directory that can not be an environment does not hide the others: the list
// is complete also where the error is Problems. Files between the directories
// are left alone.
func Environments(ctx context.Context, t Tree, p *Project) ([]EnvironmentRef, error) {
	top := EnvironmentsPath(p)
	var problems Problems
	e, err := lookup(ctx, t, top)
	switch {
	case errors.Is(err, stella.ErrNotFound):
		return nil, nil
	case err != nil:
		return nil, err
	}
	if bad, is := notDirectory(top, e); is {
		return nil, Problems{bad}
	}
	entries, err := t.Entries(ctx, top)
	if err != nil {
		return nil, fmt.Errorf("list %s: %w", safe.Line(top), err)
	}
	refs := make([]EnvironmentRef, 0, len(entries))
	for _, e := range entries {
		if e.Mode == ModeFile || e.Mode == ModeExecutable {
			continue
		}
		ref, bad, err := environmentRef(ctx, t, top, e)
		if err != nil {
			return nil, err
		}
		if bad != nil {
			problems = append(problems, bad...)
			continue
		}
		refs = append(refs, ref)
	}
	return refs, problems.orNil()
}

// environmentRef returns an entry of envs/ as an environment, or why it is none.
func environmentRef(ctx context.Context, t Tree, top string, e Entry) (EnvironmentRef, Problems, error) {
	full := path.Join(top, safe.Clip(e.Name, 255))
	if _, err := stella.ParseName(e.Name); err != nil {
		return EnvironmentRef{}, Problems{{Path: full, What: "is not the name of an environment", Fix: nameWant}}, nil
	}
	if p, bad := notDirectory(full, e); bad {
		return EnvironmentRef{}, Problems{p}, nil
	}
	ref := EnvironmentRef{Name: stella.EnvName(e.Name), Tree: e.ID}
	entries, err := t.Entries(ctx, full)
	if err != nil {
		return EnvironmentRef{}, nil, fmt.Errorf("list %s: %w", full, err)
	}
	for _, sub := range entries {
		if sub.Name == "app" && sub.Mode == ModeDir {
			ref.App = sub.ID
		}
	}
	return ref, nil, nil
}
