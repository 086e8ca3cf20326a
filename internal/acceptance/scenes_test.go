package acceptance_test

import (
	"fmt"
	"maps"
	"strings"
	"testing"

	"github.com/stella-ops/stella"
	"github.com/stella-ops/stella/internal/git/gittest"
)

// scenes are played on bare hosts and on container engines alike.
func scenes(t *testing.T, engines bool) {
	t.Helper()
	all := map[string]func(*testing.T, bool){
		"a bad release and a way back":     sceneReleases,
		"drift is healed where it is":      sceneDrift,
		"a wreck is reset":                 sceneReset,
		"a failure on the second of three": sceneSecond,
		"a stop and a deletion":            sceneStop,
	}
	if engines {
		maps.Copy(all, scenesOfEngines())
	}
	for name, scene := range all {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			scene(t, engines)
		})
	}
}

// stage is the world that scenes are played in.
func stage(t *testing.T, engines bool, more string) *world {
	t.Helper()
	return newWorld(t, plan{targets: 2, engines: engines, app: furnished{}, more: more, verify: "  timeout: 5s\n"})
}

// differs demands that a config diff ends with the given code.
func (w *world) differs(code int, says string) {
	w.t.Helper()
	if r := w.stella("orch", "env", "config", "diff", production); r.code != code || !strings.Contains(r.stdout+r.stderr, says) {
		w.t.Errorf("want exit code %d and %q: %s", code, says, r)
	}
}

func sceneReleases(t *testing.T, engines bool) {
	w := stage(t, engines, "rollout: {strategy: rolling, batch: 1}\n")
	w.must("reconcile", production)
	first := w.agreed("1.0.0")
	w.differs(0, "")
	before := w.allRunning()
	w.must("reconcile", production)
	if now := w.allRunning(); !maps.Equal(before, now) {
		t.Errorf("nothing was to be done, and what ran was %v and is %v", before, now)
	}

	w.must("deploy", production, "--artifact", w.pushed("1.1.0"))
	second := w.agreed("1.1.0")
	for _, target := range w.targets {
		if status, body := get(t, w.url(target, "web", "/version")); status != 200 || body != "1.1.0" {
			t.Errorf("%s answers %d %q", target.name, status, body)
		}
	}

	if r := w.stella("deploy", production, "--artifact", w.pushed("1.2.0-bad")); r.code != 3 {
		t.Fatalf("want exit code 3 for a bad release that was rolled back: %s", r)
	}
	third := w.agreed("1.1.0")
	if third.Kind != stella.KindRollback || !third.Automatic || third.Restores != second.ID {
		t.Errorf("after a bad release %s is in effect: %s, automatic %v, to %s", third.ID, third.Kind, third.Automatic, third.Restores)
	}
	witnessesAgree(w, third.ID)

	w.must("rollback", production)
	if fourth := w.agreed("1.0.0"); fourth.Restores != first.ID {
		t.Errorf("the second rollback goes to %s, want %s", fourth.Restores, first.ID)
	}
	w.differs(0, "")
	w.soundLedger()
}

func sceneDrift(t *testing.T, engines bool) {
	w := stage(t, engines, "drift: {mode: heal}\n")
	w.must("reconcile", production)
	second := w.targets[1]
	untouched := w.running(w.targets[0], "web")
	for what, damage := range map[string]func(){
		"it was ended by hand":    func() { w.endedByHand(second) },
		"a file was changed":      func() { w.editedByHand(second, "/www/motd", "Here was Eve.\n") },
		"ended and changed again": func() { w.editedByHand(second, "/www/motd", "Here was Eve again.\n"); w.endedByHand(second) },
	} {
		damage()
		if r := w.stella("drift", "detect", production); r.code != 1 {
			t.Errorf("%s: %s", what, r)
		}
		w.differs(1, "web-2")
		w.must("reconcile", production)
		w.agreed("1.0.0")
		w.differs(0, "")
		if now := w.running(w.targets[0], "web"); now != untouched {
			t.Errorf("%s: on the first target ran %v, now %v", what, untouched, now)
		}
		if status, body := get(t, w.url(second, "web", "/motd")); status != 200 || body != "as agreed\n" {
			t.Errorf("%s: after the heal it answers %d %q", what, status, body)
		}
	}
	all := w.soundLedger()
	if last := all[len(all)-1]; last.Kind != stella.KindHeal {
		t.Errorf("%s is a %s", last.ID, last.Kind)
	}
}

func sceneReset(t *testing.T, engines bool) {
	w := stage(t, engines, "rollout: {onFailure: pause}\n")
	w.must("reconcile", production)
	w.must("baseline", "capture", production, "--reason", "agreed")
	tree := w.appTree("main")
	w.must("baseline", "verify", production)
	w.must("deploy", production, "--artifact", w.pushed("1.1.0"))
	if r := w.stella("deploy", production, "--artifact", w.pushed("1.2.0-bad")); r.code != 3 && r.code != 4 {
		t.Fatalf("a bad release: %s", r)
	}
	w.endedByHand(w.targets[1])
	w.editedByHand(w.targets[0], "/www/motd", "Here was Eve.\n")
	w.must("orch", "env", "reset", production, "--to-baseline", "--reason", "start over")
	d := w.agreed("1.0.0")
	if d.Kind != stella.KindReset || d.Restores != "production-1" || d.Tree != tree {
		t.Errorf("%s is a %s to %s", d.ID, d.Kind, d.Restores)
	}
	w.differs(0, "")
	w.soundLedger()
}

func sceneStop(t *testing.T, engines bool) {
	w := stage(t, engines, "")
	w.must("reconcile", production)
	w.must("orch", "env", "stop", production, "--reason", "a break")
	if all := w.allRunning(); len(all) != 0 {
		t.Errorf("after the stop run %v", all)
	}
	w.must("reconcile", production)
	if got, want := fmt.Sprint(versions(w.allRunning())), fmt.Sprint(w.everywhere("1.0.0")); got != want {
		t.Errorf("after the break run %s, want %s", got, want)
	}
	w.must("orch", "env", "delete", production, "--confirm", production)
	if all := w.allRunning(); len(all) != 0 {
		t.Errorf("after the deletion run %v", all)
	}
}

// sceneSecond has a change that only the second of three targets can not bear.
func sceneSecond(t *testing.T, engines bool) {
	w := newWorld(t, plan{targets: 3, engines: engines, app: furnished{}, more: "rollout: {strategy: rolling, batch: 1}\n", verify: "  timeout: 5s\n"})
	w.pages("/www", "/bin", "/www") // where the second has no /healthz
	w.must("reconcile", production)
	first := w.agreed("1.0.0")
	third := w.running(w.targets[2], "web")
	gittest.Seed(t, w.bare, map[string]string{composeFile: strings.Replace(w.git("show", "main:"+composeFile), "command: [", "command: [\"-h\", \"${PAGES}\", ", 1) + "\n"})
	if r := w.stella("reconcile", production); r.code != 3 {
		t.Fatalf("want exit code 3 for a change that was rolled back: %s", r)
	}
	d := w.agreed("1.0.0")
	if d.Kind != stella.KindRollback || !d.Automatic || d.Restores != first.ID || d.Tree != first.Tree {
		t.Errorf("%s is a %s to %s, automatic %v", d.ID, d.Kind, d.Restores, d.Automatic)
	}
	if now := w.running(w.targets[2], "web"); now != third {
		t.Errorf("the third target was not to be reached: there ran %v, now %v", third, now)
	}
	witnessesAgree(w, d.ID)
	w.differs(0, "")
	w.soundLedger()
}

// sceneGone loses one of three engines: a deploy is refused, a rollback goes on
// and owes it.
func sceneGone(t *testing.T, engines bool) {
	w := newWorld(t, plan{targets: 3, engines: engines, app: furnished{}, verify: "  timeout: 5s\n"})
	w.must("reconcile", production)
	w.must("deploy", production, "--artifact", w.pushed("1.1.0"))
	w.agreed("1.1.0")
	lost := w.targets[2].engine
	lost.Stop(t)
	if r := w.stella("deploy", production, "--artifact", w.pushed("1.2.0")); r.code != 5 || !strings.Contains(r.stderr, "web-3") {
		t.Errorf("want exit code 5 for a deploy: %s", r)
	}
	here := map[string]string{"web-1/web": "1.1.0", "web-2/web": "1.1.0"}
	if got := versions(w.allRunning()); !maps.Equal(got, here) {
		t.Errorf("what runs is %v, want %v", got, here)
	}
	if r := w.stella("rollback", production, "--to", "production-1"); r.code == 0 || !strings.Contains(r.stdout+r.stderr, "web-3") {
		t.Errorf("a rollback that owes a target: %s", r)
	}
	here = map[string]string{"web-1/web": "1.0.0", "web-2/web": "1.0.0"}
	if got := versions(w.allRunning()); !maps.Equal(got, here) {
		t.Errorf("what runs is %v, want %v", got, here)
	}
	lost.Start(t)
	w.must("reconcile", production)
	if got, want := versions(w.allRunning()), w.everywhere("1.0.0"); !maps.Equal(got, want) {
		t.Errorf("what runs once the engine is back is %v, want %v", got, want)
	}
	w.differs(0, "")
	w.soundLedger()
}
