package cli

import (
	"context"
	"slices"
	"strings"
	"testing"
)

func TestARunningRollbackIsFollowedOnATerminalOnly(t *testing.T) {
	for _, c := range []struct {
		args     string
		terminal bool
		follows  bool
		code     int
	}{
		{"rollback status production", true, true, 0},
		{"rollback status production", false, false, 1},
		{"rollback status production --follow", false, true, 0},
		{"rollback status production --follow=false", true, false, 1},
		{"rollback status production -o json", true, false, 1},
		{"rollback status production -o json --follow", true, true, 0},
		{"rollback trace production-3", true, true, 0},
		{"rollback trace production", false, false, 0},
		{"rollback trace production -o yaml", true, false, 0},
		{"rollback trace production-2", true, false, 0}, // it has ended
		{"rollback status", true, true, 0},
	} {
		t.Run(c.args, func(t *testing.T) {
			f := newFake()
			f.running()
			p := process(t, strings.Fields(c.args)...)
			if c.terminal {
				p = onTerminal(p, "")
			}
			got := f.with(t, p)
			if follows := slices.Equal(f.followed, []string{"production-3"}); follows != c.follows || got.code != c.code {
				t.Errorf("terminal %v: followed %v, exit code %d\n%s", c.terminal, f.followed, got.code, got.stderr)
			}
			if strings.Contains(c.args, "json") && strings.Count(got.stdout, "schemaVersion\": 1,\n  \"environment") != 1 {
				t.Errorf("not one document:\n%s", got.stdout)
			}
		})
	}
}

func TestADriverThatDiedEndsFollowingWithTheCommandThatTakesOver(t *testing.T) {
	f := newFake()
	f.running()
	f.dead = true
	got := f.with(t, onTerminal(process(t, "rollback", "status", "production"), ""))
	if got.code != 1 || !strings.Contains(got.stdout, "Bob Builder") || !strings.Contains(got.stdout, "another machine (0a1b2c3d), process 4711") ||
		!strings.Contains(got.stderr, "run 'stella reconcile production'") {
		t.Errorf("exit code %d\n%s\n%s", got.code, got.stdout, got.stderr)
	}
}

func TestAnInterruptStopsFollowingAndNotTheRollback(t *testing.T) {
	f := newFake()
	f.running()
	f.waits = true
	ctx, cancel := context.WithCancelCause(t.Context())
	cancel(ErrInterrupted)
	got := f.under(ctx, onTerminal(process(t, "rollback", "status", "production"), ""))
	if got.code != exitTimeout || !strings.Contains(got.stderr, "hint:") {
		t.Errorf("exit code %d\n%s", got.code, got.stderr)
	}
}
