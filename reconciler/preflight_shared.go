package reconciler

import (
	"context"
	"fmt"
	"maps"
	"reflect"
	"slices"
	"strings"

	"golang.org/x/sync/errgroup"

	"github.com/stella-ops/stella"
	"github.com/stella-ops/stella/configrepo"
	"github.com/stella-ops/stella/health"
	"github.com/stella-ops/stella/internal/git"
)

// shared stops where a directory that the app shares with other environments is
// not what it was, and that makes a difference; and says whom restoring it
// changes.
func (w *wayBack) shared(ctx context.Context, e *Engine) error {
	differ, err := w.differing(ctx)
	if err != nil || len(differ) == 0 {
		return err
	}
	if !w.why.scope.IncludeShared && w.want.desired != nil && w.want.desired.Digest == w.good.Desired {
		return nil // there is no difference that matters
	}
	with, err := w.withShared(ctx, e)
	if err != nil {
		return err
	}
	if !w.why.scope.IncludeShared && w.want.desired != nil && with.want.desired != nil && w.want.desired.Digest == with.want.desired.Digest {
		return nil
	}
	others, err := w.others(ctx, e, with, differ)
	if err != nil {
		return err
	}
	for _, dir := range differ {
		also, changed := others.of(dir)
		if w.why.scope.IncludeShared {
			w.warn("restores shared directory %s: %s", dir, inWords(also, changed))
			continue
		}
		w.find(FindingShared, "", fmt.Sprintf("shared directory %s is not what it was for %s; %s", dir, w.good.ID, inWords(also, changed)),
			"run '"+w.again("--include-shared")+"' to restore it as well")
	}
	return nil
}

// inWords says who else has a shared directory, and whom restoring it changes.
func inWords(also, changed []string) string {
	switch {
	case len(also) == 0:
		return "no other environment has it"
	case len(changed) == 0:
		return "declared by " + strings.Join(also, ", ") + " too, for which it makes no difference"
	}
	return fmt.Sprintf("declared by %s too, and restoring it changes %s", strings.Join(also, ", "), strings.Join(changed, ", "))
}

// differing are the declared shared directories that were recorded with what is
// restored and are something else on the branch.
func (w *wayBack) differing(ctx context.Context) ([]string, error) {
	if w.want.env == nil {
		return nil, nil
	}
	var out []string
	for _, dir := range slices.Sorted(maps.Keys(w.good.Shared)) {
		if !slices.Contains(w.want.env.Shared, dir) {
			continue
		}
		now, err := idAt(ctx, w.scene.branch.tree, dir)
		if err != nil {
			return nil, err
		}
		switch {
		case now == "" && w.why.mends:
			w.warn("shared directory %s is gone: it is restored as it was for %s", dir, w.good.ID)
		case string(now) != w.good.Shared[dir]:
			out = append(out, dir)
		}
	}
	return out, nil
}

// withShared is the rollback with its shared directories restored. What it
// wants may not render.
func (w *wayBack) withShared(ctx context.Context, e *Engine) (*candidate, error) {
	x := &extras{planned: map[string]git.ID{}}
	if err := x.addShared(ctx, w.scene, w.good, w.want.env.Shared); err != nil {
		return nil, err
	}
	c := change{draft: func(context.Context, *source) ([]git.Edit, string, error) {
		app := git.Edit{Path: appPath(w.scene.branch), Graft: git.ID(w.good.Tree), GraftMode: git.ModeDir}
		return append([]git.Edit{app}, x.edits...), "What it would be\n", nil
	}}
	cand, err := e.build(ctx, c, w.scene.branch)
	if cand == nil || err != nil && !isInvalid(err) {
		return nil, err
	}
	return cand, nil
}

// neighbours are the other environments that declare shared directories.
type neighbours []neighbour

type neighbour struct {
	name    string
	dirs    []string
	changed bool // restoring the directories changes what it asks for
}

// of returns who declares a directory, and of those whom restoring changes.
func (n neighbours) of(dir string) (also, changed []string) {
	for _, one := range n {
		if !slices.Contains(one.dirs, dir) {
			continue
		}
		also = append(also, one.name)
		if one.changed {
			changed = append(changed, one.name)
		}
	}
	return also, changed
}

// others finds the environments that restoring directories would reach.
func (w *wayBack) others(ctx context.Context, e *Engine, with *candidate, dirs []string) (neighbours, error) {
	refs, err := configrepo.Environments(ctx, w.scene.branch.tree, w.scene.branch.project)
	if err != nil {
		return nil, err
	}
	found := make(neighbours, len(refs))
	var g errgroup.Group
	g.SetLimit(maxParallel)
	for i, ref := range refs {
		if ref.Name == w.scene.name {
			continue
		}
		g.Go(func() error {
			return e.guard("read "+string(ref.Name), func() error {
				found[i] = w.neighbour(ctx, e, with, ref.Name, dirs)
				return nil
			})
		})
	}
	if err := g.Wait(); err != nil {
		return nil, err
	}
	return slices.DeleteFunc(found, func(n neighbour) bool { return len(n.dirs) == 0 }), nil
}

// neighbour compares what another environment asks for with what it would ask
// for. One that does not render either way is taken to change.
func (w *wayBack) neighbour(ctx context.Context, e *Engine, with *candidate, name stella.EnvName, dirs []string) neighbour {
	n := neighbour{name: string(name)}
	env, err := configrepo.ReadEnvironment(ctx, w.scene.branch.tree, w.scene.branch.project, name)
	if err != nil {
		return n // it has problems of its own, and renders nothing
	}
	for _, dir := range dirs {
		if slices.Contains(env.Shared, dir) {
			n.dirs = append(n.dirs, dir)
		}
	}
	if len(n.dirs) == 0 {
		return n
	}
	now, err := e.read(ctx, w.scene.branch.head, name)
	then, thenErr := e.read(ctx, with.want.head, name)
	n.changed = err != nil || thenErr != nil || now.desired.Digest != then.desired.Digest
	return n
}

// operated says what restoring environment.yaml changes in how the environment
// is operated: nothing of that goes unsaid.
func (w *wayBack) operated() {
	now, then := w.scene.branch.env, w.want.env
	switch {
	case now == nil && w.why.mends:
		w.mended(then)
		return
	case !w.why.scope.IncludeEnvironment || then == nil:
		return
	case now == nil:
		w.warn("environment.yaml of today can not be read: what restoring that of %s changes is not known", w.good.ID)
		return
	}
	for _, t := range now.Targets {
		if !slices.ContainsFunc(then.Targets, func(o configrepo.Target) bool { return o.Name == t.Name }) {
			w.warn("target %s is dropped: what runs there goes on and nobody looks after it", t.Name)
		}
	}
	for _, t := range then.Targets {
		i := slices.IndexFunc(now.Targets, func(o configrepo.Target) bool { return o.Name == t.Name })
		switch {
		case i < 0:
			w.warn("target %s is added", t.Name)
		case !reflect.DeepEqual(now.Targets[i], t):
			w.warn("target %s is as it was then", t.Name)
		}
	}
	w.protections(now, then)
}

// mended says that how the environment was operated then counts, since nobody
// can tell how it is operated today, and which targets that leaves out.
func (w *wayBack) mended(then *configrepo.Environment) {
	why := "it is not there"
	if err := w.scene.branch.invalid; err != nil {
		why = firstLine(err.Error())
	}
	w.warn("environment.yaml of today can not be read (%s): that of %s is restored with the app, and says which targets there are", why, w.good.ID)
	last, ok := w.scene.book.Last()
	if !ok || then == nil {
		return
	}
	for _, t := range last.Targets {
		if !slices.ContainsFunc(then.Targets, func(o configrepo.Target) bool { return o.Name == t.Name }) {
			w.warn("target %s, which %s was brought to, is not in it: what runs there goes on and nobody looks after it", t.Name, last.ID)
		}
	}
}

// protections says what no longer guards the environment, and what does again.
func (w *wayBack) protections(now, then *configrepo.Environment) {
	switch {
	case now.Protected && !then.Protected:
		w.warn("protected ends: from then on changes need no confirmation")
	case !now.Protected && then.Protected:
		w.warn("protected again: from then on changes need a confirmation")
	}
	for _, c := range now.Verify.Checks {
		if !slices.ContainsFunc(then.Verify.Checks, func(o health.Check) bool { return o.Name == c.Name }) {
			w.warn("check %q is dropped", c.Name)
		}
	}
	for _, one := range now.Irreversible {
		if !slices.ContainsFunc(then.Irreversible, func(o configrepo.Irreversible) bool { return o.Version == one.Version }) {
			w.warn("release %s is no longer declared irreversible", one.Version)
		}
	}
	rest := []struct {
		name      string
		now, then any
	}{
		{"apply", now.Apply, then.Apply},
		{"allowRoot", now.AllowRoot, then.AllowRoot},
		{"shared", now.Shared, then.Shared},
		{"rollout", now.Rollout, then.Rollout},
		{"verify", now.Verify, then.Verify},
		{"drift", now.Drift, then.Drift},
		{"rollback.maxFailureAge", now.MaxFailureAge, then.MaxFailureAge},
	}
	for _, f := range rest {
		if !reflect.DeepEqual(f.now, f.then) {
			w.warn("%s is as it was then", f.name)
		}
	}
}
