package strictyaml_test

import (
	"encoding/json"
	"fmt"
	"regexp"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"pgregory.net/rapid"

	"github.com/stella-ops/stella/internal/strictyaml"
)

type document struct {
	Name  string
	On    bool
	Count int
	Wait  time.Duration
	Mode  string
	List  []string
	Map   map[string]string
	Until time.Time
	At    time.Time
	Size  string
	Inner inner
}

type inner struct{ Text string }

func shape() strictyaml.Shape[document] {
	name := strictyaml.Text(strictyaml.TextRule{Pattern: regexp.MustCompile(`^[a-z-]+$`), What: "is not a name", Want: "want a-z", Most: 10})
	number := strictyaml.Convert(strictyaml.Whole(1, 9), func(_ strictyaml.Value, n int) (string, bool) { return fmt.Sprint("n", n), true })
	return strictyaml.Object(document{Count: 7},
		strictyaml.Required("name", "The name.", name, func(d *document) *string { return &d.Name }),
		strictyaml.Optional("on", "", strictyaml.Bool(), func(d *document) *bool { return &d.On }),
		strictyaml.Optional("count", "", strictyaml.Whole(-5, 1000), func(d *document) *int { return &d.Count }),
		strictyaml.Optional("wait", "", strictyaml.Duration(time.Second, time.Hour), func(d *document) *time.Duration { return &d.Wait }),
		strictyaml.Optional("mode", "", strictyaml.Enum("on", "off"), func(d *document) *string { return &d.Mode }),
		strictyaml.Optional("list", "", strictyaml.List(strictyaml.Line(5), 1, 3), func(d *document) *[]string { return &d.List }),
		strictyaml.Optional("map", "", strictyaml.Map(name, strictyaml.Block(20)), func(d *document) *map[string]string { return &d.Map }),
		strictyaml.Optional("until", "", strictyaml.Until(), func(d *document) *time.Time { return &d.Until }),
		strictyaml.Optional("at", "", strictyaml.Instant(), func(d *document) *time.Time { return &d.At }),
		strictyaml.Optional("size", "", strictyaml.Either(number, name), func(d *document) *string { return &d.Size }),
		strictyaml.Optional("inner", "", strictyaml.Object(inner{Text: "default"},
			strictyaml.Optional("text", "", strictyaml.Line(9), func(i *inner) *string { return &i.Text })), func(d *document) *inner { return &d.Inner }),
	)
}

func problems(d *strictyaml.Doc) string {
	var lines []string
	for _, p := range d.Problems() {
		lines = append(lines, fmt.Sprintf("%d:%d %s: %s; %s", p.Line, p.Column, p.Field, p.What, p.Fix))
	}
	return strings.Join(lines, "\n")
}

func TestReadsWhatIsRight(t *testing.T) {
	src := `# everything
name: a-b
on: True
count: -5
wait: 1m30s
mode: off
list: [a, "1", ' ']
map: {a: "x\ty\n", "no": 'yes'}
until: 2028-02-29
at: 2026-11-23T10:00:00.5+02:00
size: 5
inner: {}
`
	d := strictyaml.Parse([]byte(src))
	got := strictyaml.Read(d, shape())
	if !d.OK() {
		t.Fatal(problems(d))
	}
	want := document{
		Name: "a-b", On: true, Count: -5, Wait: 90 * time.Second, Mode: "off", List: []string{"a", "1", " "},
		Map: map[string]string{"a": "x\ty\n", "no": "yes"}, Until: time.Date(2028, 3, 1, 0, 0, 0, 0, time.UTC),
		At: time.Date(2026, 11, 23, 8, 0, 0, 5e8, time.UTC), Size: "n5", Inner: inner{Text: "default"},
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("(-want +got):\n%s", diff)
	}
	d = strictyaml.Parse([]byte("{name: x, size: big}"))
	if diff := cmp.Diff(document{Name: "x", Count: 7, Size: "big"}, strictyaml.Read(d, shape())); diff != "" || !d.OK() {
		t.Errorf("defaults: %s\n(-want +got):\n%s", problems(d), diff)
	}
}

// TestOneValue says of one field each what is wrong with it.
func TestOneValue(t *testing.T) {
	const wholeWant, durationWant = "want a whole number from -5 to 1000", "want a duration from 1s to 1h, such as 90s or 5m"
	const boolWant = "want true or false, without quotes"
	for src, want := range map[string]string{
		"on: yes":                        "1:5 on: is not a boolean; " + boolWant,
		"on: 'true'":                     "1:5 on: is not a boolean; " + boolWant,
		"on: 1":                          "1:5 on: is not a boolean; " + boolWant,
		"on: []":                         "1:5 on: is a list; " + boolWant,
		"on: {}":                         "1:5 on: is a mapping; " + boolWant,
		"on:":                            "1:4 on: is not a boolean; " + boolWant,
		"count: 1.5":                     "1:8 count: is not a whole number; " + wholeWant,
		"count: 010":                     "1:8 count: is not a whole number; " + wholeWant,
		"count: 0x10":                    "1:8 count: is not a whole number; " + wholeWant,
		"count: 1_000":                   "1:8 count: is not a whole number; " + wholeWant,
		"count: +1":                      "1:8 count: is not a whole number; " + wholeWant,
		"count: '1'":                     "1:8 count: is not a whole number; " + wholeWant,
		"count: 1001":                    "1:8 count: is out of range; " + wholeWant,
		"count: -6":                      "1:8 count: is out of range; " + wholeWant,
		"count: 99999999999999999999":    "1:8 count: is out of range; " + wholeWant,
		"wait: 10":                       "1:7 wait: is a number; " + durationWant,
		"wait: NaN":                      "1:7 wait: is not a duration; " + durationWant,
		"wait: .nan":                     "1:7 wait: is a number; " + durationWant,
		"wait: 1e9s":                     "1:7 wait: is not a duration; " + durationWant,
		"wait: -1s":                      "1:7 wait: is out of range; " + durationWant,
		"wait: 0s":                       "1:7 wait: is out of range; " + durationWant,
		"wait: 1h1ns":                    "1:7 wait: is out of range; " + durationWant,
		"wait: 9999999999999h":           "1:7 wait: is not a duration; " + durationWant,
		"wait: 999999999999h":            "1:7 wait: is out of range; " + durationWant,
		"wait: 1 s":                      "1:7 wait: is not a duration; " + durationWant,
		"wait: ''":                       "1:7 wait: is not a duration; " + durationWant,
		"mode: onn":                      "1:7 mode: is not one of the values; want on or off",
		"mode: ''":                       "1:7 mode: is not one of the values; want on or off",
		"list: []":                       "1:7 list: is an empty list; want at least 1",
		"list: [a, b, c, d]":             "1:7 list: has 4 items; keep to 3",
		"list: [a, '123456']":            "1:11 list[1]: is 6 characters long; keep to 5",
		"list: [a, 2026, true, \"\\e\"]": "1:7 list: has 4 items; keep to 3\n1:11 list[1]: is read as a number and not as text; put it in quotes\n1:17 list[2]: is read as a boolean and not as text; put it in quotes",
		"list: a":                        "1:7 list: is text; want a list",
		"list: ~":                        "1:7 list: is empty; want a list, or leave the field out",
		"map: []":                        "1:6 map: is a list; want a mapping",
		"map: {A: x}":                    "1:7 map.A: is not a name; want a-z",
		"map: {no: x}":                   "1:7 map.no: is read as a boolean and not as text; put it in quotes",
		"map: {a: \"\\e\"}":              "1:10 map.a: has a control character; want text",
		"map: {a: b, a: c}":              "1:13 map.a: is already set in line 1; keep one of them",
		"map: {[a]: c}":                  "1:7 map: a key that is not text; write a name and a colon",
		"until: 2026-02-30":              "1:8 until: is not a time; want a date such as 2027-01-31, or a time such as 2027-01-31T18:00:00Z",
		"until: soon":                    "1:8 until: is not a time; want a date such as 2027-01-31, or a time such as 2027-01-31T18:00:00Z",
		"at: 2026-11-23":                 "1:5 at: is not a time; want a time such as 2027-01-31T18:00:00Z",
		"size: 10":                       "1:7 size: is out of range; want a whole number from 1 to 9",
		"size: X":                        "1:7 size: is not a name; want a-z",
		"size: []":                       "1:7 size: is a list; want a-z",
		"inner: {Text: x}":               "1:9 inner.Text: unknown field; did you mean text?",
		"inner: {txet: x}":               "1:9 inner.txet: unknown field; did you mean text?",
		"inner: {other: x}":              "1:9 inner.other: unknown field; want one of text",
		"inner: {'a b.c': x}":            `1:9 inner."a b.c": unknown field; want one of text`,
		"inner: {'': x}":                 `1:9 inner."": unknown field; want one of text`,
		"inner: {\"\\e[2J\": x}":         `1:9 inner."\\u001B[2J": unknown field; want one of text`,
		"inner: x":                       "1:8 inner: is text; want a mapping",
		"inner: !!map {}":                "1:8 inner: a tag; remove it; use quotes for text",
		"inner: ! {}":                    "1:8 inner: a tag; remove it; use quotes for text",
		"inner: &a {}":                   "1:8 inner: an anchor; remove it; anchors and aliases are refused",
		"inner: {<<: {}}":                "1:9 inner.<<: a merge key; write the fields out; merge keys are refused",
		"inner: {'<<': x}":               "1:9 inner.<<: unknown field; want one of text",
	} {
		d := strictyaml.Parse([]byte(src + "\nname: x\n"))
		strictyaml.Read(d, shape())
		if got := problems(d); got != want {
			t.Errorf("%s:\ngot  %s\nwant %s", src, got, want)
		}
	}
}

// TestAmbiguousTextMustBeQuoted: what some reader of YAML takes for something
// else is refused as text, and is text in quotes.
func TestAmbiguousTextMustBeQuoted(t *testing.T) {
	read := func(text string) *strictyaml.Doc {
		d := strictyaml.Parse([]byte("name: x\ninner: {text: " + text + "}\n"))
		strictyaml.Read(d, shape())
		return d
	}
	for _, text := range []string{
		"y", "Y", "n", "N", "yes", "YES", "no", "No", "on", "On", "off", "OFF", "true", "True", "FALSE",
		"~", "null", "Null", "0", "00", "0123", "0o17", "0x1F", "0b101", "1_000", "-1", "+1", "12:30", "12:30:45", "20:30.15",
		"1.", "1.5", ".5", "-.5", "1e3", "1.5E-3", ".inf", "-.Inf", ".NaN", "2.4", "6e10",
	} {
		if got := problems(read(text)); !strings.Contains(got, "put it in quotes") && !strings.Contains(got, "is empty") {
			t.Errorf("%s: got %q", text, got)
		}
		if d := read("'" + text + "'"); !d.OK() {
			t.Errorf("'%s': got %q", text, problems(d))
		}
		if strictyaml.IsPlainText(text) {
			t.Errorf("IsPlainText(%q)", text)
		}
	}
	for _, text := range []string{"2.4.0", "v1", "yes!", "1a", "0xg", "127.0.0.1", "1:2:3a", "nano", "e5", "1-2", "1d", "NaN", "inf", "x:y"} {
		if d := read(text); !d.OK() {
			t.Errorf("%s: got %q", text, problems(d))
		}
	}
}

// TestPlainTextIsReadBack: what IsPlainText lets stand without quotes is that
// text wherever a scalar may be.
func TestPlainTextIsReadBack(t *testing.T) {
	list := strictyaml.Object(map[string]string{}, strictyaml.Optional("list", "", strictyaml.List(strictyaml.Map(strictyaml.Line(99), strictyaml.Line(99)), 0, 9),
		func(m *map[string]string) *[]map[string]string {
			return new([]map[string]string)
		}))
	rapid.Check(t, func(t *rapid.T) {
		text := rapid.StringMatching(`[-A-Za-z0-9._/:@+ #,\[\]{}&*!|>'"%]{1,12}`).Draw(t, "text")
		if !strictyaml.IsPlainText(text) {
			return
		}
		for _, src := range []string{"list:\n- {" + text + ": " + text + "}\n", "list:\n- " + text + ": " + text + "\n", `list: [{"a":` + text + `,"b": ` + text + `}]`} {
			d := strictyaml.Parse([]byte(src))
			strictyaml.Read(d, list)
			if !d.OK() {
				if strings.Contains(src, `"a":`) && strings.Contains(problems(d), "is not YAML") {
					continue // a scalar right after a colon is not what is promised
				}
				t.Fatalf("%q: %s", src, problems(d))
			}
			item := d.Root().At("list").Index(0)
			for _, key := range []string{text, "b"} {
				if item.Has(key) && item.At(key).Node().Value != text {
					t.Fatalf("%q was read as %q", src, item.At(key).Node().Value)
				}
			}
		}
	})
}

func TestCheckFindsItsPlace(t *testing.T) {
	s := shape().Check(func(v strictyaml.Value, d *document) {
		v.At("list").Index(1).Problem("a", "b")
		v.At("list").Index(9).Problem("no item", "")
		v.At("gone").Problem("no field", "")
		if !v.Has("name") || v.Has("gone") || v.At("name").Line() != 1 || v.At("list").Field() != "list" || d.Name != "x" {
			t.Errorf("Has, Line or Field")
		}
	})
	d := strictyaml.Parse([]byte("name: x\nlist:\n- a\n-   b\n"))
	strictyaml.Read(d, s)
	want := "1:1 gone: no field; \n3:1 list[9]: no item; \n4:5 list[1]: a; b"
	if got := problems(d); got != want {
		t.Errorf("got\n%s\nwant\n%s", got, want)
	}
}

func TestProblemsAreBounded(t *testing.T) {
	d := strictyaml.Parse([]byte(strings.Repeat("name: x\n", 500)))
	all := d.Problems()
	if last := all[len(all)-1]; len(all) != 101 || last.What != "and 399 more problems" {
		t.Errorf("got %d, %+v", len(all), last)
	}
}

func TestSchemaSaysWhatIsRead(t *testing.T) {
	text, err := json.Marshal(shape().Schema())
	if err != nil {
		t.Fatal(err)
	}
	for _, want := range []string{
		`"additionalProperties":false`, `"required":["name"]`, `"name":{"description":"The name.","maxLength":10,"pattern":"^[a-z-]+$","type":"string"}`,
		`"count":{"description":"","maximum":1000,"minimum":-5,"type":"integer"}`, `"mode":{"description":"","enum":["on","off"]}`,
		`"list":{"description":"","items":`, `"maxItems":3,"minItems":1,"type":"array"`, `"anyOf":[{"maximum":9`,
	} {
		if !strings.Contains(string(text), want) {
			t.Errorf("%s\nhas no %s", text, want)
		}
	}
}

func FuzzParse(f *testing.F) {
	for _, s := range []string{"name: x", "a: &a [*a]", "\x00", "\ufeff", "- \"\\ud800\"", "? [a]\n: b", "a: |\n b\n...\n", "? [a]\n:]b", "%YAML 1.2\n---\n!!str x"} {
		f.Add([]byte(s))
	}
	f.Fuzz(func(t *testing.T, src []byte) {
		d := strictyaml.Parse(src)
		strictyaml.Read(d, shape())
		for _, p := range d.Problems() {
			if p.What == "" || p.Line < 0 || (p.Line == 0) != (p.Column == 0) {
				t.Fatalf("problem %+v of %q", p, src)
			}
			if p.Line > strings.Count(string(src), "\n")+1 {
				t.Fatalf("problem %+v is behind the end of %q", p, src)
			}
		}
	})
}
