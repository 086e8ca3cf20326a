//go:build linux

package host

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/stella-ops/stella"
)

func TestRoots(t *testing.T) {
	t.Parallel()
	base := t.TempDir()
	for _, dir := range []string{"srv/open", "srv/shop", "other", "home/ana/deep"} {
		if err := os.MkdirAll(filepath.Join(base, dir), 0o755); err != nil {
			t.Fatal(err)
		}
	}
	if err := os.Chmod(filepath.Join(base, "srv/open"), 0o777); err != nil {
		t.Fatal(err)
	}
	if err := os.Symlink("shop", filepath.Join(base, "srv/link")); err != nil {
		t.Fatal(err)
	}
	if err := os.Symlink("home", filepath.Join(base, "users")); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(filepath.Join(base, "srv/file"), nil, 0o600); err != nil {
		t.Fatal(err)
	}
	allowed := []string{filepath.Join(base, "srv"), filepath.Join(base, "users/ana"), "relative"}
	for _, tt := range []struct{ name, root, want string }{
		{"below an allowed one", "srv/shop", ""},
		{"not there yet", "srv/new/deep", ""},
		{"below an allowed one that is a link", "home/ana/deep", ""},
		{"the allowed one itself", "srv", "not below"},
		{"outside", "other", "not below"},
		{"outside by a name that starts alike", "srvx", "not below"},
		{"outside by dots", "srv/../other", "without . and .."},
		{"with a trailing slash", "srv/shop/", "without . and .."},
		{"a link", "srv/link", "is a symbolic link"},
		{"below a link", "srv/link/x", "is a symbolic link"},
		{"the link in an allowed one", "users/ana/deep", "is a symbolic link"},
		{"a file", "srv/file", "is not a directory"},
		{"that others can write to", "srv/open", "can be written to by other users"},
		{"below what others can write to", "srv/open/x", "can be written to by other users"},
		{"with a control character", "srv/a\x1b[2J", "without control characters"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			root := base + "/" + tt.root
			err := checkRoot(root, allowed, os.Geteuid())
			if tt.want == "" && err != nil || tt.want != "" && (!errors.Is(err, stella.ErrInvalid) || !strings.Contains(err.Error(), tt.want)) {
				t.Errorf("%v, want %q", err, tt.want)
			}
			if err != nil && strings.Contains(err.Error(), "\x1b") {
				t.Error("the error has a control character")
			}
		})
	}
	if err := checkRoot(filepath.Join(base, "srv/shop"), allowed, 4711); err == nil {
		t.Error("another user's directory was taken")
	}
	if _, err := Open(t.Context(), Config{Name: "edge", Root: "srv/shop", AllowedRoots: allowed}); !errors.Is(err, stella.ErrInvalid) {
		t.Errorf("a relative root: %v, want ErrInvalid", err)
	}
}

func TestOnlyTheMachineThatWasRecorded(t *testing.T) {
	t.Parallel()
	s := newScene(t)
	web := serviceOf("web", s.image(t, "1"))
	s.deploy(t, web)
	machine := s.observe(t).Observed.Machine
	open := func(change func(*Config)) error {
		c := s.cfg
		change(&c)
		_, err := Open(t.Context(), c)
		return err
	}
	if err := open(func(c *Config) { c.Machine = machine }); err != nil {
		t.Errorf("the machine itself: %v", err)
	}
	err := open(func(c *Config) { c.Machine = "another" })
	if !errors.Is(err, stella.ErrUnreachable) || !strings.Contains(err.Error(), "this is not the machine of edge") || stella.Hint(err) == "" {
		t.Errorf("another machine: %v", err)
	}
	for name, change := range map[string]func(*Config){
		"another target":      func(c *Config) { c.Name = "other" },
		"another environment": func(c *Config) { c.Environment = "staging" },
	} {
		if err := open(change); !errors.Is(err, stella.ErrRefused) || !strings.Contains(err.Error(), "belongs to target edge of production") {
			t.Errorf("%s: %v", name, err)
		}
	}
	// A root that was copied, as a backup or a cloned disk is.
	s.fence++
	if err := s.Stop(t.Context(), s.fence); err != nil {
		t.Fatal(err)
	}
	copied := s.cfg.Root + "-copied"
	if err := os.CopyFS(copied, os.DirFS(s.cfg.Root)); err != nil && !errors.Is(err, os.ErrInvalid) {
		t.Fatal(err)
	}
	if err := os.Chmod(copied, 0o755); err != nil {
		t.Fatal(err)
	}
	if err := open(func(c *Config) { c.Root = copied }); !errors.Is(err, stella.ErrUnreachable) {
		t.Errorf("a copied root: %v, want ErrUnreachable", err)
	}
}

func TestOpeningAndObservingCreateNothing(t *testing.T) {
	t.Parallel()
	s := newScene(t)
	s.observe(t)
	if _, err := s.Has(t.Context(), s.image(t, "1")); err != nil {
		t.Fatal(err)
	}
	if _, err := os.Stat(s.cfg.Root); err == nil {
		t.Error("the root was made")
	}
}

func TestTheFenceSurvives(t *testing.T) {
	t.Parallel()
	s := newScene(t)
	if err := s.Apply(t.Context(), orderOf(7, stella.OpCreate, stateOf()), nil); err != nil {
		t.Fatal(err)
	}
	stale := func(what string) {
		t.Helper()
		err := s.Apply(t.Context(), orderOf(6, stella.OpCreate, stateOf()), nil)
		if !errors.Is(err, stella.ErrFenced) || !strings.Contains(err.Error(), "has seen fence 7, this is 6") {
			t.Errorf("%s: %v, want ErrFenced", what, err)
		}
	}
	stale("at once")
	if err := os.Remove(s.lay.target()); err != nil {
		t.Fatal(err)
	}
	stale("without target.json, by the sticker")
	if got := s.observe(t).Observed.Fence; got != 7 {
		t.Errorf("observed fence %d", got)
	}
	for _, text := range []string{"", "{", `{"schemaVersion":1,"fence":"x"}`} {
		if err := os.WriteFile(s.lay.target(), []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
		if err := s.Apply(t.Context(), orderOf(9, stella.OpCreate, stateOf()), nil); !errors.Is(err, stella.ErrTampered) {
			t.Errorf("target.json %q: %v, want ErrTampered", text, err)
		}
	}
	if err := os.WriteFile(s.lay.target(), []byte(`{"schemaVersion":2}`), 0o600); err != nil {
		t.Fatal(err)
	}
	if _, err := s.Observe(t.Context()); !errors.Is(err, stella.ErrUnsupported) {
		t.Errorf("target.json of a newer version: %v, want ErrUnsupported", err)
	}
}

// TestWhoWasOvertakenStopsAtTheNextAction lets a newer holder come between two
// actions of an order.
func TestWhoWasOvertakenStopsAtTheNextAction(t *testing.T) {
	t.Parallel()
	s := newScene(t)
	image := s.image(t, "1")
	want := stateOf(serviceOf("api", image), serviceOf("web", image))
	newer := reopen(t, s.cfg, s.store)
	var reported []error
	err := s.Apply(t.Context(), orderOf(5, stella.OpCreate, want, "service/api", "service/web"), func(a stella.Action, err error) {
		if a.Resource.ID == "service/api" {
			if err := newer.Prepare(t.Context(), want, 6); err != nil {
				t.Error(err)
			}
		}
		reported = append(reported, err)
	})
	if !errors.Is(err, stella.ErrFenced) || len(reported) != 2 || !errors.Is(reported[1], stella.ErrFenced) {
		t.Errorf("%v, reported %v", err, reported)
	}
	if s.observe(t).Observed.Sticker != nil {
		t.Error("there is a sticker of who was overtaken")
	}
}

// TestFilesThatWereLostDoNotStopTheNextApply breaks every file that an apply
// can write anew.
func TestFilesThatWereLostDoNotStopTheNextApply(t *testing.T) {
	t.Parallel()
	s := newScene(t)
	image := s.image(t, "1")
	web := serviceOf("web", image)
	for _, tt := range []struct {
		name string
		path func() string
		want []string // changes that are seen
	}{
		{"the sticker", func() string { return s.lay.sticker() }, []string{"extra sticker/edge"}},
		{"the history", func() string { return s.lay.history("web") }, nil},
		{"the status", func() string { return s.lay.status("web") }, []string{"extra service/web/status.json"}},
		{"the spec", func() string { return s.lay.spec("web") }, []string{"extra service/web/spec.json"}},
		{"the pid file", func() string { return s.lay.pid("web") }, nil},
		{"the link", func() string { return s.lay.current("web") }, []string{"extra service/web/current"}},
	} {
		for _, gone := range []bool{false, true} {
			t.Run(fmt.Sprintf("%s, gone %v", tt.name, gone), func(t *testing.T) {
				s.deploy(t, web)
				old := s.processesOf("web")
				err := os.Remove(tt.path())
				if !gone && err == nil {
					err = os.WriteFile(tt.path(), []byte("{"), 0o600)
				}
				if err != nil {
					t.Fatal(err)
				}
				if diff := cmp.Diff(tt.want, s.changes(t, web)); diff != "" {
					t.Errorf("changes (-want +got)\n%s", diff)
				}
				s.deploy(t, web)
				if got := s.changes(t, web); len(got) > 0 {
					t.Errorf("after it was deployed again: %v", got)
				}
				now := s.processesOf("web")
				if len(now) != 1 || now[0] != old[0] {
					t.Errorf("it ran as %v, now as %v", old, now)
				}
				if got := s.observe(t).Observed; got.Sticker == nil || len(got.Notes) > 0 && s.chroots {
					t.Errorf("sticker %v, notes %q", got.Sticker, got.Notes)
				}
			})
		}
	}
	spec, err := s.lay.readSpec("web")
	if err != nil {
		t.Fatal(err)
	}
	spec.Resource.Fields["environment"] = fields{"LEVEL": "debug"}
	if err := writeJSON(s.lay.spec("web"), spec); err != nil {
		t.Fatal(err)
	}
	// Nothing runs with it: a spec that was changed by hand is not believed.
	if diff := cmp.Diff([]string{"missing service/web/environment", "extra service/web/spec.json"}, s.changes(t, serviceOf("web", image, fields{"environment": fields{"LEVEL": "debug"}}))); diff != "" {
		t.Errorf("changes (-want +got)\n%s", diff)
	}
	s.deploy(t, web)
	if err := os.Remove(s.lay.spec("web")); err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff([]string{"extra service/web"}, s.changes(t)); diff != "" {
		t.Errorf("changes (-want +got)\n%s", diff)
	}
	s.deploy(t)
	if left := s.processesOf("web"); len(left) > 0 {
		t.Errorf("processes %v are left", left)
	}
}

func TestAReleaseThatWasRestoredIsCheapToCheckAgain(t *testing.T) {
	t.Parallel()
	s := newScene(t)
	web := serviceOf("web", s.image(t, "1"))
	s.deploy(t, web)
	dir := s.lay.release("web", s.releaseNames("web")[0])
	if err := os.Chtimes(filepath.Join(dir, "rootfs/version"), time.Now(), time.Unix(0, 0)); err != nil {
		t.Fatal(err)
	}
	quick := func() bool {
		rel, seal, err := readRelease(dir)
		if err != nil {
			t.Fatal(err)
		}
		stat, err := statListing(t.Context(), dir, rel)
		return err == nil && stat == seal.Stat
	}
	if quick() {
		t.Fatal("nothing of it was noticed")
	}
	pid := s.pid(t, "web")
	s.deploy(t, web)
	if !quick() || s.pid(t, "web") != pid {
		t.Error("the seal is as it was, or the service was started again")
	}
}
