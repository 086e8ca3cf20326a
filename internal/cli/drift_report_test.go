package cli

import (
	"encoding/json"
	"encoding/xml"
	"fmt"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
	"unicode/utf8"

	"github.com/stella-ops/stella"
	"github.com/stella-ops/stella/reconciler"
)

// fromJUnit reads a report as CI systems do: by element and attribute.
type fromJUnit struct {
	XMLName  xml.Name `xml:"testsuites"`
	Tests    int      `xml:"tests,attr"`
	Failures int      `xml:"failures,attr"`
	Errors   int      `xml:"errors,attr"`
	Suites   []struct {
		Name      string `xml:"name,attr"`
		Tests     int    `xml:"tests,attr"`
		Failures  int    `xml:"failures,attr"`
		Errors    int    `xml:"errors,attr"`
		Timestamp string `xml:"timestamp,attr"`
		Cases     []struct {
			Name    string        `xml:"name,attr"`
			Class   string        `xml:"classname,attr"`
			Time    string        `xml:"time,attr"`
			Failure *junitProblem `xml:"failure"`
			Error   *junitProblem `xml:"error"`
			Out     string        `xml:"system-out"`
		} `xml:"testcase"`
		Out string `xml:"system-out"`
	} `xml:"testsuite"`
}

func readJUnit(t *testing.T, file string) (r fromJUnit, text string) {
	t.Helper()
	b, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	d := xml.NewDecoder(strings.NewReader(string(b)))
	d.Strict = true
	if err := d.Decode(&r); err != nil {
		t.Fatalf("%v in\n%s", err, b)
	}
	return r, string(b)
}

func TestTheJUnitReportHasASuiteForEachEnvironment(t *testing.T) {
	f := newFake()
	f.several()
	file := filepath.Join(t.TempDir(), "drift.xml")
	got := f.invoke(t, "drift", "detect", "production", "staging", "qa", "--report", "junit="+file)
	if got.code != exitUnknown || !strings.Contains(got.stdout, "production: 10 differences") {
		t.Errorf("exit code %d, stdout %s", got.code, got.stdout)
	}
	r, text := readJUnit(t, file)
	golden(t, "detect-several.junit.xml", text)
	if r.Tests != 7 || r.Failures != 2 || r.Errors != 1 || len(r.Suites) != 3 {
		t.Fatalf("%d tests, %d failures, %d errors, %d suites", r.Tests, r.Failures, r.Errors, len(r.Suites))
	}
	tests, failures, errors := 0, 0, 0
	for _, s := range r.Suites {
		tests, failures, errors = tests+s.Tests, failures+s.Failures, errors+s.Errors
		if len(s.Cases) != s.Tests || !regexp.MustCompile(`^\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d$`).MatchString(s.Timestamp) {
			t.Errorf("suite %s: %d cases of %d at %s", s.Name, len(s.Cases), s.Tests, s.Timestamp)
		}
	}
	if tests != r.Tests || failures != r.Failures || errors != r.Errors {
		t.Errorf("the suites have %d, %d, %d; their sum %d, %d, %d", tests, failures, errors, r.Tests, r.Failures, r.Errors)
	}
	web1 := r.Suites[0].Cases[0]
	if web1.Name != "web-1" || web1.Class != "drift.production" || web1.Failure == nil || web1.Failure.Type != "drift" || strings.Count(web1.Failure.Text, "\n") != 4 {
		t.Errorf("web-1: %+v", web1)
	}
	if qa := r.Suites[2].Cases[0]; qa.Error == nil || qa.Error.Type != "unreadable" {
		t.Errorf("qa: %+v", qa)
	}
}

// hostile is drift as somebody makes it who wants to be read as something else.
func hostile(d *reconciler.Diff) {
	evil := "a`b``c | <script>alert(1)</script> ]]> </failure> &lt; \"'\x1b[2J\x00\x07\n## pwned\n\n| x | y |\n---\r@everyone [x](http://evil) ![i](http://evil) \u202e\\"
	d.Drifted = true
	d.Targets[0].Changes = []stella.Change{
		{Resource: stella.ResourceID("service/" + evil), Class: stella.Modified, Path: "/environment/" + evil, Desired: evil, Live: "|" + evil + "`", Severity: stella.SeverityWarning},
		{Resource: "service/api", Class: stella.Extra, Path: "/environment/A", Live: strings.Repeat("`", 5000), Severity: stella.SeverityWarning},
		{Resource: "service/api", Class: stella.Modified, Path: "/environment/E", Desired: "", Live: " ", Severity: stella.SeverityWarning},
		{Resource: "service/api", Class: stella.Extra, Path: "/labels/x", Live: evil, Severity: stella.SeverityInfo, Ignored: true, Reason: evil},
	}
	d.Targets[1].Error = evil
	d.Notes = []string{evil}
}

func TestWhatIsInAReportCanNotBreakOut(t *testing.T) {
	f := newFake()
	f.diff = hostile
	dir := t.TempDir()
	junit, markdown, doc := filepath.Join(dir, "a.xml"), filepath.Join(dir, "a.md"), filepath.Join(dir, "a.json")
	got := f.invoke(t, "drift", "detect", "production", "--report", "junit", junit, "--report", "markdown="+markdown, "--report=json", doc)
	if got.code != exitUnknown {
		t.Fatalf("exit code %d: %s", got.code, got.stderr)
	}
	r, text := readJUnit(t, junit)
	if r.Tests != 3 || r.Failures != 1 || r.Errors != 1 || len(r.Suites[0].Cases) != 3 {
		t.Errorf("%+v", r)
	}
	if strings.Contains(text, "<script>") || strings.Count(text, "</failure>") != 1 || hasControls(text) {
		t.Errorf("it broke out:\n%s", text)
	}
	if failure := r.Suites[0].Cases[0].Failure; strings.Count(failure.Text, "\n") != 2 || !strings.Contains(failure.Text, "<script>alert(1)</script>") {
		t.Errorf("%q", failure.Text)
	}

	md := readText(t, markdown)
	if hasControls(md) {
		t.Error("control characters in Markdown")
	}
	checkMarkdown(t, md)

	var d struct{ Environments []struct{ Drifted bool } }
	if err := json.Unmarshal([]byte(readText(t, doc)), &d); err != nil || len(d.Environments) != 1 || !d.Environments[0].Drifted {
		t.Errorf("%v: %+v", err, d)
	}
	if want := f.invoke(t, "drift", "detect", "production", "-o", "json").stdout; readText(t, doc) != want {
		t.Error("the report is not the document of -o json")
	}
}

func readText(t *testing.T, file string) string {
	t.Helper()
	b, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	return string(b)
}

func hasControls(s string) bool {
	return !utf8.ValidString(s) || strings.ContainsFunc(s, func(r rune) bool { return r < ' ' && r != '\n' || r == 0x7f || r == 0x202e || r == 0xfffd })
}

// checkMarkdown takes code spans out as CommonMark says, and looks at what is
// left: nothing of it may come from a value, and each row has its cells.
func checkMarkdown(t *testing.T, md string) {
	t.Helper()
	for line := range strings.Lines(md) {
		outside := withoutCode(t, strings.TrimSuffix(line, "\n"))
		if strings.ContainsAny(outside, "`<>@[]!\\") || strings.Contains(outside, "pwned") {
			t.Errorf("outside of code: %q, in %q", outside, line)
		}
		if strings.HasPrefix(line, "|") && strings.Count(line, "|") != 7 {
			t.Errorf("a row of %d bars: %s", strings.Count(line, "|"), line)
		}
	}
}

func withoutCode(t *testing.T, line string) string {
	t.Helper()
	var out strings.Builder
	for {
		before, rest, found := strings.Cut(line, "`")
		out.WriteString(before)
		if !found {
			return out.String()
		}
		more := len(rest) - len(strings.TrimLeft(rest, "`"))
		fence := 1 + more
		rest = rest[more:]
		end := -1
		for i := 0; i < len(rest); {
			n := len(rest[i:]) - len(strings.TrimLeft(rest[i:], "`"))
			if n == fence {
				end = i
				break
			}
			i += max(n, 1)
		}
		if end < 0 {
			t.Fatalf("a code span does not end: %q", line)
		}
		line = rest[end+fence:]
	}
}

func TestTheMarkdownReport(t *testing.T) {
	f := newFake()
	f.several()
	got := f.invoke(t, "drift", "detect", "production", "staging", "qa", "--report", "markdown", "-")
	golden(t, "detect-several.md", got.stdout)
	checkMarkdown(t, got.stdout)
	if got.code != exitUnknown || !strings.Contains(got.stderr, "could not tell") {
		t.Errorf("exit code %d: %s", got.code, got.stderr)
	}
	f = newFake()
	golden(t, "detect-none.md", f.invoke(t, "drift", "detect", "--all", "--report", "markdown=-").stdout)
}

func TestALargeReportFitsAComment(t *testing.T) {
	f := newFake()
	f.diff = func(d *reconciler.Diff) {
		drifted(d)
		for range 500 {
			d.Targets = append(d.Targets, d.Targets[0], reconciler.TargetDiff{Target: "web-x", Error: strings.Repeat("no route ", 100)})
		}
	}
	got := f.invoke(t, "drift", "detect", "production", "--report", "markdown=-")
	if n := len(got.stdout); n > 65_536 || !strings.Contains(got.stdout, "… and 2") || !strings.Contains(got.stdout, "- and 480 more\n") {
		t.Errorf("%d bytes:\n%.500s\n…\n%s", n, got.stdout, got.stdout[n-200:])
	}
	checkMarkdown(t, got.stdout)
}

func TestReportsThatCanNotBeWritten(t *testing.T) {
	dir := t.TempDir()
	for name, args := range map[string][]string{
		"no file":               {"--report", "junit"},
		"an empty file":         {"--report", "junit="},
		"an unknown format":     {"--report", "html=a.html"},
		"two to one file":       {"--report", "junit=" + dir + "/a", "--report", "json=" + dir + "/a"},
		"stdout twice":          {"--report", "junit=-", "--report", "json=-"},
		"stdout with -o":        {"--report", "junit=-", "-o", "json"},
		"the file is the name":  {"--report", "junit", "production", "--all=false"},
		"neither ENV nor --all": {},
		"both":                  {"production", "--all"},
	} {
		t.Run(name, func(t *testing.T) {
			line := append([]string{"drift", "detect"}, args...)
			if name != "neither ENV nor --all" && name != "both" && name != "the file is the name" {
				line = append([]string{"drift", "detect", "production"}, args...)
			}
			if got := newFake().invoke(t, line...); got.code != exitUnknown || !strings.Contains(got.stderr, "stella drift detect --help") {
				t.Errorf("exit code %d: %s", got.code, got.stderr)
			}
		})
	}
	missing := filepath.Join(dir, "missing", "a.xml")
	got := newFake().invoke(t, "drift", "detect", "production", "--report", "junit="+missing, "--report", "json="+filepath.Join(dir, "b.json"))
	if got.code != exitUnknown || !strings.Contains(got.stderr, missing) || !strings.Contains(got.stderr, "stella: hint: name a file") || !strings.Contains(got.stdout, "no difference") {
		t.Errorf("exit code %d: %s%s", got.code, got.stdout, got.stderr)
	}
	if readText(t, filepath.Join(dir, "b.json")) == "" {
		t.Error("one report that can not be written keeps the others from it")
	}
}

// TestAReportOfALookThatFailedSaysSo: that of the last one would say that all is
// well.
func TestAReportOfALookThatFailedSaysSo(t *testing.T) {
	junit, doc := filepath.Join(t.TempDir(), "a.xml"), filepath.Join(t.TempDir(), "a.json")
	for _, who := range []string{"production", "--all"} {
		f := newFake()
		line := []string{"drift", "detect", who, "--report", "junit=" + junit, "--report", "json=" + doc}
		f.invoke(t, line...)
		if r, _ := readJUnit(t, junit); r.Errors != 0 {
			t.Fatalf("%+v", r)
		}
		f.err = fmt.Errorf("no route to <host>: %w", stella.ErrUnreachable)
		if got := f.invoke(t, line...); got.code != exitUnknown || got.stdout != "" || !strings.Contains(got.stderr, "no route") {
			t.Errorf("exit code %d: %s%s", got.code, got.stdout, got.stderr)
		}
		r, _ := readJUnit(t, junit)
		if r.Errors != 1 || len(r.Suites) != 1 || r.Suites[0].Name != who || r.Suites[0].Cases[0].Error == nil || !strings.Contains(r.Suites[0].Cases[0].Error.Message, "no route") {
			t.Errorf("%s: %+v", who, r)
		}
		var d struct {
			Environments []struct{ Environment, Error string }
		}
		if err := json.Unmarshal([]byte(readText(t, doc)), &d); err != nil || len(d.Environments) != 1 || d.Environments[0].Environment != who || d.Environments[0].Error == "" {
			t.Errorf("%v: %+v", err, d)
		}
	}
}

func TestAReportReplacesAFileAsAWholeAndKeepsALink(t *testing.T) {
	dir := t.TempDir()
	file, link := filepath.Join(dir, "real.json"), filepath.Join(dir, "link.json")
	if err := os.WriteFile(file, []byte(strings.Repeat("old", 10_000)), 0o600); err != nil {
		t.Fatal(err)
	}
	if err := os.Symlink("real.json", link); err != nil {
		t.Fatal(err)
	}
	if got := newFake().invoke(t, "drift", "detect", "--all", "--report", "json="+link); got.code != exitDone {
		t.Fatalf("exit code %d: %s", got.code, got.stderr)
	}
	if !json.Valid([]byte(readText(t, file))) {
		t.Error("the file that the link names was not replaced")
	}
	if info, err := os.Stat(file); err != nil || info.Mode().Perm() != 0o600 {
		t.Errorf("others may read it now: %v, %v", info.Mode(), err)
	}
	if info, err := os.Lstat(link); err != nil || info.Mode()&os.ModeSymlink == 0 {
		t.Errorf("the link is none any more: %v", err)
	}
	left, err := os.ReadDir(dir)
	if err != nil || len(left) != 2 {
		t.Errorf("%v: %v", err, left)
	}
	if got := newFake().invoke(t, "drift", "detect", "--all", "--report", "json", os.DevNull); got.code != exitDone {
		t.Errorf("exit code %d: %s", got.code, got.stderr)
	}
	if info, err := os.Lstat(os.DevNull); err != nil || info.Mode().IsRegular() {
		t.Errorf("%s was replaced: %v", os.DevNull, err)
	}
}
