package drift_test

import (
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	"pgregory.net/rapid"

	"github.com/stella-ops/stella"
	"github.com/stella-ops/stella/drift"
)

func tick(n int) time.Time {
	return time.Date(2026, 3, 1, 12, 0, 0, 0, time.UTC).Add(time.Duration(n) * time.Minute)
}

// diff reads "service/api/image modified" or, with a "-" in front, one that a
// rule covers.
func diff(words ...string) []stella.Change {
	out := []stella.Change{}
	for _, w := range words {
		at, class, _ := strings.Cut(strings.TrimPrefix(w, "-"), " ")
		parts := strings.SplitN(at, "/", 3)
		c := stella.Change{Resource: stella.ResourceID(parts[0] + "/" + parts[1]), Class: stella.Class(class), Severity: stella.SeverityWarning, Ignored: w[0] == '-'}
		if len(parts) == 3 {
			c.Path = "/" + parts[2]
		}
		out = append(out, c)
	}
	return out
}

func words(list []stella.DriftFinding) string {
	var out []string
	for _, f := range list {
		out = append(out, strings.TrimSpace(fmt.Sprintf("%s:%s%s %s %s", f.Target, f.Resource, f.Path, f.Class, f.Ended)))
	}
	return strings.Join(out, ", ")
}

func TestWhatALookChanges(t *testing.T) {
	first := drift.Follow(drift.Known{Most: 9}, drift.Look{At: tick(0), Targets: []string{"a", "b"}, Read: map[string][]stella.Change{
		"a": diff("service/api/environment/X modified", "service/api/image modified"), "b": diff("service/api/image modified"),
	}})
	if got := words(first.Opened); got != "a:service/api/environment/X modified, a:service/api/image modified, b:service/api/image modified" {
		t.Fatalf("opened %s", got)
	}
	all := []string{"a", "b"}
	for _, c := range []struct {
		name                string
		look                drift.Look
		opened, ended, open string
	}{
		{
			"the same again", drift.Look{Read: map[string][]stella.Change{
				"a": diff("service/api/image modified", "service/api/environment/X modified"), "b": diff("service/api/image modified"),
			}}, "", "", words(first.Open),
		},
		{"nobody could look", drift.Look{}, "", "", words(first.Open)},
		{
			"one target could not be read",
			drift.Look{Read: map[string][]stella.Change{"a": nil}},
			"",
			"a:service/api/environment/X modified went away, a:service/api/image modified went away", "b:service/api/image modified",
		},
		{
			"a deployment was there",
			drift.Look{Read: map[string][]stella.Change{"a": nil, "b": nil}, Deployed: map[string]bool{"a": true}},
			"",
			"a:service/api/environment/X modified healed, a:service/api/image modified healed, b:service/api/image modified went away", "",
		},
		{
			"a rule covers it, and all of it", drift.Look{Read: map[string][]stella.Change{
				"a": diff("-service/api/environment modified", "service/api/image modified"), "b": diff("-service/api/image modified"),
			}}, "", "a:service/api/environment/X modified ignored, b:service/api/image modified ignored", "a:service/api/image modified",
		},
		{
			"the whole is gone: of the parts nothing is seen",
			drift.Look{Read: map[string][]stella.Change{"a": diff("service/api missing"), "b": diff("service/api/image modified")}},
			"a:service/api missing", "", "a:service/api missing, " + words(first.Open),
		},
		{
			"another class is another finding",
			drift.Look{Read: map[string][]stella.Change{"a": diff("service/api/environment/X missing", "service/api/image modified"), "b": diff("service/api/image modified")}},
			"a:service/api/environment/X missing", "a:service/api/environment/X modified went away",
			"a:service/api/environment/X missing, a:service/api/image modified, b:service/api/image modified",
		},
		{
			"a target that left",
			drift.Look{Targets: []string{"b"}, Read: map[string][]stella.Change{"b": diff("service/api/image modified")}},
			"",
			"a:service/api/environment/X modified went away, a:service/api/image modified went away", "b:service/api/image modified",
		},
	} {
		c.look.At = tick(1)
		if c.look.Targets == nil {
			c.look.Targets = all
		}
		got := drift.Follow(drift.Known{Open: first.Open, Most: 9}, c.look)
		if words(got.Opened) != c.opened || words(got.Ended) != c.ended || words(got.Open) != c.open {
			t.Errorf("%s:\nopened %s\n  want %s\nended  %s\n  want %s\nopen   %s\n  want %s", c.name, words(got.Opened), c.opened, words(got.Ended), c.ended, words(got.Open), c.open)
		}
	}
}

func TestWhatADeploymentDidToFindings(t *testing.T) {
	open := drift.Follow(drift.Known{Most: 9}, drift.Look{At: tick(0), Targets: []string{"a", "b"}, Read: map[string][]stella.Change{
		"a": diff("service/api/environment/X modified", "service/worker/image modified"), "b": diff("service/api/environment/X modified"),
	}}).Open
	same := func(stella.DriftFinding) bool { return false }
	other := func(stella.DriftFinding) bool { return true }
	for _, c := range []struct {
		name string
		s    drift.Settlement
		want string
	}{
		{"nothing was verified", drift.Settlement{Wanted: other}, ""},
		{
			"what differed was brought back",
			drift.Settlement{Wanted: same, Verified: map[string][]stella.Change{"a": diff("service/api/environment/X modified", "service/worker/image modified")}},
			"a:service/api/environment/X modified healed, a:service/worker/image modified healed",
		},
		{
			"with the whole",
			drift.Settlement{Wanted: same, Verified: map[string][]stella.Change{"b": diff("service/api missing")}},
			"b:service/api/environment/X modified healed",
		},
		{
			"what did not, though something else is wanted",
			drift.Settlement{Wanted: other, Verified: map[string][]stella.Change{"b": nil}},
			"b:service/api/environment/X modified adopted",
		},
		{
			"what did not, and the same is wanted",
			drift.Settlement{Wanted: same, Verified: map[string][]stella.Change{"b": diff("service/api/environment/XY modified")}},
			"b:service/api/environment/X modified went away",
		},
		{
			"what a rule covers",
			drift.Settlement{Wanted: other, Verified: map[string][]stella.Change{"b": diff("-service/api/environment/X modified")}},
			"b:service/api/environment/X modified ignored",
		},
		{
			"what was left alone",
			drift.Settlement{Wanted: other, Alone: []drift.Place{{"a", "service/api"}, {"b", "service/api"}}, Verified: map[string][]stella.Change{"a": nil, "b": nil}},
			"a:service/worker/image modified adopted",
		},
	} {
		c.s.At = tick(1)
		if got := words(drift.Settle(open, c.s)); got != c.want {
			t.Errorf("%s: %s, want %s", c.name, got, c.want)
		}
	}
}

func TestWhatAFindingIsAboutIsBounded(t *testing.T) {
	deep := "/a" + strings.Repeat("/b", drift.MaxIdentityBytes)
	id := drift.Identify("web", stella.Change{Resource: "service/api", Path: deep, Class: stella.Extra})
	if n := len(id.Target) + len(id.Resource) + len(id.Path); n > drift.MaxIdentityBytes || !strings.HasPrefix(deep, id.Path+"/") {
		t.Errorf("%d bytes: %s", n, id.Path)
	}
	id = drift.Identify("web", stella.Change{Resource: stella.ResourceID(strings.Repeat("ü", drift.MaxIdentityBytes)), Path: "/\xff", Class: stella.Extra})
	if n := len(id.Target) + len(id.Resource) + len(id.Path); n > drift.MaxIdentityBytes || id.Path != "" || !strings.HasSuffix(string(id.Resource), "ü") {
		t.Errorf("%d bytes: %q", n, id.Resource)
	}
	if id = drift.Identify("web", stella.Change{Resource: "a/b", Path: "/\xff\xfe", Class: stella.Extra}); id.Path != "/\uFFFD" {
		t.Errorf("a path that is no UTF-8 is %q", id.Path)
	}
}

// TestAHistoryIsConsistent follows any looks: each finding begins once before it
// ends, ends once, lasts from the one to the other, and at any time what is open
// is what the last look at its target saw.
func TestAHistoryIsConsistent(t *testing.T) {
	paths := []string{"service/api missing", "service/api/image modified", "service/api/env/A modified", "service/api/env modified", "config/x extra"}
	rapid.Check(t, func(t *rapid.T) {
		k := drift.Known{Most: 4}
		open := map[string]time.Time{}
		for n := range rapid.IntRange(1, 12).Draw(t, "looks") {
			look := drift.Look{At: tick(n), Targets: []string{"a", "b"}, Read: map[string][]stella.Change{}, Deployed: map[string]bool{"a": rapid.Bool().Draw(t, "deployed")}}
			if rapid.IntRange(0, 9).Draw(t, "leaves") == 0 {
				look.Targets = []string{"a"}
			}
			for _, target := range look.Targets {
				if rapid.IntRange(0, 3).Draw(t, "down") > 0 {
					var seen []string
					for _, p := range paths {
						switch rapid.IntRange(0, 3).Draw(t, p) {
						case 0:
							seen = append(seen, p)
						case 1:
							seen = append(seen, "-"+p)
						}
					}
					look.Read[target] = diff(seen...)
				}
			}
			turn := drift.Follow(k, look)
			for _, f := range turn.Ended {
				id := fmt.Sprint(f.Target, f.Resource, f.Path, f.Class)
				since, ok := open[id]
				if !ok || f.EndedAt == nil || f.Ended == "" || !f.FirstSeen.Equal(since) || f.LastSeen.Before(f.FirstSeen) || f.EndedAt.Before(f.LastSeen) {
					t.Fatalf("%+v ends, open since %v", f, since)
				}
				if _, read := look.Read[f.Target]; !read && slices.Contains(look.Targets, f.Target) {
					t.Fatalf("%+v ends, and nobody looked", f)
				}
				delete(open, id)
			}
			for _, f := range turn.Opened {
				id := fmt.Sprint(f.Target, f.Resource, f.Path, f.Class)
				if _, twice := open[id]; twice || !f.Open() || !f.FirstSeen.Equal(look.At) || look.Read[f.Target] == nil {
					t.Fatalf("%+v begins", f)
				}
				open[id] = f.FirstSeen
			}
			if len(turn.Open) != len(open) || len(turn.Open) > k.Most || !slices.IsSortedFunc(turn.Open, stella.DriftFinding.Compare) {
				t.Fatalf("%d are open, want %d: %s", len(turn.Open), len(open), words(turn.Open))
			}
			if turn.Uncounted > 0 && len(turn.Open) < k.Most && len(look.Read) == len(look.Targets) {
				t.Fatalf("%d are left out, and there is room", turn.Uncounted)
			}
			k.Open, k.Uncounted = turn.Open, turn.Uncounted
			// The same look once more changes nothing.
			if again := drift.Follow(k, look); again.Changed(k) && len(again.Opened) == 0 {
				t.Fatalf("the same look again: opened %s, ended %s, left out %d of %d", words(again.Opened), words(again.Ended), again.Uncounted, k.Uncounted)
			}
		}
	})
}

func TestATargetWithANameBeyondAllMeasureIsIdentified(t *testing.T) {
	name := strings.Repeat("x", drift.MaxIdentityBytes+1)
	if f := drift.Identify(name, stella.Change{Resource: "service/api", Path: "/image"}); f.Target != name || f.Resource != "" || f.Path != "" {
		t.Errorf("%+v", f)
	}
}
