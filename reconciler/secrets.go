package reconciler

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"time"

	"github.com/stella-ops/stella"
	"github.com/stella-ops/stella/configrepo"
	"github.com/stella-ops/stella/drift"
	"github.com/stella-ops/stella/internal/git"
)

// Secrets are how an environment is operated: an old app is rendered with
// today's. No digest tells of them, since a digest of a short secret is the
// secret. What a deployment brought is told by the commit that it took them
// from, and values are compared in memory.

// hasSecrets reports whether anything wanted has a secret value.
func hasSecrets(d *configrepo.Desired) bool {
	return d != nil && slices.ContainsFunc(d.Targets, func(t configrepo.TargetState) bool {
		return slices.ContainsFunc(t.State.Resources, func(r stella.Resource) bool { return len(r.Secrets) > 0 })
	})
}

// sameSecrets compares the values of secrets of two states whose digests are
// equal: nothing else differs there.
func sameSecrets(one, other *configrepo.Desired) bool {
	if !hasSecrets(one) && !hasSecrets(other) {
		return true
	}
	return !slices.ContainsFunc(one.Targets, func(t configrepo.TargetState) bool {
		there, ok := other.Target(t.Name)
		return !ok || len(drift.Compare(t.State, there, nil, time.Time{})) > 0
	})
}

// secretsFrom is the commit that the secrets of what is wanted are from; empty
// where it has none.
func secretsFrom(want, branch *source) string {
	if !hasSecrets(want.desired) {
		return ""
	}
	return string(branch.commit)
}

// compareSecrets finds out which of the deployments that a decision goes by
// brought other secrets than the branch has now. Without any it costs nothing.
func (e *Engine) compareSecrets(ctx context.Context, sc *scene) error {
	past := []*stella.Deployment{newest(sc.book)}
	if d, ok := sc.book.LastGood(); ok && (past[0] == nil || past[0].ID != d.ID) {
		past = append(past, &d)
	}
	for _, d := range past {
		for _, want := range []*source{sc.source, sc.branch} {
			if d == nil || want.invalid != nil || !hasSecrets(want.desired) || d.Desired != want.desired.Digest || d.Tree != string(want.app) {
				continue
			}
			same, err := e.broughtThese(ctx, *d, want, sc.branch.commit)
			if err != nil {
				return fmt.Errorf("compare the secrets of %s with today's: %w", d.ID, err)
			}
			if !same {
				sc.otherSecrets = append(sc.otherSecrets, d.ID)
			}
			break
		}
	}
	return nil
}

// broughtThese reports whether a deployment brought the secrets of what is
// wanted. Where nobody can tell, it did not: to bring them once more does no
// harm.
func (e *Engine) broughtThese(ctx context.Context, d stella.Deployment, want *source, branch git.ID) (bool, error) {
	if d.SecretsCommit == string(branch) || d.SecretsCommit == "" {
		return d.SecretsCommit != "", nil
	}
	then, err := e.headAt(ctx, git.ID(d.SecretsCommit))
	if errors.Is(err, stella.ErrNotFound) || isInvalid(err) {
		return false, nil
	}
	if err != nil {
		return false, err
	}
	same, err := sameAt(ctx, then, want.head, []string{configrepo.SecretsPath(want.project, want.name), configrepo.EnvironmentPath(want.project, want.name)})
	if same || err != nil {
		return same, err
	}
	app, err := e.cfg.Repo.Tree(ctx, want.app)
	if err != nil {
		return false, err
	}
	then.tree = then.tree.with(configrepo.AppPath(then.project, want.name), app)
	was, err := e.read(ctx, then, want.name)
	if err != nil && !isInvalid(err) && !errors.Is(err, stella.ErrNotFound) {
		return false, err
	}
	return err == nil && sameSecrets(want.desired, was.desired), nil
}

// sameAt reports whether two commits have the same at every one of some paths.
func sameAt(ctx context.Context, one, other *head, paths []string) (bool, error) {
	for _, path := range paths {
		a, err := idAt(ctx, one.tree, path)
		if err != nil {
			return false, err
		}
		b, err := idAt(ctx, other.tree, path)
		if a != b || err != nil {
			return false, err
		}
	}
	return true, nil
}

// putSecrets puts the secrets of another head in the place of those of a head.
func (e *Engine) putSecrets(ctx context.Context, h, from *head, env stella.EnvName) error {
	entry, err := from.tree.Lookup(ctx, configrepo.SecretsPath(from.project, env))
	if ignoreNotFound(err) != nil {
		return err
	}
	var secrets *git.Tree
	if err == nil && entry.Mode == git.ModeDir {
		if secrets, err = e.cfg.Repo.Tree(ctx, git.ID(entry.ID)); err != nil {
			return fmt.Errorf("read the secrets of %s: %w", env, err)
		}
	}
	h.tree = h.tree.with(configrepo.SecretsPath(h.project, env), secrets)
	return nil
}

// secretsOfToday gives a commit of the branch's past today's secrets, as going
// back to it would. Any other commit keeps its own: it may be about them.
func (e *Engine) secretsOfToday(ctx context.Context, h *head, sc *scene) error {
	past, err := e.cfg.Repo.IsAncestor(ctx, h.commit, sc.branch.commit)
	if err != nil || !past {
		return ignoreNotFound(err)
	}
	return e.putSecrets(ctx, h, sc.branch.head, sc.name)
}

// asBrought is what a deployment wants with the secrets that it brought, where
// they can be told: those that were changed in Git since have not drifted, and
// those that were changed on a target have.
func (e *Engine) asBrought(ctx context.Context, sc *scene, want *source, in stella.Deployment) *source {
	if in.SecretsCommit == "" || in.SecretsCommit == string(sc.branch.commit) || !hasSecrets(want.desired) {
		return want
	}
	then, err := e.headAt(ctx, git.ID(in.SecretsCommit))
	if err != nil {
		return want
	}
	h := *want.head
	if err := e.putSecrets(ctx, &h, then, sc.name); err != nil {
		return want
	}
	was, err := e.read(ctx, &h, sc.name)
	if err != nil {
		return want
	}
	was.alone = want.alone
	return was
}
