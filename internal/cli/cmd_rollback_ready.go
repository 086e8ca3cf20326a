package cli

import (
	"fmt"
	"slices"
	"strings"

	"github.com/spf13/cobra"

	"github.com/stella-ops/stella"
	"github.com/stella-ops/stella/internal/term"
	"github.com/stella-ops/stella/reconciler"
)

type rollbackReadyOptions struct {
	app *App
	environmentFlag
}

func newRollbackReadyCmd(a *App) *cobra.Command {
	o := &rollbackReadyOptions{app: a}
	cmd := &cobra.Command{
		Use:   "ready [ENV…]",
		Short: "Say what each environment could go back to now, and what blocks it",
		Long: "For each environment, or those that are named, list the deployments that it could go back to, in the order\n" +
			"in which rollbacks would, and run the preflight of a rollback to each: every target is asked and every\n" +
			"artifact looked for. Nothing is changed and no lock is taken. An environment is ready when 'stella rollback'\n" +
			"would begin now.",
		Example: "  stella rollback ready\n  stella rollback ready production staging -o json",
		RunE:    func(cmd *cobra.Command, args []string) error { return o.run(cmd, args) },
	}
	o.add(cmd)
	a.completeEnvironments(cmd)
	return exits(cmd, exitsOfQuestion())
}

func (o *rollbackReadyOptions) run(cmd *cobra.Command, args []string) error {
	if len(args) == 0 && o.name != "" {
		args = []string{o.name}
	}
	envs := make([]stella.EnvName, len(args))
	for i, arg := range args {
		envs[i] = stella.EnvName(arg)
	}
	eng, err := o.app.engine(cmd.Context())
	if err != nil {
		return err
	}
	all, err := eng.Ready(cmd.Context(), envs...)
	if err != nil {
		return err
	}
	if len(all) == 0 {
		o.app.note("no environments: add envs/NAME/environment.yaml, or run 'stella init'")
	}
	err = o.app.print(view{
		doc: struct {
			SchemaVersion int                               `json:"schemaVersion"`
			Environments  []reconciler.EnvironmentReadiness `json:"environments"`
		}{1, all},
		names: readyNames(all),
		page:  func(p *page) { writeReady(p, all) },
	})
	if err != nil {
		return err
	}
	return o.answer(all)
}

// answer is the worst of all environments: one of which nobody can tell, then
// one that is not ready.
func (o *rollbackReadyOptions) answer(all []reconciler.EnvironmentReadiness) error {
	for _, r := range all {
		if r.Error != "" {
			return stella.WithHint(&severalError{code: exitUnknown, what: fmt.Sprintf("%s: could not tell: %s", r.Environment, r.Error)},
				fmt.Sprintf("run 'stella why %s'", r.Environment))
		}
	}
	i := slices.IndexFunc(all, func(r reconciler.EnvironmentReadiness) bool { return !r.Ready })
	if i < 0 {
		return nil
	}
	o.app.environment = all[i].Environment
	return answer(false, wayOut(all[i]))
}

func wayOut(r reconciler.EnvironmentReadiness) string {
	for _, f := range blockers(r) {
		if f.Fix != "" {
			return f.Fix
		}
	}
	return "run 'stella rollback ENV --dry-run' to see the whole plan"
}

// blockers are why a rollback would not begin now.
func blockers(r reconciler.EnvironmentReadiness) []reconciler.Finding {
	if len(r.Candidates) > 0 {
		return r.Candidates[0].Blockers
	}
	return r.Blockers
}

// readyNames are the deployments that could be gone back to.
func readyNames(all []reconciler.EnvironmentReadiness) []string {
	var names []string
	for _, r := range all {
		for _, c := range r.Candidates {
			if c.Ready {
				names = append(names, c.Deployment)
			}
		}
	}
	return names
}

func writeReady(p *page, all []reconciler.EnvironmentReadiness) {
	for i, r := range all {
		if i > 0 {
			p.line(term.Plain, "")
		}
		title, style := readyTitle(r)
		p.line(style, "%s: %s", r.Environment, title)
		l := &list{columns: columns("DEPLOYMENT", "RELEASE", "READY", "VERIFIED", "~BLOCKED BY", "+NOTES")}
		for _, c := range r.Candidates {
			l.add(text(c.Deployment), text(c.Release), yesNo(c.Ready), p.when(c.VerifiedAt), text(codesOf(c.Blockers)), text(strings.Join(c.Warnings, "; ")))
		}
		p.table(l)
		if n := r.Restorable; n.Wanted > 0 {
			p.line(term.Plain, "restorable: %d of %d; in the registry %d, in the backup %d, on the targets %d", n.Versions, n.Wanted, n.Registry, n.Backup, n.Targets)
		}
		for _, warning := range r.Warnings {
			p.wrapped(term.Warn, "  ", warning)
		}
		writeBlockers(p, "", r.Blockers)
		for _, c := range r.Candidates {
			writeBlockers(p, c.Deployment+": ", c.Blockers)
		}
	}
}

func readyTitle(r reconciler.EnvironmentReadiness) (string, term.Style) {
	switch {
	case r.Error != "":
		return "could not tell: " + r.Error, term.Bad
	case r.Ready:
		return "ready, to " + r.To, term.Good
	case r.To != "":
		return "not ready, to " + r.To, term.Bad
	}
	return "not ready", term.Bad
}

// writeBlockers explains each with its way out.
func writeBlockers(p *page, whose string, found []reconciler.Finding) {
	for _, f := range found {
		p.wrapped(term.Warn, "  ", whose+f.Code+": "+f.Message)
		if f.Fix != "" {
			p.wrapped(term.Plain, "    ", "fix: "+f.Fix)
		}
	}
}

// codesOf names each kind of blocker once.
func codesOf(found []reconciler.Finding) string {
	var codes []string
	for _, f := range found {
		if !slices.Contains(codes, f.Code) {
			codes = append(codes, f.Code)
		}
	}
	return join(codes)
}

func yesNo(ok bool) term.Cell {
	if ok {
		return styled(term.Good, "yes")
	}
	return styled(term.Bad, "no")
}
