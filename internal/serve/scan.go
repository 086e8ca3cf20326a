package serve

import (
	"context"
	"fmt"
	"time"

	"github.com/cenkalti/backoff/v5"

	"github.com/stella-ops/stella"
	"github.com/stella-ops/stella/configrepo"
	"github.com/stella-ops/stella/reconciler"
)

// patience is how long a scan may take until it is told to end, and how long it
// may then take for that until nobody waits for it any more.
type patience struct{ most, grace time.Duration }

// patience with a scan that heals is that with a deployment: it ends by its own
// timeouts, and what it began it records.
func (l *lookout) patience() patience {
	if l.policy.Mode == configrepo.DriftHeal {
		return patience{2 * time.Hour, 5 * time.Minute}
	}
	return patience{5 * time.Minute, 30 * time.Second}
}

// seen is how a scan ended.
type seen struct {
	reconciler.Scan
	err error
}

// scan carries one scan out and publishes what came out. A scan that does not
// end when it is told to is given up: the environment may be passed again, and
// is not scanned until it did end.
func (d *daemon) scan(ctx context.Context, j job) {
	begun := time.Now()
	if j.missed > 0 {
		d.cfg.Metrics.missed(j.name, j.missed)
		d.cfg.Logger.WarnContext(ctx, "scans for drift were missed; one catches up", "environment", j.name, "missed", j.missed)
	}
	late := fmt.Errorf("a scan took more than %s: %w", j.patience.most, stella.ErrTimeout)
	within, cancel := context.WithTimeoutCause(ctx, j.patience.most, late)
	defer cancel()
	ended := make(chan seen, 1)
	go func() { ended <- d.observe(ctx, within, j) }()
	select {
	case s := <-ended:
		d.scanned(ctx, j, begun, s, false)
		return
	case <-within.Done():
	}
	select {
	case s := <-ended:
		d.scanned(ctx, j, begun, s, false)
	case <-time.After(j.patience.grace):
		d.scanned(ctx, j, begun, seen{err: fmt.Errorf("it does not end: %w", late)}, true)
		go func() {
			<-ended // what it saw is of a time that is gone
			d.hangsNoMore(j)
		}()
	}
}

// observe watches the targets anew where that is due and scans. A panic in it is
// that environment's error and nobody else's.
func (d *daemon) observe(ctx, within context.Context, j job) (s seen) {
	defer func() {
		if p := recover(); p != nil {
			s.err = panicked(p)
		}
	}()
	if j.watch {
		d.watchTargets(ctx, j)
	}
	s.Scan, s.err = d.cfg.Engine.Scan(within, j.name)
	return s
}

// scanned publishes what a scan found and gives the environment back: to passes
// alone where the scan is given up and still hung.
func (d *daemon) scanned(ctx context.Context, j job, begun time.Time, s seen, hung bool) {
	if ctx.Err() != nil && s.err != nil {
		s.err = context.Cause(ctx) // nobody wants to know any more
	} else {
		d.cfg.Metrics.scanned(j, time.Since(begun), s)
	}
	d.tell(ctx, j, s)
	d.mu.Lock()
	defer d.mu.Unlock()
	d.scans--
	env := j.env
	l := &env.drift
	l.scanning, l.hung, env.busy = false, hung, false
	d.noteScan(j.name, l.policy.Schedule, l.began)
	now := time.Now().Round(0)
	switch {
	case s.whole():
		if l.retry != nil && !l.watchAt.IsZero() {
			l.watchAt = now // what could not be read can again, so it may be watched too
		}
		l.retry = nil
	case j.because == becauseOfEvent && ctx.Err() == nil:
		// No schedule need come after it, and the target said that something
		// changed.
		l.lookAt(now.Add(l.later()))
	}
	if s.NextHeal.After(now) {
		l.lookAt(s.NextHeal.Round(0)) // what was put off, nobody else comes back to
	}
	if env.wanted {
		env.wanted = false
		d.lookAgain()
	}
	d.stir()
}

// whole reports whether all targets were read.
func (s seen) whole() bool { return s.err == nil && s.unread() == "" }

// unread is why some target, or all, could not be read; empty where all were.
func (s seen) unread() string {
	if s.Diff.Error != "" {
		return s.Diff.Error
	}
	for _, t := range s.Diff.Targets {
		if t.Error != "" {
			return t.Target + ": " + t.Error
		}
	}
	return ""
}

// later is how long to wait after a scan for an event that failed: as after
// passes that did.
func (l *lookout) later() time.Duration {
	if l.retry == nil {
		l.retry = backoff.NewExponentialBackOff()
		l.retry.InitialInterval, l.retry.MaxInterval = firstRetry, lastRetry
	}
	return l.retry.NextBackOff()
}

// hangsNoMore lets the environment be scanned again: the scan of it that was
// given up has ended.
func (d *daemon) hangsNoMore(j job) {
	d.mu.Lock()
	defer d.mu.Unlock()
	j.env.drift.hung = false
	d.stir()
}

// tell logs what is news.
func (d *daemon) tell(ctx context.Context, j job, s seen) {
	log := d.cfg.Logger.With("environment", j.name)
	if s.err != nil && ctx.Err() != nil {
		return
	}
	trouble := s.unread()
	if s.err != nil {
		trouble = s.err.Error()
	}
	d.mu.Lock()
	known := j.env.drift.trouble == trouble
	j.env.drift.trouble = trouble
	d.mu.Unlock()
	switch {
	case trouble != "" && !known:
		log.WarnContext(ctx, "scan for drift: could not tell", "err", trouble)
	case trouble == "" && !known:
		log.InfoContext(ctx, "scan for drift: all targets can be read again")
	}
	for _, f := range s.Opened {
		log := log
		if causes := s.Causes[reconciler.Spot{Target: f.Target, Resource: f.Resource}]; len(causes) > 0 {
			log = log.With("cause", causes[0])
		}
		log.WarnContext(ctx, "drift", "target", f.Target, "resource", f.Resource, "path", f.Path, "class", f.Class, "severity", f.Severity)
	}
	for _, f := range s.Ended {
		log.InfoContext(ctx, "drift ended", "target", f.Target, "resource", f.Resource, "path", f.Path, "how", f.Ended)
	}
	if s.NotHealed != "" && (len(s.Opened) > 0 || len(s.Ended) > 0) {
		log.WarnContext(ctx, "drift is not healed", "because", s.NotHealed)
	}
}

// settled has an environment's targets watched anew, and looked at once, where a
// pass left it as it was not before. The caller has d.mu.
func (d *daemon) settled(env *environment, out reconciler.Outcome, err error) {
	l := &env.drift
	what := l.watched
	if err == nil {
		what = out.Commit
		if out.Deployment != nil {
			what += " " + out.Deployment.ID
		}
	}
	news := what != l.watched
	if l.watched = what; l.off() || !news {
		return
	}
	l.look(time.Now().Round(0))
	d.stir()
}
