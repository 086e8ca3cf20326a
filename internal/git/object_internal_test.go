package git

import (
	"errors"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"pgregory.net/rapid"

	"github.com/stella-ops/stella"
)

const (
	anID   = ID("1111111111111111111111111111111111111111")
	aWho   = "A <a@example.com> 1700000000 +0130"
	header = "tree 1111111111111111111111111111111111111111\nauthor " + aWho + "\ncommitter " + aWho + "\n"
)

func hostileCommits() map[string]string {
	return map[string]string{
		"two authors":           strings.Replace(header, "committer", "author "+aWho+"\ncommitter", 1) + "\nx\n",
		"two trees":             header + "tree " + string(anID) + "\n\nx\n",
		"a late parent":         header + "parent " + string(anID) + "\n\nx\n",
		"a late second author":  header + "encoding x\nauthor " + aWho + "\n\nx\n",
		"no tree":               strings.TrimPrefix(header, "tree "+string(anID)+"\n") + "\nx\n",
		"a tree that is short":  strings.Replace(header, "1111", "111", 1) + "\nx\n",
		"no author":             strings.Replace(header, "author "+aWho+"\n", "", 1) + "\nx\n",
		"a parent that is none": strings.Replace(header, "author", "parent x\nauthor", 1) + "\nx\n",
		"an overflowing time":   strings.ReplaceAll(header, "1700000000", "99999999999999999999") + "\nx\n",
		"a time far off":        strings.ReplaceAll(header, "1700000000", "9999999999999") + "\nx\n",
		"a time before time":    strings.ReplaceAll(header, "1700000000", "-1") + "\nx\n",
		"no time":               strings.ReplaceAll(header, " 1700000000 +0130", "") + "\nx\n",
		"no address":            strings.ReplaceAll(header, "<a@example.com>", "") + "\nx\n",
		"a NUL":                 strings.Replace(header, "A <", "A\x00 <", 1) + "\nx\n",
		"nothing":               "",
	}
}

func TestCommitsThatProgramsReadDifferentlyAreRefused(t *testing.T) {
	for name, raw := range hostileCommits() {
		if c, err := parseCommit(anID, []byte(raw)); !errors.Is(err, stella.ErrInvalid) {
			t.Errorf("%s: %+v, %v, want ErrInvalid", name, c, err)
		}
	}
	for name, raw := range map[string]string{"an empty message": header, "one more line": header + "\n", "a message": header + "\nhello\n\nworld\n"} {
		c, err := parseCommit(anID, []byte(raw))
		if err != nil || c.Author.When.Unix() != 1_700_000_000 || c.Author.When.Format("-0700") != "+0130" {
			t.Errorf("%s: %+v, %v", name, c, err)
		}
	}
}

func FuzzParseCommit(f *testing.F) {
	f.Add([]byte(header + "\nhello\n"))
	for _, raw := range hostileCommits() {
		f.Add([]byte(raw))
	}
	f.Fuzz(func(t *testing.T, raw []byte) {
		c, err := parseCommit(anID, raw)
		if err == nil && c.Author.When.Year() > 10_000 {
			t.Fatalf("%+v", c)
		}
	})
}

func FuzzParseTree(f *testing.F) {
	id := strings.Repeat("\x11", 20)
	for _, raw := range []string{"100644 a\x00" + id, "40000 a\x00" + id + "100644 b\x00" + id, "x a\x00" + id, "100644 \x00" + id, "100644 ..\x00" + id, " \x00" + id, "100644 a\x00short", "0100644 a\x00" + id} {
		f.Add([]byte(raw))
	}
	f.Fuzz(func(t *testing.T, raw []byte) {
		entries, err := parseTree(raw)
		if err != nil {
			if !errors.Is(err, stella.ErrInvalid) {
				t.Fatalf("unclassified: %v", err)
			}
			return
		}
		seen := map[string]bool{}
		for _, e := range entries {
			if checkName(e.Name) != nil || seen[e.Name] || len(e.ID) != 40 {
				t.Fatalf("accepted %+v", e)
			}
			seen[e.Name] = true
			// The quick search must see what the parser sees.
			if _, id, ok := scanTree(raw, e.Name); !ok || id != e.ID {
				t.Fatalf("%q: found %s, %v, want %s", e.Name, id, ok, e.ID)
			}
		}
	})
}

func FuzzRefSafe(f *testing.F) {
	for _, s := range []string{"prod", "prod/eu", "PROD", "pröd", "a..b", "x.lock", "-x", "", "_", "a_2f"} {
		f.Add(s, s+"x")
	}
	f.Fuzz(func(t *testing.T, a, b string) {
		safeA := RefSafe(a)
		back, ok := RefUnsafe(safeA)
		if !ok || back != a {
			t.Fatalf("%q became %q became %q, %v", a, safeA, back, ok)
		}
		if len(safeA) < 200 && CheckRef("refs/stella/ledger/"+safeA) != nil {
			t.Fatalf("%q became %q, which is no ref", a, safeA)
		}
		// Also where a file system does not tell upper from lower case.
		if a != b && strings.EqualFold(safeA, RefSafe(b)) {
			t.Fatalf("%q and %q both became %q", a, b, safeA)
		}
		if _, ok := RefUnsafe(a); ok && RefSafe(b) == a && b != back {
			if un, _ := RefUnsafe(a); un != b {
				t.Fatalf("%q decodes to %q, and %q encodes to it", a, un, b)
			}
		}
	})
}

func TestNamesOfEnvironmentsAreTheirOwnRefs(t *testing.T) {
	for _, name := range []string{"prod", "a", "eu-west-1", "0"} {
		if got := RefSafe(name); got != name {
			t.Errorf("%s became %s", name, got)
		}
	}
	for _, s := range []string{"", "A", "_", "a_", "_6", "_zz", "_61", "a_2F", "-", "a.b", "_+1"} {
		if got, ok := RefUnsafe(s); ok && s != "_" {
			t.Errorf("%q decodes to %q", s, got)
		}
	}
}

func TestRefNames(t *testing.T) {
	for _, good := range []string{"refs/heads/main", "refs/stella/ledger/prod", "refs/heads/a.b/c@d", "refs/heads/ü"} {
		if err := CheckRef(good); err != nil {
			t.Error(err)
		}
	}
	for _, bad := range []string{
		"", "HEAD", "refs/heads", "refs/stash", "refs/heads/../../config", "refs/stella/../heads/main", "refs/heads/x.lock", "refs/heads/.x",
		"refs/heads/-x", "refs/heads/a b", "refs/heads/a\nb", "refs/heads/a:b", "refs/heads/a~1", "refs/heads/a^", "refs/heads/a*", "refs/heads/a[",
		`refs/heads/a\b`, "refs/heads/a@{1}", "refs/heads//a", "refs/heads/a/", "refs/heads/a.", "refs/heads/" + strings.Repeat("a", 300), "refs/heads/a\x7f",
	} {
		if err := CheckRef(bad); !errors.Is(err, stella.ErrInvalid) {
			t.Errorf("%q: %v, want ErrInvalid", bad, err)
		}
	}
}

// TestSignaturesReadAsTheyWereWritten for any name, also one that tries to end
// early.
func TestSignaturesReadAsTheyWereWritten(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		zone := rapid.IntRange(-14*60, 14*60).Draw(t, "zone")
		in := Signature{
			Name: rapid.String().Draw(t, "name"), Email: rapid.String().Draw(t, "email"),
			When: time.Unix(rapid.Int64Range(0, 4_000_000_000).Draw(t, "when"), 0).In(time.FixedZone("", zone*60)),
		}
		got, ok := parseSignature(encodeSignature(in))
		if !ok || !got.When.Equal(in.When) || got.When.Format("-0700") != in.When.Format("-0700") {
			t.Fatalf("%+v became %+v, %v", in, got, ok)
		}
		if diff := cmp.Diff([]string{plainName(in.Name), plainName(in.Email)}, []string{got.Name, got.Email}); diff != "" {
			t.Fatal(diff)
		}
	})
}

func TestTreesAreSortedAsGitSortsThem(t *testing.T) {
	want := []Entry{{Name: "a-", Mode: ModeFile}, {Name: "a.b", Mode: ModeFile}, {Name: "a", Mode: ModeDir}, {Name: "a0", Mode: ModeFile}}
	got := slices.Clone(want)
	slices.Reverse(got)
	slices.SortFunc(got, compareEntries)
	if diff := cmp.Diff(want, got); diff != "" {
		t.Error(diff)
	}
}
