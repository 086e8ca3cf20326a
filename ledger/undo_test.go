package ledger_test

import (
	"fmt"
	"slices"
	"strings"
	"testing"

	"pgregory.net/rapid"

	"github.com/stella-ops/stella"
	"github.com/stella-ops/stella/ledger"
)

func ids(ds []stella.Deployment) string {
	var out []string
	for _, d := range ds {
		out = append(out, strings.TrimPrefix(d.ID, "production-"))
	}
	return strings.Join(out, " ")
}

func previous(b ledger.Book) string {
	d, ok := b.Previous()
	if !ok {
		return "none"
	}
	return strings.TrimPrefix(d.ID, "production-")
}

// TestRollbackGoesOneFurtherBackAndNeverForward tells histories. Each step is
// TREE for a deployment that succeeded, TREE! for one that failed, TREE? for
// one that was interrupted half way, TREE~ for one that touched nothing, TREE+
// for one with a target out of reach; "back" with the same marks is a rollback
// to Previous, "back=N" one to deployment N, "part=N:TREE" one that brings back
// a part of deployment N and so makes a tree of its own, "heal" a heal,
// "hold=TREE" a hold.
func TestRollbackGoesOneFurtherBackAndNeverForward(t *testing.T) {
	for _, c := range []struct{ name, history, stack, previous string }{
		{"nothing was ever deployed", "", "", "none"},
		{"there is nothing before the first", "a", "1", "none"},
		{"one back", "a b", "2 1", "1"},
		{"a second rollback goes one further back", "a b c back", "2 1", "1"},
		{"and a third finds nothing", "a b c back back", "1", "none"},
		{"a failed deployment was never verified", "a b c!", "2 1", "2"},
		{"what was rolled back is not come back to", "a b back c", "4 1", "1"},
		{"content equal to what runs is passed over", "a b b b", "4 3 2 1", "1"},
		{"there and back again", "a b a", "3 2 1", "2"},
		{"and then not forth again", "a b a back", "2 1", "1"},
		{"held content is passed over", "a b c hold=b", "3 2 1", "1"},
		{"held content that runs is gone back from", "a b hold=b", "2 1", "1"},
		{"a heal counts as what it healed", "a b heal heal", "2 1", "1"},
		{"a rollback to a named one", "a b c d back=2", "2 1", "1"},
		{"a rollback to a rollback is one to what that restored", "a b c back=1 d back=4", "1", "none"},
		{"a rollback forth to what was undone", "a b c back=1 back=2", "2 1", "1"},
		{"a rollback that touched nothing changes nothing", "a b c back~", "3 2 1", "2"},
		{"a rollback that was rejected goes on further back", "a b c back!", "3 2 1", "1"},
		{"a rollback that was interrupted is done again", "a b c back?", "3 2 1", "2"},
		{"a rollback that owes a target has gone back", "a b c back+", "3 2 1", "1"},
		{"a rejected rollback to the first leaves nothing", "a b back!", "2 1", "none"},
		{"an interrupted deployment goes back to what ran", "a b c?", "2 1", "2"},
		{"a rejected rollback and then a deployment", "a b c back! d", "5 3 2 1", "3"},
		{"a rejected deployment of older content", "a b a!", "2 1", "2"},
		{"a part of an older one is content of its own", "a b part=1:x", "3 2 1", "2"},
		{"going back from it passes over what is held", "a b part=1:x hold=b", "3 2 1", "1"},
		{"a second part is one more", "a b c part=2:x part=1:y", "5 4 3 2 1", "4"},
		{"a heal of it counts as it", "a b part=1:x heal", "3 2 1", "2"},
		{"it is gone back to as a whole", "a b part=1:x c back", "3 2 1", "2"},
		{"a part that was rejected goes back to what was verified", "a b part=1:x!", "2 1", "2"},
		{"and past it where that is held", "a b part=1:x! hold=b", "2 1", "1"},
		{"a part that was interrupted is gone back from", "a b part=1:x?", "2 1", "2"},
		{"a part that is the whole counts as it", "a b part=1:a", "1", "none"},
	} {
		s := newStory(t)
		for step := range strings.FieldsSeq(c.history) {
			s.tell(step)
		}
		if got := ids(s.book.Verified()); got != c.stack {
			t.Errorf("%s: %q has the stack %q, want %q", c.name, c.history, got, c.stack)
		}
		if got := previous(s.book); got != c.previous {
			t.Errorf("%s: %q goes back to %s, want %s", c.name, c.history, got, c.previous)
		}
	}
}

func (s *story) tell(step string) {
	s.t.Helper()
	status := stella.Succeeded
	marks := map[byte]stella.Status{'!': stella.Failed, '?': stella.Partial, '~': stella.Errored, '+': stella.Partial}
	last := step[len(step)-1]
	if m, ok := marks[last]; ok {
		step, status = step[:len(step)-1], m
	}
	verb, arg, _ := strings.Cut(step, "=")
	switch verb {
	case "back":
		d, ok := s.book.Previous()
		if arg != "" {
			d, ok = s.book.Deployment("production-" + arg)
		}
		if !ok {
			s.t.Fatalf("%q: nothing to go back to", step)
		}
		s.begin(stella.Deployment{Kind: stella.KindRollback, Tree: d.Tree, Restores: d.ID})
	case "part":
		number, tree, _ := strings.Cut(arg, ":")
		s.begin(stella.Deployment{Kind: stella.KindRollback, Tree: tree, Restores: "production-" + number})
	case "heal":
		d, _ := s.book.Current()
		s.begin(stella.Deployment{Kind: stella.KindHeal, Tree: d.Tree, Restores: d.ID})
	case "hold":
		s.begin(stella.Deployment{Tree: "x"})
		f := s.finish(stella.Errored)
		f.Hold = &stella.Hold{Tree: arg}
		s.do(f)
		return
	default:
		s.begin(stella.Deployment{Tree: verb})
	}
	f := s.finish(status)
	if last == '+' {
		f.Deployment.Targets = []stella.TargetResult{{Name: "web-1", Status: stella.TargetVerified}, {Name: "web-2", Status: stella.TargetOwed}}
	}
	s.do(f)
}

// TestUndoStackProperties deploys and rolls back at random, and compares with a
// plain list that is cut and appended to.
func TestUndoStackProperties(t *testing.T) {
	rapid.Check(t, func(rt *rapid.T) {
		s := newStory(t)
		var want []string // what a person would call the undo history, oldest first
		for i := range rapid.IntRange(1, 25).Draw(rt, "steps") {
			switch rapid.SampledFrom([]string{"back", "deploy", "part", "failed", "heal", "untouched"}).Draw(rt, "step") {
			case "back":
				if d, ok := s.book.Previous(); ok {
					s.goBackTo(d, stella.Succeeded)
					want = want[:slices.Index(want, d.ID)+1]
				} else if len(want) > 1 && distinct(s.book) {
					rt.Fatalf("nothing to go back to in %v", want)
				}
			case "deploy":
				s.deploy(fmt.Sprint("t", i), stella.Succeeded)
				want = append(want, s.book.State.Current)
			case "part":
				if d, ok := s.book.Previous(); ok {
					s.begin(stella.Deployment{Kind: stella.KindRollback, Tree: fmt.Sprint("p", i), Restores: d.ID}).end(stella.Succeeded)
					want = append(want, s.book.State.Current)
				}
			case "failed":
				s.deploy(fmt.Sprint("f", i), stella.Failed)
			case "heal":
				if d, ok := s.book.LastGood(); ok {
					s.begin(stella.Deployment{Kind: stella.KindHeal, Tree: d.Tree, Restores: d.ID}).end(stella.Succeeded)
				}
			case "untouched":
				s.deploy(fmt.Sprint("u", i), stella.Errored)
			}
			checkUndo(rt, s.book, want)
		}
	})
}

func distinct(b ledger.Book) bool {
	last, _ := b.Last()
	for _, d := range b.Verified() {
		if d.Tree != last.Tree {
			return true
		}
	}
	return false
}

func checkUndo(t *rapid.T, b ledger.Book, want []string) {
	var got []string
	for _, d := range slices.Backward(b.Verified()) {
		got = append(got, d.ID)
	}
	if !slices.Equal(got, want) {
		t.Fatalf("the stack is %v, want %v", got, want)
	}
	if d, ok := b.Previous(); ok {
		last, _ := b.Last()
		if d.Tree == last.Tree {
			t.Fatalf("Previous is %s, whose content runs already", d.ID)
		}
		if d.Status != stella.Succeeded {
			t.Fatalf("Previous is %s, which is %s", d.ID, d.Status)
		}
	}
}

// TestRepeatedRollbacksEnd: from any history, rollbacks visit older and older
// deployments and come to an end.
func TestRepeatedRollbacksEnd(t *testing.T) {
	rapid.Check(t, func(rt *rapid.T) {
		s := newStory(t)
		for range rapid.IntRange(1, 12).Draw(rt, "deployments") {
			tree := rapid.SampledFrom([]string{"a", "b", "c", "d"}).Draw(rt, "tree")
			s.deploy(tree, rapid.SampledFrom([]stella.Status{stella.Succeeded, stella.Succeeded, stella.Failed}).Draw(rt, "status"))
		}
		before := int64(1 << 62)
		for range 20 {
			d, ok := s.book.Previous()
			if !ok {
				return
			}
			if d.Sequence >= before {
				rt.Fatalf("a rollback goes to %s, forth from number %d", d.ID, before)
			}
			before = d.Sequence
			s.goBackTo(d, rapid.SampledFrom([]stella.Status{stella.Succeeded, stella.Succeeded, stella.Failed}).Draw(rt, "outcome"))
		}
		rt.Fatal("rollbacks do not end")
	})
}

func TestFind(t *testing.T) {
	s := newStory(t)
	commit := func(c byte) string { return strings.Repeat(string(c), 40) }
	add := func(d stella.Deployment, status stella.Status) { s.begin(d).end(status) }
	add(stella.Deployment{Tree: "a", Release: "1.0.0", Commit: commit('a')}, stella.Succeeded)
	add(stella.Deployment{Tree: "b", Release: "1.1.0", Commit: commit('b')}, stella.Succeeded)
	add(stella.Deployment{Kind: stella.KindHeal, Tree: "b", Release: "1.1.0", Commit: commit('b'), Restores: "production-2"}, stella.Succeeded)
	add(stella.Deployment{Tree: "c", Release: "1.1.0", Commit: commit('c')}, stella.Succeeded)
	add(stella.Deployment{Tree: "d", Release: "1.2.0", Commit: commit('d')}, stella.Failed)
	add(stella.Deployment{Tree: "e", Release: "1.0.0", Commit: commit('e')}, stella.Failed)
	for ref, want := range map[string]string{
		"production-2":                "2",
		"deployment:production-5":     "5",
		"version:1.0.0":               "1",
		"1.1.0":                       "4 3",
		"version:1.2.0":               "5",
		"commit:" + commit('b'):       "3",
		"ccccccc":                     "4",
		"commit:dddddddd":             "5",
		"production-9":                "not found",
		"deployment:1.0.0":            "not found",
		"staging-1":                   "not found",
		"production-02":               "not found",
		"version:9":                   "not found",
		"bbbbbb":                      "not found", // too short for a commit, and no version
		"commit:bbbbbb":               "invalid",
		"commit:BBBBBBBB":             "invalid",
		"branch:main":                 "invalid",
		"":                            "invalid",
		"version:":                    "invalid",
		"commit:bbbbbbb\x1b[2J":       "invalid",
		"deployment:production-1\n":   "not found",
		"version:1.0.0; rm -rf /":     "not found",
		"production-9223372036854775": "not found",
	} {
		found, err := s.book.Find(ref)
		got := ids(found)
		if err != nil {
			got = className(err)
		}
		if got != want {
			t.Errorf("Find(%q) = %q (%v), want %q", ref, got, err, want)
		}
	}
	_, err := s.book.Find("version:9")
	equal(t, "hint", "run 'stella orch deployments list production'", stella.Hint(err))
}
