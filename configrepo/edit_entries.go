package configrepo

import (
	"bytes"
	"slices"
	"strings"

	"go.yaml.in/yaml/v4"
)

// pair is a key and its text.
type pair struct{ key, text string }

// insertAfter adds pairs to a mapping: after the entry of a key, or after the
// last one where key is empty.
func (e *patch) insertAfter(mapping *yaml.Node, key string, pairs []pair) {
	flow := mapping.Style&yaml.FlowStyle != 0
	if len(mapping.Content) == 0 {
		e.fillEmpty(mapping, pairs)
		return
	}
	i := len(mapping.Content) - 2
	for j := 0; key != "" && j < len(mapping.Content); j += 2 {
		if mapping.Content[j].Value == key {
			i = j
		}
	}
	k, value := mapping.Content[i], mapping.Content[i+1]
	texts := make([]string, len(pairs))
	for j, p := range pairs {
		texts[j] = scalarText(p.key, k.Style) + ": " + scalarText(p.text, value.Style)
	}
	if flow {
		e.insertFlow(mapping, i, texts)
		return
	}
	line := e.lastLine(value)
	e.insertLines(line, k.Column-1, texts)
}

// insertLines adds lines after a line.
func (e *patch) insertLines(line, indent int, texts []string) {
	eol := e.eol(line)
	var b strings.Builder
	for _, text := range texts {
		b.WriteString(eol + strings.Repeat(" ", indent) + text)
	}
	at := e.lineEnd(line)
	e.edits = append(e.edits, splice{at, at, b.String()})
}

// fillEmpty adds pairs to {}.
func (e *patch) fillEmpty(mapping *yaml.Node, pairs []pair) {
	texts := make([]string, len(pairs))
	for i, p := range pairs {
		texts[i] = scalarText(p.key, 0) + ": " + scalarText(p.text, 0)
	}
	from := e.offset(mapping) + 1
	to := from
	for to < len(e.src) && e.src[to] == ' ' {
		to++
	}
	if to >= len(e.src) || e.src[to] != '}' {
		to = from // a comment or a line break: it stays
	}
	e.edits = append(e.edits, splice{from, to, strings.Join(texts, ", ")})
}

// insertFlow adds texts to a flow mapping after its entry i. Where the entries
// stand on lines of their own, so do the new ones.
func (e *patch) insertFlow(mapping *yaml.Node, i int, texts []string) {
	key, value := mapping.Content[i], mapping.Content[i+1]
	end := e.end(value)
	comma := e.skip(end, "")
	hasComma := comma < len(e.src) && e.src[comma] == ','
	line := e.lineOf(end)
	next := e.lineOf(e.skip(end, ","))
	ownLines := next > line && e.lineOf(e.offset(key)) == line && key.Line > mapping.Line && (!hasComma || e.lineOf(comma) == line)
	if !ownLines {
		e.edits = append(e.edits, splice{end, end, ", " + strings.Join(texts, ", ")})
		return
	}
	if !hasComma {
		e.edits = append(e.edits, splice{end, end, ","})
	}
	for j := range texts {
		if hasComma || j < len(texts)-1 {
			texts[j] += ","
		}
	}
	e.insertLines(line, key.Column-1, texts)
}

// remove takes entries out of a collection: the keys of a mapping or the items
// of a list. At least one stays.
func (e *patch) remove(parent *yaml.Node, gone map[*yaml.Node]bool) {
	if parent.Style&yaml.FlowStyle != 0 {
		e.removeFlow(entriesOf(parent), gone)
		return
	}
	for _, entry := range entriesOf(parent) {
		if gone[entry.first] {
			e.removeLines(e.lineOf(e.begin[entry.first]), e.lastLine(entry.last))
		}
	}
}

// entry is an item, or a key and its value.
type nodeEntry struct{ first, last *yaml.Node }

func entriesOf(parent *yaml.Node) []nodeEntry {
	step := 1
	if parent.Kind == yaml.MappingNode {
		step = 2
	}
	var entries []nodeEntry
	for chunk := range slices.Chunk(parent.Content, step) {
		entries = append(entries, nodeEntry{chunk[0], chunk[len(chunk)-1]})
	}
	return entries
}

// removeLines removes whole lines. At the end of the file the blank lines
// before them go too.
func (e *patch) removeLines(first, last int) {
	if e.lineAfter(last) == len(e.src) {
		for first > 1 && strings.TrimSpace(e.text(first-1)) == "" {
			first--
		}
	}
	e.edits = append(e.edits, splice{e.lines[first-1], e.lineAfter(last), ""})
}

// removeFlow removes entries of a flow collection with their commas; comments
// between them stay.
func (e *patch) removeFlow(entries []nodeEntry, gone map[*yaml.Node]bool) {
	lastKept := -1
	for i, entry := range entries {
		if !gone[entry.first] {
			lastKept = i
		}
	}
	for i, entry := range entries {
		switch {
		case !gone[entry.first]:
		case i < lastKept:
			e.removeBefore(entry, entries[i+1])
		case i == lastKept+1 && lastKept >= 0 && !e.hasComment(e.end(entries[lastKept].last), e.end(entries[len(entries)-1].last)):
			e.edits = append(e.edits, splice{e.end(entries[lastKept].last), e.end(entries[len(entries)-1].last), ""})
			return
		default:
			e.removeWithComma(entry)
		}
	}
}

// removeBefore removes an entry that another follows.
func (e *patch) removeBefore(entry, next nodeEntry) {
	if e.hasComment(e.end(entry.last), e.offset(next.first)) {
		e.removeWithComma(entry)
		return
	}
	e.edits = append(e.edits, splice{e.offset(entry.first), e.offset(next.first), ""})
}

// removeWithComma removes an entry and the comma after it, and nothing between.
func (e *patch) removeWithComma(entry nodeEntry) {
	from, to := e.offset(entry.first), e.end(entry.last)
	e.edits = append(e.edits, splice{from, to, ""})
	if comma := e.skip(to, ""); comma < len(e.src) && e.src[comma] == ',' {
		e.edits = append(e.edits, splice{comma, comma + 1, ""})
	}
}

func (e *patch) hasComment(from, to int) bool { return bytes.IndexByte(e.src[from:to], '#') >= 0 }
