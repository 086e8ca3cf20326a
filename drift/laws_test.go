package drift_test

import (
	"bytes"
	"encoding/json"
	"maps"
	"slices"
	"strconv"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"pgregory.net/rapid"

	"github.com/stella-ops/stella"
	"github.com/stella-ops/stella/drift"
)

// How a state was written, and in which order its maps were filled, is nothing
// that anyone asked for.
func TestFormattingNeverMatters(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		d, l := genPair(t)
		again, err := drift.Value(rewritten(t, d))
		if err != nil {
			t.Fatal(err)
		}
		data, err := json.Marshal(again)
		if err != nil {
			t.Fatal(err)
		}
		var other stella.State
		if err := json.Unmarshal(data, &other); err != nil {
			t.Fatal(err)
		}
		if got := drift.Compare(d, other, nil, now); len(got) != 0 {
			t.Fatalf("written differently, and different: %v", lines(got))
		}
		if diff := cmp.Diff(lines(drift.Compare(d, l, nil, now)), lines(drift.Compare(other, l, nil, now))); diff != "" {
			t.Fatalf("changes (-want +got)\n%s", diff)
		}
		if one, two := canonical(t, sortedByID(d)), canonical(t, sortedByID(other)); one != two {
			t.Fatalf("canonical JSON: %s and %s", one, two)
		}
	})
}

// rewritten is a state as another hand would write it: with other space, other
// escapes, numbers in another form, and members in another order.
func rewritten(t *rapid.T, s stella.State) json.RawMessage {
	var b bytes.Buffer
	space := func() { b.WriteString(rapid.SampledFrom([]string{"", " ", "\n\t"}).Draw(t, "space")) }
	quote := func(text string) {
		b.WriteByte('"')
		for _, r := range text {
			if r < 0x80 && (r == '"' || r == '\\' || rapid.Bool().Draw(t, "escaped")) {
				b.WriteString(`\u` + strings.ToUpper(strconv.FormatInt(0x10000+int64(r), 16)[1:]))
			} else {
				b.WriteRune(r)
			}
		}
		b.WriteByte('"')
	}
	var write func(v any)
	write = func(v any) {
		space()
		switch v := v.(type) {
		case map[string]any:
			b.WriteByte('{')
			for i, k := range rapid.Permutation(slices.Sorted(maps.Keys(v))).Draw(t, "order") {
				if i > 0 {
					b.WriteByte(',')
				}
				quote(k)
				b.WriteByte(':')
				write(v[k])
			}
			b.WriteByte('}')
		case []any:
			b.WriteByte('[')
			for i, e := range v {
				if i > 0 {
					b.WriteByte(',')
				}
				write(e)
			}
			b.WriteByte(']')
		case float64:
			b.WriteString(strconv.FormatFloat(v, rapid.SampledFrom([]byte("eEf")).Draw(t, "form"), 3, 64))
		case string:
			quote(v)
		default:
			data, err := json.Marshal(v)
			if err != nil {
				t.Fatal(err)
			}
			b.Write(data)
		}
		space()
	}
	resources := []any{}
	for _, r := range s.Resources {
		resources = append(resources, map[string]any{"id": string(r.ID), "fields": r.Fields})
	}
	write(map[string]any{"resources": resources})
	return b.Bytes()
}

// A rule hides what it says and nothing else; what it hides is there all the
// same, and in which order rules are written changes at most the words.
func TestARuleHidesWhatItSaysAndNothingElse(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		d, l := genPair(t)
		rules := rapid.SliceOfN(genIgnore(), 0, 4).Draw(t, "ignores")
		bare, got := drift.Compare(d, l, nil, now), drift.Compare(d, l, rules, now)
		turned := drift.Compare(d, l, rapid.Permutation(rules).Draw(t, "other order"), now)
		if len(bare) != len(got) || len(got) != len(turned) {
			t.Fatalf("rules changed what differs: %v; %v", lines(bare), lines(got))
		}
		for i, c := range got {
			want := bare[i].Ignored // by what needs no rule
			for _, ig := range rules {
				want = want || !ig.Until.Equal(now) && naiveCovers(ig, c)
			}
			if c.Ignored != want || turned[i].Ignored != want {
				t.Fatalf("ignored: %v, %v in another order, want %v: %v", c.Ignored, turned[i].Ignored, want, lines(got[i:i+1]))
			}
		}
	})
}

// The explanation agrees with the change, by whatever rules.
func TestTheExplanationAgreesWithTheChange(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		d, l := genPair(t)
		rules := rapid.SliceOfN(genIgnore(), 0, 4).Draw(t, "ignores")
		changes := drift.Compare(d, l, rules, now)
		for _, c := range changes {
			x := drift.Explain(c, drift.Terms{Ignores: rules, Now: now})
			inForce := x.Ignore != nil && !x.Ignore.Expired
			if c.Ignored != inForce || (c.Reason != "") != (x.Ignore != nil) || x.Ignore != nil && !strings.HasSuffix(c.Reason, x.Ignore.Reason) {
				t.Fatalf("change %v, explanation %+v", lines([]stella.Change{c}), x)
			}
			if !strings.HasPrefix(x.Words[1], "It is "+string(c.Severity)+" by the rule \""+x.Rule+"\"") || len(x.Words) != 3 {
				t.Fatalf("change %v, explanation %+v", lines([]stella.Change{c}), x)
			}
			if drift.Pointer(x.Field...) != c.Path {
				t.Fatalf("%s is explained as %q", c.Path, x.Field)
			}
			has := map[stella.Class]drift.Side{stella.Missing: drift.OnlyDesired, stella.Extra: drift.OnlyLive, stella.Modified: drift.BothSides}
			if x.Side != has[c.Class] {
				t.Fatalf("%s is explained as on %s", c.Class, x.Side)
			}
		}
		var unused []drift.Ignore
		for _, ig := range rules {
			if !ig.Until.Equal(now) && !slices.ContainsFunc(changes, func(c stella.Change) bool { return naiveCovers(ig, c) }) {
				unused = append(unused, ig)
			}
		}
		if diff := cmp.Diff(unused, drift.Unused(rules, changes, now)); diff != "" {
			t.Fatalf("unused rules (-want +got)\n%s", diff)
		}
	})
}

// A resource that the other side has by the same id is compared with that and
// with no other, so that what one resource is never depends on the others.
func TestResourcesAreComparedOneByOne(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		d, l := genPair(t)
		var one []stella.Change
		for _, id := range []stella.ResourceID{"service/api", "service/web", "volume/data"} {
			one = append(one, drift.Compare(only(d, id), only(l, id), nil, now)...)
		}
		if diff := cmp.Diff(one, drift.Compare(d, l, nil, now)); diff != "" {
			t.Fatalf("changes (-one by one +together)\n%s", diff)
		}
	})
}

func only(s stella.State, id stella.ResourceID) stella.State {
	r, ok := s.Resource(id)
	if !ok {
		return stella.State{}
	}
	return stella.State{Resources: []stella.Resource{r}}
}

// Of resources with equal ids the first counts, wherever the others stand.
func TestTheFirstOfItsNameCounts(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		d, l := genPair(t)
		want := drift.Compare(d, l, nil, now)
		for _, s := range []*stella.State{&d, &l} {
			for range rapid.IntRange(0, 20).Draw(t, "more") {
				if len(s.Resources) == 0 {
					break
				}
				i := rapid.IntRange(0, len(s.Resources)-1).Draw(t, "of")
				second := stella.Resource{ID: s.Resources[i].ID, Fields: map[string]any{"second": "of its name"}}
				s.Resources = slices.Insert(s.Resources, rapid.IntRange(i+1, len(s.Resources)).Draw(t, "at"), second)
			}
		}
		if diff := cmp.Diff(want, drift.Compare(d, l, nil, now)); diff != "" {
			t.Fatalf("changes (-want +got)\n%s", diff)
		}
	})
}

// What is secret is hidden, and nothing besides: every value is shown as a plain
// reading of the pointers has it.
func TestWhatIsNoSecretIsShown(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		d, l := genPair(t)
		pointers := genPointers(t, d, l)
		for i := range d.Resources {
			d.Resources[i].Secrets = pointers
		}
		for i := range l.Resources {
			// One side is enough where there are both.
			if _, both := d.Resource(l.Resources[i].ID); !both {
				l.Resources[i].Secrets = pointers
			}
		}
		for _, c := range drift.Compare(d, l, nil, now) {
			secret := false
			for _, side := range []struct {
				state  stella.State
				says   any
				absent stella.Class
			}{{d, c.Desired, stella.Extra}, {l, c.Live, stella.Missing}} {
				var want any
				if c.Class != side.absent {
					r, _ := side.state.Resource(c.Resource)
					v, _ := drift.Lookup(any(r.Fields), c.Path)
					at, _ := naivePointer(c.Path)
					var hides bool
					want, hides = naiveShow(v, at, pointers)
					secret = secret || hides
				}
				if diff := cmp.Diff(want, side.says); diff != "" {
					t.Fatalf("secrets %q, %s %s%s (-want +got)\n%s", pointers, c.Class, c.Resource, c.Path, diff)
				}
			}
			if c.Secret != secret {
				t.Fatalf("secrets %q: %v", pointers, lines([]stella.Change{c}))
			}
		}
	})
}
