package reconciler

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"strings"

	"github.com/stella-ops/stella"
	"github.com/stella-ops/stella/configrepo"
	"github.com/stella-ops/stella/ledger"
)

// Rollback brings an environment back to a verified deployment: the one before
// what runs now, or the one that is named. It is planned against the head that
// it read; if the environment changed meanwhile it refuses.
func (e *Engine) Rollback(ctx context.Context, req RollbackRequest) (Outcome, error) {
	if req.Offline {
		return e.rollbackOffline(ctx, req)
	}
	sc, err := e.look(ctx, req.Environment)
	if err != nil {
		return Outcome{}, req.orOffline(err)
	}
	j, err := e.planRollback(ctx, sc, req)
	if err != nil {
		return Outcome{}, err
	}
	if req.DryRun {
		return Outcome{Plan: &j.in.plan, Nothing: j.in.plan.Empty && j.cand == nil}, nil
	}
	if err := req.admit(j.in.plan, sc.env); err != nil {
		return Outcome{Plan: &j.in.plan}, err
	}
	if req.PullRequest && j.cand != nil && !j.mayPin() {
		return e.proposed(ctx, j) // it was never verified: nothing unreviewed runs
	}
	if j.bad == nil {
		if j.bad, err = e.leaving(ctx, sc); err != nil {
			return Outcome{Plan: &j.in.plan}, err
		}
	}
	return e.carryOut(ctx, j, req.Options)
}

// orOffline adds the way around a Git host that does not answer to the error,
// where there is one.
func (req RollbackRequest) orOffline(err error) error {
	whole := req.kind != stella.KindReset && req.Commit == "" && len(req.Components)+len(req.Targets) == 0 && !req.PullRequest
	if !whole || !unanswered(err) {
		return err
	}
	around := fmt.Sprintf("'stella rollback %s --offline --reason …' goes back without it", req.Environment)
	if hint := stella.Hint(err); hint != "" {
		around = hint + "; " + around
	}
	return stella.WithHint(err, around)
}

// admit refuses a plan that is not what was shown, that preflight says no to, or
// that nobody agreed to: in this order, so that nobody is asked in vain.
func (req RollbackRequest) admit(p Plan, env *configrepo.Environment) error {
	if err := asShown(p, req.Options); err != nil {
		return err
	}
	if err := refused(req.cannot(), p, req.Options); err != nil {
		return err
	}
	return agreed(p, env, req.Options)
}

// planRollback plans what is asked for: undoing one commit, going back with a
// part of the environment, or with all of it.
func (e *Engine) planRollback(ctx context.Context, sc *scene, req RollbackRequest) (*job, error) {
	why := intent{kind: cmp.Or(req.kind, stella.KindRollback), reason: req.Reason, scope: req.Scope, opts: req.Options}
	if req.Commit != "" {
		return e.undoCommit(ctx, sc, req.Commit, why)
	}
	if len(req.Components) > 0 || len(req.Targets) > 0 {
		return e.restorePart(ctx, sc, req, why)
	}
	good, err := e.destination(ctx, sc, req.To)
	switch {
	case req.To == toBaseline && errors.Is(err, stella.ErrNotFound):
		return nil, fmt.Errorf("%s: %w: %w", req.cannot(), stella.ErrRefused, err)
	case req.To == toBaseline && err != nil:
		return nil, fmt.Errorf("%s: %w", req.cannot(), err)
	case err != nil:
		return nil, err
	}
	if good.Tree == "" {
		return nil, fmt.Errorf("%s: %w", req.cannot(), neverVerified(good))
	}
	j, err := e.restore(ctx, sc, good, why)
	if err != nil {
		return nil, cannotRestore(req.cannot(), good.ID, err)
	}
	return j, nil
}

// cannotRestore words why a rollback could not even be planned. That is a
// refusal, unless Git did not answer: then nobody can tell.
func cannotRestore(cannot, id string, err error) error {
	hint := stella.Hint(err)
	if hint == "" {
		hint = fmt.Sprintf("run 'stella orch deployments show %s'", id)
	}
	if errors.Is(err, stella.ErrUnreachable) || errors.Is(err, stella.ErrConflict) || errors.Is(err, stella.ErrDenied) ||
		errors.Is(err, stella.ErrTampered) || errors.Is(err, context.Canceled) {
		return stella.WithHint(fmt.Errorf("%s: %s: %w", cannot, id, err), hint)
	}
	return stella.WithHint(fmt.Errorf("%s: %s: %w: %w", cannot, id, stella.ErrRefused, err), hint)
}

// neverVerified refuses what has no content to go back to, or what a deploy
// must not bring back unseen.
func neverVerified(d stella.Deployment) error {
	return stella.WithHint(
		fmt.Errorf("%s was never verified, it is %s: %w", d.ID, d.Status, stella.ErrRefused),
		fmt.Sprintf("run 'stella orch deployments list %s --status succeeded' and name one of those", d.Environment))
}

// destination finds where a rollback goes. One that was named may never have
// been verified: preflight says so, beside all else that it finds.
func destination(b ledger.Book, to string) (stella.Deployment, error) {
	if to == "" {
		d, ok := b.Previous()
		if !ok {
			return d, stella.WithHint(
				fmt.Errorf("cannot restore previous version: %s: %w", nowhere(b), stella.ErrRefused),
				fmt.Sprintf("run 'stella orch deployments list %[1]s' and 'stella orch holds list %[1]s', then name one with --to", b.State.Environment))
		}
		return d, nil
	}
	found, err := b.Find(to)
	if err != nil {
		return stella.Deployment{}, err
	}
	hint := fmt.Sprintf("run 'stella orch deployments list %s' and name one by its id", b.State.Environment)
	if len(found) > 1 {
		ids := make([]string, len(found))
		for i, d := range found {
			ids[i] = d.ID
		}
		return stella.Deployment{}, stella.WithHint(fmt.Errorf("%q is several deployments: %s: %w", to, strings.Join(ids, ", "), stella.ErrInvalid), hint)
	}
	if len(found) == 0 {
		return stella.Deployment{}, stella.WithHint(fmt.Errorf("deployment %q of %s: %w", to, b.State.Environment, stella.ErrNotFound), hint)
	}
	return found[0], nil
}

// nowhere says why there is nothing to go back to.
func nowhere(b ledger.Book) string {
	if len(b.State.Holds) > 0 {
		return fmt.Sprintf("nothing older of %s is left that was verified and is not held", b.State.Environment)
	}
	return fmt.Sprintf("no older deployment of %s was verified", b.State.Environment)
}
