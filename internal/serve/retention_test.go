package serve

import (
	"context"
	"fmt"
	"net/http/httptest"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stella-ops/stella"
	"github.com/stella-ops/stella/reconciler"
)

func (b *branch) Retain(ctx context.Context, req reconciler.RetentionRequest) (reconciler.RetentionReport, error) {
	b.mu.Lock()
	b.retained = append(b.retained, fmt.Sprint(req.Environments, req.Prune))
	retain := b.retain
	b.mu.Unlock()
	if retain == nil {
		return reconciler.RetentionReport{}, nil
	}
	return retain(ctx)
}

func (b *branch) protections() string {
	b.mu.Lock()
	defer b.mu.Unlock()
	return strings.Join(b.retained, " ")
}

func TestWhatRollbacksNeedIsProtectedAfterEveryDeployment(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		m := NewMetrics("test")
		b := &branch{keys: map[stella.EnvName]string{"prod": "1", "qa": "1"}, answer: synced, weigh: readyNow}
		b.retain = func(context.Context) (reconciler.RetentionReport, error) {
			return reconciler.RetentionReport{RetentionPlan: reconciler.RetentionPlan{Protected: []reconciler.RetentionTag{{}, {}}}, Missing: []reconciler.RetentionMissing{{}}}, nil
		}
		stop := runWith(t, b, Config{Readiness: 24 * time.Hour, Metrics: m})
		defer stop()
		time.Sleep(7 * time.Second) // simulated
		b.ask("prod", "2")
		time.Sleep(70 * time.Second)
		if got := b.protections(); !strings.HasSuffix(got, "[prod] false") || strings.Contains(got, "true") {
			t.Errorf("protected were %s", got)
		}
		w := httptest.NewRecorder()
		m.handler().ServeHTTP(w, httptest.NewRequestWithContext(t.Context(), "GET", "/metrics", nil))
		for _, want := range []string{`stella_retention_runs_total{result="ok"} 2`, `stella_retention_tags_total{op="set"} 4`, "stella_retention_missing 1"} {
			if !strings.Contains(w.Body.String(), want) {
				t.Errorf("%s is not in\n%s", want, w.Body)
			}
		}
	})
}

func TestARegistryThatHangsOrFailsDelaysNoPass(t *testing.T) {
	for name, retain := range map[string]func(context.Context) (reconciler.RetentionReport, error){
		"hangs": func(ctx context.Context) (reconciler.RetentionReport, error) {
			<-ctx.Done()
			return reconciler.RetentionReport{}, context.Cause(ctx)
		},
		"panics": func(context.Context) (reconciler.RetentionReport, error) { panic("no registry") },
		"denies": func(context.Context) (reconciler.RetentionReport, error) {
			return reconciler.RetentionReport{}, stella.ErrDenied
		},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				m := NewMetrics("test")
				b := &branch{keys: map[stella.EnvName]string{"prod": "1"}, answer: synced, weigh: readyNow, retain: retain}
				stop := runWith(t, b, Config{Readiness: 24 * time.Hour, Metrics: m})
				defer stop()
				time.Sleep(7 * time.Second)
				before := b.seen()
				b.ask("prod", "2")
				time.Sleep(70 * time.Second)
				if b.seen() == before {
					t.Error("the change was not passed")
				}
				time.Sleep(10 * time.Minute)
				w := httptest.NewRecorder()
				m.handler().ServeHTTP(w, httptest.NewRequestWithContext(t.Context(), "GET", "/metrics", nil))
				if !strings.Contains(w.Body.String(), `stella_retention_runs_total{result="error"}`) {
					t.Error("nobody counted it")
				}
			})
		})
	}
}
