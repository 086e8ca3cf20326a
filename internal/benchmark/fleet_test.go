package benchmark_test

import (
	"context"
	"fmt"
	"log/slog"
	"net"
	"net/http/httptest"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/stella-ops/stella/artifact"
	"github.com/stella-ops/stella/configrepo"
	"github.com/stella-ops/stella/internal/git"
	"github.com/stella-ops/stella/internal/git/gittest"
	"github.com/stella-ops/stella/internal/registry"
	"github.com/stella-ops/stella/ledger"
	"github.com/stella-ops/stella/reconciler"
	"github.com/stella-ops/stella/target/host"
)

const production = "production"

// programs are built once for all benchmarks.
var programs struct {
	once        sync.Once
	dir         string
	stella, app string
	err         error
}

func build(b *testing.B) {
	b.Helper()
	programs.once.Do(func() {
		if programs.dir, programs.err = os.MkdirTemp("", "stella-bench-"); programs.err != nil {
			return
		}
		programs.stella, programs.app = filepath.Join(programs.dir, "stella"), filepath.Join(programs.dir, "app")
		for out, pkg := range map[string]string{programs.stella: "github.com/stella-ops/stella/cmd/stella", programs.app: "./testdata/app"} {
			cmd := exec.Command("go", "build", "-trimpath", "-o", out, pkg)
			cmd.Env = append(os.Environ(), "CGO_ENABLED=0")
			if text, err := cmd.CombinedOutput(); err != nil {
				programs.err = fmt.Errorf("build %s: %w\n%s", pkg, err, text)
			}
		}
	})
	if programs.err != nil {
		b.Fatal(programs.err)
	}
}

// fleet is an environment of many bare hosts on this machine, each with a root
// and an address of loopback of its own.
type fleet struct {
	targets  int
	dir      string
	bare     string // the config repository
	registry string
	port     int // the same at each address
}

func newFleet(b *testing.B, targets int) *fleet {
	b.Helper()
	build(b)
	f := &fleet{targets: targets, dir: b.TempDir(), bare: gittest.Bare(b), port: freePort(b)}
	handler, err := registry.New(filepath.Join(f.dir, "registry"), nil)
	if err != nil {
		b.Fatal(err)
	}
	server := httptest.NewServer(handler)
	b.Cleanup(server.Close)
	f.registry = strings.TrimPrefix(server.URL, "http://")
	first := f.push(b, "1")
	f.push(b, "2")
	gittest.Seed(b, f.bare, f.files(first))
	b.Cleanup(func() { f.stella(b, "orch", "env", "stop", production, "--reason", "end of benchmark") })
	return f
}

// push makes the image of a version, and returns it with its digest.
func (f *fleet) push(b *testing.B, version string) string {
	b.Helper()
	app, err := os.ReadFile(programs.app)
	if err != nil {
		b.Fatal(err)
	}
	a, err := registry.Push(b.Context(), f.registry, "shop/web", version, registry.Build{
		Layers: [][]registry.File{{{Name: "app", Content: app}}},
		Config: artifact.ImageConfig{Entrypoint: []string{"/app"}, Env: []string{"VERSION=" + version}},
	})
	if err != nil {
		b.Fatal(err)
	}
	return a.String()
}

func (f *fleet) image(version string) string { return f.registry + "/shop/web:" + version }

func (f *fleet) address(i int) string { return fmt.Sprintf("127.0.%d.%d", 1+i/250, 1+i%250) }

// listen is what the application of a target is told.
func (f *fleet) listen(i int) string { return net.JoinHostPort(f.address(i), strconv.Itoa(f.port)) }

func (f *fleet) files(image string) map[string]string {
	var env strings.Builder
	env.WriteString("apiVersion: stella/v1\nkind: Environment\nname: production\ntargets:\n")
	for i := range f.targets {
		fmt.Fprintf(&env, "- name: web-%d\n  address: %s\n  host: {root: %s}\n  variables: {ADDRESS: \"%s\"}\n",
			i+1, f.address(i), f.root(i), f.address(i))
	}
	fmt.Fprintf(&env, "verify:\n  timeout: 2m\n  stableFor: %s\n  checks:\n  - name: web answers\n    http: {url: \"http://${target.address}:%d/\"}\n", stableFor, f.port)
	return map[string]string{
		"stella.yaml":                      "apiVersion: stella/v1\nkind: Project\nname: shop\nregistry:\n  plainHTTP: [\"" + f.registry + "\"]\n",
		"envs/production/environment.yaml": env.String(),
		"envs/production/app/release.yaml": "apiVersion: stella/v1\nkind: Release\nversion: \"1\"\ncomponents:\n  web: " + image + "\n",
		"envs/production/app/compose.yaml": fmt.Sprintf("services:\n  web:\n    command: [\"${ADDRESS}:%d\"]\n    restart: unless-stopped\n", f.port),
	}
}

// stella runs one command line and returns what it prints.
func (f *fleet) stella(b *testing.B, args ...string) []byte {
	b.Helper()
	cmd := exec.Command(programs.stella, args...)
	cmd.Dir = f.dir
	cmd.Env = append(gittest.Environ(), "STELLA_REPO="+f.bare, "STELLA_STATE="+filepath.Join(f.dir, "state"), "STELLA_HOST_ROOTS="+f.dir)
	var words strings.Builder
	cmd.Stderr = &words
	out, err := cmd.Output()
	if err != nil {
		b.Fatalf("stella %s: %v\n%s%s", strings.Join(args, " "), err, out, words.String())
	}
	return out
}

// engine opens an engine as the command does, on the same clone.
func (f *fleet) engine(b *testing.B) (*reconciler.Engine, func()) {
	b.Helper()
	e, done, err := f.open(filepath.Join(f.dir, "clone"))
	if err != nil {
		b.Fatal(err)
	}
	return e, done
}

func (f *fleet) open(clone string) (e *reconciler.Engine, done func(), err error) {
	repo, err := open(clone, f.bare)
	if err != nil {
		return nil, nil, err
	}
	me := git.Signature{Name: "bench", Email: "bench@example.com"}
	log := slog.New(slog.DiscardHandler)
	return reconciler.New(reconciler.Config{
		Repo: repo, Targets: f, Actor: "bench", Identity: me, Version: "bench", Alone: true, Logger: log,
		Artifacts: func(p *configrepo.Project) reconciler.Artifacts {
			return artifact.New(artifact.Config{PlainHTTP: p.PlainHTTP})
		},
		Ledger: func(prefix string) *ledger.Ledger {
			return ledger.New(ledger.NewGitStore(repo, prefix), ledger.Options{Version: "bench", Actor: "bench"})
		},
		Journals: filepath.Join(f.dir, "journals"),
	}), func() { _ = repo.Close() }, nil
}

// Open implements reconciler.Targets.
func (f *fleet) Open(ctx context.Context, spec reconciler.TargetSpec) (reconciler.Target, error) {
	return host.Open(ctx, host.Config{
		Environment: spec.Environment.Name, Name: spec.Target.Name, Root: spec.Target.Host.Root, AllowedRoots: []string{f.dir},
		AllowRoot: spec.Environment.AllowRoot, Executable: programs.stella, Machine: spec.Machine, Images: spec.Artifacts,
	})
}

// startAlone is the median time from starting all applications, without stella,
// until all of them answer.
func (f *fleet) startAlone(b *testing.B, runs int) time.Duration {
	b.Helper()
	c, err := measure(runs, func(int) error {
		ctx, cancel := context.WithCancel(b.Context())
		var ended sync.WaitGroup
		defer ended.Wait()
		defer cancel()
		for i := range f.targets {
			cmd := exec.CommandContext(ctx, programs.app, f.listen(i))
			if err := cmd.Start(); err != nil {
				return err
			}
			ended.Go(func() { _ = cmd.Wait() })
		}
		for i := range f.targets {
			for {
				c, err := net.Dial("tcp", f.listen(i))
				if err == nil {
					_ = c.Close()
					break
				}
				<-time.After(time.Millisecond)
			}
		}
		return nil
	})
	if err != nil {
		b.Fatal(err)
	}
	return c.wall
}

// freePort is one that nobody listens on at any address.
func freePort(b *testing.B) int {
	b.Helper()
	l, err := net.Listen("tcp", ":0")
	if err != nil {
		b.Fatal(err)
	}
	addr, _ := l.Addr().(*net.TCPAddr)
	if err := l.Close(); err != nil {
		b.Fatal(err)
	}
	return addr.Port
}
