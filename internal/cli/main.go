package cli

import (
	"context"
	"errors"
	"io"
	"time"

	"github.com/stella-ops/stella/internal/term"
)

// Process is all that a command line may know of the process that it runs in.
type Process struct {
	Args   []string // without the program's own name
	Stdin  io.Reader
	Stdout io.Writer
	Stderr io.Writer

	Getenv     func(string) string
	Getwd      func() (string, error)
	Executable func() (string, error) // path of this binary, which host targets run again as a supervisor
	Now        func() time.Time

	// What is a terminal, and the columns of the one that stderr is; 0 where
	// that is not known.
	StdinTerminal, StdoutTerminal, StderrTerminal bool
	Width                                         int

	Version string // of this binary; empty for a build from a working copy
	Commit  string // that it was built from; may be empty
}

// ErrInterrupted is the cause of a context that a person's first Ctrl-C, or a
// request to terminate, cancelled. The engine stops before its next step,
// records that and returns.
var ErrInterrupted = errors.New("interrupted")

// Main runs one command line and returns its exit code. It returns only when
// everything that it began has ended.
func Main(ctx context.Context, p Process) int {
	return run(ctx, p, nil)
}

// run is Main with another way to open a session, for tests.
func run(ctx context.Context, p Process, open openFunc) int {
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	if code, ok := runHidden(ctx, p); ok {
		return code
	}
	app := newApp(ctx, p)
	if open != nil {
		app.open = open
	}
	root := newRootCmd(app) //nolint:contextcheck // commands get their context from cobra
	root.SetArgs(p.Args)
	root.SetIn(p.Stdin)
	root.SetOut(p.Stdout)
	root.SetErr(p.Stderr)
	err := root.ExecuteContext(ctx)
	app.close()
	return app.finish(ctx, err)
}

// screen describes an output of the process.
func (p Process) screen(w io.Writer, terminal, noColor bool) term.Screen {
	s := term.Screen{W: w, Terminal: terminal, Width: p.Width}
	s.Color = terminal && !noColor && p.Getenv("NO_COLOR") == "" && p.Getenv("TERM") != "dumb"
	return s
}
