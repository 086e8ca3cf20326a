package reconciler

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"maps"
	"slices"

	"github.com/stella-ops/stella"
	"github.com/stella-ops/stella/configrepo"
	"github.com/stella-ops/stella/internal/git"
)

// extras are what going back restores besides the app, in the same commit: the
// shared directories and environment.yaml of then. The zero value is nothing.
type extras struct {
	edits []git.Edit
	// planned is what is at each of their paths on the branch that the rollback
	// was planned against; empty where there was nothing.
	planned map[string]git.ID
}

// none reports whether the branch has all of it already.
func (x *extras) none() bool { return x == nil || len(x.edits) == 0 }

// on returns the edits for a head. It refuses one on which somebody changed what
// they would overwrite.
func (x *extras) on(ctx context.Context, onto *source) ([]git.Edit, error) {
	if x.none() {
		return nil, nil
	}
	for _, edit := range x.edits {
		now, err := idAt(ctx, onto.tree, edit.Path)
		if err != nil {
			return nil, err
		}
		if err := unchanged(edit.Path, now, x.planned[edit.Path], onto); err != nil {
			return nil, err
		}
	}
	return x.edits, nil
}

// idAt is the id of what is at a path; empty for nothing.
func idAt(ctx context.Context, t GitTree, path string) (git.ID, error) {
	entry, err := t.Lookup(ctx, path)
	if errors.Is(err, stella.ErrNotFound) {
		return "", nil
	}
	return git.ID(entry.ID), err
}

// extras are what going back to good asks for besides the app, or can not do
// without.
func (e *Engine) extras(ctx context.Context, sc *scene, good stella.Deployment, why intent) (*extras, error) {
	x := &extras{planned: map[string]git.ID{}}
	var then *configrepo.Environment
	if why.scope.IncludeEnvironment || why.mends {
		env, err := e.environmentOf(ctx, sc, good, x)
		if err != nil {
			return nil, fmt.Errorf("read environment.yaml of %s: %w", good.ID, err)
		}
		then = env
	}
	dirs := declaredShared(sc, then)
	if !why.scope.IncludeShared {
		gone, err := without(ctx, sc.branch.tree, dirs)
		if err != nil || !why.mends {
			return x, err
		}
		dirs = gone // without them it can not be read
	}
	return x, x.addShared(ctx, sc, good, dirs)
}

// without are the directories that a tree does not have.
func without(ctx context.Context, t GitTree, dirs []string) ([]string, error) {
	var gone []string
	for _, dir := range dirs {
		id, err := idAt(ctx, t, dir)
		if err != nil {
			return nil, err
		}
		if id == "" {
			gone = append(gone, dir)
		}
	}
	return gone, nil
}

// environmentOf adds environment.yaml of then, and returns it where it can be
// read.
func (e *Engine) environmentOf(ctx context.Context, sc *scene, good stella.Deployment, x *extras) (*configrepo.Environment, error) {
	h, err := e.headAt(ctx, git.ID(good.Commit))
	if err != nil {
		return nil, err
	}
	entry, err := h.tree.Lookup(ctx, configrepo.EnvironmentPath(h.project, sc.name))
	if err != nil {
		return nil, err
	}
	path := configrepo.EnvironmentPath(sc.project, sc.name)
	err = x.add(ctx, sc, git.Edit{Path: path, Graft: git.ID(entry.ID), GraftMode: entry.Mode})
	env, invalid := configrepo.ReadEnvironment(ctx, h.tree, h.project, sc.name)
	if invalid != nil {
		return nil, err // found again, with its place, when the commit is read
	}
	return env, err
}

// declaredShared are the shared directories that the environment declares: as
// it says then, where that is restored, or else today.
func declaredShared(sc *scene, then *configrepo.Environment) []string {
	switch {
	case then != nil:
		return then.Shared
	case sc.branch.env != nil:
		return sc.branch.env.Shared
	}
	return nil
}

// addShared adds the shared directories that were recorded and differ.
func (x *extras) addShared(ctx context.Context, sc *scene, good stella.Deployment, declared []string) error {
	for _, dir := range slices.Sorted(maps.Keys(good.Shared)) {
		if !slices.Contains(declared, dir) {
			continue
		}
		if err := x.add(ctx, sc, git.Edit{Path: dir, Graft: git.ID(good.Shared[dir]), GraftMode: git.ModeDir}); err != nil {
			return err
		}
	}
	return nil
}

// add adds an edit, unless the branch has what it brings.
func (x *extras) add(ctx context.Context, sc *scene, edit git.Edit) error {
	now, err := idAt(ctx, sc.branch.tree, edit.Path)
	if err != nil || now == edit.Graft {
		return err
	}
	x.planned[edit.Path] = now
	x.edits = append(x.edits, edit)
	return nil
}

// join makes the extras part of a planned rollback: its files and its hash.
func (x *extras) join(ctx context.Context, j *job, sc *scene) error {
	if x.none() {
		return nil
	}
	files, err := x.files(ctx, sc.branch.tree, j.cand.want.tree)
	if err == nil && j.intent.opts.DryRun {
		err = describeFiles(ctx, sc.branch.tree, j.cand.want.tree, files)
	}
	j.also = x
	j.in.plan.Files = append(j.in.plan.Files, files...)
	j.in.plan.Hash = x.sealed(j.in.plan.Hash)
	return err
}

// sealed is the hash of a plan with the extras: who agreed to the one has not
// agreed to the other.
func (x *extras) sealed(hash string) string {
	if x.none() {
		return hash
	}
	sum := sha256.New()
	_, _ = io.WriteString(sum, hash) // a hash never fails
	for _, edit := range x.edits {
		_, _ = io.WriteString(sum, "\x00"+edit.Path+"\x00"+string(edit.Graft))
	}
	return hex.EncodeToString(sum.Sum(nil)[:8])
}

// files are what the extras change, for the plan.
func (x *extras) files(ctx context.Context, from, to GitTree) ([]FileChange, error) {
	var out []FileChange
	for _, edit := range x.edits {
		if edit.GraftMode == git.ModeDir {
			changed, err := changedFiles(ctx, from, to, edit.Path)
			if err != nil {
				return nil, err
			}
			out = append(out, changed...)
			continue
		}
		change := FileChange{Path: edit.Path, Op: "modify"}
		if x.planned[edit.Path] == "" {
			change.Op = "add"
		}
		out = append(out, change)
	}
	return out, nil
}
