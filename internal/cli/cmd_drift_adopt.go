package cli

import (
	"context"

	"github.com/spf13/cobra"

	"github.com/stella-ops/stella/reconciler"
)

type driftAdoptOptions struct {
	app *App
	resourceArgs
	changeFlags
	target string
	heal   bool
}

func newDriftAdoptCmd(a *App) *cobra.Command {
	o := &driftAdoptOptions{app: a, changeFlags: changeFlags{takesPull: true}}
	cmd := &cobra.Command{
		Use:   "adopt ENV RESOURCE [PATH]",
		Short: "Take over what runs: the live value becomes what is wanted, as a commit",
		Long: "Write what a target runs into the app's files, where they have a place for it, commit that, and\n" +
			"record it as a deployment. Nothing is restarted: the targets run it already. Without PATH all\n" +
			"differences of the resource are adopted. What no file can say is refused, with why: a process that\n" +
			"is dead, a file that was changed within an image, a secret. Where the commit would change anything\n" +
			"besides, or its deployment would touch anything, that is refused too.",
		Example: "  stella drift adopt production api /environment/LOG_LEVEL --reason 'it is quieter'\n" +
			"  stella drift adopt production service/api /configs/~1etc~1motd --dry-run",
		Args: o.check,
		RunE: func(cmd *cobra.Command, args []string) error { return o.run(cmd, args) },
	}
	o.resourceArgs.add(cmd)
	o.add(cmd) // those of a change
	f := cmd.Flags()
	f.StringVar(&o.target, "target", "", "adopt what this `target` runs where targets differ; the others follow it")
	f.BoolVar(&o.heal, "heal", false, "bring back what else differs, with restarts, instead of refusing")
	a.completeEnvironments(cmd)
	return exits(cmd, exitsOfChange())
}

func (o *driftAdoptOptions) run(cmd *cobra.Command, args []string) error {
	env, resource, path, err := o.take(o.app, cmd, args)
	if err != nil {
		return err
	}
	opts, err := o.options(cmd)
	if err != nil {
		return err
	}
	req := reconciler.AdoptRequest{Environment: env, Resource: resource, Path: path, Target: o.target, Heal: o.heal}
	eng, err := o.app.engine(cmd.Context())
	if err != nil {
		return err
	}
	return o.app.runChange(cmd.Context(), env, opts, func(ctx context.Context, opts reconciler.Options) (reconciler.Outcome, error) {
		req.Options = opts
		return eng.Adopt(ctx, req)
	})
}
