package configrepo

import (
	"bytes"
	"cmp"
	"errors"
	"fmt"
	"slices"
	"strings"
	"unicode"
	"unicode/utf8"

	"go.yaml.in/yaml/v4"

	"github.com/stella-ops/stella/internal/strictyaml"
)

// errEditStyle is a file that is written in a way that edits do not know.
var errEditStyle = errors.New("written in a way that can not be edited in place")

// source is a file of ours as bytes and as nodes: where each value is in the
// bytes. The parser says where a value begins, in lines and runes; where it
// ends is found here, by its style and by what comes next.
type source struct {
	src   []byte
	lines []int              // offset of each line
	next  map[*yaml.Node]int // offset of what follows a value and all within it
	begin map[*yaml.Node]int // offset of a value; of its dash for an item of a block list
	fault error
}

func newSource(src []byte, root *yaml.Node) *source {
	s := &source{src: src, lines: []int{0}, next: map[*yaml.Node]int{}, begin: map[*yaml.Node]int{}}
	for i, c := range src {
		if c == '\n' {
			s.lines = append(s.lines, i+1)
		}
	}
	var order []*yaml.Node
	last := map[*yaml.Node]int{} // index in order of the last value within
	var visit func(n *yaml.Node)
	visit = func(n *yaml.Node) {
		order = append(order, n)
		if _, is := s.begin[n]; !is {
			s.begin[n] = s.offset(n)
		}
		for i, c := range n.Content {
			s.placeChild(n, c, i)
			visit(c)
		}
		last[n] = len(order) - 1
	}
	visit(root)
	for n, i := range last {
		s.next[n] = len(src)
		if i+1 < len(order) {
			s.next[n] = s.begin[order[i+1]]
		}
	}
	return s
}

// placeChild finds where an item or key really begins, and refuses keys that
// are written with a question mark.
func (s *source) placeChild(parent, child *yaml.Node, i int) {
	block := parent.Style&yaml.FlowStyle == 0
	switch {
	case block && parent.Kind == yaml.SequenceNode:
		s.begin[child] = s.dash(parent, child)
	case block && parent.Kind == yaml.MappingNode && i%2 == 0 && child.Column != parent.Column:
		s.fault = errEditStyle
	}
}

// dash returns the offset of the dash before an item of a block list: the
// nearest one before it in the list's column.
func (s *source) dash(list, item *yaml.Node) int {
	for line := item.Line; line >= list.Line; line-- {
		at := s.lines[line-1] + list.Column - 1
		if at < len(s.src) && s.src[at] == '-' && at < s.lineEnd(line) && at <= s.offset(item) &&
			strings.Trim(string(s.src[s.lines[line-1]:at]), " ") == "" {
			return at
		}
	}
	s.fault = errEditStyle
	return s.offset(item)
}

// offset returns where a value begins.
func (s *source) offset(n *yaml.Node) int {
	at := s.lines[n.Line-1]
	for range n.Column - 1 {
		_, size := utf8.DecodeRune(s.src[at:])
		at += size
	}
	return at
}

// lineOf returns the line, from 1, of an offset.
func (s *source) lineOf(at int) int {
	i, found := slices.BinarySearch(s.lines, at)
	if found {
		return i + 1
	}
	return i
}

// lineEnd returns the offset of a line's end, before its line break.
func (s *source) lineEnd(line int) int {
	end := len(s.src)
	if line < len(s.lines) {
		end = s.lines[line] - 1
		if end > 0 && s.src[end-1] == '\r' && end > s.lines[line-1] {
			end--
		}
	}
	return end
}

// lineAfter returns the offset of the line after a line.
func (s *source) lineAfter(line int) int {
	if line < len(s.lines) {
		return s.lines[line]
	}
	return len(s.src)
}

// text returns a line without its break.
func (s *source) text(line int) string { return string(s.src[s.lines[line-1]:s.lineEnd(line)]) }

// eol returns the line break that is used around a line.
func (s *source) eol(line int) string {
	for l := line; l >= 1; l-- {
		if after := s.lineAfter(l); after > s.lineEnd(l) {
			return string(s.src[s.lineEnd(l):after])
		}
	}
	if i := bytes.IndexByte(s.src, '\n'); i > 0 && s.src[i-1] == '\r' {
		return "\r\n"
	}
	return "\n"
}

// lastLine returns the last line of a value in block style: what follows it,
// without the blank lines and comments before that.
func (s *source) lastLine(n *yaml.Node) int {
	line := len(s.lines)
	if next := s.next[n]; next < len(s.src) {
		line = s.lineOf(next) - 1
	}
	for ; line > s.lineOf(s.begin[n]); line-- {
		text := strings.TrimSpace(s.text(line))
		if text != "" && !strings.HasPrefix(text, "#") && !strings.HasPrefix(s.text(line), "...") {
			break
		}
	}
	return max(line, s.lineOf(s.begin[n]))
}

// end returns where a value ends that is a scalar in one piece or a flow
// collection.
func (s *source) end(n *yaml.Node) int {
	at := s.offset(n)
	switch {
	case n.Kind == yaml.AliasNode:
		return at + len("*") + len(n.Value)
	case n.Anchor != "" || n.Style&yaml.TaggedStyle != 0: // it begins before its value
	case n.Kind != yaml.ScalarNode && n.Style&yaml.FlowStyle != 0:
		braces := s.src[at] == '{' || s.src[at] == '['
		at++
		if len(n.Content) > 0 {
			at = s.end(n.Content[len(n.Content)-1])
		}
		if !braces { // a pair in a list: [key: value]
			return at
		}
		at = s.skip(at, ",")
		if at < len(s.src) && (s.src[at] == '}' || s.src[at] == ']') {
			return at + 1
		}
	case n.Kind != yaml.ScalarNode:
	case n.Style&yaml.SingleQuotedStyle != 0:
		return s.quoted(at, '\'', '\'')
	case n.Style&yaml.DoubleQuotedStyle != 0:
		return s.quoted(at, '"', '\\')
	case n.Style&(yaml.LiteralStyle|yaml.FoldedStyle) != 0:
		return s.lineEnd(s.lastLine(n))
	case bytes.HasPrefix(s.src[at:], []byte(n.Value)):
		return at + len(n.Value)
	default:
		return s.foldedPlain(n)
	}
	s.fault = errEditStyle
	return at
}

// quoted returns the end of a quoted scalar. escape makes the character after
// it part of the text; in single quotes that is the quote itself.
func (s *source) quoted(at int, quote, escape byte) int {
	for i := at + 1; i < len(s.src); i++ {
		switch {
		case escape != quote && s.src[i] == escape:
			i++
		case s.src[i] == quote && escape == quote && i+1 < len(s.src) && s.src[i+1] == quote:
			i++
		case s.src[i] == quote:
			return i + 1
		}
	}
	s.fault = errEditStyle
	return at
}

// foldedPlain returns the end of a plain scalar of several lines: each space of
// its value may be a line break in the bytes, and each newline several.
func (s *source) foldedPlain(n *yaml.Node) int {
	at := s.offset(n)
	for word := range strings.FieldsFuncSeq(n.Value, func(r rune) bool { return r == ' ' || r == '\n' || r == '\t' }) {
		for at < len(s.src) && strings.IndexByte(" \t\r\n", s.src[at]) >= 0 {
			at++
		}
		if !bytes.HasPrefix(s.src[at:], []byte(word)) {
			s.fault = errEditStyle
			return at
		}
		at += len(word)
	}
	return at
}

// skip returns the first offset from at on that is not white space, in a
// comment or one of the characters.
func (s *source) skip(at int, characters string) int {
	for at < len(s.src) {
		switch c := s.src[at]; {
		case strings.IndexByte(" \t\r\n"+characters, c) >= 0:
			at++
		case c == '#' && at > 0 && strings.IndexByte(" \t\r\n,[{", s.src[at-1]) >= 0:
			for at < len(s.src) && s.src[at] != '\n' {
				at++
			}
		default:
			return at
		}
	}
	return at
}

// splice puts text in the place of the bytes from one offset to another.
type splice struct {
	from, to int
	text     string
}

// splices applies edits that do not overlap.
func (s *source) splices(edits []splice) ([]byte, error) {
	slices.SortStableFunc(edits, func(a, b splice) int { return cmp.Compare(a.from, b.from) })
	var out []byte
	at := 0
	for _, e := range edits {
		if e.from < at || e.to < e.from || e.to > len(s.src) {
			return nil, errEditStyle
		}
		out = append(append(out, s.src[at:e.from]...), e.text...)
		at = e.to
	}
	return append(out, s.src[at:]...), s.fault
}

// scalarText writes a text in a style, or in the nearest one that can hold it.
func scalarText(text string, style yaml.Style) string {
	switch {
	case style&yaml.SingleQuotedStyle != 0 && !strings.ContainsFunc(text, func(r rune) bool { return r != ' ' && !unicode.IsPrint(r) }):
		return "'" + strings.ReplaceAll(text, "'", "''") + "'"
	case style&yaml.DoubleQuotedStyle == 0 && strictyaml.IsPlainText(text):
		return text
	default:
		return doubleQuoted(text)
	}
}

// doubleQuoted escapes what would end the text or is not printed as it is.
func doubleQuoted(text string) string {
	var b strings.Builder
	b.WriteByte('"')
	for _, r := range text {
		switch {
		case r == '"', r == '\\':
			b.WriteString(`\` + string(r))
		case r == '\n':
			b.WriteString(`\n`)
		case r == '\t':
			b.WriteString(`\t`)
		case r > 0xffff && !unicode.IsPrint(r):
			fmt.Fprintf(&b, `\U%08x`, r)
		case r != ' ' && !unicode.IsPrint(r):
			fmt.Fprintf(&b, `\u%04x`, r)
		default:
			b.WriteRune(r)
		}
	}
	b.WriteByte('"')
	return b.String()
}
