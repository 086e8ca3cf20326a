package reconciler_test

import (
	"fmt"
	"maps"
	"math/rand/v2"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/stella-ops/stella"
	"github.com/stella-ops/stella/internal/git/gittest"
	"github.com/stella-ops/stella/reconciler"
)

const (
	appCompose  = "envs/prod/app/compose.yaml"
	appRelease  = "envs/prod/app/release.yaml"
	sharedFile  = "shared/base/base.conf"
	environment = "envs/prod/environment.yaml"
)

const sharedCompose = "services:\n  web:\n    image: r.example.com/shop/web\n    environment:\n      LEVEL: ${LEVEL}\n    configs:\n    - source: base\n      target: /etc/base.conf\n" +
	"configs:\n  base:\n    file: ../../../shared/base/base.conf\n"

// newDiffWorld has a directory that the app shares.
func newDiffWorld(t *testing.T, change ...string) *world {
	t.Helper()
	w := newWorld(t, append(change, "name: prod\n", "name: prod\nshared: [shared/base]\n", "timeout: 2s", "timeout: 1s")...)
	w.seeded("Share", map[string]string{sharedFile: "one\n", appCompose: sharedCompose})
	w.reconcile()
	return w
}

func (w *world) diff(req reconciler.DiffRequest) reconciler.Diff {
	w.t.Helper()
	if req.Environment == "" {
		req.Environment = prod
	}
	d, err := w.Diff(w.t.Context(), req)
	if err != nil {
		w.t.Fatal(err)
	}
	return d
}

// toldBy is what a diff says, in a line: what counts on each target, the files,
// the verdict.
func toldBy(d reconciler.Diff) string {
	var out []string
	for _, t := range d.Targets {
		for _, c := range t.Changes {
			if !c.Ignored {
				out = append(out, fmt.Sprintf("%s %s %s%s", t.Target, c.Class, c.Resource, c.Path))
			}
		}
		if t.Error != "" {
			out = append(out, t.Target+" unread")
		}
	}
	for _, f := range d.Files {
		out = append(out, f.Op+" "+strings.TrimPrefix(f.Path, "envs/prod/"))
	}
	if d.Error != "" {
		out = append(out, "error")
	}
	if d.OutOfSync {
		out = append(out, "out of sync")
	}
	return strings.Join(append(out, string(d.Sync)), "; ")
}

// TestADiffSaysWhyAnEnvironmentIsNotAsWanted in every situation, and never
// contradicts status.
func TestADiffSaysWhyAnEnvironmentIsNotAsWanted(t *testing.T) {
	t.Parallel()
	for name, c := range map[string]struct {
		change []string // of environment.yaml
		do     func(w *world)
		want   string
	}{
		"nothing happened": {nil, func(*world) {}, "Synced"},
		"a comment": {nil, func(w *world) {
			w.seeded("Comment", map[string]string{appCompose: "# why\n" + sharedCompose})
		}, "modify app/compose.yaml; out of sync; OutOfSync"},
		"white space": {nil, func(w *world) {
			w.seeded("Space", map[string]string{appRelease: w.show(appRelease) + "\n\n"})
		}, "modify app/release.yaml; out of sync; OutOfSync"},
		"a file that nothing uses": {nil, func(w *world) {
			w.seeded("Add", map[string]string{"envs/prod/app/notes": "x\n"})
		}, "add app/notes; out of sync; OutOfSync"},
		"a shared file": {nil, func(w *world) {
			w.seeded("Base", map[string]string{sharedFile: "two\n"})
		}, "a modified service/web/configs/~1etc~1base.conf/content; a modified service/web/configs/~1etc~1base.conf/digest; " +
			"b modified service/web/configs/~1etc~1base.conf/content; b modified service/web/configs/~1etc~1base.conf/digest; " +
			"modify shared/base/base.conf; out of sync; OutOfSync"},
		"a shared file that nothing uses": {nil, func(w *world) {
			w.seeded("Base", map[string]string{"shared/base/other": "x\n"})
		}, "Synced"},
		"a variable of a target": {nil, func(w *world) {
			w.seeded("Here", map[string]string{environment: strings.Replace(w.show(environment), "- name: a\n", "- name: a\n  variables: {LEVEL: debug}\n", 1)})
		}, "a modified service/web/environment/LEVEL; modify environment.yaml; out of sync; OutOfSync"},
		"a target that is gone": {nil, func(w *world) {
			w.seeded("Without b", map[string]string{environment: strings.Replace(w.show(environment), "- name: b\n  host: {root: /srv/b}\n", "", 1)})
		}, "modify environment.yaml; out of sync; OutOfSync"},
		"another way to verify": {nil, func(w *world) {
			w.seeded("Patience", map[string]string{environment: strings.Replace(w.show(environment), "timeout: 1s", "timeout: 2s", 1)})
		}, "Synced"},
		"held": {nil, func(w *world) {
			w.sicken("b")
			_, _ = w.deploy("b")
			w.seeded("Again", map[string]string{appRelease: releaseOf("b", "info")})
		}, "a modified service/web/image; b modified service/web/image; modify app/release.yaml; out of sync; Held"},
		"failed, and left as it is": {[]string{"onFailure: rollback", "onFailure: continue"}, func(w *world) {
			w.sicken("b")
			_, _ = w.deploy("b")
		}, "modify app/release.yaml; out of sync; Failed"},
		"partial": {[]string{"onFailure: rollback", "onFailure: pause"}, func(w *world) {
			w.sicken("b")
			_, _ = w.deploy("b")
		}, "b modified service/web/image; modify app/release.yaml; out of sync; Partial"},
		"pinned": {nil, func(w *world) {
			w.mustDeploy("b")
			w.protect()
			w.rollback(reconciler.Options{Reason: "slow"})
		}, "modify app/release.yaml; Pinned"},
		"owed": {nil, func(w *world) {
			w.mustDeploy("b")
			w.machines["b"].down = true
			_, _ = w.Rollback(w.t.Context(), reconciler.RollbackRequest{Environment: prod})
		}, "b unread; modify app/release.yaml; out of sync; Partial"},
		"owed, and back": {nil, func(w *world) {
			w.mustDeploy("b")
			w.machines["b"].down = true
			_, _ = w.Rollback(w.t.Context(), reconciler.RollbackRequest{Environment: prod})
			w.machines["b"].down = false
		}, "b modified service/web/image; modify app/release.yaml; out of sync; Partial"},
		"stopped": {nil, func(w *world) {
			if err := w.Stop(w.t.Context(), prod, reconciler.Options{Reason: "night"}); err != nil {
				w.t.Fatal(err)
			}
		}, "a missing service/web; b missing service/web; Synced"},
		"invalid": {nil, func(w *world) {
			w.seeded("Oops", map[string]string{appRelease: "apiVersion: stella/v1\nkind: Release\nversion: [\n"})
			w.handmade("a", "LEVEL", "debug")
		}, "a modified service/web/environment/LEVEL; modify app/release.yaml; error; out of sync; Invalid"},
		"changed by hand": {
			nil, func(w *world) { w.handmade("a", "LEVEL", "debug") },
			"a modified service/web/environment/LEVEL; Synced",
		},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			w := newDiffWorld(t, c.change...)
			c.do(w)
			w.agree()
			if got := toldBy(w.diff(reconciler.DiffRequest{})); got != c.want {
				t.Errorf("the diff says\n  %s\nwant\n  %s", got, c.want)
			}
		})
	}
}

// TestADiffOfWhatWasNeverDeployed has nothing to compare files with.
func TestADiffOfWhatWasNeverDeployed(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	d := w.diff(reconciler.DiffRequest{})
	if got, want := toldBy(d), "a missing service/web; b missing service/web; out of sync; OutOfSync"; got != want || d.Deployment != "" || d.Reason == "" {
		t.Errorf("the diff says\n  %s (%s, %q)\nwant\n  %s", got, d.Reason, d.Deployment, want)
	}
}

func (w *world) sicken(version string) {
	for _, m := range w.machines {
		m.sick[string(digestOf(version))] = true
	}
}

// handmade changes a variable of the running service on a machine.
func (w *world) handmade(machine, name, value string) {
	m := w.machines[machine]
	m.mu.Lock()
	defer m.mu.Unlock()
	for i, r := range m.state.Resources {
		if r.ID != "service/web" {
			continue
		}
		r.Fields = maps.Clone(r.Fields)
		env, _ := r.Fields["environment"].(map[string]any)
		env = maps.Clone(env)
		env[name] = value
		r.Fields["environment"] = env
		m.state.Resources = slices.Clone(m.state.Resources)
		m.state.Resources[i] = r
	}
}

// agree holds a diff against what status, detection and the plan say of the same
// moment.
func (w *world) agree() {
	w.t.Helper()
	st, err := w.Status(w.t.Context(), prod, true)
	if err != nil {
		w.t.Fatal(err)
	}
	d := w.diff(reconciler.DiffRequest{Explain: true})
	fine := !d.Drifted && !d.OutOfSync && d.Error == "" && len(d.Unread()) == 0
	switch {
	case d.Sync != st.Sync:
		w.t.Errorf("diff says %s, status %s", d.Sync, st.Sync)
	case st.Sync != stella.Synced && st.Sync != stella.Pinned && fine && (st.Lock == nil || st.Lock.ByHand):
		w.t.Errorf("status says %s, and the diff says that all is well", st.Sync)
	case !fine && d.OutOfSync && d.Reason == "" && len(d.Files) == 0 && !d.Drifted:
		w.t.Errorf("%s, and the diff is empty", st.Sync)
	case d.Sync == stella.OutOfSync && !d.Drifted && len(d.Files) == 0 && len(d.Unread()) == 0:
		w.t.Errorf("%s (%s), and nothing to see", d.Sync, d.Reason)
	}
	for i, target := range st.Targets {
		if diff := cmp.Diff(target.Changes, d.Targets[i].Changes); diff != "" {
			w.t.Errorf("%s: status and diff differ (-status +diff):\n%s", target.Name, diff)
		}
	}
	for _, t := range d.Targets {
		if len(t.Explanations) != len(t.Changes) {
			w.t.Errorf("%s: %d differences, %d explanations", t.Target, len(t.Changes), len(t.Explanations))
		}
	}
	if plan, err := w.Plan(w.t.Context(), prod, ""); err == nil && len(d.Unread()) == 0 && plan.Empty == d.Drifted {
		w.t.Errorf("the plan is empty: %t; the diff drifted: %t", plan.Empty, d.Drifted)
	}
	detected, err := w.Detect(w.t.Context(), reconciler.DetectRequest{Environments: []stella.EnvName{prod}})
	// What was stopped on purpose differs, and has not drifted.
	stopped := strings.Contains(strings.Join(d.Notes, " "), "stopped on its targets")
	if err == nil && len(detected) == 1 && detected[0].Error == "" && !stopped && (st.Sync == stella.Synced || st.Sync == stella.Pinned) && detected[0].Drifted != d.Drifted {
		w.t.Errorf("%s: detection says %t, diff %t", st.Sync, detected[0].Drifted, d.Drifted)
	}
}

// TestADiffNeverContradictsStatusWhateverHappened walks through one world at
// random: what was done before is always the start of what comes next.
func TestADiffNeverContradictsStatusWhateverHappened(t *testing.T) {
	t.Parallel()
	for seed := range uint64(4) {
		t.Run(fmt.Sprintf("seed %d", seed), func(t *testing.T) {
			t.Parallel()
			w := newDiffWorld(t)
			r := rand.New(rand.NewPCG(seed, 4)) //nolint:gosec // a walk that can be repeated
			var walked []string
			for range 30 {
				step := walk()[r.IntN(len(walk()))]
				walked = append(walked, step.name)
				step.do(w, r)
				if w.agree(); t.Failed() {
					t.Fatalf("after %s", strings.Join(walked, ", "))
				}
			}
		})
	}
}

type walkStep struct {
	name string
	do   func(w *world, r *rand.Rand)
}

func walk() []walkStep {
	version := func(r *rand.Rand) string { return []string{"a", "b", "c"}[r.IntN(3)] }
	quick := reconciler.Options{Timeout: 10 * time.Second}
	return []walkStep{
		{"comment", func(w *world, r *rand.Rand) {
			w.seeded("Comment", map[string]string{appCompose: fmt.Sprintf("# %d\n%s", r.Int(), sharedCompose)})
		}},
		{"space", func(w *world, r *rand.Rand) {
			w.seeded("Space", map[string]string{appRelease: releaseOf(version(r), "info") + strings.Repeat("\n", r.IntN(3))})
		}},
		{"shared", func(w *world, r *rand.Rand) {
			w.seeded("Shared", map[string]string{sharedFile: fmt.Sprint(r.IntN(3), "\n")})
		}},
		{"break", func(w *world, _ *rand.Rand) { w.seeded("Break", map[string]string{appRelease: "version: [\n"}) }},
		{"mend", func(w *world, r *rand.Rand) {
			w.seeded("Mend", map[string]string{appRelease: releaseOf(version(r), "debug")})
		}},
		{"deploy", func(w *world, r *rand.Rand) { _, _ = w.deploy(version(r)) }},
		{"deploy", func(w *world, r *rand.Rand) { _, _ = w.deploy(version(r)) }},
		{"deploy a sick one", func(w *world, r *rand.Rand) {
			v := version(r)
			w.sicken(v)
			_, _ = w.deploy(v)
			for _, m := range w.machines {
				clear(m.sick)
			}
		}},
		{"fail and pause", func(w *world, r *rand.Rand) {
			w.seeded("Pause", map[string]string{environment: strings.Replace(w.show(environment), "onFailure: rollback", "onFailure: pause", 1)})
			w.machines["b"].failApply = true
			_, _ = w.deploy(version(r))
			w.machines["b"].failApply = false
		}},
		{"by hand", func(w *world, r *rand.Rand) {
			w.handmade([]string{"a", "b"}[r.IntN(2)], "LEVEL", fmt.Sprint(r.IntN(3)))
		}},
		{"owe", func(w *world, r *rand.Rand) {
			w.machines["b"].down = true
			_, _ = w.Rollback(w.t.Context(), reconciler.RollbackRequest{Environment: prod, Options: quick})
			w.agree()
			w.machines["b"].down = r.IntN(3) == 0
		}},
		{"on", func(w *world, _ *rand.Rand) { w.machines["b"].down = false }},
		{"pass", func(w *world, r *rand.Rand) {
			_, _ = w.Reconcile(w.t.Context(), reconciler.ReconcileRequest{Environment: prod, Automatic: r.IntN(2) == 0})
		}},
		{"pass", func(w *world, r *rand.Rand) {
			_, _ = w.Reconcile(w.t.Context(), reconciler.ReconcileRequest{Environment: prod, Automatic: r.IntN(2) == 0})
		}},
		{"rollback", func(w *world, _ *rand.Rand) {
			_, _ = w.Rollback(w.t.Context(), reconciler.RollbackRequest{Environment: prod, Options: quick})
		}},
		{"protect", func(w *world, _ *rand.Rand) { w.protect() }},
		{"unprotect", func(w *world, _ *rand.Rand) { w.unprotect() }},
		{"lift", func(w *world, _ *rand.Rand) { _, _ = w.LiftHold(w.t.Context(), prod, "", "again") }},
		{"stop", func(w *world, _ *rand.Rand) { _ = w.Stop(w.t.Context(), prod, reconciler.Options{}) }},
		{"freeze", func(w *world, _ *rand.Rand) {
			_, _ = w.AcquireLock(w.t.Context(), prod, "freeze", time.Hour)
			w.agree()
			_, _ = w.ReleaseLock(w.t.Context(), string(prod), "thaw", false)
		}},
	}
}

func TestADiffComparesWithWhatItIsTold(t *testing.T) {
	t.Parallel()
	w := newDiffWorld(t)
	first := gittest.Ref(t, w.bare, "refs/heads/main")
	w.mustDeploy("b")
	w.git("update-ref", "refs/heads/feature", w.seededOn("refs/heads/feature", map[string]string{appRelease: releaseOf("c", "debug")}))
	w.git("tag", "v-a", first)
	for name, c := range map[string]struct {
		req  reconciler.DiffRequest
		want string
	}{
		"what is wanted":    {reconciler.DiffRequest{}, "Synced"},
		"the one in effect": {reconciler.DiffRequest{Ref: "prod-2"}, "Synced"},
		"a deployment":      {reconciler.DiffRequest{Ref: "prod-1"}, "a modified service/web/image; b modified service/web/image; modify app/release.yaml; out of sync; Synced"},
		"a commit":          {reconciler.DiffRequest{Ref: first}, "a modified service/web/image; b modified service/web/image; modify app/release.yaml; out of sync; Synced"},
		"a tag":             {reconciler.DiffRequest{Ref: "v-a"}, "a modified service/web/image; b modified service/web/image; modify app/release.yaml; out of sync; Synced"},
		"a branch of another": {reconciler.DiffRequest{Ref: "feature"}, "a modified service/web/environment/LEVEL; a modified service/web/image; " +
			"b modified service/web/environment/LEVEL; b modified service/web/image; modify app/release.yaml; out of sync; Synced"},
	} {
		d := w.diff(c.req)
		if got := toldBy(d); got != c.want {
			t.Errorf("%s: the diff says\n  %s\nwant\n  %s", name, got, c.want)
		}
	}
}

// TestADiffWithWhatIsNamedIsAboutThatWhereTheBranchIsInvalid: it is not held
// against the branch, of which nobody can tell what it wants.
func TestADiffWithWhatIsNamedIsAboutThatWhereTheBranchIsInvalid(t *testing.T) {
	t.Parallel()
	w := newDiffWorld(t)
	b := w.book()
	d, _ := b.Current()
	w.seeded("Baseline", map[string]string{"baselines/prod.yaml": baselineOf(d, d.Tree)})
	w.seeded("Oops", map[string]string{appRelease: "version: [\n"})
	for name, req := range map[string]reconciler.DiffRequest{
		"a deployment": {Ref: d.ID}, "a commit": {Ref: d.Commit}, "the baseline": {Baseline: true},
	} {
		if got := toldBy(w.diff(req)); got != "Invalid" {
			t.Errorf("%s is what runs, and the diff says\n  %s", name, got)
		}
	}
	if got, want := toldBy(w.diff(reconciler.DiffRequest{})), "modify app/release.yaml; error; out of sync; Invalid"; got != want {
		t.Errorf("what is wanted now: the diff says\n  %s\nwant\n  %s", got, want)
	}
}

// baselineOf is a file that names a deployment, with a tree of its own.
func baselineOf(d stella.Deployment, tree string) string {
	return "apiVersion: stella/v1\nkind: Baseline\nenvironment: prod\ndeployment: " + d.ID + "\ncommit: " + d.Commit +
		"\ntree: " + tree + "\nrelease: a\ncomponents: {web: \"" + d.Components["web"] + "\"}\ndesired: " + string(d.Desired) + "\ncapturedAt: 2026-11-23T10:00:00Z\n"
}

// TestADiffWithTheBaselineGoesByWhatIsBelieved, on today's targets and with
// today's shared directories.
func TestADiffWithTheBaselineGoesByWhatIsBelieved(t *testing.T) {
	t.Parallel()
	w := newDiffWorld(t)
	if _, err := w.Diff(t.Context(), reconciler.DiffRequest{Environment: prod, Baseline: true}); err == nil {
		t.Error("there is no baseline")
	}
	b, err := w.Book(t.Context(), prod)
	if err != nil {
		t.Fatal(err)
	}
	d, _ := b.Current()
	file := func(tree string) map[string]string {
		return map[string]string{"baselines/prod.yaml": baselineOf(d, tree)}
	}
	w.seeded("Baseline", file(d.Tree))
	if got := toldBy(w.diff(reconciler.DiffRequest{Baseline: true})); got != "Synced" {
		t.Errorf("nothing changed since; the diff says %s", got)
	}
	w.mustDeploy("b")
	w.seeded("Shared", map[string]string{"shared/base/other": "x\n"})
	got := w.diff(reconciler.DiffRequest{Baseline: true})
	if want := "a modified service/web/image; b modified service/web/image; modify app/release.yaml; add shared/base/other; out of sync; Synced"; toldBy(got) != want || got.Against != "baseline" {
		t.Errorf("against %s the diff says\n  %s\nwant\n  %s", got.Against, toldBy(got), want)
	}
	if len(got.Notes) != 1 || !strings.Contains(got.Notes[0], "shared/base is compared as it is today") {
		t.Errorf("notes: %q", got.Notes)
	}
	w.seeded("Forge", file(strings.Repeat("1", 40)))
	if _, err := w.Diff(t.Context(), reconciler.DiffRequest{Environment: prod, Baseline: true}); err == nil || stella.Hint(err) == "" {
		t.Errorf("a baseline that names what never was is believed: %v", err)
	}
}

// seededOn commits on another branch, on top of main.
func (w *world) seededOn(ref string, files map[string]string) string {
	w.t.Helper()
	w.git("update-ref", ref, "refs/heads/main")
	return gittest.SeedRef(w.t, w.bare, ref, "Elsewhere", files)
}
