package reconciler_test

import (
	"errors"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/stella-ops/stella"
	"github.com/stella-ops/stella/internal/git/gittest"
	"github.com/stella-ops/stella/reconciler"
)

// driftedWorld is a world in which release a was deployed and then somebody
// changed what runs.
func driftedWorld(t *testing.T, compose string, change ...string) *world {
	t.Helper()
	w := newWorld(t, change...)
	if compose != "" {
		gittest.SeedRef(t, w.bare, gittest.Branch, "Another app", map[string]string{"envs/prod/app/compose.yaml": compose})
	}
	w.reconcile()
	return w
}

// tamper changes a field of a service on a machine, as somebody who logs in does;
// nil takes it away.
func (m *machine) tamper(service string, value any, path ...string) {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.state.Resources = slices.Clone(m.state.Resources)
	for i, r := range m.state.Resources {
		if r.ID != stella.ResourceID("service/"+service) {
			continue
		}
		fields, _ := cloned(r.Fields).(map[string]any)
		at := fields
		for _, p := range path[:len(path)-1] {
			if at[p] == nil {
				at[p] = map[string]any{}
			}
			at, _ = at[p].(map[string]any)
		}
		if value == nil {
			delete(at, path[len(path)-1])
		} else {
			at[path[len(path)-1]] = value
		}
		m.state.Resources[i].Fields = fields
	}
}

func cloned(v any) any {
	switch v := v.(type) {
	case map[string]any:
		out := map[string]any{}
		for k, e := range v {
			out[k] = cloned(e)
		}
		return out
	case []any:
		return slices.Clone(v)
	}
	return v
}

// both changes a field on both machines.
func (w *world) both(value any, path ...string) {
	for _, name := range []string{"a", "b"} {
		w.machines[name].tamper("web", value, path...)
	}
}

// message is the newest commit's, and the files that it changed.
func (w *world) message() (message, files string) {
	w.t.Helper()
	return strings.TrimSpace(w.git("log", "-1", "--format=%B", gittest.Branch)), strings.TrimSpace(w.git("show", "--name-only", "--format=", gittest.Branch))
}

// head is the branch's newest commit.
func (w *world) head() string { return gittest.Ref(w.t, w.bare, gittest.Branch) }

func adopting(path string) reconciler.AdoptRequest {
	return reconciler.AdoptRequest{Environment: prod, Resource: "web", Path: path, Options: reconciler.Options{Reason: "it is better"}}
}

func (w *world) noDrift() {
	w.t.Helper()
	all, err := w.Detect(w.t.Context(), reconciler.DetectRequest{Environments: []stella.EnvName{prod}})
	if err != nil || len(all) != 1 || all[0].Drifted || all[0].Error != "" {
		w.t.Errorf("still drifted: %+v, %v", all, err)
	}
	for _, target := range all[0].Targets {
		for _, c := range target.Changes {
			if !c.Ignored {
				w.t.Errorf("%s: %+v", target.Target, c)
			}
		}
	}
}

func TestAdoptWritesWhatRunsAndDeploysItWithoutTouchingAnything(t *testing.T) {
	w := driftedWorld(t, "")
	w.both("debug", "environment", "LEVEL")
	before := w.starts()

	req := adopting("/environment/LEVEL")
	req.DryRun = true
	out, err := w.Adopt(t.Context(), req)
	if err != nil || out.Plan == nil || !out.Plan.Empty || len(out.Plan.Files) != 1 {
		t.Fatalf("dry run: %+v, %v", out.Plan, err)
	}
	if !strings.Contains(out.Plan.Files[0].Diff, "LEVEL: debug") {
		t.Errorf("the dry run does not show the change: %s", out.Plan.Files[0].Diff)
	}
	w.wantHistory("\nprod-1 deploy a succeeded\n")

	req.DryRun = false
	if out, err = w.Adopt(t.Context(), req); err != nil || out.Deployment == nil || out.Deployment.Status != stella.Succeeded {
		t.Fatalf("%+v, %v", out, err)
	}
	if now := w.starts(); now != before {
		t.Errorf("%d actions were carried out", now-before)
	}
	if got := w.show("envs/prod/app/release.yaml"); !strings.Contains(got, "variables: {LEVEL: debug}") {
		t.Errorf("release.yaml:\n%s", got)
	}
	message, files := w.message()
	if want := "Adopt what runs: service/web /environment/LEVEL in prod\n\nvariables.LEVEL\n\nStella-Environment: prod\nStella-Adopts: service/web /environment/LEVEL\nStella-Reason: it is better"; message != want {
		t.Errorf("message (-want +got):\n%s", cmp.Diff(want, message))
	}
	if files != "envs/prod/app/release.yaml" {
		t.Errorf("the commit touches %s", files)
	}
	w.wantHistory("\nprod-1 deploy a succeeded\nprod-2 deploy a succeeded\n")
	w.noDrift()
	if out := w.reconcile(); !out.Nothing {
		t.Errorf("the next pass does something: %+v", out)
	}
}

func TestAdoptRefusesBeforeAnythingIsTouched(t *testing.T) {
	const twice = "services:\n  web:\n    environment: {LEVEL: \"${LEVEL}\", ALSO: \"${LEVEL}\"}\n"
	for _, c := range []struct {
		name    string
		compose string
		tamper  func(w *world)
		request func(r *reconciler.AdoptRequest)
		want    string
		hint    string
		class   error
	}{
		{"nothing differs", "", func(*world) {}, nil, "does not differ from prod-1 now", "drift detect prod", stella.ErrRefused},
		{"another path differs", "", func(w *world) { w.both("x", "environment", "OTHER") }, nil, "service/web /environment/LEVEL does not differ", "what differs of it is /environment/OTHER", stella.ErrRefused},
		{
			"targets differ", "", func(w *world) {
				w.machines["a"].tamper("web", "debug", "environment", "LEVEL")
				w.machines["b"].tamper("web", "trace", "environment", "LEVEL")
			}, nil, `not the same on all targets: "debug" on a, "trace" on b`, "--target", stella.ErrRefused,
		},
		{"one target differs", "", func(w *world) { w.machines["b"].tamper("web", "trace", "environment", "LEVEL") }, nil, `"info" on a, "trace" on b`, "--target", stella.ErrRefused},
		{"the variable is used elsewhere", twice, func(w *world) { w.both("debug", "environment", "LEVEL") }, nil, "would also change service/web /environment/ALSO on a", "by hand", stella.ErrRefused},
		{
			"something else differs", "", func(w *world) {
				w.both("debug", "environment", "LEVEL")
				w.both("1000", "user")
			}, nil, "a differs elsewhere too, which a deployment brings back: service/web /user", "--heal", stella.ErrRefused,
		},
		{"a process that is dead", "", func(w *world) {
			for _, m := range w.machines {
				m.state = stella.State{}
			}
		}, func(r *reconciler.AdoptRequest) { r.Path = "" }, "it does not run", "stella reconcile prod", stella.ErrRefused},
		{"a file within the image", "", func(w *world) { w.both([]any{"changed bin/web"}, "files") }, func(r *reconciler.AdoptRequest) { r.Path = "/files" }, "an image is what its digest says", "stella reconcile prod", stella.ErrRefused},
		{"a record of ours", "", func(w *world) { w.both("x", "spec.json") }, func(r *reconciler.AdoptRequest) { r.Path = "" }, "a record of stella's own", "stella reconcile prod", stella.ErrRefused},
		{"a secret", "", func(w *world) {
			for _, m := range w.machines {
				m.tamper("web", "hunter2", "environment", "LEVEL")
				m.state.Resources[0].Secrets = []string{"/environment/LEVEL"}
			}
		}, nil, "is a secret, which is never written", "stella reconcile prod", stella.ErrRefused},
		{"no such resource", "", func(*world) {}, func(r *reconciler.AdoptRequest) { r.Resource = "api" }, "resource api of prod: not found", "it has service/web", stella.ErrNotFound},
		{"no pointer", "", func(*world) {}, func(r *reconciler.AdoptRequest) { r.Path = "LEVEL" }, "want it to start with /", "/environment/LOG_LEVEL", stella.ErrInvalid},
		{"no such target", "", func(w *world) { w.both("debug", "environment", "LEVEL") }, func(r *reconciler.AdoptRequest) { r.Target = "c" }, "target c of prod", "its targets are a, b", stella.ErrNotFound},
		{"several files", "services:\n  web:\n    user: a\n    environment: {LEVEL: \"${LEVEL}\"}\n", func(w *world) {
			w.both("debug", "environment", "LEVEL")
			w.both("b", "user")
		}, func(r *reconciler.AdoptRequest) { r.Path = "" }, "belongs into several files, envs/prod/app/compose.yaml and envs/prod/app/release.yaml", "one path at a time: /environment/LEVEL, /user", stella.ErrRefused},
		{"a target is away", "", func(w *world) {
			w.both("debug", "environment", "LEVEL")
			w.machines["b"].down = true
		}, nil, "b: machine is off", "bring b back", stella.ErrRefused},
		{"an image that nobody has", "", func(w *world) {
			w.both("r.example.com/shop/web:d@"+string(digestOf("d")), "image")
			w.shelf.missing[digestOf("d")] = true
		}, func(r *reconciler.AdoptRequest) { r.Path = "/image" }, "can not be had", "", stella.ErrRefused},
		{"a commit that waits", "", func(w *world) {
			w.both("debug", "environment", "LEVEL")
			gittest.SeedRef(w.t, w.bare, gittest.Branch, "Not deployed", map[string]string{"envs/prod/app/note": "x"})
		}, nil, "asks for something else than prod-1", "stella reconcile prod", stella.ErrRefused},
	} {
		t.Run(c.name, func(t *testing.T) {
			w := driftedWorld(t, c.compose)
			c.tamper(w)
			req := adopting("/environment/LEVEL")
			if c.request != nil {
				c.request(&req)
			}
			history, head := w.history(), w.head()
			starts := w.starts()
			_, err := w.Adopt(t.Context(), req)
			if !errors.Is(err, c.class) || !strings.Contains(err.Error(), c.want) || !strings.Contains(stella.Hint(err), c.hint) {
				t.Errorf("%v (%s)\nwant %q (%s)", err, stella.Hint(err), c.want, c.hint)
			}
			if strings.Contains(err.Error(), "hunter2") {
				t.Errorf("a secret is shown: %v", err)
			}
			if w.history() != history || w.head() != head || w.starts() != starts {
				t.Errorf("something was done: %s", w.history())
			}
		})
	}
}

func TestAdoptTakesAllOfAResource(t *testing.T) {
	const app = "services:\n  web:\n    # as little as can be\n    command: [serve, --fast]\n    environment:\n      LEVEL: info\n    labels: [a=b]\n"
	w := driftedWorld(t, app)
	before := w.starts()
	w.both([]any{"serve", "--slow", "x"}, "command")
	w.both("debug", "environment", "LEVEL")
	w.both("1", "environment", "NEW")
	w.both(nil, "labels")
	out, err := w.Adopt(t.Context(), adopting(""))
	if err != nil || out.Deployment == nil || out.Deployment.Status != stella.Succeeded || w.starts() != before {
		t.Fatalf("%+v, %v (%s), %d starts", out, err, stella.Hint(err), w.starts()-before)
	}
	want := "services:\n  web:\n    # as little as can be\n    command: [\"serve\", \"--slow\", \"x\"]\n    environment:\n      LEVEL: debug\n      NEW: \"1\""
	if got := w.show("envs/prod/app/compose.yaml"); got != want {
		t.Errorf("compose.yaml (-want +got):\n%s", cmp.Diff(want, got))
	}
	w.noDrift()
}

func TestAdoptPicksATargetAndTheOthersFollow(t *testing.T) {
	w := driftedWorld(t, "")
	w.machines["b"].tamper("web", "trace", "environment", "LEVEL")
	req := adopting("/environment/LEVEL")
	req.Target = "b"
	starts := w.starts()
	out, err := w.Adopt(t.Context(), req)
	if err != nil || out.Deployment == nil || out.Deployment.Status != stella.Succeeded {
		t.Fatalf("%+v, %v (%s)", out, err, stella.Hint(err))
	}
	if got := w.starts() - starts; got != 1 {
		t.Errorf("%d actions, want the one of the target that follows", got)
	}
	w.noDrift()
}

func TestAdoptHealsTheRestWhereItIsTold(t *testing.T) {
	w := driftedWorld(t, "")
	w.both("debug", "environment", "LEVEL")
	w.both("1000", "user")
	req := adopting("/environment/LEVEL")
	req.Heal = true
	out, err := w.Adopt(t.Context(), req)
	if err != nil || out.Deployment == nil || out.Deployment.Status != stella.Succeeded {
		t.Fatalf("%+v, %v (%s)", out, err, stella.Hint(err))
	}
	if got := w.show("envs/prod/app/release.yaml"); !strings.Contains(got, "LEVEL: debug") {
		t.Errorf("release.yaml:\n%s", got)
	}
	w.noDrift()
}

func TestAdoptedImageIsTheReleases(t *testing.T) {
	w := driftedWorld(t, "")
	image := "r.example.com/shop/web:b@" + string(digestOf("b"))
	w.both(image, "image")
	out, err := w.Adopt(t.Context(), adopting("/image"))
	if err != nil || out.Deployment == nil || out.Deployment.Components["web"] != image {
		t.Fatalf("%+v, %v (%s)", out, err, stella.Hint(err))
	}
	w.noDrift()
}

func TestAdoptRespectsFreezesLocksAndProtection(t *testing.T) {
	w := driftedWorld(t, "", "name: prod", "name: prod\nprotected: true")
	w.both("debug", "environment", "LEVEL")
	_, err := w.Adopt(t.Context(), adopting("/environment/LEVEL"))
	if !errors.Is(err, stella.ErrInvalid) || !strings.Contains(err.Error(), "protected") {
		t.Errorf("protected: %v", err)
	}
	_, err = w.Ignore(t.Context(), ignoring("/environment/LEVEL"))
	if !errors.Is(err, stella.ErrInvalid) || !strings.Contains(err.Error(), "protected") {
		t.Errorf("protected: %v", err)
	}
	if _, err = w.AcquireLock(t.Context(), prod, "Christmas", time.Hour); err != nil {
		t.Fatal(err)
	}
	if _, err = w.Adopt(t.Context(), adopting("/environment/LEVEL")); !errors.Is(err, stella.ErrFrozen) {
		t.Errorf("frozen: %v", err)
	}
	if _, err = w.Ignore(t.Context(), ignoring("/environment/LEVEL")); !errors.Is(err, stella.ErrFrozen) {
		t.Errorf("frozen: %v", err)
	}
	if _, err = w.ReleaseLock(t.Context(), string(prod), "over", false); err != nil {
		t.Fatal(err)
	}
	req := adopting("/environment/LEVEL")
	req.DryRun = true
	out, err := w.Adopt(t.Context(), req)
	if err != nil {
		t.Fatal(err)
	}
	req.DryRun, req.PlanHash = false, out.Plan.Hash
	if out, err = w.Adopt(t.Context(), req); err != nil || out.Deployment == nil || out.Deployment.Status != stella.Succeeded {
		t.Errorf("agreed to: %+v, %v", out, err)
	}
}

func TestAdoptForReviewPushesABranchAndAppliesNothing(t *testing.T) {
	w := driftedWorld(t, "")
	w.both("debug", "environment", "LEVEL")
	head := w.head()
	req := adopting("/environment/LEVEL")
	req.PullRequest = true
	out, err := w.Adopt(t.Context(), req)
	if err != nil || out.Proposal == nil || w.head() != head {
		t.Errorf("%+v, %v", out, err)
	}
	ignore := ignoring("/environment/LEVEL")
	ignore.PullRequest = true
	if out, err = w.Ignore(t.Context(), ignore); err != nil || out.Proposal == nil || !strings.HasPrefix(out.Proposal.Branch, "stella/ignore/prod/") || w.head() != head {
		t.Errorf("%+v, %v", out, err)
	}
	w.wantHistory("\nprod-1 deploy a succeeded\n")
}

func ignoring(path string) reconciler.IgnoreRequest {
	return reconciler.IgnoreRequest{Environment: prod, Resource: "web", Path: path, Options: reconciler.Options{Reason: "raised during incidents"}}
}

func TestIgnoreWritesTheNarrowestRule(t *testing.T) {
	w := driftedWorld(t, "")
	w.both("debug", "environment", "LEVEL")
	req := ignoring("") // the only difference
	req.Until = time.Date(2126, 2, 1, 0, 0, 0, 0, time.UTC)
	req.DryRun = true
	out, err := w.Ignore(t.Context(), req)
	if err != nil {
		t.Fatal(err)
	}
	var covers []string
	for _, target := range out.Plan.Targets {
		for _, c := range target.Changes {
			covers = append(covers, target.Target+" "+string(c.Resource)+c.Path)
		}
	}
	if want := []string{"a service/web/environment/LEVEL", "b service/web/environment/LEVEL"}; !slices.Equal(covers, want) {
		t.Errorf("the dry run covers %v", covers)
	}
	req.DryRun, req.PlanHash = false, out.Plan.Hash
	if out, err = w.Ignore(t.Context(), req); err != nil || !out.Committed || out.Commit == "" {
		t.Fatalf("%+v, %v", out, err)
	}
	want := environmentYAML + "drift:\n  ignore:\n  - resource: service/web\n    path: /environment/LEVEL\n    reason: \"raised during incidents\"\n    until: 2126-01-31\n"
	if got := w.show("envs/prod/environment.yaml") + "\n"; got != want {
		t.Errorf("environment.yaml (-want +got):\n%s", cmp.Diff(want, got))
	}
	message, files := w.message()
	if want := "Ignore drift of service/web /environment/LEVEL in prod\n\nThe rule ends on 2126-02-01T00:00:00Z.\n\nStella-Environment: prod\nStella-Ignores: service/web /environment/LEVEL\nStella-Reason: raised during incidents"; message != want {
		t.Errorf("message (-want +got):\n%s", cmp.Diff(want, message))
	}
	if files != "envs/prod/environment.yaml" {
		t.Errorf("the commit touches %s", files)
	}
	w.noDrift()
	if out := w.reconcile(); !out.Nothing {
		t.Errorf("the next pass does something: %+v", out)
	}
	w.wantHistory("\nprod-1 deploy a succeeded\n")
	if _, err := w.Ignore(t.Context(), req); !errors.Is(err, stella.ErrConflict) {
		t.Errorf("twice: %v", err)
	}
}

func TestIgnoreCoversEveryFormOfAContent(t *testing.T) {
	w := driftedWorld(t, "services:\n  web:\n    configs: [motd]\nconfigs:\n  motd: {content: old}\n")
	w.both("new", "configs", "/motd", "content")
	w.both("sha256:"+strings.Repeat("1", 64), "configs", "/motd", "digest")
	if _, err := w.Ignore(t.Context(), ignoring("/configs/~1motd/content")); err != nil {
		t.Fatal(err)
	}
	got := w.show("envs/prod/environment.yaml")
	for _, path := range []string{"/configs/~1motd/content", "/configs/~1motd/digest"} {
		if !strings.Contains(got, "path: "+path+"\n") {
			t.Errorf("no rule for %s:\n%s", path, got)
		}
	}
	w.noDrift()
	w.both("0600", "configs", "/motd", "mode")
	all, err := w.Detect(t.Context(), reconciler.DetectRequest{Environments: []stella.EnvName{prod}})
	if err != nil || !all[0].Drifted {
		t.Errorf("the rule covers the mode as well: %+v, %v", all, err)
	}
}

func TestIgnoreRefuses(t *testing.T) {
	level := func(w *world) { w.both("debug", "environment", "LEVEL") }
	stray := func(w *world) {
		m := w.machines["a"]
		m.mu.Lock()
		defer m.mu.Unlock()
		m.state.Resources = append(slices.Clone(m.state.Resources), stella.Resource{ID: "service/stray", Fields: map[string]any{"image": "x"}})
	}
	image := func(w *world) { w.both("r.example.com/shop/web:d@"+string(digestOf("d")), "image") }
	for _, c := range []struct {
		name    string
		tamper  func(w *world)
		request func(r *reconciler.IgnoreRequest)
		want    string
		hint    string
		class   error // nil: it is accepted
	}{
		{"no reason", level, func(r *reconciler.IgnoreRequest) { r.Reason = " " }, "needs a reason", "--reason", stella.ErrInvalid},
		{"an end in the past", level, func(r *reconciler.IgnoreRequest) { r.Until = time.Now().Add(-time.Minute) }, "over already", "--until", stella.ErrInvalid},
		{"nothing differs", func(*world) {}, nil, "does not differ", "--force absent", stella.ErrRefused},
		{"what will differ", func(*world) {}, func(r *reconciler.IgnoreRequest) { r.Force = []string{"absent"} }, "", "", nil},
		{"all that may come", func(*world) {}, func(r *reconciler.IgnoreRequest) { r.Path, r.Force = "", []string{"absent"} }, "would hide anything", "name the path", stella.ErrRefused},
		{"several differences and no path", func(w *world) { level(w); image(w) }, func(r *reconciler.IgnoreRequest) { r.Path = "" }, "differs in 2 places", "/environment/LEVEL, /image", stella.ErrRefused},
		{"an image", image, func(r *reconciler.IgnoreRequest) { r.Path = "/image" }, "is critical", "--force critical", stella.ErrRefused},
		{"an image, for ever", image, func(r *reconciler.IgnoreRequest) { r.Path, r.Force = "/image", []string{"critical"} }, "needs an end", "--until", stella.ErrRefused},
		{"an image, for an hour", image, func(r *reconciler.IgnoreRequest) {
			r.Path, r.Force, r.Until = "/image", []string{"critical"}, time.Now().Add(time.Hour).Truncate(time.Second)
		}, "", "", nil},
		{"all of a service, for ever", stray, func(r *reconciler.IgnoreRequest) { r.Resource, r.Path = "service/stray", "" }, "needs an end", "--until", stella.ErrRefused},
		{"all of a service, for an hour", stray, func(r *reconciler.IgnoreRequest) {
			r.Resource, r.Path, r.Until = "service/stray", "", time.Now().Add(time.Hour).Truncate(time.Second)
		}, "", "", nil},
		{"with a long reason", level, func(r *reconciler.IgnoreRequest) { r.Reason = strings.Repeat("é", 600) }, "", "", nil},
		{"an image that will differ", func(*world) {}, func(r *reconciler.IgnoreRequest) { r.Path, r.Force = "/image", []string{"absent"} }, "is critical", "--force critical", stella.ErrRefused},
	} {
		t.Run(c.name, func(t *testing.T) {
			w := driftedWorld(t, "")
			c.tamper(w)
			req := ignoring("/environment/LEVEL")
			if c.request != nil {
				c.request(&req)
			}
			out, err := w.Ignore(t.Context(), req)
			switch {
			case c.class == nil && (err != nil || !out.Committed):
				t.Errorf("%+v, %v (%s)", out, err, stella.Hint(err))
			case c.class != nil && (!errors.Is(err, c.class) || !strings.Contains(err.Error(), c.want) || !strings.Contains(stella.Hint(err), c.hint)):
				t.Errorf("%v (%s)\nwant %q (%s)", err, stella.Hint(err), c.want, c.hint)
			}
		})
	}
}

// TestAFindingEndsByItsAnswer: what was adopted and what is ignored is history,
// told apart from what was healed.
func TestAFindingEndsByItsAnswer(t *testing.T) {
	w := driftedWorld(t, "services:\n  web:\n    user: a\n    environment: {LEVEL: info}\n")
	w.both("debug", "environment", "LEVEL")
	w.both("b", "user")
	scan, err := w.Scan(t.Context(), prod)
	if err != nil || len(scan.Opened) != 4 {
		t.Fatalf("%+v, %v", scan, err)
	}
	req := ignoring("/user")
	req.Force, req.Until = []string{reconciler.ForceCritical}, time.Now().Add(24*time.Hour)
	if _, err := w.Ignore(t.Context(), req); err != nil {
		t.Fatalf("%v (%s)", err, stella.Hint(err))
	}
	if _, err := w.Scan(t.Context(), prod); err != nil {
		t.Fatal(err)
	}
	if _, err := w.Adopt(t.Context(), adopting("/environment/LEVEL")); err != nil {
		t.Fatalf("%v (%s)", err, stella.Hint(err))
	}
	if _, err := w.Scan(t.Context(), prod); err != nil {
		t.Fatal(err)
	}
	history, err := w.DriftHistory(t.Context(), prod)
	if err != nil {
		t.Fatal(err)
	}
	var got []string
	for _, f := range history {
		got = append(got, f.Target+" "+f.Path+" "+string(f.Ended))
	}
	slices.Sort(got)
	want := []string{"a /environment/LEVEL adopted", "a /user ignored", "b /environment/LEVEL adopted", "b /user ignored"}
	if !slices.Equal(got, want) {
		t.Errorf("history %q, want %q", got, want)
	}
}
