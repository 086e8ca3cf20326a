package merge_test

import (
	"slices"
	"testing"

	"github.com/stella-ops/stella/internal/git"
	"github.com/stella-ops/stella/internal/git/merge"
)

func TestLines(t *testing.T) {
	for name, c := range map[string]struct {
		base, ours, theirs string
		want               string // empty: they conflict
		ambiguous          bool
	}{
		"changes with a line between them":       {"a\nb\nc\n", "A\nb\nc\n", "a\nb\nC\n", "A\nb\nC\n", false},
		"changes next to each other":             {"a\nb\nc\n", "A\nb\nc\n", "a\nB\nc\n", "", false},
		"two lines put at the same place":        {"a\n", "a\nx\n", "a\ny\n", "", false},
		"the same change":                        {"a\nb\nc\n", "a\nB\nc\n", "a\nB\nc\n", "a\nB\nc\n", false},
		"the same change, in more than one way":  {"k\na\na\nz\n", "k\na\nz\nZ\n", "k\na\nz\n", "", true},
		"a change that could be above or below":  {"x\na\ny\n", "x\na\na\ny\n", "X\na\ny\n", "", true},
		"a last line without its end":            {"a\nb\nc\n", "A\nb\nc\n", "a\nb\nc", "A\nb\nc", false},
		"a line after a last one without an end": {"a\nb\n", "a\nb", "a\nb\nc\n", "", false},
		"the ends of all lines":                  {"a\nb\nc\n", "a\r\nb\r\nc\r\n", "a\nb\nC\n", "", false},
		"one side took everything out":           {"a\nb\nc\n", "", "a\nb\nC\n", "", false},
	} {
		t.Run(name, func(t *testing.T) {
			got, hunks, ok := merge.Lines([]byte(c.base), []byte(c.ours), []byte(c.theirs))
			if !ok || (len(hunks) > 0) != (c.want == "") || len(hunks) == 0 && string(got) != c.want {
				t.Fatalf("%q, %+v, %v", got, hunks, ok)
			}
			if ambiguous := slices.ContainsFunc(hunks, func(h merge.Hunk) bool { return h.Ambiguous }); ambiguous != c.ambiguous {
				t.Errorf("ambiguous %v: %+v", ambiguous, hunks)
			}
		})
	}
}

func TestWhatConflicts(t *testing.T) {
	link := file{git.ModeSymlink, "a"}
	for name, c := range map[string]struct {
		before, commit, now memory
		want                merge.Why
	}{
		"it added what is gone":            {memory{}, memory{"a": regular("a"), "b": regular("b")}, memory{"b": regular("b")}, merge.WhyGone},
		"it deleted what is another":       {memory{"a": regular("a")}, memory{}, memory{"a": regular("b")}, merge.WhyAdded},
		"it changed what was deleted":      {memory{"a": regular("a")}, memory{"a": regular("b")}, memory{}, merge.WhyDeleted},
		"it added what was changed":        {memory{}, memory{"a": regular("a")}, memory{"a": regular("b")}, merge.WhyModified},
		"it took away a link":              {memory{"a": link}, memory{}, memory{}, merge.WhyLink},
		"a directory is in the way":        {memory{"a": regular("a")}, memory{}, memory{"a/b": regular("b")}, merge.WhyDirectory},
		"a file is in the way":             {memory{"a/b": regular("b")}, memory{}, memory{"a": regular("a")}, merge.WhyDirectory},
		"both changed what is not text":    {memory{"a": regular("a\x00")}, memory{"a": regular("b\x00")}, memory{"a": regular("c\x00")}, merge.WhyBinary},
		"both changed it, one into a link": {memory{"a": regular("a")}, memory{"a": regular("b")}, memory{"a": link}, merge.WhyKind},
	} {
		t.Run(name, func(t *testing.T) {
			r, err := merge.Undo(t.Context(), c.commit, c.now, c.before, limits())
			if err != nil {
				t.Fatal(err)
			}
			if got := r.Conflicts(); len(got) != 1 || got[0].Why != c.want {
				t.Errorf("%+v, want %s", got, c.want)
			}
		})
	}
}

// FuzzLines holds what is true of any merge.
func FuzzLines(f *testing.F) {
	for n := range uint64(20) {
		d := newDice(3, n)
		base := d.text()
		f.Add(base, d.edit(base), d.edit(base))
	}
	f.Add("a\n", "", "a")
	f.Fuzz(func(t *testing.T, base, ours, theirs string) {
		b, o, th := []byte(base), []byte(ours), []byte(theirs)
		one, hunks, ok := merge.Lines(b, o, th)
		other, back, okToo := merge.Lines(b, th, o)
		if ok != okToo || len(hunks) != len(back) || len(hunks) == 0 && string(one) != string(other) {
			t.Errorf("the sides are not alike: %q %+v, %q %+v", one, hunks, other, back)
		}
		if got, hunks, ok := merge.Lines(b, o, b); ok && (len(hunks) > 0 || string(got) != ours) {
			t.Errorf("only ours changed: %q, %+v", got, hunks)
		}
		if got, hunks, ok := merge.Lines(b, b, th); ok && (len(hunks) > 0 || string(got) != theirs) {
			t.Errorf("only theirs changed: %q, %+v", got, hunks)
		}
	})
}

func TestAttributesErrOnTheSideOfAsking(t *testing.T) {
	a := &merge.Attributes{}
	a.Add([]byte("# *.yaml -merge\n* text=auto\n*.png binary\n*.lock merge=ours\n"))
	for name, want := range map[string]bool{"d/compose.yaml": false, "d/Logo.PNG": true, "x.lock": true} {
		if got := a.Ask(name); got != want {
			t.Errorf("%s: %v, want %v", name, got, want)
		}
	}
	a.Add([]byte("[attr]fragile -merge\n"))
	if !a.Ask("compose.yaml") {
		t.Error("a macro may be on anything")
	}
}
