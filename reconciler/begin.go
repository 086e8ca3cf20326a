package reconciler

import (
	"cmp"
	"context"
	"fmt"
	"slices"
	"time"

	"github.com/stella-ops/stella"
	"github.com/stella-ops/stella/configrepo"
	"github.com/stella-ops/stella/internal/durable"
	"github.com/stella-ops/stella/ledger"
)

// intent is why a deployment is made.
type intent struct {
	kind     stella.Kind
	restores string             // the deployment that a rollback, reset or heal goes back to
	good     *stella.Deployment // that one, where the whole of it is restored
	// mends: environment.yaml of today can not be read, and is restored with it.
	mends   bool
	reverts []string // config commits that going back undoes
	undoes  []UndoneCommit
	actor   string // who asked for it; empty: who this engine works for
	// offline is the record of what was done without the config repository and is
	// recorded now; nil for none.
	offline   *stella.OfflineRecord
	reason    string
	automatic bool
	scope     Scope // of going back
	opts      Options
	// uncommitted: its commit is not on the branch yet.
	uncommitted bool
}

// commit is what the record names: nothing until the commit exists.
func (i intent) commit(sc *scene) string {
	if i.uncommitted {
		return ""
	}
	return string(sc.commit)
}

// begin records the intent and takes the environment's lock, in one transition:
// from here on the ledger knows of the deployment. A crash right after it leaves
// a lock that ends by itself and a deployment that touched nothing.
//
// It refuses with stella.ErrLocked when a living holder has the lock and with
// stella.ErrConflict when the ledger is no longer what the plan was made from.
func (e *Engine) begin(ctx context.Context, sc *scene, in *inspection, why intent) (*run, error) {
	if err := e.mayWrite(sc.project); err != nil {
		return nil, err
	}
	r := &run{e: e, scene: sc, survey: in.survey, plan: in.plan, opts: why.opts, lockID: nonce()}
	self, err := durable.Self()
	if err != nil {
		return nil, fmt.Errorf("name this process: %w", err)
	}
	e.hold(r.lockID)
	book, err := sc.ledger.Append(ctx, sc.name, func(b ledger.Book) ([]ledger.Event, error) {
		takeover, err := e.free(b, sc, why.opts)
		if err != nil {
			return nil, err
		}
		r.takeover = takeover != ""
		r.dep = e.draft(b, sc, in.survey, why)
		lock := stella.Lock{
			ID: r.lockID, Holder: e.cfg.Actor, Purpose: purpose(r.dep), Deployment: r.dep.ID, Machine: self.String(),
		}
		return []ledger.Event{ledger.Begin{Deployment: r.dep, Lock: lock, Takeover: takeover, FenceFloor: in.survey.fence(), Includes: waiting(b)}}, nil
	})
	if err != nil {
		e.release(r.lockID)
		return nil, fmt.Errorf("record the intent for %s: %w", sc.name, err)
	}
	r.adopt(ctx, book)
	return r, nil
}

// mayWrite refuses when the repository asks for another version of stella: an
// older one reads and leaves writing to others.
func (e *Engine) mayWrite(p *configrepo.Project) error {
	if p.Allows(e.cfg.Version) {
		return nil
	}
	err := fmt.Errorf("stella %s may only read here, stella.yaml requires %q: %w", e.cfg.Version, p.Requires, stella.ErrInvalid)
	return stella.WithHint(err, "install a version of stella that it allows")
}

// free says which stale lock may be taken over, empty for a free environment.
func (e *Engine) free(b ledger.Book, sc *scene, o Options) (takeover string, err error) {
	if was, is := sc.book.State, b.State; !sameStop(was.Stopped, is.Stopped) {
		return "", stopChanged(sc.name, is.Stopped)
	} else if was.Sequence != is.Sequence || was.Current != is.Current || was.Last != is.Last || len(was.Holds) != len(is.Holds) {
		now, _ := b.Newest()
		err := fmt.Errorf("%s changed meanwhile: %s is %s: %w", sc.name, now.ID, now.Status, stella.ErrConflict)
		next := "run 'stella orch env status %s', then decide again"
		if now.Kind.GoesBack() {
			err = fmt.Errorf("%s changed meanwhile: %s, a %s to %s, is %s: %w", sc.name, now.ID, now.Kind, now.Restores, now.Status, stella.ErrConflict)
			next = "run 'stella rollback status %s --follow' to see it through, then decide again"
		}
		return "", stella.WithHint(err, fmt.Sprintf(next, sc.name))
	}
	lock := b.State.Lock
	if lock == nil {
		return "", nil
	}
	if e.mayTakeOver(sc, lock, o) {
		return lock.ID, nil
	}
	return "", lockedError(sc.name, *lock)
}

// sameStop reports whether two books know of the same stop, or of none.
func sameStop(a, b *ledger.Stopped) bool {
	if a == nil || b == nil {
		return a == b
	}
	return a.How == b.How && a.At.Equal(b.At)
}

// stopChanged is why nothing begins that was decided before a person stopped what
// runs, or before it was started again.
func stopChanged(env stella.EnvName, now *ledger.Stopped) error {
	what := "it is no longer stopped"
	if now != nil {
		what = "it was " + stoppedWords(*now)
	}
	err := fmt.Errorf("%s changed meanwhile: %s: %w", env, what, stella.ErrConflict)
	return stella.WithHint(err, fmt.Sprintf("run 'stella orch env status %s', then decide again", env))
}

// mayTakeOver reports whether nobody who lives has the lock, as far as is known
// or a person vouches for.
func (e *Engine) mayTakeOver(sc *scene, lock *stella.Lock, o Options) bool {
	stale, _ := e.stale(sc.ledger, sc.name, lock)
	return stale || suspected(*lock, o)
}

// suspected reports whether a person vouches, by force, that a lock whose lease
// ran out by the clock is dead: it is not waited for then. A living holder is
// not hurt: it is fenced off, and knows.
func suspected(l stella.Lock, o Options) bool {
	return forced(o, ForceLock) && !l.ByHand && time.Now().After(l.ExpiresAt)
}

func lockedError(env stella.EnvName, l stella.Lock) error {
	since, class := l.AcquiredAt.UTC().Format(time.RFC3339), stella.ErrLocked
	if l.ByHand {
		// The time is what whoever is refused can plan with; a lease says nothing.
		since, class = fmt.Sprintf("%s until %s", since, l.ExpiresAt.UTC().Format(time.RFC3339)), stella.ErrFrozen
	}
	err := fmt.Errorf("%s is locked by %s since %s: %s: %w", env, l.Holder, since, l.Purpose, class)
	return stella.WithHint(err, fmt.Sprintf("run 'stella orch locks list %s'", env))
}

func purpose(d stella.Deployment) string {
	if d.Release == "" {
		return string(d.Kind)
	}
	return string(d.Kind) + " " + d.Release
}

// draft is the record of a deployment that is about to begin.
func (e *Engine) draft(b ledger.Book, sc *scene, sv *survey, why intent) stella.Deployment {
	d := stella.Deployment{
		SchemaVersion: 1, Environment: sc.name, Sequence: b.State.Sequence + 1, Kind: why.kind, Status: stella.Running,
		Commit: why.commit(sc), Tree: string(sc.app), Shared: sc.shared, Release: sc.release.Release.Version,
		Components: images(sc.source), Restores: why.restores, Reverts: orEmpty(why.reverts), Automatic: why.automatic,
		Actor: cmp.Or(why.actor, e.cfg.Actor), Reason: why.reason, Incident: why.opts.Incident, StartedAt: e.cfg.Now().UTC(),
		Forced: orEmpty(why.opts.Force), Desired: sc.desired.Digest, Steps: []stella.Step{},
	}
	if !why.uncommitted {
		d.SecretsCommit = secretsFrom(sc.source, sc.branch)
	}
	d.ID = fmt.Sprintf("%s-%d", d.Environment, d.Sequence)
	d.Targets = results(sv)
	return d
}

// results are the targets' parts of a deployment that has touched nothing.
func results(sv *survey) []stella.TargetResult {
	out := make([]stella.TargetResult, 0, len(sv.sites))
	for _, s := range sv.sites {
		t := stella.TargetResult{Name: s.spec.Name, Status: stella.TargetUntouched, Before: running(s.live), After: map[string]string{}}
		if s.err != nil {
			t.Status, t.Error = stella.TargetOwed, s.unreachable()
		}
		out = append(out, t)
	}
	return out
}

// waiting are the deployments that were asked for and are carried out by the one
// that begins: it brings the branch's head, which has all of them.
func waiting(b ledger.Book) []string {
	var ids []string
	for _, d := range b.Open() {
		if d.Status == stella.Pending {
			ids = append(ids, d.ID)
		}
	}
	return ids
}

func orEmpty(list []string) []string {
	if list == nil {
		return []string{}
	}
	return list
}

// adopt takes over what the ledger made of the intent, and keeps the lock alive.
func (r *run) adopt(ctx context.Context, book ledger.Book) {
	r.scene.book = book
	if d, ok := book.Deployment(r.dep.ID); ok {
		steps := r.dep.Steps
		r.dep = d
		r.dep.Steps = append(steps, d.Steps...)
		r.dep.Targets = slices.Clone(d.Targets) // ours to change; the book's is not
	}
	r.journal = openJournal(r.e.cfg.Journals, r.dep.ID, r.e.cfg.Logger)
	held, lose := context.WithCancelCause(context.WithoutCancel(ctx))
	r.lock = newTenure(held, lose)
	go r.e.keepAlive(held, lose, r.scene.name, r.renew)
	r.notify(Started{Deployment: r.snapshot()})
}

// renew records how far the deployment is, and so keeps its lock. It owns
// nothing of r but reads a snapshot.
func (r *run) renew(ctx context.Context) error {
	d := r.snapshot()
	_, err := r.scene.ledger.Append(ctx, d.Environment, func(ledger.Book) ([]ledger.Event, error) {
		return []ledger.Event{ledger.Progress{ID: d.ID, LockID: r.lockID, Commit: d.Commit, Tree: d.Tree, Steps: d.Steps, Targets: d.Targets}}, nil
	})
	return err
}
