package reconciler_test

import (
	"errors"
	"fmt"
	"strings"
	"testing"

	"github.com/stella-ops/stella"
	"github.com/stella-ops/stella/reconciler"
)

// compared is a comparison with staging, a line for each difference.
func compared(d reconciler.Diff) string {
	var out []string
	for _, x := range d.Comparison.Differences {
		if strings.HasSuffix(x.Path, "/digest") {
			continue // of a content that differs as well
		}
		line := fmt.Sprintf("%s: %s %s%s", x.Aspect, x.Class, x.Resource, x.Path)
		if x.Class == stella.Modified {
			line += fmt.Sprintf(": %v, %v", x.Here, x.There)
		}
		if x.Intended {
			line += " (intended: " + x.Reason + ")"
		}
		out = append(out, line)
	}
	if len(d.Comparison.ByTarget) > 0 {
		out = append(out, "by target: "+strings.Join(d.Comparison.ByTarget, ", "))
	}
	return strings.Join(append(out, d.Notes...), "\n")
}

// twoEnvironments are alike: two targets here and one there, each with a port of
// its own that is used in a list of ports, a variable and within a text.
func twoEnvironments(t *testing.T) *world {
	t.Helper()
	w := newWorld(t)
	compose := "services:\n  web:\n    environment: {LEVEL: \"${LEVEL}\", PORT: \"${PORT}\"}\n    ports: [\"${PORT}:80\"]\n    configs: [{source: c, target: /etc/c}]\n" +
		"configs:\n  c:\n    content: |\n      listen ${PORT}\n      workers 4\n"
	env := func(name string, targets ...string) string {
		text := "apiVersion: stella/v1\nkind: Environment\nname: " + name + "\ntargets:\n"
		for i, target := range targets {
			text += fmt.Sprintf("- name: %s\n  host: {root: /srv/%s}\n  variables: {PORT: \"%d\"}\n", target, target, 8000+10*len(targets)+i)
		}
		return text
	}
	w.seeded("Alike", map[string]string{
		environment: env("prod", "a", "b"), "envs/staging/environment.yaml": env("staging", "s"),
		appCompose: compose, "envs/staging/app/compose.yaml": compose,
		appRelease: releaseOf("a", "info"), "envs/staging/app/release.yaml": releaseOf("a", "info"),
	})
	return w
}

func TestTwoEnvironmentsDifferInWhatIsWorthKnowing(t *testing.T) {
	t.Parallel()
	const stagingRelease, stagingCompose, stagingEnv = "envs/staging/app/release.yaml", "envs/staging/app/compose.yaml", "envs/staging/environment.yaml"
	edit := func(file, from, to string) func(w *world) {
		return func(w *world) {
			w.seeded("Edit", map[string]string{file: strings.Replace(w.show(file)+"\n", from, to, 1)})
		}
	}
	intend := func(file, with string, rule string) func(w *world) {
		return func(w *world) {
			edit(stagingRelease, "LEVEL: info", "LEVEL: debug")(w)
			w.seeded("Intend", map[string]string{file: w.show(file) + "\ndrift: {intended: [{with: " + with + ", " + rule + "}]}\n"})
		}
	}
	level := "configuration: modified service/web/environment/LEVEL: info, debug"
	for name, c := range map[string]struct {
		do     func(w *world)
		want   string
		counts bool
	}{
		"nothing but their targets": {func(*world) {}, "by target: PORT", false},
		"another release": {func(w *world) {
			w.seeded("Release", map[string]string{stagingRelease: releaseOf("b", "info")})
		}, "release: modified app/release/version: a, b\nrelease: modified service/web/image: " + pinnedRef("a") + ", " + pinnedRef("b") + "\nby target: PORT", true},
		"a variable":                 {edit(stagingRelease, "LEVEL: info", "LEVEL: debug"), level + "\nby target: PORT", true},
		"a variable, intended here":  {intend(environment, "staging", "resource: service/*, path: /environment/LEVEL, reason: louder"), level + " (intended: louder)\nby target: PORT", false},
		"a variable, intended there": {intend(stagingEnv, "prod", "path: /environment, reason: louder"), level + " (intended: louder)\nby target: PORT", false},
		"intended with another":      {intend(environment, "qa", "path: /environment"), level + "\nby target: PORT", true},
		"intended until yesterday":   {intend(environment, "staging", "path: /environment, reason: r, until: 2020-01-01"), level + "\nby target: PORT", true},
		"a line of a file, not the port": {edit(stagingCompose, "workers 4", "workers 1"), "configuration: modified service/web/configs/~1etc~1c/content: listen 8020\nworkers 4\n, listen 8020\nworkers 1\n\n" +
			"by target: PORT", true},
		"a service more":                     {edit(stagingCompose, "configs:\n  c:", "  mail:\n    image: "+pinnedRef("c")+"\nconfigs:\n  c:"), "structure: extra service/mail\nby target: PORT", true},
		"a target that wants something else": {edit(environment, "PORT: \"8021\"", "PORT: \"8021\", LEVEL: debug"), level2 + "\nby target: PORT", true},
		"a port that is of the target in one only": {func(w *world) {
			edit(stagingEnv, "  variables: {PORT: \"8010\"}\n", "")(w)
			edit(stagingRelease, "LEVEL: info", "LEVEL: info, PORT: '8020'")(w)
		}, "configuration: modified service/web/configs/~1etc~1c/content: listen 8021\nworkers 4\n, listen 8020\nworkers 4\n\n" +
			"configuration: modified service/web/environment/PORT: 8021, 8020\nconfiguration: modified service/web/ports/0/published: 8021, 8020", true},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			w := twoEnvironments(t)
			c.do(w)
			d := w.diff(reconciler.DiffRequest{With: "staging", Explain: true})
			got := compared(d)
			if got != c.want || d.Drifted != c.counts {
				t.Errorf("counts %t, want %t; it says\n%s\nwant\n%s", d.Drifted, c.counts, got, c.want)
			}
			for _, x := range d.Comparison.Differences {
				if x.Explanation == nil || len(x.Explanation.Words) == 0 {
					t.Errorf("%s %s is not explained", x.Resource, x.Path)
				}
			}
			if self := w.diff(reconciler.DiffRequest{With: prod}); self.Drifted || len(self.Comparison.Differences) > 0 {
				t.Errorf("it differs from itself: %s", compared(self))
			}
			if len(d.Targets) > 0 || !d.ObservedAt.IsZero() {
				t.Errorf("targets were asked: %+v", d.Targets)
			}
		})
	}
}

// level2 is a variable that one target of two wants otherwise.
const level2 = "configuration: modified service/web/environment/LEVEL: debug, info"

func pinnedRef(version string) string {
	a := ref(version)
	a.Digest = digestOf(version)
	return a.String()
}

func TestTwoEnvironmentsOfWhichOneCanNotBeTold(t *testing.T) {
	t.Parallel()
	w := twoEnvironments(t)
	for _, with := range []stella.EnvName{"nowhere", "../x"} {
		if _, err := w.Diff(t.Context(), reconciler.DiffRequest{Environment: prod, With: with}); err == nil {
			t.Errorf("%s is compared with", with)
		}
	}
	w.seeded("Break", map[string]string{"envs/staging/app/release.yaml": "version: [\n"})
	for _, req := range []reconciler.DiffRequest{{Environment: prod, With: "staging"}, {Environment: "staging", With: prod}} {
		if _, err := w.Diff(t.Context(), req); !errors.Is(err, stella.ErrInvalid) || !strings.Contains(err.Error(), "release.yaml") {
			t.Errorf("%+v: %v", req, err)
		}
	}
}

// TestAnOverrideOnOneTargetIsOneDifference, and says where.
func TestAnOverrideOnOneTargetIsOneDifference(t *testing.T) {
	t.Parallel()
	w := twoEnvironments(t)
	w.seeded("Override", map[string]string{appRelease: w.show(appRelease) + "\noverrides: [{targets: [b], components: {web: " + pinnedRef("b") + "}, reason: trial}]\n"})
	d := w.diff(reconciler.DiffRequest{With: "staging"})
	if len(d.Comparison.Differences) != 1 {
		t.Fatalf("it says\n%s", compared(d))
	}
	x := d.Comparison.Differences[0]
	if x.Path != "/image" || strings.Join(x.Targets, ",") != "b" || strings.Join(x.WithTargets, ",") != "s" || x.Here != pinnedRef("b") || x.There != pinnedRef("a") {
		t.Errorf("%+v", x)
	}
	if len(d.Overrides) != 1 {
		t.Errorf("the override is not shown as declared: %+v", d.Overrides)
	}
}
