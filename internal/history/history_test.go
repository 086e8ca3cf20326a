package history_test

import (
	"os"
	"slices"
	"strconv"
	"strings"
	"sync"
	"testing"

	"github.com/stella-ops/stella/internal/git"
	"github.com/stella-ops/stella/internal/git/gittest"
)

// seedsVariable makes the suite longer: how many seeds each check runs. A change
// runs few; each night it is 100. The mistakes are then counted over all seeds,
// with and without kills, instead of until they are caught.
const seedsVariable = "STELLA_HISTORY_SEEDS"

func seeds(t testing.TB, few int) (n int, all bool) {
	t.Helper()
	text := os.Getenv(seedsVariable)
	if text == "" {
		return few, false
	}
	n, err := strconv.Atoi(text)
	if err != nil || n < 1 {
		t.Fatalf("%s=%q: want a number of seeds", seedsVariable, text)
	}
	return n, true
}

// many does runs with several seeds side by side and counts what was found in
// how many of them. A run that went wrong is described to wrong.
func many(t *testing.T, like run, n int, wrong func(run, verdict)) map[string]int {
	t.Helper()
	var mu sync.Mutex // guards what follows
	found, ops, killed, broken := map[string]int{}, 0, 0, 0
	var wg sync.WaitGroup
	for seed := range n {
		wg.Go(func() {
			r := like
			r.seed = uint64(seed)
			v := r.do(t)
			mu.Lock()
			defer mu.Unlock()
			if v.err != nil {
				t.Error(v.err)
			}
			if ops, killed = ops+v.ops, killed+v.kills; len(v.wrong) == 0 {
				return
			}
			broken++
			for _, k := range kinds(v.wrong) {
				found[k]++
			}
			wrong(r, v)
		})
	}
	wg.Wait()
	t.Logf("%s: %d of %d runs broken, %d operations, %d processes killed; found %v", like, broken, n, ops, killed, found)
	return found
}

func TestFourProcessesKeepTheLedgerRight(t *testing.T) {
	t.Parallel()
	for _, c := range []struct {
		like run
		few  int
	}{
		{run{}, 2},
		{run{kills: true}, 4},
		{run{kills: true, http: true}, 2},
	} {
		t.Run(c.like.String(), func(t *testing.T) {
			t.Parallel()
			n, _ := seeds(t, c.few)
			many(t, c.like, n, func(r run, v verdict) {
				t.Errorf("seed %d (kept in %s):\n%s", r.seed, v.dir, strings.Join(v.wrong, "\n"))
			})
		})
	}
}

// enough is within how many seeds a mistake must be caught. The rarest is found
// in about every other run, and on a machine that is busy with other things in
// fewer: what was killed was not yet where it hurts.
const enough = 48

// TestKnownMistakesAreCaught does each of them and must see what it leads to.
func TestKnownMistakesAreCaught(t *testing.T) {
	t.Parallel()
	for _, c := range []struct {
		like run
		by   []string // any of these
	}{
		{run{variant: noNonce}, []string{"history"}},
		{run{variant: deletesRef}, []string{"history"}},
		{run{variant: byForce}, []string{"lost"}},
		{run{variant: noFence}, []string{"history", "unfenced"}},
		{run{variant: blindRetry, kills: true}, []string{"ghost", "duplicate"}},
		{run{variant: noReadBack, kills: true}, []string{"ghost", "duplicate"}},
		{run{variant: outcomeBefore, kills: true}, []string{"untrue"}},
		{run{variant: intentAfter, kills: true}, []string{"unrecorded"}},
	} {
		t.Run(string(c.like.variant), func(t *testing.T) {
			t.Parallel()
			if n, all := seeds(t, enough); all {
				count(t, c.like, n, c.by)
				return
			}
			for seed := range uint64(enough) {
				r := c.like
				r.seed = seed
				v := r.do(t)
				v.forget()
				if v.err != nil {
					t.Error(v.err)
				}
				if caught(kinds(v.wrong), c.by) {
					t.Logf("caught with seed %d: %v", seed, kinds(v.wrong))
					return
				}
			}
			t.Errorf("not caught within %d runs", enough)
		})
	}
}

func caught(found, by []string) bool {
	return slices.ContainsFunc(by, func(k string) bool { return slices.Contains(found, k) })
}

// count does a mistake with all seeds, with and without kills.
func count(t *testing.T, like run, n int, by []string) {
	t.Helper()
	hits := 0
	for _, kills := range []bool{false, true} {
		like.kills = kills
		for kind, times := range many(t, like, n, func(_ run, v verdict) { v.forget() }) {
			if slices.Contains(by, kind) {
				hits += times
			}
		}
	}
	if hits == 0 {
		t.Errorf("not caught in any of %d runs", 2*n)
	}
}

// TestOnlyTheServersWindowShowsALockThatIsNotPartOfThePush is the mistake that
// no random history finds: the lock is a ref of its own, which is looked at
// right before a push that does not move it. Here the lock moves after the
// server has let the push in.
func TestOnlyTheServersWindowShowsALockThatIsNotPartOfThePush(t *testing.T) {
	t.Parallel()
	const lock, record = "refs/stella/lock/production", "refs/stella/record/production"
	bare := gittest.Bare(t)
	mine := gittest.SeedRef(t, bare, lock, "mine", map[string]string{"holder": "ana"})
	theirs := gittest.SeedRef(t, bare, lock, "theirs", map[string]string{"holder": "ben"})
	gittest.SetRef(t, bare, lock, mine)
	first := git.ID(gittest.SeedRef(t, bare, record, "first", map[string]string{"event": "1"}))
	second := git.ID(gittest.SeedRef(t, bare, record, "second", map[string]string{"event": "2"}))
	gittest.SetRef(t, bare, record, string(first))
	repo, err := git.Open(t.Context(), git.Options{URL: bare, Dir: t.TempDir(), Getenv: clean})
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = repo.Close() }()
	refs, err := repo.List(t.Context())
	if err != nil || refs.IDs[lock] != git.ID(mine) {
		t.Fatalf("the lock is at %s, %v: not ours before the push", refs.IDs[lock], err)
	}
	gittest.Hook(t, bare, "pre-receive", "unset GIT_QUARANTINE_PATH; git update-ref "+lock+" "+theirs)
	write := git.Update{Ref: record, Old: first, New: second}
	// To name the lock and leave it where it is fences nothing, and Push says so.
	if err := repo.Push(t.Context(), []git.Update{{Ref: lock, Old: git.ID(mine), New: git.ID(mine)}, write}); err == nil {
		t.Error("a push that holds on to a ref without moving it was taken for one that fences")
	}
	if err := repo.Push(t.Context(), []git.Update{write}); err != nil {
		t.Fatal(err)
	}
	if got := gittest.Ref(t, bare, lock); got != theirs {
		t.Fatalf("the lock is at %s, want the thief's %s", got, theirs)
	}
	if got := gittest.Ref(t, bare, record); got != string(second) {
		t.Errorf("the record is at %s: the mistake was to do no harm here", got)
	}
}
