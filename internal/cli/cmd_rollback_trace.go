package cli

import (
	"fmt"

	"github.com/spf13/cobra"

	"github.com/stella-ops/stella"
)

type rollbackTraceOptions struct {
	app *App
	environmentFlag
	verbose bool
}

func newRollbackTraceCmd(a *App) *cobra.Command {
	o := &rollbackTraceOptions{app: a}
	cmd := &cobra.Command{
		Use:   "trace [ENV|DEPLOYMENT]",
		Short: "Show the steps of a rollback, or of any deployment",
		Long: "Show each step with its time, target, result and error. An environment means its last rollback; no\n" +
			"argument the last one of any environment.",
		Example: "  stella rollback trace production\n  stella rollback trace production-42 --verbose",
		Args:    atMostOne,
		RunE:    func(cmd *cobra.Command, args []string) error { return o.run(cmd, args) },
	}
	o.add(cmd)
	cmd.Flags().BoolVar(&o.verbose, "verbose", false, "add what each step was given and found out, retries and log tails")
	a.completeEnvironments(cmd)
	return exits(cmd, exitsOfReading())
}

func (o *rollbackTraceOptions) run(cmd *cobra.Command, args []string) error {
	ctx := cmd.Context()
	eng, err := o.app.engine(ctx)
	if err != nil {
		return err
	}
	env, d, err := o.app.findRollback(ctx, eng, pick(args, o.name))
	if err != nil {
		return err
	}
	if d == nil {
		err := fmt.Errorf("%w: %s was never rolled back", stella.ErrNotFound, env)
		return stella.WithHint(err, fmt.Sprintf("run 'stella orch deployments list %s' and name a deployment", env))
	}
	return o.app.print(deploymentView(*d, o.verbose))
}
