package reconciler

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/stella-ops/stella"
	"github.com/stella-ops/stella/configrepo"
	"github.com/stella-ops/stella/internal/durable"
	"github.com/stella-ops/stella/ledger"
)

// notAsked is why there is no automatic rollback where nobody wants one.
const notAsked = "not asked for"

// mayGoBack says which deployment a failed one is rolled back to, or why it is
// not. Every guard errs on the side of leaving things to a person.
func (r *run) mayGoBack(ctx context.Context, why error) (*stella.Deployment, string) {
	good, ok := r.scene.book.LastGood()
	age := time.Since(r.dep.StartedAt)
	switch d := r.dep; {
	case d.Status != stella.Failed && d.Status != stella.Partial:
		return nil, notAsked
	case r.scene.env.Rollout.OnFailure != configrepo.OnFailureRollback:
		return nil, notAsked
	case d.Kind == stella.KindImport:
		return nil, "what was taken over ran before"
	case d.Kind.Restores():
		return nil, fmt.Sprintf("a %s is never rolled back by itself", d.Kind)
	case errors.Is(why, stella.ErrFenced):
		return nil, "a newer holder is at the targets"
	case ctx.Err() != nil:
		return nil, "interrupted; 'stella rollback " + string(d.Environment) + "' goes back"
	case r.lock.lost() != nil:
		return nil, r.lock.lost().Error()
	case !ok:
		return nil, "nothing was ever verified here"
	case good.Tree == d.Tree:
		return nil, "the app is the one that was verified before: how it is operated changed, or its targets did"
	case r.wasUnhealthy:
		return nil, "the checks failed already before this deployment"
	case age > r.scene.env.MaxFailureAge:
		return nil, fmt.Sprintf("it began %s ago, more than rollback.maxFailureAge", age.Round(time.Second))
	}
	if f, ok := r.scene.book.FailedCommit(r.dep.Commit); ok {
		return nil, fmt.Sprintf("commit %.12s was rolled back once already, after %s", f.Commit, f.Deployment)
	}
	return &good, ""
}

// goBack rolls the environment back to good: the failed outcome, the hold and
// the intent of the rollback are one transition, so that a crash leaves either
// the failed deployment open or its rollback.
func (r *run) goBack(ctx context.Context, good stella.Deployment, out Outcome) (Outcome, error) {
	// An interrupt stops before the next deployment begins, not half way out of
	// this one.
	ctx = context.WithoutCancel(ctx)
	j, err := r.e.wayBack(ctx, r, good)
	if err != nil {
		r.notify(Warned{Environment: r.dep.Environment, Text: "no automatic rollback: " + err.Error()})
		r.note("no automatic rollback: " + err.Error())
		d, recordErr := r.record(ctx, func(b ledger.Book, d stella.Deployment) []ledger.Event { return r.outcome(b, d, nil) })
		out.Deployment, out.Commit = &d, d.Commit
		return out, recordErr
	}
	back := &run{e: r.e, scene: j.scene, survey: j.in.survey, plan: j.in.plan, opts: r.opts, lockID: nonce()}
	r.e.hold(back.lockID)
	defer r.e.release(back.lockID)
	lockAt := time.Now()
	d, err := r.handOver(ctx, back, j)
	out.Deployment, out.Commit = &d, d.Commit
	if err != nil {
		return out, err
	}
	defer back.lock.lose(errEnded)
	back.past(stella.StepPreflight, j.planned, j.checked)
	back.past(stella.StepLock, lockAt, time.Now())
	if err = back.land(ctx, j); err == nil {
		err = back.execute(ctx)
	}
	back.end(ctx, err)
	done, recordErr := back.record(ctx, func(b ledger.Book, d stella.Deployment) []ledger.Event { return back.outcome(b, d, nil) })
	out.Rollback = &done
	if err == nil {
		back.stands(done, &out)
	}
	return out, recordErr
}

// wayBack plans the rollback of a failed deployment. It refuses when a newer
// commit has already taken its place.
func (e *Engine) wayBack(ctx context.Context, r *run, good stella.Deployment) (*job, error) {
	sc, err := e.look(ctx, r.dep.Environment)
	if err != nil {
		return nil, err
	}
	if string(sc.branch.app) != r.dep.Tree {
		return nil, fmt.Errorf("commit %.12s took the place of %.12s meanwhile: %w", sc.branch.commit, r.dep.Commit, stella.ErrConflict)
	}
	reason := fmt.Sprintf("%s %s: %s", r.dep.ID, r.dep.Status, firstLine(r.dep.Error))
	j, err := e.restore(ctx, sc, good, intent{kind: stella.KindRollback, reason: reason, automatic: true, opts: Options{Incident: r.opts.Incident}})
	if err != nil {
		return nil, err
	}
	if err := refusal("roll back to "+good.ID, j.in.plan); err != nil {
		return nil, err
	}
	return j, e.sealed(ctx, j)
}

// handOver records the failed outcome with its hold and begins the rollback in
// the same transition.
func (r *run) handOver(ctx context.Context, back *run, j *job) (stella.Deployment, error) {
	self, err := durable.Self()
	if err != nil {
		return r.snapshot(), err
	}
	hold := newHold(r.scene.source, r.dep.ID, j.scene.desired, r.e.cfg.Actor, firstLine(r.dep.Error), r.e.cfg.Now())
	failed, err := r.record(ctx, func(b ledger.Book, d stella.Deployment) []ledger.Event {
		events := r.outcome(b, d, hold)
		for i, ev := range events {
			if f, ok := ev.(ledger.Finish); ok {
				f.KeepLock = true
				events[i] = f
			}
		}
		back.dep = r.e.draft(b, back.scene, back.survey, j.intent)
		return append(events, ledger.Begin{
			Deployment: back.dep, Takeover: r.lockID, FenceFloor: back.survey.fence(), Includes: waiting(b),
			Lock: stella.Lock{ID: back.lockID, Holder: r.e.cfg.Actor, Purpose: purpose(back.dep), Deployment: back.dep.ID, Machine: self.String()},
		})
	})
	if err == nil {
		back.adopt(ctx, r.scene.book)
	}
	return failed, err
}

// firstLine is the first line of an error's text: enough for a reason.
func firstLine(s string) string {
	for i, c := range s {
		if c == '\n' {
			return s[:i]
		}
	}
	return s
}
