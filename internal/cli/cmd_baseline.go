package cli

import (
	"context"
	"errors"
	"fmt"

	"github.com/spf13/cobra"

	"github.com/stella-ops/stella"
	"github.com/stella-ops/stella/internal/term"
	"github.com/stella-ops/stella/reconciler"
)

func newBaselineCmd(a *App) *cobra.Command {
	cmd := group("baseline", "Baselines, what was agreed to be good: capture, show, list, verify, diff",
		newBaselineCaptureCmd(a), newBaselineShowCmd(a), newBaselineListCmd(a), newBaselineVerifyCmd(a), newBaselineDiffCmd(a))
	cmd.Example = "  stella baseline capture production --reason \"a week without pages\"\n  stella baseline verify --all"
	return cmd
}

type baselineCaptureOptions struct {
	app *App
	environmentFlag
	deployment string
	reason     string
	planHash   string
	dryRun     bool
	pullReq    bool
}

func newBaselineCaptureCmd(a *App) *cobra.Command {
	o := &baselineCaptureOptions{app: a}
	cmd := &cobra.Command{
		Use:   "capture ENV",
		Short: "Make a verified deployment what can be gone back to",
		Long: "Write the deployment in effect to baselines/ENV.yaml, as a commit: what 'stella rollback ENV --to baseline'\n" +
			"and 'stella orch env reset ENV --to-baseline' go back to. Every target is observed and every check runs now;\n" +
			"unless it is verified, healthy and undrifted it is refused, with all that speaks against it. An older deployment, named\n" +
			"with --deployment, was healthy when it was verified. Nothing that runs is touched, and the same capture once\n" +
			"more does nothing.",
		Example: "  stella baseline capture production --reason \"a week without pages\"\n" +
			"  stella baseline capture production --deployment production-41 --reason \"before the migration\" --dry-run",
		Args: atMostOne,
		RunE: func(cmd *cobra.Command, args []string) error { return o.run(cmd, args) },
	}
	o.add(cmd)
	f := cmd.Flags()
	f.StringVar(&o.deployment, "deployment", "", "an older `deployment` instead of the one in effect")
	f.StringVar(&o.reason, "reason", "", "`why` it is good, for whoever goes back to it; goes into the file and the commit")
	f.StringVar(&o.planHash, "plan-hash", "", "go on only if the plan still has this `hash`, from --dry-run")
	f.BoolVar(&o.dryRun, "dry-run", false, "print the file and the plan's hash, change nothing")
	f.BoolVar(&o.pullReq, "pr", false, "push to a branch for review instead")
	a.completeEnvironments(cmd)
	return exits(cmd, []int{exitDone, exitUnknown, exitRefused, exitReview})
}

func (o *baselineCaptureOptions) run(cmd *cobra.Command, args []string) error {
	env, err := o.need(o.app, cmd, args)
	if err != nil {
		return err
	}
	eng, err := o.app.engine(cmd.Context())
	if err != nil {
		return err
	}
	opts := reconciler.Options{Reason: o.reason, PlanHash: o.planHash, DryRun: o.dryRun, PullRequest: o.pullReq}
	c := &capturing{engine: eng, env: env, deployment: o.deployment}
	if o.dryRun {
		return o.app.dryRun(cmd.Context(), env, opts, c.do)
	}
	// Nobody is asked to agree to what is so already.
	dry := opts
	dry.DryRun = true
	o.app.progress().Doing(fmt.Sprintf("%s: looking at what runs", env))
	_, err = c.do(cmd.Context(), dry)
	o.app.progress().Close()
	if err != nil {
		return err
	}
	if !c.foreseen.Nothing {
		if _, err := o.app.change(cmd.Context(), env, opts, c.do); err != nil {
			return err
		}
	} else {
		c.done = *c.foreseen
	}
	return o.app.printCaptured(c.done)
}

// capturing is a capture as a request: its dry run looks at the targets, and does
// so once.
type capturing struct {
	engine     engine
	env        stella.EnvName
	deployment string
	foreseen   *reconciler.CapturedBaseline
	done       reconciler.CapturedBaseline
}

func (c *capturing) do(ctx context.Context, o reconciler.Options) (reconciler.Outcome, error) {
	if o.DryRun && c.foreseen != nil {
		return reconciler.Outcome{Plan: c.foreseen.Plan, Nothing: c.foreseen.Nothing}, nil
	}
	got, err := c.engine.CaptureBaseline(ctx, reconciler.BaselineRequest{Environment: c.env, Deployment: c.deployment, Options: o})
	if o.DryRun && err == nil {
		c.foreseen = &got
	} else {
		c.done = got
	}
	return reconciler.Outcome{Plan: got.Plan, Nothing: got.Nothing, Commit: got.Commit, Proposal: got.Proposal}, err
}

// printCaptured prints what became of a capture that was not refused.
func (a *App) printCaptured(c reconciler.CapturedBaseline) error {
	err := a.print(view{
		doc: struct {
			SchemaVersion int `json:"schemaVersion"`
			reconciler.CapturedBaseline
		}{1, c},
		names: []string{baselineID(c.Baseline)},
		page:  func(p *page) { writeCaptured(p, c) },
	})
	if err == nil && c.Proposal != nil {
		err = stella.WithHint(&outcomeError{code: exitReview, err: errors.New(c.Proposal.Where() + " waits for review")},
			fmt.Sprintf("merge it; 'stella baseline show %s' shows it then", c.Environment))
	}
	return err
}

func writeCaptured(p *page, c reconciler.CapturedBaseline) {
	what := titleOf(c.Baseline)
	switch {
	case c.Nothing:
		p.line(term.Good, "%s: %s is the baseline already, nothing to do", c.Environment, what)
	case c.Proposal != nil:
		p.line(term.Warn, "%s: %s is proposed as the baseline", c.Environment, what)
	default:
		p.line(term.Good, "%s: %s is the baseline", c.Environment, what)
	}
	replaces := ""
	if c.Replaces != nil && !c.Nothing {
		replaces = titleOf(c.Replaces)
	}
	p.fields(field{label: "replaces", value: replaces}, field{label: "commit", value: shortID(c.Commit)})
}

// titleOf names a baseline's deployment with its version.
func titleOf(b *reconciler.BaselineFile) string {
	if b == nil || b.Release == "" {
		return baselineID(b)
	}
	return fmt.Sprintf("%s (%s)", b.Deployment, b.Release)
}

func baselineID(b *reconciler.BaselineFile) string {
	if b == nil {
		return ""
	}
	return b.Deployment
}
