package unpack_test

import (
	"archive/tar"
	"bytes"
	"context"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"testing"

	"github.com/stella-ops/stella/internal/unpack"
)

// yard is a directory to unpack in, with neighbours that must not change.
type yard struct {
	t     testing.TB
	outer string
	root  *os.Root
	neigh string // snapshot of everything outside root
}

func newYard(t testing.TB) *yard {
	t.Helper()
	y := &yard{t: t, outer: t.TempDir()}
	for _, dir := range []string{"root", "sibling", "etc"} {
		y.must(os.Mkdir(filepath.Join(y.outer, dir), 0o700))
	}
	y.must(os.WriteFile(filepath.Join(y.outer, "etc/passwd"), []byte("canary"), 0o600))
	y.must(os.WriteFile(filepath.Join(y.outer, "canary"), []byte("canary"), 0o600))
	root, err := os.OpenRoot(y.rootDir())
	y.must(err)
	y.root = root
	t.Cleanup(func() { _ = root.Close() })
	y.neigh = y.outside()
	return y
}

func (y *yard) rootDir() string { return filepath.Join(y.outer, "root") }

func (y *yard) must(err error) {
	y.t.Helper()
	if err != nil {
		y.t.Fatal(err)
	}
}

// outside describes everything beside the root, to the mode and content.
func (y *yard) outside() string {
	var b strings.Builder
	y.must(filepath.WalkDir(y.outer, func(path string, d fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		if path == y.rootDir() {
			return filepath.SkipDir
		}
		info, err := d.Info()
		if err != nil {
			return err
		}
		b.WriteString(path + " " + info.Mode().String())
		if d.Type().IsRegular() {
			data, err := os.ReadFile(path)
			if err != nil {
				return err
			}
			b.WriteString(" " + string(data) + " " + info.ModTime().String())
			if st, ok := info.Sys().(*syscall.Stat_t); !ok || st.Nlink != 1 {
				b.WriteString(" linked")
			}
		}
		b.WriteString("\n")
		return nil
	}))
	return b.String()
}

// check is the escape oracle: nothing outside changed, and nothing inside leads
// out or is what we never make.
func (y *yard) check() {
	y.t.Helper()
	if got := y.outside(); got != y.neigh {
		y.t.Errorf("the outside changed:\n%s\nwas:\n%s", got, y.neigh)
	}
	y.must(filepath.WalkDir(y.rootDir(), func(path string, d fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		info, err := d.Info()
		if err != nil {
			return err
		}
		switch mode := info.Mode(); {
		case path == y.rootDir():
		case mode.Type() == fs.ModeSymlink:
			if y.leadsOut(path) {
				target, _ := os.Readlink(path)
				y.t.Errorf("%s -> %s leads out", path, target)
			}
		case mode.IsDir() && mode == fs.ModeDir|0o755, mode.IsRegular() && (mode == 0o644 || mode == 0o755):
		case mode.IsRegular() && mode == 0o600: // an entry that was refused half way
		default:
			y.t.Errorf("%s has mode %v", path, mode)
		}
		return nil
	}))
}

// leadsOut walks a path as the kernel does and watches for it to climb above
// the root, whether or not what it leads to exists.
func (y *yard) leadsOut(path string) bool {
	rel, err := filepath.Rel(y.rootDir(), path)
	y.must(err)
	var at []string
	rest := strings.Split(rel, "/")
	for links := 0; len(rest) > 0 && links < 50; {
		part := rest[0]
		rest = rest[1:]
		switch part {
		case "", ".":
			continue
		case "..":
			if len(at) == 0 {
				return true
			}
			at = at[:len(at)-1]
			continue
		}
		at = append(slices.Clip(at), part)
		target, err := os.Readlink(filepath.Join(y.rootDir(), filepath.Join(at...)))
		if err != nil {
			continue // no link, or not there: from here on the way is what it seems
		}
		if filepath.IsAbs(target) {
			return true
		}
		links++
		at = at[:len(at)-1]
		rest = append(strings.Split(target, "/"), rest...)
	}
	return false
}

// entry is one entry of a test's archive.
type entry struct {
	name, link, body string
	kind             byte // 0: regular
	mode             int64
	pax              map[string]string
}

func dir(name string) entry           { return entry{name: name, kind: tar.TypeDir, mode: 0o755} }
func file(name, body string) entry    { return entry{name: name, body: body, mode: 0o644} }
func symlink(name, to string) entry   { return entry{name: name, link: to, kind: tar.TypeSymlink} }
func hardlink(name, to string) entry  { return entry{name: name, link: to, kind: tar.TypeLink} }
func device(name string) entry        { return entry{name: name, kind: tar.TypeChar} }
func with(mode int64, e entry) entry  { e.mode = mode; return e }
func ofKind(kind byte, e entry) entry { e.kind = kind; return e }

func archive(t testing.TB, entries ...entry) []byte {
	t.Helper()
	var buf bytes.Buffer
	w := tar.NewWriter(&buf)
	for _, e := range entries {
		h := &tar.Header{Name: e.name, Linkname: e.link, Typeflag: e.kind, Mode: e.mode, Size: int64(len(e.body)), PAXRecords: e.pax, Format: tar.FormatPAX}
		if h.Typeflag == 0 {
			h.Typeflag = tar.TypeReg
		}
		if err := w.WriteHeader(h); err != nil {
			t.Fatalf("%q: %v", e.name, err)
		}
		if _, err := w.Write([]byte(e.body)); err != nil {
			t.Fatal(err)
		}
	}
	if err := w.Close(); err != nil {
		t.Fatal(err)
	}
	return buf.Bytes()
}

var small = unpack.Limits{TotalBytes: 1 << 20, FileBytes: 1 << 16, Entries: 300, Sync: unpack.SyncNone}

func (y *yard) unpack(ctx context.Context, data []byte, l unpack.Limits) (unpack.Stats, error) {
	return unpack.Tar(ctx, bytes.NewReader(data), y.root, l)
}
