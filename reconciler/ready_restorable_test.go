package reconciler_test

import (
	"strings"
	"testing"

	"github.com/stella-ops/stella"
	"github.com/stella-ops/stella/reconciler"
)

func TestReadinessCountsWhatCanBeHad(t *testing.T) {
	w := newWorld(t)
	w.reconcile()
	for _, v := range []string{"b", "c"} {
		w.mustDeploy(v)
	}
	ask := func() reconciler.EnvironmentReadiness {
		t.Helper()
		all, err := w.Ready(t.Context(), prod)
		if err != nil || len(all) != 1 || all[0].Error != "" {
			t.Fatalf("%+v, %v", all, err)
		}
		return all[0]
	}
	r := ask()
	if n := r.Restorable; n.Wanted != 2 || n.Versions != 2 || n.Registry != 2 || len(r.Warnings) != 0 {
		t.Errorf("all there: %+v, %v", n, r.Warnings)
	}
	w.shelf.missing[digestOf("a")] = true
	if r = ask(); r.Restorable.Versions != 1 || r.Restorable.Registry != 1 || len(r.Warnings) != 1 || !r.Ready {
		t.Errorf("one further back is lost: %+v, %v", r.Restorable, r.Warnings)
	}
	w.shelf.missing[digestOf("b")] = true
	if r = ask(); r.Ready || r.Restorable.Versions != 0 {
		t.Errorf("the previous one is lost: %+v, %v", r.Restorable, r.Warnings)
	}
	w.shelf.backup, w.shelf.copies = "backup.example.com", map[stella.Digest]bool{digestOf("a"): true, digestOf("b"): true}
	if r = ask(); r.Restorable.Backup == 0 || len(r.Warnings) == 0 || !strings.Contains(r.Warnings[len(r.Warnings)-1], "--restore-artifacts") {
		t.Errorf("the backup has them: %+v, %v", r.Restorable, r.Warnings)
	}
}
