package configrepo

import (
	"cmp"
	"fmt"
	"slices"
	"strings"

	stella "github.com/stella-ops/stella"
)

// Problem is one thing that is wrong with a file of a config repository. Its
// strings are fit for a terminal and hold no values of the file.
type Problem struct {
	Path   string // from the top of the repository
	Line   int    // from 1; 0 where the whole file is meant
	Column int    // in runes, from 1; 0 where Line is 0
	Field  string // "targets[1].name"; empty where no field is meant
	What   string // what is wrong
	Fix    string // what to do; may be empty
}

// String returns "path:line:col: field: what; what to do", without the parts
// that are not known.
func (p Problem) String() string {
	var b strings.Builder
	b.WriteString(p.Path)
	if p.Line > 0 {
		fmt.Fprintf(&b, ":%d:%d", p.Line, p.Column)
	}
	for _, part := range []string{p.Field, p.What} {
		if part != "" {
			b.WriteString(": " + part)
		}
	}
	if p.Fix != "" {
		b.WriteString("; " + p.Fix)
	}
	return b.String()
}

// Problems is an error of class ErrInvalid: everything that is wrong, sorted by
// path, line and column. It is never empty where it is an error.
type Problems []Problem

// Error returns one problem on each line.
func (p Problems) Error() string {
	lines := make([]string, len(p))
	for i, one := range p {
		lines[i] = one.String()
	}
	return strings.Join(lines, "\n")
}

// Is reports that Problems are of class ErrInvalid.
func (p Problems) Is(target error) bool { return target == stella.ErrInvalid }

func (p Problems) orNil() error {
	if len(p) == 0 {
		return nil
	}
	return p.sorted()
}

// sorted returns the problems in order, each one once.
func (p Problems) sorted() Problems {
	sorted := slices.Clone(p)
	slices.SortStableFunc(sorted, func(a, b Problem) int {
		return cmp.Or(
			cmp.Compare(a.Path, b.Path),
			cmp.Compare(a.Line, b.Line),
			cmp.Compare(a.Column, b.Column),
			cmp.Compare(a.Field, b.Field),
			cmp.Compare(a.What, b.What),
		)
	})
	return slices.Compact(sorted)
}
