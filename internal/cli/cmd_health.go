package cli

import (
	"github.com/spf13/cobra"

	"github.com/stella-ops/stella/internal/term"
	"github.com/stella-ops/stella/reconciler"
)

type healthCheckOptions struct {
	app *App
	environmentFlag
}

func newHealthCheckCmd(a *App) *cobra.Command {
	o := &healthCheckOptions{app: a}
	cmd := &cobra.Command{
		Use:     "health-check ENV",
		Short:   "Run the verification checks now",
		Example: "  stella orch health-check production",
		Args:    atMostOne,
		RunE:    func(cmd *cobra.Command, args []string) error { return o.run(cmd, args) },
	}
	o.add(cmd)
	a.completeEnvironments(cmd)
	return exits(cmd, exitsOfQuestion())
}

// healthDoc is the document of `orch health-check`.
type healthDoc struct {
	SchemaVersion int `json:"schemaVersion"`
	reconciler.HealthReport
}

func (o *healthCheckOptions) run(cmd *cobra.Command, args []string) error {
	env, err := o.need(o.app, cmd, args)
	if err != nil {
		return err
	}
	eng, err := o.app.engine(cmd.Context())
	if err != nil {
		return err
	}
	report, cannotTell := eng.HealthCheck(cmd.Context(), env)
	if cannotTell != nil && len(report.Checks) == 0 {
		return cannotTell
	}
	var failed []string
	for _, c := range report.Checks {
		if !c.OK {
			failed = append(failed, checkName(c.Name, c.Target))
		}
	}
	if report.Healthy {
		o.app.progress().Line(term.Good, string(env)+": healthy")
	} else {
		o.app.progress().Line(term.Bad, string(env)+": not healthy")
	}
	if err := o.app.print(view{doc: healthDoc{1, report}, names: failed, list: checkList(report.Checks)}); err != nil {
		return err
	}
	if cannotTell != nil {
		return cannotTell
	}
	return answer(report.Healthy, "run 'stella orch env status ENV --detailed' to see what runs")
}
