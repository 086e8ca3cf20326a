package cli

import (
	"context"
	"fmt"
	"io"
	"log/slog"
	"strings"

	"github.com/stella-ops/stella"
	"github.com/stella-ops/stella/internal/term"
	"github.com/stella-ops/stella/reconciler"
)

// App is what the commands of one process share. Factories are lazy: a command
// that needs no repository opens none.
type App struct {
	process Process
	flags   globalFlags
	open    openFunc

	ctx     context.Context //nolint:containedctx // the process's own: what the status line lives by
	status  *term.Status
	session *session

	steps []string // of a deployment that run now; only notify touches it
	// environment is the one that the command is about, for hints.
	environment stella.EnvName
	// printed: stdout has its document, and an error must not add a second.
	printed bool
	// unfetched: the config repository did not answer, and what was seen last was
	// told instead. Only notify sets it.
	unfetched *reconciler.Unfetched
	// followed: a deployment or a wait was under way, so that an interruption
	// stopped following it.
	followed bool
}

// globalFlags are the flags that every command takes.
type globalFlags struct {
	repo      string
	output    string
	hostRoots []string
	noColor   bool
	quiet     bool
	debug     bool
}

func newApp(ctx context.Context, p Process) *App {
	a := &App{process: p, ctx: ctx}
	a.open = a.openRepository
	return a
}

// out is stdout.
func (a *App) out() term.Screen {
	return a.process.screen(a.process.Stdout, a.process.StdoutTerminal, a.flags.noColor)
}

// err is stderr.
func (a *App) err() term.Screen {
	return a.process.screen(a.process.Stderr, a.process.StderrTerminal, a.flags.noColor)
}

// progress is the running account on stderr. With --quiet nobody sees it.
func (a *App) progress() *term.Status {
	if a.status == nil {
		screen := a.err()
		if a.flags.quiet {
			screen = term.Screen{W: io.Discard}
		}
		a.status = term.NewStatus(a.ctx, screen, a.process.Now)
	}
	return a.status
}

// note writes one line for a person on stderr.
func (a *App) note(format string, args ...any) {
	a.progress().Line(term.Plain, fmt.Sprintf(format, args...))
}

// logger writes what the engine logs as lines of the account on stderr.
func (a *App) logger() *slog.Logger {
	level := slog.LevelWarn
	switch {
	case a.flags.debug:
		level = slog.LevelDebug
	case a.flags.quiet:
		level = slog.LevelError
	}
	return slog.New(slog.NewTextHandler(logLines{a.progress()}, &slog.HandlerOptions{Level: level, ReplaceAttr: withoutTime}))
}

// withoutTime drops the time of a log line: a person reads it as it happens.
func withoutTime(_ []string, attr slog.Attr) slog.Attr {
	if attr.Key == slog.TimeKey {
		return slog.Attr{}
	}
	return attr
}

// logLines is a writer of whole lines, as slog's handlers write them.
type logLines struct{ status *term.Status }

func (l logLines) Write(p []byte) (int, error) {
	l.status.Line(term.Dim, strings.TrimSuffix(string(p), "\n"))
	return len(p), nil
}

// engine opens the session on first use.
func (a *App) engine(ctx context.Context) (engine, error) {
	s, err := a.opened(ctx)
	if err != nil {
		return nil, err
	}
	return s.engine, nil
}

func (a *App) opened(ctx context.Context) (*session, error) {
	if a.session != nil {
		return a.session, nil
	}
	s, err := a.open(ctx, a.notify)
	if err != nil {
		return nil, err
	}
	a.session = s
	return s, nil
}

// close ends what the command opened. What can go wrong there is of no use to
// anybody once the command has ended.
func (a *App) close() {
	if a.status != nil {
		a.status.Close()
	}
	if a.session != nil && a.session.close != nil {
		if err := a.session.close(); err != nil {
			a.logger().Debug("close repository", "err", err)
		}
	}
}
