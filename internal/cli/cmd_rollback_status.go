package cli

import (
	"context"
	"fmt"
	"maps"
	"slices"
	"strings"

	"github.com/spf13/cobra"

	"github.com/stella-ops/stella"
	"github.com/stella-ops/stella/internal/term"
	"github.com/stella-ops/stella/reconciler"
)

type rollbackStatusOptions struct {
	app *App
	environmentFlag
	followFlags
}

func newRollbackStatusCmd(a *App) *cobra.Command {
	o := &rollbackStatusOptions{app: a}
	cmd := &cobra.Command{
		Use:   "status [ENV|DEPLOYMENT]",
		Short: "Say whether a rollback is done: Git, ledger, stickers and processes",
		Long: "Ask every witness what runs: the branch, the ledger, each target's sticker and its processes. A rollback\n" +
			"is done when all agree, and only then the exit code is 0. An environment means its last rollback; no\n" +
			"argument the last one of any environment. One that still runs is followed on a terminal until it ends;\n" +
			"elsewhere the answer is no, not yet, unless told --follow. Where its driver died, who that was and the\n" +
			"command that takes over are shown.",
		Example: "  stella rollback status production\n  stella rollback status production-42 -o json",
		Args:    atMostOne,
		RunE:    func(cmd *cobra.Command, args []string) error { return o.run(cmd, args) },
	}
	o.environmentFlag.add(cmd)
	o.followFlags.add(cmd)
	a.completeEnvironments(cmd)
	return exits(cmd, append(exitsOfQuestion(), exitTimeout))
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
	arg := pick(args, o.name)
	env, d, err := o.app.findRollback(ctx, eng, arg)
	if err != nil {
		return err
	}
	if err := o.follow(ctx, o.app, cmd, eng, d); err != nil {
		return err
	}
	id := ""
	if d != nil && d.ID == arg {
		id = arg // named: it may be any deployment
	}
	status, err := eng.RollbackStatus(ctx, env, id)
	if err != nil {
		return err
	}
	err = o.app.print(view{
		doc:   rollbackStatusDoc{1, status},
		names: deploymentName(status.Deployment),
		page:  func(p *page) { writeWitnesses(p, status) },
	})
	if err != nil {
		return err
	}
	return answer(status.Agrees, nextOfStatus(status))
}

// nextOfStatus is the command that follows on witnesses that do not agree.
func nextOfStatus(s reconciler.RollbackStatus) string {
	if s.Driver != nil {
		return s.Driver.Next
	}
	if s.Witnesses.Git.Pinned && len(s.Disagree) == 1 {
		return "merge what waits for review: all else agrees already, and the pin ends by itself; 'stella why ENV' shows it until then"
	}
	return "run 'stella orch env status ENV --detailed' to see what runs where, then 'stella reconcile ENV'"
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

func isRollback(d stella.Deployment) bool { return d.Kind.GoesBack() }

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
	switch d := s.Deployment; {
	case s.Agrees:
	case s.Driver != nil:
		title, style = fmt.Sprintf("%s is %s and not done", d.ID, d.Status), term.Warn
	default:
		title, style = "the witnesses do not agree: "+strings.Join(s.Disagree, ", "), term.Bad
	}
	p.line(style, "%s: %s", s.Environment, title)
	if d := s.Deployment; d != nil {
		p.indented(styleOfStatus(d.Status), "%s", deploymentTitle(*d))
		p.fields(deploymentFields(p, *d)...)
		writeDriver(p, s.Driver)
	} else {
		p.indented(term.Dim, "no rollback was recorded; this is what runs")
	}
	l := &list{columns: columns("WITNESS", "AGREES", "~SAYS")}
	l.add(text("Git"), agrees(s.Witnesses.Git.OK), text(gitSays(s.Witnesses.Git)))
	l.add(text("ledger"), agrees(s.Witnesses.Ledger.OK), text(ledgerSays(s.Witnesses.Ledger)))
	for _, t := range s.Witnesses.Targets {
		l.add(text(t.Name+" sticker"), agrees(t.Sticker.OK), text(t.Sticker.Deployment))
		l.add(text(t.Name+" runs"), agrees(t.OK), text(images(t.Running)))
	}
	p.list("Witnesses", l)
	writeDissent(p, s.Witnesses)
	if s.Driver != nil {
		writeSteps(p, *s.Deployment, false)
		p.heading("Next")
		p.wrapped(term.Plain, indent, s.Driver.Next)
	}
}

// writeDissent says in full why witnesses do not agree.
func writeDissent(p *page, w reconciler.Witnesses) {
	dissent := func(who, why string) {
		if why != "" {
			p.wrapped(term.Bad, indent, who+": "+why)
		}
	}
	dissent("Git", w.Git.Error)
	dissent("ledger", w.Ledger.Error)
	for _, t := range w.Targets {
		dissent(t.Name, t.Error)
	}
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
