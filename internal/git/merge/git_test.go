package merge_test

import (
	"bytes"
	"errors"
	"fmt"
	"maps"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"testing"

	"github.com/stella-ops/stella/internal/git"
	"github.com/stella-ops/stella/internal/git/gittest"
	"github.com/stella-ops/stella/internal/git/merge"
)

// limits are those of a test, in which nothing is too big.
func limits() merge.Limits { return merge.Limits{MaxPaths: 1000, MaxFileBytes: 1 << 20} }

// judged is what git revert makes of a path.
type judged struct {
	leaf     merge.Leaf
	conflict bool
}

// bench is a repository with a working copy in which git reverts.
type bench struct {
	t    testing.TB
	dir  string
	from int // the number of its first history
}

func (b bench) git(args ...string) ([]byte, error) {
	cmd := exec.CommandContext(b.t.Context(), "git", args...)
	cmd.Dir, cmd.Env = b.dir, append(gittest.Environ(), "GIT_OPTIONAL_LOCKS=0")
	return cmd.CombinedOutput()
}

// must runs git and fails the test when git does.
func (b bench) must(args ...string) []byte {
	b.t.Helper()
	out, err := b.git(args...)
	if err != nil {
		b.t.Fatalf("git %s: %v\n%s", strings.Join(args, " "), err, out)
	}
	return out
}

// newBench writes all histories into one repository: refs/t/N/commit and
// refs/t/N/now.
func newBench(t testing.TB, all []history, from int) bench {
	t.Helper()
	b := bench{t, filepath.Join(t.TempDir(), "bench"), from}
	gittest.Run(t, "", "init", "-q", "-b", "main", b.dir)
	for _, kv := range [][2]string{{"gc.auto", "0"}, {"core.fsync", "none"}, {"core.autocrlf", "false"}, {"advice.detachedHead", "false"}} {
		gittest.Config(t, b.dir, kv[0], kv[1])
	}
	var in bytes.Buffer
	mark := 0
	commit := func(m memory, parents ...int) int {
		mark++
		fmt.Fprintf(&in, "commit refs/t/scratch\nmark :%d\ncommitter T <t@example.com> %d +0000\ndata 1\nc\n", mark, 1_700_000_000+mark)
		for i, p := range parents {
			fmt.Fprintf(&in, "%s :%d\n", []string{"from", "merge"}[i], p)
		}
		in.WriteString("deleteall\n")
		for _, path := range slices.Sorted(maps.Keys(m)) {
			f := m[path]
			if f.mode == git.ModeSubmodule {
				fmt.Fprintf(&in, "M 160000 %s %s\n", f.text, path)
				continue
			}
			fmt.Fprintf(&in, "M %o inline %s\ndata %d\n%s\n", f.mode, path, len(f.text), f.text)
		}
		in.WriteString("\n")
		return mark
	}
	for i, h := range all {
		in.WriteString("reset refs/t/scratch\n\n")
		var parents []int
		if !h.root {
			parents = append(parents, commit(h.before))
		}
		if h.merge {
			first := parents[0]
			in.WriteString("reset refs/t/scratch\n\n")
			parents = append(parents, commit(h.other, first))
			in.WriteString("reset refs/t/scratch\n\n")
		}
		c := commit(h.commit, parents...)
		fmt.Fprintf(&in, "reset refs/t/%d/commit\nfrom :%d\n\n", i, c)
		now := commit(h.now, c)
		fmt.Fprintf(&in, "reset refs/t/%d/now\nfrom :%d\n\n", i, now)
	}
	cmd := exec.CommandContext(t.Context(), "git", "fast-import", "--quiet", "--force")
	cmd.Dir, cmd.Env, cmd.Stdin = b.dir, gittest.Environ(), &in
	if out, err := cmd.CombinedOutput(); err != nil {
		t.Fatalf("git fast-import: %v\n%s", err, out)
	}
	return b
}

// revert lets git undo the commit of history n and says what it makes of every
// path, nil where it gave up. dirty says that it called anything a conflict.
func (b bench) revert(n int, h history) (found map[string]judged, dirty bool) {
	b.t.Helper()
	b.must("reset", "-q", "--hard", fmt.Sprintf("refs/t/%d/now", n))
	b.must("clean", "-ffdxq") // what git leaves beside a conflict
	args := []string{"revert", "--strategy=recursive", "-X", "no-renames", "-X", "diff-algorithm=myers", "--no-commit"}
	if h.merge {
		args = append(args, "-m", "1")
	}
	out, err := b.git(append(args, fmt.Sprintf("refs/t/%d/commit", n))...)
	switch exit := (*exec.ExitError)(nil); {
	case err == nil:
	case bytes.Contains(out, []byte("unable to read blob object")):
		return nil, true // it wants to merge what is a submodule on one side: nothing that anybody could
	case !errors.As(err, &exit) || exit.ExitCode() != 1:
		b.t.Fatalf("history %d: git revert: %v\n%s\n%s", b.from+n, err, out, describe(h))
	}
	dirty = err != nil
	found = map[string]judged{}
	for entry := range strings.SplitSeq(string(b.must("ls-files", "-s", "-z")), "\x00") {
		if entry == "" {
			continue
		}
		about, path, _ := strings.Cut(entry, "\t")
		f := strings.Fields(about)
		mode, err := strconv.ParseUint(f[0], 8, 32)
		if err != nil {
			b.t.Fatal(err)
		}
		found[path] = judged{leaf: merge.Leaf{Mode: uint32(mode), ID: git.ID(f[1])}, conflict: f[2] != "0"}
	}
	return found, dirty
}

// stricter says whether a conflict of ours that git does not have is one of
// those that package merge says it has.
func stricter(c merge.Conflict, p merge.Path) bool {
	switch c.Why {
	case merge.WhyLines:
		return !slices.ContainsFunc(c.Hunks, func(h merge.Hunk) bool { return !h.Ambiguous })
	case merge.WhyGone, merge.WhyLink, merge.WhyKind:
		return true
	case merge.WhyAdded:
		empty := blobID(nil)
		return p.Ours.ID == empty || p.Theirs.ID == empty
	}
	return false
}

// tally counts how histories ended.
type tally struct {
	histories, bothClean, bothConflict, merged int
	stricter                                   map[merge.Why]int
}

// compare undoes one history with Undo and with git, and fails the test where
// they differ in more than what is allowed.
func (b bench) compare(n int, h history, count *tally) {
	b.t.Helper()
	fail := func(format string, args ...any) {
		b.t.Errorf("history %d: "+format+"\n%s", append(append([]any{b.from + n}, args...), describe(h))...)
	}
	var before merge.Tree
	if !h.root {
		before = h.before
	}
	r, err := merge.Undo(b.t.Context(), h.commit, h.now, before, limits())
	if err != nil {
		fail("%v", err)
		return
	}
	found, dirty := b.revert(n, h)
	conflicts := r.Conflicts()
	count.histories++
	switch {
	case dirty && len(conflicts) == 0:
		fail("git says conflict, we merged")
		return
	case dirty:
		count.bothConflict++
	case len(conflicts) == 0:
		count.bothClean++
		if err := r.Proves(b.t.Context(), h.now, h.now.edited(r.Edits("app"), h.before, h.commit, h.now)); err != nil {
			fail("%v", err)
		}
	}
	about := map[string]merge.Path{}
	for _, p := range r.Paths {
		about[p.Name] = p
		if c := p.Conflict; c != nil && !dirty {
			count.stricter[c.Why]++
			if !stricter(*c, p) {
				fail("git is clean, we have an unexplained conflict: %s", c)
			}
		}
	}
	if found == nil {
		return
	}
	count.merged += b.paths(h, found, about, fail)
}

// paths compares path by path, also where others conflict. It returns how many
// files were merged by line.
func (b bench) paths(h history, found map[string]judged, about map[string]merge.Path, fail func(string, ...any)) (merged int) {
	all := map[string]bool{}
	for _, m := range []memory{h.before, h.commit, h.now} {
		for path := range m {
			all[path] = true
		}
	}
	for path := range all {
		ours, touched := about[path]
		git := found[path]
		switch {
		case near(path, about):
			continue // where a file and a directory meet, git conflicts on either
		case !touched && git.conflict:
			fail("%s: git conflicts on a path that was not touched", path)
		case touched && git.conflict && ours.Conflict == nil:
			fail("%s: git conflicts, we merged", path)
		case touched && ours.Conflict != nil && !git.conflict && !stricter(*ours.Conflict, ours):
			fail("%s: unexplained conflict: %s", path, ours.Conflict)
		case touched && (ours.Conflict != nil || git.conflict):
		case touched:
			want := ours.Want
			if ours.Content != nil {
				want.ID = blobID(ours.Content)
				merged++
			}
			if want != git.leaf {
				fail("%s: git makes %v of it, we %v", path, git.leaf, want)
			}
		case git.leaf != (merge.Leaf{Mode: h.now[path].mode, ID: leafID(h.now, path)}):
			fail("%s: git touched it", path)
		}
	}
	return merged
}

func leafID(m memory, path string) git.ID {
	f, ok := m[path]
	if !ok {
		return ""
	}
	return f.id()
}

// near reports whether a path conflicts because of a directory, or is above or
// below one that conflicts.
func near(path string, about map[string]merge.Path) bool {
	for name, p := range about {
		beside := strings.HasPrefix(name, path+"/") || strings.HasPrefix(path, name+"/")
		if p.Conflict != nil && (beside || name == path && p.Conflict.Why == merge.WhyDirectory) {
			return true
		}
	}
	return false
}

func describe(h history) string {
	var b strings.Builder
	for _, side := range []struct {
		name string
		m    memory
	}{{"before", h.before}, {"commit", h.commit}, {"now", h.now}} {
		for _, path := range slices.Sorted(maps.Keys(side.m)) {
			fmt.Fprintf(&b, "%s %s %o %q\n", side.name, path, side.m[path].mode, side.m[path].text)
		}
	}
	return b.String()
}

// TestUndoAgreesWithGitRevert compares with real git on random histories.
// STELLA_TEST_HISTORIES=20000 tries so many, STELLA_TEST_SEED others.
func TestUndoAgreesWithGitRevert(t *testing.T) {
	n, seed := number(t, "STELLA_TEST_HISTORIES", 150), number(t, "STELLA_TEST_SEED", 1)
	count := tally{stricter: map[merge.Why]int{}}
	const batch = 500
	for from := 0; from < n && !t.Failed(); from += batch {
		var all []history
		for i := from; i < min(n, from+batch); i++ {
			all = append(all, newDice(uint64(seed), uint64(i)).history())
		}
		b := newBench(t, all, from)
		for i, h := range all {
			b.compare(i, h, &count)
		}
		if err := os.RemoveAll(b.dir); err != nil {
			t.Fatal(err)
		}
	}
	t.Logf("seed %d: %d histories, %d clean and the same, %d a conflict for both, %d files merged by line; stricter than git: %v",
		seed, count.histories, count.bothClean, count.bothConflict, count.merged, count.stricter)
	if count.bothClean == 0 || count.bothConflict == 0 || count.merged == 0 {
		t.Error("the histories do not try what they are for")
	}
}

func number(t testing.TB, name string, otherwise int) int {
	t.Helper()
	text := os.Getenv(name)
	if text == "" {
		return otherwise
	}
	n, err := strconv.Atoi(text)
	if err != nil {
		t.Fatal(err)
	}
	return n
}
