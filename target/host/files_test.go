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
	"syscall"
	"testing"
	"time"

	"github.com/stella-ops/stella"
)

// inPlaceOf are what somebody can put in a file's place.
func inPlaceOf() map[string]func(t testing.TB, path string) {
	return map[string]func(t testing.TB, path string){
		"directory": func(t testing.TB, path string) {
			must(t, os.Mkdir(path, 0o755))
			must(t, os.WriteFile(filepath.Join(path, "kept"), []byte("theirs"), 0o600))
		},
		"pipe":         func(t testing.TB, path string) { must(t, syscall.Mkfifo(path, 0o600)) },
		"link":         func(t testing.TB, path string) { must(t, os.Symlink("/etc/passwd", path)) },
		"newer stella": func(t testing.TB, path string) { must(t, os.WriteFile(path, []byte(`{"schemaVersion":9}`), 0o600)) },
	}
}

// TestWhateverLiesInAFilesPlace: each file of stella's own, and each of what can
// be there. What is wrong is seen, nothing waits, and one deploy brings it back.
func TestWhateverLiesInAFilesPlace(t *testing.T) {
	t.Parallel()
	for kind, put := range inPlaceOf() {
		t.Run(kind, func(t *testing.T) {
			t.Parallel()
			s := newScene(t)
			web, api := serviceOf("web", s.image(t, "1"), configField("a")), serviceOf("api", s.image(t, "1"))
			s.deploy(t, web, api)
			dir := s.lay.release("web", s.releaseNames("web")[0])
			before := s.pid(t, "api")
			for _, file := range []string{
				s.lay.spec("web"), s.lay.status("web"), s.lay.running("web"), s.lay.history("web"), s.lay.pid("web"), s.lay.sticker(),
				filepath.Join(s.lay.service("web"), ".status.tmp"), s.lay.nextSpec("web"),
				filepath.Join(dir, sealName), filepath.Join(dir, listName), filepath.Join(dir, "release.json"),
			} {
				must(t, ignoreMissing(os.Remove(file)))
				put(t, file)
			}
			if got := s.changes(t, web, api); !slices.Contains(got, "extra sticker/edge") {
				t.Errorf("changes %v", got)
			}
			s.deploy(t, web, api)
			if got := s.changes(t, web, api); len(got) > 0 || s.pid(t, "api") != before {
				t.Errorf("after it was deployed again: %v; process %d, was %d", got, s.pid(t, "api"), before)
			}
		})
	}
}

// TestWhateverLiesInOneFilesPlace does it to one after the other, so that none
// hides another.
func TestWhateverLiesInOneFilesPlace(t *testing.T) {
	t.Parallel()
	s := newScene(t)
	web := serviceOf("web", s.image(t, "1"), configField("a"))
	s.deploy(t, web)
	for kind, put := range inPlaceOf() {
		for name, file := range map[string]func() string{
			"spec":    func() string { return s.lay.spec("web") },
			"status":  func() string { return s.lay.status("web") },
			"sticker": func() string { return s.lay.sticker() },
			"seal":    func() string { return filepath.Join(s.lay.release("web", s.releaseNames("web")[0]), sealName) },
			"release": func() string { return filepath.Join(s.lay.release("web", s.releaseNames("web")[0]), "release.json") },
			"version": func() string { return filepath.Join(s.lay.rootfs("web", s.releaseNames("web")[0]), "version") },
		} {
			path := file()
			fi, err := os.Stat(filepath.Dir(path))
			must(t, err)
			must(t, os.Chmod(filepath.Dir(path), 0o755))
			must(t, os.Remove(path))
			put(t, path)
			must(t, os.Chmod(filepath.Dir(path), fi.Mode().Perm()))
			if got := s.changes(t, web); len(got) != 1 {
				t.Errorf("%s in the place of %s: %v", kind, name, got)
			}
			s.deploy(t, web)
			if got := s.changes(t, web); len(got) > 0 {
				t.Errorf("%s in the place of %s, after it was deployed again: %v", kind, name, got)
			}
		}
	}
}

// TestADirectoryInAFilesPlaceIsKept: it may be all that is left of something.
func TestADirectoryInAFilesPlaceIsKept(t *testing.T) {
	t.Parallel()
	s := newScene(t)
	web := serviceOf("web", s.image(t, "1"))
	s.deploy(t, web)
	for _, path := range []string{s.lay.sticker(), s.lay.current("web")} {
		must(t, os.Remove(path))
		inPlaceOf()["directory"](t, path)
	}
	s.deploy(t, web)
	for _, path := range []string{s.lay.sticker(), s.lay.current("web")} {
		if _, err := os.Stat(filepath.Join(path+tamperedSuffix+"1", "kept")); err != nil {
			t.Error(err)
		}
	}
}

// TestAFileThatGrewIsNotRead: its size alone proves the change.
func TestAFileThatGrewIsNotRead(t *testing.T) {
	t.Parallel()
	s := newScene(t)
	web := serviceOf("web", s.image(t, "1"), configField("a"))
	s.deploy(t, web)
	root := s.rootOf(t, web)
	for _, name := range []string{"version", "etc/app.conf"} {
		file := filepath.Join(root, name)
		fi, err := os.Stat(file)
		must(t, err)
		must(t, os.Chmod(file, 0o600))
		must(t, os.Truncate(file, 1<<40)) // a sparse one
		must(t, os.Chmod(file, fi.Mode().Perm()))
	}
	began := time.Now()
	if got := s.changes(t, web); len(got) != 2 {
		t.Errorf("changes %v", got)
	}
	if _, err := checkRelease(t.Context(), filepath.Dir(root)); !errors.Is(err, stella.ErrTampered) {
		t.Errorf("%v, want ErrTampered", err)
	}
	if took := time.Since(began); took > time.Minute { // to read it takes a quarter of an hour
		t.Errorf("it took %v", took)
	}
	s.deploy(t, web)
	if got := s.changes(t, web); len(got) > 0 {
		t.Errorf("after it was deployed again: %v", got)
	}
}

// TestDirectoriesDeeperThanDescriptors are read with one at a time.
func TestDirectoriesDeeperThanDescriptors(t *testing.T) {
	t.Parallel()
	s := newScene(t)
	web := serviceOf("web", s.image(t, "1"))
	s.deploy(t, web)
	root := s.rootOf(t, web)
	must(t, os.Chmod(root, 0o755))
	r, err := os.OpenRoot(root)
	must(t, err)
	const deep = 2500 // deeper than a path can be long
	for range deep {
		must(t, r.Mkdir("d", 0o755))
		next, err := r.OpenRoot("d")
		must(t, err)
		must(t, r.Close())
		r = next
	}
	must(t, r.Close())
	must(t, os.Chmod(root, 0o555))
	live, _ := s.observe(t).Resource(webID)
	if files, _ := live.Fields["files"].([]any); len(files) != 1 || files[0] != "added /d" {
		t.Errorf("files %q", files)
	}
	s.deploy(t, web)
	if got := s.changes(t, web); len(got) > 0 {
		t.Errorf("after it was deployed again: %v", got)
	}
}

// TestADirectoryThatNobodyCanLookIntoIsOneChange, of what may be in it nothing is
// known. Root looks into all, so the comparison is told.
func TestADirectoryThatNobodyCanLookIntoIsOneChange(t *testing.T) {
	t.Parallel()
	c := comparison{
		sealed: map[string]sealedFile{"/rootfs": {}, "/rootfs/bin": {}, "/rootfs/bin/app": {}, "/rootfs/bin/in/it": {}},
		seen:   map[string]bool{"/rootfs": true, "/rootfs/bin": true}, found: map[string]string{},
		within: map[string]bool{"/rootfs/new": true}, shut: map[string]bool{},
	}
	c.closed("/rootfs/bin")
	c.closed("/rootfs/new")
	c.removed()
	if got := strings.Join(c.changes().lines(), ", "); got != "changed /bin" {
		t.Errorf("found %q", got)
	}
	if !isForeign(&fs.PathError{Err: syscall.EACCES}) || isForeign(&fs.PathError{Err: syscall.EMFILE}) || isForeign(fs.ErrNotExist) {
		t.Error("a full table of descriptors is nobody's doing, and a file that is not to be read is")
	}
}

// TestAConfigThatLeadsOutOfItsReleaseIsNotRead: what is read of a config is shown,
// and is committed where somebody adopts it.
func TestAConfigThatLeadsOutOfItsReleaseIsNotRead(t *testing.T) {
	t.Parallel()
	outside := t.TempDir()
	must(t, os.WriteFile(filepath.Join(outside, "app.conf"), []byte("hunter2"), 0o644))
	lead := map[string]func(t *testing.T, s *scene, dir string){
		"the directory is a link": func(t *testing.T, _ *scene, dir string) {
			root := filepath.Join(dir, "rootfs")
			must(t, os.Chmod(root, 0o755))
			must(t, os.Chmod(filepath.Join(root, "etc"), 0o755))
			must(t, os.Rename(filepath.Join(root, "etc"), filepath.Join(root, "etc.old")))
			must(t, os.Symlink(outside, filepath.Join(root, "etc")))
		},
		"the root is a link": func(t *testing.T, _ *scene, dir string) {
			must(t, os.Rename(filepath.Join(dir, "rootfs"), filepath.Join(dir, "rootfs.old")))
			must(t, os.Mkdir(filepath.Join(outside, "etc"), 0o755))
			must(t, os.WriteFile(filepath.Join(outside, "etc/app.conf"), []byte("hunter2"), 0o644))
			must(t, os.Symlink(outside, filepath.Join(dir, "rootfs")))
		},
		"the record names another": func(t *testing.T, _ *scene, dir string) {
			up, err := filepath.Rel(filepath.Join(dir, "rootfs"), filepath.Join(outside, "app.conf"))
			must(t, err)
			replaceIn(t, filepath.Join(dir, "release.json"), `"file":"etc/app.conf"`, `"file":"`+up+`"`)
			must(t, os.Remove(filepath.Join(dir, listName)))
		},
	}
	for name, do := range lead {
		t.Run(name, func(t *testing.T) {
			s := newScene(t)
			web := serviceOf("web", s.image(t, "1"), configField("a"))
			s.deploy(t, web)
			do(t, s, s.lay.release("web", s.releaseNames("web")[0]))
			live, _ := s.observe(t).Resource(webID)
			if text := fmt.Sprint(live.Fields); strings.Contains(text, "hunter2") || live.Fields["files"] == nil {
				t.Errorf("it says %s", text)
			}
			lines, err := s.Suspects(t.Context(), webID, "/configs/~1etc~1app.conf/content")
			if text := strings.Join(lines, "\n"); err != nil || strings.Contains(text, outside) || strings.Contains(text, "app.conf was last changed") {
				t.Errorf("suspects %v\n%s", err, text)
			}
			s.deploy(t, web)
			if got := s.changes(t, web); len(got) > 0 {
				t.Errorf("after it was deployed again: %v", got)
			}
		})
	}
}
