package reconciler

import (
	"context"
	"errors"
	"regexp"
	"slices"
	"strings"

	"github.com/stella-ops/stella"
	"github.com/stella-ops/stella/internal/git"
)

// revertsRE finds what a revert's message says that it takes back: git's words
// and ours.
var revertsRE = regexp.MustCompile(`(?m)^This reverts commit ([0-9a-f]{40})\b`)

// takenBack are the commits that a revert's message names.
func takenBack(c git.Commit) []git.ID {
	var ids []git.ID
	for _, m := range revertsRE.FindAllStringSubmatch(c.Message, maxUndone) {
		ids = append(ids, git.ID(m[1]))
	}
	return ids
}

// cancelled are the reverts among commits, newest first, and what they revert.
func cancelled(commits []git.Commit) []git.ID {
	var gone []git.ID
	for _, c := range commits {
		if slices.Contains(gone, c.ID) {
			continue // a revert that was reverted is in effect no more
		}
		took := takenBack(c)
		known := func(id git.ID) bool {
			return slices.ContainsFunc(commits, func(c git.Commit) bool { return c.ID == id })
		}
		if len(took) > 0 && !slices.ContainsFunc(took, func(id git.ID) bool { return !known(id) }) {
			gone = append(append(gone, c.ID), took...)
		}
	}
	return gone
}

// revertedBy is what a revert that is on the branch already went away from, so
// that it is held: a rollback that was interrupted, or a commit whose message
// says that it reverts. An earlier release that somebody simply asked for again
// holds nothing.
func (e *Engine) revertedBy(ctx context.Context, sc *scene) (*source, error) {
	before, err := e.beforeRevert(ctx, sc)
	if err != nil || before == "" {
		return nil, err
	}
	return e.asHeld(ctx, sc, before)
}

// leaving is what going back goes away from: what is wanted, or what ran last
// where nothing is wanted since the app is gone.
func (e *Engine) leaving(ctx context.Context, sc *scene) (*source, error) {
	last, ok := sc.book.Last()
	if sc.app != "" || !ok || last.Commit == "" {
		return sc.source, nil
	}
	return e.asHeld(ctx, sc, git.ID(last.Commit))
}

// asHeld is what a commit asked for, to be held; nil where nobody can tell.
func (e *Engine) asHeld(ctx context.Context, sc *scene, before git.ID) (*source, error) {
	h, err := e.headAt(ctx, before)
	var src *source
	if err == nil {
		src, err = e.read(ctx, h, sc.name)
	}
	if src == nil && !errors.Is(err, stella.ErrUnreachable) {
		// Going back must not fail for what it goes away from.
		e.cfg.Logger.WarnContext(ctx, "what was reverted is not held", "environment", sc.name, "commit", before, "err", err)
		return nil, nil
	}
	if src == nil {
		return nil, err
	}
	return src, nil // what it asked for may well be invalid
}

// beforeRevert is the commit that a revert goes away from, empty for none.
func (e *Engine) beforeRevert(ctx context.Context, sc *scene) (git.ID, error) {
	if d := newest(sc.book); d != nil && d.Kind.GoesBack() && d.Status != stella.Succeeded && d.Tree == string(sc.app) && len(d.Reverts) > 0 {
		return git.ID(d.Reverts[0]), nil
	}
	found, err := e.cfg.Repo.Log(ctx, sc.branch.commit, appPath(sc.source), 1)
	if err != nil || len(found) == 0 || len(found[0].Parents) == 0 || !saysRevert(found[0]) || e.reapplies(ctx, found[0]) {
		return "", err
	}
	return found[0].Parents[0], nil
}

// reapplies reports whether all that a commit reverts are reverts themselves:
// it brings back what they took away, and goes away from nothing bad. A rollback
// says what it restores, and is never meant so.
func (e *Engine) reapplies(ctx context.Context, c git.Commit) bool {
	took := takenBack(c)
	if len(took) == 0 || strings.Contains(c.Message, "\n"+restoresTrailer) {
		return false
	}
	for _, id := range took {
		if of, err := e.cfg.Repo.Commit(ctx, id); err != nil || !saysRevert(of) {
			return false
		}
	}
	return true
}

// saysRevert reports whether a message is a revert's: git's own words, those
// that forges put into their merge commits, or ours.
func saysRevert(c git.Commit) bool {
	for line := range strings.Lines(c.Message) {
		for _, words := range []string{"This reverts ", "Revert \"", restoresTrailer} {
			if strings.HasPrefix(line, words) {
				return true
			}
		}
	}
	return false
}
