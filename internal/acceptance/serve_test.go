package acceptance_test

import (
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/stella-ops/stella"
	"github.com/stella-ops/stella/internal/git/gittest"
)

// daemon is a running `stella serve`.
type daemon struct {
	*command
	url string
}

// serve starts the daemon. It polls so rarely that whatever it does soon, it
// was told of.
func (w *world) serve() *daemon {
	w.t.Helper()
	c := w.start("serve", "--listen", "127.0.0.1:0", "--poll", "10m")
	said := c.says("listening address=")
	return &daemon{c, "http://" + said[strings.LastIndex(said, "=")+1:]}
}

func (d *daemon) signal(s syscall.Signal) result {
	d.t.Helper()
	d.send(s)
	return d.wait()
}

// clone is a person's working copy.
func (w *world) clone() string {
	w.t.Helper()
	dir := filepath.Join(w.t.TempDir(), "clone")
	gittest.Run(w.t, "", "clone", "-q", w.bare, dir)
	return dir
}

// pushRelease commits a version to a clone as a person with an editor does, and
// pushes.
func (w *world) pushRelease(clone, version string) (commit string) {
	w.t.Helper()
	gittest.Run(w.t, clone, "pull", "-q", "--ff-only")
	file := filepath.Join(clone, "envs/production/app/release.yaml")
	if err := os.WriteFile(file, []byte(w.release(version)), 0o600); err != nil {
		w.t.Fatal(err)
	}
	gittest.Run(w.t, clone, "commit", "-q", "-a", "-m", "production: "+version)
	gittest.Run(w.t, clone, "push", "-q", "origin", "main")
	return gittest.Run(w.t, clone, "rev-parse", "HEAD")
}

// ended waits until the daemon has told of n deployments that ended, counted
// from its start, and returns the ledger's newest.
func (d *daemon) ended(w *world, n int, most time.Duration) stella.Deployment {
	d.t.Helper()
	eventually(d.t, fmt.Sprintf("%d deployments end", n), most, func() string {
		if got := strings.Count(d.text(), `msg="deployment ended"`); got < n {
			return "so far:\n" + d.text()
		}
		return ""
	})
	all := w.deployments()
	return all[len(all)-1]
}

// soon is what "at once" means of a daemon that is told of a push, on a machine
// that has much else to do: its schedule would look ten minutes later.
const soon = time.Minute

func TestTheDaemonFollowsWhatIsPushed(t *testing.T) {
	t.Parallel()
	w := newWorld(t, plan{app: sample{}, verify: "  timeout: 2s\n"})
	d := w.serve()
	first := d.ended(w, 1, patience)
	if first.Status != stella.Succeeded || !first.Automatic {
		t.Fatalf("the first release %s: %s; automatic %v", first.Status, first.Error, first.Automatic)
	}
	w.agreed("1.0.0")
	clone := w.clone()

	commit := w.pushRelease(clone, "1.1.0")
	second := d.ended(w, 2, soon)
	if second.Status != stella.Succeeded || second.Kind != stella.KindDeploy || second.Commit != commit {
		t.Fatalf("the push of %s: %s %s of commit %s: %s", commit, second.Kind, second.Status, second.Commit, second.Error)
	}
	w.agreed("1.1.0")

	gittest.Run(t, clone, "revert", "--no-edit", "HEAD")
	gittest.Run(t, clone, "push", "-q", "origin", "main")
	third := d.ended(w, 3, soon)
	if third.Status != stella.Succeeded || third.Kind != stella.KindRollback || third.Restores != first.ID {
		t.Fatalf("the revert: %s %s to %q, want a rollback to %s", third.Kind, third.Status, third.Restores, first.ID)
	}
	w.agreed("1.0.0")
	witnessesAgree(w, third.ID)

	bad := w.pushRelease(clone, "1.2.0-bad")
	d.ended(w, 5, 2*soon)
	w.agreed("1.0.0")
	all := w.soundLedger()
	if failed := all[len(all)-2]; failed.Commit != bad || failed.Status != stella.Failed {
		t.Errorf("the bad push: %s of commit %s, want failed of %s", failed.Status, failed.Commit, bad)
	}
	monitored(t, d)

	if r := d.signal(syscall.SIGTERM); r.code != 0 {
		t.Errorf("want exit code 0 after SIGTERM: %s", r)
	}
}

// monitored checks the pages of a daemon.
func monitored(t *testing.T, d *daemon) {
	t.Helper()
	for path, want := range map[string]string{"/healthz": "ok\n", "/readyz": "ok\n", "/metrics": `environment="production"`} {
		if status, body := get(t, d.url+path); status != 200 || !strings.Contains(body, want) {
			t.Errorf("GET %s: %d, want %q in:\n%s", path, status, want, body)
		}
	}
	if status, _ := get(t, d.url+"/debug/pprof/"); status != 404 {
		t.Errorf("GET /debug/pprof/: %d, want 404", status)
	}
}

func TestTheDaemonMayEndAndComeBackWithoutTheAppNoticing(t *testing.T) {
	t.Parallel()
	w := newWorld(t, plan{app: sample{}})
	d := w.serve()
	first := d.ended(w, 1, patience)
	before := w.running(w.targets[0], "web")
	if before.Version != "1.0.0" {
		t.Fatalf("%+v runs, want 1.0.0", before)
	}
	same := func(after string) {
		t.Helper()
		if now := w.running(w.targets[0], "web"); now != before {
			t.Errorf("after %s: %+v runs, before it was %+v", after, now, before)
		}
		if all := w.soundLedger(); len(all) != 1 || all[0].ID != first.ID {
			t.Errorf("after %s the ledger has %d deployments", after, len(all))
		}
	}

	if r := d.signal(syscall.SIGTERM); r.code != 0 {
		t.Errorf("want exit code 0 after SIGTERM: %s", r)
	}
	same("SIGTERM")

	d = w.serve()
	d.looked()
	same("a new start")

	d.signal(syscall.SIGKILL)
	same("SIGKILL")

	d = w.serve()
	d.looked()
	same("a new start after SIGKILL")
	d.signal(syscall.SIGTERM)
}

// looked waits until the daemon has seen the config repository.
func (d *daemon) looked() {
	d.t.Helper()
	eventually(d.t, "the daemon is ready", patience, func() string {
		status, body := get(d.t, d.url+"/readyz")
		if status == 200 {
			return ""
		}
		return fmt.Sprint(status, " ", body)
	})
}

func TestTheDaemonDoesNotFollowABranchThatWasRewound(t *testing.T) {
	t.Parallel()
	w := newWorld(t, plan{})
	d := w.serve()
	d.ended(w, 1, patience)
	clone := w.clone()
	old := w.head()
	commit := w.pushRelease(clone, "1.1.0")
	second := d.ended(w, 2, soon)
	before := w.allRunning()

	gittest.Run(t, clone, "push", "-q", "--force", "origin", old+":refs/heads/main")
	d.says("does not descend from it")
	if now := w.allRunning(); fmt.Sprint(now) != fmt.Sprint(before) {
		t.Errorf("%v runs, before the branch was rewound it was %v", now, before)
	}
	if got := w.head(); got != old {
		t.Errorf("the branch was moved to %s", got)
	}
	r := w.stella("reconcile", production)
	if r.code != 2 || !strings.Contains(r.stderr, "does not descend from it") {
		t.Errorf("want exit code 2 and why: %s", r)
	}

	// Put back where it was, everything goes on.
	gittest.Run(t, clone, "push", "-q", "--force", "origin", commit+":refs/heads/main")
	w.must("reconcile", production)
	if now := w.current(); now.ID != second.ID || fmt.Sprint(w.allRunning()) != fmt.Sprint(before) {
		t.Errorf("%s is in effect and %v runs, want %s and %v", now.ID, w.allRunning(), second.ID, before)
	}

	// Rewound on purpose, and said so, the older release is a rollback.
	gittest.Run(t, clone, "push", "-q", "--force", "origin", old+":refs/heads/main")
	if r := w.stella("orch", "repair", "--accept-head"); r.code != 2 {
		t.Errorf("want exit code 2 without a reason: %s", r)
	}
	w.must("orch", "repair", "--accept-head", "--reason", "1.1.0 was pushed by mistake")
	w.must("reconcile", production)
	if third := w.agreed("1.0.0"); third.Kind != stella.KindRollback || third.Restores != "production-1" {
		t.Errorf("%s is in effect: %s to %s, want a rollback to production-1", third.ID, third.Kind, third.Restores)
	}
	d.signal(syscall.SIGTERM)
}
