package acceptance_test

import (
	"os"
	"strings"
	"testing"
	"time"

	"github.com/stella-ops/stella/internal/git/gittest"
)

// TestWithTheGitHostDown is three in the morning: the Git host is what broke, and
// what runs and what ran before must be told all the same.
func TestWithTheGitHostDown(t *testing.T) {
	t.Parallel()
	w := newWorld(t, plan{})
	w.must("reconcile", production)
	w.must("deploy", production, "--artifact", w.pushed("2.0.0"))
	w.must("rollback", production, "--reason", "5xx")
	if err := os.Rename(gittest.Dir(w.bare), gittest.Dir(w.bare)+".away"); err != nil {
		t.Fatal(err)
	}
	for _, tt := range []struct {
		args []string
		want string
	}{
		{[]string{"why", production}, "Unknown"},
		{[]string{"orch", "env", "status", production}, "production-3"},
		{[]string{"orch", "env", "list"}, "Unknown"},
		{[]string{"orch", "deployments", "list", production}, "production-2"},
		{[]string{"orch", "deployments", "show", "production-2"}, "2.0.0"},
		{[]string{"orch", "holds", "list"}, "2.0.0"},
		{[]string{"orch", "locks", "list"}, ""},
		{[]string{"orch", "health-check", production}, "components run"},
		{[]string{"rollback", "status", production}, "production-3"},
		{[]string{"rollback", "trace", production}, "production-3"},
	} {
		r := w.stella(tt.args...)
		if r.code != 2 || !strings.Contains(r.stdout, tt.want) || !strings.Contains(r.stderr, "seen last at") || r.hint() == "" {
			t.Errorf("want what was seen last, and exit code 2: %s", r)
		}
		if most := 20 * time.Second; r.took > most {
			t.Errorf("it took %s: %s", r.took, r)
		}
	}
	if r := w.stella("rollback", production, "--reason", "r"); r.code != 2 || !strings.Contains(r.hint(), "--offline") || strings.Contains(r.stderr, "seen last") {
		t.Errorf("a rollback without Git: %s", r)
	}
	if err := os.Rename(gittest.Dir(w.bare)+".away", gittest.Dir(w.bare)); err != nil {
		t.Fatal(err)
	}
	w.must("why", production)
}
