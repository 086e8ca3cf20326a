package cli

import (
	"context"

	"github.com/spf13/cobra"

	"github.com/stella-ops/stella/reconciler"
)

type envResetOptions struct {
	app *App
	environmentFlag
	changeFlags
	toBaseline bool
	scope      reconciler.Scope
}

func newEnvResetCmd(a *App) *cobra.Command {
	o := &envResetOptions{app: a, changeFlags: changeFlags{takesPull: true}}
	cmd := &cobra.Command{
		Use:   "reset ENV --to-baseline",
		Short: "Bring an environment back to its baseline, whatever became of it",
		Long: "Restore what the environment's baseline has, in Git and on every target, and verify it. Services that are\n" +
			"not in it are removed; volumes that are not in it are taken out of use and keep their data. It takes the way\n" +
			"of a rollback, with the same plan, lock, holds and record, and also works where the environment's files in\n" +
			"Git are broken or gone, where the last deployment did not come to its end, and where what runs is wrecked.\n" +
			"Where the branch has the baseline's content already, no commit is made and the targets are put right.",
		Example: "  stella orch env reset production --to-baseline --dry-run\n" +
			"  stella orch env reset production --to-baseline --reason \"start over from what was agreed\"",
		Args: atMostOne,
		RunE: func(cmd *cobra.Command, args []string) error { return o.run(cmd, args) },
	}
	o.environmentFlag.add(cmd)
	o.changeFlags.add(cmd)
	cmd.Flags().BoolVar(&o.toBaseline, "to-baseline", false, "where to, and there is nowhere else: what 'stella baseline show ENV' shows")
	addScope(cmd, &o.scope)
	a.completeEnvironments(cmd)
	return exits(cmd, exitsOfChange())
}

func (o *envResetOptions) run(cmd *cobra.Command, args []string) error {
	env, err := o.need(o.app, cmd, args)
	if err != nil {
		return err
	}
	if !o.toBaseline {
		return usage(cmd, "reset needs --to-baseline: 'stella orch env reset %s --to-baseline'; 'stella rollback %[1]s --to …' goes elsewhere", env)
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
		return eng.Reset(ctx, reconciler.ResetRequest{Environment: env, Scope: o.scope, Options: opts})
	})
}

// addScope adds the flags that say how far going back may go.
func addScope(cmd *cobra.Command, s *reconciler.Scope) {
	f := cmd.Flags()
	f.StringSliceVar(&s.Cross, "cross", nil, "go back across this irreversible `version` or stateful service")
	f.BoolVar(&s.RequireAll, "require-all", false, "refuse when a target can not be reached, instead of owing it")
	f.BoolVar(&s.IncludeShared, "include-shared", false, "restore the shared directories of then as well")
	f.BoolVar(&s.IncludeEnvironment, "include-environment", false, "restore environment.yaml of then as well")
	f.BoolVar(&s.RestoreArtifacts, "restore-artifacts", false, "first bring back from the backup what the registry lost")
}
