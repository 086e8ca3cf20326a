package reconciler

import (
	"context"
	"errors"
	"fmt"
	"strings"

	"github.com/stella-ops/stella"
	"github.com/stella-ops/stella/baseline"
	"github.com/stella-ops/stella/configrepo"
	"github.com/stella-ops/stella/internal/git"
)

// readBaseline reads an environment's baseline as the branch has it, whatever it
// is worth.
func readBaseline(ctx context.Context, sc *scene) (configrepo.Baseline, error) {
	b, err := configrepo.ReadBaseline(ctx, sc.branch.tree, sc.branch.project, sc.name)
	if errors.Is(err, stella.ErrNotFound) {
		return configrepo.Baseline{}, noBaseline(sc)
	}
	if err != nil {
		return configrepo.Baseline{}, stella.WithHint(fmt.Errorf("baseline of %s: %w", sc.name, err),
			fmt.Sprintf("look at baselines/%s.yaml, or name a deployment: 'stella orch deployments list %[1]s'", sc.name))
	}
	return *b, nil
}

// baseline is the environment's baseline and the deployment that it names. What
// the file says is not believed where the ledger knows better, and where the
// ledger has forgotten, the content has to have been on the branch: a file alone
// makes nothing verified. Go by the deployment, not by the file. It needs neither
// a valid environment nor a target.
func (e *Engine) baseline(ctx context.Context, sc *scene) (configrepo.Baseline, stella.Deployment, error) {
	b, err := readBaseline(ctx, sc)
	if err != nil {
		return b, stella.Deployment{}, err
	}
	d, known, why := baseline.Recorded(b, sc.book)
	switch {
	case why != "":
		return b, stella.Deployment{}, untrueBaseline(sc.name, why)
	case known:
		return b, d, nil
	}
	d, err = e.forgotten(ctx, sc, b)
	return b, d, err
}

// forgotten is the deployment of a baseline that the ledger does not know any
// more, as the branch's history has it.
func (e *Engine) forgotten(ctx context.Context, sc *scene, b configrepo.Baseline) (stella.Deployment, error) {
	if _, err := e.cfg.Repo.Find(ctx, b.Commit, sc.branch.commit); errors.Is(err, stella.ErrNotFound) {
		return stella.Deployment{}, untrueBaseline(sc.name, fmt.Sprintf("commit %.12s was never on the branch", b.Commit))
	} else if err != nil {
		return stella.Deployment{}, fmt.Errorf("baseline of %s: %w", sc.name, err)
	}
	h, err := e.headAt(ctx, git.ID(b.Commit))
	if err != nil {
		return stella.Deployment{}, fmt.Errorf("baseline of %s: %w", sc.name, err)
	}
	was, err := e.read(ctx, h, sc.name)
	switch {
	case was == nil:
		return stella.Deployment{}, fmt.Errorf("baseline of %s: %w", sc.name, err)
	case string(was.app) != b.Tree:
		return stella.Deployment{}, untrueBaseline(sc.name, fmt.Sprintf("commit %.12s does not have tree %.12s", b.Commit, b.Tree))
	}
	d := stella.Deployment{
		ID: b.Deployment, Environment: sc.name, Status: stella.Succeeded, Commit: b.Commit, Tree: b.Tree, Shared: was.shared,
		Components: map[string]string{},
	}
	if was.desired != nil {
		d.Desired = was.desired.Digest
	}
	if was.release != nil {
		d.Release, d.Components = was.release.Release.Version, images(was) // what it had, whatever the file says
	}
	return d, nil
}

// noBaseline says what can be done where none was captured.
func noBaseline(sc *scene) error {
	const most = 3
	hint := fmt.Sprintf("run 'stella baseline capture %s' as soon as what runs is good", sc.name)
	var known []string
	for _, d := range sc.book.Verified() {
		if len(known) < most {
			known = append(known, titled(d))
		}
	}
	if len(known) > 0 {
		hint += fmt.Sprintf("; verified deployments are %s: go back to one with 'stella rollback %s --to …'", strings.Join(known, ", "), sc.name)
	}
	return stella.WithHint(fmt.Errorf("no baseline of %s was captured: %w", sc.name, stella.ErrNotFound), hint)
}

// untrueBaseline refuses a baseline that names what never was.
func untrueBaseline(env stella.EnvName, why string) error {
	return stella.WithHint(
		fmt.Errorf("baselines/%s.yaml is not to be believed: %s: %w", env, why, stella.ErrRefused),
		fmt.Sprintf("run 'git log -- baselines/%s.yaml' in a clone to see who wrote it, or name a deployment: 'stella orch deployments list %[1]s'", env))
}
