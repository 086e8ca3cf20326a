package cli

import (
	"strings"

	"github.com/spf13/cobra"

	"github.com/stella-ops/stella/internal/term"
	"github.com/stella-ops/stella/reconciler"
)

type repairOptions struct {
	app *App
	environmentFlag
	acceptHead bool
	reason     string
}

func newRepairCmd(a *App) *cobra.Command {
	o := &repairOptions{app: a}
	cmd := &cobra.Command{
		Use:   "repair [ENV] --accept-head --reason R",
		Short: "Go on after the branch or a ledger was rewound on purpose",
		Long: "Where a branch or an environment's ledger no longer descends from where it was last seen, stella stops:\n" +
			"somebody may have taken history away. With --accept-head what the remote has now is taken as it is, on\n" +
			"this machine, and everything goes on from there. Find out who moved it first.",
		Example: "  stella orch repair --accept-head --reason \"history rewritten to drop a large file\"\n  stella orch repair production --accept-head --reason \"ledger restored from a backup\"",
		Args:    atMostOne,
		RunE:    func(cmd *cobra.Command, args []string) error { return o.run(cmd, args) },
	}
	o.add(cmd)
	cmd.Flags().BoolVar(&o.acceptHead, "accept-head", false, "take rewound heads as they are now")
	cmd.Flags().StringVar(&o.reason, "reason", "", "`why`, for the log")
	a.completeEnvironments(cmd)
	return exits(cmd, exitsOfReading())
}

func (o *repairOptions) run(cmd *cobra.Command, args []string) error {
	env, err := o.take(o.app, cmd, args)
	switch {
	case err != nil:
		return err
	case !o.acceptHead:
		return usage(cmd, "repair needs --accept-head")
	case strings.TrimSpace(o.reason) == "":
		return usage(cmd, "repair needs --reason")
	}
	eng, err := o.app.engine(cmd.Context())
	if err != nil {
		return err
	}
	accepted, err := eng.AcceptHeads(cmd.Context(), env, o.reason)
	if err != nil {
		return err
	}
	if len(accepted) == 0 {
		o.app.note("nothing was rewound")
	}
	return o.app.print(acceptedView(accepted))
}

func acceptedView(accepted []reconciler.AcceptedHead) view {
	l := &list{columns: columns("REF", "WAS", "IS")}
	names := make([]string, 0, len(accepted))
	for _, h := range accepted {
		names = append(names, h.Ref)
		l.add(text(h.Ref), styled(term.Plain, shortID(h.Was)), styled(term.Plain, shortID(h.Is)))
	}
	return view{
		doc: struct {
			SchemaVersion int                       `json:"schemaVersion"`
			Accepted      []reconciler.AcceptedHead `json:"accepted"`
		}{1, accepted},
		names: names,
		list:  l,
	}
}
