package configrepo

import (
	"errors"
	"maps"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"go.yaml.in/yaml/v4"
	"pgregory.net/rapid"

	stella "github.com/stella-ops/stella"
	"github.com/stella-ops/stella/drift"
)

// composeLayout is how a Compose file is written: all that an edit must not
// touch.
type composeLayout struct {
	eol, quote, comment, indent string
	flow, list, finalEOL        bool
	after                       string // what follows the service
}

func drawComposeLayout(t *rapid.T) composeLayout {
	return composeLayout{
		eol:      rapid.SampledFrom([]string{"\n", "\r\n"}).Draw(t, "eol"),
		quote:    rapid.SampledFrom([]string{"", "'", `"`}).Draw(t, "quote"),
		comment:  rapid.SampledFrom([]string{"", " # why", "   # größer: 🚀 {"}).Draw(t, "comment"),
		indent:   rapid.SampledFrom([]string{" ", "  ", "    "}).Draw(t, "indent"),
		flow:     rapid.Bool().Draw(t, "flow"),
		list:     rapid.Bool().Draw(t, "list"),
		finalEOL: rapid.Bool().Draw(t, "final eol"),
		after:    rapid.SampledFrom([]string{"", "x-other: {a: &a 1, b: *a}\n", "\n# the end\n", "x-more:\n- a\n"}).Draw(t, "after"),
	}
}

// write is a Compose file whose service web has an environment, in this order.
func (l composeLayout) write(names []string, values map[string]string) string {
	var entries []string
	for _, name := range names {
		value := strings.ReplaceAll(values[name], "$", "$$")
		switch {
		case l.list:
			entries = append(entries, l.quote+name+"="+value+l.quote)
		default:
			q := l.quote
			if q == "" {
				q = `"`
			}
			entries = append(entries, name+": "+q+value+q)
		}
	}
	text := "services:\n" + l.indent + "web:" + l.comment + "\n" + l.indent + l.indent + "environment:"
	switch {
	case l.flow && l.list:
		text += " [" + strings.Join(entries, ", ") + "]" + l.comment + "\n"
	case l.flow:
		text += " {" + strings.Join(entries, ", ") + "}" + l.comment + "\n"
	default:
		text += "\n"
		lead := strings.Repeat(l.indent, 3)
		if l.list {
			lead += "- "
		}
		for _, e := range entries {
			text += lead + e + l.comment + "\n"
		}
	}
	text += l.indent + l.indent + "user: a\n" + l.after
	if !l.finalEOL {
		text = strings.TrimSuffix(text, "\n")
	}
	return strings.ReplaceAll(text, "\n", l.eol)
}

// TestPlacedEnvironmentIsWhatWasAsked: whatever the style, an environment becomes
// any other, and nothing else is said than before.
func TestPlacedEnvironmentIsWhatWasAsked(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		l := drawComposeLayout(t)
		names := rapid.SliceOfNDistinct(rapid.StringMatching(`[A-Z]{1,4}`), 1, 4, rapid.ID).Draw(t, "names")
		plain := rapid.StringMatching(`[a-z]{1,5}[$]?`)
		values := map[string]string{}
		for _, name := range names {
			values[name] = plain.Draw(t, "value of "+name)
		}
		src := l.write(names, values)
		anyText := rapid.OneOf(plain, rapid.SampledFrom([]string{"", "no", "1", "a b", "# x", "'", `"`, "\\", "a: b", "{}", "$X", "\u0085", "\u2028", "\ttab\n", "🚀", "-", "a\r\nb", "=x="}))
		want := maps.Clone(values)
		for _, name := range names {
			switch rapid.IntRange(0, 2).Draw(t, "what becomes of "+name) {
			case 0:
				want[name] = anyText.Draw(t, "new "+name)
			case 1:
				delete(want, name)
			}
		}
		for range rapid.IntRange(0, 2).Draw(t, "more") {
			want[rapid.StringMatching(`[a-z]{1,3}`).Draw(t, "another")] = anyText.Draw(t, "its value")
		}
		files := liveApp(map[string]string{"compose.yaml": src})
		before, err := renderFiles(t.Context(), files)
		if err != nil {
			t.Fatalf("%v\n%s", err, src)
		}
		r, _ := before.Targets[0].State.Resource("service/web")
		after, _ := copyValue(r.Fields).(map[string]any)
		delete(after, "environment")
		if len(want) > 0 {
			after["environment"] = asAny(want)
		}
		got, _, err := placeIn(t.Context(), files, r.Fields, after)
		if err != nil {
			t.Fatalf("%v (%s)\n%s", err, stella.Hint(err), src)
		}
		d, err := renderFiles(t.Context(), got)
		if err != nil {
			t.Fatalf("%v\n%s\nof\n%s", err, got[composeAt], src)
		}
		r, _ = d.Targets[0].State.Resource("service/web")
		if diff := cmp.Diff(after, r.Fields); diff != "" {
			t.Fatalf("(-want +got):\n%s\n%s\nof\n%s", diff, got[composeAt], src)
		}
		wantSameElsewhere(t, src, got[composeAt])
		if l.eol == "\r\n" && strings.Count(got[composeAt], "\n") != strings.Count(got[composeAt], "\r\n") {
			t.Fatalf("line ends are mixed:\n%q", got[composeAt])
		}
	})
}

func asAny(m map[string]string) map[string]any {
	out := map[string]any{}
	for k, v := range m {
		out[k] = v
	}
	return out
}

// wantSameElsewhere reads both files anew: but for the environment they say the
// same.
func wantSameElsewhere(t *rapid.T, before, after string) {
	read := func(src string) any {
		var v map[string]any
		if err := yaml.Load([]byte(src), &v); err != nil {
			t.Fatalf("%v\n%s", err, src)
		}
		services, _ := v["services"].(map[string]any)
		web, _ := services["web"].(map[string]any)
		delete(web, "environment")
		return v
	}
	if diff := cmp.Diff(read(before), read(after)); diff != "" {
		t.Fatalf("something else changed (-before +after):\n%s", diff)
	}
}

// FuzzPlaceLive writes any text to any file: what comes of it is what was asked,
// and only that, or a refusal.
func FuzzPlaceLive(f *testing.F) {
	for _, src := range []string{
		"services:\n  web:\n    environment: {A: x}\n",
		"services:\n  web:\n    environment:\n    - A=x # y\n    - B\n    command: [a, b]\n    user: a",
		"services: {web: {command: a b, labels: [a=b]}}",
		"x-a: &a {A: 1}\nservices:\n  web:\n    <<: {user: b}\n    environment: *a\n",
		"services:\r\n  web: {}\r\nconfigs: {}\r\n",
		"services:\n  web:\n    environment:\n      A: |\n        x\n      B: >-\n        y\n        z\n",
		"services:\n  web:\n    ? environment\n    : {A: \"x\\\n  y\"}\n",
	} {
		f.Add([]byte(src), "A", "y", "user")
		f.Add([]byte(src), "new", "$a: \"b\" # '", "command")
	}
	f.Fuzz(func(t *testing.T, src []byte, name, value, field string) {
		c, err := openCompose(composeAt, src)
		if err != nil {
			return
		}
		for i, edit := range []func() ([]byte, error){
			func() ([]byte, error) { return c.set(scalarText(value, 0), "services", "web", "environment", name) },
			func() ([]byte, error) { return c.set(flowTexts([]string{value, name}), "services", "web", field) },
			func() ([]byte, error) { return c.unset("services", "web", "environment", name) },
			func() ([]byte, error) { return c.unset("services", "web", field, "0") },
			func() ([]byte, error) { return c.appendItem(scalarText(value, 0), "services", "web", field) },
		} {
			if c, err = openCompose(composeAt, src); err != nil {
				t.Fatal(err)
			}
			inTime(t, func() {
				out, err := edit()
				if err != nil {
					if !errors.Is(err, stella.ErrRefused) {
						t.Fatalf("edit %d: %v has no class", i, err)
					}
					return
				}
				if _, err := openCompose(composeAt, out); err != nil {
					t.Fatalf("edit %d: %v: %q of %q", i, err, out, src)
				}
			})
		}
	})
}

// FuzzAddIgnores writes any rule to any file: it reads as asked, or is refused.
func FuzzAddIgnores(f *testing.F) {
	seed(f, "envs/production/environment.yaml", func(src []byte) { f.Add(src, "service/api", "/a~1b/*", "why", int64(0)) })
	f.Add([]byte(headOfEnvironment+"drift: {ignore: [{resource: a,}]}"), "a*", "", "# no", int64(1_900_000_000))
	f.Fuzz(func(t *testing.T, src []byte, resource, path, reason string, until int64) {
		rule := driftRule(resource, path, reason, until)
		inTime(t, func() {
			out, err := AddIgnores(src, &Project{}, "production", rule, today())
			if errors.Is(err, stella.ErrConflict) {
				return
			}
			printable(t, err)
			if err != nil {
				return
			}
			e, err := openEnvironment(out, &Project{}, "production")
			if err != nil {
				t.Fatalf("%v: %q", err, out)
			}
			last := e.file.Drift.Ignore[len(e.file.Drift.Ignore)-1]
			if diff := cmp.Diff(rule[0], last); diff != "" {
				t.Fatalf("(-want +got):\n%s\n%q", diff, out)
			}
		})
	})
}

func driftRule(resource, path, reason string, until int64) []drift.Ignore {
	r := drift.Ignore{Resource: resource, Path: path, Reason: reason}
	if until > 0 && until < 1<<33 {
		r.Until = time.Unix(until, 0).UTC()
	}
	return []drift.Ignore{r}
}
