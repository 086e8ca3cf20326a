package ledger

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"time"

	"github.com/stella-ops/stella"
	"github.com/stella-ops/stella/internal/safe"
)

// Report is what Verify found of one environment's ledger.
type Report struct {
	Environment stella.EnvName `json:"environment"`
	Commits     int64          `json:"commits"`     // how many were read
	Transitions int64          `json:"transitions"` // as the newest of them says
	Findings    []Finding      `json:"findings"`
}

// OK reports whether there is nothing to find but warnings.
func (r Report) OK() bool {
	return !slices.ContainsFunc(r.Findings, func(f Finding) bool { return !f.Warning })
}

// Finding is one thing that is not as it must be.
type Finding struct {
	Code    string `json:"code"` // one of the Code constants
	Message string `json:"message"`
	At      string `json:"at"`      // transition and commit
	Fix     string `json:"fix"`     // the command to run
	Warning bool   `json:"warning"` // worth knowing, and not wrong by itself
}

// The codes of findings.
const (
	CodeLostObject    = "lost-object"     // a commit or file of the chain is gone
	CodeUnreadable    = "unreadable"      // a file is not what it must look like
	CodeForeign       = "foreign"         // a record of another environment
	CodeEditedRecord  = "edited-record"   // stored state differs from what the transitions make of it
	CodeBadTransition = "bad-transition"  // a transition that its rules do not allow: reordered, repeated, foreign
	CodeNotLinear     = "not-linear"      // a commit that does not follow the one before
	CodeNewerRules    = "newer-rules"     // written by rules that this binary does not know
	CodeRewound       = "rewound"         // the ref does not descend from where it was last seen
	CodeNoEnd         = "no-end"          // a deployment that is open, and nobody drives it
	CodeLostCommit    = "lost-commit"     // a config commit that a record names does not exist
	CodeFenceBack     = "fence-backwards" // a fence fell
	CodeFenceJump     = "fence-jump"      // a fence jumped further than locks can explain
	CodeTimeBack      = "time-backwards"  // a writer's clock was behind the one before
)

// Bounds of a report.
const (
	maxFindings = 500
	// clockSkew is how far two machines' clocks may be apart without a word.
	clockSkew = 5 * time.Minute
)

// Verify proves an environment's ledger: it walks the whole chain, replays
// every transition by the rules it was written under, and compares what comes
// out with what is stored. Exists says whether a commit of the config
// repository exists; nil skips that.
//
// It returns an error only when it could not tell: the classes are those of
// [Store.Walk].
func Verify(ctx context.Context, store Store, env stella.EnvName, exists func(commit string) bool) (Report, error) {
	v := &verifier{env: env, exists: exists, seen: map[string]bool{}, r: Report{Environment: env, Findings: []Finding{}}}
	err := store.Walk(ctx, env, v.record)
	if errors.Is(err, stella.ErrTampered) {
		v.find(CodeRewound, "", err.Error(), "run 'stella orch repair --accept-head --reason …' if this was meant")
		err = nil
	}
	if err != nil {
		return v.r, fmt.Errorf("verify the ledger of %s: %w", env, err)
	}
	v.tip(time.Now())
	return v.r, nil
}

// verifier holds what has been proved so far.
type verifier struct {
	env    stella.EnvName
	exists func(string) bool
	seen   map[string]bool // commits that were asked for
	r      Report

	started bool
	lost    bool // the book before the next record is not known
	head    Head
	book    Book
}

func (v *verifier) find(code, where, message, fix string) {
	if len(v.r.Findings) < maxFindings {
		v.r.Findings = append(v.r.Findings, Finding{Code: code, Message: safe.Clip(message, 500), At: where, Fix: fix})
	}
}

func (v *verifier) mend() string {
	return fmt.Sprintf("keep a copy: 'git fetch ORIGIN +refs/stella/*:refs/stella/*' into a clone; then restore the ref of %s from a good one", v.env)
}

// record takes the next commit, oldest first.
func (v *verifier) record(rec Record) error {
	v.r.Commits++
	b := rec.Entry.Book
	if !v.started {
		v.started, v.book, v.lost = true, NewBook(v.env), rec.Parent != ""
	}
	where := at(short(rec.Head), max(b.State.Transitions, 0))
	if rec.Err != nil {
		v.find(codeOf(rec.Err), where, rec.Err.Error(), v.mend())
		v.lost, v.head = true, rec.Head
		return nil //nolint:nilerr // it is a finding
	}
	if !v.lost && rec.Parent != v.head {
		v.find(CodeNotLinear, where, "it does not follow the commit before it", v.mend())
	}
	v.order(where, b)
	if !v.lost && !rec.Proved {
		v.replay(where, rec)
	}
	v.commits(where, rec.Entry.Events)
	v.head, v.book, v.lost = rec.Head, b, false
	v.r.Transitions = b.State.Transitions
	return nil
}

func codeOf(err error) string {
	switch {
	case errors.Is(err, stella.ErrNotFound):
		return CodeLostObject
	case errors.Is(err, errForeign):
		return CodeForeign
	case errors.Is(err, stella.ErrUnsupported):
		return CodeNewerRules
	case errors.Is(err, stella.ErrTampered):
		return CodeEditedRecord
	default:
		return CodeUnreadable
	}
}

// replay compares a commit with what its transitions make of the book before.
func (v *verifier) replay(where string, rec Record) {
	got := rec.Entry.Book
	if got.State.Rules > RulesVersion {
		v.find(CodeNewerRules, where, fmt.Sprintf("rules %d: this stella knows them up to %d", got.State.Rules, RulesVersion), "update stella on this machine")
		return
	}
	want, written, err := replay(v.book, rec.Entry.Events)
	if err != nil {
		v.find(CodeBadTransition, where, err.Error(), v.mend())
		return
	}
	if err := v.compare(want, got, append(written, rec.Changed...)); err != nil {
		v.find(CodeEditedRecord, where, err.Error(), v.mend())
	}
}

// compare is same for a book of which only some records can differ: what
// neither the transitions nor the commit wrote is as it was proved before.
func (v *verifier) compare(want, got Book, ids []string) error {
	if err := sameState(want.State, got.State); err != nil {
		return err
	}
	if err := sameDrift(want, got); err != nil {
		return err
	}
	if !slices.EqualFunc(want.Deployments, got.Deployments, func(a, b stella.Deployment) bool { return a.Sequence == b.Sequence }) {
		return refuse(stella.ErrTampered, "records of deployments are missing or too many")
	}
	slices.Sort(ids)
	for _, id := range slices.Compact(ids) {
		w, _ := want.Deployment(id) // gone in both, or in neither
		g, _ := got.Deployment(id)
		if err := sameDeployment(w, g); err != nil {
			return err
		}
	}
	return sameTrees(want, got)
}

// order checks what holds for any two states that follow each other, whatever
// the rules.
func (v *verifier) order(where string, b Book) {
	before, now := v.book.State, b.State
	switch {
	case now.Fence < before.Fence:
		v.find(CodeFenceBack, where, fmt.Sprintf("the fence falls from %d to %d", before.Fence, now.Fence), v.mend())
	case before.Fence > 0 && now.Fence-before.Fence > maxFenceJump && !v.lost:
		v.find(CodeFenceJump, where, fmt.Sprintf("the fence jumps from %d to %d", before.Fence, now.Fence), v.mend())
	}
	if back := before.At.Sub(now.At); back > clockSkew {
		v.find(CodeTimeBack, where, fmt.Sprintf("it is %s older than the one before: a clock was wrong", back.Truncate(time.Second)), "look at the writers' clocks")
		if n := len(v.r.Findings); n > 0 && v.r.Findings[n-1].Code == CodeTimeBack {
			v.r.Findings[n-1].Warning = true
		}
	}
}

// commits checks that the config commits of outcomes exist.
func (v *verifier) commits(where string, events []Event) {
	if v.exists == nil {
		return
	}
	for _, e := range events {
		switch e := e.(type) {
		case Finish:
			v.commit(where, e.Deployment.ID, e.Deployment.Commit)
		case PinTo:
			// It is on a branch of its own, which may be squashed and deleted when
			// it is merged; the app's tree is kept by the ledger.
			v.seen[e.Pin.Commit] = true
		}
	}
}

func (v *verifier) commit(where, what, commit string) {
	if commit == "" || v.seen[commit] {
		return
	}
	v.seen[commit] = true
	if !v.exists(commit) {
		v.find(CodeLostCommit, where, fmt.Sprintf("%s names commit %s, which does not exist", what, safe.Clip(commit, 40)),
			fmt.Sprintf("push a branch that has commit %s", safe.Clip(commit, 12)))
	}
}

// tip checks the present.
func (v *verifier) tip(now time.Time) {
	if !v.started || v.lost {
		return
	}
	d, ok := v.book.Running()
	if !ok {
		return
	}
	l := v.book.State.Lock
	where := at(short(v.head), v.book.State.Transitions)
	fix := "run 'stella reconcile " + string(d.Environment) + "', which ends it and goes on"
	switch {
	case l == nil || l.Deployment != d.ID:
		v.find(CodeNoEnd, where, d.ID+" is running, and nobody holds its lock", fix)
	case now.After(l.ExpiresAt.Add(DefaultDelay)):
		v.find(CodeNoEnd, where, fmt.Sprintf("%s is running, and its driver %s is silent since %s", d.ID, l.Holder, stamp(l.RenewedAt)), fix)
	}
}
