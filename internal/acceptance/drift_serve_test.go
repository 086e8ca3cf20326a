package acceptance_test

import (
	"encoding/xml"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/stella-ops/stella"
	"github.com/stella-ops/stella/internal/git/gittest"
)

// pushPolicy commits another drift policy as a person with an editor does, and
// pushes.
func (w *world) pushPolicy(clone, from, to string) {
	w.t.Helper()
	gittest.Run(w.t, clone, "pull", "-q", "--ff-only")
	file := filepath.Join(clone, "envs/production/environment.yaml")
	text, err := os.ReadFile(file)
	if err != nil || !strings.Contains(string(text), from) {
		w.t.Fatalf("%s: %v\n%s", file, err, text)
	}
	if err := os.WriteFile(file, []byte(strings.Replace(string(text), from, to, 1)), 0o600); err != nil {
		w.t.Fatal(err)
	}
	gittest.Run(w.t, clone, "commit", "-q", "-a", "-m", "production: "+to)
	gittest.Run(w.t, clone, "push", "-q", "origin", "main")
}

// shows waits until a page of metrics has a line.
func (d *daemon) shows(line string) {
	d.t.Helper()
	eventually(d.t, "/metrics shows "+line, patience, func() string {
		_, body := get(d.t, d.url+"/metrics")
		if strings.Contains(body, line) {
			return ""
		}
		var b strings.Builder
		for one := range strings.Lines(body) {
			if strings.HasPrefix(one, "stella_drift") && !strings.Contains(one, "_bucket") {
				b.WriteString(one)
			}
		}
		return b.String() + d.text()
	})
}

// TestTheDaemonLooksForDriftWhenATargetTellsAndOnSchedule: without a schedule a
// hand on a target is seen at once; with mode heal it is brought back; the
// schedule comes by itself.
func TestTheDaemonLooksForDriftWhenATargetTellsAndOnSchedule(t *testing.T) {
	t.Parallel()
	w := newWorld(t, plan{app: configured{}, targets: 2, more: "drift: {mode: report}\n"})
	d := w.serve()
	d.ended(w, 1, patience)
	d.shows(`stella_drift_last_success_timestamp_seconds{environment="production"}`)
	before := w.allRunning()

	began := time.Now()
	w.byHand("/etc/motd", func(file string) error { return os.WriteFile(file, []byte("Good evening.\n"), 0o600) })
	said := d.says("msg=drift ")
	t.Logf("a change of a file was told %s after it: %s", time.Since(began).Round(time.Millisecond), said)
	d.shows(`stella_drift_findings{class="modified",environment="production",severity="warning"} 4`) // content and digest, on two targets
	w.detectedOnce(t)

	w.pushPolicy(w.clone(), "{mode: report}", `{mode: heal, schedule: "@every 10s"}`)
	healed := d.ended(w, 2, soon)
	if healed.Kind != stella.KindHeal || healed.Status != stella.Succeeded || !healed.Automatic {
		t.Errorf("%s is a %s, %s: %s", healed.ID, healed.Kind, healed.Status, healed.Error)
	}
	for _, target := range w.targets { // what was written by hand is kept beside it
		file := below(target, "CURRENT/rootfs/etc/motd")
		if text, err := os.ReadFile(file); err != nil || string(text) != "Good morning.\n" {
			t.Errorf("%s is %q: %v", file, text, err)
		}
	}
	d.says("how=healed")
	d.shows(`stella_drift_findings{class="modified",environment="production",severity="warning"} 0`)
	d.shows(`stella_drift_heals_total{environment="production",result="succeeded"} 1`)
	d.shows(`stella_drift_scans_total{cause="schedule",environment="production",result="ok"}`)
	d.shows(`stella_drift_scan_overdue{environment="production"} 0`)
	if now := w.allRunning(); len(now) != len(before) {
		t.Errorf("%v runs, before it was %v", now, before)
	}
	if r := d.signal(syscall.SIGTERM); r.code != 0 {
		t.Errorf("want exit code 0 after SIGTERM: %s", r)
	}
	if text, err := os.ReadFile(w.remembered()); err != nil || !strings.Contains(string(text), `"production"`) {
		t.Errorf("what the next daemon is to know is %q: %v", text, err)
	}
	w.soundLedger()
}

// remembered is where the daemon keeps when it scanned what.
func (w *world) remembered() string {
	found, err := filepath.Glob(filepath.Join(w.state, "repos", "*", "scans.json"))
	if err != nil || len(found) != 1 {
		w.t.Fatalf("%v: %v", found, err)
	}
	return found[0]
}

// detectedOnce is the same drift for CI, and then with a target that can not be
// read.
func (w *world) detectedOnce(t *testing.T) {
	t.Helper()
	report := filepath.Join(t.TempDir(), "drift.xml")
	var suites struct {
		Tests    int `xml:"tests,attr"`
		Failures int `xml:"failures,attr"`
		Errors   int `xml:"errors,attr"`
	}
	detect := func(code, failures, errors int) {
		t.Helper()
		r := w.stella("drift", "detect", "--all", "--report", "junit="+report)
		text, err := os.ReadFile(report)
		if err == nil {
			err = xml.Unmarshal(text, &suites)
		}
		if r.code != code || err != nil || suites.Tests != 2 || suites.Failures != failures || suites.Errors != errors {
			t.Errorf("want exit code %d, %d failures and %d errors: %s\n%v\n%s", code, failures, errors, r, err, text)
		}
		if !strings.Contains(r.stdout, "/configs/~1etc~1motd") {
			t.Errorf("what was read is not shown: %s", r)
		}
	}
	detect(1, 2, 0)
	root := w.targets[1].root
	if err := os.Rename(root, root+".away"); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(root, nil, 0o600); err != nil {
		t.Fatal(err)
	}
	detect(2, 1, 1)
	if err := os.Remove(root); err != nil {
		t.Fatal(err)
	}
	if err := os.Rename(root+".away", root); err != nil {
		t.Fatal(err)
	}
	detect(1, 2, 0)
}
