package acceptance_test

import (
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"github.com/stella-ops/stella"
	"github.com/stella-ops/stella/internal/dockertest"
	"github.com/stella-ops/stella/internal/git/gittest"
)

// somebodysApp is a Compose project as people have it: a file of its own, a
// configuration, a bind mount, variables in .env, a database with a volume.
const somebodysApp = `services:
  web:
    image: ${REGISTRY}/test/app:1.0.0
    environment: {PORT: "80", LEVEL: "${LEVEL:-info}"}
    env_file: [web.env]
    ports: ["8080:80"]
    depends_on: {db: {condition: service_healthy}}
    configs: [{source: motd, target: /etc/motd}]
    volumes: ["DIR/conf:/conf:ro"]
    stop_grace_period: 1s
  db:
    image: ${REGISTRY}/test/app:1.0.0
    volumes: [data:/data]
    healthcheck: {test: [CMD, /healthy], interval: 1s, retries: 5}
    stop_grace_period: 1s
configs: {motd: {file: ./motd}}
volumes: {data: {}}
`

// TestAdoptOnEngines runs in namespaces of its own, for the engine.
func TestAdoptOnEngines(t *testing.T) {
	onlyInside(t, inside{}, func() { adoptsAProject(t) })
}

// adoption is the world of docs/adopting.md.
type adoption struct {
	*world
	engine    *dockertest.Daemon
	app, work string // the project's directory, the clone's
}

func newAdoption(t *testing.T) *adoption {
	t.Helper()
	dockertest.Image(t, "1.0.0")
	w := &world{t: t, dir: t.TempDir(), bare: gittest.Bare(t), state: t.TempDir(), vars: map[string]string{}}
	w.repo = w.bare
	a := &adoption{world: w, engine: dockertest.Engine(t), app: filepath.Join(w.dir, "shop"), work: filepath.Join(w.dir, "shop-config")}
	for name, content := range map[string]string{
		"compose.yaml": strings.ReplaceAll(somebodysApp, "DIR", a.app), ".env": "REGISTRY=" + shared.registry + "\n",
		"web.env": "GREETING=hello\n", "motd": "welcome\n", "conf/app.conf": "a=b\n",
	} {
		file := filepath.Join(a.app, name)
		if err := os.MkdirAll(filepath.Dir(file), 0o755); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(file, []byte(content), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	return a
}

// in runs a command in a directory.
func (a *adoption) in(dir, name string, args ...string) string {
	a.t.Helper()
	cmd := exec.CommandContext(a.t.Context(), name, args...)
	cmd.Dir, cmd.Env = dir, a.environ()
	out, err := cmd.CombinedOutput()
	a.t.Logf("$ %s %s\n%s", filepath.Base(name), strings.Join(args, " "), out)
	if err != nil {
		a.t.Fatalf("%s %v: %v", name, args, err)
	}
	return string(out)
}

// told runs stella and logs what it says.
func (a *adoption) told(code int, args ...string) result {
	a.t.Helper()
	r := a.stella(args...)
	a.t.Log(r)
	if r.code != code {
		a.t.Fatalf("want exit code %d: %s", code, r)
	}
	return r
}

// containers is each container's name and when it was started.
func (a *adoption) containers() string {
	return a.engine.Compose(a.t, a.app, "ps", "-q", "--no-trunc") + a.engine.Compose(a.t, a.app, "ps", "--format", "{{.Name}} {{.CreatedAt}}")
}

func adoptsAProject(t *testing.T) {
	a := newAdoption(t)
	a.engine.Compose(t, a.app, "up", "-d", "--wait")
	before := a.containers()

	a.in(a.dir, shared.binary, "init", "shop-config", "--name", "shop", "--from", "shop/compose.yaml", "--docker", "unix://"+a.engine.Socket)
	stellaYAML := filepath.Join(a.work, "stella.yaml")
	text, err := os.ReadFile(stellaYAML)
	if err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(stellaYAML, append(text, []byte("registry:\n  plainHTTP: [\""+shared.registry+"\"]\n")...), 0o644); err != nil {
		t.Fatal(err)
	}
	a.in(a.work, "git", "init", "-q", "-b", "main")
	a.in(a.work, "git", "add", ".")
	a.in(a.work, "git", "commit", "-qm", "Start")
	a.in(a.work, "git", "push", "-q", gittest.Dir(a.bare), "main")

	var plan struct {
		Hash  string
		Empty bool
	}
	a.document(&plan, "adopt", production, "--dry-run")
	a.told(0, "adopt", production, "--dry-run")
	if !plan.Empty || plan.Hash == "" {
		t.Fatalf("the plan is not empty: %+v", plan)
	}
	a.told(0, "adopt", production, "--plan-hash", plan.Hash, "--reason", "from docker compose")
	if after := a.containers(); after != before {
		t.Errorf("something was recreated:\n%s\n%s", before, after)
	}
	a.told(0, "orch", "env", "config", "diff", production)
	a.told(0, "adopt", production, "--plan-hash", plan.Hash) // again: nothing
	a.told(0, "orch", "env", "status", production)
	a.firstRollback(before)
}

// firstRollback deploys a version and goes back to what Compose had started.
func (a *adoption) firstRollback(before string) {
	a.t.Helper()
	next := dockertest.Image(a.t, "1.1.0")
	next.Digest = ""
	var plan struct{ Hash string }
	deploy := []string{"deploy", production, "--artifact", "web=" + next.String()}
	a.document(&plan, append(deploy, "--dry-run")...)
	a.told(0, append(deploy, "--plan-hash", plan.Hash)...)
	if status, body := get(a.t, "http://127.0.0.1:8080/version"); status != 200 || strings.TrimSpace(body) != "1.1.0" {
		a.t.Errorf("it answers %d %q", status, body)
	}
	ps := a.engine.Compose(a.t, a.app, "ps", "--format", "{{.Service}} {{.State}}")
	if logs := a.engine.Compose(a.t, a.app, "logs", "web"); !strings.Contains(ps, "web running") || !strings.Contains(ps, "db running") || !strings.Contains(logs, "1.1.0 starts") {
		a.t.Errorf("docker compose ps and logs say\n%s\n%s", ps, logs)
	}
	a.document(&plan, "rollback", production, "--dry-run")
	a.told(0, "rollback", production, "--plan-hash", plan.Hash, "--reason", "tried it")
	a.told(0, "rollback", "status", production)
	a.told(0, "orch", "env", "config", "diff", production)
	if after := a.containers(); after != before {
		a.t.Errorf("what Compose started did not come back:\n%s\n%s", before, after)
	}
	var list struct{ Deployments []stella.Deployment }
	a.document(&list, "orch", "deployments", "list", production)
	if n := len(list.Deployments); n != 3 || list.Deployments[n-1].Kind != stella.KindImport || list.Deployments[0].Restores != list.Deployments[n-1].ID {
		a.t.Errorf("the ledger has %+v", list.Deployments)
	}
	a.told(0, "orch", "env", "stop", production, "--confirm", production, "--reason", "end of test")
	if left := a.engine.Compose(a.t, a.app, "ps", "-q"); left != "" {
		a.t.Errorf("a stop left %s", left)
	}
}
