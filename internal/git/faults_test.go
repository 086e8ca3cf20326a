package git_test

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"net"
	"net/http"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/stella-ops/stella"
	"github.com/stella-ops/stella/internal/git"
	"github.com/stella-ops/stella/internal/git/gittest"
)

// The tests of this file are rows of docs/faults.md: what a remote can do.

// openWaiting opens a repository that waits so long for anything.
func openWaiting(t testing.TB, most time.Duration, dir, url string) *git.Repo {
	t.Helper()
	r, err := git.Open(t.Context(), git.Options{URL: url, Dir: dir, Getenv: gittest.Getenv(), Timeout: most})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = r.Close() })
	return r
}

func TestWhileTheRemoteIsDownWhatWasSeenCanBeRead(t *testing.T) {
	t.Parallel()
	bare := seeded(t)
	var f gittest.Faults
	r := open(t, gittest.HTTP(t, bare, &f))
	head := fetch(t, r)
	f.Add(gittest.Any, -1, gittest.LoseRequest())
	for range 3 {
		if _, err := r.Fetch(t.Context(), git.Want{Branch: true}); !errors.Is(err, stella.ErrUnreachable) {
			t.Errorf("%v, want ErrUnreachable", err)
		}
		seen, err := r.Seen(t.Context())
		if err != nil || seen.IDs[gittest.Branch] != head || read(t, r, head, "a") != "1" {
			t.Errorf("last seen %v, %v", seen.IDs, err)
		}
	}
	b := commit(t, r, head, "a", "2")
	update := []git.Update{{Ref: gittest.Branch, Old: head, New: b.Commit}}
	if err := r.Push(t.Context(), update, b); !errors.Is(err, stella.ErrUnreachable) || errors.Is(err, git.ErrUnknownOutcome) {
		t.Errorf("a push that was never sent: %v, want ErrUnreachable and not unknown", err)
	}
	f.Clear()
	if err := r.Push(t.Context(), update, b); err != nil || fetch(t, r) != b.Commit {
		t.Errorf("when it is back: %v", err)
	}
}

func TestARemoteThatListensNoMoreIsSaidAtOnce(t *testing.T) {
	t.Parallel()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	_ = l.Close()
	_, env := gittest.SSH(t, seeded(t))
	for _, scheme := range []string{"http", "https", "ssh"} {
		start := time.Now()
		_, err := open(t, scheme+"://"+l.Addr().String()+"/a.git", env).List(t.Context())
		if !errors.Is(err, stella.ErrUnreachable) || time.Since(start) > 30*time.Second {
			t.Errorf("%s: %v after %s", scheme, err, time.Since(start))
		}
	}
}

// TestAVerdictThatTricklesIsReadBack: the push has landed, and the answer would
// take minutes.
func TestAVerdictThatTricklesIsReadBack(t *testing.T) {
	t.Parallel()
	bare := seeded(t)
	var f gittest.Faults
	url, dir := gittest.HTTP(t, bare, &f), t.TempDir()+"/cache"
	head := fetch(t, openIn(t, dir, url))
	r := openWaiting(t, 2*time.Second, dir, url)
	b := commit(t, r, head, "a", "2")
	f.Add(gittest.Push, 1, f.Trickle(1, time.Hour))
	update := []git.Update{{Ref: gittest.Branch, Old: head, New: b.Commit}}
	err := r.Push(t.Context(), update, b)
	for errors.Is(err, stella.ErrUnreachable) && t.Context().Err() == nil {
		err = r.Push(t.Context(), update, b) // the machine is so busy that asking took too long
	}
	if at := gittest.Ref(t, bare, gittest.Branch); err != nil || at != string(b.Commit) {
		t.Errorf("%v, the branch is at %s", err, at)
	}
}

// TestAFetchThatBreaksLeavesACacheThatWorks breaks fetches into one and the same
// cache in every way, and then lets one pass.
func TestAFetchThatBreaksLeavesACacheThatWorks(t *testing.T) {
	t.Parallel()
	bare, _ := generated(t, 20, 4)
	var f gittest.Faults
	url := gittest.HTTP(t, bare, &f)
	dir := filepath.Join(t.TempDir(), "cache")
	r := openIn(t, dir, url)
	for name, fault := range map[string]gittest.Fault{
		"the request is lost": gittest.LoseRequest(), "the answer is lost": gittest.LoseResponse(),
		"cut at 1": gittest.Truncate(1), "cut at 30": gittest.Truncate(30), "cut at 200": gittest.Truncate(200),
		"cut at 2000": gittest.Truncate(2000), "a bit of the pack flips": gittest.FlipPack(100), "a bit of its sum flips": gittest.FlipPack(1),
		"a page": gittest.HTML(), "a proxy gives up": gittest.Status(http.StatusBadGateway), "busy": gittest.Status(http.StatusServiceUnavailable),
	} {
		head := git.ID(gittest.Seed(t, bare, map[string]string{"new": name + incompressible(3000)}))
		f.Add(gittest.Fetch, 1, fault)
		if _, err := r.Fetch(t.Context(), git.Want{Branch: true}); !errors.Is(err, stella.ErrUnreachable) {
			t.Errorf("%s: %v, want ErrUnreachable", name, err)
		}
		f.Clear()
		if got := fetch(t, r); got != head || !strings.HasPrefix(read(t, r, head, "new"), name) {
			t.Errorf("%s: fetched %s afterwards, want %s", name, got, head)
		}
		cacheFsck(t, dir, head)
	}
}

// TestWhoIsRefusedChangesNothingAndDoesNotInsist: the listing passes, and the
// push does not.
func TestWhoIsRefusedChangesNothingAndDoesNotInsist(t *testing.T) {
	t.Parallel()
	var elsewhere gittest.Faults
	other := gittest.HTTP(t, seeded(t), &elsewhere)
	for name, c := range map[string]struct {
		fault    gittest.Fault
		class    error
		requests int // at most
	}{
		"401":                         {gittest.Status(http.StatusUnauthorized), stella.ErrDenied, 2},
		"403, or archived":            {gittest.Status(http.StatusForbidden), stella.ErrDenied, 2},
		"404":                         {gittest.Status(http.StatusNotFound), stella.ErrNotFound, 2},
		"413":                         {gittest.Status(http.StatusRequestEntityTooLarge), stella.ErrRefused, 2},
		"429":                         {gittest.Status(http.StatusTooManyRequests, "Retry-After", "17"), stella.ErrUnreachable, 5},
		"503":                         {gittest.Status(http.StatusServiceUnavailable, "Retry-After", "17"), stella.ErrUnreachable, 5},
		"500":                         {gittest.Status(http.StatusInternalServerError), stella.ErrUnreachable, 5},
		"a page":                      {gittest.HTML(), stella.ErrUnreachable, 5},
		"a redirect to another host":  {gittest.Redirect(http.StatusTemporaryRedirect, strings.TrimSuffix(other, "/config.git")), stella.ErrInvalid, 5},
		"the same, with another verb": {gittest.Redirect(http.StatusSeeOther, strings.TrimSuffix(other, "/config.git")), stella.ErrInvalid, 5},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			bare := seeded(t)
			var f gittest.Faults
			url := gittest.HTTP(t, bare, &f)
			r := open(t, url, map[string]string{"STELLA_GIT_USERNAME": "ana", "STELLA_GIT_PASSWORD": secret})
			head := fetch(t, r)
			b := commit(t, r, head, "a", name)
			f.Add(gittest.Push, -1, c.fault)
			f.Forget()
			err := r.Push(t.Context(), []git.Update{{Ref: gittest.Branch, Old: head, New: b.Commit}}, b)
			if !errors.Is(err, c.class) || errors.Is(err, git.ErrUnknownOutcome) {
				t.Errorf("%v, want %v", err, c.class)
			}
			if n := len(f.Requests()); n > c.requests {
				t.Errorf("%d requests, want at most %d", n, c.requests)
			}
			var busy *git.BusyError
			if waits := name == "429" || name == "503"; errors.As(err, &busy) != waits || waits && busy.After != 17*time.Second {
				t.Errorf("busy %+v", busy)
			}
			if text := fmt.Sprint(err, stella.Hint(err)); strings.Contains(text, secret) || strings.ContainsAny(text, "\x1b\n") {
				t.Errorf("%q", text)
			}
			if at := gittest.Ref(t, bare, gittest.Branch); at != string(head) {
				t.Errorf("the branch moved to %s", at)
			}
		})
	}
	t.Cleanup(func() {
		if got := elsewhere.Requests(); len(got) > 0 {
			t.Errorf("the other host got %+v", got)
		}
	})
}

func TestARemoteThatIsBusyIsNotPressed(t *testing.T) {
	t.Parallel()
	bare := seeded(t)
	var f gittest.Faults
	r := open(t, gittest.HTTP(t, bare, &f))
	head := fetch(t, r)
	b := commit(t, r, head, "a", "2")
	for _, code := range []int{http.StatusTooManyRequests, http.StatusServiceUnavailable} {
		f.Add(gittest.Any, -1, gittest.Status(code, "Retry-After", "99999"))
		f.Forget()
		_, listErr := r.List(t.Context())
		_, fetchErr := r.Fetch(t.Context(), git.Want{Branch: true})
		pushErr := r.Push(t.Context(), []git.Update{{Ref: gittest.Branch, Old: head, New: b.Commit}}, b)
		for _, err := range []error{listErr, fetchErr, pushErr} {
			var busy *git.BusyError
			if !errors.As(err, &busy) || busy.After != time.Hour || !errors.Is(err, stella.ErrUnreachable) {
				t.Errorf("%d: %v, want to be told to wait at most an hour", code, err)
			}
		}
		if got := f.Requests(); len(got) != 3 {
			t.Errorf("%d: %d requests for three questions", code, len(got))
		}
		f.Clear()
	}
}

// TestTenWritersOfOneBranchAllLandOnce: every intent is one commit in the end,
// also of those whose requests and answers are lost.
func TestTenWritersOfOneBranchAllLandOnce(t *testing.T) {
	t.Parallel()
	bare := seeded(t)
	var f gittest.Faults
	url := gittest.HTTP(t, bare, &f)
	f.Add(every(gittest.Push, 5), -1, gittest.LoseResponse())
	f.Add(every(gittest.Push, 7), -1, gittest.LoseRequest())
	const writers = 10
	var all sync.WaitGroup
	for i := range writers {
		r := open(t, url)
		all.Go(func() {
			if err := writeOnce(t.Context(), r, fmt.Sprintf("w%d", i)); err != nil {
				t.Errorf("writer %d: %v", i, err)
			}
		})
	}
	all.Wait()
	subjects := strings.Fields(gittest.Run(t, gittest.Dir(bare), "log", "--format=%s", "main"))
	slices.Sort(subjects)
	want := []string{"seed", "w0", "w1", "w2", "w3", "w4", "w5", "w6", "w7", "w8", "w9"}
	if !slices.Equal(subjects, want) {
		t.Errorf("landed %q, want %q", subjects, want)
	}
	if files := strings.Fields(gittest.Run(t, gittest.Dir(bare), "ls-tree", "--name-only", "main")); len(files) != writers+1 {
		t.Errorf("files %q", files)
	}
}

// every matches each nth of the requests that m matches.
func every(m gittest.Match, n int) gittest.Match {
	count := 0 // Faults asks under its lock
	return func(r *http.Request) bool {
		if !m(r) {
			return false
		}
		count++
		return count%n == 0
	}
}

// writeOnce lands one commit on whatever the branch is, as often as others are
// faster. A push that may have landed is repeated as it was.
func writeOnce(ctx context.Context, r *git.Repo, name string) error {
	const tries = 100
	for range tries {
		refs, err := r.Fetch(ctx, git.Want{Branch: true})
		if err != nil {
			return err
		}
		head := refs.IDs[refs.Default]
		b, err := r.Build(ctx, git.Draft{
			Parents: []git.ID{head}, Base: head, Author: who(name), Message: name, Edits: []git.Edit{{Path: name, Content: []byte(name)}},
		})
		if err != nil {
			return err
		}
		for err = stella.ErrUnreachable; errors.Is(err, stella.ErrUnreachable); {
			if ctx.Err() != nil {
				return context.Cause(ctx)
			}
			err = r.Push(ctx, []git.Update{{Ref: refs.Default, Old: head, New: b.Commit}}, b)
		}
		if !errors.Is(err, stella.ErrConflict) {
			return err
		}
	}
	return fmt.Errorf("not within %d tries", tries)
}

func TestABranchThatIsPushedBackByForceIsAnAlarm(t *testing.T) {
	t.Parallel()
	bare := gittest.Bare(t)
	old := gittest.Seed(t, bare, map[string]string{"a": "1"})
	head := git.ID(gittest.Seed(t, bare, map[string]string{"a": "2"}))
	url, dir := gittest.HTTP(t, bare, nil), filepath.Join(t.TempDir(), "cache")
	r := openIn(t, dir, url)
	fetch(t, r)
	gittest.SetRef(t, bare, gittest.Branch, old)
	// Not for this process, nor for the next one with the same memory.
	for _, r := range []*git.Repo{r, openIn(t, dir, url)} {
		_, err := r.Fetch(t.Context(), git.Want{Branch: true})
		var rewound *git.RewoundError
		if !errors.As(err, &rewound) || rewound.Seen != head || string(rewound.Now) != old || rewound.Ref != gittest.Branch {
			t.Errorf("got %v, want a RewoundError from %s to %s", err, head, old)
		}
	}
	if err := r.AcceptHead(gittest.Branch, git.ID(old)); err != nil {
		t.Fatal(err)
	}
	if got := fetch(t, r); string(got) != old {
		t.Errorf("accepted, and fetched %s", got)
	}
}

func TestNamesOfEnvironmentsGetOnARealServer(t *testing.T) {
	t.Parallel()
	bare := seeded(t)
	r := open(t, gittest.HTTP(t, bare, nil))
	names := []string{"prod", "prod/eu", "PROD", "pröd", "a..b", "x.lock", "-x", ".x", "x.", "@{", "x~1", "con", "a b", strings.Repeat("n", 63)}
	want := map[string]git.ID{}
	for _, name := range names {
		b := commit(t, r, "", "state.json", name)
		ref := "refs/stella/ledger/" + git.RefSafe(name)
		if err := r.Push(t.Context(), []git.Update{{Ref: ref, New: b.Commit}}, b); err != nil {
			t.Errorf("%q: %v", name, err)
		}
		want[name] = b.Commit
	}
	refs, err := open(t, bare).List(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	got := map[string]git.ID{}
	for ref, id := range refs.IDs {
		if encoded, ok := strings.CutPrefix(ref, "refs/stella/ledger/"); ok {
			name, _ := git.RefUnsafe(encoded)
			got[name] = id
		}
	}
	if !maps.Equal(got, want) {
		t.Errorf("got %v, want %v", got, want)
	}
}

// TestAHostThatAllowsOnlyBranchesSaysSo: the ledger can not be there, and the
// branch can be pushed to all the same.
func TestAHostThatAllowsOnlyBranchesSaysSo(t *testing.T) {
	t.Parallel()
	bare := seeded(t)
	gittest.Hook(t, bare, "update", `case "$1" in refs/heads/*) ;; *) echo "only refs/heads may be pushed" >&2; exit 1;; esac`)
	r := open(t, gittest.HTTP(t, bare, nil))
	head := fetch(t, r)
	state := commit(t, r, "", "state.json", "{}")
	err := r.Push(t.Context(), []git.Update{{Ref: ledger, New: state.Commit}}, state)
	var rejected *git.RejectedError
	if !errors.As(err, &rejected) || rejected.Ref != ledger || !strings.Contains(rejected.Reason, "only refs/heads") {
		t.Errorf("the ledger: %v, want RejectedError with the hook's words", err)
	}
	b := commit(t, r, head, "a", "2")
	if err := r.Push(t.Context(), []git.Update{{Ref: gittest.Branch, Old: head, New: b.Commit}}, b); err != nil {
		t.Errorf("the branch: %v", err)
	}
}

// TestTenMegabytesOfChatterAreHeardOut: escape sequences and all, before and
// after a verdict, and before a pack.
func TestTenMegabytesOfChatterAreHeardOut(t *testing.T) {
	t.Parallel()
	const much = 10 << 20
	chatter := fmt.Sprintf(`yes "$(printf '\033[2J\033]0;owned\007\r counting')" | head -c %d >&2`, much)
	for name, accepts := range map[string]bool{"accepted": true, "refused": false} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			bare := seeded(t)
			exit := map[bool]string{true: "exit 0", false: "exit 1"}[accepts]
			gittest.Hook(t, bare, "pre-receive", chatter+"; "+exit)
			gittest.Hook(t, bare, "post-receive", chatter)
			for _, url := range []string{bare, gittest.HTTP(t, bare, nil)} {
				r := openWaiting(t, 5*time.Minute, t.TempDir()+"/cache", url) // it is a lot to print on a busy machine
				head := fetch(t, r)
				b := commit(t, r, head, "a", url)
				err := r.Push(t.Context(), []git.Update{{Ref: gittest.Branch, Old: head, New: b.Commit}}, b)
				if accepts && err != nil || !accepts && !errors.Is(err, stella.ErrRefused) {
					t.Errorf("%s: %v", url, err)
				}
				if text := fmt.Sprint(err); len(text) > 4000 || strings.ContainsAny(text, "\x1b\x07\r\n") {
					t.Errorf("%s: %d bytes, or not printable: %.200q", url, len(text), text)
				}
			}
		})
	}
	t.Run("fetched", func(t *testing.T) {
		t.Parallel()
		bare := seeded(t)
		var f gittest.Faults
		r := open(t, gittest.HTTP(t, bare, &f))
		f.Add(gittest.Fetch, 1, gittest.Chatter("\x1b[2Jremote: counting\r\n", much))
		if head := fetch(t, r); read(t, r, head, "a") != "1" {
			t.Error("something else was fetched")
		}
	})
}

func TestACertificateOfAnotherHostIsRefused(t *testing.T) {
	t.Parallel()
	var f gittest.Faults
	url, env := gittest.HTTPS(t, seeded(t), &f)
	env["STELLA_GIT_TOKEN"] = secret
	if _, err := open(t, url, env).List(t.Context()); err != nil {
		t.Fatal(err)
	}
	f.Forget()
	if _, err := open(t, strings.Replace(url, "127.0.0.1", "localhost", 1), env).List(t.Context()); !errors.Is(err, stella.ErrUnreachable) {
		t.Errorf("%v, want ErrUnreachable", err)
	}
	if got := f.Requests(); len(got) > 0 {
		t.Errorf("it was sent %+v", got)
	}
}

// TestACommitThatTheRemoteThrewAwayIsMissed: a rollback to it must not get
// another tree.
func TestACommitThatTheRemoteThrewAwayIsMissed(t *testing.T) {
	t.Parallel()
	bare := gittest.Bare(t)
	old := git.ID(gittest.Seed(t, bare, map[string]string{"a": "1"}))
	gittest.SetRef(t, bare, gittest.Branch, "")
	head := git.ID(gittest.SeedRef(t, bare, gittest.Branch, "rewritten", map[string]string{"b": "1"}))
	gittest.Run(t, gittest.Dir(bare), "reflog", "expire", "--expire=now", "--all")
	gittest.Run(t, gittest.Dir(bare), "gc", "-q", "--prune=now")
	for _, url := range []string{bare, gittest.HTTP(t, bare, nil)} {
		r := open(t, url)
		if got := fetch(t, r); got != head {
			t.Fatalf("fetched %s", got)
		}
		if tree, err := r.Tree(t.Context(), old); !errors.Is(err, stella.ErrNotFound) {
			t.Errorf("%s: %v, %v, want ErrNotFound", url, tree, err)
		}
		if _, err := r.Build(t.Context(), git.Draft{
			Parents: []git.ID{head}, Base: head, Author: who("x"), Edits: []git.Edit{{Path: "app", Graft: old}},
		}); !errors.Is(err, stella.ErrNotFound) {
			t.Errorf("%s: built upon it: %v, want ErrNotFound", url, err)
		}
	}
}
