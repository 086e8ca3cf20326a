package health_test

import (
	"context"
	"errors"
	"fmt"
	"testing"
	"testing/synctest"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/stella-ops/stella"
	"github.com/stella-ops/stella/health"
)

// at is a world whose one check fails between two moments after the start.
type at struct{ from, to time.Duration }

// world returns a Runner whose check is not OK during the times given.
func world(start time.Time, bad ...at) *health.Runner {
	return health.NewFake(func(context.Context, health.Check) (string, error) {
		for _, b := range bad {
			if age := time.Since(start); age >= b.from && age < b.to {
				return "", errors.New("connection refused")
			}
		}
		return "", nil
	})
}

const forever = time.Hour

func TestVerify(t *testing.T) {
	for _, tt := range []struct {
		name               string
		bad                []at
		timeout, stableFor time.Duration
		took               time.Duration
		want               string // the error
	}{
		{"healthy at once and no stable time: one round", nil, time.Minute, 0, 0, ""},
		{"healthy at once, and stays so", nil, time.Minute, 10 * time.Second, 10 * time.Second, ""},
		{"rounds start close together", []at{{0, 250 * time.Millisecond}}, time.Minute, 0, 300 * time.Millisecond, ""},
		{"rounds end at two a second", []at{{0, 10 * time.Second}}, time.Minute, 0, 10200 * time.Millisecond, ""},
		{"a failure starts the stable time again", []at{{5 * time.Second, 6 * time.Second}}, time.Minute, 10 * time.Second, 16200 * time.Millisecond, ""},
		{"never healthy", []at{{0, forever}}, 30 * time.Second, time.Second, 30 * time.Second, "unhealthy after 30s: web on web-1: connection refused"},
		{"healthy too late to be stable", []at{{0, 25 * time.Second}}, 30 * time.Second, 10 * time.Second, 30 * time.Second, "unhealthy: did not stay healthy for 10s within 30s"},
		{"no timeout is two minutes", []at{{0, forever}}, 0, 0, 2 * time.Minute, "unhealthy after 2m0s: web on web-1: connection refused"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				start, reports := time.Now(), 0
				checks := []health.Check{{Name: "web", Target: "web-1"}}
				results, err := world(start, tt.bad...).Verify(t.Context(), health.Verify{Timeout: tt.timeout, StableFor: tt.stableFor, Checks: checks}, func([]health.Result) { reports++ })
				if got := message(err); got != tt.want || errors.Is(err, stella.ErrUnhealthy) != (tt.want != "") {
					t.Errorf("error %q, want %q", got, tt.want)
				}
				if took := time.Since(start); took != tt.took {
					t.Errorf("took %v, want %v", took, tt.took)
				}
				if len(results) != 1 || reports == 0 {
					t.Errorf("%d results, %d reports", len(results), reports)
				}
			})
		})
	}
}

func message(err error) string {
	if err == nil {
		return ""
	}
	return err.Error()
}

func TestVerifyNoticesThatAComponentWasReplaced(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		start := time.Now()
		// The component answers in every round, and crashes between two: only
		// its instance tells.
		probe := func(context.Context) []health.Result {
			return []health.Result{{Name: "api", OK: true, Instance: fmt.Sprint("start ", time.Since(start)/(5*time.Second))}, {Name: "unknown", OK: true}}
		}
		_, err := world(start).Verify(t.Context(), health.Verify{Timeout: time.Minute, StableFor: 6 * time.Second, Probe: probe}, nil)
		if got := message(err); got != "unhealthy: did not stay healthy for 6s within 1m0s" {
			t.Errorf("a crash loop was verified: %v", err)
		}
	})
}

// TestVerifyNamesWhatWasSeenBeforeTheTimeWasUp has the time end in the middle of a
// look: why that one failed is nobody's trouble.
func TestVerifyNamesWhatWasSeenBeforeTheTimeWasUp(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		probe := func(ctx context.Context) []health.Result {
			select {
			case <-ctx.Done():
				return []health.Result{{Name: "db", Error: "the look was cut off"}}
			case <-time.After(7 * time.Second):
				return []health.Result{{Name: "web", Error: "exited with 1"}}
			}
		}
		results, err := world(time.Now()).Verify(t.Context(), health.Verify{Timeout: time.Minute, Probe: probe}, nil)
		if got := message(err); got != "unhealthy after 1m0s: web: exited with 1" || len(results) != 1 || results[0].Name != "web" {
			t.Errorf("%v, %v", err, results)
		}
	})
}

func TestVerifyAsksTheProbeEachRound(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		rounds := 0
		probe := func(context.Context) []health.Result {
			rounds++
			return []health.Result{{Name: "api", Target: "web-1", OK: rounds == 3, Error: "exited with 1"}}
		}
		var seen [][]health.Result
		got, err := world(time.Now()).Verify(t.Context(), health.Verify{Checks: []health.Check{{Name: "web"}}, Probe: probe}, func(r []health.Result) { seen = append(seen, r) })
		if err != nil {
			t.Fatal(err)
		}
		want := []health.Result{{Name: "web", OK: true}, {Name: "api", Target: "web-1", OK: true, Error: "exited with 1"}}
		if diff := cmp.Diff(want, got); diff != "" {
			t.Errorf("results (-want +got)\n%s", diff)
		}
		if len(seen) != 3 || seen[0][1].OK {
			t.Errorf("reports: %v", seen)
		}
	})
}

func TestVerifyEndsWhatHangs(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := health.NewFake(func(ctx context.Context, _ health.Check) (string, error) {
			<-ctx.Done()
			return "", ctx.Err()
		})
		probe := func(ctx context.Context) []health.Result {
			<-ctx.Done()
			return []health.Result{{Name: "api", Error: "not observed\x1b[2J"}, {Name: "b"}, {Name: "c"}, {Name: "d"}}
		}
		start := time.Now()
		got, err := r.Verify(t.Context(), health.Verify{Timeout: 3 * time.Second, Checks: []health.Check{{Name: "web"}}, Probe: probe}, nil)
		want := `unhealthy after 3s: web: no answer yet: the time for verification is up; api: not observed\u001B[2J; b: ; and 2 more`
		if message(err) != want || time.Since(start) != 3*time.Second || len(got) != 5 {
			t.Errorf("after %v: %v, %d results", time.Since(start), err, len(got))
		}
	})
}

func TestVerifyReturnsTheCallersReason(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		ctx, cancel := context.WithCancelCause(t.Context())
		lost := errors.New("the lease was lost")
		time.AfterFunc(2*time.Second, func() { cancel(lost) })
		_, err := world(time.Now(), at{0, forever}).Verify(ctx, health.Verify{Checks: make([]health.Check, 1)}, nil)
		if !errors.Is(err, lost) || errors.Is(err, stella.ErrUnhealthy) {
			t.Errorf("error %v, want the cause and not ErrUnhealthy", err)
		}
	})
}

func TestVerifyWithoutTimeToBeStableIsInvalid(t *testing.T) {
	asked := false
	r := health.NewFake(func(context.Context, health.Check) (string, error) { asked = true; return "", nil })
	_, err := r.Verify(t.Context(), health.Verify{Timeout: time.Second, StableFor: time.Second, Checks: make([]health.Check, 1)}, nil)
	if !errors.Is(err, stella.ErrInvalid) || asked {
		t.Errorf("error %v, asked %v", err, asked)
	}
}

func TestVerifyOfNothingSucceeds(t *testing.T) {
	got, err := health.New(health.Config{}).Verify(t.Context(), health.Verify{}, nil)
	if err != nil || health.Verdict(got) != stella.HealthUnknown {
		t.Errorf("%v, %v", got, err)
	}
}
