package reconciler_test

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/stella-ops/stella"
	"github.com/stella-ops/stella/configrepo"
	"github.com/stella-ops/stella/internal/git"
	"github.com/stella-ops/stella/internal/git/gittest"
	"github.com/stella-ops/stella/ledger"
	"github.com/stella-ops/stella/reconciler"
)

const prod = stella.EnvName("prod")

func digestOf(version string) stella.Digest {
	return stella.Digest("sha256:" + strings.Repeat(fmt.Sprintf("%x", version[0]), 32))
}

func ref(version string) stella.Artifact {
	return stella.Artifact{Registry: "r.example.com", Repository: "shop/web", Tag: version}
}

// world is an engine over a real repository and ledger, with machines in
// memory.
type world struct {
	*reconciler.Engine

	t        *testing.T
	bare     string
	machines site
	shelf    *shelf
}

const environmentYAML = `apiVersion: stella/v1
kind: Environment
name: prod
targets:
- name: a
  host: {root: /srv/a}
- name: b
  host: {root: /srv/b}
rollout: {strategy: rolling, batch: 1, onFailure: rollback}
verify: {timeout: 2s}
`

func newWorld(t *testing.T, change ...string) *world {
	t.Helper()
	environment := strings.NewReplacer(change...).Replace(environmentYAML)
	bare := gittest.Bare(t)
	gittest.Seed(t, bare, map[string]string{
		"stella.yaml":                   "apiVersion: stella/v1\nkind: Project\nname: shop\n",
		"envs/prod/environment.yaml":    environment,
		"envs/prod/app/compose.yaml":    "services:\n  web:\n    image: r.example.com/shop/web\n    environment:\n      LEVEL: ${LEVEL}\n",
		"envs/prod/app/release.yaml":    "apiVersion: stella/v1\nkind: Release\nversion: a\ncomponents:\n  web: r.example.com/shop/web:a@" + string(digestOf("a")) + "\nvariables: {LEVEL: info}\n",
		"envs/staging/environment.yaml": strings.Replace(environmentYAML, "name: prod", "name: staging", 1),
		"envs/staging/app/compose.yaml": "services:\n  web: {}\n",
		"envs/staging/app/release.yaml": "apiVersion: stella/v1\nkind: Release\nversion: a\ncomponents:\n  web: r.example.com/shop/web:a@" + string(digestOf("a")) + "\n",
	})
	w := &world{
		t: t, bare: bare, machines: site{"a": {sick: map[string]bool{}}, "b": {sick: map[string]bool{}}},
		shelf: &shelf{tags: map[string]stella.Digest{}, missing: map[stella.Digest]bool{}},
	}
	for _, v := range []string{"a", "b", "c", "d"} {
		w.shelf.tags[v] = digestOf(v)
	}
	w.Engine = w.engine("ana", nil)
	return w
}

// engine opens another engine on the same world, as another process would.
func (w *world) engine(actor string, notify func(reconciler.Event)) *reconciler.Engine {
	w.t.Helper()
	return reconciler.New(w.config(actor, notify))
}

func (w *world) config(actor string, notify func(reconciler.Event)) reconciler.Config {
	w.t.Helper()
	log := slog.New(slog.NewTextHandler(w.t.Output(), nil))
	repo, err := git.Open(w.t.Context(), git.Options{URL: w.bare, Dir: w.t.TempDir(), Getenv: gittest.Getenv(), Logger: log})
	if err != nil {
		w.t.Fatal(err)
	}
	w.t.Cleanup(func() { _ = repo.Close() })
	return reconciler.Config{
		Repo: repo, Targets: w.machines, Actor: actor, Identity: git.Signature{Name: actor, Email: actor + "@example.com"},
		Artifacts: func(*configrepo.Project) reconciler.Artifacts { return w.shelf },
		Ledger: func(prefix string) *ledger.Ledger {
			return ledger.New(ledger.NewGitStore(repo, prefix), ledger.Options{Version: "test", Actor: actor})
		},
		Journals: w.t.TempDir(), Version: "test", Logger: log, Notify: notify,
	}
}

func (w *world) reconcile() reconciler.Outcome {
	w.t.Helper()
	out, err := w.Reconcile(w.t.Context(), reconciler.ReconcileRequest{Environment: prod, Automatic: true})
	if err != nil {
		w.t.Fatal(err)
	}
	return out
}

func (w *world) deploy(version string) (reconciler.Outcome, error) {
	return w.Deploy(w.t.Context(), reconciler.DeployRequest{Environment: prod, Artifacts: map[string]stella.Artifact{"": ref(version)}})
}

func (w *world) mustDeploy(version string) {
	w.t.Helper()
	out, err := w.deploy(version)
	if err != nil || out.Deployment == nil || out.Deployment.Status != stella.Succeeded {
		w.t.Fatalf("deploy %s: %+v, %v", version, out.Deployment, err)
	}
}

// runs is what each machine runs, by the letter of its digest.
func (w *world) runs() string {
	w.t.Helper()
	var out []string
	for _, name := range []string{"a", "b"} {
		state, err := w.machines[name].Observe(w.t.Context())
		version := "-"
		if err == nil && len(state.Observed.Components) > 0 {
			a, _ := stella.ParseArtifact(state.Observed.Components[0].Running)
			version = a.Tag
		}
		out = append(out, version)
	}
	return strings.Join(out, "")
}

// history is the ledger in a line for each deployment.
func (w *world) history() string {
	w.t.Helper()
	b, err := w.Book(w.t.Context(), prod)
	if err != nil {
		w.t.Fatal(err)
	}
	var out strings.Builder
	for _, d := range b.Deployments {
		fmt.Fprintf(&out, "%s %s %s %s", d.ID, d.Kind, d.Release, d.Status)
		if d.Restores != "" {
			fmt.Fprintf(&out, " restores %s", d.Restores)
		}
		out.WriteString("\n")
	}
	if b.State.Lock != nil {
		fmt.Fprintf(&out, "locked by %s\n", b.State.Lock.Holder)
	}
	return out.String()
}

func (w *world) wantHistory(want string) {
	w.t.Helper()
	if diff := cmp.Diff(strings.TrimLeft(want, "\n"), w.history()); diff != "" {
		w.t.Errorf("history (-want +got):\n%s", diff)
	}
	reports, err := w.VerifyLedger(w.t.Context(), prod)
	if err != nil {
		w.t.Fatal(err)
	}
	for _, r := range reports {
		if !r.OK() {
			w.t.Errorf("ledger: %+v", r.Findings)
		}
	}
}

func TestADeploymentIsVerifiedAndRecordedAndASecondPassDoesNothing(t *testing.T) {
	w := newWorld(t)
	out := w.reconcile()
	if out.Sync != stella.Synced || w.runs() != "aa" {
		t.Fatalf("%+v, runs %s", out, w.runs())
	}
	starts := w.machines["a"].starts
	if out := w.reconcile(); !out.Nothing || w.machines["a"].starts != starts {
		t.Errorf("second pass: %+v", out)
	}
	w.mustDeploy("b")
	if w.runs() != "bb" {
		t.Errorf("runs %s", w.runs())
	}
	w.wantHistory(`
prod-1 deploy a succeeded
prod-2 deploy b succeeded
`)
}

func TestABadReleaseIsRolledBackAsAGitRevertAndHeld(t *testing.T) {
	w := newWorld(t)
	w.reconcile()
	for _, m := range w.machines {
		m.sick[string(digestOf("b"))] = true
	}
	out, err := w.deploy("b")
	if err != nil {
		t.Fatal(err)
	}
	if out.Deployment.Status != stella.Partial || out.Rollback == nil || out.Rollback.Status != stella.Succeeded {
		t.Fatalf("outcome %+v, rollback %+v", out.Deployment, out.Rollback)
	}
	if w.runs() != "aa" {
		t.Errorf("runs %s", w.runs())
	}
	w.wantHistory(`
prod-1 deploy a succeeded
prod-2 deploy b partial
prod-3 rollback a succeeded restores prod-1
`)
	message := gittest.Run(t, gittest.Dir(w.bare), "log", "-1", "--format=%B", "main")
	for _, want := range []string{`Revert "Deploy b to prod"`, "This reverts commit " + out.Deployment.Commit, "Stella-Restores: prod-1"} {
		if !strings.Contains(message, want) {
			t.Errorf("message lacks %q:\n%s", want, message)
		}
	}
	st, err := w.RollbackStatus(t.Context(), prod, "")
	if err != nil || !st.Agrees {
		t.Errorf("witnesses: %+v, %v", st.Witnesses, err)
	}
	if _, err := w.deploy("b"); !errors.Is(err, stella.ErrRefused) || stella.Hint(err) == "" {
		t.Errorf("a held release was not refused: %v", err)
	}
	if _, err := w.LiftHold(t.Context(), prod, "", "fixed elsewhere"); err != nil {
		t.Fatal(err)
	}
	for _, m := range w.machines {
		delete(m.sick, string(digestOf("b")))
	}
	w.mustDeploy("b")
}

func TestRollbackGoesToWhatWasVerifiedBefore(t *testing.T) {
	w := newWorld(t)
	w.reconcile()
	w.mustDeploy("b")
	w.mustDeploy("c")
	for _, want := range []string{"bb", "aa"} {
		out, err := w.Rollback(t.Context(), reconciler.RollbackRequest{Environment: prod})
		if err != nil || out.Deployment.Status != stella.Succeeded {
			t.Fatalf("%+v, %v", out.Deployment, err)
		}
		if w.runs() != want {
			t.Errorf("runs %s, want %s", w.runs(), want)
		}
	}
	_, err := w.Rollback(t.Context(), reconciler.RollbackRequest{Environment: prod})
	if !errors.Is(err, stella.ErrRefused) {
		t.Errorf("there is nothing before the first: %v", err)
	}
	w.wantHistory(`
prod-1 deploy a succeeded
prod-2 deploy b succeeded
prod-3 deploy c succeeded
prod-4 rollback b succeeded restores prod-2
prod-5 rollback a succeeded restores prod-1
`)
}

func TestTwoRollbacksThatWereShownTheSamePlanGoBackOnce(t *testing.T) {
	w := newWorld(t)
	w.reconcile()
	w.mustDeploy("b")
	w.mustDeploy("c")
	shown, err := w.Rollback(t.Context(), reconciler.RollbackRequest{Environment: prod, Options: reconciler.Options{DryRun: true}})
	if err != nil {
		t.Fatal(err)
	}
	req := reconciler.RollbackRequest{Environment: prod, Options: reconciler.Options{Shown: shown.Plan}}
	if out, err := w.Rollback(t.Context(), req); err != nil || out.Deployment.Status != stella.Succeeded {
		t.Fatalf("%+v, %v", out.Deployment, err)
	}
	if out, err := w.Rollback(t.Context(), req); !errors.Is(err, stella.ErrConflict) || out.Deployment != nil {
		t.Errorf("want a conflict, got %+v, %v", out.Deployment, err)
	}
	if w.runs() != "bb" {
		t.Errorf("runs %s, want bb", w.runs())
	}
}

func TestARevertMadeElsewhereCountsAsARollback(t *testing.T) {
	w := newWorld(t)
	w.reconcile()
	w.mustDeploy("b")
	clone := t.TempDir()
	gittest.Run(t, clone, "clone", "-q", w.bare, "c")
	gittest.Run(t, clone+"/c", "revert", "--no-edit", "HEAD")
	gittest.Run(t, clone+"/c", "push", "-q", "origin", "HEAD:main")
	if out := w.reconcile(); out.Deployment.Kind != stella.KindRollback || out.Deployment.Restores != "prod-1" || w.runs() != "aa" {
		t.Errorf("%+v, runs %s", out.Deployment, w.runs())
	}
}

func TestPreflightRefusesBeforeAnythingIsTouched(t *testing.T) {
	for name, c := range map[string]struct {
		spoil func(*world)
		want  string
	}{
		"an artifact is missing":   {func(w *world) { w.shelf.missing[digestOf("b")] = true }, "can not be had"},
		"a target does not answer": {func(w *world) { w.machines["b"].down = true }, "machine is off"},
		"the tag is not there":     {func(w *world) { delete(w.shelf.tags, "b") }, "not found"},
	} {
		t.Run(name, func(t *testing.T) {
			w := newWorld(t)
			w.reconcile()
			c.spoil(w)
			_, err := w.deploy("b")
			if !errors.Is(err, stella.ErrRefused) || !strings.Contains(err.Error(), c.want) || stella.Hint(err) == "" {
				t.Errorf("got %v, hint %q", err, stella.Hint(err))
			}
			w.machines["b"].down = false
			if w.runs() != "aa" {
				t.Errorf("runs %s", w.runs())
			}
			w.wantHistory("prod-1 deploy a succeeded\n")
		})
	}
}

func TestARollbackOwesATargetThatDoesNotAnswer(t *testing.T) {
	w := newWorld(t)
	w.reconcile()
	w.mustDeploy("b")
	w.machines["b"].down = true
	out, err := w.Rollback(t.Context(), reconciler.RollbackRequest{Environment: prod})
	if err != nil || out.Deployment.Status != stella.Partial {
		t.Fatalf("%+v, %v", out.Deployment, err)
	}
	w.machines["b"].down = false
	if w.runs() != "ab" {
		t.Errorf("runs %s", w.runs())
	}
	retried, err := w.Reconcile(t.Context(), reconciler.ReconcileRequest{Environment: prod, Retry: true})
	if err != nil || w.runs() != "aa" {
		t.Errorf("%+v, %v: runs %s", retried.Deployment, err, w.runs())
	}
}

func TestAFailureInTheMiddleOfApplyIsRolledBack(t *testing.T) {
	w := newWorld(t)
	w.reconcile()
	w.machines["b"].failApply = true
	out, err := w.deploy("b")
	if err != nil || out.Rollback == nil || out.Rollback.Status != stella.Succeeded || w.runs() != "aa" {
		t.Errorf("%+v, %+v, %v: runs %s", out.Deployment, out.Rollback, err, w.runs())
	}
}

func TestGuardsOfTheAutomaticRollback(t *testing.T) {
	t.Run("nothing was ever verified", func(t *testing.T) {
		w := newWorld(t)
		w.machines["a"].sick[string(digestOf("a"))] = true
		out := w.reconcile()
		if out.Rollback != nil || !strings.Contains(out.Deployment.Error, "nothing was ever verified") {
			t.Errorf("%+v", out.Deployment)
		}
	})
	t.Run("the environment does not ask for it", func(t *testing.T) {
		w := newWorld(t, "onFailure: rollback", "onFailure: pause")
		w.reconcile()
		w.machines["a"].sick[string(digestOf("b"))] = true
		out, err := w.deploy("b")
		if err != nil || out.Rollback != nil || w.runs() != "ba" {
			t.Errorf("%+v, %v: runs %s", out.Deployment, err, w.runs())
		}
	})
	t.Run("the rollback itself is not verified: it ends there", func(t *testing.T) {
		w := newWorld(t)
		w.reconcile()
		w.machines["a"].sick[string(digestOf("b"))] = true
		w.machines["a"].sick[string(digestOf("a"))] = true
		out, err := w.deploy("b")
		if err != nil || out.Rollback == nil || out.Rollback.Status == stella.Succeeded {
			t.Fatalf("%+v, %v", out.Rollback, err)
		}
		w.wantHistory("prod-1 deploy a succeeded\nprod-2 deploy b partial\nprod-3 rollback a " + string(out.Rollback.Status) + " restores prod-1\n")
	})
}

func TestContinueGoesOnWithTheOtherTargets(t *testing.T) {
	w := newWorld(t, "onFailure: rollback", "onFailure: continue")
	w.reconcile()
	w.machines["a"].sick[string(digestOf("b"))] = true
	out, err := w.deploy("b")
	if err != nil || out.Deployment.Status != stella.Failed || w.runs() != "bb" {
		t.Errorf("%+v, %v: runs %s", out.Deployment, err, w.runs())
	}
}

func TestADryRunChangesNothingAndItsHashIsAgreedTo(t *testing.T) {
	w := newWorld(t, "name: prod\n", "name: prod\nprotected: true\n")
	if _, err := w.Reconcile(t.Context(), reconciler.ReconcileRequest{Environment: prod, Automatic: true}); err != nil {
		t.Fatal(err)
	}
	head := gittest.Ref(t, w.bare, "refs/heads/main")
	ask := reconciler.DeployRequest{Environment: prod, Artifacts: map[string]stella.Artifact{"web": ref("b")}}
	if _, err := w.Deploy(t.Context(), ask); !errors.Is(err, stella.ErrInvalid) {
		t.Errorf("protected, without a hash: %v", err)
	}
	ask.DryRun = true
	out, err := w.Deploy(t.Context(), ask)
	if err != nil || out.Plan.Hash == "" || len(out.Plan.Files) != 1 {
		t.Fatalf("%+v, %v", out.Plan, err)
	}
	if now := gittest.Ref(t, w.bare, "refs/heads/main"); now != head || w.runs() != "aa" {
		t.Error("a dry run changed something")
	}
	ask.DryRun, ask.PlanHash = false, "0000"
	if _, err := w.Deploy(t.Context(), ask); !errors.Is(err, stella.ErrConflict) {
		t.Errorf("another hash: %v", err)
	}
	ask.PlanHash = out.Plan.Hash
	if out, err := w.Deploy(t.Context(), ask); err != nil || out.Deployment.Status != stella.Succeeded {
		t.Errorf("%+v, %v", out.Deployment, err)
	}
}

func TestDeploysThatMeetAreCarriedOutOneAfterTheOther(t *testing.T) {
	w := newWorld(t)
	w.reconcile()
	block, begun := make(chan struct{}), make(chan struct{})
	var once sync.Once
	w.machines["a"].block = block
	w.machines["a"].prepared = func() { once.Do(func() { close(begun) }) }
	type result struct {
		out reconciler.Outcome
		err error
	}
	first := make(chan result, 1)
	go func() {
		out, err := w.deploy("b")
		first <- result{out, err}
	}()
	<-begun
	waiting := make(chan struct{})
	var seen sync.Once
	other := w.engine("bob", func(ev reconciler.Event) {
		if _, ok := ev.(reconciler.Waiting); ok {
			seen.Do(func() { close(waiting) })
		}
	})
	second := make(chan result, 1)
	go func() {
		out, err := other.Deploy(t.Context(), reconciler.DeployRequest{Environment: prod, Artifacts: map[string]stella.Artifact{"web": ref("c")}})
		second <- result{out, err}
	}()
	<-waiting
	close(block)
	if r := <-first; r.err != nil || r.out.Deployment.Status != stella.Succeeded {
		t.Errorf("first: %+v, %v", r.out.Deployment, r.err)
	}
	if r := <-second; r.err != nil || r.out.Deployment.Status != stella.Succeeded {
		t.Errorf("second: %+v, %v", r.out.Deployment, r.err)
	}
	if w.runs() != "cc" {
		t.Errorf("runs %s", w.runs())
	}
	w.wantHistory("prod-1 deploy a succeeded\nprod-2 deploy b succeeded\nprod-3 deploy c succeeded\n")
}

func TestAnInterruptStopsBeforeTheNextStepAndIsRecorded(t *testing.T) {
	w := newWorld(t)
	w.reconcile()
	ctx, cancel := context.WithCancelCause(t.Context())
	stop := errors.New("Ctrl-C")
	engine := w.engine("ana", func(ev reconciler.Event) {
		if s, ok := ev.(reconciler.StepEnded); ok && s.Step.Name == stella.StepVerify {
			cancel(stop)
		}
	})
	out, err := engine.Deploy(ctx, reconciler.DeployRequest{Environment: prod, Artifacts: map[string]stella.Artifact{"web": ref("b")}})
	if err != nil || out.Deployment.Status != stella.Aborted || w.runs() != "ba" {
		t.Fatalf("%+v, %v: runs %s", out.Deployment, err, w.runs())
	}
	if out, err := w.Reconcile(t.Context(), reconciler.ReconcileRequest{Environment: prod}); err != nil || w.runs() != "bb" {
		t.Errorf("%+v, %v: runs %s", out.Deployment, err, w.runs())
	}
}

func TestAFrozenEnvironmentIsLeftAlone(t *testing.T) {
	w := newWorld(t)
	w.reconcile()
	if _, err := w.AcquireLock(t.Context(), prod, "holidays", time.Hour); err != nil {
		t.Fatal(err)
	}
	head := gittest.Ref(t, w.bare, "refs/heads/main")
	if _, err := w.deploy("b"); !errors.Is(err, stella.ErrFrozen) {
		t.Errorf("deploy: %v", err)
	}
	if _, err := w.Rollback(t.Context(), reconciler.RollbackRequest{Environment: prod, To: "prod-1"}); !errors.Is(err, stella.ErrFrozen) {
		t.Errorf("rollback: %v", err)
	}
	if gittest.Ref(t, w.bare, "refs/heads/main") != head || w.runs() != "aa" {
		t.Error("a frozen environment was changed")
	}
	if _, err := w.ReleaseLock(t.Context(), string(prod), "back", false); err != nil {
		t.Fatal(err)
	}
	w.mustDeploy("b")
}

func TestInvalidFilesLeaveWhatRunsAlone(t *testing.T) {
	w := newWorld(t)
	w.reconcile()
	gittest.Seed(t, w.bare, map[string]string{"envs/prod/app/release.yaml": "apiVersion: stella/v1\nkind: Release\nversion: [\n"})
	_, err := w.Reconcile(t.Context(), reconciler.ReconcileRequest{Environment: prod, Automatic: true})
	if !errors.Is(err, stella.ErrInvalid) || !strings.Contains(err.Error(), "release.yaml:") || w.runs() != "aa" {
		t.Errorf("%v: runs %s", err, w.runs())
	}
	st, err := w.Status(t.Context(), prod, false)
	if err != nil || st.Sync != stella.Invalid {
		t.Errorf("%+v, %v", st.Sync, err)
	}
	// The way out works while the files are broken.
	out, err := w.Rollback(t.Context(), reconciler.RollbackRequest{Environment: prod, To: "prod-1"})
	if err != nil || out.Deployment.Status != stella.Succeeded {
		t.Errorf("%+v, %v", out.Deployment, err)
	}
}
