package reconciler

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"strings"
	"sync"
	"time"

	"github.com/stella-ops/stella"
	"github.com/stella-ops/stella/configrepo"
)

// run is one deployment while this process carries it out.
type run struct {
	e       *Engine
	scene   *scene // what is deployed: the source of the deployment's commit
	survey  *survey
	plan    Plan
	opts    Options
	lockID  string
	journal *journal
	// takeover: the lock was somebody else's, who may have changed targets until
	// the last moment.
	takeover bool
	// bad is what a rollback goes away from, to be held once its commit landed;
	// nil holds nothing.
	bad    *source
	landed bool
	// offline is put on every sticker by a run without the config repository.
	offline  *stella.OfflineRecord
	proposal *Proposal // the branch that its commit waits on; nil where it is on the branch itself

	// lock lives as long as the environment's lock is ours.
	lock tenure

	// wasUnhealthy: the checks failed before anything was touched.
	wasUnhealthy bool

	mu  sync.Mutex        // guards dep
	dep stella.Deployment // as it will be recorded; targets by environment order
}

// stepTimeout bounds a step that has no limit of its own.
const stepTimeout = 10 * time.Minute

// step runs fn as a step of the deployment's trace. It does not start when ctx
// has ended; once started it goes on until it ends, unless the lock is lost.
func (r *run) step(ctx context.Context, name, target string, limit time.Duration, fn func(context.Context) (map[string]any, error)) error {
	if ctx.Err() != nil {
		return fmt.Errorf("%w: %w", errStopped, context.Cause(ctx))
	}
	if err := r.lock.lost(); err != nil {
		return err
	}
	s := stella.Step{Name: name, Target: target, Status: stella.StepRunning, StartedAt: time.Now().UTC(), Detail: map[string]any{}}
	r.journal.mention(s)
	r.notify(StepBegan{Environment: r.dep.Environment, Deployment: r.dep.ID, Step: s})
	stepCtx, cancel := r.under(ctx, limit)
	defer cancel()
	var detail map[string]any
	err := r.e.guard(strings.TrimSpace(name+" "+target), func() (err error) {
		detail, err = fn(stepCtx)
		return err
	})
	r.endStep(s, detail, err)
	if cause := r.lock.lost(); err != nil && cause != nil {
		return errors.Join(cause, err)
	}
	return err
}

// under is a context for work that goes on after an interrupt, and ends with
// the lock or at the limit.
func (r *run) under(ctx context.Context, limit time.Duration) (context.Context, context.CancelFunc) {
	ctx, end := context.WithCancelCause(context.WithoutCancel(ctx))
	unhook := r.lock.whenLost(end)
	ctx, cancel := context.WithTimeout(ctx, limit)
	return ctx, func() { unhook(); cancel(); end(nil) }
}

func (r *run) endStep(s stella.Step, detail map[string]any, err error) {
	s.DurationSeconds = time.Since(s.StartedAt).Seconds()
	s.Status = stella.StepSucceeded
	if detail != nil {
		s.Detail = detail
	}
	if err != nil {
		s.Status, s.Error = stella.StepFailed, err.Error()
	}
	r.mu.Lock()
	r.dep.Steps = append(r.dep.Steps, s)
	r.mu.Unlock()
	r.journal.write(s)
	r.notify(StepEnded{Environment: r.dep.Environment, Deployment: r.dep.ID, Step: s})
}

func (r *run) notify(ev Event) { r.e.events.notify(ev) }

// setTarget records what became of a target.
func (r *run) setTarget(name string, status stella.TargetStatus, after map[string]string, err error) {
	r.mu.Lock()
	defer r.mu.Unlock()
	for i := range r.dep.Targets {
		t := &r.dep.Targets[i]
		if t.Name != name {
			continue
		}
		t.Status = status
		if after != nil {
			t.After = after
		}
		t.Error = ""
		if err != nil {
			t.Error = err.Error()
		}
	}
}

// snapshot is the deployment as it stands.
func (r *run) snapshot() stella.Deployment {
	r.mu.Lock()
	defer r.mu.Unlock()
	d := r.dep
	d.Steps = append([]stella.Step{}, r.dep.Steps...)
	d.Targets = append([]stella.TargetResult{}, r.dep.Targets...)
	return d
}

// execute prepares every target, then changes and verifies batch by batch. A
// crash anywhere in it leaves an open deployment in the ledger; the next holder
// observes and plans again, with this same code.
func (r *run) execute(ctx context.Context) error {
	if r.dep.Kind == stella.KindImport {
		return r.takeOver(ctx)
	}
	r.baselineChecks(ctx)
	if err := r.prepare(ctx); err != nil {
		return err
	}
	batches := Batches(r.scene.env, r.scene.desired)
	var failures error
	for i, batch := range batches {
		if err := r.batch(ctx, batch, i == len(batches)-1); err != nil {
			failures = errors.Join(failures, err)
			if !r.goesOn(err) {
				return failures
			}
		}
		if i < len(batches)-1 {
			if err := r.pause(ctx); err != nil {
				return errors.Join(failures, err)
			}
		}
	}
	return failures
}

// goesOn reports whether the next batch follows on a failure: only where the
// environment says so, and never when we were told to stop or lost the lock.
func (r *run) goesOn(err error) bool {
	return r.scene.env.Rollout.OnFailure == configrepo.OnFailureContinue &&
		!errors.Is(err, errStopped) && r.lock.lost() == nil
}

// baselineChecks runs the checks once before anything is touched: what was
// unhealthy before is not the new release's fault.
func (r *run) baselineChecks(ctx context.Context) {
	current, ok := r.scene.book.Current()
	if !ok || r.dep.Kind.Restores() {
		return
	}
	for _, res := range r.e.check(ctx, r.survey, checks(r.scene.env, r.reachable(), true)) {
		if !res.OK {
			r.wasUnhealthy = true
			r.notify(Warned{Environment: r.dep.Environment, Text: fmt.Sprintf(
				"%s fails already on %s, before this deployment: %s; automatic rollback is off for it", res.Name, current.ID, res.Error)})
		}
	}
}

// reachable are the names of the targets that could be observed.
func (r *run) reachable() []string {
	var names []string
	for _, s := range r.survey.sites {
		if s.err == nil {
			names = append(names, s.spec.Name)
		}
	}
	return names
}

// prepare fetches on every target all that it will need. Nothing that runs is
// touched, so that a failure here is a refusal.
func (r *run) prepare(ctx context.Context) error {
	return r.each(r.reachable(), func(name string) error {
		site := r.survey.site(name)
		p, ok := site.target.(Preparer)
		if !ok {
			return nil
		}
		want, _ := r.scene.desired.Target(name)
		err := r.step(ctx, stella.StepPrepare, name, stepTimeout, func(ctx context.Context) (map[string]any, error) {
			return nil, p.Prepare(ctx, want, r.dep.Fence)
		})
		if err != nil {
			return fmt.Errorf("prepare %s: %w", name, errors.Join(err, errUntouched))
		}
		r.setTarget(name, stella.TargetPrepared, nil, nil)
		return nil
	})
}

// errUntouched marks a failure before which no target was changed.
var errUntouched = errors.New("nothing was touched")

func (r *run) pause(ctx context.Context) error {
	if r.scene.env.Rollout.Pause == 0 || r.dep.Kind.GoesBack() {
		return nil
	}
	r.notify(Waiting{Environment: r.dep.Environment, For: "the pause between two batches", Since: time.Now()})
	select {
	case <-time.After(r.scene.env.Rollout.Pause):
		return nil
	case <-ctx.Done():
		return fmt.Errorf("%w: %w", errStopped, context.Cause(ctx))
	case <-r.lock.done:
		return r.lock.lost()
	}
}

// each runs fn for every name in parallel and returns all errors in order.
func (r *run) each(names []string, fn func(name string) error) error {
	errs := make([]error, len(names))
	slots := make(chan struct{}, maxParallel)
	var wg sync.WaitGroup
	for i, name := range names {
		wg.Go(func() {
			slots <- struct{}{}
			defer func() { <-slots }()
			errs[i] = r.e.guard(name, func() error { return fn(name) })
		})
	}
	wg.Wait()
	return errors.Join(errs...)
}

// batch changes a batch of targets and verifies them.
func (r *run) batch(ctx context.Context, names []string, last bool) error {
	var there []string
	for _, name := range names {
		if site := r.survey.site(name); site.err == nil {
			there = append(there, name)
		} else {
			r.setTarget(name, stella.TargetOwed, nil, site.err)
		}
	}
	if err := r.each(there, func(name string) error { return r.apply(ctx, name) }); err != nil {
		return err
	}
	return r.verify(ctx, there, last)
}

// apply carries out one target's actions. Where there are none it is given an
// empty order all the same: that writes the sticker.
func (r *run) apply(ctx context.Context, name string) error {
	site := r.survey.site(name)
	part := r.plan.target(name)
	want, _ := r.scene.desired.Target(name)
	order := stella.Order{Kind: r.dep.Kind, Fence: r.dep.Fence, Actions: part.Actions, Desired: want, Sticker: r.sticker(name)}
	err := r.step(ctx, stella.StepApply, name, stepTimeout, func(ctx context.Context) (map[string]any, error) {
		r.setTarget(name, stella.TargetApplied, nil, nil) // whatever happens from here on, it was touched
		err := site.target.Apply(ctx, order, func(a stella.Action, err error) {
			r.notify(ActionDone{Environment: r.dep.Environment, Deployment: r.dep.ID, Target: name, Action: a, Err: err})
		})
		return map[string]any{"actions": float64(len(order.Actions))}, err
	})
	if err != nil {
		if !errors.Is(err, errStopped) {
			r.setTarget(name, stella.TargetFailed, nil, err)
		}
		return fmt.Errorf("apply to %s: %w", name, err)
	}
	return nil
}

func (r *run) sticker(target string) stella.Sticker {
	components := maps.Clone(r.dep.Components)
	for name, a := range r.scene.imagesOn(target) {
		components[name] = a.String() // an override may say otherwise here
	}
	return stella.Sticker{
		SchemaVersion: 1, Environment: r.dep.Environment, Target: target, Deployment: r.dep.ID, Release: r.dep.Release,
		Commit: r.dep.Commit, Components: components, Fence: r.dep.Fence, WrittenAt: time.Now().UTC(),
		Offline: r.offline,
	}
}

func (p Plan) target(name string) TargetPlan {
	for _, t := range p.Targets {
		if t.Target == name {
			return t
		}
	}
	return TargetPlan{Target: name}
}
