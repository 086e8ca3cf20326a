package reconciler_test

import (
	"maps"
	"strings"
	"testing"

	"github.com/stella-ops/stella"
	"github.com/stella-ops/stella/internal/git/gittest"
	"github.com/stella-ops/stella/reconciler"
)

const (
	secretFile  = "envs/prod/secrets/db"
	secretValue = "hunter2-of-monday\n"
)

// newSecretWorld is a world whose app mounts a secret.
func newSecretWorld(t *testing.T) *world {
	t.Helper()
	w := newWorld(t, "host: {root: /srv/a}", "docker: {host: \"unix:///run/a.sock\"}", "host: {root: /srv/b}", "docker: {host: \"unix:///run/b.sock\"}")
	gittest.Seed(t, w.bare, map[string]string{
		secretFile:                   secretValue,
		"envs/prod/secrets/unused":   "nobody mounts it",
		"envs/prod/app/compose.yaml": "services:\n  web:\n    image: r.example.com/shop/web\n    environment:\n      LEVEL: ${LEVEL}\n    secrets: [db]\nsecrets:\n  db: {file: ../secrets/db}\n",
	})
	return w
}

func (w *world) setSecret(value string) {
	w.t.Helper()
	w.commitFile(secretFile, value, "rotate")
}

// wantSecret checks what both machines have.
func (w *world) wantSecret(value string) {
	w.t.Helper()
	for name, m := range w.machines {
		r, _ := m.state.Resource("service/web")
		secrets, _ := r.Fields["secrets"].(map[string]any)
		entry, _ := secrets["/run/secrets/db"].(map[string]any)
		if entry["content"] != value {
			w.t.Errorf("%s has the secret %q, want %q", name, entry["content"], value)
		}
	}
}

// unleaked checks that no secret is in the ledger.
func (w *world) unleaked() {
	w.t.Helper()
	for ref := range strings.Lines(w.git("for-each-ref", "--format=%(refname)", "refs/stella")) {
		if text := w.git("log", "-p", "--format=%B", strings.TrimSpace(ref)); strings.Contains(text, "hunter") {
			w.t.Errorf("%s has a secret", strings.TrimSpace(ref))
		}
	}
}

func TestACommitOfASecretAloneIsADeployment(t *testing.T) {
	t.Parallel()
	w := newSecretWorld(t)
	w.reconcile()
	w.wantSecret(secretValue)
	if out := w.reconcile(); !out.Nothing {
		t.Errorf("a second pass: %+v", out)
	}
	w.commitFile("envs/prod/secrets/unused", "hunter of nothing", "nobody mounts it")
	if out := w.reconcile(); !out.Nothing || out.Sync != stella.Synced {
		t.Errorf("a secret that nobody mounts was changed: %+v", out)
	}

	w.setSecret("hunter3\n")
	if st := w.status(); st.Sync != stella.OutOfSync || !strings.HasPrefix(st.Reason, "secrets changed") {
		t.Errorf("status: %s, %s", st.Sync, st.Reason)
	}
	all, err := w.Detect(t.Context(), reconciler.DetectRequest{Environments: []stella.EnvName{prod}})
	if err != nil || all[0].Drifted {
		t.Errorf("what was changed in Git has not drifted: %+v, %v", all, err)
	}
	diff, err := w.Diff(t.Context(), reconciler.DiffRequest{Environment: prod})
	if err != nil || !diff.Drifted || !diff.OutOfSync {
		t.Errorf("the diff: drifted %v, out of sync %v, %v", diff.Drifted, diff.OutOfSync, err)
	}
	out := w.reconcile()
	w.wantSecret("hunter3\n")
	if d := out.Deployment; d == nil || d.Kind != stella.KindDeploy || !strings.HasPrefix(d.Reason, "secrets changed") {
		t.Errorf("%+v", d)
	}
	if out := w.reconcile(); !out.Nothing {
		t.Errorf("after it: %+v", out)
	}
	w.wantHistory("prod-1 deploy a succeeded\nprod-2 deploy a succeeded\n")
	w.unleaked()
}

func TestASecretThatWasChangedOnATargetHasDrifted(t *testing.T) {
	t.Parallel()
	w := newSecretWorld(t)
	w.reconcile()
	m := w.machines["a"]
	r, _ := m.state.Resource("service/web")
	r.Fields = maps.Clone(r.Fields)
	r.Fields["secrets"] = map[string]any{"/run/secrets/db": map[string]any{"content": "hunter of Eve\n", "mode": "0444", "uid": "", "gid": ""}}
	m.do(stella.Action{Op: stella.OpUpdate, Resource: r})
	for what, change := range map[string]func(){"as it is": func() {}, "and Git too": func() { w.setSecret("hunter3\n") }} {
		change()
		all, err := w.Detect(t.Context(), reconciler.DetectRequest{Environments: []stella.EnvName{prod}})
		if err != nil || !all[0].Drifted {
			t.Errorf("%s: %+v, %v", what, all, err)
		}
	}
	w.reconcile()
	w.wantSecret("hunter3\n")
	w.unleaked()
}

// TestABadSecretWaitsForABetterOne: it is not tried twice, not rolled back, and
// the next one is.
func TestABadSecretWaitsForABetterOne(t *testing.T) {
	t.Parallel()
	w := newSecretWorld(t)
	w.reconcile()
	for _, m := range w.machines {
		m.sick[string(digestOf("a"))] = true
	}
	w.setSecret("hunter3\n")
	out, _ := w.Reconcile(t.Context(), reconciler.ReconcileRequest{Environment: prod, Automatic: true})
	if out.Deployment == nil || out.Deployment.Status == stella.Succeeded || out.Rollback != nil {
		t.Fatalf("%+v", out)
	}
	if out, _ := w.Reconcile(t.Context(), reconciler.ReconcileRequest{Environment: prod, Automatic: true}); out.Deployment != nil {
		t.Errorf("it is tried again: %+v", out.Deployment)
	}
	for _, m := range w.machines {
		clear(m.sick)
	}
	w.setSecret("hunter4\n")
	w.reconcile()
	w.wantSecret("hunter4\n")
	w.unleaked()
}

// TestDriftIsMeasuredWithTodaysSecrets also where environment.yaml is that of a
// commit that had others.
func TestDriftIsMeasuredWithTodaysSecrets(t *testing.T) {
	t.Parallel()
	w := newSecretWorld(t)
	w.reconcile()
	w.mustDeploy("b")
	w.setSecret("hunter3\n")
	w.protect()
	w.rollback(reconciler.Options{}) // its commit is on no branch that has the new secret
	w.unprotect()
	w.commitFile("envs/prod/environment.yaml", "apiVersion: stella/v1\nkind: Environment\nname: wrong\n", "break it")
	all, err := w.Detect(t.Context(), reconciler.DetectRequest{Environments: []stella.EnvName{prod}})
	if err != nil || all[0].Drifted || len(all[0].Targets) != 2 {
		t.Errorf("%+v, %v", all, err)
	}
	w.wantSecret("hunter3\n")
}

// TestEveryWayBackHasTodaysSecrets goes back to a release that was deployed with
// another secret.
func TestEveryWayBackHasTodaysSecrets(t *testing.T) {
	t.Parallel()
	const today = "hunter-of-today\n"
	for name, back := range map[string]func(*world){
		"rollback": func(w *world) { w.rollback(reconciler.Options{}) },
		"pin": func(w *world) {
			w.protect()
			if out := w.rollback(reconciler.Options{}); out.Sync != stella.Pinned {
				w.t.Errorf("it is %s", out.Sync)
			}
		},
		"a secret is changed and drift healed under a pin": func(w *world) {
			w.protect()
			w.rollback(reconciler.Options{})
			w.wantSecret(today)
			w.unprotect()
			w.setSecret("hunter5\n")
			if out := w.reconcile(); out.Sync != stella.Pinned || out.Deployment == nil || !strings.HasPrefix(out.Deployment.Reason, "secrets changed") {
				w.t.Errorf("under the pin: %+v, %+v", out, out.Deployment)
			}
			w.wantSecret("hunter5\n")
			w.setSecret(today)
			w.reconcile()
			w.machines["a"].state = stella.State{}
			if out, err := w.Reconcile(w.t.Context(), reconciler.ReconcileRequest{Environment: prod, Heal: true}); err != nil || out.Deployment == nil || out.Deployment.Kind != stella.KindHeal {
				w.t.Errorf("heal: %+v, %v", out, err)
			}
		},
		"offline": func(w *world) {
			w.keep("a", "b")
			restore := w.cutOff()
			if _, err := w.offline(reconciler.Options{}); err != nil {
				w.t.Error(err)
			}
			w.wantSecret(today)
			restore()
			w.reconcile()
			if out := w.reconcile(); !out.Nothing {
				w.t.Errorf("after the reunion: %+v", out)
			}
		},
		"reset": func(w *world) {
			if _, err := w.Reset(w.t.Context(), reconciler.ResetRequest{Environment: prod}); err != nil {
				w.t.Error(err)
			}
		},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			w := newSecretWorld(t)
			w.reconcile()
			if name == "reset" {
				if _, err := w.CaptureBaseline(t.Context(), reconciler.BaselineRequest{Environment: prod}); err != nil {
					t.Fatal(err)
				}
			}
			w.mustDeploy("b")
			w.setSecret(today)
			w.reconcile()
			back(w)
			w.wantSecret(today)
			if w.runs() != "aa" {
				t.Errorf("runs %s", w.runs())
			}
			w.unleaked()
		})
	}
}
