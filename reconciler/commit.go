package reconciler

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"strings"
	"time"

	"github.com/stella-ops/stella"
	"github.com/stella-ops/stella/configrepo"
	"github.com/stella-ops/stella/internal/git"
)

// change is a commit to be made on top of whatever the branch's head is.
type change struct {
	// draft makes the commit's edits and message for a head. It may refuse, when
	// the head has changed in a way that it was not planned for.
	draft func(ctx context.Context, onto *source) ([]git.Edit, string, error)
	// agreed is what somebody agreed to; where it is set, a commit that wants
	// something else is not pushed.
	agreed *source
}

// admits refuses a candidate that is not what was agreed to.
func (c change) admits(cand *candidate) error {
	if c.agreed == nil || c.agreed.app == cand.want.app && c.agreed.desired.Digest == cand.want.desired.Digest {
		return nil
	}
	err := fmt.Errorf("commit %.12s came in between: %w", cand.onto.commit, errOtherPlan)
	return stella.WithHint(err, "run the same command with --dry-run again and look at what changed")
}

// candidate is a change as a commit, built and not pushed.
type candidate struct {
	onto  *source
	built *git.Built
	want  *source // the environment as the new commit wants it
}

// build makes the change on top of onto and reads back what it wants. The
// commit is local: nothing is pushed. A candidate whose files are invalid is
// returned beside the error that says so.
func (e *Engine) build(ctx context.Context, c change, onto *source) (*candidate, error) {
	edits, message, err := c.draft(ctx, onto)
	if err != nil {
		return nil, err
	}
	sign := e.cfg.Identity
	sign.When = time.Now()
	built, err := e.cfg.Repo.Build(ctx, git.Draft{
		Parents: []git.ID{onto.commit}, Base: onto.commit, Edits: edits, Author: sign, Committer: sign,
		Message: withTrailers(message, onto.project.CommitTrailers),
	})
	if err != nil {
		return nil, fmt.Errorf("build commit for %s: %w", onto.name, err)
	}
	h, err := e.headAt(ctx, built.Commit)
	if err != nil {
		return nil, err
	}
	h.ref, h.at, h.glance = onto.ref, onto.at, onto.glance
	want, err := e.read(ctx, h, onto.name)
	if want == nil {
		return nil, err
	}
	return &candidate{onto: onto, built: built, want: want}, err
}

// sign signs a candidate where the person's git signs commits. Nothing is pushed
// that was not through here: a commit that can not be signed is not made.
func (e *Engine) sign(ctx context.Context, cand *candidate) (*candidate, error) {
	signed, err := e.cfg.Repo.Sign(ctx, cand.built)
	if err != nil {
		return nil, fmt.Errorf("commit to %s: %w, nothing was touched", cand.onto.name, err)
	}
	if signed == cand.built {
		return cand, nil
	}
	h, want := *cand.want.head, *cand.want
	h.commit = signed.Commit
	want.head = &h
	return &candidate{onto: cand.onto, built: signed, want: &want}, nil
}

// withTrailers appends a project's own lines to a message's last paragraph.
func withTrailers(message string, lines []string) string {
	message = strings.TrimRight(message, "\n") + "\n"
	for _, l := range lines {
		message += l + "\n"
	}
	return message
}

// maxRebases bounds how often a commit is made anew because somebody else
// pushed first. Each loss means that somebody else won.
const maxRebases = 20

// push lands the candidate on the branch, making it anew on each head that
// somebody else pushed meanwhile. It returns the candidate that landed.
func (e *Engine) push(ctx context.Context, c change, cand *candidate) (*candidate, error) {
	if err := e.mayWrite(cand.onto.project); err != nil {
		return nil, err
	}
	for range maxRebases {
		var err error
		if cand, err = e.sign(ctx, cand); err != nil {
			return nil, err
		}
		err = e.cfg.Repo.Push(ctx, []git.Update{{Ref: cand.onto.ref, Old: cand.onto.commit, New: cand.built.Commit}}, cand.built)
		if !errors.Is(err, stella.ErrConflict) {
			if err != nil {
				return nil, fmt.Errorf("push to %s: %w", cand.onto.ref, err)
			}
			return cand, nil
		}
		h, err := e.fetch(ctx, cand.onto.name)
		if err != nil {
			return nil, err
		}
		onto, err := e.read(ctx, h, cand.onto.name)
		if onto == nil && errors.Is(err, stella.ErrNotFound) {
			onto, err = e.remains(ctx, h, cand.onto.name, err)
		}
		if onto == nil {
			return nil, err
		}
		if cand, err = e.build(ctx, c, onto); err != nil {
			return nil, err
		}
		if err := c.admits(cand); err != nil {
			return nil, err
		}
	}
	return nil, fmt.Errorf("push to %s: somebody else was faster %d times: %w", cand.onto.ref, maxRebases, stella.ErrConflict)
}

// propose pushes the candidate to a branch of its own, for review.
func (e *Engine) propose(ctx context.Context, cand *candidate, kind stella.Kind) (*Proposal, error) {
	if err := e.mayWrite(cand.onto.project); err != nil {
		return nil, err
	}
	cand, err := e.sign(ctx, cand)
	if err != nil {
		return nil, err
	}
	return e.proposeAt(ctx, cand, fmt.Sprintf("stella/%s/%s/%.12s", kind, cand.onto.name, cand.built.Commit))
}

// proposeAt pushes the candidate to a new branch. A rollback must not fail for a
// name that is taken: by a proposal of a ledger that was lost, or because there
// is a branch called stella, below which Git has no others.
func (e *Engine) proposeAt(ctx context.Context, cand *candidate, branch string) (*Proposal, error) {
	cand, err := e.sign(ctx, cand)
	if err != nil {
		return nil, err
	}
	own := fmt.Sprintf("%s-%.12s", branch, cand.built.Commit)
	var first error
	for _, name := range []string{branch, own, strings.ReplaceAll(own, "/", "-")} {
		err := e.cfg.Repo.Push(ctx, []git.Update{{Ref: "refs/heads/" + name, New: cand.built.Commit}}, cand.built)
		if err == nil {
			return &Proposal{Branch: name, Commit: string(cand.built.Commit), URL: e.cfg.Repo.CompareURL(cand.onto.ref, name)}, nil
		}
		first = cmp.Or(first, fmt.Errorf("push branch %s: %w", name, err))
		if !errors.Is(err, stella.ErrConflict) && !refusedByBranch(err) {
			break
		}
	}
	return nil, first
}

// releaseEdit replaces components, and the version where one is given, in an
// environment's release.yaml; every other byte stays.
func releaseEdit(components map[string]stella.Artifact, version string) func(context.Context, *source) ([]git.Edit, error) {
	return func(ctx context.Context, onto *source) ([]git.Edit, error) {
		return editRelease(ctx, onto, func(old []byte) ([]byte, error) { return configrepo.SetRelease(old, version, components) })
	}
}

// editRelease changes an environment's release.yaml.
func editRelease(ctx context.Context, onto *source, edit func(old []byte) ([]byte, error)) ([]git.Edit, error) {
	path := configrepo.ReleasePath(onto.project, onto.name)
	old, err := onto.tree.Read(ctx, path, configrepo.MaxFileBytes)
	if err != nil {
		return nil, err
	}
	edited, err := edit(old)
	if err != nil {
		return nil, fmt.Errorf("edit %s: %w", path, err)
	}
	return []git.Edit{{Path: path, Content: edited}}, nil
}
