package configrepo

import (
	"fmt"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"time"

	"go.yaml.in/yaml/v4"

	"github.com/stella-ops/stella/internal/safe"
)

// sameValue compares canonical values.
func sameValue(a, b any) bool {
	switch a := a.(type) {
	case map[string]any:
		b, ok := b.(map[string]any)
		if !ok || len(a) != len(b) {
			return false
		}
		for k, v := range a {
			if w, has := b[k]; !has || !sameValue(v, w) {
				return false
			}
		}
		return true
	case []any:
		b, ok := b.([]any)
		if !ok || len(a) != len(b) {
			return false
		}
		for i := range a {
			if !sameValue(a[i], b[i]) {
				return false
			}
		}
		return true
	default:
		return a == b
	}
}

// value places a text or another scalar; nil takes the field away.
func (l *placer) value(before, after any, keys ...string) {
	c, err := l.compose()
	if err != nil {
		l.errs = append(l.errs, err)
		return
	}
	s, err := c.at(keys...)
	switch {
	case err != nil:
		l.errs = append(l.errs, c.refuse(err, keys))
	case after == nil && s.node == nil:
		l.elsewhere(keys)
	case after == nil:
		l.edit(func(c *composeEdit) ([]byte, error) { return c.unset(keys...) }, keys...)
	case s.node != nil && s.node.Kind == yaml.ScalarNode && l.fromVariable(s.node.Value, before, after):
	default:
		l.edit(func(c *composeEdit) ([]byte, error) { return c.set(valueText(after, styleOf(s.node)), keys...) }, keys...)
	}
}

// elsewhere says that a value that should go is not in the Compose file itself.
func (l *placer) elsewhere(keys []string) {
	l.none("remove it there by hand, and commit that",
		"%s is not written in %s itself: it comes from a file that it names, from what it extends, or from what is merged in",
		safe.Line(fieldName(keys)), safe.Line(l.composePath))
}

func styleOf(n *yaml.Node) yaml.Style {
	if n == nil {
		return 0
	}
	return n.Style
}

// valueText writes a scalar for a Compose file.
func valueText(v any, style yaml.Style) string {
	switch v := v.(type) {
	case bool:
		return strconv.FormatBool(v)
	case float64:
		return strconv.FormatFloat(v, 'f', -1, 64)
	case string:
		return scalarText(literal(v), style)
	}
	return doubleQuoted(fmt.Sprint(v))
}

// literal is a text as it is written where ${…} is expanded.
func literal(s string) string { return strings.ReplaceAll(s, "$", "$$") }

// fromVariable changes the variable that a value comes from. It reports whether
// it dealt with the value: one that comes from none, or that the variable can not
// give, is written out.
func (l *placer) fromVariable(raw string, before, after any) bool {
	text, isText := after.(string)
	if !isText {
		text = valueText(after, 0)
	}
	x, ok := oneExpression(raw)
	if !ok || sameValue(before, after) {
		return false
	}
	value, ok := strings.CutPrefix(text, x.before)
	if ok {
		value, ok = strings.CutSuffix(value, x.after)
	}
	if !ok {
		return false
	}
	l.setVariable(x.name, value)
	return true
}

// setVariable changes a variable in release.yaml, unless a target has its own.
func (l *placer) setVariable(name, value string) {
	for _, t := range l.env.Targets {
		if _, has := t.Variables[name]; has {
			l.none("change it there by hand, and commit that", "it comes from ${%s}, which is a variable of target %s in environment.yaml", name, t.Name)
			return
		}
	}
	if have, twice := l.variables[name]; twice && have != value {
		l.none("change it by hand, and commit that", "${%s} would have to be two values at once", name)
		return
	}
	l.variables[name] = value
	l.releaseFields = append(l.releaseFields, "variables."+name)
}

// expression is a text with one ${…} in it.
type expression struct{ before, name, after string }

// oneExpression takes a text apart that has exactly one ${NAME}, with a default
// or without. What stands around it is as it expands.
func oneExpression(raw string) (expression, bool) {
	var x expression
	rest := raw
	for {
		text, after, found := strings.Cut(rest, "$")
		x.before, rest = x.before+text, after
		switch {
		case !found:
			return x, false
		case strings.HasPrefix(after, "$"):
			x.before, rest = x.before+"$", after[1:]
			continue
		}
		break
	}
	name, ok := strings.CutPrefix(rest, "{")
	end := len(variableName(rest))
	if ok {
		if end = closingBrace(rest); end < 0 {
			return x, false
		}
		if operator := strings.TrimPrefix(name[len(variableName(name)):end-1], ":"); operator != "" && operator[0] == '+' {
			return x, false
		}
		end++
	} else {
		name = rest
	}
	x.name = variableName(name)
	rest = rest[end:]
	if x.name == "" || strings.Contains(strings.ReplaceAll(rest, "$$", ""), "$") {
		return x, false
	}
	x.after = strings.ReplaceAll(rest, "$$", "$")
	return x, true
}

// hasExpression reports whether a value, or one within it, is put together from
// variables.
func hasExpression(n *yaml.Node) bool {
	if n.Kind == yaml.ScalarNode {
		return strings.Contains(strings.ReplaceAll(n.Value, "$$", ""), "$")
	}
	return slices.ContainsFunc(n.Content, hasExpression)
}

// list places a list of texts.
func (l *placer) list(before, after any, keys ...string) {
	want, ok := texts(after)
	if after == nil || !ok {
		l.value(before, after, keys...)
		return
	}
	c, err := l.compose()
	if err != nil {
		l.errs = append(l.errs, err)
		return
	}
	s, err := c.at(keys...)
	had, _ := texts(before)
	switch {
	case err != nil:
		l.errs = append(l.errs, c.refuse(err, keys))
	case s.node != nil && s.node.Kind == yaml.SequenceNode && len(s.node.Content) == len(want) && len(had) == len(want):
		for i := range want {
			if had[i] != want[i] {
				l.value(had[i], want[i], append(slices.Clip(keys), strconv.Itoa(i))...)
			}
		}
	case s.node != nil && hasExpression(s.node):
		l.none("change it by hand, and commit that", "%s is put together from variables", safe.Line(fieldName(keys)))
	default:
		l.edit(func(c *composeEdit) ([]byte, error) { return c.set(flowTexts(want), keys...) }, keys...)
	}
}

// texts returns a list of texts.
func texts(v any) ([]string, bool) {
	items, ok := v.([]any)
	all := make([]string, 0, len(items))
	for _, item := range items {
		text, is := item.(string)
		ok = ok && is
		all = append(all, text)
	}
	return all, ok
}

// flowTexts writes a list on one line, every text in quotes.
func flowTexts(all []string) string {
	quoted := make([]string, len(all))
	for i, text := range all {
		quoted[i] = doubleQuoted(literal(text))
	}
	return "[" + strings.Join(quoted, ", ") + "]"
}

// any places what has no form of its own: texts, numbers, lists of texts, and
// mappings of those.
func (l *placer) any(before, after any, keys ...string) {
	b, bothMaps := before.(map[string]any)
	a, isMap := after.(map[string]any)
	_, isList := texts(after)
	switch {
	case bothMaps && isMap:
		for _, name := range sortedKeys(merged(b, a)) {
			if !sameValue(b[name], a[name]) {
				l.any(b[name], a[name], append(slices.Clip(keys), name)...)
			}
		}
	case after == nil:
		l.value(before, nil, keys...)
	case isList:
		l.list(before, after, keys...)
	case isScalar(after):
		l.value(before, after, keys...)
	default:
		l.none("change it in compose.yaml by hand, or "+l.bringBack(), "%s is not written by itself", safe.Line(fieldName(keys)))
	}
}

func isScalar(v any) bool {
	switch v.(type) {
	case string, bool, float64:
		return true
	}
	return false
}

// durationText writes seconds as Compose does; nil stays nil.
func durationText(v any) any {
	seconds, ok := v.(float64)
	if !ok {
		return v
	}
	return time.Duration(seconds * float64(time.Second)).String()
}

// healthcheck places the parts of a check.
func (l *placer) healthcheck(before, after any) {
	b, _ := before.(map[string]any)
	a, _ := after.(map[string]any)
	at := []string{"services", l.service, "healthcheck"}
	if a == nil {
		l.value(before, nil, at...)
		return
	}
	names := map[string]string{
		"intervalSeconds": "interval", "timeoutSeconds": "timeout", "startPeriodSeconds": "start_period", "startIntervalSeconds": "start_interval",
	}
	for _, name := range sortedKeys(merged(b, a)) {
		if sameValue(b[name], a[name]) {
			continue
		}
		switch compose, is := names[name]; {
		case is:
			l.value(b[name], durationText(a[name]), append(at, compose)...)
		case name == "test":
			l.list(b[name], a[name], append(at, name)...)
		default:
			l.any(b[name], a[name], append(at, name)...)
		}
	}
}

// pairs places the entries of environment or labels, which are a mapping or a
// list of NAME=value.
func (l *placer) pairs(field string, before, after any) {
	b, _ := before.(map[string]any)
	a, _ := after.(map[string]any)
	for _, name := range sortedKeys(merged(b, a)) {
		if sameValue(b[name], a[name]) {
			continue
		}
		if text, ok := a[name].(string); ok {
			l.pair(field, name, b[name], &text)
		} else {
			l.pair(field, name, b[name], nil)
		}
	}
}

// plainPair matches entries of a list that need no quotes in either style.
var plainPair = regexp.MustCompile(`^[A-Za-z_][A-Za-z0-9_.-]*=[A-Za-z0-9._/@+-]*$`)

func pairText(text string, style yaml.Style) string {
	if style&(yaml.SingleQuotedStyle|yaml.DoubleQuotedStyle) == 0 && plainPair.MatchString(text) {
		return text
	}
	return scalarText(text, style)
}

// pair places one entry; nil takes it away.
func (l *placer) pair(field, name string, before any, after *string) {
	keys := []string{"services", l.service, field}
	c, err := l.compose()
	if err != nil {
		l.errs = append(l.errs, err)
		return
	}
	s, err := c.at(keys...)
	switch {
	case err != nil:
		l.errs = append(l.errs, c.refuse(err, keys))
	case s.node != nil && s.node.Kind == yaml.SequenceNode:
		l.listedPair(s.node, name, before, after, keys)
	case after == nil:
		l.value(before, nil, append(keys, name)...)
	default:
		if value, key := (*yaml.Node)(nil), (*yaml.Node)(nil); s.node != nil {
			if value, key = valueOf(s.node, name); key != nil && isNull(value) && field == "environment" {
				l.setVariable(name, *after) // passed on by name alone
				return
			}
		}
		l.value(before, *after, append(keys, name)...)
	}
}

// listedPair places an entry in a list of NAME=value.
func (l *placer) listedPair(list *yaml.Node, name string, before any, after *string, keys []string) {
	for i, item := range list.Content {
		has, value, isPair := strings.Cut(item.Value, "=")
		if item.Kind != yaml.ScalarNode || has != name {
			continue
		}
		at := append(slices.Clip(keys), strconv.Itoa(i))
		switch {
		case after == nil:
			l.edit(func(c *composeEdit) ([]byte, error) { return c.unset(at...) }, append(slices.Clip(keys), name)...)
		case !isPair:
			l.setVariable(name, *after)
		case l.fromVariable(value, before, *after):
		default:
			text := pairText(name+"="+literal(*after), item.Style)
			l.edit(func(c *composeEdit) ([]byte, error) { return c.set(text, at...) }, append(slices.Clip(keys), name)...)
		}
		return
	}
	if after == nil {
		l.elsewhere(append(keys, name))
		return
	}
	text := pairText(name+"="+literal(*after), 0)
	l.edit(func(c *composeEdit) ([]byte, error) { return c.appendItem(text, keys...) }, append(keys, name)...)
}
