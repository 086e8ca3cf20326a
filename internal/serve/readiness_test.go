package serve

import (
	"context"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stella-ops/stella"
	"github.com/stella-ops/stella/reconciler"
)

func (b *branch) weighed(env string) int {
	b.mu.Lock()
	defer b.mu.Unlock()
	return strings.Count(strings.Join(b.weighs, ",")+",", " "+env+",")
}

func readyNow(_ context.Context, env stella.EnvName) reconciler.EnvironmentReadiness {
	return reconciler.EnvironmentReadiness{
		Environment: env, Ready: true, To: string(env) + "-1", CheckedAt: time.Now(),
		Candidates: []reconciler.Candidate{{Ready: true}, {Ready: false}, {Ready: true}},
	}
}

func TestReadinessIsLookedIntoOnAScheduleAndAfterEachChange(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := &branch{keys: map[stella.EnvName]string{"prod": "1", "qa": "1"}, answer: synced, weigh: readyNow}
		stop := runWith(t, b, Config{Readiness: 10 * time.Minute})
		defer stop()
		time.Sleep(7 * time.Second) // simulated
		if b.weighed("prod") != 1 || b.weighed("qa") != 1 {
			t.Errorf("after the first passes: %v", b.weighs)
		}
		time.Sleep(time.Hour - 7*time.Second)
		// The first one, then every ten minutes with a tenth of jitter.
		if n := b.weighed("prod"); n < 6 || n > 8 || n != b.weighed("qa") {
			t.Errorf("in an hour: %v", b.weighs)
		}
		b.ask("prod", "2")
		before, others := b.weighed("prod"), b.weighed("qa")
		time.Sleep(70 * time.Second) // a poll, and the delay after its pass
		if n := b.weighed("prod"); n < before+1 || n > before+2 {
			t.Errorf("after a change: %d more", n-before)
		}
		if n := b.weighed("qa"); n > others+1 { // the schedule may have come in between
			t.Errorf("a change of prod had qa looked into %d times", n-others)
		}
	})
}

func TestALookIntoReadinessThatHangsDelaysNoPass(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := &branch{keys: map[stella.EnvName]string{"prod": "1"}, answer: synced}
		b.weigh = func(ctx context.Context, env stella.EnvName) reconciler.EnvironmentReadiness {
			<-ctx.Done()
			return reconciler.EnvironmentReadiness{Environment: env, Error: "nobody answers"}
		}
		stop := runWith(t, b, Config{Readiness: time.Minute})
		defer stop()
		time.Sleep(10 * time.Minute) // simulated
		b.ask("prod", "2")
		time.Sleep(70 * time.Second)
		if n := strings.Count(b.seen(), "prod"); n != 2 {
			t.Errorf("passes: %s", b.seen())
		}
		if n := b.weighed("prod"); n != 1 {
			t.Errorf("%d looks at once", n)
		}
	})
}

func TestReadinessIsAMetricWithItsTime(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		m := NewMetrics("1.2.3")
		page := func() string {
			w := httptest.NewRecorder()
			m.handler().ServeHTTP(w, httptest.NewRequest(http.MethodGet, "/metrics", nil))
			return w.Body.String()
		}
		wants := func(when string, lines ...string) {
			t.Helper()
			for _, line := range lines {
				if !strings.Contains(page(), line) {
					t.Errorf("%s: /metrics lacks %s", when, line)
				}
			}
		}
		ready := true
		b := &branch{keys: map[stella.EnvName]string{"prod": "1"}, answer: synced}
		b.weigh = func(ctx context.Context, env stella.EnvName) reconciler.EnvironmentReadiness {
			b.mu.Lock()
			defer b.mu.Unlock()
			r := readyNow(ctx, env)
			if r.Ready = ready; !ready {
				r.Candidates = nil
			}
			return r
		}
		stop := runWith(t, b, Config{Metrics: m, Readiness: 10 * time.Minute})
		defer stop()
		time.Sleep(10 * time.Second) // simulated
		wants("ready", `stella_rollback_ready{environment="prod"} 1`, `stella_rollback_candidates{environment="prod"} 2`,
			`stella_rollback_ready_checked_timestamp_seconds{environment="prod"}`)
		b.mu.Lock()
		ready = false
		b.mu.Unlock()
		time.Sleep(12 * time.Minute)
		wants("not ready", `stella_rollback_ready{environment="prod"} 0`, `stella_rollback_candidates{environment="prod"} 0`)
		b.mu.Lock()
		b.down = stella.ErrUnreachable
		b.mu.Unlock()
		last := page()
		time.Sleep(30 * time.Minute)
		checked := func(page string) string {
			_, after, _ := strings.Cut(page, "stella_rollback_ready_checked_timestamp_seconds{")
			line, _, _ := strings.Cut(after, "\n")
			return line
		}
		if wants("nobody can tell", `stella_rollback_ready{environment="prod"} 0`); checked(page()) != checked(last) {
			t.Error("a look that failed counts as one")
		}
		b.mu.Lock()
		b.down = nil
		delete(b.keys, "prod")
		b.mu.Unlock()
		time.Sleep(2 * time.Minute)
		if strings.Contains(page(), `{environment="prod"`) {
			t.Error("/metrics keeps an environment that is gone")
		}
	})
}
