//go:build linux

package host

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"golang.org/x/sys/unix"

	"github.com/stella-ops/stella"
	"github.com/stella-ops/stella/drift"
)

func configField(content string) fields {
	return fields{"configs": fields{"/etc/app.conf": fields{"content": content, "digest": string(digestOf([]byte(content)))}}}
}

// changes compares what is desired with what is live.
func (s *scene) changes(t testing.TB, rs ...stella.Resource) []string {
	t.Helper()
	var out []string
	for _, c := range s.differences(t, rs...) {
		out = append(out, fmt.Sprintf("%s %s%s", c.Class, c.Resource, c.Path))
	}
	return out
}

func (s *scene) differences(t testing.TB, rs ...stella.Resource) []stella.Change {
	t.Helper()
	live := s.observe(t)
	return drift.Compare(stateOf(rs...), live, nil, live.Observed.At)
}

// write changes a file of a read-only release by hand.
func (s *scene) overwrite(t testing.TB, file, content string) {
	t.Helper()
	for _, p := range []string{filepath.Dir(file), file} {
		if err := os.Chmod(p, 0o755); err != nil && !errors.Is(err, os.ErrNotExist) {
			t.Fatal(err)
		}
	}
	if err := os.WriteFile(file, []byte(content), 0o755); err != nil {
		t.Fatal(err)
	}
}

func TestATamperedReleaseIsSeenAndReplaced(t *testing.T) {
	t.Parallel()
	for _, tt := range []struct {
		name   string
		want   string
		tamper func(t *testing.T, s *scene, dir string)
	}{
		{"a file was changed", "changed /version", func(t *testing.T, s *scene, dir string) { s.overwrite(t, filepath.Join(dir, "rootfs/version"), "evil") }},
		{"a file was added", "added /bin/sh", func(t *testing.T, s *scene, dir string) { s.overwrite(t, filepath.Join(dir, "rootfs/bin/sh"), "evil") }},
		{"a file went", "removed /version", func(t *testing.T, s *scene, dir string) {
			s.overwrite(t, filepath.Join(dir, "rootfs/version"), "")
			if err := os.Remove(filepath.Join(dir, "rootfs/version")); err != nil {
				t.Fatal(err)
			}
		}},
		{"a program was made to run as its owner", "changed /bin/app", func(t *testing.T, _ *scene, dir string) {
			if err := os.Chmod(filepath.Join(dir, "rootfs/bin/app"), 0o555|os.ModeSetuid); err != nil {
				t.Fatal(err)
			}
		}},
		{"its description was changed", "changed release.json", func(t *testing.T, s *scene, dir string) {
			rel, _, err := readRelease(dir)
			if err != nil {
				t.Fatal(err)
			}
			rel.Config.Entrypoint = []string{"/bin/evil"}
			if err := writeJSON(filepath.Join(dir, "release.json"), rel); err != nil {
				t.Fatal(err)
			}
		}},
		{"it was removed", "removed all of them", func(t *testing.T, _ *scene, dir string) {
			if err := removeTree(dir); err != nil {
				t.Fatal(err)
			}
		}},
		{"its seal was removed", "removed seal.json", func(t *testing.T, _ *scene, dir string) {
			if err := os.Remove(filepath.Join(dir, sealName)); err != nil {
				t.Fatal(err)
			}
		}},
	} {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			s := newScene(t)
			web := serviceOf("web", s.image(t, "1"))
			s.deploy(t, web)
			old := s.pid(t, "web")
			dir := s.lay.release("web", s.releaseNames("web")[0])
			tt.tamper(t, s, dir)
			if diff := cmp.Diff([]string{"extra service/web/files"}, s.changes(t, web)); diff != "" {
				t.Errorf("changes (-want +got)\n%s", diff)
			}
			live, _ := s.observe(t).Resource("service/web")
			// The permissions of directories may have been changed on the way.
			if files, _ := live.Fields["files"].([]any); !slices.Contains(files, any(tt.want)) || len(files) > 2 {
				t.Errorf("files %q, want %q among them", files, tt.want)
			}
			if c := s.component(t, "web"); c.Running == c.Desired {
				t.Errorf("component %+v", c)
			}
			if has, err := s.Has(t.Context(), artifactOf(t, web)); has || err != nil {
				t.Errorf("Has = %v, %v", has, err)
			}
			s.deploy(t, web)
			if got := s.changes(t, web); len(got) > 0 {
				t.Errorf("after it was deployed again: %v", got)
			}
			if s.pid(t, "web") == old {
				t.Error("the process was not started again")
			}
			if _, err := checkRelease(t.Context(), dir); err != nil {
				t.Error(err)
			}
		})
	}
}

// What a file lets a process do is part of what was sealed, though it holds the
// same.
func TestRightsOfAReleaseAreSealed(t *testing.T) {
	t.Parallel()
	if os.Geteuid() != 0 {
		t.Skip("only root can give files away")
	}
	for name, tamper := range map[string]func(file string) error{
		"owner":        func(file string) error { return os.Lchown(file, 12345, -1) },
		"group":        func(file string) error { return os.Lchown(file, -1, 12345) },
		"capabilities": func(file string) error { return unix.Lsetxattr(file, "security.capability", netRaw, 0) },
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			s := newScene(t)
			web := serviceOf("web", s.image(t, "1"))
			s.deploy(t, web)
			dir := s.lay.release("web", s.releaseNames("web")[0])
			if err := tamper(filepath.Join(dir, "rootfs/bin/app")); err != nil {
				t.Fatal(err)
			}
			live, _ := s.observe(t).Resource("service/web")
			if diff := cmp.Diff([]any{"changed /bin/app"}, live.Fields["files"]); diff != "" {
				t.Errorf("files (-want +got)\n%s", diff)
			}
			s.deploy(t, web)
			if got := s.changes(t, web); len(got) > 0 {
				t.Errorf("after it was deployed again: %v", got)
			}
		})
	}
}

// netRaw is cap_net_raw=ep as the kernel keeps it: struct vfs_cap_data, revision
// 2, from linux/capability.h.
var netRaw = []byte{1, 0, 0, 2, 0, 0x20, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0}

// A release of an older stella, whose seal has no rights, is whole; and its seal
// is not renewed with rights that nobody has proven.
func TestASealWithoutRightsStaysOne(t *testing.T) {
	t.Parallel()
	s := newScene(t)
	web := serviceOf("web", s.image(t, "1"))
	s.deploy(t, web)
	dir := s.lay.release("web", s.releaseNames("web")[0])
	rel, _, err := readRelease(dir)
	if err != nil {
		t.Fatal(err)
	}
	old, err := listRelease(t.Context(), dir, rel, false)
	if err != nil {
		t.Fatal(err)
	}
	s.overwrite(t, filepath.Join(dir, listName), string(old.text))
	if err := writeJSON(filepath.Join(dir, sealName), old.seal(dir, rel)); err != nil {
		t.Fatal(err)
	}
	if err := os.Chmod(filepath.Join(dir, "rootfs/bin/app"), 0o555|os.ModeSetuid); err != nil {
		t.Fatal(err)
	}
	if got := s.changes(t, web); len(got) > 0 {
		t.Errorf("changes %v", got)
	}
	if err := s.renewSeal(t.Context(), dir, 1000); err != nil {
		t.Fatal(err)
	}
	if _, seal, err := readRelease(dir); err != nil || seal.Rights {
		t.Errorf("the seal is %+v, %v", seal, err)
	}
}

func artifactOf(t testing.TB, r stella.Resource) stella.Artifact {
	t.Helper()
	a, err := stella.ParseArtifact(r.Fields["image"].(string))
	if err != nil {
		t.Fatal(err)
	}
	return a
}

func TestPreparingBesideATamperedReleaseTouchesNothingThatRuns(t *testing.T) {
	t.Parallel()
	s := newScene(t)
	web := serviceOf("web", s.image(t, "1"))
	s.deploy(t, web)
	pid := s.pid(t, "web")
	name := s.releaseNames("web")[0]
	s.overwrite(t, filepath.Join(s.lay.rootfs("web", name), "version"), "evil")
	if err := s.Prepare(t.Context(), stateOf(web), s.fence); err != nil {
		t.Fatal(err)
	}
	if s.pid(t, "web") != pid {
		t.Error("preparing started something")
	}
	// It runs from files that were renamed away: still not what is desired.
	if diff := cmp.Diff([]string{"modified service/web/image"}, s.changes(t, web)); diff != "" {
		t.Errorf("changes (-want +got)\n%s", diff)
	}
}

func TestATouchedButUnchangedReleaseIsWhole(t *testing.T) {
	t.Parallel()
	s := newScene(t)
	web := serviceOf("web", s.image(t, "1"))
	s.deploy(t, web)
	file := filepath.Join(s.lay.rootfs("web", s.releaseNames("web")[0]), "version")
	if err := os.Chmod(file, 0o755); err != nil {
		t.Fatal(err)
	}
	if got := s.changes(t, web); len(got) != 1 {
		t.Errorf("with other permissions: %v", got)
	}
	if err := os.Chmod(file, 0o444); err != nil { // the change time stays another
		t.Fatal(err)
	}
	if got := s.changes(t, web); len(got) > 0 {
		t.Errorf("restored: %v", got)
	}
}

func TestAChangedConfigIsDriftOfTheConfig(t *testing.T) {
	t.Parallel()
	s := newScene(t)
	web := serviceOf("web", s.image(t, "1"), configField("level = info\n"))
	s.deploy(t, web)
	file := filepath.Join(s.lay.rootfs("web", s.releaseNames("web")[0]), "etc/app.conf")
	for _, tt := range []struct {
		name   string
		change func() error
		want   []string
	}{
		{"content", func() error {
			s.overwrite(t, file, "level = debug\n")
			return errors.Join(os.Chmod(file, 0o444), os.Chmod(filepath.Dir(file), 0o555))
		}, []string{"modified service/web/configs/~1etc~1app.conf/content", "modified service/web/configs/~1etc~1app.conf/digest"}},
		{"gone", func() error {
			return errors.Join(os.Chmod(filepath.Dir(file), 0o755), os.Remove(file), os.Chmod(filepath.Dir(file), 0o555))
		}, []string{"missing service/web/configs/~1etc~1app.conf"}},
	} {
		t.Run(tt.name, func(t *testing.T) {
			if err := tt.change(); err != nil {
				t.Fatal(err)
			}
			if diff := cmp.Diff(tt.want, s.changes(t, web)); diff != "" {
				t.Errorf("changes (-want +got)\n%s", diff)
			}
			s.deploy(t, web)
			if got := s.changes(t, web); len(got) > 0 {
				t.Errorf("after it was deployed again: %v", got)
			}
			content, err := os.ReadFile(file)
			if err != nil || string(content) != "level = info\n" {
				t.Errorf("content %q, %v", content, err)
			}
		})
	}
}

func TestReleasesOfOneDigestAreMadeFromEachOther(t *testing.T) {
	t.Parallel()
	s := newScene(t)
	files := append(appFiles(t, "1"),
		fakeFile{name: "etc/app.conf", content: "the image's", mode: 0o644},
		fakeFile{name: "etc/resolv.conf", link: "../run/resolv.conf"},
		fakeFile{name: "dev", link: "etc"}, // over which devices are mounted
		fakeFile{name: "conf.d", link: "etc/conf.d"},
	)
	image := s.store.push(t, "1", imageConfig{Entrypoint: []string{"/bin/app", "wait"}}, files...)
	if err := s.Prepare(t.Context(), stateOf(serviceOf("web", image, configField("one")), serviceOf("worker", image)), 1); err != nil {
		t.Fatal(err)
	}
	s.store.forget(t)
	deep := fields{"configs": fields{"/conf.d/x/y.conf": fields{"content": "deep"}, "/etc/app.conf": fields{"content": "two"}}}
	for _, more := range []fields{configField("two"), nil, deep} {
		if err := s.Prepare(t.Context(), stateOf(serviceOf("third", image, more)), 1); err != nil {
			t.Fatalf("%v: %v", more, err)
		}
	}
	trees := map[string]int{}
	for _, name := range []string{"web", "worker", "third"} {
		for _, r := range s.releaseNames(name) {
			dir := s.lay.release(name, r)
			rel, err := checkRelease(t.Context(), dir)
			if err != nil {
				t.Fatal(err)
			}
			text, err := os.ReadFile(filepath.Join(dir, "rootfs/etc/app.conf"))
			if err != nil {
				t.Fatal(err)
			}
			trees[string(text)]++
			back := filepath.Join(t.TempDir(), "back")
			if err := os.MkdirAll(filepath.Join(back, "rootfs"), 0o755); err != nil {
				t.Fatal(err)
			}
			if _, err := copyRelease(t.Context(), dir, back); err != nil {
				t.Fatal(err)
			}
			if got, err := os.Readlink(filepath.Join(back, "rootfs/dev")); err != nil || got != "etc" {
				t.Errorf("%s: the image's own /dev came back as %q, %v (displaced %v)", r, got, err, rel.Displaced)
			}
			if got, err := os.ReadFile(filepath.Join(back, "rootfs/etc/app.conf")); err != nil || string(got) != "the image's" {
				t.Errorf("%s: the image's own file came back as %q, %v", r, got, err)
			}
			if _, err := os.Stat(filepath.Join(back, "rootfs/etc/conf.d")); err == nil {
				t.Errorf("%s: what is not the image's came along", r)
			}
		}
	}
	if diff := cmp.Diff(map[string]int{"one": 1, "two": 2, "the image's": 2}, trees); diff != "" {
		t.Errorf("config files (-want +got)\n%s", diff)
	}
}

func TestOldReleasesArePruned(t *testing.T) {
	t.Parallel()
	s := newScene(t)
	var images []stella.Artifact
	for n := range keepReleases + 3 {
		images = append(images, s.image(t, fmt.Sprint(n)))
		s.deploy(t, serviceOf("web", images[n]))
	}
	if got := len(s.releaseNames("web")); got != keepReleases+1 {
		t.Errorf("%d releases are kept, want %d", got, keepReleases+1)
	}
	s.store.forget(t)
	s.deploy(t, serviceOf("web", images[2]))
	for n, want := range []bool{false, false, true, true, true} {
		if has, err := s.Has(t.Context(), images[n]); has != want || err != nil {
			t.Errorf("Has(%d) = %v, %v, want %v", n, has, err, want)
		}
	}
}

func TestWhatIsHalfUnpackedIsRemovedAndNeverStarted(t *testing.T) {
	t.Parallel()
	s := newScene(t)
	web := serviceOf("web", s.image(t, "1"))
	s.deploy(t, web)
	half := filepath.Join(s.lay.releases("web"), scratchPrefix+"dead")
	if err := os.MkdirAll(filepath.Join(half, "release/rootfs/bin"), 0o755); err != nil {
		t.Fatal(err)
	}
	busy, lock, err := s.scratch("web") // of somebody who lives
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = lock.Unlock() }()
	s.deploy(t, serviceOf("web", s.image(t, "2")))
	if _, err := os.Stat(half); err == nil {
		t.Error("a scratch directory of nobody is left")
	}
	if _, err := os.Stat(busy); err != nil {
		t.Error("the scratch directory of a living process is gone")
	}
}

// TestAFullDiskLeavesNothingHalfDone deploys to a file system without space.
func TestAFullDiskLeavesNothingHalfDone(t *testing.T) {
	t.Parallel()
	if !asRoot(t) {
		return
	}
	disk := t.TempDir()
	if err := unix.Mount("tmpfs", disk, "tmpfs", 0, "size=8m,mode=755"); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = unix.Unmount(disk, unix.MNT_DETACH) })
	s := newScene(t, func(c *Config) { c.Root, c.AllowedRoots = filepath.Join(disk, "shop"), []string{disk} })
	web := serviceOf("web", s.image(t, "1"))
	s.deploy(t, web)
	pid := s.pid(t, "web")

	big := s.store.push(t, "2", imageConfig{Entrypoint: []string{"/bin/app", "wait"}}, append(appFiles(t, "2"),
		fakeFile{name: "blob", content: strings.Repeat("x", 6<<20)})...)
	err := s.tryDeploy(t.Context(), serviceOf("web", big))
	if !errors.Is(err, unix.ENOSPC) {
		t.Fatalf("%v, want that the disk is full", err)
	}
	// And so full that not even a spec can be written.
	filler, err := os.Create(filepath.Join(disk, "filler"))
	if err != nil {
		t.Fatal(err)
	}
	buf := make([]byte, 64<<10)
	for err == nil {
		_, err = filler.Write(buf)
	}
	_ = filler.Close()
	if err := s.tryDeploy(t.Context(), serviceOf("web", artifactOf(t, web), fields{"environment": fields{"A": "b"}})); err == nil {
		t.Error("a full disk took a spec")
	}
	if s.pid(t, "web") != pid || len(s.changes(t, web)) > 0 {
		t.Errorf("what ran was touched: %v", s.changes(t, web))
	}
	entries, err := os.ReadDir(s.lay.releases("web"))
	if err != nil {
		t.Fatal(err)
	}
	if len(entries) != 1 {
		t.Errorf("there are %v", entries)
	}
	// The service itself lives with it: it logs nothing, and its end is seen.
	kill(t, pid, unix.SIGKILL)
	eventually(t, "its end is seen", func() bool { return s.component(t, "web").State != stella.RunRunning })
	if err := os.Remove(filler.Name()); err != nil {
		t.Fatal(err)
	}
	s.deploy(t, web)
}

func TestMountPointsAreWhereLinksLead(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	if err := os.MkdirAll(filepath.Join(dir, "rootfs/usr/share"), 0o755); err != nil {
		t.Fatal(err)
	}
	for link, target := range map[string]string{"srv": "usr/share", "a": "b", "b": "a", "up": "../../..", "abs": "/etc", "file": "usr/share/f"} {
		if err := os.Symlink(target, filepath.Join(dir, "rootfs", link)); err != nil {
			t.Fatal(err)
		}
	}
	root, err := os.OpenRoot(filepath.Join(dir, "rootfs"))
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = root.Close() }()
	f := furnisher{root: root, dir: dir, rel: &releaseFile{Displaced: map[string]string{}}}
	if err := f.directory("/srv/data/x"); err != nil {
		t.Error(err)
	}
	if _, err := os.Stat(filepath.Join(dir, "rootfs/usr/share/data/x")); err != nil {
		t.Error(err)
	}
	if want := []string{"usr/share/data", "usr/share/data/x"}; !slices.Equal(f.rel.Added, want) {
		t.Errorf("added %q", f.rel.Added)
	}
	for _, p := range []string{"/a/x", "/up/x", "/abs/x"} {
		if err := f.directory(p); !errors.Is(err, stella.ErrInvalid) {
			t.Errorf("%s: %v, want ErrInvalid", p, err)
		}
	}
}
