package reconciler

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"sync"
	"time"

	"github.com/stella-ops/stella"
	"github.com/stella-ops/stella/drift"
	"github.com/stella-ops/stella/health"
)

// verify waits until the targets of a batch are observed at the wanted content,
// their components run and are healthy, and every check succeeds, all of it for
// stableFor. Success is an observation, never an inference.
func (r *run) verify(ctx context.Context, names []string, last bool) error {
	v := r.scene.env.Verify
	seen := &sightings{live: map[string]stella.State{}}
	err := r.step(ctx, stella.StepVerify, strings.Join(names, ","), v.Timeout+v.StableFor+stepTimeout, func(ctx context.Context) (map[string]any, error) {
		results, err := r.e.prober(r.survey).Verify(ctx, health.Verify{
			Timeout: v.Timeout, StableFor: v.StableFor, Checks: checks(r.scene.env, names, last),
			Probe: func(ctx context.Context) []health.Result { return r.probe(ctx, names, seen) },
		}, func(results []health.Result) {
			r.notify(Checked{Environment: r.dep.Environment, Deployment: r.dep.ID, Results: results})
		})
		return map[string]any{"checks": float64(len(results))}, err
	})
	_ = r.each(names, func(name string) error { // it never fails: what can not be told is recorded as that
		r.conclude(ctx, name, seen, err)
		return nil
	})
	if err != nil {
		return fmt.Errorf("verify %s: %w", strings.Join(names, ", "), err)
	}
	return nil
}

// sightings are the targets as the last round of a verification saw them.
type sightings struct {
	mu   sync.Mutex // guards live
	live map[string]stella.State
}

func (s *sightings) put(name string, live stella.State) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.live[name] = live
}

// last returns a target as the last round saw it; not ok where it could not be
// observed.
func (s *sightings) last(name string) (live stella.State, ok bool) {
	s.mu.Lock()
	defer s.mu.Unlock()
	live, ok = s.live[name]
	return live, ok
}

// conclude records what became of a target. One that was verified is as the
// verdict's own round saw it: another look would only tell of another moment.
// Any other is observed once more.
func (r *run) conclude(ctx context.Context, name string, seen *sightings, verdict error) {
	live, ok := seen.last(name)
	var err error
	if verdict != nil || !ok {
		ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), observeTimeout)
		defer cancel()
		err = r.e.guard("look at "+name, func() error {
			live, err = r.survey.site(name).target.Observe(ctx)
			return err
		})
	}
	switch {
	case err != nil:
		r.setTarget(name, stella.TargetUnknown, nil, err)
	case errors.Is(verdict, errStopped):
		r.setTarget(name, stella.TargetApplied, running(live), nil)
	case verdict != nil:
		r.setTarget(name, stella.TargetFailed, running(live), verdict)
	default:
		r.setTarget(name, stella.TargetVerified, running(live), nil)
	}
}

// observeTimeout bounds one observation of one target.
const observeTimeout = 30 * time.Second

// probe turns what the targets say of themselves into results.
func (r *run) probe(ctx context.Context, names []string, seen *sightings) []health.Result {
	results := make([]health.Result, len(names))
	_ = r.each(names, func(name string) error {
		start := time.Now()
		res := health.Result{Name: "as desired", Target: name}
		err := r.e.guard("look at "+name, func() error {
			res.Instance, res.Error = r.fault(ctx, name, seen)
			return nil
		})
		if err != nil {
			res.Error = err.Error()
		}
		res.OK = res.Error == ""
		res.Latency = time.Since(start)
		results[index(names, name)] = res
		return nil
	})
	return results
}

// fault says what is wrong with a target, empty for nothing, and which
// processes it saw: a component that was restarted between two looks must be
// stable anew.
func (r *run) fault(ctx context.Context, name string, seen *sightings) (instance, why string) {
	ctx, cancel := context.WithTimeout(ctx, observeTimeout)
	defer cancel()
	live, err := r.survey.site(name).target.Observe(ctx)
	if err != nil {
		return "", err.Error()
	}
	seen.put(name, live)
	instance = instances(live)
	changes := r.differences(name, live)
	if why := troubles(live, changes); why != "" {
		return instance, why
	}
	for _, c := range changes {
		if !c.Ignored {
			return instance, fmt.Sprintf("%s%s is not as desired (%s)", c.Resource, c.Path, c.Class)
		}
	}
	return instance, ""
}

// differences are those of a target from what the deployment wants of it, by
// the ignore rules under which it was planned: one that ends on the way must not
// fail what nobody was going to change.
func (r *run) differences(target string, live stella.State) []stella.Change {
	want, _ := r.scene.desired.Target(target)
	return drift.Compare(want, live, r.scene.ignores(target), r.survey.at)
}

// instances identifies the processes that a target was seen to run.
func instances(live stella.State) string {
	if live.Observed == nil {
		return ""
	}
	var b strings.Builder
	for _, c := range live.Observed.Components {
		fmt.Fprintf(&b, "%s %d %d;", c.Name, c.Restarts, c.Since.UnixNano())
	}
	return b.String()
}

// troubles names the first component that does not run or is not healthy. One
// whose presence or absence is ignored, by the changes of the same target, is
// nobody's trouble.
func troubles(live stella.State, changes []stella.Change) string {
	if live.Observed == nil {
		return ""
	}
	none := unminded(changes)
	for _, c := range live.Observed.Components {
		switch {
		case none[stella.ResourceID("service/"+c.Name)]:
		case c.State == stella.RunMissing && c.Desired == "":
		case c.State == stella.RunExited && (c.Detail == completed || c.Detail == notDue):
		case c.State != stella.RunRunning:
			return strings.TrimSuffix(fmt.Sprintf("%s is %s: %s", c.Name, c.State, c.Detail), ": ")
		case c.Health == stella.RunHealthUnhealthy, c.Health == stella.RunHealthStarting:
			return strings.TrimSuffix(fmt.Sprintf("%s is %s: %s", c.Name, c.Health, c.Detail), ": ")
		}
	}
	return ""
}

// unminded are the resources of which it is ignored that they are there, or
// that they are not.
func unminded(changes []stella.Change) map[stella.ResourceID]bool {
	out := map[stella.ResourceID]bool{}
	for _, c := range changes {
		if c.Ignored && c.Path == "" && c.Class != stella.Modified {
			out[c.Resource] = true
		}
	}
	return out
}

// completed is what a driver says of a one-shot that ended as it should.
const completed = "completed"

// notDue is what a driver says of a job that had no reason to run yet.
const notDue = "not due"

// running is component → digest of what a target was observed to run.
func running(live stella.State) map[string]string {
	out := map[string]string{}
	if live.Observed == nil {
		return out
	}
	for _, c := range live.Observed.Components {
		if a, err := stella.ParseArtifact(c.Running); err == nil {
			out[c.Name] = string(a.Digest)
		}
	}
	return out
}

func index(list []string, s string) int {
	for i, v := range list {
		if v == s {
			return i
		}
	}
	return -1
}
