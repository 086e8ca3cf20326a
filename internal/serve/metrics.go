package serve

import (
	"errors"
	"net/http"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/collectors"
	"github.com/prometheus/client_golang/prometheus/promhttp"

	"github.com/stella-ops/stella"
	"github.com/stella-ops/stella/reconciler"
)

// Metrics counts what the engine does, in a registry of its own. A nil Metrics
// counts nothing. Its labels come from validated names and fixed words only.
type Metrics struct {
	registry    *prometheus.Registry
	passes      *prometheus.CounterVec
	deployments *prometheus.CounterVec
	duration    *prometheus.HistogramVec
	sync        *prometheus.GaugeVec
	lastLook    prometheus.Gauge
	lookErrors  prometheus.Counter
	// Of readiness: as last known, and when that was.
	rollbackReady, rollbackCandidates, readyChecked *prometheus.GaugeVec
	drift                                           *driftMetrics
	retention                                       *retentionMetrics
}

// NewMetrics returns metrics for a version of stella.
func NewMetrics(version string) *Metrics {
	m := &Metrics{
		registry: prometheus.NewRegistry(),
		passes: prometheus.NewCounterVec(prometheus.CounterOpts{
			Name: "stella_passes_total", Help: "Passes over an environment, by how they ended.",
		}, []string{"environment", "result"}),
		deployments: prometheus.NewCounterVec(prometheus.CounterOpts{
			Name: "stella_deployments_total", Help: "Deployments that this process carried out, by kind and status.",
		}, []string{"environment", "kind", "status"}),
		duration: prometheus.NewHistogramVec(prometheus.HistogramOpts{
			Name: "stella_deployment_duration_seconds", Help: "From intent to recorded outcome.",
			Buckets: []float64{0.5, 1, 2, 5, 10, 30, 60, 120, 300, 600},
		}, []string{"kind", "status"}),
		sync: prometheus.NewGaugeVec(prometheus.GaugeOpts{
			Name: "stella_environment_sync", Help: "1 for the state that an environment is in.",
		}, []string{"environment", "sync"}),
		lastLook: prometheus.NewGauge(prometheus.GaugeOpts{
			Name: "stella_git_last_success_timestamp_seconds", Help: "When the config repository was last seen.",
		}),
		lookErrors: prometheus.NewCounter(prometheus.CounterOpts{
			Name: "stella_git_errors_total", Help: "Looks at the config repository that failed.",
		}),
	}
	m.rollbackReady = prometheus.NewGaugeVec(prometheus.GaugeOpts{
		Name: "stella_rollback_ready", Help: "1 where 'stella rollback' would begin, when it was last looked into; else 0.",
	}, []string{"environment"})
	m.rollbackCandidates = prometheus.NewGaugeVec(prometheus.GaugeOpts{
		Name: "stella_rollback_candidates", Help: "Deployments that the environment could go back to, when it was last looked into.",
	}, []string{"environment"})
	m.readyChecked = prometheus.NewGaugeVec(prometheus.GaugeOpts{
		Name: "stella_rollback_ready_checked_timestamp_seconds", Help: "When it was last found out whether the environment could be rolled back.",
	}, []string{"environment"})
	m.drift = newDriftMetrics(m.registry)
	m.retention = newRetentionMetrics(m.registry)
	info := prometheus.NewGauge(prometheus.GaugeOpts{
		Name: "stella_build_info", Help: "1, with the version.", ConstLabels: prometheus.Labels{"version": version},
	})
	info.Set(1)
	m.registry.MustRegister(m.passes, m.deployments, m.duration, m.sync, m.lastLook, m.lookErrors, info,
		m.rollbackReady, m.rollbackCandidates, m.readyChecked,
		collectors.NewGoCollector(), collectors.NewProcessCollector(collectors.ProcessCollectorOpts{}))
	return m
}

func (m *Metrics) handler() http.Handler {
	return promhttp.HandlerFor(m.registry, promhttp.HandlerOpts{MaxRequestsInFlight: 4})
}

// Notify counts an event of the engine.
func (m *Metrics) Notify(ev reconciler.Event) {
	ended, ok := ev.(reconciler.Ended)
	if m == nil || !ok {
		return
	}
	d := ended.Deployment
	m.deployments.WithLabelValues(string(d.Environment), string(d.Kind), string(d.Status)).Inc()
	m.duration.WithLabelValues(string(d.Kind), string(d.Status)).Observe(d.DurationSeconds)
}

func (m *Metrics) looked(last time.Time, err error) {
	if m == nil {
		return
	}
	if err != nil {
		m.lookErrors.Inc()
		return
	}
	m.lastLook.Set(float64(last.UnixMilli()) / 1000)
}

func (m *Metrics) passed(name stella.EnvName, out reconciler.Outcome, err error) {
	if m == nil {
		return
	}
	result := "ok"
	switch {
	case errors.Is(err, stella.ErrLocked), errors.Is(err, stella.ErrFrozen):
		result = "locked"
	case err != nil:
		result = "error"
	}
	m.passes.WithLabelValues(string(name), result).Inc()
	m.sync.DeletePartialMatch(prometheus.Labels{"environment": string(name)})
	if out.Sync != "" {
		m.sync.WithLabelValues(string(name), string(out.Sync)).Set(1)
	}
}

func (m *Metrics) ready(r reconciler.EnvironmentReadiness) {
	if m == nil {
		return
	}
	name, ready := string(r.Environment), 0.0
	if r.Ready {
		ready = 1
	}
	m.rollbackReady.WithLabelValues(name).Set(ready)
	m.rollbackCandidates.WithLabelValues(name).Set(float64(r.ReadyCandidates()))
	m.readyChecked.WithLabelValues(name).Set(float64(r.CheckedAt.UnixMilli()) / 1000)
}

func (m *Metrics) forget(name stella.EnvName) {
	if m == nil {
		return
	}
	labels := prometheus.Labels{"environment": string(name)}
	m.sync.DeletePartialMatch(labels)
	m.passes.DeletePartialMatch(labels)
	m.deployments.DeletePartialMatch(labels)
	m.rollbackReady.Delete(labels)
	m.rollbackCandidates.Delete(labels)
	m.readyChecked.Delete(labels)
	m.drift.forget(labels)
}
