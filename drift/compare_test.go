package drift_test

import (
	"encoding/json"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/stella-ops/stella"
	"github.com/stella-ops/stella/drift"
)

var now = time.Date(2026, 11, 23, 10, 0, 0, 0, time.UTC)

// state reads resources as JSON: {"service/api": {…fields}}; "!" in the fields
// lists the pointers to secrets.
func state(t testing.TB, text string) stella.State {
	t.Helper()
	var raw map[stella.ResourceID]map[string]any
	if err := json.Unmarshal([]byte(text), &raw); err != nil {
		t.Fatalf("state %s: %v", text, err)
	}
	var s stella.State
	for id, fields := range raw {
		r := stella.Resource{ID: id, Fields: fields}
		if secrets, ok := fields["!"].([]any); ok {
			for _, p := range secrets {
				r.Secrets = append(r.Secrets, p.(string))
			}
			delete(fields, "!")
		}
		s.Resources = append(s.Resources, r)
	}
	return s
}

// lines shows changes as a reader would name them.
func lines(changes []stella.Change) []string {
	var out []string
	for _, c := range changes {
		values, err := json.Marshal([]any{c.Desired, c.Live})
		if err != nil {
			panic(err)
		}
		words := []string{string(c.Resource), string(c.Class), c.Path, string(values), string(c.Severity)}
		if c.Ignored {
			words = append(words, "ignored")
		}
		if c.Secret {
			words = append(words, "secret")
		}
		if c.Reason != "" {
			words = append(words, "("+c.Reason+")")
		}
		out = append(out, strings.Join(words, " "))
	}
	return out
}

func TestCompare(t *testing.T) {
	const hidden = `"` + stella.SecretChanged + `"`
	for _, tt := range []struct {
		name          string
		desired, live string
		want          []string
	}{
		{"nothing and nothing are the same", `{}`, `{}`, nil},
		{"equal resources are the same", `{"service/api":{"image":"a","ports":[{"target":80}]}}`, `{"service/api":{"image":"a","ports":[{"target":80}]}}`, nil},
		{
			"another image is critical", `{"service/api":{"image":"a"}}`, `{"service/api":{"image":"b"}}`,
			[]string{`service/api modified /image ["a","b"] critical`},
		},
		{
			"another command is critical, to its element", `{"service/api":{"command":["run","fast"]}}`, `{"service/api":{"command":["run","slow"]}}`,
			[]string{`service/api modified /command/1 ["fast","slow"] critical`},
		},
		{
			"a service that is gone is critical", `{"service/api":{"image":"a"}}`, `{}`,
			[]string{`service/api missing  [{"image":"a"},null] critical`},
		},
		{
			"a volume that is gone is critical: its data went with it", `{"volume/db":{"name":"db"}}`, `{}`,
			[]string{`volume/db missing  [{"name":"db"},null] critical`},
		},
		{
			"a service that nobody asked for is a warning", `{}`, `{"service/miner":{"image":"m"}}`,
			[]string{`service/miner extra  [null,{"image":"m"}] warning`},
		},
		{
			"a resource without fields is empty, not absent", `{"volume/a":{}}`, `{}`,
			[]string{`volume/a missing  [{},null] critical`},
		},
		{
			"a label is information", `{"service/api":{"labels":{"a":"1"}}}`, `{"service/api":{"labels":{"a":"2"}}}`,
			[]string{`service/api modified /labels/a ["1","2"] info`},
		},
		{
			"a field that desired does not have any more is extra, as a whole", `{"service/api":{"image":"a"}}`, `{"service/api":{"image":"a","user":"root","environment":{"A":"1"},"command":["run"]}}`,
			[]string{
				`service/api extra /command [null,["run"]] critical`,
				`service/api extra /environment [null,{"A":"1"}] warning`,
				`service/api extra /user [null,"root"] critical`,
			},
		},
		{
			"a field that is empty is not one that is absent", `{"service/api":{}}`, `{"service/api":{"command":[]}}`,
			[]string{`service/api extra /command [null,[]] critical`},
		},
		{
			"a field that live does not have is missing", `{"service/api":{"user":"app"}}`, `{"service/api":{}}`,
			[]string{`service/api missing /user ["app",null] critical`},
		},
		{
			"keys of a map that desired has are compared both ways", `{"service/api":{"environment":{"A":"1","B":"2"}}}`, `{"service/api":{"environment":{"B":"3","C":"4"}}}`,
			[]string{
				`service/api missing /environment/A ["1",null] warning`,
				`service/api modified /environment/B ["2","3"] warning`,
				`service/api extra /environment/C [null,"4"] warning`,
			},
		},
		{
			"an extra key shows where as many are missing", `{"service/api":{"environment":{"A":"1"}}}`, `{"service/api":{"environment":{"B":"1"}}}`,
			[]string{`service/api missing /environment/A ["1",null] warning`, `service/api extra /environment/B [null,"1"] warning`},
		},
		{
			"lists of different length are compared whole", `{"service/api":{"ports":[1,2]}}`, `{"service/api":{"ports":[1]}}`,
			[]string{`service/api modified /ports [[1,2],[1]] warning`},
		},
		{
			"lists of equal length are compared by element, into their maps", `{"service/api":{"ports":[{"target":80,"published":"1"}]}}`, `{"service/api":{"ports":[{"target":80,"published":"2"}]}}`,
			[]string{`service/api modified /ports/0/published ["1","2"] warning`},
		},
		{
			"a value of another type is modified", `{"service/api":{"environment":{"A":"1"}}}`, `{"service/api":{"environment":["A=1"]}}`,
			[]string{`service/api modified /environment [{"A":"1"},["A=1"]] warning`},
		},
		{
			"null is a value", `{"service/api":{"command":null}}`, `{"service/api":{"command":[]}}`,
			[]string{`service/api modified /command [null,[]] critical`},
		},
		{
			"slashes and tildes in keys are escaped", `{"service/api":{"configs":{"/etc/~a":{"mode":"0444"}}}}`, `{"service/api":{"configs":{"/etc/~a":{"mode":"0644"}}}}`,
			[]string{`service/api modified /configs/~1etc~1~0a/mode ["0444","0644"] warning`},
		},
		{
			"resources are sorted", `{"service/b":{"a":1},"service/a":{"a":1}}`, `{"service/c":{}}`,
			[]string{`service/a missing  [{"a":1},null] critical`, `service/b missing  [{"a":1},null] critical`, `service/c extra  [null,{}] warning`},
		},

		{
			"a secret that changed says only that", `{"service/api":{"environment":{"PW":"x"},"!":["/environment/PW"]}}`, `{"service/api":{"environment":{"PW":"y"}}}`,
			[]string{`service/api modified /environment/PW [` + hidden + `,` + hidden + `] warning secret`},
		},
		{
			"what only live calls secret is secret", `{"service/api":{"environment":{"PW":"x"}}}`, `{"service/api":{"environment":{"PW":"y"},"!":["/environment/PW"]}}`,
			[]string{`service/api modified /environment/PW [` + hidden + `,` + hidden + `] warning secret`},
		},
		{"an equal secret is no difference", `{"service/api":{"environment":{"PW":"x"},"!":["/environment/PW"]}}`, `{"service/api":{"environment":{"PW":"x"}}}`, nil},
		{
			"a secret that is missing is absent on the other side", `{"service/api":{"environment":{"PW":"x"},"!":["/environment/PW"]}}`, `{"service/api":{"environment":{}}}`,
			[]string{`service/api missing /environment/PW [` + hidden + `,null] warning secret`},
		},
		{
			"a whole resource hides the secrets in it", `{"service/api":{"image":"a","environment":{"PW":"x","A":"1"},"!":["/environment/PW"]}}`, `{}`,
			[]string{`service/api missing  [{"environment":{"A":"1","PW":` + hidden + `},"image":"a"},null] critical secret`},
		},
		{
			"an extra resource hides the secrets in it", `{}`, `{"service/api":{"environment":{"PW":"x"},"!":["/environment/PW"]}}`,
			[]string{`service/api extra  [null,{"environment":{"PW":` + hidden + `}}] warning secret`},
		},
		{
			"a secret in a field that is not wanted any more is hidden", `{"service/api":{}}`, `{"service/api":{"environment":{"PW":"x","A":"1"},"!":["/environment/PW"]}}`,
			[]string{`service/api extra /environment [null,{"A":"1","PW":` + hidden + `}] warning secret`},
		},
		{
			"a list with a secret is compared and hidden whole: elements move", `{"service/api":{"command":["-p","pw"],"!":["/command/1"]}}`, `{"service/api":{"command":["pw","-p"]}}`,
			[]string{`service/api modified /command [` + hidden + `,` + hidden + `] critical secret`},
		},
		{
			"a map with a secret hides it where live has a list", `{"service/api":{"environment":{"PW":"x","A":"1"},"!":["/environment/PW"]}}`, `{"service/api":{"environment":["PW=x"]}}`,
			[]string{`service/api modified /environment [{"A":"1","PW":` + hidden + `},` + hidden + `] warning secret`},
		},
		{
			"a pointer that is not valid hides the whole resource", `{"service/api":{"environment":{"PW":"x"},"!":["environment/PW"]}}`, `{"service/api":{"environment":{"PW":"y"}}}`,
			[]string{`service/api modified  [` + hidden + `,` + hidden + `] critical secret`},
		},
		{"a resource that is all secret and equal is no difference", `{"service/api":{"environment":{"PW":"x"},"!":["~"]}}`, `{"service/api":{"environment":{"PW":"x"}}}`, nil},
	} {
		t.Run(tt.name, func(t *testing.T) {
			got := lines(drift.Compare(state(t, tt.desired), state(t, tt.live), nil, now))
			if diff := cmp.Diff(tt.want, got); diff != "" {
				t.Errorf("changes (-want +got)\n%s", diff)
			}
		})
	}
}

func TestIgnore(t *testing.T) {
	desired := state(t, `{"service/api":{"environment":{"LOG_LEVEL":"info","A":"1"}},"service/web":{"image":"w"}}`)
	live := state(t, `{"service/api":{"environment":{"LOG_LEVEL":"debug","A":"2"}}}`)
	const (
		a     = `service/api modified /environment/A ["1","2"] warning`
		level = `service/api modified /environment/LOG_LEVEL ["info","debug"] warning`
		web   = `service/web missing  [{"image":"w"},null] critical`
	)
	for _, tt := range []struct {
		name    string
		ignores []drift.Ignore
		want    []string
	}{
		{
			"a rule covers its path only",
			[]drift.Ignore{{Resource: "service/api", Path: "/environment/LOG_LEVEL", Reason: "raised during incidents"}},
			[]string{a, level + " ignored (raised during incidents)", web},
		},
		{
			"a rule covers what is below its path",
			[]drift.Ignore{{Resource: "service/*", Path: "/environment", Reason: "r"}},
			[]string{a + " ignored (r)", level + " ignored (r)", web},
		},
		{
			"a star stands for one segment",
			[]drift.Ignore{{Resource: "service/api", Path: "/*/A", Reason: "r"}},
			[]string{a + " ignored (r)", level, web},
		},
		{"a star needs a segment", []drift.Ignore{{Resource: "*/*", Path: "/environment/A/*", Reason: "r"}}, []string{a, level, web}},
		{
			"an empty path covers a resource and its absence",
			[]drift.Ignore{{Resource: "service/web", Reason: "r"}},
			[]string{a, level, web + " ignored (r)"},
		},
		{"part of a segment is not a prefix", []drift.Ignore{{Resource: "service/api", Path: "/environment/LOG", Reason: "r"}}, []string{a, level, web}},
		{"an empty resource matches nothing", []drift.Ignore{{Reason: "r"}}, []string{a, level, web}},
		{"a star in the resource does not cross the slash", []drift.Ignore{{Resource: "*", Reason: "r"}}, []string{a, level, web}},
		{"a bad pattern or path covers nothing", []drift.Ignore{{Resource: "[", Reason: "r"}, {Resource: "*/*", Path: "environment", Reason: "r"}}, []string{a, level, web}},
		{
			"an expired rule covers nothing and says so",
			[]drift.Ignore{{Resource: "service/api", Path: "/environment/A", Reason: "r", Until: now}},
			[]string{a + " (the ignore rule expired on 2026-11-23: r)", level, web},
		},
		{
			"a rule counts until the moment it ends",
			[]drift.Ignore{{Resource: "service/api", Path: "/environment/A", Reason: "r", Until: now.Add(1)}},
			[]string{a + " ignored (r)", level, web},
		},
		{"the first of two rules in force says why", []drift.Ignore{
			{Resource: "service/api", Path: "/environment/A", Reason: "first"},
			{Resource: "*/*", Path: "/environment/A", Reason: "second"},
		}, []string{a + " ignored (first)", level, web}},
		{"a rule in force wins over an expired one", []drift.Ignore{
			{Resource: "service/api", Path: "/environment/A", Reason: "old", Until: now.Add(-time.Hour)},
			{Resource: "service/api", Path: "/environment/A", Reason: "new"},
		}, []string{a + " ignored (new)", level, web}},
		{
			"a rule without a reason names itself, escaped",
			[]drift.Ignore{{Resource: "service/w?b", Path: ""}, {Resource: "service/api", Path: "/environment/A", Reason: "a\x1b[31m"}},
			[]string{a + ` ignored (a\u001B[31m)`, level, web + " ignored (ignored by the rule service/w?b )"},
		},
	} {
		t.Run(tt.name, func(t *testing.T) {
			got := drift.Compare(desired, live, tt.ignores, now)
			if diff := cmp.Diff(tt.want, lines(got)); diff != "" {
				t.Errorf("changes (-want +got)\n%s", diff)
			}
			if !drift.Drifted(got) {
				t.Error("no drift, though something is not ignored")
			}
		})
	}
	all := []drift.Ignore{{Resource: "service/*", Reason: "r"}}
	if changes := drift.Compare(desired, live, all, now); drift.Drifted(changes) || len(changes) != 3 {
		t.Errorf("everything is ignored, and yet: %v", lines(changes))
	}
}

func TestCompareLeavesItsArgumentsAlone(t *testing.T) {
	unsorted := stella.State{Resources: []stella.Resource{
		{ID: "service/b", Fields: map[string]any{"environment": map[string]any{"PW": "x"}}, Secrets: []string{"/environment/PW"}},
		{ID: "service/a", Fields: map[string]any{"image": "a"}},
		{ID: "service/a", Fields: map[string]any{"image": "second of its name"}},
	}}
	before, err := json.Marshal(unsorted)
	if err != nil {
		t.Fatal(err)
	}
	want := []string{
		`service/a missing  [{"image":"a"},null] critical`,
		`service/b missing  [{"environment":{"PW":"` + stella.SecretChanged + `"}},null] critical secret`,
	}
	if diff := cmp.Diff(want, lines(drift.Compare(unsorted, stella.State{}, nil, now))); diff != "" {
		t.Errorf("changes (-want +got)\n%s", diff)
	}
	after, err := json.Marshal(unsorted)
	if err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(string(before), string(after)); diff != "" {
		t.Errorf("Compare changed its argument\n%s", diff)
	}
}

func TestValuesThatAreNotCanonicalAreNeverEqual(t *testing.T) {
	s := stella.State{Resources: []stella.Resource{{ID: "service/a", Fields: map[string]any{"n": 1}}}}
	if got := drift.Compare(s, s, nil, now); len(got) != 1 || got[0].Class != stella.Modified {
		t.Errorf("a driver's int passed for a number: %v", lines(got))
	}
}

func TestRedact(t *testing.T) {
	s := state(t, `{"service/api":{"image":"a","environment":{"PW":"x"},"command":["-p","x"],"!":["/environment/PW","/command/1"]}}`)
	want := map[string]any{"image": "a", "environment": map[string]any{"PW": stella.SecretChanged}, "command": stella.SecretChanged}
	if diff := cmp.Diff(want, drift.Redact(s.Resources[0]).Fields); diff != "" {
		t.Errorf("fields (-want +got)\n%s", diff)
	}
	bad := stella.Resource{ID: "service/api", Fields: map[string]any{"pw": "x"}, Secrets: []string{"pw"}}
	if got := drift.Redact(bad).Fields; len(got) != 0 {
		t.Errorf("a pointer that is not valid hid nothing: %v", got)
	}
	plain := stella.Resource{ID: "service/api", Fields: map[string]any{"a": "x"}}
	if diff := cmp.Diff(plain, drift.Redact(plain)); diff != "" {
		t.Errorf("nothing is secret, and yet\n%s", diff)
	}
}

func TestAResourceWithoutFieldsIsEmpty(t *testing.T) {
	bare := stella.State{Resources: []stella.Resource{{ID: "volume/a"}}}
	if got := drift.Compare(bare, state(t, `{"volume/a":{}}`), nil, now); len(got) != 0 {
		t.Errorf("no fields and none: %v", lines(got))
	}
	want := []string{`volume/a missing  [{},null] critical`}
	if diff := cmp.Diff(want, lines(drift.Compare(bare, stella.State{}, nil, now))); diff != "" {
		t.Errorf("changes (-want +got)\n%s", diff)
	}
}
