package acceptance_test

import (
	"encoding/json"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/stella-ops/stella"
	"github.com/stella-ops/stella/internal/git/gittest"
)

// What must hold after every fault: the invariants that docs/faults.md lists.

// witnesses is what is written down at one moment of an environment: all of it
// only ever grows.
type witnesses struct {
	bare         string
	main, ledger string           // the heads, as git has them
	fences       map[string]int64 // by target, and of the ledger under ""
	records      []stella.Deployment
}

// newest is the id of the last record.
func (s witnesses) newest() string { return s.records[len(s.records)-1].ID }

const ledgerRef = "refs/stella/ledger/" + production

// look reads the witnesses without stella where that can be done.
func (k *crashed) look() witnesses {
	k.t.Helper()
	s := witnesses{bare: k.bare, main: k.head(), ledger: k.git("rev-parse", ledgerRef), fences: map[string]int64{}, records: k.deployments()}
	var state, target struct{ Fence int64 }
	k.parse(k.git("show", ledgerRef+":state.json"), &state)
	s.fences[""] = state.Fence
	for _, t := range k.targets {
		if t.engine != nil {
			s.fences[t.name] = k.recordOnEngine(t).Fence
			continue
		}
		data, err := os.ReadFile(filepath.Join(t.root, "target.json"))
		if err != nil {
			k.t.Fatal(err)
		}
		k.parse(string(data), &target)
		s.fences[t.name] = target.Fence
	}
	return s
}

func (k *crashed) parse(text string, into any) {
	k.t.Helper()
	if err := json.Unmarshal([]byte(text), into); err != nil {
		k.t.Fatalf("%v in %s", err, text)
	}
}

// mustLeadTo checks that nothing that was acknowledged is lost (I1, I6) and that
// no fence falls (I3).
func (s witnesses) mustLeadTo(t *testing.T, now witnesses) {
	t.Helper()
	for _, heads := range [][2]string{{s.main, now.main}, {s.ledger, now.ledger}} {
		if base := gittest.Run(t, gittest.Dir(s.bare), "merge-base", heads[0], heads[1]); base != heads[0] {
			t.Errorf("%s does not descend from %s", heads[1], heads[0])
		}
	}
	for who, fence := range s.fences {
		if now.fences[who] < fence {
			t.Errorf("the fence of %q fell from %d to %d", who, fence, now.fences[who])
		}
		if now.fences[who] > now.fences[""] {
			t.Errorf("target %s has seen fence %d, the ledger %d", who, now.fences[who], now.fences[""])
		}
	}
	for _, was := range s.records {
		i := slices.IndexFunc(now.records, func(d stella.Deployment) bool { return d.ID == was.ID })
		if i < 0 {
			t.Errorf("the record of %s is gone", was.ID)
			continue
		}
		if is := now.records[i]; !was.Status.Open() && (is.Status != was.Status || is.Commit != was.Commit || is.Tree != was.Tree || is.Kind != was.Kind) {
			t.Errorf("%s was %s %s of %s, and is %s %s of %s", was.ID, was.Kind, was.Status, was.Commit, is.Kind, is.Status, is.Commit)
		}
	}
}

// honest checks what stella says right after the fault: it claims that all is in
// sync only where it is (I4), and a command that did not begin has touched
// nothing (I9).
func (k *crashed) honest(first result, now witnesses) {
	k.t.Helper()
	var doc struct {
		Sync    stella.Sync
		Current *stella.Deployment
	}
	r := k.document(&doc, "orch", "env", "status", production)
	// Nothing is in effect while targets differ, as after a rollback that failed
	// on the second.
	as := ""
	if doc.Current != nil {
		as = doc.Current.Release
	}
	running := fmt.Sprint(versions(k.allRunning()))
	if doc.Sync == stella.Synced && (running != fmt.Sprint(k.everywhere(as)) || k.appTree("main") != doc.Current.Tree) {
		k.t.Errorf("at %q: the status is %s while %s runs, %q is in effect and the branch has %s: %s\nafter %s",
			k.fault.effect, doc.Sync, running, as, k.wanted(), r, first)
	}
	if now.newest() == k.before.newest() && running != fmt.Sprint(k.everywhere(as)) {
		k.t.Errorf("at %q: %s runs and no deployment was recorded", k.fault.effect, running)
	}
}

// whole checks that what is current is a complete release, and that nothing else
// has a release's name.
func (k *crashed) whole() {
	k.t.Helper()
	for _, target := range k.targets {
		if target.engine != nil {
			k.wholeOnEngine(target)
			continue
		}
		for _, s := range k.services {
			dir := filepath.Join(target.root, "services", s)
			current, err := os.Readlink(filepath.Join(dir, "current"))
			if err != nil {
				k.t.Errorf("at %q: %v", k.fault.effect, err)
				continue
			}
			releases := []string{filepath.Join(dir, current)}
			entries, err := os.ReadDir(filepath.Join(dir, "releases"))
			if err != nil {
				k.t.Fatal(err)
			}
			for _, e := range entries {
				if !strings.HasPrefix(e.Name(), ".") {
					releases = append(releases, filepath.Join(dir, "releases", e.Name()))
				}
			}
			for _, release := range releases {
				for _, part := range []string{"seal.json", "release.json", "rootfs"} {
					if _, err := os.Lstat(filepath.Join(release, part)); err != nil {
						k.t.Errorf("at %q: a release on %s is not complete: %v", k.fault.effect, target.name, err)
					}
				}
			}
		}
	}
}

// tidy checks that nothing half made is left on a target once a deployment has
// ended.
func (k *crashed) tidy() {
	k.t.Helper()
	for _, target := range k.targets {
		if target.engine != nil {
			k.tidyOnEngine(target)
			continue
		}
		err := filepath.WalkDir(target.root, func(path string, d fs.DirEntry, err error) error {
			switch name := d.Name(); {
			case err != nil:
				return err
			case name == "rootfs":
				return fs.SkipDir
			case strings.HasPrefix(name, ".new-"), strings.Contains(name, ".tmp-"), strings.HasSuffix(name, ".next"), strings.HasSuffix(name, ".next.json"):
				k.t.Errorf("at %q: %s is left", k.fault.effect, path)
			}
			return nil
		})
		if err != nil {
			k.t.Error(err)
		}
	}
}

// notRestarted checks that starting again left alone what already ran as wanted,
// and did not wait for a lease to run out.
func (k *crashed) notRestarted(before map[string]process, second result) {
	k.t.Helper()
	const prompt = 40
	// On engines it is a deployment and its way back, on a busy machine as long as
	// a lease: hosts show that nobody waits for one.
	if second.took.Seconds() > prompt && !k.scenario.engines {
		k.t.Errorf("at %q: starting again took %s: a dead holder on this machine is known to be dead", k.fault.effect, second.took)
	}
	version, after := k.wanted(), k.allRunning()
	for name, p := range before {
		// A bad release that was on the branch and on no target is tried on the
		// first one now; on engines the second one is where it fails.
		tried := second.code == 3 && (k.scenario.engines || strings.HasPrefix(name, k.targets[0].name+"/"))
		if p.Version == version && after[name] != p && !tried {
			k.t.Errorf("at %q: %s ran %s already and was restarted: %v, now %v", k.fault.effect, name, version, p, after[name])
		}
	}
}

// runsDigestsOf checks that what runs was started from the releases that the
// record names (I5): the kernel knows the root of a process, and the directory is
// named after the digest.
func (k *crashed) runsDigestsOf(d stella.Deployment) {
	k.t.Helper()
	for name, p := range k.allRunning() {
		target, service, _ := strings.Cut(name, "/")
		a, err := stella.ParseArtifact(d.Components[service])
		if err != nil {
			k.t.Fatal(err)
		}
		if engine := k.engineOf(target); engine != nil {
			k.madeOf(engine, name, service, a)
			continue
		}
		root, err := os.Readlink(fmt.Sprintf("/proc/%d/root", p.PID))
		if err != nil || !strings.Contains(root, "/releases/"+a.Digest.Hex()) {
			k.t.Errorf("at %q: process %d of %s has the root %s (%v), want a release of %s", k.fault.effect, p.PID, name, root, err, a)
		}
		current, err := os.Readlink(filepath.Join(k.dir, target, "services", service, "current"))
		if err != nil || !strings.HasPrefix(current, "releases/"+a.Digest.Hex()) {
			k.t.Errorf("at %q: what is current on %s is %s (%v), want a release of %s", k.fault.effect, target, current, err, a)
		}
	}
}

// commitsSince checks that an attempt left no more commits on the branch than it
// needs (I2), none of which changes nothing.
func (k *crashed) commitsSince(want int) {
	k.t.Helper()
	commits := strings.Fields(k.git("rev-list", k.before.main+"..main"))
	if len(commits) != want {
		k.t.Errorf("at %q: the branch has %d more commits, want %d:\n%s", k.fault.effect, len(commits), want, k.git("log", "--format=%h %s", k.before.main+"..main"))
	}
	for _, commit := range commits {
		if k.appTree(commit) == k.appTree(commit+"^") {
			k.t.Errorf("at %q: commit %s changes nothing", k.fault.effect, commit)
		}
	}
}

// drop takes a version from a target, as a clean-up of old ones does.
func (k *crashed) drop(target target, version string) {
	k.t.Helper()
	for _, s := range k.services {
		digest := k.push(s, version).Digest
		found, err := filepath.Glob(filepath.Join(target.root, "services", s, "releases", digest.Hex()+"*"))
		if err != nil || len(found) == 0 {
			k.t.Fatalf("%s has no release of %s: %v", target.name, version, err)
		}
		for _, dir := range found {
			if err := os.RemoveAll(dir); err != nil {
				k.t.Fatal(err)
			}
		}
	}
}

// again lets the same fault hit the next stella, which was to mend what the first
// one left.
func (k *crashed) again() {
	k.t.Helper()
	k.inject(k.fault, "reconcile", production)
	k.settle()
}

// powerCut ends all that runs and cuts off what was not synced: of the cache,
// which can be made again; of the journal's end; of what a supervisor said of a
// process that is gone by then; of releases that were never sealed.
func (k *crashed) powerCut() {
	k.t.Helper()
	eventually(k.t, "everything ends", patience, func() string {
		left := processesBelow(k.dir)
		for _, pid := range left {
			if p, err := os.FindProcess(pid); err == nil {
				_ = p.Kill()
			}
		}
		if len(left) > 0 {
			return fmt.Sprint(left)
		}
		return ""
	})
	cut := 0
	for _, root := range append([]string{k.state}, k.roots()...) {
		err := filepath.WalkDir(root, func(path string, d fs.DirEntry, err error) error {
			if err != nil || !d.Type().IsRegular() || !unsynced(path) {
				return err
			}
			info, err := d.Info()
			if err != nil {
				return err
			}
			cut++
			return os.Truncate(path, info.Size()/2)
		})
		if err != nil {
			k.t.Fatal(err)
		}
	}
	if cut == 0 {
		k.t.Error("no file was cut")
	}
}

// unsynced reports whether nobody promised that a file survives a power cut. Of
// the cache that is not so, but whatever a disk returns of it, it is no more than
// a cache.
func unsynced(path string) bool {
	base := filepath.Base(path)
	return strings.HasSuffix(base, ".pack") || strings.HasSuffix(base, ".idx") || base == "shallow" || base == "status.json" || base == "running.json" ||
		strings.HasSuffix(base, ".jsonl") || strings.Contains(base, ".tmp-") || strings.Contains(path, "/.new-")
}

func (k *crashed) roots() []string {
	var roots []string
	for _, target := range k.targets {
		roots = append(roots, target.root)
	}
	return roots
}

// loseState goes on with an empty state directory.
func (k *crashed) loseState() { k.anotherState() }
