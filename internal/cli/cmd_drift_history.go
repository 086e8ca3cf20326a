package cli

import (
	"fmt"
	"time"

	"github.com/spf13/cobra"

	"github.com/stella-ops/stella"
	"github.com/stella-ops/stella/internal/term"
	"github.com/stella-ops/stella/ledger"
)

type driftHistoryOptions struct {
	app *App
	environmentFlag
}

func newDriftHistoryCmd(a *App) *cobra.Command {
	o := &driftHistoryOptions{app: a}
	cmd := &cobra.Command{
		Use:   "history ENV",
		Short: "What drifted, since when, how long, and how it ended",
		Long: "List the findings of drift of an environment, those that are open first and then the others, the newest\n" +
			"first. It is read from the ledger: no target is asked. A finding ends healed (a deployment brought it back),\n" +
			"adopted (what is wanted took over what runs), ignored (a rule covers it), or it went away by itself.",
		Example: "  stella drift history production\n  stella drift history production -o json",
		Args:    atMostOne,
		RunE:    func(cmd *cobra.Command, args []string) error { return o.run(cmd, args) },
	}
	o.add(cmd)
	a.completeEnvironments(cmd)
	return exits(cmd, exitsOfReading())
}

func (o *driftHistoryOptions) run(cmd *cobra.Command, args []string) error {
	env, err := o.need(o.app, cmd, args)
	if err != nil {
		return err
	}
	eng, err := o.app.engine(cmd.Context())
	if err != nil {
		return err
	}
	book, err := eng.Book(cmd.Context(), env)
	if err != nil {
		return err
	}
	now, all := o.app.process.Now(), book.Drift.History()
	if len(all) == 0 {
		o.app.note("nothing was found to drift in %s, as far as was looked: run 'stella drift detect %[1]s'", env)
	}
	if n := book.Drift.Uncounted; n > 0 {
		o.app.note("%s more than these: run 'stella orch env config diff %s' to see them all", count(n, "difference"), env)
	}
	doc := driftHistoryDoc{SchemaVersion: 1, Environment: env, Uncounted: book.Drift.Uncounted, Findings: []findingDoc{}}
	for _, f := range all {
		doc.Findings = append(doc.Findings, findingDoc{f, f.Duration(now).Seconds(), f.Open()})
	}
	return o.app.print(view{doc: doc, names: findingNames(all), list: findingList(now, book.Drift)})
}

// driftHistoryDoc is the document of `drift history`.
type driftHistoryDoc struct {
	SchemaVersion int            `json:"schemaVersion"`
	Environment   stella.EnvName `json:"environment"`
	Uncounted     int            `json:"uncounted"`
	Findings      []findingDoc   `json:"findings"`
}

type findingDoc struct {
	stella.DriftFinding

	DurationSeconds float64 `json:"durationSeconds"`
	Open            bool    `json:"open"`
}

// findingNames are the resources that differ now.
func findingNames(all []stella.DriftFinding) []string {
	var names []string
	for _, f := range all {
		if f.Open() {
			names = append(names, f.Target+" "+string(f.Resource)+f.Path)
		}
	}
	return names
}

func findingList(now time.Time, d ledger.Drift) *list {
	l := &list{columns: columns("~TARGET", "~RESOURCE", "~PATH", "CLASS", "SINCE", "LASTED", "ENDED", "+SEVERITY", "+LAST SEEN", "+ENDED AT")}
	for _, f := range d.History() {
		end, how := term.Cell{}, text(string(f.Ended))
		if f.Open() {
			how = styled(term.Warn, "open")
		} else {
			end = age(now, *f.EndedAt)
		}
		lasted := f.Duration(now)
		l.add(text(f.Target), text(string(f.Resource)), text(f.Path), text(string(f.Class)), age(now, f.FirstSeen),
			term.Cell{Text: span(lasted), Machine: fmt.Sprintf("%.3f", lasted.Seconds())}, how,
			text(string(f.Severity)), age(now, f.LastSeen), end)
	}
	return l
}
