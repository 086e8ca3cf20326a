package reconciler

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"slices"

	"github.com/stella-ops/stella"
	"github.com/stella-ops/stella/baseline"
	"github.com/stella-ops/stella/configrepo"
	"github.com/stella-ops/stella/internal/git"
	"github.com/stella-ops/stella/internal/safe"
)

// MostBaselines bounds how many commits of a baseline's history are listed.
const MostBaselines = 50

// ListBaselines returns an environment's baselines as its branch had them, newest
// first, at most MostBaselines; without a name, the one that each environment has
// now, by name.
func (e *Engine) ListBaselines(ctx context.Context, env stella.EnvName) ([]BaselineEntry, error) {
	if env == "" {
		return e.presentBaselines(ctx)
	}
	h, _, err := e.chosen(ctx, e.fetchOrSeen, []stella.EnvName{env})
	if err != nil {
		return nil, err
	}
	commits, err := e.cfg.Repo.Log(ctx, h.commit, configrepo.BaselinePath(h.project, env), MostBaselines)
	if err != nil {
		return nil, fmt.Errorf("baselines of %s: %w", env, err)
	}
	out := []BaselineEntry{}
	for _, c := range commits {
		entry := BaselineEntry{Environment: env, Commit: string(c.ID), Author: safe.Clip(c.Author.Name, maxSubjectRunes), At: c.Author.When.UTC()}
		t, err := e.cfg.Repo.Tree(ctx, c.ID)
		if err != nil {
			return nil, fmt.Errorf("baselines of %s: %w", env, err)
		}
		entry.read(ctx, TreeOf(t), h.project)
		out = append(out, entry)
	}
	return out, nil
}

// read puts what a tree has into the entry.
func (entry *BaselineEntry) read(ctx context.Context, t GitTree, p *configrepo.Project) {
	switch b, err := configrepo.ReadBaseline(ctx, t, p, entry.Environment); {
	case err == nil:
		entry.Baseline = baselineFile(*b)
	case errors.Is(err, stella.ErrNotFound):
		entry.Removed = true
	default:
		entry.Error = err.Error()
	}
}

func (e *Engine) presentBaselines(ctx context.Context) ([]BaselineEntry, error) {
	h, refs, err := e.names(ctx, e.fetchOrSeen)
	if err != nil {
		return nil, err
	}
	out := []BaselineEntry{}
	for _, ref := range refs {
		entry := BaselineEntry{Environment: ref.Name}
		if entry.read(ctx, h.tree, h.project); !entry.Removed {
			out = append(out, entry)
		}
	}
	return out, nil
}

// DiffBaseline says what changed between an environment's baseline and what its
// branch asks for: release, components, the app's files, and the commits between.
// A baseline that is not to be believed is refused.
func (e *Engine) DiffBaseline(ctx context.Context, env stella.EnvName) (BaselineDiff, error) {
	sc, err := e.glimpse(ctx, env)
	if err != nil {
		return BaselineDiff{}, err
	}
	b, good, err := e.baseline(ctx, sc)
	if err != nil {
		return BaselineDiff{}, err
	}
	d := BaselineDiff{
		Environment: env, Baseline: baselineFile(b), Commit: string(sc.branch.commit), Same: good.Tree == string(sc.branch.app),
		Components: []ComponentChange{}, Files: []FileChange{}, Shared: []SharedChange{}, Commits: []CommitSummary{},
	}
	if err := e.sharedSince(ctx, sc, good, &d); err != nil {
		return BaselineDiff{}, err
	}
	d.Release.From, d.Release.To = good.Release, good.Release
	if good.Tree == string(sc.branch.app) {
		return d, nil
	}
	err = e.appSince(ctx, sc, good, &d)
	return d, err
}

// sharedSince compares the shared directories that the deployment recorded.
func (e *Engine) sharedSince(ctx context.Context, sc *scene, good stella.Deployment, d *BaselineDiff) error {
	for _, dir := range slices.Sorted(maps.Keys(good.Shared)) {
		now, err := idAt(ctx, sc.branch.tree, dir)
		if err != nil {
			return err
		}
		if string(now) != good.Shared[dir] {
			d.Same = false
			d.Shared = append(d.Shared, SharedChange{Directory: dir, From: good.Shared[dir], To: string(now)})
		}
	}
	return nil
}

// appSince compares the app, and lists who changed it.
func (e *Engine) appSince(ctx context.Context, sc *scene, good stella.Deployment, d *BaselineDiff) error {
	app, err := e.cfg.Repo.Tree(ctx, git.ID(good.Tree))
	if err != nil {
		return fmt.Errorf("read the app of %s as it was: %w", sc.name, err)
	}
	path := appPath(sc.branch)
	then := sc.branch.tree.with(path, app)
	if d.Files, err = changedFiles(ctx, then, sc.branch.tree, path); err != nil {
		return err
	}
	if err := describeFiles(ctx, then, sc.branch.tree, d.Files); err != nil {
		return err
	}
	from := artifactsOf(good.Components)
	to := map[string]stella.Artifact{}
	if r := sc.branch.release; r != nil {
		d.Release.To, to = r.Release.Version, r.Release.Components
	} else {
		d.Release.To = ""
	}
	for _, c := range baseline.Components(from, to) {
		d.Components = append(d.Components, ComponentChange(c))
	}
	commits, err := e.undone(ctx, sc, good)
	for _, c := range commits {
		d.Commits = append(d.Commits, CommitSummary{
			Commit: string(c.ID), Subject: subjectOf(c), Author: safe.Clip(c.Author.Name, maxSubjectRunes), At: c.Author.When.UTC(),
		})
	}
	d.More = len(commits) == maxUndone
	return err
}

// artifactsOf reads a deployment's components; what is none is left out.
func artifactsOf(components map[string]string) map[string]stella.Artifact {
	out := make(map[string]stella.Artifact, len(components))
	for name, image := range components {
		if a, err := stella.ParseArtifact(image); err == nil {
			out[name] = a
		}
	}
	return out
}
