package docker

import (
	"encoding/json"
	"reflect"
	"slices"
	"strings"

	"github.com/moby/moby/api/types/container"
	"github.com/moby/moby/api/types/network"

	"github.com/stella-ops/stella"
)

// sighting is a container and all that its fields are read from.
type sighting struct {
	id     stella.ResourceID
	asked  map[string]any // what was asked for when it was made, as its label says
	live   container.InspectResponse
	files  []file // its configs and secrets, as they are in it
	image  imageFacts
	engine engineFacts
	scope  scope
}

// fields is the inverse of compile: what a container has of each field that was
// asked for when it was made, and of those that were not and that neither its
// image nor the engine explains. A field that the engine has exactly as asked
// reads as it was asked, whatever form the engine keeps it in.
func fields(g sighting) map[string]any {
	want := newCompiler(string(g.id), g.scope)
	want.fields(g.asked)
	have := seen(g.live)
	have.files = g.files
	settle(want.bp, g)
	settle(&have, g)
	expected, live := g.side(want.bp, g.asked), g.side(&have, g.asked)
	if plan, err := planFiles(*want.bp); err == nil {
		live.fileDirs = plan.volumes
	}
	out := map[string]any{}
	table := attributes()
	for name, value := range g.asked {
		if !slices.ContainsFunc(table, func(a attribute) bool { return a.field == name }) {
			out[name] = value // the driver's own
		}
	}
	for _, a := range table {
		value, asked := g.asked[a.field]
		one, two := a.get(expected), a.get(live)
		switch {
		case a.asIs:
			setField(out, a.field, two)
		case asked && a.bag:
			setField(out, a.field, mergeBag(a, g, value, one, two))
		case asked:
			setField(out, a.field, merge(value, one, two))
		default:
			setField(out, a.field, unasked(a, one, two))
		}
	}
	if out["network_mode"] != nil && g.asked["network_mode"] == nil && g.asked["networks"] == nil {
		delete(out, "networks") // one change: it left the project's network for the mode
	}
	return out
}

func setField(out map[string]any, name string, value any) {
	if value != nil {
		out[name] = value
	}
}

func (g sighting) side(bp *blueprint, asked map[string]any) *side {
	return &side{
		bp: bp, service: strings.TrimPrefix(string(g.id), "service/"), asked: asked,
		scope: g.scope, image: g.image, engine: g.engine,
	}
}

// seen returns a container that is there as a blueprint.
func seen(live container.InspectResponse) blueprint {
	bp := blueprint{networks: map[string]*network.EndpointSettings{}, id: live.ID}
	if live.Config != nil {
		bp.config = *live.Config
	}
	if live.HostConfig != nil {
		bp.host = *live.HostConfig
	}
	if len(live.Name) > 1 {
		bp.name = live.Name[1:]
	}
	bp.running = live.State != nil && live.State.Running
	if live.NetworkSettings != nil {
		for name, settings := range live.NetworkSettings.Networks {
			if settings != nil {
				bp.networks[name] = settings
			}
		}
	}
	bp.config.Image = live.Image
	return bp
}

// merge returns what is there in the form in which it was asked, as far as it
// is what was asked: want is the asked value as it is read of a blueprint.
func merge(asked, want, have any) any {
	if reflect.DeepEqual(want, have) {
		return asked
	}
	m, isMap := asked.(map[string]any)
	haveMap, ok := have.(map[string]any)
	wantMap, _ := want.(map[string]any)
	if !isMap || !ok {
		return have
	}
	out := map[string]any{}
	for name, value := range m {
		h, there := haveMap[name]
		w, expected := wantMap[name]
		switch {
		case there:
			out[name] = merge(value, w, h)
		case !expected:
			out[name] = value // no engine tells
		}
	}
	for name, h := range haveMap {
		if _, ok := m[name]; !ok && !reflect.DeepEqual(h, wantMap[name]) {
			out[name] = h
		}
	}
	return out
}

// mergeBag is merge for a list without order. What an asked entry comes to is
// found by asking for it alone: all of that being there, it reads as asked. What
// else is there takes the places of what is not, so that one changed entry is
// one difference.
func mergeBag(a attribute, g sighting, asked, want, have any) any {
	if equalBags(want, have) {
		return asked
	}
	left, _ := have.([]any)
	there := map[string]bool{}
	for _, e := range left {
		there[keyOf(e)] = true
	}
	entries, ok := asked.([]any)
	if !ok {
		entries = []any{asked}
	}
	gone := map[int]any{} // what an asked entry would come to that is not there
	used := map[string]bool{}
	for i, e := range entries {
		alone, _ := aloneOf(a, g, e).([]any)
		if slices.ContainsFunc(alone, func(part any) bool { return !there[keyOf(part)] }) {
			gone[i] = alone[0]
			continue
		}
		for _, part := range alone {
			used[keyOf(part)] = true
		}
	}
	left = slices.DeleteFunc(slices.Clone(left), func(e any) bool { return used[keyOf(e)] })
	fits := len(left) >= len(gone)
	out := []any{}
	for i, e := range entries {
		want, isGone := gone[i]
		if isGone {
			if e, ok = takeKin(&left, want, fits); !ok {
				continue
			}
		}
		out = append(out, e)
	}
	if out = append(out, left...); len(out) == 0 {
		return nil
	}
	return out
}

// takeKin takes the entry of a list that most likely was another one: one for the
// same place, or else, where any will do, the first.
func takeKin(list *[]any, of any, first bool) (e any, ok bool) {
	i := slices.IndexFunc(*list, func(e any) bool { return placeOf(e) == placeOf(of) })
	if i < 0 && first && len(*list) > 0 {
		i = 0
	}
	if i < 0 {
		return nil, false
	}
	e = (*list)[i]
	*list = slices.Delete(*list, i, i+1)
	return e, true
}

// placeOf is what an entry is for: a target, or what is before the first sign
// that something is set.
func placeOf(e any) string {
	switch e := e.(type) {
	case map[string]any:
		return keyOf(e["target"])
	case string:
		if i := strings.IndexAny(e, "=:"); i >= 0 {
			return e[:i]
		}
		return e
	}
	return ""
}

// aloneOf reads one entry of a list as if it alone were asked for.
func aloneOf(a attribute, g sighting, entry any) any {
	c := newCompiler(string(g.id), g.scope)
	a.set(c, a.field, []any{entry})
	return a.get(g.side(c.bp, map[string]any{a.field: []any{entry}}))
}

func equalBags(a, b any) bool {
	one, _ := a.([]any)
	two, _ := b.([]any)
	in := map[string]bool{}
	for _, e := range one {
		in[keyOf(e)] = true
	}
	also := map[string]bool{}
	for _, e := range two {
		also[keyOf(e)] = true
	}
	return reflect.DeepEqual(in, also)
}

// unasked returns what is there of a field that was not asked for, without what
// would be there anyway; nil for nothing.
func unasked(a attribute, want, have any) any {
	if reflect.DeepEqual(want, have) || a.bag && equalBags(want, have) {
		return nil
	}
	switch w := want.(type) {
	case map[string]any:
		h, _ := have.(map[string]any)
		out := map[string]any{}
		for name, value := range h {
			if !reflect.DeepEqual(value, w[name]) {
				out[name] = value
			}
		}
		return out
	case []any:
		if h, ok := have.([]any); ok {
			return h
		}
		return []any{} // an image's own, taken away
	case string:
		if have == nil {
			return ""
		}
	}
	return have
}

// keyOf identifies a canonical value.
func keyOf(v any) string {
	if text, ok := v.(string); ok {
		return "s" + text
	}
	text, err := json.Marshal(v)
	if err != nil { // canonical values are JSON
		return ""
	}
	return string(text)
}
