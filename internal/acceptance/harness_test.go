// Package acceptance_test proves releases end to end: the real binary against
// real Git servers, a real registry and processes on bare hosts. Start with
// [world], an environment with all that it needs, and [world.stella], which
// runs one command line.
//
// What a test believes it saw itself: processes are found by the port that they
// listen on and asked for what the kernel knows of them, Git is asked with the
// git command, stickers are read from disk. The tests need root, docker-registry,
// sshd and a static busybox; scripts/setup-tests.sh installs them.
package acceptance_test

import (
	"context"
	"flag"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"testing"
	"time"

	"github.com/stella-ops/stella/internal/dockertest"
)

// shared is what all tests use: made once, by TestMain.
var shared struct {
	binary   string // the stella under test
	registry string // host:port of docker-registry
	scratch  string // a directory for all tests
}

func TestMain(m *testing.M) {
	os.Exit(dockertest.RunBoth(func() int { return runTests(m) }))
}

func runTests(m *testing.M) int {
	ctx, cancel := context.WithCancel(context.Background())
	defer cancel()
	stop, err := setUp(ctx)
	defer stop()
	if err != nil {
		fmt.Fprintln(os.Stderr, "acceptance:", err)
		return 1
	}
	// Tests wait more than they work: for verifications, for each other.
	flag.Parse()
	if err := flag.Set("test.parallel", fmt.Sprint(max(4, *worlds))); err != nil {
		fmt.Fprintln(os.Stderr, "acceptance:", err)
		return 1
	}
	return m.Run()
}

// setUp makes what all tests share. The function that it returns takes it away
// again, also after an error.
func setUp(ctx context.Context) (stop func(), err error) {
	stop = func() {}
	if os.Getuid() != 0 {
		return stop, fmt.Errorf("host targets are tested as root; run this as root")
	}
	if shared.scratch, err = os.MkdirTemp("", "stella-acceptance-"); err != nil {
		return stop, err
	}
	stop = func() { _ = os.RemoveAll(shared.scratch) }
	if shared.binary, err = buildStella(ctx); err != nil {
		return stop, err
	}
	if dockertest.Within() {
		return stop, nil // with the registry that the engines pull from
	}
	stopRegistry, err := startRegistry(ctx)
	return func() {
		stopRegistry()
		_ = os.RemoveAll(shared.scratch)
	}, err
}

// buildStella builds the binary as it is released, or takes the one that
// STELLA_TEST_BINARY names.
func buildStella(ctx context.Context) (string, error) {
	if given := os.Getenv("STELLA_TEST_BINARY"); given != "" {
		return filepath.Abs(given)
	}
	binary := filepath.Join(shared.scratch, "stella")
	cmd := exec.CommandContext(ctx, "go", "build", "-trimpath", "-o", binary, "github.com/stella-ops/stella/cmd/stella")
	cmd.Env = append(os.Environ(), "CGO_ENABLED=0")
	if out, err := cmd.CombinedOutput(); err != nil {
		return "", fmt.Errorf("build stella: %w\n%s", err, out)
	}
	return binary, nil
}

// patience bounds everything that should take a moment.
const patience = time.Minute

// eventually asks until the answer is yes. The question says what is still
// wrong.
func eventually(t *testing.T, what string, most time.Duration, ask func() (wrong string)) {
	t.Helper()
	deadline := time.Now().Add(most)
	tick := time.NewTicker(20 * time.Millisecond)
	defer tick.Stop()
	for {
		wrong := ask()
		if wrong == "" {
			return
		}
		if time.Now().After(deadline) {
			t.Fatalf("%s: not within %s: %s", what, most, wrong)
		}
		select {
		case <-tick.C:
		case <-t.Context().Done():
			t.Fatalf("%s: %v", what, context.Cause(t.Context()))
		}
	}
}
