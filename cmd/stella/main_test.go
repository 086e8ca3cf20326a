package main

import (
	"bufio"
	"errors"
	"os"
	"os/exec"
	"os/signal"
	"strings"
	"syscall"
	"testing"
)

// asStella makes the test binary the program itself.
const asStella = "STELLA_TEST_MAIN"

func TestMain(m *testing.M) {
	if os.Getenv(asStella) != "" {
		main()
	}
	os.Exit(m.Run())
}

func stella(t *testing.T, args ...string) *exec.Cmd {
	t.Helper()
	cmd := exec.CommandContext(t.Context(), os.Args[0], args...)
	cmd.Env = append(os.Environ(), asStella+"=1", "PORT=0", "HOME="+t.TempDir())
	cmd.Dir = t.TempDir()
	return cmd
}

func TestTheProcessEndsWithTheCommandsCode(t *testing.T) {
	for args, want := range map[string]int{"version": 0, "nope": 2, "why production": 2} {
		out, err := stella(t, strings.Fields(args)...).CombinedOutput()
		got := 0
		if exit, ok := errors.AsType[*exec.ExitError](err); ok {
			got = exit.ExitCode()
		} else if err != nil {
			t.Fatal(err)
		}
		if got != want {
			t.Errorf("stella %s: exit code %d, want %d\n%s", args, got, want, out)
		}
	}
}

func TestARequestToEndStopsWhatRuns(t *testing.T) {
	// Who was started with nohup ignores the hang-up, and so would its children:
	// a signal that is caught here is as usual there.
	caught := make(chan os.Signal, 1)
	signal.Notify(caught, syscall.SIGHUP)
	defer signal.Stop(caught)
	for _, sig := range []os.Signal{os.Interrupt, syscall.SIGTERM, syscall.SIGHUP} {
		cmd := stella(t, "sample-app")
		stderr, err := cmd.StderrPipe()
		if err != nil {
			t.Fatal(err)
		}
		if err := cmd.Start(); err != nil {
			t.Fatal(err)
		}
		if line, err := bufio.NewReader(stderr).ReadString('\n'); err != nil || !strings.Contains(line, "listens") {
			t.Fatalf("it said %q, %v", line, err)
		}
		if err := cmd.Process.Signal(sig); err != nil {
			t.Fatal(err)
		}
		if err := cmd.Wait(); err != nil {
			t.Errorf("%v: %v, want an orderly end", sig, err)
		}
	}
}
