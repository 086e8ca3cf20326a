package git_test

import (
	"errors"
	"fmt"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/stella-ops/stella"
	"github.com/stella-ops/stella/internal/git"
	"github.com/stella-ops/stella/internal/git/gittest"
)

func TestEveryTransportListsFetchesBuildsAndPushes(t *testing.T) {
	t.Parallel()
	bare := gittest.Bare(t)
	gittest.Seed(t, bare, map[string]string{"stella.yaml": "kind: Project\n", "envs/prod/app/release.yaml": "version: 1\n"})
	for _, tr := range transports(t, bare) {
		t.Run(tr.name, func(t *testing.T) {
			r := open(t, tr.url, tr.env)
			want := git.ID(gittest.Ref(t, bare, gittest.Branch))
			refs, err := r.List(t.Context())
			if err != nil {
				t.Fatal(err)
			}
			if refs.Default != gittest.Branch || refs.IDs[gittest.Branch] != want {
				t.Fatalf("list: %+v, want %s", refs, want)
			}
			head := fetch(t, r)
			if head != want {
				t.Fatalf("fetched %s, want %s", head, want)
			}
			b := commit(t, r, head, "envs/prod/app/release.yaml", "version: "+tr.name+"\n")
			if got := read(t, r, b.Commit, "envs/prod/app/release.yaml"); got != "version: "+tr.name+"\n" {
				t.Errorf("read before the push: %q", got)
			}
			if err := r.Push(t.Context(), []git.Update{{Ref: gittest.Branch, Old: head, New: b.Commit}}, b); err != nil {
				t.Fatal(err)
			}
			if got := gittest.Ref(t, bare, gittest.Branch); got != string(b.Commit) {
				t.Errorf("the remote is at %s, want %s", got, b.Commit)
			}
			gittest.Run(t, gittest.Dir(bare), "fsck", "--strict", "--full")
			if got := read(t, open(t, tr.url, tr.env), fetchNew(t, tr), "envs/prod/app/release.yaml"); got != "version: "+tr.name+"\n" {
				t.Errorf("read by another: %q", got)
			}
		})
	}
}

func fetchNew(t *testing.T, tr transport) git.ID {
	t.Helper()
	return fetch(t, open(t, tr.url, tr.env))
}

func TestCreatingAndDeletingRefs(t *testing.T) {
	bare := gittest.Bare(t)
	gittest.Seed(t, bare, map[string]string{"a": "1"})
	r := open(t, bare)
	const ref = "refs/stella/ledger/prod"
	first := commit(t, r, "", "state.json", "{}")
	create := []git.Update{{Ref: ref, New: first.Commit}}
	if err := r.Push(t.Context(), create, first); err != nil {
		t.Fatal(err)
	}
	other := commit(t, r, "", "state.json", "[]")
	if err := r.Push(t.Context(), []git.Update{{Ref: ref, New: other.Commit}}, other); !errors.Is(err, stella.ErrConflict) {
		t.Errorf("creating what exists: %v, want ErrConflict", err)
	}
	if err := r.Push(t.Context(), []git.Update{{Ref: ref, Old: other.Commit}}); !errors.Is(err, stella.ErrConflict) {
		t.Errorf("deleting with the wrong old value: %v, want ErrConflict", err)
	}
	if got := gittest.Ref(t, bare, ref); got != string(first.Commit) {
		t.Errorf("ref is at %q, want %s", got, first.Commit)
	}
	if err := r.Push(t.Context(), []git.Update{{Ref: ref, Old: first.Commit}}); err != nil {
		t.Fatal(err)
	}
	if got := gittest.Ref(t, bare, ref); got != "" {
		t.Errorf("ref is at %q, want it gone", got)
	}
	seen, err := r.Seen(t.Context())
	if err != nil || seen.IDs[ref] != "" {
		t.Errorf("last seen %q, %v, want it forgotten", seen.IDs[ref], err)
	}
}

func TestSeveralRefsMoveTogetherOrNotAtAll(t *testing.T) {
	bare := gittest.Bare(t)
	gittest.Seed(t, bare, map[string]string{"a": "1"})
	r := open(t, bare)
	head := fetch(t, r)
	b := commit(t, r, head, "a", "2")
	stale := []git.Update{{Ref: gittest.Branch, Old: head, New: b.Commit}, {Ref: "refs/heads/other", Old: head, New: b.Commit}}
	if err := r.Push(t.Context(), stale, b); !errors.Is(err, stella.ErrConflict) {
		t.Errorf("one of two is stale: %v, want ErrConflict", err)
	}
	if got := gittest.Ref(t, bare, gittest.Branch); got != string(head) {
		t.Errorf("branch moved to %s", got)
	}
	both := []git.Update{{Ref: gittest.Branch, Old: head, New: b.Commit}, {Ref: "refs/heads/other", New: b.Commit}}
	if err := r.Push(t.Context(), both, b); err != nil {
		t.Fatal(err)
	}
	gittest.Config(t, bare, "receive.advertiseAtomic", "false")
	c := commit(t, r, b.Commit, "a", "3")
	both = []git.Update{{Ref: gittest.Branch, Old: b.Commit, New: c.Commit}, {Ref: "refs/heads/other", Old: b.Commit, New: c.Commit}}
	if err := r.Push(t.Context(), both, c); !errors.Is(err, stella.ErrUnsupported) {
		t.Errorf("without atomic: %v, want ErrUnsupported", err)
	}
	if err := r.Push(t.Context(), both[:1], c); err != nil {
		t.Errorf("one ref without atomic: %v", err)
	}
}

func TestPushesThatMakeNoSenseAreRefused(t *testing.T) {
	r := open(t, gittest.Bare(t))
	id := git.ID(strings.Repeat("1", 40))
	for name, updates := range map[string][]git.Update{
		"nothing":               nil,
		"not moving":            {{Ref: "refs/heads/a", Old: id, New: id}},
		"neither old nor new":   {{Ref: "refs/heads/a"}},
		"a ref twice":           {{Ref: "refs/heads/a", New: id}, {Ref: "refs/heads/a", Old: id}},
		"a ref that is no name": {{Ref: "refs/heads/../../config", New: id}},
		"an id that is none":    {{Ref: "refs/heads/a", New: "main"}},
	} {
		if err := r.Push(t.Context(), updates); !errors.Is(err, stella.ErrInvalid) {
			t.Errorf("%s: %v, want ErrInvalid", name, err)
		}
	}
}

func TestEmptyRepositoriesAndMissingBranchesAreSaid(t *testing.T) {
	bare := gittest.Bare(t)
	r := open(t, bare)
	if refs, err := r.List(t.Context()); err != nil || len(refs.IDs) != 0 {
		t.Errorf("list of an empty repository: %+v, %v", refs, err)
	}
	if _, err := r.Fetch(t.Context(), git.Want{Branch: true}); !errors.Is(err, git.ErrEmpty) || !errors.Is(err, stella.ErrNotFound) {
		t.Errorf("fetch from an empty repository: %v, want ErrEmpty", err)
	}
	if refs, err := r.Fetch(t.Context(), git.Want{Names: []string{"refs/stella/ledger/prod"}}); err != nil || len(refs.IDs) != 0 {
		t.Errorf("fetch of a ref that does not exist: %+v, %v", refs, err)
	}
	// The first push of all makes the branch.
	first := commit(t, r, "", "stella.yaml", "kind: Project\n")
	if err := r.Push(t.Context(), []git.Update{{Ref: gittest.Branch, New: first.Commit}}, first); err != nil {
		t.Fatal(err)
	}
	if got := fetch(t, r); got != first.Commit {
		t.Errorf("fetched %s, want %s", got, first.Commit)
	}
	gittest.SetRef(t, bare, "refs/heads/trunk", string(first.Commit))
	gittest.SetRef(t, bare, gittest.Branch, "")
	if _, err := r.Fetch(t.Context(), git.Want{Branch: true}); !errors.Is(err, stella.ErrNotFound) {
		t.Errorf("fetch of a deleted default branch: %v, want ErrNotFound", err)
	}
	gittest.Run(t, gittest.Dir(bare), "symbolic-ref", "HEAD", "refs/heads/trunk")
	var renamed *git.RewoundError
	if _, err := r.Fetch(t.Context(), git.Want{Branch: true}); !errors.As(err, &renamed) || renamed.Ref != "HEAD" || !errors.Is(err, stella.ErrTampered) {
		t.Errorf("fetch of a renamed default branch: %v, want RewoundError of HEAD", err)
	}
	if err := r.AcceptHead("HEAD", ""); err != nil {
		t.Fatal(err)
	}
	if got := fetch(t, r); got != first.Commit {
		t.Errorf("fetched %s after accepting, want %s", got, first.Commit)
	}
}

func TestNoRepositoryThere(t *testing.T) {
	for name, url := range map[string]string{
		"file": "file://" + t.TempDir() + "/nothing",
		"http": gittest.HTTP(t, gittest.Bare(t), nil) + "x",
	} {
		if _, err := open(t, url).List(t.Context()); !errors.Is(err, stella.ErrNotFound) || stella.Hint(err) == "" {
			t.Errorf("%s: %v (hint %q), want ErrNotFound", name, err, stella.Hint(err))
		}
	}
}

func TestRepositoriesWithSHA256AreNamed(t *testing.T) {
	dir := t.TempDir() + "/sha256.git"
	gittest.Run(t, "", "init", "-q", "--bare", "--object-format=sha256", "-b", "main", dir)
	gittest.Seed(t, dir, map[string]string{"a": "1"})
	for _, url := range []string{dir, gittest.HTTP(t, dir, nil)} {
		if _, err := open(t, url).List(t.Context()); !errors.Is(err, stella.ErrUnsupported) || stella.Hint(err) == "" {
			t.Errorf("%s: %v, want ErrUnsupported", url, err)
		}
	}
}

func TestEditsMakeTheTreesThatGitMakes(t *testing.T) {
	bare := gittest.Bare(t)
	files := map[string]string{"stella.yaml": "p", "envs/prod/app/release.yaml": "1", "envs/prod/environment.yaml": "e", "envs/test/app/release.yaml": "2", "envs.txt": "x", "docs/a/b/c": "d"}
	head := git.ID(gittest.Seed(t, bare, files))
	r := open(t, bare)
	fetch(t, r)
	tree, err := r.Tree(t.Context(), head)
	if err != nil {
		t.Fatal(err)
	}
	app, err := tree.Lookup(t.Context(), "envs/test/app")
	if err != nil {
		t.Fatal(err)
	}
	for name, c := range map[string]struct {
		edits []git.Edit
		seed  map[string]string // the same for gittest.SeedRef; empty deletes
	}{
		"a file changes":                  {[]git.Edit{{Path: "envs/prod/app/release.yaml", Content: []byte("9")}}, map[string]string{"envs/prod/app/release.yaml": "9"}},
		"files come in new directories":   {[]git.Edit{{Path: "x/y/z", Content: []byte("9")}, {Path: "x/y.txt", Content: []byte("8")}}, map[string]string{"x/y/z": "9", "x/y.txt": "8"}},
		"the last file of a directory":    {[]git.Edit{{Path: "docs/a/b/c", Delete: true}}, map[string]string{"docs/a/b/c": ""}},
		"a directory goes":                {[]git.Edit{{Path: "envs", Delete: true}}, map[string]string{"envs": ""}},
		"a directory is grafted":          {[]git.Edit{{Path: "envs/prod/app", Graft: app.ID}}, map[string]string{"envs/prod/app/release.yaml": "2"}},
		"a file takes a directory's":      {[]git.Edit{{Path: "docs", Delete: true}, {Path: "docs", Content: []byte("f")}}, map[string]string{"docs/a/b/c": "", "docs": "f"}},
		"what is not there is deleted":    {[]git.Edit{{Path: "nothing/here", Delete: true}, {Path: "envs/nothing", Delete: true}}, nil},
		"an edit is undone by the next":   {[]git.Edit{{Path: "n/m", Content: []byte("1")}, {Path: "n/m", Delete: true}}, nil},
		"what was grafted is edited":      {[]git.Edit{{Path: "envs/new/app", Graft: app.ID}, {Path: "envs/new/app/compose.yaml", Content: []byte("c")}}, map[string]string{"envs/new/app/release.yaml": "2", "envs/new/app/compose.yaml": "c"}},
		"names sort around a directory's": {[]git.Edit{{Path: "envs-a", Content: []byte("1")}, {Path: "envs0", Content: []byte("2")}}, map[string]string{"envs-a": "1", "envs0": "2"}},
	} {
		b, err := r.Build(t.Context(), git.Draft{Base: head, Parents: []git.ID{head}, Edits: c.edits, Author: who(name), Message: name})
		if err != nil {
			t.Errorf("%s: %v", name, err)
			continue
		}
		ref := "refs/heads/" + git.RefSafe(name)
		gittest.SetRef(t, bare, ref, string(head))
		want := git.ID(gittest.Run(t, gittest.Dir(bare), "rev-parse", seedOrHead(t, bare, ref, head, c.seed)+"^{tree}"))
		if b.Tree != want {
			t.Errorf("%s: tree %s, want %s", name, b.Tree, want)
		}
		if err := r.Push(t.Context(), []git.Update{{Ref: ref + "-ours", New: b.Commit}}, b); err != nil {
			t.Errorf("%s: %v", name, err)
		}
	}
	gittest.Run(t, gittest.Dir(bare), "fsck", "--strict", "--full")
}

func seedOrHead(t *testing.T, bare, ref string, head git.ID, files map[string]string) string {
	t.Helper()
	if files == nil {
		return string(head)
	}
	return gittest.SeedRef(t, bare, ref, "seed", files)
}

func TestEditsThatCanNotBeMadeAreRefused(t *testing.T) {
	bare := gittest.Bare(t)
	head := git.ID(gittest.Seed(t, bare, map[string]string{"a/b": "1"}))
	r := open(t, bare)
	fetch(t, r)
	nothing := git.ID(strings.Repeat("1", 40))
	for name, c := range map[string]struct {
		edit git.Edit
		want error
	}{
		"below a file":       {git.Edit{Path: "a/b/c", Content: []byte("x")}, stella.ErrInvalid},
		"no path":            {git.Edit{Content: []byte("x")}, stella.ErrInvalid},
		"a path upwards":     {git.Edit{Path: "a/../b"}, stella.ErrInvalid},
		"an absolute path":   {git.Edit{Path: "/a"}, stella.ErrInvalid},
		"into .git":          {git.Edit{Path: "a/.GIT/config"}, stella.ErrInvalid},
		"a symlink":          {git.Edit{Path: "l", Mode: git.ModeSymlink}, stella.ErrInvalid},
		"a graft of nothing": {git.Edit{Path: "g", Graft: nothing}, stella.ErrNotFound},
		"a commit as a tree": {git.Edit{Path: "g", Graft: head}, stella.ErrInvalid},
	} {
		_, err := r.Build(t.Context(), git.Draft{Base: head, Edits: []git.Edit{c.edit}, Author: who("x")})
		if !errors.Is(err, c.want) {
			t.Errorf("%s: %v, want %v", name, err, c.want)
		}
	}
	if _, err := r.Build(t.Context(), git.Draft{}); !errors.Is(err, stella.ErrInvalid) {
		t.Errorf("no time: %v, want ErrInvalid", err)
	}
}

func TestCommitsAreReadAsTheyWereBuilt(t *testing.T) {
	bare := gittest.Bare(t)
	r := open(t, bare)
	when := who("x").When
	root := commit(t, r, "", "a", "1")
	b, err := r.Build(t.Context(), git.Draft{
		Base: root.Commit, Parents: []git.ID{root.Commit},
		Author:    git.Signature{Name: "Ana <evil>\nfaked: x", Email: "ana@example.com", When: when},
		Committer: git.Signature{Name: "stella", Email: "stella@example.com", When: when},
		Message:   "Deploy 2.4.0\n\nStella-Environment: prod\n\n\n",
	})
	if err != nil {
		t.Fatal(err)
	}
	got, err := r.Commit(t.Context(), b.Commit)
	if err != nil {
		t.Fatal(err)
	}
	want := git.Commit{
		ID: b.Commit, Tree: root.Tree, Parents: []git.ID{root.Commit},
		Author:    git.Signature{Name: "Ana evilfaked: x", Email: "ana@example.com", When: when},
		Committer: git.Signature{Name: "stella", Email: "stella@example.com", When: when},
		Message:   "Deploy 2.4.0\n\nStella-Environment: prod\n",
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("(-want +got):\n%s", diff)
	}
	if err := r.Push(t.Context(), []git.Update{{Ref: gittest.Branch, New: b.Commit}}, root, b); err != nil {
		t.Fatal(err)
	}
	if got := gittest.Run(t, gittest.Dir(bare), "log", "-1", "--format=%an|%ae|%cn|%s", "main"); got != "Ana evilfaked: x|ana@example.com|stella|Deploy 2.4.0" {
		t.Errorf("git says %q", got)
	}
}

func TestIdentity(t *testing.T) {
	home := t.TempDir()
	gittest.Run(t, "", "config", "--file", home+"/.gitconfig", "user.name", "Ana")
	gittest.Run(t, "", "config", "--file", home+"/.gitconfig", "user.email", "ana@example.com")
	bare := gittest.Bare(t)
	config := map[string]string{"HOME": home, "GIT_CONFIG_GLOBAL": ""}
	for name, c := range map[string]struct {
		env  []map[string]string
		want string
	}{
		"the configuration": {[]map[string]string{config}, "Ana <ana@example.com>"},
		"the environment":   {[]map[string]string{config, {"GIT_AUTHOR_NAME": "Bob", "GIT_AUTHOR_EMAIL": "bob@ci"}}, "Bob <bob@ci>"},
		"a bit of either":   {[]map[string]string{config, {"GIT_AUTHOR_NAME": "Bob\n<x>"}}, "Bobx <ana@example.com>"},
	} {
		s := open(t, bare, c.env...).Identity(t.Context())
		if got := fmt.Sprintf("%s <%s>", s.Name, s.Email); got != c.want || s.When.IsZero() {
			t.Errorf("%s: %s, want %s", name, got, c.want)
		}
	}
	if s := open(t, bare).Identity(t.Context()); s.Name == "" || !strings.Contains(s.Email, "@") {
		t.Errorf("nothing configured: %+v", s)
	}
}
