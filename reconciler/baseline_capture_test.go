package reconciler_test

import (
	"errors"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/stella-ops/stella"
	"github.com/stella-ops/stella/internal/git/gittest"
	"github.com/stella-ops/stella/reconciler"
)

func (w *world) capture(deployment, reason string) (reconciler.CapturedBaseline, error) {
	return w.CaptureBaseline(w.t.Context(), reconciler.BaselineRequest{
		Environment: prod, Deployment: deployment, Options: reconciler.Options{Reason: reason},
	})
}

func (w *world) mustCapture(deployment, reason string) reconciler.CapturedBaseline {
	w.t.Helper()
	got, err := w.capture(deployment, reason)
	if err != nil {
		w.t.Fatal(err)
	}
	return got
}

// verified is the report of all witnesses of prod's baseline.
func (w *world) verified() reconciler.BaselineReport {
	w.t.Helper()
	all, _, err := w.VerifyBaselines(w.t.Context(), prod)
	if err != nil || len(all) != 1 {
		w.t.Fatalf("%+v, %v", all, err)
	}
	return all[0]
}

func TestWhatRunsBecomesTheBaselineOnceAndIsGoneBackTo(t *testing.T) {
	w := newWorld(t)
	w.reconcile()
	first := w.mustCapture("", "proven")
	if first.Commit != w.git("rev-parse", "main") || first.Baseline.Deployment != "prod-1" || first.Replaces != nil || first.Nothing {
		t.Errorf("%+v", first)
	}
	message := w.git("log", "-1", "--format=%B", "main")
	for _, want := range []string{"Make prod-1 (a) the baseline of prod", "Stella-Environment: prod", "Stella-Baseline: prod-1", "Stella-Reason: proven"} {
		if !strings.Contains(message, want) {
			t.Errorf("message lacks %q:\n%s", want, message)
		}
	}
	if again := w.mustCapture("", "proven"); !again.Nothing || again.Commit != "" || w.git("rev-parse", "main") != first.Commit {
		t.Errorf("the same once more: %+v", again)
	}
	if again := w.mustCapture("", ""); !again.Nothing || again.Baseline.Reason != "proven" || w.git("rev-parse", "main") != first.Commit {
		t.Errorf("the same once more, without a reason: %+v", again)
	}
	if r := w.verified(); !r.OK || r.Unknown || !r.InEffect {
		t.Errorf("%+v", r)
	}
	if out := w.reconcile(); !out.Nothing {
		t.Errorf("a baseline asks for nothing: %+v", out)
	}
	w.mustDeploy("b")
	if unsaid := w.mustCapture("", " "); unsaid.Baseline.Reason != "" || strings.Contains(w.git("log", "-1", "--format=%B", "main"), "Stella-Reason") {
		t.Errorf("without a reason: %+v", unsaid)
	}
	second := w.mustCapture("", "better")
	if second.Replaces == nil || second.Replaces.Deployment != "prod-2" || second.Baseline.Deployment != "prod-2" {
		t.Errorf("%+v", second)
	}
	// An older one was healthy then, whatever the targets do now.
	w.machines["a"].down = true
	if back := w.mustCapture("prod-1", "the last good one"); back.Baseline.Deployment != "prod-1" {
		t.Errorf("%+v", back)
	}
	w.machines["a"].down = false
	list, err := w.ListBaselines(t.Context(), prod)
	if err != nil {
		t.Fatal(err)
	}
	var got []string
	for _, one := range list {
		got = append(got, one.Baseline.Deployment+" "+one.Baseline.Reason+" "+one.Author)
	}
	if diff := cmp.Diff([]string{"prod-1 the last good one ana", "prod-2 better ana", "prod-2  ana", "prod-1 proven ana"}, got); diff != "" {
		t.Errorf("history (-want +got):\n%s", diff)
	}
	d, err := w.DiffBaseline(t.Context(), prod)
	if err != nil || d.Same || d.Release != (reconciler.ValueChange{From: "a", To: "b"}) || len(d.Components) != 1 || len(d.Commits) != 1 ||
		len(d.Files) != 1 || !strings.Contains(d.Files[0].Diff, "+version: b") {
		t.Errorf("%+v, %v", d, err)
	}
	if out, err := w.Rollback(t.Context(), reconciler.RollbackRequest{Environment: prod, To: "baseline"}); err != nil || w.runs() != "aa" {
		t.Errorf("%+v, %v: runs %s", out, err, w.runs())
	}
	if d, err := w.DiffBaseline(t.Context(), prod); err != nil || !d.Same {
		t.Errorf("%+v, %v", d, err)
	}
}

// TestACaptureIsRefusedWithEveryReasonAtOnce, and leaves no commit.
func TestACaptureIsRefusedWithEveryReasonAtOnce(t *testing.T) {
	for name, c := range map[string]struct {
		spoil      func(w *world)
		deployment string
		want       []string
	}{
		"sick, drifted and away": {func(w *world) {
			w.machines["a"].sick[string(digestOf("a"))] = true
			w.machines["a"].state.Resources = append([]stella.Resource(nil), w.machines["a"].state.Resources...)
			for i, r := range w.machines["a"].state.Resources {
				r.Fields = map[string]any{"image": r.Fields["image"], "command": []any{"other"}}
				w.machines["a"].state.Resources[i] = r
			}
			w.machines["b"].down = true
		}, "", []string{"unhealthy a", "drifted a", "target-unreachable b"}},
		"failed": {func(w *world) {
			for _, m := range w.machines {
				m.sick[string(digestOf("b"))] = true
			}
			_, _ = w.deploy("b")
		}, "prod-2", []string{"not-verified ", "held "}},
		"owed": {func(w *world) {
			w.mustDeploy("b")
			w.machines["b"].down = true
			_, _ = w.Rollback(t.Context(), reconciler.RollbackRequest{Environment: prod})
			w.machines["b"].down = false
		}, "", []string{"not-verified ", "target-owed ", "drifted b"}},
		"stopped": {func(w *world) {
			if err := w.Stop(t.Context(), prod, reconciler.Options{Reason: "night"}); err != nil {
				w.t.Fatal(err)
			}
		}, "", []string{"stopped ", "drifted a", "drifted b"}},
		"an override that ends": {func(w *world) {
			w.mustDeploy("b")
			out, err := w.Rollback(t.Context(), reconciler.RollbackRequest{Environment: prod, Targets: []string{"a"}})
			if err != nil || out.Deployment.Status != stella.Succeeded {
				w.t.Fatalf("%+v, %v", out, err)
			}
		}, "", []string{"override-ends "}},
	} {
		t.Run(name, func(t *testing.T) {
			w := newWorld(t)
			w.reconcile()
			c.spoil(w)
			before := w.git("rev-parse", "main")
			got, err := w.capture(c.deployment, "good")
			if _, ok := errors.AsType[*reconciler.RefusedError](err); !ok || !errors.Is(err, stella.ErrRefused) || got.Baseline != nil {
				t.Fatalf("%+v, %v", got, err)
			}
			var codes []string
			for _, f := range got.Plan.Findings {
				codes = append(codes, f.Code+" "+f.Target)
				if f.Message == "" || f.Fix == "" {
					t.Errorf("%+v", f)
				}
			}
			if diff := cmp.Diff(c.want, codes); diff != "" {
				t.Errorf("reasons (-want +got):\n%s\n%v", diff, err)
			}
			if w.git("rev-parse", "main") != before {
				t.Error("it made a commit")
			}
		})
	}
	w := newWorld(t)
	if _, err := w.capture("", "good"); !errors.Is(err, stella.ErrRefused) || stella.Hint(err) == "" {
		t.Errorf("nothing was deployed: %v", err)
	}
	w.reconcile()
	if _, err := w.capture("prod-9", "good"); !errors.Is(err, stella.ErrNotFound) {
		t.Errorf("no such deployment: %v", err)
	}
}

// TestAProtectedBranchIsProposedTo where that is asked for, and refuses with the
// way out where not.
func TestABranchThatRefusesIsProposedTo(t *testing.T) {
	w := newWorld(t)
	w.reconcile()
	w.protect()
	if _, err := w.capture("", "good"); err == nil || !strings.Contains(stella.Hint(err), "--pr") {
		t.Fatalf("%v, hint %q", err, stella.Hint(err))
	}
	out, err := w.CaptureBaseline(t.Context(), reconciler.BaselineRequest{Environment: prod, Options: reconciler.Options{Reason: "good", PullRequest: true}})
	if err != nil || out.Proposal == nil || w.git("rev-parse", out.Proposal.Branch) != out.Proposal.Commit {
		t.Fatalf("%+v, %v", out, err)
	}
	if files := w.git("diff", "--name-only", "main", out.Proposal.Branch); files != "baselines/prod.yaml" {
		t.Errorf("it changes %s", files)
	}
}

// TestAProtectedEnvironmentIsCapturedByItsPlan: the hash of a dry run stays good
// while time goes by.
func TestAProtectedEnvironmentIsCapturedByItsPlan(t *testing.T) {
	w := newWorld(t, "name: prod\n", "name: prod\nprotected: true\n")
	w.reconcile()
	ask := reconciler.BaselineRequest{Environment: prod, Options: reconciler.Options{Reason: "good"}}
	if _, err := w.CaptureBaseline(t.Context(), ask); !errors.Is(err, stella.ErrInvalid) {
		t.Errorf("without a hash: %v", err)
	}
	ask.DryRun = true
	dry, err := w.CaptureBaseline(t.Context(), ask)
	if err != nil || dry.Commit != "" || len(dry.Plan.Files) != 1 || dry.Plan.Files[0].Op != "add" || !strings.Contains(dry.Plan.Files[0].Diff, "+deployment: prod-1") {
		t.Fatalf("%+v, %v", dry, err)
	}
	later := w.config("ana", nil)
	later.Now = func() time.Time { return time.Now().Add(time.Hour) }
	ask.DryRun, ask.PlanHash = false, dry.Plan.Hash
	if out, err := reconciler.New(later).CaptureBaseline(t.Context(), ask); err != nil || out.Commit == "" {
		t.Errorf("%+v, %v", out, err)
	}
}

// TestWitnessesOfABaselineSayWhatIsWrong, each what it knows.
func TestWitnessesOfABaselineSayWhatIsWrong(t *testing.T) {
	for name, c := range map[string]struct {
		spoil   func(w *world)
		want    map[string]string // witness → what it says
		unknown bool
	}{
		"the registry lost the image": {
			spoil: func(w *world) { w.shelf.missing[digestOf("a")] = true },
			want:  map[string]string{"web:a@": "not found"},
		},
		"nobody answers for the image": {
			spoil:   func(w *world) { w.shelf.says = map[string]error{"registry": stella.ErrUnreachable} },
			want:    map[string]string{"web:a@": "unreachable"},
			unknown: true,
		},
		"the ledger was lost": {
			spoil: func(w *world) {
				w.git("update-ref", "-d", "refs/stella/ledger/prod")
				w.Engine = w.engine("ana", nil)
			},
			want: map[string]string{"ledger": "has never seen prod-1"},
		},
		"somebody changed a component": {
			spoil: func(w *world) { w.rewrite("web:a@"+string(digestOf("a")), "web:d@"+string(digestOf("d"))) },
			want:  map[string]string{"ledger": "component web is", "release": "has r.example.com/shop/web:a@"},
		},
		"somebody changed the tree": {
			spoil: func(w *world) { w.rewrite("tree: ", "tree: "+strings.Repeat("a", 40)+" #") },
			want:  map[string]string{"tree": "has tree", "ledger": "did not verify tree"},
		},
		"somebody changed the digest": {
			spoil: func(w *world) { w.rewrite("desired: sha256:", "desired: sha256:"+strings.Repeat("1", 64)+" #") },
			want:  map[string]string{"desired": "renders to", "ledger": "desired is"},
		},
		"it can not be read": {
			spoil: func(w *world) { w.rewrite("kind: Baseline", "kind: Other") },
			want:  map[string]string{"file": "kind"},
		},
	} {
		t.Run(name, func(t *testing.T) {
			w := newWorld(t)
			w.reconcile()
			w.mustCapture("", "good")
			c.spoil(w)
			r := w.verified()
			if r.OK || r.Unknown != c.unknown || len(r.Findings) == 0 {
				t.Errorf("%+v", r)
			}
			for witness, says := range c.want {
				found := false
				for _, one := range r.Witnesses {
					found = found || !one.OK && strings.Contains(one.Name, witness) && strings.Contains(one.Why, says)
				}
				if !found {
					t.Errorf("no witness %s says %q: %+v", witness, says, r.Witnesses)
				}
			}
		})
	}
	w := newWorld(t)
	if _, _, err := w.VerifyBaselines(t.Context(), prod); !errors.Is(err, stella.ErrNotFound) || stella.Hint(err) == "" {
		t.Errorf("there is none: %v", err)
	}
	if all, without, err := w.VerifyBaselines(t.Context()); err != nil || len(all) != 0 || len(without) != 2 {
		t.Errorf("%+v, without %v, %v", all, without, err)
	}
}

// rewrite changes the baseline's file as anybody could.
func (w *world) rewrite(old, is string) {
	w.t.Helper()
	text := w.git("show", "main:baselines/prod.yaml") + "\n"
	changed := strings.Replace(text, old, is, 1)
	if changed == text {
		w.t.Fatalf("%q is not in\n%s", old, text)
	}
	w.commitFile("baselines/prod.yaml", changed, "by hand")
}

// TestABaselineComesByItselfOnceItProvedItself, and once only.
func TestABaselineComesByItselfOnceItProvedItself(t *testing.T) {
	var ahead time.Duration
	start := func(t *testing.T) *world {
		ahead = 0
		w := newWorld(t, "name: prod\n", "name: prod\nbaseline: {after: 24h}\n")
		cfg := w.config("daemon", nil)
		cfg.Now = func() time.Time { return time.Now().Add(ahead) }
		w.Engine = reconciler.New(cfg)
		w.reconcile()
		return w
	}
	look := func(w *world) reconciler.AutomaticBaseline {
		w.t.Helper()
		if _, err := w.Heads(w.t.Context()); err != nil {
			w.t.Fatal(err)
		}
		all, err := w.CheckBaselines(w.t.Context())
		if err != nil || len(all) != 1 || all[0].Error != "" {
			w.t.Fatalf("%+v, %v", all, err)
		}
		return all[0]
	}
	t.Run("after a day of health", func(t *testing.T) {
		w := start(t)
		if got := look(w); got.Captured != nil || got.DueAt.Before(time.Now().Add(23*time.Hour)) {
			t.Errorf("too early: %+v", got)
		}
		ahead = 25 * time.Hour
		got := look(w)
		if got.Captured == nil || got.Captured.Deployment != "prod-1" || got.Captured.Reason != "healthy and undrifted for 24h" {
			t.Fatalf("%+v", got)
		}
		// A person takes it back: it stays taken back, for another process too.
		w.git("update-ref", "refs/heads/elsewhere", "main")
		clone := t.TempDir()
		gittest.Run(t, clone, "clone", "-q", w.bare, ".")
		gittest.Run(t, clone, "revert", "--no-edit", "HEAD")
		gittest.Run(t, clone, "push", "-q", "origin", "HEAD:main")
		cfg := w.config("another", nil)
		cfg.Now = func() time.Time { return time.Now().Add(ahead) }
		for _, e := range []*reconciler.Engine{w.Engine, reconciler.New(cfg)} {
			w.Engine = e
			if got := look(w); got.Captured != nil {
				t.Errorf("once more: %+v", got)
			}
		}
	})
	t.Run("its day begins anew when it was sick", func(t *testing.T) {
		w := start(t)
		ahead = 20 * time.Hour
		w.machines["a"].sick[string(digestOf("a"))] = true
		if got := look(w); len(got.Blockers) != 1 || got.Blockers[0].Code != "unhealthy" {
			t.Errorf("%+v", got)
		}
		delete(w.machines["a"].sick, string(digestOf("a")))
		for _, c := range []struct {
			ahead    time.Duration
			captured bool
		}{{25 * time.Hour, false}, {45 * time.Hour, true}} {
			ahead = c.ahead
			if got := look(w); (got.Captured != nil) != c.captured {
				t.Errorf("after %s: %+v", c.ahead, got)
			}
		}
	})
	t.Run("not over what a person chose meanwhile", func(t *testing.T) {
		w := start(t)
		w.mustDeploy("b")
		ahead = time.Hour
		w.mustCapture("prod-1", "the old one is the one")
		ahead = 100 * time.Hour
		if got := look(w); got.Captured != nil || !got.DueAt.IsZero() {
			t.Errorf("%+v", got)
		}
	})
	t.Run("a branch that refuses is proposed to once", func(t *testing.T) {
		w := start(t)
		w.protect()
		ahead = 25 * time.Hour
		got := look(w)
		if got.Proposal == nil || got.Proposal.Branch != "stella/baseline/prod/prod-1" {
			t.Fatalf("%+v", got)
		}
		if again := look(w); again.Proposal != nil || again.Captured != nil {
			t.Errorf("%+v", again)
		}
		cfg := w.config("another", nil)
		cfg.Now = func() time.Time { return time.Now().Add(ahead) }
		w.Engine = reconciler.New(cfg)
		if again := look(w); again.Proposal != nil || again.Captured != nil {
			t.Errorf("in another process: %+v", again)
		}
		if n := len(strings.Split(w.git("for-each-ref", "--format=%(refname)", "refs/heads/stella"), "\n")); n != 1 {
			t.Errorf("%d proposals", n)
		}
	})
}

// TestCapturesAtOnceMakeOneBaseline: whoever comes second is told that it changed
// meanwhile, or finds it done; nobody's is written over unseen.
func TestCapturesAtOnceMakeOneBaseline(t *testing.T) {
	w := newWorld(t)
	w.reconcile()
	const people = 4
	engines := make([]*reconciler.Engine, people)
	for i := range engines {
		engines[i] = w.engine("ana", nil)
	}
	errs := make([]error, people)
	var all sync.WaitGroup
	for i, e := range engines {
		all.Go(func() {
			_, errs[i] = e.CaptureBaseline(t.Context(), reconciler.BaselineRequest{Environment: prod, Options: reconciler.Options{Reason: "good"}})
		})
	}
	all.Wait()
	done := 0
	for _, err := range errs {
		if err == nil {
			done++
		} else if !errors.Is(err, stella.ErrConflict) || stella.Hint(err) == "" {
			t.Error(err)
		}
	}
	if n := w.git("rev-list", "--count", "main", "--", "baselines"); done == 0 || n != "1" {
		t.Errorf("%d were done, with %s commits", done, n)
	}
}
