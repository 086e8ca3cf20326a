package cli

import (
	"fmt"
	"slices"
	"strings"

	"github.com/spf13/cobra"

	"github.com/stella-ops/stella"
	"github.com/stella-ops/stella/reconciler"
)

func newEnvConfigCmd(a *App) *cobra.Command {
	return group("config", "What an environment is configured to run: diff", newEnvConfigDiffCmd(a))
}

type diffOptions struct {
	app *App
	environmentFlag
	ref      string
	baseline bool
	with     string
	explain  bool
}

func newEnvConfigDiffCmd(a *App) *cobra.Command {
	o := &diffOptions{app: a}
	cmd := &cobra.Command{
		Use:   "diff ENV [--ref REV|--baseline|--with OTHER-ENV] [--explain]",
		Short: "How what runs differs from what is wanted, target by target",
		Long: "Compare what every target runs with what is wanted now: the branch, or the pin, with declared overrides. It also\n" +
			"says which files are not deployed, so that an environment is never out of sync with an empty answer. With --with,\n" +
			"compare what two environments want; no target is asked then.",
		Example: "  stella orch env config diff production\n" +
			"  stella orch env config diff production --ref production-41\n" +
			"  stella orch env config diff production --with staging --explain",
		Args: atMostOne,
		RunE: func(cmd *cobra.Command, args []string) error { return o.run(cmd, args) },
	}
	o.add(cmd)
	f := cmd.Flags()
	f.StringVar(&o.ref, "ref", "", "compare with this `revision`: commit, branch, tag or deployment")
	f.BoolVar(&o.baseline, "baseline", false, "compare with what the environment's baseline asks for, on today's targets")
	f.StringVar(&o.with, "with", "", "compare with what this other `environment` wants")
	f.BoolVar(&o.explain, "explain", false, "say of each difference which side has what, and by which rule it counts; show ignored ones too")
	cmd.MarkFlagsMutuallyExclusive("ref", "baseline", "with")
	a.completeEnvironments(cmd)
	return exits(cmd, exitsOfQuestion())
}

// diffDoc is the document of `orch env config diff`.
type diffDoc struct {
	SchemaVersion int `json:"schemaVersion"`
	reconciler.Diff
}

func (o *diffOptions) run(cmd *cobra.Command, args []string) error {
	env, err := o.need(o.app, cmd, args)
	if err != nil {
		return err
	}
	eng, err := o.app.engine(cmd.Context())
	if err != nil {
		return err
	}
	d, err := eng.Diff(cmd.Context(), reconciler.DiffRequest{
		Environment: env, Ref: o.ref, Baseline: o.baseline, With: stella.EnvName(o.with), Explain: o.explain,
	})
	if err != nil {
		return &outcomeError{code: exitUnknown, err: err} // whatever it is, nobody could tell
	}
	show := func(p *page) { writeDiff(p, d, o.explain) }
	if d.Comparison != nil {
		show = func(p *page) { writeComparison(p, d, o.explain) }
	}
	if err := o.app.print(view{doc: diffDoc{1, d}, names: differing(d), page: show}); err != nil {
		return err
	}
	return answerOfDiff(d)
}

// differing names what differs: targets, or with another environment resources.
func differing(d reconciler.Diff) []string {
	var names []string
	for _, t := range d.Targets {
		if t.Error != "" || slices.ContainsFunc(t.Changes, counts) {
			names = append(names, t.Target)
		}
	}
	if d.Comparison != nil {
		for _, x := range d.Comparison.Differences {
			if !x.Intended && !slices.Contains(names, string(x.Resource)) {
				names = append(names, string(x.Resource))
			}
		}
	}
	return names
}

func counts(c stella.Change) bool { return !c.Ignored }

// answerOfDiff is 2 wherever something could not be told, and else whether
// there is a difference, with the next command.
func answerOfDiff(d reconciler.Diff) error {
	switch unread := d.Unread(); {
	case d.Error != "":
		return stella.WithHint(&severalError{code: exitUnknown, what: fmt.Sprintf("%s: could not tell what is wanted: %s", d.Environment, d.Error)},
			"correct the file and push it; 'stella why ENV' says what runs meanwhile")
	case len(unread) > 0:
		return stella.WithHint(&severalError{code: exitUnknown, what: fmt.Sprintf("%s: %s could not be read", d.Environment, fewNames(unread))},
			fmt.Sprintf("bring %s back, then run the same command again; 'stella orch env status ENV' says more", fewNames(unread)))
	}
	return answer(!d.Drifted && !d.OutOfSync, nextAfterDiff(d))
}

// nextAfterDiff is the next command where there is a difference.
func nextAfterDiff(d reconciler.Diff) string {
	switch {
	case d.Comparison != nil:
		return fmt.Sprintf("change what is not meant to differ, or declare it under drift.intended in envs/%s/environment.yaml", d.Environment)
	case d.Against == "baseline":
		return "run 'stella orch env reset ENV --to-baseline' to go back to it"
	case isDeploymentOf(d.Environment, d.Against):
		return fmt.Sprintf("run 'stella reconcile ENV' to go on, or 'stella rollback ENV --to %s' to go back to it", d.Against)
	case d.Against != "desired":
		return fmt.Sprintf("run 'stella plan ENV --ref %s' to see what it would change", d.Against)
	case d.OutOfSync && d.Sync == stella.OutOfSync:
		return "run 'stella plan ENV' to see what a pass would do, and 'stella reconcile ENV' to carry it out"
	case d.OutOfSync:
		return "run 'stella why ENV' to see what it waits for"
	case !d.Drifted:
		return ""
	}
	return nextAfterDrift(d)
}

// shellWord is a text as it is typed: in quotes where a shell would read more
// into it.
func shellWord(s string) string {
	if s != "" && strings.Trim(s, "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789/_.:@%+,=-~") == "" {
		return s
	}
	return `"` + strings.NewReplacer(`\`, `\\`, `"`, `\"`, "$", `\$`, "`", "\\`").Replace(s) + `"`
}

// isDeploymentOf reports whether a name is a deployment's: ENV-N.
func isDeploymentOf(env stella.EnvName, name string) bool {
	n, ok := strings.CutPrefix(name, string(env)+"-")
	return ok && n != "" && strings.Trim(n, "0123456789") == ""
}

// firstCounted is the first difference that counts; nil for none.
func firstCounted(d reconciler.Diff) *stella.Change {
	for _, t := range d.Targets {
		if i := slices.IndexFunc(t.Changes, counts); i >= 0 {
			return &t.Changes[i]
		}
	}
	return nil
}

// fewNames lists names, of many the first ones.
func fewNames(names []string) string {
	const most = 5
	if len(names) <= most+1 {
		return strings.Join(names, ", ")
	}
	return fmt.Sprintf("%s and %d more", strings.Join(names[:most], ", "), len(names)-most)
}
