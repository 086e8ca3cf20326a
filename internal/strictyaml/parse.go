package strictyaml

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"slices"
	"strings"
	"unicode/utf8"

	"go.yaml.in/yaml/v4"
	"go.yaml.in/yaml/v4/plugin/loaderlimits"

	"github.com/stella-ops/stella/internal/safe"
)

// The limits of one document. Without them a file of 1 MiB costs 120 MB.
const (
	MaxBytes  = 1 << 20 // of a document
	MaxMarks  = 100_000 // characters that can begin a value; at least as many as values
	MaxDepth  = 64      // of nesting
	MaxKeys   = 5_000   // of a mapping
	maxShown  = 100     // problems reported of one document
	clipRunes = 60      // of a name or a parser's message that is shown
)

// Problem is one thing that is wrong with a document. Its strings are fit for a
// terminal and hold no values of the document.
type Problem struct {
	Line, Column int    // from 1, columns in runes; both 0 where the whole document is meant
	Field        string // "targets[1].name"
	What, Fix    string // what is wrong; what to do, may be empty
}

// Doc is a parsed document and what was found to be wrong with it so far.
type Doc struct {
	root     *yaml.Node // nil where the bytes are not one YAML document
	problems []Problem
	hidden   int     // problems beyond maxShown
	huge     bool    // a mapping has too many keys to be looked at
	last     Problem // only its place: behind the last character
}

// Parse reads one document. It never fails: see Problems.
func Parse(src []byte) *Doc {
	d := &Doc{last: Problem{
		Line:   bytes.Count(src, []byte("\n")) + 1,
		Column: utf8.RuneCount(src[bytes.LastIndexByte(src, '\n')+1:]) + 1,
	}}
	if p, bad := checkBytes(src); bad {
		d.add(p)
		return d
	}
	loader, err := yaml.NewLoader(bytes.NewReader(src),
		yaml.WithPlugin(loaderlimits.New(loaderlimits.DepthValue(MaxDepth))))
	if err != nil {
		d.add(Problem{What: safe.Clip(err.Error(), clipRunes)})
		return d
	}
	root := d.load(loader)
	if root == nil {
		if len(d.problems) == 0 {
			d.add(Problem{What: "is empty", Fix: "write the document or remove the file"})
		}
		return d
	}
	if second := d.load(loader); second != nil {
		d.add(Problem{Line: second.Line, Column: second.Column, What: "a second document begins", Fix: "keep one document in a file"})
	}
	d.root = root
	d.walk(root, "")
	if d.huge {
		d.root = nil
	}
	return d
}

// Root returns the document's value.
func (d *Doc) Root() Value { return Value{doc: d, node: d.root} }

// OK reports that nothing was found to be wrong so far.
func (d *Doc) OK() bool { return len(d.problems) == 0 }

// Problems returns what was found to be wrong so far, by line and column.
func (d *Doc) Problems() []Problem {
	all := slices.Clone(d.problems)
	slices.SortStableFunc(all, func(a, b Problem) int {
		if a.Line != b.Line {
			return a.Line - b.Line
		}
		return a.Column - b.Column
	})
	if d.hidden > 0 {
		all = append(all, Problem{
			Line: all[len(all)-1].Line, Column: all[len(all)-1].Column,
			What: fmt.Sprintf("and %d more problems", d.hidden), Fix: "correct these first",
		})
	}
	return all
}

func (d *Doc) add(p Problem) {
	if d.full() {
		d.hidden++
		return
	}
	// The parser counts a line too many where something is missing at the end.
	if p.Line > d.last.Line {
		p.Line, p.Column = d.last.Line, d.last.Column
	}
	d.problems = append(d.problems, p)
}

// full reports that further problems are only counted.
func (d *Doc) full() bool { return len(d.problems) >= maxShown }

// load returns the next document's value, nil at the end or where it can not be
// read.
func (d *Doc) load(loader *yaml.Loader) *yaml.Node {
	var doc yaml.Node
	err := loader.Load(&doc)
	if errors.Is(err, io.EOF) {
		return nil
	}
	if err != nil {
		d.add(syntaxProblem(err))
		return nil
	}
	if len(doc.Content) != 1 {
		return nil
	}
	return doc.Content[0]
}

// syntaxProblem says where the parser stopped. Its words are kept, since they
// name the construct and not its content; only an undefined alias is quoted.
func syntaxProblem(err error) Problem {
	var e *yaml.LoadError
	if !errors.As(err, &e) {
		return Problem{What: "is not YAML"}
	}
	p := Problem{Line: e.Mark.Line, Column: e.Mark.Column, Fix: "correct the YAML"}
	switch {
	case e.Stage == yaml.ComposerStage:
		p.What, p.Fix = "an alias", "write the value out; anchors and aliases are refused"
	case e.ContextMsg != "":
		p.What = safe.Clip("is not YAML: "+e.ContextMsg+": "+e.Message, 2*clipRunes)
	default:
		p.What = safe.Clip("is not YAML: "+e.Message, 2*clipRunes)
	}
	return p
}

// checkBytes refuses what must not even reach the parser.
func checkBytes(src []byte) (Problem, bool) {
	if len(src) > MaxBytes {
		return Problem{What: fmt.Sprintf("is %d bytes long", len(src)), Fix: fmt.Sprintf("keep it below %d", MaxBytes)}, true
	}
	if marks(src) > MaxMarks {
		return Problem{What: fmt.Sprintf("may hold more than %d values", MaxMarks), Fix: "split it"}, true
	}
	line, column := 1, 1
	for i := 0; i < len(src); {
		r, size := utf8.DecodeRune(src[i:])
		if what, fix := badRune(r, size, src[i:]); what != "" {
			return Problem{Line: line, Column: column, What: what, Fix: fix}, true
		}
		if r == '\n' {
			line, column = line+1, 0
		}
		column++
		i += size
	}
	return Problem{}, false
}

// marks bounds the number of values from above: each one begins or ends with
// one of these characters.
func marks(src []byte) int {
	n := 0
	for _, c := range src {
		switch c {
		case '\n', ',', '[', '{', ':', '-', '?':
			n++
		}
	}
	return n
}

// badRune says why a character is refused; rest begins with it.
func badRune(r rune, size int, rest []byte) (what, fix string) {
	switch {
	case r == utf8.RuneError && size <= 1:
		return "is not UTF-8", "save it as UTF-8"
	case r == '\ufeff':
		return "a byte order mark", "save it as UTF-8 without one"
	case r == '\r' && (len(rest) < 2 || rest[1] != '\n'):
		return "a carriage return without a newline", `end lines with \n or \r\n`
	case r == '\u0085', r == '\u2028', r == '\u2029':
		return fmt.Sprintf("a line break that editors do not show (%U)", r), "remove it"
	case r < ' ' && r != '\t' && r != '\n' && r != '\r', r >= 0x7f && r < 0xa0:
		return fmt.Sprintf("a control character (%U)", r), "remove it"
	}
	return "", ""
}

// walk checks what holds everywhere in a document.
func (d *Doc) walk(n *yaml.Node, field string) {
	d.checkNode(n, field)
	switch n.Kind {
	case yaml.MappingNode:
		d.walkMapping(n, field)
	case yaml.SequenceNode:
		for i, item := range n.Content {
			d.walk(item, fmt.Sprintf("%s[%d]", field, i))
		}
	}
}

func (d *Doc) checkNode(n *yaml.Node, field string) {
	switch {
	case n.Kind == yaml.AliasNode:
		d.at(n, field, "an alias", "write the value out; anchors and aliases are refused")
	case n.Anchor != "":
		d.at(n, field, "an anchor", "remove it; anchors and aliases are refused")
	case n.Style&yaml.TaggedStyle != 0 || n.Tag == "!":
		d.at(n, field, "a tag", "remove it; use quotes for text")
	case n.Kind == yaml.ScalarNode && strings.ContainsRune(n.Value, 0):
		d.at(n, field, "a NUL character", "remove it")
	}
}

func (d *Doc) walkMapping(n *yaml.Node, field string) {
	if len(n.Content)/2 > MaxKeys {
		d.huge = true
		d.at(n, field, fmt.Sprintf("has %d keys", len(n.Content)/2), fmt.Sprintf("keep to %d", MaxKeys))
		return
	}
	seen := make(map[string]int, len(n.Content)/2)
	for i := 0; i+1 < len(n.Content); i += 2 {
		key, value := n.Content[i], n.Content[i+1]
		name := join(field, key.Value)
		d.checkNode(key, name)
		switch line := seen[key.Value]; {
		case key.Kind != yaml.ScalarNode:
			d.at(key, field, "a key that is not text", "write a name and a colon")
		case isMerge(key):
			d.at(key, name, "a merge key", "write the fields out; merge keys are refused")
		case line > 0:
			d.at(key, name, fmt.Sprintf("is already set in line %d", line), "keep one of them")
		default:
			seen[key.Value] = key.Line
		}
		d.walk(value, name)
	}
}

func (d *Doc) at(n *yaml.Node, field, what, fix string) {
	d.add(Problem{Line: n.Line, Column: n.Column, Field: field, What: what, Fix: fix})
}

func isMerge(n *yaml.Node) bool { return n.Value == "<<" && isPlain(n) }

// join names a key within field; the key may be anything.
func join(field, key string) string {
	key = safe.Clip(key, clipRunes)
	if key == "" || strings.ContainsAny(key, " .[]:\"") {
		key = fmt.Sprintf("%q", key)
	}
	if field == "" {
		return key
	}
	return field + "." + key
}
