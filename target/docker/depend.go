package docker

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"slices"
	"time"

	"github.com/moby/moby/api/types/container"

	"github.com/stella-ops/stella"
)

// dependPoll is short beside the start of any container.
const dependPoll = 100 * time.Millisecond

// await waits until all that a service depends on is as its conditions say, in
// the containers that they have now. What is not on this target is others' business.
// Nothing is begun meanwhile, so the order's end ends it.
func (r *replacement) await(ctx context.Context) error {
	if len(r.depends) == 0 {
		return nil
	}
	inv, err := r.d.takeInventory(ctx)
	if err != nil {
		return err
	}
	for _, on := range slices.Sorted(maps.Keys(r.depends)) {
		if _, here := r.set.service(on); !here || r.idle(on) {
			continue
		}
		b := inv.services[on]
		if b == nil || b.current == nil {
			return fmt.Errorf("wait for %s: %w: it has no container", on, stella.ErrUnhealthy)
		}
		if err := r.d.waitFor(r.life, b.current.ID, r.depends[on]); err != nil { //nolint:contextcheck // see above
			return fmt.Errorf("wait for %s: %w", on, err)
		}
	}
	return nil
}

// waitFor waits until a container, by its id, is as a condition says. That ctx
// ran out of time is of class stella.ErrTimeout: the engine did answer.
func (d *Docker) waitFor(ctx context.Context, id, condition string) error {
	ctx, cancel := context.WithCancelCause(ctx)
	defer cancel(nil)
	var timer *time.Timer
	for {
		live, err := d.inspect(ctx, id)
		if ctx.Err() != nil {
			return notInTime(ctx, condition)
		}
		if err != nil {
			return err
		}
		met, err := meets(live, condition)
		if met || err != nil {
			return err
		}
		if timer == nil && condition != conditionCompleted {
			patience := patienceOf(live)
			why := fmt.Errorf("%w: not %s within %s", stella.ErrTimeout, condition, patience)
			timer = time.AfterFunc(patience, func() { cancel(why) })
			defer timer.Stop()
		}
		select {
		case <-ctx.Done():
			return notInTime(ctx, condition)
		case <-time.After(dependPoll):
		}
	}
}

// notInTime is why a wait ended that is over.
func notInTime(ctx context.Context, condition string) error {
	why := context.Cause(ctx)
	if errors.Is(why, context.DeadlineExceeded) && !classified(why) {
		return fmt.Errorf("%w: not %s when the time for the order was up", stella.ErrTimeout, condition)
	}
	return why
}

// meets reports whether a condition holds; an error says that it never will.
func meets(live *container.InspectResponse, condition string) (bool, error) {
	if live == nil || live.State == nil {
		return false, fmt.Errorf("%w: its container is gone", stella.ErrUnhealthy)
	}
	ended := live.State.Status == container.StateExited || live.State.Status == container.StateDead || live.State.Status == container.StateCreated
	switch {
	case ended && completed(live):
		if condition == conditionHealthy {
			return false, fmt.Errorf("%w: %s", stella.ErrUnhealthy, detail(*live))
		}
		return true, nil
	case ended:
		return false, fmt.Errorf("%w: %s", stella.ErrUnhealthy, detail(*live))
	case condition == conditionStarted:
		return live.State.Status == container.StateRunning, nil
	case condition == conditionHealthy:
		h := live.State.Health
		if h != nil && h.Status == container.Unhealthy {
			return false, fmt.Errorf("%w: %s", stella.ErrUnhealthy, detail(*live))
		}
		return h != nil && h.Status == container.Healthy, nil
	}
	return false, nil
}

// patienceOf is how long a container may take to become healthy: twice what its
// healthcheck takes to give up, and never under a minute.
func patienceOf(live *container.InspectResponse) time.Duration {
	patience := time.Minute
	if live.Config == nil || live.Config.Healthcheck == nil {
		return patience
	}
	h := live.Config.Healthcheck
	or := func(d, otherwise time.Duration) time.Duration {
		if d <= 0 {
			return otherwise
		}
		return d
	}
	retries := h.Retries
	if retries <= 0 {
		retries = 3
	}
	once := or(h.Interval, 30*time.Second) + or(h.Timeout, 30*time.Second)
	return max(patience, h.StartPeriod+2*time.Duration(retries)*once)
}
