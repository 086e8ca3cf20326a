package drift_test

import (
	"encoding/json"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/stella-ops/stella"
	"github.com/stella-ops/stella/drift"
)

// FuzzDiff holds any two states against the laws of a comparison: a thing does
// not differ from itself, what differs lies where it is said to, and carrying
// the differences out gives what is desired.
func FuzzDiff(f *testing.F) {
	f.Add(`{"service/a":{"image":"a"}}`, `{"service/a":{"image":"b"},"volume/x":{}}`)
	f.Add(`{"service/a":{"environment":{"A":"1"}}}`, `{"service/a":{"environment":{"B":"1"}}}`)
	f.Add(`{"service/a":{"ports":[{"target":80}]}}`, `{"service/a":{"ports":[{"target":81},null]}}`)
	f.Add(`{"":{"a":null,"~":{"/":[]}}}`, `{"":{"a":[],"~":{"/":[[1,-0],{}]}}}`)
	f.Add(`{"service/a":{"image":"r.example.com/a:1@sha256:`+strings.Repeat("a", 64)+`"}}`, `{"service/a":{"image":"r.example.com/a:2@sha256:`+strings.Repeat("a", 64)+`"}}`)
	f.Fuzz(func(t *testing.T, desired, live string) {
		d, l, ok := readStates(desired, live)
		if !ok {
			return
		}
		there, back := drift.Compare(d, l, nil, now), drift.Compare(l, d, nil, now)
		if diff := cmp.Diff(text(t, d), text(t, apply(clone(l), there))); diff != "" {
			t.Errorf("%v\nlive with the differences carried out (-want +got)\n%s", lines(there), diff)
		}
		if diff := cmp.Diff(text(t, l), text(t, apply(clone(d), back))); diff != "" {
			t.Errorf("%v\ndesired with the differences carried out (-want +got)\n%s", lines(back), diff)
		}
		if (len(there) == 0) != (text(t, d) == text(t, l)) || len(there) != len(back) {
			t.Errorf("there %v, back %v", lines(there), lines(back))
		}
		for _, c := range there {
			wantPlaced(t, c, d, l)
		}
		for _, s := range []stella.State{d, l} {
			if same := drift.Compare(s, clone(s), nil, now); len(same) != 0 {
				t.Errorf("a state differs from itself: %v", lines(same))
			}
		}
	})
}

// wantPlaced wants a change to lie where it says, with the values of there.
func wantPlaced(t *testing.T, c stella.Change, d, l stella.State) {
	t.Helper()
	for _, side := range []struct {
		state  stella.State
		value  any
		absent stella.Class
	}{{d, c.Desired, stella.Extra}, {l, c.Live, stella.Missing}} {
		r, found := side.state.Resource(c.Resource)
		v, has := drift.Lookup(any(r.Fields), c.Path)
		if found && has != (c.Class != side.absent) {
			t.Errorf("%s %s%s: there is %v", c.Class, c.Resource, c.Path, v)
		} else if found && has && c.Path != "" && !cmp.Equal(v, side.value) {
			t.Errorf("%s %s%s: has %v, says %v", c.Class, c.Resource, c.Path, v, side.value)
		}
	}
}

func readStates(desired, live string) (d, l stella.State, ok bool) {
	read := func(text string) (s stella.State, err error) {
		var byID map[stella.ResourceID]map[string]any
		if err = json.Unmarshal([]byte(text), &byID); err != nil {
			return s, err
		}
		for id, fields := range byID {
			if fields == nil {
				byID[id] = map[string]any{} // a resource without fields is empty, not absent
			}
		}
		return fromMap(byID), nil
	}
	d, err := read(desired)
	if err != nil {
		return d, l, false
	}
	l, err = read(live)
	return d, l, err == nil
}

// text is a state in canonical JSON.
func text(t *testing.T, s stella.State) string {
	t.Helper()
	data, err := drift.Canonical(sortedByID(s))
	if err != nil {
		t.Fatal(err)
	}
	return string(data)
}

// FuzzSecrets plants a canary wherever a pointer leads on either side, and looks
// for it in all that a difference says.
func FuzzSecrets(f *testing.F) {
	f.Add(`{"service/a":{"environment":{"PW":"x","A":1}}}`, `{"service/a":{"environment":{"PW":"y"}}}`, "/environment/PW")
	f.Add(`{"service/a":{"command":["-p","x"]}}`, `{"service/a":{"command":["x","-p"]}}`, "/command/1")
	f.Add(`{"service/a":{"":{"~":"x"}}}`, `{}`, "//~0")
	f.Add(`{"service/a":{"a":"x"}}`, `{"service/a":{"a":"y"}}`, "a")
	f.Fuzz(func(t *testing.T, desired, live, secret string) {
		if strings.Contains(desired+live+secret, "canary") {
			return
		}
		d, l, ok := readStates(desired, live)
		if !ok {
			return
		}
		for i, s := range []stella.State{d, l} {
			for j := range s.Resources {
				plantOne(&s.Resources[j], secret, []string{"canary-desired", "canary-live"}[i])
			}
		}
		changes := drift.Compare(d, l, nil, now)
		said := []any{changes}
		for _, c := range changes {
			said = append(said, drift.Explain(c, drift.Terms{Now: now}))
		}
		for _, r := range append(d.Resources, l.Resources...) {
			said = append(said, drift.Redact(r))
		}
		all, err := json.Marshal(said)
		if err != nil {
			t.Fatal(err)
		}
		if strings.Contains(string(all), "canary") {
			t.Errorf("secret at %q: %s", secret, all)
		}
	})
}

// plantOne puts the canary where the pointer leads; a pointer that is not valid
// makes all of the resource a secret.
func plantOne(r *stella.Resource, pointer, canary string) {
	r.Secrets = []string{pointer}
	if _, ok := naivePointer(pointer); !ok || pointer == "" {
		r.Fields["canary"] = canary
		return
	}
	if _, ok := drift.Lookup(r.Fields, pointer); ok {
		set(r.Fields, pointer, canary)
	}
}

// FuzzPointer holds pointers against a plain reading of RFC 6901.
func FuzzPointer(f *testing.F) {
	for _, seed := range []string{"", "/", "/environment/A", "/a~1b/~01", "/~2", "/a~", "a", "//", "/*/\xff"} {
		f.Add(seed, "A/b~c")
	}
	f.Fuzz(func(t *testing.T, pointer, name string) {
		want, valid := naivePointer(pointer)
		got, err := drift.ParsePointer(pointer)
		if (err == nil) != valid || valid && !cmp.Equal(want, got) {
			t.Fatalf("%q reads as %q, %v, want %q, %v", pointer, got, err, want, valid)
		}
		if valid && drift.Pointer(got...) != pointer {
			t.Fatalf("%q reads as %q and writes as %q", pointer, got, drift.Pointer(got...))
		}
		if !valid {
			return
		}
		// It finds what was put there.
		value := any("here")
		for _, segment := range slices.Backward(got) {
			value = map[string]any{segment: value}
		}
		if v, ok := drift.Lookup(value, pointer); !ok || v != "here" {
			t.Fatalf("Lookup(%q) of what is there: %v, %v", pointer, v, ok)
		}
		below := append(slices.Clip(got), name)
		if v, ok := drift.Lookup(value, drift.Pointer(below...)); ok {
			t.Fatalf("Lookup(%q) found %v", drift.Pointer(below...), v)
		}
	})
}

// FuzzIgnore holds the matcher of ignore rules against a plain reading of what
// they say.
func FuzzIgnore(f *testing.F) {
	f.Add("service/a", "/environment/A", "service/a", "environment", "A")
	f.Add("service/*", "/environment", "service/a", "environment", "A/b~c")
	f.Add("*/?", "", "service/a", "a", "b")
	f.Add("service/*", "/*/b", "service/a/b", "*", "b")
	f.Add("service/a", "/a~1b", "service/a", "a/b", "")
	f.Add("[", "/~2", "[", "~2", "*")
	f.Fuzz(func(t *testing.T, pattern, rule, id, one, two string) {
		in := func(v string) stella.State {
			return stella.State{Resources: []stella.Resource{{
				ID: stella.ResourceID(id), Fields: map[string]any{one: map[string]any{two: v, two + "'": "same"}},
			}}}
		}
		ig := drift.Ignore{Resource: pattern, Path: rule}
		for _, pair := range [][2]stella.State{{in("x"), in("y")}, {in("x"), {}}, {{}, in("y")}} {
			got := drift.Compare(pair[0], pair[1], []drift.Ignore{ig}, now)
			if len(got) != 1 {
				t.Fatalf("changes: %v, want one", lines(got))
			}
			if want := naiveCovers(ig, got[0]); got[0].Ignored != want || ig.Covers(got[0]) != want {
				t.Fatalf("rule %q %q on %s%s: ignored is %v, want %v", pattern, rule, id, got[0].Path, got[0].Ignored, want)
			}
		}
	})
}
