//go:build linux

package host

import (
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"

	"github.com/stella-ops/stella"
	"github.com/stella-ops/stella/internal/durable"
)

// suspects asks, and wants a line with all of the words.
func (s *scene) suspects(t testing.TB, id stella.ResourceID, path string, words ...string) {
	t.Helper()
	lines, err := s.Suspects(t.Context(), id, path)
	if err != nil {
		t.Fatal(err)
	}
	if len(lines) > maxSuspects {
		t.Errorf("%d lines", len(lines))
	}
	for _, line := range lines {
		missing := false
		for _, w := range words {
			missing = missing || !strings.Contains(line, w)
		}
		if !missing {
			return
		}
	}
	t.Errorf("of %s%s: no line with %q in\n%s", id, path, words, strings.Join(lines, "\n"))
}

func TestSuspects(t *testing.T) {
	t.Parallel()
	s := newScene(t)
	web := serviceOf("web", s.image(t, "1"), configField("a"), fields{"restart": "always"})
	s.deploy(t, web)
	conf := filepath.Join(s.rootOf(t, web), "etc/app.conf")
	const path = "/configs/~1etc~1app.conf/content"
	s.suspects(t, "service/web", path, "etc/app.conf was last changed at ", fmt.Sprintf("owned by uid %d", os.Geteuid()))
	s.suspects(t, "service/web", path, "the last order that took effect was of production-", "fence ")

	must(t, os.Chmod(conf, 0o644))
	writer := exec.CommandContext(t.Context(), appPath, "stubborn")
	f, err := os.OpenFile(conf, os.O_WRONLY, 0)
	must(t, err)
	writer.Stdout, writer.Dir = f, s.cfg.Root
	must(t, writer.Start())
	must(t, f.Close())
	defer func() { _ = writer.Process.Kill(); _ = writer.Wait() }()
	s.suspects(t, "service/web", path, fmt.Sprintf("process %d (app), uid %d", writer.Process.Pid, os.Geteuid()), "has services/web/releases/", "open for writing")
	s.suspects(t, "service/web", "/current", fmt.Sprintf("process %d (app)", writer.Process.Pid), "works in .", "no shim")

	must(t, os.Remove(s.lay.current("web")))
	s.suspects(t, "service/web", "/current", "services/web/… is gone", "something came or went in services/web at ")

	kill(t, s.pid(t, "web"), syscall.SIGKILL)
	eventually(t, "it is started again", func() bool { return s.component(t, "web").Restarts > 0 })
	s.suspects(t, "service/web", "", "its process last ended at ", "killed by signal 9")

	lock, err := durable.TryLock(s.lay.lock())
	must(t, err)
	other := exec.CommandContext(t.Context(), appPath, "stubborn")
	must(t, other.Start()) // it does not have the lock: the holder is this process, who asks
	defer func() { _ = other.Process.Kill(); _ = other.Wait() }()
	lines, err := s.Suspects(t.Context(), "sticker/edge", "")
	must(t, err)
	for _, line := range lines {
		if strings.Contains(line, "holds the target's lock") {
			t.Errorf("who asks is no suspect: %s", line)
		}
	}
	must(t, lock.Unlock())
	holder := exec.CommandContext(t.Context(), "flock", "--no-fork", s.lay.lock(), "sleep", "1000")
	must(t, holder.Start())
	defer func() { _ = holder.Process.Kill(); _ = holder.Wait() }()
	eventually(t, "another has the lock", func() bool {
		lock, err := durable.TryLock(s.lay.lock())
		return err != nil || lock.Unlock() != nil
	})
	s.suspects(t, "sticker/edge", "", fmt.Sprintf("process %d (sleep)", holder.Process.Pid), "holds the target's lock")
}

// TestALockIsNamedWithItsDevice: an inode is one of its file system only.
func TestALockIsNamedWithItsDevice(t *testing.T) {
	t.Parallel()
	fi, err := os.Stat(t.TempDir())
	must(t, err)
	st, ok := fi.Sys().(*syscall.Stat_t)
	device, inode := lockID(fi)
	if want := fmt.Sprintf("%02x:%02x:%d", st.Dev>>8&0xfff, st.Dev&0xff|st.Dev>>12&0xfff00, st.Ino); !ok || device+inode != want {
		t.Errorf("got %s%s, want %s", device, inode, want)
	}
}

func TestSuspectsAreEscapedAndOfThisTarget(t *testing.T) {
	t.Parallel()
	s := newScene(t)
	web := serviceOf("web", s.image(t, "1"))
	s.deploy(t, web)
	root := s.rootOf(t, web)
	must(t, os.Chmod(root, 0o755))
	must(t, os.WriteFile(filepath.Join(root, "\x1b[2Jevil"), nil, 0o644))
	s.suspects(t, "service/web", "/files", `\u001B[2Jevil was last changed at`)
	if got := s.suspectFiles(t.Context(), "volume/../../etc/passwd", ""); len(got) > 0 {
		t.Errorf("it looks at %q", got)
	}
	for _, id := range []stella.ResourceID{"service/../../etc", "service/", "service/UP"} {
		if lines, err := s.Suspects(t.Context(), id, ""); err == nil {
			t.Errorf("%s: %q", id, lines)
		}
	}
	if _, err := s.Suspects(t.Context(), "network/x", "nonsense"); err != nil {
		t.Error(err)
	}
}
