package cli

import (
	"context"

	"github.com/spf13/cobra"

	"github.com/stella-ops/stella/reconciler"
)

type adoptOptions struct {
	app *App
	environmentFlag
	changeFlags
}

func newAdoptCmd(a *App) *cobra.Command {
	o := &adoptOptions{app: a, changeFlags: changeFlags{takesPull: true}}
	cmd := &cobra.Command{
		Use:   "adopt ENV",
		Short: "Take over a Compose project that runs already, and restart nothing",
		Long: "Find what 'docker compose up' started on the environment's targets, commit the digests that run to\n" +
			"release.yaml, and record them as a verified deployment of kind import, to which a rollback can go\n" +
			"back. Containers, networks and volumes stay as they are. Where something runs otherwise than the\n" +
			"app's files say, each field is shown and nothing is adopted. Repeated, it does nothing.",
		Example: "  stella adopt production --dry-run\n" +
			"  stella adopt production --reason 'from docker compose'",
		Args: atMostOne,
		RunE: func(cmd *cobra.Command, args []string) error { return o.run(cmd, args) },
	}
	o.environmentFlag.add(cmd)
	o.changeFlags.add(cmd)
	a.completeEnvironments(cmd)
	return exits(cmd, exitsOfChange())
}

func (o *adoptOptions) run(cmd *cobra.Command, args []string) error {
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
		return eng.TakeOver(ctx, reconciler.TakeOverRequest{Environment: env, Options: opts})
	})
}
