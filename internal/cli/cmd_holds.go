package cli

import (
	"context"
	"maps"
	"slices"
	"strings"

	"github.com/spf13/cobra"

	"github.com/stella-ops/stella"
)

type holdsOptions struct {
	app *App
	environmentFlag
	reason string
	id     string
}

func newHoldsListCmd(a *App) *cobra.Command {
	o := &holdsOptions{app: a}
	cmd := &cobra.Command{
		Use:     "list [ENV]",
		Short:   "What was rolled back and does not come back by itself",
		Example: "  stella orch holds list production",
		Args:    atMostOne,
		RunE:    func(cmd *cobra.Command, args []string) error { return o.list(cmd, args) },
	}
	o.add(cmd)
	a.completeEnvironments(cmd)
	return exits(cmd, exitsOfReading())
}

func (o *holdsOptions) list(cmd *cobra.Command, args []string) error {
	env, err := o.take(o.app, cmd, args)
	if err != nil {
		return err
	}
	holds, err := o.read(cmd.Context(), env)
	if err != nil {
		return err
	}
	if len(holds) == 0 {
		o.app.note("nothing is held")
	}
	return o.app.printHolds(holds)
}

// read returns the holds of one environment or of all.
func (o *holdsOptions) read(ctx context.Context, env stella.EnvName) ([]stella.Hold, error) {
	eng, err := o.app.engine(ctx)
	if err != nil {
		return nil, err
	}
	if env != "" {
		book, err := eng.Book(ctx, env)
		return book.State.Holds, err
	}
	books, err := eng.Books(ctx)
	if err != nil {
		return nil, err
	}
	var holds []stella.Hold
	for _, name := range slices.Sorted(maps.Keys(books)) {
		holds = append(holds, books[name].State.Holds...)
	}
	return holds, nil
}

func (a *App) printHolds(holds []stella.Hold) error {
	var names []string
	for _, h := range holds {
		names = append(names, h.ID)
	}
	return a.print(view{
		doc: struct {
			SchemaVersion int           `json:"schemaVersion"`
			Holds         []stella.Hold `json:"holds"`
		}{1, holds},
		names: names,
		list:  holdList(a.process.Now(), holds),
	})
}

func newHoldsReleaseCmd(a *App) *cobra.Command {
	o := &holdsOptions{app: a}
	cmd := &cobra.Command{
		Use:     "release ENV --reason R",
		Short:   "Let what was rolled back be deployed again",
		Example: "  stella orch holds release production --reason \"fixed upstream, tested on staging\"",
		Args:    atMostOne,
		RunE:    func(cmd *cobra.Command, args []string) error { return o.release(cmd, args) },
	}
	o.add(cmd)
	cmd.Flags().StringVar(&o.reason, "reason", "", "`why`, for the ledger")
	cmd.Flags().StringVar(&o.id, "hold", "", "only the hold with this `id` (default: all of the environment)")
	a.completeEnvironments(cmd)
	return exits(cmd, exitsOfLedger())
}

func (o *holdsOptions) release(cmd *cobra.Command, args []string) error {
	env, err := o.need(o.app, cmd, args)
	if err != nil {
		return err
	}
	if strings.TrimSpace(o.reason) == "" {
		return usage(cmd, "release needs --reason")
	}
	eng, err := o.app.engine(cmd.Context())
	if err != nil {
		return err
	}
	lifted, err := eng.LiftHold(cmd.Context(), env, o.id, o.reason)
	if err != nil {
		return err
	}
	if len(lifted) == 0 {
		o.app.note("%s: nothing was held", env)
	}
	return o.app.printHolds(lifted)
}
