package configrepo

import (
	"errors"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"pgregory.net/rapid"

	stella "github.com/stella-ops/stella"
	"github.com/stella-ops/stella/drift"
)

// today is when rules are written in these tests.
func today() time.Time { return time.Date(2026, 11, 23, 12, 0, 0, 0, time.UTC) }

const headOfEnvironment = "apiVersion: stella/v1\nkind: Environment\nname: prod\ntargets:\n- name: web-1\n  host: {root: /srv/shop}\n"

func levelRule() drift.Ignore {
	return drift.Ignore{Resource: "service/web", Path: "/environment/LEVEL", Reason: "raised", Until: time.Date(2027, 2, 1, 0, 0, 0, 0, time.UTC)}
}

func TestAddIgnoresKeepsHowTheFileIsWritten(t *testing.T) {
	const rule = "- resource: service/web\n  path: /environment/LEVEL\n  reason: raised\n  until: 2027-01-31\n"
	const flow = "{resource: service/web, path: /environment/LEVEL, reason: raised, until: 2027-01-31}"
	indented := "  " + strings.TrimSuffix(strings.ReplaceAll(rule, "\n", "\n  "), "  ")
	for _, c := range []struct{ name, before, after string }{
		{"no drift", "", "drift:\n  ignore:\n" + indented},
		{"no drift, a comment at the end", "# the end\n", "drift:\n  ignore:\n" + indented + "# the end\n"},
		{"drift without rules", "drift:\n  mode: heal # always\n\nverify: {timeout: 1m}\n", "drift:\n  mode: heal # always\n  ignore:\n" + indented + "\nverify: {timeout: 1m}\n"},
		{"drift in a wide indentation", "drift:\n    mode: heal\n", "drift:\n    mode: heal\n    ignore:\n    - resource: service/web\n      path: /environment/LEVEL\n      reason: raised\n      until: 2027-01-31\n"},
		{"an empty drift", "drift: {}\n", "drift: {ignore: [" + flow + "]}\n"},
		{"drift in one line", "drift: {mode: heal}   # so\n", "drift: {mode: heal, ignore: [" + flow + "]}   # so\n"},
		{"an empty list", "drift: {ignore: []}\n", "drift: {ignore: [" + flow + "]}\n"},
		{"an empty list in a block", "drift:\n  ignore: [] # none\n  mode: heal\n", "drift:\n  ignore: [" + flow + "] # none\n  mode: heal\n"},
		{
			"a rule in one line", "drift: {ignore: [{resource: a}], mode: heal}\n",
			"drift: {ignore: [{resource: a}, " + flow + "], mode: heal}\n",
		},
		{
			"rules in flow style on lines of their own", "drift:\n  ignore: [\n    {resource: a}, # the first\n    {resource: b},\n  ]\n",
			"drift:\n  ignore: [\n    {resource: a}, # the first\n    {resource: b}, " + flow + ",\n  ]\n",
		},
		{
			"a rule in a block", "drift:\n  ignore:\n  # since March\n  - resource: a # one\n    reason: 'it is so'\n  # for later\n  mode: heal\n",
			"drift:\n  ignore:\n  # since March\n  - resource: a # one\n    reason: 'it is so'\n" + indented + "  # for later\n  mode: heal\n",
		},
		{
			"rules that are indented", "drift:\n  ignore:\n      - {resource: a}\n",
			"drift:\n  ignore:\n      - {resource: a}\n      - resource: service/web\n        path: /environment/LEVEL\n        reason: raised\n        until: 2027-01-31\n",
		},
		{
			"a rule that ended gives way", "drift:\n  ignore:\n  - resource: a\n  - resource: service/web # old\n    path: /environment/LEVEL\n    until: 2026-01-31\n  - resource: b\n",
			"drift:\n  ignore:\n  - resource: a\n  - resource: b\n" + indented,
		},
		{
			"the only rule ended", "drift:\n  ignore:\n  - {resource: service/web, path: /environment/LEVEL, until: 2026-01-31}\n  mode: heal\n",
			"drift:\n  mode: heal\n  ignore:\n" + indented,
		},
		{
			"the only rule ended and was all of drift", "drift:\n  ignore:\n  - {resource: service/web, path: /environment/LEVEL, until: 2026-01-31}\n",
			"drift:\n  ignore:\n" + indented,
		},
	} {
		for _, eol := range []string{"\n", "\r\n"} {
			before, want := headOfEnvironment+c.before, headOfEnvironment+c.after
			before, want = strings.ReplaceAll(before, "\n", eol), strings.ReplaceAll(want, "\n", eol)
			got, err := AddIgnores([]byte(before), &Project{}, "prod", []drift.Ignore{levelRule()}, today())
			if err != nil {
				t.Errorf("%s: %v", c.name, err)
				continue
			}
			if diff := cmp.Diff(want, string(got)); diff != "" {
				t.Errorf("%s (-want +got):\n%s", c.name, diff)
			}
			if c.before == "" || strings.HasSuffix(c.before, "# the end\n") {
				continue
			}
			short, err := AddIgnores([]byte(strings.TrimSuffix(before, eol)), &Project{}, "prod", []drift.Ignore{levelRule()}, today())
			if err != nil || strings.TrimSuffix(string(short), eol) != strings.TrimSuffix(want, eol) {
				t.Errorf("%s, without a newline at the end: %v\n%q\nwant\n%q", c.name, err, short, want)
			}
		}
	}
}

func TestAddIgnoresInAFileOfOneLine(t *testing.T) {
	const before = "{apiVersion: stella/v1, kind: Environment, name: prod, targets: [{name: a, host: {root: /srv}}]}\n"
	got, err := AddIgnores([]byte(before), &Project{}, "prod", []drift.Ignore{{Resource: "a"}}, today())
	want := strings.Replace(before, "}}]}", "}}], drift: {ignore: [{resource: a}]}}", 1)
	if err != nil || string(got) != want {
		t.Errorf("%v\n%s\nwant\n%s", err, got, want)
	}
}

func TestAddIgnoresRefuses(t *testing.T) {
	for _, c := range []struct {
		name, src string
		rule      drift.Ignore
		class     error
	}{
		{"a rule that is there", headOfEnvironment + "drift: {ignore: [{resource: service/web, path: /environment/LEVEL}]}\n", levelRule(), stella.ErrConflict},
		{"a file that is not valid", headOfEnvironment + "nope: 1\n", levelRule(), stella.ErrInvalid},
		{"another environment's", strings.Replace(headOfEnvironment, "prod", "stage", 1), levelRule(), stella.ErrInvalid},
		{"no YAML", "{", levelRule(), stella.ErrInvalid},
		{"a rule that could not be read again", headOfEnvironment, drift.Ignore{Resource: "a", Path: "nope"}, stella.ErrInvalid},
		{"a rule for everything", headOfEnvironment, drift.Ignore{Reason: "all"}, stella.ErrInvalid},
		{"an anchor", headOfEnvironment + "drift: &a {mode: heal}\n", levelRule(), stella.ErrInvalid},
	} {
		_, err := AddIgnores([]byte(c.src), &Project{}, "prod", []drift.Ignore{c.rule}, today())
		if !errors.Is(err, c.class) {
			t.Errorf("%s: %v, want %v", c.name, err, c.class)
		}
	}
}

// TestAddIgnoresIsWhatWasAsked writes any rules one after the other: they read as
// asked, and every line that was there is still there.
func TestAddIgnoresIsWhatWasAsked(t *testing.T) {
	styles := []string{
		"", "# end\n", "drift: {}\n", "drift: {mode: heal} # x\n", "drift:\n  mode: 'off' # no\n\n# end\n", "drift:\n  ignore:\n  - resource: \"*\" # all\n",
		"drift:\n  ignore: [{resource: a}]\n  schedule: \"@hourly\"\nverify: {timeout: 1m}\n",
	}
	rapid.Check(t, func(t *rapid.T) {
		src := headOfEnvironment + rapid.SampledFrom(styles).Draw(t, "style")
		if rapid.Bool().Draw(t, "crlf") {
			src = strings.ReplaceAll(src, "\n", "\r\n")
		}
		first, err := openEnvironment([]byte(src), &Project{}, "prod")
		if err != nil {
			t.Fatal(err)
		}
		want := first.file.Drift.Ignore
		out := []byte(src)
		for i := range rapid.IntRange(1, 4).Draw(t, "rules") {
			rule := drift.Ignore{
				Resource: rapid.SampledFrom([]string{"service/web", "service/*", `a\*b`, "volume/ü x", "yes"}).Draw(t, "resource"),
				Path:     drift.Pointer("environment", rapid.StringOf(rapid.RuneFrom([]rune("aB/~ü #:,{}[]'\"\\*")).Filter(func(r rune) bool { return r != 0 })).Draw(t, "key"), string(rune('a'+i))),
				Reason:   rapid.StringOf(rapid.RuneFrom([]rune("aü #:,{}[]'\"\\&*!|>%@`-"))).Draw(t, "reason"),
			}
			if rapid.Bool().Draw(t, "ends") {
				rule.Until = today().Add(time.Duration(rapid.IntRange(1, 1000).Draw(t, "hours")) * time.Hour)
			}
			want = append(want, rule)
			if out, err = AddIgnores(out, &Project{}, "prod", []drift.Ignore{rule}, today()); err != nil {
				t.Fatalf("%v\n%s", err, out)
			}
		}
		last, err := openEnvironment(out, &Project{}, "prod")
		if err != nil {
			t.Fatalf("%v\n%s", err, out)
		}
		if diff := cmp.Diff(want, last.file.Drift.Ignore); diff != "" {
			t.Fatalf("rules (-want +got):\n%s", diff)
		}
		if !isWithin(src, string(out)) {
			t.Fatalf("something is gone:\n%s\nof\n%s", out, src)
		}
		if strings.Contains(src, "\r") && strings.Count(string(out), "\n") != strings.Count(string(out), "\r\n") {
			t.Fatalf("line ends are mixed:\n%q", out)
		}
	})
}

// isWithin reports whether all bytes of one text are in the other, in their
// order: nothing was taken away.
func isWithin(part, whole string) bool {
	for i := range len(part) {
		at := strings.IndexByte(whole, part[i])
		if at < 0 {
			return false
		}
		whole = whole[at+1:]
	}
	return true
}
