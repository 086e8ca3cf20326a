package configrepo

import (
	"context"
	"errors"
	"path"
	"strings"

	stella "github.com/stella-ops/stella"
	"github.com/stella-ops/stella/internal/safe"
	"github.com/stella-ops/stella/internal/strictyaml"
)

// Validate reads and renders everything in a repository: the project, all
// environments with their releases, and all baselines. What is wrong is
// returned as Problems, of all files at once; components without a digest are
// among them. Other errors are the Tree's.
func Validate(ctx context.Context, t Tree) error {
	v := validation{tree: t}
	p, err := ReadProject(ctx, t)
	if err := v.take(err); err != nil {
		return err
	}
	if p == nil {
		// Without a root it is not known where the rest is.
		return v.problems.orNil()
	}
	refs, unnamed, err := environments(ctx, t, p)
	if err := v.take(err); err != nil {
		return err
	}
	v.problems = append(v.problems, unnamed...)
	for _, ref := range refs {
		if err := v.environment(ctx, p, ref.Name); err != nil {
			return err
		}
	}
	if err := v.baselines(ctx, p, refs); err != nil {
		return err
	}
	return v.problems.orNil()
}

type validation struct {
	tree     Tree
	problems Problems
}

// take keeps Problems and returns any other error.
func (v *validation) take(err error) error {
	if bad, is := errors.AsType[Problems](err); is {
		v.problems = append(v.problems, bad...)
		return nil
	}
	return err
}

func (v *validation) environment(ctx context.Context, p *Project, name stella.EnvName) error {
	e, envDoc, err := readEnvironment(ctx, v.tree, p, name)
	if err := v.take(err); err != nil {
		return err
	}
	r, releaseDoc, err := readRelease(ctx, v.tree, p, name)
	if err := v.take(err); err != nil {
		return err
	}
	if r != nil {
		v.problems = append(v.problems, r.undigested...)
	}
	if e == nil || r == nil {
		return nil
	}
	checkOverrideTargets(releaseDoc, e, r)
	if err := v.take(problemsOf(ReleasePath(p, name), releaseDoc)); err != nil {
		return err
	}
	desired, err := Render(ctx, v.tree, p, e, r)
	if err != nil {
		return v.take(err)
	}
	checkExecComponents(envDoc, e, desired)
	return v.take(problemsOf(EnvironmentPath(p, name), envDoc))
}

// checkOverrideTargets finds overrides of targets that the environment does not
// have.
func checkOverrideTargets(doc *strictyaml.Doc, e *Environment, r *ReleaseFile) {
	targets := map[string]bool{}
	for _, t := range e.Targets {
		targets[t.Name] = true
	}
	for i, o := range r.Overrides {
		for j, name := range o.Targets {
			if !targets[name] {
				doc.Root().At("overrides").Index(i).At("targets").Index(j).
					Problem("is not a target of the environment", "remove it, or add the target to environment.yaml")
			}
		}
	}
}

// checkExecComponents finds checks in components that nothing runs.
func checkExecComponents(doc *strictyaml.Doc, e *Environment, desired *Desired) {
	services := map[stella.ResourceID]bool{}
	for _, t := range desired.Targets {
		for _, r := range t.State.Resources {
			services[r.ID] = true
		}
	}
	for i, c := range e.Verify.Checks {
		if c.Exec != nil && !services[stella.ResourceID("service/"+c.Exec.Component)] {
			doc.Root().At("verify").At("checks").Index(i).At("exec").At("component").
				Problem("is not a service of the app", "add it to compose.yaml, or name another")
		}
	}
}

// baselines reads all files of baselines/.
func (v *validation) baselines(ctx context.Context, p *Project, refs []EnvironmentRef) error {
	top := path.Join(p.Root, "baselines")
	entries, err := v.tree.Entries(ctx, top)
	switch {
	case errors.Is(err, stella.ErrNotFound):
		return nil
	case err != nil:
		return v.take(err)
	}
	known := map[string]bool{}
	for _, ref := range refs {
		known[string(ref.Name)] = true
	}
	for _, e := range entries {
		name, is := strings.CutSuffix(e.Name, ".yaml")
		if !is {
			continue
		}
		if _, err := stella.ParseName(name); err != nil || !known[name] {
			v.problems = append(v.problems, Problem{
				Path: path.Join(top, safe.Clip(e.Name, 255)), What: "is the baseline of no environment", Fix: "remove or rename it",
			})
			continue
		}
		_, err := ReadBaseline(ctx, v.tree, p, stella.EnvName(name))
		if err := v.take(err); err != nil {
			return err
		}
	}
	return nil
}
