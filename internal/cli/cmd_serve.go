package cli

import (
	"context"
	"fmt"
	"log/slog"
	"net/http"
	"path/filepath"
	"time"

	"github.com/spf13/cobra"

	"github.com/stella-ops/stella"
	"github.com/stella-ops/stella/internal/serve"
	"github.com/stella-ops/stella/internal/term"
	"github.com/stella-ops/stella/reconciler"
)

type serveOptions struct {
	app    *App
	listen string
	poll   time.Duration
	ready  time.Duration
	check  bool
}

func newServeCmd(a *App) *cobra.Command {
	o := &serveOptions{app: a}
	cmd := &cobra.Command{
		Use:   "serve",
		Short: "The daemon: reconcile whenever Git asks for something new",
		Long: "Look at the config repository on a schedule, and at once when a local one changes, and bring every\n" +
			"environment to what it says. Scans for drift on each environment's drift.schedule, and when a target tells of a\n" +
			"change. Looks into whether each environment could be rolled back, all the time. Answers /healthz, /readyz and\n" +
			"/metrics. Stopping it stops no application.",
		Example: "  stella serve --repo ssh://git@git.example.com/shop/config.git\n  stella serve --listen 127.0.0.1:7070 --poll 10s",
		Args:    noArgs,
		RunE:    func(cmd *cobra.Command, _ []string) error { return o.run(cmd) },
	}
	f := cmd.Flags()
	f.StringVar(&o.listen, "listen", "127.0.0.1:7070", "`address` of the HTTP server; empty for none")
	f.DurationVar(&o.poll, "poll", serve.DefaultPoll, "look at the repository every `so often`")
	f.DurationVar(&o.ready, "readiness", serve.DefaultReadiness, "look into what each environment could be rolled back to every `so often`; 0: never")
	f.BoolVar(&o.check, "check", false, "ask the daemon that listens at --listen whether it is well, and end; for a container's health check")
	return exits(cmd, exitsOfReading())
}

func (o *serveOptions) run(cmd *cobra.Command) error {
	if o.check {
		return checkDaemon(cmd.Context(), o.listen)
	}
	if o.poll <= 0 {
		return usage(cmd, "--poll %s: want a positive duration", o.poll)
	}
	if o.ready < 0 {
		return usage(cmd, "--readiness %s: want a positive duration, or 0 for never", o.ready)
	}
	if o.ready == 0 {
		o.ready = -1
	}
	a, ctx := o.app, cmd.Context()
	log := a.daemonLogger()
	metrics := serve.NewMetrics(a.version())
	w, err := a.wireHere(ctx, log, func(ev reconciler.Event) {
		metrics.Notify(ev)
		logEvent(ctx, log, ev)
	})
	if err != nil {
		return err
	}
	a.session = &session{engine: w.engine, protected: w.protected, close: w.close}
	repo, err := a.repository()
	if err != nil {
		return err
	}
	return serve.Run(ctx, serve.Config{
		Engine: w.engine, Metrics: metrics, Listen: o.listen, Poll: o.poll, Readiness: o.ready, Watch: localDir(repo), Logger: log,
		Scans: filepath.Join(w.state, "scans.json"),
		Ready: func(addr string) { log.InfoContext(ctx, "listening", "address", addr) },
	})
}

// checkTimeout is longer than a busy daemon takes.
const checkTimeout = 5 * time.Second

// checkDaemon asks a daemon for /healthz: an image from scratch has nothing else
// to ask with.
func checkDaemon(ctx context.Context, address string) error {
	ctx, cancel := context.WithTimeout(ctx, checkTimeout)
	defer cancel()
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, "http://"+address+"/healthz", nil)
	if err != nil {
		return fmt.Errorf("--listen %q: %w: %w", address, stella.ErrInvalid, err)
	}
	resp, err := http.DefaultClient.Do(req)
	if err != nil {
		return fmt.Errorf("ask the daemon: %w: %w", stella.ErrUnhealthy, err)
	}
	if err := resp.Body.Close(); err != nil || resp.StatusCode != http.StatusOK {
		return fmt.Errorf("ask the daemon: %w: answered %s", stella.ErrUnhealthy, resp.Status)
	}
	return nil
}

// daemonLogger writes what a daemon's operator reads, one line an event.
func (a *App) daemonLogger() *slog.Logger {
	level := slog.LevelInfo
	switch {
	case a.flags.debug:
		level = slog.LevelDebug
	case a.flags.quiet:
		level = slog.LevelWarn
	}
	lines := logLines{term.NewStatus(a.ctx, term.Screen{W: a.process.Stderr}, a.process.Now)}
	return slog.New(slog.NewTextHandler(lines, &slog.HandlerOptions{Level: level}))
}

// logEvent writes what the engine tells as log lines: outcomes as such, steps
// for whoever debugs.
func logEvent(ctx context.Context, log *slog.Logger, ev reconciler.Event) {
	switch e := ev.(type) {
	case reconciler.Started:
		d := e.Deployment
		log.InfoContext(ctx, "deployment began", "environment", d.Environment, "deployment", d.ID, "kind", d.Kind, "release", d.Release, "reason", d.Reason)
	case reconciler.StepEnded:
		log.DebugContext(ctx, "step ended", "environment", e.Environment, "deployment", e.Deployment, "step", e.Step.Name,
			"target", e.Step.Target, "status", e.Step.Status, "seconds", e.Step.DurationSeconds, "err", e.Step.Error)
	case reconciler.Waiting:
		log.InfoContext(ctx, "waiting", "environment", e.Environment, "for", e.For)
	case reconciler.Warned:
		log.WarnContext(ctx, "warning", "environment", e.Environment, "text", e.Text)
	case reconciler.Ended:
		d := e.Deployment
		log.InfoContext(ctx, "deployment ended", "environment", d.Environment, "deployment", d.ID, "kind", d.Kind, "status", d.Status,
			"release", d.Release, "seconds", d.DurationSeconds, "err", d.Error)
	}
}
