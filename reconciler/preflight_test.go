package reconciler_test

import (
	"errors"
	"fmt"
	"maps"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/stella-ops/stella"
	"github.com/stella-ops/stella/internal/git/gittest"
	"github.com/stella-ops/stella/reconciler"
)

// newPast is a world whose release a was verified as prod-1 and b as prod-2. Its
// app has a service with data and reads a shared directory that staging declares
// too.
func newPast(t *testing.T, change ...string) *world {
	t.Helper()
	w := newWorld(t)
	environment := strings.NewReplacer(append([]string{"targets:", "shared: [shared/base]\ntargets:"}, change...)...)
	compose := "services:\n  web:\n    image: r.example.com/shop/web\n    env_file: [../../../shared/base/app.env]\n    environment:\n      LEVEL: ${LEVEL}\n    volumes: [\"data:/data\"]\nvolumes:\n  data: {}\n"
	if slices.Contains(change, "stateless") {
		compose = strings.ReplaceAll(compose, "    volumes: [\"data:/data\"]\nvolumes:\n  data: {}\n", "")
	}
	staging := strings.Replace(environmentYAML, "name: prod", "name: staging", 1)
	gittest.Seed(t, w.bare, map[string]string{
		"shared/base/app.env":           "SHARED=then\n",
		"envs/prod/environment.yaml":    environment.Replace(environmentYAML),
		"envs/prod/app/compose.yaml":    compose,
		"envs/staging/environment.yaml": strings.Replace(staging, "targets:", "shared: [shared/base]\ntargets:", 1),
		"envs/staging/app/compose.yaml": "services:\n  web:\n    env_file: [../../../shared/base/app.env]\n",
	})
	w.reconcile()
	w.mustDeploy("b")
	return w
}

// back is the dry run of a rollback to prod-1, and the codes of what it found.
func (w *world) back(scope reconciler.Scope) (*reconciler.Plan, string) {
	w.t.Helper()
	head := gittest.Ref(w.t, w.bare, "refs/heads/main")
	out, err := w.Rollback(w.t.Context(), reconciler.RollbackRequest{Environment: prod, To: "prod-1", Scope: scope, Options: reconciler.Options{DryRun: true}})
	if err != nil {
		w.t.Fatal(err)
	}
	if gittest.Ref(w.t, w.bare, "refs/heads/main") != head {
		w.t.Error("a dry run changed the branch")
	}
	return out.Plan, codesOf(w.t, out.Plan.Findings)
}

func codesOf(t *testing.T, findings []reconciler.Finding) string {
	t.Helper()
	codes := map[string]bool{}
	for _, f := range findings {
		codes[f.Code] = true
		if f.Message == "" || f.Fix == "" {
			t.Errorf("%s lacks words: %+v", f.Code, f)
		}
	}
	return strings.Join(slices.Sorted(maps.Keys(codes)), " ")
}

func gone(class error) error { return fmt.Errorf("check it: %w: as they say", class) }

func TestEachThingThatStandsInTheWayIsAFinding(t *testing.T) {
	cross := reconciler.Scope{Cross: []string{"web"}}
	for name, c := range map[string]struct {
		change []string
		spoil  func(*world)
		scope  reconciler.Scope
		codes  string
		says   []string // in a message, a fix or a warning
	}{
		"nothing": {spoil: func(*world) {}, scope: cross},
		"data": {
			spoil: func(*world) {}, codes: "stateful-service",
			says: []string{"web has its data in volume data", "--cross web"},
		},
		"no place has the image": {
			spoil: func(w *world) { w.shelf.missing[digestOf("a")] = true; w.shelf.backup = "oci:/backup" }, scope: cross, codes: "artifact-missing",
			says: []string{"a does not keep it", "registry r.example.com: manifest", "backup oci:/backup", "not found"},
		},
		"the registry does not answer": {
			spoil: func(w *world) { w.shelf.says = map[string]error{"registry": gone(stella.ErrUnreachable)} }, scope: cross, codes: "artifact-unknown",
			says: []string{"is not known", "unreachable: as they say", "curl"},
		},
		"the registry refuses us": {
			spoil: func(w *world) {
				w.shelf.says = map[string]error{"registry": stella.WithHint(gone(stella.ErrDenied), "run 'docker login r.example.com'")}
			},
			scope: cross, codes: "artifact-unknown", says: []string{"access denied", "docker login r.example.com"},
		},
		"the registry does not answer, and the targets keep it": {
			spoil: func(w *world) {
				w.shelf.says = map[string]error{"registry": gone(stella.ErrUnreachable)}
				for _, m := range w.machines {
					m.keeps = map[stella.Digest]bool{digestOf("a"): true}
				}
			}, scope: cross,
		},
		"only the backup has it": {
			spoil: func(w *world) {
				w.shelf.missing[digestOf("a")] = true
				w.shelf.backup, w.shelf.copies = "oci:/backup", map[stella.Digest]bool{digestOf("a"): true}
			}, scope: cross, says: []string{"comes from the backup oci:/backup", "--restore-artifacts"},
		},
		"one target does not answer": {
			spoil: func(w *world) { w.machines["b"].down = true }, scope: cross, says: []string{"b: machine is off: unreachable; it will be owed"},
		},
		"one target does not answer, and all are wanted": {
			spoil: func(w *world) { w.machines["b"].down = true }, scope: reconciler.Scope{Cross: []string{"web"}, RequireAll: true},
			codes: "target-unreachable", says: []string{"--require-all"},
		},
		"no target answers": {
			spoil: func(w *world) { w.machines["a"].down, w.machines["b"].down = true, true }, scope: cross, codes: "target-unreachable",
			says: []string{"a: machine is off", "b: machine is off"},
		},
		"a full disk": {
			spoil: func(w *world) { w.shelf.size = 2e9; w.machines["a"].free, w.machines["b"].free = 1e9, 1e12 }, scope: cross, codes: "disk-space",
			says: []string{"a has 1.0 GB free and needs about 6.0 GB", "free at least 5.0 GB on a"},
		},
		"a disk that does not say": {
			spoil: func(w *world) { w.shelf.size = 2e9; w.machines["a"].free = 1e12 }, scope: cross, says: []string{"b: whether there is room", "the disk does not say"},
		},
		"an irreversible release": {
			change: []string{"rollout:", "irreversible: [{version: b, reason: drops a column}]\nrollout:"}, spoil: func(*world) {}, scope: cross, codes: "irreversible",
			says: []string{"release b is irreversible: drops a column", "prod-2 (b) has it, prod-1 (a) is from before it", "--to prod-1 --cross b"},
		},
		"a shared directory": {
			spoil: func(w *world) { gittest.Seed(w.t, w.bare, map[string]string{"shared/base/app.env": "SHARED=now\n"}) }, scope: cross, codes: "shared-differs",
			says: []string{"shared directory shared/base is not what it was for prod-1", "declared by staging too, and restoring it changes staging", "--include-shared"},
		},
		"a shared directory, in what nobody reads": {
			spoil: func(w *world) { gittest.Seed(w.t, w.bare, map[string]string{"shared/base/README": "read me\n"}) }, scope: cross,
		},
		"what it refers to is gone": {
			spoil: func(w *world) {
				gittest.Seed(w.t, w.bare, map[string]string{"envs/prod/environment.yaml": environmentYAML})
				w.shelf.missing[digestOf("a")] = true
			}, scope: cross, codes: "artifact-missing unrenderable", says: []string{"what prod-1 had can not be used today: envs/prod/app/compose.yaml:", "git checkout"},
		},
		"a freeze": {
			spoil: func(w *world) {
				if _, err := w.AcquireLock(w.t.Context(), prod, "holidays", time.Hour); err != nil {
					w.t.Fatal(err)
				}
			}, scope: cross, codes: "frozen", says: []string{"prod is frozen by ana since", "holidays", "stella orch locks release prod"},
		},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			w := newPast(t, c.change...)
			c.spoil(w)
			plan, codes := w.back(c.scope)
			if codes != c.codes {
				t.Errorf("found %q, want %q: %+v", codes, c.codes, plan.Findings)
			}
			text := fmt.Sprint(plan.Findings, plan.Warnings)
			for _, says := range c.says {
				if !strings.Contains(text, says) {
					t.Errorf("nothing says %q: %s", says, text)
				}
			}
		})
	}
}

func TestAllThatStandsInTheWayIsSaidAtOnceAndNothingIsTouched(t *testing.T) {
	w := newPast(t, "rollout:", "irreversible: [{version: b}]\nrollout:")
	w.shelf.missing[digestOf("a")] = true
	w.shelf.size = 1
	w.machines["b"].down = true
	gittest.Seed(t, w.bare, map[string]string{"shared/base/app.env": "SHARED=now\n"})
	head := gittest.Ref(t, w.bare, "refs/heads/main")
	_, err := w.Rollback(t.Context(), reconciler.RollbackRequest{Environment: prod, Scope: reconciler.Scope{RequireAll: true}})
	var no *reconciler.RefusedError
	if !errors.As(err, &no) || !errors.Is(err, stella.ErrRefused) || !strings.HasPrefix(err.Error(), "cannot restore previous version: ") {
		t.Fatalf("got %v", err)
	}
	want := "artifact-missing irreversible shared-differs stateful-service target-unreachable"
	if diff := cmp.Diff(want, codesOf(t, no.Findings)); diff != "" {
		t.Errorf("findings (-want +got):\n%s", diff)
	}
	for _, f := range no.Findings {
		if !strings.Contains(err.Error(), f.Message) {
			t.Errorf("%q is not in %v", f.Message, err)
		}
	}
	w.machines["b"].down = false
	if gittest.Ref(t, w.bare, "refs/heads/main") != head || w.runs() != "bb" {
		t.Error("something was touched")
	}
	w.wantHistory("prod-1 deploy a succeeded\nprod-2 deploy b succeeded\n")
}

func TestWhatIsNamedMayBeCrossed(t *testing.T) {
	w := newPast(t, "rollout:", "irreversible: [{version: b, reason: drops a column}]\nrollout:")
	scope := reconciler.Scope{Cross: []string{"b", "web"}}
	plan, codes := w.back(scope)
	if diff := cmp.Diff([]reconciler.Crossing{{Version: "b", Reason: "drops a column"}}, plan.Crosses); diff != "" || codes != "" {
		t.Errorf("found %q, crosses (-want +got):\n%s", codes, diff)
	}
	out, err := w.Rollback(t.Context(), reconciler.RollbackRequest{Environment: prod, Scope: scope})
	if err != nil || out.Deployment.Status != stella.Succeeded || w.runs() != "aa" {
		t.Fatalf("%+v, %v: runs %s", out.Deployment, err, w.runs())
	}
	// What was crossed is behind us: going on from there crosses nothing.
	w.mustDeploy("c")
	if plan, _ := w.back(reconciler.Scope{Cross: []string{"web"}}); len(plan.Crosses) > 0 || len(plan.Findings) > 0 {
		t.Errorf("crosses %+v, found %+v", plan.Crosses, plan.Findings)
	}
}

func TestWhatTheRegistryLostIsRestoredBeforeAnythingIsTouched(t *testing.T) {
	w := newPast(t)
	w.shelf.missing[digestOf("a")] = true
	w.shelf.backup, w.shelf.copies = "oci:/backup", map[stella.Digest]bool{digestOf("a"): true}
	scope := reconciler.Scope{Cross: []string{"web"}, RestoreArtifacts: true}
	plan, codes := w.back(scope)
	if codes != "" || !plan.Artifacts[0].Restored || len(w.shelf.restored) > 0 {
		t.Fatalf("found %q, artifacts %+v, restored %v", codes, plan.Artifacts, w.shelf.restored)
	}
	out, err := w.Rollback(t.Context(), reconciler.RollbackRequest{Environment: prod, Scope: scope})
	if err != nil || out.Deployment.Status != stella.Succeeded || len(w.shelf.restored) != 1 {
		t.Fatalf("%+v, %v, restored %v", out.Deployment, err, w.shelf.restored)
	}
	var steps []string
	for _, s := range out.Deployment.Steps {
		steps = append(steps, s.Name)
	}
	if at := slices.Index(steps, stella.StepArtifacts); at < 0 || at > slices.Index(steps, stella.StepCommit) {
		t.Errorf("steps %v", steps)
	}
}

func TestSharedDirectoriesAndTheEnvironmentOfThenComeBackInTheSameCommit(t *testing.T) {
	w := newPast(t)
	today := strings.NewReplacer("targets:\n", "protected: true\nshared: [shared/base]\ntargets:\n", "- name: b\n  host: {root: /srv/b}\n", "- name: c\n  host: {root: /srv/c}\n").Replace(environmentYAML)
	w.machines["c"] = &machine{sick: map[string]bool{}}
	gittest.Seed(t, w.bare, map[string]string{"shared/base/app.env": "SHARED=now\n", "envs/prod/environment.yaml": today})
	scope := reconciler.Scope{Cross: []string{"web"}}
	narrow, _ := w.back(scope)
	scope.IncludeShared, scope.IncludeEnvironment = true, true
	plan, codes := w.back(scope)
	if codes != "" {
		t.Fatalf("found %+v", plan.Findings)
	}
	if narrow.Hash == plan.Hash {
		t.Error("who agreed to the app alone has agreed to all of it")
	}
	for _, want := range []string{"target c is dropped", "target b is added", "protected ends", "restores shared directory shared/base: declared by staging too, and restoring it changes staging"} {
		if !strings.Contains(strings.Join(plan.Warnings, "\n"), want) {
			t.Errorf("no warning says %q: %q", want, plan.Warnings)
		}
	}
	req := reconciler.RollbackRequest{Environment: prod, To: "prod-1", Scope: scope}
	if _, err := w.Rollback(t.Context(), req); !errors.Is(err, stella.ErrInvalid) {
		t.Errorf("a protected environment was changed unconfirmed: %v", err)
	}
	req.PlanHash = plan.Hash
	out, err := w.Rollback(t.Context(), req)
	if err != nil || out.Deployment.Status != stella.Succeeded || w.runs() != "aa" {
		t.Fatalf("%+v, %v: runs %s", out.Deployment, err, w.runs())
	}
	dir := gittest.Dir(w.bare)
	for path, want := range map[string]string{"shared/base/app.env": "SHARED=then\n", "envs/prod/environment.yaml": strings.Replace(environmentYAML, "targets:", "shared: [shared/base]\ntargets:", 1)} {
		if got := gittest.Run(t, dir, "show", "main:"+path); strings.TrimSpace(got) != strings.TrimSpace(want) {
			t.Errorf("%s is\n%s", path, got)
		}
	}
	if changed := gittest.Run(t, dir, "show", "--format=", "--name-only", "main"); len(strings.Fields(changed)) != 3 {
		t.Errorf("the commit changes\n%s", changed)
	}
}

func TestADeploymentThatWasNeverVerifiedIsRefusedBesideTheRest(t *testing.T) {
	w := newPast(t, "stateless", "")
	for _, m := range w.machines {
		m.sick[string(digestOf("c"))] = true
	}
	if _, err := w.deploy("c"); err != nil {
		t.Fatal(err)
	}
	_, err := w.Rollback(t.Context(), reconciler.RollbackRequest{Environment: prod, To: "prod-3"})
	var no *reconciler.RefusedError
	if !errors.As(err, &no) || !strings.Contains(codesOf(t, no.Findings), "held not-verified") {
		t.Errorf("got %v", err)
	}
	if _, err := w.Rollback(t.Context(), reconciler.RollbackRequest{Environment: prod, To: "prod-99"}); !errors.Is(err, stella.ErrNotFound) || errors.Is(err, stella.ErrRefused) {
		t.Errorf("an unknown deployment: %v", err)
	}
}

func TestALiveLockIsAWarningOfADryRun(t *testing.T) {
	w := newPast(t)
	block, begun := make(chan struct{}), make(chan struct{})
	w.machines["a"].block = block
	w.machines["a"].prepared = func() { close(begun) }
	done := make(chan error, 1)
	other := w.engine("bob", nil)
	go func() {
		_, err := other.Deploy(t.Context(), reconciler.DeployRequest{Environment: prod, Artifacts: map[string]stella.Artifact{"web": ref("c")}})
		done <- err
	}()
	<-begun
	plan, codes := w.back(reconciler.Scope{Cross: []string{"web"}})
	if codes != "" || !strings.Contains(strings.Join(plan.Warnings, "\n"), "locked by bob since") {
		t.Errorf("found %q, warnings %q", codes, plan.Warnings)
	}
	close(block)
	if err := <-done; err != nil {
		t.Error(err)
	}
}

func TestAServiceThatIsToBeKeptIsNamed(t *testing.T) {
	w := newPast(t, "stateless", "")
	gittest.Seed(t, w.bare, map[string]string{
		"envs/prod/app/compose.yaml": "services:\n  web:\n    image: r.example.com/shop/web\n    x-stella: {rollback: keep}\n    environment:\n      LEVEL: ${LEVEL}\n",
	})
	w.reconcile()
	plan, codes := w.back(reconciler.Scope{})
	if codes != "stateful-service" || !strings.Contains(plan.Findings[0].Message, "rollback: keep") || !strings.Contains(plan.Findings[0].Fix, "--cross web") {
		t.Errorf("found %q: %+v", codes, plan.Findings)
	}
}
