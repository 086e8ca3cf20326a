package acceptance_test

import (
	"os"
	"strings"
	"testing"

	"github.com/stella-ops/stella/internal/git/gittest"
)

// TestADiffSaysWhatDiffersAndEndsWithTheAnswer goes through the exit codes in one
// world: what differs is seen by the real comparison of real processes and files.
func TestADiffSaysWhatDiffersAndEndsWithTheAnswer(t *testing.T) {
	t.Parallel()
	w := newWorld(t, plan{app: configured{}, targets: 2})
	commit := func(files map[string]string) { gittest.Seed(t, w.bare, files) }
	diff := func(code int, says []string, more ...string) {
		t.Helper()
		r := w.stella(append([]string{"orch", "env", "config", "diff", production}, more...)...)
		if r.code != code {
			t.Errorf("%s: want exit code %d: %s", strings.Join(more, " "), code, r)
		}
		for _, s := range says {
			if !strings.Contains(r.stdout+r.stderr, s) {
				t.Errorf("%s: it does not say %q: %s", strings.Join(more, " "), s, r)
			}
		}
		if code > 0 && len(says) > 0 && r.hint() == "" {
			t.Errorf("it names no command to run next: %s", r)
		}
	}
	diff(1, []string{"OutOfSync", "service/web", "wanted, not there", "stella reconcile production"})
	w.must("reconcile", production)
	first := w.head()
	diff(0, []string{"no difference on 2 targets", "web-1, web-2: as wanted"})

	// A commit that changes nothing that runs.
	const compose, motd = "envs/production/app/compose.yaml", "envs/production/app/config/motd"
	commit(map[string]string{compose: "# why\n" + w.git("show", "main:"+compose) + "\n"})
	diff(1, []string{"no difference on 2 targets; 1 file differs from production-1", "OutOfSync", "+# why", "stella plan production"})
	w.must("reconcile", production)
	diff(0, nil)

	// What somebody did by hand, on both targets and then on one of them more.
	w.byHand("/etc/motd", func(file string) error {
		return os.WriteFile(file, []byte("Good morning.\n\x1b[31mHere was Eve.\n"), 0o600)
	})
	diff(1, []string{"web-1, web-2: the same", "/configs/~1etc~1motd/content", `+\u001B[31mHere was Eve.`, "stella drift ignore production service/web", "stella drift adopt production service/web"})
	diff(1, []string{"by the rule", "no ignore rule covers it"}, "--explain")
	w.must("reconcile", production)
	diff(0, nil)

	// Other things to compare with.
	w.must("baseline", "capture", production, "--reason", "it works")
	diff(0, []string{"the baseline"}, "--baseline")
	commit(map[string]string{motd: "Good evening.\n"})
	w.must("reconcile", production)
	diff(1, []string{"-Good morning.", "+Good evening.", "--to-baseline"}, "--baseline")
	diff(1, []string{"-Good morning.", "stella rollback production --to production-1"}, "--ref", "production-1")
	diff(1, []string{"-Good morning."}, "--ref", first)
	diff(0, nil, "--ref", "main")
	diff(2, []string{"nowhere"}, "--ref", "nowhere")
	diff(2, nil, "--ref", "main", "--baseline")

	// One target that can not be read: the other one is shown.
	root := w.targets[1].root
	if err := os.Rename(root, root+".away"); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(root, []byte("x"), 0o600); err != nil {
		t.Fatal(err)
	}
	diff(2, []string{"web-2: could not be read", "web-1: as wanted", "web-2 could not be read"})
	if err := os.Remove(root); err != nil {
		t.Fatal(err)
	}
	if err := os.Rename(root+".away", root); err != nil {
		t.Fatal(err)
	}
	w.must("reconcile", production) // whatever became of it meanwhile
	diff(0, nil)

	compareWithStaging(w, commit, diff)

	// Files that can not be read: what runs is told all the same.
	commit(map[string]string{"envs/production/app/release.yaml": "version: [\n"})
	diff(2, []string{"could not tell what is wanted", "release.yaml:", "web-1, web-2: as wanted", "+version: ["})
}

// compareWithStaging has a second environment that runs nowhere: no target is
// asked.
func compareWithStaging(w *world, commit func(map[string]string), diff func(int, []string, ...string)) {
	files := map[string]string{}
	for _, name := range []string{"environment.yaml", "app/release.yaml", "app/compose.yaml", "app/config/motd", "app/config/keys"} {
		files["envs/staging/"+name] = w.git("show", "main:envs/production/"+name) + "\n"
	}
	const env = "envs/staging/environment.yaml"
	files[env] = strings.NewReplacer("name: production", "name: staging", w.dir, "/srv/nowhere", "web-2", "web-9", "127.0.0.2", "127.0.0.9").Replace(files[env])
	commit(files)
	diff(0, []string{"production and staging want the same", "ADDRESS, PORT_WEB: a target's own in both"}, "--with", "staging")
	commit(map[string]string{"envs/staging/app/config/motd": "Testing.\n"})
	diff(1, []string{"Configuration", "-Good evening.", "+Testing.", "drift.intended"}, "--with", "staging")
	commit(map[string]string{env: files[env] + "drift:\n  intended:\n  - {with: production, path: /configs/~1etc~1motd, reason: it is for testers}\n"})
	diff(0, []string{"want the same, but for 2 intended differences"}, "--with", "staging")
	diff(0, []string{"because: it is for testers"}, "--with", "staging", "--explain")
	diff(2, nil, "--with", "elsewhere")
	commit(map[string]string{env: "name: [\n"})
	diff(2, []string{env}, "--with", "staging")
}
