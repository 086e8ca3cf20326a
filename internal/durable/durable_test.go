package durable_test

import (
	"context"
	"errors"
	"os"
	"os/exec"
	"path/filepath"
	"testing"

	"github.com/stella-ops/stella"
	"github.com/stella-ops/stella/internal/durable"
)

func TestWriteFileReplacesAndLeavesNothingBehind(t *testing.T) {
	dir := t.TempDir()
	path := filepath.Join(dir, "state.json")
	for _, want := range []string{"one", "two"} {
		if err := durable.WriteFile(path, []byte(want), 0o600); err != nil {
			t.Fatal(err)
		}
		got, err := os.ReadFile(path)
		if err != nil || string(got) != want {
			t.Fatalf("got %q, %v, want %q", got, err, want)
		}
	}
	names, err := os.ReadDir(dir)
	if err != nil || len(names) != 1 {
		t.Fatalf("directory has %v, %v", names, err)
	}
}

func TestLockExcludes(t *testing.T) {
	path := filepath.Join(t.TempDir(), "lock")
	l, err := durable.TryLock(path)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := durable.TryLock(path); !errors.Is(err, stella.ErrLocked) {
		t.Fatalf("second TryLock: %v, want ErrLocked", err)
	}
	ctx, cancel := context.WithCancelCause(t.Context())
	why := errors.New("enough")
	cancel(why)
	if _, err := durable.WaitLock(ctx, path); !errors.Is(err, why) {
		t.Fatalf("WaitLock: %v, want the cause", err)
	}
	if err := l.Unlock(); err != nil {
		t.Fatal(err)
	}
	if _, err := durable.WaitLock(t.Context(), path); err != nil {
		t.Fatal(err)
	}
}

func TestProcessIsAliveUntilItEnds(t *testing.T) {
	cmd := exec.Command("cat")
	in, err := cmd.StdinPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	p, err := durable.FindProcess(cmd.Process.Pid)
	if err != nil {
		t.Fatal(err)
	}
	read, err := durable.ParseProcess(p.String())
	if err != nil || read != p {
		t.Fatalf("ParseProcess(%q) = %v, %v", p, read, err)
	}
	if !p.Alive() || !p.Local() {
		t.Error("a running process is not alive and local")
	}
	reused := p
	reused.StartTicks++
	if reused.Alive() {
		t.Error("a reused pid counts as alive")
	}
	_ = in.Close()
	if err := cmd.Wait(); err != nil {
		t.Fatal(err)
	}
	if p.Alive() {
		t.Error("an ended process is alive")
	}
}

func TestSymlinkRenameAndRemoveCanBeRepeated(t *testing.T) {
	dir := t.TempDir()
	link, file := filepath.Join(dir, "current"), filepath.Join(dir, "file")
	// What a crash left must not be in the way.
	if err := os.Symlink("nowhere", link+".next"); err != nil {
		t.Fatal(err)
	}
	for _, want := range []string{"one", "two", "two"} {
		if err := durable.Symlink(want, link); err != nil {
			t.Fatal(err)
		}
		if got, err := os.Readlink(link); err != nil || got != want {
			t.Fatalf("the link leads to %q, %v, want %q", got, err, want)
		}
	}
	if err := durable.Rename(link, file); err != nil {
		t.Fatal(err)
	}
	for range 2 {
		if err := durable.Remove(file); err != nil {
			t.Fatal(err)
		}
	}
	if names, err := os.ReadDir(dir); err != nil || len(names) != 0 {
		t.Fatalf("directory has %v, %v", names, err)
	}
}

func TestStraysAreWhatAKilledWriterLeft(t *testing.T) {
	dir := t.TempDir()
	for _, name := range []string{".state.json.tmp-123", "state.json", ".hidden", "a.tmp-1"} {
		if err := os.WriteFile(filepath.Join(dir, name), nil, 0o600); err != nil {
			t.Fatal(err)
		}
	}
	got, err := durable.Strays(dir)
	if want := filepath.Join(dir, ".state.json.tmp-123"); err != nil || len(got) != 1 || got[0] != want {
		t.Fatalf("strays %v, %v, want %s", got, err, want)
	}
}
