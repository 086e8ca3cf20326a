package git_test

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/stella-ops/stella"
	"github.com/stella-ops/stella/internal/git"
	"github.com/stella-ops/stella/internal/git/gittest"
)

const ledger = "refs/stella/ledger/prod"

// TestOneOfTwoWritersWinsEveryRound races two writers, each with its own cache,
// for the same ref, over every transport.
func TestOneOfTwoWritersWinsEveryRound(t *testing.T) {
	t.Parallel()
	for _, tr := range transports(t, seeded(t)) {
		t.Run(tr.name, func(t *testing.T) {
			rounds := 8
			if tr.name == "ssh" {
				rounds = 2 // a connection takes a tenth of a second
			}
			writers := []*git.Repo{open(t, tr.url, tr.env), open(t, tr.url, tr.env), open(t, tr.url, tr.env)}
			ref := "refs/stella/ledger/" + tr.name
			var old git.ID
			for round := range rounds {
				old = race(t, writers, ref, old, round)
			}
		})
	}
}

func seeded(t testing.TB) string {
	t.Helper()
	bare := gittest.Bare(t)
	gittest.Seed(t, bare, map[string]string{"a": "1"})
	return bare
}

// race lets all writers push at once and returns the winner's commit.
func race(t *testing.T, writers []*git.Repo, ref string, old git.ID, round int) git.ID {
	t.Helper()
	commits, errs := make([]*git.Built, len(writers)), make([]error, len(writers))
	for i, w := range writers {
		if old != "" {
			if _, err := w.Fetch(t.Context(), git.Want{Names: []string{ref}}); err != nil {
				t.Fatal(err)
			}
		}
		commits[i] = commit(t, w, old, "state.json", fmt.Sprintf("%d-%d", round, i))
	}
	var done sync.WaitGroup
	start := make(chan struct{})
	for i, w := range writers {
		done.Go(func() {
			<-start
			errs[i] = w.Push(t.Context(), []git.Update{{Ref: ref, Old: old, New: commits[i].Commit}}, commits[i])
		})
	}
	close(start)
	done.Wait()
	var won git.ID
	for i, err := range errs {
		switch {
		case err == nil && won != "":
			t.Fatalf("round %d: two winners", round)
		case err == nil:
			won = commits[i].Commit
		case !errors.Is(err, stella.ErrConflict):
			t.Errorf("round %d: a loser got %v, want ErrConflict", round, err)
		}
	}
	if refs, err := writers[0].List(t.Context()); err != nil || refs.IDs[ref] != won || won == "" {
		t.Fatalf("round %d: winner %q, the remote has %q, %v", round, won, refs.IDs[ref], err)
	}
	return won
}

func TestAStaleLosersErrorSaysWhereTheRefIs(t *testing.T) {
	bare := seeded(t)
	r := open(t, bare)
	head := fetch(t, r)
	b := commit(t, r, head, "a", "2")
	now := gittest.Seed(t, bare, map[string]string{"a": "3"})
	err := r.Push(t.Context(), []git.Update{{Ref: gittest.Branch, Old: head, New: b.Commit}}, b)
	if !errors.Is(err, stella.ErrConflict) || !strings.Contains(err.Error(), now[:12]) {
		t.Errorf("got %v, want ErrConflict with %s", err, now[:12])
	}
}

// TestALockStolenWhileTheServerWorksIsAConflict is the window that no random
// race hits: another push lands after the server advertised and before it
// updates.
func TestALockStolenWhileTheServerWorksIsAConflict(t *testing.T) {
	bare := seeded(t)
	r, thief := open(t, bare), open(t, bare)
	head := fetch(t, r)
	b := commit(t, r, head, "a", "mine")
	fetch(t, thief)
	stolen := commit(t, thief, head, "a", "stolen")
	if err := thief.Push(t.Context(), []git.Update{{Ref: "refs/heads/loot", New: stolen.Commit}}, stolen); err != nil {
		t.Fatal(err)
	}
	gittest.Hook(t, bare, "pre-receive", "unset GIT_QUARANTINE_PATH; git update-ref refs/heads/main "+string(stolen.Commit))
	err := r.Push(t.Context(), []git.Update{{Ref: gittest.Branch, Old: head, New: b.Commit}}, b)
	if !errors.Is(err, stella.ErrConflict) {
		t.Errorf("got %v, want ErrConflict", err)
	}
	if got := gittest.Ref(t, bare, gittest.Branch); got != string(stolen.Commit) {
		t.Errorf("the branch is at %s, want the thief's %s", got, stolen.Commit)
	}
}

func TestRulesOfTheRemoteAreNotConflicts(t *testing.T) {
	t.Parallel()
	for name, c := range map[string]struct {
		setup  func(bare string)
		ref    string
		reason string
		hint   string
	}{
		"a pre-receive hook": {
			func(bare string) {
				gittest.Hook(t, bare, "pre-receive", `printf 'no deploys on \033[2JFriday\n' >&2; exit 1`)
			},
			gittest.Branch, `no deploys on \u001B[2JFriday`, "",
		},
		"an update hook": {func(bare string) {
			gittest.Hook(t, bare, "update", "echo GH006: Protected branch update failed >&2; exit 1")
		}, gittest.Branch, "hook declined", "pull request"},
		"a hidden ref":              {func(bare string) { gittest.Config(t, bare, "receive.hideRefs", "refs/stella") }, ledger, "hidden ref", "ledger prefix"},
		"a lock that somebody left": {func(bare string) { leaveLock(t, bare, ledger) }, ledger, "File exists", "remove "},
		"a hook that prints a lot": {func(bare string) {
			gittest.Hook(t, bare, "pre-receive", "yes 'blah blah' | head -c 3000000 >&2; echo the end >&2; exit 1")
		}, gittest.Branch, "the end", ""},
		"unwanted objects": {func(bare string) { gittest.Config(t, bare, "receive.maxInputSize", "10") }, gittest.Branch, "unpack", ""},
		"a branch that is looked at": {func(bare string) {
			gittest.Config(t, bare, "core.bare", "false")
			gittest.Config(t, bare, "core.worktree", bareTree(t))
		}, gittest.Branch, "checked out", ""},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			bare := seeded(t)
			for _, url := range []string{bare, gittest.HTTP(t, bare, nil)} {
				r := open(t, url)
				head := fetch(t, r)
				b := commit(t, r, head, "a", name)
				old := head
				if c.ref != gittest.Branch {
					old = ""
				}
				c.setup(bare)
				err := r.Push(t.Context(), []git.Update{{Ref: c.ref, Old: old, New: b.Commit}}, b)
				var rejected *git.RejectedError
				if !errors.As(err, &rejected) || !errors.Is(err, stella.ErrRefused) {
					t.Fatalf("got %v, want RejectedError", err)
				}
				if !strings.Contains(err.Error(), c.reason) || !strings.Contains(stella.Hint(err), c.hint) {
					t.Errorf("got %q with hint %q, want %q and %q", err, stella.Hint(err), c.reason, c.hint)
				}
				if len(err.Error()) > 4000 || strings.ContainsAny(err.Error(), "\x1b\n\r") {
					t.Errorf("%d bytes, or not printable: %.200q", len(err.Error()), err.Error())
				}
				if got := gittest.Ref(t, bare, c.ref); got != string(old) {
					t.Errorf("the ref moved to %q", got)
				}
			}
		})
	}
}

func bareTree(t *testing.T) string { t.Helper(); return t.TempDir() }

func leaveLock(t *testing.T, bare, ref string) {
	t.Helper()
	file := filepath.Join(gittest.Dir(bare), ref+".lock")
	if err := errors.Join(os.MkdirAll(filepath.Dir(file), 0o755), os.WriteFile(file, nil, 0o600)); err != nil {
		t.Fatal(err)
	}
}

func TestALockThatGoesAwayIsWaitedFor(t *testing.T) {
	t.Parallel()
	bare := seeded(t)
	r := open(t, bare)
	b := commit(t, r, "", "state.json", "{}")
	leaveLock(t, bare, ledger)
	time.AfterFunc(300*time.Millisecond, func() { _ = os.Remove(filepath.Join(gittest.Dir(bare), ledger+".lock")) })
	if err := r.Push(t.Context(), []git.Update{{Ref: ledger, New: b.Commit}}, b); err != nil {
		t.Error(err)
	}
}

// TestAnUnknownOutcomeIsResolvedByLooking loses answers in every way, with and
// without the push having landed.
func TestAnUnknownOutcomeIsResolvedByLooking(t *testing.T) {
	t.Parallel()
	var f gittest.Faults
	bare := seeded(t)
	url := gittest.HTTP(t, bare, &f)
	for name, c := range map[string]struct {
		fault  gittest.Fault
		landed bool
	}{
		"the request is lost":                {gittest.LoseRequest(), false},
		"the response is lost":               {gittest.LoseResponse(), true},
		"the response is cut at its start":   {gittest.Truncate(3), true},
		"the response is cut at its end":     {gittest.Truncate(40), true},
		"the response is damaged":            {gittest.Flip(20), true},
		"a proxy gives up":                   {gittest.Status(http.StatusGatewayTimeout), false},
		"a proxy gives up after it was done": {doneBut(gittest.Status(http.StatusBadGateway)), true},
		"a page answers after it was done":   {doneBut(gittest.HTML()), true},
		"the server is busy":                 {gittest.Status(http.StatusServiceUnavailable, "Retry-After", "7"), false},
	} {
		t.Run(name, func(t *testing.T) {
			r := open(t, url)
			head := fetch(t, r)
			b := commit(t, r, head, "a", name)
			f.Add(gittest.Push, 1, c.fault)
			defer f.Clear()
			err := r.Push(t.Context(), []git.Update{{Ref: gittest.Branch, Old: head, New: b.Commit}}, b)
			at := git.ID(gittest.Ref(t, bare, gittest.Branch))
			switch {
			case c.landed && (err != nil || at != b.Commit):
				t.Errorf("it landed: got %v, the branch is at %s", err, at)
			case !c.landed && (!errors.Is(err, stella.ErrUnreachable) || errors.Is(err, git.ErrUnknownOutcome) || at != head):
				t.Errorf("it did not land: got %v, the branch is at %s", err, at)
			case c.landed && fetch(t, r) != b.Commit:
				t.Error("the cache does not have it")
			}
		})
	}
}

// doneBut lets the server do its work and answers something else.
func doneBut(other gittest.Fault) gittest.Fault { return gittest.After(func() {}, other) }

func TestALostAnswerAfterWhichNobodyCanBeAskedIsUnknown(t *testing.T) {
	var f gittest.Faults
	bare := seeded(t)
	r := open(t, gittest.HTTP(t, bare, &f))
	head := fetch(t, r)
	b := commit(t, r, head, "a", "2")
	f.Add(gittest.Push, 1, gittest.After(func() { f.Add(gittest.Any, -1, gittest.LoseRequest()) }, nil))
	update := []git.Update{{Ref: gittest.Branch, Old: head, New: b.Commit}}
	err := r.Push(t.Context(), update, b)
	if !errors.Is(err, git.ErrUnknownOutcome) || !errors.Is(err, stella.ErrUnreachable) {
		t.Errorf("got %v, want ErrUnknownOutcome", err)
	}
	f.Clear()
	if err := r.Push(t.Context(), update, b); err != nil {
		t.Errorf("the same push again: %v, want nil since it had landed", err)
	}
}

func TestALostAnswerAfterWhichOthersWentOn(t *testing.T) {
	var f gittest.Faults
	bare := seeded(t)
	url := gittest.HTTP(t, bare, &f)
	for name, onTop := range map[string]bool{"upon ours": true, "upon what was before": false} {
		t.Run(name, func(t *testing.T) {
			r := open(t, url)
			head := fetch(t, r)
			b := commit(t, r, head, "a", name)
			seed := func() { gittest.Seed(t, bare, map[string]string{"other": name}) }
			fault := gittest.After(seed, nil)
			if !onTop {
				fault = func(next http.Handler) http.Handler { return gittest.Between(seed)(gittest.LoseRequest()(next)) }
			}
			f.Add(gittest.Push, 1, fault)
			err := r.Push(t.Context(), []git.Update{{Ref: gittest.Branch, Old: head, New: b.Commit}}, b)
			if onTop && err != nil || !onTop && !errors.Is(err, stella.ErrConflict) {
				t.Errorf("got %v", err)
			}
		})
	}
}

func TestAPushIsCutWhenNoVerdictComes(t *testing.T) {
	t.Parallel()
	bare := seeded(t)
	gittest.Hook(t, bare, "pre-receive", "exec sleep 600")
	var f gittest.Faults
	for name, url := range map[string]string{"file": bare, "http": gittest.HTTP(t, bare, &f)} {
		dir := t.TempDir() + "/cache"
		head := fetch(t, openIn(t, dir, url)) // with patience: the machine may be busy
		r, err := git.Open(t.Context(), git.Options{URL: url, Dir: dir, Getenv: gittest.Getenv(), Timeout: time.Second})
		if err != nil {
			t.Fatal(err)
		}
		b := commit(t, r, head, "a", name)
		if name == "http" {
			// A hook would outlive the test's server.
			f.Add(gittest.Push, 1, f.Hang())
		}
		start := time.Now()
		err = r.Push(t.Context(), []git.Update{{Ref: gittest.Branch, Old: head, New: b.Commit}}, b)
		if !errors.Is(err, stella.ErrUnreachable) || time.Since(start) > 30*time.Second {
			t.Errorf("%s: %v after %s", name, err, time.Since(start))
		}
		_ = r.Close()
	}
}

func TestAPushThatIsInterruptedIsStillResolved(t *testing.T) {
	var f gittest.Faults
	bare := seeded(t)
	r := open(t, gittest.HTTP(t, bare, &f))
	head := fetch(t, r)
	b := commit(t, r, head, "a", "2")
	ctx, cancel := context.WithCancel(t.Context())
	f.Add(gittest.Push, 1, gittest.After(cancel, nil))
	if err := r.Push(ctx, []git.Update{{Ref: gittest.Branch, Old: head, New: b.Commit}}, b); err != nil {
		t.Errorf("got %v, want nil since it had landed", err)
	}
}

// TestATerminalsInterruptDoesNotReachTheServer: it goes to all of a process
// group, and must not end a push under way.
func TestATerminalsInterruptDoesNotReachTheServer(t *testing.T) {
	bare := seeded(t)
	file := filepath.Join(t.TempDir(), "pgid")
	gittest.Hook(t, bare, "pre-receive", "cut -d' ' -f5 /proc/$$/stat > "+file)
	r := open(t, bare)
	head := fetch(t, r)
	b := commit(t, r, head, "a", "2")
	if err := r.Push(t.Context(), []git.Update{{Ref: gittest.Branch, Old: head, New: b.Commit}}, b); err != nil {
		t.Fatal(err)
	}
	group, err := os.ReadFile(file)
	if err != nil || strings.TrimSpace(string(group)) == fmt.Sprint(syscall.Getpgrp()) {
		t.Errorf("the hook runs in process group %q, %v, which is ours", group, err)
	}
}

func TestAPostReceiveHookThatTakesLongIsNotKilled(t *testing.T) {
	t.Parallel()
	bare := seeded(t)
	mark := filepath.Join(t.TempDir(), "done")
	gittest.Hook(t, bare, "post-receive", "sleep 1; touch "+mark)
	r := open(t, bare)
	head := fetch(t, r)
	b := commit(t, r, head, "a", "2")
	if err := r.Push(t.Context(), []git.Update{{Ref: gittest.Branch, Old: head, New: b.Commit}}, b); err != nil {
		t.Fatal(err)
	}
	if _, err := os.Stat(mark); err != nil {
		t.Errorf("the hook did not end: %v", err)
	}
}
