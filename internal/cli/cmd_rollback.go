package cli

import (
	"context"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"github.com/stella-ops/stella/reconciler"
)

type rollbackOptions struct {
	app *App
	environmentFlag
	changeFlags
	to         string
	commit     string
	components []string
	targets    []string
	until      string
	offline    bool
	scope      reconciler.Scope
}

func newRollbackCmd(a *App) *cobra.Command {
	o := &rollbackOptions{app: a, changeFlags: changeFlags{takesPull: true}}
	cmd := &cobra.Command{
		Use:   "rollback ENV [--to DEPLOYMENT|VERSION|COMMIT|TAG|baseline]",
		Short: "Go back to what was verified before",
		Long: "Go back to the deployment that was verified before what runs now, in Git and on every target, and verify\n" +
			"it. A second rollback goes one further back, never forward. What was rolled back is held: it does not\n" +
			"come back until 'stella orch holds release'.\n\n" +
			"With --component and --target only that part goes back, as an override in release.yaml that ends with the\n" +
			"next deploy of the component, on a date at the latest. The rest stays as it is; nobody knows yet whether it\n" +
			"works together, and it is verified.\n\n" +
			"With --commit one change of the app is undone and what came after it stays, as 'git revert' does; where the\n" +
			"two meet it is refused and shown. An environment called like a subcommand is named with --env.",
		Example: "  stella rollback production\n" +
			"  stella rollback production --to 2.3.0 --reason \"5xx after 2.4.0\"\n" +
			"  stella rollback production --component api --target web-1 --reason \"5xx on web-1 only\"\n" +
			"  stella rollback production --commit 4f0c2d9 --reason \"debug logging\"\n" +
			"  stella rollback production --dry-run",
		Args: atMostOne,
		RunE: func(cmd *cobra.Command, args []string) error { return o.run(cmd, args) },
	}
	o.environmentFlag.add(cmd)
	o.changeFlags.add(cmd)
	o.addFlags(cmd)
	a.completeEnvironments(cmd)
	cmd.AddCommand(newRollbackStatusCmd(a), newRollbackTraceCmd(a), newRollbackReadyCmd(a))
	return exits(cmd, exitsOfChange())
}

func (o *rollbackOptions) addFlags(cmd *cobra.Command) {
	f := cmd.Flags()
	f.StringVar(&o.to, "to", "", "go back to this `deployment`, version, commit, tag or \"baseline\"; \"deployment:\", \"version:\", \"commit:\", \"tag:\" in front tell them apart")
	f.StringVar(&o.commit, "commit", "", "undo this one `commit` and keep what came later")
	f.StringSliceVar(&o.components, "component", nil, "go back with this `component` only, until its next deploy or --until")
	f.StringSliceVar(&o.targets, "target", nil, "go back on this `target` only, until the components' next deploy or --until")
	f.StringVar(&o.until, "until", "", "with --component or --target: end it on this `date` or at this time instead of in 30 days")
	addScope(cmd, &o.scope)
	f.BoolVar(&o.offline, "offline", false, "go back without the Git host, to what the targets still have; needs --reason")
}

// check refuses flags that exclude each other.
func (o *rollbackOptions) check(cmd *cobra.Command) error {
	part := len(o.components) > 0 || len(o.targets) > 0
	switch {
	case o.commit != "" && o.to != "":
		return usage(cmd, "--commit and --to exclude each other")
	case o.commit != "" && part:
		return usage(cmd, "--commit goes with neither --component nor --target")
	case (part || o.commit != "") && (o.scope.IncludeShared || o.scope.IncludeEnvironment):
		return usage(cmd, "--include-shared and --include-environment go with none of --component, --target, --commit")
	case o.until != "" && !part:
		return usage(cmd, "--until goes with --component or --target")
	case o.offline && strings.TrimSpace(o.reason) == "":
		return usage(cmd, "--offline needs --reason")
	case o.offline && (o.commit != "" || part || o.pullReq || o.scope.IncludeShared || o.scope.IncludeEnvironment || o.scope.RestoreArtifacts):
		return usage(cmd, "--offline goes with none of --commit, --component, --target, --pr, --include-shared, --include-environment, --restore-artifacts")
	}
	return nil
}

func (o *rollbackOptions) run(cmd *cobra.Command, args []string) error {
	env, err := o.need(o.app, cmd, args)
	if err != nil {
		return err
	}
	opts, err := o.options(cmd)
	if err != nil {
		return err
	}
	if err := o.check(cmd); err != nil {
		return err
	}
	var end time.Time
	if o.until != "" {
		var ok bool
		if end, ok = until(o.until); !ok {
			return usage(cmd, "--until %q: want a date such as 2027-01-31, or a time such as 2027-01-31T18:00:00Z", o.until)
		}
	}
	eng, err := o.app.engine(cmd.Context())
	if err != nil {
		return err
	}
	return o.app.runChange(cmd.Context(), env, opts, func(ctx context.Context, opts reconciler.Options) (reconciler.Outcome, error) {
		return eng.Rollback(ctx, reconciler.RollbackRequest{
			Environment: env, To: o.to, Commit: o.commit, Components: o.components, Targets: o.targets, Until: end,
			Offline: o.offline, Scope: o.scope, Options: opts,
		})
	})
}
