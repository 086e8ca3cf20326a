package reconciler

import (
	"context"
	"errors"
	"fmt"

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
	var bad []error
	for _, t := range want.env.Targets {
		spec := TargetSpec{Environment: want.env, Target: t, Machine: sc.book.State.Machines[t.Name], Artifacts: artifacts}
		if err := e.watchTarget(ctx, spec, changed); err != nil {
			bad = append(bad, fmt.Errorf("watch %s of %s: %w", t.Name, env, err))
		}
	}
	return errors.Join(bad...)
}

func (e *Engine) watchTarget(ctx context.Context, spec TargetSpec, changed func()) error {
	return e.guard("watch "+spec.Target.Name, func() error {
		target, err := e.cfg.Targets.Open(ctx, spec)
		if err != nil {
			return err
		}
		if w, ok := target.(Watcher); ok {
			return w.Watch(ctx, changed)
		}
		return nil
	})
}
