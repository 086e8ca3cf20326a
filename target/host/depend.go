package host

import (
	"context"
	"fmt"
	"maps"
	"slices"
	"time"

	"github.com/stella-ops/stella"
)

// dependPoll is short beside the start of any process; a look is three small
// files.
const dependPoll = 50 * time.Millisecond

// waitForDependencies waits until all that a service depends on is as its
// conditions say. Services that are not on this target are others' business.
func (h *Host) waitForDependencies(ctx context.Context, s service, d desiredSet) error {
	for _, on := range slices.Sorted(maps.Keys(s.fields.DependsOn)) {
		if _, here := d.service(on); !here {
			continue
		}
		if err := h.waitFor(ctx, on, s.fields.DependsOn[on].Condition); err != nil {
			return fmt.Errorf("wait for %s: %w", on, err)
		}
	}
	return nil
}

func (h *Host) waitFor(ctx context.Context, name, condition string) error {
	ctx, cancel := context.WithCancelCause(ctx)
	defer cancel(nil)
	if condition == conditionHealthy {
		patience := h.patience(name)
		why := fmt.Errorf("%w: not healthy within %s", stella.ErrTimeout, patience)
		timer := time.AfterFunc(patience, func() { cancel(why) })
		defer timer.Stop()
	}
	for {
		l, err := h.glance(name)
		if err != nil {
			return err
		}
		met, err := meets(l, condition)
		if met || err != nil {
			return err
		}
		select {
		case <-ctx.Done():
			return context.Cause(ctx)
		case <-time.After(dependPoll):
		}
	}
}

// glance observes a service without reading its release.
func (h *Host) glance(name string) (liveService, error) {
	l := liveService{component: stella.ComponentStatus{Name: name}}
	var err error
	if l.spec, err = h.lay.readSpec(name); err != nil {
		return l, fmt.Errorf("%w: it was never applied", stella.ErrUnhealthy)
	}
	return l, h.judge(&l)
}

// meets reports whether a condition of dependsOn holds; an error says that it
// never will.
func meets(l liveService, condition string) (bool, error) {
	c := l.component
	ended := !l.supervised
	switch condition {
	case conditionCompleted:
		if ended && !l.status.Completed {
			return false, fmt.Errorf("%w: %s: %s", stella.ErrUnhealthy, c.State, c.Detail)
		}
		return l.status.Completed && ended, nil
	case conditionHealthy:
		if ended || c.Health == stella.RunHealthUnhealthy {
			return false, fmt.Errorf("%w: %s, %s: %s", stella.ErrUnhealthy, c.State, c.Health, c.Detail)
		}
		return c.State == stella.RunRunning && c.Health == stella.RunHealthHealthy, nil
	}
	if ended && !l.status.Completed {
		return false, fmt.Errorf("%w: %s: %s", stella.ErrUnhealthy, c.State, c.Detail)
	}
	return c.State == stella.RunRunning || l.status.Completed, nil
}

// patience is how long a service may take to become healthy.
func (h *Host) patience(name string) time.Duration {
	const otherwise = time.Minute
	spec, err := h.lay.readSpec(name)
	if err != nil {
		return otherwise
	}
	rel, _, err := readRelease(h.lay.release(name, spec.Release))
	s, errs := decodeService(spec.Resource)
	if err != nil || len(errs) > 0 {
		return otherwise
	}
	if hc := newHealthcheck(s, rel.Config); hc != nil {
		return hc.patience()
	}
	return otherwise
}
