package configrepo

import (
	"context"
	"crypto/sha1"
	"encoding/hex"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"slices"
	"strings"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	stella "github.com/stella-ops/stella"
)

// mapTree is a Tree of files by path. A path in modes is no plain file; what is
// below links and submodules is not there, as in Git.
type mapTree struct {
	files map[string]string
	modes map[string]uint32
	reads int // directories and files that were read
}

func newMapTree(files map[string]string) *mapTree {
	return &mapTree{files: files, modes: map[string]uint32{}}
}

func (t *mapTree) Entries(_ context.Context, dir string) ([]Entry, error) {
	t.reads++
	found := map[string]Entry{}
	for name, content := range t.files {
		rest, is := strings.CutPrefix(name, dir+"/")
		if dir == "" {
			rest, is = name, true
		}
		if !is {
			continue
		}
		base, _, deeper := strings.Cut(rest, "/")
		e := Entry{Name: base, Mode: ModeFile, SizeBytes: int64(len(content))}
		if deeper {
			e = Entry{Name: base, Mode: ModeDir}
		} else if mode := t.modes[name]; mode != 0 {
			e.Mode = mode
		}
		sum := sha1.Sum([]byte(name))
		e.ID = hex.EncodeToString(sum[:])
		found[base] = e
	}
	if len(found) == 0 {
		return nil, fmt.Errorf("%s: %w", dir, stella.ErrNotFound)
	}
	entries := make([]Entry, 0, len(found))
	for _, e := range found {
		entries = append(entries, e)
	}
	slices.SortFunc(entries, func(a, b Entry) int { return strings.Compare(a.Name, b.Name) })
	return entries, nil
}

func (t *mapTree) Read(_ context.Context, name string, maxBytes int64) ([]byte, error) {
	t.reads++
	content, is := t.files[name]
	switch {
	case !is:
		return nil, fmt.Errorf("%s: %w", name, stella.ErrNotFound)
	case int64(len(content)) > maxBytes:
		return nil, fmt.Errorf("%s is too large: %w", name, stella.ErrInvalid)
	}
	return []byte(content), nil
}

// rawTree lists what its functions say: trees that no map can hold.
type rawTree struct {
	entries func(dir string) []Entry
	read    func(name string) []byte
	reads   atomic.Int64
}

func (t *rawTree) Entries(_ context.Context, dir string) ([]Entry, error) {
	t.reads.Add(1)
	return t.entries(dir), nil
}

func (t *rawTree) Lookup(_ context.Context, _ string) (Entry, error) {
	return Entry{Mode: ModeDir}, nil
}

func (t *rawTree) Read(_ context.Context, name string, _ int64) ([]byte, error) {
	t.reads.Add(1)
	return t.read(name), nil
}

// The bounds of reading anything hostile.
const (
	mostTime   = time.Second
	mostMemory = 64 << 20
)

// bounded runs f and fails where it took more than a second of processor time,
// which other processes do not lengthen, or allocated more than 64 MiB in all,
// which bounds its peak too.
func bounded(t *testing.T, f func()) {
	t.Helper()
	var before, after runtime.MemStats
	runtime.GC()
	runtime.ReadMemStats(&before)
	start := processorTime(t)
	f()
	took := processorTime(t) - start
	runtime.ReadMemStats(&after)
	allocated := after.TotalAlloc - before.TotalAlloc
	t.Logf("%v, %.1f MiB", took.Round(time.Millisecond), float64(allocated)/(1<<20))
	if took > mostTime*raceFactor {
		t.Errorf("took %v, want at most %v", took, mostTime)
	}
	if allocated > mostMemory*raceFactor {
		t.Errorf("allocated %d MiB, want at most %d", allocated>>20, mostMemory>>20)
	}
}

// processorTime is what the process has used so far.
func processorTime(t *testing.T) time.Duration {
	t.Helper()
	var u syscall.Rusage
	if err := syscall.Getrusage(syscall.RUSAGE_SELF, &u); err != nil {
		t.Fatal(err)
	}
	return time.Duration(u.Utime.Nano() + u.Stime.Nano())
}

func problemsIn(t *testing.T, err error) Problems {
	t.Helper()
	var problems Problems
	if !errors.As(err, &problems) || len(problems) == 0 {
		t.Fatalf("got %v, want Problems", err)
	}
	if !errors.Is(err, stella.ErrInvalid) {
		t.Errorf("%v is not of class ErrInvalid", err)
	}
	return problems
}

func TestReadFilesReturnsAllSortedAndOnce(t *testing.T) {
	tree := newMapTree(map[string]string{
		"envs/a/app/z.yaml": "z", "envs/a/app/config/x": "x", "envs/a/environment.yaml": "no", "shared/base/b": "b", "shared/other/o": "no",
	})
	got, err := ReadFiles(t.Context(), tree, "envs/a/app", "shared/base", "shared/base", "envs/a/app/config")
	if err != nil {
		t.Fatal(err)
	}
	want := []File{
		{Path: "envs/a/app/config/x", Content: []byte("x")},
		{Path: "envs/a/app/z.yaml", Content: []byte("z")},
		{Path: "shared/base/b", Content: []byte("b")},
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("ReadFiles (-want +got):\n%s", diff)
	}
}

func TestReadFilesRefusesEverythingThatIsNotAFile(t *testing.T) {
	tree := newMapTree(map[string]string{
		"app/ok": "", "app/link": "/etc/passwd", "app/sub/module": "", "app/lfs": "version https://git-lfs.github.com/spec/v1\noid sha256:0\n",
		"app/odd": "", "app/big": strings.Repeat("x", MaxFileBytes+1), "app/exact": strings.Repeat("x", MaxFileBytes), "linked/x": "",
	})
	tree.modes = map[string]uint32{"app/link": ModeSymlink, "app/sub/module": ModeSubmodule, "app/odd": 0o100664}
	_, err := ReadFiles(t.Context(), tree, "app", "gone")
	want := strings.Join([]string{
		"app/big: is 1048577 bytes long; keep it to 1048576",
		"app/link: is a symbolic link; put the file in its place",
		"app/odd: has the mode 100664; put a file in its place",
		"app/sub/module: is a submodule; commit its files in its place",
		"gone: is not there; add the directory",
	}, "\n")
	if diff := cmp.Diff(want, problemsIn(t, err).Error()); diff != "" {
		t.Errorf("problems (-want +got):\n%s", diff)
	}
	for _, gone := range []string{"app/big", "app/link", "app/odd", "app/sub/module"} {
		delete(tree.files, gone)
	}
	_, err = ReadFiles(t.Context(), tree, "app")
	if got := problemsIn(t, err).Error(); got != "app/lfs: is a Git LFS pointer and not the file; commit the file itself" {
		t.Errorf("got %q", got)
	}
}

func TestReadFilesNamesALinkOnTheWay(t *testing.T) {
	tree := newMapTree(map[string]string{"shared": "/etc"})
	tree.modes["shared"] = ModeSymlink
	_, err := ReadFiles(t.Context(), tree, "shared/base")
	if got := problemsIn(t, err).Error(); got != "shared: is a symbolic link; put the directory in its place" {
		t.Errorf("got %q", got)
	}
}

func TestReadFilesRefusesHostileNames(t *testing.T) {
	names := []string{
		"", ".", "..", "a/b", `a\b`, "../up", "nul\x00", "line\nbreak", "esc\x1b[2J", "bad\xff", strings.Repeat("n", 300),
		".git", ".GIT", "git~1", ".g\u200cit", ".git::$INDEX_ALLOCATION", ".git . ", "GIT~1 ",
	}
	for _, name := range names {
		tree := &rawTree{
			entries: func(string) []Entry { return []Entry{{Name: name, Mode: ModeFile}, {Name: "b", Mode: ModeFile}} },
			read:    func(string) []byte { return nil },
		}
		_, err := ReadFiles(t.Context(), tree, "app")
		got := problemsIn(t, err).Error()
		if len(problemsIn(t, err)) != 1 || !strings.Contains(got, "rename or remove it") {
			t.Errorf("%q: got %q", name, got)
		}
		if strings.ContainsFunc(got, func(r rune) bool { return r < ' ' || r == 0xfffd || r == 0x200c }) {
			t.Errorf("%q: the problem %q is not fit for a terminal", name, got)
		}
	}
	tree := &rawTree{entries: func(string) []Entry {
		return []Entry{{Name: "x", Mode: ModeSymlink}, {Name: "x", Mode: ModeFile}}
	}}
	_, err := ReadFiles(t.Context(), tree, "app")
	if got := problemsIn(t, err).Error(); !strings.Contains(got, "app/x: is there twice") {
		t.Errorf("got %q", got)
	}
}

// TestReadFilesEndsInEndlessTrees: a tree of 10^10 files is 228 KB in Git.
func TestReadFilesEndsInEndlessTrees(t *testing.T) {
	wide := func(n int, mode uint32, size int64) func(string) []Entry {
		entries := make([]Entry, n)
		for i := range entries {
			entries[i] = Entry{Name: fmt.Sprintf("e%d", i), Mode: mode, SizeBytes: size}
		}
		return func(string) []Entry { return entries }
	}
	deep := func(levels int, leaves []Entry) func(string) []Entry {
		dirs := wide(10, ModeDir, 0)("")
		return func(dir string) []Entry {
			if strings.Count(dir, "/") == levels {
				return leaves
			}
			return dirs
		}
	}
	for name, c := range map[string]struct {
		entries func(string) []Entry
		want    string
	}{
		"10^10 files in ten levels":     {deep(9, wide(10, ModeFile, 1)("")), "more than 2000"},
		"10^10 directories and no file": {deep(20, nil), "more than 2000 directories"},
		"a directory in itself":         {wide(1, ModeDir, 0), "more than 32 directories deep"},
		"2,001 files":                   {wide(2001, ModeFile, 1), "more than 2000 files"},
		"100,000 files":                 {wide(100_000, ModeFile, 1), "more than 2000 files"},
		"17 files of 1 MiB":             {wide(17, ModeFile, 1<<20), "more than 16777216 bytes"},
		"100,000 links":                 {wide(100_000, ModeSymlink, 1), "and more is wrong"},
		"a file of 1 GiB":               {wide(1, ModeFile, 1<<30), "is 1073741824 bytes long"},
	} {
		t.Run(name, func(t *testing.T) {
			tree := &rawTree{entries: c.entries, read: func(name string) []byte {
				t.Fatalf("%s was read", name)
				return nil
			}}
			bounded(t, func() {
				_, err := ReadFiles(t.Context(), tree, "app")
				if got := problemsIn(t, err); !strings.Contains(got.Error(), c.want) || len(got) > 110 {
					t.Errorf("got %d problems: %v, want %q", len(got), got[len(got)-1], c.want)
				}
			})
			if n := tree.reads.Load(); n > 2100 {
				t.Errorf("%d trees were read", n)
			}
		})
	}
}

func TestReadFilesAtTheLimitsIsRight(t *testing.T) {
	entries := make([]Entry, MaxFiles)
	for i := range entries {
		entries[i] = Entry{Name: fmt.Sprintf("f%d", i), Mode: ModeFile, SizeBytes: MaxTotalBytes / MaxFiles}
	}
	tree := &rawTree{entries: func(string) []Entry { return entries }, read: func(string) []byte { return []byte("x") }}
	files, err := ReadFiles(t.Context(), tree, "app")
	if err != nil || len(files) != MaxFiles {
		t.Errorf("got %d files, %v", len(files), err)
	}
}

func TestReadFilesStopsWhenCancelled(t *testing.T) {
	ctx, cancel := context.WithCancelCause(t.Context())
	why := errors.New("lease lost")
	cancel(why)
	_, err := ReadFiles(ctx, newMapTree(map[string]string{"app/x": ""}), "app")
	if !errors.Is(err, why) {
		t.Errorf("got %v, want %v", err, why)
	}
}

// TestDirTreeIDsAreGits compares the ids of a working copy with those of git.
func TestDirTreeIDsAreGits(t *testing.T) {
	dir := t.TempDir()
	write := func(name, content string, mode os.FileMode) {
		t.Helper()
		full := filepath.Join(dir, name)
		if err := os.MkdirAll(filepath.Dir(full), 0o700); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(full, []byte(content), mode); err != nil {
			t.Fatal(err)
		}
	}
	write("envs/a/app/release.yaml", "x", 0o600)
	write("envs/a/app.d/run.sh", "y", 0o700)
	write("envs/a-b/app/x", "", 0o600)
	write("stella.yaml", "z\n", 0o600)
	for _, err := range []error{
		os.Symlink("/etc/passwd", filepath.Join(dir, "envs/a/link")),
		os.MkdirAll(filepath.Join(dir, "envs/a/empty/within"), 0o700),
	} {
		if err != nil {
			t.Fatal(err)
		}
	}
	git := func(args ...string) string {
		t.Helper()
		cmd := exec.Command("git", append([]string{"-C", dir, "-c", "user.name=a", "-c", "user.email=a@example.com"}, args...)...)
		out, err := cmd.CombinedOutput()
		if err != nil {
			t.Fatalf("git %v: %v\n%s", args, err, out)
		}
		return string(out)
	}
	git("init", "-q")
	git("add", "-A")
	git("commit", "-q", "-m", "x")
	root, err := os.OpenRoot(dir)
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = root.Close() }()
	tree := DirTree(root)
	for _, at := range []string{"", "envs", "envs/a"} {
		entries, err := tree.Entries(t.Context(), at)
		if err != nil {
			t.Fatal(err)
		}
		var got strings.Builder
		for _, e := range entries {
			kind := map[uint32]string{ModeDir: "tree"}[e.Mode]
			if kind == "" {
				kind = "blob"
			}
			if e.ID != emptyTree {
				fmt.Fprintf(&got, "%06o %s %s\t%s\n", e.Mode, kind, e.ID, e.Name)
			}
		}
		if diff := cmp.Diff(git("ls-tree", "HEAD:"+at), got.String()); diff != "" {
			t.Errorf("%q (-git +got):\n%s", at, diff)
		}
	}
}

func TestDirTreeFollowsNoLinks(t *testing.T) {
	dir := t.TempDir()
	for _, err := range []error{
		os.WriteFile(filepath.Join(dir, "real"), []byte("x"), 0o600),
		os.Mkdir(filepath.Join(dir, "dir"), 0o700),
		os.WriteFile(filepath.Join(dir, "dir/file"), []byte("x"), 0o600),
		os.Symlink("real", filepath.Join(dir, "link")),
		os.Symlink("dir", filepath.Join(dir, "linked")),
		os.Symlink("loop", filepath.Join(dir, "loop")),
		os.Symlink("../..", filepath.Join(dir, "out")),
		exec.Command("mkfifo", filepath.Join(dir, "pipe")).Run(),
	} {
		if err != nil {
			t.Fatal(err)
		}
	}
	root, err := os.OpenRoot(dir)
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = root.Close() }()
	tree := DirTree(root)
	for _, name := range []string{"link", "linked/file", "loop", "out/x", "pipe", "../x", "/etc/passwd", "dir", "gone", "real/x"} {
		if content, err := tree.Read(t.Context(), name, 10); err == nil {
			t.Errorf("%s was read: %q", name, content)
		}
	}
	if _, err := tree.Entries(t.Context(), "linked"); !errors.Is(err, stella.ErrNotFound) {
		t.Errorf("linked: got %v, want ErrNotFound", err)
	}
	if _, err := tree.Read(t.Context(), "real", 0); !errors.Is(err, stella.ErrInvalid) {
		t.Errorf("a file over the limit: got %v", err)
	}
	_, err = ReadFiles(t.Context(), tree, "")
	want := strings.Join([]string{
		"link: is a symbolic link; put the file in its place",
		"linked: is a symbolic link; put the file in its place",
		"loop: is a symbolic link; put the file in its place",
		"out: is a symbolic link; put the file in its place",
		"pipe: has the mode 000000; put a file in its place",
	}, "\n")
	if diff := cmp.Diff(want, problemsIn(t, err).Error()); diff != "" {
		t.Errorf("problems (-want +got):\n%s", diff)
	}
}
