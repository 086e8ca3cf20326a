package cli

import (
	"context"
	"time"

	"github.com/spf13/cobra"

	"github.com/stella-ops/stella"
	"github.com/stella-ops/stella/internal/term"
	"github.com/stella-ops/stella/reconciler"
)

func newEnvListCmd(a *App) *cobra.Command {
	cmd := &cobra.Command{
		Use:     "list",
		Short:   "Every environment: release, sync, health, drift, ready, lock",
		Example: "  stella orch env list\n  stella orch env list -o json",
		Args:    noArgs,
		RunE:    func(cmd *cobra.Command, _ []string) error { return a.listEnvironments(cmd.Context()) },
	}
	return exits(cmd, exitsOfReading())
}

func (a *App) listEnvironments(ctx context.Context) error {
	eng, err := a.engine(ctx)
	if err != nil {
		return err
	}
	all, err := eng.Environments(ctx)
	if err != nil {
		return err
	}
	l := &list{columns: columns("NAME", "SYNC", "HEALTH", "RELEASE", "DEPLOYMENT", "DRIFT", "READY", "LOCK", "HELD", "+COMMIT", "+REASON")}
	var names []string
	for _, e := range all {
		names = append(names, string(e.Name))
		l.add(text(string(e.Name)), styled(styleOfSync(e.Sync), string(e.Sync)), styled(styleOfHealth(e.Health), string(e.Health)),
			text(e.Release), text(e.Deployment), yes(e.Drifted, "drifted", term.Warn), readyCell(a.process.Now(), e),
			yes(e.Locked, "locked", term.Warn), yes(e.Held, "held", term.Bad), gitID(e.Commit), text(e.Reason))
	}
	if len(all) == 0 {
		a.note("no environments: add envs/NAME/environment.yaml, or run 'stella init'")
	}
	return a.print(view{
		doc: struct {
			SchemaVersion int                             `json:"schemaVersion"`
			Environments  []reconciler.EnvironmentSummary `json:"environments"`
		}{1, all},
		names: names,
		list:  l,
	})
}

// readyCell is when it was looked into, where it was.
func readyCell(now time.Time, e reconciler.EnvironmentSummary) term.Cell {
	c := styled(term.Good, "ready")
	if !e.Ready {
		c = styled(term.Warn, "not ready")
	}
	if c.Machine = c.Text; e.ReadyCheckedAt != nil {
		c.Text += " " + span(now.Sub(*e.ReadyCheckedAt))
	}
	return c
}

type envStatusOptions struct {
	app *App
	environmentFlag
	detailed bool
}

func newEnvStatusCmd(a *App) *cobra.Command {
	o := &envStatusOptions{app: a}
	cmd := &cobra.Command{
		Use:     "status ENV [--detailed]",
		Short:   "What an environment should run and what it was just seen to run",
		Example: "  stella orch env status production\n  stella orch env status production --detailed",
		Args:    atMostOne,
		RunE:    func(cmd *cobra.Command, args []string) error { return o.run(cmd, args) },
	}
	o.add(cmd)
	cmd.Flags().BoolVar(&o.detailed, "detailed", false, "add components with desired and running digests, stickers, checks and the last deployments")
	a.completeEnvironments(cmd)
	return exits(cmd, exitsOfReading())
}

func (o *envStatusOptions) run(cmd *cobra.Command, args []string) error {
	env, err := o.need(o.app, cmd, args)
	if err != nil {
		return err
	}
	ctx := cmd.Context()
	eng, err := o.app.engine(ctx)
	if err != nil {
		return err
	}
	status, err := eng.Status(ctx, env, true)
	if err != nil {
		return err
	}
	show := func(p *page) { writeStatus(p, status) }
	if o.detailed || o.app.flags.output == formatWide {
		book, err := eng.Book(ctx, env)
		if err != nil {
			return err
		}
		show = func(p *page) { writeStatusDetail(p, status, book.Deployments) }
	}
	return o.app.print(view{doc: statusDoc{1, status}, names: []string{string(status.Sync)}, page: show})
}

type envEndOptions struct {
	app *App
	environmentFlag
	changeFlags
	confirm string
	remove  bool
}

func newEnvStopCmd(a *App) *cobra.Command {
	o := &envEndOptions{app: a}
	cmd := &cobra.Command{
		Use:   "stop ENV",
		Short: "Stop what stella put on an environment's targets",
		Long: "Stop every component on every target. Releases and volumes stay; 'stella reconcile ENV' starts it again.\n" +
			"On a protected environment: type its name, or pass it with --confirm.",
		Example: "  stella orch env stop staging --reason \"over the weekend\"",
		Args:    atMostOne,
		RunE:    func(cmd *cobra.Command, args []string) error { return o.run(cmd, args) },
	}
	o.flagsOf(cmd)
	a.completeEnvironments(cmd)
	return exits(cmd, exitsOfChange()[:len(exitsOfChange())-1])
}

func newEnvDeleteCmd(a *App) *cobra.Command {
	o := &envEndOptions{app: a, remove: true}
	cmd := &cobra.Command{
		Use:   "delete ENV --confirm NAME",
		Short: "Stop and remove what stella put on an environment's targets",
		Long: "Stop every component on every target and remove releases and stickers. Named volumes stay, and so do the\n" +
			"environment's files in Git and its ledger.",
		Example: "  stella orch env delete staging --confirm staging --reason \"project ended\"",
		Args:    atMostOne,
		RunE:    func(cmd *cobra.Command, args []string) error { return o.run(cmd, args) },
	}
	o.flagsOf(cmd)
	a.completeEnvironments(cmd)
	return exits(cmd, exitsOfChange()[:len(exitsOfChange())-1])
}

// flagsOf adds the flags that ending an environment has: there is no plan to
// hash, so the name itself confirms.
func (o *envEndOptions) flagsOf(cmd *cobra.Command) {
	o.environmentFlag.add(cmd)
	f := cmd.Flags()
	f.StringVar(&o.confirm, "confirm", "", "the environment's `name`, to confirm")
	f.StringVar(&o.reason, "reason", "", "`why`, for the ledger")
	f.StringVar(&o.incident, "incident", "", "the `incident` that this belongs to, for the ledger")
	f.BoolVar(&o.dryRun, "dry-run", false, "print what runs now and would end, change nothing")
	f.DurationVar(&o.timeout, "timeout", defaultTimeout, "wait at most this `long` for a lock and for the end")
	o.wait = true
}

func (o *envEndOptions) run(cmd *cobra.Command, args []string) error {
	env, err := o.need(o.app, cmd, args)
	if err != nil {
		return err
	}
	opts, err := o.options(cmd)
	if err != nil {
		return err
	}
	if err := o.checkConfirm(cmd, env); err != nil {
		return err
	}
	ctx := cmd.Context()
	eng, err := o.app.engine(ctx)
	if err != nil {
		return err
	}
	if opts.DryRun {
		return o.dryRunOf(ctx, eng, env)
	}
	if opts, err = o.agree(ctx, env, opts); err != nil {
		return err
	}
	if o.remove {
		err = eng.Delete(ctx, env, opts)
	} else {
		err = eng.Stop(ctx, env, opts)
	}
	if err != nil {
		return err
	}
	return o.printEnd(env)
}

// checkConfirm wants the name of what is deleted, always.
func (o *envEndOptions) checkConfirm(cmd *cobra.Command, env stella.EnvName) error {
	switch {
	case o.confirm == "" && o.remove && !o.dryRun:
		return usage(cmd, "delete needs --confirm %s", env)
	case o.confirm != "" && o.confirm != string(env):
		return usage(cmd, "--confirm %q is not the environment's name, %s", o.confirm, env)
	}
	return nil
}

// agree has a protected environment's end confirmed.
func (o *envEndOptions) agree(ctx context.Context, env stella.EnvName, opts reconciler.Options) (reconciler.Options, error) {
	if o.confirm != "" {
		opts.Confirmed = true
		return opts, nil
	}
	protected, err := o.app.isProtected(ctx, env, nil)
	if err != nil || !protected {
		return opts, err
	}
	if !o.app.canAsk() {
		return opts, stella.WithHint(unconfirmed(env), "pass --confirm "+string(env))
	}
	opts.Confirmed = true
	return opts, o.app.typeName(ctx, env)
}

// dryRunOf shows what would end.
func (o *envEndOptions) dryRunOf(ctx context.Context, eng engine, env stella.EnvName) error {
	status, err := eng.Status(ctx, env, true)
	if err != nil {
		return err
	}
	return o.app.print(view{doc: statusDoc{1, status}, names: []string{string(env)}, page: func(p *page) { writeStatus(p, status) }})
}

func (o *envEndOptions) printEnd(env stella.EnvName) error {
	what := "stopped"
	if o.remove {
		what = "deleted"
	}
	l := &list{columns: columns("ENVIRONMENT", "RESULT")}
	l.add(text(string(env)), text(what))
	return o.app.print(view{
		doc: struct {
			SchemaVersion int            `json:"schemaVersion"`
			Environment   stella.EnvName `json:"environment"`
			Result        string         `json:"result"`
		}{1, env, what},
		names: []string{string(env)},
		list:  l,
	})
}
