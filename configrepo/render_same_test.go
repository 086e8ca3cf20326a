package configrepo

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/rogpeppe/go-internal/txtar"
	"pgregory.net/rapid"

	stella "github.com/stella-ops/stella"
	"github.com/stella-ops/stella/drift"
)

// archiveFiles returns the files of an archive of testdata/compose.
func archiveFiles(tb testing.TB, name string) map[string]string {
	archive, err := txtar.ParseFile(filepath.Join("testdata/compose", name))
	if err != nil {
		tb.Fatal(err)
	}
	files := someApp()
	for _, f := range archive.Files {
		if !strings.HasPrefix(f.Name, "want.") {
			files[f.Name] = string(f.Data)
		}
	}
	return files
}

// TestRenderIsTheSameEverywhere renders with another process environment, time
// zone, locale and temporary directory, through a symbolic link, and again and
// again, since the order of maps changes.
func TestRenderIsTheSameEverywhere(t *testing.T) {
	for _, name := range []string{"fields.txtar", "include-extends.txtar", "placement.txtar", "other-fields.txtar"} {
		files := archiveFiles(t, name)
		want, err := renderFiles(t.Context(), files)
		if err != nil {
			t.Fatal(err)
		}
		link := filepath.Join(t.TempDir(), "link")
		if err := os.Symlink(t.TempDir(), link); err != nil {
			t.Fatal(err)
		}
		t.Setenv("TMPDIR", link)
		t.Setenv("TZ", "Pacific/Kiritimati")
		t.Setenv("LC_ALL", "tr_TR.UTF-8")
		t.Setenv("HOME", "/nowhere")
		t.Setenv("LOG_LEVEL", "of-the-process")
		for range 10 {
			got, err := renderFiles(t.Context(), files)
			if err != nil {
				t.Fatal(err)
			}
			if diff := cmp.Diff(want, got); diff != "" {
				t.Fatalf("%s: (-want +got):\n%s", name, diff)
			}
			if want.Digest == "" || string(canonical(t, want)) != string(canonical(t, got)) {
				t.Fatalf("%s: other bytes", name)
			}
		}
	}
}

func canonical(tb testing.TB, d *Desired) []byte {
	text, err := drift.Canonical(d)
	if err != nil {
		tb.Fatal(err)
	}
	return text
}

// TestDigestTellsChanges changes one thing at a time.
func TestDigestTellsChanges(t *testing.T) {
	files := archiveFiles(t, "fields.txtar")
	seen := map[stella.Digest]string{}
	for _, change := range []struct{ what, file, old, new string }{
		{what: "nothing"},
		{"a digest", "envs/prod/app/release.yaml", someDigest, otherDigest},
		{"a variable", "envs/prod/app/release.yaml", "LOG_LEVEL: info", "LOG_LEVEL: debug"},
		{"a config", "envs/prod/app/config/web.conf", "listen", "Listen"},
		{"an env_file", "envs/prod/app/web.env", "FROM_FILE=yes", "FROM_FILE=no"},
		{"a target's name", "envs/prod/environment.yaml", "web-1", "web-2"},
		{"a target's variable", "envs/prod/environment.yaml", "8081", "8082"},
		{"a command", "envs/prod/app/compose.yaml", "serve", "Serve"},
	} {
		other := maps.Clone(files)
		other[change.file] = strings.Replace(files[change.file], change.old, change.new, 1)
		d, err := renderFiles(t.Context(), other)
		if err != nil {
			t.Fatalf("%s: %v", change.what, err)
		}
		if before, ok := seen[d.Digest]; ok {
			t.Errorf("%s changed as little as %s", change.what, before)
		}
		seen[d.Digest] = change.what
	}
	// What is not of the app does not count.
	other := maps.Clone(files)
	other["envs/prod/app/README.md"] = "hello"
	other["envs/prod/app/compose.yaml"] = "# a comment\n" + files["envs/prod/app/compose.yaml"]
	d, err := renderFiles(t.Context(), other)
	if err != nil || seen[d.Digest] != "nothing" {
		t.Errorf("a comment changed the digest: %v", err)
	}
}

func TestRenderOfManyTargets(t *testing.T) {
	files := archiveFiles(t, "fields.txtar")
	const many = 200
	var b strings.Builder
	b.WriteString("apiVersion: stella/v1\nkind: Environment\nname: prod\ntargets:\n")
	for i := range many {
		fmt.Fprintf(&b, "- {name: web-%d, variables: {HTTP_PORT: \"%d\"}, host: {root: /srv/shop%d}}\n", i, 8000+i%2, i)
	}
	files["envs/prod/environment.yaml"] = b.String()
	start := time.Now()
	d, err := renderFiles(t.Context(), files)
	if err != nil {
		t.Fatal(err)
	}
	if took := time.Since(start); took > 2*time.Second*raceFactor {
		t.Errorf("took %v: targets with equal variables are to share one load", took)
	}
	if len(d.Targets) != many || len(d.Waves()) != 1 || len(d.Artifacts) != 3 {
		t.Errorf("got %d targets, %d waves, %v", len(d.Targets), len(d.Waves()), d.Artifacts)
	}
	state, ok := d.Target("web-199")
	web, found := state.Resource("service/web")
	if !ok || !found {
		t.Fatal("web-199 does not run web")
	}
	if diff := cmp.Diff("8001", web.Fields["ports"].([]any)[0].(map[string]any)["published"]); diff != "" {
		t.Error(diff)
	}
	if _, ok := d.Target("nobody"); ok {
		t.Error("there is a target nobody")
	}
}

// TestWaves checks that an order of waves has every target once, after all that
// it waits for, and that it is given up only for a circle.
func TestWaves(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		names := []string{"a", "b", "c", "d", "e"}
		waits := map[string][]string{}
		for _, n := range names {
			waits[n] = rapid.SliceOfNDistinct(rapid.SampledFrom(names), 0, 2, rapid.ID[string]).Draw(t, n)
		}
		order, left := waves(names, waits)
		wave := map[string]int{}
		for i, w := range order {
			for _, n := range w {
				wave[n] = i + 1
			}
		}
		for n, i := range wave {
			for _, before := range waits[n] {
				if wave[before] == 0 || wave[before] >= i {
					t.Fatalf("%s of wave %d waits for %s of %d", n, i, before, wave[before])
				}
			}
		}
		for _, n := range left {
			inLeft := false
			for _, before := range waits[n] {
				inLeft = inLeft || wave[before] == 0
			}
			if !inLeft {
				t.Fatalf("%s was left and waits for nothing that was", n)
			}
		}
		if len(wave)+len(left) != len(names) {
			t.Fatalf("%v and %v are not all", order, left)
		}
	})
}

// TestRenderStops cancels before the start.
func TestRenderStops(t *testing.T) {
	errStopped := errors.New("stopped")
	ctx, cancel := context.WithCancelCause(t.Context())
	cancel(errStopped)
	if _, err := renderFiles(ctx, someApp()); !errors.Is(err, errStopped) {
		t.Errorf("got %v, want the cause of the cancellation", err)
	}
}

// FuzzRender renders any Compose file: it ends in problems or in a state that
// is the same again and that holds nothing of this machine.
func FuzzRender(f *testing.F) {
	archives, err := filepath.Glob("testdata/compose/*.txtar")
	if err != nil {
		f.Fatal(err)
	}
	for _, name := range archives {
		f.Add([]byte(archiveFiles(f, filepath.Base(name))["envs/prod/app/compose.yaml"]))
	}
	f.Add([]byte("services: {web: {<<: {image: x}, volumes: [{type: bind, source: ., target: /x}]}}\n"))
	f.Fuzz(func(t *testing.T, compose []byte) {
		files := archiveFiles(t, "fields.txtar")
		files["envs/prod/app/compose.yaml"] = string(compose)
		d, err := renderFiles(t.Context(), files)
		var problems Problems
		switch {
		case errors.As(err, &problems):
			for _, p := range problems {
				if strings.Contains(p.String(), "stella-render-") {
					t.Fatalf("a path of the machine: %s", p)
				}
			}
			return
		case err != nil:
			t.Fatal(err)
		}
		first := canonical(t, d)
		if strings.Contains(string(first), "stella-render-") {
			t.Fatalf("a path of the machine: %s", first)
		}
		again, err := renderFiles(t.Context(), files)
		if err != nil || string(canonical(t, again)) != string(first) {
			t.Fatalf("%v: other bytes: %s and %s", err, first, canonical(t, again))
		}
	})
}

// TestProblemsHoldNoValues puts a secret wherever a value is looked at.
func TestProblemsHoldNoValues(t *testing.T) {
	const secret = "hunter2"
	for _, field := range []string{
		"image", "command", "cpus", "mem_limit", "stop_grace_period", "restart", "ports", "volumes", "tmpfs", "env_file", "label_file",
		"depends_on", "configs", "secrets", "networks", "healthcheck", "deploy", "ulimits", "user", "privileged", "init", "scale",
		"pids_limit", "extends", "devices", "gpus", "logging", "x-stella", "platform", "expose", "stop_signal", "shm_size", "umask",
	} {
		for _, shape := range []string{"%s", "[%s]", "{a: %s}", "[{source: %s, target: %s}]", "{test: %s, interval: %s}", "{replicas: %s, placement: {constraints: [%s]}}"} {
			files := someApp()
			files["envs/prod/app/release.yaml"] += "variables: {CANARY: " + secret + "}\n"
			files["envs/prod/app/compose.yaml"] = "services:\n  web:\n    " + field + ": " + strings.ReplaceAll(shape, "%s", `"${CANARY}"`) + "\n"
			_, err := renderFiles(t.Context(), files)
			if err != nil && strings.Contains(err.Error(), secret) {
				t.Errorf("%s: %s: %v", field, shape, err)
			}
		}
	}
}

func BenchmarkRender(b *testing.B) {
	for _, name := range []string{"minimal.txtar", "fields.txtar"} {
		files := archiveFiles(b, name)
		b.Run(name, func(b *testing.B) {
			b.ReportAllocs()
			for b.Loop() {
				if _, err := renderFiles(b.Context(), files); err != nil {
					b.Fatal(err)
				}
			}
		})
	}
}
