package dockertest

import (
	"context"
	"os"
	"os/exec"
	"path/filepath"
	"testing"
)

// Compose runs docker compose against the engine, in a directory, and returns
// what it prints. It fails the test when the command does. `make test` builds the
// command.
func (d *Daemon) Compose(t testing.TB, dir string, args ...string) string {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), patience)
	defer cancel()
	cmd := exec.CommandContext(ctx, composeCommand(t), args...)
	cmd.Dir = dir
	path, _ := os.LookupEnv("PATH")
	cmd.Env = []string{"PATH=" + path, "HOME=" + dir, "DOCKER_HOST=unix://" + d.Socket}
	out, err := cmd.CombinedOutput()
	if err != nil {
		t.Fatalf("docker compose %v: %v\n%s", args, err, out)
	}
	return string(out)
}

// composeCommand is bin/docker-compose of the module that the test is of.
func composeCommand(t testing.TB) string {
	t.Helper()
	dir, err := os.Getwd()
	if err != nil {
		t.Fatal(err)
	}
	for ; dir != "/"; dir = filepath.Dir(dir) {
		if _, err := os.Stat(filepath.Join(dir, "go.mod")); err != nil {
			continue
		}
		command := filepath.Join(dir, "bin", "docker-compose")
		if _, err := os.Stat(command); err == nil {
			return command
		}
		break
	}
	const missing = "docker compose is missing: run 'make bin/docker-compose'"
	if demand, _ := os.LookupEnv(Demand); demand == "1" {
		t.Fatal(missing)
	}
	t.Skip("SKIPPED, " + missing)
	return ""
}
