//go:build linux

package host

import (
	"context"
	"encoding/json"
	"errors"
	"flag"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"

	"github.com/stella-ops/stella"
)

// The test binary is also the stella program that becomes a shim, and a stella
// that applies an order and may be killed while it does.
const (
	crashCommand = "host-apply"
	appEnv       = "STELLA_TEST_APP"
)

// appPath is the static sample program that images hold.
var appPath string

func TestMain(m *testing.M) {
	if len(os.Args) > 1 {
		switch os.Args[1] {
		case ShimCommand:
			os.Exit(Shim(context.Background(), os.Args[2:], os.Stderr))
		case crashCommand:
			os.Exit(applyAndCrash(os.Args[2]))
		}
	}
	os.Exit(run(m))
}

func run(m *testing.M) int {
	flag.Parse()
	// Tests wait more than they work: for processes, for the disk, for each other.
	if err := flag.Set("test.parallel", "6"); err != nil {
		return fail(err)
	}
	appPath = os.Getenv(appEnv)
	if appPath != "" {
		return m.Run()
	}
	for _, base := range []string{"/dev/shm", os.TempDir()} {
		dir, err := os.MkdirTemp(base, "stella-host-test-*")
		if err != nil {
			continue
		}
		defer func() { _ = os.RemoveAll(dir) }()
		if err = build(dir); err == nil {
			// Gigabytes are unpacked and synced: where memory can be written to
			// and executed from, that is done there.
			_ = os.Setenv("TMPDIR", dir)
			return m.Run()
		}
		fmt.Fprintf(os.Stderr, "tests can not use %s: %v\n", base, err)
	}
	return 1
}

// build builds the sample program below dir, and tries it.
func build(dir string) error {
	if err := os.Chmod(dir, 0o755); err != nil { // another user runs some of the tests
		return err
	}
	appPath = filepath.Join(dir, "app")
	cmd := exec.Command("go", "build", "-ldflags=-s -w", "-o", appPath, "./testdata/app")
	cmd.Env = append(os.Environ(), "CGO_ENABLED=0")
	if out, err := cmd.CombinedOutput(); err != nil {
		return fmt.Errorf("build the sample program: %w\n%s", err, out)
	}
	return exec.Command(appPath, "say", "hello").Run()
}

// crashOrder is what a stella that is to be killed gets.
type crashOrder struct {
	Config  Config
	Store   string
	Order   stella.Order
	Effect  int  // counted from 1; 0: none
	Done    bool // after it took effect, or before
	Prepare bool // prepare first
}

// applyAndCrash applies an order and kills itself at an effect. It prints the
// name of each effect that it comes by.
func applyAndCrash(file string) int {
	data, err := os.ReadFile(file)
	if err != nil {
		return fail(err)
	}
	var c crashOrder
	if err := json.Unmarshal(data, &c); err != nil {
		return fail(err)
	}
	ctx := context.Background()
	h, err := Open(ctx, c.Config)
	if err != nil {
		return fail(err)
	}
	h.images = fakeStore(c.Store).pull
	n := 0
	h.trip = func(effect string, done bool) error {
		if !done {
			n++
			fmt.Println("effect", n, effect)
		}
		if n == c.Effect && done == c.Done {
			_ = syscall.Kill(os.Getpid(), syscall.SIGKILL)
			select {}
		}
		return nil
	}
	if c.Prepare {
		err = h.Prepare(ctx, c.Order.Desired, c.Order.Fence)
	}
	if err == nil {
		err = h.Apply(ctx, c.Order, nil)
	}
	if err != nil {
		return fail(err)
	}
	return 0
}

func fail(err error) int {
	fmt.Fprintln(os.Stderr, err)
	return 1
}

// crash runs applyAndCrash in a process of its own. It returns the effects that
// the process came by, and whether it was killed.
func crash(t *testing.T, h *Host, store fakeStore, c crashOrder) (effects []string, killed bool) {
	t.Helper()
	c.Config, c.Store = h.cfg, string(store)
	c.Config.Images, c.Config.Logger = nil, nil
	data, err := json.Marshal(c)
	if err != nil {
		t.Fatal(err)
	}
	file := filepath.Join(t.TempDir(), "order.json")
	if err := os.WriteFile(file, data, 0o600); err != nil {
		t.Fatal(err)
	}
	cmd := exec.CommandContext(t.Context(), h.cfg.Executable, crashCommand, file)
	var stderr strings.Builder
	cmd.Stderr = &stderr
	out, err := cmd.Output()
	for line := range strings.Lines(string(out)) {
		if f := strings.Fields(line); len(f) == 3 && f[0] == "effect" {
			effects = append(effects, f[2])
		}
	}
	var exit *exec.ExitError
	if errors.As(err, &exit) && exit.Sys().(syscall.WaitStatus).Signal() == syscall.SIGKILL {
		return effects, true
	}
	if err != nil {
		t.Fatalf("apply in another process: %v\n%s", err, stderr.String())
	}
	return effects, false
}
