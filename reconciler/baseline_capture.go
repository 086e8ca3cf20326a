package reconciler

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"strings"
	"time"

	"github.com/stella-ops/stella"
	"github.com/stella-ops/stella/baseline"
	"github.com/stella-ops/stella/configrepo"
	"github.com/stella-ops/stella/internal/git"
	"github.com/stella-ops/stella/internal/safe"
)

// BaselineRequest asks for a deployment to be made the baseline.
type BaselineRequest struct {
	Environment stella.EnvName
	Deployment  string // an older one; empty: the one in effect
	Options
}

// CaptureBaseline makes a verified deployment the environment's baseline: a
// commit that writes baselines/NAME.yaml. The deployment in effect must be
// healthy and undrifted now; of an older one that is on record. Nothing that runs
// is touched. It is idempotent: what is the baseline already is not written again.
func (e *Engine) CaptureBaseline(ctx context.Context, req BaselineRequest) (CapturedBaseline, error) {
	out := CapturedBaseline{Environment: req.Environment}
	sc, err := e.look(ctx, req.Environment)
	if err != nil {
		return out, err
	}
	c, err := e.toCapture(ctx, sc, req.Deployment)
	if err != nil {
		return out, err
	}
	cp, err := e.planCapture(ctx, sc, c, req.Reason)
	if err != nil {
		return out, err
	}
	out.Plan, out.Nothing, out.Replaces = &cp.plan, cp.nothing, cp.replaces
	switch {
	case cp.nothing:
		out.Baseline = cp.replaces
	case len(cp.plan.Findings) == 0:
		out.Baseline = baselineFile(cp.baseline)
	}
	if req.DryRun {
		return out, nil
	}
	if err := refused(fmt.Sprintf("cannot capture the baseline of %s", sc.name), cp.plan, req.Options); err != nil || cp.nothing {
		return out, err
	}
	if err := agreed(cp.plan, sc.branch.env, req.Options); err != nil {
		return out, err
	}
	if req.PullRequest {
		out.Proposal, err = e.propose(ctx, cp.cand, kindBaseline)
		return out, err
	}
	cand, err := e.push(ctx, cp.change, cp.cand)
	if refusedByBranch(err) {
		return out, stella.WithHint(err, "run the same command with --pr: it pushes a branch for review")
	}
	if err != nil {
		return out, err
	}
	out.Commit = string(cand.built.Commit)
	return out, nil
}

// kindBaseline is what the branch of a proposed baseline is called by.
const kindBaseline stella.Kind = "baseline"

// toCapture finds out all about the deployment that is to be the baseline: the
// one that is named, or else the one in effect, whose targets are asked.
func (e *Engine) toCapture(ctx context.Context, sc *scene, name string) (baseline.Candidate, error) {
	c := baseline.Candidate{Book: sc.book, Now: e.cfg.Now()}
	d, ok := sc.book.Current()
	if !ok {
		d, ok = sc.book.Last()
	}
	if name != "" {
		named, err := destination(sc.book, name)
		if err != nil {
			return c, err
		}
		c.InEffect = ok && named.ID == d.ID
		d, ok = named, true
	} else {
		c.InEffect = true
	}
	if !ok || d.Tree == "" {
		return c, stella.WithHint(fmt.Errorf("cannot capture the baseline of %s: %w: %w", sc.name, errNothingInEffect, stella.ErrRefused),
			fmt.Sprintf("run 'stella reconcile %s': what it verifies can be the baseline", sc.name))
	}
	c.Deployment = d
	if hold, held := sc.book.Held(d.Tree); held {
		c.Hold = &hold
	}
	if p := sc.pinned(); p != nil && c.InEffect {
		c.Pinned = proposal(*p).Where()
	}
	err := e.written(ctx, sc, &c)
	if err == nil && c.InEffect {
		err = e.asked(ctx, sc, &c)
	}
	return c, err
}

// written looks for a commit of the branch that has what a candidate brought, and
// what that renders to now. One that renders to the same is preferred: a pin's
// own commit may never have been merged as it is.
func (e *Engine) written(ctx context.Context, sc *scene, c *baseline.Candidate) error {
	d := c.Deployment
	commits := []git.ID{}
	if d.Commit != "" {
		switch there, err := e.cfg.Repo.IsAncestor(ctx, git.ID(d.Commit), sc.branch.commit); {
		case err != nil && !errors.Is(err, stella.ErrNotFound) && !errors.Is(err, stella.ErrInvalid):
			return fmt.Errorf("look for commit %.12s on the branch: %w", d.Commit, err)
		case there:
			commits = append(commits, git.ID(d.Commit))
		}
	}
	if string(sc.branch.app) == d.Tree {
		commits = append(commits, sc.branch.commit)
	}
	c.NoCommit = fmt.Sprintf("commit %.12s is not on it", d.Commit)
	for _, id := range commits {
		h, err := e.headAt(ctx, id)
		if err != nil {
			return err
		}
		was, err := e.read(ctx, h, sc.name)
		switch {
		case err != nil && !isInvalid(err) && !errors.Is(err, stella.ErrNotFound):
			return err
		case was == nil || string(was.app) != d.Tree:
			c.NoCommit = fmt.Sprintf("commit %.12s has another app tree", id)
			continue
		}
		if c.Commit != "" && (was.desired == nil || was.desired.Digest != d.Desired) {
			continue
		}
		c.Commit, c.Release, c.Invalid, c.Rendered = string(id), was.release, err, ""
		if was.desired != nil && err == nil {
			c.Rendered = was.desired.Digest
			if c.Rendered == d.Desired {
				return nil
			}
		}
	}
	return nil
}

// asked asks the targets of the deployment in effect and runs the checks.
func (e *Engine) asked(ctx context.Context, sc *scene, c *baseline.Candidate) error {
	want, _, err := e.inEffect(ctx, sc)
	switch {
	case want == nil || want.env == nil || want.desired == nil:
		if err == nil || isInvalid(err) {
			c.Invalid = cmpErr(c.Invalid, err, want)
			return nil
		}
		return err
	}
	sv := e.sites(ctx, want, sc.book)
	for _, s := range sv.sites {
		t := baseline.Target{Name: s.spec.Name, Err: s.err}
		if s.err == nil {
			t.Changes = compareSite(s, want.desired, want.env.Drift.Ignore, e.cfg.Now()).Changes
			t.Trouble = troubles(s.live, t.Changes)
		}
		c.Targets = append(c.Targets, t)
	}
	for _, r := range e.check(ctx, sv, checks(want.env, targetNames(want.env), true)) {
		c.Checks = append(c.Checks, baseline.Check{Name: r.Name, Target: r.Target, OK: r.OK, Error: r.Error})
	}
	return nil
}

// cmpErr is the first of what keeps a deployment from being used as it is.
func cmpErr(invalid, err error, want *source) error {
	switch {
	case invalid != nil:
		return invalid
	case err != nil:
		return err
	case want != nil && want.invalid != nil:
		return want.invalid
	}
	return fmt.Errorf("%w: the environment can not be read", stella.ErrInvalid)
}

// capture is a baseline about to be written.
type capture struct {
	baseline configrepo.Baseline
	replaces *BaselineFile
	nothing  bool
	plan     Plan
	change   change
	cand     *candidate // nil where there is nothing to write
}

// planCapture plans the commit that writes a baseline. What stands against it is
// in the plan's findings, all at once.
func (e *Engine) planCapture(ctx context.Context, sc *scene, c baseline.Candidate, reason string) (*capture, error) {
	cp := &capture{baseline: c.Baseline(e.cfg.Actor, reason), plan: emptyPlan(sc.name, c.Deployment.Tree, c.Deployment.Release)}
	cp.plan.Commit, cp.plan.Empty = string(sc.branch.commit), true
	cp.plan.Hash = cp.hash()
	for _, o := range c.Objections() {
		cp.plan.Findings = append(cp.plan.Findings, Finding(o))
	}
	path := configrepo.BaselinePath(sc.branch.project, sc.name)
	planned, err := idAt(ctx, sc.branch.tree, path)
	if err != nil {
		return nil, err
	}
	switch present, err := configrepo.ReadBaseline(ctx, sc.branch.tree, sc.branch.project, sc.name); {
	case err == nil:
		cp.replaces = baselineFile(*present)
		said := cp.baseline.Reason == "" || present.Reason == cp.baseline.Reason
		cp.nothing = baseline.SameContent(*present, cp.baseline) && said && len(cp.plan.Findings) == 0
		cp.warnOfReplacing(*present)
	case planned != "" && isInvalid(err):
		cp.plan.Warnings = append(cp.plan.Warnings, fmt.Sprintf("%s can not be read, and is written anew: %s", path, strings.ReplaceAll(err.Error(), "\n", "; ")))
	case !errors.Is(err, stella.ErrNotFound):
		return nil, err
	}
	if cp.nothing || len(cp.plan.Findings) > 0 {
		return cp, nil
	}
	text, err := configrepo.EncodeBaseline(cp.baseline)
	if err != nil {
		return nil, fmt.Errorf("write %s: %w", path, err)
	}
	cp.change = change{draft: func(ctx context.Context, onto *source) ([]git.Edit, string, error) {
		now, err := idAt(ctx, onto.tree, path)
		if err == nil {
			err = unchanged(path, now, planned, onto)
		}
		return []git.Edit{{Path: path, Content: text}}, captureMessage(cp.baseline), err
	}}
	if cp.cand, err = e.build(ctx, cp.change, sc.branch); cp.cand == nil {
		return nil, err // that the environment asks for something invalid is another matter
	}
	cp.plan.Files = []FileChange{{Path: path, Op: map[bool]string{true: "add", false: "modify"}[planned == ""]}}
	return cp, describeFiles(ctx, sc.branch.tree, cp.cand.want.tree, cp.plan.Files)
}

// warnOfReplacing says what is the baseline until now.
func (cp *capture) warnOfReplacing(present configrepo.Baseline) {
	if cp.nothing || present.Deployment == cp.baseline.Deployment {
		return
	}
	by := ""
	if present.CapturedBy != "" {
		by = " by " + safe.Line(present.CapturedBy)
	}
	cp.plan.Warnings = append(cp.plan.Warnings, fmt.Sprintf("replaces %s, captured %s%s",
		titled(stella.Deployment{ID: present.Deployment, Release: present.Release}), present.CapturedAt.UTC().Format(time.DateOnly), by))
}

// hash identifies what the capture writes, whenever it is written.
func (cp *capture) hash() string {
	b := cp.baseline
	sum := sha256.Sum256([]byte(strings.Join([]string{"baseline", string(b.Environment), b.Deployment, b.Commit, b.Tree, string(b.Desired), b.Reason}, "\x00")))
	return hex.EncodeToString(sum[:8])
}

// baselineTrailer names the deployment that a commit makes the baseline.
const baselineTrailer = "Stella-Baseline:"

// captureMessage words the commit of a capture.
func captureMessage(b configrepo.Baseline) string {
	var m strings.Builder
	fmt.Fprintf(&m, "Make %s the baseline of %s\n\n", titled(stella.Deployment{ID: b.Deployment, Release: b.Release}), b.Environment)
	fmt.Fprintf(&m, "Stella-Environment: %s\n%s %s\n", b.Environment, baselineTrailer, b.Deployment)
	if b.Reason != "" {
		fmt.Fprintf(&m, "Stella-Reason: %s\n", safe.Clip(b.Reason, maxReasonRunes))
	}
	return m.String()
}
