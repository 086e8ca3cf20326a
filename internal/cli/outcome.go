package cli

import (
	"cmp"
	"errors"
	"fmt"
	"strings"

	"github.com/stella-ops/stella"
	"github.com/stella-ops/stella/reconciler"
)

// outcomeError says that a request was carried out and did not end well. Its
// document was printed.
type outcomeError struct {
	code int
	err  error
}

func (o *outcomeError) Error() string { return o.err.Error() }
func (o *outcomeError) Unwrap() error { return o.err }

// severalError says that some of several requests did not end well; each was
// told already.
type severalError struct {
	code int
	what string
}

func (s *severalError) Error() string { return s.what }

// outcomeDoc is the document of a request: a deploy, a rollback, one
// environment of a pass.
type outcomeDoc struct {
	Environment stella.EnvName       `json:"environment"`
	Deployment  *stella.Deployment   `json:"deployment"` // that carried it out, by whomever
	Rollback    *stella.Deployment   `json:"rollback"`   // the automatic one that followed
	Nothing     bool                 `json:"nothing"`
	Committed   bool                 `json:"committed"` // it was a commit and nothing else
	Detached    bool                 `json:"detached"`
	Offline     bool                 `json:"offline"` // without the config repository
	Sync        stella.Sync          `json:"sync"`
	Reason      string               `json:"reason"`
	Commit      string               `json:"commit"`
	Proposal    *reconciler.Proposal `json:"proposal"`
	ExitCode    int                  `json:"exitCode"`
	Error       *failure             `json:"error"` // why it could not be carried out
}

func newOutcomeDoc(env stella.EnvName, o reconciler.Outcome) outcomeDoc {
	return outcomeDoc{
		Environment: env, Deployment: o.Deployment, Rollback: o.Rollback, Nothing: o.Nothing, Committed: o.Committed, Detached: o.Detached, Offline: o.Offline,
		Sync: o.Sync, Reason: o.Reason, Commit: o.Commit, Proposal: o.Proposal, ExitCode: exitOfOutcome(o),
	}
}

// printOutcome prints how a request ended and returns what its exit code is
// made from. An error with a deployment to show is shown with it.
func (a *App) printOutcome(env stella.EnvName, o reconciler.Outcome, err error) error {
	if err != nil && o.Deployment == nil {
		return err
	}
	doc := newOutcomeDoc(env, o)
	if err != nil {
		err = &outcomeError{code: a.exitOf(o, err), err: err}
		f := a.failure(err)
		doc.Error, doc.ExitCode = &f, f.ExitCode
	}
	printed := a.print(view{
		doc: struct {
			SchemaVersion int `json:"schemaVersion"`
			outcomeDoc
		}{1, doc},
		names: outcomeNames(o),
		list:  outcomeList(doc),
	})
	if err == nil {
		err = verdict(env, o)
	}
	if err == nil && printed != nil {
		return fmt.Errorf("%s is %s: %w", env, orDone(o.Sync), printed)
	}
	return err
}

// orDone is what became of an environment, for a result that could not be
// written.
func orDone(s stella.Sync) string {
	if s == "" {
		return "done"
	}
	return string(s)
}

func outcomeNames(o reconciler.Outcome) []string {
	var names []string
	for _, d := range []*stella.Deployment{o.Deployment, o.Rollback} {
		if d != nil {
			names = append(names, d.ID)
		}
	}
	if o.Committed {
		names = append(names, o.Commit)
	}
	return names
}

func outcomeList(docs ...outcomeDoc) *list {
	l := &list{columns: columns("ENVIRONMENT", "DEPLOYMENT", "KIND", "STATUS", "RELEASE", "SYNC", "TOOK", "+COMMIT")}
	for _, doc := range docs {
		for _, d := range []*stella.Deployment{doc.Deployment, doc.Rollback} {
			if d != nil && !doc.Nothing {
				l.add(text(string(doc.Environment)), text(d.ID), text(string(d.Kind)), styled(styleOfStatus(d.Status), string(d.Status)),
					text(d.Release), styled(styleOfSync(doc.Sync), string(doc.Sync)), duration(d.DurationSeconds), gitID(d.Commit))
			}
		}
		if doc.Deployment == nil || doc.Nothing {
			d := orZero(doc.Deployment)
			l.add(text(string(doc.Environment)), text(d.ID), text(""), text(nothingWord(doc)), text(d.Release),
				styled(styleOfSync(doc.Sync), string(doc.Sync)), text(""), gitID(doc.Commit))
		}
	}
	return l
}

func orZero(d *stella.Deployment) stella.Deployment {
	if d == nil {
		return stella.Deployment{}
	}
	return *d
}

func nothingWord(doc outcomeDoc) string {
	switch {
	case doc.Error != nil:
		return doc.Error.Code
	case doc.Proposal != nil:
		return "proposed"
	case doc.Committed:
		return "committed"
	case doc.Detached:
		return "recorded"
	case doc.ExitCode != exitDone:
		return "not done"
	}
	return "nothing to do"
}

// verdict puts in words why a request did not simply end well, and what to do
// next; nil when it did.
func verdict(env stella.EnvName, o reconciler.Outcome) error {
	code := exitOfOutcome(o)
	if code == exitDone {
		return nil
	}
	what, hint := verdictWords(env, o)
	return stella.WithHint(&outcomeError{code: code, err: errors.New(what)}, hint)
}

func verdictWords(env stella.EnvName, o reconciler.Outcome) (what, hint string) {
	d := o.Deployment
	switch {
	case o.Rollback != nil && o.Rollback.Status == stella.Succeeded && o.Proposal != nil && o.Sync == stella.Pinned:
		return fmt.Sprintf("%s; %s is back on %s (%s), verified, and pinned to it: %s waits for review",
				because(d), env, o.Rollback.Restores, o.Rollback.Release, o.Proposal.Where()),
			fmt.Sprintf("merge it: the pin ends by itself; 'stella rollback trace %s' has the steps", d.ID)
	case o.Rollback != nil && o.Rollback.Status == stella.Succeeded:
		return fmt.Sprintf("%s; %s is back on %s (%s), verified", because(d), env, o.Rollback.Restores, o.Rollback.Release),
			fmt.Sprintf("run 'stella rollback trace %s' for the steps, then deploy a fix", d.ID)
	case o.Rollback != nil:
		return fmt.Sprintf("%s; its automatic rollback %s", because(d), because(o.Rollback)),
			fmt.Sprintf("run 'stella rollback status %s' to see what runs where", env)
	case d != nil && d.Status != stella.Succeeded:
		return because(d), hintOfStatus(env, *d)
	case o.Offline:
		return fmt.Sprintf("%s is back on %s, verified; the config repository does not know that yet", env, d.Restores),
			fmt.Sprintf("when it answers, 'stella reconcile %s' or the daemon records it and proposes the revert", env)
	case o.Proposal != nil && o.Sync == stella.Pinned && d != nil:
		return fmt.Sprintf("%s is back on %s, verified, and pinned to it: %s waits for review", env, d.Restores, o.Proposal.Where()),
			"merge it: the pin ends by itself; 'stella why " + string(env) + "' shows it until then"
	case o.Proposal != nil:
		return fmt.Sprintf("%s waits for review", o.Proposal.Where()), "merge it; 'stella why " + string(env) + "' shows when it is in effect"
	}
	what = fmt.Sprintf("%s is %s", env, o.Sync)
	if o.Reason != "" {
		what += ": " + o.Reason
	}
	if o.Sync == stella.Held {
		return what, fmt.Sprintf("run 'stella orch holds release %s --hold ID --reason …' if it is good now, or deploy a fix; 'stella why %s' has more", env, env)
	}
	return what, fmt.Sprintf("run 'stella why %s'", env)
}

// because is a deployment's end in words.
func because(d *stella.Deployment) string {
	if d == nil {
		return "the deployment did not succeed"
	}
	what := fmt.Sprintf("%s %s", d.ID, d.Status)
	if d.Status.Open() {
		what = fmt.Sprintf("%s is still %s", d.ID, d.Status)
	}
	if owed := owedBy(*d); d.Error != "" {
		what += ": " + d.Error
	} else if owed != "" {
		what += ": " + owed + " could not be reached"
	}
	return what
}

// owedBy lists the targets that a deployment still has to be brought to.
func owedBy(d stella.Deployment) string {
	var owed []string
	for _, t := range d.Targets {
		if t.Status == stella.TargetOwed {
			owed = append(owed, t.Name)
		}
	}
	return strings.Join(owed, ", ")
}

func hintOfStatus(env stella.EnvName, d stella.Deployment) string {
	switch d.Status {
	case stella.Errored:
		return fmt.Sprintf("nothing was touched; mend that, then run 'stella reconcile %s'", env)
	case stella.Partial:
		if owed := owedBy(d); owed != "" && d.Error == "" {
			return fmt.Sprintf("bring %s back, then run 'stella reconcile %s'; the daemon does it by itself", owed, env)
		}
		return fmt.Sprintf("run 'stella orch env status %s --detailed', then 'stella reconcile %s' or 'stella rollback %s'", env, env, env)
	case stella.Aborted:
		return fmt.Sprintf("run 'stella reconcile %s' to go on or 'stella rollback %s' to go back", env, env)
	case stella.Superseded:
		return fmt.Sprintf("a newer one took its place: run 'stella orch deployments list %s'", env)
	case stella.Pending, stella.Running:
		return fmt.Sprintf("run 'stella why %s' to see what it waits for", env)
	case stella.Failed, stella.Succeeded:
	}
	return fmt.Sprintf("run 'stella rollback trace %s' for the steps, then 'stella rollback %s' or deploy a fix", d.ID, env)
}

// pass is one environment's part of a command over several.
type pass struct {
	env     stella.EnvName
	outcome reconciler.Outcome
	err     error
}

// printPasses prints several outcomes as one document and returns the worst.
func (a *App) printPasses(passes []pass) error {
	docs := []outcomeDoc{}
	var names []string
	var codes []int
	for _, p := range passes {
		doc := newOutcomeDoc(p.env, p.outcome)
		a.environment = p.env
		if err := p.end(a); err != nil {
			f := a.failure(err)
			if len(passes) > 1 {
				a.complain(f)
			}
			doc.ExitCode = f.ExitCode
			if p.err != nil {
				doc.Error = &f
			}
		}
		docs, codes, names = append(docs, doc), append(codes, doc.ExitCode), append(names, outcomeNames(p.outcome)...)
	}
	printed := a.print(view{
		doc: struct {
			SchemaVersion int          `json:"schemaVersion"`
			Environments  []outcomeDoc `json:"environments"`
		}{1, docs},
		names: names,
		list:  outcomeList(docs...),
	})
	if len(passes) == 1 {
		return cmp.Or(passes[0].end(a), printed)
	}
	return several(codes, len(codes), printed)
}

// end is how the pass ended, in words and with its exit code; nil for well.
func (p pass) end(a *App) error {
	if p.err == nil {
		return verdict(p.env, p.outcome)
	}
	return &outcomeError{code: a.exitOf(p.outcome, p.err), err: p.err}
}

// several sums the exit codes of n environments up. Where all ended well it is
// otherwise that counts.
func several(codes []int, n int, otherwise error) error {
	code := worst(codes)
	if code == exitDone {
		return otherwise
	}
	return &severalError{code: code, what: fmt.Sprintf("%d of %s did not end well", notDone(codes), count(n, "environment"))}
}

func notDone(codes []int) int {
	n := 0
	for _, c := range codes {
		if c != exitDone {
			n++
		}
	}
	return n
}
