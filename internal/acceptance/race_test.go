package acceptance_test

import (
	"fmt"
	"net/http"
	"slices"
	"strings"
	"testing"

	"github.com/stella-ops/stella"
	"github.com/stella-ops/stella/internal/git/gittest"
)

// racers is how many people deploy at once.
const racers = 8

// transports are the ways to a config repository.
func transports() map[string]func(w *world) {
	return map[string]func(w *world){
		"file": func(*world) {},
		"http": func(w *world) { w.repo = gittest.HTTP(w.t, w.bare, nil) },
		"ssh":  func(w *world) { w.repo, w.vars = gittest.SSH(w.t, w.bare) },
	}
}

// race starts all command lines at once and waits for all of them. Every other
// one works from a state directory of its own, as people on their own machines
// do; the others share one.
func (w *world) race(lines [][]string) []result {
	w.t.Helper()
	common := w.state
	var all []*command
	for i, args := range lines {
		if i%2 == 1 {
			w.anotherState()
		}
		all = append(all, w.start(args...))
		w.state = common
	}
	var results []result
	for _, c := range all {
		results = append(results, c.wait())
	}
	return results
}

// subjects are the branch's commits, oldest first.
func (w *world) subjects() []string {
	w.t.Helper()
	return strings.Split(w.git("log", "--reverse", "--format=%s%n%b", "main"), "\n")
}

// releasesOf lists what the branch asked for after each of its commits: the
// image of a service, oldest first, without repetitions.
func (w *world) releasesOf(service string) []string {
	w.t.Helper()
	var all []string
	for commit := range strings.FieldsSeq(w.git("rev-list", "--reverse", "--first-parent", "main")) {
		for row := range strings.Lines(w.git("show", commit+":envs/production/app/release.yaml")) {
			image, ok := strings.CutPrefix(row, "  "+service+": ")
			if !ok {
				continue
			}
			a, err := stella.ParseArtifact(strings.TrimSpace(image))
			if err != nil {
				w.t.Fatal(err)
			}
			if len(all) == 0 || all[len(all)-1] != a.Tag {
				all = append(all, a.Tag)
			}
		}
	}
	return all
}

func TestEightComponentsThatAreDeployedAtOnceAllGetThere(t *testing.T) {
	t.Parallel()
	for name, connect := range transports() {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			services := make([]string, racers)
			for i := range services {
				services[i] = fmt.Sprintf("c%d", i+1)
			}
			w := newWorld(t, plan{services: services})
			connect(w)
			w.must("reconcile", production)
			w.agreed("1.0.0")

			var lines [][]string
			for _, s := range services {
				a := w.push(s, "2.0.0")
				a.Digest = ""
				lines = append(lines, []string{"deploy", production, "--artifact", s + "=" + a.String(), "--version", "2.0.0"})
			}
			for _, r := range w.race(lines) {
				if r.code != 0 {
					t.Errorf("want exit code 0: %s", r)
				}
			}
			w.agreed("2.0.0")
			for _, s := range services {
				if got := w.releasesOf(s); !slices.Equal(got, []string{"1.0.0", "2.0.0"}) {
					t.Errorf("the branch asked for %v of %s", got, s)
				}
			}
			if got, want := w.git("rev-list", "--count", "main"), fmt.Sprint(1+racers); got != want {
				t.Errorf("the branch has %s commits, want %s:\n%s", got, want, strings.Join(w.subjects(), "\n"))
			}
			for _, d := range w.soundLedger() {
				if d.Status != stella.Succeeded {
					t.Errorf("%s is %s: %s", d.ID, d.Status, d.Error)
				}
			}
		})
	}
}

func TestOfEightVersionsOfOneComponentTheLastOneOnTheBranchRuns(t *testing.T) {
	t.Parallel()
	for name, connect := range transports() {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			w := newWorld(t, plan{})
			connect(w)
			w.must("reconcile", production)

			var lines [][]string
			for i := range racers {
				lines = append(lines, []string{"deploy", production, "--artifact", w.pushed(fmt.Sprintf("2.%d.0", i))})
			}
			results := w.race(lines)

			asked := w.releasesOf("web")
			last := w.wanted()
			won := 0
			for i, r := range results {
				version := fmt.Sprintf("2.%d.0", i)
				switch {
				case r.code == 0:
					won++
					if !slices.Contains(asked, version) {
						t.Errorf("%s is said to be deployed and was never on the branch: %s", version, r)
					}
				case r.code == 5 && version == last:
					t.Errorf("%s is said to be superseded and is what the branch asks for: %s", version, r)
				case r.code == 5 && !strings.Contains(r.stderr, "superseded") && !strings.Contains(r.stderr, "changed"):
					t.Errorf("%s was refused without a reason: %s", version, r)
				case r.code != 5:
					t.Errorf("want exit code 0 or 5: %s", r)
				}
			}
			if won == 0 {
				t.Errorf("nobody got there")
			}
			w.agreed(last)
			if sorted := slices.Sorted(slices.Values(asked)); len(slices.Compact(sorted)) != len(asked) {
				t.Errorf("a version was on the branch twice: %v", asked)
			}
			truthful(t, results, w.soundLedger())
		})
	}
}

// truthful checks that whoever was told 0 has a verified deployment of theirs
// in the ledger, and that the ledger knows of no version twice.
func truthful(t *testing.T, results []result, all []stella.Deployment) {
	t.Helper()
	verified := map[string]int{}
	for _, d := range all {
		if d.Status == stella.Succeeded {
			verified[d.Release]++
		}
	}
	for version, n := range verified {
		if n != 1 {
			t.Errorf("%s was deployed %d times", version, n)
		}
	}
	for i, r := range results {
		if version := fmt.Sprintf("2.%d.0", i); r.code == 0 && verified[version] != 1 {
			t.Errorf("%s is said to be deployed, the ledger has no such verified deployment: %s", version, r)
		}
	}
}

func TestTwoPeopleWhoRollBackAtOnceRollBackOnce(t *testing.T) {
	t.Parallel()
	w := newWorld(t, plan{})
	w.must("reconcile", production)
	w.must("deploy", production, "--artifact", w.pushed("1.1.0"))
	w.must("deploy", production, "--artifact", w.pushed("1.2.0"))

	line := []string{"rollback", production}
	var codes []int
	for _, r := range w.race([][]string{line, line}) {
		codes = append(codes, r.code)
		if r.code == 5 && !strings.Contains(r.stderr, "changed meanwhile") {
			t.Errorf("the second one is not told that the environment changed: %s", r)
		}
	}
	if slices.Sort(codes); !slices.Equal(codes, []int{0, 5}) {
		t.Errorf("the exit codes are %v, want one 0 and one 5", codes)
	}
	if d := w.agreed("1.1.0"); d.Kind != stella.KindRollback {
		t.Errorf("%s is in effect, a %s", d.ID, d.Kind)
	}
	if all := w.soundLedger(); len(all) != 4 {
		t.Errorf("the ledger has %d deployments, want 4", len(all))
	}
}

// TestARollbackIsRefusedOnceSomebodyElseRolledBack has somebody else roll back
// before each request of a rollback in turn, up to the one that would record it.
func TestARollbackIsRefusedOnceSomebodyElseRolledBack(t *testing.T) {
	t.Parallel()
	w := newWorld(t, plan{})
	var faults gittest.Faults
	slow := gittest.HTTP(t, w.bare, &faults)
	w.must("reconcile", production)
	two := func(older, newer string) {
		w.must("deploy", production, "--artifact", w.pushed(older))
		w.must("deploy", production, "--artifact", w.pushed(newer))
	}
	two("1.1.0", "1.2.0")
	w.must("rollback", production, "--repo", slow)
	two("1.3.0", "1.4.0")
	faults.Forget()
	w.must("rollback", production, "--repo", slow)
	requests := slices.IndexFunc(faults.Requests(), func(r gittest.Seen) bool { return strings.HasSuffix(r.Path, "/git-receive-pack") }) + 1
	if requests < 3 {
		t.Fatalf("a rollback recorded itself with request %d: %v", requests, faults.Requests())
	}
	for n := 2; n <= requests; n++ {
		older, newer := fmt.Sprintf("2.%d.0", n), fmt.Sprintf("2.%d.1", n)
		two(older, newer)
		var other result
		seen := 0
		nth := func(*http.Request) bool { seen++; return seen == n } // matched under a lock
		faults.Add(nth, 1, gittest.Between(func() { other = w.stella("rollback", production) }))
		r := w.stella("rollback", production, "--repo", slow)
		faults.Clear()
		if other.code != 0 {
			t.Fatalf("before request %d: %s", n, other)
		}
		if r.code != 5 || !strings.Contains(r.stderr, "changed meanwhile") {
			t.Errorf("somebody else rolled back before request %d of %d; want exit code 5 and what changed: %s", n, requests, r)
		}
		w.agreed(older)
	}
	w.soundLedger()
}
