package serve

import (
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"github.com/stella-ops/stella"
	"github.com/stella-ops/stella/drift"
)

// driftMetrics are those of drift: what the last scans found, and how scanning
// goes. What depends on the time is worked out when somebody asks.
type driftMetrics struct {
	findings, flapping *prometheus.GaugeVec
	lastSuccess        *prometheus.GaugeVec
	missed, heals      *prometheus.CounterVec
	scans              *prometheus.CounterVec
	duration           *prometheus.HistogramVec
	now                *nowMetrics
}

func newDriftMetrics(r prometheus.Registerer) *driftMetrics {
	m := &driftMetrics{
		findings: prometheus.NewGaugeVec(prometheus.GaugeOpts{
			Name: "stella_drift_findings", Help: "Differences between what the deployment in effect wants and what runs that count, when it was last looked.",
		}, []string{"environment", "class", "severity"}),
		flapping: prometheus.NewGaugeVec(prometheus.GaugeOpts{
			Name: "stella_drift_flapping", Help: "Resources that somebody changes back as often as they are healed, and that are left alone.",
		}, []string{"environment"}),
		lastSuccess: prometheus.NewGaugeVec(prometheus.GaugeOpts{
			Name: "stella_drift_last_success_timestamp_seconds", Help: "When the last scan for drift ended that read every target.",
		}, []string{"environment"}),
		missed: prometheus.NewCounterVec(prometheus.CounterOpts{
			Name: "stella_drift_missed_scans_total", Help: "Scans of the schedule that did not take place in their time; one scan catches up on all of a row.",
		}, []string{"environment"}),
		heals: prometheus.NewCounterVec(prometheus.CounterOpts{
			Name: "stella_drift_heals_total", Help: "Deployments that scans of this process began to bring drift back, by how they ended.",
		}, []string{"environment", "result"}),
		scans: prometheus.NewCounterVec(prometheus.CounterOpts{
			Name: "stella_drift_scans_total", Help: "Scans for drift, by what they were for and how they ended: ok, partial (a target could not be read) or error.",
		}, []string{"environment", "cause", "result"}),
		duration: prometheus.NewHistogramVec(prometheus.HistogramOpts{
			Name: "stella_drift_scan_duration_seconds", Help: "How long scans for drift took, with what they healed.",
			Buckets: []float64{0.01, 0.05, 0.1, 0.5, 1, 5, 10, 30, 60, 120, 300},
		}, []string{"result"}),
		now: newNowMetrics(),
	}
	r.MustRegister(m.findings, m.flapping, m.lastSuccess, m.missed, m.heals, m.scans, m.duration, m.now)
	return m
}

func (m *driftMetrics) forget(env prometheus.Labels) {
	for _, vec := range []interface {
		DeletePartialMatch(labels prometheus.Labels) int
	}{m.findings, m.flapping, m.lastSuccess, m.missed, m.heals, m.scans} {
		vec.DeletePartialMatch(env)
	}
}

func (m *Metrics) missed(name stella.EnvName, n int) {
	if m != nil {
		m.drift.missed.WithLabelValues(string(name)).Add(float64(n))
	}
}

// The values of the label "result" of scans.
const (
	scanOK      = "ok"
	scanPartial = "partial"
	scanError   = "error"
)

func (s seen) result() string {
	switch {
	case s.err != nil, s.Diff.Error != "":
		return scanError
	case s.unread() != "":
		return scanPartial
	}
	return scanOK
}

// scanned publishes a scan. Where nobody could tell, what was known stays, and
// its age says so.
func (m *Metrics) scanned(j job, took time.Duration, s seen) {
	if m == nil {
		return
	}
	name, result := string(j.name), s.result()
	m.drift.scans.WithLabelValues(name, j.because, result).Inc()
	m.drift.duration.WithLabelValues(result).Observe(took.Seconds())
	if s.Healed != nil {
		m.drift.heals.WithLabelValues(name, string(s.Healed.Status)).Inc()
	}
	if result == scanError {
		return
	}
	if result == scanOK {
		m.drift.lastSuccess.WithLabelValues(name).Set(float64(time.Now().UnixMilli()) / 1000)
	}
	m.drift.flapping.WithLabelValues(name).Set(float64(len(s.Flapping)))
	open := map[[2]string]int{}
	for _, f := range s.Open {
		open[[2]string{string(f.Class), string(f.Severity)}]++
	}
	for _, class := range []stella.Class{stella.Missing, stella.Modified, stella.Extra} {
		for _, severity := range []stella.Severity{stella.SeverityInfo, stella.SeverityWarning, stella.SeverityCritical} {
			n := open[[2]string{string(class), string(severity)}]
			m.drift.findings.WithLabelValues(name, string(class), string(severity)).Set(float64(n))
		}
	}
}

// reading is what is true of an environment's schedule and rules at a moment.
type reading struct {
	name      stella.EnvName
	scheduled bool
	overdue   bool
	expired   int // ignore rules
}

// readings are those of now, of the environments that are looked at.
func (d *daemon) readings() []reading {
	now := time.Now().Round(0)
	d.mu.Lock()
	defer d.mu.Unlock()
	var all []reading
	for name, env := range d.environments {
		if l := &env.drift; !l.off() {
			all = append(all, reading{
				name: name, scheduled: !l.schedule.IsZero(), overdue: l.overdue(name, now), expired: len(drift.Expired(l.policy.Ignore, now)),
			})
		}
	}
	return all
}

// nowMetrics are worked out when they are asked for: a daemon whose scans hang
// says so all the same.
type nowMetrics struct {
	overdue, expired *prometheus.Desc
	reads            func() []reading
}

func newNowMetrics() *nowMetrics {
	labels := []string{"environment"}
	return &nowMetrics{
		overdue: prometheus.NewDesc("stella_drift_scan_overdue", "1 where a scan of the schedule has not begun in its time, or one does not end; else 0.", labels, nil),
		expired: prometheus.NewDesc("stella_drift_expired_ignore_rules", "Rules under drift.ignore that have ended and are still there.", labels, nil),
		reads:   func() []reading { return nil },
	}
}

// reads has the metrics of now read from a daemon that is not serving yet.
func (m *Metrics) reads(readings func() []reading) {
	if m != nil {
		m.drift.now.reads = readings
	}
}

// Describe implements prometheus.Collector.
func (n *nowMetrics) Describe(out chan<- *prometheus.Desc) {
	out <- n.overdue
	out <- n.expired
}

// Collect implements prometheus.Collector.
func (n *nowMetrics) Collect(out chan<- prometheus.Metric) {
	for _, r := range n.reads() {
		if r.scheduled {
			overdue := 0.0
			if r.overdue {
				overdue = 1
			}
			out <- prometheus.MustNewConstMetric(n.overdue, prometheus.GaugeValue, overdue, string(r.name))
		}
		out <- prometheus.MustNewConstMetric(n.expired, prometheus.GaugeValue, float64(r.expired), string(r.name))
	}
}
