package cli

import (
	"context"
	"fmt"

	"github.com/spf13/cobra"

	"github.com/stella-ops/stella"
	"github.com/stella-ops/stella/reconciler"
)

type reconcileOptions struct {
	app *App
	environmentFlag
	changeFlags
	all  bool
	heal bool
}

func newReconcileCmd(a *App) *cobra.Command {
	o := &reconcileOptions{app: a}
	cmd := &cobra.Command{
		Use:   "reconcile ENV... | --all",
		Short: "Bring environments to what Git says, in this process",
		Long: "One pass over each environment: fetch, compare, apply, verify, record. What failed before is tried\n" +
			"again. A failure of one environment does not stop the others; the exit code is the worst.",
		Example: "  stella reconcile staging\n  stella reconcile --all",
		RunE:    func(cmd *cobra.Command, args []string) error { return o.run(cmd, args) },
	}
	o.environmentFlag.add(cmd)
	o.changeFlags.add(cmd)
	cmd.Flags().BoolVar(&o.all, "all", false, "all environments")
	cmd.Flags().BoolVar(&o.heal, "heal", true, "bring drifted and stopped targets back, too; --heal=false leaves them where Git did not change")
	a.completeEnvironments(cmd)
	return exits(cmd, exitsOfChange())
}

func (o *reconcileOptions) run(cmd *cobra.Command, args []string) error {
	opts, err := o.options(cmd)
	if err != nil {
		return err
	}
	envs, err := severalEnvironments(cmd, o.name, args, o.all)
	if err != nil {
		return err
	}
	eng, err := o.app.engine(cmd.Context())
	if err != nil {
		return err
	}
	if o.all {
		if envs, err = allEnvironments(cmd.Context(), eng); err != nil {
			return err
		}
	}
	if opts.PlanHash != "" && len(envs) != 1 {
		return usage(cmd, "--plan-hash is for one environment, got %d", len(envs))
	}
	switch {
	case opts.DryRun && len(envs) == 1:
		o.app.environment = envs[0]
		return o.app.dryRun(cmd.Context(), envs[0], opts, o.request(eng, envs[0]))
	case opts.DryRun:
		return o.dryRuns(cmd.Context(), eng, envs, opts)
	}
	return o.app.printPasses(o.passes(cmd.Context(), eng, envs, opts))
}

// severalEnvironments are those that were named, each once; none where all are
// meant.
func severalEnvironments(cmd *cobra.Command, flag string, args []string, all bool) ([]stella.EnvName, error) {
	if flag != "" {
		args = append(args, flag)
	}
	if (len(args) == 0) != all {
		return nil, usage(cmd, "%s needs environments or --all", cmd.Name())
	}
	var envs []stella.EnvName
	seen := map[string]bool{}
	for _, arg := range args {
		if _, err := stella.ParseName(arg); err != nil {
			return nil, err
		}
		if !seen[arg] {
			envs = append(envs, stella.EnvName(arg))
		}
		seen[arg] = true
	}
	return envs, nil
}

func allEnvironments(ctx context.Context, eng engine) ([]stella.EnvName, error) {
	all, err := eng.Environments(ctx)
	if err != nil {
		return nil, err
	}
	envs := make([]stella.EnvName, len(all))
	for i, e := range all {
		envs[i] = e.Name
	}
	return envs, nil
}

func (o *reconcileOptions) request(eng engine, env stella.EnvName) request {
	return func(ctx context.Context, opts reconciler.Options) (reconciler.Outcome, error) {
		return eng.Reconcile(ctx, reconciler.ReconcileRequest{Environment: env, Retry: true, Heal: o.heal, Options: opts})
	}
}

// passes goes through the environments one after the other: what is printed
// stays readable, and two environments may share targets' machines.
func (o *reconcileOptions) passes(ctx context.Context, eng engine, envs []stella.EnvName, opts reconciler.Options) []pass {
	var all []pass
	for _, env := range envs {
		p := pass{env: env}
		o.app.environment = env
		switch {
		case ctx.Err() != nil:
			p.err = fmt.Errorf("reconcile %s: %w", env, context.Cause(ctx))
		default:
			p.outcome, p.err = o.app.change(ctx, env, opts, o.request(eng, env))
		}
		all = append(all, p)
	}
	return all
}

// dryRuns prints the plans of several environments as one document.
func (o *reconcileOptions) dryRuns(ctx context.Context, eng engine, envs []stella.EnvName, opts reconciler.Options) error {
	plans := []reconciler.Plan{}
	var names []string
	var codes []int
	for _, env := range envs {
		o.app.environment = env
		plan, err := o.app.planned(ctx, env, opts, o.request(eng, env))
		if plan != nil {
			plan.Targets = withoutSecrets(plan.Targets)
			plans, names = append(plans, *plan), append(names, plan.Hash)
		}
		if err != nil {
			o.app.complain(o.app.failure(err))
			codes = append(codes, o.app.exitCode(err))
		}
	}
	err := o.app.print(view{
		doc: struct {
			SchemaVersion int               `json:"schemaVersion"`
			Environments  []reconciler.Plan `json:"environments"`
		}{1, plans},
		names: names,
		page: func(p *page) {
			for _, plan := range plans {
				writePlan(p, plan)
			}
		},
	})
	return several(codes, len(envs), err)
}
