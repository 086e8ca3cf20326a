package cli

import (
	"fmt"
	"slices"
	"time"

	"github.com/spf13/cobra"

	"github.com/stella-ops/stella"
	"github.com/stella-ops/stella/internal/safe"
	"github.com/stella-ops/stella/internal/term"
	"github.com/stella-ops/stella/reconciler"
)

type detectOptions struct {
	app *App
	environmentFlag
	all     bool
	reports reportFlag
}

func newDriftDetectCmd(a *App) *cobra.Command {
	o := &detectOptions{app: a}
	cmd := &cobra.Command{
		Use:   "detect ENV... | --all",
		Short: "Look once whether environments drifted, for a person, cron or CI",
		Long: "Compare what every target runs with the deployment in effect. What the branch asks for and nobody deployed is\n" +
			"no drift: 'stella orch env config diff ENV' shows that. What began and what ended is kept in the ledger; nothing\n" +
			"is healed. A target that can not be read makes the exit code 2, and what was read is shown all the same.\n\n" +
			"--report writes a report besides, as often as it is given: json is the document of -o json, junit is for CI\n" +
			"systems (a suite for each environment, a case for each target), markdown for a pull request or a job's summary.\n" +
			"It takes FORMAT=FILE, or FORMAT and FILE as two words. The file is replaced as a whole; - is stdout, in place\n" +
			"of what is printed otherwise.",
		Example: "  stella drift detect production\n" +
			"  stella drift detect --all --report junit=drift.xml --report markdown=drift.md\n" +
			"  stella drift detect --all --report markdown - >> \"$GITHUB_STEP_SUMMARY\"",
		RunE: func(cmd *cobra.Command, args []string) error { return o.run(cmd, args) },
	}
	o.add(cmd)
	cmd.Flags().BoolVar(&o.all, "all", false, "all environments")
	o.reports.args = cmd.Flags().NArg
	cmd.Flags().Var(&o.reports, "report", "write `FORMAT=FILE` too: json, junit or markdown; - for stdout")
	a.completeEnvironments(cmd)
	return exits(cmd, exitsOfQuestion())
}

// detectDoc is the document of `drift detect`.
type detectDoc struct {
	SchemaVersion int               `json:"schemaVersion"`
	Environments  []reconciler.Diff `json:"environments"`
}

func (o *detectOptions) run(cmd *cobra.Command, args []string) error {
	reports, args, err := o.reports.take(cmd, args)
	if err != nil {
		return err
	}
	if stdout(reports) && o.app.flags.output != "" {
		return usage(cmd, "-o and a report on stdout: want one of them")
	}
	envs, err := severalEnvironments(cmd, o.name, args, o.all)
	if err != nil {
		return err
	}
	if len(envs) == 1 {
		o.app.environment = envs[0]
	}
	started := o.app.process.Now()
	eng, err := o.app.engine(cmd.Context())
	if err != nil {
		return o.untold(reports, envs, started, err)
	}
	found, err := eng.Detect(cmd.Context(), reconciler.DetectRequest{Environments: envs})
	if err != nil {
		// Whatever it is, nobody could tell.
		return o.untold(reports, envs, started, &outcomeError{code: exitUnknown, err: err})
	}
	if len(found) == 0 {
		o.app.note("no environments: add envs/NAME/environment.yaml, or run 'stella init'")
	}
	if !stdout(reports) {
		if err := o.app.print(detectView(found)); err != nil {
			return err
		}
	}
	if err := o.app.writeReports(reports, detected{found, started, o.app.process.Now().Sub(started)}); err != nil {
		return stella.WithHint(&outcomeError{code: exitUnknown, err: err}, "name a file that can be written with --report FORMAT=FILE, then run the same command again")
	}
	return o.answer(found)
}

// untold writes reports that say why nobody can tell, in place of those of an
// earlier look, which may say that all is well. It returns the error.
func (o *detectOptions) untold(reports []report, envs []stella.EnvName, started time.Time, err error) error {
	files := slices.DeleteFunc(slices.Clone(reports), func(r report) bool { return r.file == "-" })
	if len(envs) == 0 {
		envs = []stella.EnvName{"--all"} // no environment is called so
	}
	d := detected{at: started, took: o.app.process.Now().Sub(started)}
	for _, env := range envs {
		d.environments = append(d.environments, reconciler.Diff{Environment: env, ObservedAt: started, Error: safe.Line(err.Error())})
	}
	if unwritten := o.app.writeReports(files, d); unwritten != nil {
		o.app.note("%v", unwritten)
	}
	return err
}

func detectView(found []reconciler.Diff) view {
	var names []string
	for _, d := range found {
		if d.Drifted || !wholly(d) {
			names = append(names, string(d.Environment))
		}
	}
	return view{doc: detectDoc{1, found}, names: names, page: func(p *page) {
		for i, d := range found {
			if i > 0 {
				p.line(term.Plain, "")
			}
			writeDetected(p, d)
		}
	}}
}

// wholly reports whether every target was read.
func wholly(d reconciler.Diff) bool { return d.Error == "" && len(d.Unread()) == 0 }

// answer is 2 wherever something could not be told, and else whether something
// drifted, with the next command for the first that did.
func (o *detectOptions) answer(found []reconciler.Diff) error {
	var unknown, drifted []string
	var first reconciler.Diff
	for _, d := range found {
		switch {
		case !wholly(d):
			if unknown = append(unknown, string(d.Environment)); len(unknown) == 1 {
				first = d
			}
		case d.Drifted:
			if drifted = append(drifted, string(d.Environment)); len(drifted) == 1 && len(unknown) == 0 {
				first = d
			}
		}
	}
	if first.Environment != "" {
		o.app.environment = first.Environment
	}
	hint := fmt.Sprintf("run 'stella why %s', then the same command again", first.Environment)
	switch {
	case len(unknown) > 0 && len(found) > 1:
		return stella.WithHint(&severalError{code: exitUnknown, what: "could not tell of all of " + fewNames(unknown)}, hint)
	case len(unknown) > 0 && len(first.Targets) == 0:
		return stella.WithHint(&severalError{code: exitUnknown, what: fmt.Sprintf("%s: could not tell: %s", first.Environment, first.Error)}, hint)
	case len(unknown) > 0:
		return answerOfDiff(first)
	}
	return answer(len(drifted) == 0, nextAfterDrift(first))
}

// writeDetected is the page of one environment.
func writeDetected(p *page, d reconciler.Diff) {
	if d.Error != "" && len(d.Targets) == 0 {
		p.wrapped(term.Bad, "", fmt.Sprintf("%s: could not tell: %s", d.Environment, d.Error))
		return
	}
	writeDiff(p, d, false)
}

// nextAfterDrift are the answers to a drift that are not refused, for the first
// difference.
func nextAfterDrift(d reconciler.Diff) string {
	const heal = "run 'stella reconcile ENV' to bring it back"
	first := firstCounted(d)
	if first == nil {
		return heal
	}
	where, with := shellWord(string(first.Resource)), ""
	if first.Path != "" {
		where += " " + shellWord(first.Path)
	}
	switch {
	case first.Severity == stella.SeverityCritical:
		with = " --force " + reconciler.ForceCritical + " --until DAY"
	case first.Path == "":
		with = " --until DAY"
	}
	ignore := fmt.Sprintf("'stella drift ignore ENV %s --reason WHY%s' to let it be", where, with)
	if reconciler.WhyNotAdopted(*first) != "" {
		return fmt.Sprintf("%s, or %s", heal, ignore)
	}
	return fmt.Sprintf("%s, %s, or 'stella drift adopt ENV %s' to take it over", heal, ignore, where)
}
