package reconciler

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"sync"
	"time"

	"github.com/stella-ops/stella"
	"github.com/stella-ops/stella/baseline"
	"github.com/stella-ops/stella/configrepo"
)

// agreements is what the engine remembers of the environments that get their
// baselines by themselves. It is lost with the process: time then counts from
// when the deployment was verified.
type agreements struct {
	mu  sync.Mutex // guards all
	all map[stella.EnvName]agreement
}

type agreement struct {
	deployment string    // in effect; another one begins anew
	sickAt     time.Time // when it was last seen unhealthy or drifted; zero for never
	lookAt     time.Time // its targets are not asked before
	done       bool      // it is or was the baseline, or is proposed
}

func (a *agreements) of(env stella.EnvName, deployment string) agreement {
	a.mu.Lock()
	defer a.mu.Unlock()
	if was := a.all[env]; was.deployment == deployment {
		return was
	}
	return agreement{deployment: deployment}
}

func (a *agreements) remember(env stella.EnvName, is agreement) {
	a.mu.Lock()
	defer a.mu.Unlock()
	if a.all == nil {
		a.all = map[stella.EnvName]agreement{}
	}
	a.all[env] = is
}

// How often the targets are asked while a deployment proves itself: about as
// often as this in the time that it takes, and no less often than that.
const (
	looksWhileProving = 24
	mostBetweenLooks  = 10 * time.Minute
)

// CheckBaselines makes the baseline of the environments that ask for it in
// environment.yaml (`baseline.after`) what proved itself there that long. Each
// deployment gets there once: what a person takes back stays taken back. A branch
// that refuses the push is proposed to, once. It goes by what [Engine.Heads] last
// saw of the files, and costs nothing where no environment asks for it.
func (e *Engine) CheckBaselines(ctx context.Context) ([]AutomaticBaseline, error) {
	asked := e.provesItself()
	if len(asked) == 0 {
		return nil, nil
	}
	h, err := e.fetch(ctx, sortedKeys(asked)...)
	if err != nil {
		return nil, err
	}
	var out []AutomaticBaseline
	for _, env := range sortedKeys(asked) {
		var a AutomaticBaseline
		err := e.guard("look at the baseline of "+string(env), func() (err error) {
			ctx, cancel := context.WithTimeoutCause(ctx, readyTimeout, fmt.Errorf("it took more than %s: %w", readyTimeout, stella.ErrTimeout))
			defer cancel()
			a, err = e.proves(ctx, h, env, asked[env])
			return err
		})
		a.Environment = env
		if err != nil {
			a.Error = err.Error()
		}
		out = append(out, a)
	}
	return out, nil
}

// provesItself are the environments that get their baselines by themselves, and
// after how much health.
func (e *Engine) provesItself() map[stella.EnvName]time.Duration {
	e.standing.mu.Lock()
	defer e.standing.mu.Unlock()
	out := map[stella.EnvName]time.Duration{}
	for name, a := range e.standing.asked {
		if a.after > 0 {
			out[name] = a.after
		}
	}
	return out
}

// proves looks at one environment, and captures what is due.
func (e *Engine) proves(ctx context.Context, h *head, env stella.EnvName, after time.Duration) (AutomaticBaseline, error) {
	out := AutomaticBaseline{Environment: env}
	sc, err := e.sceneAt(ctx, h, env)
	if err != nil {
		return out, err
	}
	d, ok := sc.book.Current()
	if !ok {
		return out, nil
	}
	out.Deployment = d.ID
	memo := e.agreements.of(env, d.ID)
	due := baseline.Automatic{After: after, Deployment: d, SickAt: memo.sickAt, Drift: sc.book.Drift, Now: e.cfg.Now()}
	switch due.Present, err = configrepo.ReadBaseline(ctx, sc.branch.tree, sc.branch.project, env); {
	case errors.Is(err, stella.ErrNotFound):
		due.Present = nil
	case isInvalid(err):
		due.Unreadable = true
	case err != nil:
		return out, err
	}
	now, at := due.Due()
	if out.DueAt = at; at.IsZero() || memo.done || !now && due.Now.Before(memo.lookAt) {
		return out, nil
	}
	if now {
		if memo.done, err = e.agreedBefore(ctx, sc, d); err != nil || memo.done {
			e.agreements.remember(env, memo)
			return out, err
		}
	}
	c, err := e.toCapture(ctx, sc, "")
	if err != nil {
		return out, err
	}
	if found := c.Objections(); len(found) > 0 {
		memo.sickAt = due.Now
		for _, o := range found {
			out.Blockers = append(out.Blockers, Finding(o))
		}
		due.SickAt = memo.sickAt
		now, out.DueAt = due.Due()
	}
	memo.lookAt = due.Now.Add(min(after/looksWhileProving, mostBetweenLooks))
	if now {
		err = e.captureBySelf(ctx, sc, c, after, &out)
		memo.done = err == nil
	}
	e.agreements.remember(env, memo)
	return out, err
}

// proposedBaseline is the branch on which a baseline waits that the reconciled
// branch refused: one for each deployment.
func proposedBaseline(d stella.Deployment) string {
	return fmt.Sprintf("stella/baseline/%s/%s", d.Environment, d.ID)
}

// agreedBefore reports whether a deployment was the baseline once, or is proposed
// to be: then the rest is up to people.
func (e *Engine) agreedBefore(ctx context.Context, sc *scene, d stella.Deployment) (bool, error) {
	if _, waits := sc.branch.refs["refs/heads/"+proposedBaseline(d)]; waits {
		return true, nil
	}
	commits, err := e.cfg.Repo.Log(ctx, sc.branch.commit, configrepo.BaselinePath(sc.branch.project, sc.name), MostBaselines)
	if err != nil {
		return false, fmt.Errorf("baselines of %s: %w", sc.name, err)
	}
	for _, c := range commits {
		t, err := e.cfg.Repo.Tree(ctx, c.ID)
		if err != nil {
			return false, err
		}
		// What was written there then counts, whoever wrote it and in what words.
		if b, err := configrepo.ReadBaseline(ctx, TreeOf(t), sc.branch.project, sc.name); err == nil && b.Deployment == d.ID {
			return true, nil
		}
	}
	return false, nil
}

// captureBySelf captures what nobody asked for in person.
func (e *Engine) captureBySelf(ctx context.Context, sc *scene, c baseline.Candidate, after time.Duration, out *AutomaticBaseline) error {
	cp, err := e.planCapture(ctx, sc, c, "healthy and undrifted for "+shortly(after))
	if err != nil || cp.nothing || len(cp.plan.Findings) > 0 {
		return err
	}
	_, err = e.push(ctx, cp.change, cp.cand)
	if refusedByBranch(err) {
		if err = e.mayWrite(sc.branch.project); err == nil {
			out.Proposal, err = e.proposeAt(ctx, cp.cand, proposedBaseline(c.Deployment))
		}
	}
	if err == nil {
		out.Captured = baselineFile(cp.baseline)
	}
	return err
}

// shortly is a duration without the parts that are zero: 24h, 1h30m.
func shortly(d time.Duration) string {
	s := d.String()
	if strings.HasSuffix(s, "m0s") {
		s = strings.TrimSuffix(s, "0s")
	}
	if strings.HasSuffix(s, "h0m") {
		s = strings.TrimSuffix(s, "0m")
	}
	return s
}
