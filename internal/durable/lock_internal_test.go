package durable

import (
	"path/filepath"
	"testing"

	"golang.org/x/sys/unix"
)

// A process that was forked and has not come to its exec has a copy of every
// descriptor, as dup(2) makes one.
func TestALockThatWasGivenBackIsFreeWhateverWasForkedMeanwhile(t *testing.T) {
	path := filepath.Join(t.TempDir(), "lock")
	l, err := TryLock(path)
	if err != nil {
		t.Fatal(err)
	}
	forked, err := unix.Dup(int(l.f.Fd()))
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = unix.Close(forked) }()
	if err := l.Unlock(); err != nil {
		t.Fatal(err)
	}
	next, err := TryLock(path)
	if err != nil {
		t.Fatalf("a copy of the descriptor keeps the lock: %v", err)
	}
	if err := next.Unlock(); err != nil {
		t.Fatal(err)
	}
}
