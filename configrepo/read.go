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
	e, doc, err := readKind(ctx, t, EnvironmentPath(p, name), environmentShape(p, name),
		func(doc *strictyaml.Doc, e *Environment) error { return checkShared(ctx, t, p, doc, e) })
	if err != nil {
		return nil, nil, err
	}
	if e.Secrets, err = readSecrets(ctx, t, SecretsPath(p, name)); err != nil {
		return nil, nil, err
	}
	return e, doc, nil
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
// One bad directory does not hide the others: what has no name that an
// environment can have is left out, and only Validate reports it; what has such
// a name and is a link or a submodule is in the list, so that reading it says
// why it is invalid. Files between the directories are left alone.
func Environments(ctx context.Context, t Tree, p *Project) ([]EnvironmentRef, error) {
	refs, _, err := environments(ctx, t, p)
	return refs, err
}

// environments is Environments with the problems of what it leaves out.
func environments(ctx context.Context, t Tree, p *Project) ([]EnvironmentRef, Problems, error) {
	top := EnvironmentsPath(p)
	e, err := lookup(ctx, t, top)
	switch {
	case errors.Is(err, stella.ErrNotFound):
		return nil, nil, nil
	case err != nil:
		return nil, nil, err
	}
	if bad, is := notDirectory(top, e); is {
		return nil, nil, Problems{bad}
	}
	entries, err := t.Entries(ctx, top)
	if err != nil {
		return nil, nil, fmt.Errorf("list %s: %w", safe.Line(top), err)
	}
	var problems Problems
	refs := make([]EnvironmentRef, 0, len(entries))
	for _, e := range entries {
		if e.Mode == ModeFile || e.Mode == ModeExecutable {
			continue
		}
		if _, err := stella.ParseName(e.Name); err != nil {
			problems = append(problems, Problem{
				Path: path.Join(top, safe.Clip(e.Name, 255)), What: "is not the name of an environment", Fix: nameWant,
			})
			continue
		}
		ref := EnvironmentRef{Name: stella.EnvName(e.Name), Tree: e.ID}
		if e.Mode == ModeDir {
			if ref.App, err = appID(ctx, t, path.Join(top, e.Name)); err != nil {
				return nil, nil, err
			}
		}
		refs = append(refs, ref)
	}
	return refs, problems, nil
}

// appID returns the id of an environment's app directory, empty where there is
// none.
func appID(ctx context.Context, t Tree, dir string) (string, error) {
	entries, err := t.Entries(ctx, dir)
	if err != nil {
		return "", fmt.Errorf("list %s: %w", dir, err)
	}
	for _, e := range entries {
		if e.Name == "app" && e.Mode == ModeDir {
			return e.ID, nil
		}
	}
	return "", nil
}
