package drift_test

import (
	"encoding/json"
	"fmt"
	"maps"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"pgregory.net/rapid"

	"github.com/stella-ops/stella"
	"github.com/stella-ops/stella/drift"
)

// Two images that are one by two names, and another.
var (
	imageA  = "r.example.com/shop/a:1@sha256:" + strings.Repeat("a", 64)
	imageA2 = "r.example.com/shop/a:2@sha256:" + strings.Repeat("a", 64)
	imageB  = "r.example.com/shop/a:1@sha256:" + strings.Repeat("b", 64)
)

// Few keys and values, so that two random states often agree in part.
func genKey() *rapid.Generator[string] {
	return rapid.SampledFrom([]string{"image", "environment", "labels", "a", "b", "", "/", "~", "~1", "*", "0"})
}

func genValue(depth int) *rapid.Generator[any] {
	return rapid.Custom(func(t *rapid.T) any {
		kinds := []string{"string", "number", "bool", "null"}
		if depth > 0 {
			kinds = append(kinds, "map", "map", "list")
		}
		switch rapid.SampledFrom(kinds).Draw(t, "kind") {
		case "map":
			return rapid.MapOfN(genKey(), genValue(depth-1), 0, 4).Draw(t, "map")
		case "list":
			return rapid.SliceOfN(genValue(depth-1), 0, 3).Draw(t, "list")
		case "number":
			return float64(rapid.IntRange(-1, 2).Draw(t, "number"))
		case "bool":
			return rapid.Bool().Draw(t, "bool")
		case "null":
			return nil
		default:
			return rapid.SampledFrom([]string{"", "x", "y", "\u2028<", imageA, imageA2, imageB}).Draw(t, "string")
		}
	})
}

func genState() *rapid.Generator[stella.State] {
	return rapid.Custom(func(t *rapid.T) stella.State {
		ids := rapid.SliceOfNDistinct(rapid.SampledFrom([]stella.ResourceID{"service/api", "service/web", "volume/data"}), 0, 3, rapid.ID).Draw(t, "ids")
		var s stella.State
		for _, id := range ids {
			fields := rapid.MapOfN(genKey(), genValue(3), 0, 4).Draw(t, "fields")
			s.Resources = append(s.Resources, stella.Resource{ID: id, Fields: fields})
		}
		return s
	})
}

// genPair is two states: unrelated ones, or one and what a few edits made of it,
// so that they differ in few places and deep down.
func genPair(t *rapid.T) (desired, live stella.State) {
	desired = genState().Draw(t, "desired")
	if rapid.IntRange(0, 2).Draw(t, "related") == 0 {
		return desired, genState().Draw(t, "live")
	}
	live = clone(desired)
	for range rapid.IntRange(0, 4).Draw(t, "edits") {
		if len(live.Resources) > 0 {
			r := rapid.SampledFrom(live.Resources).Draw(t, "edited")
			edit(t, r.Fields)
		}
	}
	return desired, live
}

// edit changes one thing somewhere in v, which is a map or a list.
func edit(t *rapid.T, v any) {
	switch v := v.(type) {
	case map[string]any:
		keys := slices.Sorted(maps.Keys(v))
		if len(keys) == 0 || rapid.IntRange(0, 4).Draw(t, "add") == 0 {
			v[genKey().Draw(t, "key")] = genValue(1).Draw(t, "value")
			return
		}
		k := rapid.SampledFrom(keys).Draw(t, "key")
		switch rapid.SampledFrom([]string{"in", "in", "set", "delete"}).Draw(t, "edit") {
		case "in":
			if isContainer(v[k]) {
				edit(t, v[k])
				return
			}
			v[k] = genValue(1).Draw(t, "value")
		case "set":
			v[k] = genValue(2).Draw(t, "value")
		default:
			delete(v, k)
		}
	case []any:
		if len(v) == 0 {
			return
		}
		i := rapid.IntRange(0, len(v)-1).Draw(t, "index")
		if isContainer(v[i]) {
			edit(t, v[i])
			return
		}
		v[i] = genValue(1).Draw(t, "value")
	}
}

func isContainer(v any) bool {
	switch v := v.(type) {
	case map[string]any:
		return true
	case []any:
		return len(v) > 0
	}
	return false
}

// genPointer is a pointer that often leads somewhere in the state, and is never
// the empty one.
func genPointer(t *rapid.T, s stella.State) string {
	var at []string
	if len(s.Resources) > 0 && rapid.IntRange(0, 4).Draw(t, "anywhere") > 0 {
		v := any(rapid.SampledFrom(s.Resources).Draw(t, "resource").Fields)
		for range rapid.IntRange(1, 4).Draw(t, "depth") {
			keys := keysOf(v)
			if len(keys) == 0 {
				break
			}
			at = append(at, rapid.SampledFrom(keys).Draw(t, "key"))
			v, _ = drift.Lookup(v, drift.Pointer(at[len(at)-1]))
		}
	}
	if len(at) == 0 {
		at = rapid.SliceOfN(genKey(), 1, 3).Draw(t, "pointer")
	}
	return drift.Pointer(at...)
}

func keysOf(v any) (keys []string) {
	switch v := v.(type) {
	case map[string]any:
		return slices.Sorted(maps.Keys(v))
	case []any:
		for i := range v {
			keys = append(keys, strconv.Itoa(i))
		}
	}
	return keys
}

func genPointers(t *rapid.T, d, l stella.State) []string {
	var all []string
	for range rapid.IntRange(1, 3).Draw(t, "secrets") {
		all = append(all, genPointer(t, []stella.State{d, l}[rapid.IntRange(0, 1).Draw(t, "of")]))
	}
	return all
}

// genIgnore is a rule that has no end, that ended this moment, or that ends the
// next.
func genIgnore() *rapid.Generator[drift.Ignore] {
	return rapid.Custom(func(t *rapid.T) drift.Ignore {
		return drift.Ignore{
			Resource: rapid.SampledFrom([]string{"service/api", "service/*", "*/*", "volume/*", "service/?pi", "["}).Draw(t, "resource"),
			Path:     drift.Pointer(rapid.SliceOfN(genKey(), 0, 2).Draw(t, "path")...),
			Reason:   rapid.SampledFrom([]string{"one", "two", "three"}).Draw(t, "reason"),
			Until:    rapid.SampledFrom([]time.Time{{}, now, now.Add(1)}).Draw(t, "until"),
		}
	})
}

// clone copies a state through JSON: what a test changes is its own.
func clone(s stella.State) stella.State {
	data, err := json.Marshal(s)
	if err != nil {
		panic(err)
	}
	var out stella.State
	if err := json.Unmarshal(data, &out); err != nil {
		panic(err)
	}
	return out
}

func TestAStateDoesNotDifferFromItself(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		s := genState().Draw(t, "state")
		if got := drift.Compare(s, clone(s), nil, now); len(got) != 0 {
			t.Fatalf("differences: %v", lines(got))
		}
	})
}

func TestOrderNeverMatters(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		d, l := genPair(t)
		ignores := rapid.SliceOfN(genIgnore(), 0, 2).Draw(t, "ignores")
		want := drift.Compare(d, l, ignores, now)
		d.Resources = rapid.Permutation(d.Resources).Draw(t, "desired's order")
		l.Resources = rapid.Permutation(l.Resources).Draw(t, "live's order")
		got := drift.Compare(d, l, ignores, now)
		if diff := cmp.Diff(want, got); diff != "" {
			t.Fatalf("changes (-want +got)\n%s", diff)
		}
		if !slices.IsSortedFunc(got, func(a, b stella.Change) int {
			return strings.Compare(string(a.Resource)+"\x00"+a.Path, string(b.Resource)+"\x00"+b.Path)
		}) {
			t.Fatalf("not sorted: %v", lines(got))
		}
	})
}

func TestApplyingTheDifferencesGivesWhatIsDesired(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		d, l := genPair(t)
		changes := drift.Compare(d, l, nil, now)
		got := apply(clone(l), changes)
		if diff := cmp.Diff(canonical(t, sortedByID(d)), canonical(t, got)); diff != "" {
			t.Fatalf("%v\nstate (-want +got)\n%s", lines(changes), diff)
		}
	})
}

// What one direction calls missing the other calls extra, at the same place.
func TestTheOtherDirectionIsTheMirrorImage(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		d, l := genPair(t)
		there, back := drift.Compare(d, l, nil, now), drift.Compare(l, d, nil, now)
		if equal := canonical(t, sortedByID(d)) == canonical(t, sortedByID(l)); equal != (len(there) == 0) || len(there) != len(back) {
			t.Fatalf("equal: %v; there: %v; back: %v", equal, lines(there), lines(back))
		}
		for i := range there {
			a, b := there[i], back[i]
			same := a.Resource == b.Resource && a.Path == b.Path && opposite(a.Class) == b.Class
			if !same || !cmp.Equal(a.Desired, b.Live) || !cmp.Equal(a.Live, b.Desired) {
				t.Fatalf("not the mirror image: %v; %v", lines(there), lines(back))
			}
		}
	})
}

func TestEqualValuesAreThoseOfEqualCanonicalJSON(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		a, b := genValue(3).Draw(t, "a"), genValue(3).Draw(t, "b")
		one := stella.State{Resources: []stella.Resource{{ID: "service/a", Fields: map[string]any{"v": a}}}}
		two := stella.State{Resources: []stella.Resource{{ID: "service/a", Fields: map[string]any{"v": b}}}}
		there, back := drift.Compare(one, two, nil, now), drift.Compare(two, one, nil, now)
		if equal := canonical(t, one) == canonical(t, two); (len(there) == 0) != equal || (len(back) == 0) != equal {
			t.Fatalf("canonical JSON equal: %v; there: %v; back: %v", equal, lines(there), lines(back))
		}
		for i := range there {
			if there[i].Path != back[i].Path || opposite(there[i].Class) != back[i].Class {
				t.Fatalf("not the mirror image: %v; %v", lines(there), lines(back))
			}
		}
	})
}

func TestIgnoresOnlyEverIgnoreMore(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		d, l := genPair(t)
		some := rapid.SliceOfN(genIgnore(), 0, 3).Draw(t, "ignores")
		more := append(slices.Clone(some), genIgnore().Draw(t, "one more"))
		few, many := drift.Compare(d, l, some, now), drift.Compare(d, l, more, now)
		if len(few) != len(many) {
			t.Fatalf("a rule changed what differs: %v; %v", lines(few), lines(many))
		}
		for i := range few {
			if few[i].Ignored && !many[i].Ignored {
				t.Fatalf("one more rule, and this counts again: %v", lines(many[i:i+1]))
			}
			few[i].Ignored, few[i].Reason, many[i].Ignored, many[i].Reason = false, "", false, ""
		}
		if diff := cmp.Diff(few, many); diff != "" {
			t.Fatalf("a rule changed what differs\n%s", diff)
		}
	})
}

func TestSecretsNeverShow(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		d, l := genPair(t)
		pointers := genPointers(t, d, l)
		onDesired := rapid.Bool().Draw(t, "desired says so")
		for i := range d.Resources {
			plant(&d.Resources[i], pointers, onDesired, "canary-desired")
		}
		for i := range l.Resources {
			plant(&l.Resources[i], pointers, !onDesired, "canary-live")
			// What only one side has, that side must call secret.
			if _, ok := d.Resource(l.Resources[i].ID); !ok {
				l.Resources[i].Secrets = pointers
			}
		}
		for i := range d.Resources {
			if _, ok := l.Resource(d.Resources[i].ID); !ok {
				d.Resources[i].Secrets = pointers
			}
		}
		got, err := json.Marshal(drift.Compare(d, l, nil, now))
		if err != nil {
			t.Fatal(err)
		}
		if strings.Contains(string(got), "canary") {
			t.Fatalf("secrets at %v: %s", pointers, got)
		}
		for _, r := range append(d.Resources, l.Resources...) {
			r.Secrets = pointers
			if shown := canonical(t, drift.Redact(r).Fields); strings.Contains(shown, "canary") {
				t.Fatalf("Redact: secrets at %v: %s", pointers, shown)
			}
		}
	})
}

// plant puts a canary wherever a pointer leads, and lists the pointers.
func plant(r *stella.Resource, pointers []string, list bool, canary string) {
	for _, p := range pointers {
		if _, ok := drift.Lookup(r.Fields, p); ok {
			set(r.Fields, p, canary)
		}
	}
	if list {
		r.Secrets = pointers
	}
}

func opposite(c stella.Class) stella.Class {
	return map[stella.Class]stella.Class{stella.Missing: stella.Extra, stella.Extra: stella.Missing, stella.Modified: stella.Modified}[c]
}

func canonical(t *rapid.T, v any) string {
	data, err := drift.Canonical(v)
	if err != nil {
		t.Fatal(err)
	}
	return string(data)
}

// apply carries out differences on a state of which it owns all values.
func apply(s stella.State, changes []stella.Change) stella.State {
	byID := map[stella.ResourceID]map[string]any{}
	for _, r := range s.Resources {
		byID[r.ID] = r.Fields
	}
	for _, c := range changes {
		switch {
		case c.Path == "" && c.Class == stella.Extra:
			delete(byID, c.Resource)
		case c.Path == "":
			byID[c.Resource] = c.Desired.(map[string]any)
		case c.Class == stella.Extra:
			set(byID[c.Resource], c.Path, remove{})
		default:
			set(byID[c.Resource], c.Path, c.Desired)
		}
	}
	return fromMap(byID)
}

func sortedByID(s stella.State) stella.State {
	byID := map[stella.ResourceID]map[string]any{}
	for _, r := range s.Resources {
		byID[r.ID] = r.Fields
	}
	return fromMap(byID)
}

func fromMap(byID map[stella.ResourceID]map[string]any) stella.State {
	var s stella.State
	for id, fields := range byID {
		s.Resources = append(s.Resources, stella.Resource{ID: id, Fields: fields})
	}
	slices.SortFunc(s.Resources, func(a, b stella.Resource) int { return strings.Compare(string(a.ID), string(b.ID)) })
	return s
}

type remove struct{}

// set puts value where the pointer says; its parent exists.
func set(root map[string]any, pointer string, value any) {
	segments, err := drift.ParsePointer(pointer)
	if err != nil {
		panic(err)
	}
	last := segments[len(segments)-1]
	parent, ok := drift.Lookup(root, drift.Pointer(segments[:len(segments)-1]...))
	if !ok {
		panic(fmt.Sprintf("%s leads nowhere in %v", pointer, root))
	}
	switch parent := parent.(type) {
	case map[string]any:
		if _, ok := value.(remove); ok {
			delete(parent, last)
			return
		}
		parent[last] = value
	case []any:
		i, err := strconv.Atoi(last)
		if err != nil {
			panic(err)
		}
		parent[i] = value
	}
}
