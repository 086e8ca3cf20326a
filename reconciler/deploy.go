package reconciler

import (
	"context"
	"errors"
	"fmt"
	"strings"

	"golang.org/x/sync/errgroup"

	"github.com/stella-ops/stella"
	"github.com/stella-ops/stella/internal/git"
)

// Deploy brings new artifacts, or a recorded deployment, to an environment: it
// resolves them to digests, commits, pushes, and returns when those digests are
// verified, by whichever deployment that was.
func (e *Engine) Deploy(ctx context.Context, req DeployRequest) (Outcome, error) {
	for range maxConflicts {
		out, err := e.deployOnce(ctx, req)
		if !errors.Is(err, errLedgerMoved) {
			return out, err
		}
	}
	return Outcome{}, fmt.Errorf("deploy to %s: others changed it %d times meanwhile: %w", req.Environment, maxConflicts, stella.ErrConflict)
}

// maxConflicts bounds how often a request is planned anew because the ledger
// moved between plan and intent. Each time somebody else got on.
const maxConflicts = 10

func (e *Engine) deployOnce(ctx context.Context, req DeployRequest) (Outcome, error) {
	sc, err := e.look(ctx, req.Environment)
	if err != nil {
		return Outcome{}, err
	}
	if req.Deployment != "" {
		return e.redeploy(ctx, sc, req)
	}
	if sc.branch.release == nil {
		return Outcome{}, sc.branch.invalid // not even release.yaml could be read
	}
	components, err := e.resolve(ctx, sc, req.Artifacts)
	if err != nil {
		return Outcome{}, err
	}
	version := req.Version
	if version == "" && len(components) == 1 {
		version = components[sortedKeys(components)[0]].Tag
	}
	edit := releaseEdit(components, version)
	c := &change{draft: func(ctx context.Context, onto *source) ([]git.Edit, string, error) {
		edits, err := edit(ctx, onto)
		return edits, deployMessage(onto.name, components, version, req.Options), err
	}}
	return e.changeTo(ctx, sc, c, intent{kind: stella.KindDeploy, reason: req.Reason, opts: req.Options}, components)
}

// redeploy brings a recorded deployment's app back, forward this time.
func (e *Engine) redeploy(ctx context.Context, sc *scene, req DeployRequest) (Outcome, error) {
	d, err := destination(sc.book, req.Deployment)
	if err != nil {
		return Outcome{}, err
	}
	if d.Status != stella.Succeeded {
		return Outcome{}, neverVerified(d)
	}
	components := map[string]stella.Artifact{}
	for name, image := range d.Components {
		if components[name], err = stella.ParseArtifact(image); err != nil {
			return Outcome{}, err
		}
	}
	why := intent{kind: stella.KindDeploy, restores: d.ID, reason: req.Reason, opts: req.Options}
	c := &change{draft: e.restoring(sc, d, deployMessage(sc.name, components, d.Release, req.Options), nil)}
	return e.changeTo(ctx, sc, c, why, components)
}

// changeTo plans a commit, has it agreed to, and carries it out.
func (e *Engine) changeTo(ctx context.Context, sc *scene, c *change, why intent, components map[string]stella.Artifact) (Outcome, error) {
	cand, err := e.build(ctx, *c, sc.branch)
	if err != nil {
		return Outcome{}, err
	}
	if cand.want.app == sc.branch.app {
		c, cand, sc = nil, nil, sc.asBranch() // it says so already
	}
	j, err := e.inspect(ctx, sc, why, c, cand)
	if err != nil {
		return Outcome{}, err
	}
	if why.opts.DryRun {
		return Outcome{Plan: &j.in.plan, Nothing: j.in.plan.Empty && cand == nil}, nil
	}
	if err := refused(fmt.Sprintf("deploy to %s", sc.name), j.in.plan, why.opts); err != nil {
		return Outcome{Plan: &j.in.plan}, err
	}
	if err := agreed(j.in.plan, sc.env, why.opts); err != nil {
		return Outcome{Plan: &j.in.plan}, err
	}
	switch {
	case cand == nil && j.in.plan.Empty && sc.decide(false, false).act == actNothing:
		d, _ := sc.book.LastGood()
		return Outcome{Plan: &j.in.plan, Nothing: true, Sync: stella.Synced, Deployment: &d}, nil
	case why.opts.PullRequest && cand != nil:
		return e.proposed(ctx, j)
	}
	return e.together(ctx, j, components)
}

// proposed pushes a job's commit for review and applies nothing.
func (e *Engine) proposed(ctx context.Context, j *job) (Outcome, error) {
	p, err := e.propose(ctx, j.cand, j.intent.kind)
	if err != nil {
		return Outcome{Plan: &j.in.plan}, err
	}
	return Outcome{Plan: &j.in.plan, Proposal: p, Commit: p.Commit, Sync: stella.OutOfSync, Reason: "waits for review"}, nil
}

// resolve pins what was asked for to digests that are in their registries now,
// and says which component each one is.
func (e *Engine) resolve(ctx context.Context, sc *scene, asked map[string]stella.Artifact) (map[string]stella.Artifact, error) {
	named := map[string]stella.Artifact{}
	for component, a := range asked {
		name, err := componentOf(component, a, sc.branch.release.Release)
		if err != nil {
			return nil, err
		}
		named[name] = a
	}
	client := e.cfg.Artifacts(sc.project)
	names := sortedKeys(named)
	found := make([]stella.Artifact, len(names))
	g, ctx := errgroup.WithContext(ctx)
	g.SetLimit(maxParallel)
	for i, name := range names {
		g.Go(func() error {
			return e.guard("resolve "+named[name].String(), func() (err error) {
				if found[i], err = client.Resolve(ctx, named[name]); err != nil {
					return artifactError(sc.name, err)
				}
				return nil
			})
		})
	}
	if err := g.Wait(); err != nil {
		return nil, err
	}
	out := make(map[string]stella.Artifact, len(names))
	for i, name := range names {
		out[name] = found[i]
	}
	return out, nil
}

// artifactError refuses an artifact that is not there. That nobody can tell is
// another matter and keeps its class.
func artifactError(env stella.EnvName, err error) error {
	if !errors.Is(err, stella.ErrNotFound) {
		return err
	}
	return stella.WithHint(fmt.Errorf("%w: %w, nothing was touched", err, stella.ErrRefused), fmt.Sprintf(
		"push the image first, or choose one of those that 'stella orch deployments list %s -o wide' shows", env))
}

// componentOf finds the component that an artifact is for: the named one, the
// one whose repository it is, or the only one.
func componentOf(name string, a stella.Artifact, r stella.Release) (string, error) {
	names := sortedKeys(r.Components)
	hint := "name it as COMPONENT=IMAGE; the components are " + strings.Join(names, ", ")
	if name != "" {
		if _, ok := r.Components[name]; !ok {
			return "", stella.WithHint(fmt.Errorf("component %q: %w", name, stella.ErrNotFound), hint)
		}
		return name, nil
	}
	var same []string
	for _, n := range names {
		if c := r.Components[n]; c.Registry == a.Registry && c.Repository == a.Repository {
			same = append(same, n)
		}
	}
	switch {
	case len(same) == 1:
		return same[0], nil
	case len(same) == 0 && len(names) == 1:
		return names[0], nil
	}
	return "", stella.WithHint(fmt.Errorf("which component %s is for can not be told: %w", a, stella.ErrInvalid), hint)
}
