package git_test

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"sync"
	"testing"

	"github.com/stella-ops/stella"
	"github.com/stella-ops/stella/internal/git"
	"github.com/stella-ops/stella/internal/git/gittest"
)

// TestDamageIsHealedByFetchingAgain breaks the cache in every way while it is
// open and while it is not. What was last seen survives.
func TestDamageIsHealedByFetchingAgain(t *testing.T) {
	damages := map[string]func(t *testing.T, clone string){
		"a pack is truncated": eachPack(".pack", func(t *testing.T, f string) { rewrite(t, f, func(b []byte) []byte { return b[:len(b)/2] }) }),
		"a pack has flipped bits": eachPack(".pack", func(t *testing.T, f string) {
			rewrite(t, f, func(b []byte) []byte {
				for i := 100; i < len(b)-20; i += 97 {
					b[i] ^= 0x55
				}
				return b
			})
		}),
		"an index has flipped bits": eachPack(".idx", func(t *testing.T, f string) {
			rewrite(t, f, func(b []byte) []byte {
				for i := 1100; i < len(b)-40; i += 31 {
					b[i] ^= 0x55
				}
				return b
			})
		}),
		"packs are empty":      eachPack(".pack", func(t *testing.T, f string) { rewrite(t, f, func([]byte) []byte { return nil }) }),
		"indexes are empty":    eachPack(".idx", func(t *testing.T, f string) { rewrite(t, f, func([]byte) []byte { return nil }) }),
		"packs are gone":       eachPack(".pack", remove),
		"indexes are gone":     eachPack(".idx", remove),
		"all objects are gone": func(t *testing.T, clone string) { remove(t, filepath.Join(clone, "objects")) },
		"the clone is gone":    remove,
		"HEAD is gone":         func(t *testing.T, clone string) { remove(t, filepath.Join(clone, "HEAD")) },
		"shallow is garbage": func(t *testing.T, clone string) {
			if err := os.WriteFile(filepath.Join(clone, "shallow"), []byte("garbage"), 0o600); err != nil {
				t.Fatal(err)
			}
		},
	}
	for name, damage := range damages {
		for _, reopened := range []bool{false, true} {
			t.Run(fmt.Sprintf("%s, reopened %v", name, reopened), func(t *testing.T) {
				bare := seeded(t)
				dir := filepath.Join(t.TempDir(), "cache")
				r := openIn(t, dir, bare)
				head := fetch(t, r)
				damage(t, filepath.Join(dir, "clone.git"))
				if reopened {
					r = openIn(t, dir, bare)
				}
				if got := read(t, r, head, "a"); got != "1" {
					t.Errorf("read %q", got)
				}
				next := git.ID(gittest.Seed(t, bare, map[string]string{"a": "2"}))
				if got := fetch(t, r); got != next {
					t.Errorf("fetched %s, want %s", got, next)
				}
				if got := read(t, r, next, "a"); got != "2" {
					t.Errorf("read %q", got)
				}
				// What was last seen is still known: going back is an alarm.
				gittest.SetRef(t, bare, gittest.Branch, string(head))
				if _, err := r.Fetch(t.Context(), git.Want{Branch: true}); !errors.Is(err, stella.ErrTampered) {
					t.Errorf("a rewind after the damage: %v, want ErrTampered", err)
				}
			})
		}
	}
}

func eachPack(suffix string, do func(*testing.T, string)) func(*testing.T, string) {
	return func(t *testing.T, clone string) {
		t.Helper()
		files, err := filepath.Glob(filepath.Join(clone, "objects", "pack", "*"+suffix))
		if err != nil || len(files) == 0 {
			t.Fatal("no packs", err)
		}
		for _, f := range files {
			do(t, f)
		}
	}
}

func rewrite(t *testing.T, file string, change func([]byte) []byte) {
	t.Helper()
	data, err := os.ReadFile(file)
	if err == nil {
		err = errors.Join(os.Chmod(file, 0o600), os.WriteFile(file, change(data), 0o600))
	}
	if err != nil {
		t.Fatal(err)
	}
}

func remove(t *testing.T, file string) {
	t.Helper()
	if err := os.RemoveAll(file); err != nil {
		t.Fatal(err)
	}
}

func TestDamageWithoutTheRemoteIsAnError(t *testing.T) {
	bare := seeded(t)
	dir := filepath.Join(t.TempDir(), "cache")
	head := fetch(t, openIn(t, dir, bare))
	eachPack(".pack", remove)(t, filepath.Join(dir, "clone.git"))
	remove(t, gittest.Dir(bare))
	if _, err := openIn(t, dir, bare).Tree(t.Context(), head); err == nil {
		t.Error("got no error")
	}
}

func TestSeveralReposShareOneCache(t *testing.T) {
	bare, _ := generated(t, 40, 4)
	dir := filepath.Join(t.TempDir(), "cache")
	repos := []*git.Repo{openIn(t, dir, bare), openIn(t, dir, bare), openIn(t, dir, bare)}
	head := fetch(t, repos[0])
	if got := read(t, repos[1], head, "stella.yaml"); got == "" {
		t.Error("the second does not find what the first fetched")
	}
	var done sync.WaitGroup
	for i, r := range repos {
		done.Go(func() {
			ref := fmt.Sprintf("refs/stella/ledger/env-%d", i)
			old := git.ID("")
			for n := range 15 {
				b := commit(t, r, old, "state.json", fmt.Sprintf("%d-%d", i, n))
				if err := r.Push(t.Context(), []git.Update{{Ref: ref, Old: old, New: b.Commit}}, b); err != nil {
					t.Error(err)
				}
				old = b.Commit
				if _, err := r.Fetch(t.Context(), git.Want{Branch: true, Prefixes: []string{"refs/stella/"}}); err != nil {
					t.Error(err)
				}
			}
		})
	}
	done.Wait()
	seen, err := repos[1].Seen(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	for i, r := range repos {
		ref := fmt.Sprintf("refs/stella/ledger/env-%d", i)
		if seen.IDs[ref] != git.ID(gittest.Ref(t, bare, ref)) {
			t.Errorf("%s was last seen at %s", ref, seen.IDs[ref])
		}
		other := repos[(i+1)%len(repos)]
		if got, want := read(t, other, seen.IDs[ref], "state.json"), fmt.Sprintf("%d-14", i); got != want {
			t.Errorf("%s: read %q, want %q", ref, got, want)
		}
		_ = r
	}
}

func TestAnotherProcessesRebuildIsNoticed(t *testing.T) {
	bare := seeded(t)
	dir := filepath.Join(t.TempDir(), "cache")
	one, two := openIn(t, dir, bare), openIn(t, dir, bare)
	head := fetch(t, one)
	read(t, two, head, "a")
	next := git.ID(gittest.Seed(t, bare, map[string]string{"a": "2"}))
	eachPack(".pack", remove)(t, filepath.Join(dir, "clone.git"))
	three := openIn(t, dir, bare)
	read(t, three, head, "a") // rebuilds
	if got := read(t, two, next, "a"); got != "2" {
		t.Errorf("read %q", got)
	}
}
