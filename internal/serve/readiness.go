package serve

import (
	"context"
	"maps"
	"math/rand/v2"
	"slices"
	"time"

	"github.com/stella-ops/stella"
	"github.com/stella-ops/stella/reconciler"
)

// DefaultReadiness is how often it is looked into whether each environment
// could be rolled back, unless told otherwise.
const DefaultReadiness = 10 * time.Minute

// readyDelay is how long after a deployment its environment is looked into: what
// comes in a row, as a deployment and the rollback after it, is one look.
const readyDelay = 5 * time.Second

// measure looks into readiness on a schedule and after deployments, until ctx
// ends. It runs beside the passes, one look at a time, and delays none of them.
func (d *daemon) measure(ctx context.Context) {
	every := d.cfg.Readiness
	if every <= 0 {
		return
	}
	// The first look of many daemons that start together is not at one moment.
	sweep := time.Now().Add(readyDelay + rand.N(every/10+1)) //nolint:gosec // jitter, not a secret
	for {
		select {
		case <-ctx.Done():
			return
		case <-time.After(time.Until(sweep)):
			names := d.known()
			d.weigh(ctx, names)
			if len(names) > 0 {
				d.retain(ctx, nil)
			}
			sweep = time.Now().Add(every - every/20 + rand.N(every/10+1)) //nolint:gosec // jitter, not a secret
		case <-d.moved:
			select {
			case <-ctx.Done():
				return
			case <-time.After(readyDelay):
			}
			names := d.unweighed()
			d.weigh(ctx, names)
			if len(names) > 0 {
				d.retain(ctx, names)
			}
		}
	}
}

// known are the environments of the branch.
func (d *daemon) known() []stella.EnvName {
	d.mu.Lock()
	defer d.mu.Unlock()
	for _, env := range d.environments {
		env.unweighed = false
	}
	return slices.Sorted(maps.Keys(d.environments))
}

// unweighed are the environments that something happened to since they were
// looked into.
func (d *daemon) unweighed() []stella.EnvName {
	d.mu.Lock()
	defer d.mu.Unlock()
	var names []stella.EnvName
	for _, name := range slices.Sorted(maps.Keys(d.environments)) {
		if env := d.environments[name]; env.unweighed {
			env.unweighed = false
			names = append(names, name)
		}
	}
	return names
}

// weighSoon has an environment looked into where a pass found something else
// than the last time. The caller has d.mu.
func (d *daemon) weighSoon(env *environment, key string) {
	if env.weighed == key {
		return
	}
	env.weighed, env.unweighed = key, true
	select {
	case d.moved <- struct{}{}:
	default: // told already
	}
}

// weigh looks into the environments and publishes what came out. Where
// nobody can tell, what was known stays, and its age says so.
func (d *daemon) weigh(ctx context.Context, names []stella.EnvName) {
	if len(names) == 0 {
		return
	}
	all, err := d.checkReady(ctx, names)
	if err != nil && ctx.Err() == nil {
		d.cfg.Logger.WarnContext(ctx, "look into readiness", "err", err)
	}
	d.mu.Lock()
	defer d.mu.Unlock()
	for _, r := range all {
		env := d.environments[r.Environment]
		switch {
		case env == nil: // gone meanwhile
		case r.Error != "":
			d.cfg.Logger.WarnContext(ctx, "look into readiness", "environment", r.Environment, "err", r.Error)
		default:
			d.cfg.Metrics.ready(r)
			d.tellReady(ctx, env, r)
		}
	}
}

// tellReady logs a verdict that changed. The caller has d.mu.
func (d *daemon) tellReady(ctx context.Context, env *environment, r reconciler.EnvironmentReadiness) {
	if env.verdict != nil && *env.verdict == r.Ready {
		return
	}
	env.verdict = &r.Ready
	if r.Ready {
		d.cfg.Logger.InfoContext(ctx, "ready to be rolled back", "environment", r.Environment, "to", r.To)
		return
	}
	d.cfg.Logger.WarnContext(ctx, "not ready to be rolled back", "environment", r.Environment, "to", r.To, "blockers", r.Reasons())
}

// checkReady asks the engine. A panic in it is an error of this look and of
// nothing else.
func (d *daemon) checkReady(ctx context.Context, names []stella.EnvName) (all []reconciler.EnvironmentReadiness, err error) {
	defer func() {
		if p := recover(); p != nil {
			err = panicked(p)
		}
	}()
	return d.cfg.Engine.CheckReady(ctx, names...)
}
