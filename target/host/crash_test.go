//go:build linux

package host

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/stella-ops/stella"
	"github.com/stella-ops/stella/internal/durable"
)

// TestAKilledApplyIsFinishedByTheNext kills a stella with SIGKILL before every
// effect of an upgrade, which is after the one before it, and after the last.
// Whatever is left, what is current is complete, nothing runs twice, and the
// next apply converges.
func TestAKilledApplyIsFinishedByTheNext(t *testing.T) {
	t.Parallel()
	effects, killed := upgradeAndCrash(t, 0, false)
	if killed || len(effects) < 10 {
		t.Fatalf("an upgrade has the effects %q, killed %v", effects, killed)
	}
	t.Logf("effects: %s", strings.Join(effects, " "))
	for n := range len(effects) + 1 {
		name, effect, done := "after the last", n, true
		if n < len(effects) {
			name, effect, done = fmt.Sprintf("%d before %s", n+1, effects[n]), n+1, false
		}
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			if _, killed := upgradeAndCrash(t, effect, done); !killed {
				t.Error("it was not killed")
			}
		})
	}
}

// upgradeAndCrash changes one service, removes one and adds one, in a process
// that is killed at an effect, and then again in this one.
func upgradeAndCrash(t *testing.T, effect int, done bool) (effects []string, killed bool) {
	s := newScene(t)
	one, two := s.image(t, "1"), s.image(t, "2")
	s.deploy(t, serviceOf("api", one), serviceOf("web", one))
	first := s.observe(t).Observed.Sticker.Deployment
	want := stateOf(serviceOf("web", two, configField("x")), serviceOf("worker", two))
	s.fence++
	o := orderOf(s.fence, stella.OpUpdate, want, "service/web", "service/worker")
	o.Actions = append([]stella.Action{{Op: stella.OpRemove, Resource: stella.Resource{ID: "service/api"}}}, o.Actions...)
	effects, killed = crash(t, s.Host, s.store, crashOrder{Order: o, Effect: effect, Done: done, Prepare: true})

	s.checkWhole(t)
	if got := s.observe(t).Observed.Sticker.Deployment; got != first && (got != o.Sticker.Deployment || len(s.changes(t, want.Resources...)) > 0) {
		t.Errorf("the sticker says %s", got)
	}
	s.deploy(t, want.Resources...)
	s.checkWhole(t)
	if got := s.changes(t, want.Resources...); len(got) > 0 {
		t.Errorf("still to do: %v", got)
	}
	for _, c := range s.observe(t).Observed.Components {
		if c.State != stella.RunRunning || c.Running != two.String() {
			t.Errorf("component %+v", c)
		}
	}
	for _, name := range []string{"web", "worker"} {
		s.checkNothingStray(t, name)
	}
	return effects, killed
}

func TestAnApplyRemovesWhatAKilledOneWasWriting(t *testing.T) {
	t.Parallel()
	s := newScene(t)
	one := s.image(t, "1")
	s.deploy(t, serviceOf("web", one))
	var strays []string
	for _, path := range []string{s.lay.target(), s.lay.sticker(), s.lay.nextSpec("web"), s.lay.volumeRecord("data")} {
		strays = append(strays, filepath.Join(filepath.Dir(path), "."+filepath.Base(path)+".tmp-123"))
	}
	for _, stray := range strays {
		if err := os.WriteFile(stray, []byte("{"), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	s.deploy(t, serviceOf("web", one))
	for _, stray := range strays {
		if _, err := os.Lstat(stray); err == nil {
			t.Errorf("%s is still there", stray)
		}
	}
}

func TestAnApplyUndoesWhatABrokenOffOneBegan(t *testing.T) {
	t.Parallel()
	for _, at := range []string{"link", "stop"} {
		s := newScene(t)
		one, two := s.image(t, "1"), s.image(t, "2")
		s.deploy(t, serviceOf("web", one))
		link, err := os.Readlink(s.lay.current("web"))
		if err != nil {
			t.Fatal(err)
		}
		s.trip = func(effect string, done bool) error {
			if effect == at && !done {
				return errors.New("no space left")
			}
			return nil
		}
		s.fence++
		o := orderOf(s.fence, stella.OpUpdate, stateOf(serviceOf("web", two)), "service/web")
		if err := s.Apply(t.Context(), o, nil); err == nil {
			t.Fatal("the apply was not broken off")
		}
		s.trip = nil
		s.deploy(t, serviceOf("web", one)) // has nothing to do
		if now, err := os.Readlink(s.lay.current("web")); err != nil || now != link {
			t.Errorf("broken off at %s: current is %s, %v, want %s, which runs", at, now, err, link)
		}
		s.checkNothingStray(t, "web")
	}
}

// A crash right after a release was put in its place leaves the directory that
// it was built in; the next order may have nothing to unpack.
func TestWhatDiedAfterUnpackingIsSweptThoughNothingIsUnpacked(t *testing.T) {
	t.Parallel()
	s := newScene(t)
	one := s.image(t, "1")
	s.deploy(t, serviceOf("web", one))
	left := filepath.Join(s.lay.releases("web"), scratchPrefix+"1")
	if err := os.Mkdir(left, 0o700); err != nil {
		t.Fatal(err)
	}
	s.deploy(t, serviceOf("web", one)) // has nothing to do
	if _, err := os.Lstat(left); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("%s is left: %v", left, err)
	}
}

func TestAShimsLockMayOutliveIt(t *testing.T) {
	t.Parallel()
	s := newScene(t)
	one, two := s.image(t, "1"), s.image(t, "2")
	s.deploy(t, serviceOf("web", one))
	held := false
	s.trip = func(effect string, done bool) error {
		if effect != "place" || done {
			return nil
		}
		// The shim that was stopped may be slow to end, too.
		lock, err := durable.WaitLock(t.Context(), s.lay.shimLock("web"))
		if err != nil {
			return err
		}
		held = true
		time.AfterFunc(time.Second, func() { _ = lock.Unlock() }) // a thread that is slow to end
		return nil
	}
	s.deploy(t, serviceOf("web", two))
	if !held {
		t.Error("nobody held the lock")
	}
}

// checkWhole proves that `current` names complete releases only, and that what
// runs of each service is one instance that runs from a complete release.
func (s *scene) checkWhole(t *testing.T) {
	t.Helper()
	services, err := s.ourServices()
	if err != nil {
		t.Fatal(err)
	}
	for _, name := range services {
		target, err := os.Readlink(s.lay.current(name))
		if err != nil {
			continue
		}
		if _, err := checkRelease(t.Context(), filepath.Join(s.lay.service(name), target)); err != nil {
			t.Errorf("current of %s: %v", name, err)
		}
		pids := s.processesOf(name)
		if len(pids) > 1 {
			t.Errorf("%s runs as %v", name, pids)
		}
		for _, pid := range pids {
			_, release := s.releaseOf(pid)
			if _, err := checkRelease(t.Context(), s.lay.release(name, release)); err != nil {
				t.Errorf("process %d of %s: %v", pid, name, err)
			}
		}
	}
}

func (s *scene) checkNothingStray(t *testing.T, name string) {
	t.Helper()
	entries, err := os.ReadDir(s.lay.releases(name))
	if err != nil {
		t.Fatal(err)
	}
	for _, e := range entries {
		if strings.HasPrefix(e.Name(), ".") {
			t.Errorf("%s is left", e.Name())
		}
	}
	var names []string
	entries, err = os.ReadDir(s.lay.service(name))
	if err != nil {
		t.Fatal(err)
	}
	for _, e := range entries {
		names = append(names, e.Name())
	}
	names = slices.DeleteFunc(names, func(n string) bool { return n == ".status.tmp" })
	want := []string{"current", "history.json", "log", "releases", "running.json", "shim.lock", "spec.json", "status.json"}
	if diff := cmp.Diff(want, names); diff != "" {
		t.Errorf("files of %s (-want +got)\n%s", name, diff)
	}
}
