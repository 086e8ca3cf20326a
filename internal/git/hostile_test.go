package git_test

import (
	"bytes"
	"encoding/hex"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"unicode/utf8"

	"github.com/stella-ops/stella"
	"github.com/stella-ops/stella/internal/git"
	"github.com/stella-ops/stella/internal/git/gittest"
)

// hash writes a raw object of any content into a repository, as a hostile
// client could, and returns its id.
func hash(t testing.TB, bare, kind string, raw []byte) string {
	t.Helper()
	cmd := exec.CommandContext(t.Context(), "git", "hash-object", "-t", kind, "-w", "--stdin", "--literally")
	cmd.Dir, cmd.Env, cmd.Stdin = gittest.Dir(bare), gittest.Environ(), bytes.NewReader(raw)
	out, err := cmd.CombinedOutput()
	if err != nil {
		t.Fatalf("%v: %s", err, out)
	}
	return strings.TrimSpace(string(out))
}

type rawEntry struct{ mode, name, id string }

func rawTree(t testing.TB, entries ...rawEntry) []byte {
	t.Helper()
	var b bytes.Buffer
	for _, e := range entries {
		id, err := hex.DecodeString(e.id)
		if err != nil {
			t.Fatal(err)
		}
		fmt.Fprintf(&b, "%s %s\x00%s", e.mode, e.name, id)
	}
	return b.Bytes()
}

// TestHostileTreesAreRefusedWhenTheyAreRead: git accepts all of them unless it
// is told to check.
func TestHostileTreesAreRefusedWhenTheyAreRead(t *testing.T) {
	bare := seeded(t)
	blob := hash(t, bare, "blob", []byte("x"))
	good := rawEntry{"100644", "good", blob}
	for name, entries := range map[string][]rawEntry{
		"dot dot":           {{"100644", "..", blob}},
		"dot":               {{"100644", ".", blob}},
		"dot git":           {{"100644", ".git", blob}},
		"dot GIT":           {{"40000", ".GiT", hash(t, bare, "tree", nil)}},
		"a path":            {{"100644", "a/b", blob}},
		"an absolute path":  {{"100644", "/etc/passwd", blob}},
		"an escape":         {{"100644", "a\x1b[2J", blob}},
		"a newline":         {{"100644", "a\nb", blob}},
		"a C1 control":      {{"100644", "a\u009bb", blob}},
		"bad UTF-8":         {{"100644", "a\xff", blob}},
		"a name twice":      {good, good},
		"a file and a link": {{"100644", "a", blob}, {"120000", "a", blob}},
		"a file and a dir":  {{"100644", "a", blob}, {"40000", "a", hash(t, bare, "tree", nil)}},
		"a wrong order":     {{"100644", "b", blob}, {"100644", "a", blob}},
		"a strange mode":    {{"100600", "a", blob}},
		"a mode with zeros": {{"040000", "a", hash(t, bare, "tree", nil)}},
		"a device":          {{"20666", "a", blob}},
		"a long name":       {{"100644", strings.Repeat("a", 300), blob}},
	} {
		tree := hash(t, bare, "tree", rawTree(t, entries...))
		top := hash(t, bare, "tree", rawTree(t, rawEntry{"40000", "envs", tree}, rawEntry{"100644", "stella.yaml", blob}))
		id := gittest.Run(t, gittest.Dir(bare), "commit-tree", "-m", name, top)
		gittest.SetRef(t, bare, "refs/heads/hostile/"+git.RefSafe(name), id)
		r := open(t, bare)
		if _, err := r.Fetch(t.Context(), git.Want{Prefixes: []string{"refs/heads/hostile/"}}); err != nil {
			t.Fatal(err)
		}
		got, err := r.Tree(t.Context(), git.ID(id))
		if err != nil {
			t.Fatal(err)
		}
		list, err := got.Entries(t.Context(), "envs")
		if !errors.Is(err, stella.ErrInvalid) {
			t.Errorf("%s: listed %v, %v, want ErrInvalid", name, list, err)
		}
		if err != nil && (strings.ContainsAny(err.Error(), "\x1b\n\u009b") || !utf8.ValidString(err.Error())) {
			t.Errorf("%s: the error is not printable: %q", name, err)
		}
		if _, err := got.Read(t.Context(), "envs/good", 10); !errors.Is(err, stella.ErrInvalid) {
			t.Errorf("%s: read beside it: %v, want ErrInvalid", name, err)
		}
		if _, err := r.Build(t.Context(), git.Draft{Base: git.ID(id), Edits: []git.Edit{{Path: "envs/x"}}, Author: who("x")}); !errors.Is(err, stella.ErrInvalid) {
			t.Errorf("%s: built upon: %v, want ErrInvalid", name, err)
		}
		if got := read(t, r, git.ID(id), "stella.yaml"); got != "x" {
			t.Errorf("%s: elsewhere: %q", name, got)
		}
	}
}

func TestWhatIsNoFileIsNotRead(t *testing.T) {
	bare := seeded(t)
	blob := hash(t, bare, "blob", []byte("/etc/passwd"))
	tree := hash(t, bare, "tree", rawTree(t,
		rawEntry{"40000", "dir", hash(t, bare, "tree", rawTree(t, rawEntry{"100755", "run", blob}))},
		rawEntry{"120000", "link", blob}, rawEntry{"160000", "module", strings.Repeat("1", 40)}, rawEntry{"100664", "old", blob}))
	id := git.ID(gittest.Run(t, gittest.Dir(bare), "commit-tree", "-m", "x", tree))
	gittest.SetRef(t, bare, gittest.Branch, string(id))
	r := open(t, bare)
	fetch(t, r)
	top, err := r.Tree(t.Context(), id)
	if err != nil {
		t.Fatal(err)
	}
	entries, err := top.Entries(t.Context(), "")
	if err != nil {
		t.Fatal(err)
	}
	want := "[dir 40000 0; link 120000 11; module 160000 0; old 100644 11]"
	var got []string
	for _, e := range entries {
		got = append(got, fmt.Sprintf("%s %o %d", e.Name, e.Mode, e.SizeBytes))
	}
	if s := "[" + strings.Join(got, "; ") + "]"; s != want {
		t.Errorf("got %s, want %s", s, want)
	}
	for path, want := range map[string]error{
		"link": stella.ErrInvalid, "module": stella.ErrInvalid, "dir": stella.ErrInvalid, "": stella.ErrInvalid,
		"nothing": stella.ErrNotFound, "old/below": stella.ErrNotFound, "link/x": stella.ErrNotFound, "module/x": stella.ErrNotFound,
		"../x": stella.ErrInvalid, "dir//run": stella.ErrInvalid, "/dir/run": stella.ErrInvalid, strings.Repeat("a/", 40) + "a": stella.ErrInvalid,
	} {
		if _, err := top.Read(t.Context(), path, 100); !errors.Is(err, want) {
			t.Errorf("%q: %v, want %v", path, err, want)
		}
	}
	if _, err := top.Read(t.Context(), "old", 10); !errors.Is(err, stella.ErrInvalid) {
		t.Errorf("a file of 11 bytes, 10 allowed: %v, want ErrInvalid", err)
	}
	if data, err := top.Read(t.Context(), "dir/run", 11); err != nil || string(data) != "/etc/passwd" {
		t.Errorf("a file of 11 bytes, 11 allowed: %q, %v", data, err)
	}
}

func TestASignedCommitIsRead(t *testing.T) {
	bare := seeded(t)
	tree := gittest.Run(t, gittest.Dir(bare), "rev-parse", "main^{tree}")
	good := "tree " + tree + "\nauthor A <a@example.com> 1700000000 +0000\ncommitter A <a@example.com> 1700000000 +0000\n"
	signed := hash(t, bare, "commit", []byte(good+"gpgsig -----BEGIN\n tree x\n -----END\nencoding UTF-8\n\nsigned\n"))
	gittest.SetRef(t, bare, gittest.Branch, signed)
	r := open(t, bare)
	c, err := r.Commit(t.Context(), fetch(t, r))
	if err != nil || c.Message != "signed\n" || string(c.Tree) != tree {
		t.Errorf("a signed commit: %+v, %v", c, err)
	}
}

// TestABombStaysSmall: megabytes that hold a gigabyte, and a directory of
// directories that is ten billion files.
func TestABombStaysSmall(t *testing.T) {
	bare := seeded(t)
	id := hash(t, bare, "blob", nil)
	mode := "100644"
	for range 10 {
		var entries []rawEntry
		for i := range 10 {
			entries = append(entries, rawEntry{mode, fmt.Sprint(i), id})
		}
		id, mode = hash(t, bare, "tree", rawTree(t, entries...)), "40000"
	}
	zeros := filepath.Join(t.TempDir(), "zeros")
	if err := errors.Join(os.WriteFile(zeros, nil, 0o600), os.Truncate(zeros, 1<<27)); err != nil {
		t.Fatal(err)
	}
	big := gittest.Run(t, gittest.Dir(bare), "hash-object", "-w", zeros)
	top := hash(t, bare, "tree", rawTree(t, rawEntry{"100644", "big.yaml", big}, rawEntry{"40000", "many", id}))
	gittest.SetRef(t, bare, gittest.Branch, gittest.Run(t, gittest.Dir(bare), "commit-tree", "-m", "bomb", top))
	r := open(t, bare)
	head := fetch(t, r)
	tree, err := r.Tree(t.Context(), head)
	if err != nil {
		t.Fatal(err)
	}
	if e, err := tree.Lookup(t.Context(), "big.yaml"); err != nil || e.SizeBytes != 1<<27 {
		t.Errorf("looked up %+v, %v", e, err)
	}
	if _, err := tree.Read(t.Context(), "big.yaml", 1<<20); !errors.Is(err, stella.ErrInvalid) {
		t.Errorf("read: %v, want ErrInvalid", err)
	}
	if e, err := tree.Entries(t.Context(), "many/1/2"); err != nil || len(e) != 10 {
		t.Errorf("listed %d, %v", len(e), err)
	}
	status, err := os.ReadFile("/proc/self/status")
	if err != nil {
		t.Fatal(err)
	}
	_, after, _ := strings.Cut(string(status), "VmHWM:")
	var kib int
	if _, err := fmt.Sscan(after, &kib); err != nil || kib > 160<<10 {
		t.Errorf("the process took %d KiB, %v", kib, err)
	}
}
