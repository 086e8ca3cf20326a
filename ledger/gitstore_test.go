package ledger_test

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/stella-ops/stella"
	"github.com/stella-ops/stella/internal/git"
	"github.com/stella-ops/stella/internal/git/gittest"
	"github.com/stella-ops/stella/ledger"
	"github.com/stella-ops/stella/ledger/ledgertest"
)

const ref = "refs/stella/ledger/production"

// clone opens a client of a remote with a cache of its own.
func clone(t testing.TB, url string) *git.Repo {
	t.Helper()
	r, err := git.Open(t.Context(), git.Options{
		URL: url, Dir: t.TempDir(), Getenv: gittest.Getenv(map[string]string{
			"GIT_AUTHOR_NAME": "Machine", "GIT_AUTHOR_EMAIL": "machine@example.com",
			"GIT_COMMITTER_NAME": "Machine", "GIT_COMMITTER_EMAIL": "machine@example.com",
		}),
	})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = r.Close() })
	return r
}

func gitStore(t testing.TB, url string) ledger.Store {
	t.Helper()
	return ledger.NewGitStore(clone(t, url), "")
}

func TestGitStore(t *testing.T) {
	ledgertest.Run(t, func(t *testing.T) func() ledger.Store {
		bare := gittest.Bare(t)
		return func() ledger.Store { return gitStore(t, bare) }
	})
}

func inBare(t testing.TB, bare string, args ...string) string {
	t.Helper()
	return gittest.Run(t, gittest.Dir(bare), args...)
}

func TestPlainGitReadsTheLedger(t *testing.T) {
	bare := gittest.Bare(t)
	l := open(gitStore(t, bare))
	b := mustAppend(t, l, begin())
	mustAppend(t, l, ledger.Finish{Deployment: stella.Deployment{ID: "production-1", Status: stella.Errored}, LockID: b.State.Lock.ID})
	equal(t, "log", "deploy production-1: running → errored\ndeploy production-1: running (2.4.0)", inBare(t, bare, "log", "--format=%s", ref))
	equal(t, "author and committer", "ana@example.com <ana@example.com>, Machine <machine@example.com>",
		inBare(t, bare, "log", "-1", "--format=%an <%ae>, %cn <%ce>", ref))
	equal(t, "trailer", "2", inBare(t, bare, "log", "-1", "--format=%(trailers:key=Stella-Transition,valueonly,separator=)", ref))
	equal(t, "files", "deployments/0000/000001.json\nevents.json\nstate.json", inBare(t, bare, "ls-tree", "-r", "--name-only", ref))
	state, err := ledger.DecodeState(env, []byte(inBare(t, bare, "show", ref+":state.json")))
	if err != nil || state.Sequence != 1 || state.Transitions != 2 {
		t.Errorf("state.json reads as %+v, %v", state, err)
	}
	inBare(t, bare, "fsck", "--strict")
}

func TestOnlyWhatChangesIsWritten(t *testing.T) {
	bare := gittest.Bare(t)
	l := open(gitStore(t, bare))
	for range 5 {
		mustAppend(t, l, request())
	}
	b := mustAppend(t, l, begin())
	mustAppend(t, l, ledger.Progress{ID: "production-6", LockID: b.State.Lock.ID})
	// A commit, its tree, deployments/, deployments/0000/, and three files; of
	// them a renewal without news leaves the record as it is.
	for revs, want := range map[string]int{ref + "~2.." + ref + "~1": 7, ref + "~1.." + ref: 4} {
		objects := strings.Split(inBare(t, bare, "rev-list", "--objects", revs), "\n")
		if len(objects) != want {
			t.Errorf("%s: %d new objects, want %d:\n%s", revs, len(objects), want, strings.Join(objects, "\n"))
		}
	}
}

// deployTree deploys the app that is on the branch of a config repository, and
// returns its tree id.
func deployTree(t *testing.T, bare string, repo *git.Repo, files map[string]string) (tree string, b ledger.Book) {
	t.Helper()
	gittest.Seed(t, bare, files)
	if _, err := repo.Fetch(t.Context(), git.Want{Branch: true}); err != nil {
		t.Fatal(err)
	}
	tree = inBare(t, bare, "rev-parse", gittest.Branch+":envs/production/app")
	return tree, deployed(t, open(ledger.NewGitStore(repo, "")), tree)
}

func deployed(t *testing.T, l *ledger.Ledger, tree string) ledger.Book {
	t.Helper()
	e := begin()
	e.Deployment.Tree = tree
	b := mustAppend(t, l, e)
	id := b.State.Lock.Deployment
	d, _ := b.Deployment(id)
	d.Status = stella.Succeeded
	return mustAppend(t, l, ledger.Finish{Deployment: d, LockID: b.State.Lock.ID, Current: true})
}

func TestTheLedgerAloneKeepsWhatARollbackRestores(t *testing.T) {
	bare := gittest.Bare(t)
	repo := clone(t, bare)
	first, _ := deployTree(t, bare, repo, map[string]string{"envs/production/app/compose.yaml": "one", "envs/production/app/conf/a": "x"})
	second, b := deployTree(t, bare, repo, map[string]string{"envs/production/app/compose.yaml": "two"})
	equal(t, "trees", map[string]string{"production-1": first, "production-2": second}, b.Trees)
	equal(t, "the tree in Git", first, inBare(t, bare, "rev-parse", ref+":trees/production-1"))

	// Somebody deletes the branch, and the host tidies up.
	gittest.SetRef(t, bare, gittest.Branch, "")
	inBare(t, bare, "-c", "gc.reflogExpire=now", "gc", "--quiet", "--prune=now")

	fresh := clone(t, bare)
	book, err := open(ledger.NewGitStore(fresh, "")).Refresh(t.Context(), env)
	if err != nil {
		t.Fatal(err)
	}
	d, ok := book.Previous()
	if !ok || d.Tree != first || book.Trees[d.ID] != first {
		t.Fatalf("Previous is %+v, %v, trees %v", d, ok, book.Trees)
	}
	app, err := fresh.Tree(t.Context(), git.ID(d.Tree))
	if err != nil {
		t.Fatal(err)
	}
	for path, want := range map[string]string{"compose.yaml": "one", "conf/a": "x"} {
		if got, err := app.Read(t.Context(), path, 100); err != nil || string(got) != want {
			t.Errorf("%s is %q, %v, want %q", path, got, err, want)
		}
	}
}

func TestATreeThatTheCacheDoesNotHaveIsLeftOut(t *testing.T) {
	bare := gittest.Bare(t)
	for _, tree := range []string{strings.Repeat("5", 40), "no id", strings.Repeat("0", 40)} {
		b := deployed(t, open(gitStore(t, bare)), tree)
		d, _ := b.Current()
		equal(t, "recorded tree", tree, d.Tree)
	}
	b, err := open(gitStore(t, bare)).Refresh(t.Context(), env)
	if err != nil || len(b.Trees) != 0 || b.State.Sequence != 3 {
		t.Errorf("trees are %v, state %+v, %v", b.Trees, b.State, err)
	}
	if r, err := ledger.Verify(t.Context(), gitStore(t, bare), env, nil); err != nil || len(r.Findings) != 0 {
		t.Errorf("Verify: %+v, %v", r, err)
	}
}

func TestATreeThatTheRemoteDoesNotHaveKeepsNoOutcomeFromBeingRecorded(t *testing.T) {
	bare := gittest.Bare(t)
	repo := clone(t, bare)
	built, err := repo.Build(t.Context(), git.Draft{Edits: []git.Edit{{Path: "only/here", Content: []byte("x")}}, Message: "local", Committer: git.Signature{Name: "x", Email: "x@example.com", When: noon()}})
	if err != nil {
		t.Fatal(err)
	}
	b := deployed(t, open(ledger.NewGitStore(repo, "")), string(built.Tree))
	equal(t, "current", "production-1", b.State.Current)
	inBare(t, bare, "fsck", "--connectivity-only", ref)
}

func TestALostResponseLandsOnce(t *testing.T) {
	bare := gittest.Bare(t)
	var f gittest.Faults
	l := open(gitStore(t, gittest.HTTP(t, bare, &f)))
	mustAppend(t, l, request())
	f.Add(gittest.Push, 1, gittest.LoseResponse())
	b := mustAppend(t, l, request())
	equal(t, "sequence", int64(2), b.State.Sequence)
	equal(t, "commits", "2", inBare(t, bare, "rev-list", "--count", ref))
	b = mustAppend(t, l, request())
	equal(t, "sequence", int64(3), b.State.Sequence)
}

// TestALockStolenWithinThePushIsNotWrittenUnder: the remote's ref moves after
// the push was let in and before it is carried out.
func TestALockStolenWithinThePushIsNotWrittenUnder(t *testing.T) {
	bare := gittest.Bare(t)
	holder, thief := open(gitStore(t, bare)), ledger.New(gitStore(t, bare), ledger.Options{Actor: "ben"})
	mine := mustAppend(t, holder, begin()).State.Lock.ID
	before := gittest.Ref(t, bare, ref)
	steal := begin()
	steal.Takeover = mine
	if _, err := thief.Append(t.Context(), env, write(steal)); err != nil {
		t.Fatal(err)
	}
	stolen := gittest.Ref(t, bare, ref)
	gittest.SetRef(t, bare, ref, before)
	gittest.Hook(t, bare, "pre-receive", "unset GIT_QUARANTINE_PATH; git update-ref "+ref+" "+stolen)
	_, err := holder.Append(t.Context(), env, write(ledger.Progress{ID: "production-1", LockID: mine}))
	if !errors.Is(err, stella.ErrFenced) {
		t.Errorf("Append: %v, want stella.ErrFenced", err)
	}
	equal(t, "the ref", stolen, gittest.Ref(t, bare, ref))
}

func TestARewoundRefStopsWriting(t *testing.T) {
	bare := gittest.Bare(t)
	store := gitStore(t, bare)
	l := open(store)
	mustAppend(t, l, request())
	old := gittest.Ref(t, bare, ref)
	mustAppend(t, l, request())
	for name, id := range map[string]string{"rewound": old, "deleted": ""} {
		gittest.SetRef(t, bare, ref, id)
		_, err := l.Refresh(t.Context(), env)
		if !errors.Is(err, stella.ErrTampered) || !strings.Contains(stella.Hint(err), "accept-head") {
			t.Errorf("%s: Refresh: %v (hint %q), want stella.ErrTampered", name, err, stella.Hint(err))
		}
		if _, err := l.Append(t.Context(), env, write(request())); err == nil {
			t.Errorf("%s: Append succeeded", name)
		}
		if r, err := ledger.Verify(t.Context(), store, env, nil); err != nil || !slices.Equal(codes(r), []string{"rewound"}) || r.Commits != 2 {
			t.Errorf("%s: Verify: %+v, %v", name, r, err)
		}
	}
}

// forge pushes a commit on top of the ledger with files of its own.
func forge(t *testing.T, bare string, files map[string]string) string {
	t.Helper()
	return gittest.SeedRef(t, bare, ref, "forged", files)
}

func TestForgedCommitsAreRefusedWithTheirPlace(t *testing.T) {
	for _, c := range []struct {
		name  string
		files func(state, events string) map[string]string
		class string
		// trusted: a fresh clone has nothing to compare with.
		trusted bool
	}{
		{"garbage", func(string, string) map[string]string { return map[string]string{"state.json": "\x1b[2J"} }, "invalid", false},
		{"a state that is too long", func(s, _ string) map[string]string {
			return map[string]string{"state.json": s + strings.Repeat(" ", ledger.MaxStateBytes)}
		}, "invalid", false},
		{"another environment's state", func(s, _ string) map[string]string {
			return map[string]string{"state.json": strings.Replace(s, "production", "staging", 1)}
		}, "tampered", false},
		{"a fence in the far future", func(s, _ string) map[string]string {
			return map[string]string{"state.json": strings.Replace(s, `"fence": 0`, `"fence": 4611686018427387904`, 1)}
		}, "tampered", false},
		{"a fence that jumps", func(s, e string) map[string]string {
			return map[string]string{
				"state.json":  next(strings.Replace(s, `"fence": 0`, `"fence": 5000`, 1)),
				"events.json": next(e),
			}
		}, "tampered", true},
		{"the same transition again", func(s, e string) map[string]string {
			return map[string]string{"state.json": next(s), "events.json": next(e)}
		}, "tampered", true},
		{"no transition", func(s, _ string) map[string]string {
			return map[string]string{"state.json": next(s), "events.json": `{"schemaVersion":1,"environment":"production","transitions":2,"events":[]}`}
		}, "tampered", false},
		{"a record in the wrong place", func(string, string) map[string]string {
			return map[string]string{"deployments/0000/000002.json": `{"schemaVersion":1,"id":"production-1","environment":"production","sequence":1}`}
		}, "tampered", false},
		{"a file where a directory should be", func(string, string) map[string]string { return map[string]string{"trees": "x"} }, "invalid", false},
		{"a file that does not belong there", func(string, string) map[string]string { return map[string]string{"run.sh": "x"} }, "invalid", false},
		{"no state", func(string, string) map[string]string { return map[string]string{"state.json": ""} }, "not found", false},
	} {
		bare := gittest.Bare(t)
		seen := gitStore(t, bare)
		mustAppend(t, open(seen), request())
		show := func(file string) string { return inBare(t, bare, "show", ref+":"+file) }
		id := forge(t, bare, c.files(show("state.json"), show("events.json")))
		for who, s := range map[string]ledger.Store{"who has seen it before": seen, "a fresh clone": gitStore(t, bare)} {
			_, err := open(s).Refresh(t.Context(), env)
			if c.trusted && s != seen {
				equal(t, c.name+", "+who, "ok", className(err))
				continue
			}
			if got := className(err); got != c.class || !strings.Contains(fmt.Sprint(err), "commit "+id[:12]) {
				t.Errorf("%s, %s: %v, want %s that names commit %s", c.name, who, err, c.class, id[:12])
			}
			if strings.Contains(fmt.Sprint(err), "\x1b") {
				t.Errorf("%s: %q would reach a terminal", c.name, err)
			}
		}
	}
}

// TestAForgedStateThatClaimsNoTransitionIsNotTakenForAFirstContact: a commit on
// top of what was seen has at least one transition more.
func TestAForgedStateThatClaimsNoTransitionIsNotTakenForAFirstContact(t *testing.T) {
	for _, commits := range []int{1, 2, 3} {
		bare := gittest.Bare(t)
		seen := gitStore(t, bare)
		mustAppend(t, open(seen), request())
		show := func(file string) string { return inBare(t, bare, "show", ref+":"+file) }
		state, events := show("state.json"), show("events.json")
		for i := range commits {
			forged := strings.Replace(state, `"reason": ""`, fmt.Sprintf(`"reason": "forged %d"`, i), 1)
			if forged == state {
				t.Fatal("nothing was forged")
			}
			if i > 0 { // the last of several claims fewer transitions than there are commits
				forged, events = next(forged), next(events)
			}
			forge(t, bare, map[string]string{"state.json": forged, "events.json": events})
		}
		if _, err := open(seen).Refresh(t.Context(), env); !errors.Is(err, stella.ErrTampered) {
			t.Errorf("%d forged commits: %v, want stella.ErrTampered", commits, err)
		}
	}
}

// next makes a forged file one of the second transition.
func next(file string) string {
	return strings.Replace(file, `"transitions": 1`, `"transitions": 2`, 1)
}

func TestALedgerOfManyTransitionsIsReadFromItsTip(t *testing.T) {
	bare := chain(t, 100)
	tip := gittest.Ref(t, bare, ref)
	gittest.SetRef(t, bare, ref, gittest.Run(t, gittest.Dir(bare), "rev-parse", ref+"~90")) // further than is replayed
	reader := open(gitStore(t, bare))
	if b, err := reader.Refresh(t.Context(), env); err != nil || b.State.Transitions != 10 {
		t.Fatalf("state %+v, %v", b.State, err)
	}
	gittest.SetRef(t, bare, ref, tip)
	for name, l := range map[string]*ledger.Ledger{"who was away": reader, "a shallow clone": open(gitStore(t, bare))} {
		if b, err := l.Refresh(t.Context(), env); err != nil || b.State.Transitions != 100 || b.State.Sequence != 25 {
			t.Errorf("%s: state %+v, %v", name, b.State, err)
		}
	}
}

func TestReadingCostsOneRequestAndNoneFromTheCache(t *testing.T) {
	bare := chain(t, 50)
	var f gittest.Faults
	repo := clone(t, gittest.HTTP(t, bare, &f))
	if _, err := open(ledger.NewGitStore(repo, "")).Refresh(t.Context(), env); err != nil {
		t.Fatal(err)
	}
	for what, c := range map[string]struct {
		read func(l *ledger.Ledger) (ledger.Book, error)
		most int
	}{
		"Read":    {func(l *ledger.Ledger) (ledger.Book, error) { return l.Read(t.Context(), env) }, 0},
		"Refresh": {func(l *ledger.Ledger) (ledger.Book, error) { return l.Refresh(t.Context(), env) }, 2}, // protocol 2 lists with a second one
	} {
		f.Forget()
		// The same cache, another process.
		b, err := c.read(open(ledger.NewGitStore(repo, "")))
		if n := len(f.Requests()); err != nil || b.State.Transitions != 50 || n > c.most {
			t.Errorf("%s: %d requests, want at most %d; %d transitions, %v", what, n, c.most, b.State.Transitions, err)
		}
	}
}

func TestAnotherPrefixIsAnotherLedger(t *testing.T) {
	bare := gittest.Bare(t)
	repo := clone(t, bare)
	l := open(ledger.NewGitStore(repo, "refs/heads/stella/"))
	mustAppend(t, l, request())
	if gittest.Ref(t, bare, "refs/heads/stella/production") == "" || gittest.Ref(t, bare, ref) != "" {
		t.Error("the ledger is not below its prefix")
	}
	envs, err := open(ledger.NewGitStore(repo, "")).Environments(t.Context())
	if err != nil || len(envs) != 0 {
		t.Errorf("environments of the default prefix are %v, %v", envs, err)
	}
}

func TestANewProcessReplaysWhatItFetches(t *testing.T) {
	bare := gittest.Bare(t)
	repo := clone(t, bare)
	mustAppend(t, open(ledger.NewGitStore(repo, "")), request())
	state, events := inBare(t, bare, "show", ref+":state.json"), inBare(t, bare, "show", ref+":events.json")
	forge(t, bare, map[string]string{"state.json": next(state), "events.json": next(events)})
	// The same cache, other processes: that one has fetched and refused it makes
	// it no better for the next, nor that somebody fetched it for the ledger.
	if _, err := repo.Fetch(t.Context(), git.Want{Names: []string{ref}}); err != nil {
		t.Fatal(err)
	}
	for n := range 3 {
		if _, err := open(ledger.NewGitStore(repo, "")).Read(t.Context(), env); !errors.Is(err, stella.ErrTampered) {
			t.Errorf("process %d: Read: %v, want stella.ErrTampered", n, err)
		}
		if _, err := open(ledger.NewGitStore(repo, "")).Refresh(t.Context(), env); !errors.Is(err, stella.ErrTampered) {
			t.Errorf("process %d: Refresh: %v, want stella.ErrTampered", n, err)
		}
	}
}

func TestHeadsThatAreNoIDsAreRefused(t *testing.T) {
	s := gitStore(t, gittest.Bare(t))
	b := ledger.NewBook(env)
	if _, err := s.Save(context.Background(), env, "--upload-pack=x", ledger.Entry{Book: b}); !errors.Is(err, stella.ErrInvalid) {
		t.Errorf("Save: %v, want stella.ErrInvalid", err)
	}
}

func TestBlobIDsAreGits(t *testing.T) {
	file := filepath.Join(t.TempDir(), "f")
	if err := os.WriteFile(file, []byte("x\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	equal(t, "id", gittest.Run(t, "", "hash-object", file), ledger.BlobID([]byte("x\n")))
}
