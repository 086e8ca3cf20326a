//go:build faults

package effect_test

import (
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"github.com/stella-ops/stella/internal/effect"
)

// TestDoInAnotherProcess is what the tests below run.
func TestDoInAnotherProcess(t *testing.T) {
	dir := os.Getenv("TEST_DIR")
	if dir == "" {
		return
	}
	for i := range 3 {
		err := effect.Do("make", filepath.Join(dir, fmt.Sprint(i+1)), func() error {
			return os.Mkdir(filepath.Join(dir, fmt.Sprint(i+1)), 0o700)
		})
		fmt.Println("said:", i+1, err)
	}
}

func TestAFaultHitsTheEffectThatItNames(t *testing.T) {
	for fault, want := range map[string]struct{ done, log, said string }{
		"":         {"1 2 3", "1 make 1|2 make 2|3 make 3|", "1 <nil>|2 <nil>|3 <nil>|"},
		"before:2": {"1", "1 make 1|2 make 2|", "1 <nil>|"},
		"after:2":  {"1 2", "1 make 1|2 make 2|", "1 <nil>|"},
		"fail:2":   {"1 3", "1 make 1|2 make 2|3 make 3|", "1 <nil>|2 a fault was injected: input/output error|3 <nil>|"},
		"lost:2":   {"1 2 3", "1 make 1|2 make 2|3 make 3|", "1 <nil>|2 a fault was injected: input/output error|3 <nil>|"},
	} {
		dir, log := t.TempDir(), filepath.Join(t.TempDir(), "log")
		cmd := exec.Command(os.Args[0], "-test.run", "^TestDoInAnotherProcess$")
		cmd.Env = append(os.Environ(), "TEST_DIR="+dir, "STELLA_FAULT="+fault, "STELLA_FAULT_LOG="+log)
		out, err := cmd.CombinedOutput()
		killed := err != nil && cmd.ProcessState.ExitCode() == -1
		if died := strings.HasPrefix(fault, "before") || strings.HasPrefix(fault, "after"); killed != died || err != nil && !killed {
			t.Fatalf("%q: ended with %v:\n%s", fault, err, out)
		}
		entries, err := os.ReadDir(dir)
		if err != nil {
			t.Fatal(err)
		}
		var done []string
		for _, e := range entries {
			done = append(done, e.Name())
		}
		text, err := os.ReadFile(log)
		if err != nil {
			t.Fatal(err)
		}
		said := ""
		for line := range strings.Lines(string(out)) {
			if line, ok := strings.CutPrefix(line, "said: "); ok {
				said += strings.TrimSuffix(line, "\n") + "|"
			}
		}
		if got := strings.Join(done, " "); got != want.done {
			t.Errorf("%q: %s was done, want %s", fault, got, want.done)
		}
		if got := strings.ReplaceAll(string(text), "\n", "|"); got != want.log {
			t.Errorf("%q: the log has %s, want %s", fault, got, want.log)
		}
		if said != want.said {
			t.Errorf("%q: it said %s, want %s", fault, said, want.said)
		}
	}
}
