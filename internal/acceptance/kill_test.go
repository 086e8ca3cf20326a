package acceptance_test

import (
	"flag"
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/stella-ops/stella"
)

// killPoint is where a deployment is killed: a while after its n-th line of
// progress.
type killPoint struct {
	line  int
	after time.Duration
	text  string // of the line, in the run that was not killed
}

func (k killPoint) String() string {
	return fmt.Sprintf("killed %s after line %d (%s)", k.after.Round(time.Millisecond), k.line, k.text)
}

// killEvery adds moments, whatever is said then: for a long run.
var killEvery = flag.Duration("kill-every", 0, "kill deployments also each time this `long` has passed")

// killPoints are all lines of progress of a run that ended by itself, and
// moments between lines that are far apart. The lines of the plan come at once
// and count as one.
func killPoints(c *command) []killPoint {
	var points []killPoint
	from, at, text := 0, c.began, "the start"
	until := func(end time.Time) {
		points = append(points, killPoint{from, 0, text})
		const sparse = 60 * time.Millisecond
		if gap := end.Sub(at); gap > sparse {
			points = append(points, killPoint{from, gap / 3, text}, killPoint{from, gap * 2 / 3, text})
		}
	}
	for i, l := range c.stderr() {
		if strings.HasPrefix(l.text, production+": ") {
			until(l.at)
			from, at, text = i+1, l.at, l.text
		}
	}
	until(c.began.Add(c.result.took))
	points = points[1:] // killed before it was started is no test
	for after := *killEvery; after > 0 && after < c.result.took; after += *killEvery {
		points = append(points, killPoint{0, after, "the start"})
	}
	return points
}

// touches is the number of the line that tells of the first change of a target.
func touches(c *command) int {
	return slices.IndexFunc(c.stderr(), func(l line) bool { return strings.Contains(l.text, " update service/") }) + 1
}

// killed is an environment whose deployments are killed at every point.
type killed struct {
	*world
	good     string // the version that was verified before
	checked  string // the commit up to which the branch was looked at
	releases int
}

func newKilled(t *testing.T) *killed { return newKilledWith(t, "  timeout: 1s\n") }

// newKilledWith takes the lines of environment.yaml below verify.
func newKilledWith(t *testing.T, verify string) *killed {
	w := newWorld(t, plan{targets: 2, more: "rollout: {strategy: rolling, batch: 1, onFailure: rollback}\n", verify: verify})
	w.must("reconcile", production)
	w.agreed("1.0.0")
	return &killed{world: w, good: "1.0.0", checked: w.head()}
}

// next is a version that was never deployed: what was rolled back is held.
func (k *killed) next(suffix string) string {
	k.releases++
	return fmt.Sprintf("1.%d.0%s", k.releases, suffix)
}

// settle waits until two looks at the processes see the same: what a dead
// stella set off has come to rest.
func (k *killed) settle() map[string]process {
	var before map[string]process
	var since time.Time
	const quiet = 150 * time.Millisecond
	eventually(k.t, "processes come to rest", patience, func() string {
		now := k.allRunning()
		if before == nil || fmt.Sprint(now) != fmt.Sprint(before) {
			before, since = now, time.Now()
		}
		if time.Since(since) < quiet {
			return "they still change"
		}
		return ""
	})
	return before
}

// recover starts stella again after a kill and checks all that must hold then.
// It returns the version that is in effect.
func (k *killed) recover(at killPoint, wantCodes ...int) string {
	k.t.Helper()
	before := k.settle()
	r := k.stella("reconcile", production, "--timeout", "45s")
	ok := false
	for _, code := range wantCodes {
		ok = ok || r.code == code
	}
	if !ok {
		k.t.Fatalf("%s: started again, want an exit code of %v: %s", at, wantCodes, r)
	}
	const prompt = 48 * time.Second // a lease would run out later
	if r.took > prompt {
		k.t.Errorf("%s: starting again took %s: a dead holder on this machine is known to be dead", at, r.took)
	}
	version := k.wanted()
	k.agreed(version)
	after := k.allRunning()
	for name, p := range before {
		// A bad release that was on the branch and on no target is tried on the
		// first one now.
		tried := r.code == 3 && strings.HasPrefix(name, k.targets[0].name+"/")
		if p.Version == version && after[name] != p && !tried {
			k.t.Errorf("%s: %s ran %s already and was restarted: %v, now %v", at, name, version, p, after[name])
		}
	}
	all := k.soundLedger()
	k.noDoubles(at, all)
	if k.t.Failed() {
		k.t.Fatalf("%s: then %s", at, r)
	}
	return version
}

// noDoubles checks that a kill left no commit or deployment twice: every commit
// changes the app, and no release succeeded twice.
func (k *killed) noDoubles(at killPoint, all []stella.Deployment) {
	k.t.Helper()
	for commit := range strings.FieldsSeq(k.git("rev-list", k.checked+"..main")) {
		if k.appTree(commit) == k.appTree(commit+"^") {
			k.t.Errorf("%s: commit %s changes nothing", at, commit)
		}
	}
	k.checked = k.head()
	seen := map[string]bool{}
	for _, d := range all {
		if d.Kind != stella.KindDeploy || d.Status != stella.Succeeded {
			continue
		}
		if seen[d.Release] {
			k.t.Errorf("%s: %s was deployed twice", at, d.Release)
		}
		seen[d.Release] = true
	}
}

// everyPoint kills deployments of what suffix makes of a version at every
// point, each followed by a new start that check looks at.
func everyPoint(t *testing.T, suffix string, anotherState bool, check func(k *killed, at killPoint)) {
	k := newKilled(t)
	whole := k.start("deploy", production, "--artifact", k.pushed(k.next(suffix)))
	whole.wait()
	k.good = k.current().Release
	points := killPoints(whole)
	if suffix != "" {
		// Until a target is touched, a bad release is like any other.
		points = slices.DeleteFunc(points, func(p killPoint) bool { return p.line > 0 && p.line < touches(whole) })
	}
	t.Logf("%d points in a deployment of %s:\n%s", len(points), whole.result.took, whole.result.stderr)
	inTime := 0
	for _, at := range points {
		c := k.start("deploy", production, "--artifact", k.pushed(k.next(suffix)))
		if c.killAfter(at.line, at.after) {
			inTime++
		}
		if anotherState {
			k.anotherState()
		}
		check(k, at)
	}
	if inTime*10 < len(points)*8 {
		t.Errorf("only %d of %d deployments were killed before they ended by themselves", inTime, len(points))
	}
}

func TestADeploymentThatIsKilledAnywhereEndsWhereTheBranchSays(t *testing.T) {
	t.Parallel()
	for name, another := range map[string]bool{"with its own state": false, "with another machine's state": true} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			everyPoint(t, "", another, func(k *killed, at killPoint) {
				version := k.recover(at, 0)
				if version == k.good && len(k.git("log", "-1", "--format=%H", "-F", "--grep", "Deploy "+k.last(), "main")) > 0 {
					k.t.Errorf("%s: the branch has %s and asks for %s", at, k.last(), version)
				}
				k.good = version
			})
		})
	}
}

// last is the version that was asked for last.
func (k *killed) last() string { return fmt.Sprintf("1.%d.0", k.releases) }

func TestABadReleaseThatIsKilledAnywhereIsRolledBack(t *testing.T) {
	t.Parallel()
	for name, another := range map[string]bool{"with its own state": false, "with another machine's state": true} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			everyPoint(t, "-bad", another, func(k *killed, at killPoint) {
				// 0: it was not on the branch yet, or was taken back before; 3: it was
				// tried and taken back now.
				if version := k.recover(at, 0, 3); version != k.good {
					k.t.Fatalf("%s: %s is in effect, want %s back", at, version, k.good)
				}
			})
		})
	}
}

func TestARollbackThatIsKilledAnywhereEndsWhereTheBranchSays(t *testing.T) {
	t.Parallel()
	k := newKilled(t)
	k.good = k.next("")
	k.must("deploy", production, "--artifact", k.pushed(k.good))
	whole := k.start("rollback", production)
	whole.wait()
	k.agreed("1.0.0")
	points := killPoints(whole)
	t.Logf("%d points in a rollback of %s:\n%s", len(points), whole.result.took, whole.result.stderr)
	for _, at := range points {
		k.good = k.next("")
		k.must("deploy", production, "--artifact", k.pushed(k.good))
		k.start("rollback", production).killAfter(at.line, at.after)
		switch version := k.recover(at, 0); version {
		case "1.0.0": // it got as far as the branch
		case k.good: // it did not, and can be asked for again
			k.must("rollback", production)
			k.agreed("1.0.0")
		default:
			t.Fatalf("%s: %s is in effect, want %s or 1.0.0", at, version, k.good)
		}
	}
}
