package acceptance_test

import (
	"context"
	"fmt"
	"maps"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync/atomic"
	"testing"

	"github.com/stella-ops/stella"
	"github.com/stella-ops/stella/internal/dockertest"
	"github.com/stella-ops/stella/internal/git/gittest"
)

// production is the environment of every world.
const production = "production"

// world is one config repository with its environment, and who works on it.
type world struct {
	t        *testing.T
	app      app
	dir      string            // host roots lie in it
	bare     string            // file:// URL of the config repository
	repo     string            // as stella is told
	state    string            // STELLA_STATE
	cleanup  string            // that of the last command
	vars     map[string]string // more environment variables
	targets  []target
	services []string
	ports    map[string]int // by service
	images   string         // prefix of this world's repositories in the registry
	program  string         // the stella to run; empty means shared.binary
}

// target is a bare host of its own: a root, and an address of loopback. Or it is
// a container engine on a host of its own.
type target struct {
	name, root, address string
	engine              *dockertest.Daemon // nil for a bare host
}

// plan says what a world is made of. The zero value is one target that runs
// one service "web" of the app tiny.
type plan struct {
	targets  int      // 0 means 1
	engines  bool     // targets are container engines; only within TestScenesOnEngines
	services []string // none means "web"
	app      app
	more     string // of environment.yaml: rollout, …
	verify   string // lines below verify; "timeout: 20s" without any
}

// numbers tells the worlds of a test process apart.
var numbers atomic.Int64

// newWorld makes a config repository whose environment asks for version 1.0.0
// of its app. Nothing is deployed yet; whatever is, ends with the test.
func newWorld(t *testing.T, p plan) *world {
	t.Helper()
	w := &world{
		t: t, app: p.app, dir: t.TempDir(), bare: gittest.Bare(t), state: t.TempDir(), cleanup: t.TempDir(), vars: map[string]string{},
		services: p.services, ports: map[string]int{}, images: fmt.Sprintf("world-%d", numbers.Add(1)),
	}
	w.repo = w.bare
	if w.app == nil {
		w.app = tiny{}
	}
	if len(w.services) == 0 {
		w.services = []string{"web"}
	}
	for _, s := range w.services {
		w.ports[s] = freePort(t)
	}
	for i := range max(p.targets, 1) {
		name := fmt.Sprintf("web-%d", i+1)
		w.targets = append(w.targets, target{name: name, root: filepath.Join(w.dir, name), address: fmt.Sprintf("127.0.0.%d", i+1)})
	}
	if p.engines {
		w.onEngines()
	}
	gittest.SeedRef(t, w.bare, gittest.Branch, "Add production", w.files(p))
	t.Cleanup(w.stopAll)
	return w
}

// files are those of the config repository.
func (w *world) files(p plan) map[string]string {
	files := map[string]string{
		"stella.yaml":                      "apiVersion: stella/v1\nkind: Project\nname: shop\nregistry:\n  plainHTTP: [\"" + shared.registry + "\"]\n",
		"envs/production/environment.yaml": w.environment(p),
		"envs/production/app/release.yaml": w.release("1.0.0"),
	}
	maps.Copy(files, w.app.files(w))
	return files
}

// release is a release.yaml of one version of all services, with a comment that
// must survive.
func (w *world) release(version string) string {
	text := "apiVersion: stella/v1\nkind: Release\nversion: " + version + "\ncomponents: # by service\n"
	for _, s := range w.services {
		text += fmt.Sprintf("  %s: %s\n", s, w.push(s, version))
	}
	return text
}

func (w *world) environment(p plan) string {
	text := "apiVersion: stella/v1\nkind: Environment\nname: production\ntargets:\n"
	for _, target := range w.targets {
		text += fmt.Sprintf("- name: %s\n  address: %s\n  %s\n  variables:\n    ADDRESS: %s\n", target.name, target.address, target.where(), target.address)
		for _, s := range w.services {
			text += fmt.Sprintf("    %s: \"%d\"\n", portVariable(s), w.ports[s])
		}
	}
	if p.verify == "" {
		p.verify = "  timeout: 20s\n"
	}
	text += p.more + "verify:\n" + p.verify + "  checks:\n"
	for _, s := range w.services {
		text += fmt.Sprintf("  - name: %s answers\n    http: {url: \"http://${target.address}:%d/healthz\"}\n", s, w.ports[s])
	}
	return text
}

// portVariable is what a Compose file calls the port of a service.
func portVariable(service string) string { return "PORT_" + strings.ToUpper(service) }

// push makes an image of a version of a service. What the app is told of bad
// versions is in their names.
func (w *world) push(service, version string) stella.Artifact {
	w.t.Helper()
	return w.app.image(w, version).push(w.t, w.images+"/"+service, version)
}

// pushed is push for the first service, as an argument of --artifact.
func (w *world) pushed(version string) string {
	a := w.push(w.services[0], version)
	a.Digest = "" // people name a tag
	return a.String()
}

// anotherState gives stella an empty state directory, as on a second machine.
func (w *world) anotherState() { w.state = w.t.TempDir() }

// environ is what the stella under test finds in its environment.
func (w *world) environ() []string {
	env := append(gittest.Environ(), "STELLA_REPO="+w.repo, "STELLA_STATE="+w.state, "STELLA_HOST_ROOTS="+w.dir)
	for k, v := range w.vars {
		env = append(env, k+"="+v)
	}
	return env
}

// stopAll ends everything that was started on the world's targets and proves
// that nothing is left.
func (w *world) stopAll() {
	// The test's own context has ended when a cleanup runs, and so may have the
	// server that the test went through.
	w.repo, w.state = w.bare, w.cleanup
	ctx, cancel := context.WithTimeout(context.Background(), patience)
	defer cancel()
	if w.t.Failed() {
		w.tell(ctx)
	}
	out := w.combined(ctx, shared.binary, "orch", "env", "stop", production, "--reason", "end of test")
	w.stoppedOnEngines(ctx, out)
	left := processesBelow(w.dir)
	for _, pid := range left {
		if p, err := os.FindProcess(pid); err == nil {
			_ = p.Kill()
		}
	}
	if len(left) > 0 {
		w.t.Errorf("'stella orch env stop' left the processes %v:\n%s", left, out)
	}
}

// tell logs what helps to understand a failure.
func (w *world) tell(ctx context.Context) {
	for _, args := range [][]string{
		{"git", "-C", gittest.Dir(w.bare), "log", "--format=%h %an: %s", "-20", "main"},
		{shared.binary, "orch", "deployments", "list", production, "-o", "wide"},
		{shared.binary, "orch", "env", "status", production, "--detailed"},
	} {
		w.t.Logf("%s\n%s", strings.Join(args, " "), w.combined(ctx, args[0], args[1:]...))
	}
	for _, target := range w.targets {
		if target.engine != nil {
			w.t.Logf("the engine of %s\n%s", target.name, target.engine.Log())
			continue
		}
		for _, s := range w.services {
			log, err := os.ReadFile(filepath.Join(target.root, "services", s, "log", "current"))
			w.t.Logf("log of %s on %s (%v)\n%s", s, target.name, err, log)
		}
	}
}

func (w *world) combined(ctx context.Context, name string, args ...string) string {
	cmd := exec.CommandContext(ctx, name, args...)
	cmd.Env, cmd.Dir = w.environ(), w.dir
	out, err := cmd.CombinedOutput()
	if err != nil {
		return fmt.Sprintf("%s(%v)", out, err)
	}
	return string(out)
}
