package serve

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"net/http/httptest"
	"path/filepath"
	"strings"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stella-ops/stella"
	"github.com/stella-ops/stella/configrepo"
	"github.com/stella-ops/stella/reconciler"
)

func (b *branch) scanned(env string) int {
	b.mu.Lock()
	defer b.mu.Unlock()
	return strings.Count(strings.Join(b.scans, ",")+",", " "+env+",")
}

func (b *branch) scansOf(env string) (at []time.Duration) {
	b.mu.Lock()
	defer b.mu.Unlock()
	for _, s := range b.scans {
		when, of, _ := strings.Cut(s, " ")
		if d, err := time.ParseDuration(when); err == nil && of == env {
			at = append(at, d)
		}
	}
	return at
}

// tell is a target of the environment that something was changed on.
func (b *branch) tell(env stella.EnvName) {
	b.mu.Lock()
	var all []func()
	for _, changed := range b.watchers[env] {
		all = append(all, changed)
	}
	b.mu.Unlock()
	for _, changed := range all {
		changed()
	}
}

func (b *branch) policy(env stella.EnvName, schedule, mode string) {
	b.mu.Lock()
	defer b.mu.Unlock()
	if b.policies == nil {
		b.policies = map[stella.EnvName]configrepo.DriftPolicy{}
	}
	b.policies[env] = configrepo.DriftPolicy{Schedule: schedule, Mode: mode}
}

// looked at from the start: a branch of environments with one schedule.
func scheduled(line string, envs ...stella.EnvName) *branch {
	b := &branch{keys: map[stella.EnvName]string{}, answer: synced}
	for _, env := range envs {
		b.keys[env] = "1"
		b.policy(env, line, configrepo.DriftReport)
	}
	return b
}

func page(m *Metrics) string {
	w := httptest.NewRecorder()
	m.handler().ServeHTTP(w, httptest.NewRequest(http.MethodGet, "/metrics", nil))
	return w.Body.String()
}

func wantLines(t *testing.T, when string, m *Metrics, lines ...string) {
	t.Helper()
	text := page(m)
	for _, line := range lines {
		if !strings.Contains(text, line+"\n") {
			t.Errorf("%s: /metrics lacks %s; it has\n%s", when, line, onlyDrift(text))
		}
	}
}

func onlyDrift(text string) string {
	var b strings.Builder
	for line := range strings.Lines(text) {
		if strings.HasPrefix(line, "stella_drift") {
			b.WriteString(line)
		}
	}
	return b.String()
}

func TestScansKeepTheSchedule(t *testing.T) {
	synctest.Test(t, func(t *testing.T) { // it begins at midnight
		b := scheduled("*/5 * * * *", "production", "qa")
		b.policy("asked", "", configrepo.DriftReport)
		b.policy("off", "*/5 * * * *", configrepo.DriftOff)
		b.keys["asked"], b.keys["off"], b.keys["invalid"] = "1", "1", "1"
		stop := runWith(t, b, Config{})
		defer stop()
		time.Sleep(time.Hour + time.Minute) // simulated
		// One look when its targets begin to be watched, then each slot at the turn
		// of the name.
		for env, turn := range map[string]time.Duration{"production": 25 * time.Second, "qa": 12 * time.Second} {
			want := []time.Duration{0}
			for slot := range 12 {
				want = append(want, time.Duration(slot+1)*5*time.Minute+turn)
			}
			if got := b.scansOf(env); fmt.Sprint(got) != fmt.Sprint(want) {
				t.Errorf("%s was scanned at %v, want %v", env, got, want)
			}
		}
		for env, want := range map[string]int{"asked": 1, "off": 0, "invalid": 0} {
			if n := b.scanned(env); n != want {
				t.Errorf("%s was scanned %d times, want %d", env, n, want)
			}
		}
	})
}

func TestAChangeOfTheScheduleTakesEffectAtTheNextLook(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		m := NewMetrics("1.2.3")
		b := scheduled("0 3 * * *", "production")
		stop := runWith(t, b, Config{Metrics: m})
		defer stop()
		time.Sleep(2*time.Hour + 30*time.Minute) // simulated
		if n := b.scanned("production"); n != 1 {
			t.Fatalf("%d scans before it is three", n)
		}
		b.policy("production", "*/10 * * * *", configrepo.DriftReport)
		time.Sleep(29 * time.Minute)
		if n := b.scanned("production"); n != 3 {
			t.Errorf("%d scans, want those of 2:40 and 2:50 besides: %v", n, b.scansOf("production"))
		}
		wantLines(t, "after a change of schedule", m, `stella_drift_scan_overdue{environment="production"} 0`)
		if strings.Contains(page(m), "missed_scans_total{") {
			t.Error("slots of a schedule that was not there count as missed")
		}
		b.policy("production", "*/10 * * * *", configrepo.DriftOff)
		time.Sleep(2 * time.Hour)
		b.tell("production")
		time.Sleep(time.Minute)
		if n := b.scanned("production"); n > 4 {
			t.Errorf("%d scans though it is off", n)
		}
		b.policy("production", "", configrepo.DriftHeal)
		time.Sleep(2 * time.Minute)
		before := b.scanned("production")
		time.Sleep(2 * time.Hour)
		if n := b.scanned("production"); n != before || before < 4 {
			t.Errorf("%d scans without a schedule, %d before", n, before)
		}
	})
}

func TestWhatATargetTellsIsLookedAtWithinASecond(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := scheduled("", "production", "qa")
		stop := runWith(t, b, Config{})
		defer stop()
		time.Sleep(5 * time.Minute) // simulated
		before := b.scanned("production")
		for range 20 { // an editor, at work
			b.tell("production")
			time.Sleep(10 * time.Millisecond)
		}
		time.Sleep(time.Second - 200*time.Millisecond)
		if n := b.scanned("production") - before; n != 1 {
			t.Errorf("%d scans within a second", n)
		}
		if n := b.scanned("qa"); n != 1 {
			t.Errorf("qa was scanned %d times", n)
		}
	})
}

func TestANoisyTargetIsNotLookedAtAllTheTime(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := scheduled("", "production")
		stop := runWith(t, b, Config{})
		defer stop()
		time.Sleep(5 * time.Minute) // simulated
		before := len(b.scansOf("production"))
		for end := time.Now().Add(10 * time.Minute); time.Now().Before(end); time.Sleep(50 * time.Millisecond) {
			b.tell("production")
		}
		noisy := b.scansOf("production")[before:]
		first := int((noisy[0] / time.Second))
		var after []int
		for _, at := range noisy[:7] {
			after = append(after, int(at/time.Second)-first)
		}
		if fmt.Sprint(after) != "[0 1 3 7 15 31 61]" {
			t.Errorf("scans after the first event at %v seconds", after)
		}
		if n := len(noisy); n < 22 || n > 26 { // every thirty seconds
			t.Errorf("%d scans in ten minutes of noise", n)
		}
		time.Sleep(5 * time.Minute)
		quiet := b.scanned("production")
		b.tell("production")
		time.Sleep(time.Second)
		if n := b.scanned("production") - quiet; n != 1 {
			t.Errorf("%d scans within a second, when it had been quiet", n)
		}
	})
}

func TestAScanIsNeverBesideAPass(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var busy, most atomic.Int32
		work := func(d time.Duration) {
			if n := busy.Add(1); n > most.Load() {
				most.Store(n)
			}
			time.Sleep(d)
			busy.Add(-1)
		}
		b := scheduled("* * * * *", "production")
		b.answer = func(env stella.EnvName) (reconciler.Outcome, error) { work(45 * time.Second); return synced(env) }
		b.scan = func(context.Context, stella.EnvName) (reconciler.Scan, error) {
			work(40 * time.Second)
			return reconciler.Scan{}, nil
		}
		stop := runWith(t, b, Config{})
		defer stop()
		for i := range 60 {
			b.ask("production", fmt.Sprint(i))
			b.tell("production")
			time.Sleep(time.Minute) // simulated
		}
		if most.Load() != 1 {
			t.Errorf("%d at once", most.Load())
		}
		if passes := strings.Count(b.seen(), "production"); passes < 25 || b.scanned("production") < 25 {
			t.Errorf("in an hour %d passes and %d scans: one keeps the other out", passes, b.scanned("production"))
		}
	})
}

func TestAPassThatIsWantedDuringAScanComesRightAfter(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := scheduled("0 * * * *", "production")
		b.scan = func(context.Context, stella.EnvName) (reconciler.Scan, error) {
			time.Sleep(90 * time.Second)
			return reconciler.Scan{}, nil
		}
		stop := runWith(t, b, Config{})
		defer stop()
		time.Sleep(time.Hour + 5*time.Minute - 20*time.Second) // simulated: the turn is up to five minutes after the hour
		for b.scanned("production") < 2 {
			time.Sleep(time.Second)
		}
		b.ask("production", "2")
		time.Sleep(91 * time.Second)
		if n := strings.Count(b.seen(), "production"); n != 2 {
			t.Errorf("passes: %s; scans: %v", b.seen(), b.scansOf("production"))
		}
	})
}

func TestOneBadScanStopsNobodyElse(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		m := NewMetrics("1.2.3")
		end := make(chan struct{})
		b := scheduled("*/10 * * * *", "panics", "hangs", "fails", "partly", "good", "slow1", "slow2", "slow3", "slow4", "slow5", "slow6")
		var busy, most atomic.Int32
		b.scan = func(ctx context.Context, env stella.EnvName) (reconciler.Scan, error) {
			if n := busy.Add(1); n > most.Load() {
				most.Store(n)
			}
			defer busy.Add(-1)
			switch {
			case env == "panics":
				panic("index out of range")
			case env == "hangs":
				<-end // whatever it is told
			case env == "fails":
				return reconciler.Scan{}, stella.ErrUnreachable
			case env == "partly":
				return reconciler.Scan{Diff: reconciler.Diff{Targets: []reconciler.TargetDiff{{Target: "a", Reachable: true}, {Target: "b", Error: "no route"}}}}, nil
			case strings.HasPrefix(string(env), "slow"):
				time.Sleep(20 * time.Second)
			}
			return reconciler.Scan{}, nil
		}
		stop := runWith(t, b, Config{Metrics: m})
		time.Sleep(59 * time.Minute) // simulated
		for env, want := range map[string]int{"good": 6, "slow3": 6, "hangs": 1} {
			if n := b.scanned(env); n != want {
				t.Errorf("%s: %d scans, want %d", env, n, want)
			}
		}
		// Beside the schedule, what was told by a target is tried again until it can
		// be read, at most every five minutes.
		for _, env := range []string{"panics", "fails", "partly"} {
			if n := b.scanned(env); n < 6 || n > 40 {
				t.Errorf("%s: %d scans", env, n)
			}
		}
		if most.Load() > maxScans+1 { // one was given up and is still there
			t.Errorf("%d scans at once", most.Load())
		}
		wantLines(t, "an hour on", m, `stella_drift_scan_overdue{environment="hangs"} 1`, `stella_drift_scan_overdue{environment="good"} 0`,
			`stella_drift_scans_total{cause="event",environment="hangs",result="error"} 1`)
		// How many of its scans were of a slot and how many tried again what a target
		// told is up to the jitter of the latter.
		if !strings.Contains(page(m), `stella_drift_scans_total{cause="schedule",environment="partly",result="partial"} `) {
			t.Error("no scan of a schedule is known that could not read all")
		}
		for _, env := range []string{"panics", "hangs", "fails", "partly"} {
			if strings.Contains(page(m), `last_success_timestamp_seconds{environment="`+env) {
				t.Errorf("%s had a success", env)
			}
		}
		b.ask("hangs", "2")
		time.Sleep(2 * time.Minute)
		if n := strings.Count(b.seen(), "hangs"); n != 2 {
			t.Errorf("a scan that hangs keeps the passes out: %s", b.seen())
		}
		close(end)
		time.Sleep(11 * time.Minute)
		if n := b.scanned("hangs"); n < 2 {
			t.Error("it is not scanned again though the scan that hung has ended")
		}
		stop()
	})
}

func TestAStopWaitsForTheScanThatIsUnderWay(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := scheduled("", "production")
		told := make(chan error, 1)
		b.scan = func(ctx context.Context, _ stella.EnvName) (reconciler.Scan, error) {
			<-ctx.Done()
			time.Sleep(10 * time.Second) // what it began, it ends
			told <- ctx.Err()
			return reconciler.Scan{}, ctx.Err()
		}
		stop := runWith(t, b, Config{})
		time.Sleep(10 * time.Second)
		stop()
		select {
		case err := <-told:
			if !errors.Is(err, context.Canceled) {
				t.Errorf("it was told %v", err)
			}
		default:
			t.Error("the daemon ended before its scan")
		}
		b.mu.Lock()
		defer b.mu.Unlock()
		if len(b.watchers["production"]) != 0 {
			t.Error("targets are watched after the end")
		}
	})
}

func TestWhatWasMissedWhileNobodyWasThereIsCaughtUpOnce(t *testing.T) {
	for _, c := range []struct {
		what    string
		file    bool
		line    string
		missed  string
		within5 int // scans of the five minutes after the new start
	}{
		{"known", true, "*/5 * * * *", `stella_drift_missed_scans_total{environment="production"} 24`, 2},
		{"another schedule meanwhile", true, "*/6 * * * *", "", 1},
		{"nobody kept it", false, "*/5 * * * *", "", 2},
	} {
		t.Run(c.what, func(t *testing.T) {
			file := filepath.Join(t.TempDir(), "scans.json")
			if !c.file {
				file = ""
			}
			synctest.Test(t, func(t *testing.T) {
				b := scheduled("*/5 * * * *", "production")
				stop := runWith(t, b, Config{Scans: file})
				time.Sleep(31 * time.Minute) // simulated
				stop()
				if n := b.scanned("production"); n != 7 {
					t.Fatalf("%d scans, want 7", n)
				}
				time.Sleep(2 * time.Hour)
				m := NewMetrics("1.2.3")
				b.policy("production", c.line, configrepo.DriftReport)
				stop = runWith(t, b, Config{Scans: file, Metrics: m})
				time.Sleep(5 * time.Minute)
				stop()
				if n := b.scanned("production") - 7; n != c.within5 {
					t.Errorf("%d scans since it is back, want %d: %v", n, c.within5, b.scansOf("production"))
				}
				if c.missed != "" {
					wantLines(t, "back", m, c.missed)
				} else if strings.Contains(page(m), "missed_scans_total{") {
					t.Error("something counts as missed")
				}
			})
		})
	}
}

func TestMetricsOfDriftAreForgottenWithTheEnvironment(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		m := NewMetrics("1.2.3")
		b := scheduled("*/5 * * * *", "production", "qa")
		b.scan = func(context.Context, stella.EnvName) (reconciler.Scan, error) {
			return reconciler.Scan{
				Open:     []stella.DriftFinding{{Class: stella.Modified, Severity: stella.SeverityCritical}, {Class: stella.Modified, Severity: stella.SeverityCritical}},
				Flapping: []reconciler.Flapping{{Resource: "service/api"}}, Healed: &stella.Deployment{Status: stella.Failed},
			}, nil
		}
		stop := runWith(t, b, Config{Metrics: m})
		defer stop()
		time.Sleep(time.Minute) // simulated
		wantLines(t, "at first", m,
			`stella_drift_findings{class="modified",environment="production",severity="critical"} 2`,
			`stella_drift_findings{class="missing",environment="production",severity="info"} 0`,
			`stella_drift_flapping{environment="production"} 1`, `stella_drift_heals_total{environment="production",result="failed"} 1`,
			`stella_drift_expired_ignore_rules{environment="production"} 0`, `stella_drift_scan_overdue{environment="production"} 0`,
			`stella_drift_scan_duration_seconds_count{result="ok"} 2`)
		b.mu.Lock()
		delete(b.keys, "production")
		b.mu.Unlock()
		time.Sleep(3 * time.Minute)
		if strings.Contains(page(m), `environment="production"`) {
			t.Errorf("/metrics keeps an environment that is gone:\n%s", onlyDrift(page(m)))
		}
		wantLines(t, "after", m, `stella_drift_flapping{environment="qa"} 1`)
	})
}

// TestAHealThatIsPutOffIsComeBackTo also where no schedule would, and what is
// told meanwhile does not wait for it.
func TestAHealThatIsPutOffIsComeBackTo(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := scheduled("", "production")
		b.scan = func(context.Context, stella.EnvName) (reconciler.Scan, error) {
			if time.Since(b.start) > 20*time.Minute {
				return reconciler.Scan{}, nil
			}
			return reconciler.Scan{NextHeal: time.Now().Add(6 * time.Minute)}, nil
		}
		stop := runWith(t, b, Config{})
		defer stop()
		time.Sleep(8 * time.Minute) // simulated
		b.tell("production")
		time.Sleep(time.Hour)
		want := []time.Duration{0, 6 * time.Minute, 8 * time.Minute, 14 * time.Minute, 20 * time.Minute}
		if got := b.scansOf("production"); fmt.Sprint(got) != fmt.Sprint(want) {
			t.Errorf("scanned at %v, want %v", got, want)
		}
	})
}
