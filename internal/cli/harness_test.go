package cli

import (
	"bytes"
	"context"
	"io"
	"strings"
	"testing"

	"github.com/stella-ops/stella"
	"github.com/stella-ops/stella/reconciler"
)

// result is how a command line ended.
type result struct {
	code           int
	stdout, stderr string
}

// invoke runs a command line against the fake.
func (f *fakeEngine) invoke(t *testing.T, args ...string) result {
	t.Helper()
	return f.with(t, process(t, args...))
}

func (f *fakeEngine) with(t *testing.T, p Process) result {
	t.Helper()
	return f.under(t.Context(), p)
}

func (f *fakeEngine) under(ctx context.Context, p Process) result {
	var stdout, stderr bytes.Buffer
	if p.Stdout == nil {
		p.Stdout = &stdout
	}
	p.Stderr = &stderr
	code := run(ctx, p, func(_ context.Context, notify func(reconciler.Event)) (*session, error) {
		f.notify = notify
		return &session{engine: f, protected: func(context.Context, stella.EnvName, string) (bool, error) { return f.protected, nil }}, nil
	})
	return result{code, stdout.String(), stderr.String()}
}

// process is one without any terminal, in an empty directory.
func process(t *testing.T, args ...string) Process {
	dir := t.TempDir()
	return Process{
		Args: args, Stdin: strings.NewReader(""), Stderr: io.Discard,
		Getenv: func(string) string { return "" }, Getwd: func() (string, error) { return dir, nil },
		Executable: func() (string, error) { return "/usr/bin/stella", nil }, Now: noon, Version: "0.1.0",
	}
}

// onTerminal has a person type.
func onTerminal(p Process, typed string) Process {
	p.Stdin = strings.NewReader(typed)
	p.StdinTerminal, p.StdoutTerminal, p.StderrTerminal, p.Width = true, true, true, 120
	return p
}
