package reconciler

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"

	"golang.org/x/sync/errgroup"

	"github.com/stella-ops/stella"
	"github.com/stella-ops/stella/configrepo"
	"github.com/stella-ops/stella/internal/safe"
	"github.com/stella-ops/stella/ledger"
)

// FindingUnplanned is the code of a rollback that could not even be planned.
const FindingUnplanned = "cannot-be-planned"

const (
	// maxReady bounds how many environments are weighed at once: it happens beside
	// reconciling and must not be felt there.
	maxReady = 4
	// readyTimeout bounds one environment: one that hangs is one of which nobody
	// can tell, and stops no other.
	readyTimeout = 2 * time.Minute
)

// Ready says for each environment what it could go back to now, from the same
// preflight that a rollback would run. It takes no lock and changes nothing, and
// one environment that can not be read is in the list with the reason. No names
// mean all environments; a name that the branch does not have is an error of
// class stella.ErrNotFound.
func (e *Engine) Ready(ctx context.Context, envs ...stella.EnvName) ([]EnvironmentReadiness, error) {
	return e.ready(ctx, envs, func(context.Context, *scene, EnvironmentReadiness) {})
}

// CheckReady is Ready that remembers in the ledger what changed, for those who
// ask the ledger alone. What stays as it was is written anew once a day, so that
// its age says something.
func (e *Engine) CheckReady(ctx context.Context, envs ...stella.EnvName) ([]EnvironmentReadiness, error) {
	return e.ready(ctx, envs, e.rememberReady)
}

func (e *Engine) ready(ctx context.Context, envs []stella.EnvName, each func(context.Context, *scene, EnvironmentReadiness)) ([]EnvironmentReadiness, error) {
	h, envs, err := e.chosen(ctx, e.fetch, envs)
	if err != nil {
		return nil, err
	}
	out := make([]EnvironmentReadiness, len(envs))
	var g errgroup.Group
	g.SetLimit(maxReady)
	for i, env := range envs {
		g.Go(func() error {
			ctx, cancel := context.WithTimeoutCause(ctx, readyTimeout, fmt.Errorf("it took more than %s: %w", readyTimeout, stella.ErrTimeout))
			defer cancel()
			var sc *scene
			if sc, out[i] = e.weigh(ctx, h, env); out[i].Error == "" {
				each(ctx, sc, out[i])
			}
			return nil
		})
	}
	return out, g.Wait()
}

// chosen fetches the environments that are named, or all, with their ledgers.
func (e *Engine) chosen(ctx context.Context, fetch fetching, envs []stella.EnvName) (*head, []stella.EnvName, error) {
	if len(envs) == 0 {
		h, refs, err := e.names(ctx, fetch)
		for _, r := range refs {
			envs = append(envs, r.Name)
		}
		return h, envs, err
	}
	for _, env := range envs {
		if _, err := stella.ParseName(string(env)); err != nil {
			return nil, nil, err
		}
	}
	h, err := fetch(ctx, envs...)
	if err != nil {
		return nil, nil, err
	}
	refs, err := configrepo.Environments(ctx, h.tree, h.project)
	if err != nil {
		return nil, nil, err
	}
	for _, env := range envs {
		if !slices.ContainsFunc(refs, func(r configrepo.EnvironmentRef) bool { return r.Name == env }) {
			return nil, nil, stella.WithHint(fmt.Errorf("environment %s: %w", env, stella.ErrNotFound), "run 'stella orch env list'")
		}
	}
	return h, envs, nil
}

// weigh looks at one environment's ways back, all at one moment.
func (e *Engine) weigh(ctx context.Context, h *head, env stella.EnvName) (*scene, EnvironmentReadiness) {
	at := *h
	at.glance = &glance{}
	r := EnvironmentReadiness{Environment: env, CheckedAt: e.cfg.Now().UTC(), Candidates: []Candidate{}, Warnings: []string{}, Blockers: []Finding{}}
	sc, err := e.sceneAt(ctx, &at, env)
	if err != nil {
		r.Error = err.Error()
		return nil, r
	}
	ways := sc.book.WaysBack()
	r.Restorable.Wanted = min(len(ways), sc.project.MinVersions)
	for _, good := range ways[:r.Restorable.Wanted] {
		c, err := e.candidate(ctx, sc, good)
		if err != nil {
			r.Error = err.Error()
			return sc, r
		}
		r.Candidates = append(r.Candidates, c)
		if at.glance.survey != nil {
			r.Restorable.count(ctx, at.glance.survey, good)
		}
	}
	if s := at.glance.survey; s != nil {
		r.Warnings = r.Restorable.warnings(s.artifacts.Backup())
	}
	if len(r.Candidates) == 0 {
		r.Blockers = append(r.Blockers, nothingBehind(sc.book))
		return sc, r
	}
	r.To, r.Ready = r.Candidates[0].Deployment, r.Candidates[0].Ready
	return sc, r
}

// candidate runs a rollback's preflight for one deployment. An error means that
// nobody can tell.
func (e *Engine) candidate(ctx context.Context, sc *scene, good stella.Deployment) (Candidate, error) {
	c := Candidate{Deployment: good.ID, Release: good.Release, VerifiedAt: good.FinishedAt, Blockers: []Finding{}, Warnings: []string{}}
	j, err := e.planRollback(ctx, sc, RollbackRequest{Environment: sc.name, To: good.ID, Options: Options{DryRun: true}})
	switch {
	case ctx.Err() != nil:
		return c, context.Cause(ctx)
	case errors.Is(err, stella.ErrRefused):
		c.Blockers = append(c.Blockers, Finding{Code: FindingUnplanned, Message: firstLine(err.Error()), Fix: stella.Hint(err)})
	case err != nil:
		return c, err
	default:
		c.Blockers = append(c.Blockers, j.in.plan.Findings...)
		c.Warnings = append(c.Warnings, j.in.plan.Warnings...)
	}
	c.Ready = len(c.Blockers) == 0
	return c, nil
}

// nothingBehind is why an environment has nothing at all to go back to.
func nothingBehind(b ledger.Book) Finding {
	f := Finding{Code: FindingNowhere, Message: nowhere(b)}
	switch env := b.State.Environment; {
	case len(b.State.Holds) > 0:
		f.Fix = fmt.Sprintf("run 'stella orch holds list %s'; what is held comes back with 'stella orch holds release %[1]s --hold ID --reason …'", env)
	case b.State.LastGood == "":
		f.Fix = fmt.Sprintf("run 'stella reconcile %s': the first deployment that is verified is what the one after it can go back to", env)
	default:
		f.Fix = fmt.Sprintf("deploy another release to %s: what runs now is then what it can go back to", env)
	}
	return f
}

// rememberEvery is how old a verdict in the ledger may get while it stays the
// same: a push a day tells it from one that nobody looks after any more.
const rememberEvery = 24 * time.Hour

// rememberReady writes a changed verdict to the ledger. That it could not be
// written stops nobody. While somebody deploys it is not written at all: it is
// about to change.
func (e *Engine) rememberReady(ctx context.Context, sc *scene, r EnvironmentReadiness) {
	if e.mayWrite(sc.project) != nil || !r.news(sc.book.State.Summary) {
		return
	}
	if _, err := sc.ledger.Append(ctx, sc.name, func(b ledger.Book) ([]ledger.Event, error) {
		if b.State.Sequence != sc.book.State.Sequence || b.State.Last != sc.book.State.Last || b.State.Lock != nil || !r.news(b.State.Summary) {
			return nil, nil
		}
		s := b.State.Summary
		s.Ready, s.ReadyTo, s.ReadyAt, s.Blockers = r.Ready, r.To, &r.CheckedAt, r.Reasons()
		return []ledger.Event{ledger.Note{Summary: s}}, nil
	}); err != nil {
		e.cfg.Logger.WarnContext(ctx, "record readiness", "environment", sc.name, "err", err)
	}
}

// news reports whether the ledger does not say it yet. The words of a blocker
// may differ each time, by how much disk is free for instance: what counts is
// its code.
func (r EnvironmentReadiness) news(s ledger.Summary) bool {
	return s.ReadyAt == nil || r.CheckedAt.Sub(*s.ReadyAt) >= rememberEvery || s.Ready != r.Ready || s.ReadyTo != r.To ||
		!slices.Equal(codes(s.Blockers), codes(r.Reasons()))
}

// mostReasons bounds what the ledger keeps of why an environment is not ready.
const (
	mostReasons    = 10
	mostReasonText = 300
)

// Reasons are the blockers of the way that a rollback would take, in words that
// begin with their code.
func (r EnvironmentReadiness) Reasons() []string {
	found := r.Blockers
	if len(r.Candidates) > 0 {
		found = r.Candidates[0].Blockers
	}
	out := []string{}
	for _, f := range found[:min(len(found), mostReasons)] {
		out = append(out, safe.Clip(f.Code+": "+f.Message, mostReasonText))
	}
	return out
}

func codes(reasons []string) []string {
	out := make([]string, len(reasons))
	for i, reason := range reasons {
		out[i], _, _ = strings.Cut(reason, ":")
	}
	return out
}

// readiness says where a rollback would go and, where that was looked into,
// whether it could. A verdict on another way back than the ledger now has is
// outdated; then, and without any, only the ledger can be asked.
func readiness(b ledger.Book) Readiness {
	d, ok := b.Previous()
	if s := b.State.Summary; s.ReadyAt != nil && s.ReadyTo == d.ID {
		return Readiness{Ready: s.Ready, To: d.ID, Blockers: s.Blockers, CheckedAt: s.ReadyAt}
	}
	if !ok {
		return Readiness{Blockers: []string{nowhere(b)}}
	}
	return Readiness{Ready: true, To: d.ID, Blockers: []string{}}
}

// ReadyCandidates counts the deployments that nothing blocks.
func (r EnvironmentReadiness) ReadyCandidates() int {
	n := 0
	for _, c := range r.Candidates {
		if c.Ready {
			n++
		}
	}
	return n
}
