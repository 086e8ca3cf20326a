package cli

import (
	"context"
	"time"

	"github.com/spf13/cobra"

	"github.com/stella-ops/stella"
)

type rollbackTraceOptions struct {
	app *App
	environmentFlag
	followFlags
	verbose bool
}

func newRollbackTraceCmd(a *App) *cobra.Command {
	o := &rollbackTraceOptions{app: a}
	cmd := &cobra.Command{
		Use:   "trace [ENV|DEPLOYMENT]",
		Short: "Report on a rollback, or on any deployment, step by step",
		Long: "Report what happened: who and why, from what to what, what was undone, each step with its time and result,\n" +
			"what is held now and what to do next. An environment means its last rollback; no argument the last one of\n" +
			"any environment. One that still runs is followed on a terminal until it ends.\n\n" +
			"--verbose adds what each step was given and found out and, where a target was not verified, the end of what\n" +
			"its components wrote. That is read from the target now and kept nowhere: it may hold secrets.",
		Example: "  stella rollback trace production\n  stella rollback trace production-42 --verbose",
		Args:    atMostOne,
		RunE:    func(cmd *cobra.Command, args []string) error { return o.run(cmd, args) },
	}
	o.environmentFlag.add(cmd)
	o.followFlags.add(cmd)
	cmd.Flags().BoolVar(&o.verbose, "verbose", false, "add what each step was given and found out, and log tails")
	a.completeEnvironments(cmd)
	return exits(cmd, append(exitsOfReading(), exitTimeout))
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
	if err := o.follow(ctx, o.app, cmd, eng, d); err != nil {
		return err
	}
	t, err := eng.Trace(ctx, env, idOf(d), o.verbose)
	if err != nil {
		return err
	}
	return o.app.print(traceView(t, o.verbose))
}

// followFlags say whether a command waits for the end of what it reports on.
type followFlags struct {
	yes     bool
	timeout time.Duration
}

func (f *followFlags) add(cmd *cobra.Command) {
	cmd.Flags().BoolVar(&f.yes, "follow", false, "follow a deployment that runs until it ends (default: on a terminal, without -o json or yaml)")
	cmd.Flags().DurationVar(&f.timeout, "timeout", defaultTimeout, "follow at most this `long`")
}

// follow waits for the end of a deployment that has not ended, and tells how it
// goes. It returns at once where nobody asked for that, and without an error
// where nobody drives it any more: the report says so.
func (f *followFlags) follow(ctx context.Context, a *App, cmd *cobra.Command, eng engine, d *stella.Deployment) error {
	if d == nil || !d.Status.Open() {
		return nil
	}
	follows := a.out().Terminal && a.flags.output != formatJSON && a.flags.output != formatYAML
	if cmd.Flags().Changed("follow") {
		follows = f.yes
	}
	if !follows {
		return nil
	}
	return eng.Follow(ctx, d.Environment, d.ID, f.timeout)
}

// idOf is the id of a deployment, empty for none.
func idOf(d *stella.Deployment) string {
	if d == nil {
		return ""
	}
	return d.ID
}
