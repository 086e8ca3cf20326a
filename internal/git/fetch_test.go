package git_test

import (
	"context"
	"errors"
	"fmt"
	"net"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/stella-ops/stella"
	"github.com/stella-ops/stella/internal/git"
	"github.com/stella-ops/stella/internal/git/gittest"
)

// generated makes a repository with a history.
func generated(t testing.TB, commits, envs int) (bare string, head git.ID) {
	t.Helper()
	dir := filepath.Join(t.TempDir(), "config.git")
	id, err := gittest.Generate(t.Context(), dir, commits, envs)
	if err != nil {
		t.Fatal(err)
	}
	return "file://" + dir, git.ID(id)
}

func revList(t testing.TB, bare string, args ...string) (ids []git.ID) {
	t.Helper()
	for id := range strings.FieldsSeq(gittest.Run(t, gittest.Dir(bare), append([]string{"rev-list"}, args...)...)) {
		ids = append(ids, git.ID(id))
	}
	return ids
}

func shallow(t testing.TB, dir string) (ids []string) {
	t.Helper()
	data, err := os.ReadFile(filepath.Join(dir, "clone.git", "shallow"))
	if err != nil && !errors.Is(err, os.ErrNotExist) {
		t.Fatal(err)
	}
	return strings.Fields(string(data))
}

// cacheFsck lets git check the cache: everything that its heads lead to is
// there, up to where history is cut.
func cacheFsck(t testing.TB, dir string, head git.ID) {
	t.Helper()
	clone := filepath.Join(dir, "clone.git")
	gittest.Run(t, clone, "update-ref", "refs/heads/main", string(head))
	gittest.Run(t, clone, "fsck", "--full", "--strict", "--connectivity-only")
	gittest.Run(t, clone, "update-ref", "-d", "refs/heads/main")
}

func TestFirstContactIsShallowAndHistoryComesWhenItIsAskedFor(t *testing.T) {
	bare, head := generated(t, 700, 8)
	for _, url := range []string{bare, gittest.HTTP(t, bare, nil)} {
		dir := filepath.Join(t.TempDir(), "cache")
		r := openIn(t, dir, url)
		if got := fetch(t, r); got != head {
			t.Fatalf("fetched %s, want %s", got, head)
		}
		if got := shallow(t, dir); len(got) != 1 || got[0] != string(head) {
			t.Fatalf("cut at %v, want %s", got, head)
		}
		all := revList(t, bare, "main")
		if ok, err := r.IsAncestor(t.Context(), all[500], head); err != nil || !ok {
			t.Errorf("500 commits back is an ancestor: %v, %v", ok, err)
		}
		if n := countLocal(t, dir, all); n == len(all) || n < 501 {
			t.Errorf("%d of %d commits were fetched", n, len(all))
		}
		cacheFsck(t, dir, head)
		got, err := r.Log(t.Context(), head, "", 10_000)
		if err != nil || len(got) != len(all) {
			t.Fatalf("the log has %d commits, %v, want %d", len(got), err, len(all))
		}
		if len(shallow(t, dir)) != 0 {
			t.Errorf("history is still cut at %v", shallow(t, dir))
		}
		cacheFsck(t, dir, head)
	}
}

func countLocal(t *testing.T, dir string, ids []git.ID) (n int) {
	t.Helper()
	for line := range strings.SplitSeq(gittest.Run(t, filepath.Join(dir, "clone.git"), "cat-file", "--batch-check", "--batch-all-objects"), "\n") {
		id, rest, _ := strings.Cut(line, " ")
		if strings.HasPrefix(rest, "commit") && slices.Contains(ids, git.ID(id)) {
			n++
		}
	}
	return n
}

func TestFetchingAgainBringsOnlyWhatIsNew(t *testing.T) {
	bare, head := generated(t, 100, 8)
	dir := filepath.Join(t.TempDir(), "cache")
	var f gittest.Faults
	r := openIn(t, dir, gittest.HTTP(t, bare, &f))
	fetch(t, r)
	f.Forget()
	fetch(t, r)
	if got := f.Requests(); len(got) != 1 {
		t.Errorf("nothing new took %d requests, want 1: %v", len(got), got)
	}
	for i := range 5 {
		head = git.ID(gittest.Seed(t, bare, map[string]string{"a": fmt.Sprint(i)}))
		f.Forget()
		if got := fetch(t, r); got != head {
			t.Fatalf("fetched %s, want %s", got, head)
		}
		if got := f.Requests(); len(got) != 2 {
			t.Errorf("a new commit took %d requests, want 2: %v", len(got), got)
		}
		if got := shallow(t, dir); len(got) > 1 {
			t.Errorf("history is cut at %d places", len(got))
		}
	}
	cacheFsck(t, dir, head)
}

// TestAMergeOfAnOldBranchDoesNotBringTheWholeHistory: the branch forked off
// below where the cache's history is cut.
func TestAMergeOfAnOldBranchDoesNotBringTheWholeHistory(t *testing.T) {
	bare, head := generated(t, 600, 8)
	dir := filepath.Join(t.TempDir(), "cache")
	r := openIn(t, dir, bare)
	fetch(t, r)
	all := revList(t, bare, "main")
	gittest.SetRef(t, bare, "refs/heads/old", string(all[400]))
	gittest.SeedRef(t, bare, "refs/heads/old", "on an old branch", map[string]string{"old": "1"})
	old := gittest.Ref(t, bare, "refs/heads/old")
	tree := gittest.Run(t, gittest.Dir(bare), "rev-parse", "main^{tree}")
	merge := gittest.Run(t, gittest.Dir(bare), "commit-tree", "-p", string(head), "-p", old, "-m", "merge", tree)
	gittest.SetRef(t, bare, gittest.Branch, merge)
	if got := fetch(t, r); string(got) != merge {
		t.Fatalf("fetched %s, want %s", got, merge)
	}
	if n := countLocal(t, dir, all); n > 100 {
		t.Errorf("%d old commits came with it", n)
	}
	cacheFsck(t, dir, git.ID(merge))
}

func TestABacklogLongerThanTheWindowIsNoRewind(t *testing.T) {
	bare, head := generated(t, 300, 4)
	all := revList(t, bare, "main")
	gittest.SetRef(t, bare, gittest.Branch, string(all[200]))
	dir := filepath.Join(t.TempDir(), "cache")
	r := openIn(t, dir, bare)
	fetch(t, r)
	gittest.SetRef(t, bare, gittest.Branch, string(head))
	if got := fetch(t, r); got != head {
		t.Errorf("fetched %s, want %s", got, head)
	}
	cacheFsck(t, dir, head)
}

func TestARewoundHeadIsAnAlarmUntilItIsAccepted(t *testing.T) {
	for name, c := range map[string]struct {
		rewind func(t *testing.T, bare string, all []git.ID)
		gone   bool
	}{
		"to an older commit":         {func(t *testing.T, bare string, all []git.ID) { gittest.SetRef(t, bare, ledger, string(all[50])) }, false},
		"to one that is not fetched": {func(t *testing.T, bare string, all []git.ID) { gittest.SetRef(t, bare, ledger, string(all[250])) }, false},
		"to another history": {func(t *testing.T, bare string, _ []git.ID) {
			gittest.SetRef(t, bare, ledger, "")
			gittest.SeedRef(t, bare, ledger, "replaced", map[string]string{"x": "1"})
		}, false},
		"to a fork of an old commit": {func(t *testing.T, bare string, all []git.ID) {
			gittest.SetRef(t, bare, ledger, string(all[250]))
			gittest.SeedRef(t, bare, ledger, "forked", map[string]string{"x": "1"})
		}, false},
		"away": {func(t *testing.T, bare string, _ []git.ID) { gittest.SetRef(t, bare, ledger, "") }, true},
	} {
		t.Run(name, func(t *testing.T) {
			bare, head := generated(t, 300, 4)
			all := revList(t, bare, "main")
			gittest.SetRef(t, bare, ledger, string(head))
			gittest.SetRef(t, bare, "refs/stella/ledger/test", string(all[10]))
			dir := filepath.Join(t.TempDir(), "cache")
			r := openIn(t, dir, bare)
			want := git.Want{Branch: true, Prefixes: []string{"refs/stella/ledger/"}}
			if _, err := r.Fetch(t.Context(), want); err != nil {
				t.Fatal(err)
			}
			c.rewind(t, bare, all)
			// The other environment goes on.
			gittest.SetRef(t, bare, "refs/stella/ledger/test", string(all[9]))
			now := git.ID(gittest.Ref(t, bare, ledger))
			for range 2 { // the alarm does not wear off
				refs, err := r.Fetch(t.Context(), want)
				var rewound *git.RewoundError
				if !errors.As(err, &rewound) || !errors.Is(err, stella.ErrTampered) || stella.Hint(err) == "" {
					t.Fatalf("got %v, want RewoundError", err)
				}
				if rewound.Ref != ledger || rewound.Seen != head || rewound.Now != now || (now == "") != c.gone {
					t.Errorf("got %+v", rewound)
				}
				if refs.IDs["refs/stella/ledger/test"] != all[9] {
					t.Errorf("the others: %v", refs.IDs)
				}
			}
			seen, err := openIn(t, dir, bare).Seen(t.Context())
			if err != nil || seen.IDs[ledger] != head || seen.IDs["refs/stella/ledger/test"] != all[9] {
				t.Errorf("last seen: %v, %v", seen.IDs, err)
			}
			if _, err := r.Fetch(t.Context(), git.Want{Names: []string{ledger}, Unchecked: true}); err != nil {
				t.Errorf("unchecked: %v", err)
			}
			if err := r.AcceptHead(ledger, now); err != nil {
				t.Fatal(err)
			}
			if _, err := r.Fetch(t.Context(), want); err != nil {
				t.Errorf("after accepting: %v", err)
			}
		})
	}
}

func TestADamagedFileOfLastSeenHeadsIsAnAlarm(t *testing.T) {
	bare := seeded(t)
	dir := filepath.Join(t.TempDir(), "cache")
	r := openIn(t, dir, bare)
	fetch(t, r)
	for _, text := range []string{"", "{", `{"schemaVersion":2}`, `{"schemaVersion":1,"heads":{"refs/heads/main":"x"}}`} {
		if err := os.WriteFile(filepath.Join(dir, "heads.json"), []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
		if _, err := r.Fetch(t.Context(), git.Want{Branch: true}); !errors.Is(err, stella.ErrTampered) || stella.Hint(err) == "" {
			t.Errorf("%q: %v, want ErrTampered", text, err)
		}
	}
}

func TestCommitsThatNoHeadLeadsToAreFetchedByTheirID(t *testing.T) {
	t.Parallel()
	bare, _ := generated(t, 300, 4)
	all := revList(t, bare, "main")
	sshURL, env := gittest.SSH(t, bare)
	for name, tr := range map[string]transport{"file": {url: bare}, "http": {url: gittest.HTTP(t, bare, nil)}, "ssh": {url: sshURL, env: env}} {
		dir := filepath.Join(t.TempDir(), "cache")
		r := openIn(t, dir, tr.url, tr.env)
		fetch(t, r)
		if got := read(t, r, all[299], "stella.yaml"); got == "" {
			t.Errorf("%s: nothing there", name)
		}
		app := git.ID(gittest.Run(t, gittest.Dir(bare), "rev-parse", string(all[150])+":envs/"+gittest.EnvName(0)+"/app"))
		if got := read(t, r, app, "release.yaml"); !strings.Contains(got, "kind: Release") {
			t.Errorf("%s: a directory by its id: %q", name, got)
		}
		if n := countLocal(t, dir, all); n > 5 {
			t.Errorf("%s: %d commits came with it", name, n)
		}
		nobody := git.ID(strings.Repeat("1", 40))
		if _, err := r.Commit(t.Context(), nobody); !errors.Is(err, stella.ErrNotFound) {
			t.Errorf("%s: a commit that nobody has: %v, want ErrNotFound", name, err)
		}
	}
}

func TestWithoutVersion2OldCommitsAreFetchedWithTheHistory(t *testing.T) {
	bare, _ := generated(t, 300, 4)
	all := revList(t, bare, "main")
	var f gittest.Faults
	f.Add(gittest.Any, -1, gittest.WithoutHeader("Git-Protocol"))
	dir := filepath.Join(t.TempDir(), "cache")
	r := openIn(t, dir, gittest.HTTP(t, bare, &f))
	fetch(t, r)
	if _, err := r.Commit(t.Context(), all[200]); err != nil {
		t.Error(err)
	}
	if n := countLocal(t, dir, all); n < 201 {
		t.Errorf("only %d commits are there", n)
	}
	nobody := git.ID(strings.Repeat("1", 40))
	if _, err := r.Commit(t.Context(), nobody); !errors.Is(err, stella.ErrNotFound) {
		t.Errorf("a commit that nobody has: %v, want ErrNotFound", err)
	}
}

func TestTheLogIsGits(t *testing.T) {
	bare, head := generated(t, 200, 6)
	r := open(t, bare)
	fetch(t, r)
	for _, path := range []string{"", "envs", "envs/" + gittest.EnvName(3), "envs/" + gittest.EnvName(3) + "/app/release.yaml", "stella.yaml", "nothing/here"} {
		args := []string{"--first-parent", "main"}
		if path != "" {
			args = append(args, "--", path)
		}
		want := revList(t, bare, args...)
		commits, err := r.Log(t.Context(), head, path, 1000)
		if err != nil {
			t.Errorf("%s: %v", path, err)
		}
		var got []git.ID
		for _, c := range commits {
			got = append(got, c.ID)
		}
		if diff := cmp.Diff(want, got); diff != "" {
			t.Errorf("%s (-want +got):\n%s", path, diff)
		}
		some, err := r.Log(t.Context(), head, path, 2)
		if err != nil || len(some) != min(2, len(want)) {
			t.Errorf("%s: %d of at most 2, %v", path, len(some), err)
		}
	}
}

func TestAFetchIsBounded(t *testing.T) {
	t.Parallel()
	bare := gittest.Bare(t)
	gittest.Seed(t, bare, map[string]string{"big": incompressible(300 << 10)})
	var f gittest.Faults
	url := gittest.HTTP(t, bare, &f)
	small, err := git.Open(t.Context(), git.Options{URL: url, Dir: t.TempDir() + "/c", Getenv: gittest.Getenv(), MaxFetchBytes: 100 << 10})
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = small.Close() }()
	if _, err := small.Fetch(t.Context(), git.Want{Branch: true}); !errors.Is(err, stella.ErrInvalid) || stella.Hint(err) == "" {
		t.Errorf("too many bytes: %v, want ErrInvalid", err)
	}
	for name, fault := range map[string]gittest.Fault{"hangs": f.Hang(), "trickles": f.Trickle(10, 200*time.Millisecond)} {
		for what, match := range map[string]gittest.Match{"list": gittest.List, "fetch": gittest.Fetch} {
			slow, err := git.Open(t.Context(), git.Options{URL: url, Dir: t.TempDir() + "/c", Getenv: gittest.Getenv(), Timeout: time.Second})
			if err != nil {
				t.Fatal(err)
			}
			f.Add(match, 1, fault)
			start := time.Now()
			_, err = slow.Fetch(t.Context(), git.Want{Branch: true})
			if !errors.Is(err, stella.ErrUnreachable) || time.Since(start) > 30*time.Second {
				t.Errorf("the server %s at %s: %v after %s", name, what, err, time.Since(start))
			}
			f.Clear()
			_ = slow.Close()
		}
	}
}

// TestAHostThatSaysNothingIsCut: it accepts connections, and that is all.
func TestAHostThatSaysNothingIsCut(t *testing.T) {
	t.Parallel()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = l.Close() }()
	_, env := gittest.SSH(t, seeded(t))
	for _, url := range []string{"ssh://git@" + l.Addr().String() + "/a.git", "http://" + l.Addr().String() + "/a.git", "https://" + l.Addr().String() + "/a.git"} {
		r, err := git.Open(t.Context(), git.Options{URL: url, Dir: t.TempDir() + "/c", Getenv: gittest.Getenv(env), Timeout: time.Second})
		if err != nil {
			t.Fatal(err)
		}
		start := time.Now()
		if _, err := r.List(t.Context()); !errors.Is(err, stella.ErrUnreachable) || time.Since(start) > 30*time.Second {
			t.Errorf("%s: %v after %s", url, err, time.Since(start))
		}
		_ = r.Close()
		// With all the time in the world, somebody else ends it.
		ctx, cancel := context.WithCancelCause(t.Context())
		why := errors.New("interrupted")
		time.AfterFunc(100*time.Millisecond, func() { cancel(why) })
		if _, err := open(t, url, env).List(ctx); !errors.Is(err, why) {
			t.Errorf("%s: %v, want the cause", url, err)
		}
	}
}

func incompressible(n int) string {
	b := make([]byte, n)
	x := uint32(2463534242)
	for i := range b {
		x ^= x << 13
		x ^= x >> 17
		x ^= x << 5
		b[i] = 'A' + byte(x%57)
	}
	return string(b)
}
