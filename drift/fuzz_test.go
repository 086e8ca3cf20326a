package drift_test

import (
	"bytes"
	"encoding/json"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/stella-ops/stella"
	"github.com/stella-ops/stella/drift"
)

func FuzzCompare(f *testing.F) {
	f.Add(`{"image":"a"}`, `{"image":"b"}`, "/image", "/image")
	f.Add(`{"environment":{"A":"1"}}`, `{"environment":{"B":"1"}}`, "/environment/A", "/environment/*")
	f.Add(`{"ports":[{"target":80}]}`, `{"ports":[{"target":81},null]}`, "/ports/0", "")
	f.Add(`{"a":null,"~":{"/":[]}}`, `{"a":[],"~":1}`, "/~0/~1", "x")
	f.Fuzz(func(t *testing.T, desired, live, secret, ignore string) {
		var d, l map[string]any
		if json.Unmarshal([]byte(desired), &d) != nil || json.Unmarshal([]byte(live), &l) != nil {
			return
		}
		ds := stella.State{Resources: []stella.Resource{{ID: "service/a", Fields: d, Secrets: []string{secret}}}}
		ls := stella.State{Resources: []stella.Resource{{ID: "service/a", Fields: l}}}
		got := drift.Compare(ds, ls, []drift.Ignore{{Resource: "service/*", Path: ignore}}, now)
		for _, c := range got {
			if _, err := drift.ParsePointer(c.Path); err != nil {
				t.Errorf("path: %v", err)
			}
			if v, ok := drift.Lookup(d, c.Path); ok != (c.Class != stella.Extra) {
				t.Errorf("%s %s: desired has %v", c.Class, c.Path, v)
			}
			if v, ok := drift.Lookup(l, c.Path); ok != (c.Class != stella.Missing) {
				t.Errorf("%s %s: live has %v", c.Class, c.Path, v)
			}
		}
		if diff := cmp.Diff(got, drift.Compare(ds, ls, []drift.Ignore{{Resource: "service/*", Path: ignore}}, now)); diff != "" {
			t.Errorf("two comparisons differ\n%s", diff)
		}
		one, err1 := drift.Canonical(d)
		two, err2 := drift.Canonical(l)
		if err1 == nil && err2 == nil && len(d) > 0 && (len(got) == 0) != bytes.Equal(one, two) && len(l) > 0 {
			t.Errorf("%s against %s: %v", one, two, lines(got))
		}
		if same := drift.Compare(ds, ds, nil, now); len(same) != 0 {
			t.Errorf("a state differs from itself: %v", lines(same))
		}
	})
}

// FuzzPointer holds the pointers and the ignores' matcher against a plain
// model: one path covers another when its escaped text is a prefix of it at a
// slash.
func FuzzPointer(f *testing.F) {
	f.Add("/environment/A", "environment", "A")
	f.Add("/environment", "environment", "A/b~c")
	f.Add("", "a", "b")
	f.Add("/a~1b", "a/b", "")
	f.Add("/~2", "~2", "*")
	f.Fuzz(func(t *testing.T, rule, one, two string) {
		segments, err := drift.ParsePointer(rule)
		if err == nil && drift.Pointer(segments...) != rule {
			t.Fatalf("%q reads as %q and writes as %q", rule, segments, drift.Pointer(segments...))
		}
		path := drift.Pointer(one, two)
		if back, err := drift.ParsePointer(path); err != nil || len(back) != 2 || back[0] != one || back[1] != two {
			t.Fatalf("Pointer(%q, %q) = %q, reads as %q, %v", one, two, path, back, err)
		}
		d := stella.State{Resources: []stella.Resource{{ID: "service/a", Fields: map[string]any{one: map[string]any{two: "x"}}}}}
		l := stella.State{Resources: []stella.Resource{{ID: "service/a", Fields: map[string]any{one: map[string]any{two: "y"}}}}}
		got := drift.Compare(d, l, []drift.Ignore{{Resource: "service/a", Path: rule}}, now)
		if len(got) != 1 || got[0].Path != path {
			t.Fatalf("changes: %v, want one at %q", lines(got), path)
		}
		for i, s := range segments {
			if s == "*" && i < 2 {
				segments[i] = []string{one, two}[i]
			}
		}
		want := err == nil && (path == drift.Pointer(segments...) || strings.HasPrefix(path, drift.Pointer(segments...)+"/"))
		if got[0].Ignored != want {
			t.Fatalf("rule %q on %q: ignored is %v, want %v", rule, path, got[0].Ignored, want)
		}
	})
}
