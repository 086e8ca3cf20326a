package odb_test

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/go-git/go-git/v5/plumbing"

	"github.com/stella-ops/stella/internal/git/gittest"
	"github.com/stella-ops/stella/internal/git/odb"
)

// history makes a repository with many versions of a wide directory, so that
// its packs have long chains of deltas, and returns its directory.
func history(t testing.TB, commits, envs int) string {
	t.Helper()
	dir := filepath.Join(t.TempDir(), "source.git")
	if _, err := gittest.Generate(t.Context(), dir, commits, envs); err != nil {
		t.Fatal(err)
	}
	return dir
}

// packOf returns a pack with all that is reachable from args.
func packOf(t testing.TB, dir string, args ...string) []byte {
	t.Helper()
	cmd := exec.CommandContext(t.Context(), "git", "pack-objects", "--revs", "--stdout", "-q", "--delta-base-offset")
	cmd.Dir, cmd.Env, cmd.Stdin = dir, gittest.Environ(), strings.NewReader(strings.Join(args, "\n")+"\n")
	out, err := cmd.Output()
	if err != nil {
		t.Fatal(err)
	}
	return out
}

func open(t testing.TB, dir string) *odb.DB {
	t.Helper()
	db, err := odb.Open(dir)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = db.Close() })
	return db
}

func receive(t testing.TB, db *odb.DB, pack []byte) {
	t.Helper()
	in, err := db.Receive(t.Context(), bytes.NewReader(pack), 1<<30)
	if err != nil {
		t.Fatal(err)
	}
	if err := in.Install(); err != nil {
		t.Fatal(err)
	}
}

// objects lists all objects of a repository: id → type and content.
func objects(t testing.TB, dir string) map[plumbing.Hash]string {
	t.Helper()
	cmd := exec.CommandContext(t.Context(), "git", "cat-file", "--batch", "--batch-all-objects", "--unordered")
	cmd.Dir, cmd.Env = dir, gittest.Environ()
	out, err := cmd.Output()
	if err != nil {
		t.Fatal(err)
	}
	all := map[plumbing.Hash]string{}
	for len(out) > 0 {
		line, rest, _ := bytes.Cut(out, []byte("\n"))
		var id, kind string
		var size int
		if _, err := fmt.Sscan(string(line), &id, &kind, &size); err != nil {
			t.Fatal(err)
		}
		all[plumbing.NewHash(id)] = kind + " " + string(rest[:size])
		out = rest[size+1:]
	}
	return all
}

func compare(t *testing.T, db *odb.DB, want map[plumbing.Hash]string) {
	t.Helper()
	for h, text := range want {
		kind, data, err := db.Read(h, 1<<20)
		if err != nil {
			t.Fatal(err)
		}
		if got := kind.String() + " " + string(data); got != text {
			t.Fatalf("%s: got %.80q, want %.80q", h, got, text)
		}
		size, err := db.Size(h)
		if err != nil || size != int64(len(data)) {
			t.Fatalf("size of %s: %d, %v, want %d", h, size, err, len(data))
		}
	}
}

func TestEveryObjectReadsAsGitReadsIt(t *testing.T) {
	source := history(t, 300, 40)
	cache := filepath.Join(t.TempDir(), "cache.git")
	db := open(t, cache)
	receive(t, db, packOf(t, source, "main"))
	compare(t, db, objects(t, source))
	gittest.Run(t, cache, "update-ref", "refs/heads/main", gittest.Ref(t, source, gittest.Branch))
	gittest.Run(t, cache, "fsck", "--full", "--strict")
	gittest.Run(t, cache, "verify-pack", filepath.Join(cache, "objects", "pack", packs(t, cache)[0]))
}

func packs(t testing.TB, cache string) (names []string) {
	t.Helper()
	files, err := filepath.Glob(filepath.Join(cache, "objects", "pack", "*.idx"))
	if err != nil {
		t.Fatal(err)
	}
	for _, f := range files {
		names = append(names, filepath.Base(f))
	}
	return names
}

func TestPacksStayFewAndNothingIsLost(t *testing.T) {
	source := history(t, 130, 5)
	cache := filepath.Join(t.TempDir(), "cache.git")
	db, other := open(t, cache), open(t, cache)
	for i := 129; i >= 0; i-- {
		rev := fmt.Sprintf("main~%d", i)
		args := []string{rev}
		if i < 129 {
			args = append(args, "^"+rev+"^")
		}
		receive(t, db, packOf(t, source, args...))
		if err := db.Tidy(); err != nil {
			t.Fatal(err)
		}
	}
	if n := len(packs(t, cache)); n > 45 {
		t.Errorf("%d packs", n)
	}
	want := objects(t, source)
	compare(t, db, want)
	compare(t, other, want) // which was opened before there was anything
	gittest.Run(t, cache, "update-ref", "refs/heads/main", gittest.Ref(t, source, gittest.Branch))
	gittest.Run(t, cache, "fsck", "--full", "--strict")
}

func TestDamageIsAlwaysSeen(t *testing.T) {
	source := history(t, 60, 20)
	pack := packOf(t, source, "main")
	want := objects(t, source)
	rng := rand.New(rand.NewPCG(1, 2))
	for _, suffix := range []string{".pack", ".idx"} {
		for round := range 60 {
			cache := filepath.Join(t.TempDir(), "cache.git")
			receive(t, open(t, cache), pack)
			file := filepath.Join(cache, "objects", "pack", strings.TrimSuffix(packs(t, cache)[0], ".idx")+suffix)
			what := damage(t, rng, file, round)
			db := open(t, cache)
			seen := 0
			for h, text := range want {
				kind, data, err := db.Read(h, 1<<20)
				switch {
				case errors.Is(err, odb.ErrDamaged), errors.Is(err, odb.ErrMissing), errors.Is(err, odb.ErrTooBig):
					seen++
				case err != nil:
					t.Fatalf("%s %s: %s: unexpected error %v", suffix, what, h, err)
				case kind.String()+" "+string(data) != text:
					t.Fatalf("%s %s: %s reads wrong", suffix, what, h)
				}
			}
			if seen == 0 && strings.HasPrefix(what, "truncate") && suffix == ".pack" {
				t.Errorf("%s %s: nobody noticed", suffix, what)
			}
		}
	}
}

func damage(t *testing.T, rng *rand.Rand, file string, round int) string {
	t.Helper()
	data, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	at := rng.IntN(len(data) - 40)
	what := fmt.Sprintf("truncate at %d of %d", at, len(data))
	if round%3 == 0 {
		data = data[:at]
	} else {
		what = fmt.Sprintf("flip at %d of %d", at, len(data))
		data[at] ^= 1 << rng.IntN(8)
	}
	if err := errors.Join(os.Chmod(file, 0o600), os.WriteFile(file, data, 0o600)); err != nil {
		t.Fatal(err)
	}
	return what
}

func TestAStreamThatIsNoSoundPackIsRefusedAndLeavesNothing(t *testing.T) {
	pack := packOf(t, history(t, 20, 5), "main")
	flipped := bytes.Clone(pack)
	flipped[len(pack)/2] ^= 4
	for name, c := range map[string]struct {
		stream []byte
		most   int64
		want   error
	}{
		"a flipped bit":        {flipped, 1 << 20, odb.ErrDamaged},
		"its first half":       {pack[:len(pack)/2], 1 << 20, odb.ErrDamaged},
		"one byte too many":    {append(bytes.Clone(pack), 0), 1 << 20, odb.ErrDamaged},
		"text":                 {[]byte("<html>welcome, please log in to go on</html>"), 1 << 20, odb.ErrDamaged},
		"more than is allowed": {pack, int64(len(pack) - 1), odb.ErrTooBig},
	} {
		cache := filepath.Join(t.TempDir(), "cache.git")
		if _, err := open(t, cache).Receive(t.Context(), bytes.NewReader(c.stream), c.most); !errors.Is(err, c.want) {
			t.Errorf("%s: %v, want %v", name, err, c.want)
		}
		if left, _ := os.ReadDir(filepath.Join(cache, "objects", "pack")); len(left) > 0 {
			t.Errorf("%s: %v is left behind", name, left)
		}
	}
}

func TestAnObjectBiggerThanAskedForIsNotUnpacked(t *testing.T) {
	bare := gittest.Bare(t)
	gittest.Seed(t, bare, map[string]string{"big": strings.Repeat("a", 2<<20)})
	gittest.Seed(t, bare, map[string]string{"big": strings.Repeat("a", 2<<20) + "b"})
	db := open(t, filepath.Join(t.TempDir(), "cache.git"))
	receive(t, db, packOf(t, gittest.Dir(bare), "main"))
	for _, rev := range []string{"main:big", "main~1:big"} {
		h := plumbing.NewHash(gittest.Run(t, gittest.Dir(bare), "rev-parse", rev))
		if _, _, err := db.Read(h, 1<<20); !errors.Is(err, odb.ErrTooBig) {
			t.Errorf("%s: %v, want ErrTooBig", rev, err)
		}
		if size, err := db.Size(h); err != nil || size < 2<<20 {
			t.Errorf("%s: size %d, %v", rev, size, err)
		}
	}
}

func TestReceivingEndsWithTheContext(t *testing.T) {
	ctx, cancel := context.WithCancelCause(t.Context())
	why := errors.New("enough")
	cancel(why)
	db := open(t, filepath.Join(t.TempDir(), "cache.git"))
	if _, err := db.Receive(ctx, bytes.NewReader(packOf(t, history(t, 5, 2), "main")), 1<<20); !errors.Is(err, why) {
		t.Errorf("got %v, want the cause", err)
	}
}

func TestReplaceLeavesOnlyTheNewPack(t *testing.T) {
	source := history(t, 10, 3)
	cache := filepath.Join(t.TempDir(), "cache.git")
	db := open(t, cache)
	receive(t, db, packOf(t, source, "main~5"))
	tip, cut := plumbing.NewHash(gittest.Ref(t, source, gittest.Branch)), plumbing.NewHash(gittest.Run(t, source, "rev-parse", "main~1"))
	if err := db.SetShallow([]plumbing.Hash{tip}); err != nil {
		t.Fatal(err)
	}
	in, err := db.Receive(t.Context(), bytes.NewReader(packOf(t, source, "main", "^main~2")), 1<<20)
	if err != nil {
		t.Fatal(err)
	}
	if err := in.Replace([]plumbing.Hash{cut}); err != nil {
		t.Fatal(err)
	}
	if n := len(packs(t, cache)); n != 1 || !db.Has(tip) {
		t.Errorf("%d packs, tip is there: %v", n, db.Has(tip))
	}
	if got, err := db.Shallow(); err != nil || len(got) != 1 || got[0] != cut {
		t.Errorf("shallow is %v, %v, want %v", got, err, cut)
	}
}

func TestADamagedShallowFileIsDamage(t *testing.T) {
	cache := filepath.Join(t.TempDir(), "cache.git")
	db := open(t, cache)
	for _, text := range []string{"no id\n", strings.Repeat("0", 40) + "\n", strings.Repeat("a", 39) + "\n", "\n"} {
		if err := os.WriteFile(filepath.Join(cache, "shallow"), []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
		if _, err := db.Shallow(); !errors.Is(err, odb.ErrDamaged) {
			t.Errorf("%q: %v, want ErrDamaged", text, err)
		}
	}
}

func TestSweepTakesOldStraysOnly(t *testing.T) {
	cache := filepath.Join(t.TempDir(), "cache.git")
	db := open(t, cache)
	now := time.Now()
	for name, age := range map[string]time.Duration{"tmp_pack_1": 2 * time.Hour, "tmp_pack_2": time.Minute, "shallow.lock": 2 * time.Hour} {
		file := filepath.Join(cache, name)
		if strings.HasPrefix(name, "tmp") {
			file = filepath.Join(cache, "objects", "pack", name)
		}
		if err := errors.Join(os.WriteFile(file, nil, 0o600), os.Chtimes(file, now.Add(-age), now.Add(-age))); err != nil {
			t.Fatal(err)
		}
	}
	if err := db.Sweep(time.Hour, now); err != nil {
		t.Fatal(err)
	}
	left, err := filepath.Glob(filepath.Join(cache, "objects", "pack", "*"))
	if err != nil || len(left) != 1 || filepath.Base(left[0]) != "tmp_pack_2" {
		t.Errorf("left: %v, %v", left, err)
	}
	if _, err := os.Stat(filepath.Join(cache, "shallow.lock")); err == nil {
		t.Error("a stale lock file is still there")
	}
}
