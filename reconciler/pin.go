package reconciler

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"time"

	"github.com/stella-ops/stella"
	"github.com/stella-ops/stella/internal/git"
	"github.com/stella-ops/stella/ledger"
)

// A pin says what runs as long as the branch asks for something that must not:
// a protected branch does not make production wait for a review. It restores
// only what was on the branch before and was verified, so nothing unreviewed
// ever runs. It counts while what the branch asks for is held or can not be
// deployed, and ends by itself when the branch agrees, or when it asks for
// something else that may run.

// keepPinned makes the pinned app what is wanted, where the pin counts.
func (e *Engine) keepPinned(ctx context.Context, sc *scene) error {
	pin := sc.book.State.Pin
	if pin == nil || pin.Tree == string(sc.app) || sc.invalid == nil && heldBy(sc.book.State.Holds, sc.source) == nil {
		return nil
	}
	src, err := e.pinnedTo(ctx, sc, pin)
	if src == nil {
		return err
	}
	sc.source = src
	return nil
}

// pinnedTo reads an environment as its pin keeps it: with the pinned app, and
// where environment.yaml can not be read, with that of the deployment that it
// restores, as it is in the commit that waits for review.
func (e *Engine) pinnedTo(ctx context.Context, sc *scene, pin *ledger.Pin) (*source, error) {
	good, known := sc.book.Deployment(pin.Deployment)
	if sc.branch.env != nil || !known {
		return e.withApp(ctx, sc.branch, pin.Commit, pin.Tree)
	}
	also, err := e.extras(ctx, sc, good, intent{mends: true})
	if err != nil {
		return nil, fmt.Errorf("read how %s was operated: %w", sc.name, err)
	}
	cand, err := e.build(ctx, change{draft: e.restoring(sc, good, "What is pinned\n", also)}, sc.branch)
	if cand == nil {
		return nil, err
	}
	h, src := *cand.want.head, *cand.want
	h.commit, src.head = git.ID(pin.Commit), &h
	return &src, nil
}

// withApp reads an environment with another app in the place of its own; how it
// is operated stays. The source is returned as by read.
func (e *Engine) withApp(ctx context.Context, s *source, commit, tree string) (*source, error) {
	app, err := e.cfg.Repo.Tree(ctx, git.ID(tree))
	if err != nil {
		return nil, fmt.Errorf("read the app of %s as it was: %w", s.name, err)
	}
	h := *s.head
	h.commit, h.tree = git.ID(commit), h.tree.with(appPath(s), app)
	return e.read(ctx, &h, s.name)
}

// pinned is the pin where it counts, nil otherwise.
func (sc *scene) pinned() *ledger.Pin {
	if sc.source == sc.branch {
		return nil
	}
	return sc.book.State.Pin
}

// pinReason says in words what an environment is pinned to, and until when.
func (sc *scene) pinReason() string {
	p := sc.pinned()
	return fmt.Sprintf("pinned to %s since %s by %s, until %s is merged or the branch asks for something that is not held",
		p.Deployment, p.Since.UTC().Format(time.RFC3339), p.By, proposal(*p).Where())
}

// proposal is the branch that a pin waits for.
func proposal(p ledger.Pin) *Proposal {
	return &Proposal{Branch: strings.TrimPrefix(p.Ref, "refs/heads/"), Commit: p.Commit, URL: p.PullRequest}
}

// unpins ends a pin that counts no more: said once, with what ended it.
func unpins(b ledger.Book, d stella.Deployment) []ledger.Event {
	p := b.State.Pin
	if p == nil || p.Tree == d.Tree || d.Status != stella.Succeeded {
		return nil
	}
	return []ledger.Event{ledger.Unpin{Reason: d.ID + " took its place"}}
}

// unpin records that the branch agrees with the pin by now.
func (sc *scene) unpin() []ledger.Event {
	p := sc.book.State.Pin
	if p == nil || sc.pinned() != nil || p.Tree != string(sc.app) {
		return nil
	}
	return []ledger.Event{ledger.Unpin{Reason: fmt.Sprintf("the branch agrees with it since commit %.12s", sc.commit)}}
}

// mayPin reports whether the job's commit may run without being on the branch:
// it restores exactly what was verified before.
func (j *job) mayPin() bool {
	good, ok := j.scene.book.Deployment(j.intent.restores)
	return ok && j.intent.kind.GoesBack() && j.cand != nil &&
		good.Status == stella.Succeeded && good.Tree == string(j.cand.want.app)
}

// refusedByBranch reports whether the branch refuses the commit by a rule of its
// own: a protection or a hook, not a race and not an outage.
func refusedByBranch(err error) bool {
	_, rejected := errors.AsType[*git.RejectedError](err)
	return rejected
}

// pin pushes the job's commit to a branch of its own and pins the environment
// to it, with the hold on what the branch still asks for, in one transition. A
// crash before that leaves a branch that nobody waits for.
func (r *run) pin(ctx context.Context, j *job) (*candidate, error) {
	if s := j.intent.scope; s.IncludeEnvironment || s.IncludeShared {
		err := fmt.Errorf("only the app can be pinned before a review, not what --include-environment or --include-shared restore: %w", stella.ErrRefused)
		return nil, stella.WithHint(err, "leave these out, and propose the rest in a pull request of its own")
	}
	p, err := r.e.proposeAt(ctx, j.cand, fmt.Sprintf("stella/%s/%s/%s", r.dep.Kind, r.dep.Environment, r.dep.ID))
	if err != nil {
		return nil, err
	}
	pin := ledger.Pin{
		Ref: "refs/heads/" + p.Branch, Commit: p.Commit, Tree: string(j.cand.want.app), Deployment: j.intent.restores,
		PullRequest: p.URL, Reason: j.intent.reason,
	}
	var hold *stella.Hold
	if r.bad != nil && r.bad.app != "" && r.bad.app != j.cand.want.app {
		hold = newHold(r.bad, r.dep.ID, j.cand.want.desired, r.e.cfg.Actor, j.intent.reason, r.e.cfg.Now())
	}
	d := r.snapshot()
	book, err := r.scene.ledger.Append(ctx, d.Environment, func(ledger.Book) ([]ledger.Event, error) {
		return []ledger.Event{
			ledger.PinTo{Pin: pin, Hold: hold},
			ledger.Progress{ID: d.ID, LockID: r.lockID, Commit: p.Commit, Tree: pin.Tree, Steps: d.Steps},
		}, nil
	})
	if err != nil {
		return nil, fmt.Errorf("pin %s to %s: %w", d.Environment, p.Commit, err)
	}
	r.scene.book, r.bad, r.proposal = book, nil, p
	return j.cand, nil
}
