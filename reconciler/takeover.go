package reconciler

import (
	"context"
	"errors"
	"fmt"
	"strings"

	"github.com/stella-ops/stella"
	"github.com/stella-ops/stella/configrepo"
	"github.com/stella-ops/stella/internal/git"
	"github.com/stella-ops/stella/internal/safe"
	"github.com/stella-ops/stella/ledger"
)

// TakeOverRequest asks to take over what runs on an environment's targets
// already, started by somebody else's hand.
type TakeOverRequest struct {
	Environment stella.EnvName
	Options
}

// The codes of findings of taking over.
const (
	FindingNothingRuns = "nothing-runs"   // there is nothing to take over
	FindingDiffers     = "runs-otherwise" // what runs is not what the files ask for
	FindingUnpushed    = "not-pushed"     // an image that no registry has
	FindingUnlike      = "targets-differ" // targets run different images of a component
	FindingCannotAdopt = "can-not-adopt"  // a target whose driver can not take over
)

// TakeOver brings an environment under Stella's care as it runs: the digests
// that run are committed to release.yaml, each target records what runs as its
// own, and a verified deployment of kind import is recorded. Nothing is created,
// changed or ended on a target; what the files ask for and what does not run is
// refused, field by field. Repeated it does nothing.
func (e *Engine) TakeOver(ctx context.Context, req TakeOverRequest) (Outcome, error) {
	for range maxConflicts {
		out, err := e.takeOverOnce(ctx, req)
		if !errors.Is(err, errLedgerMoved) {
			return out, err
		}
	}
	return Outcome{}, fmt.Errorf("adopt %s: others changed it %d times meanwhile: %w", req.Environment, maxConflicts, stella.ErrConflict)
}

func (e *Engine) takeOverOnce(ctx context.Context, req TakeOverRequest) (Outcome, error) {
	sc, err := e.look(ctx, req.Environment)
	if err != nil {
		return Outcome{}, err
	}
	if err := mayTakeOver(sc); err != nil {
		return Outcome{}, err
	}
	if out, done := e.takenOver(ctx, sc); done {
		return out, nil
	}
	f := e.findRunning(ctx, sc)
	if len(f.plan.Findings) > 0 {
		out := Outcome{Plan: &f.plan}
		if req.DryRun {
			return out, nil
		}
		return out, refused("adopt "+string(sc.name), f.plan, req.Options)
	}
	j, err := e.takeOverJob(ctx, sc, f, req)
	if err != nil {
		return Outcome{}, err
	}
	return e.carryOutTakeOver(ctx, j, req)
}

// mayTakeOver refuses where the branch's files are not what would be recorded.
func mayTakeOver(sc *scene) error {
	switch {
	case sc.branch.env == nil || sc.branch.release == nil:
		return sc.branch.invalid
	case sc.pinned() != nil:
		err := fmt.Errorf("adopt %s: it is %s: %w", sc.name, sc.pinReason(), stella.ErrRefused)
		return stella.WithHint(err, fmt.Sprintf("merge that first; 'stella why %s' has more", sc.name))
	}
	return nil
}

// takenOver reports whether the environment is Stella's already and runs what
// was deployed, so that there is nothing to take over.
func (e *Engine) takenOver(ctx context.Context, sc *scene) (Outcome, bool) {
	if sc.branch.invalid != nil || sc.decide(false, false).act != actNothing {
		return Outcome{}, false
	}
	current, ok := sc.book.Current()
	if !ok {
		return Outcome{}, false
	}
	want := sc.branch
	sv := e.sites(ctx, want, sc.book)
	plan := Compute(Situation{
		Environment: want.env, Desired: want.desired, Tree: string(want.app), Live: sv.live(), Now: sv.at, Ignores: want.ignores,
	})
	plan.Commit = string(want.commit)
	return Outcome{Plan: &plan, Nothing: true, Sync: stella.Synced, Deployment: &current}, plan.Empty
}

// takeOverJob is the job of taking over what was found: the commit that pins it,
// and the plan, which is empty where nothing stands in the way.
func (e *Engine) takeOverJob(ctx context.Context, sc *scene, f *runningFound, req TakeOverRequest) (*job, error) {
	why := intent{kind: stella.KindImport, reason: req.Reason, opts: req.Options}
	sc = sc.asBranch()
	var c *change
	var cand *candidate
	if len(f.pins) > 0 {
		edit := releaseEdit(f.pins, "")
		c = &change{draft: func(ctx context.Context, onto *source) ([]git.Edit, string, error) {
			edits, err := edit(ctx, onto)
			return edits, takeOverMessage(onto.name, f.pins, req.Options), err
		}}
		var err error
		if cand, err = e.build(ctx, *c, sc.branch); err != nil {
			return nil, stella.WithHint(fmt.Errorf("adopt %s: with the digests that run, its files do not render: %w", sc.name, err),
				"correct what is named and commit it, then run the same command again")
		}
		if cand.want.app == sc.branch.app {
			c, cand = nil, nil
		}
	}
	if cand == nil && sc.branch.invalid != nil {
		return nil, sc.branch.invalid
	}
	j, err := e.inspect(ctx, sc, why, c, cand)
	if err != nil {
		return nil, err
	}
	j.in.plan.Warnings = append(j.in.plan.Warnings, f.plan.Warnings...)
	return j, nil
}

func (e *Engine) carryOutTakeOver(ctx context.Context, j *job, req TakeOverRequest) (Outcome, error) {
	out := Outcome{Plan: &j.in.plan}
	if req.DryRun {
		return out, nil
	}
	if err := refused("adopt "+string(req.Environment), j.in.plan, req.Options); err != nil {
		return out, err
	}
	if err := agreed(j.in.plan, j.scene.env, req.Options); err != nil {
		return out, err
	}
	if req.PullRequest && j.cand != nil {
		return e.proposed(ctx, j)
	}
	if j.scene.env.Apply == configrepo.ApplyServe && !req.ApplyHere {
		err := fmt.Errorf("adopt %s: its environment.yaml leaves changes to the daemon, which does not adopt: %w", req.Environment, stella.ErrRefused)
		return out, stella.WithHint(err, "run the same command with '--apply here': nothing that runs is changed")
	}
	out, err := e.carryOut(ctx, j, req.Options)
	if errors.Is(err, stella.ErrConflict) && !errors.Is(err, errOtherPlan) && out.Deployment == nil {
		return out, errors.Join(errLedgerMoved, err)
	}
	return out, err
}

// takeOverMessage is the message of the commit that pins what runs.
func takeOverMessage(env stella.EnvName, pins map[string]stella.Artifact, o Options) string {
	var b strings.Builder
	fmt.Fprintf(&b, "Adopt what runs in %s\n\n", env)
	for _, name := range sortedKeys(pins) {
		fmt.Fprintf(&b, "%s: %s\n", name, pins[name])
	}
	fmt.Fprintf(&b, "\nStella-Environment: %s\n", env)
	if o.Reason != "" {
		fmt.Fprintf(&b, "Stella-Reason: %s\n", safe.Clip(o.Reason, maxReasonRunes))
	}
	return b.String()
}

// lookedAt is preflight for a deployment of any kind.
func (e *Engine) lookedAt(ctx context.Context, want *source, book ledger.Book, why intent) *inspection {
	if why.kind == stella.KindImport {
		return e.preflightTakeOver(ctx, want, book, why)
	}
	return e.preflight(ctx, want, book, why)
}
