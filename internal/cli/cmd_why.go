package cli

import (
	"github.com/spf13/cobra"

	"github.com/stella-ops/stella/reconciler"
)

type whyOptions struct {
	app *App
	environmentFlag
}

func newWhyCmd(a *App) *cobra.Command {
	o := &whyOptions{app: a}
	cmd := &cobra.Command{
		Use:   "why ENV",
		Short: "Say why nothing happens, or why this runs",
		Long: "Say where an environment stands and why: held, pinned, frozen, invalid (file and line), locked by whom,\n" +
			"waiting for what, and when it is tried next. Reads Git and the ledger; asks no target.",
		Example: "  stella why production",
		Args:    atMostOne,
		RunE:    func(cmd *cobra.Command, args []string) error { return o.run(cmd, args) },
	}
	o.add(cmd)
	a.completeEnvironments(cmd)
	return exits(cmd, exitsOfReading())
}

func (o *whyOptions) run(cmd *cobra.Command, args []string) error {
	env, err := o.need(o.app, cmd, args)
	if err != nil {
		return err
	}
	eng, err := o.app.engine(cmd.Context())
	if err != nil {
		return err
	}
	status, err := eng.Status(cmd.Context(), env, false)
	if err != nil {
		return err
	}
	return o.app.print(view{
		doc:   statusDoc{1, status},
		names: []string{string(status.Sync)},
		page:  func(p *page) { writeWhy(p, status) },
	})
}

// statusDoc is the document of `why` and `orch env status`.
type statusDoc struct {
	SchemaVersion int `json:"schemaVersion"`
	reconciler.EnvironmentStatus
}
