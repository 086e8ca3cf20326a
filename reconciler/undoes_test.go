package reconciler_test

import (
	"errors"
	"testing"

	"github.com/stella-ops/stella"
	"github.com/stella-ops/stella/internal/git/gittest"
	"github.com/stella-ops/stella/reconciler"
)

func (w *world) planRollback(req reconciler.RollbackRequest) *reconciler.Plan {
	w.t.Helper()
	req.Environment, req.DryRun = prod, true
	out, err := w.Rollback(w.t.Context(), req)
	if err != nil {
		w.t.Fatal(err)
	}
	return out.Plan
}

func TestAPlanTellsWhatElseGoes(t *testing.T) {
	w := newWorld(t)
	w.reconcile()
	w.mustDeploy("b")
	w.mustDeploy("c")
	p := w.planRollback(reconciler.RollbackRequest{To: "prod-1"})
	if len(p.Undoes) != 2 || p.Undoes[0].Also || !p.Undoes[1].Also {
		t.Fatalf("undoes %+v", p.Undoes)
	}
	if u := p.Undoes[1]; u.Deployment != "prod-2" || u.Author != "ana" || u.Subject != "Deploy b to prod" {
		t.Errorf("what else goes: %+v", u)
	}
	if p.ExpectedSeconds != 0 {
		t.Errorf("nobody knows how long a rollback takes here: %v", p.ExpectedSeconds)
	}
	w.rollback(reconciler.Options{})
	// The revert and what it took back are in the way to prod-1, and in effect no more.
	p = w.planRollback(reconciler.RollbackRequest{})
	if len(p.Reverts) != 3 || len(p.Undoes) != 1 || p.Undoes[0].Deployment != "prod-2" || p.ExpectedSeconds <= 0 {
		t.Errorf("reverts %v, undoes %+v, takes %v", p.Reverts, p.Undoes, p.ExpectedSeconds)
	}
}

func TestADestinationIsNamedInManyWays(t *testing.T) {
	w := newWorld(t)
	w.reconcile()
	first := w.git("rev-parse", "main")
	w.git("tag", "good", first)
	gittest.Run(t, gittest.Dir(w.bare), "-c", "user.name=t", "-c", "user.email=t@example.com", "tag", "-a", "-m", "annotated", "better", first)
	tree := w.git("rev-parse", "main:envs/prod/app")
	w.mustDeploy("b")
	w.commitFile("envs/prod/app/notes.md", "never deployed\n", "never deployed")
	never := w.git("rev-parse", "main")
	w.commitFile("baselines/prod.yaml", "apiVersion: stella/v1\nkind: Baseline\nenvironment: prod\ndeployment: prod-1\ncommit: "+first+"\ntree: "+tree+
		"\ncomponents:\n  web: r.example.com/shop/web:a@"+string(digestOf("a"))+"\ndesired: "+string(digestOf("a"))+"\ncapturedAt: 2026-11-23T10:00:00Z\n", "baseline")
	for _, to := range []string{"prod-1", "deployment:prod-1", "a", "version:a", first, "commit:" + first, first[:10], "good", "tag:good", "tag:better", "baseline"} {
		if p := w.planRollback(reconciler.RollbackRequest{To: to}); p.Tree != tree || p.Release != "a" {
			t.Errorf("--to %s leads to tree %s, release %s", to, p.Tree, p.Release)
		}
	}
	for to, class := range map[string]error{
		"prod-9": stella.ErrNotFound, "tag:worse": stella.ErrNotFound, "zzz": stella.ErrNotFound, "version:9": stella.ErrNotFound,
		never: stella.ErrRefused, "tag:..": stella.ErrInvalid,
	} {
		_, err := w.Rollback(t.Context(), reconciler.RollbackRequest{Environment: prod, To: to, Options: reconciler.Options{DryRun: true}})
		if !errors.Is(err, class) || stella.Hint(err) == "" {
			t.Errorf("--to %s: %v (hint %q), want %v", to, err, stella.Hint(err), class)
		}
	}
}
