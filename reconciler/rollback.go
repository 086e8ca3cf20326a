package reconciler

import (
	"context"
	"errors"
	"fmt"
	"strings"

	"github.com/stella-ops/stella"
	"github.com/stella-ops/stella/configrepo"
	"github.com/stella-ops/stella/internal/git"
	"github.com/stella-ops/stella/ledger"
)

// Rollback brings an environment back to a verified deployment: the one before
// what runs now, or the one that is named. It is planned against the head that
// it read; if the environment changed meanwhile it refuses.
func (e *Engine) Rollback(ctx context.Context, req RollbackRequest) (Outcome, error) {
	sc, err := e.look(ctx, req.Environment)
	if err != nil {
		return Outcome{}, err
	}
	good, err := destination(sc.book, req.To)
	if err != nil {
		return Outcome{}, err
	}
	j, err := e.restore(ctx, sc, good, intent{reason: req.Reason, opts: req.Options})
	if err != nil {
		return Outcome{}, cannotRestore(good.ID, err)
	}
	if req.DryRun {
		return Outcome{Plan: &j.in.plan, Nothing: j.in.plan.Empty && j.cand == nil}, nil
	}
	if err := asShown(j.in.plan, req.Options); err != nil {
		return Outcome{Plan: &j.in.plan}, err
	}
	if err := agreed(j.in.plan, sc.env, req.Options); err != nil {
		return Outcome{Plan: &j.in.plan}, err
	}
	if err := refusal("cannot restore previous version", j.in.plan); err != nil {
		return Outcome{Plan: &j.in.plan}, err
	}
	if req.PullRequest && j.cand != nil {
		return e.proposed(ctx, j)
	}
	j.bad = sc.source
	return e.carryOut(ctx, j, req.Options)
}

// cannotRestore words why a rollback could not even be planned. That is a
// refusal, unless Git did not answer: then nobody can tell.
func cannotRestore(id string, err error) error {
	hint := stella.Hint(err)
	if hint == "" {
		hint = fmt.Sprintf("run 'stella orch deployments show %s'", id)
	}
	if errors.Is(err, stella.ErrUnreachable) || errors.Is(err, stella.ErrConflict) || errors.Is(err, stella.ErrDenied) ||
		errors.Is(err, stella.ErrTampered) || errors.Is(err, context.Canceled) {
		return stella.WithHint(fmt.Errorf("cannot restore previous version: %s: %w", id, err), hint)
	}
	return stella.WithHint(fmt.Errorf("cannot restore previous version: %s: %w: %w", id, stella.ErrRefused, err), hint)
}

// destination finds where a rollback goes.
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
	if found[0].Status != stella.Succeeded {
		return stella.Deployment{}, stella.WithHint(
			fmt.Errorf("cannot restore previous version: %s was never verified, it is %s: %w", found[0].ID, found[0].Status, stella.ErrRefused), hint)
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

// restore plans bringing the environment's app back to what a deployment had:
// a commit whose app tree is the recorded one, exact and without a merge. How
// the environment is operated stays as it is today. Where the branch has that
// tree already there is no commit to make.
func (e *Engine) restore(ctx context.Context, sc *scene, good stella.Deployment, why intent) (*job, error) {
	why.kind, why.restores = stella.KindRollback, good.ID
	if good.Tree == string(sc.app) {
		if sc.invalid != nil {
			return nil, sc.invalid
		}
		return e.inspect(ctx, sc, why, nil, nil)
	}
	undone, err := e.undone(ctx, sc, good)
	if err != nil {
		return nil, err
	}
	for _, c := range undone {
		why.reverts = append(why.reverts, string(c.ID))
	}
	c := &change{draft: e.restoring(sc, good, why, undone)}
	cand, err := e.build(ctx, *c, sc.source)
	if err != nil {
		return nil, err
	}
	return e.inspect(ctx, sc, why, c, cand)
}

// restoring drafts the revert commit. It refuses a head on which the
// environment is no longer what the rollback was planned against.
func (e *Engine) restoring(sc *scene, good stella.Deployment, why intent, undone []git.Commit) func(context.Context, *source) ([]git.Edit, string, error) {
	planned := sc.app
	return func(_ context.Context, onto *source) ([]git.Edit, string, error) {
		if onto.app != planned {
			err := fmt.Errorf("%s changed meanwhile: commit %.12s: %w", onto.name, onto.commit, stella.ErrConflict)
			return nil, "", stella.WithHint(err, fmt.Sprintf("run 'stella orch env status %s', then decide again", onto.name))
		}
		edit := git.Edit{Path: configrepo.AppPath(onto.project, onto.name), Graft: git.ID(good.Tree), GraftMode: 0o040000}
		return []git.Edit{edit}, revertMessage(onto.name, good, why, undone), nil
	}
}

// maxUndone bounds how many commits a revert names: a message is read by people.
const maxUndone = 50

// undone lists the commits between the head and the recorded deployment that
// changed the app, newest first: those that a rollback takes back. It looks no
// further back than the commit that brought what is restored.
func (e *Engine) undone(ctx context.Context, sc *scene, good stella.Deployment) ([]git.Commit, error) {
	path := configrepo.AppPath(sc.project, sc.name)
	var out []git.Commit
	for from := sc.commit; len(out) < maxUndone; {
		found, err := e.cfg.Repo.Log(ctx, from, path, 1)
		if err != nil {
			return nil, fmt.Errorf("list the commits that go back: %w", err)
		}
		if len(found) == 0 {
			break
		}
		out = append(out, found[0])
		if len(found[0].Parents) == 0 {
			break
		}
		from = found[0].Parents[0]
		if restored, err := e.hasTree(ctx, from, path, git.ID(good.Tree)); err != nil || restored {
			return out, err
		}
	}
	return out, nil
}

func (e *Engine) hasTree(ctx context.Context, commit git.ID, path string, tree git.ID) (bool, error) {
	t, err := e.cfg.Repo.Tree(ctx, commit)
	if err != nil {
		return false, err
	}
	entry, err := t.Lookup(ctx, path)
	return err == nil && entry.ID == tree, ignoreNotFound(err)
}
