package serve

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"maps"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stella-ops/stella"
	"github.com/stella-ops/stella/configrepo"
	"github.com/stella-ops/stella/internal/git"
	"github.com/stella-ops/stella/reconciler"
)

// branch is an engine that behaves: it has environments with what they are
// asked for, settles them when it is let, and remembers every pass.
type branch struct {
	mu     sync.Mutex
	keys   map[stella.EnvName]string
	down   error
	answer func(env stella.EnvName) (reconciler.Outcome, error)
	looks  int
	passes []string // "12s prod", by the time since the start
	start  time.Time

	weighs []string // as passes, by what was looked into
	weigh  func(ctx context.Context, env stella.EnvName) reconciler.EnvironmentReadiness

	retained []string // what was asked to be protected
	retain   func(ctx context.Context) (reconciler.RetentionReport, error)

	due func() ([]reconciler.AutomaticBaseline, error) // nil for nothing

	policies map[stella.EnvName]configrepo.DriftPolicy
	scans    []string // as passes
	scan     func(ctx context.Context, env stella.EnvName) (reconciler.Scan, error)
	watchers map[stella.EnvName]map[int]func()
	watches  int
	// watchable is asked before the targets of an environment are watched, with how
	// many watches there are; nil for nothing.
	watchable func(there int) error
}

func (b *branch) Heads(context.Context) (reconciler.Heads, error) {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.looks++
	h := reconciler.Heads{Keys: map[stella.EnvName]string{}} // no commit: policies are read each time
	maps.Copy(h.Keys, b.keys)
	return h, b.down
}

func (b *branch) Reconcile(_ context.Context, req reconciler.ReconcileRequest) (reconciler.Outcome, error) {
	b.mu.Lock()
	b.passes = append(b.passes, fmt.Sprintf("%s %s", time.Since(b.start).Round(time.Second), req.Environment))
	b.mu.Unlock()
	return b.answer(req.Environment)
}

func (b *branch) CheckReady(ctx context.Context, envs ...stella.EnvName) ([]reconciler.EnvironmentReadiness, error) {
	var all []reconciler.EnvironmentReadiness
	for _, env := range envs {
		b.mu.Lock()
		b.weighs = append(b.weighs, fmt.Sprintf("%s %s", time.Since(b.start).Round(time.Second), env))
		down := b.down
		b.mu.Unlock()
		if down != nil {
			return nil, down
		}
		all = append(all, b.weigh(ctx, env))
	}
	return all, nil
}

func (b *branch) DriftPolicies(context.Context) (map[stella.EnvName]configrepo.DriftPolicy, error) {
	b.mu.Lock()
	defer b.mu.Unlock()
	return maps.Clone(b.policies), b.down
}

func (b *branch) Scan(ctx context.Context, env stella.EnvName) (reconciler.Scan, error) {
	b.mu.Lock()
	b.scans = append(b.scans, fmt.Sprintf("%s %s", time.Since(b.start).Round(time.Second), env))
	scan := b.scan
	b.mu.Unlock()
	if scan == nil {
		return reconciler.Scan{}, nil
	}
	return scan(ctx, env)
}

func (b *branch) Watch(ctx context.Context, env stella.EnvName, changed func()) (bad error) {
	b.mu.Lock()
	b.watches++
	id, there, watchable := b.watches, len(b.watchers[env]), b.watchable
	b.mu.Unlock()
	if watchable != nil {
		switch err := watchable(there); {
		case errors.Is(err, errPartly):
			defer func() { bad = err }()
		case err != nil:
			return err
		}
	}
	b.mu.Lock()
	defer b.mu.Unlock()
	if b.watchers == nil {
		b.watchers = map[stella.EnvName]map[int]func(){}
	}
	if b.watchers[env] == nil {
		b.watchers[env] = map[int]func(){}
	}
	b.watchers[env][id] = changed
	context.AfterFunc(ctx, func() {
		b.mu.Lock()
		defer b.mu.Unlock()
		delete(b.watchers[env], id)
	})
	return b.down
}

func (b *branch) ask(env stella.EnvName, key string) {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.keys[env] = key
}

func (b *branch) seen() string {
	b.mu.Lock()
	defer b.mu.Unlock()
	return strings.Join(b.passes, ", ")
}

func synced(stella.EnvName) (reconciler.Outcome, error) {
	return reconciler.Outcome{Sync: stella.Synced}, nil
}

// run starts a daemon in the bubble and returns what stops it.
func run(t *testing.T, b *branch) (stop func()) {
	t.Helper()
	return runWith(t, b, Config{})
}

// runWith is run of a daemon with some of its configuration.
func runWith(t *testing.T, b *branch, c Config) (stop func()) {
	t.Helper()
	b.start = time.Now()
	c.Engine, c.Poll = b, time.Minute
	if c.Logger == nil {
		c.Logger = slog.New(slog.DiscardHandler)
	}
	d := newDaemon(c)
	ctx, cancel := context.WithCancel(t.Context())
	done := make(chan struct{})
	go func() {
		defer close(done)
		d.loop(ctx, nil)
	}()
	return func() { cancel(); <-done }
}

func TestAnEnvironmentIsPassedOnceForEachThingItIsAskedFor(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := &branch{keys: map[stella.EnvName]string{"prod": "1"}, answer: synced}
		stop := run(t, b)
		defer stop()
		time.Sleep(10 * time.Minute) // simulated
		if got := b.seen(); got != "0s prod" {
			t.Errorf("passes: %s", got)
		}
		b.ask("prod", "2")
		time.Sleep(10 * time.Minute)
		if got := strings.Count(b.seen(), "prod"); got != 2 {
			t.Errorf("passes: %s", b.seen())
		}
	})
}

func TestAnErrorIsTriedAgainWithBackoffAndStopsNobodyElse(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := &branch{keys: map[stella.EnvName]string{"bad": "1", "good": "1"}}
		b.answer = func(env stella.EnvName) (reconciler.Outcome, error) {
			if env == "bad" {
				return reconciler.Outcome{}, fmt.Errorf("registry: %w", stella.ErrUnreachable)
			}
			return synced(env)
		}
		stop := run(t, b)
		defer stop()
		time.Sleep(time.Hour) // simulated
		got := b.seen()
		if n := strings.Count(got, "good"); n != 1 {
			t.Errorf("good was passed %d times: %s", n, got)
		}
		// 1s, 1.5s, 2.25s … up to 5 minutes with jitter: some twenty in an hour,
		// where a poll a minute would make sixty.
		if n := strings.Count(got, "bad"); n < 10 || n > 40 {
			t.Errorf("bad was passed %d times: %s", n, got)
		}
	})
}

func TestWhatWaitsForAPersonIsLookedAtWithEachPoll(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var lifted atomic.Bool
		b := &branch{keys: map[stella.EnvName]string{"prod": "1"}}
		b.answer = func(env stella.EnvName) (reconciler.Outcome, error) {
			if !lifted.Load() {
				return reconciler.Outcome{Sync: stella.Held}, nil
			}
			return synced(env)
		}
		stop := run(t, b)
		defer stop()
		time.Sleep(5*time.Minute + 30*time.Second) // simulated
		if n := strings.Count(b.seen(), "prod"); n < 5 || n > 7 {
			t.Errorf("passes: %s", b.seen())
		}
		lifted.Store(true)
		time.Sleep(2 * time.Minute)
		after := b.seen()
		time.Sleep(time.Hour)
		if b.seen() != after {
			t.Errorf("passed again after it was settled: %s", b.seen())
		}
	})
}

func TestAPanicIsThatEnvironmentsErrorAndNobodyElses(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := &branch{keys: map[stella.EnvName]string{"bad": "1", "good": "1"}}
		b.answer = func(env stella.EnvName) (reconciler.Outcome, error) {
			if env == "bad" {
				panic("index out of range")
			}
			return synced(env)
		}
		stop := run(t, b)
		defer stop()
		time.Sleep(time.Minute) // simulated
		if got := b.seen(); !strings.Contains(got, "good") || strings.Count(got, "bad") < 2 {
			t.Errorf("passes: %s", got)
		}
	})
}

func TestAStopWaitsForThePassThatIsUnderWay(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		finished := false
		b := &branch{keys: map[stella.EnvName]string{"prod": "1"}}
		b.answer = func(env stella.EnvName) (reconciler.Outcome, error) {
			time.Sleep(time.Minute) // a step that takes its time
			finished = true
			return synced(env)
		}
		stop := run(t, b)
		time.Sleep(time.Second)
		stop()
		if !finished {
			t.Error("the daemon ended before its pass")
		}
	})
}

func TestPages(t *testing.T) {
	m := NewMetrics("1.2.3")
	d := newDaemon(Config{Metrics: m, Poll: time.Minute, Logger: slog.New(slog.DiscardHandler)})
	get := func(method, path string) (int, string) {
		w := httptest.NewRecorder()
		d.routes().ServeHTTP(w, httptest.NewRequest(method, path, nil))
		return w.Code, w.Body.String()
	}
	if code, _ := get("GET", "/healthz"); code != http.StatusOK {
		t.Errorf("/healthz: %d", code)
	}
	if code, _ := get("GET", "/readyz"); code != http.StatusServiceUnavailable {
		t.Errorf("/readyz before the first look: %d", code)
	}
	d.looked(errors.New("no route to \x1b[2Jhost"))
	if code, body := get("GET", "/readyz"); code != http.StatusServiceUnavailable || strings.Contains(body, "\x1b") {
		t.Errorf("/readyz after a failed look: %d %q", code, body)
	}
	d.looked(nil)
	if code, _ := get("GET", "/readyz"); code != http.StatusOK {
		t.Errorf("/readyz after a look: %d", code)
	}
	d.lastLook = time.Now().Add(-time.Hour)
	if code, _ := get("GET", "/readyz"); code != http.StatusServiceUnavailable {
		t.Errorf("/readyz an hour after the last look: %d", code)
	}
	m.Notify(reconciler.Ended{Deployment: stella.Deployment{Environment: "prod", Kind: stella.KindDeploy, Status: stella.Succeeded, DurationSeconds: 3}})
	m.passed("prod", reconciler.Outcome{Sync: stella.Synced}, nil)
	m.passed("prod", reconciler.Outcome{Sync: stella.Held}, nil)
	_, body := get("GET", "/metrics")
	for _, want := range []string{
		`stella_deployments_total{environment="prod",kind="deploy",status="succeeded"} 1`,
		`stella_environment_sync{environment="prod",sync="Held"} 1`, `stella_git_errors_total 1`, `stella_build_info{version="1.2.3"} 1`,
	} {
		if !strings.Contains(body, want) {
			t.Errorf("/metrics lacks %s", want)
		}
	}
	if strings.Contains(body, `sync="Synced"`) {
		t.Error("/metrics keeps a state that is over")
	}
	for _, c := range []string{"POST /healthz", "GET /debug/pprof/", "GET /"} {
		method, path, _ := strings.Cut(c, " ")
		if code, _ := get(method, path); code == http.StatusOK {
			t.Errorf("%s: 200", c)
		}
	}
}

func TestATakenPortIsAnErrorWithAWayOut(t *testing.T) {
	taken := httptest.NewServer(http.NotFoundHandler())
	defer taken.Close()
	err := Run(t.Context(), Config{
		Engine: &branch{answer: synced}, Listen: strings.TrimPrefix(taken.URL, "http://"), Logger: slog.New(slog.DiscardHandler),
	})
	if !errors.Is(err, stella.ErrInvalid) || stella.Hint(err) == "" {
		t.Errorf("got %v", err)
	}
}

func TestAChangeOfALocalRepositoryIsSeenAtOnce(t *testing.T) {
	dir := t.TempDir()
	heads := filepath.Join(dir, "refs", "heads")
	if err := os.MkdirAll(heads, 0o755); err != nil {
		t.Fatal(err)
	}
	wake, err := watch(t.Context(), dir, slog.New(slog.DiscardHandler))
	if err != nil {
		t.Fatal(err)
	}
	expect := func(what string) {
		t.Helper()
		select {
		case <-wake:
		case <-time.After(10 * time.Second):
			t.Fatalf("%s was not seen", what)
		}
	}
	if err := os.WriteFile(filepath.Join(heads, "main"), []byte("1\n"), 0o644); err != nil {
		t.Fatal(err)
	}
	expect("a changed branch")
	if err := os.WriteFile(filepath.Join(dir, "packed-refs"), []byte("1\n"), 0o644); err != nil {
		t.Fatal(err)
	}
	expect("packed refs")
	if err := os.Mkdir(filepath.Join(dir, "refs", "stella"), 0o755); err != nil {
		t.Fatal(err)
	}
	expect("a new directory")
	if err := os.WriteFile(filepath.Join(dir, "refs", "stella", "x"), []byte("1\n"), 0o644); err != nil {
		t.Fatal(err)
	}
	expect("a ref in a new directory")
}

func TestAFixThatArrivesDuringTheBackoffIsTriedAtOnce(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := &branch{keys: map[stella.EnvName]string{"prod": "broken"}}
		b.answer = func(env stella.EnvName) (reconciler.Outcome, error) {
			b.mu.Lock()
			defer b.mu.Unlock()
			if b.keys["prod"] == "broken" {
				return reconciler.Outcome{}, stella.ErrInvalid
			}
			return synced(env)
		}
		stop := run(t, b)
		defer stop()
		time.Sleep(time.Hour) // simulated: the backoff is at its longest
		b.ask("prod", "fixed")
		before := strings.Count(b.seen(), "prod")
		time.Sleep(70 * time.Second) // a poll
		if after := strings.Count(b.seen(), "prod"); after != before+1 {
			t.Errorf("passes: %s", b.seen())
		}
	})
}

// TestARemoteThatAsksForTimeGetsIt: polls are a minute apart, and it asks for ten.
func TestARemoteThatAsksForTimeGetsIt(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := &branch{keys: map[stella.EnvName]string{"good": "1"}}
		b.answer = func(stella.EnvName) (reconciler.Outcome, error) { return reconciler.Outcome{Sync: stella.Synced}, nil }
		stop := run(t, b)
		defer stop()
		b.mu.Lock()
		b.down = fmt.Errorf("fetch: %w", &git.BusyError{Status: 429, After: 10 * time.Minute})
		b.mu.Unlock()
		time.Sleep(2 * time.Minute) // simulated; by now it was told so
		b.mu.Lock()
		b.looks = 0
		b.mu.Unlock()
		time.Sleep(30 * time.Minute)
		b.mu.Lock()
		looks := b.looks
		b.down = nil
		b.mu.Unlock()
		if looks < 2 || looks > 3 {
			t.Errorf("%d looks in 30 minutes, want one every ten", looks)
		}
	})
}

func TestARemoteThatIsAwayIsAskedOnceAPoll(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := &branch{keys: map[stella.EnvName]string{"bad": "1"}}
		b.answer = func(stella.EnvName) (reconciler.Outcome, error) { return reconciler.Outcome{}, stella.ErrUnreachable }
		stop := run(t, b)
		defer stop()
		time.Sleep(10 * time.Second) // simulated
		b.mu.Lock()
		b.down, b.looks = stella.ErrUnreachable, 0
		b.mu.Unlock()
		time.Sleep(30 * time.Minute)
		b.mu.Lock()
		defer b.mu.Unlock()
		if b.looks > 35 {
			t.Errorf("%d looks in 30 minutes with a poll a minute", b.looks)
		}
	})
}
