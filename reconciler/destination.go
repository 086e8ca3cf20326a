package reconciler

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"

	"github.com/stella-ops/stella"
	"github.com/stella-ops/stella/internal/git"
	"github.com/stella-ops/stella/internal/safe"
	"github.com/stella-ops/stella/ledger"
)

// toBaseline is the destination of a rollback that the environment's baseline
// names.
const toBaseline = "baseline"

// destination finds where a rollback goes: what the ledger knows by that name,
// the baseline, or what a tag or commit of the config repository had.
func (e *Engine) destination(ctx context.Context, sc *scene, to string) (stella.Deployment, error) {
	kind, name, _ := strings.Cut(to, ":")
	switch {
	case to == toBaseline:
		_, d, err := e.baseline(ctx, sc)
		return d, err
	case kind == "tag":
		return e.atRevision(ctx, sc, "refs/tags/"+name, to)
	}
	d, err := destination(sc.book, to)
	if !errors.Is(err, stella.ErrNotFound) || kind == "deployment" || kind == "version" {
		return d, err
	}
	// The ledger does not know it: it may be any commit of the repository.
	at, atErr := e.atRevision(ctx, sc, strings.TrimPrefix(to, "commit:"), to)
	if errors.Is(atErr, stella.ErrNotFound) || errors.Is(atErr, stella.ErrInvalid) {
		return d, err
	}
	return at, atErr
}

// atRevision is the deployment that verified the app as a revision has it.
func (e *Engine) atRevision(ctx context.Context, sc *scene, revision, asked string) (stella.Deployment, error) {
	id, err := e.resolveRevision(ctx, sc.book, revision)
	if err != nil {
		return stella.Deployment{}, err
	}
	h, err := e.headAt(ctx, id)
	if err != nil {
		return stella.Deployment{}, err
	}
	entry, err := h.tree.Lookup(ctx, appPath(sc.source))
	if err != nil {
		return stella.Deployment{}, fmt.Errorf("environment %s at %s: %w", sc.name, safe.Clip(asked, 100), err)
	}
	for _, d := range slices.Backward(sc.book.Deployments) {
		if d.Tree == entry.ID && d.Status == stella.Succeeded {
			return d, nil
		}
	}
	return stella.Deployment{}, stella.WithHint(
		fmt.Errorf("cannot restore previous version: what %s has was never verified on %s: %w", safe.Clip(asked, 100), sc.name, stella.ErrRefused),
		fmt.Sprintf("run 'stella orch deployments list %s' and name one that succeeded", sc.name))
}

// revision is the scene as another commit wants it.
func (e *Engine) revision(ctx context.Context, sc *scene, name string) (*scene, error) {
	id, err := e.resolveRevision(ctx, sc.book, name)
	if err != nil {
		return nil, err
	}
	h, err := e.headAt(ctx, id)
	if err != nil {
		return nil, err
	}
	h.ref, h.at = sc.ref, sc.at
	if err := e.secretsOfToday(ctx, h, sc); err != nil {
		return nil, err
	}
	return e.askedAt(ctx, h, sc.name)
}

// resolveRevision finds the commit that is meant by a deployment's id, a whole
// commit id, a full ref name, or the name of a branch or tag. Whether it has
// anything to do with the reconciled branch is for the caller to ask.
func (e *Engine) resolveRevision(ctx context.Context, b ledger.Book, revision string) (git.ID, error) {
	if d, ok := b.Deployment(revision); ok && d.Commit != "" {
		revision = d.Commit
	}
	if id, err := git.ParseID(revision); err == nil {
		return id, nil
	}
	names := []string{"refs/heads/" + revision, "refs/tags/" + revision}
	if strings.HasPrefix(revision, "refs/") {
		names = []string{revision}
	}
	shown := safe.Clip(revision, 100)
	const hint = "name a whole commit id, a branch, a tag or a deployment"
	for _, name := range names {
		if err := git.CheckRef(name); err != nil {
			return "", stella.WithHint(fmt.Errorf("revision %q: %w", shown, err), hint)
		}
	}
	refs, err := e.cfg.Repo.Fetch(ctx, git.Want{Names: names, Unchecked: true})
	if err != nil {
		return "", fmt.Errorf("revision %q: %w", shown, err)
	}
	for _, name := range names {
		if id, ok := refs.IDs[name]; ok {
			return e.cfg.Repo.Peel(ctx, id)
		}
	}
	return "", stella.WithHint(fmt.Errorf("revision %q: %w", shown, stella.ErrNotFound), hint)
}
