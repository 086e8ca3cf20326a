package acceptance_test

import (
	"regexp"
	"strings"
	"syscall"
	"testing"
)

func TestEveryExitCodeIsReachedAndNamesTheNextCommand(t *testing.T) {
	t.Parallel()
	rolling := plan{targets: 2, more: "rollout: {strategy: rolling, batch: 1, onFailure: pause}\n", verify: "  timeout: 1s\n"}
	quick := plan{verify: "  timeout: 1s\n"}
	for name, c := range map[string]struct {
		plan plan
		run  func(t *testing.T, w *world) result
		code int
		says string // on stderr
	}{
		"0 when a deploy was verified": {plan{}, func(_ *testing.T, w *world) result {
			return w.stella("deploy", production, "--artifact", w.pushed("2.0.0"))
		}, 0, "production-2 succeeded"},
		"1 when nothing is in effect": {plan{}, func(_ *testing.T, w *world) result {
			w.must("orch", "env", "stop", production)
			return w.stella("orch", "health-check", production)
		}, 1, ""},
		"2 for a usage error": {plan{}, func(_ *testing.T, w *world) result {
			return w.stella("deploy", production)
		}, 2, "needs --artifact"},
		"2 for an environment that is not there": {plan{}, func(_ *testing.T, w *world) result {
			return w.stella("reconcile", "staging")
		}, 2, "staging"},
		"2 for a repository that is not there": {plan{}, func(_ *testing.T, w *world) result {
			return w.stella("reconcile", production, "--repo", w.dir+"/nowhere.git")
		}, 2, "nowhere.git"},
		"3 when a bad release was rolled back": {quick, func(_ *testing.T, w *world) result {
			return w.stella("deploy", production, "--artifact", w.pushed("2.0.0-bad"))
		}, 3, "production is back on production-1 (1.0.0), verified"},
		"4 when a rollout paused between two targets": {rolling, func(_ *testing.T, w *world) result {
			return w.stella("deploy", production, "--artifact", w.pushed("2.0.0-bad"))
		}, 4, "partial"},
		"5 when the image is not there": {plan{}, func(_ *testing.T, w *world) result {
			missing := strings.Replace(w.pushed("1.0.0"), ":1.0.0", ":9.9.9", 1)
			return w.stella("deploy", production, "--artifact", missing)
		}, 5, "9.9.9"},
		"5 when the release is held": {quick, func(_ *testing.T, w *world) result {
			image := w.pushed("2.0.0-bad")
			if r := w.stella("deploy", production, "--artifact", image); r.code != 3 {
				w.t.Fatalf("want exit code 3: %s", r)
			}
			return w.stella("deploy", production, "--artifact", image)
		}, 5, "is held since"},
		"5 when there is nothing to go back to": {plan{}, func(_ *testing.T, w *world) result {
			return w.stella("rollback", production)
		}, 5, "cannot restore previous version"},
		"6 when somebody froze it": {plan{}, func(_ *testing.T, w *world) result {
			w.must("orch", "locks", "acquire", production, "--reason", "database migration")
			defer w.must("orch", "locks", "release", production)
			return w.stella("deploy", production, "--artifact", w.pushed("2.0.0"))
		}, 6, "database migration"},
		"7 when another deployment takes longer than we wait": {plan{verify: "  timeout: 60s\n  stableFor: 50s\n"}, waitInVain, 7, "production-1"},
		"8 when it waits for review": {plan{}, func(_ *testing.T, w *world) result {
			return w.stella("deploy", production, "--artifact", w.pushed("2.0.0"), "--pr")
		}, 8, "waits for review"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			w := newWorld(t, c.plan)
			if c.code != 7 {
				w.must("reconcile", production)
			}
			r := c.run(t, w)
			if r.code != c.code || !strings.Contains(r.stderr, c.says) {
				t.Fatalf("want exit code %d and %q: %s", c.code, c.says, r)
			}
			next := regexp.MustCompile(`'(stella|git|docker) [^']+'`)
			if c.code > 0 && !next.MatchString(r.hint()) {
				t.Errorf("the last line names no command to run next: %s", r)
			}
		})
	}
}

// waitInVain deploys while another deployment is being watched for long, and
// then ends that one as a person would.
func waitInVain(t *testing.T, w *world) result {
	long := w.start("reconcile", production)
	long.says("apply web-1 …")
	r := w.stella("deploy", production, "--artifact", w.pushed("2.0.0"), "--timeout", "1s")
	// The first interrupt lets the step under way end, and that is the long
	// watch; the second ends the process.
	long.send(syscall.SIGINT)
	long.says("interrupted")
	long.send(syscall.SIGINT)
	if killed := long.wait(); killed.code != 130 {
		t.Errorf("want exit code 130 after two interrupts: %s", killed)
	}
	return r
}
