package reconciler_test

import (
	"errors"
	"strings"
	"testing"

	"github.com/stella-ops/stella"
	"github.com/stella-ops/stella/reconciler"
)

func TestWhatOnlyReadsAnswersWithoutGit(t *testing.T) {
	w := newWorld(t)
	w.reconcile()
	w.mustDeploy("b")
	var told []reconciler.Unfetched
	cfg := w.config("ana", func(ev reconciler.Event) {
		if u, ok := ev.(reconciler.Unfetched); ok {
			told = append(told, u)
		}
	})
	e := reconciler.New(cfg)
	if _, err := e.Status(t.Context(), prod, false); err != nil || len(told) != 0 {
		t.Fatal(err, told)
	}
	restore := w.cutOff()
	st, err := e.Status(t.Context(), prod, true)
	if err != nil || st.Sync != stella.SyncUnknown || !strings.Contains(st.Reason, "it was Synced") || st.Current == nil || st.Current.ID != "prod-2" {
		t.Errorf("%s (%s), current %+v, %v", st.Sync, st.Reason, st.Current, err)
	}
	if len(st.Targets) != 2 || st.Health != stella.Healthy {
		t.Errorf("the targets answer, and are not shown: %s, %+v", st.Health, st.Targets)
	}
	if len(told) != 1 || told[0].Since.IsZero() || told[0].Err == nil {
		t.Errorf("told %+v", told)
	}
	if b, err := e.Book(t.Context(), prod); err != nil || b.State.LastGood != "prod-2" {
		t.Errorf("ledger: %+v, %v", b.State, err)
	}
	if tr, err := e.Trace(t.Context(), prod, "prod-2", false); err != nil || tr.Deployment.ID != "prod-2" {
		t.Errorf("trace: %+v, %v", tr.Deployment, err)
	}
	if rs, err := e.RollbackStatus(t.Context(), prod, ""); err != nil || len(rs.Witnesses.Targets) != 2 {
		t.Errorf("witnesses: %+v, %v", rs, err)
	}
	all, err := e.Environments(t.Context())
	if err != nil || len(all) != 2 || all[0].Sync != stella.SyncUnknown {
		t.Errorf("environments: %+v, %v", all, err)
	}
	if _, err := e.Deploy(t.Context(), reconciler.DeployRequest{Environment: prod, Deployment: "prod-1"}); !errors.Is(err, stella.ErrNotFound) {
		t.Errorf("a deploy without Git: %v", err)
	}
	if _, err := e.Reconcile(t.Context(), reconciler.ReconcileRequest{Environment: prod}); !errors.Is(err, stella.ErrNotFound) {
		t.Errorf("a pass without Git: %v", err)
	}
	if _, err := w.engine("ben", nil).Status(t.Context(), prod, false); !errors.Is(err, stella.ErrNotFound) {
		t.Errorf("nothing was ever seen there, and it answers: %v", err)
	}

	restore()
	told = nil
	if st, err := e.Status(t.Context(), prod, false); err != nil || st.Sync != stella.Synced || len(told) > 0 {
		t.Errorf("Git is back: %s, %v, told %v", st.Sync, err, told)
	}
}

func TestWhatGitMustNotHaveIsNotPassedOver(t *testing.T) {
	w := newWorld(t)
	w.reconcile()
	w.mustDeploy("b")
	w.git("update-ref", "refs/heads/main", "refs/heads/main~1") // somebody forces the branch back
	if _, err := w.Status(t.Context(), prod, false); !errors.Is(err, stella.ErrTampered) {
		t.Errorf("a rewound branch is answered from the cache: %v", err)
	}
}

// TestADiffOfAnInvalidBranchSaysThatItIsOld: one trouble hides no other.
func TestADiffOfAnInvalidBranchSaysThatItIsOld(t *testing.T) {
	w := newWorld(t)
	w.reconcile()
	w.seeded("Oops", map[string]string{appRelease: "version: [\n"})
	invalid := w.diff(reconciler.DiffRequest{}).Error
	restore := w.cutOff()
	defer restore()
	d := w.diff(reconciler.DiffRequest{})
	if !strings.HasSuffix(d.Error, "; "+invalid) || invalid == "" || !strings.Contains(d.Error, "fetch config repository") || !strings.Contains(d.Error, "this goes by what was seen at") {
		t.Errorf("the diff says %q; with Git it said %q", d.Error, invalid)
	}
}
