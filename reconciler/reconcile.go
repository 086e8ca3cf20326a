package reconciler

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/stella-ops/stella"
	"github.com/stella-ops/stella/ledger"
)

// Reconcile makes one pass over an environment: it looks, decides, and carries
// out what is to be done, all in this process. A person's pass waits for the
// lock; an automatic one comes back later.
func (e *Engine) Reconcile(ctx context.Context, req ReconcileRequest) (Outcome, error) {
	deadline := time.Now().Add(req.timeout())
	for conflicts := 0; ; {
		sc, err := e.look(ctx, req.Environment)
		if err != nil {
			return Outcome{Sync: stella.SyncUnknown}, err
		}
		out, err := e.pass(ctx, sc, req)
		waits := errors.Is(err, stella.ErrLocked) && !req.Automatic && !req.DryRun
		lost := errors.Is(err, stella.ErrConflict) && !errors.Is(err, errOtherPlan) && out.Deployment == nil
		if conflicts++; !waits && (!lost || conflicts > maxConflicts) {
			return out, err
		}
		if time.Now().After(deadline) {
			return out, err
		}
		if waits {
			e.events.notify(Waiting{Environment: req.Environment, For: firstLine(err.Error()), Since: time.Now()})
		}
		select {
		case <-ctx.Done():
			return out, errors.Join(context.Cause(ctx), err)
		case <-time.After(lookEvery):
		}
	}
}

// pass does what the rules decide for a scene that was just read.
func (e *Engine) pass(ctx context.Context, sc *scene, req ReconcileRequest) (Outcome, error) {
	if !req.DryRun {
		var err error
		if sc, err = e.withoutLifted(ctx, sc); err != nil {
			return Outcome{Sync: stella.SyncUnknown}, err
		}
	}
	lock := sc.book.Lock(time.Now())
	v := sc.decide(lock != nil && !e.mayTakeOver(sc, lock, req.Options), req.Retry)
	out := Outcome{Sync: v.sync, Reason: v.reason}
	if v.act == actNothing || v.act == actStop {
		if record := e.met(ctx, sc, req); record != nil {
			return e.reunite(ctx, sc.name, *record, req.Options)
		}
	}
	switch v.act {
	case actWait:
		return out, lockedError(sc.name, *lock)
	case actStop:
		e.remember(ctx, sc, v, req)
		out, err := e.keep(ctx, sc, out, req)
		if v.sync == stella.Invalid {
			err = errors.Join(sc.invalid, err) // also where what is in effect was healed
		}
		return out, err
	case actNothing:
		out.Deployment, out.Nothing = v.restores, true
		if !req.Heal {
			e.remember(ctx, sc, v, req)
			return out, nil
		}
		return e.heal(ctx, sc, v, req)
	case actGoBack:
		j, err := e.restore(ctx, sc, *v.restores, e.because(v, req))
		if err != nil {
			return out, err
		}
		return e.carryOutPass(ctx, j, req)
	}
	if v.kind == stella.KindHeal && req.Automatic {
		sc = sc.leaving(e.flaps(sc.book)) // it goes on, and what flaps is none of its
	}
	j, err := e.inspect(ctx, sc, e.because(v, req), nil, nil)
	if err != nil {
		return out, err
	}
	if v.kind.GoesBack() {
		if j.bad, err = e.revertedBy(ctx, sc); err != nil {
			return out, err
		}
	}
	if v.act == actSettle && !j.in.survey.anyOf(sc.book.State.Owed) {
		out.Plan = &j.in.plan
		return out, nil // none of them answers yet
	}
	return e.carryOutPass(ctx, j, req)
}

// because is the intent of a pass.
func (e *Engine) because(v verdict, req ReconcileRequest) intent {
	why := intent{kind: v.kind, reason: req.Reason, automatic: req.Automatic, opts: req.Options}
	if why.reason == "" {
		why.reason = v.reason
	}
	if v.restores != nil {
		why.restores = v.restores.ID
	}
	return why
}

func (e *Engine) carryOutPass(ctx context.Context, j *job, req ReconcileRequest) (Outcome, error) {
	out := Outcome{Plan: &j.in.plan, Sync: stella.OutOfSync, Reason: j.intent.reason}
	if req.DryRun {
		return out, nil
	}
	if record := j.in.survey.offline(j.scene.book); record != nil {
		return e.reunite(ctx, j.scene.name, *record, req.Options)
	}
	if err := refused("reconcile "+string(j.scene.name), j.in.plan, req.Options); err != nil {
		out.Reason = err.Error()
		return out, err
	}
	if !req.Automatic {
		if err := agreed(j.in.plan, j.scene.env, req.Options); err != nil {
			return out, err
		}
	}
	return e.drive(ctx, j)
}

// carryOut is drive for a request that waits for the lock as long as it was
// told. What was planned must still hold when the lock is free.
func (e *Engine) carryOut(ctx context.Context, j *job, o Options) (Outcome, error) {
	if err := e.reunitedFirst(ctx, j); err != nil {
		return Outcome{Plan: &j.in.plan}, err
	}
	deadline := time.Now().Add(o.timeout())
	for {
		out, err := e.drive(ctx, j)
		if errors.Is(err, stella.ErrFrozen) || !errors.Is(err, stella.ErrLocked) || time.Now().After(deadline) {
			return out, err
		}
		e.events.notify(Waiting{Environment: j.scene.name, For: firstLine(err.Error()), Since: time.Now()})
		select {
		case <-ctx.Done():
			return out, errors.Join(context.Cause(ctx), err)
		case <-time.After(lookEvery):
		}
		if _, err := j.scene.ledger.Refresh(ctx, j.scene.name); err != nil && !errors.Is(err, stella.ErrUnreachable) {
			return out, err
		}
	}
}

// heal brings targets that differ from the deployment in effect back to it. An
// environment that is as it should be is left alone and nothing is recorded.
func (e *Engine) heal(ctx context.Context, sc *scene, v verdict, req ReconcileRequest) (Outcome, error) {
	why := e.because(v, req)
	why.reason = req.Reason
	if why.reason == "" {
		why.reason = "what runs differed from " + v.restores.ID
	}
	j, err := e.inspect(ctx, sc, why, nil, nil)
	if err != nil {
		return Outcome{Sync: v.sync}, err
	}
	if j.in.plan.Empty && len(j.in.plan.Findings) == 0 {
		return Outcome{Plan: &j.in.plan, Nothing: true, Sync: v.sync, Deployment: v.restores}, nil
	}
	return e.carryOutPass(ctx, j, req)
}

// remember writes a changed status to the ledger; an unchanged one and a dry run
// cost nothing. That it could not be written stops nobody.
func (e *Engine) remember(ctx context.Context, sc *scene, v verdict, req ReconcileRequest) {
	reason := firstLine(v.reason)
	over := sc.unpin()
	if s := sc.book.State.Summary; req.DryRun || e.mayWrite(sc.project) != nil || len(over) == 0 && s.Sync == v.sync && s.Reason == reason {
		return
	}
	if _, err := sc.ledger.Append(ctx, sc.name, func(b ledger.Book) ([]ledger.Event, error) {
		if b.State.Sequence != sc.book.State.Sequence || b.State.Last != sc.book.State.Last || b.State.Lock != nil {
			return nil, nil // somebody knows better meanwhile
		}
		s := b.State.Summary
		s.Sync, s.Reason, s.Commit, s.At = v.sync, reason, string(sc.branch.commit), e.cfg.Now().UTC()
		return append(over, ledger.Note{Summary: s}), nil
	}); err != nil {
		e.cfg.Logger.WarnContext(ctx, "record status", "environment", sc.name, "err", fmt.Errorf("%s: %w", v.sync, err))
	}
}
