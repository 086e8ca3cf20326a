package reconciler

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"slices"
	"strings"
	"time"

	"github.com/stella-ops/stella"
	"github.com/stella-ops/stella/configrepo"
	"github.com/stella-ops/stella/ledger"
)

// errLedgerMoved: between plan and intent the ledger moved; plan again.
var errLedgerMoved = fmt.Errorf("the ledger moved: %w", stella.ErrConflict)

// DefaultTimeout bounds waiting for a lock and for a deployment's end.
const DefaultTimeout = 10 * time.Minute

func (o Options) timeout() time.Duration {
	if o.Timeout == 0 {
		return DefaultTimeout
	}
	return o.Timeout
}

// together carries a deploy out. Where the environment is locked, or the daemon
// is the one who applies, its commit goes to the branch first: whoever is next
// carries out all that waits there.
func (e *Engine) together(ctx context.Context, j *job, components map[string]stella.Artifact) (Outcome, error) {
	o := j.intent.opts
	if err := e.reunitedFirst(ctx, j); err != nil {
		return Outcome{Plan: &j.in.plan}, err
	}
	if j.scene.env.Apply == configrepo.ApplyServe && !o.ApplyHere {
		return e.leaveToOthers(ctx, j, components, false)
	}
	out, err := e.drive(ctx, j)
	switch {
	case errors.Is(err, stella.ErrFrozen):
		return out, err // by hand: nothing goes to the branch behind its back
	case errors.Is(err, stella.ErrLocked):
		return e.leaveToOthers(ctx, j, components, true)
	case errors.Is(err, stella.ErrConflict) && !errors.Is(err, errOtherPlan) && out.Deployment == nil:
		return out, errors.Join(errLedgerMoved, err)
	}
	return out, err
}

// leaveToOthers pushes a deploy's commit without the lock and waits until its
// digests are verified, or something newer took their place. When turn is set
// it applies itself as soon as the lock is free.
func (e *Engine) leaveToOthers(ctx context.Context, j *job, components map[string]stella.Artifact, turn bool) (Outcome, error) {
	out := Outcome{Plan: &j.in.plan}
	since := j.scene.book.State.Sequence
	if !turn {
		asked, err := e.request(ctx, j)
		if err != nil {
			return out, err
		}
		out.Deployment, since = &asked, asked.Sequence
	}
	if j.change != nil {
		landed, err := e.push(ctx, *j.change, j.cand)
		if err != nil {
			return out, errors.Join(err, e.withdraw(ctx, j, out.Deployment, err))
		}
		out.Commit = string(landed.built.Commit)
	}
	if j.intent.opts.Detach {
		out.Detached, out.Sync = true, stella.OutOfSync
		return out, nil
	}
	ask := &waiter{e: e, env: j.scene.name, components: components, since: since, turn: turn, opts: j.intent.opts}
	followed, err := ask.wait(ctx)
	followed.Plan, followed.Commit = out.Plan, out.Commit
	return followed, err
}

// request records the intent of a deploy that somebody else will apply. A frozen
// environment refuses it, before anything is pushed.
func (e *Engine) request(ctx context.Context, j *job) (stella.Deployment, error) {
	var d stella.Deployment
	_, err := j.scene.ledger.Append(ctx, j.scene.name, func(b ledger.Book) ([]ledger.Event, error) {
		d = e.draft(b, j.scene, j.in.survey, j.intent)
		d.Status = stella.Pending
		return []ledger.Event{ledger.Request{Deployment: d}}, nil
	})
	if err != nil {
		return d, fmt.Errorf("record the request for %s: %w", j.scene.name, err)
	}
	return d, nil
}

// withdraw ends a request whose commit could not be pushed.
func (e *Engine) withdraw(ctx context.Context, j *job, asked *stella.Deployment, why error) error {
	if asked == nil {
		return nil
	}
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), recordTimeout)
	defer cancel()
	_, err := j.scene.ledger.Append(ctx, j.scene.name, func(ledger.Book) ([]ledger.Event, error) {
		return []ledger.Event{ledger.Abort{ID: asked.ID, Reason: firstLine(why.Error())}}, nil
	})
	return err
}

// waiter waits for digests that are on the branch to be deployed.
type waiter struct {
	e          *Engine
	env        stella.EnvName
	components map[string]stella.Artifact
	since      int64 // deployments up to this sequence began before ours was there
	turn       bool
	opts       Options
}

// How often a waiter looks: soon at first, then once a second, never two of
// them in step.
const (
	firstLook = 200 * time.Millisecond
	lookEvery = time.Second
)

func (w *waiter) wait(ctx context.Context) (Outcome, error) {
	deadline := time.Now().Add(w.opts.timeout())
	delay := firstLook
	told := "whoever applies"
	for {
		out, done, err := w.look(ctx, &told)
		if done || err != nil {
			return out, err
		}
		if time.Now().After(deadline) {
			err := fmt.Errorf("wait for %s: %s: %w", w.env, told, stella.ErrTimeout)
			return out, stella.WithHint(err, fmt.Sprintf("run 'stella orch env status %s'; the commit stays on the branch", w.env))
		}
		select {
		case <-ctx.Done():
			return out, fmt.Errorf("stopped following %s, the commit stays on the branch: %w", w.env, context.Cause(ctx))
		case <-time.After(delay/2 + rand.N(delay)): //nolint:gosec // jitter, not a secret
		}
		delay = min(2*delay, lookEvery)
	}
}

// look sees whether what is waited for has happened, and takes its turn when
// the lock is free.
func (w *waiter) look(ctx context.Context, told *string) (Outcome, bool, error) {
	sc, err := w.e.look(ctx, w.env)
	if err != nil {
		if errors.Is(err, stella.ErrUnreachable) {
			return Outcome{}, false, nil // the deadline decides
		}
		return Outcome{}, false, err
	}
	if out, found := w.delivered(sc.book); found {
		return out, out.Rollback == nil || !out.Rollback.Status.Open(), nil
	}
	if err := w.replaced(sc); err != nil {
		return Outcome{}, false, err
	}
	lock := sc.book.Lock(time.Now())
	stale, why := true, ""
	if lock != nil {
		stale, why = w.e.stale(sc.ledger, w.env, lock)
	}
	if lock != nil && !stale {
		w.tell(told, holding(*lock))
		return pending(sc.book), false, nil
	}
	if !w.turn {
		w.tell(told, strings.TrimSpace("the daemon, which applies for "+string(w.env)+" "+why))
		return pending(sc.book), false, nil
	}
	out, err := w.e.pass(ctx, sc, ReconcileRequest{Environment: w.env, Retry: true, Options: w.opts})
	if errors.Is(err, errOtherPlan) {
		return out, false, err
	}
	if errors.Is(err, stella.ErrConflict) || errors.Is(err, stella.ErrLocked) {
		return Outcome{}, false, nil // somebody else took the turn
	}
	ours := out.Deployment != nil && w.has(out.Deployment.Components)
	return out, err == nil && (ours || out.Sync == stella.Held), err
}

// holding says who has a lock and what for, with the deployment that can be
// followed.
func holding(l stella.Lock) string {
	what := l.Purpose
	if l.Deployment != "" {
		what = l.Deployment + ", " + what
	}
	return fmt.Sprintf("%s, who holds the lock: %s", l.Holder, what)
}

// pending is what a waiter that gives up can name: the newest deployment that
// has not ended.
func pending(b ledger.Book) Outcome {
	open := b.Open()
	if len(open) == 0 {
		return Outcome{Sync: stella.OutOfSync}
	}
	return Outcome{Sync: stella.Progressing, Deployment: &open[len(open)-1]}
}

func (w *waiter) tell(told *string, what string) {
	if *told != what {
		*told = what
		w.e.events.notify(Waiting{Environment: w.env, For: what, Since: time.Now()})
	}
}

// delivered finds the deployment that carried the wanted digests out, and the
// automatic rollback that followed, which may not have ended.
func (w *waiter) delivered(b ledger.Book) (Outcome, bool) {
	for i, d := range slices.Backward(b.Deployments) {
		if d.Sequence <= w.since {
			break
		}
		if d.Status.Open() || d.Status == stella.Superseded || d.Status == stella.Aborted || d.Status == stella.Errored || !w.has(d.Components) {
			continue
		}
		out := Outcome{Deployment: &d, Sync: stella.Synced}
		if d.Status != stella.Succeeded {
			out.Sync, out.Reason = stella.SyncFailed, d.Error
			out.Rollback = rollbackAfter(b, i)
		}
		return out, true
	}
	return Outcome{}, false
}

// rollbackAfter is the automatic rollback that followed deployment i, nil for
// none.
func rollbackAfter(b ledger.Book, i int) *stella.Deployment {
	for _, d := range b.Deployments[i+1:] {
		if d.Kind == stella.KindRollback && d.Automatic {
			return &d
		}
	}
	return nil
}

func (w *waiter) has(components map[string]string) bool {
	for name, a := range w.components {
		if components[name] != a.String() {
			return false
		}
	}
	return true
}

// replaced refuses when the branch no longer asks for what is waited for.
func (w *waiter) replaced(sc *scene) error {
	if sc.branch.release == nil {
		return nil
	}
	for name, a := range w.components {
		if now := sc.branch.release.Release.Components[name]; now != a {
			err := fmt.Errorf("%s of %s was superseded: commit %.12s asks for %s: %w", name, w.env, sc.branch.commit, shortImage(now.String()), stella.ErrConflict)
			return stella.WithHint(err, fmt.Sprintf("run 'stella orch deployments list %s'", w.env))
		}
	}
	return nil
}
