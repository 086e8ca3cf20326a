package acceptance_test

import (
	"encoding/json"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/moby/moby/client"

	"github.com/stella-ops/stella"
	"github.com/stella-ops/stella/internal/git/gittest"
)

const (
	passwordFile = "envs/production/secrets/password"
	passwordOf   = "hunter2" // how every secret of the scene begins
)

// secretive is tiny with a secret.
type secretive struct{ tiny }

func (s secretive) files(w *world) map[string]string {
	files := s.tiny.files(w)
	files[composeFile] = publishedFile(w) + "    secrets: [password]\nsecrets: {password: {file: ../secrets/password}}\n"
	files[passwordFile] = passwordOf + "-monday\n"
	return files
}

// sceneSecrets plays what can happen to an environment with a secret, and looks
// for its value wherever somebody may read.
func sceneSecrets(t *testing.T) {
	w := newWorld(t, plan{targets: 1, engines: true, app: secretive{}, verify: "  timeout: 5s\n"})
	engine := w.targets[0]
	secret := func(value string) {
		t.Helper()
		gittest.SeedRef(t, w.bare, gittest.Branch, "rotate", map[string]string{passwordFile: passwordOf + value})
	}
	w.must("reconcile", production)
	w.hasSecret("-monday\n")

	secret("-tuesday\n")
	if r := w.stella("drift", "detect", production); r.code != 0 {
		t.Errorf("what was changed in Git has not drifted: %s", r)
	}
	w.tellsNoSecret("after a change in Git")
	w.must("reconcile", production)
	w.hasSecret("-tuesday\n")
	if d := w.agreed("1.0.0"); !strings.HasPrefix(d.Reason, "secrets changed") {
		t.Errorf("%s is a %s for: %s", d.ID, d.Kind, d.Reason)
	}
	w.must("baseline", "capture", production, "--reason", "agreed")

	w.servesSecret(secret)

	w.editedByHand(engine, "/run/secrets/password", passwordOf+"-of-eve")
	if r := w.stella("drift", "detect", production); r.code != 1 {
		t.Errorf("a secret was changed by hand: %s", r)
	}
	w.tellsNoSecret("after a change by hand")
	w.must("reconcile", production)
	w.hasSecret("-thursday\n")

	w.must("deploy", production, "--artifact", w.pushed("1.1.0"))
	secret("-\xffwednesday")
	w.tellsNoSecret("after a change to one that is no text")
	w.must("reconcile", production)
	w.hasSecret("-\xffwednesday")
	if r := w.stella("deploy", production, "--artifact", w.pushed("1.2.0-bad")); r.code != 3 {
		t.Errorf("a bad release: %s", r)
	}
	w.tellsNoSecret("after a bad release", "yaml")
	w.must("rollback", production)
	w.hasSecret("-\xffwednesday")
	w.must("orch", "env", "reset", production, "--to-baseline", "--reason", "start over")
	w.hasSecret("-\xffwednesday")

	gittest.SeedRef(t, w.bare, gittest.Branch, "no secret any more", map[string]string{composeFile: publishedFile(w)})
	w.tellsNoSecret("after the secret went in Git")
	w.must("reconcile", production)
	w.soundLedger()
}

// servesSecret has the daemon bring a new secret, and reads its log.
func (w *world) servesSecret(secret func(string)) {
	w.t.Helper()
	d := w.start("serve", "--listen", "127.0.0.1:0", "--poll", "200ms")
	d.says("listening address=")
	before := len(w.deployments())
	secret("-thursday\n")
	for deadline := time.Now().Add(time.Minute); ; <-time.After(200 * time.Millisecond) {
		all := w.deployments()
		last := all[len(all)-1]
		if len(all) > before && !last.Status.Open() {
			if last.Status != stella.Succeeded || !strings.HasPrefix(last.Reason, "secrets changed") {
				w.t.Errorf("%s is %s: %s", last.ID, last.Status, last.Reason)
			}
			break
		}
		if time.Now().After(deadline) {
			w.t.Fatalf("the daemon does not bring a new secret: %s", d.text())
		}
	}
	w.hasSecret("-thursday\n")
	d.send(syscall.SIGTERM)
	if r := d.wait(); strings.Contains(r.stdout+r.stderr, passwordOf) {
		w.t.Errorf("the daemon tells a secret: %s", r)
	}
}

// hasSecret checks the file in the container.
func (w *world) hasSecret(value string) {
	w.t.Helper()
	list, err := w.targets[0].contained(w.t.Context())
	if err != nil || len(list) != 1 {
		w.t.Fatalf("%d containers run: %v", len(list), err)
	}
	c, err := w.targets[0].engine.Client.ContainerInspect(w.t.Context(), list[0].ID, client.ContainerInspectOptions{})
	if err != nil {
		w.t.Fatal(err)
	}
	got, err := os.ReadFile(filepath.Join(fmt.Sprintf("/proc/%d/root", c.Container.State.Pid), "run/secrets/password"))
	if err != nil || string(got) != passwordOf+value {
		w.t.Errorf("in the container is %q, %v, want …%q", got, err, value)
	}
}

// tellsNoSecret looks into all that is shown or kept of an environment.
func (w *world) tellsNoSecret(when string, formats ...string) {
	w.t.Helper()
	look := func(where, text string) {
		w.t.Helper()
		for _, form := range []string{passwordOf, "aHVudGVyM"} { // as it is, and in base64
			if at := strings.Index(text, form); at >= 0 {
				w.t.Errorf("%s, %s tells a secret: …%s", when, where, text[max(0, at-200):min(len(text), at+50)])
			}
		}
	}
	all := w.deployments()
	newest := all[len(all)-1].ID
	for _, args := range [][]string{
		{"plan", production},
		{"validate"},
		{"why", production},
		{"orch", "env", "config", "diff", production},
		{"orch", "env", "config", "diff", production, "--explain"},
		{"orch", "env", "config", "diff", production, "--baseline"},
		{"orch", "env", "status", production, "--detailed"},
		{"orch", "deployments", "show", newest},
		{"drift", "adopt", production, "web", "--dry-run"},
		{"drift", "detect", production},
		{"drift", "history", production},
		{"orch", "deployments", "list", production},
		{"rollback", "trace", newest},
		{"rollback", "status", production},
		{"rollback", production, "--dry-run"},
		{"baseline", "verify", production},
		{"reconcile", production, "--dry-run"},
	} {
		for _, format := range append([]string{"", "json"}, formats...) {
			line := args
			if format != "" {
				line = append(append([]string{}, args...), "-o", format)
			}
			r := w.stella(line...)
			if r.code == 2 && strings.Contains(r.stderr, "unknown") {
				w.t.Errorf("not a command: %s", r)
			}
			look(strings.Join(line, " "), r.stdout+r.stderr)
		}
	}
	for ref := range strings.FieldsSeq(w.git("for-each-ref", "--format=%(refname)")) {
		text := w.git("log", "-p", "--text", "--format=%B", ref, "--", ".", ":(exclude)"+passwordFile)
		look(ref, text)
	}
	w.engineTellsNone(look)
	err := filepath.WalkDir(w.state, func(path string, d os.DirEntry, err error) error {
		if err != nil || d.IsDir() || strings.Contains(path, ".git") {
			return err
		}
		text, err := os.ReadFile(path)
		look(path, string(text))
		return err
	})
	if err != nil {
		w.t.Error(err)
	}
}

// engineTellsNone looks at all that an engine says of its containers.
func (w *world) engineTellsNone(look func(where, text string)) {
	w.t.Helper()
	api := w.targets[0].engine.Client
	list, err := api.ContainerList(w.t.Context(), client.ContainerListOptions{All: true})
	if err != nil {
		w.t.Fatal(err)
	}
	for _, c := range list.Items {
		inspected, err := api.ContainerInspect(w.t.Context(), c.ID, client.ContainerInspectOptions{})
		if err != nil {
			continue // it is gone
		}
		text, err := json.Marshal(inspected)
		if err != nil {
			w.t.Fatal(err)
		}
		look("the engine of "+c.Names[0], string(text))
	}
}

// TestSecretsOnEngines runs in namespaces of its own, for the engine.
func TestSecretsOnEngines(t *testing.T) {
	onlyInside(t, inside{}, func() { sceneSecrets(t) })
}
