package cli

import (
	"github.com/spf13/cobra"

	"github.com/stella-ops/stella"
	"github.com/stella-ops/stella/internal/term"
	"github.com/stella-ops/stella/ledger"
)

type dbVerifyOptions struct {
	app *App
	environmentFlag
}

func newDBVerifyCmd(a *App) *cobra.Command {
	o := &dbVerifyOptions{app: a}
	cmd := &cobra.Command{
		Use:   "verify [ENV]",
		Short: "Prove the ledger: every transition, replayed",
		Long: "Read the whole chain of each environment's ledger and replay it: objects, order, every transition, the\n" +
			"state after it and the commits that it names.",
		Example: "  stella orch db verify\n  stella orch db verify production -o json",
		Args:    atMostOne,
		RunE:    func(cmd *cobra.Command, args []string) error { return o.run(cmd, args) },
	}
	o.add(cmd)
	a.completeEnvironments(cmd)
	return exits(cmd, exitsOfQuestion())
}

// verifiedLedger is one environment of the document of `orch db verify`.
type verifiedLedger struct {
	Environment stella.EnvName  `json:"environment"`
	Transitions int64           `json:"transitions"`
	OK          bool            `json:"ok"`
	Findings    []ledgerFinding `json:"findings"`
}

type ledgerFinding struct {
	Code    string `json:"code"`
	Message string `json:"message"`
	At      string `json:"at"` // the commit of the ledger
	Fix     string `json:"fix"`
	Warning bool   `json:"warning"` // does not make it not ok
}

func (o *dbVerifyOptions) run(cmd *cobra.Command, args []string) error {
	env, err := o.take(o.app, cmd, args)
	if err != nil {
		return err
	}
	eng, err := o.app.engine(cmd.Context())
	if err != nil {
		return err
	}
	reports, err := eng.VerifyLedger(cmd.Context(), env)
	if err != nil {
		return err
	}
	if env != "" && len(reports) == 1 && reports[0].Transitions == 0 {
		// No ledger: of an environment without a deployment, or of none at all.
		if _, err := eng.Book(cmd.Context(), env); err != nil {
			return err
		}
	}
	ok, all := verifiedLedgers(reports)
	err = o.app.print(view{
		doc: struct {
			SchemaVersion int              `json:"schemaVersion"`
			OK            bool             `json:"ok"`
			Environments  []verifiedLedger `json:"environments"`
		}{1, ok, all},
		names: ledgersWithFindings(all),
		page:  func(p *page) { writeLedgers(p, all) },
	})
	if err != nil {
		return err
	}
	return answer(ok, firstFix(all))
}

func verifiedLedgers(reports []ledger.Report) (ok bool, all []verifiedLedger) {
	ok = true
	for _, r := range reports {
		v := verifiedLedger{Environment: r.Environment, Transitions: r.Transitions, OK: r.OK()}
		for _, f := range r.Findings {
			v.Findings = append(v.Findings, ledgerFinding{f.Code, f.Message, f.At, f.Fix, f.Warning})
		}
		ok = ok && v.OK
		all = append(all, v)
	}
	return ok, all
}

// firstFix is what to do about the first finding that makes a ledger not ok.
func firstFix(all []verifiedLedger) string {
	for _, v := range all {
		for _, f := range v.Findings {
			if !f.Warning {
				return f.Fix
			}
		}
	}
	return ""
}

func ledgersWithFindings(all []verifiedLedger) []string {
	var names []string
	for _, v := range all {
		if !v.OK {
			names = append(names, string(v.Environment))
		}
	}
	return names
}

func writeLedgers(p *page, all []verifiedLedger) {
	for _, v := range all {
		if v.OK {
			p.line(term.Good, "%s: ok, %s replayed", v.Environment, count(int(v.Transitions), "transition"))
		} else {
			p.line(term.Bad, "%s: does not add up, %s replayed", v.Environment, count(int(v.Transitions), "transition"))
		}
		for _, f := range v.Findings {
			style := term.Bad
			if f.Warning {
				style = term.Warn
			}
			p.indented(style, "%s at %s: %s", f.Code, shortID(f.At), f.Message)
			if f.Fix != "" {
				p.indented(term.Plain, "  %s", f.Fix)
			}
		}
	}
}
