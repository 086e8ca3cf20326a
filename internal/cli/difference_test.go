package cli

import (
	"bytes"
	"fmt"
	"strings"
	"testing"
	"time"
	"unicode"
	"unicode/utf8"

	"pgregory.net/rapid"

	"github.com/stella-ops/stella"
	"github.com/stella-ops/stella/drift"
	"github.com/stella-ops/stella/internal/term"
	"github.com/stella-ops/stella/reconciler"
)

// canary is in every secret value of these tests and nowhere else.
const canary = "CANARY-4711"

// rendered is a comparison in every form that it can be asked for.
func rendered(t interface{ Fatal(...any) }, d reconciler.Diff, width int) map[string]string {
	out := map[string]string{}
	for name, wide := range map[string]bool{"page": false, "wide": true} {
		for _, explain := range []bool{false, true} {
			var b bytes.Buffer
			p := &page{screen: term.Screen{W: &b, Width: width}, now: noon(), wide: wide, width: width}
			if d.Comparison != nil {
				writeComparison(p, d, explain)
			} else {
				writeDiff(p, d, explain)
			}
			if err := p.flush(); err != nil {
				t.Fatal(err)
			}
			out[fmt.Sprint(name, " ", explain)] = b.String()
		}
	}
	for name, encode := range map[string]func(any) ([]byte, error){"json": encodeJSON, "yaml": encodeYAML} {
		text, err := encode(diffDoc{1, d})
		if err != nil {
			t.Fatal(err)
		}
		out[name] = string(text)
	}
	out["hint"] = nextAfterDiff(d)
	return out
}

// harmful says what of a text must not reach a terminal; empty where nothing.
func harmful(text string) string {
	if strings.Contains(text, canary) {
		return "a secret value"
	}
	if !utf8.ValidString(text) {
		return "bytes that are no text"
	}
	for _, r := range text {
		if r != '\n' && !unicode.IsPrint(r) {
			return fmt.Sprintf("the character %U", r)
		}
	}
	return ""
}

// hostileDiff compares two states made of what an attacker wrote, some of it secret.
func hostileDiff(name, one, other, secret string) reconciler.Diff {
	fields := func(s, hidden string) map[string]any {
		return map[string]any{
			"environment": map[string]any{"LEVEL": s, name: s, "TOKEN": canary + hidden, "only " + s: s},
			"configs":     map[string]any{"/etc/" + name: map[string]any{"content": s + "\n" + name + "\n", "mode": "0444"}},
			"command":     []any{s, name}, "labels": map[string]any{name: s},
			"hidden": map[string]any{"deep": []any{canary + hidden, s}},
		}
	}
	secrets := []string{"/environment/TOKEN", "/hidden"}
	desired := stella.State{Resources: []stella.Resource{{ID: "service/api", Fields: fields(one, secret), Secrets: secrets}, {ID: stella.ResourceID("service/" + name), Fields: fields(one, ""), Secrets: secrets}}}
	live := stella.State{Resources: []stella.Resource{{ID: "service/api", Fields: fields(other, ""), Secrets: secrets}, {ID: "service/zz", Fields: fields(other, ""), Secrets: secrets}}}
	rules := []drift.Ignore{{Resource: "service/*", Path: "/labels", Reason: one}, {Resource: name, Path: "/" + name, Reason: other, Until: noon().Add(-time.Hour)}}
	changes := drift.Compare(desired, live, rules, noon())
	d := reconciler.Diff{
		Environment: "production", Against: "desired", Commit: one, Release: other, ObservedAt: noon(), Drifted: true, Error: other, Notes: []string{name},
		Standing: reconciler.Standing{Sync: stella.OutOfSync, Reason: one, OutOfSync: true, Deployment: name, Files: []reconciler.FileChange{
			{Path: "envs/" + name, Op: "modify", Diff: "--- a\n+++ b\n@@ -1 +1 @@\n-" + one + "\n+" + other + "\n"}, {Path: one, Op: other, Diff: name},
		}},
		Targets: []reconciler.TargetDiff{
			{Target: "web-1", Changes: changes, Notes: []string{one}},
			{Target: "web-2", Changes: changes, Notes: []string{name}},
			{Target: name, Error: other},
		},
		Owed: []string{one}, Overrides: []reconciler.DeclaredOverride{{Targets: []string{name}, Components: map[string]string{one: other}, Reason: one}},
	}
	for _, r := range rules {
		d.Expired = append(d.Expired, r.Cover(noon()))
	}
	for _, c := range changes {
		d.Targets[0].Explanations = append(d.Targets[0].Explanations, drift.Explain(c, drift.Terms{Ignores: rules, Now: noon(), Desired: one, Live: other}))
	}
	return d
}

// asComparison is the same between two environments.
func asComparison(d reconciler.Diff) reconciler.Diff {
	c := &reconciler.Comparison{With: "staging", Commit: d.Commit, Release: d.Release, ByTarget: d.Notes, Places: []reconciler.Place{{Service: "api", Targets: d.Owed, WithTargets: d.Notes}}}
	for i, x := range d.Targets[0].Changes {
		c.Differences = append(c.Differences, reconciler.Difference{
			Aspect: reconciler.AspectConfiguration, Resource: x.Resource, Class: x.Class, Path: x.Path, Here: x.Desired, There: x.Live, Severity: x.Severity,
			Intended: x.Ignored, Reason: x.Reason, Secret: x.Secret, Targets: d.Notes, WithTargets: d.Notes, Explanation: &d.Targets[0].Explanations[i],
		})
	}
	d.Comparison, d.Targets = c, nil
	return d
}

func wantHarmless(t interface {
	Fatal(...any)
	Errorf(string, ...any)
}, d reconciler.Diff, width int,
) {
	for _, one := range []reconciler.Diff{d, asComparison(d)} {
		for form, text := range rendered(t, one, width) {
			if form == "hint" {
				text = strings.Map(func(r rune) rune { // App.hint makes it printable
					if unicode.IsPrint(r) {
						return r
					}
					return -1
				}, text)
			}
			if what := harmful(text); what != "" {
				t.Errorf("%s, %d columns: %s reaches the terminal:\n%q", form, width, what, text)
			}
		}
	}
}

// TestNothingSecretAndNothingThatATerminalObeysIsShown, whatever was written into
// the repository or onto a target.
func TestNothingSecretAndNothingThatATerminalObeysIsShown(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		text := rapid.OneOf(rapid.String(), rapid.StringOf(rapid.SampledFrom([]rune{'a', ' ', '\n', '\t', '\r', '\x1b', '[', '\u202e', '\u200b', '\x00', '\u0085', '/', '~', '-', '+', '@'})), rapid.Map(rapid.SliceOf(rapid.Byte()), func(b []byte) string { return string(b) }))
		d := hostileDiff(text.Draw(t, "name"), text.Draw(t, "one"), text.Draw(t, "other"), text.Draw(t, "secret"))
		wantHarmless(t, d, rapid.SampledFrom([]int{0, 20, 40, 80, 200}).Draw(t, "width"))
	})
}

func FuzzDiffPage(f *testing.F) {
	f.Add("name", "info", "debug", "hush", 80)
	f.Add("a\x1b[2J", "x\ny", "x\r\ny\t", canary, 40)
	f.Add("--- ", "\u202e", "+++ b\n@@", "", 0)
	f.Fuzz(func(t *testing.T, name, one, other, secret string, width int) {
		if strings.Contains(name+one+other, canary) {
			t.Skip("the canary is not a secret there")
		}
		wantHarmless(t, hostileDiff(name, one, other, secret), max(0, min(width, 500)))
	})
}

// TestADiffFitsItsTerminal at every width: only what has to be copied whole, an
// id, an image, a pointer, may stand out.
func TestADiffFitsItsTerminal(t *testing.T) {
	for _, width := range []int{40, 60, 80, 132} {
		for _, c := range diffCases() {
			f := newFake()
			c.fake = orNothing(c.fake)
			c.fake(f)
			p := process(t, append(strings.Fields(c.args), "-o", "table")...)
			p.StdoutTerminal, p.Width = true, width
			got := f.with(t, p)
			for line := range strings.SplitSeq(stripColour(got.stdout), "\n") {
				words := strings.Fields(line)
				longest := 0
				for _, w := range words {
					longest = max(longest, utf8.RuneCountInString(w))
				}
				if n := utf8.RuneCountInString(line); n > width && longest < 18 {
					t.Errorf("%s at %d columns: %d: %s", c.name, width, n, line)
				}
			}
		}
	}
}

func orNothing(fake func(*fakeEngine)) func(*fakeEngine) {
	if fake == nil {
		return func(*fakeEngine) {}
	}
	return fake
}

// stripColour removes what colours a text on a terminal.
func stripColour(s string) string {
	var b strings.Builder
	for {
		before, after, found := strings.Cut(s, "\x1b[")
		b.WriteString(before)
		if !found {
			return b.String()
		}
		_, s, _ = strings.Cut(after, "m")
	}
}

// TestADiffOnANarrowTerminalReadsAsItDid keeps what people see in a split window.
func TestADiffOnANarrowTerminalReadsAsItDid(t *testing.T) {
	f := newFake()
	f.diff = notAllRead
	p := process(t, "orch", "env", "config", "diff", "production", "--no-color")
	p.StdoutTerminal, p.Width = true, 46
	golden(t, "diff-narrow.txt", f.with(t, p).stdout)
}

// TestATextOfManyLinesIsCutAndSaysSo, and is whole with -o wide.
func TestATextOfManyLinesIsCutAndSaysSo(t *testing.T) {
	long := strings.Repeat("line\n", 10) + strings.Repeat("old\n", 200)
	change := stella.Change{Resource: "service/api", Class: stella.Modified, Path: "/configs/~1etc~1c/content", Desired: long, Live: strings.ReplaceAll(long, "old", "new"), Severity: stella.SeverityWarning}
	d := reconciler.Diff{Environment: "production", Against: "desired", Drifted: true, Targets: []reconciler.TargetDiff{{Target: "a", Changes: []stella.Change{change}}}}
	pages := rendered(t, d, 80)
	if n := strings.Count(pages["page false"], "\n"); n > mostLines+15 || !strings.Contains(pages["page false"], "lines more: '-o wide' shows them") {
		t.Errorf("%d lines:\n%s", n, pages["page false"])
	}
	if n := strings.Count(pages["wide false"], "\n"); n < 400 {
		t.Errorf("with -o wide only %d lines", n)
	}
	change.Live = strings.Repeat("x", 2*mostCompared)
	d.Targets[0].Changes[0] = change
	if got := rendered(t, d, 80)["wide false"]; !strings.Contains(got, "too long to be compared by line") || len(got) > 2000 {
		t.Errorf("%.2000s", got)
	}
}

// TestALongPathAndItsTextFitEightyColumns: the path stays whole, in a line of its
// own where it has to; lines and lists of files are cut.
func TestALongPathAndItsTextFitEightyColumns(t *testing.T) {
	text := strings.Repeat("word ", 40) + "\n"
	change := stella.Change{Resource: "service/api", Class: stella.Modified, Desired: text, Live: text + "more\n", Severity: stella.SeverityWarning}
	var changes []stella.Change
	for _, path := range []string{"/configs/~1etc~1nginx~1conf.d~1default.conf/content", "/configs/~1etc~1nginx~1conf.d~1a-much-longer-name~1default.conf/content"} {
		change.Path = path
		other := change
		other.Path, other.Desired, other.Live = path+"s", "a", "b"
		changes = append(changes, change, other)
	}
	var files []reconciler.FileChange
	for range mostFiles + 5 {
		files = append(files, reconciler.FileChange{Path: "app/compose.yaml", Op: "modify", Diff: "--- a\n+++ b\n@@ -1 +1 @@\n-" + text + "+" + text})
	}
	d := reconciler.Diff{Environment: "production", Against: "desired", Drifted: true, Targets: []reconciler.TargetDiff{{Target: "a", Changes: changes}}}
	d.Deployment, d.Files = "production-1", files
	b := reconciler.BaselineDiff{Environment: "production", Baseline: &reconciler.BaselineFile{Deployment: "production-1"}, Files: files}
	pages := map[string]string{"diff": rendered(t, d, 80)["page false"]}
	for name, write := range map[string]func(*page){
		"baseline": func(p *page) { writeBaselineDiff(p, b) },
		"plan":     func(p *page) { planCommits(p, reconciler.Plan{Files: files}) },
	} {
		p := &page{now: noon(), width: 80}
		write(p)
		pages[name] = p.b.String()
	}
	for name, text := range pages {
		for line := range strings.SplitSeq(text, "\n") {
			if n := utf8.RuneCountInString(line); n > 80 {
				t.Errorf("%s: %d columns: %s", name, n, line)
			}
		}
		if name != "plan" && !strings.Contains(text, "and 5 files more") {
			t.Errorf("%s has all files:\n%.500s", name, text)
		}
	}
	for _, c := range changes {
		if !strings.Contains(pages["diff"], " "+c.Path+"\n") {
			t.Errorf("%s is not whole in\n%s", c.Path, pages["diff"])
		}
	}
}

// TestTheNextCommandCanBeTypedAsItIs, whatever the names are.
func TestTheNextCommandCanBeTypedAsItIs(t *testing.T) {
	for path, want := range map[string]string{
		"/environment/ENV":       "'stella drift ignore production service/api /environment/ENV --reason WHY'",
		"/labels/two words":      "'stella drift ignore production service/api \"/labels/two words\" --reason WHY'",
		"/labels/$(reboot)`\"\\": "'stella drift ignore production service/api \"/labels/\\$(reboot)\\`\\\"\\\\\" --reason WHY'",
		"":                       "back, or 'stella drift ignore production service/api --reason WHY --until DAY' to let it be\n",
	} {
		f := newFake()
		f.diff = func(d *reconciler.Diff) {
			d.Drifted = true
			d.Targets[0].Changes = []stella.Change{{Resource: "service/api", Class: stella.Extra, Path: path, Live: "x"}}
		}
		if got := f.invoke(t, "orch", "env", "config", "diff", "production").stderr; !strings.Contains(got, want) {
			t.Errorf("want %s in\n%s", want, got)
		}
	}
}

// TestTheNextCommandIsNotRefused: it asks for nothing that is always refused.
func TestTheNextCommandIsNotRefused(t *testing.T) {
	for name, c := range map[string]struct {
		change stella.Change
		ignore string
		adopt  bool
	}{
		"a variable":     {stella.Change{Class: stella.Modified, Path: "/environment/A", Severity: stella.SeverityWarning}, "--reason WHY'", true},
		"a secret":       {stella.Change{Class: stella.Modified, Path: "/environment/A", Secret: true, Severity: stella.SeverityWarning}, "--reason WHY'", false},
		"an image":       {stella.Change{Class: stella.Modified, Path: "/image", Severity: stella.SeverityCritical}, "--reason WHY --force critical --until DAY'", true},
		"its files":      {stella.Change{Class: stella.Modified, Path: "/files/~1bin~1sh", Severity: stella.SeverityCritical}, "--force critical --until DAY'", false},
		"a record":       {stella.Change{Class: stella.Modified, Path: "/spec.json", Severity: stella.SeverityWarning}, "--reason WHY'", false},
		"a dead process": {stella.Change{Class: stella.Missing, Severity: stella.SeverityCritical}, "--force critical --until DAY'", false},
		"a sticker":      {stella.Change{Resource: "sticker/app", Class: stella.Modified, Path: "/version", Severity: stella.SeverityWarning}, "--reason WHY'", false},
	} {
		if c.change.Resource == "" {
			c.change.Resource = "service/api"
		}
		f := newFake()
		f.diff = func(d *reconciler.Diff) { d.Drifted, d.Targets[0].Changes = true, []stella.Change{c.change} }
		got := f.invoke(t, "drift", "detect", "production").stderr
		if !strings.Contains(got, c.ignore) || strings.Contains(got, "drift adopt") != c.adopt || !strings.Contains(got, "stella reconcile production") {
			t.Errorf("%s: %s", name, got)
		}
	}
}

// TestADiffThatCanNotBeToldIsNoRefusal: whatever the error, the answer is that
// nobody can tell.
func TestADiffThatCanNotBeToldIsNoRefusal(t *testing.T) {
	for _, err := range []error{stella.ErrRefused, stella.ErrConflict, stella.ErrUnhealthy, stella.ErrUnreachable, stella.ErrTampered, stella.ErrNotFound} {
		f := newFake()
		f.err = fmt.Errorf("baseline of production: %w", err)
		if got := f.invoke(t, "orch", "env", "config", "diff", "production", "--baseline"); got.code != exitUnknown || got.stdout != "" || !strings.Contains(got.stderr, "stella: hint: ") {
			t.Errorf("%v: exit code %d\n%s%s", err, got.code, got.stdout, got.stderr)
		}
	}
}
