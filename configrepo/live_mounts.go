package configrepo

import (
	"encoding/base64"
	"fmt"
	"net/netip"
	"path"
	"strconv"
	"strings"
	"unicode/utf8"

	"go.yaml.in/yaml/v4"

	stella "github.com/stella-ops/stella"
	"github.com/stella-ops/stella/internal/safe"
)

// ports places ports, each where it is written. One more or one less is left to
// a person: which of them is which can not be told.
func (l *placer) ports(before, after any) {
	b, _ := before.([]any)
	a, _ := after.([]any)
	keys := []string{"services", l.service, "ports"}
	c, err := l.compose()
	if err != nil {
		l.errs = append(l.errs, err)
		return
	}
	s, err := c.at(keys...)
	if err != nil {
		l.errs = append(l.errs, c.refuse(err, keys))
		return
	}
	if s.node == nil || s.node.Kind != yaml.SequenceNode || len(a) != len(b) || len(s.node.Content) != len(a) {
		l.none("change them in compose.yaml by hand, or "+l.bringBack(), "the ports of service %s are not the ones that are written, one by one", l.service)
		return
	}
	for i := range a {
		if sameValue(a[i], b[i]) {
			continue
		}
		was, _ := b[i].(map[string]any)
		is, _ := a[i].(map[string]any)
		l.port(s.node.Content[i], was, is, append(keys, strconv.Itoa(i))...)
	}
}

// port places one port, in its long form or its short one.
func (l *placer) port(n *yaml.Node, before, after map[string]any, keys ...string) {
	if n.Kind == yaml.MappingNode {
		for name, compose := range map[string]string{"target": "target", "published": "published", "protocol": "protocol", "hostIP": "host_ip", "mode": "mode", "app_protocol": "app_protocol"} {
			if !sameValue(before[name], after[name]) {
				l.value(before[name], after[name], append(keys, compose)...)
			}
		}
		return
	}
	text, ok := shortPort(n.Value, before, after)
	if !ok {
		l.none("change it by hand, and commit that", "%s is put together from variables", safe.Line(fieldName(keys)))
		return
	}
	l.edit(func(c *composeEdit) ([]byte, error) { return c.set(scalarText(text, n.Style), keys...) }, keys...)
}

// shortPort writes a port as [address:]published:target[/protocol]. Where only
// the address differs, the rest stays as it is written.
func shortPort(raw string, before, after map[string]any) (string, bool) {
	text := func(v any) string {
		if n, ok := v.(float64); ok {
			return strconv.FormatFloat(n, 'f', -1, 64)
		}
		s, _ := v.(string)
		return s
	}
	address := func(v any) string {
		s := text(v)
		if a, err := netip.ParseAddr(s); err == nil && a.Is6() {
			s = "[" + s + "]"
		}
		if s != "" {
			s += ":"
		}
		return s
	}
	rest, starts := strings.CutPrefix(raw, address(before["hostIP"]))
	onlyAddress := text(before["published"]) == text(after["published"]) && text(before["target"]) == text(after["target"]) && text(before["protocol"]) == text(after["protocol"])
	switch {
	case onlyAddress && starts && strings.Contains(rest, ":"):
		return address(after["hostIP"]) + rest, true
	case strings.Contains(raw, "$"):
		return "", false
	}
	short := text(after["target"])
	if published := text(after["published"]); published != "" {
		short = published + ":" + short
	}
	short = address(after["hostIP"]) + short
	if protocol := text(after["protocol"]); protocol != "" && (protocol != "tcp" || strings.Contains(raw, "/")) {
		short += "/" + protocol
	}
	return short, true
}

// configs places the contents of configs and how they are mounted.
func (l *placer) configs(before, after any) {
	b, _ := before.(map[string]any)
	a, _ := after.(map[string]any)
	for _, to := range sortedKeys(merged(b, a)) {
		was, had := b[to].(map[string]any)
		is, has := a[to].(map[string]any)
		switch {
		case sameValue(b[to], a[to]):
		case !had:
			l.none("add it to the app by hand, or "+l.bringBack(), "%s is a file that no config of service %s names", safe.Line(to), l.service)
		case !has:
			l.unmount(to)
		default:
			l.config(to, was, is)
		}
	}
}

// mounted finds the entry of a service's configs that is mounted at a path.
func (l *placer) mounted(c *composeEdit, to string) (s spot, keys []string, source string, err error) {
	keys = []string{"services", l.service, "configs"}
	list, err := c.at(keys...)
	if err != nil || list.node == nil || list.node.Kind != yaml.SequenceNode {
		return s, keys, "", c.refuse(errOrNil(err == nil, errEditStyle), keys)
	}
	for i, item := range list.node.Content {
		from, at := item.Value, ""
		if item.Kind == yaml.MappingNode {
			from, at = scalarOf(child(item, "source")), scalarOf(child(item, "target"))
		}
		if at == "" {
			at = from
		}
		if path.Join("/", at) == to {
			keys = append(keys, strconv.Itoa(i))
			s, err = c.at(keys...)
			return s, keys, from, c.refuseIf(err, keys)
		}
	}
	return s, keys, "", c.refuse(errEditStyle, keys)
}

func (c *composeEdit) refuseIf(err error, keys []string) error {
	if err == nil {
		return nil
	}
	return c.refuse(err, keys)
}

func scalarOf(n *yaml.Node) string {
	if n == nil || n.Kind != yaml.ScalarNode {
		return ""
	}
	return n.Value
}

// unmount takes a config away from the service. A list that has none left stays:
// without it the service would not say that it has none.
func (l *placer) unmount(to string) {
	c, err := l.compose()
	if err != nil {
		l.errs = append(l.errs, err)
		return
	}
	_, keys, _, err := l.mounted(c, to)
	if err != nil {
		l.errs = append(l.errs, err)
		return
	}
	l.edit(func(c *composeEdit) ([]byte, error) { return c.unset(keys...) }, "services", l.service, "configs")
}

// config places what differs of one config.
func (l *placer) config(to string, before, after map[string]any) {
	c, err := l.compose()
	if err != nil {
		l.errs = append(l.errs, err)
		return
	}
	s, keys, source, err := l.mounted(c, to)
	if err != nil {
		l.errs = append(l.errs, err)
		return
	}
	for _, name := range sortedKeys(merged(before, after)) {
		switch {
		case sameValue(before[name], after[name]):
		case name == "digest", name == "content", name == "contentBase64":
		case s.node.Kind == yaml.ScalarNode:
			l.lengthen(keys, source, name, after[name])
			return
		default:
			l.value(before[name], after[name], append(keys, name)...)
		}
	}
	if !sameValue(before["digest"], after["digest"]) || !sameValue(before["content"], after["content"]) || !sameValue(before["contentBase64"], after["contentBase64"]) {
		l.content(source, before, after)
	}
}

// lengthen writes the long form of a config, with one field more.
func (l *placer) lengthen(keys []string, source, name string, value any) {
	text := "{source: " + scalarText(source, 0) + ", " + name + ": " + valueText(value, yaml.DoubleQuotedStyle) + "}"
	l.edit(func(c *composeEdit) ([]byte, error) { return c.set(text, keys...) }, append(keys, name)...)
}

// content places what a config holds: where its entry of the top level says that
// it comes from.
func (l *placer) content(source string, before, after map[string]any) {
	content, err := contentOf(after)
	if err != nil {
		l.none(l.bringBack(), "config %s: %v", safe.Clip(source, 80), err)
		return
	}
	c, err := l.compose()
	if err != nil {
		l.errs = append(l.errs, err)
		return
	}
	keys := []string{"configs", source}
	s, err := c.at(keys...)
	switch {
	case err != nil:
		l.errs = append(l.errs, c.refuse(err, keys))
		return
	case s.node == nil:
		l.none("change it where it is written, by hand, and commit that", "config %s is not written in %s itself", safe.Clip(source, 80), safe.Line(l.composePath))
		return
	}
	file, inline, variable := child(s.node, "file"), child(s.node, "content"), child(s.node, "environment")
	old, _ := contentOf(before)
	switch {
	case file != nil:
		l.file(file, content)
	case !utf8.Valid(content):
		l.none("keep it in a file of the app, by hand", "config %s is no text and is written in %s itself", safe.Clip(source, 80), safe.Line(l.composePath))
	case variable != nil:
		l.setVariable(variable.Value, string(content))
	case inline != nil && !l.fromVariable(inline.Value, string(old), string(content)):
		l.inline(inline, string(content), append(keys, "content"))
	}
}

// contentOf returns what a config holds; its digest has to be that of it.
func contentOf(config map[string]any) ([]byte, error) {
	text, isText := config["content"].(string)
	content := []byte(text)
	if encoded, ok := config["contentBase64"].(string); ok && !isText {
		var err error
		if content, err = base64.StdEncoding.DecodeString(encoded); err != nil {
			return nil, fmt.Errorf("what is on disk was not read as a whole: %w", stella.ErrInvalid)
		}
	}
	if digest, ok := config["digest"].(string); ok && digest != contentDigest(content) {
		return nil, fmt.Errorf("what is on disk was not read as a whole: %w", stella.ErrInvalid)
	}
	return content, nil
}

// file writes a file of the app, as it is on disk.
func (l *placer) file(ref *yaml.Node, content []byte) {
	at := path.Join(l.app, ref.Value)
	switch {
	case strings.Contains(ref.Value, "$"):
		l.none("change it by hand, and commit that", "the name of the file is put together from variables")
	case path.IsAbs(ref.Value) || !within(at, l.app):
		l.none("change it there by hand: others use it too", "%s is not a file of this app: it is shared", safe.Line(at))
	case len(content) > MaxFileBytes:
		l.none("keep large files in the image, or "+l.bringBack(), "%s would be %d bytes long, at most %d can be committed", safe.Line(at), len(content), MaxFileBytes)
	case isLFS(content):
		l.none(l.bringBack(), "%s would be a Git LFS pointer", safe.Line(at))
	default:
		l.wrote(at, content, "content of "+safe.Line(at))
	}
}

// inline writes a text into the Compose file: as the block that it was, where
// that can hold it.
func (l *placer) inline(n *yaml.Node, content string, keys []string) {
	text := scalarText(literal(content), n.Style&^(yaml.LiteralStyle|yaml.FoldedStyle))
	c, err := l.compose()
	if err != nil {
		l.errs = append(l.errs, err)
		return
	}
	if key, isBlock := keyOfContent(c, keys), n.Style&yaml.LiteralStyle != 0; isBlock && key != nil && blockable(content) {
		text = blockText(literal(content), key.Column-1+c.step(), c.eol(n.Line))
	}
	l.edit(func(c *composeEdit) ([]byte, error) { return c.set(text, keys...) }, keys...)
}

func keyOfContent(c *composeEdit, keys []string) *yaml.Node {
	s, err := c.at(keys...)
	if err != nil {
		return nil
	}
	return s.key
}

// blockable reports whether a text is the same as a literal block: lines that
// begin with no space, with one newline at the end.
func blockable(s string) bool {
	return strings.HasSuffix(s, "\n") && !strings.HasSuffix(s, "\n\n") && !strings.HasPrefix(s, " ") && !strings.HasPrefix(s, "\n") &&
		!strings.ContainsFunc(s, func(r rune) bool { return r != '\n' && r != ' ' && r != '\t' && (r < ' ' || r > '~') }) &&
		!strings.HasPrefix(s, "\t")
}

func blockText(s string, indent int, eol string) string {
	var b strings.Builder
	b.WriteString("|")
	for line := range strings.Lines(s) {
		b.WriteString(eol)
		if line = strings.TrimSuffix(line, "\n"); line != "" {
			b.WriteString(strings.Repeat(" ", indent) + line)
		}
	}
	return b.String()
}
