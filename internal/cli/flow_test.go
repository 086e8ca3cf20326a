package cli

import (
	"bytes"
	"context"
	"errors"
	"io"
	"strings"
	"syscall"
	"testing"
	"testing/synctest"

	"github.com/stella-ops/stella"
	"github.com/stella-ops/stella/reconciler"
)

func TestAProtectedEnvironmentIsChangedOnlyWhenSomebodyAgreed(t *testing.T) {
	for _, c := range []struct {
		name     string
		args     []string
		terminal bool
		typed    string
		code     int
		stderr   string
	}{
		{"off a terminal there is nobody to ask", nil, false, "", exitUnknown, "--plan-hash"},
		{"a hash from a dry run agrees", []string{"--plan-hash", planHash}, false, "", exitDone, "begins"},
		{"another plan was not agreed to", []string{"--plan-hash", "feedfeedfeedfeed"}, false, "", exitRefused, "the plan is"},
		{"a person types the name", nil, true, "production\n", exitDone, "Type its name"},
		{"a person types another name", nil, true, "staging\n", exitUnknown, "nothing was changed"},
		{"a person gives up", nil, true, "", exitUnknown, "nothing was changed"},
		{"a dry run changes nothing and asks nobody", []string{"--dry-run"}, false, "", exitDone, "--plan-hash " + planHash},
	} {
		t.Run(c.name, func(t *testing.T) {
			f := newFake()
			f.protected = true
			p := process(t, append([]string{"rollback", "production"}, c.args...)...)
			if c.terminal {
				p = onTerminal(p, c.typed)
			}
			got := f.with(t, p)
			if got.code != c.code || !strings.Contains(got.stderr, c.stderr) {
				t.Errorf("exit code %d, want %d; stderr has no %q:\n%s", got.code, c.code, c.stderr, got.stderr)
			}
			if changed := len(f.got) > 0; changed != (c.code == exitDone && !strings.Contains(strings.Join(c.args, " "), "dry-run")) {
				t.Errorf("changed: %v", changed)
			}
		})
	}
}

func TestWhatAPersonAgreedToIsWhatIsDone(t *testing.T) {
	f := newFake()
	f.protected = true
	f.with(t, onTerminal(process(t, "rollback", "production"), "production\n"))
	if len(f.got) != 1 || !f.got[0].Confirmed || f.got[0].PlanHash != planHash {
		t.Errorf("options %+v, want the shown plan's hash, confirmed", f.got)
	}
}

func TestNobodyIsAskedForWhatWouldBeRefused(t *testing.T) {
	f := newFake()
	f.protected = true
	f.findings = []reconciler.Finding{{Code: "artifact-missing", Message: "image api: not found", Fix: "push it"}}
	got := f.with(t, onTerminal(process(t, "rollback", "production"), "production\n"))
	if got.code != exitRefused || strings.Contains(got.stderr, "Type its name") || !strings.Contains(got.stderr, "push it") {
		t.Errorf("exit code %d\n%s", got.code, got.stderr)
	}
}

func TestUndoingMoreThanTheLastChangeIsAskedFor(t *testing.T) {
	for typed, code := range map[string]int{"y\n": exitDone, "yes\n": exitDone, "\n": exitUnknown, "no\n": exitUnknown} {
		f := newFake()
		f.reverts = []string{commit1, commit2}
		got := f.with(t, onTerminal(process(t, "rollback", "production"), typed))
		if got.code != code || !strings.Contains(got.stderr, "this undoes 1 change besides") {
			t.Errorf("typed %q: exit code %d, want %d\n%s", typed, got.code, code, got.stderr)
		}
	}
	f := newFake()
	f.reverts = []string{commit1, commit2}
	if got := f.invoke(t, "rollback", "production"); got.code != exitDone {
		t.Errorf("off a terminal: exit code %d\n%s", got.code, got.stderr)
	}
}

func TestHowADeploymentEndsIsTheExitCode(t *testing.T) {
	for _, c := range []struct {
		name   string
		fails  stella.Status
		back   bool
		code   int
		stderr string
	}{
		{"verified", "", false, exitDone, "production-3 succeeded"},
		{"failed and rolled back", stella.Failed, true, exitFailed, "production is back on production-1 (2.3.0), verified"},
		{"failed and left", stella.Failed, false, exitFailed, "stella: error: production-3 failed: web-1: check web answers: 503"},
		{"partial", stella.Partial, false, exitPartial, "stella orch env status production --detailed"},
		{"nothing touched", stella.Errored, false, exitRefused, "nothing was touched"},
		{"stopped", stella.Aborted, false, exitFailed, "stella reconcile production"},
		{"overtaken", stella.Superseded, false, exitRefused, "a newer one took its place"},
		{"goes on elsewhere", stella.Running, false, exitTimeout, "production-3 is still running"},
	} {
		t.Run(c.name, func(t *testing.T) {
			f := newFake()
			f.fails, f.rollsBack = c.fails, c.back
			got := f.invoke(t, "deploy", "production", "--artifact", newImage, "-o", "json")
			if got.code != c.code || !strings.Contains(got.stderr, c.stderr) {
				t.Errorf("exit code %d, want %d; stderr:\n%s", got.code, c.code, got.stderr)
			}
			if strings.Count(got.stdout, "schemaVersion\": 1,\n  \"") != 1 {
				t.Errorf("stdout is not one document:\n%s", got.stdout)
			}
		})
	}
}

func TestTheFirstInterruptStopsAndTheDeploymentIsRecorded(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		f := newFake()
		f.waits = true
		ctx, cancel := context.WithCancelCause(t.Context())
		ended := make(chan result)
		p := process(t, "deploy", "production", "--artifact", newImage)
		go func() { ended <- f.under(ctx, p) }()
		synctest.Wait()
		cancel(ErrInterrupted)
		got := <-ended
		if got.code != exitFailed || !strings.Contains(got.stderr, "the step under way ends and is recorded") ||
			!strings.Contains(got.stderr, "production-3 aborted: interrupted") {
			t.Errorf("exit code %d\n%s", got.code, got.stderr)
		}
	})
}

func TestAnInterruptWhileFollowingSaysHowToLookAgain(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		f := newFake()
		f.waits = true
		f.lock(false)
		ctx, cancel := context.WithCancelCause(t.Context())
		ended := make(chan result)
		p := process(t, "deploy", "production", "--artifact", newImage)
		go func() { ended <- f.under(ctx, p) }()
		synctest.Wait()
		cancel(ErrInterrupted)
		got := <-ended
		if got.code != exitTimeout || !strings.Contains(got.stderr, "waiting for the lock of bob@ci") || !strings.Contains(got.stderr, "stella why production") {
			t.Errorf("exit code %d\n%s", got.code, got.stderr)
		}
	})
}

// gone is a stdout whose reader has left, or whose disk is full.
type gone struct{ err error }

func (g gone) Write([]byte) (int, error) { return 0, g.err }

func TestAReaderThatLeftIsNoError(t *testing.T) {
	for _, args := range [][]string{{"orch", "env", "list"}, {"orch", "env", "list", "-o", "json"}, {"rollback", "production"}, {"version"}, {"--help"}} {
		p := process(t, args...)
		p.Stdout = gone{syscall.EPIPE}
		if got := newFake().with(t, p); got.code != exitDone || strings.Contains(got.stderr, "error") {
			t.Errorf("stella %v: exit code %d\n%s", args, got.code, got.stderr)
		}
	}
	p := process(t, "plan", "production")
	p.Stdout = gone{syscall.EPIPE}
	f := newFake()
	f.fails = stella.Failed
	p.Args = []string{"deploy", "production", "--artifact", newImage}
	if got := f.with(t, p); got.code != exitFailed {
		t.Errorf("a failed deployment: exit code %d, want %d: the outcome counts, not the reader", got.code, exitFailed)
	}
}

func TestAResultThatCanNotBeWrittenIsAnError(t *testing.T) {
	p := process(t, "rollback", "production", "-o", "json")
	p.Stdout = gone{syscall.ENOSPC}
	got := newFake().with(t, p)
	if got.code != exitUnknown || !strings.Contains(got.stderr, "production is Synced: write the result: no space left on device") {
		t.Errorf("exit code %d\n%s", got.code, got.stderr)
	}
}

func TestProgressOffATerminalIsOneLineAStep(t *testing.T) {
	got := newFake().invoke(t, "deploy", "production", "--artifact", newImage)
	want := "production: production-3 deploy (2.4.0) begins\n" +
		"production: web-1 update service/api\n" +
		"production: apply web-1 … 1.2s\n" +
		"production: production-3 succeeded … 2.0s\n"
	if !strings.HasSuffix(got.stderr, want) {
		t.Errorf("stderr does not end with\n%s\nit is\n%s", want, got.stderr)
	}
	if strings.ContainsAny(got.stderr+got.stdout, "\x1b\r") {
		t.Error("there are escape sequences")
	}
}

func TestQuietSaysNothingButErrors(t *testing.T) {
	if got := newFake().invoke(t, "deploy", "production", "--artifact", newImage, "-q"); got.stderr != "" {
		t.Errorf("stderr:\n%s", got.stderr)
	}
	if got := newFake().invoke(t, "why", "nowhere", "-q"); !strings.Contains(got.stderr, "stella: error:") {
		t.Errorf("stderr:\n%s", got.stderr)
	}
}

func TestColourOnlyOnATerminalThatWantsIt(t *testing.T) {
	for _, c := range []struct {
		name string
		env  map[string]string
		args []string
		want bool
	}{
		{"a terminal has colour", nil, nil, true},
		{"NO_COLOR", map[string]string{"NO_COLOR": "1"}, nil, false},
		{"--no-color", nil, []string{"--no-color"}, false},
		{"a dumb terminal", map[string]string{"TERM": "dumb"}, nil, false},
	} {
		t.Run(c.name, func(t *testing.T) {
			p := onTerminal(process(t, append([]string{"orch", "env", "list"}, c.args...)...), "")
			p.Getenv = func(key string) string { return c.env[key] }
			if got := newFake().with(t, p); strings.Contains(got.stdout, "\x1b[") != c.want {
				t.Errorf("colour: %v\n%q", !c.want, got.stdout)
			}
		})
	}
}

func TestReconcileGoesOnAfterAFailureAndEndsWithTheWorst(t *testing.T) {
	f := newFake()
	f.books["staging"] = f.books["production"]
	got := f.invoke(t, "reconcile", "production", "nowhere", "staging", "-o", "json")
	if got.code != exitUnknown || len(f.got) != 2 || !strings.Contains(got.stderr, "1 of 3 environments did not end well") {
		t.Errorf("exit code %d, %d changed\n%s", got.code, len(f.got), got.stderr)
	}
	f = newFake()
	f.books["staging"] = f.books["production"]
	if got := f.invoke(t, "reconcile", "--all"); got.code != exitDone || len(f.got) != 2 {
		t.Errorf("exit code %d, %d changed\n%s", got.code, len(f.got), got.stderr)
	}
}

func TestADryRunOfSeveralIsOneDocument(t *testing.T) {
	f := newFake()
	f.books["staging"] = f.books["production"]
	got := f.invoke(t, "reconcile", "production", "nowhere", "staging", "--dry-run", "-o", "json")
	if got.code != exitUnknown || len(f.got) != 0 || strings.Count(got.stdout, `"hash"`) != 2 {
		t.Errorf("exit code %d, %d changed\n%s%s", got.code, len(f.got), got.stdout, got.stderr)
	}
	got = f.invoke(t, "reconcile", "--all", "--dry-run")
	if got.code != exitDone || len(f.got) != 0 || !strings.Contains(got.stdout, "staging: 1 change on 1 target") {
		t.Errorf("exit code %d, %d changed\n%s", got.code, len(f.got), got.stdout)
	}
}

func TestAForcedReleaseNamesWhatItInterrupts(t *testing.T) {
	f := newFake()
	f.lock(false)
	if got := f.invoke(t, "orch", "locks", "release", "production"); got.code != exitLocked {
		t.Errorf("a live lock was released: exit code %d", got.code)
	}
	got := f.invoke(t, "orch", "locks", "release", "lock-8", "--force", "--reason", "runner died")
	if got.code != exitDone || !strings.Contains(got.stderr, "this interrupts production-3, which bob@ci carries out") {
		t.Errorf("exit code %d\n%s", got.code, got.stderr)
	}
}

func TestEndingAProtectedEnvironmentWantsItsName(t *testing.T) {
	for _, c := range []struct {
		args  []string
		typed string
		code  int
	}{
		{[]string{"orch", "env", "stop", "production"}, "", exitUnknown},
		{[]string{"orch", "env", "stop", "production"}, "production\n", exitDone},
		{[]string{"orch", "env", "stop", "production", "--confirm", "production"}, "", exitDone},
		{[]string{"orch", "env", "stop", "production", "--dry-run"}, "", exitDone},
		{[]string{"orch", "env", "delete", "production"}, "production\n", exitUnknown},
		{[]string{"orch", "env", "delete", "production", "--confirm", "staging"}, "", exitUnknown},
		{[]string{"orch", "env", "delete", "production", "--confirm", "production"}, "", exitDone},
	} {
		f := newFake()
		f.protected = true
		p := process(t, c.args...)
		if c.typed != "" {
			p = onTerminal(p, c.typed)
		}
		got := f.with(t, p)
		if got.code != c.code {
			t.Errorf("stella %v: exit code %d, want %d\n%s", c.args, got.code, c.code, got.stderr)
		}
		if want := c.code == exitDone && c.args[len(c.args)-1] != "--dry-run"; (len(f.stopped) > 0) != want {
			t.Errorf("stella %v: stopped %v", c.args, f.stopped)
		}
	}
}

func TestWhatAPersonTypesIsReadOnlyOnce(t *testing.T) {
	a := newApp(t.Context(), process(t))
	a.process.Stdin, a.process.Stderr = &bytes.Buffer{}, io.Discard
	if _, err := a.ask(t.Context(), "? "); err != nil {
		t.Errorf("an ended stdin: %v, want an empty answer", err)
	}
	ctx, cancel := context.WithCancelCause(t.Context())
	r, w := io.Pipe()
	defer func() { _ = w.Close() }()
	a.process.Stdin = r
	cancel(ErrInterrupted)
	if _, err := a.ask(ctx, "? "); !errors.Is(err, ErrInterrupted) {
		t.Errorf("an interrupt while asked: %v", err)
	}
}
