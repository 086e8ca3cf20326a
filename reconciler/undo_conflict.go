package reconciler

import (
	"context"
	"fmt"
	"slices"
	"strings"

	"github.com/stella-ops/stella"
	"github.com/stella-ops/stella/internal/git"
	"github.com/stella-ops/stella/internal/git/merge"
	"github.com/stella-ops/stella/internal/safe"
)

// FindingRevertConflict is the code of a commit that can not be undone without
// undoing what came after it.
const FindingRevertConflict = "revert-conflict"

// What a plan shows of conflicts. They are for people: who needs more of them
// resolves them in a clone.
const (
	maxShownFiles  = 20  // files
	maxShownHunks  = 10  // of a file
	maxHunkLines   = 12  // of a side
	maxShownRunes  = 160 // of a line
	maxShownAcross = 200 // of a path
)

// conflicting is the job of an undo that conflicts: a plan to be shown, with
// findings that refuse it. No target is asked for it.
func (e *Engine) conflicting(ctx context.Context, sc *scene, u *undo, why intent) *job {
	p := emptyPlan(sc.name, string(sc.app), "")
	p.Commit, p.Empty, p.Reverts, p.Undoes = string(sc.commit), true, why.reverts, why.undoes
	if sc.release != nil {
		p.Release = sc.release.Release.Version
	}
	fix := u.wayOut(sc, e.verifiedBefore(ctx, sc, u.commit.ID))
	all := u.result.Conflicts()
	for _, c := range all[:min(len(all), maxShownFiles)] {
		shown := showConflict(u.path, c)
		p.Conflicts = append(p.Conflicts, shown)
		p.Findings = append(p.Findings, Finding{Code: FindingRevertConflict, Message: shown.Message, Fix: fix})
	}
	if more := len(all) - maxShownFiles; more > 0 {
		p.Findings = append(p.Findings, Finding{Code: FindingRevertConflict, Message: fmt.Sprintf("and %d files more", more), Fix: fix})
	}
	p.Hash = p.hash(nil)
	return &job{scene: sc, intent: why, in: &inspection{want: sc.source, plan: p}}
}

// showConflict makes a conflict fit to be printed.
func showConflict(dir string, c merge.Conflict) RevertConflict {
	shown := RevertConflict{
		Path: safe.Clip(dir+"/"+c.Path, maxShownAcross), Why: string(c.Why), Message: safe.Clip(dir+"/"+c.String(), 3*maxShownAcross), Hunks: []ConflictHunk{},
	}
	for _, h := range c.Hunks[:min(len(c.Hunks), maxShownHunks)] {
		shown.Hunks = append(shown.Hunks, ConflictHunk{
			Now: side(h.OursLine, h.Ours), Commit: side(h.BaseLine, h.Base), Before: side(h.TheirsLine, h.Theirs), Ambiguous: h.Ambiguous,
		})
	}
	if len(c.Hunks) > 0 {
		h := c.Hunks[0]
		shown.Message += fmt.Sprintf(" (line %d", h.OursLine)
		if more := len(c.Hunks) - 1; more > 0 {
			shown.Message += fmt.Sprintf(" and %d places more", more)
		}
		shown.Message += ")"
	}
	return shown
}

func side(line int, lines []string) ConflictSide {
	s := ConflictSide{Line: line, Lines: []string{}, More: max(0, len(lines)-maxHunkLines)}
	for _, l := range lines[:len(lines)-s.More] {
		s.Lines = append(s.Lines, safe.Clip(l, maxShownRunes))
	}
	return s
}

// verifiedBefore is the newest deployment that was verified without the commit,
// empty for none that is known.
func (e *Engine) verifiedBefore(ctx context.Context, sc *scene, commit git.ID) string {
	for _, d := range slices.Backward(sc.book.Deployments) {
		if d.Status != stella.Succeeded || d.Commit == "" || d.Tree == string(sc.app) {
			continue
		}
		if has, err := e.cfg.Repo.IsAncestor(ctx, commit, git.ID(d.Commit)); err == nil && !has {
			return d.ID
		}
	}
	return ""
}

// emptyTree is Git's id of the tree of nothing.
const emptyTree = "4b825dc642cb6eb9a060e54bf8d69288fbee4904"

// wayOut is the choice where a commit can not be undone: back to before it, or
// by hand. The commands do what git revert does, in the app only, and leave
// conflict markers in the files.
func (u *undo) wayOut(sc *scene, before string) string {
	parent := string(u.parent)
	if parent == "" {
		parent = emptyTree
	}
	byHand := fmt.Sprintf("in an up-to-date clone of %s run 'git diff --binary --no-renames %s %s -- %s | git apply --3way', resolve, 'git commit -am \"Revert %.12s in envs/%s\"', 'git push'",
		strings.TrimPrefix(sc.branch.ref, "refs/heads/"), u.commit.ID, parent, u.path, u.commit.ID, sc.name)
	if before == "" {
		return byHand
	}
	return fmt.Sprintf("run 'stella rollback %s --to %s' to go back to before it, with all that came after it; or undo it by hand: %s", sc.name, before, byHand)
}
