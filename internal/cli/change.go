package cli

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"github.com/stella-ops/stella"
	"github.com/stella-ops/stella/internal/term"
	"github.com/stella-ops/stella/reconciler"
)

// changeFlags are the flags of a command that changes an environment.
type changeFlags struct {
	reason    string
	incident  string
	force     []string
	planHash  string
	dryRun    bool
	timeout   time.Duration
	wait      bool
	detach    bool
	apply     string
	pullReq   bool
	takesPull bool // the command has --pr
}

// defaultTimeout is how long a command waits for a lock and for the end.
const defaultTimeout = 10 * time.Minute

func (c *changeFlags) add(cmd *cobra.Command) {
	f := cmd.Flags()
	f.StringVar(&c.reason, "reason", "", "`why`, for the ledger")
	f.StringVar(&c.incident, "incident", "", "the `incident` that this belongs to, for the ledger")
	f.StringSliceVar(&c.force, "force", nil, "skip `what` stands in the way: "+strings.Join(forces(), ", ")+"; needs --reason")
	f.StringVar(&c.planHash, "plan-hash", "", "go on only if the plan still has this `hash`, from --dry-run")
	f.BoolVar(&c.dryRun, "dry-run", false, "print the plan and its hash, change nothing")
	f.DurationVar(&c.timeout, "timeout", defaultTimeout, "wait at most this `long` for a lock and for the end")
	f.BoolVar(&c.wait, "wait", true, "wait for the end")
	f.BoolVar(&c.detach, "detach", false, "return with the deployment's id as soon as somebody else carries it out")
	f.StringVar(&c.apply, "apply", "", "`here`: carry it out in this process where the environment says \"apply: serve\"")
	if c.takesPull {
		f.BoolVar(&c.pullReq, "pr", false, "push to a branch for review instead")
	}
}

// forces is what --force can name.
func forces() []string {
	return []string{reconciler.ForceHold, reconciler.ForceChecks, reconciler.ForceLock}
}

// options checks the flags and turns them into what the engine takes.
func (c *changeFlags) options(cmd *cobra.Command) (reconciler.Options, error) {
	for _, f := range c.force {
		if !slices.Contains(forces(), f) {
			return reconciler.Options{}, usage(cmd, "--force %q: want one of %s", f, strings.Join(forces(), ", "))
		}
	}
	switch {
	case len(c.force) > 0 && strings.TrimSpace(c.reason) == "":
		return reconciler.Options{}, usage(cmd, "--force needs --reason")
	case c.apply != "" && c.apply != "here":
		return reconciler.Options{}, usage(cmd, "--apply %q: want here", c.apply)
	case c.timeout <= 0:
		return reconciler.Options{}, usage(cmd, "--timeout %s: want a positive duration", c.timeout)
	case c.detach && cmd.Flags().Changed("wait") && c.wait:
		return reconciler.Options{}, usage(cmd, "--wait and --detach exclude each other")
	}
	return reconciler.Options{
		Reason: c.reason, Incident: c.incident, Force: c.force, PlanHash: c.planHash, DryRun: c.dryRun,
		Timeout: c.timeout, Detach: c.detach || !c.wait, ApplyHere: c.apply == "here", PullRequest: c.pullReq,
	}, nil
}

// request carries a change out, or plans it when the options say so.
type request func(ctx context.Context, o reconciler.Options) (reconciler.Outcome, error)

// change shows what a request is about to do, has it confirmed where that is
// wanted, and carries it out.
func (a *App) change(ctx context.Context, env stella.EnvName, o reconciler.Options, do request) (reconciler.Outcome, error) {
	plan, err := a.foresee(ctx, o, do)
	if err != nil {
		return reconciler.Outcome{}, err
	}
	o.Shown = plan
	if plan != nil && len(plan.Findings) > 0 {
		return do(ctx, o) // nobody is asked for it: it is refused, in the words of what was asked
	}
	a.announce(plan)
	o, err = a.confirm(ctx, env, plan, o)
	if err != nil {
		return reconciler.Outcome{}, err
	}
	done := a.whenInterrupted(ctx, env)
	defer done()
	return do(ctx, o)
}

// whenInterrupted tells a person what the first interrupt does, at once. The
// function that it returns ends the watch.
func (a *App) whenInterrupted(ctx context.Context, env stella.EnvName) (done func()) {
	told := make(chan struct{})
	stop := context.AfterFunc(ctx, func() {
		defer close(told)
		if errors.Is(context.Cause(ctx), ErrInterrupted) {
			a.progress().Line(term.Warn, fmt.Sprintf("%s: interrupted: the step under way ends and is recorded; once more kills it", env))
		}
	})
	return func() {
		if !stop() {
			<-told
		}
	}
}

// foresee is the dry run of a request. There is no plan where the environment
// is locked: the request itself waits for that.
func (a *App) foresee(ctx context.Context, o reconciler.Options, do request) (*reconciler.Plan, error) {
	a.progress().Doing(fmt.Sprintf("%s: planning", a.environment))
	o.DryRun, o.Timeout = true, time.Nanosecond // it waits for nobody
	outcome, err := do(ctx, o)
	a.progress().Close()
	if err != nil && outcome.Plan == nil && !errors.Is(err, stella.ErrLocked) {
		return nil, err
	}
	// A refusal comes again, and is told, when it is carried out.
	return outcome.Plan, nil
}

// dryRun prints the plan of a request.
func (a *App) dryRun(ctx context.Context, env stella.EnvName, o reconciler.Options, do request) error {
	plan, err := a.planned(ctx, env, o, do)
	if plan == nil {
		return err
	}
	if printed := a.print(planView(*plan)); printed != nil || err != nil {
		return errors.Join(err, printed)
	}
	if plan.Hash != "" && (!plan.Empty || len(plan.Files) > 0) {
		a.note("to do exactly this: the same command with --plan-hash %s instead of --dry-run", plan.Hash)
	}
	return nil
}

// planned is the plan of a request, nil where there is none, and why it would
// be refused. Where there is nothing to do the plan is empty.
func (a *App) planned(ctx context.Context, env stella.EnvName, o reconciler.Options, do request) (*reconciler.Plan, error) {
	o.DryRun = true
	outcome, err := do(ctx, o)
	switch {
	case outcome.Plan != nil:
		return outcome.Plan, refusal(*outcome.Plan, err)
	case err != nil:
		return nil, err
	}
	plan := &reconciler.Plan{Environment: env, Commit: outcome.Commit, Empty: true}
	if outcome.Reason != "" {
		plan.Warnings = []string{outcome.Reason}
	}
	return plan, verdict(env, outcome)
}

// refusal is what a dry run whose preflight says no returns.
func refusal(plan reconciler.Plan, err error) error {
	if err != nil || len(plan.Findings) == 0 {
		return err
	}
	what := plan.Findings[0].Message
	if n := len(plan.Findings) - 1; n > 0 {
		what += fmt.Sprintf(" (and %d more, see the plan)", n)
	}
	return stella.WithHint(fmt.Errorf("%w: %s", stella.ErrRefused, what), plan.Findings[0].Fix)
}
