package git_test

import (
	"bytes"
	"fmt"
	"math/rand/v2"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"github.com/stella-ops/stella/internal/git"
	"github.com/stella-ops/stella/internal/git/gittest"
)

// tangle makes a history of merges and forks in which commits claim any date,
// and a ref for every commit that nothing follows.
func tangle(t *testing.T, rng *rand.Rand, commits int) (bare string, ids []git.ID) {
	t.Helper()
	bare = gittest.Bare(t)
	var b bytes.Buffer
	for i := range commits {
		fmt.Fprintf(&b, "commit refs/heads/c%d\nmark :%d\ncommitter A <a@example.com> %d +0000\ndata 1\nx", i, i+1, 1_600_000_000+rng.IntN(1000))
		for p := range min(i, 1+rng.IntN(2)) {
			verb := "from"
			if p > 0 {
				verb = "merge"
			}
			fmt.Fprintf(&b, "\n%s :%d", verb, max(1, i-rng.IntN(6)-p))
		}
		fmt.Fprintf(&b, "\nM 100644 inline f\ndata 4\n%04d\n", i)
	}
	cmd := exec.CommandContext(t.Context(), "git", "fast-import", "--quiet", "--force")
	cmd.Dir, cmd.Env, cmd.Stdin = gittest.Dir(bare), gittest.Environ(), &b
	if out, err := cmd.CombinedOutput(); err != nil {
		t.Fatalf("%v: %s", err, out)
	}
	for i := range commits {
		ids = append(ids, git.ID(gittest.Ref(t, bare, fmt.Sprintf("refs/heads/c%d", i))))
	}
	return bare, ids
}

// TestAncestryIsGits compares with git on tangled histories, in caches that have
// all of it, only some heads, or only as much as was fetched along the way.
func TestAncestryIsGits(t *testing.T) {
	t.Parallel()
	rng := rand.New(rand.NewPCG(7, 7))
	for round := range 3 {
		bare, ids := tangle(t, rng, 60)
		for _, want := range []git.Want{
			{Prefixes: []string{"refs/heads/"}, Deep: true},
			{Prefixes: []string{"refs/heads/"}},
			{Names: []string{"refs/heads/c59", "refs/heads/c40"}},
		} {
			r := open(t, bare)
			if _, err := r.Fetch(t.Context(), want); err != nil {
				t.Fatal(err)
			}
			for range 25 {
				old, new := ids[rng.IntN(len(ids))], ids[rng.IntN(len(ids))]
				cmd := exec.CommandContext(t.Context(), "git", "merge-base", "--is-ancestor", string(old), string(new))
				cmd.Dir, cmd.Env = gittest.Dir(bare), gittest.Environ()
				expect := cmd.Run() == nil
				if got, err := r.IsAncestor(t.Context(), old, new); err != nil || got != expect {
					t.Fatalf("round %d: %s is an ancestor of %s: %v, %v, git says %v", round, old, new, got, err, expect)
				}
			}
		}
	}
}

func TestDeepBringsTheWholeHistoryOfWhatIsWantedAndNoOther(t *testing.T) {
	bare, head := generated(t, 200, 4)
	all := revList(t, bare, "main")
	for i := range 50 {
		gittest.SeedRef(t, bare, ledger, fmt.Sprintf("transition %d", i), map[string]string{"state.json": fmt.Sprint(i)})
	}
	chain := revList(t, bare, ledger)
	dir := filepath.Join(t.TempDir(), "cache")
	r := openIn(t, dir, bare)
	if _, err := r.Fetch(t.Context(), git.Want{Branch: true, Names: []string{ledger}}); err != nil {
		t.Fatal(err)
	}
	if _, err := r.Fetch(t.Context(), git.Want{Names: []string{ledger}, Deep: true}); err != nil {
		t.Fatal(err)
	}
	if n := countLocal(t, dir, chain); n != len(chain) {
		t.Errorf("%d of the ledger's %d commits are there", n, len(chain))
	}
	if n := countLocal(t, dir, all); n > 40 {
		t.Errorf("%d of the branch's commits came with them", n)
	}
	if _, err := r.Fetch(t.Context(), git.Want{Branch: true, Deep: true}); err != nil {
		t.Fatal(err)
	}
	if n := countLocal(t, dir, all); n != len(all) {
		t.Errorf("%d of the branch's %d commits are there", n, len(all))
	}
	cacheFsck(t, dir, head)
	// From here on, only what is new comes.
	next := git.ID(gittest.Seed(t, bare, map[string]string{"a": "1"}))
	if got := fetch(t, r); got != next || len(shallow(t, dir)) != 0 {
		t.Errorf("fetched %s, want %s; cut at %v", got, next, shallow(t, dir))
	}
}

// TestACacheThatIsPushedToAndFetchedIntoStaysSound lets git check it after many
// pushes, fetches and merges of packs.
func TestACacheThatIsPushedToAndFetchedIntoStaysSound(t *testing.T) {
	t.Parallel()
	bare, head := generated(t, 100, 30)
	dir := filepath.Join(t.TempDir(), "cache")
	r := openIn(t, dir, bare)
	fetch(t, r)
	for i := range 40 {
		if i%3 == 0 {
			head = git.ID(gittest.Seed(t, bare, map[string]string{"other": fmt.Sprint(i)}))
		}
		if got := fetch(t, r); got != head {
			t.Fatalf("fetched %s, want %s", got, head)
		}
		b := commit(t, r, head, "envs/"+gittest.EnvName(i%30)+"/app/release.yaml", fmt.Sprint(i))
		if err := r.Push(t.Context(), []git.Update{{Ref: gittest.Branch, Old: head, New: b.Commit}}, b); err != nil {
			t.Fatal(err)
		}
		head = b.Commit
	}
	cacheFsck(t, dir, head)
	gittest.Run(t, filepath.Join(dir, "clone.git"), "fsck", "--full")
	files, err := filepath.Glob(filepath.Join(dir, "clone.git", "objects", "pack", "*"))
	if err != nil || len(files) > 100 || strings.Contains(strings.Join(files, " "), "tmp_") {
		t.Errorf("%d files are there: %v, %v", len(files), files, err)
	}
}
