package reconciler

import (
	"context"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/stella-ops/stella"
	"github.com/stella-ops/stella/configrepo"
	"github.com/stella-ops/stella/internal/git"
	"github.com/stella-ops/stella/ledger"
)

// The codes of findings. They are part of the contract: never renamed.
const (
	FindingArtifact    = "artifact-missing"
	FindingUnreachable = "target-unreachable"
	FindingHeld        = "held"
	FindingNowhere     = "nothing-to-go-back-to"
)

// inspection is what preflight found out before anything was touched.
type inspection struct {
	want   *source
	survey *survey
	plan   Plan
}

// preflight looks at everything that the deployment of want will need and
// touches nothing. What it refuses is in the plan's findings, all at once.
func (e *Engine) preflight(ctx context.Context, want *source, book ledger.Book, kind stella.Kind, opts Options) *inspection {
	in := &inspection{want: want, survey: e.sites(ctx, want, book)}
	in.plan = Compute(Situation{
		Environment: want.env, Desired: want.desired, Tree: string(want.app), Live: in.survey.live(), Now: time.Now(),
	})
	in.plan.Commit = string(want.commit)
	in.reach(kind)
	in.plan.Artifacts = in.survey.availability(ctx, want.desired)
	in.have()
	if hold := heldBy(book.State.Holds, want); hold != nil && !forced(opts, ForceHold) {
		in.find(FindingHeld, "", holdReason(*hold), fmt.Sprintf("run 'stella orch holds release %s --hold %s --reason …' if it is good now, or choose another release", want.name, hold.ID))
	}
	return in
}

func (in *inspection) find(code, target, message, fix string) {
	in.plan.Findings = append(in.plan.Findings, Finding{Code: code, Target: target, Message: message, Fix: fix})
}

// reach refuses a deploy when a target can not be reached; going back goes on
// with the others and owes it.
func (in *inspection) reach(kind stella.Kind) {
	for _, s := range in.survey.sites {
		switch {
		case s.err == nil:
		case kind == stella.KindRollback || kind == stella.KindReset:
			in.plan.Warnings = append(in.plan.Warnings, fmt.Sprintf("%s: %s; it will be owed", s.spec.Name, s.unreachable()))
		default:
			fix := stella.Hint(s.err)
			if fix == "" {
				fix = fmt.Sprintf("bring %s back, or take it out of environment.yaml", s.spec.Name)
			}
			in.find(FindingUnreachable, s.spec.Name, s.spec.Name+": "+s.unreachable(), fix)
		}
	}
}

func (in *inspection) have() {
	for _, a := range in.plan.Artifacts {
		if !a.Available {
			in.find(FindingArtifact, "", fmt.Sprintf("%s can not be had: %s", a.Image, a.Error), "push it again, or choose another release")
		}
	}
}

// refusal is the error for a plan with findings, nil for one without. Every
// finding is in it.
func refusal(what string, p Plan) error {
	if len(p.Findings) == 0 {
		return nil
	}
	lines := make([]string, len(p.Findings))
	for i, f := range p.Findings {
		lines[i] = f.Message
	}
	err := fmt.Errorf("%s: %s: %w, nothing was touched", what, strings.Join(lines, "; "), stella.ErrRefused)
	return stella.WithHint(err, p.Findings[0].Fix)
}

func forced(o Options, what string) bool {
	return slices.Contains(o.Force, what)
}

// agreed checks that the plan is the one that somebody agreed to.
func agreed(p Plan, env *configrepo.Environment, o Options) error {
	if o.PlanHash != "" && o.PlanHash != p.Hash {
		err := fmt.Errorf("%w: %s, not %s", errOtherPlan, p.Hash, o.PlanHash)
		return stella.WithHint(err, "run the same command with --dry-run again and look at what changed")
	}
	if env.Protected && o.PlanHash == "" && !o.Confirmed {
		err := fmt.Errorf("environment %s is protected: %w: want a plan hash", env.Name, stella.ErrInvalid)
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
	err := fmt.Errorf("%s changed meanwhile: the rollback that was shown leads to release %s and undoes %d commits, now it would lead to %s and undo %d: %w",
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

// list returns the files below dir with their blob ids. A tree without dir has
// none.
func list(ctx context.Context, t GitTree, dir string, most int) (map[string]git.ID, error) {
	files := map[string]git.ID{}
	const maxDepth = 32 // as for reading; see configrepo
	var walk func(dir string, depth int) error
	walk = func(dir string, depth int) error {
		entries, err := t.Entries(ctx, dir)
		if err != nil || depth > maxDepth || len(files) > most {
			return ignoreNotFound(err)
		}
		for _, entry := range entries {
			path := dir + "/" + entry.Name
			if entry.Mode != 0o040000 {
				files[path] = git.ID(entry.ID)
			} else if err := walk(path, depth+1); err != nil {
				return err
			}
		}
		return nil
	}
	return files, walk(dir, 0)
}
