package acceptance_test

import (
	"crypto/sha256"
	"debug/buildinfo"
	"encoding/hex"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"

	v1 "github.com/google/go-containerregistry/pkg/v1"

	"github.com/stella-ops/stella"
	"github.com/stella-ops/stella/internal/registry"
)

// The versions of a third party's program that are released here.
const (
	caddyOld = "2.10.0"
	caddyNew = "2.10.2"
)

// caddyProgram builds a version of Caddy from the module proxy; builds are kept
// in the ordinary build cache.
var caddyProgram = func() func(version string) (path string, err error) {
	var mu sync.Mutex
	built := map[string]string{}
	return func(version string) (string, error) {
		mu.Lock()
		defer mu.Unlock()
		if path := built[version]; path != "" {
			return path, nil
		}
		dir := filepath.Join(shared.scratch, "caddy-"+version)
		cmd := exec.Command("go", "install", "-ldflags=-s -w", "github.com/caddyserver/caddy/v2/cmd/caddy@v"+version)
		cmd.Env, cmd.Dir = append(os.Environ(), "CGO_ENABLED=0", "GOBIN="+dir), shared.scratch
		if out, err := cmd.CombinedOutput(); err != nil {
			return "", fmt.Errorf("build caddy: %w\n%s", err, out)
		}
		built[version] = filepath.Join(dir, "caddy")
		return built[version], nil
	}
}()

// caddy is Caddy in an image as distributions make them: /bin is a link, and a
// later layer writes through it. Version 1.0.0 of a world is the old one.
type caddy struct{}

func release(version string) string {
	if version == "1.0.0" {
		return caddyOld
	}
	return caddyNew
}

func (caddy) image(w *world, version string) image {
	w.t.Helper()
	path, err := caddyProgram(release(version))
	if err != nil {
		w.t.Fatal(err)
	}
	return image{
		base: "caddy " + release(version),
		shared: func() [][]registry.File {
			return [][]registry.File{
				{
					{Name: "usr/"},
					{Name: "usr/bin/"},
					{Name: "usr/sbin/"},
					{Name: "bin", Link: "usr/bin"},
					{Name: "sbin", Link: "/usr/sbin"},
					{Name: "etc/"},
					{Name: "etc/passwd", Mode: 0o644, Content: []byte("root:x:0:0:root:/root:/bin/sh\ncaddy:x:1000:1000::/srv:/bin/false\n")},
				},
				{
					{Name: "usr/bin/caddy-server", Content: readFile(w.t, path)},
					{Name: "srv/"},
				},
			}
		},
		own: []registry.File{
			{Name: "bin/caddy", Link: "caddy-server"},
			{Name: "srv/release.txt", Mode: 0o644, Content: []byte(version)},
		},
		config: v1.Config{
			Entrypoint: []string{"/bin/caddy"}, Cmd: []string{"run", "--config", "/etc/caddy/Caddyfile", "--adapter", "caddyfile"},
			User: "caddy", WorkingDir: "/srv",
		},
	}
}

func (caddy) files(*world) map[string]string {
	return map[string]string{
		"envs/production/app/compose.yaml": `services:
  web:
    environment: {ADDRESS: "${ADDRESS}", PORT: "${PORT_WEB}"}
    ports: ["${ADDRESS}:${PORT_WEB}:${PORT_WEB}"]
    restart: on-failure
    stop_grace_period: 5s
    healthcheck: {test: ["CMD", "caddy", "version"], interval: 1s, start_period: 5s}
    configs:
    - {source: caddyfile, target: /etc/caddy/Caddyfile}
configs:
  caddyfile: {file: config/Caddyfile}
`,
		"envs/production/app/config/Caddyfile": `{
	admin off
	persist_config off
	auto_https off
}
http://:{$PORT} {
	bind {$ADDRESS}
	respond /healthz ok
	respond / "Always a way back."
	root * /srv
	file_server
}
`,
	}
}

// version is what the very program of the process, whatever its file is called
// now, was built from.
func (caddy) version(w *world, pid int) string {
	w.t.Helper()
	info, err := buildinfo.ReadFile(fmt.Sprintf("/proc/%d/exe", pid))
	if err != nil {
		return err.Error()
	}
	return strings.TrimPrefix(info.Main.Version, "v")
}

func digestOfFile(t *testing.T, path string) string {
	t.Helper()
	f, err := os.Open(path)
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = f.Close() }()
	h := sha256.New()
	if _, err := io.Copy(h, f); err != nil {
		t.Fatal(err)
	}
	return hex.EncodeToString(h.Sum(nil))
}

func TestCaddyIsDeployedUpgradedAndRolledBack(t *testing.T) {
	t.Parallel()
	w := newWorld(t, plan{targets: 2, app: caddy{}, more: "rollout: {strategy: rolling, batch: 1}\n"})

	w.must("reconcile", production)
	first := caddyIs(w, "1.0.0")

	w.must("deploy", production, "--artifact", w.pushed("1.1.0"), "--reason", "the new one")
	second := caddyIs(w, "1.1.0")
	if second.Kind != stella.KindDeploy || second.Components["web"] == first.Components["web"] {
		t.Errorf("the upgrade is a %s of %s, before it was %s", second.Kind, second.Components["web"], first.Components["web"])
	}

	w.must("rollback", production, "--reason", "the old one was nicer")
	third := caddyIs(w, "1.0.0")
	if third.Kind != stella.KindRollback || third.Restores != first.ID || third.Tree != first.Tree {
		t.Errorf("the rollback is a %s to %s with the tree %s, want %s with %s", third.Kind, third.Restores, third.Tree, first.ID, first.Tree)
	}
	if !slices.Equal(third.Reverts, []string{second.Commit}) {
		t.Errorf("the rollback undoes %v, want the commit of %s, %s", third.Reverts, second.ID, second.Commit)
	}
	witnessesAgree(w, third.ID)
	w.soundLedger()
}

// caddyIs checks that every witness names a version, and that on each target
// the bytes that run are those that were pushed for it.
func caddyIs(w *world, version string) stella.Deployment {
	w.t.Helper()
	d := w.current()
	if d.Release != version {
		w.t.Errorf("%s brought %s, want %s", d.ID, d.Release, version)
	}
	if got := w.appTree("main"); got != d.Tree {
		w.t.Errorf("the branch has the app tree %s, %s brought %s", got, d.ID, d.Tree)
	}
	program, err := caddyProgram(release(version))
	if err != nil {
		w.t.Fatal(err)
	}
	want := digestOfFile(w.t, program)
	for _, target := range w.targets {
		p := w.running(target, "web")
		if p.PID == 0 {
			w.t.Fatalf("nothing listens on %s", w.url(target, "web", ""))
		}
		if p.Version != release(version) {
			w.t.Errorf("%s runs Caddy %s, want %s", target.name, p.Version, release(version))
		}
		if got := digestOfFile(w.t, fmt.Sprintf("/proc/%d/exe", p.PID)); got != want {
			w.t.Errorf("the program that %s runs has the digest %s, what was pushed %s", target.name, got, want)
		}
		if status, body := get(w.t, w.url(target, "web", "/")); status != 200 || body != "Always a way back." {
			w.t.Errorf("%s answers %d %q", target.name, status, body)
		}
		if _, body := get(w.t, w.url(target, "web", "/release.txt")); body != version {
			w.t.Errorf("%s serves the files of %q, want %s", target.name, body, version)
		}
		if s := w.sticker(target); s.Deployment != d.ID || s.Components["web"] != d.Components["web"] {
			w.t.Errorf("the sticker of %s names %s with %v, want %s with %v", target.name, s.Deployment, s.Components, d.ID, d.Components)
		}
		if s := userOf(w.t, p.PID); s != "1000" {
			w.t.Errorf("%s runs Caddy as user %s, the image names 1000", target.name, s)
		}
	}
	return d
}

// userOf is the effective user id of a process.
func userOf(t *testing.T, pid int) string {
	t.Helper()
	data, err := os.ReadFile(fmt.Sprintf("/proc/%d/status", pid))
	if err != nil {
		t.Fatal(err)
	}
	for row := range strings.Lines(string(data)) {
		if f := strings.Fields(row); len(f) > 2 && f[0] == "Uid:" {
			return f[2]
		}
	}
	return ""
}

// rollbackStatus is the document of `rollback status`, as far as it is tested.
type rollbackStatus struct {
	Deployment *stella.Deployment
	Agrees     bool
	Witnesses  struct {
		Git     struct{ OK bool }
		Ledger  struct{ OK bool }
		Targets []struct {
			Name    string
			OK      bool
			Running map[string]string
			Sticker struct {
				Deployment string
				OK         bool
			}
		}
	}
}

func witnessesAgree(w *world, deployment string) {
	w.t.Helper()
	var s rollbackStatus
	r := w.document(&s, "rollback", "status", production)
	if r.code != 0 || !s.Agrees || !s.Witnesses.Git.OK || !s.Witnesses.Ledger.OK || len(s.Witnesses.Targets) != len(w.targets) {
		w.t.Fatalf("the witnesses do not agree: %s", r)
	}
	if s.Deployment == nil || s.Deployment.ID != deployment {
		w.t.Errorf("the last rollback is %v, want %s", s.Deployment, deployment)
	}
	for _, target := range s.Witnesses.Targets {
		if !target.OK || !target.Sticker.OK || target.Sticker.Deployment != deployment {
			w.t.Errorf("%s: %+v", target.Name, target)
		}
		for component, image := range s.Deployment.Components {
			if a, err := stella.ParseArtifact(image); err != nil || target.Running[component] != string(a.Digest) {
				w.t.Errorf("%s runs %s of %s, want %s (%v)", target.Name, target.Running[component], component, image, err)
			}
		}
	}
}

func TestTheSampleAppIsDeployedUpgradedAndRolledBack(t *testing.T) {
	t.Parallel()
	w := newWorld(t, plan{app: sample{}, verify: "  timeout: 2s\n"})
	w.must("reconcile", production)
	first := w.agreed("1.0.0")

	w.must("deploy", production, "--artifact", w.pushed("1.1.0"))
	second := w.agreed("1.1.0")
	if status, body := get(t, w.url(w.targets[0], "web", "/")); status != 200 || body != "Good morning.\nThis is web 1.1.0.\n" {
		t.Errorf("it answers %d %q", status, body)
	}

	r := w.stella("deploy", production, "--artifact", w.pushed("1.2.0-bad"))
	if r.code != 3 {
		t.Fatalf("want exit code 3 for a bad release that was rolled back: %s", r)
	}
	third := w.agreed("1.1.0")
	if third.Kind != stella.KindRollback || !third.Automatic || third.Restores != second.ID {
		t.Errorf("after a bad release %s is in effect: %s, automatic %v, to %s", third.ID, third.Kind, third.Automatic, third.Restores)
	}
	witnessesAgree(w, third.ID)

	w.must("rollback", production)
	fourth := w.agreed("1.0.0")
	if fourth.Restores != first.ID {
		t.Errorf("the second rollback goes to %s, want %s", fourth.Restores, first.ID)
	}
	witnessesAgree(w, fourth.ID)
	if got := w.git("show", "main:envs/production/app/release.yaml"); !strings.Contains(got, "components: # by service\n") {
		t.Errorf("release.yaml lost its comment:\n%s", got)
	}
	w.soundLedger()
}

func TestWhatRunsIsNotTouchedWhenThereIsNothingToDo(t *testing.T) {
	t.Parallel()
	w := newWorld(t, plan{targets: 2})
	w.must("reconcile", production)
	d, before := w.agreed("1.0.0"), w.allRunning()

	w.must("reconcile", production)
	w.must("deploy", production, "--artifact", w.pushed("1.0.0"))
	w.anotherState()
	w.must("reconcile", production)

	if after := w.allRunning(); fmt.Sprint(after) != fmt.Sprint(before) {
		t.Errorf("the processes are %v now, they were %v", after, before)
	}
	if again := w.agreed("1.0.0"); again.ID != d.ID {
		t.Errorf("%s was recorded, want %s to stay in effect", again.ID, d.ID)
	}
}
