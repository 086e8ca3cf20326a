package serve

import (
	"time"

	"github.com/stella-ops/stella"
)

// settleTarget is how long what a target tells is collected before a scan: one
// hand seldom changes one file.
const settleTarget = 250 * time.Millisecond

// Scans for events come at most once a second and, when there is no end of
// them, half as often each time, at most every 30 seconds. A minute without
// any, and the next is looked at at once.
const (
	minGap = time.Second
	maxGap = 30 * time.Second
	calm   = time.Minute
)

// pace says when an event may lead to a scan.
type pace struct {
	gap  time.Duration // to the scan after the last one; zero: there was none
	last time.Time     // when the last scan for an event began
}

// next is when an event that comes now leads to a scan.
func (p pace) next(now time.Time) time.Time {
	soon := now.Add(settleTarget)
	if p.calm(now) || p.last.Add(p.gap).Before(soon) {
		return soon
	}
	return p.last.Add(p.gap)
}

// scanned notes that a scan for an event begins.
func (p *pace) scanned(now time.Time) {
	switch {
	case p.calm(now):
		p.gap = minGap
	default:
		p.gap = min(2*p.gap, maxGap)
	}
	p.last = now
}

// calm reports whether the last event is long gone, or the clock was put back.
func (p pace) calm(now time.Time) bool {
	return p.gap == 0 || now.Sub(p.last) >= calm || now.Before(p.last)
}

// disturbed notes that a target told of a change. It is called often and by
// anybody.
func (d *daemon) disturbed(name stella.EnvName) {
	d.mu.Lock()
	defer d.mu.Unlock()
	env := d.environments[name]
	if env == nil || env.drift.off() {
		return
	}
	if env.drift.lookAt(env.drift.pace.next(time.Now().Round(0))) {
		d.stir()
	}
}

// lookAt has the environment scanned at a time, unless that is to be earlier
// anyway.
func (l *lookout) lookAt(at time.Time) bool {
	if !l.told.IsZero() && !at.Before(l.told) {
		return false
	}
	l.told, l.next = at, time.Time{}
	return true
}

// look has the environment's targets watched anew and looked at once: what
// happened before they were watched, nobody told of.
func (l *lookout) look(now time.Time) {
	l.lookAt(l.pace.next(now))
	l.watchAt = l.told
}

func (l *lookout) stopWatching() {
	if l.unwatch != nil {
		l.unwatch()
		l.unwatch = nil
	}
}

// stopWatching ends all watches.
func (d *daemon) stopWatching() {
	d.mu.Lock()
	defer d.mu.Unlock()
	for _, env := range d.environments {
		env.drift.stopWatching()
	}
}
