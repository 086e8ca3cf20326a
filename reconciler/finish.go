package reconciler

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/stella-ops/stella"
	"github.com/stella-ops/stella/drift"
	"github.com/stella-ops/stella/ledger"
)

// recordTimeout bounds the last push of a deployment, retries included. It goes
// on after an interrupt: what happened must be known.
const recordTimeout = time.Minute

// end fills in how the deployment ended, from err and from what was observed.
func (r *run) end(ctx context.Context, err error) {
	status := r.status(ctx, r.snapshot(), err)
	now := r.e.cfg.Now().UTC()
	r.mu.Lock()
	defer r.mu.Unlock()
	r.dep.Status, r.dep.FinishedAt = status, &now
	r.dep.DurationSeconds = max(0, now.Sub(r.dep.StartedAt).Seconds()) // the clock may have been put back
	if err != nil {
		r.dep.Error = err.Error()
	}
}

// status names the end of a deployment. "Failed" promises that every target is
// on one recorded deployment's content; anything less is "partial".
func (r *run) status(ctx context.Context, d stella.Deployment, err error) stella.Status {
	owed, touched := 0, 0
	for _, t := range d.Targets {
		switch t.Status {
		case stella.TargetOwed:
			owed++
		case stella.TargetUntouched, stella.TargetPrepared:
		default:
			touched++
		}
	}
	switch {
	case err == nil && owed > 0:
		return stella.Partial
	case err == nil:
		return stella.Succeeded
	case touched == 0:
		return stella.Errored
	case errors.Is(err, errStopped):
		return stella.Aborted
	case r.uniform(ctx):
		return stella.Failed
	}
	return stella.Partial
}

// uniform reports whether every target was observed on one content: all on the
// new one, or all on what they ran before.
func (r *run) uniform(ctx context.Context) bool {
	_, settled := r.scene.book.Current() // what they ran before was one recorded content
	allNew, allOld := true, settled
	for _, s := range r.survey.sites {
		look, cancel := context.WithTimeout(context.WithoutCancel(ctx), observeTimeout)
		live, err := s.observeAgain(look)
		cancel()
		if err != nil {
			return false
		}
		allNew = allNew && !drift.Drifted(r.differences(s.spec.Name, live))
		allOld = allOld && !drift.Drifted(drift.Compare(s.live, live, r.scene.ignores(s.spec.Name), r.survey.at))
	}
	return allNew || allOld
}

func (s *site) observeAgain(ctx context.Context) (stella.State, error) {
	if s.target == nil {
		return stella.State{}, s.err
	}
	return s.target.Observe(ctx)
}

// outcome is what the ledger is told of an end: the record, what it holds from
// now on, and which machines the targets are.
func (r *run) outcome(b ledger.Book, d stella.Deployment, hold *stella.Hold) []ledger.Event {
	return append([]ledger.Event{
		ledger.Note{Summary: r.summary(b, d), Machines: r.survey.machines()},
		ledger.Finish{Deployment: d, LockID: r.lockID, Hold: hold, Current: d.Status == stella.Succeeded},
	}, unpins(b, d)...)
}

// record pushes the outcome. The lock ends with it.
func (r *run) record(ctx context.Context, events func(ledger.Book, stella.Deployment) []ledger.Event) (stella.Deployment, error) {
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), recordTimeout)
	defer cancel()
	d := r.snapshot()
	start := time.Now()
	d.Steps = append(d.Steps, stella.Step{
		Name: stella.StepRecord, Status: stella.StepSucceeded, StartedAt: start.UTC(), Detail: map[string]any{},
	})
	book, err := r.scene.ledger.Append(ctx, d.Environment, func(b ledger.Book) ([]ledger.Event, error) { return events(b, d), nil })
	r.lock.lose(errEnded)
	if err != nil {
		r.journal.close()
		err = fmt.Errorf("record the outcome of %s (%s): %w", d.ID, d.Status, err)
		return d, stella.WithHint(err, fmt.Sprintf("run 'stella reconcile %s' when the config repository answers again", d.Environment))
	}
	before := r.scene.book
	r.scene.book = book
	r.settles(ctx, before, d)
	r.journal.remove() // the ledger has it all now
	r.notify(Ended{Deployment: d})
	return d, nil
}

// errEnded is why a lock's context ends when its deployment does.
var errEnded = errors.New("the deployment ended")

// summary is how the environment stands after a deployment, for those who ask
// the ledger alone.
func (r *run) summary(b ledger.Book, d stella.Deployment) ledger.Summary {
	s := b.State.Summary
	s.Commit, s.At = d.Commit, r.e.cfg.Now().UTC()
	was := s.Sync
	s.Reason = firstLine(d.Error)
	switch d.Status {
	case stella.Succeeded:
		s.Sync, s.Health = stella.Synced, stella.Healthy
		if r.scene.pinned() != nil {
			s.Sync, s.Reason = stella.Pinned, r.scene.pinReason()
		} else if d.Kind == stella.KindHeal && r.scene.source != r.scene.branch {
			s.Sync = was // what was kept is not what the branch asks for
		}
	case stella.Errored:
		s.Sync = stella.OutOfSync // nothing was touched: health is what it was
	case stella.Failed:
		s.Sync, s.Health = stella.SyncFailed, stella.Unhealthy
	default:
		s.Sync, s.Health = stella.SyncPartial, stella.Degraded
	}
	return s
}
