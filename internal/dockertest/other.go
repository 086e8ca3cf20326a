//go:build !linux

package dockertest

import (
	"fmt"
	"os"
	"testing"

	"github.com/moby/moby/client"

	"github.com/stella-ops/stella"
	"github.com/stella-ops/stella/internal/registry"
)

// Demand is the variable that makes a machine without an engine a failure.
const Demand = "STELLA_TEST_DOCKER"

// Daemon is a running container engine; there is none on this system.
type Daemon struct {
	Client          *client.Client
	Socket, Address string
}

// Main runs the tests of a package, without engines.
func Main(m *testing.M) int { return Run(m.Run) }

// Run runs tests without engines; where they are demanded it fails.
func Run(run func() int) int {
	if demand, _ := os.LookupEnv(Demand); demand == "1" {
		_, _ = fmt.Fprintf(os.NewFile(2, "stderr"), "dockertest: engines run on Linux only, and %s=1 demands one\n", Demand)
		return 1
	}
	return run()
}

// RunBoth runs tests.
func RunBoth(run func() int) int { return run() }

// Within is false.
func Within() bool { return false }

// Inside skips the test, or fails it where engines are demanded.
func Inside(t *testing.T, _ []string, _ ...string) {
	t.Helper()
	if demand, _ := os.LookupEnv(Demand); demand == "1" {
		t.Fatal("engines run on Linux only")
	}
	skip(t)
}

func skip(t testing.TB) {
	t.Helper()
	t.Skip("SKIPPED, no container engine: they run on Linux only")
}

// Engine skips the test.
func Engine(t testing.TB) *Daemon {
	t.Helper()
	skip(t)
	return nil
}

// Engines skips the test.
func Engines(t testing.TB, _ int) []*Daemon {
	t.Helper()
	skip(t)
	return nil
}

// Image skips the test.
func Image(t testing.TB, _ string, _ ...func(*registry.Build)) stella.Artifact {
	t.Helper()
	skip(t)
	return stella.Artifact{}
}

// Registry skips the test.
func Registry(t testing.TB) string {
	t.Helper()
	skip(t)
	return ""
}

// Log is empty.
func (*Daemon) Log() string { return "" }

// Stop does nothing.
func (*Daemon) Stop(testing.TB) {}

// Kill does nothing.
func (*Daemon) Kill(testing.TB) {}

// Start does nothing.
func (*Daemon) Start(testing.TB) {}

// Restart does nothing.
func (*Daemon) Restart(testing.TB) {}

// Pause does nothing.
func (*Daemon) Pause(testing.TB) {}

// Resume does nothing.
func (*Daemon) Resume(testing.TB) {}

// Serve does nothing.
func (d *Daemon) Serve(testing.TB, string, ...string) *Daemon { return d }

// Compose returns nothing.
func (*Daemon) Compose(testing.TB, string, ...string) string { return "" }

// Small skips the test.
func Small(t testing.TB, _ int64) *Daemon {
	t.Helper()
	skip(t)
	return nil
}
