package reconciler

import (
	"context"
	"fmt"

	"github.com/stella-ops/stella"
	"github.com/stella-ops/stella/configrepo"
	"github.com/stella-ops/stella/internal/git"
)

// restore plans bringing the environment's app back to what a deployment had:
// a commit whose app tree is the recorded one, exact and without a merge. How
// the environment is operated stays as it is today, unless the scope asks for
// that of then. Where the branch has it all already there is no commit to make.
func (e *Engine) restore(ctx context.Context, sc *scene, good stella.Deployment, why intent) (*job, error) {
	why.restores, why.good = good.ID, &good
	there := sc.having(good.Tree)
	why.mends = sc.branch.env == nil && !why.automatic && (there == nil || there.env == nil)
	also, err := e.extras(ctx, sc, good, why)
	if err != nil {
		return nil, err
	}
	if there != nil && also.none() {
		if there.invalid != nil && !isInvalid(there.invalid) {
			return nil, there.invalid
		}
		j, err := e.inspect(ctx, there, why, nil, nil)
		if err != nil {
			return nil, err
		}
		return e.wary(ctx, sc, good, j)
	}
	undone, err := e.undone(ctx, sc, good)
	if err != nil {
		return nil, err
	}
	for _, c := range undone {
		why.reverts = append(why.reverts, string(c.ID))
	}
	why.undoes = undoes(sc.book, undone)
	beside, err := e.beside(ctx, sc, undone)
	if err != nil {
		return nil, err
	}
	c := &change{draft: e.restoring(sc, good, revertMessage(sc.name, good, why, undone, beside), also)}
	cand, invalid := e.build(ctx, *c, sc.branch)
	if cand == nil || invalid != nil && !isInvalid(invalid) {
		return nil, invalid
	}
	j, err := e.inspect(ctx, sc, why, c, cand)
	if err != nil {
		return nil, err
	}
	if err := also.join(ctx, j, sc); err != nil {
		return nil, err
	}
	return e.wary(ctx, sc, good, j)
}

// having is the scene in which an app tree is wanted already, by the pin or by
// the branch; nil where a commit has to bring it.
func (sc *scene) having(tree string) *scene {
	switch tree {
	case string(sc.app):
		return sc
	case string(sc.branch.app):
		return sc.asBranch()
	}
	return nil
}

// restoring drafts the revert commit. It refuses a head on which the
// environment is no longer what the rollback was planned against.
func (e *Engine) restoring(sc *scene, good stella.Deployment, message string, also *extras) func(context.Context, *source) ([]git.Edit, string, error) {
	planned := sc.branch.app
	return func(ctx context.Context, onto *source) ([]git.Edit, string, error) {
		if err := unchanged(string(onto.name), onto.app, planned, onto); err != nil {
			return nil, "", err
		}
		more, err := also.on(ctx, onto)
		if err != nil {
			return nil, "", err
		}
		edits, err := clearing(ctx, onto)
		if err != nil {
			return nil, "", err
		}
		edits = append(edits, git.Edit{Path: appPath(onto), Graft: git.ID(good.Tree), GraftMode: git.ModeDir})
		return append(edits, more...), message, nil
	}
}

// clearing makes way for an environment's directory, where something else has
// its name.
func clearing(ctx context.Context, onto *source) ([]git.Edit, error) {
	dir := configrepo.EnvironmentDir(onto.project, onto.name)
	entry, err := onto.tree.Lookup(ctx, dir)
	if err != nil || entry.Mode == git.ModeDir {
		return nil, ignoreNotFound(err)
	}
	return []git.Edit{{Path: dir, Delete: true}}, nil
}

// beside tells which commits changed other things than the app as well.
func (e *Engine) beside(ctx context.Context, sc *scene, commits []git.Commit) (map[git.ID]bool, error) {
	out := map[git.ID]bool{}
	for _, c := range commits {
		before, after, err := e.around(ctx, c)
		if err != nil {
			return nil, fmt.Errorf("read what commit %.12s changed: %w", c.ID, err)
		}
		others, err := changedBeside(ctx, before, after, appPath(sc.source))
		if err != nil {
			return nil, err
		}
		out[c.ID] = len(others) > 0
	}
	return out, nil
}

// around returns the trees before and after a commit, against its first parent;
// before is nil for a root commit.
func (e *Engine) around(ctx context.Context, c git.Commit) (before, after *git.Tree, err error) {
	if len(c.Parents) > 0 {
		if before, err = e.cfg.Repo.Tree(ctx, c.Parents[0]); err != nil {
			return nil, nil, err
		}
	}
	after, err = e.cfg.Repo.Tree(ctx, c.ID)
	return before, after, err
}

// maxUndone bounds how many commits a revert names: a message is read by people.
const maxUndone = 50

// undone lists the commits between the head and the recorded deployment that
// changed the app, newest first: those that a rollback takes back. It looks no
// further back than the commit that brought what is restored.
func (e *Engine) undone(ctx context.Context, sc *scene, good stella.Deployment) ([]git.Commit, error) {
	path := appPath(sc.source)
	var out []git.Commit
	if string(sc.branch.app) == good.Tree {
		return nil, nil // the app is there: only what lies beside it is restored
	}
	for from := sc.branch.commit; len(out) < maxUndone; {
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
	id, err := idAt(ctx, TreeOf(t), path)
	return id == tree, err
}
