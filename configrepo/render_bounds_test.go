package configrepo

import (
	"errors"
	"fmt"
	"os"
	"runtime"
	"strings"
	"testing"
	"time"

	stella "github.com/stella-ops/stella"
)

// bombs are apps that a loader would take long for, or much memory, if nothing
// stopped them before.
func bombs() map[string]map[string]string {
	app := func(files map[string]string) map[string]string {
		all := someApp()
		for name, content := range files {
			all["envs/prod/app/"+name] = content
		}
		return all
	}
	compose := func(content string) map[string]string { return app(map[string]string{"compose.yaml": content}) }
	lines := func(n int, format string) string {
		var b strings.Builder
		for i := range n {
			b.WriteString(strings.ReplaceAll(format, "#", fmt.Sprint(i)) + "\n")
		}
		return b.String()
	}
	billion := "x-0: &a0 [x,x,x,x,x,x,x,x,x]\n"
	for i := range 9 {
		billion += fmt.Sprintf("x-%d: &a%d [%s]\n", i+1, i+1, strings.TrimSuffix(strings.Repeat(fmt.Sprintf("*a%d,", i), 9), ","))
	}
	merges := "x-0: &m0 {a: b}\n"
	for i := range 60 {
		merges += fmt.Sprintf("x-%d: &m%d {<<: [*m%d, *m%d], k%d: v}\n", i+1, i+1, i, i, i)
	}
	doubling := "A=xxxxxxxxxx\n" + lines(60, "A=$A$A")
	variables := someApp()
	variables["envs/prod/app/release.yaml"] += "variables: {LONG: " + strings.Repeat("x", 30_000) + "}\n"
	variables["envs/prod/app/compose.yaml"] = "services:\n  web:\n    environment:\n" + lines(4000, "      V#: ${LONG}")
	envVariables := someApp()
	envVariables["envs/prod/app/release.yaml"] = variables["envs/prod/app/release.yaml"]
	envVariables["envs/prod/app/compose.yaml"] = "services: {web: {env_file: a.env}}\n"
	envVariables["envs/prod/app/a.env"] = lines(4000, "V#=$LONG")
	chain := "services:\n  web: {extends: s0}\n  s300: {image: x}\n"
	for i := range 300 {
		chain += fmt.Sprintf("  s%d: {extends: s%d}\n", i, i+1)
	}
	fat := "services:\n  fat:\n    image: x\n    environment:\n" + lines(4000, "      V#: v")
	includes := map[string]string{"compose.yaml": "services: {web: {}}\ninclude: [p0.yaml, p0.yaml]\n"}
	for i := range 30 {
		includes[fmt.Sprintf("p%d.yaml", i)] = fmt.Sprintf("include: [p%d.yaml, p%d.yaml]\n", i+1, i+1)
	}
	includes["p30.yaml"] = "services: {x: {image: x}}\n"
	return map[string]map[string]string{
		"a billion laughs":             compose(billion + "services: {web: {}}\n"),
		"a quadratic alias":            compose("x-a: &a " + strings.Repeat("a", 100_000) + "\nx-b: [" + strings.Repeat("*a, ", 60_000) + "]\nservices: {web: {}}\n"),
		"merge keys that double":       compose(merges + "services: {web: {}}\n"),
		"an alias of itself":           compose("services: {web: {environment: &a [*a]}}\n"),
		"a merge of itself":            compose("services: {web: &a {<<: *a}}\n"),
		"40,000 keys":                  compose("services: {web: {}}\nx-k:\n" + lines(40_000, "  k#: v")),
		"half a million values":        compose("x-a: [" + strings.Repeat("[],", 300_000) + "]\nservices: {web: {}}\n"),
		"100,000 levels":               compose("x-a: " + strings.Repeat("[", 100_000)),
		"1,000 levels":                 compose("x-a: " + strings.Repeat("{a: ", 1000) + strings.Repeat("}", 1000) + "\nservices: {web: {}}\n"),
		"many dollars":                 compose("services: {web: {command: \"" + strings.Repeat("${A:-", 100_000) + "\"}}\n"),
		"many defaults":                compose("services: {web: {command: \"" + strings.Repeat("${A:-", 10_000) + strings.Repeat("}", 10_000) + "\"}}\n"),
		"a variable that multiplies":   variables,
		"an env_file that doubles":     app(map[string]string{"compose.yaml": "services: {web: {env_file: a.env}}\n", "a.env": doubling}),
		"an env_file that multiplies":  envVariables,
		"includes that double":         app(includes),
		"everything extends the fat":   compose(fat + lines(900, "  s#: {extends: fat}") + "  web: {}\n"),
		"everything extends a file":    app(map[string]string{"fat.yaml": fat, "compose.yaml": "services:\n  web: {}\n" + lines(900, "  s#: {extends: {file: fat.yaml, service: fat}}")}),
		"a chain of extends":           compose(chain),
		"10,000 services":              compose("services:\n  web: {}\n" + lines(4900, "  s#: {}")),
		"extends that go in a circle":  compose("services:\n  web: {extends: a}\n  a: {extends: b}\n  b: {extends: web}\n"),
		"includes that go in a circle": app(map[string]string{"compose.yaml": "include: [a.yaml]\nservices: {web: {}}\n", "a.yaml": "include: [compose.yaml]\n"}),
		"all ports":                    compose("services: {web: {ports: [\"1-65535:1-65535\", \"1-65535:1-65535/udp\"]}}\n"),
		"a large file":                 compose("# " + strings.Repeat("x", 1<<20) + "\nservices: {web: {}}\n"),
	}
}

// TestBombsEnd renders each bomb and demands an error within a second and 64
// MiB. What is measured is everything that was allocated, also what was free
// again in between, so that the peak is lower.
func TestBombsEnd(t *testing.T) {
	const mostBytes = 64 << 20
	if _, err := renderFiles(t.Context(), someApp()); err != nil {
		t.Fatal(err) // compiles the loader's schema, once
	}
	for name, files := range bombs() {
		t.Run(name, func(t *testing.T) {
			var before, after runtime.MemStats
			runtime.ReadMemStats(&before)
			start := time.Now()
			_, err := renderFiles(t.Context(), files)
			took := time.Since(start)
			runtime.ReadMemStats(&after)
			bytes := after.TotalAlloc - before.TotalAlloc
			t.Logf("%v, %d KiB: %.200v", took.Round(time.Millisecond), bytes>>10, err)
			if !errors.Is(err, stella.ErrInvalid) {
				t.Errorf("got %v, want an error of class ErrInvalid", err)
			}
			if took > time.Second*raceFactor || bytes > mostBytes*raceFactor {
				t.Errorf("took %v and %d bytes", took, bytes)
			}
		})
	}
}

// TestRenderLeavesNothing looks for the private directory after a success, an
// error and a cancellation.
func TestRenderLeavesNothing(t *testing.T) {
	dir := t.TempDir()
	t.Setenv("TMPDIR", dir)
	if _, err := renderFiles(t.Context(), someApp()); err != nil {
		t.Fatal(err)
	}
	bad := someApp()
	bad["envs/prod/app/compose.yaml"] = "services: {web: {depends_on: [x]}}\n"
	if _, err := renderFiles(t.Context(), bad); err == nil {
		t.Fatal("a service that depends on nothing was rendered")
	}
	left, err := os.ReadDir(dir)
	if err != nil || len(left) > 0 {
		t.Errorf("left %v, %v", left, err)
	}
}
