package baseline

import (
	"fmt"
	"maps"
	"slices"
	"strings"
	"time"

	"github.com/stella-ops/stella"
	"github.com/stella-ops/stella/configrepo"
	"github.com/stella-ops/stella/internal/safe"
	"github.com/stella-ops/stella/ledger"
)

// The codes of objections. They are part of the contract: never renamed.
const (
	NotVerified  = "not-verified"
	InProgress   = "in-progress"
	Owed         = "target-owed"
	Held         = "held"
	Pinned       = "pinned"
	Stopped      = "stopped"
	NotOnBranch  = "not-on-branch"
	Unrenderable = "unrenderable"
	Undigested   = "digest-missing"
	Temporary    = "override-ends"
	Unreachable  = "target-unreachable"
	Unhealthy    = "unhealthy"
	Drifted      = "drifted"
)

// Candidate is a deployment that somebody wants to be the baseline, with all that
// was found out about it.
type Candidate struct {
	Deployment stella.Deployment
	Book       ledger.Book
	// InEffect: it is what is to run now, and Targets and Checks say how it does.
	// An older one was healthy when it was verified, and that is on record.
	InEffect bool
	Hold     *stella.Hold // that forbids its content; nil for none
	Pinned   string       // what waits for review while it runs; empty where it is not pinned
	// Commit is one of the branch that has its app tree; empty where none was found,
	// and then NoCommit says why.
	Commit   string
	NoCommit string
	// Release is its release.yaml at Commit, Rendered the digest of what Commit
	// renders to now, and Invalid why it does not.
	Release  *configrepo.ReleaseFile
	Rendered stella.Digest
	Invalid  error
	Targets  []Target
	Checks   []Check
	Now      time.Time
}

// Target is what one target said now.
type Target struct {
	Name    string
	Err     error           // why it could not be observed
	Trouble string          // what does not run or is not healthy; empty for nothing
	Changes []stella.Change // against the deployment; ignored ones may be among them
}

// Check is how one of the environment's checks went now.
type Check struct {
	Name, Target string // Target is empty for one of the whole environment
	OK           bool
	Error        string
}

// Objection is one reason why a deployment can not be the baseline.
type Objection struct {
	Code    string
	Target  string // empty for the whole environment
	Message string
	Fix     string // the next command to run
}

// Objections are all reasons why the candidate can not be the baseline: none for
// one that can.
func (c Candidate) Objections() []Objection {
	var out []Objection
	object := func(code, fix, format string, args ...any) {
		out = append(out, Objection{Code: code, Message: fmt.Sprintf(format, args...), Fix: fix})
	}
	d, env := c.Deployment, c.Deployment.Environment
	others := fmt.Sprintf("run 'stella orch deployments list %s --status succeeded' and name one of those with --deployment", env)
	status := fmt.Sprintf("run 'stella orch env status %s --detailed'", env)
	if d.Status != stella.Succeeded {
		object(NotVerified, others, "%s was never verified, it is %s", d.ID, d.Status)
	}
	if running, ok := c.Book.Running(); ok {
		object(InProgress, fmt.Sprintf("run 'stella rollback status %s --follow' to see it through", env), "%s is running", running.ID)
	}
	if c.Hold != nil {
		object(Held, fmt.Sprintf("run 'stella orch holds release %s --hold %s --reason …' if it is good now", env, c.Hold.ID),
			"what %s brought is held since %s by %s: %s", d.ID, c.Hold.Since.UTC().Format(time.DateOnly), safe.Line(c.Hold.By), safe.Line(c.Hold.Reason))
	}
	if c.InEffect {
		c.inEffect(object, status)
	}
	c.written(object, others)
	return append(out, c.seen()...)
}

// inEffect objects to how the environment stands.
func (c Candidate) inEffect(object func(code, fix, format string, args ...any), status string) {
	env := c.Deployment.Environment
	if owed := c.Book.State.Owed; len(owed) > 0 {
		object(Owed, fmt.Sprintf("bring them back, then run 'stella reconcile %s'", env), "%s still owes %s", c.Deployment.ID, strings.Join(owed, ", "))
	}
	if c.Book.State.Current != c.Deployment.ID && c.Deployment.Status == stella.Succeeded {
		object(NotVerified, status, "%s was verified, and something else touched the targets since", c.Deployment.ID)
	}
	if c.Pinned != "" {
		object(Pinned, "merge it, then run the same command again", "it is pinned: %s is not merged", c.Pinned)
	}
	again := fmt.Sprintf("run 'stella reconcile %s' to start it again", env)
	switch s := c.Book.State; {
	case s.Stopped != nil:
		object(Stopped, again, "it was %s on its targets by %s at %s", s.Stopped.How, safe.Line(s.Stopped.By), s.Stopped.At.UTC().Format(time.RFC3339))
	case s.Summary.Health == stella.HealthUnknown && s.Summary.Reason != "" && s.Current == c.Deployment.ID:
		object(Stopped, again, "%s", safe.Line(s.Summary.Reason))
	}
}

// written objects to what the repository has of the candidate.
func (c Candidate) written(object func(code, fix, format string, args ...any), others string) {
	d := c.Deployment
	if c.Commit == "" {
		object(NotOnBranch, others, "no commit of the branch has the app of %s: %s", d.ID, c.NoCommit)
		return
	}
	if c.Release != nil {
		if len(c.Release.Undigested) > 0 {
			object(Undigested, "run 'stella validate --fix' in a clone, commit and deploy that", "%s has no digest", strings.Join(c.Release.Undigested, ", "))
		}
		for _, o := range c.Release.Overrides {
			if !o.Until.IsZero() && !o.Ended(c.Now) {
				object(Temporary, "deploy what is to stay, or wait for its end", "%s is overridden until %s only: a baseline does not change with time",
					strings.Join(slices.Sorted(maps.Keys(o.Components)), ", "), o.Until.UTC().Format(time.RFC3339))
			}
		}
	}
	switch {
	case c.Invalid != nil:
		object(Unrenderable, others, "what %s brought can not be used today: %s", d.ID, strings.ReplaceAll(c.Invalid.Error(), "\n", "; "))
	case c.Rendered != d.Desired:
		object(Unrenderable, others, "commit %.12s renders to %s today, and %s brought %s", c.Commit, c.Rendered.Short(), d.ID, d.Desired.Short())
	}
}

// mostChanges is how many differences of a target are named.
const mostChanges = 3

// seen objects to what targets and checks said.
func (c Candidate) seen() []Objection {
	var out []Objection
	env := c.Deployment.Environment
	for _, t := range c.Targets {
		object := func(code, fix, what string) {
			out = append(out, Objection{Code: code, Target: t.Name, Message: t.Name + ": " + what, Fix: fix})
		}
		switch {
		case t.Err != nil:
			fix := stella.Hint(t.Err)
			if fix == "" {
				fix = fmt.Sprintf("bring %s back, then run the same command again", t.Name)
			}
			object(Unreachable, fix, t.Err.Error())
			continue
		case t.Trouble != "":
			object(Unhealthy, fmt.Sprintf("run 'stella orch env status %s --detailed'", env), t.Trouble)
		}
		if found := counted(t.Changes); len(found) > 0 {
			object(Drifted, fmt.Sprintf("run 'stella orch env config diff %s' to see it, then heal ('stella reconcile %[1]s'), adopt or ignore it", env), inWords(found))
		}
	}
	for _, k := range c.Checks {
		if !k.OK {
			where := ""
			if k.Target != "" {
				where = k.Target + ": "
			}
			out = append(out, Objection{
				Code: Unhealthy, Target: k.Target, Message: fmt.Sprintf("%scheck %q fails: %s", where, k.Name, k.Error),
				Fix: fmt.Sprintf("run 'stella orch health-check %s'", env),
			})
		}
	}
	return out
}

// counted are the differences that count.
func counted(changes []stella.Change) []stella.Change {
	return slices.DeleteFunc(slices.Clone(changes), func(c stella.Change) bool { return c.Ignored })
}

func inWords(changes []stella.Change) string {
	var all []string
	for _, c := range changes[:min(len(changes), mostChanges)] {
		all = append(all, fmt.Sprintf("%s%s is %s", c.Resource, c.Path, c.Class))
	}
	if more := len(changes) - mostChanges; more > 0 {
		all = append(all, fmt.Sprintf("and %d more", more))
	}
	return "it drifted: " + strings.Join(all, ", ")
}

// Baseline is the candidate as a baseline. It is one only without objections.
func (c Candidate) Baseline(by, reason string) configrepo.Baseline {
	d := c.Deployment
	b := configrepo.Baseline{
		Environment: d.Environment, Deployment: d.ID, Commit: c.Commit, Tree: d.Tree, Release: d.Release,
		Components: map[string]stella.Artifact{}, Desired: d.Desired, CapturedAt: c.Now.UTC().Truncate(time.Second),
		CapturedBy: safe.Clip(by, 299), Reason: safe.Clip(strings.TrimSpace(reason), configrepo.MostReason-1),
	}
	if c.Release != nil {
		b.Components = maps.Clone(c.Release.Release.Components)
	}
	if len(d.Shared) > 0 {
		b.Shared = maps.Clone(d.Shared)
	}
	return b
}

// SameContent reports whether two baselines name the same, whoever captured them
// and when.
func SameContent(a, b configrepo.Baseline) bool {
	return a.Environment == b.Environment && a.Deployment == b.Deployment && a.Commit == b.Commit && a.Tree == b.Tree &&
		a.Release == b.Release && a.Desired == b.Desired && maps.Equal(a.Components, b.Components) && maps.Equal(a.Shared, b.Shared)
}

// Age is how long ago a baseline was captured; never less than zero.
func Age(b configrepo.Baseline, now time.Time) time.Duration { return max(now.Sub(b.CapturedAt), 0) }
