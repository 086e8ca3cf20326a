// Package serve is the daemon: it looks at the config repository on a schedule
// and when a local one changes, reconciles the environments that ask for
// something new, scans them for drift, and tells how it does over HTTP. Start with [Run].
//
// It decides nothing: the engine does, and it is the same one that the command
// line runs. Stopping it stops no application. How schedules are kept is in
// docs/design/0018-schedule.md.
package serve

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"net/http"
	"time"

	"github.com/stella-ops/stella"
	"github.com/stella-ops/stella/configrepo"
	"github.com/stella-ops/stella/reconciler"
)

// Engine is what the daemon needs of the reconciler.
type Engine interface {
	// Heads says what every environment is asked for, by ids alone.
	Heads(ctx context.Context) (reconciler.Heads, error)
	// Reconcile makes one pass over an environment.
	Reconcile(ctx context.Context, req reconciler.ReconcileRequest) (reconciler.Outcome, error)
	// CheckReady says what environments could go back to, and remembers it.
	CheckReady(ctx context.Context, envs ...stella.EnvName) ([]reconciler.EnvironmentReadiness, error)
	// Retain protects in registries what environments need.
	Retain(ctx context.Context, req reconciler.RetentionRequest) (reconciler.RetentionReport, error)
	// CheckBaselines captures the baselines that are due, as the branch had it at
	// the last Heads.
	CheckBaselines(ctx context.Context) ([]reconciler.AutomaticBaseline, error)
	// DriftPolicies says how drift is looked for, as the branch had it at the last
	// Heads.
	DriftPolicies(ctx context.Context) (map[stella.EnvName]configrepo.DriftPolicy, error)
	// Scan looks once for drift, remembers it, and heals where that is asked for.
	Scan(ctx context.Context, env stella.EnvName) (reconciler.Scan, error)
	// Watch has an environment's targets tell of changes until ctx ends.
	Watch(ctx context.Context, env stella.EnvName, changed func()) error
}

// Config is what the daemon needs. Engine and Logger are required.
type Config struct {
	Engine Engine
	// Metrics are shown at /metrics; nil for none. Whoever makes the engine gives
	// it their Notify.
	Metrics *Metrics
	// Listen is the address of the HTTP server, host:port; port 0 takes a free
	// one. Empty: no server.
	Listen string
	// Poll is how often the remote is looked at. Zero means 30 seconds.
	Poll time.Duration
	// Readiness is how often it is looked into whether each environment could be
	// rolled back, and what that needs is protected in its registry; after a
	// deployment that is done at once. Zero means 10 minutes, less than zero never.
	Readiness time.Duration
	// Watch is a local repository's directory: a change of its refs is looked at
	// at once. Empty: only the schedule.
	Watch string
	// Scans is a file that keeps when environments were last scanned for drift, so
	// that the next daemon knows what was missed; empty for none.
	Scans string
	// Ready is told the address that the server listens on, once; nil for
	// nobody.
	Ready  func(addr string)
	Logger *slog.Logger
}

// DefaultPoll is how often the remote is looked at unless told otherwise.
const DefaultPoll = 30 * time.Second

// Run serves until ctx ends. A deployment that is under way then stops before
// its next step and is recorded; Run returns after that. A taken port is an
// error of class stella.ErrInvalid.
func Run(ctx context.Context, c Config) error {
	if c.Poll == 0 {
		c.Poll = DefaultPoll
	}
	if c.Readiness == 0 {
		c.Readiness = DefaultReadiness
	}
	d := newDaemon(c)
	stop, err := d.listen(ctx)
	if err != nil {
		return err
	}
	wake, err := watch(ctx, c.Watch, c.Logger)
	if err != nil {
		return errors.Join(err, stop())
	}
	d.loop(ctx, wake)
	return stop()
}

// listen starts the HTTP server and returns what stops it.
func (d *daemon) listen(ctx context.Context) (stop func() error, err error) {
	if d.cfg.Listen == "" {
		return func() error { return nil }, nil
	}
	var lc net.ListenConfig
	l, err := lc.Listen(ctx, "tcp", d.cfg.Listen)
	if err != nil {
		err = fmt.Errorf("listen on %s: %w: %w", d.cfg.Listen, stella.ErrInvalid, err)
		return nil, stella.WithHint(err, "choose a free port with --listen, or stop what has this one")
	}
	server := &http.Server{
		Handler: d.routes(), ReadHeaderTimeout: headerTimeout, ReadTimeout: headerTimeout,
		WriteTimeout: writeTimeout, IdleTimeout: writeTimeout, MaxHeaderBytes: 16 << 10,
	}
	done := make(chan error, 1)
	go func() { done <- server.Serve(l) }()
	if d.cfg.Ready != nil {
		d.cfg.Ready(l.Addr().String())
	}
	return func() error {
		ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), shutdownTimeout)
		defer cancel()
		err := server.Shutdown(ctx)
		if serveErr := <-done; !errors.Is(serveErr, http.ErrServerClosed) {
			err = errors.Join(err, serveErr)
		}
		return err
	}, nil
}

// The limits of the HTTP server: it answers monitors, nobody else.
const (
	headerTimeout   = 5 * time.Second
	writeTimeout    = 30 * time.Second
	shutdownTimeout = 5 * time.Second
)
