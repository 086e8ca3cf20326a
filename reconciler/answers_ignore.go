package reconciler

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"

	udiff "github.com/aymanbagabas/go-udiff"

	"github.com/stella-ops/stella"
	"github.com/stella-ops/stella/configrepo"
	"github.com/stella-ops/stella/drift"
	"github.com/stella-ops/stella/internal/git"
	"github.com/stella-ops/stella/internal/safe"
)

// IgnoreRequest asks for a rule that lets a difference be. It is written to
// environment.yaml as a commit; no target is touched.
type IgnoreRequest struct {
	Environment stella.EnvName
	Resource    string // an id, or the name of a service
	// Path is a JSON Pointer into the resource, in which "*" stands for any one
	// segment. It may be empty where the resource has one difference only.
	Path  string
	Until time.Time // when the rule ends; zero for never
	// Options are those of a change; a Reason is required. Force may name
	// ForceCritical and ForceAbsent.
	Options
}

// What Options.Force can name of an ignore.
const (
	// ForceCritical lets a rule cover what program runs. Such a rule needs an end.
	ForceCritical = "critical"
	// ForceAbsent writes a rule for what does not differ now.
	ForceAbsent = "absent"
)

// Ignore writes the narrowest rule that covers a difference which is there now.
// The plan of the outcome has the differences that it covers, on every target,
// and how environment.yaml changes.
func (e *Engine) Ignore(ctx context.Context, req IgnoreRequest) (Outcome, error) {
	if err := req.check(e.cfg.Now()); err != nil {
		return Outcome{}, err
	}
	q, err := e.ask(ctx, req.Environment, req.Resource, req.Options)
	if err != nil {
		return Outcome{}, err
	}
	rules, err := req.rules(q)
	if err != nil {
		return Outcome{}, err
	}
	if err := req.admit(q, rules); err != nil {
		return Outcome{}, err
	}
	c := change{draft: e.ignoring(q.scene.branch, rules, req)}
	cand, err := e.build(ctx, c, q.scene.branch)
	if err != nil {
		return Outcome{}, err
	}
	plan, err := ignorePlan(ctx, q, cand, rules)
	if err != nil {
		return Outcome{}, err
	}
	out := Outcome{Plan: plan, Sync: q.scene.book.State.Summary.Sync}
	if req.DryRun {
		return out, nil
	}
	if err := agreed(*plan, q.scene.branch.env, req.Options); err != nil {
		return out, err
	}
	return e.commitOnly(ctx, c, cand, out, req.Options)
}

// commitOnly puts a commit on the branch, or proposes it, and touches no target.
func (e *Engine) commitOnly(ctx context.Context, c change, cand *candidate, out Outcome, o Options) (Outcome, error) {
	if o.PullRequest {
		p, err := e.propose(ctx, cand, "ignore")
		if err != nil {
			return out, err
		}
		out.Proposal, out.Commit, out.Reason = p, p.Commit, "waits for review"
		return out, nil
	}
	landed, err := e.push(ctx, c, cand)
	if refusedByBranch(err) {
		return out, stella.WithHint(err, "run the same command with --pr: it goes to a branch for review")
	}
	if err != nil {
		return out, err
	}
	out.Commit, out.Committed = string(landed.built.Commit), true
	return out, nil
}

func (req IgnoreRequest) check(now time.Time) error {
	switch {
	case strings.TrimSpace(req.Reason) == "":
		err := fmt.Errorf("ignore drift of %s: %w: a rule needs a reason", req.Environment, stella.ErrInvalid)
		return stella.WithHint(err, "say why with --reason")
	case !req.Until.IsZero() && !now.Before(req.Until):
		err := fmt.Errorf("ignore drift of %s until %s: %w: that is over already", req.Environment, req.Until.UTC().Format(time.RFC3339), stella.ErrInvalid)
		return stella.WithHint(err, "name a day to come with --until, such as "+now.UTC().AddDate(0, 0, 7).Format(time.DateOnly))
	}
	return checkPath(req.Path)
}

// patternOf is the pattern that matches a resource and no other.
func patternOf(id stella.ResourceID) string {
	pattern, _ := configrepo.LiteralPattern(id)
	return pattern
}

// rules are the narrowest ones that cover what is meant: one, or one for each
// form of a config's content, which differ together.
func (req IgnoreRequest) rules(q *question) ([]drift.Ignore, error) {
	rule := drift.Ignore{Resource: patternOf(q.resource), Path: req.Path, Reason: clipReason(req.Reason), Until: req.Until.UTC().Truncate(time.Second)}
	if req.Until.IsZero() {
		rule.Until = time.Time{}
	}
	here := counting(q.differing(drift.Ignore{Resource: rule.Resource, Path: req.Path}))
	groups := byOne(distinct(here))
	switch {
	case req.Path == "" && len(here) > 0 && len(groups) > 1:
		err := fmt.Errorf("%s differs in %d places from %s: %w", q.resource, len(groups), q.in.ID, stella.ErrRefused)
		return nil, stella.WithHint(err, "name one of them: "+strings.Join(pathsOf(here), ", "))
	case req.Path == "" && len(here) > 0:
		rule.Path = here[0].Path
	}
	if oneConfig(rule.Path) == "" {
		return []drift.Ignore{rule}, nil
	}
	forms := []string{rule.Path}
	for _, s := range counting(q.differing(drift.Ignore{Resource: rule.Resource, Path: oneConfig(rule.Path)})) {
		if oneConfig(s.Path) == oneConfig(rule.Path) && !slices.Contains(forms, s.Path) {
			forms = append(forms, s.Path)
		}
	}
	slices.Sort(forms)
	var all []drift.Ignore
	for _, path := range forms {
		rule.Path = path
		all = append(all, rule)
	}
	return all, nil
}

// counting are those differences that no rule covers.
func counting(all []seen) []seen {
	return slices.DeleteFunc(slices.Clone(all), func(s seen) bool { return s.Ignored })
}

// clipReason cuts a reason to what a file takes, with its ellipsis.
func clipReason(reason string) string { return safe.Clip(reason, configrepo.MostReason-1) }

func distinct(all []seen) []string {
	var paths []string
	for _, s := range all {
		if !slices.Contains(paths, s.Path) {
			paths = append(paths, s.Path)
		}
	}
	return paths
}

// admit refuses a rule for what is not there, for what is ignored already, and
// for what program runs: such a rule also keeps deploys from replacing it.
func (req IgnoreRequest) admit(q *question, rules []drift.Ignore) error {
	var here, critical []seen
	for _, r := range rules {
		here = append(here, q.differing(r)...)
	}
	for _, s := range here {
		if s.Severity == stella.SeverityCritical {
			critical = append(critical, s)
		}
	}
	path := rules[0].Path
	switch {
	case len(here) == 0 && !forced(req.Options, ForceAbsent):
		return q.nothingThere(path, "--force "+ForceAbsent+" writes the rule all the same")
	case len(here) == 0 && req.Path == "":
		err := fmt.Errorf("%s does not differ from %s, and a rule for all of it would hide anything: %w", q.resource, q.in.ID, stella.ErrRefused)
		return stella.WithHint(err, "name the path that the rule is for")
	case len(here) > 0 && len(counting(here)) == 0:
		err := fmt.Errorf("%s is ignored already: %s: %w", here[0], here[0].Reason, stella.ErrConflict)
		return stella.WithHint(err, "see drift.ignore in environment.yaml")
	case len(critical) == 0 && len(here) > 0 && path == "" && req.Until.IsZero():
		err := fmt.Errorf("a rule for all of %s hides whatever differs in it later: it needs an end: %w", q.resource, stella.ErrRefused)
		return stella.WithHint(err, "add --until with a day")
	case len(critical) == 0 && !(len(here) == 0 && criticalAt(q.resource, path)):
		return nil
	case !forced(req.Options, ForceCritical):
		err := fmt.Errorf("%s is critical: while it is ignored nobody is told, and no deploy or heal puts it right: %w", spotOf(q.resource, path), stella.ErrRefused)
		return stella.WithHint(err, "adopt it ('stella drift adopt'), bring it back ('stella reconcile'), or ignore it with --force "+ForceCritical+" and --until")
	case req.Until.IsZero():
		err := fmt.Errorf("%s is critical: a rule for it needs an end: %w", spotOf(q.resource, path), stella.ErrRefused)
		return stella.WithHint(err, "add --until with a day")
	}
	return nil
}

// criticalAt reports how much a difference would matter at a place where there
// is none now.
func criticalAt(id stella.ResourceID, path string) bool {
	segments, err := drift.ParsePointer(path)
	if err != nil || len(segments) == 0 {
		return true
	}
	state := func(v any) stella.State {
		for _, s := range slices.Backward(segments) {
			v = map[string]any{s: v}
		}
		fields, _ := v.(map[string]any)
		return stella.State{Resources: []stella.Resource{{ID: id, Fields: fields}}}
	}
	found := drift.Compare(state("a"), state("b"), nil, time.Time{})
	return len(found) == 1 && found[0].Severity == stella.SeverityCritical
}

// ignoring writes rules to environment.yaml of whatever the head is by then.
func (e *Engine) ignoring(planned *source, rules []drift.Ignore, req IgnoreRequest) func(context.Context, *source) ([]git.Edit, string, error) {
	return func(ctx context.Context, onto *source) ([]git.Edit, string, error) {
		path := configrepo.EnvironmentPath(onto.project, onto.name)
		old, err := onto.tree.Read(ctx, path, configrepo.MaxFileBytes)
		if err != nil {
			return nil, "", err
		}
		edited, err := configrepo.AddIgnores(old, onto.project, onto.name, rules, e.cfg.Now())
		if err != nil {
			return nil, "", fmt.Errorf("edit %s: %w", path, err)
		}
		return []git.Edit{{Path: path, Content: edited}}, ignoreMessage(planned.name, rules, req.Options), nil
	}
}

// ignorePlan shows what a rule does: no move, one file, and the differences that
// do not count any more.
func ignorePlan(ctx context.Context, q *question, cand *candidate, rules []drift.Ignore) (*Plan, error) {
	sc := q.scene
	p := emptyPlan(sc.name, string(sc.branch.app), q.want.release.Release.Version)
	p.Commit, p.Empty = string(sc.branch.commit), true
	path := configrepo.EnvironmentPath(sc.branch.project, sc.name)
	before, err := sc.branch.tree.Read(ctx, path, configrepo.MaxFileBytes)
	if err != nil {
		return nil, err
	}
	after, err := cand.want.tree.Read(ctx, path, configrepo.MaxFileBytes)
	if err != nil {
		return nil, err
	}
	p.Files = append(p.Files, FileChange{Path: path, Op: "modify", Diff: udiff.Unified("a/"+path, "b/"+path, string(before), string(after))})
	for _, t := range q.targets {
		part := TargetPlan{Target: t.Target, Batch: 1, Changes: []stella.Change{}, Actions: []stella.Action{}}
		for _, c := range t.Changes {
			if i := slices.IndexFunc(rules, func(r drift.Ignore) bool { return r.Covers(c) }); i >= 0 {
				c.Ignored, c.Reason = true, safe.Line(rules[i].Reason)
				part.Changes = append(part.Changes, c)
			}
		}
		p.Targets = append(p.Targets, part)
	}
	if unread := q.unread(); unread != "" {
		p.Warnings = append(p.Warnings, unread+" could not be read: the rule holds there too")
	}
	p.Warnings = append(p.Warnings, warnings(rules, q)...)
	p.Hash, err = ignoreHash(sc.name, rules)
	return &p, err
}

// warnings are what a person should know of a rule before it is written.
func warnings(rules []drift.Ignore, q *question) []string {
	var all []string
	if rules[0].Path == "" {
		all = append(all, fmt.Sprintf("the rule is for all of %s: it hides whatever differs in it until then", q.resource))
	}
	for _, s := range q.differing(rules[0]) {
		if s.Severity == stella.SeverityCritical {
			all = append(all, fmt.Sprintf("%s is critical: while it is ignored no deploy or heal puts it right", s))
		}
	}
	if rules[0].Until.IsZero() {
		all = append(all, "the rule has no end: --until gives it one")
	}
	return all
}

// ignoreHash identifies what a rule says, and nothing of what it is written into.
func ignoreHash(env stella.EnvName, rules []drift.Ignore) (string, error) {
	var said []any
	for _, r := range rules {
		said = append(said, map[string]any{"resource": r.Resource, "path": r.Path, "reason": r.Reason, "until": r.Until.UTC().Format(time.RFC3339)})
	}
	text, err := drift.Canonical(map[string]any{"environment": string(env), "ignore": said})
	if err != nil {
		return "", errors.Join(stella.ErrInvalid, err)
	}
	sum := sha256.Sum256(text)
	return hex.EncodeToString(sum[:8]), nil
}
