package configrepo

import (
	"errors"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	stella "github.com/stella-ops/stella"
)

const (
	oldAPI = "registry.example.com/shop/api:1.0.0@" + digestA
	newAPI = "registry.example.com/shop/api:2.0.0@" + digestB
	oldWeb = "registry.example.com/shop/web:1.0.0@" + digestA
	newWeb = "registry.example.com/shop/web:2.0.0@" + digestB
	head   = "apiVersion: stella/v1\nkind: Release\n"
)

// expand makes short texts in tables long.
func expand(s string) string {
	return strings.NewReplacer("OLDAPI", oldAPI, "NEWAPI", newAPI, "OLDWEB", oldWeb, "NEWWEB", newWeb, "HEAD", head).Replace(s)
}

func TestSetRelease(t *testing.T) {
	for name, c := range map[string]struct {
		version    string
		components string // NAME=IMAGE, spaces between
		src, want  string
	}{
		"nothing changes nothing": {
			"", "", "HEADversion: 1.0.0\ncomponents: {api: OLDAPI}\n", "HEADversion: 1.0.0\ncomponents: {api: OLDAPI}\n",
		},
		"the same again changes nothing": {
			"1.0.0", "api=OLDAPI", "HEADversion:   '1.0.0'\ncomponents: { \"api\" : OLDAPI }\n", "HEADversion:   '1.0.0'\ncomponents: { \"api\" : OLDAPI }\n",
		},
		"comments, blank lines, order and trailing spaces stay": {
			"2.0.0", "api=NEWAPI",
			"# top\n\nkind: Release   \napiVersion: stella/v1 # format\n\nversion: 1.0.0  # what people say \ncomponents:\n  # the API\n  api:   OLDAPI  # since May  \n\n  web: OLDWEB\n# end\n\n\n",
			"# top\n\nkind: Release   \napiVersion: stella/v1 # format\n\nversion: 2.0.0  # what people say \ncomponents:\n  # the API\n  api:   NEWAPI  # since May  \n\n  web: OLDWEB\n# end\n\n\n",
		},
		"Windows line ends stay": {
			"2.0.0", "api=NEWAPI new=NEWWEB", "apiVersion: stella/v1\r\nkind: Release\r\ncomponents:\r\n  api: OLDAPI # x\r\n",
			"apiVersion: stella/v1\r\nkind: Release\r\nversion: 2.0.0\r\ncomponents:\r\n  api: NEWAPI # x\r\n  new: NEWWEB\r\n",
		},
		"quotes stay": {
			"2.0.0", "api=NEWAPI web=NEWWEB", "HEADversion: \"1.0.0\"\ncomponents:\n  'api': 'OLDAPI'\n  \"web\": \"OLDWEB\" #x\n",
			"HEADversion: \"2.0.0\"\ncomponents:\n  'api': 'NEWAPI'\n  \"web\": \"NEWWEB\" #x\n",
		},
		"a version that looks like a number is quoted": {
			"2.10", "", "HEADversion: 1.0.0\ncomponents: {}\n", "HEADversion: \"2.10\"\ncomponents: {}\n",
		},
		"a version is added after the kind, in the file's line ends, without one at the end": {
			"2.0.0", "", "apiVersion: stella/v1\ncomponents: {api: OLDAPI}\nkind: Release # what", "apiVersion: stella/v1\ncomponents: {api: OLDAPI}\nkind: Release # what\nversion: 2.0.0",
		},
		"an empty version is filled": {
			"2.0.0", "", "HEADversion: ''\ncomponents: {}\n", "HEADversion: '2.0.0'\ncomponents: {}\n",
		},
		"a component is added in the style of the last one": {
			"", "new=NEWWEB aaa=NEWAPI", "HEADcomponents:\n    api: OLDAPI\n    'web': 'OLDWEB'   # last\n    # new: later\n\nvariables: {}\n",
			"HEADcomponents:\n    api: OLDAPI\n    'web': 'OLDWEB'   # last\n    'aaa': 'NEWAPI'\n    'new': 'NEWWEB'\n    # new: later\n\nvariables: {}\n",
		},
		"a component whose name looks like a boolean is quoted": {
			"", "on=NEWWEB", "HEADcomponents:\n  api: OLDAPI\n", "HEADcomponents:\n  api: OLDAPI\n  \"on\": NEWWEB\n",
		},
		"components of an empty flow mapping": {
			"", "api=NEWAPI web=NEWWEB", "HEADcomponents: { } # none\n", "HEADcomponents: {api: NEWAPI, web: NEWWEB} # none\n",
		},
		"an empty flow mapping with a comment": {
			"", "api=NEWAPI", "HEADcomponents: {\n  # none yet\n}\n", "HEADcomponents: {api: NEWAPI\n  # none yet\n}\n",
		},
		"a flow mapping on one line": {
			"", "api=NEWAPI new=NEWWEB", "HEADcomponents: {api: OLDAPI, 'web': OLDWEB}\n", "HEADcomponents: {api: NEWAPI, 'web': OLDWEB, 'new': NEWWEB}\n",
		},
		"a flow mapping on several lines": {
			"", "web=NEWWEB new=NEWAPI", "HEADcomponents: {\n  api: OLDAPI, # first\n  web: OLDWEB # last\n}\n",
			"HEADcomponents: {\n  api: OLDAPI, # first\n  web: NEWWEB, # last\n  new: NEWAPI\n}\n",
		},
		"a flow mapping with a comma at the end": {
			"", "new=NEWAPI", "HEADcomponents: {\n  api: OLDAPI,\n  web: OLDWEB,   # last\n  }\n", "HEADcomponents: {\n  api: OLDAPI,\n  web: OLDWEB,   # last\n  new: NEWAPI,\n  }\n",
		},
		"JSON": {
			"2.0.0", "api=NEWAPI new=NEWWEB", `{"apiVersion":"stella/v1","kind":"Release","components":{"api":"OLDAPI"},"overrides":[{"components":{"api":"OLDAPI"}}],"variables":{}}`,
			`{"apiVersion":"stella/v1","kind":"Release", "version": "2.0.0","components":{"api":"NEWAPI", "new": "NEWWEB"},"variables":{}}`,
		},
		"JSON whose overrides come last": {
			"", "api=NEWAPI", "{\n  \"apiVersion\": \"stella/v1\", \"kind\": \"Release\",\n  \"components\": {\"api\": \"OLDAPI\"},\n  \"overrides\": [{\"components\": {\"api\": \"OLDAPI\"}}]\n}\n",
			"{\n  \"apiVersion\": \"stella/v1\", \"kind\": \"Release\",\n  \"components\": {\"api\": \"NEWAPI\"}\n}\n",
		},
		"values in block style become plain": {
			"2.0.0", "api=NEWAPI", "HEADversion: |-\n  1.0.0\n\ncomponents:\n  api: >-\n    OLDAPI\n  # web\n  web: OLDWEB\n", "HEADversion: 2.0.0\n\ncomponents:\n  api: NEWAPI\n  # web\n  web: OLDWEB\n",
		},
		"a value on the line after its key": {
			"", "api=NEWAPI", "HEADcomponents:\n  api:\n    OLDAPI\n  web: # x\n    \"OLDWEB\"\n", "HEADcomponents:\n  api:\n    NEWAPI\n  web: # x\n    \"OLDWEB\"\n",
		},
		"letters that take several bytes in a line with values": {
			"", "web=NEWWEB", "HEADcomponents: {api: \"OLDAPI\", web: OLDWEB}\noverrides: [{reason: \"größer 🚀\", components: {web: OLDWEB}}, {reason: \"größer 🚀\", components: {api: OLDAPI}}]\n",
			"HEADcomponents: {api: \"OLDAPI\", web: NEWWEB}\noverrides: [{reason: \"größer 🚀\", components: {api: OLDAPI}}]\n",
		},
		"document markers stay": {
			"2.0.0", "api=NEWAPI new=NEWWEB", "%YAML 1.1\n--- # start\nHEADcomponents:\n  api: OLDAPI\n...\n# after\n", "%YAML 1.1\n--- # start\nHEADversion: 2.0.0\ncomponents:\n  api: NEWAPI\n  new: NEWWEB\n...\n# after\n",
		},
		"indented from the start": {
			"2.0.0", "new=NEWWEB", "  apiVersion: stella/v1\n  kind: Release\n  components:\n    api: OLDAPI\n", "  apiVersion: stella/v1\n  kind: Release\n  version: 2.0.0\n  components:\n    api: OLDAPI\n    new: NEWWEB\n",
		},
		"the last override goes, and its key": {
			"", "api=NEWAPI", "HEADcomponents:\n  api: OLDAPI\n\n# temporary\noverrides:\n- targets: [web-1]\n  components: {api: OLDAPI}\n  reason: >-\n    a\n    # b\n    c\n# until then\nvariables: {X: z}\n",
			"HEADcomponents:\n  api: NEWAPI\n\n# temporary\n# until then\nvariables: {X: z}\n",
		},
		"the last override goes at the end of the file": {
			"", "api=NEWAPI", "HEADcomponents:\n  api: OLDAPI\n\noverrides:\n- targets: [web-1]\n  components: {api: OLDAPI}", "HEADcomponents:\n  api: NEWAPI\n",
		},
		"one of two overrides goes": {
			"", "api=NEWAPI", "HEADcomponents:\n  api: OLDAPI\n  web: OLDWEB\noverrides:\n  # first\n  - components:\n      api: OLDAPI\n    reason: x\n  -\n    # second\n    components:\n      web: OLDWEB # keep\n",
			"HEADcomponents:\n  api: NEWAPI\n  web: OLDWEB\noverrides:\n  # first\n  -\n    # second\n    components:\n      web: OLDWEB # keep\n",
		},
		"the second of two overrides goes, whose dash has its own line": {
			"", "web=NEWWEB", "HEADcomponents:\n  api: OLDAPI\n  web: OLDWEB\noverrides:\n- components: {api: OLDAPI}\n-\n\n  components: {web: OLDWEB}\nvariables: {}\n",
			"HEADcomponents:\n  api: OLDAPI\n  web: NEWWEB\noverrides:\n- components: {api: OLDAPI}\nvariables: {}\n",
		},
		"a component leaves an override with others": {
			"", "api=NEWAPI", "HEADcomponents: {api: OLDAPI, web: OLDWEB}\noverrides:\n- components:\n    api: OLDAPI # gone\n    web: OLDWEB # stays\n  reason: x\n- targets: [a]\n  components:\n    web: OLDWEB\n",
			"", // two overrides of web: not valid
		},
		"a component leaves block and flow overrides with others": {
			"", "api=NEWAPI", "HEADcomponents: {api: OLDAPI, web: OLDWEB}\noverrides:\n- targets: [a]\n  components:\n    api: OLDAPI # gone\n    web: OLDWEB # stays\n- targets: [b]\n  components: {web: OLDWEB, api: OLDAPI}\n- targets: [c]\n  components: {api: OLDAPI,  web: OLDWEB}\n- targets: [d]\n  components: {\n    api: OLDAPI, # gone\n    web: OLDWEB, # stays\n  }\n",
			"HEADcomponents: {api: NEWAPI, web: OLDWEB}\noverrides:\n- targets: [a]\n  components:\n    web: OLDWEB # stays\n- targets: [b]\n  components: {web: OLDWEB}\n- targets: [c]\n  components: {web: OLDWEB}\n- targets: [d]\n  components: {\n     # gone\n    web: OLDWEB, # stays\n  }\n",
		},
		"overrides in flow style": {
			"", "api=NEWAPI", "HEADcomponents: {api: OLDAPI, web: OLDWEB}\noverrides: [{targets: [a], components: {api: OLDAPI}}, components: {web: OLDWEB}]\n",
			"HEADcomponents: {api: NEWAPI, web: OLDWEB}\noverrides: [components: {web: OLDWEB}]\n",
		},
		"a pair without braces goes": {
			"", "web=NEWWEB", "HEADcomponents: {api: OLDAPI, web: OLDWEB}\noverrides: [{targets: [a], components: {api: OLDAPI}}, components: {web: OLDWEB}]\n",
			"HEADcomponents: {api: OLDAPI, web: NEWWEB}\noverrides: [{targets: [a], components: {api: OLDAPI}}]\n",
		},
		"keys with question marks are refused": {"", "new=NEWAPI", "HEADcomponents:\n  ? api\n  : OLDAPI\n", ""},
		"a file with problems is refused":      {"2.0.0", "", "HEADcomponents: {api: x}\n", ""},
		"a version that is none is refused":    {"two words", "", "HEADcomponents: {}\n", ""},
	} {
		t.Run(name, func(t *testing.T) {
			components := map[string]stella.Artifact{}
			for pair := range strings.FieldsSeq(c.components) {
				name, ref, _ := strings.Cut(pair, "=")
				components[name] = image(t, expand(ref))
			}
			got, err := SetRelease([]byte(expand(c.src)), c.version, components)
			if c.want == "" {
				if !errors.Is(err, stella.ErrInvalid) || got != nil {
					t.Fatalf("got %q, %v", got, err)
				}
				return
			}
			if err != nil {
				t.Fatal(err)
			}
			if diff := cmp.Diff(expand(c.want), string(got)); diff != "" {
				t.Errorf("(-want +got):\n%s", diff)
			}
			again, err := SetRelease(got, c.version, components)
			if err != nil || string(again) != string(got) {
				t.Errorf("it is not idempotent: %v\n%s", err, again)
			}
		})
	}
}

func TestSetReleaseRefusesAComponentThatIsNone(t *testing.T) {
	src := []byte(expand("HEADcomponents: {api: OLDAPI}\n"))
	for name, a := range map[string]stella.Artifact{"API": image(t, newAPI), "api": {}, "a: b, c": image(t, newAPI)} {
		if got, err := SetRelease(src, "", map[string]stella.Artifact{name: a}); !errors.Is(err, stella.ErrInvalid) {
			t.Errorf("%s: got %q, %v", name, got, err)
		}
	}
}

func TestEditErrorsHaveAHint(t *testing.T) {
	_, err := SetRelease([]byte(expand("HEADcomponents:\n  ? api\n  : OLDAPI\n")), "", map[string]stella.Artifact{"api": image(t, newAPI)})
	if stella.Hint(err) == "" || !strings.Contains(err.Error(), "edit release.yaml") {
		t.Errorf("got %v, hint %q", err, stella.Hint(err))
	}
}

func TestPinDigests(t *testing.T) {
	src := "HEADversion: 1.0.0\ncomponents:\n  api: registry.example.com/shop/api:1.0.0  # pinned soon\n  web: 'OLDWEB'\n  same: \"registry.example.com/shop/api:1.0.0\"\n" +
		"overrides:\n- components: {web: registry.example.com/shop/web:0.9.0, api: OLDAPI}\n"
	asked := map[string]int{}
	resolve := func(a stella.Artifact) (stella.Artifact, error) {
		asked[a.String()]++
		a.Digest = digestB
		return a, nil
	}
	got, err := PinDigests([]byte(expand(src)), resolve)
	if err != nil {
		t.Fatal(err)
	}
	want := strings.NewReplacer("api:1.0.0  #", "api:1.0.0@"+digestB+"  #", "api:1.0.0\"", "api:1.0.0@"+digestB+"\"", "web:0.9.0", "web:0.9.0@"+digestB).Replace(expand(src))
	if diff := cmp.Diff(want, string(got)); diff != "" {
		t.Errorf("(-want +got):\n%s", diff)
	}
	if len(asked) != 2 || asked["registry.example.com/shop/api:1.0.0"] != 1 {
		t.Errorf("asked %v", asked)
	}
	again, err := PinDigests(got, func(stella.Artifact) (stella.Artifact, error) { return stella.Artifact{}, errors.New("asked again") })
	if err != nil || string(again) != string(got) {
		t.Errorf("pinned again: %v", err)
	}
}

func TestPinDigestsReportsAllThatFail(t *testing.T) {
	src := []byte(expand("HEADcomponents:\n  a: registry.example.com/a:1\n  b: registry.example.com/b:1\n  c: registry.example.com/c:1\n"))
	_, err := PinDigests(src, func(a stella.Artifact) (stella.Artifact, error) {
		if a.Repository == "c" {
			return a, nil // without a digest
		}
		return stella.Artifact{}, stella.ErrDenied
	})
	if !errors.Is(err, stella.ErrDenied) || !errors.Is(err, stella.ErrNotFound) || strings.Count(err.Error(), "pin component") != 3 {
		t.Errorf("got %v", err)
	}
	calls := 0
	_, err = PinDigests(src, func(stella.Artifact) (stella.Artifact, error) {
		calls++
		return stella.Artifact{}, stella.ErrUnreachable
	})
	if !errors.Is(err, stella.ErrUnreachable) || calls != 1 {
		t.Errorf("got %v after %d calls", err, calls)
	}
}

func TestSetOverrides(t *testing.T) {
	a := Override{Targets: []string{"web-1", "on"}, Components: map[string]stella.Artifact{"api": image(t, oldAPI), "web": image(t, oldWeb)}, From: "production-40", Reason: "5xx: \"bad\"\\", Until: time.Date(2026, 12, 2, 0, 0, 0, 0, time.UTC)}
	b := Override{Targets: []string{"web-2"}, Components: map[string]stella.Artifact{"api": image(t, oldAPI)}, Until: time.Date(2026, 12, 1, 10, 30, 0, 0, time.UTC)}
	all := Override{Components: map[string]stella.Artifact{"web": image(t, oldWeb)}}
	textA := "targets: [web-1, \"on\"]|components: {api: \"OLDAPI\", web: \"OLDWEB\"}|from: production-40|reason: \"5xx: \\\"bad\\\"\\\\\"|until: 2026-12-01"
	textB := "targets: [web-2]|components: {api: \"OLDAPI\"}|until: 2026-12-01T10:30:00Z"
	textAll := "components: {web: \"OLDWEB\"}"
	block := func(texts ...string) string {
		var s strings.Builder
		for _, text := range texts {
			s.WriteString("- " + strings.ReplaceAll(text, "|", "\n  ") + "\n")
		}
		return s.String()
	}
	flow := func(text string) string { return "{" + strings.ReplaceAll(text, "|", ", ") + "}" }
	base := "HEADcomponents: {api: NEWAPI, web: NEWWEB} # c\n"
	for name, c := range map[string]struct {
		src       string
		overrides []Override
		want      string
	}{
		"the first ones are added at the end":     {base, []Override{a, b}, base + "overrides:\n" + block(textA, textB)},
		"one is added after those that are there": {base + "overrides:\n" + block(textA) + "variables: {}\n", []Override{a, b}, base + "overrides:\n" + block(textA, textB) + "variables: {}\n"},
		"one goes and one comes":                  {base + "overrides:\n" + block(textA, textB), []Override{b, all}[:1], base + "overrides:\n" + block(textB)},
		"all go":                                  {base + "overrides:\n" + block(textA, textB), nil, base},
		"all are replaced":                        {base + "overrides:\n" + block(textA), []Override{b}, base + "overrides:\n" + block(textB)},
		"to an empty list":                        {base + "overrides: []\n", []Override{b, all}[:1], base + "overrides: [" + flow(textB) + "]\n"},
		"to a flow list":                          {base + "overrides: [" + flow(textB) + "]\n", []Override{b, all}, base + "overrides: [" + flow(textB) + ", " + flow(textAll) + "]\n"},
		"to JSON":                                 {`{"apiVersion": "stella/v1", "kind": "Release", "components": {"api": "NEWAPI"}}`, []Override{b}, `{"apiVersion": "stella/v1", "kind": "Release", "components": {"api": "NEWAPI"}, overrides: [` + flow(textB) + `]}`},
	} {
		t.Run(name, func(t *testing.T) {
			got, err := SetOverrides([]byte(expand(c.src)), c.overrides)
			if err != nil {
				t.Fatal(err)
			}
			if diff := cmp.Diff(expand(c.want), string(got)); diff != "" {
				t.Errorf("(-want +got):\n%s", diff)
			}
		})
	}
	if _, err := SetOverrides([]byte(expand(base)), []Override{{Components: map[string]stella.Artifact{"gone": image(t, oldWeb)}}}); !errors.Is(err, stella.ErrInvalid) {
		t.Errorf("an override of no component: got %v", err)
	}
}

func TestWithOverride(t *testing.T) {
	api, web := image(t, oldAPI), image(t, oldWeb)
	both := map[string]stella.Artifact{"api": api, "web": web}
	one := map[string]stella.Artifact{"api": api}
	rest := map[string]stella.Artifact{"web": web}
	targets := []string{"a", "b", "c"}
	for name, c := range map[string]struct {
		have []Override
		add  Override
		want []Override
	}{
		"the first":               {nil, Override{Components: one}, []Override{{Components: one}}},
		"another component":       {[]Override{{Components: rest}}, Override{Components: one}, []Override{{Components: rest}, {Components: one}}},
		"the same again":          {[]Override{{Components: one, Reason: "old"}}, Override{Components: one}, []Override{{Components: one}}},
		"one target of all":       {[]Override{{Components: one}}, Override{Targets: []string{"b"}, Components: one}, []Override{{Targets: []string{"a", "c"}, Components: one}, {Targets: []string{"b"}, Components: one}}},
		"all over one target":     {[]Override{{Targets: []string{"b"}, Components: one}}, Override{Components: one}, []Override{{Components: one}}},
		"one component of two":    {[]Override{{Components: both}}, Override{Components: one}, []Override{{Components: rest}, {Components: one}}},
		"a part in both respects": {[]Override{{Targets: []string{"a", "b"}, Components: both, From: "x-1"}}, Override{Targets: []string{"a"}, Components: one}, []Override{{Targets: []string{"a", "b"}, Components: rest, From: "x-1"}, {Targets: []string{"b"}, Components: one, From: "x-1"}, {Targets: []string{"a"}, Components: one}}},
	} {
		f := &ReleaseFile{Overrides: c.have}
		if diff := cmp.Diff(c.want, f.WithOverride(c.add, targets)); diff != "" {
			t.Errorf("%s (-want +got):\n%s", name, diff)
		}
	}
}
