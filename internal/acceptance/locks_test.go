package acceptance_test

import (
	"fmt"
	"regexp"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/stella-ops/stella/internal/git/gittest"
)

// oneByOne is an environment of two targets that are changed one after the
// other, the second once the first was healthy for a while.
func oneByOne(stableFor string) plan {
	return plan{
		targets: 2, more: "rollout: {strategy: rolling, batch: 1, onFailure: pause}\n",
		verify: "  timeout: 90s\n  stableFor: " + stableFor + "\n",
	}
}

// runs is the version on a target.
func (w *world) runs(n int) string {
	w.t.Helper()
	return w.running(w.targets[n], w.services[0]).Version
}

// firstIsChanged waits until a version runs on the first target.
func (w *world) firstIsChanged(version string) {
	w.t.Helper()
	eventually(w.t, version+" runs on the first target", patience, func() string {
		if got := w.runs(0); got != version {
			return "it is " + got
		}
		return ""
	})
}

// TestAHolderThatIsStoppedPastItsLeaseChangesNothingMore stops a deployment
// between two targets until somebody else, whose state is another, has taken
// the lock over and has deployed; then it goes on. (K02)
func TestAHolderThatIsStoppedPastItsLeaseChangesNothingMore(t *testing.T) {
	t.Parallel()
	w := newWorld(t, oneByOne("3s"))
	w.must("reconcile", production)
	sleeper := w.start("deploy", production, "--artifact", w.pushed("1.1.0"))
	w.firstIsChanged("1.1.0")
	sleeper.send(syscall.SIGSTOP)
	if got := w.runs(1); got != "1.0.0" {
		t.Fatalf("%s runs on the second target already: it was stopped too late", got)
	}
	before := w.sticker(w.targets[1]).Fence

	w.anotherState()
	r := w.must("deploy", production, "--artifact", w.pushed("1.2.0"))
	const least = 45 * time.Second // nobody on this machine may take a stopped holder for dead
	if r.took < least {
		t.Errorf("the lock was taken over after %s, before its lease ran out: %s", r.took, r)
	}
	w.agreed("1.2.0")
	pids := fmt.Sprint(w.allRunning())
	transitions := w.git("rev-list", "--count", ledgerRef)

	sleeper.send(syscall.SIGCONT)
	late := sleeper.wait()
	if late.code == 0 || !strings.Contains(late.stderr, "fence") && !strings.Contains(late.stderr, "lock") {
		t.Errorf("want an error that names the lock: %s", late)
	}
	if got := fmt.Sprint(w.allRunning()); got != pids {
		t.Errorf("the sleeper changed targets: %s, before it went on %s", got, pids)
	}
	if got := w.git("rev-list", "--count", ledgerRef); got != transitions {
		t.Errorf("the sleeper wrote to the ledger: %s commits, before %s", got, transitions)
	}
	w.agreed("1.2.0")
	w.soundLedger()
	if now := w.sticker(w.targets[1]).Fence; now <= before+1 {
		t.Errorf("the fence went from %d to %d, with two locks in between", before, now)
	}
}

// TestWithoutGitNoTargetIsChangedOnceTheLockMayBeSomebodyElses takes Git away
// between two targets, for longer than a lock lives without renewal. (K12)
func TestWithoutGitNoTargetIsChangedOnceTheLockMayBeSomebodyElses(t *testing.T) {
	t.Parallel()
	w := newWorld(t, oneByOne("50s"))
	// Before anything begins: nothing is changed at all.
	w.must("reconcile", production, "--timeout", "90s")
	var faults gittest.Faults
	w.repo = gittest.HTTP(t, w.bare, &faults)
	faults.Add(gittest.Any, -1, gittest.LoseRequest())
	pids := fmt.Sprint(w.allRunning())
	for _, args := range [][]string{
		{"deploy", production, "--artifact", w.pushed("1.1.0")}, {"rollback", production}, {"reconcile", production},
	} {
		if r := w.stella(args...); r.code == 0 {
			t.Errorf("it went well without Git: %s", r)
		}
	}
	if got := fmt.Sprint(w.allRunning()); got != pids {
		t.Errorf("without Git targets were changed: %s, before %s", got, pids)
	}
	faults.Clear()
	c := w.start("deploy", production, "--artifact", w.pushed("1.1.0"))
	w.firstIsChanged("1.1.0")
	faults.Add(gittest.Any, -1, gittest.LoseRequest())
	if r := c.wait(); r.code == 0 {
		t.Errorf("it went well without Git: %s", r)
	}
	if got := w.runs(1); got != "1.0.0" {
		t.Errorf("the second target was changed to %s without a lock", got)
	}
	faults.Clear()
}

// TestAFreezeStopsEverybodyAndSaysWhoWhyAndUntil (K10).
func TestAFreezeStopsEverybodyAndSaysWhoWhyAndUntil(t *testing.T) {
	t.Parallel()
	w := newWorld(t, plan{})
	w.must("reconcile", production)
	w.must("deploy", production, "--artifact", w.pushed("1.1.0"))
	w.must("orch", "locks", "acquire", production, "--reason", "database migration", "--for", "2h")
	head, pids := w.head(), fmt.Sprint(w.allRunning())
	reason := []string{"--reason", "it is urgent"}
	until := regexp.MustCompile(`until \d{4}-\d\d-\d\dT\d\d:\d\d:\d\dZ`)
	for _, args := range [][]string{
		{"deploy", production, "--artifact", w.pushed("1.2.0")},
		append([]string{"deploy", production, "--artifact", w.pushed("1.2.0"), "--force", "lock"}, reason...),
		{"rollback", production},
		append([]string{"rollback", production, "--force", "lock"}, reason...),
		{"rollback", production, "--to", "1.0.0"},
		append([]string{"orch", "env", "stop", production}, reason...),
		append([]string{"orch", "locks", "acquire", production}, reason...),
	} {
		r := w.stella(args...)
		if r.code != 6 || !strings.Contains(r.stderr, "database migration") || !strings.Contains(r.stderr, "test@example.com") || !until.MatchString(r.stderr) {
			t.Errorf("want exit code 6 with who, why and until: %s", r)
		}
	}
	if got := w.head(); got != head {
		t.Errorf("the branch moved behind the freeze")
	}
	// What is on the branch waits, too.
	w.pushRelease(w.clone(), "1.3.0")
	if r := w.stella("reconcile", production); r.code != 6 || !until.MatchString(r.stderr) {
		t.Errorf("want exit code 6: %s", r)
	}
	if got := fmt.Sprint(w.allRunning()); got != pids {
		t.Errorf("targets were changed behind the freeze: %s, before %s", got, pids)
	}
	w.must("orch", "locks", "release", production)
	w.must("reconcile", production)
	w.agreed("1.3.0")
	w.soundLedger()
}

// TestALedgerThatWasTamperedWithStopsEverybodyUntilItIsAccepted deletes the
// ledger's ref (K08) and puts forged commits upon it (K11).
func TestALedgerThatWasTamperedWithStopsEverybodyUntilItIsAccepted(t *testing.T) {
	t.Parallel()
	w := newWorld(t, plan{})
	w.must("reconcile", production)
	for i, forge := range []struct {
		name string
		do   func(state string) map[string]string // nil deletes the ref
	}{
		{"garbage", func(string) map[string]string { return map[string]string{"state.json": "\x00\x1b[2J garbage"} }},
		{"10 MB", func(s string) map[string]string {
			return map[string]string{"state.json": s + strings.Repeat(" ", 10<<20)}
		}},
		{"another environment's", func(s string) map[string]string {
			return map[string]string{"state.json": strings.ReplaceAll(s, `"production"`, `"staging"`)}
		}},
		{"a fence of 2^62", func(s string) map[string]string {
			return map[string]string{"state.json": regexp.MustCompile(`"fence": \d+`).ReplaceAllString(s, `"fence": 4611686018427387904`)}
		}},
		{"deleted", nil},
	} {
		good := w.git("rev-parse", ledgerRef)
		fence := w.sticker(w.targets[0]).Fence
		if forge.do == nil {
			gittest.SetRef(t, w.bare, ledgerRef, "")
		} else {
			gittest.SeedRef(t, w.bare, ledgerRef, "forged", forge.do(w.git("show", ledgerRef+":state.json")))
		}
		pids, head := fmt.Sprint(w.allRunning()), w.head()
		version := fmt.Sprintf("1.%d.0", i+1)
		for _, args := range [][]string{{"reconcile", production}, {"deploy", production, "--artifact", w.pushed(version)}, {"rollback", production}} {
			if r := w.stella(args...); r.code != 2 || strings.Contains(r.stderr, "\x1b") {
				t.Errorf("%s: want exit code 2: %s", forge.name, r)
			}
		}
		if got := fmt.Sprint(w.allRunning()); got != pids || w.head() != head {
			t.Errorf("%s: targets or branch were changed", forge.name)
		}
		if forge.do != nil {
			gittest.SetRef(t, w.bare, ledgerRef, good) // as the documented repair says
		}
		w.must("orch", "repair", "--accept-head", "--reason", "the ledger was tampered with: "+forge.name)
		w.must("deploy", production, "--artifact", w.pushed(version))
		w.agreed(version)
		if now := w.sticker(w.targets[0]).Fence; now <= fence {
			t.Errorf("%s: the fence went from %d to %d", forge.name, fence, now)
		}
		w.soundLedger()
	}
}
