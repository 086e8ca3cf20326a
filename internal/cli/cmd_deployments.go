package cli

import (
	"context"
	"slices"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"github.com/stella-ops/stella"
	"github.com/stella-ops/stella/ledger"
)

type deploymentsListOptions struct {
	app *App
	environmentFlag
	last   int
	status string
	kind   string
}

func newDeploymentsListCmd(a *App) *cobra.Command {
	o := &deploymentsListOptions{app: a}
	cmd := &cobra.Command{
		Use:     "list ENV",
		Short:   "An environment's deployments, newest first",
		Example: "  stella orch deployments list production --last 10\n  stella orch deployments list production --status succeeded --kind deploy",
		Args:    atMostOne,
		RunE:    func(cmd *cobra.Command, args []string) error { return o.run(cmd, args) },
	}
	o.add(cmd)
	f := cmd.Flags()
	f.IntVar(&o.last, "last", 0, "at most this `many` (default: all that the ledger keeps at hand, 100)")
	f.StringVar(&o.status, "status", "", "only with this `status`: "+join(statuses()))
	f.StringVar(&o.kind, "kind", "", "only of this `kind`: "+join(kinds()))
	a.completeEnvironments(cmd)
	return exits(cmd, exitsOfReading())
}

func statuses() []stella.Status {
	return []stella.Status{
		stella.Pending, stella.Running, stella.Succeeded, stella.Failed, stella.Errored, stella.Partial, stella.Aborted, stella.Superseded,
	}
}

func kinds() []stella.Kind {
	return []stella.Kind{stella.KindDeploy, stella.KindRollback, stella.KindReset, stella.KindHeal, stella.KindDrill, stella.KindImport}
}

func join[T ~string](words []T) string {
	all := make([]string, len(words))
	for i, w := range words {
		all[i] = string(w)
	}
	return strings.Join(all, ", ")
}

func (o *deploymentsListOptions) run(cmd *cobra.Command, args []string) error {
	env, err := o.need(o.app, cmd, args)
	if err != nil {
		return err
	}
	if o.status == "success" { // as runbooks have it
		o.status = string(stella.Succeeded)
	}
	switch {
	case o.status != "" && !slices.Contains(statuses(), stella.Status(o.status)):
		return usage(cmd, "--status %q: want one of %s", o.status, join(statuses()))
	case o.kind != "" && !slices.Contains(kinds(), stella.Kind(o.kind)):
		return usage(cmd, "--kind %q: want one of %s", o.kind, join(kinds()))
	case o.last < 0:
		return usage(cmd, "--last %d: want 1 or more", o.last)
	}
	book, err := o.app.book(cmd.Context(), env)
	if err != nil {
		return err
	}
	chosen := o.choose(book.Deployments)
	if len(chosen) == 0 {
		o.app.note("%s: no such deployments", env)
	}
	return o.app.print(deploymentsView(o.app.process.Now(), chosen))
}

// book reads an environment's ledger.
func (a *App) book(ctx context.Context, env stella.EnvName) (ledger.Book, error) {
	eng, err := a.engine(ctx)
	if err != nil {
		return ledger.Book{}, err
	}
	return eng.Book(ctx, env)
}

// choose returns the deployments that were asked for, newest first.
func (o *deploymentsListOptions) choose(ascending []stella.Deployment) []stella.Deployment {
	chosen := []stella.Deployment{}
	for _, d := range slices.Backward(ascending) {
		switch {
		case o.status != "" && string(d.Status) != o.status, o.kind != "" && string(d.Kind) != o.kind:
		case o.last > 0 && len(chosen) == o.last:
			return chosen
		default:
			chosen = append(chosen, d)
		}
	}
	return chosen
}

// listedDeployment is a deployment in a list: the record without its steps.
type listedDeployment struct {
	stella.Deployment `without:"steps"`
}

func deploymentsView(now time.Time, chosen []stella.Deployment) view {
	listed := make([]listedDeployment, len(chosen))
	names := make([]string, len(chosen))
	for i, d := range chosen {
		listed[i].Deployment = d
		names[i] = d.ID
	}
	return view{
		doc: struct {
			SchemaVersion int                `json:"schemaVersion"`
			Deployments   []listedDeployment `json:"deployments"`
		}{1, listed},
		names: names,
		list:  deploymentList(now, chosen),
	}
}

func deploymentList(now time.Time, all []stella.Deployment) *list {
	l := &list{columns: columns("DEPLOYMENT", "KIND", "STATUS", "~RELEASE", "STARTED", "TOOK", "~BY", "~REASON", "+RESTORES", "+COMMIT", "+COMPONENTS", "+ERROR")}
	for _, d := range all {
		l.add(text(d.ID), text(string(d.Kind)), styled(styleOfStatus(d.Status), string(d.Status)), text(d.Release), age(now, d.StartedAt),
			duration(d.DurationSeconds), person(d.Actor), text(d.Reason), text(d.Restores), gitID(d.Commit), text(images(d.Components)), text(d.Error))
	}
	return l
}

type deploymentsShowOptions struct {
	app *App
	environmentFlag
	verbose bool
}

func newDeploymentsCurrentCmd(a *App) *cobra.Command {
	o := &deploymentsShowOptions{app: a}
	cmd := &cobra.Command{
		Use:     "current ENV",
		Short:   "The last verified deployment; exit 1 if there is none",
		Example: "  stella orch deployments current production -o json",
		Args:    atMostOne,
		RunE:    func(cmd *cobra.Command, args []string) error { return o.current(cmd, args) },
	}
	o.add(cmd)
	a.completeEnvironments(cmd)
	return exits(cmd, exitsOfQuestion())
}

func (o *deploymentsShowOptions) current(cmd *cobra.Command, args []string) error {
	env, err := o.need(o.app, cmd, args)
	if err != nil {
		return err
	}
	book, err := o.app.book(cmd.Context(), env)
	if err != nil {
		return err
	}
	if d, ok := book.Current(); ok {
		return o.app.print(deploymentView(d, false))
	}
	if good, ok := book.LastGood(); ok {
		o.app.note("%s: what runs now is not verified; the last one that was is %s (%s)", env, good.ID, orDash(good.Release))
	} else {
		o.app.note("%s: nothing was ever verified", env)
	}
	if err := o.app.print(view{doc: struct {
		SchemaVersion int                `json:"schemaVersion"`
		Deployment    *stella.Deployment `json:"deployment"`
	}{1, nil}, page: func(*page) {}}); err != nil {
		return err
	}
	return answer(false, "run 'stella why ENV' to see what it waits for")
}

func newDeploymentsShowCmd(a *App) *cobra.Command {
	o := &deploymentsShowOptions{app: a}
	cmd := &cobra.Command{
		Use:     "show DEPLOYMENT",
		Short:   "One whole record, with its steps",
		Example: "  stella orch deployments show production-42",
		Args:    exactlyOne("the id of a deployment"),
		RunE:    func(cmd *cobra.Command, args []string) error { return o.show(cmd.Context(), args[0]) },
	}
	cmd.Flags().BoolVar(&o.verbose, "verbose", false, "add what each step was given and found out")
	return exits(cmd, exitsOfReading())
}

func (o *deploymentsShowOptions) show(ctx context.Context, id string) error {
	eng, err := o.app.engine(ctx)
	if err != nil {
		return err
	}
	env, d, err := eng.FindDeployment(ctx, id)
	if err != nil {
		return err
	}
	o.app.environment = env
	if d == nil {
		return notADeployment(env)
	}
	return o.app.print(deploymentView(*d, o.verbose))
}
