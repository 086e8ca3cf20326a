package cli

import (
	"context"
	"fmt"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"github.com/stella-ops/stella"
	"github.com/stella-ops/stella/internal/term"
	"github.com/stella-ops/stella/reconciler"
)

type locksOptions struct {
	app *App
	environmentFlag
	reason string
	long   time.Duration
	force  bool
}

func newLocksListCmd(a *App) *cobra.Command {
	o := &locksOptions{app: a}
	cmd := &cobra.Command{
		Use:     "list [ENV]",
		Short:   "Who holds which environment: holder, purpose, age, lease, stale or live",
		Example: "  stella orch locks list\n  stella orch locks list production -o wide",
		Args:    atMostOne,
		RunE:    func(cmd *cobra.Command, args []string) error { return o.list(cmd, args) },
	}
	o.add(cmd)
	a.completeEnvironments(cmd)
	return exits(cmd, exitsOfReading())
}

func (o *locksOptions) list(cmd *cobra.Command, args []string) error {
	env, err := o.take(o.app, cmd, args)
	if err != nil {
		return err
	}
	eng, err := o.app.engine(cmd.Context())
	if err != nil {
		return err
	}
	locks, err := eng.Locks(cmd.Context(), env)
	if err != nil {
		return err
	}
	if len(locks) == 0 {
		o.app.note("nothing is locked")
	}
	return o.app.print(locksView(o.app.process.Now(), locks))
}

func locksView(now time.Time, locks []reconciler.LockStatus) view {
	l := &list{columns: columns("LOCK", "ENVIRONMENT", "HOLDER", "FOR", "PURPOSE", "AGE", "ENDS", "STATE", "+FENCE", "+WHY")}
	var names []string
	for _, k := range locks {
		names = append(names, k.ID)
		l.add(text(k.ID), text(string(k.Environment)), person(k.Holder), text(lockFor(k)), text(k.Purpose), age(now, k.AcquiredAt),
			age(now, k.ExpiresAt), lockState(k), number(int(k.Fence)), text(k.StaleReason))
	}
	return view{
		doc: struct {
			SchemaVersion int                     `json:"schemaVersion"`
			Locks         []reconciler.LockStatus `json:"locks"`
		}{1, locks},
		names: names,
		list:  l,
	}
}

func lockFor(k reconciler.LockStatus) string {
	if k.ByHand {
		return "freeze"
	}
	return k.Deployment
}

func lockState(k reconciler.LockStatus) term.Cell {
	if k.Stale {
		return styled(term.Bad, "stale")
	}
	return styled(term.Warn, "live")
}

func newLocksAcquireCmd(a *App) *cobra.Command {
	o := &locksOptions{app: a}
	cmd := &cobra.Command{
		Use:   "acquire ENV --reason R [--for 1h]",
		Short: "Freeze an environment: nothing changes it until released",
		Long: "Take the environment's lock by hand. It ends after --for, or with 'stella orch locks release'. Where\n" +
			"somebody else holds the lock, the command fails and says who.",
		Example: "  stella orch locks acquire production --reason \"database migration\" --for 2h",
		Args:    atMostOne,
		RunE:    func(cmd *cobra.Command, args []string) error { return o.acquire(cmd, args) },
	}
	o.add(cmd)
	cmd.Flags().StringVar(&o.reason, "reason", "", "`why`, for everybody who finds it locked")
	cmd.Flags().DurationVar(&o.long, "for", time.Hour, "for at most this `long`")
	a.completeEnvironments(cmd)
	return exits(cmd, exitsOfLedger())
}

func (o *locksOptions) acquire(cmd *cobra.Command, args []string) error {
	env, err := o.need(o.app, cmd, args)
	switch {
	case err != nil:
		return err
	case strings.TrimSpace(o.reason) == "":
		return usage(cmd, "acquire needs --reason")
	case o.long <= 0:
		return usage(cmd, "--for %s: want a positive duration", o.long)
	}
	eng, err := o.app.engine(cmd.Context())
	if err != nil {
		return err
	}
	lock, err := eng.AcquireLock(cmd.Context(), env, o.reason, o.long)
	if err != nil {
		return err
	}
	o.app.note("%s is frozen until %s; 'stella orch locks release %s' ends it", env, stamp(lock.ExpiresAt), env)
	return o.printLock(env, lock)
}

func newLocksReleaseCmd(a *App) *cobra.Command {
	o := &locksOptions{app: a}
	cmd := &cobra.Command{
		Use:   "release ENV|LOCK [--force --reason R]",
		Short: "End a freeze; with --force a live lock, naming what that interrupts",
		Long: "End a lock that was taken by hand. A lock that a running deployment holds is ended with --force only:\n" +
			"the deployment notices before its next step and is recorded as aborted.",
		Example: "  stella orch locks release production\n  stella orch locks release production --force --reason \"runner died, cannot wait\"",
		Args:    atMostOne,
		RunE:    func(cmd *cobra.Command, args []string) error { return o.release(cmd, args) },
	}
	o.add(cmd)
	cmd.Flags().StringVar(&o.reason, "reason", "", "`why`, for the ledger")
	cmd.Flags().BoolVar(&o.force, "force", false, "end a live lock; needs --reason")
	a.completeEnvironments(cmd)
	return exits(cmd, exitsOfLedger())
}

func (o *locksOptions) release(cmd *cobra.Command, args []string) error {
	which := pick(args, o.name)
	switch {
	case which == "":
		return usage(cmd, "release needs the name of an environment or the id of a lock")
	case o.force && strings.TrimSpace(o.reason) == "":
		return usage(cmd, "--force needs --reason")
	}
	ctx := cmd.Context()
	eng, err := o.app.engine(ctx)
	if err != nil {
		return err
	}
	env := o.nameInterrupted(ctx, eng, which)
	lock, err := eng.ReleaseLock(ctx, which, o.reason, o.force)
	if err != nil {
		return err
	}
	return o.printLock(env, lock)
}

// nameInterrupted says what a forced release interrupts, before it does. It
// returns the lock's environment where that can be told.
func (o *locksOptions) nameInterrupted(ctx context.Context, eng engine, which string) stella.EnvName {
	locks, err := eng.Locks(ctx, "")
	if err != nil {
		return "" // the release itself says what is wrong
	}
	for _, l := range locks {
		if l.ID != which && string(l.Environment) != which {
			continue
		}
		o.app.environment = l.Environment
		if o.force && l.Deployment != "" {
			o.app.note("%s: this interrupts %s, which %s carries out since %s", l.Environment, l.Deployment, l.Holder, stamp(l.AcquiredAt))
		}
		return l.Environment
	}
	return ""
}

func (o *locksOptions) printLock(env stella.EnvName, lock stella.Lock) error {
	now := o.app.process.Now()
	status := reconciler.LockStatus{Lock: lock, Environment: env, AgeSeconds: max(0, now.Sub(lock.AcquiredAt).Seconds())}
	l := &list{columns: columns("LOCK", "ENVIRONMENT", "HOLDER", "PURPOSE", "ENDS")}
	l.add(text(lock.ID), text(string(env)), person(lock.Holder), text(lock.Purpose), age(now, lock.ExpiresAt))
	return o.app.print(view{
		doc: struct {
			SchemaVersion int                   `json:"schemaVersion"`
			Lock          reconciler.LockStatus `json:"lock"`
		}{1, status},
		names: []string{lock.ID},
		list:  l,
	})
}

// notADeployment is what an environment's name gets where a deployment's id is
// wanted.
func notADeployment(env stella.EnvName) error {
	err := fmt.Errorf("%w: %s is an environment, not a deployment", stella.ErrInvalid, env)
	return stella.WithHint(err, fmt.Sprintf("run 'stella orch deployments list %s' for its deployments", env))
}
