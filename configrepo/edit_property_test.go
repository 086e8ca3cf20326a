package configrepo

import (
	"fmt"
	"maps"
	"slices"
	"strings"
	"testing"
	"time"

	"pgregory.net/rapid"

	stella "github.com/stella-ops/stella"
)

// layout is how a release.yaml is written: all that an edit must not touch. It
// is drawn once and can then be filled with any values.
type layout struct {
	eol        string
	pieces     []string // comments and blank lines, used in turn
	quotes     []string // of the values, used in turn: "", "'" or `"`
	flow       bool     // components in a flow mapping
	lines      bool     // which is on several lines
	order      []string // of the fields
	components []string
	indent     string
	overrides  []Override
	finalEOL   bool
	comment    int
	quote      int
}

func drawLayout(t *rapid.T) *layout {
	piece := rapid.SampledFrom([]string{"", "", " ", "   # why", " # größer 🚀", "  #", "\t# tab"})
	l := &layout{
		eol:        rapid.SampledFrom([]string{"\n", "\r\n"}).Draw(t, "eol"),
		pieces:     rapid.SliceOfN(piece, 1, 8).Draw(t, "pieces"),
		quotes:     rapid.SliceOfN(rapid.SampledFrom([]string{"", "", "'", `"`}), 1, 6).Draw(t, "quotes"),
		flow:       rapid.Bool().Draw(t, "flow"),
		lines:      rapid.Bool().Draw(t, "lines"),
		order:      rapid.Permutation([]string{"apiVersion", "kind", "version", "components", "variables", "overrides"}).Draw(t, "order"),
		components: rapid.SliceOfNDistinct(rapid.StringMatching(`[a-z]([a-z0-9-]{0,5}[a-z0-9])?`), 1, 5, rapid.ID).Draw(t, "components"),
		indent:     rapid.SampledFrom([]string{" ", "  ", "    "}).Draw(t, "indent"),
		finalEOL:   rapid.Bool().Draw(t, "final eol"),
	}
	l.components = slices.DeleteFunc(l.components, func(s string) bool {
		return s == "y" || s == "n" || s == "no" || s == "on" || s == "off" || s == "yes" || s == "null" || s == "true" || s == "false"
	})
	if len(l.components) == 0 {
		l.components = []string{"api"}
	}
	for i := range rapid.IntRange(0, 3).Draw(t, "overrides") {
		some := rapid.SliceOfNDistinct(rapid.SampledFrom(l.components), 1, len(l.components), rapid.ID).Draw(t, "overridden")
		o := Override{Targets: []string{fmt.Sprintf("t%d", i)}, Components: map[string]stella.Artifact{}, Reason: "größer #1"}
		for _, name := range some {
			o.Components[name] = drawImage(t)
		}
		l.overrides = append(l.overrides, o)
	}
	return l
}

func drawImage(t *rapid.T) stella.Artifact {
	return stella.Artifact{
		Registry:   rapid.SampledFrom([]string{"registry.example.com", "127.0.0.1:5000", "localhost"}).Draw(t, "registry"),
		Repository: rapid.StringMatching(`[a-z]{1,6}(/[a-z]{1,6})?`).Draw(t, "repository"),
		Tag:        rapid.StringMatching(`[a-z0-9][a-z0-9.-]{0,6}`).Draw(t, "tag"),
		Digest:     stella.Digest("sha256:" + strings.Repeat(rapid.StringMatching(`[0-9a-f]`).Draw(t, "digest"), 64)),
	}
}

func drawVersion(t *rapid.T) string {
	return rapid.StringMatching(`[0-9]\.[0-9]\.[0-9](-[a-z]{1,3})?`).Draw(t, "version")
}

func (l *layout) note() string {
	l.comment++
	return l.pieces[l.comment%len(l.pieces)]
}

func (l *layout) quoted(s string) string {
	l.quote++
	q := l.quotes[l.quote%len(l.quotes)]
	return q + s + q
}

// fill writes the layout with values. An empty version leaves the field out.
func (l *layout) fill(version string, images map[string]stella.Artifact) string {
	l.comment, l.quote = 0, 0
	var b strings.Builder
	line := func(s string) { b.WriteString(s + l.note() + l.eol) }
	for _, field := range l.order {
		if note := strings.TrimLeft(l.note(), " \t"); note != "" {
			b.WriteString(note + l.eol)
		}
		switch field {
		case "apiVersion":
			line("apiVersion: " + l.quoted("stella/v1"))
		case "kind":
			line("kind:  " + l.quoted("Release"))
		case "version":
			if text := l.quoted(version); version != "" {
				line("version: " + text)
			}
		case "variables":
			line("variables: {LEVEL: 'größer'}")
		case "components":
			l.fillComponents(line, images)
		case "overrides":
			l.fillOverrides(line)
		}
	}
	text := b.String()
	if !l.finalEOL {
		text = strings.TrimSuffix(text, l.eol)
	}
	return text
}

func (l *layout) fillComponents(line func(string), images map[string]stella.Artifact) {
	var entries []string
	for _, name := range l.components {
		entries = append(entries, l.quoted(name)+": "+l.quoted(images[name].String()))
	}
	switch {
	case l.flow && l.lines:
		line("components: {")
		for _, e := range entries {
			line(l.indent + e + ",")
		}
		line(l.indent + "}")
	case l.flow:
		line("components: { " + strings.Join(entries, " ,  ") + " }")
	default:
		line("components:")
		for _, e := range entries {
			line(l.indent + e)
		}
	}
}

func (l *layout) fillOverrides(line func(string)) {
	if len(l.overrides) == 0 {
		return
	}
	line("overrides:")
	for i, o := range l.overrides {
		line("- targets: [" + o.Targets[0] + "]")
		line("  reason: " + `"größer #1"`)
		names := slices.Sorted(maps.Keys(o.Components))
		if i%2 == 0 {
			line("  components:")
			for _, name := range names {
				line("   " + l.quoted(name) + ": " + l.quoted(o.Components[name].String()))
			}
			continue
		}
		var entries []string
		for _, name := range names {
			entries = append(entries, l.quoted(name)+": "+l.quoted(o.Components[name].String()))
		}
		line("  components: {" + strings.Join(entries, ", ") + "}")
	}
}

func drawImages(t *rapid.T, l *layout) map[string]stella.Artifact {
	images := map[string]stella.Artifact{}
	for _, name := range l.components {
		images[name] = drawImage(t)
	}
	return images
}

// TestSetReleaseChangesTheScalarsAndNoOtherByte: filling the layout with the new
// values is what the edit must make of the old ones.
func TestSetReleaseChangesTheScalarsAndNoOtherByte(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		l := drawLayout(t)
		l.overrides = nil
		before := drawImages(t, l)
		after := maps.Clone(before)
		changed := map[string]stella.Artifact{}
		for _, name := range l.components {
			if rapid.Bool().Draw(t, "change "+name) {
				changed[name] = drawImage(t)
				after[name] = changed[name]
			}
		}
		version := drawVersion(t)
		src := l.fill(drawVersion(t), before)
		got, err := SetRelease([]byte(src), version, changed)
		if err != nil {
			t.Fatalf("%v\n%s", err, src)
		}
		if want := l.fill(version, after); string(got) != want {
			t.Fatalf("got\n%q\nwant\n%q\nof\n%q", got, want, src)
		}
	})
}

// TestSetReleaseIsWhatWasAsked draws additions, removals and changes at once:
// the result reads as asked, twice is once, and each comment outside of what was
// removed is still there.
func TestSetReleaseIsWhatWasAsked(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		l := drawLayout(t)
		before := ""
		if rapid.Bool().Draw(t, "has a version") {
			before = drawVersion(t)
		}
		src := l.fill(before, drawImages(t, l))
		changes := map[string]stella.Artifact{}
		for range rapid.IntRange(0, 3).Draw(t, "changes") {
			name := rapid.OneOf(rapid.SampledFrom(l.components), rapid.SampledFrom([]string{"new", "on", "1"})).Draw(t, "component")
			changes[name] = drawImage(t)
		}
		version := rapid.SampledFrom([]string{"", "3.0.0", "3.0", "0x1"}).Draw(t, "to version")
		old, _, err := parseRelease([]byte(src))
		if err != nil {
			t.Fatalf("%v\n%s", err, src)
		}
		got, err := SetRelease([]byte(src), version, changes)
		if err != nil {
			t.Fatalf("%v\n%s", err, src)
		}
		read, _, err := parseRelease(got)
		if err != nil || !read.equal(old.with(version, changes)) {
			t.Fatalf("%v\n%s\nis not as asked of\n%s", err, got, src)
		}
		again, err := SetRelease(got, version, changes)
		if err != nil || string(again) != string(got) {
			t.Fatalf("twice: %v\n%q\nis not\n%q", err, again, got)
		}
		if len(old.Overrides) == len(read.Overrides) && strings.Count(string(got), "#") < strings.Count(src, "#")-removedLines(old, read) {
			t.Fatalf("a comment is gone:\n%s\nof\n%s", got, src)
		}
		if strings.Contains(l.eol, "\r") && strings.Count(string(got), "\n") != strings.Count(string(got), "\r\n") {
			t.Fatalf("line ends are mixed:\n%q", got)
		}
	})
}

// removedLines is how many entries of overrides went, each with its line.
func removedLines(old, now *ReleaseFile) int {
	n := 0
	for i := range old.Overrides {
		n += len(old.Overrides[i].Components) - len(now.Overrides[i].Components)
	}
	return n
}

// TestSetOverridesIsWhatWasAsked goes from any list of overrides to any other.
func TestSetOverridesIsWhatWasAsked(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		l := drawLayout(t)
		images := drawImages(t, l)
		src := l.fill("1.0.0", images)
		old, _, err := parseRelease([]byte(src))
		if err != nil {
			t.Fatalf("%v\n%s", err, src)
		}
		var want []Override
		for _, o := range old.Overrides {
			if rapid.Bool().Draw(t, "keep") {
				want = append(want, o)
			}
		}
		for i := range rapid.IntRange(0, 2).Draw(t, "new") {
			want = append(want, Override{
				Targets: []string{fmt.Sprintf("n%d", i)}, Components: map[string]stella.Artifact{l.components[0]: drawImage(t)},
				Reason: rapid.StringMatching(`[a-z "'\\:#{}é🚀-]{0,12}`).Draw(t, "reason"),
				Until:  time.Unix(rapid.Int64Range(1e9, 2e9).Draw(t, "until"), 0).UTC(),
			})
		}
		got, err := SetOverrides([]byte(src), want)
		if err != nil {
			t.Fatalf("%v\n%s", err, src)
		}
		read, _, err := parseRelease(got)
		asked := old.clone()
		asked.Overrides = want
		if err != nil || !read.equal(asked) {
			t.Fatalf("%v\n%s", err, got)
		}
	})
}
