package serve

import (
	"context"
	"maps"
	"slices"
	"sync"
	"time"

	"github.com/cenkalti/backoff/v5"

	"github.com/stella-ops/stella"
	"github.com/stella-ops/stella/configrepo"
	"github.com/stella-ops/stella/drift"
)

// maxScans bounds how many environments are scanned for drift at once.
const maxScans = 4

// longestSleep bounds how long a machine that slept goes on as if it had not:
// timers stand still meanwhile, and the wall does not.
const longestSleep = time.Minute

// lookout is what the daemon remembers of drift in one environment, guarded by
// the daemon's mutex. A policy of mode off, or none, is never looked for.
type lookout struct {
	known    bool // policy is what the branch said when it could last be read
	policy   configrepo.DriftPolicy
	schedule drift.Schedule

	began    time.Time // of the last scan; else when the schedule was first met
	scanning bool      // one at a time
	next     time.Time // when there may be something to do; zero: now
	hung     bool      // the scan under way did not end when it was told to

	// Of what targets tell by themselves.
	told    time.Time // a scan for an event begins then; zero: none waits
	pace    pace
	retry   *backoff.ExponentialBackOff // after a scan for an event that failed
	watched string                      // what its targets were watched for
	unwatch context.CancelFunc
	missing int                         // of the targets that unwatch ends the watch of
	watchAt time.Time                   // they are to be watched anew then, and scanned; zero: they are watched
	rewatch *backoff.ExponentialBackOff // after a watch that failed

	// What was logged last, so that it is not logged each time.
	trouble, unwatched string
}

// off reports whether nobody is to look by himself.
func (l *lookout) off() bool { return !l.known || l.policy.Mode == configrepo.DriftOff }

// wake is when the environment is next to be scanned, and why; zero for never.
func (l *lookout) wake(name stella.EnvName, now time.Time) (at time.Time, because string) {
	if l.off() {
		return time.Time{}, ""
	}
	due := l.schedule.Due(string(name), l.began, now)
	if !due.Slot.IsZero() {
		return now, becauseOfSchedule
	}
	at, because = due.Next, becauseOfSchedule
	if !l.told.IsZero() && (at.IsZero() || l.told.Before(at)) {
		at, because = l.told, becauseOfEvent
	}
	if !l.watchAt.IsZero() && (at.IsZero() || l.watchAt.Before(at)) {
		at, because = l.watchAt, becauseOfEvent
	}
	return at, because
}

// What scans are for; the values of the label "cause".
const (
	becauseOfSchedule = "schedule"
	becauseOfEvent    = "event"
)

// lookOut scans for drift on schedules and when targets tell of changes, until
// ctx ends, and then waits for the scans that are under way. It runs beside the
// passes.
func (d *daemon) lookOut(ctx context.Context) {
	var scans sync.WaitGroup
	for ctx.Err() == nil {
		ready, wait := d.dueScans(time.Now().Round(0))
		for _, j := range ready {
			scans.Go(func() { d.scan(ctx, j) })
		}
		d.rememberScans(false)
		select {
		case <-ctx.Done():
		case <-d.stirred:
		case <-time.After(wait):
		}
	}
	scans.Wait()
	d.stopWatching()
	d.rememberScans(true)
}

// job is one scan that is to begin.
type job struct {
	name    stella.EnvName
	env     *environment
	because string
	missed  int
	watch   bool // the targets anew, before

	patience patience
}

// dueScans claims the environments that are to be scanned now, the one that
// waits longest first, and says how long there will be no other.
func (d *daemon) dueScans(now time.Time) (jobs []job, wait time.Duration) {
	d.mu.Lock()
	defer d.mu.Unlock()
	wait = longestSleep
	var names []stella.EnvName
	for name, env := range d.environments {
		l := &env.drift
		if l.off() || l.scanning || l.hung {
			continue
		}
		if after := l.next.Sub(now); after > 0 {
			wait = min(wait, after)
			continue
		}
		at, _ := l.wake(name, now)
		if l.next = at; at.IsZero() {
			l.next = now.Add(longestSleep)
			continue
		}
		if after := at.Sub(now); after > 0 {
			wait = min(wait, after)
			continue
		}
		if !env.busy {
			names = append(names, name)
		}
	}
	slices.SortFunc(names, func(a, b stella.EnvName) int {
		return d.environments[a].drift.began.Compare(d.environments[b].drift.began)
	})
	for _, name := range names[:min(len(names), max(0, maxScans-d.scans))] {
		jobs = append(jobs, d.claimScan(name, now))
	}
	return jobs, wait
}

// claimScan makes the environment this scan's. The caller has d.mu.
func (d *daemon) claimScan(name stella.EnvName, now time.Time) job {
	env := d.environments[name]
	l := &env.drift
	_, because := l.wake(name, now)
	j := job{name: name, env: env, because: because, watch: l.toWatch(now), patience: l.patience()}
	if due := l.schedule.Due(string(name), l.began, now); !due.Slot.IsZero() {
		j.missed = due.Missed
	}
	if because == becauseOfEvent && !j.watch { // who only began to watch was told of nothing yet
		l.pace.scanned(now)
	}
	if j.watch {
		l.watchAt = now.Add(l.laterWatch()) // unless it succeeds
	}
	l.began, l.told, l.scanning, l.next, env.busy = now, time.Time{}, true, time.Time{}, true
	d.scans++
	return j
}

// policies takes over how drift is to be looked for, after a look at the
// branch that succeeded. Environments whose file can not be read keep what it
// said before.
func (d *daemon) policies(ctx context.Context, commit string) {
	if commit != "" && commit == d.policed { // only looks change it, one after the other
		return
	}
	all, err := d.cfg.Engine.DriftPolicies(ctx)
	if err != nil {
		if ctx.Err() == nil {
			d.cfg.Logger.WarnContext(ctx, "read how drift is looked for", "err", err)
		}
		return
	}
	d.mu.Lock()
	defer d.mu.Unlock()
	d.policed = commit
	now := time.Now().Round(0)
	for _, name := range slices.Sorted(maps.Keys(all)) {
		if env := d.environments[name]; env != nil {
			env.drift.take(all[name], d.lastScan(name), now)
		}
	}
	d.stir()
}

// take changes the policy. What was due by a schedule that is no more is not,
// and what nobody was there for is known only where last is by the same one.
func (l *lookout) take(p configrepo.DriftPolicy, last storedScan, now time.Time) {
	changed := !l.known || l.policy.Schedule != p.Schedule || l.policy.Mode != p.Mode
	first := !l.known
	l.known, l.policy = true, p
	if !changed {
		return
	}
	// The branch was read by the same parser; a line that it refuses is none.
	l.schedule, _ = drift.ParseSchedule(p.Schedule)
	l.began, l.next = now, time.Time{}
	if first && p.Schedule != "" && last.Schedule == p.Schedule && last.At.Before(now) {
		l.began = last.At
	}
	if l.off() {
		l.stopWatching()
		return
	}
	if l.unwatch == nil {
		l.look(now)
	}
}

// stir has lookOut look again at what is to be done.
func (d *daemon) stir() {
	select {
	case d.stirred <- struct{}{}:
	default: // told already
	}
}

// overdue reports whether a scan that the schedule wanted has not begun in its
// time, or did not end before the next.
func (l *lookout) overdue(name stella.EnvName, now time.Time) bool {
	return !l.off() && l.schedule.Due(string(name), l.began, now).Missed > 0
}
