package reconciler

import (
	"context"
	"errors"
	"fmt"

	"golang.org/x/sync/errgroup"

	"github.com/stella-ops/stella"
	"github.com/stella-ops/stella/baseline"
	"github.com/stella-ops/stella/configrepo"
	"github.com/stella-ops/stella/internal/git"
)

// ShowBaseline says what an environment's baseline is and what Git and the ledger
// say of it. No target and no registry is asked.
func (e *Engine) ShowBaseline(ctx context.Context, env stella.EnvName) (BaselineReport, error) {
	sc, err := e.glimpse(ctx, env)
	if err != nil {
		return BaselineReport{}, err
	}
	if _, err := readBaseline(ctx, sc); errors.Is(err, stella.ErrNotFound) {
		return BaselineReport{}, err
	}
	return e.testify(ctx, sc, false), nil
}

// VerifyBaselines hears every witness of the environments' baselines, targets and
// registries among them, and changes nothing. No names mean all environments that
// have one; without are those that have none. A name that has none, or that the
// branch does not have, is an error of class stella.ErrNotFound.
//
// A report has the baseline's age and whether it can be gone back to: it is what
// a check of its freshness goes by.
func (e *Engine) VerifyBaselines(ctx context.Context, envs ...stella.EnvName) (all []BaselineReport, without []stella.EnvName, err error) {
	named := len(envs) > 0
	h, envs, err := e.chosen(ctx, e.fetchOrSeen, envs)
	if err != nil {
		return nil, nil, err
	}
	reports := make([]*BaselineReport, len(envs))
	var g errgroup.Group
	g.SetLimit(maxReady)
	for i, env := range envs {
		g.Go(func() error {
			ctx, cancel := context.WithTimeoutCause(ctx, readyTimeout, fmt.Errorf("it took more than %s: %w", readyTimeout, stella.ErrTimeout))
			defer cancel()
			return e.guard("verify the baseline of "+string(env), func() error {
				reports[i] = e.verifyBaseline(ctx, h, env)
				return nil
			})
		})
	}
	if err := g.Wait(); err != nil {
		return nil, nil, err
	}
	for i, r := range reports {
		switch {
		case r != nil:
			all = append(all, *r)
		case named:
			sc, err := e.askedAt(ctx, h, envs[i])
			if err == nil {
				err = noBaseline(sc)
			}
			return nil, nil, err
		default:
			without = append(without, envs[i])
		}
	}
	return all, without, nil
}

// verifyBaseline is one environment's report; nil where it has no baseline.
func (e *Engine) verifyBaseline(ctx context.Context, h *head, env stella.EnvName) *BaselineReport {
	_, err := configrepo.ReadBaseline(ctx, h.tree, h.project, env)
	if errors.Is(err, stella.ErrNotFound) {
		return nil
	}
	sc, err := e.askedAt(ctx, h, env)
	if err != nil {
		return &BaselineReport{Environment: env, Unknown: true, Findings: []string{}, Witnesses: []BaselineWitness{}, Error: err.Error()}
	}
	r := e.testify(ctx, sc, true)
	return &r
}

// testify hears the witnesses of an environment's baseline; ask includes those
// that are not of Git: targets and registries.
func (e *Engine) testify(ctx context.Context, sc *scene, ask bool) BaselineReport {
	r := BaselineReport{Environment: sc.name, Findings: []string{}, Witnesses: []BaselineWitness{}}
	b, err := readBaseline(ctx, sc)
	switch {
	case isInvalid(err):
		r.hear([]baseline.Witness{{Name: "file", Why: err.Error()}})
		return r
	case err != nil:
		r.Unknown, r.Error = true, err.Error()
		return r
	}
	r.Baseline, r.AgeSeconds = baselineFile(b), baseline.Age(b, e.cfg.Now()).Seconds()
	if d, ok := sc.book.Current(); ok {
		r.InEffect = d.Tree == b.Tree && d.Desired == b.Desired
	}
	r.hear(baseline.Verify(b, e.evidence(ctx, sc, b, ask)))
	if ctx.Err() != nil {
		r.OK, r.Unknown, r.Error = false, true, context.Cause(ctx).Error()
	}
	return r
}

// evidence finds out what there is to know of a baseline.
func (e *Engine) evidence(ctx context.Context, sc *scene, b configrepo.Baseline, ask bool) baseline.Evidence {
	ev := baseline.Evidence{Book: sc.book, Shared: map[string]baseline.SharedTree{}, Asked: ask}
	_, ev.OnBranch = e.cfg.Repo.Find(ctx, b.Commit, sc.branch.commit)
	was := e.evidenceThen(ctx, sc, b, &ev)
	today := e.evidenceToday(ctx, sc, b, &ev)
	for dir, id := range b.Shared {
		ev.Shared[dir] = e.sharedThen(ctx, sc, was, dir, id)
	}
	if ask {
		e.evidenceOfImages(ctx, sc, b, today, &ev)
	}
	return ev
}

// evidenceThen reads what the baseline's commit has.
func (e *Engine) evidenceThen(ctx context.Context, sc *scene, b configrepo.Baseline, ev *baseline.Evidence) *source {
	h, err := e.headAt(ctx, git.ID(b.Commit))
	if err != nil {
		ev.TreeErr, ev.RenderedErr = err, err
		return nil
	}
	was, err := e.read(ctx, h, sc.name)
	ev.RenderedErr = err
	if was == nil {
		ev.TreeErr = err
		return nil
	}
	ev.Tree, ev.Release = string(was.app), was.release
	if was.desired != nil {
		ev.Rendered = was.desired.Digest
	}
	return was
}

// evidenceToday renders the baseline's app as the environment is operated today.
func (e *Engine) evidenceToday(ctx context.Context, sc *scene, b configrepo.Baseline, ev *baseline.Evidence) *source {
	if sc.branch.env == nil {
		ev.TodayErr = sc.branch.invalid
		return nil
	}
	today, err := e.withApp(ctx, sc.branch, b.Commit, b.Tree)
	ev.TodayErr = err
	if today != nil && today.desired != nil {
		ev.Today = today.desired.Digest
	}
	return today
}

// sharedThen looks for a shared directory as the baseline records it.
func (e *Engine) sharedThen(ctx context.Context, sc *scene, was *source, dir, id string) baseline.SharedTree {
	now, err := idAt(ctx, sc.branch.tree, dir)
	s := baseline.SharedTree{Now: string(now), Err: err}
	if err == nil {
		_, s.Err = e.cfg.Repo.Tree(ctx, git.ID(id))
	}
	if s.Err == nil && was != nil {
		then, err := idAt(ctx, was.tree, dir)
		if s.Err = err; err == nil && string(then) != id {
			s.Err = fmt.Errorf("%w: commit %.12s has tree %.12s there, not %.12s", stella.ErrInvalid, was.commit, then, id)
		}
	}
	return s
}

// evidenceOfImages looks where the images can be had that going back needs. Where
// the app does not render today it is those that the baseline names.
func (e *Engine) evidenceOfImages(ctx context.Context, sc *scene, b configrepo.Baseline, today *source, ev *baseline.Evidence) {
	in := &inspection{want: sc.branch, survey: &survey{artifacts: e.cfg.Artifacts(sc.branch.project), guard: e.guard}}
	in.plan = emptyPlan(sc.name, b.Tree, b.Release)
	var list []stella.Artifact
	for _, name := range sortedKeys(b.Components) {
		list = append(list, b.Components[name])
	}
	needs := func(string, stella.Artifact) int { return 1 } // which target needs which nobody can tell
	if today != nil && today.desired != nil {
		list = today.desired.Artifacts
		needs = func(target string, a stella.Artifact) int {
			state, _ := today.desired.Target(target)
			return uses(state, a)
		}
	}
	if sc.branch.env != nil {
		in.survey = e.sites(ctx, sc.branch, sc.book)
	}
	in.have(ctx, intent{kind: stella.KindReset}, list, needs)
	for _, i := range in.images {
		a := baseline.Artifact{Image: i.Image, Unknown: i.unknown, Why: i.Error}
		if i.Available {
			a.Where = i.Where
		}
		ev.Artifacts = append(ev.Artifacts, a)
	}
}
