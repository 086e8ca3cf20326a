package health

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"time"

	"github.com/stella-ops/stella"
	"github.com/stella-ops/stella/internal/safe"
)

// Verify is what Runner.Verify waits for.
type Verify struct {
	// Timeout bounds the whole; zero means DefaultVerifyTimeout.
	Timeout time.Duration
	// StableFor is how long everything must stay healthy; less than Timeout.
	// Zero: one healthy round is enough.
	StableFor time.Duration
	Checks    []Check
	// Probe is asked in each round for what only the targets know: a result
	// per component, one that is not OK for a target that could not be
	// observed. It returns soon after ctx ends. It may be nil.
	Probe func(ctx context.Context) []Result
}

// DefaultVerifyTimeout is documented with verify.timeout of environment.yaml.
const DefaultVerifyTimeout = 2 * time.Minute

// Rounds start close together, since most releases are healthy in less than a
// second, and end at two a second: who waits for a rollback waits no longer than
// that once everything is healthy.
const (
	firstPause = 100 * time.Millisecond
	lastPause  = 500 * time.Millisecond
)

// errTimeUp is why the last round's context ends.
var errTimeUp = errors.New("the time for verification is up")

// Verify asks everything in rounds until all is healthy and has stayed so for
// StableFor, and returns the last whole round's results: first the checks', then
// the Probe's. A failure, or an Instance that changed, starts the stable time
// again. Each round is given to report, which may be nil and must not modify
// it.
//
// It returns an error of class stella.ErrUnhealthy when Timeout passes first,
// stella.ErrInvalid when StableFor leaves no time for it, and the cause when
// ctx ends. With nothing to ask it succeeds at once: Verdict then says Unknown.
func (r *Runner) Verify(ctx context.Context, v Verify, report func([]Result)) ([]Result, error) {
	if v.Timeout <= 0 {
		v.Timeout = DefaultVerifyTimeout
	}
	if v.StableFor >= v.Timeout {
		return nil, fmt.Errorf("%w: verification: stableFor %s must be less than timeout %s", stella.ErrInvalid, v.StableFor, v.Timeout)
	}
	rounds, cancel := context.WithTimeoutCause(ctx, v.Timeout, errTimeUp)
	defer cancel()
	var s stable
	var whole []Result // the last round that was not cut off
	for pause := firstPause; ; pause = min(2*pause, lastPause) {
		results := r.round(rounds, v)
		if rounds.Err() != nil && whole != nil && len(failures(results)) > 0 {
			return whole, verifyError(ctx, whole, v) // what was cut off tells of the cut alone
		}
		whole = results
		if report != nil {
			report(results)
		}
		left := s.see(results, v.StableFor, time.Now())
		if left <= 0 {
			return results, nil
		}
		select {
		case <-rounds.Done():
			return results, verifyError(ctx, results, v)
		case <-time.After(min(pause, left)):
		}
		if rounds.Err() != nil { // both were ready: a round now would only say so
			return results, verifyError(ctx, results, v)
		}
	}
}

// round asks everything once. The probe runs beside the checks: both show the
// same moment.
func (r *Runner) round(ctx context.Context, v Verify) []Result {
	probed := make(chan []Result, 1)
	go func() {
		if v.Probe == nil {
			probed <- nil
			return
		}
		probed <- v.Probe(ctx)
	}()
	results := r.Run(ctx, v.Checks)
	results = append(results, <-probed...)
	r.log.DebugContext(ctx, "verification round", "asked", len(results), "failed", len(failures(results)))
	return results
}

// stable remembers since when everything is healthy.
type stable struct {
	since     time.Time // zero: it is not
	instances map[instanceKey]string
}

type instanceKey struct{ name, target string }

// see takes a round and returns how long everything still has to stay healthy:
// nothing where it is done, more than the rounds take where it is not healthy.
func (s *stable) see(results []Result, stableFor time.Duration, now time.Time) (left time.Duration) {
	changed := s.changed(results)
	switch {
	case len(failures(results)) > 0:
		s.since = time.Time{}
		return lastPause
	case changed || s.since.IsZero():
		s.since = now
	}
	return stableFor - now.Sub(s.since)
}

// changed reports whether a known instance gave way to another one, and
// remembers those of this round. One that could not be told does not count.
func (s *stable) changed(results []Result) bool {
	if s.instances == nil {
		s.instances = map[instanceKey]string{}
	}
	changed := false
	for _, r := range results {
		key := instanceKey{r.Name, r.Target}
		if old := s.instances[key]; r.Instance != "" {
			changed = changed || old != "" && old != r.Instance
			s.instances[key] = r.Instance
		}
	}
	return changed
}

// verifyError says why the rounds ended: the caller's reason comes first.
func verifyError(ctx context.Context, results []Result, v Verify) error {
	if cause := context.Cause(ctx); cause != nil {
		return fmt.Errorf("verify: %w", cause)
	}
	failed := failures(results)
	if len(failed) == 0 {
		return fmt.Errorf("%w: did not stay healthy for %s within %s", stella.ErrUnhealthy, v.StableFor, v.Timeout)
	}
	return fmt.Errorf("%w after %s: %s", stella.ErrUnhealthy, v.Timeout, summary(failed))
}

// summary names the first failures; the results have them all.
func summary(failed []Result) string {
	const most, mostRunes = 3, 250
	var words []string
	for _, f := range failed[:min(most, len(failed))] {
		where := f.Name
		if f.Target != "" {
			where += " on " + f.Target
		}
		words = append(words, safe.Clip(where+": "+f.Error, mostRunes))
	}
	if more := len(failed) - most; more > 0 {
		words = append(words, fmt.Sprintf("and %d more", more))
	}
	return strings.Join(words, "; ")
}
