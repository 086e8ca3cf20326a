package reconciler_test

import (
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/stella-ops/stella"
	"github.com/stella-ops/stella/internal/git/gittest"
	"github.com/stella-ops/stella/reconciler"
)

// What a panic in a driver's goroutine would do to the process, no test could
// tell: it would be gone.
func TestAPanicInADriverIsThatTargetsErrorAndTheNextPassGoesOn(t *testing.T) {
	for _, in := range []string{"open", "observe", "prepare", "apply"} {
		t.Run(in, func(t *testing.T) {
			w := newWorld(t)
			w.reconcile()
			b := w.machines["b"]
			b.mu.Lock()
			b.panics = in
			b.mu.Unlock()
			out, err := w.deploy("b")
			said := ""
			if err != nil {
				said = err.Error()
			}
			if d := out.Deployment; d != nil {
				said += d.Error
				if d.Status == stella.Succeeded {
					t.Errorf("deployment %s succeeded", d.ID)
				}
			}
			if out.Plan != nil {
				for _, f := range out.Plan.Findings {
					said += f.Target + f.Message
				}
			}
			if !strings.Contains(said, "b") || !strings.Contains(said, "a defect in stella") {
				t.Errorf("it was said: %q", said)
			}
			b.mu.Lock()
			b.panics = ""
			b.mu.Unlock()
			if _, err := w.Reconcile(t.Context(), reconciler.ReconcileRequest{Environment: prod, Retry: true}); err != nil {
				t.Fatal(err)
			}
			if runs := w.runs(); runs != "aa" && runs != "bb" {
				t.Errorf("runs %s", runs)
			}
			if history := w.history(); strings.Contains(history, "locked") || strings.Contains(history, "running") {
				t.Errorf("history:\n%s", history)
			}
		})
	}
}

func TestAJournalIsClosedWhenTheOutcomeCanNotBeRecorded(t *testing.T) {
	w := newWorld(t)
	c := w.config("ana", nil)
	// The branch and the intent are pushed by then; what comes is the outcome.
	w.machines["a"].prepared = func() {
		gittest.Hook(t, w.bare, "pre-receive", "echo no; exit 1")
	}
	if _, err := reconciler.New(c).Reconcile(t.Context(), reconciler.ReconcileRequest{Environment: prod}); err == nil {
		t.Fatal("the outcome was recorded")
	}
	journals, err := filepath.Glob(filepath.Join(c.Journals, "*"))
	if err != nil || len(journals) != 1 {
		t.Errorf("journals %v, %v: want the one of which the ledger knows no end", journals, err)
	}
	descriptors, err := filepath.Glob("/proc/self/fd/*")
	if err != nil || len(descriptors) == 0 {
		t.Fatal(descriptors, err)
	}
	for _, fd := range descriptors {
		if file, err := os.Readlink(fd); err == nil && strings.HasPrefix(file, c.Journals) {
			t.Errorf("%s is still open", file)
		}
	}
}
