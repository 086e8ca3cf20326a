// Package gittest runs real Git servers for tests: git-http-backend behind a
// middleware that can fail ([HTTP], [Faults]), sshd ([SSH]) and plain
// directories ([Bare]). Nothing here is go-git's: its server accepts pushes
// that a real one refuses. Everything listens on loopback, on a port that the
// kernel chose, and ends with the test.
package gittest

import (
	"bytes"
	"context"
	"fmt"
	"maps"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"
)

// Branch is the branch that Bare's HEAD points to.
const Branch = "refs/heads/main"

// Bare makes an empty bare repository and returns its file:// URL.
func Bare(t testing.TB) string {
	t.Helper()
	dir := filepath.Join(t.TempDir(), "config.git")
	Run(t, "", "init", "-q", "--bare", "-b", "main", dir)
	return "file://" + dir
}

// Dir returns the directory of a repository that Bare made; a directory is
// returned as it is.
func Dir(bare string) string { return strings.TrimPrefix(bare, "file://") }

// Run runs git in a directory ("" is the current one) and returns its trimmed
// output. It fails the test when git does.
func Run(t testing.TB, dir string, args ...string) string {
	t.Helper()
	return runInput(t, dir, nil, args...)
}

func runInput(t testing.TB, dir string, input []byte, args ...string) string {
	t.Helper()
	out, err := run(t.Context(), dir, input, args...)
	if err != nil {
		t.Fatal(err)
	}
	return strings.TrimSpace(string(out))
}

func run(ctx context.Context, dir string, input []byte, args ...string) ([]byte, error) {
	cmd := exec.CommandContext(ctx, "git", args...)
	cmd.Dir, cmd.Env, cmd.Stdin = dir, Environ(), bytes.NewReader(input)
	var stderr bytes.Buffer
	cmd.Stderr = &stderr
	out, err := cmd.Output()
	if err != nil {
		return nil, fmt.Errorf("git %s: %w: %s", strings.Join(args, " "), err, stderr.String())
	}
	return out, nil
}

// Environ is an environment in which no configuration of the machine or its
// user counts.
func Environ() []string {
	// Where programs are is the one thing that a test takes from its machine.
	path, _ := os.LookupEnv("PATH")
	return []string{
		"PATH=" + path, "HOME=/nonexistent", "LC_ALL=C", "GIT_CONFIG_NOSYSTEM=1", "GIT_CONFIG_GLOBAL=/dev/null",
		"GIT_AUTHOR_NAME=Test", "GIT_AUTHOR_EMAIL=test@example.com",
		"GIT_COMMITTER_NAME=Test", "GIT_COMMITTER_EMAIL=test@example.com",
	}
}

// Getenv is Environ as Options.Getenv wants it, with more variables over it.
func Getenv(more ...map[string]string) func(string) string {
	env := map[string]string{}
	for _, kv := range Environ() {
		k, v, _ := strings.Cut(kv, "=")
		env[k] = v
	}
	delete(env, "GIT_AUTHOR_NAME")
	delete(env, "GIT_AUTHOR_EMAIL")
	for _, m := range more {
		maps.Copy(env, m)
	}
	return func(k string) string { return env[k] }
}

// Seed commits files to the branch of a repository and returns the commit's
// id. An empty content deletes the file; files that are not named stay.
func Seed(t testing.TB, bare string, files map[string]string) string {
	t.Helper()
	return SeedRef(t, bare, Branch, "seed", files)
}

// SeedRef is Seed for any ref, with a message.
func SeedRef(t testing.TB, bare, ref, message string, files map[string]string) string {
	t.Helper()
	dir := Dir(bare)
	var b bytes.Buffer
	fmt.Fprintf(&b, "commit %s\ncommitter Test <test@example.com> %d +0000\ndata %d\n%s\n", ref, nextSecond(t, dir, ref), len(message), message)
	if old, err := run(t.Context(), dir, nil, "rev-parse", "-q", "--verify", ref); err == nil {
		fmt.Fprintf(&b, "from %s\n", bytes.TrimSpace(old))
	}
	for _, name := range slices.Sorted(maps.Keys(files)) {
		if files[name] == "" {
			fmt.Fprintf(&b, "D %s\n", name)
			continue
		}
		fmt.Fprintf(&b, "M 100644 inline %s\ndata %d\n%s\n", name, len(files[name]), files[name])
	}
	runInput(t, dir, b.Bytes(), "fast-import", "--quiet", "--force")
	return Ref(t, bare, ref)
}

// nextSecond gives every commit of a ref a time of its own.
func nextSecond(t testing.TB, dir, ref string) int {
	t.Helper()
	const start = 1_700_000_000
	out, err := run(t.Context(), dir, nil, "rev-list", "--count", ref)
	if err != nil {
		return start
	}
	var n int
	if _, err := fmt.Sscan(string(out), &n); err != nil {
		t.Fatal(err)
	}
	return start + n
}

// Ref returns what a ref of the repository points to, "" when it does not exist.
func Ref(t testing.TB, bare, ref string) string {
	t.Helper()
	out, err := run(t.Context(), Dir(bare), nil, "rev-parse", "-q", "--verify", ref)
	if err != nil {
		return ""
	}
	return string(bytes.TrimSpace(out))
}

// SetRef moves a ref of the repository by force; an empty id deletes it.
func SetRef(t testing.TB, bare, ref, id string) {
	t.Helper()
	if id == "" {
		Run(t, Dir(bare), "update-ref", "-d", ref)
		return
	}
	Run(t, Dir(bare), "update-ref", ref, id)
}

// Hook installs a hook: pre-receive, update, post-receive. The script is run
// by sh. Receive-pack runs it for every transport.
func Hook(t testing.TB, bare, name, script string) {
	t.Helper()
	dir := filepath.Join(Dir(bare), "hooks")
	if err := os.MkdirAll(dir, 0o755); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(filepath.Join(dir, name), []byte("#!/bin/sh\n"+script+"\n"), 0o755); err != nil {
		t.Fatal(err)
	}
}

// Config sets a configuration value of the repository.
func Config(t testing.TB, bare, key, value string) {
	t.Helper()
	Run(t, Dir(bare), "config", key, value)
}
