package reconciler_test

import (
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"pgregory.net/rapid"

	"github.com/stella-ops/stella"
	"github.com/stella-ops/stella/configrepo"
	"github.com/stella-ops/stella/drift"
	"github.com/stella-ops/stella/reconciler"
)

// state reads a tiny language: a resource a line, "service/web image=A
// needs=db,cache env=x". What the fields mean is not the planner's business.
func state(text string) stella.State {
	var s stella.State
	for line := range strings.SplitSeq(strings.TrimSpace(text), "\n") {
		words := strings.Fields(line)
		if len(words) == 0 {
			continue
		}
		r := stella.Resource{ID: stella.ResourceID(words[0]), Fields: map[string]any{}}
		for _, w := range words[1:] {
			key, value, _ := strings.Cut(w, "=")
			if key != "needs" {
				r.Fields[key] = value
				continue
			}
			deps := map[string]any{}
			for d := range strings.SplitSeq(value, ",") {
				deps[d] = map[string]any{"condition": "service_started"}
			}
			r.Fields["dependsOn"] = deps
		}
		s.Resources = append(s.Resources, r)
	}
	return s
}

func image(version, digit string) string {
	return "r.example.com/web:" + version + "@sha256:" + strings.Repeat(digit, 64)
}

func situation(targets map[string][2]string, rollout configrepo.Rollout) reconciler.Situation {
	s := reconciler.Situation{
		Environment: &configrepo.Environment{Name: "prod", Rollout: rollout},
		Desired:     &configrepo.Desired{Environment: "prod"}, Tree: "tree", Live: map[string]stella.State{}, Now: time.Unix(0, 0),
	}
	for _, name := range []string{"a", "b", "c"} {
		t, ok := targets[name]
		if !ok {
			continue
		}
		s.Environment.Targets = append(s.Environment.Targets, configrepo.Target{Name: name})
		s.Desired.Targets = append(s.Desired.Targets, configrepo.TargetState{Name: name, State: state(t[0])})
		s.Live[name] = state(t[1])
	}
	return s
}

func TestPlan(t *testing.T) {
	old, next := image("1", "a"), image("2", "b")
	for name, c := range map[string]struct {
		targets map[string][2]string
		rollout configrepo.Rollout
		want    string
	}{
		"what runs as wanted is left alone": {
			targets: map[string][2]string{"a": {"service/web image=" + old, "service/web image=" + old}},
			want:    "nothing to do\n",
		},
		"a first deployment creates everything, volumes first and dependencies before those that need them": {
			targets: map[string][2]string{"a": {"service/api needs=db image=x\nservice/db image=y\nvolume/data name=data", ""}},
			want: "[1] a: create volume/data (does not run)\n" +
				"[1] a: create service/db (does not run)\n" +
				"[1] a: create service/api (does not run)\n",
		},
		"an upgrade says from what to what": {
			targets: map[string][2]string{"a": {"service/web image=" + next, "service/web image=" + old}},
			want:    "[1] a: update service/web (image 1@aaaaaaaaaaaa → 2@bbbbbbbbbbbb)\n",
		},
		"what is not wanted goes first: its ports may be needed": {
			targets: map[string][2]string{"a": {"service/new image=x", "service/old image=x"}},
			want: "[1] a: remove service/old (not wanted any more)\n" +
				"[1] a: create service/new (does not run)\n",
		},
		"a rolling change goes batch by batch, and a target that is as wanted has its place in it": {
			targets: map[string][2]string{
				"a": {"service/web image=" + next, "service/web image=" + old},
				"b": {"service/web image=" + next, "service/web image=" + next},
				"c": {"service/web image=" + next, "service/web image=" + old},
			},
			rollout: configrepo.Rollout{Rolling: true, BatchCount: 1},
			want: "[1] a: update service/web (image 1@aaaaaaaaaaaa → 2@bbbbbbbbbbbb)\n" +
				"[3] c: update service/web (image 1@aaaaaaaaaaaa → 2@bbbbbbbbbbbb)\n",
		},
	} {
		t.Run(name, func(t *testing.T) {
			got := reconciler.Compute(situation(c.targets, c.rollout)).String()
			if diff := cmp.Diff(c.want, got); diff != "" {
				t.Errorf("plan (-want +got):\n%s", diff)
			}
		})
	}
}

func TestATargetWaitsForThoseThatItsServicesNeed(t *testing.T) {
	s := situation(map[string][2]string{"a": {"service/web image=x", ""}, "b": {"service/db image=x", ""}}, configrepo.Rollout{})
	s.Desired.Waits = map[string][]string{"a": {"b"}}
	want := "[1] b: create service/db (does not run)\n[2] a: create service/web (does not run)\n"
	got := reconciler.Compute(s)
	if diff := cmp.Diff(want, got.String()); diff != "" {
		t.Errorf("plan (-want +got):\n%s", diff)
	}
}

func TestATargetThatNobodyObservedHasNoActionsAndIsNotNothingToDo(t *testing.T) {
	s := situation(map[string][2]string{"a": {"service/web image=x", ""}}, configrepo.Rollout{})
	delete(s.Live, "a")
	if got := reconciler.Compute(s); got.Empty || len(got.Targets) != 1 || len(got.Targets[0].Actions) != 0 {
		t.Errorf("got %+v", got)
	}
}

func TestTheHashIsOfWhatWillBeDone(t *testing.T) {
	plan := func(change func(*reconciler.Situation)) string {
		s := situation(map[string][2]string{"a": {"service/web image=x", "service/web image=y"}}, configrepo.Rollout{})
		change(&s)
		return reconciler.Compute(s).Hash
	}
	same := plan(func(*reconciler.Situation) {})
	if again := plan(func(s *reconciler.Situation) { s.Now = time.Unix(1e9, 0) }); again != same {
		t.Error("time is in the hash")
	}
	for name, change := range map[string]func(*reconciler.Situation){
		"tree":        func(s *reconciler.Situation) { s.Tree = "other" },
		"live state":  func(s *reconciler.Situation) { s.Live["a"] = stella.State{} },
		"environment": func(s *reconciler.Situation) { s.Environment.Name = "other" },
		"engine": func(s *reconciler.Situation) {
			s.Environment.Targets[0].Docker = &configrepo.DockerTarget{Host: "unix:///run/a.sock"}
		},
	} {
		if plan(change) == same {
			t.Errorf("the %s is not in the hash", name)
		}
	}
}

// TestAPlanConverges: carrying a plan out leaves nothing to do.
func TestAPlanConverges(t *testing.T) {
	words := rapid.SampledFrom([]string{"x", "y", "z"})
	resources := rapid.MapOf(rapid.SampledFrom([]string{"service/a", "service/b", "service/c", "volume/d"}), words)
	rapid.Check(t, func(t *rapid.T) {
		build := func(m map[string]string) stella.State {
			var s stella.State
			for _, id := range []string{"service/a", "service/b", "service/c", "volume/d"} {
				if v, ok := m[id]; ok {
					s.Resources = append(s.Resources, stella.Resource{ID: stella.ResourceID(id), Fields: map[string]any{"image": v}})
				}
			}
			return s
		}
		s := situation(map[string][2]string{"a": {"", ""}}, configrepo.Rollout{})
		s.Desired.Targets[0].State, s.Live["a"] = build(resources.Draw(t, "want")), build(resources.Draw(t, "live"))
		live := map[stella.ResourceID]stella.Resource{}
		for _, r := range s.Live["a"].Resources {
			live[r.ID] = r
		}
		for _, a := range reconciler.Compute(s).Targets[0].Actions {
			if a.Op == stella.OpRemove {
				delete(live, a.Resource.ID)
			} else {
				live[a.Resource.ID] = a.Resource
			}
		}
		var after stella.State
		for _, r := range live {
			after.Resources = append(after.Resources, r)
		}
		if changes := drift.Compare(s.Desired.Targets[0].State, after, nil, s.Now); len(changes) > 0 {
			t.Fatalf("still differs: %+v", changes)
		}
	})
}
