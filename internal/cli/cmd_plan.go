package cli

import (
	"fmt"

	"github.com/spf13/cobra"

	"github.com/stella-ops/stella"
	"github.com/stella-ops/stella/reconciler"
)

type planOptions struct {
	app *App
	environmentFlag
	ref string
}

func newPlanCmd(a *App) *cobra.Command {
	o := &planOptions{app: a}
	cmd := &cobra.Command{
		Use:     "plan ENV [--ref REV]",
		Short:   "Show what reconciling would change, target by target",
		Example: "  stella plan production\n  stella plan production --ref feature/new-banner -o json",
		Args:    atMostOne,
		RunE:    func(cmd *cobra.Command, args []string) error { return o.run(cmd, args) },
	}
	o.add(cmd)
	cmd.Flags().StringVar(&o.ref, "ref", "", "plan for this `revision`: branch, tag or commit (default: the reconciled branch)")
	a.completeEnvironments(cmd)
	return exits(cmd, exitsOfQuestion())
}

func (o *planOptions) run(cmd *cobra.Command, args []string) error {
	env, err := o.need(o.app, cmd, args)
	if err != nil {
		return err
	}
	eng, err := o.app.engine(cmd.Context())
	if err != nil {
		return err
	}
	plan, err := eng.Plan(cmd.Context(), env, o.ref)
	if err != nil {
		return err
	}
	if err := o.app.print(planView(plan)); err != nil {
		return err
	}
	if err := unobserved(plan); err != nil {
		return err
	}
	if len(plan.Findings) > 0 {
		return answer(plan.Empty, plan.Findings[0].Fix) // it would be refused
	}
	return answer(plan.Empty, "run 'stella reconcile ENV' to carry it out")
}

// unobserved is the error of a plan that was made without having seen every
// target: nobody can tell what it would change. It is nil for a whole plan.
func unobserved(p reconciler.Plan) error {
	for _, f := range p.Findings {
		if f.Code == reconciler.FindingUnreachable {
			return stella.WithHint(fmt.Errorf("%s: %w", f.Message, stella.ErrUnreachable), f.Fix)
		}
	}
	return nil
}
