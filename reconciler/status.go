package reconciler

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/stella-ops/stella"
	"github.com/stella-ops/stella/drift"
	"github.com/stella-ops/stella/health"
	"github.com/stella-ops/stella/ledger"
)

// Status says where an environment stands and why. With observe it asks every
// target and runs the checks; without, it is told from Git and the ledger.
func (e *Engine) Status(ctx context.Context, env stella.EnvName, observe bool) (EnvironmentStatus, error) {
	sc, err := e.glimpse(ctx, env)
	if err != nil {
		return EnvironmentStatus{}, err
	}
	st := e.statusOf(sc)
	if sc = e.comparable(ctx, sc); observe && sc.env != nil {
		e.observe(ctx, sc, &st)
	}
	return st, nil
}

// comparable is a scene of which can be told what should run: where what is
// wanted is invalid, that is still the deployment in effect, as in a diff.
func (e *Engine) comparable(ctx context.Context, sc *scene) *scene {
	if sc.invalid == nil {
		return sc
	}
	in, _, err := e.inEffect(ctx, sc)
	if err != nil {
		return sc
	}
	return sc.wanting(in)
}

// statusOf is what Git and the ledger say.
func (e *Engine) statusOf(sc *scene) EnvironmentStatus {
	var lock *LockStatus
	if l := sc.book.Lock(time.Now()); l != nil {
		lock = e.lockStatus(sc.ledger, sc.name, *l)
	}
	frozen := lock != nil && lock.ByHand && !lock.Stale
	v := sc.decide(lock != nil && !lock.Stale && !frozen, false)
	s := sc.book.State.Summary
	st := EnvironmentStatus{
		Environment: sc.name, Sync: v.sync, Health: sc.knownHealth(), Reason: v.reason,
		SeenCommit: string(sc.branch.commit), FetchedAt: sc.at.UTC(), Desired: sc.summary(), Lock: lock, Holds: []stella.Hold{},
		Drift: DriftSummary{Count: s.Drifted, Since: s.DriftSince, Mode: sc.driftMode(), Flapping: len(e.flaps(sc.book))}, Ready: readiness(sc.book), Targets: []TargetStatus{},
	}
	if frozen {
		st.Reason = fmt.Sprintf("frozen by %s until %s: %s", lock.Holder, lock.ExpiresAt.UTC().Format(time.RFC3339), lock.Purpose)
	}
	if p := sc.pinned(); p != nil {
		st.Pin = proposal(*p)
		st.WaitingFor = "the review of " + st.Pin.Where()
	}
	if sc.book.State.Holds != nil {
		st.Holds = sc.book.State.Holds
	}
	if d, ok := sc.book.LastGood(); ok && sc.book.State.Current == d.ID {
		st.Current = withoutSteps(d)
	}
	if d, ok := sc.book.Newest(); ok {
		st.Last = withoutSteps(d)
	}
	st.Overrides = declared(sc.source, sc.book, e.cfg.Now())
	if old := st.OldOverrides(); len(old) > 0 && st.Reason == "" {
		st.Reason = old[0].words() + fmt.Sprintf(" since %s: deploy it anew, or go back as a whole", old[0].Since.Format(time.DateOnly))
	}
	switch v.act {
	case actNothing:
		if stopped := sc.book.State.Stopped; stopped != nil {
			st.Reason = stoppedWords(*stopped)
		} else if st.Health == stella.HealthUnknown {
			st.Reason = s.Reason // who stopped it, and why, as an older stella wrote it
		}
	case actWait:
		st.WaitingFor = v.reason
	case actApply, actSettle, actGoBack:
		st.WaitingFor = fmt.Sprintf("a pass: 'stella serve', or 'stella reconcile %s'", sc.name)
	}
	if lock != nil && lock.Stale && lock.Deployment != "" {
		st.Reason = fmt.Sprintf("%s did not end: %s, who drove it, is gone (%s)", lock.Deployment, lock.Holder, lock.StaleReason)
	}
	if frozen {
		st.WaitingFor = fmt.Sprintf("the end of the freeze, or 'stella orch locks release %s'", sc.name)
	}
	sc.asOf(&st)
	return st
}

// knownHealth is what the last verification found, unless a look for drift found
// since that a service is gone.
func (sc *scene) knownHealth() stella.Health {
	h := sc.book.State.Summary.Health
	gone := slices.ContainsFunc(sc.book.Drift.Open, func(f stella.DriftFinding) bool {
		return f.Class == stella.Missing && f.Path == "" && strings.HasPrefix(string(f.Resource), "service/")
	})
	switch {
	case h == "":
		return stella.HealthUnknown
	case h == stella.Healthy && gone:
		return stella.Degraded
	}
	return h
}

func withoutSteps(d stella.Deployment) *stella.Deployment {
	d.Steps = []stella.Step{}
	return &d
}

func (sc *scene) summary() DesiredSummary {
	d := DesiredSummary{Commit: string(sc.commit), Tree: string(sc.app), Components: map[string]string{}}
	if sc.release != nil {
		d.Release, d.Components = sc.release.Release.Version, images(sc.source)
	}
	return d
}

func (e *Engine) lockStatus(led *ledger.Ledger, env stella.EnvName, l stella.Lock) *LockStatus {
	stale, why := e.stale(led, env, &l)
	return &LockStatus{Lock: l, Environment: env, AgeSeconds: time.Since(l.AcquiredAt).Seconds(), Stale: stale, StaleReason: why}
}

// observe asks the targets and runs the checks, and puts what they say into st.
func (e *Engine) observe(ctx context.Context, sc *scene, st *EnvironmentStatus) {
	sv := e.openSites(ctx, sc.project, sc.env, sc.book)
	at := sv.at.UTC()
	st.ObservedAt = &at
	results := e.check(ctx, sv, checks(sc.env, targetNames(sc.env), true))
	for _, s := range sv.sites {
		st.Targets = append(st.Targets, sc.targetStatus(s, results, sv.at))
	}
	st.Health = overall(st.Targets, results)
	e.driftNow(ctx, sc, sv, &st.Drift)
	if st.Sync == stella.Synced && st.Drift.Count > 0 && sc.book.State.Stopped == nil {
		st.Reason = plural(st.Drift.Count, "difference") + " between what was deployed and what runs"
	}
}

// driftNow counts what differs from the deployment in effect on the targets that
// answered. Of the others it counts what is known, and so it does of all while
// nobody can speak of drift.
func (e *Engine) driftNow(ctx context.Context, sc *scene, sv *survey, d *DriftSummary) {
	want, in, err := e.inEffect(ctx, sc)
	if err != nil || sc.book.State.Stopped != nil || e.underWay(sc, sv.at) != "" {
		return
	}
	want, d.Count = e.asBrought(ctx, sc, want, in), 0
	for _, s := range sv.sites {
		for _, f := range sc.book.Drift.Open {
			if s.err != nil && f.Target == s.spec.Name {
				d.Count++
			}
		}
		if s.err != nil || slices.Contains(sc.book.State.Owed, s.spec.Name) {
			continue
		}
		for _, c := range compareSite(s, want.desired, want.env.Drift.Ignore, sv.at).Changes {
			if !c.Ignored {
				d.Count++
			}
		}
	}
	if d.Count == 0 {
		d.Since = nil
	}
}

func plural(n int, what string) string {
	if n == 1 {
		return "1 " + what
	}
	return fmt.Sprintf("%d %ss", n, what)
}

func (sc *scene) targetStatus(s *site, results []health.Result, at time.Time) TargetStatus {
	t := TargetStatus{
		Name: s.spec.Name, Driver: driver(s.spec), Sync: stella.SyncUnknown, Health: stella.HealthUnknown,
		Components: []stella.ComponentStatus{}, Changes: []stella.Change{}, Checks: []CheckResult{}, Notes: []string{},
	}
	for _, r := range results {
		if r.Target == s.spec.Name {
			t.Checks = append(t.Checks, checkResult(r))
		}
	}
	if s.err != nil {
		t.Error, t.Reachable = s.err.Error(), !errors.Is(s.err, stella.ErrUnreachable)
		return t
	}
	t.Reachable, t.Sync, t.Health = true, stella.Synced, stella.Healthy
	if o := s.live.Observed; o != nil {
		t.Sticker = o.Sticker
		t.Components = append(t.Components, o.Components...)
		t.Notes = append(t.Notes, o.Notes...)
	}
	t.Changes = append(t.Changes, sc.differences(s, at)...)
	if drift.Drifted(t.Changes) {
		t.Sync = stella.OutOfSync
	}
	if sc.desired != nil {
		want, _ := sc.desired.Target(s.spec.Name)
		wanted(t.Components, want)
	}
	if troubles(s.live, t.Changes) != "" || failing(t.Checks) {
		t.Health = stella.Unhealthy
	}
	return t
}

// differences are those of an observed target from what is wanted of it; none
// where nobody can tell what that is.
func (sc *scene) differences(s *site, at time.Time) []stella.Change {
	if sc.desired == nil {
		return nil
	}
	want, _ := sc.desired.Target(s.spec.Name)
	return drift.Compare(want, s.live, sc.env.Drift.Ignore, at)
}

// wanted fills in the image that each component should run.
func wanted(components []stella.ComponentStatus, want stella.State) {
	for i := range components {
		if r, ok := want.Resource(stella.ResourceID("service/" + components[i].Name)); ok {
			components[i].Desired, _ = r.Fields["image"].(string)
		}
	}
}

func failing(checks []CheckResult) bool {
	for _, c := range checks {
		if !c.OK {
			return true
		}
	}
	return false
}

func checkResult(r health.Result) CheckResult {
	return CheckResult{Name: r.Name, Target: r.Target, OK: r.OK, LatencyMillis: float64(r.Latency.Microseconds()) / 1000, Error: r.Error}
}

// overall is the health of an environment: what nobody can tell is unknown, and
// some targets down is degraded.
func overall(targets []TargetStatus, results []health.Result) stella.Health {
	bad, unknown := 0, 0
	for _, t := range targets {
		switch t.Health {
		case stella.Unhealthy:
			bad++
		case stella.HealthUnknown:
			unknown++
		}
	}
	whole := true
	for _, r := range results {
		whole = whole && (r.OK || r.Target != "")
	}
	switch {
	case len(targets) > 0 && bad == len(targets), !whole:
		return stella.Unhealthy
	case unknown > 0:
		return stella.HealthUnknown
	case bad > 0:
		return stella.Degraded
	}
	return stella.Healthy
}

// HealthCheck runs an environment's verification checks now, and looks whether
// its components run. It changes nothing.
func (e *Engine) HealthCheck(ctx context.Context, env stella.EnvName) (HealthReport, error) {
	sc, err := e.glimpse(ctx, env)
	if err != nil {
		return HealthReport{}, err
	}
	if sc.env == nil {
		return HealthReport{}, sc.invalid
	}
	sv := e.openSites(ctx, sc.project, sc.env, sc.book)
	report := HealthReport{Environment: env, Healthy: true, Checks: []CheckResult{}}
	for _, s := range sv.sites {
		c := CheckResult{Name: "components run", Target: s.spec.Name, OK: true}
		if s.err != nil {
			err = errors.Join(err, fmt.Errorf("%s: %w", s.spec.Name, s.err))
			c.OK, c.Error = false, s.err.Error()
		} else if why := troubles(s.live, sc.differences(s, sv.at)); why != "" {
			c.OK, c.Error = false, why
		}
		report.Checks = append(report.Checks, c)
	}
	for _, r := range e.check(ctx, sv, checks(sc.env, targetNames(sc.env), true)) {
		report.Checks = append(report.Checks, checkResult(r))
	}
	report.Healthy = !failing(report.Checks)
	return report, err
}
