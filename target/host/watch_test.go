//go:build linux

package host

import (
	"bytes"
	"context"
	"fmt"
	"log/slog"
	"os"
	"path/filepath"
	"runtime"
	"slices"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/stella-ops/stella"
)

// watched counts what it is told.
type watched chan struct{}

func (s *scene) watch(t testing.TB) watched {
	t.Helper()
	told := make(watched, 1)
	err := s.Watch(t.Context(), func() {
		select {
		case told <- struct{}{}:
		default:
		}
	})
	if err != nil {
		t.Fatal(err)
	}
	return told
}

// quiet waits until nothing was told for a while.
func (w watched) quiet(t testing.TB) {
	t.Helper()
	deadline := time.After(30 * time.Second)
	for {
		select {
		case <-w:
		case <-time.After(3 * watchPause):
			return
		case <-deadline:
			t.Fatal("it is told of something all the time")
		}
	}
}

// tells fails where nothing is told. A loaded machine takes its time; how long
// it took is logged.
func (w watched) tells(t testing.TB, what string, do func()) {
	t.Helper()
	w.quiet(t)
	began := time.Now()
	do()
	select {
	case <-w:
		t.Logf("%s: told after %s", what, time.Since(began).Round(time.Millisecond))
	case <-time.After(15 * time.Second):
		t.Fatalf("%s: nobody was told", what)
	}
}

func must(t testing.TB, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

// TestWatchTellsOfEveryKindOfChange changes one thing after the other.
func TestWatchTellsOfEveryKindOfChange(t *testing.T) {
	t.Parallel()
	s := newScene(t)
	image := s.image(t, "1")
	web := serviceOf("web", image, configField("a"), fields{"restart": "no"})
	s.deploy(t, serviceOf("api", image), web)
	told := s.watch(t)
	release := func() string { return s.lay.rootfs("web", s.releaseNames("web")[0]) }
	told.tells(t, "a config file's content", func() { s.overwrite(t, filepath.Join(release(), "etc/app.conf"), "b") })
	told.tells(t, "a config file's mode", func() { must(t, os.Chmod(filepath.Join(release(), "etc/app.conf"), 0o400)) })
	told.tells(t, "a file of the release", func() { s.overwrite(t, filepath.Join(release(), "version"), "evil") })
	told.tells(t, "a new directory", func() { must(t, os.Mkdir(filepath.Join(release(), "etc/new"), 0o755)) })
	told.tells(t, "a file in the new directory", func() { s.overwrite(t, filepath.Join(release(), "etc/new/file"), "x") })
	told.tells(t, "the link", func() { must(t, os.Remove(s.lay.current("web"))) })
	told.tells(t, "the sticker", func() { s.overwrite(t, s.lay.sticker(), "{") })
	told.tells(t, "the spec", func() { s.overwrite(t, s.lay.spec("web"), "{") })
	told.tells(t, "a killed process", func() { kill(t, s.pid(t, "api"), syscall.SIGKILL) })
	shim := s.shimPID(t, "web")
	told.tells(t, "a killed shim", func() { kill(t, shim, syscall.SIGKILL) })
	told.tells(t, "an apply", func() { s.deploy(t, serviceOf("api", image), web) })
	told.tells(t, "the shim that came with it", func() { kill(t, s.shimPID(t, "web"), syscall.SIGKILL) })
	told.tells(t, "the release that came with it", func() { s.overwrite(t, filepath.Join(release(), "version"), "x") })
	must(t, s.stopAll(t.Context()))
	told.tells(t, "the root went", func() { must(t, removeTree(s.cfg.Root)) })
	told.tells(t, "the root came again", func() { must(t, os.Mkdir(s.cfg.Root, 0o755)) })
	s.deploy(t, web)
	told.tells(t, "a file in the new root", func() { s.overwrite(t, filepath.Join(release(), "version"), "x") })
}

// TestLookingIsNoChange: a scan must not be what leads to the next.
func TestLookingIsNoChange(t *testing.T) {
	t.Parallel()
	s := newScene(t)
	s.deploy(t, serviceOf("web", s.image(t, "1"), configField("a")))
	told := s.watch(t)
	told.quiet(t)
	for range 3 {
		s.observe(t)
	}
	select {
	case <-told:
		t.Error("it was told that somebody looked")
	case <-time.After(5 * watchPause):
	}
}

// TestWatchEndsWithItsContext leaves neither goroutine nor descriptor behind.
func TestWatchEndsWithItsContext(t *testing.T) {
	// Not parallel: it counts what the process has.
	s := newScene(t)
	image := s.image(t, "1")
	s.deploy(t, serviceOf("api", image), serviceOf("web", image))
	before := openWatches(t)
	for range 20 {
		ctx, cancel := context.WithCancel(t.Context())
		must(t, s.Watch(ctx, func() {}))
		if now := openWatches(t); now < before+3 { // inotify, and a pidfd for each shim
			// The followers may not have come to it yet.
			eventually(t, "it watches", func() bool { return openWatches(t) >= before+3 })
		}
		cancel()
	}
	eventually(t, "all is given back", func() bool { return openWatches(t) == before })
	eventually(t, "all goroutines end", func() bool { return !strings.Contains(allStacks(), "host.(*watch)") })
}

// openWatches counts the descriptors of this process that watch something.
func openWatches(t testing.TB) int {
	t.Helper()
	entries, err := os.ReadDir("/proc/self/fd")
	if err != nil {
		t.Fatal(err)
	}
	n := 0
	for _, e := range entries {
		link, _ := os.Readlink(filepath.Join("/proc/self/fd", e.Name()))
		if strings.Contains(link, "inotify") || strings.Contains(link, "pidfd") {
			n++
		}
	}
	return n
}

// TestABusyNeighbourDoesNotStopTheWatch has somebody write all the time, and a
// listener that does not return.
func TestABusyNeighbourDoesNotStopTheWatch(t *testing.T) {
	t.Parallel()
	s := newScene(t)
	s.deploy(t, serviceOf("web", s.image(t, "1")))
	dir := s.lay.service("web")
	release, told := make(chan struct{}), make(chan int, 1000)
	calls := 0
	must(t, s.Watch(t.Context(), func() {
		calls++
		told <- calls
		<-release
	}))
	noise := func(n int) {
		for i := range n {
			must(t, os.WriteFile(filepath.Join(dir, "noise"+strconv.Itoa(i%50)), []byte("x"), 0o600))
		}
	}
	noise(20_000) // more than a queue of the kernel holds
	eventually(t, "it is told", func() bool { return len(told) > 0 })
	close(release)
	noise(100)
	eventually(t, "it is told again", func() bool { return len(told) > 1 })
	if n := len(told); n > 100 {
		t.Errorf("told %d times", n)
	}
}

// TestMoreDirectoriesThanAreWatched has the important ones watched all the same.
func TestMoreDirectoriesThanAreWatched(t *testing.T) {
	t.Parallel()
	s := newScene(t)
	files := appFiles(t, "1")
	for n := range maxWatched {
		files = append(files, fakeFile{name: fmt.Sprintf("a%d/", n), dir: true})
	}
	image := s.store.push(t, "1", imageConfig{Entrypoint: []string{"/bin/app", "wait"}}, files...)
	s.deploy(t, serviceOf("web", image, fields{"configs": fields{"/zz/deep/app.conf": fields{"content": "a"}}}))
	told := s.watch(t)
	root := s.lay.rootfs("web", s.releaseNames("web")[0])
	told.tells(t, "a config file", func() { s.overwrite(t, filepath.Join(root, "zz/deep/app.conf"), "b") })
	told.tells(t, "the sticker", func() { s.overwrite(t, s.lay.sticker(), "{") })
}

// TestAWatchThatIsNotPossibleSaysWhatToDo uses up what this process may open.
func TestWatchErrorsSayWhatToDo(t *testing.T) {
	t.Parallel()
	for err, want := range map[error]string{
		os.NewSyscallError("inotify_add_watch", syscall.ENOSPC): "max_user_watches",
		os.NewSyscallError("inotify_init1", syscall.EMFILE):     "max_user_instances",
	} {
		if got := watchError("edge", err); !strings.Contains(stella.Hint(got), want) || !strings.Contains(got.Error(), "watch target edge") {
			t.Errorf("%v, hint %q, want %s", got, stella.Hint(got), want)
		}
	}
}

func TestTheReleaseInUseIsWatchedWhereverTheLinkLeads(t *testing.T) {
	t.Parallel()
	s := newScene(t)
	one, two := s.image(t, "1"), s.image(t, "2")
	s.deploy(t, serviceOf("web", one))
	s.deploy(t, serviceOf("web", two))
	must(t, os.Remove(s.lay.current("web")))
	must(t, os.Symlink("releases/../../../../etc", s.lay.current("web")))
	if got, want := s.releasesInUse("web"), []string{two.Digest.Hex()}; !slices.Equal(got, want) {
		t.Errorf("in use %q, want %q", got, want)
	}
}

func allStacks() string {
	buf := make([]byte, 4<<20)
	return string(buf[:runtime.Stack(buf, true)])
}

// TestWhyATargetIsWatchedInPartIsSaidOnce, and again for another reason, or when
// it comes back.
func TestWhyATargetIsWatchedInPartIsSaidOnce(t *testing.T) {
	t.Parallel()
	var log bytes.Buffer
	w := &watch{h: &Host{log: slog.New(slog.NewTextHandler(&log, nil))}}
	for _, err := range []error{syscall.ENOSPC, syscall.ENOSPC, syscall.EMFILE, syscall.EMFILE, nil, nil, syscall.EMFILE} {
		w.inPart(t.Context(), err)
	}
	if got := strings.Count(log.String(), "watched in part"); got != 3 {
		t.Errorf("it was said %d times, want 3\n%s", got, log.String())
	}
}
