package configrepo

import (
	"errors"
	"strings"
	"testing"

	"github.com/compose-spec/compose-go/v2/dotenv"
	"github.com/compose-spec/compose-go/v2/template"
	"github.com/google/go-cmp/cmp"
	"pgregory.net/rapid"
)

func someVariables(name string) (string, bool) {
	value, ok := map[string]string{"A": "a", "B_2": "${A}", "EMPTY": "", "_x": "x"}[name]
	return value, ok
}

func TestExpand(t *testing.T) {
	for in, want := range map[string]string{
		"plain":                                "plain",
		"$A ${A} $A$B_2":                       "a a a${A}",
		"$$A $${A} $$$A":                       "$A ${A} $a",
		"$ 5$ $5 a$":                           "$ 5$ $5 a$",
		"$A.b ${_x}y":                          "a.b xy",
		"${NO:-d} ${NO-d}":                     "d d",
		"${EMPTY:-d}|${EMPTY-}":                "d|",
		"${NO:-}":                              "",
		"${NO:-${A}-${NO:-z}}":                 "a-z",
		"${A:-${NOT_LOOKED_AT}}":               "a",
		"${A:+y}${NO:+n}${EMPTY:+n}${EMPTY+y}": "yy",
		"${A:?why} ${EMPTY?}":                  "a ",
		`${NO:-{"x": {}}} ${A}`:                `{"x": {}} a`,
		"${NO:-a:b-c?d+e}":                     "a:b-c?d+e",
		"${NO:-\n}":                            "\n",
	} {
		got, err := newExpander(someVariables).expand(in)
		if err != nil || got != want {
			t.Errorf("expand(%q) = %q, %v, want %q", in, got, err, want)
		}
	}
}

func TestExpandRefuses(t *testing.T) {
	for in, want := range map[string]string{
		"$NO":             "${NO} is not declared",
		"${NO}":           "${NO} is not declared",
		"${A:-}${NO}":     "${NO} is not declared",
		"${EMPTY:-${NO}}": "${NO} is not declared",
		"${NO:?tell} ":    "${NO} is required",
		"${EMPTY:?}":      "${EMPTY} is required",
		"${":              errExpression.Error(),
		"${}":             errExpression.Error(),
		"${1}":            errExpression.Error(),
		"${A b}":          errExpression.Error(),
		"${A:}":           errExpression.Error(),
		"${A:=x}":         errExpression.Error(),
		"${ A}":           errExpression.Error(),
		strings.Repeat("${NO:-", 40) + strings.Repeat("}", 40): errExpression.Error(),
	} {
		got, err := newExpander(someVariables).expand(in)
		if err == nil || err.Error() != want {
			t.Errorf("expand(%q) = %q, %v, want %s", in, got, err, want)
		}
	}
}

// TestExpandAgreesWithCompose compares with Compose's own interpolation, where
// that is not a matter of taste: no missing variables, no brace in a default.
func TestExpandAgreesWithCompose(t *testing.T) {
	part := rapid.SampledFrom([]string{
		"x", " ", "$$", "$A", "${A}", "${B_2}", "${EMPTY}", "${NO:-d}", "${NO-d}", "${EMPTY:-d}", "${A:+y}", "${NO:+y}",
		"${EMPTY+y}", "${A:?w}", "${NO:-$A}", "${NO:-${A}}", "${A?}", "-", ":", "?", "+", "é", "$$A", "$_x", ".",
	})
	rapid.Check(t, func(t *rapid.T) {
		in := strings.Join(rapid.SliceOfN(part, 0, 8).Draw(t, "parts"), "/")
		want, err := template.SubstituteWithOptions(in, someVariables, template.WithoutLogging)
		if err != nil {
			t.Fatal(err)
		}
		got, err := newExpander(someVariables).expand(in)
		if err != nil || got != want {
			t.Fatalf("expand(%q) = %q, %v, Compose: %q", in, got, err, want)
		}
	})
}

func FuzzExpand(f *testing.F) {
	for _, s := range []string{"$A", "${NO:-${A}}", "${A:-{}}", "$${", "${B_2:+${EMPTY-x}}"} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, s string) {
		got, err := newExpander(someVariables).expand(s)
		if len(got) > maxExpandedBytes {
			t.Fatalf("%d bytes", len(got))
		}
		if err == nil && !strings.Contains(s, "$") && got != s {
			t.Fatalf("expand(%q) = %q", s, got)
		}
	})
}

func TestReadEnvFile(t *testing.T) {
	const text = "\ufeff# comment\n\nA=1\nB = two words # comment\nexport C=${A}${V}\nD='${A} # \\'kept\\''\n" +
		"E=\"line\\n\\\"$A\\\" \\$A \\\\\"  # comment\nF=\"two\nlines\"\nG=\nH: yaml\nexported=1\nV\nI=#x\r\nJ=a#b\n  K=spaced  \nL=\"\"\nA=again"
	got, problems := readEnvFile("x.env", []byte(text), newExpander(nil), func(name string) (string, bool) {
		return "v", name == "V"
	})
	if len(problems) > 0 {
		t.Fatal(problems)
	}
	want := map[string]string{
		"A": "again", "B": "two words", "C": "1v", "D": "${A} # 'kept'", "E": "line\n\"1\" $A \\", "F": "two\nlines",
		"G": "", "H": "yaml", "exported": "1", "V": "v", "I": "#x", "J": "a#b", "K": "spaced", "L": "",
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("(-want +got):\n%s", diff)
	}
}

// TestReadEnvFileAgreesWithCompose compares with Compose's own parser.
func TestReadEnvFileAgreesWithCompose(t *testing.T) {
	line := rapid.SampledFrom([]string{
		"", "# x", "A=1", "B=a b", "C=$A", "D=${V}", "export E=1", "F='$A'", `G="$A"`, "H=\"a\nb\"", "I: x", "V", "J=x # c", "K=", "L=''",
		"  M=1  ", "N=a=b", `O="a\nb"`, `P="a \"b\""`, "Q=a'b", "R=${A:-d}", "A=2", "S=\"\"", "T=\"a\" # c",
	})
	lookup := func(name string) (string, bool) { return "v", name == "V" }
	rapid.Check(t, func(t *rapid.T) {
		text := "A=0\n" + strings.Join(rapid.SliceOfN(line, 0, 6).Draw(t, "lines"), "\n") + "\n"
		want, err := dotenv.ParseWithLookup(strings.NewReader(text), lookup)
		if err != nil {
			t.Fatal(err)
		}
		got, problems := readEnvFile("x", []byte(text), newExpander(nil), lookup)
		if diff := cmp.Diff(want, got); diff != "" || len(problems) > 0 {
			t.Fatalf("%q: %v (-Compose +ours):\n%s", text, problems, diff)
		}
	})
}

func FuzzReadEnvFile(f *testing.F) {
	for _, s := range []string{"A=1\nB=$A", "A='x", "export A=\"\\\"\"", "A", "=", "\x00=\xff", "A=\"\n\n\"x\nB=1"} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, s string) {
		x := newExpander(nil)
		values, problems := readEnvFile("x", []byte(s), x, someVariables)
		total := 0
		for _, v := range values {
			total += len(v)
		}
		if total > maxExpandedBytes+len(s) {
			t.Fatalf("%d bytes", total)
		}
		lines := strings.Count(s, "\n") + 1
		for _, p := range problems {
			if p.Line < 1 || p.Line > lines {
				t.Fatalf("a problem at line %d of %d", p.Line, lines)
			}
		}
	})
}

func TestTooLongIsNotAValue(t *testing.T) {
	x := newExpander(func(string) (string, bool) { return strings.Repeat("x", 1<<20), true })
	if _, err := x.expand("$A$A$A"); err != nil {
		t.Fatal(err)
	}
	if _, err := x.expand("$A$A"); !errors.Is(err, errTooLong) {
		t.Errorf("got %v, want errTooLong", err)
	}
}
