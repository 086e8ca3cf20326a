// Command stella releases from Git and goes back. It hands the process to
// package cli and does nothing else: arguments, streams, terminals, signals and
// the exit code are what it knows.
package main

import (
	"context"
	"os"
	"os/signal"
	"runtime/debug"
	"syscall"
	"time"

	"github.com/stella-ops/stella/internal/cli"
	"github.com/stella-ops/stella/internal/term"
)

// version is set by the build of a release, -ldflags "-X main.version=1.2.3".
var version string

func main() {
	os.Exit(run())
}

func run() int {
	ctx, cancel := context.WithCancelCause(context.Background())
	defer cancel(nil)
	if !cli.IsShim(os.Args[1:]) {
		watchSignals(cancel)
	}
	return cli.Main(ctx, process())
}

// exitKilled is what a shell reports for a process that an interrupt ended.
const exitKilled = 130

// watchSignals makes the first interrupt a request to stop: what is under way
// ends and is recorded. The second ends the process at once.
func watchSignals(cancel context.CancelCauseFunc) {
	stop := []os.Signal{os.Interrupt, syscall.SIGTERM}
	if !signal.Ignored(syscall.SIGHUP) { // nohup stays nohup
		stop = append(stop, syscall.SIGHUP)
	}
	signals := make(chan os.Signal, 2)
	signal.Notify(signals, stop...)
	// Whoever reads our output may leave; writing to it fails then, and does not
	// end a deployment half way.
	signal.Notify(make(chan os.Signal, 1), syscall.SIGPIPE)
	go func() {
		<-signals
		cancel(cli.ErrInterrupted)
		<-signals
		os.Exit(exitKilled)
	}()
}

func process() cli.Process {
	built, commit := buildInfo()
	return cli.Process{
		Args: os.Args[1:], Stdin: os.Stdin, Stdout: os.Stdout, Stderr: os.Stderr,
		Getenv: os.Getenv, Getwd: os.Getwd, Executable: os.Executable, Now: time.Now,
		StdinTerminal: term.IsTerminal(os.Stdin), StdoutTerminal: term.IsTerminal(os.Stdout), StderrTerminal: term.IsTerminal(os.Stderr),
		Width: term.Width(os.Stderr), Version: built, Commit: commit,
	}
}

// buildInfo returns the version and the commit that this binary was built from,
// where the build knew them.
func buildInfo() (built, commit string) {
	built = version
	info, ok := debug.ReadBuildInfo()
	if !ok {
		return built, ""
	}
	if built == "" && info.Main.Version != "(devel)" {
		built = info.Main.Version
	}
	for _, s := range info.Settings {
		if s.Key == "vcs.revision" {
			commit = s.Value
		}
	}
	return built, commit
}
