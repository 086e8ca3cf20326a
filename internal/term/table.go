package term

import (
	"io"
	"strings"
	"unicode/utf8"

	"github.com/stella-ops/stella/internal/safe"
)

// Cell is one field of a table.
type Cell struct {
	Text    string // for people; empty is shown as "-"
	Machine string // for programs, in tab-separated output; empty: Text
	Style   Style
}

// Table is rows under a header. Rows may be shorter than the header.
type Table struct {
	Header []string
	Rows   [][]Cell
	// Flexible says for each column whether Fit may cut its cells; a column
	// beyond its end is not cut.
	Flexible []bool
}

// Add appends a row.
func (t *Table) Add(cells ...Cell) { t.Rows = append(t.Rows, cells) }

// gap is what stands between two columns.
const gap = "  "

// Aligned writes the table for people: header, columns of one width, every line
// after indent.
func (t *Table) Aligned(s Screen, indent string) error {
	widths := t.widths()
	var b strings.Builder
	header := make([]Cell, len(t.Header))
	for i, h := range t.Header {
		header[i] = Cell{Text: h, Style: Bold}
	}
	for _, row := range append([][]Cell{header}, t.Rows...) {
		if len(row) > 0 {
			b.WriteString(indent + alignedRow(s, row, widths) + "\n")
		}
	}
	_, err := io.WriteString(s.W, b.String())
	return err
}

// leastWidth is what a flexible column keeps, so that its cells still say
// something.
const leastWidth = 8

// Fit cuts the cells of flexible columns, the widest first, until a line has no
// more than so many columns or nothing more gives way. It is for people: what
// programs read stays whole.
func (t *Table) Fit(columns int) {
	widths := t.widths()
	over := -len(gap) - columns
	for _, w := range widths {
		over += w + len(gap)
	}
	for over > 0 {
		widest := -1
		for i, w := range widths {
			if i < len(t.Flexible) && t.Flexible[i] && w > leastWidth && (widest < 0 || w > widths[widest]) {
				widest = i
			}
		}
		if widest < 0 {
			break
		}
		widths[widest]--
		over--
	}
	for _, row := range t.Rows {
		for i, c := range row {
			if i < len(t.Flexible) && t.Flexible[i] && utf8.RuneCountInString(shown(c)) > widths[i] {
				row[i].Text = safe.Clip(c.Text, widths[i]-1) // and the ellipsis
			}
		}
	}
}

func alignedRow(s Screen, row []Cell, widths []int) string {
	var b strings.Builder
	for i, c := range row {
		text := shown(c)
		b.WriteString(s.Paint(c.Style, text))
		if i < len(row)-1 {
			b.WriteString(strings.Repeat(" ", max(0, widths[i]-utf8.RuneCountInString(text))) + gap)
		}
	}
	return strings.TrimRight(b.String(), " ")
}

func (t *Table) widths() []int {
	widths := make([]int, len(t.Header))
	for i, h := range t.Header {
		widths[i] = utf8.RuneCountInString(h)
	}
	for _, row := range t.Rows {
		for i, c := range row {
			if i == len(widths) {
				widths = append(widths, 0)
			}
			widths[i] = max(widths[i], utf8.RuneCountInString(shown(c)))
		}
	}
	return widths
}

func shown(c Cell) string {
	if c.Text == "" {
		return "-"
	}
	return safe.Line(c.Text)
}

// TSV writes one line for each row, fields separated by tabs, without header or
// colour. A tab within a field is escaped, so that fields can be counted.
func (t *Table) TSV(w io.Writer) error {
	var b strings.Builder
	for _, row := range t.Rows {
		for i, c := range row {
			if i > 0 {
				b.WriteByte('\t')
			}
			b.WriteString(machine(c))
		}
		b.WriteByte('\n')
	}
	_, err := io.WriteString(w, b.String())
	return err
}

func machine(c Cell) string {
	if c.Machine != "" {
		return safe.Line(c.Machine)
	}
	return safe.Line(c.Text)
}
