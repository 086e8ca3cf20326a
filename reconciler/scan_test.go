package reconciler_test

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/stella-ops/stella"
	"github.com/stella-ops/stella/internal/git/gittest"
	"github.com/stella-ops/stella/ledger"
	"github.com/stella-ops/stella/reconciler"
)

// drifting is a world with a mode whose first deployment is done.
func drifting(t *testing.T, mode string, change ...string) *world {
	t.Helper()
	w := newWorld(t, append([]string{"verify:", "drift: {mode: '" + mode + "'}\nverify:"}, change...)...)
	w.reconcile()
	return w
}

// tamper changes a field of a machine's service behind everybody's back; nil
// takes it away.
func (w *world) tamper(machine, field string, value any) {
	w.t.Helper()
	m := w.machines[machine]
	m.mu.Lock()
	defer m.mu.Unlock()
	m.state.Resources = slices.Clone(m.state.Resources)
	for i, r := range m.state.Resources {
		if r.ID != "service/web" {
			continue
		}
		r.Fields = maps.Clone(r.Fields)
		if r.Fields[field] = value; value == nil {
			delete(r.Fields, field)
		}
		m.state.Resources[i] = r
	}
}

func (w *world) kill(machine string) {
	m := w.machines[machine]
	m.mu.Lock()
	defer m.mu.Unlock()
	m.state.Resources = slices.DeleteFunc(slices.Clone(m.state.Resources), func(r stella.Resource) bool { return r.ID == "service/web" })
}

func (w *world) intrude(machine string) {
	m := w.machines[machine]
	m.mu.Lock()
	defer m.mu.Unlock()
	m.state.Resources = append(slices.Clone(m.state.Resources), stella.Resource{ID: "service/zombie", Fields: map[string]any{"image": "x"}})
}

func (w *world) scan() reconciler.Scan {
	w.t.Helper()
	s, err := w.Scan(w.t.Context(), prod)
	if err != nil {
		w.t.Fatal(err)
	}
	return s
}

func (w *world) transitions() int64 {
	w.t.Helper()
	return w.book().State.Transitions
}

func (w *world) book() ledger.Book {
	w.t.Helper()
	b, err := w.Book(w.t.Context(), prod)
	if err != nil {
		w.t.Fatal(err)
	}
	return b
}

// told are findings in words: where, what, how it ended.
func told(list []stella.DriftFinding) string {
	var out []string
	for _, f := range list {
		out = append(out, strings.TrimSpace(fmt.Sprintf("%s %s%s %s %s", f.Target, f.Resource, f.Path, f.Class, f.Ended)))
	}
	return strings.Join(out, "; ")
}

func (w *world) wantHistoryOfDrift(want string) {
	w.t.Helper()
	all, err := w.DriftHistory(w.t.Context(), prod)
	if err != nil {
		w.t.Fatal(err)
	}
	if got := told(all); got != want {
		w.t.Errorf("history of drift:\n%s\nwant\n%s", got, want)
	}
	for _, f := range all {
		if f.LastSeen.Before(f.FirstSeen) || f.EndedAt != nil && f.EndedAt.Before(f.LastSeen) || f.Duration(time.Now()) < 0 {
			w.t.Errorf("times of %+v", f)
		}
	}
}

func TestAThousandScansOfAnUnchangedEnvironmentAreOneTransition(t *testing.T) {
	w := drifting(t, "report")
	w.tamper("a", "user", "root")
	before := w.transitions()
	first := w.scan()
	if told(first.Opened) != "a service/web/user extra" || !first.Diff.Drifted || first.Mode != "report" || first.Healed != nil {
		t.Fatalf("%+v", first)
	}
	n := 1000
	if testing.Short() {
		n = 50
	}
	var last reconciler.Scan
	for range n - 1 {
		last = w.scan()
	}
	if got := w.transitions(); got != before+1 {
		t.Errorf("%d transitions for %d scans", got-before, n)
	}
	if len(last.Opened)+len(last.Ended) != 0 || told(last.Open) != told(first.Open) || !last.Open[0].LastSeen.After(last.Open[0].FirstSeen) {
		t.Errorf("the last scan: %+v", last)
	}
	// What ends was last seen by a scan that wrote nothing.
	w.tamper("a", "user", nil)
	if s := w.scan(); told(s.Ended) != "a service/web/user extra went away" || !s.Ended[0].LastSeen.Equal(last.Open[0].LastSeen) {
		t.Errorf("it ended as %+v, last seen %v", s.Ended, last.Open[0].LastSeen)
	}
	w.wantHistoryOfDrift("a service/web/user extra went away")
}

func TestDetectRecordsAndNeverHeals(t *testing.T) {
	w := drifting(t, "heal")
	w.kill("a")
	diffs, err := w.Detect(t.Context(), reconciler.DetectRequest{})
	if err != nil || len(diffs) != 2 || !diffs[0].Drifted || diffs[0].Against != "prod-1" {
		t.Fatalf("%+v, %v", diffs, err)
	}
	if staging := diffs[1]; staging.Error != "" || staging.Drifted || len(staging.Notes) != 1 || !strings.Contains(staging.Notes[0], "nothing was deployed yet") {
		t.Errorf("an environment that was never deployed: %+v", staging)
	}
	w.wantHistoryOfDrift("a service/web missing")
	w.wantHistory("prod-1 deploy a succeeded\n")
	if _, err := w.Detect(t.Context(), reconciler.DetectRequest{Environments: []stella.EnvName{"nope"}}); !errors.Is(err, stella.ErrNotFound) {
		t.Errorf("an environment that is not there: %v", err)
	}
}

func TestDriftIsHealedWhereItIsAndNothingElseIsTouched(t *testing.T) {
	for name, c := range map[string]struct {
		tamper func(w *world)
		want   string
	}{
		"a dead process":    {func(w *world) { w.kill("b") }, "b service/web missing healed"},
		"a changed command": {func(w *world) { w.tamper("b", "command", []any{"sh"}) }, "b service/web/command extra healed"},
		"a changed image":   {func(w *world) { w.tamper("b", "image", ref("c").String()) }, "b service/web/image modified healed"},
		"what nobody wants": {func(w *world) { w.intrude("b") }, "b service/zombie extra healed"},
	} {
		t.Run(name, func(t *testing.T) {
			w := drifting(t, "heal")
			starts := w.machines["a"].starts
			c.tamper(w)
			s := w.scan()
			if s.Healed == nil || s.Healed.Status != stella.Succeeded || s.NotHealed != "" || !s.Healed.Automatic || told(s.Ended) != c.want || len(s.Open) != 0 {
				t.Fatalf("healed %+v, not healed %q, ended %s", s.Healed, s.NotHealed, told(s.Ended))
			}
			if w.runs() != "aa" || w.machines["a"].starts != starts {
				t.Errorf("runs %s, a was restarted %d times", w.runs(), w.machines["a"].starts-starts)
			}
			if !strings.Contains(s.Healed.Reason, "drift from prod-1: b service/") {
				t.Errorf("the reason is %q", s.Healed.Reason)
			}
			w.wantHistory("prod-1 deploy a succeeded\nprod-2 heal a succeeded restores prod-1\n")
			w.wantHistoryOfDrift(c.want)
			before := w.transitions()
			if s := w.scan(); s.Healed != nil || s.Diff.Drifted || w.transitions() != before {
				t.Errorf("the next scan: %+v", s)
			}
			if d := w.status().Drift; d.Count != 0 || d.Since != nil {
				t.Errorf("the status says %+v", d)
			}
		})
	}
}

func TestATargetThatCanNotBeReadChangesNothingOfItsFindings(t *testing.T) {
	w := drifting(t, "report")
	w.tamper("a", "user", "root")
	w.tamper("b", "user", "root")
	w.scan()
	w.machines["a"].down = true
	w.tamper("a", "user", nil)
	w.tamper("b", "user", nil)
	before := w.transitions()
	s := w.scan()
	if told(s.Open) != "a service/web/user extra" || told(s.Ended) != "b service/web/user extra went away" || len(s.Diff.Unread()) != 1 {
		t.Errorf("open %s, ended %s", told(s.Open), told(s.Ended))
	}
	if s := w.scan(); told(s.Open) != "a service/web/user extra" || w.transitions() != before+1 {
		t.Errorf("open %s", told(s.Open))
	}
	w.machines["a"].down = false
	if s := w.scan(); told(s.Ended) != "a service/web/user extra went away" {
		t.Errorf("ended %s", told(s.Ended))
	}
}

func TestHowAFindingEnds(t *testing.T) {
	const finding = "a service/web/environment/LEVEL modified"
	for name, c := range map[string]struct {
		end  func(w *world)
		want string
	}{
		"a person reconciles": {func(w *world) {
			if _, err := w.Reconcile(w.t.Context(), reconciler.ReconcileRequest{Environment: prod, Heal: true}); err != nil {
				w.t.Fatal(err)
			}
		}, finding + " healed"},
		"another release is deployed": {func(w *world) { w.mustDeploy("b") }, finding + " healed"},
		"the file takes it over": {func(w *world) {
			w.commitFile("envs/prod/app/release.yaml", strings.Replace(w.show("envs/prod/app/release.yaml"), "LEVEL: info", "LEVEL: debug", 1), "adopt")
			w.reconcile()
		}, finding + " adopted"},
		"a rule covers it": {func(w *world) {
			w.commitFile("envs/prod/environment.yaml", strings.Replace(w.show("envs/prod/environment.yaml"), "mode: 'report'",
				"mode: 'report', ignore: [{resource: service/web, path: /environment, reason: it is tuned}]", 1), "ignore")
		}, finding + " ignored"},
		"the target leaves": {func(w *world) {
			w.commitFile("envs/prod/environment.yaml", strings.Replace(w.show("envs/prod/environment.yaml"), "- name: a\n  host: {root: /srv/a}\n", "", 1), "one target less")
		}, finding + " went away"},
		"it is changed back by hand": {func(w *world) { w.tamper("a", "environment", map[string]any{"LEVEL": "info"}) }, finding + " went away"},
		"the whole process dies":     {func(w *world) { w.kill("a") }, "a service/web missing; " + finding},
	} {
		t.Run(name, func(t *testing.T) {
			w := drifting(t, "report")
			w.tamper("a", "environment", map[string]any{"LEVEL": "debug"})
			if s := w.scan(); told(s.Opened) != finding {
				t.Fatalf("opened %s", told(s.Opened))
			}
			if st := w.status(); st.Drift.Count != 1 || st.Drift.Since == nil {
				t.Errorf("the status says %+v", st.Drift)
			}
			c.end(w)
			w.scan()
			w.wantHistoryOfDrift(c.want)
		})
	}
}

func TestWhatIsNotDriftIsNotCalledDrift(t *testing.T) {
	quiet := func(t *testing.T, w *world, want string) {
		t.Helper()
		before := w.transitions()
		s := w.scan()
		if s.Diff.Drifted || len(s.Open) != 0 || s.Healed != nil || w.transitions() != before || !strings.Contains(s.NotHealed+strings.Join(s.Diff.Notes, " "), want) {
			t.Errorf("drifted %v, open %s, notes %q, not healed %q", s.Diff.Drifted, told(s.Open), s.Diff.Notes, s.NotHealed)
		}
	}
	t.Run("what was stopped on purpose", func(t *testing.T) {
		w := drifting(t, "heal")
		if err := w.Stop(t.Context(), prod, reconciler.Options{Reason: "the night"}); err != nil {
			t.Fatal(err)
		}
		quiet(t, w, "stopped on its targets by ana")
		w.reconcile() // a pass of the daemon's forgets nothing
		quiet(t, w, "the night")
		if _, err := w.Reconcile(t.Context(), reconciler.ReconcileRequest{Environment: prod, Heal: true}); err != nil || w.runs() != "aa" {
			t.Errorf("%v, runs %s", err, w.runs())
		}
		w.kill("a")
		if s := w.scan(); s.Healed == nil {
			t.Errorf("it is still taken for stopped: %+v", s)
		}
	})
	t.Run("what was never deployed", func(t *testing.T) {
		w := newWorld(t)
		quiet(t, w, "nothing was deployed yet")
	})
	t.Run("where nobody is to look", func(t *testing.T) {
		w := drifting(t, "off")
		w.kill("a")
		quiet(t, w, "drift.mode is off")
	})
	t.Run("what the branch asks for and nobody deployed", func(t *testing.T) {
		w := drifting(t, "heal")
		w.commit("b")
		quiet(t, w, "")
	})
	t.Run("what is half changed", func(t *testing.T) {
		w := drifting(t, "heal")
		prepared, block := make(chan struct{}, 4), make(chan struct{})
		for _, m := range w.machines {
			m.block, m.prepared = block, func() { prepared <- struct{}{} }
		}
		done := deployWith(w, w.engine("bob", nil), "b", reconciler.Options{})
		<-prepared
		w.kill("a")
		s, err := w.engine("cron", nil).Scan(t.Context(), prod)
		if err != nil || s.Diff.Drifted || len(s.Opened) != 0 || !strings.Contains(s.Diff.Error, "prod-2, a deploy by bob, runs") || s.NotHealed == "" {
			t.Errorf("%+v, %v", s, err)
		}
		close(block)
		<-done
	})
}

func TestWhatIsKeptWhileTheBranchAsksForSomethingElse(t *testing.T) {
	t.Run("a commit that may run comes first", func(t *testing.T) {
		w := drifting(t, "heal")
		w.commit("b")
		w.kill("a")
		s := w.scan()
		if s.Healed != nil || !strings.Contains(s.NotHealed, "the next pass brings that") || told(s.Open) != "a service/web missing" {
			t.Errorf("healed %+v, not healed %q, open %s", s.Healed, s.NotHealed, told(s.Open))
		}
		if w.reconcile(); w.runs() != "bb" {
			t.Errorf("runs %s", w.runs())
		}
		w.wantHistoryOfDrift("a service/web missing healed")
	})
	t.Run("under a hold what is in effect is kept", func(t *testing.T) {
		w := drifting(t, "heal")
		w.mustDeploy("b")
		w.rollback(reconciler.Options{})
		w.commit("b") // it comes back, and is held
		if out := w.reconcile(); out.Sync != stella.Held {
			t.Fatalf("%+v", out)
		}
		w.kill("a")
		s := w.scan()
		if s.Healed == nil || s.Healed.Status != stella.Succeeded || w.runs() != "aa" || len(s.Open) != 0 {
			t.Fatalf("healed %+v, not healed %q, runs %s", s.Healed, s.NotHealed, w.runs())
		}
		if st := w.status(); st.Sync != stella.Held || st.Current == nil || st.Current.ID != "prod-4" {
			t.Errorf("the status is %s, current %+v", st.Sync, st.Current)
		}
		// A person's reconcile does the same.
		w.kill("b")
		out, err := w.Reconcile(t.Context(), reconciler.ReconcileRequest{Environment: prod, Heal: true})
		if err != nil || out.Sync != stella.Held || out.Deployment == nil || out.Deployment.Kind != stella.KindHeal || w.runs() != "aa" {
			t.Errorf("%+v, %v, runs %s", out, err, w.runs())
		}
		if out, err := w.Reconcile(t.Context(), reconciler.ReconcileRequest{Environment: prod, Heal: true}); err != nil || out.Sync != stella.Held || out.Deployment != nil || out.Nothing {
			t.Errorf("with nothing to heal: %+v, %v", out, err)
		}
	})
	t.Run("so it is where the branch can not be read", func(t *testing.T) {
		w := drifting(t, "heal")
		w.commitFile("envs/prod/app/compose.yaml", "services: [\n", "broken")
		w.kill("a")
		if s := w.scan(); s.Healed == nil || w.runs() != "aa" {
			t.Errorf("healed %+v, not healed %q, runs %s", s.Healed, s.NotHealed, w.runs())
		}
	})
	t.Run("and in a pinned environment", func(t *testing.T) {
		w := drifting(t, "heal")
		w.mustDeploy("b")
		w.protect()
		w.wantPinned(w.rollback(reconciler.Options{}))
		w.kill("a")
		if s := w.scan(); s.Healed == nil || w.runs() != "aa" {
			t.Errorf("healed %+v, not healed %q, runs %s", s.Healed, s.NotHealed, w.runs())
		}
		if st := w.status(); st.Sync != stella.Pinned {
			t.Errorf("the status is %s", st.Sync)
		}
	})
	t.Run("not what was never verified", func(t *testing.T) {
		w := drifting(t, "heal", "onFailure: rollback", "onFailure: pause")
		w.machines["b"].sick[string(digestOf("b"))] = true
		if _, err := w.deploy("b"); err != nil {
			t.Fatal(err)
		}
		w.kill("a")
		before := w.transitions()
		if s := w.scan(); s.Healed != nil || len(s.Opened) != 0 || w.transitions() != before || !strings.Contains(strings.Join(s.Diff.Notes, " "), "not verified") {
			t.Errorf("%+v", s)
		}
	})
	t.Run("and nothing in a frozen one", func(t *testing.T) {
		w := drifting(t, "heal")
		if _, err := w.AcquireLock(t.Context(), prod, "the end of the quarter", time.Hour); err != nil {
			t.Fatal(err)
		}
		w.kill("a")
		s := w.scan()
		if s.Healed != nil || !strings.Contains(s.NotHealed, "frozen by ana") || s.NextHeal.IsZero() || told(s.Open) != "a service/web missing" {
			t.Errorf("%+v", s)
		}
	})
}

func TestAProtectedEnvironmentHealsAsItsFileSays(t *testing.T) {
	w := drifting(t, "heal", "targets:", "protected: true\ntargets:")
	w.kill("a")
	if s := w.scan(); s.Healed == nil || w.runs() != "aa" {
		t.Errorf("%+v", s)
	}
}

// TestAPersonHealsWhatTheScheduleWould: files in Git that can not be read keep
// nobody from putting back what is in effect; they are told of all the same.
func TestAPersonHealsWhatTheScheduleWould(t *testing.T) {
	w := drifting(t, "report")
	gittest.Seed(t, w.bare, map[string]string{"envs/prod/app/release.yaml": "apiVersion: stella/v1\nkind: Release\nversion: [\n"})
	w.kill("a")
	out, err := w.Reconcile(t.Context(), reconciler.ReconcileRequest{Environment: prod, Heal: true})
	if !errors.Is(err, stella.ErrInvalid) || out.Sync != stella.Invalid {
		t.Errorf("%s, %v", out.Sync, err)
	}
	if out.Deployment == nil || out.Deployment.Kind != stella.KindHeal || out.Deployment.Status != stella.Succeeded || w.runs() != "aa" {
		t.Errorf("%+v, runs %s", out.Deployment, w.runs())
	}
}

// TestWhatAPartialDeploymentHealedDidNotGoAway: of a target that a deployment
// changed and did not verify, the next look tells what became of its findings.
func TestWhatAPartialDeploymentHealedDidNotGoAway(t *testing.T) {
	w := drifting(t, "report")
	w.tamper("a", "user", "root")
	w.tamper("b", "user", "root")
	w.scan()
	w.machines["b"].failAfter = true
	out, err := w.Reconcile(t.Context(), reconciler.ReconcileRequest{Environment: prod, Heal: true})
	if err != nil || out.Deployment.Status != stella.Failed {
		t.Fatalf("%+v, %v", out.Deployment, err)
	}
	w.scan()
	w.wantHistoryOfDrift("b service/web/user extra healed; a service/web/user extra healed")
}

func TestAHealThatFailsIsNotTriedAgainAtOnce(t *testing.T) {
	t.Run("before it touched anything", func(t *testing.T) {
		w := drifting(t, "heal")
		w.kill("a")
		w.machines["a"].panics = "prepare"
		s := w.scan()
		if s.Healed == nil || s.Healed.Status != stella.Errored || s.NotHealed == "" || s.NextHeal.IsZero() {
			t.Fatalf("healed %+v, not healed %q, next %s", s.Healed, s.NotHealed, s.NextHeal)
		}
		for range 3 {
			if s := w.scan(); s.Healed != nil || !strings.Contains(s.NotHealed, "did not work") || !s.NextHeal.After(time.Now()) {
				t.Errorf("healed %+v, not healed %q, next %s", s.Healed, s.NotHealed, s.NextHeal)
			}
		}
		w.machines["a"].panics = ""
		if _, err := w.Reconcile(t.Context(), reconciler.ReconcileRequest{Environment: prod, Heal: true}); err != nil || w.runs() != "aa" {
			t.Errorf("a person's: %v, runs %s", err, w.runs())
		}
	})
	t.Run("after it did", func(t *testing.T) {
		w := drifting(t, "heal")
		w.kill("a")
		w.machines["a"].failApply = true
		if s := w.scan(); s.Healed == nil || s.Healed.Status == stella.Succeeded || s.NotHealed == "" {
			t.Fatalf("healed %+v, not healed %q", s.Healed, s.NotHealed)
		}
		// What was verified before is in effect still, and is looked after: later.
		n := len(w.book().Deployments)
		if s := w.scan(); s.Healed != nil || len(w.book().Deployments) != n || !strings.Contains(s.NotHealed, "did not work") || !s.NextHeal.After(time.Now()) {
			t.Errorf("it was tried again at once: %+v, %q, next %s", s.Healed, s.NotHealed, s.NextHeal)
		}
		w.tamper("b", "user", "root")
		if s := w.scan(); len(s.Open) != 2 {
			t.Errorf("nobody looks any more: %s", told(s.Open))
		}
		if st := w.status(); st.Current == nil || st.Sync != stella.Synced || st.Health == stella.Healthy || st.Drift.Count != 2 || !strings.Contains(st.Reason, "prod-2") {
			t.Errorf("%s, %s (%s), current %+v, drift %+v", st.Sync, st.Health, st.Reason, st.Current, st.Drift)
		}
		cfg := w.config("serve", nil)
		cfg.Now = func() time.Time { return time.Now().Add(2 * time.Minute) }
		if s, err := reconciler.New(cfg).Scan(t.Context(), prod); err != nil || s.Healed == nil || s.Healed.Status != stella.Succeeded || len(s.Open) != 0 || w.runs() != "aa" {
			t.Errorf("healed %+v, not healed %q, %s, runs %s", s.Healed, s.NotHealed, told(s.Open), w.runs())
		}
	})
	t.Run("and where it could not even be planned", func(t *testing.T) {
		w := drifting(t, "heal")
		w.kill("a")
		w.machines["b"].down = true
		if s := w.scan(); s.Healed != nil || s.NotHealed == "" || told(s.Open) != "a service/web missing" {
			t.Errorf("healed %+v, not healed %q", s.Healed, s.NotHealed)
		}
	})
}

func TestWhatIsChangedBackAgainAndAgainIsLeftAlone(t *testing.T) {
	w := drifting(t, "heal")
	w.machines["a"].suspects = []string{"uid 1000 (deploy)", "\x1b[2J" + strings.Repeat("x", 10_000)}
	for range 6 {
		w.tamper("a", "user", "root")
		w.scan()
	}
	s := w.scan()
	if len(s.Flapping) != 1 || s.Healed != nil || !strings.Contains(s.NotHealed, "service/web on a was changed back 5 times") || !strings.Contains(s.NotHealed, "uid 1000 (deploy)") || s.NextHeal.IsZero() {
		t.Fatalf("flapping %+v, healed %+v, not healed %q", s.Flapping, s.Healed, s.NotHealed)
	}
	if f := s.Flapping[0]; f.Times != 5 || len(f.Suspects) != 3 || !slices.Equal(f.Suspects[:2], []string{"service/web/user", "uid 1000 (deploy)"}) || len(f.Suspects[2]) > 400 || strings.Contains(f.Suspects[2], "\x1b") || time.Until(f.Until) > time.Hour {
		t.Errorf("%+v", f)
	}
	if n := len(w.book().Deployments); n != 6 {
		t.Errorf("%d deployments", n)
	}
	if st := w.status(); st.Drift.Flapping != 1 {
		t.Errorf("nobody is told: %+v", st.Drift)
	}
	// Something else is still healed, and what flaps is not.
	w.intrude("b")
	if s := w.scan(); s.Healed == nil || s.Healed.Status != stella.Succeeded || !strings.Contains(s.NotHealed, "service/web on a was changed back") || told(s.Ended) != "b service/zombie extra healed" || told(s.Open) != "a service/web/user extra" {
		t.Errorf("healed %+v, not healed %q, ended %s, open %s", s.Healed, s.NotHealed, told(s.Ended), told(s.Open))
	}
	// A person who acts ends it.
	if _, err := w.Reconcile(t.Context(), reconciler.ReconcileRequest{Environment: prod, Heal: true}); err != nil {
		t.Fatal(err)
	}
	w.tamper("a", "user", "root")
	if s := w.scan(); s.Healed == nil || len(s.Flapping) != 0 {
		t.Errorf("after a person acted: %+v, not healed %q", s.Flapping, s.NotHealed)
	}
}

// TestScansAtTheSameTimeOpenAndEndOnce: the daemon and a cron job may look at the
// same moment.
func TestScansAtTheSameTimeOpenAndEndOnce(t *testing.T) {
	w := drifting(t, "report")
	engines := []*reconciler.Engine{w.Engine, w.engine("cron", nil), w.engine("ci", nil)}
	all := func() {
		var wg sync.WaitGroup
		for i, e := range engines {
			wg.Go(func() {
				var err error
				if i == 0 {
					_, err = e.Scan(t.Context(), prod)
				} else {
					_, err = e.Detect(t.Context(), reconciler.DetectRequest{Environments: []stella.EnvName{prod}})
				}
				if err != nil {
					t.Error(err)
				}
			})
		}
		wg.Wait()
	}
	const rounds = 5
	for range rounds {
		w.kill("a")
		all()
		w.machines["a"].mu.Lock()
		w.machines["a"].state = w.machines["b"].state
		w.machines["a"].mu.Unlock()
		all()
	}
	w.wantHistoryOfDrift(strings.TrimSuffix(strings.Repeat("a service/web missing went away; ", rounds), "; "))
	w.wantHistory("prod-1 deploy a succeeded\n")
}

func TestWhoMayNotWriteIsStillAnswered(t *testing.T) {
	w := drifting(t, "heal")
	w.kill("a")
	gittest.Hook(t, w.bare, "update", "echo 'this key may only read' >&2; exit 1")
	var warned []string
	var mu sync.Mutex
	e := w.engine("ci", func(ev reconciler.Event) {
		mu.Lock()
		defer mu.Unlock()
		if e, ok := ev.(reconciler.Warned); ok {
			warned = append(warned, e.Text)
		}
	})
	before := w.transitions()
	diffs, err := e.Detect(t.Context(), reconciler.DetectRequest{Environments: []stella.EnvName{prod}})
	if err != nil || !diffs[0].Drifted || len(warned) != 1 || len(diffs[0].Notes) != 1 || w.transitions() != before {
		t.Errorf("%+v, %v, warned %q", diffs, err, warned)
	}
	if s, err := e.Scan(t.Context(), prod); err != nil || !s.Diff.Drifted || s.NotHealed == "" || s.Healed != nil {
		t.Errorf("%+v, %v", s, err)
	}
}

func TestMoreDriftThanCanBeKeptIsCounted(t *testing.T) {
	w := drifting(t, "report")
	many := map[string]any{"LEVEL": "info"}
	for i := range ledger.MaxOpenFindings + 40 {
		many[fmt.Sprintf("V%03d", i)] = "x"
	}
	w.tamper("a", "environment", many)
	w.tamper("b", "image", ref("c").String()) // critical: it comes first
	s := w.scan()
	if len(s.Open) != ledger.MaxOpenFindings || s.Uncounted != 41 || !strings.Contains(told(s.Open), "b service/web/image modified") {
		t.Errorf("%d open, %d uncounted", len(s.Open), s.Uncounted)
	}
	if d := w.status().Drift; d.Count != ledger.MaxOpenFindings+41 {
		t.Errorf("the status says %d", d.Count)
	}
	before := w.transitions()
	if w.scan(); w.transitions() != before {
		t.Error("the same again was written")
	}
	w.tamper("a", "environment", map[string]any{"LEVEL": "info"})
	if s := w.scan(); len(s.Open) != 1 || s.Uncounted != 0 {
		t.Errorf("%d open, %d uncounted", len(s.Open), s.Uncounted)
	}
}

func TestAScanEndsWithItsContext(t *testing.T) {
	w := drifting(t, "report")
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if _, err := w.Scan(ctx, prod); !errors.Is(err, context.Canceled) {
		t.Errorf("%v", err)
	}
}

// TestAScanGoesByThePollBeforeIt: a thousand environments that are looked at
// every five minutes must not ask the Git host a thousand times.
func TestAScanGoesByThePollBeforeIt(t *testing.T) {
	w := drifting(t, "report")
	asked := 0
	e := reconciler.New(w.config("serve", func(ev reconciler.Event) {
		if _, ok := ev.(reconciler.Unfetched); ok {
			asked++
		}
	}))
	if _, err := e.Status(t.Context(), prod, false); err != nil { // this machine has its ledger
		t.Fatal(err)
	}
	scan := func() reconciler.Scan {
		t.Helper()
		s, err := e.Scan(t.Context(), prod)
		if err != nil || s.Diff.Error != "" {
			t.Fatal(err, s.Diff.Error)
		}
		return s
	}
	if _, err := e.Heads(t.Context()); err != nil {
		t.Fatal(err)
	}
	restore := w.cutOff()
	if s := scan(); asked != 0 || s.Diff.Drifted || s.NotHealed != "" {
		t.Errorf("it asked %d times: %+v", asked, s)
	}
	w.tamper("a", "image", "r.example.com/shop/web:x@"+string(digestOf("x")))
	if s := scan(); !s.Diff.Drifted || s.NotHealed == "" {
		t.Errorf("without Git it is seen and can not be recorded: %+v", s)
	}
	restore()
	// What somebody else wrote since the poll is fetched.
	if _, err := e.Heads(t.Context()); err != nil {
		t.Fatal(err)
	}
	if s := scan(); len(s.Opened) == 0 {
		t.Errorf("%+v", s)
	}
	if _, err := w.LiftHold(t.Context(), prod, "", "none"); err == nil {
		t.Fatal("there was a hold")
	}
	w.mustDeploy("b")
	if _, err := e.Heads(t.Context()); err != nil {
		t.Fatal(err)
	}
	if s := scan(); s.Diff.Against != "prod-2" || s.Diff.Drifted {
		t.Errorf("the deployment of another process is not known: %+v", s.Diff)
	}
}

func TestAServiceThatIsGoneIsNotHealthy(t *testing.T) {
	w := drifting(t, "report")
	w.tamper("a", "image", "r.example.com/shop/web:x@"+string(digestOf("x")))
	w.scan()
	if st := w.status(); st.Health != stella.Healthy {
		t.Errorf("what differs may be healthy: %s", st.Health)
	}
	w.kill("a")
	w.scan()
	if st := w.status(); st.Health != stella.Degraded || st.Sync != stella.Synced {
		t.Errorf("%s, %s", st.Sync, st.Health)
	}
	if _, err := w.Reconcile(t.Context(), reconciler.ReconcileRequest{Environment: prod, Heal: true}); err != nil {
		t.Fatal(err)
	}
	if st := w.status(); st.Health != stella.Healthy {
		t.Errorf("it was brought back: %s", st.Health)
	}
}
