package cli

import (
	"fmt"
	"io"
	"strings"

	"github.com/stella-ops/stella/internal/safe"
	"github.com/stella-ops/stella/internal/term"
)

// The values of --output. Without one a terminal gets a table or a page, and
// everything else gets tab-separated lines or the page without colour.
const (
	formatTable = "table"
	formatWide  = "wide"
	formatJSON  = "json"
	formatYAML  = "yaml"
	formatName  = "name"
)

func formats() []string {
	return []string{formatTable, formatWide, formatJSON, formatYAML, formatName}
}

// view is the result of a command in every form it can be asked for. Exactly
// one of list and page is set.
type view struct {
	doc   any      // a struct whose first field is schemaVersion
	names []string // for -o name: one a line
	list  *list
	page  func(p *page)
}

// list is rows under a header.
type list struct {
	columns []column
	rows    [][]term.Cell // one cell for each column
}

// column is one column of a list.
type column struct {
	title    string
	wide     bool // only with -o wide
	flexible bool // cut where the line would be too long, but for -o wide
}

// columns reads titles: one after "+" is shown with -o wide only, one after "~"
// gives way where there is no room.
func columns(titles ...string) []column {
	all := make([]column, len(titles))
	for i, title := range titles {
		name, wide := strings.CutPrefix(title, "+")
		name, flexible := strings.CutPrefix(name, "~")
		all[i] = column{title: name, wide: wide, flexible: flexible}
	}
	return all
}

func (l *list) add(cells ...term.Cell) { l.rows = append(l.rows, cells) }

// table returns the columns that are shown.
func (l *list) table(wide bool) *term.Table {
	t := &term.Table{}
	for _, c := range l.columns {
		if wide || !c.wide {
			t.Header = append(t.Header, c.title)
			t.Flexible = append(t.Flexible, c.flexible)
		}
	}
	for _, row := range l.rows {
		var cells []term.Cell
		for i, cell := range row {
			if wide || !l.columns[i].wide {
				cells = append(cells, cell)
			}
		}
		t.Add(cells...)
	}
	return t
}

// print writes the result to stdout in the form that was asked for.
func (a *App) print(v view) error {
	a.progress().Close()
	var err error
	switch a.flags.output {
	case formatJSON, formatYAML:
		return a.document(v.doc)
	case formatName:
		err = a.lines(v.names)
	default:
		err = a.show(v)
	}
	a.printed = true
	return printError(err)
}

func (a *App) show(v view) error {
	format, screen := a.flags.output, a.out()
	if v.page != nil {
		p := &page{screen: screen, now: a.process.Now(), wide: format == formatWide}
		if format == formatTable || format == "" && screen.Terminal {
			p.width = width(screen)
		}
		v.page(p)
		return p.flush()
	}
	t := v.list.table(format == formatWide)
	switch {
	case format == "" && !screen.Terminal:
		return t.TSV(screen.W)
	case len(t.Rows) == 0:
		return nil // a header over nothing says nothing; the command's note does
	}
	if format != formatWide {
		t.Fit(width(screen))
	}
	return t.Aligned(screen, "")
}

func (a *App) lines(names []string) error {
	var b strings.Builder
	for _, name := range names {
		b.WriteString(safe.Line(name) + "\n")
	}
	_, err := io.WriteString(a.out().W, b.String())
	return err
}

// document writes one whole document, encoded before the first byte goes out.
func (a *App) document(doc any) error {
	encode := encodeJSON
	if a.flags.output == formatYAML {
		encode = encodeYAML
	}
	text, err := encode(doc)
	if err != nil {
		return err
	}
	a.printed = true
	_, err = a.out().W.Write(text)
	return printError(err)
}

func printError(err error) error {
	if err == nil {
		return nil
	}
	return fmt.Errorf("%w: %w", errPrint, err)
}
