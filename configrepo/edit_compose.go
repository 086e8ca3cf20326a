package configrepo

import (
	"errors"
	"fmt"
	"slices"
	"strconv"
	"strings"

	"go.yaml.in/yaml/v4"

	stella "github.com/stella-ops/stella"
	"github.com/stella-ops/stella/internal/safe"
)

// composeEdit is a Compose file that is being changed, one value after another.
// What it knows to change is what is written out: a value that an alias, a tag or
// a merge key brings in belongs to other places as well, and is refused.
type composeEdit struct {
	*patch
	path string
	root *yaml.Node
}

func openCompose(path string, src []byte) (*composeEdit, error) {
	doc, problems := parseCompose(path, src)
	if len(problems) > 0 {
		return nil, problems
	}
	return &composeEdit{patch: &patch{source: newSource(src, doc.root)}, path: path, root: doc.root}, nil
}

// spot is a place in a file: a value that is there, or the deepest mapping on the
// way to one that is not.
type spot struct {
	node    *yaml.Node // the value; nil where it is not there
	key     *yaml.Node // of the value, nil in a list
	parents []*yaml.Node
	missing []string // keys below the last parent
}

func (s spot) parent() *yaml.Node { return s.parents[len(s.parents)-1] }

// errShared is a value that stands in more than one place.
var errShared = errors.New("is written with an anchor, an alias or a tag")

// at follows keys, and indexes of lists, as they are written.
func (c *composeEdit) at(keys ...string) (spot, error) {
	s := spot{node: c.root}
	for i, name := range keys {
		if !written(s.node) {
			return s, errShared
		}
		value, key := valueOf(s.node, name)
		if value == nil {
			if s.node.Kind != yaml.MappingNode && !isNull(s.node) {
				return s, errEditStyle
			}
			s.parents = append(s.parents, s.node)
			s.node, s.missing = nil, keys[i:]
			return s, nil
		}
		s.parents = append(s.parents, s.node)
		s.node, s.key = value, key
	}
	if !written(s.node) {
		return s, errShared
	}
	return s, nil
}

// written reports that a node is what it is by itself.
func written(n *yaml.Node) bool {
	return n.Kind != yaml.AliasNode && n.Anchor == "" && n.Style&yaml.TaggedStyle == 0
}

func isNull(n *yaml.Node) bool { return n.Kind == yaml.ScalarNode && n.Tag == "!!null" }

// valueOf returns the value of a key, or the item of a list.
func valueOf(n *yaml.Node, name string) (value, key *yaml.Node) {
	switch n.Kind {
	case yaml.MappingNode:
		for i := 0; i+1 < len(n.Content); i += 2 {
			if n.Content[i].Value == name && !isMerge(n.Content[i]) {
				return n.Content[i+1], n.Content[i]
			}
		}
	case yaml.SequenceNode:
		if i, err := strconv.Atoi(name); err == nil && i >= 0 && i < len(n.Content) {
			return n.Content[i], nil
		}
	}
	return nil, nil
}

// set writes a text as it is to stand in YAML: in the place of the value, or as a
// new entry.
func (c *composeEdit) set(text string, keys ...string) ([]byte, error) {
	s, err := c.at(keys...)
	if err != nil {
		return nil, c.refuse(err, keys)
	}
	if s.node == nil {
		c.insert(s, text)
		return c.finish(keys[:len(keys)-len(s.missing)+1])
	}
	c.overwrite(s, text)
	return c.finish(keys)
}

// overwrite puts a text in the place of a value.
func (c *composeEdit) overwrite(s spot, text string) {
	n := s.node
	switch block := n.Kind != yaml.ScalarNode && !isFlow(n); {
	case block && s.key != nil:
		c.edits = append(c.edits, splice{c.afterColon(s.key), c.lineEnd(c.lastLine(n)), " " + text})
	case block:
		c.edits = append(c.edits, splice{c.offset(n), c.lineEnd(c.lastLine(n)), text})
	default:
		from, to := c.offset(n), c.end(n)
		if from == to { // nothing is written there
			text = " " + text
		}
		c.edits = append(c.edits, splice{from, to, text})
	}
}

// afterColon returns the offset behind the colon of a key.
func (c *composeEdit) afterColon(key *yaml.Node) int {
	at := c.end(key)
	for at < len(c.src) && (c.src[at] == ' ' || c.src[at] == '\t') {
		at++
	}
	if at >= len(c.src) || c.src[at] != ':' {
		c.fault = errEditStyle
		return at
	}
	return at + 1
}

// insert adds an entry to the deepest mapping that is there; the keys between
// are made.
func (c *composeEdit) insert(s spot, text string) {
	parent := s.parent()
	key := scalarText(s.missing[0], 0)
	for _, k := range slices.Backward(s.missing[1:]) {
		text = "{" + scalarText(k, 0) + ": " + text + "}"
	}
	switch {
	case isNull(parent):
		at := c.offset(parent)
		to := c.end(parent)
		c.edits = append(c.edits, splice{at, to, " {" + key + ": " + text + "}"})
	case len(parent.Content) == 0:
		at := c.offset(parent) + 1
		c.edits = append(c.edits, splice{at, at, key + ": " + text})
	case isFlow(parent):
		c.insertFlow(parent, len(parent.Content)-2, []string{key + ": " + text})
	default:
		indent := parent.Content[0].Column - 1
		lines := []string{key + ": " + text}
		if len(s.missing) == 2 { // the common case reads as people write it
			lines = []string{key + ":", strings.Repeat(" ", c.step()) + strings.TrimSuffix(strings.TrimPrefix(text, "{"), "}")}
		}
		c.insertLines(c.lastLine(parent.Content[len(parent.Content)-1]), indent, lines)
	}
}

// step is by how much the file indents: as the first mapping within its own.
func (c *composeEdit) step() int {
	for _, n := range c.root.Content {
		if n.Kind == yaml.MappingNode && !isFlow(n) && len(n.Content) > 0 {
			return max(1, n.Content[0].Column-c.root.Column)
		}
	}
	return 2
}

// appendItem adds an item at the end of a list.
func (c *composeEdit) appendItem(text string, keys ...string) ([]byte, error) {
	s, err := c.at(keys...)
	switch {
	case err != nil:
		return nil, c.refuse(err, keys)
	case s.node == nil || s.node.Kind != yaml.SequenceNode:
		return nil, c.refuse(errEditStyle, keys)
	case len(s.node.Content) == 0:
		at := c.offset(s.node) + 1
		c.edits = append(c.edits, splice{at, at, text})
	case isFlow(s.node):
		at := c.end(s.node.Content[len(s.node.Content)-1])
		c.edits = append(c.edits, splice{at, at, ", " + text})
	default:
		c.insertLines(c.lastLine(s.node.Content[len(s.node.Content)-1]), s.node.Column-1, []string{"- " + text})
	}
	return c.finish(keys)
}

// unset takes an entry or item away. What has none left goes too, as far up as a
// service; but for configs: a service without the field would not say that it has
// none.
func (c *composeEdit) unset(keys ...string) ([]byte, error) {
	s, err := c.at(keys...)
	if err != nil || s.node == nil {
		return nil, c.refuse(errors.Join(err, errOrNil(s.node == nil, stella.ErrNotFound)), keys)
	}
	parent := s.parent()
	const serviceDepth = 3 // services, its name, a field of it
	switch entry := cmpNode(s.key, s.node); {
	case len(entriesOf(parent)) > 1:
		c.remove(parent, map[*yaml.Node]bool{entry: true})
		if parent.Kind == yaml.MappingNode {
			return c.finish(keys)
		}
	case len(keys) > serviceDepth && keys[serviceDepth-1] != "configs":
		return c.unset(keys[:len(keys)-1]...)
	default:
		up, err := c.at(keys[:len(keys)-1]...)
		if err != nil {
			return nil, c.refuse(err, keys)
		}
		empty := "{}"
		if parent.Kind == yaml.SequenceNode {
			empty = "[]"
		}
		c.overwrite(up, empty)
	}
	return c.finish(keys[:len(keys)-1])
}

func cmpNode(key, node *yaml.Node) *yaml.Node {
	if key != nil {
		return key
	}
	return node
}

func errOrNil(when bool, err error) error {
	if when {
		return err
	}
	return nil
}

// finish splices and reads the result again: outside of the value at the keys it
// must say what it said.
func (c *composeEdit) finish(keys []string) ([]byte, error) {
	out, err := c.splices(c.edits)
	if err != nil {
		return nil, c.refuse(err, keys)
	}
	again, err := openCompose(c.path, out)
	if err != nil || !sameBut(c.root, again.root, keys) {
		return nil, c.refuse(errEditStyle, keys)
	}
	return out, nil
}

// refuse says where the file is not written so that it can be edited.
func (c *composeEdit) refuse(err error, keys []string) error {
	field := ""
	for _, k := range keys {
		field = joinField(field, k)
	}
	if !errors.Is(err, stella.ErrRefused) {
		err = fmt.Errorf("%w: %w", err, stella.ErrRefused)
	}
	return stella.WithHint(fmt.Errorf("%s: %s %w", safe.Line(c.path), field, err), "change it by hand, and commit that")
}

// sameBut reports whether two files say the same, but for the value at some
// keys, which only one of them may have.
func sameBut(a, b *yaml.Node, keys []string) bool {
	if len(keys) == 0 {
		return true
	}
	if a.Kind != b.Kind || a.Tag != b.Tag || a.Anchor != b.Anchor || a.Value != b.Value {
		// What was empty may have got an entry.
		return isEmpty(a) && b.Kind == yaml.MappingNode && onlyHas(b, keys[0])
	}
	switch a.Kind {
	case yaml.MappingNode:
		return sameFields(a, b, keys)
	case yaml.SequenceNode:
		return sameItems(a, b, keys)
	}
	return sameNode(a, b)
}

func isEmpty(n *yaml.Node) bool {
	return isNull(n) || n.Kind == yaml.MappingNode && len(n.Content) == 0
}

func onlyHas(n *yaml.Node, key string) bool { return len(n.Content) == 2 && n.Content[0].Value == key }

func sameFields(a, b *yaml.Node, keys []string) bool {
	without := func(n *yaml.Node) (rest []*yaml.Node, value *yaml.Node) {
		for i := 0; i+1 < len(n.Content); i += 2 {
			if n.Content[i].Value == keys[0] && !isMerge(n.Content[i]) {
				value = n.Content[i+1]
				continue
			}
			rest = append(rest, n.Content[i], n.Content[i+1])
		}
		return rest, value
	}
	restA, valueA := without(a)
	restB, valueB := without(b)
	if !slices.EqualFunc(restA, restB, sameNode) {
		return false
	}
	if valueA == nil || valueB == nil {
		return len(keys) == 1 || valueA == nil && valueB == nil
	}
	return sameBut(valueA, valueB, keys[1:])
}

func sameItems(a, b *yaml.Node, keys []string) bool {
	i, err := strconv.Atoi(keys[0])
	if err != nil || len(a.Content) != len(b.Content) || i < 0 || i >= len(a.Content) {
		return false
	}
	for j := range a.Content {
		if j != i && !sameNode(a.Content[j], b.Content[j]) {
			return false
		}
	}
	return sameBut(a.Content[i], b.Content[i], keys[1:])
}

// sameNode compares what two nodes say, not how.
func sameNode(a, b *yaml.Node) bool {
	return a.Kind == b.Kind && a.Tag == b.Tag && a.Value == b.Value && a.Anchor == b.Anchor &&
		slices.EqualFunc(a.Content, b.Content, sameNode)
}
