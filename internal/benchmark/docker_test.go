package benchmark_test

import (
	"context"
	"fmt"
	"log/slog"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"text/tabwriter"
	"time"

	"github.com/stella-ops/stella"
	"github.com/stella-ops/stella/artifact"
	"github.com/stella-ops/stella/configrepo"
	"github.com/stella-ops/stella/internal/dockertest"
	"github.com/stella-ops/stella/internal/git"
	"github.com/stella-ops/stella/internal/git/gittest"
	"github.com/stella-ops/stella/ledger"
	"github.com/stella-ops/stella/reconciler"
	"github.com/stella-ops/stella/target/docker"
)

const (
	dockerRuns     = 5   // of each command
	manyContainers = 100 // of the pass without a change
)

// dockerRow is one line of the table of container engines.
type dockerRow struct {
	what          string
	ours, compose []time.Duration
	aim           string
}

// dockerTable collects rows; benchmarks run one after the other.
var dockerTable []dockerRow

// yard is an environment on one container engine, and the same application as a
// Compose project beside it.
type yard struct {
	fleet // repository, directory and the command

	engine   *dockertest.Daemon
	services []string
	compose  string // directory of the Compose project
}

func newYard(b *testing.B, services ...string) *yard {
	b.Helper()
	y := &yard{engine: dockertest.Engines(b, 1)[0], services: services, compose: b.TempDir()}
	build(b)
	y.dir, y.bare, y.registry = b.TempDir(), gittest.Bare(b), dockertest.Registry(b)
	return y
}

// seed makes the config repository, with all services on one image.
func (y *yard) seed(b *testing.B, image, service string) {
	b.Helper()
	gittest.Seed(b, y.bare, map[string]string{
		"stella.yaml":                      "apiVersion: stella/v1\nkind: Project\nname: shop\nregistry:\n  plainHTTP: [\"" + y.registry + "\"]\n",
		"envs/production/environment.yaml": "apiVersion: stella/v1\nkind: Environment\nname: production\ntargets:\n- name: web-1\n  docker: {host: \"unix://" + y.engine.Socket + "\"}\nverify:\n  timeout: 2m\n  stableFor: 0s\n",
		"envs/production/app/release.yaml": y.release(image, image),
		"envs/production/app/compose.yaml": y.file(service, "", ""),
	})
}

// release is a release.yaml where the first service runs another image.
func (y *yard) release(first, others string) string {
	text := "apiVersion: stella/v1\nkind: Release\ncomponents:\n"
	for i, s := range y.services {
		text += "  " + s + ": " + map[bool]string{true: first, false: others}[i == 0] + "\n"
	}
	return text
}

// file is a Compose file; without images they are in the release.
func (y *yard) file(service, first, others string) string {
	text := "services:\n"
	for i, s := range y.services {
		text += "  " + s + ":\n" + service
		if first != "" {
			text += "    image: " + map[bool]string{true: first, false: others}[i == 0] + "\n"
		}
	}
	return text
}

// checked is a service as people write it. The first probe comes after an
// interval, so that neither tool can be faster than that.
const checked = `    restart: unless-stopped
    stop_grace_period: 5s
    healthcheck: {test: ["CMD", "/healthy"], interval: 500ms, timeout: 5s, retries: 10}
`

// BenchmarkDocker changes one service of three on one engine, and goes back, with
// stella and with Compose in turn. Each change is of an image that the engine does
// not have yet; what is gone back to is there.
func BenchmarkDocker(b *testing.B) {
	y := newYard(b, "web", "worker", "cache")
	base := dockertest.Image(b, "1").String()
	y.seed(b, base, checked)
	y.stella(b, "reconcile", production, "--reason", "bench")
	y.up(b, checked, base, base)
	change := dockerRow{what: "one service of three changed", aim: "≤ 1.3 times"}
	back := dockerRow{what: "back to the previous release", aim: "< Compose"}
	for i := range dockerRuns {
		y.push(b, dockertest.Image(b, fmt.Sprintf("2.%d", i)).String(), base)
		change.ours = append(change.ours, took(func() { y.stella(b, "reconcile", production, "--reason", "bench") }))
		back.ours = append(back.ours, took(func() { y.stella(b, "rollback", production, "--reason", "bench") }))
		newer := dockertest.Image(b, fmt.Sprintf("3.%d", i)).String()
		change.compose = append(change.compose, took(func() { y.up(b, checked, newer, base) }))
		back.compose = append(back.compose, took(func() { y.up(b, checked, base, base) }))
	}
	y.engine.Compose(b, y.compose, "-p", "bare", "down", "-t", "1")
	y.stella(b, "orch", "env", "stop", production, "--reason", "end of benchmark")
	dockerTable = append(dockerTable, change, back)
}

// BenchmarkDockerNothingChanged is a pass of an environment of many containers when
// nothing was committed. It is too quick to have looked at them: what a look at
// all of them costs, BenchmarkPass of target/docker measures.
func BenchmarkDockerNothingChanged(b *testing.B) {
	var services []string
	for i := range manyContainers {
		services = append(services, fmt.Sprintf("web-%d", i))
	}
	y := newYard(b, services...)
	y.seed(b, dockertest.Image(b, "1").String(), "    restart: unless-stopped\n    stop_grace_period: 0s\n")
	e, done := y.open(b)
	defer done()
	pass := func() reconciler.Outcome {
		out, err := e.Reconcile(b.Context(), reconciler.ReconcileRequest{Environment: production, Options: reconciler.Options{Reason: "bench"}})
		if err != nil {
			b.Fatal(err)
		}
		return out
	}
	first := pass().Deployment
	if first == nil || first.Status != stella.Succeeded {
		b.Fatalf("the first pass ended %+v", first)
	}
	pass() // reads each image once
	c, err := measure(11, func(int) error {
		if out := pass(); out.Deployment != nil && out.Deployment.ID != first.ID {
			return fmt.Errorf("a pass made %s", out.Deployment.ID)
		}
		return nil
	})
	if err != nil {
		b.Fatal(err)
	}
	record(fmt.Sprintf("pass without change, %d containers", manyContainers), c, 0, 0, "-")
	y.stella(b, "orch", "env", "stop", production, "--reason", "end of benchmark")
}

// push commits a release and pushes it.
func (y *yard) push(b *testing.B, first, others string) {
	b.Helper()
	gittest.Seed(b, y.bare, map[string]string{"envs/production/app/release.yaml": y.release(first, others)})
}

// up brings the Compose project to the images.
func (y *yard) up(b *testing.B, service, first, others string) {
	b.Helper()
	if err := os.WriteFile(filepath.Join(y.compose, "compose.yaml"), []byte(y.file(service, first, others)), 0o600); err != nil {
		b.Fatal(err)
	}
	y.engine.Compose(b, y.compose, "-p", "bare", "up", "-d", "--wait")
}

func took(do func()) time.Duration {
	began := time.Now()
	do()
	return time.Since(began)
}

// open opens an engine in this process.
func (y *yard) open(b *testing.B) (*reconciler.Engine, func()) {
	b.Helper()
	repo, err := open(filepath.Join(y.dir, "clone"), y.bare)
	if err != nil {
		b.Fatal(err)
	}
	return reconciler.New(reconciler.Config{
		Repo: repo, Targets: y, Actor: "bench", Identity: git.Signature{Name: "bench", Email: "bench@example.com"}, Version: "bench", Alone: true,
		Logger: slog.New(slog.DiscardHandler),
		Artifacts: func(p *configrepo.Project) reconciler.Artifacts {
			return artifact.New(artifact.Config{PlainHTTP: p.PlainHTTP})
		},
		Ledger: func(prefix string) *ledger.Ledger {
			return ledger.New(ledger.NewGitStore(repo, prefix), ledger.Options{Version: "bench", Actor: "bench"})
		},
		Journals: filepath.Join(y.dir, "journals"),
	}), func() { _ = repo.Close() }
}

// Open implements reconciler.Targets.
func (y *yard) Open(ctx context.Context, spec reconciler.TargetSpec) (reconciler.Target, error) {
	return docker.Open(ctx, docker.Config{
		Environment: spec.Environment.Name, Name: spec.Target.Name, Project: spec.Target.Docker.Project, Engine: y.engine.Client, Machine: spec.Machine,
	})
}

// printDocker prints the table of what was measured.
func printDocker() {
	if len(dockerTable) == 0 {
		return
	}
	load, _ := os.ReadFile("/proc/loadavg")
	fmt.Printf("\nOn one container engine, beside 'docker compose up -d --wait' of the same change; median (least–most) of %d, in ms; load now %s.\n\n",
		dockerRuns, strings.Join(strings.Fields(string(load))[:3], " "))
	w := tabwriter.NewWriter(os.Stdout, 0, 0, 2, ' ', 0)
	fmt.Fprintln(w, "what\tstella\tCompose\ttimes\taim")
	for _, r := range dockerTable {
		slices.Sort(r.ours)
		slices.Sort(r.compose)
		middle := func(d []time.Duration) time.Duration { return d[len(d)/2] }
		text := func(d []time.Duration) string {
			return fmt.Sprintf("%s (%s–%s)", ms(middle(d)), ms(d[0]), ms(d[len(d)-1]))
		}
		fmt.Fprintf(w, "%s\t%s\t%s\t%.2f\t%s\n", r.what, text(r.ours), text(r.compose), float64(middle(r.ours))/float64(middle(r.compose)), r.aim)
	}
	_ = w.Flush()
}
