package reconciler

import (
	"fmt"
	"slices"
	"strings"

	"github.com/stella-ops/stella"
	"github.com/stella-ops/stella/ledger"
)

// verdict is what a pass should do about an environment.
type verdict struct {
	act    act
	sync   stella.Sync // where the environment stands as long as nothing is done
	reason string
	kind   stella.Kind // of the deployment that act leads to
	// restores is the deployment that a rollback, reset or heal goes back to.
	restores *stella.Deployment
}

type act string

const (
	actNothing act = "nothing" // it is as wanted, as far as Git and ledger know
	actStop    act = "stop"    // nothing can be done until somebody decides
	actWait    act = "wait"    // somebody else is at it
	actApply   act = "apply"   // bring the targets to the commit
	actSettle  act = "settle"  // bring owed targets there, as soon as one of them answers
	actGoBack  act = "go back" // finish going back: the head is held and the targets may still run it
)

// facts are what the rules look at.
type facts struct {
	scene   *scene
	newest  *stella.Deployment // the newest that has begun; nil for none
	current *stella.Deployment // the last that was verified as a whole; nil for none
	hold    *stella.Hold       // that forbids the head; nil for none
	locked  bool               // by a holder that lives
	retry   bool               // a person asked
	stuck   bool               // the last tries to go back could not even begin
}

// settled reports whether the targets are known to run the current deployment:
// nothing touched them after it.
func (f facts) settled() bool {
	return f.current != nil && f.scene.book.State.Current == f.current.ID &&
		f.newest.Status == stella.Succeeded
}

// asDesired reports whether the current deployment is what the head asks for.
func (f facts) asDesired() bool { return f.has(f.current) && !f.secretsChanged(f.current) }

// tried reports whether the newest deployment is of the head's content.
func (f facts) tried() bool { return f.has(f.newest) && !f.secretsChanged(f.newest) }

// has reports whether a deployment brought what the head asks for, but for the
// values of secrets.
func (f facts) has(d *stella.Deployment) bool {
	return d != nil && d.Desired == f.scene.desired.Digest && d.Tree == string(f.scene.app)
}

// secretsChanged reports whether secrets were changed since a deployment.
func (f facts) secretsChanged(d *stella.Deployment) bool {
	return slices.Contains(f.scene.otherSecrets, d.ID)
}

// owes reports whether nothing but owed targets keeps the newest deployment
// from being whole.
func (f facts) owes() bool {
	if f.newest.Status != stella.Partial || len(f.scene.book.State.Owed) == 0 {
		return false
	}
	return !slices.ContainsFunc(f.newest.Targets, func(t stella.TargetResult) bool {
		return t.Status != stella.TargetVerified && t.Status != stella.TargetOwed
	})
}

// interrupted reports whether the newest deployment brings the head's content
// back, of which nothing is new, and did not come to its end: a rollback, of a
// part or of one commit as of all, a reset, a heal.
func (f facts) interrupted() bool {
	return f.has(f.newest) && (f.newest.Kind.GoesBack() || f.newest.Kind == stella.KindHeal) && (f.newest.Status == stella.Aborted || f.newest.Status == stella.Running)
}

// returning is the kind of going back to good: a reset that did not come to its
// end goes on as one, even where it had not touched anything yet.
func (f facts) returning(good *stella.Deployment) stella.Kind {
	d, ok := f.scene.book.Newest()
	if ok && d.Kind == stella.KindReset && d.Status != stella.Succeeded && d.Tree == good.Tree {
		return stella.KindReset
	}
	return stella.KindRollback
}

// restored is the deployment that the newest one goes back to, nil for none.
func (f facts) restored() *stella.Deployment {
	d, ok := f.scene.book.Deployment(f.newest.Restores)
	if !ok {
		return nil
	}
	return &d
}

// maxErrored is how often going back that can not begin is tried by itself.
const maxErrored = 3

// stuck reports whether the newest deployments go back and could not begin, one
// after the other.
func stuck(b ledger.Book) bool {
	n := 0
	for _, d := range slices.Backward(b.Deployments) {
		if !d.Kind.GoesBack() || d.Status != stella.Errored {
			break
		}
		n++
	}
	return n >= maxErrored
}

type rule struct {
	name string
	when func(facts) bool
	then func(facts) verdict
}

// rules are tried in order; the first that matches decides.
func rules() []rule {
	return []rule{
		{
			"somebody is at it", func(f facts) bool { return f.locked },
			func(f facts) verdict {
				l := f.scene.book.State.Lock
				return verdict{act: actWait, sync: stella.Progressing, reason: fmt.Sprintf("locked by %s: %s", l.Holder, l.Purpose)}
			},
		},
		{
			"the commit is invalid", func(f facts) bool { return f.scene.invalid != nil },
			func(f facts) verdict {
				return verdict{act: actStop, sync: stella.Invalid, reason: f.scene.invalid.Error()}
			},
		},
		{
			"going back can not begin", func(f facts) bool { return f.hold != nil && f.stuck && !f.retry },
			func(f facts) verdict {
				d, _ := f.scene.book.Newest()
				return verdict{act: actStop, sync: stella.Held, reason: fmt.Sprintf("%s could not begin, %d times: %s", d.ID, maxErrored, d.Error)}
			},
		},
		{
			"held, and the targets may still run it", func(f facts) bool { return f.hold != nil && f.current != nil && !f.settled() },
			func(f facts) verdict {
				return verdict{
					act: actGoBack, sync: stella.Held, kind: f.returning(f.current), restores: f.current,
					reason: fmt.Sprintf("%s is held and a %s to %s did not end", f.hold.Release, f.returning(f.current), f.current.ID),
				}
			},
		},
		{
			"held", func(f facts) bool { return f.hold != nil },
			func(f facts) verdict {
				return verdict{act: actStop, sync: stella.Held, reason: holdReason(*f.hold) + f.scene.over("; ")}
			},
		},
		{
			"as desired", func(f facts) bool { return f.asDesired() && f.settled() },
			func(f facts) verdict {
				v := verdict{act: actNothing, sync: stella.Synced, kind: stella.KindHeal, restores: f.current}
				if d, ok := f.scene.book.Newest(); ok && brokenHeal(f.scene.book, d) {
					v.reason = fmt.Sprintf("%s, a heal, is %s: %s", d.ID, d.Status, firstLine(d.Error))
				}
				if f.scene.pinned() != nil {
					v.sync, v.reason = stella.Pinned, f.scene.pinReason()
				}
				return v
			},
		},
		{
			"tried and rejected", func(f facts) bool { return f.tried() && !f.retry && f.newest.Status == stella.Failed },
			func(f facts) verdict {
				return verdict{act: actStop, sync: stella.SyncFailed, reason: fmt.Sprintf("%s failed: %s", f.newest.ID, f.newest.Error)}
			},
		},
		{
			"targets are owed", func(f facts) bool { return f.tried() && !f.retry && f.owes() },
			func(f facts) verdict {
				return verdict{
					act: actSettle, sync: stella.SyncPartial, kind: f.newest.Kind, restores: f.restored(),
					reason: fmt.Sprintf("%s still owes %s", f.newest.ID, strings.Join(f.scene.book.State.Owed, ", ")),
				}
			},
		},
		{
			"tried and stuck", func(f facts) bool { return f.tried() && !f.retry && f.newest.Status == stella.Partial },
			func(f facts) verdict {
				return verdict{act: actStop, sync: stella.SyncPartial, reason: fmt.Sprintf("%s is partial: %s", f.newest.ID, f.newest.Error)}
			},
		},
		{
			"an override ended", func(f facts) bool {
				return f.current != nil && f.current.Tree == string(f.scene.app) && f.settled() && f.scene.endedAfter(f.current.StartedAt)
			},
			func(f facts) verdict {
				return verdict{act: actApply, sync: stella.OutOfSync, kind: stella.KindDeploy, reason: f.scene.over("")}
			},
		},
		{
			"an earlier release came back", func(f facts) bool { return f.earlier() != nil },
			func(f facts) verdict {
				d := f.earlier()
				return verdict{
					act: actApply, sync: stella.OutOfSync, kind: f.returning(d), restores: d,
					reason: fmt.Sprintf("commit %.12s brings back %s", f.scene.commit, d.ID),
				}
			},
		},
		{
			"going back was interrupted", func(f facts) bool { return f.interrupted() },
			func(f facts) verdict {
				return verdict{
					act: actApply, sync: stella.OutOfSync, kind: f.newest.Kind, restores: f.restored(),
					reason: fmt.Sprintf("%s did not end", f.newest.ID),
				}
			},
		},
		{
			"secrets changed", func(f facts) bool {
				return f.has(f.current) && (f.secretsChanged(f.current) || f.secretsChanged(f.newest))
			},
			func(f facts) verdict {
				return verdict{
					act: actApply, sync: stella.OutOfSync, kind: stella.KindDeploy,
					reason: fmt.Sprintf("secrets changed: commit %.12s is not deployed", f.scene.branch.commit),
				}
			},
		},
		{
			"changed in git", func(facts) bool { return true },
			func(f facts) verdict {
				return verdict{act: actApply, sync: stella.OutOfSync, kind: stella.KindDeploy, reason: fmt.Sprintf("commit %.12s is not deployed", f.scene.commit)}
			},
		},
	}
}

// earlier returns the verified deployment whose app tree the head has again,
// where that is not simply the current one.
func (f facts) earlier() *stella.Deployment {
	app := string(f.scene.app)
	switch {
	case f.current == nil, f.current.Tree == app && f.settled():
		return nil
	case f.newest.Tree == app && !f.newest.Kind.GoesBack():
		return nil // the same deployment once more
	}
	for _, d := range f.scene.book.Verified() {
		if d.Tree == app {
			return &d
		}
	}
	return nil
}

// decide says what to do about the environment in sc.
func (sc *scene) decide(locked, retry bool) verdict {
	f := facts{scene: sc, locked: locked, retry: retry, newest: newest(sc.book)}
	if d, ok := sc.book.LastGood(); ok {
		f.current = &d
	}
	f.stuck = stuck(sc.book)
	if sc.invalid == nil {
		f.hold = heldBy(sc.book.State.Holds, sc.source)
	}
	if f.hold != nil && f.tried() && slices.Contains(f.newest.Forced, ForceHold) {
		f.hold = nil // somebody forced it, and said why
	}
	for _, r := range rules() {
		if r.when(f) {
			return r.then(f)
		}
	}
	panic("reconciler: no rule matches") // the last one always does
}

// brokenHeal reports whether a deployment is a heal that did not work, while what
// it was to go back to is in effect all the same.
func brokenHeal(b ledger.Book, d stella.Deployment) bool {
	return d.Kind == stella.KindHeal && b.State.Current != "" && (d.Status == stella.Failed || d.Status == stella.Partial)
}

// newest returns the newest deployment that has begun and touched something, or
// still may; nil for none. A heal that did not work, while what it goes back to
// is in effect, changed nothing about what is: only drift is left.
func newest(b ledger.Book) *stella.Deployment {
	for _, d := range slices.Backward(b.Deployments) {
		if brokenHeal(b, d) {
			continue
		}
		if d.Status != stella.Pending && d.Status != stella.Superseded && d.Status != stella.Errored {
			return &d
		}
	}
	return nil
}
