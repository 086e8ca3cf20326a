package merge

import (
	"bytes"
	"slices"
)

// Hunk is a place where two changes touch. Lines count from 1; where a side has
// no lines there, its number is that of the line before which they would be.
type Hunk struct {
	BaseLine, OursLine, TheirsLine int
	// Base, Ours and Theirs are the lines, without their ends. They are untrusted
	// text.
	Base, Ours, Theirs []string
	// Ambiguous: one of the changes could as well stand at another place among
	// equal lines. Git picks one and may see nothing touch.
	Ambiguous bool
}

// Lines merges two changes of a text by line: what only one side changed is
// taken from it. Lines are compared byte for byte, their ends included, so that
// "a\r\n", "a\n" and a last line "a" are three different lines.
//
// It is a three-way merge as diff3 does it (Khanna, Kunal, Pierce: A Formal
// Investigation of Diff3, FSTTCS 2007): the text is cut at the lines of base
// that both sides keep, and between two such lines at most one side may have
// changed anything, or both must have replaced all of it by the same. So two
// changes conflict when they touch, which means that no kept line is between
// them, as in git. Unlike git it does not pick one of several equal places: only
// a line that every shortest edit script keeps counts as kept. What git finds to
// conflict therefore conflicts here, and what merges is what git makes of it.
//
// Hunks are empty when it is clean. ok is false when the texts differ too much
// to be merged at all; nothing else is returned then.
func Lines(base, ours, theirs []byte) (merged []byte, hunks []Hunk, ok bool) {
	m := &merger{ids: map[string]int{}}
	b, o, t := m.split(base), m.split(ours), m.split(theirs)
	toOurs, keptOurs, repeatsOurs, ok := anchors(b.ids, o.ids)
	if !ok {
		return nil, nil, false
	}
	toTheirs, keptTheirs, repeatsTheirs, ok := anchors(b.ids, t.ids)
	if !ok {
		return nil, nil, false
	}
	m.repeats = repeatsOurs || repeatsTheirs
	cuts := append(common(toOurs, toTheirs), cut{
		ours:   pair{a: len(b.ids), b: len(o.ids), rank: keptOurs},
		theirs: pair{a: len(b.ids), b: len(t.ids), rank: keptTheirs},
	})
	last := cut{ours: pair{-1, -1, -1}, theirs: pair{-1, -1, -1}}
	m.known = [2]map[int]bool{ranks(toOurs), ranks(toTheirs)}
	for _, c := range cuts {
		m.between(b, o, t, last, c)
		if c.ours.a < len(b.ids) {
			m.out.WriteString(b.lines[c.ours.a])
		}
		last = c
	}
	return m.out.Bytes(), m.hunks, true
}

// cut is a line of the base that both sides keep.
type cut struct{ ours, theirs pair }

func common(ours, theirs []pair) []cut {
	var out []cut
	for i, j := 0, 0; i < len(ours) && j < len(theirs); {
		switch x, y := ours[i], theirs[j]; {
		case x.a < y.a:
			i++
		case x.a > y.a:
			j++
		default:
			out = append(out, cut{x, y})
			i, j = i+1, j+1
		}
	}
	return out
}

func ranks(pairs []pair) map[int]bool {
	out := make(map[int]bool, len(pairs))
	for _, p := range pairs {
		out[p.rank] = true
	}
	return out
}

// merger holds what the merge of one text has so far.
type merger struct {
	ids     map[string]int
	repeats bool            // git drops lines that occur often: nothing is sure but the cuts
	known   [2]map[int]bool // the ranks of the lines that ours and theirs surely keep
	out     bytes.Buffer
	hunks   []Hunk
}

// text is a text as lines, each with a number that equal lines share.
type text struct {
	lines []string
	ids   []int
}

func (m *merger) split(data []byte) text {
	var t text
	for len(data) > 0 {
		end := bytes.IndexByte(data, '\n') + 1
		if end == 0 {
			end = len(data)
		}
		line := string(data[:end])
		id, ok := m.ids[line]
		if !ok {
			id = len(m.ids)
			m.ids[line] = id
		}
		t.lines, t.ids, data = append(t.lines, line), append(t.ids, id), data[end:]
	}
	return t
}

// part is what is between two lines of a text, both exclusive.
func (t text) part(after, before int) text {
	return text{lines: t.lines[after+1 : before], ids: t.ids[after+1 : before]}
}

func (t text) equal(o text) bool { return slices.Equal(t.ids, o.ids) }

// between merges what is between two cuts.
func (m *merger) between(base, ours, theirs text, from, to cut) {
	b, o, t := base.part(from.ours.a, to.ours.a), ours.part(from.ours.b, to.ours.b), theirs.part(from.theirs.b, to.theirs.b)
	switch {
	case b.equal(o):
		m.write(t)
	case b.equal(t), o.equal(t) && to.ours.rank == from.ours.rank+1:
		m.write(o)
	default:
		h := Hunk{
			BaseLine: from.ours.a + 2, OursLine: from.ours.b + 2, TheirsLine: from.theirs.b + 2,
			Ambiguous: m.repeats || m.unsure(0, from.ours, to.ours) || m.unsure(1, from.theirs, to.theirs),
		}
		h.fill(b, o, t)
		m.hunks = append(m.hunks, h)
		m.write(o)
	}
}

// unsure reports whether a side may keep different lines between two cuts.
func (m *merger) unsure(side int, from, to pair) bool {
	for r := from.rank + 1; r < to.rank; r++ {
		if !m.known[side][r] {
			return true
		}
	}
	return false
}

func (m *merger) write(t text) {
	for _, line := range t.lines {
		m.out.WriteString(line)
	}
}

// fill sets the hunk's lines, without those with which all three begin or end.
func (h *Hunk) fill(b, o, t text) {
	for len(b.ids) > 0 && len(o.ids) > 0 && len(t.ids) > 0 && b.ids[0] == o.ids[0] && b.ids[0] == t.ids[0] {
		b, o, t = b.part(0, len(b.ids)), o.part(0, len(o.ids)), t.part(0, len(t.ids))
		h.BaseLine, h.OursLine, h.TheirsLine = h.BaseLine+1, h.OursLine+1, h.TheirsLine+1
	}
	last := func(t text) int { return t.ids[len(t.ids)-1] }
	for len(b.ids) > 0 && len(o.ids) > 0 && len(t.ids) > 0 && last(b) == last(o) && last(b) == last(t) {
		b, o, t = b.part(-1, len(b.ids)-1), o.part(-1, len(o.ids)-1), t.part(-1, len(t.ids)-1)
	}
	h.Base, h.Ours, h.Theirs = shown(b), shown(o), shown(t)
}

func shown(t text) []string {
	out := make([]string, len(t.lines))
	for i, line := range t.lines {
		out[i] = string(bytes.TrimSuffix([]byte(line), []byte("\n")))
	}
	return out
}
