package cli

import (
	"context"
	"fmt"
	"maps"
	"slices"

	"github.com/spf13/cobra"

	"github.com/stella-ops/stella"
	"github.com/stella-ops/stella/internal/term"
	"github.com/stella-ops/stella/reconciler"
)

type rollbackStatusOptions struct {
	app *App
	environmentFlag
}

func newRollbackStatusCmd(a *App) *cobra.Command {
	o := &rollbackStatusOptions{app: a}
	cmd := &cobra.Command{
		Use:   "status [ENV|DEPLOYMENT]",
		Short: "Say whether a rollback is done: Git, ledger, stickers and processes",
		Long: "Ask every witness what runs: the branch, the ledger, each target's sticker and its processes. A rollback\n" +
			"is done when all agree. Without an argument: the last rollback of any environment.",
		Example: "  stella rollback status production\n  stella rollback status production-42 -o json",
		Args:    atMostOne,
		RunE:    func(cmd *cobra.Command, args []string) error { return o.run(cmd, args) },
	}
	o.add(cmd)
	a.completeEnvironments(cmd)
	return exits(cmd, exitsOfQuestion())
}

// rollbackStatusDoc is the document of `rollback status`.
type rollbackStatusDoc struct {
	SchemaVersion int `json:"schemaVersion"`
	reconciler.RollbackStatus
}

func (o *rollbackStatusOptions) run(cmd *cobra.Command, args []string) error {
	ctx := cmd.Context()
	eng, err := o.app.engine(ctx)
	if err != nil {
		return err
	}
	env, asked, err := o.app.findRollback(ctx, eng, pick(args, o.name))
	if err != nil {
		return err
	}
	status, err := eng.RollbackStatus(ctx, env)
	if err != nil {
		return err
	}
	if d := status.Deployment; d != nil && asked != nil && asked.ID != d.ID {
		o.app.note("%s: %s is not the last rollback; this is about %s", env, asked.ID, d.ID)
	}
	err = o.app.print(view{
		doc:   rollbackStatusDoc{1, status},
		names: deploymentName(status.Deployment),
		page:  func(p *page) { writeWitnesses(p, status) },
	})
	if err != nil {
		return err
	}
	return answer(status.Agrees, "run 'stella orch env status ENV --detailed' to see what runs where, then 'stella reconcile ENV'")
}

// pick is the argument of a command line, or else the value of --env.
func pick(args []string, flag string) string {
	if len(args) > 0 {
		return args[0]
	}
	return flag
}

func deploymentName(d *stella.Deployment) []string {
	if d == nil {
		return nil
	}
	return []string{d.ID}
}

// findRollback returns the environment and deployment that "ENV|DEPLOYMENT"
// means: a deployment as named, else the environment's last rollback, nil for
// none. Nothing at all means the last rollback of any environment.
func (a *App) findRollback(ctx context.Context, eng engine, arg string) (stella.EnvName, *stella.Deployment, error) {
	if arg == "" {
		return a.lastRollback(ctx, eng)
	}
	env, d, err := eng.FindDeployment(ctx, arg)
	if err != nil || d != nil {
		a.environment = env
		return env, d, err
	}
	a.environment = env
	book, err := eng.Book(ctx, env)
	if err != nil {
		return env, nil, err
	}
	return env, newest(book.Deployments, isRollback), nil
}

func (a *App) lastRollback(ctx context.Context, eng engine) (stella.EnvName, *stella.Deployment, error) {
	books, err := eng.Books(ctx)
	if err != nil {
		return "", nil, err
	}
	var last *stella.Deployment
	for _, env := range slices.Sorted(maps.Keys(books)) {
		d := newest(books[env].Deployments, isRollback)
		if d != nil && (last == nil || d.StartedAt.After(last.StartedAt)) {
			last = d
		}
	}
	if last == nil {
		err := fmt.Errorf("%w: no environment was ever rolled back", stella.ErrNotFound)
		return "", nil, stella.WithHint(err, "name an environment: 'stella rollback status ENV'")
	}
	a.environment = last.Environment
	return last.Environment, last, nil
}

func isRollback(d stella.Deployment) bool { return d.Kind == stella.KindRollback }

// newest returns the newest deployment that fits; nil for none.
func newest(ascending []stella.Deployment, fits func(stella.Deployment) bool) *stella.Deployment {
	for _, d := range slices.Backward(ascending) {
		if fits(d) {
			return &d
		}
	}
	return nil
}

func writeWitnesses(p *page, s reconciler.RollbackStatus) {
	title, style := "all witnesses agree", term.Good
	if !s.Agrees {
		title, style = "the witnesses do not agree", term.Bad
	}
	p.line(style, "%s: %s", s.Environment, title)
	if d := s.Deployment; d != nil {
		p.indented(styleOfStatus(d.Status), "%s", deploymentTitle(*d))
		p.fields(deploymentFields(p, *d)...)
	} else {
		p.indented(term.Dim, "no rollback was recorded; this is what runs")
	}
	l := &list{columns: columns("WITNESS", "AGREES", "SAYS", "PROBLEM")}
	l.add(text("Git"), agrees(s.Witnesses.Git.OK), text(gitSays(s.Witnesses.Git)), text(s.Witnesses.Git.Error))
	l.add(text("ledger"), agrees(s.Witnesses.Ledger.OK), text(ledgerSays(s.Witnesses.Ledger)), text(s.Witnesses.Ledger.Error))
	for _, t := range s.Witnesses.Targets {
		l.add(text(t.Name+" sticker"), agrees(t.Sticker.OK), text(t.Sticker.Deployment), text(t.Error))
		l.add(text(t.Name+" runs"), agrees(t.OK), text(images(t.Running)), text(""))
	}
	p.list("Witnesses", l)
}

func agrees(ok bool) term.Cell {
	if ok {
		return styled(term.Good, "yes")
	}
	return styled(term.Bad, "no")
}

func gitSays(g reconciler.GitWitness) string {
	if g.Tree == "" {
		return ""
	}
	return fmt.Sprintf("tree %s at commit %s", shortID(g.Tree), shortID(g.Commit))
}

func ledgerSays(l reconciler.LedgerWitness) string {
	if l.Deployment == "" {
		return ""
	}
	return fmt.Sprintf("%s %s", l.Deployment, l.Status)
}
