// Package term writes to people: aligned tables, colour and one live status
// line on a terminal, and plain tab-separated lines everywhere else. Start with
// [Screen] (one output and what it can do), [Table] and [Status].
//
// The invariant: every text that is written passes through internal/safe, so
// nothing that came from a repository or a target moves the cursor. The package
// knows nothing of commands, environments or the process: whoever owns the file
// descriptors tells it what they are.
package term

import (
	"io"
	"os"

	xterm "golang.org/x/term"
)

// Screen is one output, stdout or stderr. The zero value of everything but W
// is an output that is no terminal.
type Screen struct {
	W        io.Writer
	Terminal bool // a person is likely to read it as it is written
	Color    bool // escape sequences for colour are wanted
	Width    int  // columns; 0 where unknown
}

// IsTerminal reports whether f is a terminal.
func IsTerminal(f *os.File) bool { return xterm.IsTerminal(int(f.Fd())) }

// Width returns the columns of the terminal f, 0 where that is not known.
func Width(f *os.File) int {
	width, _, err := xterm.GetSize(int(f.Fd()))
	if err != nil {
		return 0
	}
	return width
}

// Style is how much a text matters, shown as colour where there is colour.
type Style int

// The styles. Plain is the zero value.
const (
	Plain Style = iota
	Bold
	Dim
	Good // as wanted
	Warn // look at it
	Bad  // broken
)

// Paint returns text in a style, or text itself where the screen has no colour.
func (s Screen) Paint(style Style, text string) string {
	code := style.code()
	if !s.Color || code == "" || text == "" {
		return text
	}
	return "\x1b[" + code + "m" + text + "\x1b[0m"
}

// code returns the parameters of the "select graphic rendition" sequence of
// ECMA-48. The sixteen basic colours follow the person's own theme.
func (s Style) code() string {
	switch s {
	case Bold:
		return "1"
	case Dim:
		return "2"
	case Good:
		return "32"
	case Warn:
		return "33"
	case Bad:
		return "31"
	case Plain:
	}
	return ""
}
