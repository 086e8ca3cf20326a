package reconciler_test

import (
	"errors"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/stella-ops/stella"
	"github.com/stella-ops/stella/internal/git/gittest"
	"github.com/stella-ops/stella/reconciler"
)

// newAgreed is a world that runs b and whose baseline is a.
func newAgreed(t *testing.T, change ...string) *world {
	t.Helper()
	w := newWorld(t, change...)
	w.reconcile()
	w.baseline("prod-1", w.git("rev-parse", "main"), w.git("rev-parse", "main:envs/prod/app"), "a")
	w.mustDeploy("b")
	return w
}

// mess commits what somebody does to a clone, and pushes it.
func (w *world) mess(do func(dir string) error) {
	w.t.Helper()
	clone := w.t.TempDir()
	gittest.Run(w.t, clone, "clone", "-q", w.bare, ".")
	if err := do(clone); err != nil {
		w.t.Fatal(err)
	}
	gittest.Run(w.t, clone, "add", "-A")
	gittest.Run(w.t, clone, "commit", "-q", "-m", "by hand")
	gittest.Run(w.t, clone, "push", "-q", "origin", "HEAD:main")
}

func (w *world) reset(o reconciler.Options) (reconciler.Outcome, error) {
	return w.Reset(w.t.Context(), reconciler.ResetRequest{Environment: prod, Options: o})
}

// wantBaseline checks that all is as the baseline says, for good.
func (w *world) wantBaseline(out reconciler.Outcome, err error, kind stella.Kind) {
	w.t.Helper()
	if err != nil || out.Deployment == nil || out.Deployment.Status != stella.Succeeded || out.Deployment.Kind != kind || out.Deployment.Restores != "prod-1" {
		w.t.Fatalf("%+v, %v (%s)", out.Deployment, err, stella.Hint(err))
	}
	if got, want := w.git("rev-parse", "main:envs/prod/app"), w.git("show", "main:baselines/prod.yaml"); !strings.Contains(want, "tree: "+got) || w.runs() != "aa" {
		w.t.Errorf("app %s, want what is in\n%s\nruns %s", got, want, w.runs())
	}
	if st, err := w.RollbackStatus(w.t.Context(), prod, ""); err != nil || !st.Agrees || st.Deployment.ID != out.Deployment.ID {
		w.t.Errorf("witnesses %+v, %v", st, err)
	}
	if out := w.reconcile(); !out.Nothing || out.Sync != stella.Synced {
		w.t.Errorf("a pass afterwards: %+v", out)
	}
	if b, err := w.Book(w.t.Context(), prod); err != nil || b.State.Lock != nil || len(b.Open()) > 0 {
		w.t.Errorf("left open: %+v, %v", b.State, err)
	}
}

// spoilt is what becomes of an environment's files in Git.
func spoilt() map[string]func(dir string) error {
	write := func(path, text string) func(string) error {
		return func(dir string) error {
			at := filepath.Join(dir, path)
			return errors.Join(os.RemoveAll(at), os.WriteFile(at, []byte(text), 0o600))
		}
	}
	remove := func(path string) func(string) error {
		return func(dir string) error { return os.RemoveAll(filepath.Join(dir, path)) }
	}
	return map[string]func(string) error{
		"compose.yaml is broken":     write("envs/prod/app/compose.yaml", "services: [\n"),
		"release.yaml is broken":     write("envs/prod/app/release.yaml", "components: {web: nothing}\n"),
		"release.yaml is gone":       remove("envs/prod/app/release.yaml"),
		"environment.yaml is broken": write("envs/prod/environment.yaml", "targets: {\n"),
		"environment.yaml is gone":   remove("envs/prod/environment.yaml"),
		"the app is gone":            remove("envs/prod/app"),
		"the directory is gone":      remove("envs/prod"),
		"all environments are gone":  remove("envs"),
		"the app is a file":          write("envs/prod/app", "app\n"),
		"the directory is a file":    write("envs/prod", "prod\n"),
		"the app and environment.yaml broken": func(dir string) error {
			return errors.Join(write("envs/prod/environment.yaml", "")(dir), write("envs/prod/app/release.yaml", "\x00")(dir))
		},
		"environment.yaml is a directory": func(dir string) error {
			at := filepath.Join(dir, "envs/prod/environment.yaml")
			return errors.Join(os.Remove(at), os.Mkdir(at, 0o700), write("envs/prod/environment.yaml/x", "x")(dir))
		},
		"the directory is a link": func(dir string) error {
			return errors.Join(remove("envs/prod")(dir), os.Symlink("staging", filepath.Join(dir, "envs/prod")))
		},
	}
}

func TestAResetWorksWhateverBecameOfTheFilesInGit(t *testing.T) {
	t.Parallel()
	const unreadable = "environment.yaml is broken, environment.yaml is gone, environment.yaml is a directory, the directory is gone, " +
		"all environments are gone, the directory is a file, the directory is a link, the app and environment.yaml broken"
	for name, spoil := range spoilt() {
		t.Run(name, func(t *testing.T) {
			w := newAgreed(t)
			w.mess(spoil)
			dry, err := w.reset(reconciler.Options{DryRun: true})
			if err != nil || len(dry.Plan.Findings) > 0 {
				t.Fatalf("%+v, %v", dry.Plan, err)
			}
			says := strings.Contains(strings.Join(dry.Plan.Warnings, "\n"), "environment.yaml of today can not be read")
			restores := slices.ContainsFunc(dry.Plan.Files, func(f reconciler.FileChange) bool { return strings.HasSuffix(f.Path, "/environment.yaml") })
			if says != restores || says != strings.Contains(unreadable, name) {
				t.Errorf("warnings %q, files %+v", dry.Plan.Warnings, dry.Plan.Files)
			}
			// Nobody can tell whether it is protected where that can not be read.
			out, err := w.reset(reconciler.Options{})
			if restores {
				if !errors.Is(err, stella.ErrInvalid) {
					t.Errorf("without a plan hash: %+v, %v", out.Deployment, err)
				}
				out, err = w.reset(reconciler.Options{PlanHash: dry.Plan.Hash})
			}
			w.wantBaseline(out, err, stella.KindReset)
			if holds := w.status().Holds; len(holds) != 1 {
				t.Errorf("holds %+v", holds)
			}
			w.wantHistory("prod-1 deploy a succeeded\nprod-2 deploy b succeeded\nprod-3 reset a succeeded restores prod-1\n")
		})
	}
}

func TestARollbackWorksWhateverBecameOfTheFilesInGit(t *testing.T) {
	t.Parallel()
	all := spoilt()
	for _, name := range []string{"environment.yaml is broken", "environment.yaml is gone", "the app is gone", "the directory is gone"} {
		t.Run(name, func(t *testing.T) {
			w := newAgreed(t)
			w.mess(all[name])
			out, err := w.Rollback(t.Context(), reconciler.RollbackRequest{Environment: prod, Options: reconciler.Options{Confirmed: true}})
			w.wantBaseline(out, err, stella.KindRollback)
			if holds := w.status().Holds; len(holds) != 1 || strings.HasPrefix(name, "the") && holds[0].Release != "b" {
				t.Errorf("holds %+v", holds)
			}
		})
	}
}

func TestAResetToWhatIsInEffectIsARepair(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	w.reconcile()
	w.baseline("prod-1", w.git("rev-parse", "main"), w.git("rev-parse", "main:envs/prod/app"), "a")
	head := w.git("rev-parse", "main")
	w.machines["b"].state = stella.State{} // somebody wiped it
	starts := w.machines["a"].starts
	out, err := w.reset(reconciler.Options{Reason: "wiped"})
	w.wantBaseline(out, err, stella.KindReset)
	if w.git("rev-parse", "main") != head || len(w.status().Holds) != 0 || w.machines["a"].starts != starts {
		t.Errorf("head %s, holds %+v, starts %d", w.git("rev-parse", "main"), w.status().Holds, w.machines["a"].starts)
	}
	// Where nothing differs it is verified and recorded.
	out, err = w.reset(reconciler.Options{})
	w.wantBaseline(out, err, stella.KindReset)
	w.wantHistory(`
prod-1 deploy a succeeded
prod-2 reset a succeeded restores prod-1
prod-3 reset a succeeded restores prod-1
`)
}

func TestAResetStartsFromWhateverTheLedgerSays(t *testing.T) {
	t.Parallel()
	for name, c := range map[string]struct {
		spoil   func(w *world)
		history string
	}{
		"failed":  {func(w *world) { w.makeSick("c", "b"); w.wantStatus("c", stella.Failed) }, "prod-3 deploy c failed\n"},
		"partial": {func(w *world) { w.makeSick("c", "a"); w.wantStatus("c", stella.Partial) }, "prod-3 deploy c partial\n"},
		"errored": {func(w *world) { w.machines["a"].failPrepare = true; w.wantStatus("c", stella.Errored) }, "prod-3 deploy c errored\n"},
		"owed": {func(w *world) {
			w.machines["b"].down = true
			if out := w.rollback(reconciler.Options{}); out.Deployment.Status != stella.Partial {
				w.t.Fatalf("%+v", out.Deployment)
			}
			w.machines["b"].down = false
		}, "prod-3 rollback a partial restores prod-1\n"},
		"rolled back": {func(w *world) { w.rollback(reconciler.Options{}) }, "prod-3 rollback a succeeded restores prod-1\n"},
		"held and forced back": {func(w *world) {
			w.rollback(reconciler.Options{})
			if _, err := w.Deploy(w.t.Context(), reconciler.DeployRequest{Environment: prod, Artifacts: map[string]stella.Artifact{"": ref("b")}, Options: reconciler.Options{Force: []string{reconciler.ForceHold}, Reason: "r"}}); err != nil {
				w.t.Fatal(err)
			}
		}, "prod-3 rollback a succeeded restores prod-1\nprod-4 deploy b succeeded\n"},
	} {
		t.Run(name, func(t *testing.T) {
			w := newAgreed(t, "onFailure: rollback", "onFailure: pause")
			c.spoil(w)
			out, err := w.reset(reconciler.Options{})
			w.wantBaseline(out, err, stella.KindReset)
			last := out.Deployment.ID
			w.wantHistory("prod-1 deploy a succeeded\nprod-2 deploy b succeeded\n" + c.history + last + " reset a succeeded restores prod-1\n")
		})
	}
}

// makeSick makes a version fail its check on machines.
func (w *world) makeSick(version string, machines ...string) {
	for _, name := range machines {
		w.machines[name].sick[string(digestOf(version))] = true
	}
}

func (w *world) wantStatus(version string, want stella.Status) {
	w.t.Helper()
	out, err := w.deploy(version)
	if out.Deployment == nil || out.Deployment.Status != want {
		w.t.Fatalf("%+v, %v", out.Deployment, err)
	}
}

func TestAResetThatFailsIsNotRolledBackByItself(t *testing.T) {
	t.Parallel()
	w := newAgreed(t)
	w.makeSick("a", "a", "b")
	out, err := w.reset(reconciler.Options{})
	if err != nil || out.Deployment.Status == stella.Succeeded || out.Rollback != nil || !strings.Contains(out.Deployment.Error, "a reset is never rolled back by itself") {
		t.Errorf("%+v, rollback %+v, %v", out.Deployment, out.Rollback, err)
	}
	if holds := w.status().Holds; len(holds) != 1 || holds[0].Release != "b" {
		t.Errorf("holds %+v", holds)
	}
	delete(w.machines["a"].sick, string(digestOf("a")))
	delete(w.machines["b"].sick, string(digestOf("a")))
	out, err = w.reset(reconciler.Options{})
	w.wantBaseline(out, err, stella.KindReset)
}

func TestAResetOwesATargetThatDoesNotAnswer(t *testing.T) {
	t.Parallel()
	w := newAgreed(t)
	w.machines["b"].down = true
	if _, err := w.Reset(t.Context(), reconciler.ResetRequest{Environment: prod, Scope: reconciler.Scope{RequireAll: true}}); !errors.Is(err, stella.ErrRefused) ||
		!strings.HasPrefix(err.Error(), "cannot reset prod to its baseline: ") {
		t.Errorf("with all of them required: %v", err)
	}
	out, err := w.reset(reconciler.Options{})
	if err != nil || out.Deployment.Status != stella.Partial || out.Sync != stella.SyncPartial {
		t.Fatalf("%+v, %v", out.Deployment, err)
	}
	w.machines["b"].down = false
	out, err = w.Reconcile(t.Context(), reconciler.ReconcileRequest{Environment: prod, Automatic: true})
	w.wantBaseline(out, err, stella.KindReset)
}

func TestAResetIsRefusedForWhatStandsInItsWay(t *testing.T) {
	t.Parallel()
	for name, c := range map[string]struct {
		spoil func(w *world)
		class error
		says  []string
	}{
		"no baseline": {
			func(w *world) {
				w.mess(func(dir string) error { return os.Remove(filepath.Join(dir, "baselines/prod.yaml")) })
			},
			stella.ErrRefused,
			[]string{"no baseline of prod was captured", "stella baseline capture prod", "prod-2 (b), prod-1 (a)", "stella rollback prod --to"},
		},
		"a baseline that never was": {func(w *world) {
			w.baseline("prod-2", w.git("rev-parse", "main"), w.git("rev-parse", "main:envs"), "a")
		}, stella.ErrRefused, []string{"cannot reset prod to its baseline: baselines/prod.yaml is not to be believed"}},
		"a baseline that can not be read": {func(w *world) { w.commitFile("baselines/prod.yaml", "tree: [\n", "x") }, stella.ErrInvalid, []string{"baselines/prod.yaml"}},
		"an image that is gone": {
			func(w *world) { w.shelf.missing[digestOf("a")] = true }, stella.ErrRefused,
			[]string{"can not be had", "go back to one that succeeded with 'stella rollback prod --to …'"},
		},
		"a release that it crosses": {func(w *world) {
			w.commitFile("envs/prod/environment.yaml", strings.Replace(environmentYAML, "rollout:", "irreversible: [{version: b}]\nrollout:", 1), "b is irreversible")
		}, stella.ErrRefused, []string{"release b is irreversible", "run 'stella orch env reset prod --to-baseline --cross b'"}},
		"a freeze": {func(w *world) {
			if _, err := w.AcquireLock(w.t.Context(), prod, "audit", time.Hour); err != nil {
				w.t.Fatal(err)
			}
		}, stella.ErrFrozen, []string{"audit"}},
	} {
		t.Run(name, func(t *testing.T) {
			w := newAgreed(t)
			c.spoil(w)
			head := w.git("rev-parse", "main")
			out, err := w.reset(reconciler.Options{})
			if !errors.Is(err, c.class) || out.Deployment != nil || stella.Hint(err) == "" {
				t.Errorf("%+v, %v", out.Deployment, err)
			}
			for _, want := range c.says {
				if text := err.Error() + "\n" + stella.Hint(err); !strings.Contains(text, want) {
					t.Errorf("it does not say %q: %s", want, text)
				}
			}
			if w.git("rev-parse", "main") != head || w.runs() != "bb" {
				t.Errorf("it was not refused before anything changed: runs %s", w.runs())
			}
		})
	}
}

func TestAResetThatIsToBeReviewedRunsOnAPin(t *testing.T) {
	t.Parallel()
	all := spoilt()
	for _, name := range []string{"", "environment.yaml is broken", "the app is gone", "the directory is gone"} {
		t.Run(name, func(t *testing.T) {
			w := newAgreed(t)
			if name != "" {
				w.mess(all[name])
			}
			w.protect()
			out, err := w.reset(reconciler.Options{Confirmed: true})
			if err != nil {
				t.Fatal(err)
			}
			branch := w.wantPinned(out)
			if !strings.HasPrefix(branch, "stella/reset/prod/") || out.Deployment.Kind != stella.KindReset {
				t.Errorf("on %s: %+v", branch, out.Deployment)
			}
			// Once more, while it waits: a repair under the pin.
			w.machines["b"].state = stella.State{}
			again, err := w.reset(reconciler.Options{Confirmed: true})
			if err != nil || again.Deployment.Status != stella.Succeeded || again.Proposal == nil || again.Proposal.Branch != branch || w.runs() != "aa" {
				t.Errorf("again: %+v, %+v, %v, runs %s", again.Deployment, again.Proposal, err, w.runs())
			}
			// Another process on another machine sees the same.
			other := w.engine("bo", nil)
			if st, err := other.Status(t.Context(), prod, true); err != nil || st.Sync != stella.Pinned || st.Health != stella.Healthy {
				t.Errorf("elsewhere it is %s (%s), %v", st.Sync, st.Reason, err)
			}
			w.wantAgreed(branch)
		})
	}
}

func TestASharedDirectoryThatIsGoneIsRestoredWithWhatNeedsIt(t *testing.T) {
	t.Parallel()
	w := newWorld(t, "rollout:", "shared: [shared/base]\nrollout:")
	w.mess(func(dir string) error {
		at := filepath.Join(dir, "shared/base")
		return errors.Join(os.MkdirAll(at, 0o700), os.WriteFile(filepath.Join(at, "app.env"), []byte("SHARED=then\n"), 0o600))
	})
	w.reconcile()
	w.baseline("prod-1", w.git("rev-parse", "main"), w.git("rev-parse", "main:envs/prod/app"), "a")
	w.mustDeploy("b")
	w.mess(func(dir string) error { return os.RemoveAll(filepath.Join(dir, "shared")) })
	dry, err := w.reset(reconciler.Options{DryRun: true})
	if err != nil || len(dry.Plan.Findings) > 0 || !strings.Contains(strings.Join(dry.Plan.Warnings, "\n"), "shared directory shared/base is gone: it is restored as it was for prod-1") {
		t.Fatalf("%+v, %v", dry.Plan, err)
	}
	out, err := w.reset(reconciler.Options{PlanHash: dry.Plan.Hash})
	w.wantBaseline(out, err, stella.KindReset)
	if got := w.git("show", "main:shared/base/app.env"); got != "SHARED=then" {
		t.Errorf("it has %q", got)
	}
}

func TestTwoResetsThatWereShownTheSamePlanResetOnce(t *testing.T) {
	t.Parallel()
	w := newAgreed(t)
	shown, err := w.reset(reconciler.Options{DryRun: true})
	if err != nil {
		t.Fatal(err)
	}
	out, err := w.reset(reconciler.Options{Shown: shown.Plan})
	w.wantBaseline(out, err, stella.KindReset)
	if out, err := w.reset(reconciler.Options{Shown: shown.Plan}); !errors.Is(err, stella.ErrConflict) || out.Deployment != nil {
		t.Errorf("want a conflict, got %+v, %v", out.Deployment, err)
	}
}

func TestARollbackAfterAResetGoesFurtherBackThanTheBaseline(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	w.reconcile()
	w.mustDeploy("b")
	w.baseline("prod-2", w.git("rev-parse", "main"), w.git("rev-parse", "main:envs/prod/app"), "b")
	w.mustDeploy("c")
	if out, err := w.reset(reconciler.Options{}); err != nil || w.runs() != "bb" {
		t.Fatalf("%+v, %v", out.Deployment, err)
	}
	message := w.git("log", "-1", "--format=%B", "main")
	for _, want := range []string{"Reset prod to its baseline, prod-2 (b)", "This reverts commit ", "Stella-Restores: prod-2"} {
		if !strings.Contains(message, want) {
			t.Errorf("message lacks %q:\n%s", want, message)
		}
	}
	if w.rollback(reconciler.Options{}); w.runs() != "aa" {
		t.Errorf("runs %s", w.runs())
	}
	w.wantHistory(`
prod-1 deploy a succeeded
prod-2 deploy b succeeded
prod-3 deploy c succeeded
prod-4 reset b succeeded restores prod-2
prod-5 rollback a succeeded restores prod-1
`)
}
