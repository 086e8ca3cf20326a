package drift

import (
	"cmp"
	"slices"
	"strconv"
	"time"

	"github.com/stella-ops/stella"
)

// Compare returns the differences between what is desired and what is live,
// sorted by resource and path; nil where there are none.
//
// Fields are compared both ways, at every depth: what only the live side has,
// be it a whole field or a key in an environment, is a difference of class
// extra, since whoever takes it out of a file wants it gone. What a runtime
// fills in by itself is no field of a live resource, see stella.Resource. Maps
// are compared key by key, lists element by element where they are equally long
// and as one value otherwise. A resource that only one side has is one
// difference with an empty path. A value that is not canonical JSON equals
// nothing.
//
// Differences that a rule covers are returned with Ignored set. Secret values
// are compared as they stand and never returned. Values in the result are
// shared with the states: do not modify them. The states need not be sorted;
// of resources with equal ids the first counts.
func Compare(desired, live stella.State, ignores []Ignore, now time.Time) []stella.Change {
	w := walk{severities: severityRules(), rules: prepare(ignores, now)}
	ds, ls := sorted(desired.Resources), sorted(live.Resources)
	for len(ds) > 0 || len(ls) > 0 {
		var d, l *stella.Resource
		order := -1
		switch {
		case len(ds) == 0:
			order = 1
		case len(ls) > 0:
			order = cmp.Compare(ds[0].ID, ls[0].ID)
		}
		if order <= 0 {
			d, ds = &ds[0], ds[1:]
		}
		if order >= 0 {
			l, ls = &ls[0], ls[1:]
		}
		w.resource(d, l)
	}
	return w.changes
}

// Drifted reports whether any of the changes counts: whether one is not
// ignored.
func Drifted(changes []stella.Change) bool {
	return slices.ContainsFunc(changes, func(c stella.Change) bool { return !c.Ignored })
}

// sorted returns the resources by id and unique, the argument itself where it
// is so already.
func sorted(rs []stella.Resource) []stella.Resource {
	if strictlySorted(rs) {
		return rs
	}
	rs = slices.Clone(rs)
	slices.SortStableFunc(rs, func(a, b stella.Resource) int { return cmp.Compare(a.ID, b.ID) })
	return slices.CompactFunc(rs, func(a, b stella.Resource) bool { return a.ID == b.ID })
}

func strictlySorted(rs []stella.Resource) bool {
	for i := 1; i < len(rs); i++ {
		if rs[i-1].ID >= rs[i].ID {
			return false
		}
	}
	return true
}

// walk is one comparison under way. It is used by one goroutine.
type walk struct {
	severities []severityRule
	rules      []rule
	changes    []stella.Change

	id   stella.ResourceID // of the resource that is compared
	path []string          // where in it, unescaped
}

// resource compares one resource; one side may be nil.
func (w *walk) resource(d, l *stella.Resource) {
	first := len(w.changes)
	switch {
	case l == nil:
		w.id = d.ID
		w.add(stella.Missing, whole(d), nil, secretTree(d.Secrets))
	case d == nil:
		w.id = l.ID
		w.add(stella.Extra, nil, whole(l), secretTree(l.Secrets))
	case equalMaps(d.Fields, l.Fields):
		return // most resources are; no path and no secret needs to be known for that
	default:
		w.id = d.ID
		w.fields(d.Fields, l.Fields, secretTree(d.Secrets, l.Secrets))
	}
	found := w.changes[first:]
	if len(found) == 0 {
		return
	}
	slices.SortFunc(found, func(a, b stella.Change) int { return cmp.Compare(a.Path, b.Path) })
	judge(found, w.id, w.rules)
}

// whole is a resource's value: without fields it is empty, not absent.
func whole(r *stella.Resource) any {
	if r.Fields == nil {
		return map[string]any{}
	}
	return r.Fields
}

// fields compares the fields of one resource. Without fields it is empty, not
// absent.
func (w *walk) fields(d, l map[string]any, n *secretNode) {
	if n != nil && n.secret {
		if !equal(d, l) {
			w.add(stella.Modified, d, l, n)
		}
		return
	}
	w.maps(d, l, n)
}

// key compares the value dv that desired has under k with live's.
func (w *walk) key(k string, dv any, l map[string]any, n *secretNode) {
	lv, ok := l[k]
	w.path = append(w.path, k)
	if ok {
		w.value(dv, lv, n.child(k))
	} else {
		w.add(stella.Missing, dv, nil, n.child(k))
	}
	w.path = w.path[:len(w.path)-1]
}

func (w *walk) value(d, l any, n *secretNode) {
	switch dv := d.(type) {
	case map[string]any:
		if lv, ok := l.(map[string]any); ok && !n.opaque(d) {
			w.maps(dv, lv, n)
			return
		}
	case []any:
		if lv, ok := l.([]any); ok && len(dv) == len(lv) && !n.opaque(d) {
			w.lists(dv, lv)
			return
		}
	}
	if !equal(d, l) {
		w.add(stella.Modified, d, l, n)
	}
}

func (w *walk) maps(d, l map[string]any, n *secretNode) {
	common := 0
	for k, dv := range d {
		if _, ok := l[k]; ok {
			common++
		}
		w.key(k, dv, l, n)
	}
	if common == len(l) {
		return
	}
	for k, lv := range l {
		if _, ok := d[k]; !ok {
			w.path = append(w.path, k)
			w.add(stella.Extra, nil, lv, n.child(k))
			w.path = w.path[:len(w.path)-1]
		}
	}
}

// lists compares lists of equal length without secrets in them: see opaque.
func (w *walk) lists(d, l []any) {
	for i := range d {
		w.path = append(w.path, strconv.Itoa(i))
		w.value(d[i], l[i], nil)
		w.path = w.path[:len(w.path)-1]
	}
}

// add records a difference here. A side that is absent stays null, even where
// the other one is secret.
func (w *walk) add(class stella.Class, d, l any, n *secretNode) {
	c := stella.Change{Resource: w.id, Class: class, Path: Pointer(w.path...)}
	var dHidden, lHidden bool
	if class != stella.Extra {
		c.Desired, dHidden = n.show(d)
	}
	if class != stella.Missing {
		c.Live, lHidden = n.show(l)
	}
	c.Secret = dHidden || lHidden
	r := severityOf(w.severities, &c)
	c.Severity = r.severity
	if r.ignored {
		c.Ignored, c.Reason = true, r.because
	}
	w.changes = append(w.changes, c)
}

// equal compares canonical values and MACs, and nothing else: whatever is of
// another type is not equal to anything, so that a driver's mistake shows. Nearly
// all that is ever compared is equal and passes only through here, so what is
// most frequent comes first.
func equal(a, b any) bool {
	switch a := a.(type) {
	case string:
		if b, ok := b.(string); ok {
			return a == b
		}
	case map[string]any:
		if b, ok := b.(map[string]any); ok {
			return equalMaps(a, b)
		}
	case []any:
		if b, ok := b.([]any); ok {
			return equalLists(a, b)
		}
	case float64:
		if b, ok := b.(float64); ok {
			return a == b
		}
	case bool:
		if b, ok := b.(bool); ok {
			return a == b
		}
	case nil:
		if b == nil {
			return true
		}
	case MAC:
	default:
		return false
	}
	return sealed(a, b)
}

func equalMaps(a, b map[string]any) bool {
	if len(a) != len(b) {
		return false
	}
	for k, av := range a {
		if bv, ok := b[k]; !ok || !equal(av, bv) {
			return false
		}
	}
	return true
}

func equalLists(a, b []any) bool {
	if len(a) != len(b) {
		return false
	}
	for i := range a {
		if !equal(a[i], b[i]) {
			return false
		}
	}
	return true
}
