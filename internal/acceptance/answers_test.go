package acceptance_test

import (
	"io/fs"
	"maps"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/stella-ops/stella/internal/git/gittest"
)

// configured is tiny with files that it is given.
type configured struct{ tiny }

func (configured) files(*world) map[string]string {
	return map[string]string{
		"envs/production/app/compose.yaml": `services:
  web:
    command: ["-p", "${ADDRESS}:${PORT_WEB}"]   # where it listens
    restart: unless-stopped
    configs:
    - source: motd
      target: /etc/motd
    - {source: keys, target: /etc/keys} # of everybody
    - source: rules
      target: /etc/rules
configs:
  motd: {file: ./config/motd}
  keys: {file: ./config/keys}
  rules: {content: none}
`,
		"envs/production/app/config/motd": "Good morning.\n",
		"envs/production/app/config/keys": "ana\n",
	}
}

// byHand does something to a config file on every target, as somebody does who
// logs in.
func (w *world) byHand(name string, do func(file string) error) {
	w.t.Helper()
	n := 0
	for _, target := range w.targets {
		err := filepath.WalkDir(target.root, func(file string, d fs.DirEntry, err error) error {
			if err == nil && d.Type().IsRegular() && strings.HasSuffix(file, name) {
				n++
				return do(file)
			}
			return err
		})
		if err != nil {
			w.t.Fatal(err)
		}
	}
	if n < len(w.targets) {
		w.t.Fatalf("%s was found %d times on %d targets", name, n, len(w.targets))
	}
}

// TestADriftIsAdoptedOrIgnoredAndNothingRestarts: what somebody did by hand
// becomes what is wanted, or is let be, as commits; the processes stay the ones
// that they are.
func TestADriftIsAdoptedOrIgnoredAndNothingRestarts(t *testing.T) {
	t.Parallel()
	w := newWorld(t, plan{app: configured{}, targets: 2})
	w.must("reconcile", production)
	before := w.allRunning()

	w.byHand("/etc/motd", func(file string) error { return os.WriteFile(file, []byte("Good\r\n\tevening"), 0o600) })
	w.byHand("/etc/motd", func(file string) error { return os.Chmod(file, 0o444) })
	w.byHand("/etc/keys", func(file string) error { return os.Chown(file, 65534, -1) })
	w.byHand("/etc/rules", os.Remove)

	// Each alone would bring back the others.
	if r := w.stella("drift", "adopt", production, "web", "/configs/~1etc~1motd"); r.code != 5 || !strings.Contains(r.stderr, "differs elsewhere too") {
		t.Errorf("want a refusal: %s", r)
	}
	if r := w.stella("drift", "ignore", production, "web", "/configs/~1etc~1keys/uid"); r.code != 2 {
		t.Errorf("without a reason: %s", r)
	}
	w.must("drift", "ignore", production, "web", "/configs/~1etc~1keys/uid", "--reason", "the keys have an owner", "--until", "2126-01-31")
	w.must("drift", "ignore", production, "web", "/configs/~1etc~1rules", "--reason", "nobody needs them")
	dry := w.must("drift", "adopt", production, "web", "/configs/~1etc~1motd", "--dry-run")
	if !strings.Contains(dry.stdout, "nothing to change on the targets") {
		t.Errorf("the dry run would touch something: %s", dry)
	}
	w.must("drift", "adopt", production, "web", "/configs/~1etc~1motd", "--reason", "it is evening")
	w.must("drift", "adopt", production, "web", "/configs/~1etc~1keys/uid")
	w.must("drift", "adopt", production, "service/web", "/configs/~1etc~1rules")

	dir := gittest.Dir(w.bare)
	if got := gittest.Run(t, dir, "cat-file", "-p", "main:envs/production/app/config/motd"); got != "Good\r\n\tevening" {
		t.Errorf("config/motd is %q", got)
	}
	compose := gittest.Run(t, dir, "cat-file", "-p", "main:envs/production/app/compose.yaml")
	for _, want := range []string{`- {source: keys, target: /etc/keys, uid: "65534"} # of everybody`, "# where it listens"} {
		if !strings.Contains(compose, want) {
			t.Errorf("compose.yaml does not have %q:\n%s", want, compose)
		}
	}
	if strings.Contains(compose, "source: rules") {
		t.Errorf("compose.yaml still mounts the rules:\n%s", compose)
	}
	if got := gittest.Run(t, dir, "log", "-1", "--format=%s", "main"); got != "Adopt what runs: service/web /configs/~1etc~1rules in production" {
		t.Errorf("the commit is %q", got)
	}
	if r := w.must("plan", production); !strings.Contains(r.stdout, "nothing to change") {
		t.Errorf("what runs is not what is wanted: %s", r)
	}
	w.must("reconcile", production)
	if after := w.allRunning(); !maps.Equal(before, after) || len(after) != 2 {
		t.Errorf("processes were restarted: %v, before %v", after, before)
	}
	if r := w.stella("drift", "adopt", production, "web"); r.code != 5 || !strings.Contains(r.stderr, "does not differ") {
		t.Errorf("nothing is left to adopt: %s", r)
	}
}
