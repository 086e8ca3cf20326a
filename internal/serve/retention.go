package serve

import (
	"context"
	"fmt"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"github.com/stella-ops/stella"
	"github.com/stella-ops/stella/reconciler"
)

// retainTimeout bounds one look at what registries keep: one that hangs makes the
// next look at readiness late, and nothing else.
const retainTimeout = 2 * time.Minute

// retain protects in their registries what the environments need: of no names
// all, and then tags that are not wanted any more are removed. It runs beside the
// passes and fails none of them; what did not do is tried at the next look.
func (d *daemon) retain(ctx context.Context, names []stella.EnvName) {
	bounded, cancel := context.WithTimeoutCause(ctx, retainTimeout, fmt.Errorf("it took more than %s: %w", retainTimeout, stella.ErrTimeout))
	defer cancel()
	r, err := d.protect(bounded, names)
	if ctx.Err() != nil {
		return
	}
	d.cfg.Metrics.retained(r, err, time.Now())
	problem := ""
	if err != nil {
		problem = err.Error()
	}
	switch news := problem != d.unprotected; {
	case news && err != nil:
		d.cfg.Logger.WarnContext(ctx, "protect what rollbacks need in its registry", "err", err, "hint", stella.Hint(err))
	case news || len(r.Protected)+len(r.Released) > 0:
		d.cfg.Logger.InfoContext(ctx, "what rollbacks need is protected in its registry", "protected", len(r.Protected), "released", len(r.Released))
	}
	d.unprotected = problem
}

// protect asks the engine. A panic in it is an error of this look and of nothing
// else.
func (d *daemon) protect(ctx context.Context, names []stella.EnvName) (r reconciler.RetentionReport, err error) {
	defer func() {
		if p := recover(); p != nil {
			err = panicked(p)
		}
	}()
	return d.cfg.Engine.Retain(ctx, reconciler.RetentionRequest{Environments: names})
}

// retentionMetrics are those of protecting images.
type retentionMetrics struct {
	runs        *prometheus.CounterVec
	tags        *prometheus.CounterVec
	missing     prometheus.Gauge
	lastSuccess prometheus.Gauge
}

func newRetentionMetrics(r prometheus.Registerer) *retentionMetrics {
	m := &retentionMetrics{
		runs: prometheus.NewCounterVec(prometheus.CounterOpts{
			Name: "stella_retention_runs_total", Help: "Looks at whether registries protect what rollbacks need, by how they ended.",
		}, []string{"result"}),
		tags: prometheus.NewCounterVec(prometheus.CounterOpts{
			Name: "stella_retention_tags_total", Help: "Protecting tags that this process set or removed.",
		}, []string{"op"}),
		missing: prometheus.NewGauge(prometheus.GaugeOpts{
			Name: "stella_retention_missing", Help: "Images that rollbacks need and their registry did not have, at the last look that could tell.",
		}),
		lastSuccess: prometheus.NewGauge(prometheus.GaugeOpts{
			Name: "stella_retention_last_success_timestamp_seconds", Help: "When everything that rollbacks need was last found protected, or was protected.",
		}),
	}
	r.MustRegister(m.runs, m.tags, m.missing, m.lastSuccess)
	return m
}

// retained counts one look.
func (m *Metrics) retained(r reconciler.RetentionReport, err error, now time.Time) {
	if m == nil {
		return
	}
	if err != nil {
		m.retention.runs.WithLabelValues("error").Inc()
		return
	}
	m.retention.runs.WithLabelValues("ok").Inc()
	m.retention.tags.WithLabelValues("set").Add(float64(len(r.Protected)))
	m.retention.tags.WithLabelValues("removed").Add(float64(len(r.Released)))
	m.retention.missing.Set(float64(len(r.Missing)))
	m.retention.lastSuccess.Set(float64(now.UnixMilli()) / 1000)
}
