package acceptance_test

import (
	"bytes"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/stella-ops/stella"
	"github.com/stella-ops/stella/internal/git/gittest"
	"github.com/stella-ops/stella/reconciler"
)

// furnished is tiny with a file of configuration.
type furnished struct{ tiny }

const composeFile = "envs/production/app/compose.yaml"

func (f furnished) files(w *world) map[string]string {
	files := f.tiny.files(w)
	if w.targets[0].engine != nil {
		files[composeFile] = publishedFile(w)
	}
	files[composeFile] += "    configs: [{source: motd, target: /www/motd}]\nconfigs: {motd: {file: motd}}\n"
	files["envs/production/app/motd"] = "as agreed\n"
	return files
}

// wreck is what somebody did to a target behind stella's back.
type wreck struct {
	name string
	do   func(w *world, target target) error
}

// below is a path of a target's root, where CURRENT stands for the files that
// web runs from.
func below(target target, path string) string {
	web := filepath.Join(target.root, "services", "web")
	if rest, ok := strings.CutPrefix(path, "CURRENT"); ok {
		release, _ := os.Readlink(filepath.Join(web, "current"))
		return filepath.Join(web, release, rest)
	}
	return filepath.Join(target.root, path)
}

func gone(paths ...string) func(*world, target) error {
	return func(_ *world, target target) error {
		var all []error
		for _, path := range paths {
			all = append(all, os.RemoveAll(below(target, path)))
		}
		return errors.Join(all...)
	}
}

func garbled(paths ...string) func(*world, target) error {
	return func(_ *world, target target) error {
		var all []error
		for _, path := range paths {
			at := below(target, path)
			all = append(all, os.Remove(at), os.WriteFile(at, []byte("{not what it was"), 0o600))
		}
		return errors.Join(all...)
	}
}

func linked(to string) func(*world, target) error {
	return func(_ *world, target target) error {
		at := below(target, "services/web/current")
		return errors.Join(os.RemoveAll(at), os.Symlink(to, at))
	}
}

// processesOf are the supervisors and the servers of one target.
func (w *world) processesOf(target target) []int {
	return slices.DeleteFunc(processesBelow(w.dir), func(pid int) bool {
		root, _ := os.Readlink(fmt.Sprintf("/proc/%d/root", pid))
		args, _ := os.ReadFile(fmt.Sprintf("/proc/%d/cmdline", pid))
		return !strings.HasPrefix(root, target.root+"/") && !bytes.Contains(args, []byte("\x00"+target.root+"\x00"))
	})
}

func ended(w *world, target target) error {
	for _, pid := range w.processesOf(target) {
		if p, err := os.FindProcess(pid); err == nil {
			_ = p.Kill()
		}
	}
	return nil
}

// wrecks are in pairs, one for each target.
func wrecks() [][2]wreck {
	return [][2]wreck{
		{{"its processes are killed", ended}, {"files of the release are changed", garbled("CURRENT/rootfs/www/healthz")}},
		{{"files of the release are gone", gone("CURRENT/rootfs/www", "CURRENT/rootfs/usr")}, {"a configuration is changed", garbled("CURRENT/rootfs/www/motd")}},
		{{"the release is gone", gone("CURRENT")}, {"the link leads nowhere", linked("releases/nowhere")}},
		{{"the link is gone, and the sticker", gone("services/web/current", "stella.version.json")}, {"a configuration is gone", gone("CURRENT/rootfs/www/motd")}},
		{{"the target's record is lost", gone("target.json")}, {"the sticker can not be read", garbled("stella.version.json")}},
		{
			{"the target's record and the sticker are lost", gone("target.json", "stella.version.json")},
			{"what is known of the service can not be read", garbled("services/web/spec.json", "services/web/status.json", "services/web/history.json", "web.pid")},
		},
		{{"the service's directory is gone", gone("services/web")}, {"all is gone", gone("")}},
		{
			{"the seal can not be read, nor what is known of a volume", func(w *world, target target) error {
				return errors.Join(garbled("CURRENT/seal.json")(w, target), os.MkdirAll(below(target, "volumes"), 0o700),
					os.WriteFile(below(target, "volumes/data.json"), []byte("{"), 0o600))
			}},
			{"a service is there that nobody asked for", func(_ *world, target target) error {
				return os.CopyFS(below(target, "services/ghost"), os.DirFS(below(target, "services/web")))
			}},
		},
		{{"the link is a directory", func(_ *world, target target) error {
			at := below(target, "services/web/current")
			return errors.Join(os.Remove(at), os.MkdirAll(filepath.Join(at, "rootfs"), 0o700))
		}}, {"all files are gone while it is killed", func(w *world, target target) error {
			return errors.Join(ended(w, target), gone("services/web/releases", "services/web/spec.json")(w, target))
		}}},
	}
}

func TestAResetBringsAWreckedEnvironmentBackToItsBaseline(t *testing.T) {
	t.Parallel()
	w := newWorld(t, plan{targets: 2, app: furnished{}, more: "rollout: {onFailure: pause}\n", verify: "  timeout: 2s\n"})
	w.must("reconcile", production)
	if r := w.stella("orch", "env", "reset", production, "--to-baseline"); r.code != 5 || !strings.Contains(r.stderr, "no baseline of production was captured") ||
		!strings.Contains(r.hint(), "baseline capture production") || !strings.Contains(r.hint(), "production-1 (1.0.0)") {
		t.Errorf("without a baseline: %s", r)
	}
	w.agreed("1.0.0")
	w.must("baseline", "capture", production, "--reason", "agreed")
	baseline := w.appTree("main")
	w.wreckedEverywhere()

	// What is in the ledger and in Git is as bad as what runs.
	var dry reconciler.Plan
	w.document(&dry, "orch", "env", "reset", production, "--to-baseline", "--dry-run")
	for _, want := range []string{"volume data on web-1", "its data stays", "environment.yaml of today can not be read"} {
		if !strings.Contains(strings.Join(dry.Warnings, "\n"), want) {
			t.Errorf("the plan does not warn of %q: %q", want, dry.Warnings)
		}
	}
	w.must("orch", "env", "reset", production, "--to-baseline", "--reason", "start over", "--plan-hash", dry.Hash)
	w.isReset(baseline)
	for _, target := range w.targets {
		if got, err := os.ReadFile(filepath.Join(target.root, "volumes", "data", "kept")); err != nil || string(got) != "data\n" {
			t.Errorf("the data on %s: %q, %v", target.name, got, err)
		}
	}
	var holds struct{ Holds []stella.Hold }
	if w.document(&holds, "orch", "holds", "list", production); len(holds.Holds) != 1 || holds.Holds[0].Release != "1.2.0-bad" {
		t.Errorf("holds %+v", holds.Holds)
	}
	head := w.head()
	for _, pair := range wrecks() {
		for i, wreck := range pair {
			if err := wreck.do(w, w.targets[i]); err != nil {
				t.Fatalf("%s: %v", wreck.name, err)
			}
		}
		r := w.stella("orch", "env", "reset", production, "--to-baseline")
		if r.code != 0 {
			t.Fatalf("%s on the first, %s on the second: %s", pair[0].name, pair[1].name, r)
		}
		w.isReset(baseline)
		if t.Failed() {
			t.Fatalf("%s on the first, %s on the second: %s", pair[0].name, pair[1].name, r)
		}
	}
	if w.head() != head {
		t.Error("a repair made a commit")
	}
	w.soundLedger()
}

// wreckedEverywhere deploys what is not in the baseline, then a release that
// fails on the first target, breaks the files in Git and ends what runs.
func (w *world) wreckedEverywhere() {
	w.t.Helper()
	idle := "services:\n  idle: {entrypoint: [\"/bin/busybox\", \"sleep\", \"100000\"], volumes: [\"data:/data\"]}\n"
	gittest.Seed(w.t, w.bare, map[string]string{
		composeFile:                        strings.Replace(w.git("show", "main:"+composeFile), "services:\n", idle, 1) + "\nvolumes: {data: {}}\n",
		"envs/production/app/release.yaml": strings.Replace(w.release("1.1.0"), "  web:", "  idle: "+w.push("web", "1.1.0").String()+"\n  web:", 1),
	})
	w.must("reconcile", production)
	for _, target := range w.targets {
		if err := os.WriteFile(filepath.Join(target.root, "volumes", "data", "kept"), []byte("data\n"), 0o600); err != nil {
			w.t.Fatal(err)
		}
	}
	if r := w.stella("deploy", production, "--artifact", "web="+w.pushed("1.2.0-bad")); r.code != 3 && r.code != 4 {
		w.t.Fatalf("a bad release: %s", r)
	}
	gittest.Seed(w.t, w.bare, map[string]string{composeFile: "services: [\n", "envs/production/environment.yaml": "targets: {\n"})
	for _, target := range w.targets {
		if err := ended(w, target); err != nil {
			w.t.Fatal(err)
		}
	}
}

// isReset checks that all is as the baseline says and that a reset did it.
func (w *world) isReset(tree string) {
	w.t.Helper()
	d := w.agreed("1.0.0")
	if d.Kind != stella.KindReset || d.Restores != "production-1" || d.Tree != tree {
		w.t.Errorf("%s is a %s to %s of %s", d.ID, d.Kind, d.Restores, d.Tree)
	}
	witnessesAgree(w, d.ID)
	if got := fmt.Sprint(versions(w.allRunning())); got != fmt.Sprint(w.everywhere("1.0.0")) {
		w.t.Errorf("%s runs", got)
	}
	for _, target := range w.targets {
		if n := len(w.processesOf(target)); n != 2 { // a supervisor and its server
			w.t.Errorf("%d processes run on %s", n, target.name)
		}
		if status, body := get(w.t, w.url(target, "web", "/motd")); status != 200 || body != "as agreed\n" {
			w.t.Errorf("%s answers %d %q", target.name, status, body)
		}
	}
}
