package drift_test

import (
	"errors"
	"math"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/stella-ops/stella"
	"github.com/stella-ops/stella/drift"
)

func TestCanonical(t *testing.T) {
	for _, tt := range []struct {
		name string
		in   any
		want string
	}{
		{"keys are sorted at every depth", map[string]any{"b": map[string]any{"z": nil, "a": true}, "a": []any{}}, `{"a":[],"b":{"a":true,"z":null}}`},
		{"nothing is escaped for HTML", "a<b>&c", `"a<b>&c"`},
		{"whole numbers have no fraction", 30.0, `30`},
		{"minus zero is zero", math.Copysign(0, -1), `0`},
		{"structs are read as encoding/json writes them", stella.Resource{ID: "service/a", Fields: map[string]any{"b": 1, "a": 2}}, `{"fields":{"a":2,"b":1},"id":"service/a"}`},
		{"whole numbers of any type are numbers", []int{1, 2}, `[1,2]`},
	} {
		t.Run(tt.name, func(t *testing.T) {
			got, err := drift.Canonical(tt.in)
			if err != nil {
				t.Fatal(err)
			}
			if string(got) != tt.want {
				t.Errorf("got %s, want %s", got, tt.want)
			}
		})
	}
}

func TestCanonicalRefusesWhatIsNotJSON(t *testing.T) {
	for _, v := range []any{math.NaN(), math.Inf(1), make(chan int), map[string]any{"f": func() {}}} {
		if _, err := drift.Canonical(v); !errors.Is(err, stella.ErrInvalid) {
			t.Errorf("%v: %v, want ErrInvalid", v, err)
		}
		if _, err := drift.Digest(v); !errors.Is(err, stella.ErrInvalid) {
			t.Errorf("digest of %v: %v, want ErrInvalid", v, err)
		}
	}
}

func TestDigestIsOfTheCanonicalLines(t *testing.T) {
	got, err := drift.Digest(map[string]any{"b": 1.0, "a": "x"})
	if err != nil {
		t.Fatal(err)
	}
	// printf '{"a":"x","b":1}\n' | sha256sum
	const want = stella.Digest("sha256:b9726bbcdf05823038cfdf7612b50329709a519a5da6f1ac21671f6b5dd31dc2")
	if got != want {
		t.Errorf("got %s, want %s", got, want)
	}
	joined, err1 := drift.Digest("a", "b")
	list, err2 := drift.Digest([]any{"a", "b"})
	if err := errors.Join(err1, err2); err != nil {
		t.Fatal(err)
	}
	if joined == list {
		t.Error("several values and a list of them have one digest")
	}
}

func TestPointer(t *testing.T) {
	for _, tt := range []struct {
		pointer  string
		segments []string
	}{
		// RFC 6901, section 5.
		{"", nil},
		{"/foo", []string{"foo"}},
		{"/foo/0", []string{"foo", "0"}},
		{"/", []string{""}},
		{"/a~1b", []string{"a/b"}},
		{"/m~0n", []string{"m~n"}},
		{"/~01", []string{"~1"}},
	} {
		got, err := drift.ParsePointer(tt.pointer)
		if err != nil {
			t.Fatal(err)
		}
		if diff := cmp.Diff(tt.segments, got); diff != "" {
			t.Errorf("ParsePointer(%q) (-want +got)\n%s", tt.pointer, diff)
		}
		if got := drift.Pointer(tt.segments...); got != tt.pointer {
			t.Errorf("Pointer(%q) = %q, want %q", tt.segments, got, tt.pointer)
		}
	}
	for _, bad := range []string{"a", "#/a", "/~", "/~2", "/a~"} {
		if _, err := drift.ParsePointer(bad); !errors.Is(err, stella.ErrInvalid) {
			t.Errorf("ParsePointer(%q): %v, want ErrInvalid", bad, err)
		}
	}
}

func TestLookup(t *testing.T) {
	v := map[string]any{"a/b": []any{"x", map[string]any{"": "deep"}}, "s": "text"}
	for pointer, want := range map[string]any{"": v, "/a~1b/0": "x", "/a~1b/1/": "deep", "/s": "text"} {
		got, ok := drift.Lookup(v, pointer)
		if diff := cmp.Diff(want, got); !ok || diff != "" {
			t.Errorf("Lookup(%q): %v (-want +got)\n%s", pointer, ok, diff)
		}
	}
	for _, pointer := range []string{"/x", "/a~1b/2", "/a~1b/-1", "/a~1b/01", "/a~1b/+1", "/s/0", "s"} {
		if got, ok := drift.Lookup(v, pointer); ok {
			t.Errorf("Lookup(%q) found %v", pointer, got)
		}
	}
}
