package serve

import (
	"context"
	"flag"
	"fmt"
	"log/slog"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/stella-ops/stella/configrepo"
	"github.com/stella-ops/stella/drift"
)

var update = flag.Bool("update", false, "rewrite the account of the day")

// day is a daemon in the simulation, and the clock on the wall.
type day struct {
	*simulation
	t       *testing.T
	file    string
	metrics *Metrics
	stop    func()
}

// begin starts a daemon, as after a boot: it knows what the ledger and its file
// say.
func (d *day) begin() {
	d.metrics = NewMetrics("1.2.3")
	c := Config{Engine: d.engine(), Poll: 10 * time.Second, Readiness: -1, Scans: d.file, Metrics: d.metrics, Logger: slog.New(slog.DiscardHandler)}
	ctx, cancel := context.WithCancel(d.t.Context())
	done := make(chan struct{})
	go func() {
		defer close(done)
		newDaemon(c).loop(ctx, nil)
	}()
	d.stop = func() { cancel(); <-done }
}

// until sleeps until it is that time.
func (d *day) until(clock string) {
	d.t.Helper()
	at, err := time.Parse("15:04:05", clock)
	if err != nil {
		d.t.Fatal(err)
	}
	then := d.start.Truncate(24 * time.Hour).Add(at.Sub(at.Truncate(24 * time.Hour)))
	if then.Before(time.Now()) {
		d.t.Fatalf("it is later than %s", clock)
	}
	time.Sleep(time.Until(then)) // simulated
	synctest.Wait()
}

func (d *day) shows(lines ...string) {
	d.t.Helper()
	wantLines(d.t, time.Now().UTC().Format("15:04:05"), d.metrics, lines...)
}

func (d *day) lastSuccess() time.Time {
	_, after, _ := strings.Cut(page(d.metrics), "stella_drift_last_success_timestamp_seconds{environment=\"production\"} ")
	var unix float64
	if _, err := fmt.Sscan(after, &unix); err != nil {
		d.t.Fatal(err)
	}
	return time.UnixMilli(int64(unix * 1000)).UTC()
}

// scansBetween are the seconds since midnight at which scans began.
func (d *day) scansBetween(from, to string) (at []string) {
	d.mu.Lock()
	defer d.mu.Unlock()
	for _, s := range d.scans {
		if clock := d.start.Add(s).UTC().Format("15:04:05"); clock >= from && clock < to {
			at = append(at, clock)
		}
	}
	return at
}

func (d *day) scanned(from, to string, want ...string) {
	d.t.Helper()
	if got := d.scansBetween(from, to); fmt.Sprint(got) != fmt.Sprint(want) {
		d.t.Errorf("scans from %s to %s: %v, want %v", from, to, got, want)
	}
}

const (
	findings = `stella_drift_findings{class="%s",environment="production",severity="%s"} %d`
	overdue  = `stella_drift_scan_overdue{environment="production"} %d`
	heal     = `stella_drift_heals_total{environment="production",result="succeeded"} %d`
	flapping = `stella_drift_flapping{environment="production"} %d`
	expired  = `stella_drift_expired_ignore_rules{environment="production"} %d`
	missed   = `stella_drift_missed_scans_total{environment="production"} %d`
)

// TestADayOfDrift is the daemon's loop and schedule, drift's comparison,
// findings and limits, and the ledger's rules, with machines that are not there
// and a clock that needs no time.
func TestADayOfDrift(t *testing.T) {
	file := filepath.Join(t.TempDir(), "scans.json")
	synctest.Test(t, func(t *testing.T) {
		d := &day{simulation: newSimulation(t), t: t, file: file}
		d.begin()
		d.night()
		d.morning()
		d.noon()
		d.evening()
		d.stop()
		d.closing()
	})
}

// night: a change that is told of, one that is not, and a target that is away
// for two hours.
func (d *day) night() {
	d.until("02:00:00")
	d.scanned("00:00:00", "02:00:00", "00:00:03", "00:16:14", "00:31:14", "00:46:14", "01:01:14", "01:16:14", "01:31:14", "01:46:14")
	d.shows(fmt.Sprintf(findings, "modified", "warning", 0), fmt.Sprintf(overdue, 0))

	d.until("02:03:00")
	d.write("web-1", "service/api", "LOG_LEVEL", "debug", true)
	d.until("02:03:10") // told, seen, healed, and looked at once more for our own hand
	d.scanned("02:03:00", "02:04:00", "02:03:00", "02:03:03")
	d.shows(fmt.Sprintf(heal, 1), fmt.Sprintf(findings, "modified", "warning", 0))

	d.until("04:10:00")
	d.write("web-2", "service/worker", "SIZE", "64", false) // nobody tells: the schedule finds it
	d.until("04:16:00")
	d.shows(fmt.Sprintf(heal, 1))
	d.until("04:16:30")
	d.scanned("04:10:00", "04:17:00", "04:16:14", "04:16:18")
	d.shows(fmt.Sprintf(heal, 2))

	d.until("06:00:00")
	d.answers("web-2", false)
	d.until("07:00:30")
	d.write("web-1", "service/api", "EXTRA", "1", true) // what answers is healed all the while
	d.until("07:59:00")
	d.shows(fmt.Sprintf(heal, 3), fmt.Sprintf(overdue, 0))
	if at := d.lastSuccess().Format("15:04:05"); at != "05:46:14" {
		d.t.Errorf("the last success was at %s", at)
	}
	d.answers("web-2", true)
	d.until("08:02:00")
	if at := d.lastSuccess().Format("15:04:05"); at < "08:00:00" || at > "08:01:15" { // by the schedule, or what was tried again
		d.t.Errorf("after it is back, the last success was at %s", at)
	}
}

// morning: somebody changes back what is healed, every fifteen seconds for ten
// minutes, and then goes for coffee.
func (d *day) morning() {
	d.until("09:00:00")
	for range 40 {
		d.write("web-1", "service/api", "LOG_LEVEL", "trace", true)
		time.Sleep(15 * time.Second) // simulated
	}
	d.until("09:10:01")
	n := len(d.scansBetween("09:00:00", "09:10:00"))
	if n < 15 || n > 45 {
		d.t.Errorf("%d scans in ten minutes of noise", n)
	}
	d.shows(fmt.Sprintf(flapping, 1), fmt.Sprintf(findings, "modified", "warning", 1))
	d.write("web-2", "service/worker", "SIZE", "1", true) // what does not flap is healed beside it
	d.until("09:11:00")
	d.shows(fmt.Sprintf(flapping, 1), fmt.Sprintf(findings, "modified", "warning", 1))
	d.until("10:30:00") // it was quiet for an hour
	d.shows(fmt.Sprintf(flapping, 0), fmt.Sprintf(findings, "modified", "warning", 0))
}

// noon: a rule that expires, and a daemon that is away.
func (d *day) noon() {
	d.until("11:00:00")
	d.commit(func(p *configrepo.DriftPolicy) {
		p.Ignore = []drift.Ignore{{Resource: "service/*", Path: "/environment/DEBUG", Reason: "an incident", Until: d.start.Truncate(24 * time.Hour).Add(13 * time.Hour)}}
	})
	d.until("11:05:00")
	healed := fmt.Sprint(d.healCount())
	d.write("web-1", "service/api", "DEBUG", "1", true)
	d.until("12:59:00")
	d.shows(fmt.Sprintf(expired, 0), fmt.Sprintf(findings, "extra", "warning", 0))
	if now := fmt.Sprint(d.healCount()); now != healed {
		d.t.Errorf("%s heals, %s before: what is ignored is healed", now, healed)
	}
	d.until("13:00:00")
	d.shows(fmt.Sprintf(expired, 1))
	d.until("13:02:00")
	d.scanned("12:50:00", "13:02:00", "13:01:14", "13:01:18")
	d.shows(fmt.Sprintf(findings, "extra", "warning", 0))

	d.until("14:05:00")
	d.stop()
	d.until("14:07:00")
	d.write("web-2", "service/worker", "SIZE", "8", true) // nobody is there to be told
	d.until("15:50:00")
	d.begin()
	d.until("15:51:00")
	d.scanned("14:05:00", "15:51:00", "15:50:00", "15:50:03")
	d.shows(fmt.Sprintf(missed, 7), fmt.Sprintf(heal, 1))
	d.until("16:02:00")
	d.scanned("15:51:00", "16:02:00", "16:01:14")
}

// evening: other policies, from Git.
func (d *day) evening() {
	d.until("17:00:00")
	d.commit(func(p *configrepo.DriftPolicy) { p.Mode = configrepo.DriftReport })
	d.until("17:10:00")
	d.write("web-1", "service/api", "LOG_LEVEL", "debug", true)
	d.until("17:59:00")
	d.shows(fmt.Sprintf(findings, "modified", "warning", 1), fmt.Sprintf(heal, 1))
	d.until("18:00:00")
	d.write("web-1", "service/api", "LOG_LEVEL", "info", true)
	d.until("18:00:01")
	d.shows(fmt.Sprintf(findings, "modified", "warning", 0))

	d.until("19:00:00")
	d.commit(func(p *configrepo.DriftPolicy) { p.Schedule = "@hourly" })
	d.until("22:00:00")
	d.scanned("19:00:30", "22:00:00", "20:04:09", "21:04:09") // an hour leaves five minutes to spread
	d.commit(func(p *configrepo.DriftPolicy) { p.Mode = configrepo.DriftOff })
	d.until("22:10:00")
	d.write("web-1", "service/api", "LOG_LEVEL", "debug", true)
	d.until("23:10:00")
	d.scanned("22:00:30", "23:10:00")
	d.commit(func(p *configrepo.DriftPolicy) { p.Mode = configrepo.DriftHeal })
	d.until("23:59:59")
	d.shows(fmt.Sprintf(heal, 2), fmt.Sprintf(missed, 7), fmt.Sprintf(overdue, 0))
}

func (d *day) healCount() (n int) {
	return strings.Count(d.happened(), ", a heal, ")
}

// closing compares what happened with the account of it, and has the whole
// ledger replayed by its rules.
func (d *day) closing() {
	got := d.happened()
	name := filepath.Join("testdata", "day.txt")
	if *update {
		if err := os.WriteFile(name, []byte(got), 0o644); err != nil {
			d.t.Fatal(err)
		}
	}
	want, err := os.ReadFile(name)
	if err != nil {
		d.t.Fatal(err)
	}
	if diff := cmp.Diff(string(want), got); diff != "" {
		d.t.Errorf("the day (-want +got)\n%s", diff)
	}
	l := d.engine().ledger
	report, err := l.Verify(d.t.Context(), simulated, func(string) bool { return true })
	if err != nil || !report.OK() {
		d.t.Errorf("the ledger: %v, %+v", err, report)
	}
	if n := len(d.scans); n > 400 {
		d.t.Errorf("%d scans", n)
	}
}
