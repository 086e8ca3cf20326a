package cli

import (
	"context"

	"github.com/spf13/cobra"

	"github.com/stella-ops/stella/reconciler"
)

type rollbackOptions struct {
	app *App
	environmentFlag
	changeFlags
	to string
}

func newRollbackCmd(a *App) *cobra.Command {
	o := &rollbackOptions{app: a, changeFlags: changeFlags{takesPull: true}}
	cmd := &cobra.Command{
		Use:   "rollback ENV [--to DEPLOYMENT|VERSION|COMMIT]",
		Short: "Go back to what was verified before",
		Long: "Go back to the deployment that was verified before what runs now, in Git and on every target, and verify\n" +
			"it. A second rollback goes one further back, never forward. What was rolled back is held: it does not\n" +
			"come back until 'stella orch holds release'. An environment called like a subcommand is named with --env.",
		Example: "  stella rollback production\n" +
			"  stella rollback production --to 2.3.0 --reason \"5xx after 2.4.0\"\n" +
			"  stella rollback production --dry-run",
		Args: atMostOne,
		RunE: func(cmd *cobra.Command, args []string) error { return o.run(cmd, args) },
	}
	o.environmentFlag.add(cmd)
	o.changeFlags.add(cmd)
	cmd.Flags().StringVar(&o.to, "to", "", "go back to this `deployment`, version or commit; \"deployment:\", \"version:\", \"commit:\" in front tell them apart")
	a.completeEnvironments(cmd)
	cmd.AddCommand(newRollbackStatusCmd(a), newRollbackTraceCmd(a))
	return exits(cmd, exitsOfChange())
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
	eng, err := o.app.engine(cmd.Context())
	if err != nil {
		return err
	}
	return o.app.runChange(cmd.Context(), env, opts, func(ctx context.Context, opts reconciler.Options) (reconciler.Outcome, error) {
		return eng.Rollback(ctx, reconciler.RollbackRequest{Environment: env, To: o.to, Options: opts})
	})
}
