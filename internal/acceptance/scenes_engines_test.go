package acceptance_test

import (
	"fmt"
	"maps"
	"strings"
	"testing"

	"github.com/stella-ops/stella"
	"github.com/stella-ops/stella/internal/git/gittest"
)

// Scenes that only engines have.

func scenesOfEngines() map[string]func(*testing.T, bool) {
	return map[string]func(*testing.T, bool){
		"an engine is gone":                sceneGone,
		"an engine goes during a change":   sceneGoneDuring,
		"an engine goes after its change":  sceneGoneAfter,
		"docker compose knows the project": sceneCompose,
		"jobs run in their turn":           sceneJobs,
	}
}

// sceneCompose asks docker compose of what stella deployed.
func sceneCompose(t *testing.T, engines bool) {
	w := newWorld(t, plan{services: []string{"api", "web"}, engines: engines, app: talking{}})
	w.must("reconcile", production)
	w.must("deploy", production, "--artifact", w.pushed("1.1.0"))
	engine := w.targets[0].engine
	dir := t.TempDir()
	ps := engine.Compose(t, dir, "-p", "shop-production", "ps", "--format", "{{.Service}} {{.Name}} {{.State}}")
	logs := engine.Compose(t, dir, "-p", "shop-production", "logs", "--no-color")
	for _, s := range w.services {
		if row := s + " shop-production-" + s + "-1 running\n"; strings.Count(ps, row) != 1 {
			t.Errorf("docker compose ps has not one %q:\n%s", row, ps)
		}
		if row := s + " is about to listen"; !strings.Contains(logs, row) {
			t.Errorf("docker compose logs does not have %q:\n%s", row, logs)
		}
	}
	if n := strings.Count(ps, "\n"); n != len(w.services) {
		t.Errorf("docker compose ps has %d rows, want %d:\n%s", n, len(w.services), ps)
	}
}

// talking is tiny that says something first.
type talking struct{ tiny }

func (talking) files(w *world) map[string]string {
	text := publishedFile(w)
	for _, s := range w.services {
		port := "${" + portVariable(s) + "}"
		was := fmt.Sprintf("    command: [\"-p\", \"0.0.0.0:%s\"]\n", port)
		text = strings.Replace(text, was, fmt.Sprintf("    entrypoint: [/bin/busybox, sh, -c]\n"+
			"    command: [\"echo %s is about to listen; exec /bin/busybox httpd -f -h /www -p 0.0.0.0:%s\"]\n", s, port), 1)
	}
	return map[string]string{composeFile: text}
}

// sceneJobs has a migration that succeeds, one that fails, and a way back with
// one of its own. They write into a volume.
func sceneJobs(t *testing.T, engines bool) {
	w := newWorld(t, plan{engines: engines, app: furnished{}, verify: "  timeout: 5s\n"})
	target, plain := w.targets[0], w.git("show", "main:"+composeFile)
	tool := w.push("tool", "1.0.0")
	with := func(script string) {
		text := ""
		for name, job := range map[string]string{"migrate": "pre-deploy", "unmigrate": "pre-rollback"} {
			does := script
			if name == "unmigrate" {
				does = "echo back >> /data/log"
			}
			text += fmt.Sprintf("  %s:\n    image: %s\n    entrypoint: [/bin/busybox, sh, -c]\n    command: [%q]\n    volumes: [\"data:/data\"]\n    x-stella: {job: %s}\n", name, tool, does, job)
		}
		gittest.Seed(t, w.bare, map[string]string{composeFile: strings.Replace(plain, "services:\n", "services:\n"+text, 1) + "\nvolumes: {data: {}}\n"})
	}
	with("echo forth >> /data/log; echo migrated")
	w.must("reconcile", production)
	w.agreed("1.0.0")
	w.must("deploy", production, "--artifact", w.pushed("1.1.0"))
	w.agreed("1.1.0")
	w.differs(0, "")
	if log := target.engine.Compose(t, t.TempDir(), "-p", "shop-production", "logs", "--no-color", "migrate"); !strings.Contains(log, "migrated") {
		t.Errorf("docker compose logs migrate: %s", log)
	}

	before := w.allRunning()
	with("echo no such column; exit 3")
	r := w.stella("reconcile", production)
	if r.code != 3 || !strings.Contains(r.stderr, "no such column") || !strings.Contains(r.stderr, "service/migrate") {
		t.Errorf("a migration that fails: want exit code 3 and what it said: %s", r)
	}
	if now := w.allRunning(); !maps.Equal(now, before) {
		t.Errorf("a migration failed, and what ran was %v and is %v", before, now)
	}
	all := w.deployments()
	if i := len(all) - 2; all[i].Status == stella.Succeeded || all[i+1].Kind != stella.KindRollback || !all[i+1].Automatic {
		t.Errorf("the last deployments are %s %s and %s %s", all[i].Kind, all[i].Status, all[i+1].Kind, all[i+1].Status)
	}
	w.must("rollback", production, "--to", "production-1")
	w.agreed("1.0.0")
	w.differs(0, "")
	if got, want := w.inVolume(target, "log"), "forth\nforth\nback\nback\n"; got != want {
		t.Errorf("the jobs wrote %q, want %q", got, want)
	}
	w.soundLedger()
}

// three are three engines whose second is about to go, in a rolling change.
func three(t *testing.T, engines bool) (w *world, before, after map[string]string) {
	t.Helper()
	w = newWorld(t, plan{targets: 3, engines: engines, app: furnished{}, more: "rollout: {strategy: rolling, batch: 1}\n", verify: "  timeout: 5s\n"})
	w.must("reconcile", production)
	before, after = w.everywhere("1.0.0"), w.everywhere("1.1.0")
	delete(before, "web-2/web")
	delete(after, "web-2/web")
	return w, before, after
}

// homecoming starts the second engine again and demands that the next pass
// brings all of them to a version.
func (w *world) homecoming(version string) {
	w.t.Helper()
	w.targets[1].engine.Start(w.t)
	w.must("reconcile", production)
	w.agreed(version)
	w.differs(0, "")
	w.soundLedger()
}

// sceneGoneDuring loses an engine while it is changed: what others have goes
// back, and of the lost one it is said that it is owed.
func sceneGoneDuring(t *testing.T, engines bool) {
	w, before, _ := three(t, engines)
	c := w.start("deploy", production, "--artifact", w.pushed("1.1.0"))
	c.says(": web-2 update service/web")
	w.targets[1].engine.Kill(t)
	w.ownsUp(c.wait())
	if got := versions(w.allRunning()); !maps.Equal(got, before) {
		t.Errorf("what runs is %v, want %v", got, before)
	}
	w.homecoming("1.0.0")
}

// sceneGoneAfter loses it when its turn is over and it was verified: the
// deployment goes on, and the status names who is gone since.
func sceneGoneAfter(t *testing.T, engines bool) {
	w, _, after := three(t, engines)
	c := w.start("deploy", production, "--artifact", w.pushed("1.1.0"))
	c.says(": web-3 update service/web")
	w.targets[1].engine.Stop(t)
	if r := c.wait(); r.code != 0 {
		t.Errorf("web-2 was verified before it went: %s", r)
	}
	w.namesLost()
	if got := versions(w.allRunning()); !maps.Equal(got, after) {
		t.Errorf("what runs is %v, want %v", got, after)
	}
	w.homecoming("1.1.0")
}

// ownsUp demands that a command names the target that is not as it should be, and
// that the status does not call the environment in sync.
func (w *world) ownsUp(r result) {
	w.t.Helper()
	if r.code == 0 || !strings.Contains(r.stderr, "web-2") {
		w.t.Errorf("want an error that names web-2: %s", r)
	}
	if head := w.namesLost(); strings.Contains(head, "Synced") {
		w.t.Errorf("the status says %q", head)
	}
}

// namesLost demands that the status names the second engine and does not call the
// environment healthy without it. It returns the status's first line.
func (w *world) namesLost() string {
	w.t.Helper()
	s := w.stella("orch", "env", "status", production, "--detailed")
	head, _, _ := strings.Cut(s.stdout, "\n")
	if !strings.Contains(s.stdout, "web-2") || strings.Contains(head, "Healthy") {
		w.t.Errorf("the status does not say that web-2 is gone: %s", s)
	}
	return head
}
