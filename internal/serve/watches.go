package serve

import (
	"context"
	"errors"
	"fmt"
	"math"
	"syscall"
	"time"

	"github.com/cenkalti/backoff/v5"
)

// errWatch is what is said of targets that can not be watched.
var errWatch = errors.New("changes on the targets are found by the schedule, or when they can be watched again")

// lastRewatch is how seldom it is tried to watch what can not be watched. It is
// looked at by the schedule meanwhile, and what it lacks is seldom given soon.
const lastRewatch = time.Hour

// laterWatch is how long to wait after a watch that failed.
func (l *lookout) laterWatch() time.Duration {
	if l.rewatch == nil {
		l.rewatch = backoff.NewExponentialBackOff()
		l.rewatch.InitialInterval, l.rewatch.MaxInterval = firstRetry, lastRewatch
	}
	return l.rewatch.NextBackOff()
}

// toWatch reports whether a scan that begins now is to watch the targets anew: it
// is time, or a scan waits for just that.
func (l *lookout) toWatch(now time.Time) bool {
	return !l.watchAt.IsZero() && (!now.Before(l.watchAt) || l.watchAt.Equal(l.told))
}

// watchTargets has the targets tell of changes from now on. The watch before
// ends when the new one has begun, so that nothing comes in between, and goes on
// where it watches more. What can not be watched is tried again later.
func (d *daemon) watchTargets(ctx context.Context, j job) {
	stop, err := d.beginWatch(ctx, j)
	if exhausted(err) {
		stop()
		d.makeRoom(ctx, j)
		stop, err = d.beginWatch(ctx, j)
	}
	d.mu.Lock()
	defer d.mu.Unlock()
	l := &j.env.drift
	if l.off() || d.environments[j.name] != j.env {
		stop() // nobody wants to know any more
		return
	}
	if missing := unwatched(err); l.unwatch != nil && missing > l.missing {
		stop()
	} else {
		l.stopWatching()
		l.unwatch, l.missing = stop, missing
	}
	if err != nil {
		err = fmt.Errorf("%w: %w", errWatch, err)
		if said := err.Error(); said != l.unwatched {
			l.unwatched = said
			d.cfg.Logger.WarnContext(ctx, "watch targets", "environment", j.name, "err", err)
		}
		return
	}
	l.watchAt, l.rewatch, l.unwatched = time.Time{}, nil, ""
}

// makeRoom ends the watch before, which may be what there is no room beside, and
// lets it go.
func (d *daemon) makeRoom(ctx context.Context, j job) {
	d.mu.Lock()
	j.env.drift.stopWatching()
	d.mu.Unlock()
	select {
	case <-ctx.Done():
	case <-time.After(settleTarget): // watches end when they notice
	}
}

// beginWatch begins a watch that ends when it is stopped, or with ctx.
func (d *daemon) beginWatch(ctx context.Context, j job) (stop context.CancelFunc, err error) {
	ctx, stop = context.WithCancel(ctx)
	return stop, d.cfg.Engine.Watch(ctx, j.name, func() { d.disturbed(j.name) })
}

// exhausted reports whether something was not watched for want of what watches
// themselves use up.
func exhausted(err error) bool {
	return errors.Is(err, syscall.ENOSPC) || errors.Is(err, syscall.EMFILE) || errors.Is(err, syscall.ENFILE)
}

// unwatched counts the targets that an error of [Engine.Watch] is about; one that
// is about none of them is about all.
func unwatched(err error) int {
	if err == nil {
		return 0
	}
	if joined, ok := err.(interface{ Unwrap() []error }); ok {
		return len(joined.Unwrap())
	}
	return math.MaxInt
}
