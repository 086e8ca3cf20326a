package cli

import (
	"context"
	"slices"
	"strings"

	"github.com/spf13/cobra"

	"github.com/stella-ops/stella/reconciler"
)

type driftIgnoreOptions struct {
	app *App
	resourceArgs
	reason   string
	incident string
	until    string
	force    []string
	planHash string
	dryRun   bool
	pullReq  bool
}

func newDriftIgnoreCmd(a *App) *cobra.Command {
	o := &driftIgnoreOptions{app: a}
	cmd := &cobra.Command{
		Use:   "ignore ENV RESOURCE [PATH] --reason WHY",
		Short: "Let a difference be: a rule in environment.yaml, as a commit",
		Long: "Write the narrowest rule that covers a difference which is there now to drift.ignore in\n" +
			"environment.yaml, and commit that. No target is touched. PATH is a JSON Pointer as 'drift detect'\n" +
			"shows it; it may be left out where the resource differs in one place only. While a rule is in force\n" +
			"the difference counts nowhere: no deploy, heal or verification puts it right, so that what program\n" +
			"runs is ignored only with --force critical, and with an end. A rule for all of a resource, one that\n" +
			"is missing or that nobody asked for, hides whatever differs in it later and needs an end too.",
		Example: "  stella drift ignore production api /environment/LOG_LEVEL --reason 'raised during incidents' --until 2027-01-31\n" +
			"  stella drift ignore production service/api --reason 'one host is special' --dry-run",
		Args: o.check,
		RunE: func(cmd *cobra.Command, args []string) error { return o.run(cmd, args) },
	}
	o.add(cmd)
	f := cmd.Flags()
	f.StringVar(&o.reason, "reason", "", "`why`, for the rule and the commit; required")
	f.StringVar(&o.incident, "incident", "", "the `incident` that this belongs to, for the commit")
	f.StringVar(&o.until, "until", "", "the rule ends with this `day`, as 2027-01-31, in UTC, or at a time, as 2027-01-31T18:00:00Z (default: never)")
	f.StringSliceVar(&o.force, "force", nil, "ignore `what` is refused otherwise: "+strings.Join(ignoreForces(), ", "))
	f.StringVar(&o.planHash, "plan-hash", "", "go on only if the rule still has this `hash`, from --dry-run")
	f.BoolVar(&o.dryRun, "dry-run", false, "print what the rule covers and how environment.yaml changes, and commit nothing")
	f.BoolVar(&o.pullReq, "pr", false, "push to a branch for review instead")
	a.completeEnvironments(cmd)
	return exits(cmd, []int{exitDone, exitUnknown, exitRefused, exitLocked, exitReview})
}

// ignoreForces is what --force can name.
func ignoreForces() []string { return []string{reconciler.ForceCritical, reconciler.ForceAbsent} }

func (o *driftIgnoreOptions) run(cmd *cobra.Command, args []string) error {
	env, resource, path, err := o.take(o.app, cmd, args)
	if err != nil {
		return err
	}
	for _, f := range o.force {
		if !slices.Contains(ignoreForces(), f) {
			return usage(cmd, "--force %q: want one of %s", f, strings.Join(ignoreForces(), ", "))
		}
	}
	if strings.TrimSpace(o.reason) == "" {
		return usage(cmd, "ignore needs --reason: it stands in the rule")
	}
	req := reconciler.IgnoreRequest{Environment: env, Resource: resource, Path: path}
	if o.until != "" {
		var ok bool
		if req.Until, ok = until(o.until); !ok {
			return usage(cmd, "--until %q: want a day such as 2027-01-31, or a time such as 2027-01-31T18:00:00Z", o.until)
		}
	}
	eng, err := o.app.engine(cmd.Context())
	if err != nil {
		return err
	}
	opts := reconciler.Options{
		Reason: o.reason, Incident: o.incident, Force: o.force, PlanHash: o.planHash, DryRun: o.dryRun, PullRequest: o.pullReq,
	}
	return o.app.runChange(cmd.Context(), env, opts, func(ctx context.Context, opts reconciler.Options) (reconciler.Outcome, error) {
		req.Options = opts
		return eng.Ignore(ctx, req)
	})
}
