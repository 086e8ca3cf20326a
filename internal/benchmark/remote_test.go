package benchmark_test

import (
	"context"
	"fmt"
	"log/slog"
	"sync"
	"testing"
	"time"

	"github.com/stella-ops/stella"
	"github.com/stella-ops/stella/artifact"
	"github.com/stella-ops/stella/configrepo"
	"github.com/stella-ops/stella/internal/git"
	"github.com/stella-ops/stella/internal/git/gittest"
	"github.com/stella-ops/stella/ledger"
	"github.com/stella-ops/stella/reconciler"
)

// The remote that the aims are about: a round trip takes this long, and a push
// that much in addition.
const (
	roundTrip = 100 * time.Millisecond
	pushTime  = 500 * time.Millisecond
)

// engine opens an engine with targets that accept everything at once: what is
// measured is Git.
func engine(url, dir string, notify func(reconciler.Event)) (*reconciler.Engine, *git.Repo, error) {
	repo, err := open(dir, url)
	if err != nil {
		return nil, nil, err
	}
	return reconciler.New(reconciler.Config{
		Repo: repo, Targets: quick{}, Actor: "bench", Identity: git.Signature{Name: "bench", Email: "bench@example.com"},
		Artifacts: func(*configrepo.Project) reconciler.Artifacts { return always{} },
		Ledger: func(prefix string) *ledger.Ledger {
			return ledger.New(ledger.NewGitStore(repo, prefix), ledger.Options{Version: "bench", Actor: "bench"})
		},
		Version: "bench", Logger: slog.New(slog.DiscardHandler), Notify: notify,
	}), repo, nil
}

// quick is a target that takes every order at once.
type quick struct{}

func (quick) Open(context.Context, reconciler.TargetSpec) (reconciler.Target, error) {
	return &taken{}, nil
}

type taken struct {
	mu    sync.Mutex
	state stella.State
}

func (t *taken) Observe(context.Context) (stella.State, error) {
	t.mu.Lock()
	defer t.mu.Unlock()
	return t.state, nil
}

func (t *taken) Apply(_ context.Context, o stella.Order, _ func(stella.Action, error)) error {
	t.mu.Lock()
	defer t.mu.Unlock()
	t.state = o.Desired
	return nil
}

// always is a registry that has everything.
type always struct{}

func (always) Resolve(_ context.Context, a stella.Artifact) (stella.Artifact, error) {
	if a.Digest == "" {
		a.Digest = "sha256:0000000000000000000000000000000000000000000000000000000000000002"
	}
	return a, nil
}

func (always) Check(context.Context, stella.Artifact, ...artifact.Platform) (artifact.Report, error) {
	return artifact.Report{Available: true}, nil
}

func (always) Inspect(context.Context, stella.Artifact, artifact.Look) (artifact.Inspection, error) {
	return artifact.Inspection{}, stella.ErrUnsupported
}

func (always) Backup() string { return "" }

func (always) CheckBackup(context.Context, stella.Artifact, ...artifact.Platform) (artifact.Report, error) {
	return artifact.Report{}, stella.ErrNotFound
}

func (always) Restore(context.Context, stella.Artifact) error { return stella.ErrUnsupported }

func (always) Pull(context.Context, stella.Artifact, artifact.Platform, string) (*artifact.Image, error) {
	return nil, stella.ErrUnsupported
}

func slow(b *testing.B) string {
	b.Helper()
	f := &gittest.Faults{}
	f.Add(gittest.Push, -1, f.Delay(roundTrip+pushTime))
	f.Add(gittest.Any, -1, f.Delay(roundTrip))
	return gittest.HTTP(b, bare(b), f)
}

// stopwatch tells when the first target was changed.
type stopwatch struct {
	start   time.Time
	cpu     time.Duration
	applied chan time.Duration
}

func (w *stopwatch) begin() {
	w.start, w.cpu, w.applied = time.Now(), cpuTime(), make(chan time.Duration, 1)
}

func (w *stopwatch) hear(ev reconciler.Event) {
	if s, ok := ev.(reconciler.StepBegan); ok && s.Step.Name == stella.StepApply {
		select {
		case w.applied <- time.Since(w.start):
		default:
		}
	}
}

// record takes the times of what began with begin and ended well just now.
func (w *stopwatch) record(b *testing.B, what string, out reconciler.Outcome, err error) {
	b.Helper()
	if err != nil {
		b.Fatal(err)
	}
	if out.Deployment == nil || out.Deployment.Status != stella.Succeeded {
		b.Fatalf("%s: %+v", what, out.Deployment)
	}
	cpu := cpuTime() - w.cpu
	record("slow remote: "+what+" to first apply", cost{<-w.applied, cpu}, 0, 0, "≤ 3s")
	record("slow remote: "+what+" to recorded outcome", cost{time.Since(w.start), cpu}, 0, 0, "")
}

// released deploys a version of an environment's api.
func released(env stella.EnvName, version string) reconciler.DeployRequest {
	a := stella.Artifact{Registry: "registry.example.com", Repository: "shop/api", Tag: version, Digest: stella.Digest(fmt.Sprintf("sha256:%064x", version))}
	return reconciler.DeployRequest{Environment: env, Artifacts: map[string]stella.Artifact{"api": a}}
}

func BenchmarkDeployToFirstApply(b *testing.B) {
	var w stopwatch
	e, _, err := engine(slow(b), b.TempDir(), w.hear)
	if err != nil {
		b.Fatal(err)
	}
	if _, err := e.Heads(b.Context()); err != nil { // the clone is there, as on a machine that is in use
		b.Fatal(err)
	}
	w.begin()
	out, err := e.Deploy(b.Context(), released(stella.EnvName(gittest.EnvName(7)), "2.0.0"))
	w.record(b, "deploy", out, err)
}

// BenchmarkRollbackToFirstApply does what the command does, the plan that it
// shows included: once on a machine that is in use, where somebody else
// committed meanwhile, and once on one that was never here.
func BenchmarkRollbackToFirstApply(b *testing.B) {
	url := slow(b)
	for i, what := range []string{"rollback", "rollback from nothing"} {
		env := stella.EnvName(gittest.EnvName(11 + i))
		e, _, err := engine(bare(b), b.TempDir(), nil)
		if err != nil {
			b.Fatal(err)
		}
		for _, version := range []string{"2.0.0", "2.1.0"} {
			if _, err := e.Deploy(b.Context(), released(env, version)); err != nil {
				b.Fatal(err)
			}
		}
		dir := b.TempDir()
		if i == 0 {
			here, _, err := engine(url, dir, nil)
			if err != nil {
				b.Fatal(err)
			}
			if _, err := here.Status(b.Context(), env, false); err != nil {
				b.Fatal(err)
			}
		}
		if _, err := e.Deploy(b.Context(), released(stella.EnvName(gittest.EnvName(20+i)), "2.0.0")); err != nil {
			b.Fatal(err)
		}
		var w stopwatch
		w.begin()
		out, err := rollBack(b, url, dir, env, w.hear)
		w.record(b, what, out, err)
	}
}

// rollBack is the command: a plan that is shown, and the same carried out.
func rollBack(b *testing.B, url, dir string, env stella.EnvName, notify func(reconciler.Event)) (reconciler.Outcome, error) {
	b.Helper()
	e, _, err := engine(url, dir, notify)
	if err != nil {
		return reconciler.Outcome{}, err
	}
	ask := reconciler.RollbackRequest{Environment: env, Options: reconciler.Options{DryRun: true}}
	out, err := e.Rollback(b.Context(), ask)
	if err != nil {
		return out, err
	}
	ask.Options = reconciler.Options{Shown: out.Plan}
	return e.Rollback(b.Context(), ask)
}

func BenchmarkStatusFromNothing(b *testing.B) {
	url := slow(b)
	c, err := measure(1, func(int) error {
		e, _, err := engine(url, b.TempDir(), nil)
		if err != nil {
			return err
		}
		_, err = e.Status(context.Background(), stella.EnvName(gittest.EnvName(9)), true)
		return err
	})
	if err != nil {
		b.Fatal(err)
	}
	record("slow remote: env status from nothing", c, 0, 0, "≤ 5s")
}
