package reconciler_test

import (
	"errors"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

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
