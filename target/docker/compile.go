package docker

import (
	"errors"
	"fmt"
	"maps"
	"math"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/moby/moby/api/types/network"
	"github.com/moby/moby/client/pkg/versions"

	"github.com/stella-ops/stella"
	"github.com/stella-ops/stella/internal/safe"
)

// maxFindings bounds what is said of one service.
const maxFindings = 100

// compiler turns the fields of one service into a blueprint, and collects what
// is wrong with them.
type compiler struct {
	scope   scope
	service string // its name
	bp      *blueprint
	errs    []error
	ports   int // that were asked to be exposed, each as often as it was
}

// compile returns the container that a service asks for, or every reason why it
// can not be had: of class stella.ErrUnsupported for a field that can not be
// carried out, of stella.ErrInvalid for one that is wrong. It is pure. Our labels
// and the name are not in it.
func compile(r stella.Resource, sc scope) (blueprint, []error) {
	c := newCompiler(string(r.ID), sc)
	c.fields(r.Fields)
	return *c.bp, c.errs
}

func newCompiler(id string, sc scope) *compiler {
	return &compiler{
		scope: sc, service: strings.TrimPrefix(id, "service/"),
		bp: &blueprint{networks: map[string]*network.EndpointSettings{}},
	}
}

// fields sets all attributes, in the table's order: later ones build on what
// earlier ones set.
func (c *compiler) fields(fields map[string]any) {
	known := map[string]bool{}
	for _, a := range attributes() {
		known[a.field] = a.set != nil
		value, ok := fields[a.field]
		switch {
		case !ok || value == nil || a.set == nil:
		case a.since != "" && !c.since(a.since):
			c.unsupported(a.field, "needs version "+a.since+" of the engine's API: this one has "+c.scope.api)
		default:
			a.set(c, a.field, value)
		}
	}
	c.join(fields)
	refused, ignored := refusedFields(), ignoredFields()
	for _, name := range slices.Sorted(maps.Keys(fields)) {
		why, isRefused := refused[name]
		switch {
		case known[name], ignored[name], strings.HasPrefix(name, "x-"):
		case fields[name] == nil:
		case isRefused:
			c.unsupported(name, why)
		default:
			c.unsupported(name, "is not known")
		}
	}
}

// since reports whether the engine's API has reached a version.
func (c *compiler) since(version string) bool {
	return c.scope.api == "" || versions.GreaterThanOrEqualTo(c.scope.api, version)
}

// needs is since for a part of a field: what the engine would drop in silence is
// refused.
func (c *compiler) needs(path, version string) bool {
	if c.since(version) {
		return true
	}
	c.unsupported(path, "needs version "+version+" of the engine's API: this one has "+c.scope.api)
	return false
}

func (c *compiler) unsupported(path, why string) { c.found(stella.ErrUnsupported, path, why) }
func (c *compiler) invalid(path, why string)     { c.found(stella.ErrInvalid, path, why) }

func (c *compiler) found(class error, path, why string) {
	if len(c.errs) < maxFindings {
		c.errs = append(c.errs, fmt.Errorf("%w: service %s: %s %s", class, safe.Clip(c.service, 80), safe.Clip(path, 120), safe.Clip(why, 300)))
	}
}

// object calls the function of each key of a mapping. A key that has none is
// refused by name, but for extensions and those that are null.
func (c *compiler) object(path string, v any, keys map[string]func(path string, v any)) {
	m, ok := v.(map[string]any)
	if !ok {
		c.invalid(path, "is not a mapping")
		return
	}
	for _, key := range sortedNames(m) {
		at := path + "." + key
		set, known := keys[key]
		switch {
		case m[key] == nil || strings.HasPrefix(key, "x-"):
		case !known:
			c.unsupported(at, "is not supported")
		case set != nil:
			set(at, m[key])
		}
	}
}

// each calls a function for each entry of a list.
func (c *compiler) each(path string, v any, do func(path string, v any)) {
	list, ok := v.([]any)
	if !ok {
		list = []any{v}
	}
	for i, e := range list {
		do(path+"["+strconv.Itoa(i)+"]", e)
	}
}

func (c *compiler) text(path string, v any) string {
	switch v := v.(type) {
	case string:
		return v
	case float64:
		return strconv.FormatFloat(v, 'f', -1, 64)
	case bool:
		return strconv.FormatBool(v)
	}
	c.invalid(path, "is not a text")
	return ""
}

func (c *compiler) texts(path string, v any) []string {
	out := []string{}
	c.each(path, v, func(at string, v any) { out = append(out, c.text(at, v)) })
	return out
}

func (c *compiler) pairs(path string, v any) map[string]string {
	m, ok := v.(map[string]any)
	if !ok {
		c.invalid(path, "is not a mapping")
		return nil
	}
	out := make(map[string]string, len(m))
	for _, name := range sortedNames(m) {
		if m[name] == nil {
			out[name] = ""
		} else {
			out[name] = c.text(path+"."+name, m[name])
		}
	}
	return out
}

func (c *compiler) flag(path string, v any) bool {
	b, ok := v.(bool)
	if !ok {
		c.invalid(path, "is neither true nor false")
	}
	return b
}

// whole returns a whole number: also one that is written as text, as sizes are.
func (c *compiler) whole(path string, v any) int64 {
	const exact = 1 << 53
	switch v := v.(type) {
	case float64:
		if v == math.Trunc(v) && math.Abs(v) <= exact {
			return int64(v)
		}
	case string:
		if n, err := strconv.ParseInt(v, 10, 64); err == nil {
			return n
		}
	}
	c.invalid(path, "is not a whole number")
	return 0
}

// within is whole with bounds.
func (c *compiler) within(path string, v any, least, most int64) int64 {
	n := c.whole(path, v)
	if n < least || n > most {
		c.invalid(path, fmt.Sprintf("is not between %d and %d", least, most))
		return least
	}
	return n
}

// fraction returns a number that may have a fraction.
func (c *compiler) fraction(path string, v any) float64 {
	f, ok := v.(float64)
	if text, isText := v.(string); isText {
		var err error
		f, err = strconv.ParseFloat(text, 64)
		ok = err == nil
	}
	if !ok || math.IsNaN(f) || f < 0 || f > 1e6 {
		c.invalid(path, "is not a number from 0 to 1000000")
		return 0
	}
	return f
}

func (c *compiler) duration(path string, v any) time.Duration {
	seconds := c.fraction(path, v)
	return time.Duration(math.Round(seconds * float64(time.Second)))
}

func sortedNames[V any](m map[string]V) []string { return slices.Sorted(maps.Keys(m)) }

// errorsOf joins findings into one error; nil for none.
func errorsOf(found []error) error { return errors.Join(found...) }
