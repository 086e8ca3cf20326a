package serve

import (
	"fmt"
	"net/http"
	"runtime/debug"
	"time"

	"github.com/stella-ops/stella/internal/safe"
)

// routes are the pages of the daemon. All others are not found.
func (d *daemon) routes() http.Handler {
	mux := http.NewServeMux()
	mux.HandleFunc("GET /healthz", func(w http.ResponseWriter, _ *http.Request) { answer(w, http.StatusOK, "ok") })
	mux.HandleFunc("GET /readyz", d.ready)
	if d.cfg.Metrics != nil {
		mux.Handle("GET /metrics", d.cfg.Metrics.handler())
	}
	return mux
}

// ready answers 200 when the config repository was seen lately: within three
// polls.
func (d *daemon) ready(w http.ResponseWriter, _ *http.Request) {
	d.mu.Lock()
	last, err := d.lastLook, d.lastErr
	d.mu.Unlock()
	switch age := time.Since(last); {
	case last.IsZero() && err == nil:
		answer(w, http.StatusServiceUnavailable, "the config repository was not looked at yet")
	case last.IsZero():
		answer(w, http.StatusServiceUnavailable, "the config repository was never reached: "+err.Error())
	case age > 3*d.cfg.Poll+minReadyAge:
		answer(w, http.StatusServiceUnavailable, fmt.Sprintf("the config repository was last seen %s ago", age.Round(time.Second)))
	default:
		answer(w, http.StatusOK, "ok")
	}
}

// minReadyAge keeps a short poll from flapping.
const minReadyAge = 10 * time.Second

func answer(w http.ResponseWriter, code int, text string) {
	w.Header().Set("Content-Type", "text/plain; charset=utf-8")
	w.Header().Set("X-Content-Type-Options", "nosniff")
	w.WriteHeader(code)
	_, _ = fmt.Fprintln(w, safe.Clip(text, 500)) // the client is gone: nothing to do
}

// panicked turns a panic into an error with its place.
func panicked(p any) error { return fmt.Errorf("panic: %v\n%s", p, debug.Stack()) }
