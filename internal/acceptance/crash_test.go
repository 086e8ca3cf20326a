package acceptance_test

import (
	"bytes"
	"errors"
	"flag"
	"fmt"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"

	"github.com/stella-ops/stella"
	"github.com/stella-ops/stella/internal/git/gittest"
)

// A command is run with a fault at its n-th effect, for n = 1, 2, … until it
// ends before it has so many: before:n and after:n kill it there, fail:n lets
// the effect fail, lost:n lets it happen and loses the answer. Then stella is
// started again without faults, and all that must hold is looked at.
// docs/design/0008-one-seam-for-effects.md

// everyFault is what 'make crash' asks for; otherwise a part is tried that is
// the same each time.
var everyFault = flag.Bool("every-fault", false, "try every fault at every effect, not only some")

// firstEffect goes on with a long run that was broken off.
var firstEffect = flag.Int("first-effect", 1, "with -every-fault, begin with effect `n`")

// everyNth makes a long run shorter, or shares it among several.
var everyNth = flag.Int("every-nth", 1, "with -every-fault, try only each `n`-th effect on engines")

// faultTable is where the outcome of each fault is written, for docs/faults.md.
var faultTable = flag.String("fault-table", "", "append a line to this `file` for each fault that was tried")

// Without -every-fault, effects are tried that lie sampleEvery apart, up to
// sampleLast; each mode begins elsewhere.
const (
	sampleEvery = 13
	sampleLast  = 45 // as many as a rollback of two targets has
)

// fault is one that is injected.
type fault struct {
	mode   string
	n      int
	effect string // that was hit; known afterwards
}

func (f fault) String() string { return fmt.Sprintf("%s:%d", f.mode, f.n) }

func (f fault) kills() bool { return f.mode == "before" || f.mode == "after" }

// scenario is a command that is run with faults.
type scenario struct {
	name   string
	verify string // lines of environment.yaml below verify
	from   string // the effect before which it is as another scenario; none: from the first
	// ready brings a world to where the command starts and returns its words.
	ready func(k *crashed) []string
	// after is what happens between the fault and the next start; nil for nothing.
	after func(k *crashed)
	modes []string
	// wrecked: before the command nothing is whole, and stella can not say where
	// the environment stands.
	wrecked bool
	engines bool // targets are container engines
	sparse  int  // how many times further apart effects are tried without -every-fault; 0 means 1
	// end brings an environment that was reconciled to where all rounds end, and
	// checks how it got there.
	end func(k *crashed, first, second result)
}

// crashed is an environment in which a command meets its faults.
type crashed struct {
	*killed
	scenario scenario
	fault    fault
	before   witnesses
	asked    string // the version of a deploy
}

// faultyStella is the binary with faults built in.
var faultyStella = sync.OnceValues(func() (string, error) {
	if given := os.Getenv(faultyVariable); given != "" {
		return given, nil // built by the test that runs this one
	}
	binary := filepath.Join(shared.scratch, "stella-faults")
	cmd := exec.Command("go", "build", "-trimpath", "-tags", "faults", "-o", binary, "github.com/stella-ops/stella/cmd/stella")
	cmd.Env = append(os.Environ(), "CGO_ENABLED=0")
	if out, err := cmd.CombinedOutput(); err != nil {
		return "", fmt.Errorf("build stella with faults: %w\n%s", err, out)
	}
	return binary, nil
})

func scenarios() []scenario {
	all := []string{"before", "after", "fail", "lost"}
	return []scenario{
		{name: "rollback", verify: "  timeout: 20s\n", modes: all, ready: readyToRollBack, end: (*crashed).rolledBack},
		{name: "deploy", verify: "  timeout: 20s\n", modes: all, ready: readyToDeploy(""), end: (*crashed).deployed},
		{name: "bad deploy", verify: "  timeout: 3s\n", modes: all, from: "start web", ready: readyToDeploy("-bad"), end: (*crashed).deployedBadly},
		{name: "rollback, again", verify: "  timeout: 20s\n", modes: all[:2], ready: readyToRollBack, after: (*crashed).again, end: (*crashed).rolledBack},
		{name: "rollback, power cut", verify: "  timeout: 20s\n", modes: all[:1], ready: readyToRollBack, after: (*crashed).powerCut, end: (*crashed).rolledBack},
		{name: "rollback, no state", verify: "  timeout: 20s\n", modes: all[:1], ready: readyToRollBack, after: (*crashed).loseState, end: (*crashed).rolledBack},
		{name: "reset", verify: "  timeout: 20s\n", modes: all, wrecked: true, sparse: 2, ready: readyToReset, end: (*crashed).reset},
	}
}

// worlds is how many are worked on at a time: one for each core of a small
// machine. They wait more than they work.
var worlds = flag.Int("worlds", 2, "try faults in `n` worlds at a time")

func TestWhateverFailsAtAnyEffectTheEnvironmentConverges(t *testing.T) {
	t.Parallel()
	if _, err := faultyStella(); err != nil {
		t.Fatal(err)
	}
	type job struct {
		scenario scenario
		mode     string
		first    int
	}
	jobs := make(chan job, 100)
	for i, s := range scenarios() {
		for j, mode := range s.modes {
			jobs <- job{s, mode, 1 + (4*i+j)%sampleEvery}
		}
	}
	close(jobs)
	for i := range *worlds {
		t.Run(fmt.Sprintf("world %d", i+1), func(t *testing.T) {
			t.Parallel()
			for j := range jobs {
				t.Run(j.scenario.name+" "+j.mode, func(t *testing.T) {
					effects := stride{j.first, sampleEvery * max(j.scenario.sparse, 1), sampleLast}
					if *everyFault {
						effects = stride{*firstEffect, 1, 10_000}
					}
					enumerate(t, j.scenario, j.mode, effects)
				})
			}
		})
	}
}

// stride is which effects are tried.
type stride struct{ first, step, last int }

// enumerate tries a mode at effect after effect until the command ends before it
// has so many.
func enumerate(t *testing.T, s scenario, mode string, effects stride) {
	t.Helper()
	k, before := newCrashed(t, s), 0
	if s.from != "" {
		before = k.effectsBefore(s.from)
	}
	// Lists of deployments have the last hundred; a round makes up to four.
	const most = 20
	tried := 0
	for n := before + effects.first; n <= before+effects.last; n += effects.step {
		if k == nil {
			k = newCrashed(t, s)
		}
		hit := true
		world := t
		ok := t.Run(fmt.Sprintf("%s:%d", mode, n), func(t *testing.T) {
			k.t = t
			hit = k.round(fault{mode: mode, n: n})
		})
		k.t = world
		if tried++; !ok || tried%most == 0 {
			k = nil // what is left of a failure is no start for the next
		}
		if !hit {
			tried--
			break
		}
	}
	if tried == 0 {
		t.Error("no effect was hit")
	}
	t.Logf("%s: %d faults", mode, tried)
}

func newCrashed(t *testing.T, s scenario) *crashed {
	if s.engines {
		return newCrashedOnEngines(t, s)
	}
	return &crashed{killed: newKilledWith(t, s.verify), scenario: s}
}

// effectsBefore is how many effects the command has before the one of a name.
func (k *crashed) effectsBefore(name string) int {
	k.t.Helper()
	const never = 1 << 20
	none := fault{mode: "fail", n: never}
	k.before = k.look()
	first, effects := k.inject(none, k.scenario.ready(k)...)
	k.scenario.end(k, first, first)
	i := slices.IndexFunc(effects, func(e string) bool { return strings.HasSuffix(e, " "+name) })
	if i < 0 {
		k.t.Fatalf("no effect is %q:\n%s", name, strings.Join(effects, "\n"))
	}
	return i
}

// round runs the command with a fault and without, and checks everything. It
// reports false when the command has fewer effects.
func (k *crashed) round(f fault) bool {
	k.t.Helper()
	args := k.scenario.ready(k)
	k.fault, k.before = f, k.look()
	first, effects := k.inject(f, args...)
	hit := len(effects) >= f.n
	if hit {
		k.fault.effect = strings.TrimPrefix(effects[f.n-1], fmt.Sprintf("%d ", f.n))
	}
	if hit && f.kills() != (first.code == -1) {
		k.t.Fatalf("at %q: %s", k.fault.effect, first)
	}
	if strings.Contains(first.stderr, "goroutine ") {
		k.t.Errorf("at %q: %s", k.fault.effect, first)
	}
	started, now := k.settle(), k.look()
	k.before.mustLeadTo(k.t, now)
	if !k.scenario.wrecked {
		k.honest(first, now)
		k.whole()
	}
	if k.scenario.after != nil {
		k.scenario.after(k)
		k.whole()
		started = nil // it may have been ended on purpose
	}
	if first.code == 0 && k.scenario.after == nil {
		k.scenario.end(k, first, first)
	}
	at := k.head()
	second := k.stella("reconcile", production, "--timeout", "45s")
	k.notRestarted(started, second)
	if first.code != 0 || k.scenario.after != nil {
		k.scenario.end(k, first, second)
	} else if second.code != 0 || k.head() != at {
		k.t.Errorf("at %q: there was something left to do: %s", k.fault.effect, second)
	}
	k.soundLedger()
	k.whole()
	k.tidy()
	k.before.mustLeadTo(k.t, k.look())
	k.report(first, second, effects)
	return hit
}

// inject runs a command with a fault and returns the effects that it got to.
func (k *crashed) inject(f fault, args ...string) (result, []string) {
	k.t.Helper()
	binary, err := faultyStella()
	if err != nil {
		k.t.Fatal(err)
	}
	log := filepath.Join(k.t.TempDir(), "effects")
	k.program = binary
	k.vars["STELLA_FAULT"], k.vars["STELLA_FAULT_LOG"] = f.String(), log
	r := k.stella(args...)
	k.program = ""
	delete(k.vars, "STELLA_FAULT")
	delete(k.vars, "STELLA_FAULT_LOG")
	text, err := os.ReadFile(log)
	if err != nil && !errors.Is(err, fs.ErrNotExist) { // where there was no effect
		k.t.Fatal(err)
	}
	return r, strings.FieldsFunc(string(text), func(c rune) bool { return c == '\n' })
}

// report tells what was tried and how it ended.
func (k *crashed) report(first, second result, effects []string) {
	k.t.Helper()
	if k.t.Failed() {
		k.t.Logf("%s at %q, of the effects\n%s\n%s\nthen %s", k.fault, k.fault.effect, strings.Join(effects, "\n"), first, second)
	}
	if *faultTable == "" || k.fault.effect == "" {
		return
	}
	f, err := os.OpenFile(*faultTable, os.O_WRONLY|os.O_CREATE|os.O_APPEND, 0o600)
	if err != nil {
		k.t.Fatal(err)
	}
	_, err = fmt.Fprintf(f, "%s\t%s\t%d\t%s\t%d\t%d\t%v\n", k.scenario.name, k.fault.mode, k.fault.n, k.fault.effect, first.code, second.code, !k.t.Failed())
	if err := errors.Join(err, f.Close()); err != nil {
		k.t.Fatal(err)
	}
}

const first = "1.0.0" // what all worlds begin with

// readyToRollBack has a new version verified. What is to be gone back to is
// still on the first target and no longer on the second.
func readyToRollBack(k *crashed) []string {
	k.t.Helper()
	k.good = k.next("")
	k.must("deploy", production, "--artifact", k.pushed(k.good))
	k.drop(k.targets[1], first)
	return []string{"rollback", production, "--reason", "the enumerator asks"}
}

// rolledBack: either the rollback went on, or it never got to the branch and can
// be asked for again.
func (k *crashed) rolledBack(begun, then result) {
	k.t.Helper()
	if then.code != 0 {
		k.t.Fatalf("at %q %s\nthen %s", k.fault.effect, begun, then)
	}
	if begun.code != 0 && k.wanted() == k.good {
		k.agreed(k.good)
		k.must("rollback", production, "--reason", "the enumerator asks again")
	}
	d := k.agreed(first)
	k.runsDigestsOf(d)
	k.commitsSince(1)
	k.held(k.good)
}

// readyToReset has a new version verified and wrecked: its processes are ended,
// the files of the app in Git are broken, and of the second target the release
// and what is known of it are gone. The baseline is the first version.
func readyToReset(k *crashed) []string {
	k.t.Helper()
	if len(k.deployments()) == 1 {
		k.must("baseline", "capture", production, "--reason", "agreed")
	}
	k.good = k.next("")
	k.must("deploy", production, "--artifact", k.pushed(k.good))
	for _, target := range k.targets {
		if err := ended(k.world, target); err != nil {
			k.t.Fatal(err)
		}
	}
	if err := gone("CURRENT", "services/web/current", "services/web/spec.json", "stella.version.json")(k.world, k.targets[1]); err != nil {
		k.t.Fatal(err)
	}
	gittest.Seed(k.t, k.bare, map[string]string{composeFile: "services: [\n"})
	return []string{"orch", "env", "reset", production, "--to-baseline", "--reason", "the enumerator asks"}
}

// reset: either the reset went on, or it never got to the branch, which can not
// be deployed, and can be asked for again.
func (k *crashed) reset(begun, then result) {
	k.t.Helper()
	if k.head() == k.before.main {
		const canNot = 2
		if begun.code == 0 || then.code != canNot {
			k.t.Fatalf("at %q %s\nthen %s", k.fault.effect, begun, then)
		}
		k.must("orch", "env", "reset", production, "--to-baseline", "--reason", "the enumerator asks again")
	} else if then.code != 0 {
		k.t.Fatalf("at %q %s\nthen %s", k.fault.effect, begun, then)
	}
	d := k.agreed(first)
	if d.Kind != stella.KindReset || d.Restores != "production-1" {
		k.t.Errorf("at %q: %s is a %s to %q", k.fault.effect, d.ID, d.Kind, d.Restores)
	}
	k.runsDigestsOf(d)
	k.commitsSince(1)
	k.held(k.good)
}

func readyToDeploy(suffix string) func(k *crashed) []string {
	return func(k *crashed) []string {
		k.t.Helper()
		k.asked = k.next(suffix)
		return []string{"deploy", production, "--artifact", k.pushed(k.asked)}
	}
}

// deployed: either the deploy went on, or it never got to the branch and can be
// asked for again, or a target could not be changed and it was taken back.
func (k *crashed) deployed(begun, then result) {
	k.t.Helper()
	const takenBack = 3
	if begun.code == takenBack {
		k.deployedBadly(begun, then)
		return
	}
	if then.code != 0 {
		k.t.Fatalf("at %q %s\nthen %s", k.fault.effect, begun, then)
	}
	if begun.code != 0 && k.wanted() == k.good {
		k.agreed(k.good)
		k.must("deploy", production, "--artifact", k.pushed(k.asked))
	}
	d := k.agreed(k.asked)
	k.runsDigestsOf(d)
	k.commitsSince(1)
	k.good = k.asked
}

// deployedBadly: what was good is back, by a second commit where the first got
// to the branch.
func (k *crashed) deployedBadly(begun, then result) {
	k.t.Helper()
	if !slices.Contains([]int{0, 3}, then.code) {
		k.t.Fatalf("at %q %s\nthen %s", k.fault.effect, begun, then)
	}
	d := k.agreed(k.good)
	k.runsDigestsOf(d)
	if k.head() == k.before.main {
		return
	}
	k.commitsSince(2)
	k.held(k.asked)
}

// held checks that a version may not come back by itself.
func (k *crashed) held(version string) {
	k.t.Helper()
	var doc struct{ Holds []stella.Hold }
	k.document(&doc, "orch", "holds", "list", production)
	for _, h := range doc.Holds {
		if h.Release == version {
			return
		}
	}
	k.t.Errorf("at %q: nothing holds %s", k.fault.effect, version)
}

func TestAReleasedBinaryKnowsNoFaults(t *testing.T) {
	t.Parallel()
	faulty, err := faultyStella()
	if err != nil {
		t.Fatal(err)
	}
	for binary, want := range map[string]bool{shared.binary: false, faulty: true} {
		if got := bytes.Contains(readFile(t, binary), []byte("STELLA_FAULT")); got != want {
			t.Errorf("%s has the variable: %v, want %v", binary, got, want)
		}
	}
}
