package configrepo

import (
	"bytes"
	"errors"
	"fmt"
	"strings"
	"unicode/utf8"

	"go.yaml.in/yaml/v4"

	"github.com/stella-ops/stella/internal/safe"
)

// The bounds of a Compose file. They hold before anything else reads it:
// loaders look for duplicate keys in quadratic time and write aliases out.
const (
	maxComposeBytes = 1 << 20
	maxComposeKeys  = 5000    // of one mapping
	maxComposeDepth = 64      // through aliases
	maxComposeNodes = 20_000  // with every alias written out
	maxComposeMarks = 150_000 // characters that can begin a value: nodes cost memory before they can be counted
)

// document is a Compose file as YAML nodes. Its size with every alias written
// out is bounded and its mappings have string keys, each once.
type document struct {
	path  string
	root  *yaml.Node // a mapping
	sizes map[*yaml.Node]size
	clean []byte // what a loader gets: the file without its obsolete version; nil where that could not be done
}

// nodes returns how many values a node of the document has.
func (d *document) nodes(n *yaml.Node) int { return max(1, d.sizes[n].nodes) }

// parseCompose reads a file to nodes and checks its bounds.
func parseCompose(path string, content []byte) (*document, Problems) {
	fail := func(what, fix string) (*document, Problems) {
		return nil, Problems{{Path: path, What: what, Fix: fix}}
	}
	switch {
	case len(content) > maxComposeBytes:
		return fail(fmt.Sprintf("is larger than %d bytes", maxComposeBytes), "")
	case !utf8.Valid(content):
		return fail("is not valid UTF-8", "")
	case composeMarks(content) > maxComposeMarks:
		return fail("may hold too many values", "split it with include")
	case hiddenBreak(content):
		return fail("has a line break that editors do not show", "end lines with a newline")
	case bytes.HasPrefix(content, []byte("version https://git-lfs.github.com/")):
		return fail("is a Git LFS pointer", "commit the file itself")
	}
	var n yaml.Node
	if err := yaml.Load(content, &n); err != nil {
		return nil, Problems{yamlProblem(path, err)}
	}
	if n.Kind != yaml.DocumentNode || len(n.Content) != 1 || n.Content[0].Kind != yaml.MappingNode {
		return fail("is not a mapping", "start it with services:")
	}
	m := measure{path: path, seen: map[*yaml.Node]size{}}
	m.of(n.Content[0], "")
	if len(m.problems) > 0 {
		return nil, m.problems
	}
	return &document{path: path, root: n.Content[0], sizes: m.seen, clean: withoutVersion(content, n.Content[0])}, nil
}

// composeMarks bounds the number of values from above: each begins or ends with
// one of these characters.
func composeMarks(content []byte) int {
	n := 0
	for _, c := range content {
		switch c {
		case '\n', ',', '[', '{', ':', '-', '?':
			n++
		}
	}
	return n
}

// hiddenBreak reports whether YAML sees lines where a reviewer sees none.
func hiddenBreak(content []byte) bool {
	text := string(content)
	return strings.ContainsAny(text, "\u0085\u2028\u2029") ||
		strings.Count(text, "\r") != strings.Count(text, "\r\n")
}

// yamlProblem places an error of the parser.
func yamlProblem(path string, err error) Problem {
	p := Problem{Path: path, What: "is not valid YAML"}
	if all, ok := errors.AsType[*yaml.LoadErrors](err); ok && len(all.Errors) > 0 {
		err = all.Errors[0]
	}
	if one, ok := errors.AsType[*yaml.LoadError](err); ok {
		p.What += ": " + safe.Clip(strings.TrimPrefix(one.Message, "yaml: "), 200)
		if one.Mark.Line > 0 {
			p.Line, p.Column = one.Mark.Line, max(1, one.Mark.Column)
		}
	}
	return p
}

// size is how large a node is with every alias written out.
type size struct{ nodes, depth int }

// measure finds sizes, and what is not allowed anywhere in a document. An
// anchor is measured once, so that it is linear for any input.
type measure struct {
	path     string
	seen     map[*yaml.Node]size // {} while a node is being measured
	problems Problems
}

func (m *measure) fail(n *yaml.Node, field, what, fix string) size {
	const most = 100 // one mistake can be everywhere
	if len(m.problems) < most {
		m.problems = append(m.problems, problemAt(m.path, n, field, what, fix))
	}
	return size{nodes: maxComposeNodes, depth: 1}
}

func (m *measure) of(n *yaml.Node, field string) size {
	if s, ok := m.seen[n]; ok {
		if s == (size{}) {
			return m.fail(n, field, "an alias refers to what it is part of", "")
		}
		return s
	}
	if n.Kind == yaml.AliasNode {
		s := m.of(n.Alias, field)
		return size{nodes: s.nodes, depth: s.depth}
	}
	if n.Kind == yaml.ScalarNode {
		switch {
		case n.Tag == "!!timestamp":
			return m.fail(n, field, "is read as a date and not as text", "put it in quotes")
		case !knownTag(n):
			return m.fail(n, field, "has a tag that is not allowed", "remove it")
		}
		return size{nodes: 1, depth: 1}
	}
	m.seen[n] = size{}
	s := m.children(n, field)
	m.seen[n] = s
	return s
}

func (m *measure) children(n *yaml.Node, field string) size {
	before := len(m.problems)
	if !knownTag(n) {
		return m.fail(n, field, "has a tag that is not allowed", "remove it")
	}
	if n.Kind == yaml.MappingNode {
		m.keys(n, field)
	}
	s := size{nodes: 1}
	for i, child := range n.Content {
		c := m.of(child, childField(n, i, field))
		s.nodes = min(s.nodes+c.nodes, maxComposeNodes+1)
		s.depth = max(s.depth, c.depth)
	}
	s.depth++
	switch {
	case len(m.problems) > before: // said already
	case s.depth > maxComposeDepth:
		return m.fail(n, field, fmt.Sprintf("is nested deeper than %d levels", maxComposeDepth), "")
	case s.nodes > maxComposeNodes:
		return m.fail(n, field, fmt.Sprintf("has more than %d values with its aliases written out", maxComposeNodes), "")
	}
	return s
}

// keys checks the keys of one mapping.
func (m *measure) keys(n *yaml.Node, field string) {
	if len(n.Content)/2 > maxComposeKeys {
		m.fail(n, field, fmt.Sprintf("has more than %d keys", maxComposeKeys), "")
		return
	}
	seen := make(map[string]bool, len(n.Content)/2)
	for i := 0; i+1 < len(n.Content); i += 2 {
		key := n.Content[i]
		switch {
		case key.Kind != yaml.ScalarNode || key.Tag != "!!str" && !isMerge(key):
			m.fail(key, field, "a key is not a string", "put it in quotes")
		case seen[key.Value]:
			m.fail(key, joinField(field, key.Value), "is there twice", "remove one of them")
		}
		seen[key.Value] = true
	}
}

// knownTag reports whether a value reads as it is written. Tags like !!binary
// would make another value of it, and loaders know more of them.
func knownTag(n *yaml.Node) bool {
	switch n.Tag {
	case "", "!!str", "!!int", "!!float", "!!bool", "!!null", "!!map", "!!seq", mergeTag, resetTag, overrideTag:
		return true
	}
	return false
}

// childField names the i-th child of a node.
func childField(n *yaml.Node, i int, field string) string {
	switch {
	case n.Kind == yaml.SequenceNode:
		return fmt.Sprintf("%s[%d]", field, i)
	case n.Kind == yaml.MappingNode && i%2 == 1:
		return joinField(field, n.Content[i-1].Value)
	}
	return field
}

// joinField returns field.key, fit for a terminal.
func joinField(field, key string) string {
	key = safe.Clip(key, 80)
	if field == "" {
		return key
	}
	return field + "." + key
}

// problemAt is a Problem at a node.
func problemAt(path string, n *yaml.Node, field, what, fix string) Problem {
	p := Problem{Path: path, Field: safe.Clip(field, 300), What: what, Fix: fix}
	if n != nil && n.Line > 0 {
		p.Line, p.Column = n.Line, n.Column
	}
	return p
}
