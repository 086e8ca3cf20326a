package cli

import (
	"context"
	"errors"
	"fmt"
	"io"
	"regexp"
	"strings"
	"syscall"
	"time"

	"github.com/stella-ops/stella"
	"github.com/stella-ops/stella/internal/safe"
	"github.com/stella-ops/stella/internal/term"
	"github.com/stella-ops/stella/reconciler"
)

// class is one row of what the command line knows about a class of errors: its
// name in documents and, where the error itself has none, the next command to
// run. In a hint, ENV stands for the environment that the command was about.
type class struct {
	is   error
	code string
	hint string
}

// classes are tried in order; the first that matches decides. They end with one
// that matches everything.
func classes() []class {
	return []class{
		{ErrInterrupted, "interrupted", "run 'stella why ENV' to see where it stands"},
		{context.Canceled, "interrupted", "run 'stella why ENV' to see where it stands"},
		{errPrint, "error", "run 'stella why ENV' to see it again"},
		{stella.ErrRefused, "refused", "run 'stella why ENV' to see what stands in the way"},
		{stella.ErrConflict, "conflict", "run 'stella why ENV' to see what changed, then the command again"},
		{stella.ErrFrozen, "frozen", "run 'stella orch locks list ENV' to see who froze it and until when"},
		{stella.ErrLocked, "locked", "run 'stella orch locks list ENV' to see who holds it"},
		{stella.ErrFenced, "fenced", "run 'stella orch locks list ENV' to see who took over"},
		{stella.ErrTimeout, "timeout", "run 'stella why ENV' to see whether it goes on"},
		{context.DeadlineExceeded, "timeout", "run 'stella why ENV' to see whether it goes on"},
		{stella.ErrTampered, "tampered", "run 'stella orch db verify ENV' to see what does not add up"},
		{stella.ErrDenied, "denied", "set STELLA_GIT_TOKEN, or 'docker login' for a registry, and run the command again"},
		{stella.ErrNotFound, "not-found", "run 'stella orch env list' and 'stella orch deployments list ENV' to see what there is"},
		{stella.ErrUnsupported, "unsupported", "run 'stella validate' in a working copy of the config repository"},
		{stella.ErrUnhealthy, "unhealthy", "run 'stella orch health-check ENV' to see which check fails"},
		{stella.ErrUnreachable, "unreachable", "check the network and the address, then run the command again"},
		{stella.ErrInvalid, "invalid", "run 'stella validate' in a working copy of the config repository"},
		{nil, "error", "run 'stella why ENV' to see where it stands"},
	}
}

func classOf(err error) class {
	all := classes()
	for _, c := range all {
		if c.is != nil && errors.Is(err, c.is) {
			return c
		}
	}
	return all[len(all)-1]
}

// failure is the error document.
type failure struct {
	Code     string `json:"code"`
	Message  string `json:"message"`
	Hint     string `json:"hint"`
	ExitCode int    `json:"exitCode"`
	// Findings are why it was refused, each with its fix; empty for other errors.
	Findings []reconciler.Finding `json:"findings"`

	refused string // what was asked for, where there are findings
}

// note reports that nothing went wrong and something is left to do.
func (f failure) note() bool { return f.ExitCode == exitReview }

func (a *App) failure(err error) failure {
	f := failure{Message: err.Error(), Hint: stella.Hint(err), ExitCode: a.exitCode(err), Findings: []reconciler.Finding{}}
	if no, ok := errors.AsType[*reconciler.RefusedError](err); ok {
		f.Findings, f.refused = no.Findings, no.What
	}
	if u, ok := errors.AsType[*usageError](err); ok {
		f.Code = "usage"
		if f.Hint == "" {
			f.Hint = "run '" + u.command + " --help'"
		}
		return f
	}
	c := classOf(err)
	f.Code = c.code
	if f.Hint == "" {
		f.Hint = c.hint
	}
	f.Hint = a.aboutEnvironment(f.Hint)
	return f
}

// orUnfetched makes an answer that was given without the config repository one
// that nobody can vouch for: it was right when it was seen.
func (a *App) orUnfetched(err error) error {
	if a.unfetched == nil || !a.printed || err != nil && !errors.As(err, new(noError)) {
		return err
	}
	since := a.unfetched.Since.UTC().Format(time.RFC3339)
	return stella.WithHint(fmt.Errorf("%w; what is shown of it was seen last at %s", a.unfetched.Err, since),
		"run the command again when it answers; 'stella rollback ENV --offline --reason …' goes back without it")
}

// finish says how the command ended and returns its exit code.
func (a *App) finish(ctx context.Context, err error) int {
	err = a.orUnfetched(err)
	if no := (noError{}); errors.As(err, &no) && !a.flags.quiet {
		a.hint(no.hint)
	}
	if err == nil || errors.As(err, new(noError)) || isBrokenPipe(err) {
		return a.exitCode(withoutPipe(err))
	}
	if cause := context.Cause(ctx); errors.Is(cause, ErrInterrupted) && !errors.Is(err, ErrInterrupted) && errors.Is(err, context.Canceled) {
		err = errors.Join(ErrInterrupted, err)
	}
	f := a.failure(err)
	a.complain(f)
	if !a.printed && (a.flags.output == "json" || a.flags.output == "yaml") {
		// The reader of the document may be gone; the exit code says it too.
		_ = a.document(struct {
			SchemaVersion int     `json:"schemaVersion"`
			Error         failure `json:"error"`
		}{1, f})
	}
	return f.ExitCode
}

// complain writes an error and its hint for a person.
func (a *App) complain(f failure) {
	screen := a.err()
	first := screen.Paint(term.Bad, "stella: error:") + " "
	if f.note() {
		first = screen.Paint(term.Warn, "stella:") + " "
	}
	var b strings.Builder
	for i, line := range a.reasons(f) {
		prefix := "  "
		if i == 0 {
			prefix = first
		}
		b.WriteString(prefix + safe.Line(line) + "\n")
	}
	_, _ = io.WriteString(screen.W, b.String())
	a.hint(f.Hint)
}

// reasons are an error's text. Where several things stand in the way each has a
// line, and its way out another.
func (a *App) reasons(f failure) []string {
	if len(f.Findings) < 2 {
		return strings.Split(strings.TrimSpace(f.Message), "\n")
	}
	lines := []string{fmt.Sprintf("%s: nothing was touched, %d things stand in the way", f.refused, len(f.Findings))}
	for _, one := range f.Findings {
		lines = append(lines, one.Message, "  "+a.aboutEnvironment(one.Fix))
	}
	return lines
}

// hint writes what to do next, as the last line; nothing for an empty text.
func (a *App) hint(text string) {
	if text == "" {
		return
	}
	screen := a.err()
	_, _ = io.WriteString(screen.W, screen.Paint(term.Bold, "stella: hint:")+" "+safe.Line(a.aboutEnvironment(text))+"\n")
}

// aboutEnvironment puts the name of the environment that the command was about
// in a hint.
func (a *App) aboutEnvironment(hint string) string {
	if a.environment == "" {
		return hint
	}
	return environmentRE.ReplaceAllString(hint, "${1}"+string(a.environment))
}

// environmentRE finds the word that stands for the environment, and not a part of
// a path or a variable that is called so.
var environmentRE = regexp.MustCompile(`(^|[ '|])ENV\b`)

// isBrokenPipe reports whether whoever read stdout has left: `stella … | head`
// is no error of ours.
func isBrokenPipe(err error) bool {
	return errors.Is(err, errPrint) && errors.Is(err, syscall.EPIPE)
}

func withoutPipe(err error) error {
	if isBrokenPipe(err) {
		return nil
	}
	return err
}

// errPrint marks an error of writing the result to stdout.
var errPrint = errors.New("write the result")
