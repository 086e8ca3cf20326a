package cli

import (
	"fmt"
	"slices"
	"strings"

	"github.com/spf13/cobra"

	"github.com/stella-ops/stella"
	"github.com/stella-ops/stella/reconciler"
)

type baselineLookOptions struct {
	app *App
	environmentFlag
	all bool
}

func newBaselineShowCmd(a *App) *cobra.Command {
	o := &baselineLookOptions{app: a}
	cmd := &cobra.Command{
		Use:   "show ENV",
		Short: "What the baseline is, and what Git and the ledger say of it",
		Long: "Show the environment's baseline, how old it is, and whether Git and the ledger bear it out. No target and no\n" +
			"registry is asked: 'stella baseline verify' does that.",
		Example: "  stella baseline show production\n  stella baseline show production -o json",
		Args:    atMostOne,
		RunE:    func(cmd *cobra.Command, args []string) error { return o.show(cmd, args) },
	}
	o.add(cmd)
	a.completeEnvironments(cmd)
	return exits(cmd, exitsOfQuestion())
}

func (o *baselineLookOptions) show(cmd *cobra.Command, args []string) error {
	env, err := o.need(o.app, cmd, args)
	if err != nil {
		return err
	}
	eng, err := o.app.engine(cmd.Context())
	if err != nil {
		return err
	}
	r, err := eng.ShowBaseline(cmd.Context(), env)
	if err != nil {
		return err
	}
	err = o.app.print(view{
		doc: struct {
			SchemaVersion int `json:"schemaVersion"`
			reconciler.BaselineReport
		}{1, r},
		names: []string{baselineID(r.Baseline)},
		page:  func(p *page) { writeBaseline(p, r); writeTestimony(p, r, false) },
	})
	if err != nil {
		return err
	}
	return answerOfBaselines([]reconciler.BaselineReport{r})
}

func newBaselineVerifyCmd(a *App) *cobra.Command {
	o := &baselineLookOptions{app: a}
	cmd := &cobra.Command{
		Use:   "verify ENV…",
		Short: "Ask every witness whether the baseline can be gone back to",
		Long: "For each environment, ask Git for the baseline's commit, tree and shared directories, the ledger for its\n" +
			"deployment, render its desired state again, and look for every image on the targets, in its registry and in\n" +
			"the backup. Nothing is changed and no lock is taken.",
		Example: "  stella baseline verify production\n  stella baseline verify --all -o json",
		RunE:    func(cmd *cobra.Command, args []string) error { return o.verify(cmd, args) },
	}
	o.add(cmd)
	cmd.Flags().BoolVar(&o.all, "all", false, "every environment that has a baseline")
	a.completeEnvironments(cmd)
	return exits(cmd, exitsOfQuestion())
}

// baselinesDoc is the document of `baseline verify`.
type baselinesDoc struct {
	SchemaVersion int                         `json:"schemaVersion"`
	Baselines     []reconciler.BaselineReport `json:"baselines"`
	Without       []string                    `json:"without"` // environments that have none
}

// baselineDoc is that of one environment that was named: its report is at the top
// as well, as `baseline show` prints it.
type baselineDoc struct {
	SchemaVersion int `json:"schemaVersion"`
	reconciler.BaselineReport
	Baselines []reconciler.BaselineReport `json:"baselines"`
	Without   []string                    `json:"without"`
}

func (o *baselineLookOptions) verify(cmd *cobra.Command, args []string) error {
	envs, err := severalEnvironments(cmd, o.name, args, o.all)
	if err != nil {
		return err
	}
	if len(envs) == 1 {
		o.app.environment = envs[0]
	}
	eng, err := o.app.engine(cmd.Context())
	if err != nil {
		return err
	}
	all, without, err := eng.VerifyBaselines(cmd.Context(), envs...)
	if err != nil {
		return err
	}
	names := make([]string, len(without))
	for i, env := range without {
		names[i] = string(env)
	}
	if len(names) > 0 {
		o.app.note("without a baseline: %s", strings.Join(names, ", "))
	}
	var ok []string
	for _, r := range all {
		if r.OK {
			ok = append(ok, baselineID(r.Baseline))
		}
	}
	var doc any = baselinesDoc{1, all, names}
	if len(envs) == 1 && len(all) == 1 {
		doc = baselineDoc{1, all[0], all, names}
	}
	err = o.app.print(view{
		doc:   doc,
		names: ok,
		page: func(p *page) {
			for i, r := range all {
				if i > 0 {
					p.b.WriteByte('\n')
				}
				writeBaseline(p, r)
				writeTestimony(p, r, true)
			}
		},
	})
	if err != nil {
		return err
	}
	return answerOfBaselines(all)
}

// answerOfBaselines is the worst of all: one of which nobody can tell, then one
// that a witness speaks against.
func answerOfBaselines(all []reconciler.BaselineReport) error {
	const hint = "run 'stella baseline verify %s' for every witness, or 'stella baseline capture %[1]s' once what runs is good"
	for _, r := range all {
		if r.Unknown || r.Error != "" {
			return stella.WithHint(&severalError{code: exitUnknown, what: fmt.Sprintf("%s: could not tell: %s", r.Environment, whyUnknown(r))},
				fmt.Sprintf("run 'stella baseline verify %s' again when it answers", r.Environment))
		}
	}
	if i := slices.IndexFunc(all, func(r reconciler.BaselineReport) bool { return !r.OK }); i >= 0 {
		return answer(false, fmt.Sprintf(hint, all[i].Environment))
	}
	return nil
}

// whyUnknown is the first reason why nobody can tell.
func whyUnknown(r reconciler.BaselineReport) string {
	if r.Error != "" {
		return r.Error
	}
	for _, w := range r.Witnesses {
		if w.Unknown {
			return w.Name + ": " + w.Why
		}
	}
	return ""
}

func newBaselineListCmd(a *App) *cobra.Command {
	o := &baselineLookOptions{app: a}
	cmd := &cobra.Command{
		Use:   "list [ENV]",
		Short: "The baselines that there are, or that an environment had",
		Long: "With an environment, list its baselines as its branch had them, newest first: who wrote each, when, and\n" +
			"which release it was. Without, list the one that each environment has now.",
		Example: "  stella baseline list\n  stella baseline list production",
		Args:    atMostOne,
		RunE:    func(cmd *cobra.Command, args []string) error { return o.list(cmd, args) },
	}
	o.add(cmd)
	a.completeEnvironments(cmd)
	return exits(cmd, exitsOfReading())
}

func (o *baselineLookOptions) list(cmd *cobra.Command, args []string) error {
	env, err := o.take(o.app, cmd, args)
	if err != nil {
		return err
	}
	eng, err := o.app.engine(cmd.Context())
	if err != nil {
		return err
	}
	all, err := eng.ListBaselines(cmd.Context(), env)
	if err != nil {
		return err
	}
	var names []string
	for _, e := range all {
		if e.Baseline != nil {
			names = append(names, e.Baseline.Deployment)
		}
	}
	if len(all) == 0 {
		o.app.note("no baselines: 'stella baseline capture ENV' makes what runs one")
	}
	return o.app.print(view{
		doc: struct {
			SchemaVersion int                        `json:"schemaVersion"`
			Baselines     []reconciler.BaselineEntry `json:"baselines"`
		}{1, all},
		names: names,
		list:  baselineList(all, o.app.process.Now()),
	})
}

func newBaselineDiffCmd(a *App) *cobra.Command {
	o := &baselineLookOptions{app: a}
	cmd := &cobra.Command{
		Use:   "diff ENV",
		Short: "What changed in Git since the baseline",
		Long: "Compare the baseline with what the branch asks for: the release, its components, the files of the app, the\n" +
			"shared directories, and the commits in between. What runs is another question: 'stella orch env config diff\n" +
			"ENV --baseline' answers that.",
		Example: "  stella baseline diff production",
		Args:    atMostOne,
		RunE:    func(cmd *cobra.Command, args []string) error { return o.diff(cmd, args) },
	}
	o.add(cmd)
	a.completeEnvironments(cmd)
	return exits(cmd, exitsOfQuestion())
}

func (o *baselineLookOptions) diff(cmd *cobra.Command, args []string) error {
	env, err := o.need(o.app, cmd, args)
	if err != nil {
		return err
	}
	eng, err := o.app.engine(cmd.Context())
	if err != nil {
		return err
	}
	d, err := eng.DiffBaseline(cmd.Context(), env)
	if err != nil {
		return cannotCompare(err)
	}
	var names []string
	for _, f := range d.Files {
		names = append(names, f.Path)
	}
	err = o.app.print(view{
		doc: struct {
			SchemaVersion int `json:"schemaVersion"`
			reconciler.BaselineDiff
		}{1, d},
		names: names,
		page:  func(p *page) { writeBaselineDiff(p, d) },
	})
	if err != nil {
		return err
	}
	return answer(d.Same, fmt.Sprintf("'stella rollback %s --to baseline --dry-run' shows what going back would do", env))
}

// cannotCompare is an error of a comparison: a baseline that is not to be
// believed means that nobody can tell, not that something was refused.
func cannotCompare(err error) error {
	return stella.WithHint(&outcomeError{code: exitUnknown, err: err}, stella.Hint(err))
}
