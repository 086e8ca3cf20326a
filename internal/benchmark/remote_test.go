package benchmark_test

import (
	"context"
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

func BenchmarkDeployToFirstApply(b *testing.B) {
	url := slow(b)
	var start time.Time
	applied := make(chan time.Duration, 1)
	e, _, err := engine(url, b.TempDir(), func(ev reconciler.Event) {
		if s, ok := ev.(reconciler.StepBegan); ok && s.Step.Name == stella.StepApply {
			select {
			case applied <- time.Since(start):
			default:
			}
		}
	})
	if err != nil {
		b.Fatal(err)
	}
	if _, err := e.Heads(context.Background()); err != nil { // the clone is there, as on a machine that is in use
		b.Fatal(err)
	}
	env := stella.EnvName(gittest.EnvName(7))
	a := stella.Artifact{Registry: "registry.example.com", Repository: "shop/api", Tag: "2.0.0"}
	cpu := cpuTime()
	start = time.Now()
	out, err := e.Deploy(context.Background(), reconciler.DeployRequest{Environment: env, Artifacts: map[string]stella.Artifact{"api": a}})
	if err != nil {
		b.Fatal(err)
	}
	if out.Deployment == nil || out.Deployment.Status != stella.Succeeded {
		b.Fatalf("%+v", out.Deployment)
	}
	record("slow remote: deploy to first apply", cost{<-applied, cpuTime() - cpu}, 0, 0, "≤ 3s")
	record("slow remote: deploy to recorded outcome", cost{time.Since(start), cpuTime() - cpu}, 0, 0, "")
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
