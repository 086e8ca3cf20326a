//go:build linux

package host

import (
	"crypto/sha256"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
)

// TestTheFastListingIsTheListing compares with what seals were made by: a fast
// one that says another thing would call every release changed.
func TestTheFastListingIsTheListing(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	for _, name := range []string{"a/b", "a.b", "a b", "a\"b\\", "a\x1b[2J", "a/b/c", "ä", "z/\xff/y", "a-/x", strings.Repeat("long", 50)} {
		must(t, os.MkdirAll(filepath.Join(dir, name), 0o750))
		must(t, os.WriteFile(filepath.Join(dir, name, "file"), []byte(name), 0o640))
		must(t, os.Symlink("nowhere", filepath.Join(dir, name, "link")))
	}
	must(t, syscall.Mkfifo(filepath.Join(dir, "fifo"), 0o600))
	must(t, os.WriteFile(filepath.Join(dir, sealName), nil, 0o600))
	rel := releaseFile{}
	want := sha256.New()
	must(t, eachFile(t.Context(), dir, rel, nil, func(name string, fi fs.FileInfo) error {
		st, ok := fi.Sys().(*syscall.Stat_t)
		if !ok {
			return fs.ErrInvalid
		}
		_, err := fmt.Fprintf(want, "%q %o %d %d.%d %d.%d %d\n", name, st.Mode, st.Size, st.Mtim.Sec, st.Mtim.Nsec, st.Ctim.Sec, st.Ctim.Nsec, st.Ino)
		return err
	}))
	got, err := statListing(t.Context(), dir, rel)
	must(t, err)
	if got != sumOf(want.Sum(nil)) {
		t.Errorf("got %s, want %s", got, sumOf(want.Sum(nil)))
	}
	list, err := listRelease(t.Context(), dir, rel, true)
	must(t, err)
	if list.stat != got {
		t.Errorf("sealed as %s, found as %s", list.stat, got)
	}
}

// TestAnUnchangedReleaseIsNotRead watches its files while it is observed.
func TestAnUnchangedReleaseIsNotRead(t *testing.T) {
	t.Parallel()
	s := newScene(t)
	web := serviceOf("web", s.image(t, "1"), configField("a"))
	s.deploy(t, web)
	root := s.rootOf(t, web)
	fd, err := syscall.InotifyInit1(syscall.IN_CLOEXEC | syscall.IN_NONBLOCK)
	must(t, err)
	defer func() { _ = syscall.Close(fd) }()
	for _, file := range []string{"bin/app", "version", "etc/app.conf", "etc/passwd"} {
		_, err := syscall.InotifyAddWatch(fd, filepath.Join(root, file), syscall.IN_OPEN|syscall.IN_ACCESS)
		must(t, err)
	}
	for range 3 {
		if got := s.changes(t, web); len(got) > 0 {
			t.Fatalf("changes %v", got)
		}
	}
	events := make([]byte, 4096)
	if n, err := syscall.Read(fd, events); n > 0 || err != syscall.EAGAIN {
		t.Errorf("something of it was opened: %d bytes of events, %v", n, err)
	}
	_, err = os.ReadFile(filepath.Join(root, "version")) // the watch does see it
	must(t, err)
	if n, _ := syscall.Read(fd, events); n <= 0 {
		t.Error("the test sees nothing")
	}
}
