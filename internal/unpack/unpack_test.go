package unpack_test

import (
	"archive/tar"
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"testing/iotest"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/stella-ops/stella"
	"github.com/stella-ops/stella/internal/unpack"
)

// hostile are archives that must be refused, and must do no harm on the way.
var hostile = map[string][]entry{
	"the root is a symbolic link (CVE-2021-29136)":           {symlink(".", "/tmp"), file("x", "")},
	"the root is a symbolic link, spelled /.":                {symlink("/.", "/tmp"), file("x", "")},
	"the root is a symbolic link, spelled ./":                {symlink("./", "../sibling"), file("x", "")},
	"the root is a file":                                     {file(".", "x")},
	"a name climbs":                                          {file("../canary", "x")},
	"a name climbs in the middle":                            {file("a/../../canary", "x")},
	"a name is dots":                                         {file("..", "x")},
	"a directory climbs":                                     {dir("../sibling/new/")},
	"an absolute name":                                       {file("/etc/passwd", "x")},
	"a Windows name":                                         {file(`..\..\canary`, "x")},
	"an empty part":                                          {file("a//b", "x")},
	"a dot part":                                             {file("a/./b", "x")},
	"a name with an escape sequence":                         {file("a\x1b]0;x\a", "x")},
	"a name with a newline":                                  {file("a\nb", "x")},
	"a name with a C1 control":                               {file("a\u009b31m", "x")},
	"a name that is too long":                                {file(strings.Repeat("a", 300), "x")},
	"a path that is too deep":                                {file(strings.Repeat("a/", 70)+"f", "x")},
	"the same file twice":                                    {file("a", "1"), file("a", "2")},
	"the same file twice through a link":                     {dir("usr/"), symlink("bin", "usr"), file("bin/a", "1"), file("usr/a", "2")},
	"a file, then a link of that name":                       {file("a", "1"), symlink("a", "../canary")},
	"a link, then a file of that name":                       {symlink("a", "../canary"), file("a", "1")},
	"a link, then a directory of that name (CVE-2021-32760)": {symlink("a", "../sibling"), with(0o777, dir("a/"))},
	"a directory twice":                                      {dir("a/"), dir("a/")},
	"a file below a file":                                    {file("a", "1"), file("a/b", "2")},
	"a file below a link to a file":                          {file("a", "1"), symlink("l", "a"), file("l/b", "2")},
	"a file below a link in circles":                         {symlink("l", "m"), symlink("m", "l"), file("l/b", "2")},
	"a hard link out":                                        {hardlink("h", "../canary")},
	"a hard link to an absolute path":                        {hardlink("h", "/etc/passwd")},
	"a hard link to a link (CVE-2026-50163)":                 {symlink("s", "/etc/passwd"), hardlink("h", "s")},
	"a hard link to a directory":                             {dir("d/"), hardlink("h", "d")},
	"a hard link to what comes later":                        {hardlink("h", "f"), file("f", "x")},
	"a hard link to itself":                                  {hardlink("h", "h")},
	"a hard link to nothing":                                 {hardlink("h", "nothing")},
	"an empty link target":                                   {symlink("l", "")},
	"a link target with a control character":                 {symlink("l", "a\x1b")},
	"a whiteout":                                             {file("a/.wh.b", "")},
	"an opaque whiteout":                                     {file("a/.wh..wh..opq", "")},
	"a character device":                                     {device("sda")},
	"a block device":                                         {ofKind(tar.TypeBlock, device("etc/sda"))},
	"a FIFO":                                                 {ofKind(tar.TypeFifo, device("pipe"))},
	"a device below a link that only looks like dev":         {dir("etc/"), symlink("dev", "etc"), device("dev/sda")},
	"a sparse file":                                          {{name: "s", pax: map[string]string{"GNU.sparse.size": "1"}}},
	"a file that is too large":                               {file("big", strings.Repeat("x", 1<<16+1))},
	"too many entries":                                       manyFiles(400),
	"directories from nowhere beyond the bound":              {file(strings.Repeat("a/", 63)+"1", ""), file(strings.Repeat("b/", 63)+"1", ""), file(strings.Repeat("c/", 63)+"1", ""), file(strings.Repeat("d/", 63)+"1", ""), file(strings.Repeat("e/", 63)+"1", "")},
	"an archive that is too large":                           manyBytes(40),
	"a deep path through a link":                             {symlink("l", strings.Repeat("d/", 60)), file("l/"+strings.Repeat("e/", 60)+"f", "")},
	"an unknown type":                                        {ofKind('X', file("x", ""))},
}

func manyFiles(n int) []entry {
	var all []entry
	for i := range n {
		all = append(all, file(fmt.Sprintf("f%d", i), ""))
	}
	return all
}

func manyBytes(n int) []entry {
	var all []entry
	for i := range n {
		all = append(all, file(fmt.Sprintf("f%d", i), strings.Repeat("x", 1<<15)))
	}
	return all
}

func TestHostileArchivesAreRefusedAndHarmless(t *testing.T) {
	for name, entries := range hostile {
		t.Run(name, func(t *testing.T) {
			y := newYard(t)
			_, err := y.unpack(t.Context(), tolerant(t, entries), small)
			if !errors.Is(err, stella.ErrInvalid) {
				t.Errorf("got %v, want ErrInvalid", err)
			}
			if err != nil && strings.ContainsAny(err.Error(), "\x1b\n\a") {
				t.Errorf("raw text in %q", err)
			}
			y.check()
		})
	}
}

// tolerant is archive for entries that archive/tar would rather not write: PAX
// records of its own.
func tolerant(t testing.TB, entries []entry) []byte {
	if len(entries) != 1 || entries[0].pax == nil {
		return archive(t, entries...)
	}
	var record bytes.Buffer
	for k, v := range entries[0].pax {
		line := " " + k + "=" + v + "\n"
		fmt.Fprintf(&record, "%d%s", len(line)+2, line)
	}
	data := archive(t, entry{name: "PaxHeaders/s", body: record.String()}, file("s", "x"))
	return fixType(data, 'x')
}

// fixType changes the type of an archive's first entry, and its checksum.
func fixType(data []byte, kind byte) []byte {
	const typeAt, sumAt = 156, 148
	data[typeAt] = kind
	copy(data[sumAt:], "        ")
	sum := 0
	for _, b := range data[:512] {
		sum += int(b)
	}
	copy(data[sumAt:], fmt.Sprintf("%06o\x00 ", sum))
	return data
}

func TestLayoutsOfRealImages(t *testing.T) {
	busybox := []entry{
		dir("./"), dir("bin/"), with(0o755, file("bin/busybox", "BB")), hardlink("bin/[", "bin/busybox"), symlink("bin/sh", "/bin/busybox"),
		with(0o1777, dir("tmp/")), with(0o4755, file("bin/su", "SU")), device("dev/null"),
	}
	debian := []entry{
		symlink("bin", "usr/bin"), symlink("lib", "usr/lib"), symlink("lib64", "usr/lib64"), symlink("sbin", "/usr/sbin"), dir("usr/"), dir("usr/bin/"),
		with(0o755, file("usr/bin/vim.basic", "VIM")), symlink("usr/bin/vi", "/etc/alternatives/vi"), symlink("usr/bin/awk", "../../etc/alternatives/awk"),
		symlink("etc/alternatives/vi", "/usr/bin/vim.basic"), symlink("etc/alternatives/awk", "/bin/mawk"), file("bin/mawk", "AWK"),
		symlink("var/run", "/run"), file("run/lock", ""), symlink("dev/stdout", "/proc/self/fd/1"),
		symlink("var/log/nginx/access.log", "/dev/stdout"), file("sbin/init", "INIT"), symlink("up", "../../../../usr/bin/vim.basic"),
		file(`usr/lib/systemd/system/system-systemd\x2dcryptsetup.slice`, ""), file("usr/share/Főtanúsítvány.crt", "CRT"),
	}
	for name, c := range map[string]struct {
		entries []entry
		reads   map[string]string // in place
		want    unpack.Stats
	}{
		"busybox": {
			busybox,
			map[string]string{"bin/sh": "BB", "bin/[": "BB", "bin/su": "SU"},
			unpack.Stats{Files: 2, Dirs: 2, Symlinks: 1, Hardlinks: 1, Bytes: 4, Skipped: []string{"dev/null"}},
		},
		"debian": {debian, map[string]string{
			"bin/vi": "VIM", "usr/bin/awk": "AWK", "bin/awk": "AWK", "usr/bin/mawk": "AWK", "usr/sbin/init": "INIT", "var/run/lock": "", "up": "VIM",
		}, unpack.Stats{Files: 6, Dirs: 14, Symlinks: 12, Bytes: 13}},
	} {
		t.Run(name, func(t *testing.T) {
			y := newYard(t)
			got, err := y.unpack(t.Context(), archive(t, c.entries...), small)
			if err != nil {
				t.Fatal(err)
			}
			if diff := cmp.Diff(c.want, got); diff != "" {
				t.Errorf("stats (-want +got):\n%s", diff)
			}
			for path, want := range c.reads {
				if data, err := os.ReadFile(filepath.Join(y.rootDir(), path)); err != nil || string(data) != want {
					t.Errorf("%s reads %q, %v, want %q", path, data, err, want)
				}
				if data, err := y.root.ReadFile(path); err != nil || string(data) != want {
					t.Errorf("%s reads %q, %v through the root, want %q", path, data, err, want)
				}
			}
			y.check()
		})
	}
}

func TestModesAndTimes(t *testing.T) {
	old := syscall.Umask(0o077)
	defer syscall.Umask(old)
	y := newYard(t)
	var buf bytes.Buffer
	w := tar.NewWriter(&buf)
	when := time.Unix(1_600_000_000, 0)
	for name, mode := range map[string]int64{"setuid": 0o6755, "private": 0o600, "exec": 0o100, "open": 0o666} {
		if err := w.WriteHeader(&tar.Header{Name: "d/" + name, Mode: mode, ModTime: when}); err != nil {
			t.Fatal(err)
		}
	}
	if err := w.Close(); err != nil {
		t.Fatal(err)
	}
	if _, err := y.unpack(t.Context(), buf.Bytes(), small); err != nil {
		t.Fatal(err)
	}
	for name, want := range map[string]os.FileMode{"setuid": 0o755, "private": 0o644, "exec": 0o755, "open": 0o644} {
		info, err := y.root.Lstat("d/" + name)
		if err != nil || info.Mode() != want || !info.ModTime().Equal(when) {
			t.Errorf("%s has mode %v, time %v, %v", name, info.Mode(), info.ModTime(), err)
		}
	}
	y.check()
}

func TestTheEndOfTheArchive(t *testing.T) {
	data := archive(t, file("a", strings.Repeat("x", 400)))
	errVerify := errors.New("digest does not match")
	for name, c := range map[string]struct {
		r    io.Reader
		want error // nil: accepted
	}{
		"zeros after the end are padding":             {io.MultiReader(bytes.NewReader(data), bytes.NewReader(make([]byte, 20<<10))), nil},
		"anything else after the end is refused":      {io.MultiReader(bytes.NewReader(data), strings.NewReader("x")), stella.ErrInvalid},
		"a second archive after the end is refused":   {io.MultiReader(bytes.NewReader(data), bytes.NewReader(data)), stella.ErrInvalid},
		"the reader's verdict at its end is heard":    {io.MultiReader(bytes.NewReader(data), iotest.ErrReader(errVerify)), errVerify},
		"a cut within a file is refused":              {bytes.NewReader(data[:512+1]), stella.ErrInvalid},
		"a cut within a header is refused":            {bytes.NewReader(data[:700]), stella.ErrInvalid},
		"an error within a file comes back":           {io.MultiReader(bytes.NewReader(data[:512+1]), iotest.ErrReader(errVerify)), errVerify},
		"zeros beyond the bound are refused":          {io.MultiReader(bytes.NewReader(data), io.LimitReader(zeros{}, 2<<20)), stella.ErrInvalid},
		"an archive without an end marker is whole":   {bytes.NewReader(data[:1024]), nil},
		"a damaged header is refused":                 {bytes.NewReader(append([]byte("bad"), data...)), stella.ErrInvalid},
		"readers that give one byte at a time do too": {iotest.OneByteReader(bytes.NewReader(data)), nil},
	} {
		t.Run(name, func(t *testing.T) {
			y := newYard(t)
			_, err := unpack.Tar(t.Context(), c.r, y.root, small)
			if !errors.Is(err, c.want) {
				t.Errorf("got %v, want %v", err, c.want)
			}
			y.check()
		})
	}
}

type zeros struct{}

func (zeros) Read(p []byte) (int, error) { clear(p); return len(p), nil }

// TestSparseMapsTakeNoMemory is CVE-2025-58183: a sparse map of 10^8 regions.
func TestSparseMapsTakeNoMemory(t *testing.T) {
	y := newYard(t)
	mapLen := strings.Repeat("1\n", 1<<20)
	record := func(k, v string) string {
		line := " " + k + "=" + v + "\n"
		n := len(line) + 1
		for len(fmt.Sprint(n))+len(line) != n {
			n++
		}
		return fmt.Sprint(n) + line
	}
	pax := record("GNU.sparse.major", "1") + record("GNU.sparse.minor", "0") + record("GNU.sparse.realsize", "100000000")
	data := fixType(archive(t, entry{name: "PaxHeaders/s", body: pax}), 'x')
	data = data[:len(data)-1024] // without the end marker
	data = append(data, archive(t, file("s", "100000000\n"+mapLen))...)
	_, err := y.unpack(t.Context(), data, unpack.Limits{Sync: unpack.SyncNone})
	if !errors.Is(err, stella.ErrInvalid) {
		t.Errorf("got %v, want ErrInvalid", err)
	}
	y.check()
}

func TestTheDirectoryMustBeEmpty(t *testing.T) {
	y := newYard(t)
	y.must(os.Symlink("../sibling", filepath.Join(y.rootDir(), "planted")))
	if _, err := y.unpack(t.Context(), archive(t, file("planted/x", "")), small); !errors.Is(err, stella.ErrConflict) {
		t.Errorf("got %v, want ErrConflict", err)
	}
	if got := y.outside(); got != y.neigh {
		t.Error("the outside changed")
	}
}

func TestCancelling(t *testing.T) {
	y := newYard(t)
	why := errors.New("enough")
	ctx, cancel := context.WithCancelCause(t.Context())
	cancel(why)
	if _, err := y.unpack(ctx, archive(t, file("a", "x")), small); !errors.Is(err, why) {
		t.Errorf("got %v, want the cause", err)
	}
}

func TestSyncPoliciesWriteTheSame(t *testing.T) {
	for _, s := range []unpack.Sync{unpack.SyncAll, unpack.SyncFS, unpack.SyncNone} {
		y := newYard(t)
		l := small
		l.Sync = s
		got, err := y.unpack(t.Context(), archive(t, file("a/b", "x"), symlink("l", "a"), hardlink("a/h", "a/b")), l)
		if diff := cmp.Diff(unpack.Stats{Files: 1, Dirs: 1, Symlinks: 1, Hardlinks: 1, Bytes: 1}, got); err != nil || diff != "" {
			t.Errorf("sync %d: %v (-want +got):\n%s", s, err, diff)
		}
		y.check()
	}
}

func FuzzTar(f *testing.F) {
	for _, entries := range hostile {
		if data := tolerant(f, entries); len(data) < 8<<10 {
			f.Add(data)
		}
	}
	f.Add(archive(f, dir("./"), dir("usr/bin/"), symlink("bin", "usr/bin"), file("bin/sh", "x"), hardlink("bin/h", "usr/bin/sh"), symlink("abs", "/a/../../b")))
	limits := unpack.Limits{TotalBytes: 1 << 16, FileBytes: 1 << 14, Entries: 100, Sync: unpack.SyncNone}
	f.Fuzz(func(t *testing.T, data []byte) {
		y := newYard(t)
		stats, err := y.unpack(t.Context(), data, limits)
		if err != nil && strings.ContainsFunc(err.Error(), func(r rune) bool { return r < ' ' || r == 0x7f }) {
			t.Errorf("raw text in %q", err)
		}
		if stats.Bytes > limits.TotalBytes || stats.Files+stats.Dirs+stats.Symlinks+stats.Hardlinks > limits.Entries {
			t.Errorf("over the limits: %+v", stats)
		}
		y.check()
	})
}
