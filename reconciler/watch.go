package reconciler

import (
	"context"
	"errors"
	"fmt"

	"golang.org/x/sync/errgroup"

	"github.com/stella-ops/stella"
)

// Watch has the targets of an environment tell at once that something of them
// changed, as far as they can: changed is called from other goroutines, often
// and for little, until ctx ends. The environment is taken as it was last seen,
// without the network; whoever deploys or changes its targets watches anew.
//
// The error joins what is wrong with each target that could be watched and is
// not; the others are watched all the same.
func (e *Engine) Watch(ctx context.Context, env stella.EnvName, changed func()) error {
	sc, err := e.fromCache(ctx, env)
	if err != nil {
		return err
	}
	want, _, err := e.inEffect(ctx, sc)
	if errors.Is(err, errNothingInEffect) {
		return nil // there is nothing that could drift
	}
	if err != nil {
		return err
	}
	artifacts := e.cfg.Artifacts(want.project)
	specs := make([]TargetSpec, len(want.env.Targets))
	for i, t := range want.env.Targets {
		specs[i] = TargetSpec{Environment: want.env, Target: t, Machine: sc.book.State.Machines[t.Name], Artifacts: artifacts}
	}
	return e.watchTargets(ctx, specs, changed)
}

// watchTargets begins to watch targets, in parallel.
func (e *Engine) watchTargets(ctx context.Context, specs []TargetSpec, changed func()) error {
	bad := make([]error, len(specs))
	var g errgroup.Group
	g.SetLimit(maxParallel)
	for i, spec := range specs {
		g.Go(func() error {
			if err := e.watchTarget(ctx, spec, changed); err != nil {
				bad[i] = fmt.Errorf("watch %s of %s: %w", spec.Target.Name, spec.Environment.Name, err)
			}
			return nil
		})
	}
	_ = g.Wait() // errors stay with their targets
	return errors.Join(bad...)
}

// watchTarget begins to watch one target. One that hangs is as good as one that
// is not there, and stops nobody else; a watch that begins after all is one more.
func (e *Engine) watchTarget(ctx context.Context, spec TargetSpec, changed func()) error {
	begin, cancel := context.WithTimeout(ctx, observeTimeout)
	defer cancel()
	done := make(chan error, 1)
	go func() {
		done <- e.guard("watch "+spec.Target.Name, func() error {
			target, err := e.cfg.Targets.Open(begin, spec)
			if err != nil {
				return err
			}
			if w, ok := target.(Watcher); ok {
				return w.Watch(ctx, changed) // it lasts: not only as long as its begin may take
			}
			return nil
		})
	}()
	select {
	case err := <-done:
		return err
	case <-begin.Done():
		return fmt.Errorf("no answer for %s: %w: %w", observeTimeout, stella.ErrUnreachable, context.Cause(begin))
	}
}
