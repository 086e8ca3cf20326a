package reconciler

import (
	"context"
	"fmt"
	"slices"
	"time"

	"github.com/stella-ops/stella"
	"github.com/stella-ops/stella/configrepo"
	"github.com/stella-ops/stella/internal/git"
	"github.com/stella-ops/stella/ledger"
)

// The codes of findings. They are part of the contract: never renamed.
const (
	FindingArtifact     = "artifact-missing"
	FindingUnknown      = "artifact-unknown"
	FindingUnreachable  = "target-unreachable"
	FindingSpace        = "disk-space"
	FindingFrozen       = "frozen"
	FindingHeld         = "held"
	FindingNowhere      = "nothing-to-go-back-to"
	FindingUnverified   = "not-verified"
	FindingUnrenderable = "unrenderable"
	FindingIrreversible = "irreversible"
	FindingStateful     = "stateful-service"
	FindingShared       = "shared-differs"
)

// inspection is what preflight found out before anything was touched.
type inspection struct {
	want   *source
	survey *survey
	plan   Plan
	images []image // of the plan's artifacts, in their order
}

// preflight looks at everything that the deployment of want will need and
// touches nothing. What it refuses is in the plan's findings, all at once.
func (e *Engine) preflight(ctx context.Context, want *source, book ledger.Book, why intent) *inspection {
	in := &inspection{want: want, survey: e.sites(ctx, want, book)}
	in.plan = Compute(Situation{
		Environment: want.env, Desired: want.desired, Tree: string(want.app), Live: in.survey.live(), Now: in.survey.at,
		Ignores: want.ignores,
	})
	in.plan.Commit = string(want.commit)
	in.reach(why)
	in.have(ctx, why, want.desired.Artifacts, func(target string, a stella.Artifact) int {
		state, _ := want.desired.Target(target)
		return uses(state, a)
	})
	in.room(ctx)
	in.locked(book, why.opts)
	if hold := heldBy(book.State.Holds, want); hold != nil && !forced(why.opts, ForceHold) {
		in.find(FindingHeld, "", holdReason(*hold), fmt.Sprintf("run 'stella orch holds release %s --hold %s --reason …' if it is good now, or choose another release", want.name, hold.ID))
	}
	return in
}

func (in *inspection) find(code, target, message, fix string) {
	in.plan.Findings = append(in.plan.Findings, Finding{Code: code, Target: target, Message: message, Fix: fix})
}

func (in *inspection) warn(format string, args ...any) {
	in.plan.Warnings = append(in.plan.Warnings, fmt.Sprintf(format, args...))
}

// reach refuses a deploy when a target can not be reached. Going back goes on
// with the others and owes it, unless it was told to have all of them, or there
// are no others.
func (in *inspection) reach(why intent) {
	back := why.kind.GoesBack()
	answers := slices.ContainsFunc(in.survey.sites, func(s *site) bool { return s.err == nil })
	for _, s := range in.survey.sites {
		switch {
		case s.err == nil:
		case back && answers && !why.scope.RequireAll:
			in.warn("%s: %s; it will be owed", s.spec.Name, s.unreachable())
		default:
			in.find(FindingUnreachable, s.spec.Name, s.spec.Name+": "+s.unreachable(), in.reachFix(s, back && answers))
		}
	}
}

func (in *inspection) reachFix(s *site, alone bool) string {
	fix := stella.Hint(s.err)
	switch {
	case alone:
		return fmt.Sprintf("bring %s back, or run the same command without --require-all, which owes it", s.spec.Name)
	case fix == "":
		return fmt.Sprintf("bring %s back, or take it out of environment.yaml", s.spec.Name)
	}
	return fix
}

// locked tells a dry run what the command itself would meet: it waits for
// whoever is at work, and does nothing to what was frozen.
func (in *inspection) locked(book ledger.Book, o Options) {
	l := book.Lock(time.Now())
	if l == nil || !o.DryRun {
		return
	}
	since := l.AcquiredAt.UTC().Format(time.RFC3339)
	if !l.ByHand {
		in.warn("locked by %s since %s: %s; the command waits for it", l.Holder, since, l.Purpose)
		return
	}
	in.find(FindingFrozen, "", fmt.Sprintf("%s is frozen by %s since %s until %s: %s",
		in.plan.Environment, l.Holder, since, l.ExpiresAt.UTC().Format(time.RFC3339), l.Purpose),
		fmt.Sprintf("run 'stella orch locks release %s --reason …' when it may be changed", in.plan.Environment))
}

func forced(o Options, what string) bool {
	return slices.Contains(o.Force, what)
}

// agreed checks that the plan is the one that somebody agreed to.
//
// An environment whose file of today can not be read counts as protected.
func agreed(p Plan, env *configrepo.Environment, o Options) error {
	if o.PlanHash != "" && o.PlanHash != p.Hash {
		err := fmt.Errorf("%w: %s, not %s", errOtherPlan, p.Hash, o.PlanHash)
		return stella.WithHint(err, "run the same command with --dry-run again and look at what changed")
	}
	if (env == nil || env.Protected) && o.PlanHash == "" && !o.Confirmed {
		err := fmt.Errorf("environment %s is protected: %w: want a plan hash", p.Environment, stella.ErrInvalid)
		return stella.WithHint(err, "run the same command with --dry-run, then with --plan-hash and the hash that it prints")
	}
	return nil
}

// asShown checks that a rollback still is the one that was shown: the same way
// back to the same content. What it has to do on the targets may differ.
func asShown(p Plan, o Options) error {
	if o.Shown == nil || p.Tree == o.Shown.Tree && slices.Equal(p.Reverts, o.Shown.Reverts) {
		return nil
	}
	err := fmt.Errorf("%s changed meanwhile: what was shown leads to release %s and undoes %d commits, now it would lead to %s and undo %d: %w",
		p.Environment, o.Shown.Release, len(o.Shown.Reverts), p.Release, len(p.Reverts), stella.ErrConflict)
	return stella.WithHint(err, fmt.Sprintf("run 'stella orch env status %s', then decide again", p.Environment))
}

// changedFiles lists the files in which two trees differ below path, at most
// maxFiles of them.
func changedFiles(ctx context.Context, from, to GitTree, dir string) ([]FileChange, error) {
	const maxFiles = 2000 // no environment may have more
	before, err := list(ctx, from, dir, maxFiles)
	if err != nil {
		return nil, err
	}
	after, err := list(ctx, to, dir, maxFiles)
	if err != nil {
		return nil, err
	}
	out := []FileChange{}
	for _, path := range sortedKeys(after) {
		switch id, ok := before[path]; {
		case !ok:
			out = append(out, FileChange{Path: path, Op: "add"})
		case id != after[path]:
			out = append(out, FileChange{Path: path, Op: "modify"})
		}
	}
	for _, path := range sortedKeys(before) {
		if _, ok := after[path]; !ok {
			out = append(out, FileChange{Path: path, Op: "delete"})
		}
	}
	return out, nil
}

// list returns the files below dir with their blob ids. A tree without dir, or
// with something else of that name, has none.
func list(ctx context.Context, t GitTree, dir string, most int) (map[string]git.ID, error) {
	files := map[string]git.ID{}
	if at, err := t.Lookup(ctx, dir); err != nil || at.Mode != git.ModeDir {
		return files, ignoreNotFound(err)
	}
	const maxDepth = 32 // as for reading; see configrepo
	var walk func(dir string, depth int) error
	walk = func(dir string, depth int) error {
		entries, err := t.Entries(ctx, dir)
		if err != nil || depth > maxDepth || len(files) > most {
			return ignoreNotFound(err)
		}
		for _, entry := range entries {
			path := dir + "/" + entry.Name
			if entry.Mode != git.ModeDir {
				files[path] = git.ID(entry.ID)
			} else if err := walk(path, depth+1); err != nil {
				return err
			}
		}
		return nil
	}
	return files, walk(dir, 0)
}
