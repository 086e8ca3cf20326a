package reconciler

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"

	"github.com/stella-ops/stella"
	"github.com/stella-ops/stella/configrepo"
	"github.com/stella-ops/stella/internal/git"
	"github.com/stella-ops/stella/internal/git/merge"
	"github.com/stella-ops/stella/internal/safe"
)

// undoCommit plans undoing one commit while keeping what came after it: a
// three-way merge of the environment's app, and of nothing else that the commit
// changed. It starts from what the branch asks for, whatever is pinned.
//
// What conflicts is in the plan, with findings, and nothing is built then: half
// an undo is none. Otherwise the result was never verified as a combination,
// which the plan says; it restores no deployment and so is never pinned.
//
// Errors: stella.ErrInvalid and stella.ErrNotFound for a commit that can not be
// told or is not in the branch's history, stella.ErrRefused where it changed
// nothing here, is undone already, or leaves what can not be deployed.
func (e *Engine) undoCommit(ctx context.Context, sc *scene, commit string, why intent) (*job, error) {
	sc = sc.asBranch()
	if sc.env == nil {
		return nil, sc.invalid // how it is operated can not be read, and no undo of the app changes that
	}
	u, err := e.findUndo(ctx, sc, commit)
	if err != nil {
		return nil, err
	}
	why.reverts, why.undoes = []string{string(u.commit.ID)}, undoes(sc.book, []git.Commit{u.commit})
	switch {
	case u.result.Nothing():
		err := fmt.Errorf("nothing to undo: all that commit %.12s changed in %s is as before already: %w", u.commit.ID, u.path, stella.ErrRefused)
		return nil, stella.WithHint(err, fmt.Sprintf("run 'stella orch env config diff %s' to see whether it runs", sc.name))
	case len(u.result.Conflicts()) > 0:
		return e.conflicting(ctx, sc, u, why), nil
	}
	c := &change{draft: u.draft(sc, why)}
	cand, err := e.build(ctx, *c, sc.branch)
	if err == nil {
		err = e.proveUndo(ctx, sc, u, cand)
	}
	if err != nil {
		return nil, cannotUndo(sc.name, u, err)
	}
	j, err := e.inspect(ctx, sc, why, c, cand)
	if err != nil {
		return nil, err
	}
	j.bad = sc.source
	waryOfApp(sc, left(sc, cand.want), j, fmt.Sprintf(" --commit %.12s", u.commit.ID))
	j.in.plan.Warnings = append(j.in.plan.Warnings, u.warnings()...)
	return j, nil
}

// left stands for what an undo leaves where it is asked what going back crosses.
// It is as new as the newest deployment of its release.
func left(sc *scene, want *source) stella.Deployment {
	d := stella.Deployment{ID: "what is left", Status: stella.Succeeded, Release: want.release.Release.Version}
	if sc.release != nil && sc.release.Release.Version == d.Release {
		d.Sequence = sc.book.State.Sequence
		return d
	}
	for _, old := range sc.book.Deployments {
		if old.Release == d.Release {
			d.Sequence = old.Sequence
		}
	}
	return d
}

// undo is one commit that is to be undone, and what becomes of the app.
type undo struct {
	commit    git.Commit
	parent    git.ID // that it is undone against; empty for a root commit
	path      string // the app's
	result    *merge.Result
	elsewhere []string // what else it changed, which stays
}

// maxUndoPaths bounds how much of one environment is undone, as configrepo does reading
// one.
const maxUndoPaths = 2000

// findUndo finds a commit in the branch's history and merges its undoing into
// the app. A merge is undone against its first parent, a root commit against
// nothing.
func (e *Engine) findUndo(ctx context.Context, sc *scene, commit string) (*undo, error) {
	repo := e.cfg.Repo
	found, err := repo.Find(ctx, strings.TrimPrefix(commit, "commit:"), sc.branch.commit)
	if err != nil {
		return nil, stella.WithHint(fmt.Errorf("undo one commit of %s: %w", sc.name, err),
			fmt.Sprintf("run 'stella orch deployments list %s -o wide' for the commits that were deployed, or 'git log' in a clone", sc.name))
	}
	u := &undo{commit: found, path: appPath(sc.source)}
	if len(found.Parents) > 0 {
		u.parent = found.Parents[0]
	}
	before, after, err := e.around(ctx, found)
	if err != nil {
		return nil, err
	}
	if u.elsewhere, err = changedBeside(ctx, before, after, u.path); err != nil {
		return nil, err
	}
	var apps [3]*git.Tree
	now, err := repo.Tree(ctx, sc.branch.commit)
	for i, t := range []*git.Tree{after, now, before} {
		if err == nil {
			apps[i], err = e.below(ctx, t, u.path)
		}
	}
	if err != nil {
		return nil, err
	}
	if idOf(apps[0]) == idOf(apps[2]) {
		err := fmt.Errorf("commit %.12s changed nothing in %s: %w", found.ID, u.path, stella.ErrRefused)
		return nil, stella.WithHint(err, fmt.Sprintf("run 'git show --stat %s' in a clone to see what it changed", found.ID))
	}
	asked, err := attributes(ctx, now, u.path)
	if err == nil {
		u.result, err = merge.Undo(ctx, apps[0], apps[1], apps[2], merge.Limits{
			MaxPaths: maxUndoPaths, MaxFileBytes: configrepo.MaxFileBytes, NoLines: asked.Ask,
		})
	}
	if err != nil {
		return nil, cannotUndo(sc.name, u, err)
	}
	return u, nil
}

// attributes reads the .gitattributes files that may say how the files below a
// path are merged: those on the way there and those below it.
func attributes(ctx context.Context, t *git.Tree, path string) (*merge.Attributes, error) {
	const name = ".gitattributes"
	found := &merge.Attributes{}
	read := func(at string) error {
		data, err := t.Read(ctx, at, configrepo.MaxFileBytes)
		found.Add(data)
		return ignoreNotFound(err)
	}
	for dir := path; ; dir = dir[:max(0, strings.LastIndexByte(dir, '/'))] {
		if err := read(strings.TrimPrefix(dir+"/"+name, "/")); err != nil {
			return nil, err
		}
		if dir == "" {
			break
		}
	}
	files, err := list(ctx, TreeOf(t), path, maxUndoPaths)
	if err != nil {
		return nil, err
	}
	for at := range files {
		if strings.HasSuffix(at, "/"+name) {
			if err := read(at); err != nil {
				return nil, err
			}
		}
	}
	return found, nil
}

// below returns the directory at a path, nil where there is none.
func (e *Engine) below(ctx context.Context, t *git.Tree, path string) (*git.Tree, error) {
	if t == nil {
		return nil, nil
	}
	entry, err := t.Lookup(ctx, path)
	if err != nil || !entry.IsDir() {
		return nil, ignoreNotFound(err)
	}
	return e.cfg.Repo.Tree(ctx, entry.ID)
}

func idOf(t *git.Tree) git.ID {
	if t == nil {
		return ""
	}
	return t.ID()
}

// draft makes the commit that undoes. It refuses a head on which the app is no
// longer what was merged; what happens to other environments does not matter.
func (u *undo) draft(sc *scene, why intent) func(context.Context, *source) ([]git.Edit, string, error) {
	planned := sc.branch.app
	return func(_ context.Context, onto *source) ([]git.Edit, string, error) {
		if err := unchanged(string(onto.name), onto.app, planned, onto); err != nil {
			return nil, "", err
		}
		return u.result.Edits(appPath(onto)), undoMessage(onto.name, u, why), nil
	}
}

// proveUndo reads back what was built: every path that the commit changed is
// undone, and no other one differs.
func (e *Engine) proveUndo(ctx context.Context, sc *scene, u *undo, cand *candidate) error {
	before, err := e.cfg.Repo.Tree(ctx, sc.branch.app)
	if err != nil {
		return err
	}
	after, err := e.cfg.Repo.Tree(ctx, cand.want.app)
	if err != nil {
		return err
	}
	return u.result.Proves(ctx, before, after)
}

// cannotUndo words why an undo could not be planned: a refusal, unless Git did
// not answer.
func cannotUndo(env stella.EnvName, u *undo, err error) error {
	refused := stella.ErrRefused
	for _, class := range []error{stella.ErrUnreachable, stella.ErrConflict, stella.ErrDenied, stella.ErrTampered, context.Canceled} {
		if errors.Is(err, class) {
			refused = class
		}
	}
	err = fmt.Errorf("cannot undo commit %.12s: what would be left of %s: %w: %w", u.commit.ID, u.path, refused, err)
	return stella.WithHint(err, fmt.Sprintf("run 'stella orch deployments list %s' and go back to one that was verified, with --to", env))
}

// warnings are what a person should know before.
func (u *undo) warnings() []string {
	w := []string{fmt.Sprintf("without commit %.12s and with all that came after it, this combination was never verified", u.commit.ID)}
	if len(u.elsewhere) > 0 {
		w = append(w, fmt.Sprintf("commit %.12s also changed %s: that is not undone", u.commit.ID, strings.Join(u.elsewhere, ", ")))
	}
	return w
}

// maxBeside bounds how many places are named.
const maxBeside = 10

// changedBeside lists what differs between two trees beside a path: the files
// and directories on the way there, each as a whole.
func changedBeside(ctx context.Context, before, after *git.Tree, path string) ([]string, error) {
	var out []string
	dir := ""
	for name := range strings.SplitSeq(path, "/") {
		was, err := entriesOf(ctx, before, dir)
		if err != nil {
			return nil, err
		}
		is, err := entriesOf(ctx, after, dir)
		if err != nil {
			return nil, err
		}
		for _, other := range sortedKeys(union(was, is)) {
			if was[other] != is[other] && other != name {
				out = append(out, safe.Clip(strings.TrimPrefix(dir+"/"+other, "/"), 200))
			}
		}
		dir = strings.TrimPrefix(dir+"/"+name, "/")
	}
	if more := len(out) - maxBeside; more > 0 {
		out = append(out[:maxBeside], fmt.Sprintf("and %d more", more))
	}
	return out, nil
}

// entriesOf lists a directory by name; nothing where there is none.
func entriesOf(ctx context.Context, t *git.Tree, dir string) (map[string]git.Entry, error) {
	out := map[string]git.Entry{}
	if t == nil {
		return out, nil
	}
	if dir != "" {
		if e, err := t.Lookup(ctx, dir); err != nil || !e.IsDir() {
			return out, ignoreNotFound(err)
		}
	}
	entries, err := t.Entries(ctx, dir)
	for _, e := range entries {
		out[e.Name] = e
	}
	return out, err
}

func union[V any](a, b map[string]V) map[string]bool {
	out := map[string]bool{}
	for _, name := range slices.Concat(sortedKeys(a), sortedKeys(b)) {
		out[name] = true
	}
	return out
}
