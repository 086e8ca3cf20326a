// Package quickstart tells what stella is for, for real and on one machine: a
// config repository, a registry, an environment of two targets, bare hosts or on
// the reader's own container engine, and an application with good versions and a
// bad one. Start with [Run].
//
// Everything that it shows is done by the same engine as in production; only
// the scenery is made here. A second start in the same directory goes on where
// the first one was.
package quickstart

import (
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"strconv"
	"time"

	"github.com/moby/moby/client"

	"github.com/stella-ops/stella"
	"github.com/stella-ops/stella/internal/durable"
	"github.com/stella-ops/stella/internal/registry"
	"github.com/stella-ops/stella/internal/serve"
	"github.com/stella-ops/stella/reconciler"
)

// Environment is what quickstart deploys to.
const Environment = stella.EnvName("production")

// Config is what quickstart needs.
type Config struct {
	Dir string // made when it is not there; holds everything
	// Port is the first of four in a row that are used: the daemon, the registry
	// and the two targets. Zero takes free ones, and the same again next time.
	Port int
	Exit bool // stop everything after the story
	// Docker tells the story on a container engine; nil tells it on bare hosts.
	Docker *Docker
	// Executable is the path of this binary: the sample application is made of
	// it.
	Executable string
	// FindGit looks for the git command, which serves local repositories.
	FindGit func() error
	Getenv  func(string) string
	// Open wires an engine to a config repository, with its state in a directory
	// and host targets below roots.
	Open func(ctx context.Context, o Opening) (*reconciler.Engine, func() error, error)
	Out  io.Writer // the story
	// Version of stella, for the daemon's metrics.
	Version string
	Logger  *slog.Logger
}

// Opening says how the engine is to be wired.
type Opening struct {
	Repo, State, Roots string
	Notify             func(reconciler.Event)
}

// stage is a running quickstart.
type stage struct {
	cfg    Config
	props  props
	engine *reconciler.Engine
	begun  time.Time
	// metrics count what the engine does, for the daemon's page.
	metrics *serve.Metrics

	api  *client.Client // of the container engine; nil without
	near bool           // what the engine publishes on its loopback is on ours
}

// Run sets the scene, tells the story and then serves until ctx ends, or stops
// everything at once with Exit.
func Run(ctx context.Context, c Config) (err error) {
	if err := c.FindGit(); err != nil {
		return stella.WithHint(fmt.Errorf("find the git command: %w: %w", stella.ErrInvalid, err), "install git and make sure that it is in PATH")
	}
	if c.Dir, err = filepath.Abs(c.Dir); err != nil {
		return err
	}
	if err := os.MkdirAll(c.Dir, 0o755); err != nil { //nolint:gosec // nothing in it is secret; targets' users read below it
		return err
	}
	lock, err := durable.TryLock(filepath.Join(c.Dir, ".lock"))
	if err != nil {
		return stella.WithHint(fmt.Errorf("use %s: %w", c.Dir, err), "another quickstart runs there; stop it, or choose another --dir")
	}
	defer func() { err = errors.Join(err, lock.Unlock()) }()
	s := &stage{cfg: c, begun: time.Now(), metrics: serve.NewMetrics(c.Version)}
	if c.Docker != nil && c.Docker.Remove {
		return s.removeOnly(ctx)
	}
	return s.run(ctx)
}

func (s *stage) run(ctx context.Context) (err error) {
	s.say("Stella quickstart in %s", s.cfg.Dir)
	if err := s.setScene(ctx); err != nil {
		return err
	}
	if err := s.findEngine(ctx); err != nil {
		return err
	}
	stopRegistry, err := s.serveRegistry(ctx)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, stopRegistry()) }()
	if err := s.stock(ctx); err != nil {
		return err
	}
	var closeEngine func() error
	s.engine, closeEngine, err = s.cfg.Open(ctx, Opening{
		Repo: s.path("config.git"), State: s.path("state"), Roots: s.path("hosts"), Notify: s.hear,
	})
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, closeEngine()) }()
	if err := s.tell(ctx); err != nil {
		return errors.Join(err, s.leave(ctx)) // an interrupted story leaves nothing running
	}
	if s.cfg.Exit {
		return s.leave(ctx)
	}
	s.commands()
	return s.serve(ctx)
}

func (s *stage) path(elem ...string) string {
	return filepath.Join(append([]string{s.cfg.Dir}, elem...)...)
}

// say writes one line of the story with the time since the start.
func (s *stage) say(format string, args ...any) {
	_, _ = fmt.Fprintf(s.cfg.Out, "%6.1fs  %s\n", time.Since(s.begun).Seconds(), fmt.Sprintf(format, args...))
}

func (s *stage) line(format string, args ...any) {
	_, _ = fmt.Fprintf(s.cfg.Out, format+"\n", args...)
}

// serveRegistry runs the embedded registry on loopback.
func (s *stage) serveRegistry(ctx context.Context) (stop func() error, err error) {
	handler, err := registry.New(s.path("registry"), s.cfg.Logger)
	if err != nil {
		return nil, err
	}
	l, err := listen(ctx, s.props.RegistryPort)
	if err != nil {
		return nil, err
	}
	server := &http.Server{Handler: handler, ReadHeaderTimeout: 5 * time.Second}
	done := make(chan error, 1)
	go func() { done <- server.Serve(l) }()
	return func() error {
		ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), 2*time.Second)
		defer cancel()
		if err := server.Shutdown(ctx); err != nil {
			_ = server.Close() // a transfer that hangs ends with us
		}
		if err := <-done; !errors.Is(err, http.ErrServerClosed) {
			return err
		}
		return nil
	}, nil
}

// listen takes a port of loopback, or says clearly that it is taken.
func listen(ctx context.Context, port int) (net.Listener, error) {
	var lc net.ListenConfig
	l, err := lc.Listen(ctx, "tcp", net.JoinHostPort("127.0.0.1", strconv.Itoa(port)))
	if err != nil {
		err = fmt.Errorf("port %d is taken: %w: %w", port, stella.ErrInvalid, err)
		return nil, stella.WithHint(err, "stop what uses it, or run 'stella quickstart --port 0' in a new --dir")
	}
	return l, nil
}

// serve runs the daemon until ctx ends; the applications stop with it.
func (s *stage) serve(ctx context.Context) error {
	err := serve.Run(ctx, serve.Config{
		Engine: s.engine, Metrics: s.metrics, Listen: net.JoinHostPort("127.0.0.1", strconv.Itoa(s.props.Port)),
		Poll: pollEvery, Watch: s.path("config.git"), Logger: s.cfg.Logger,
		Ready: func(addr string) {
			s.line("\nstella serve is running: http://%s/metrics — Ctrl-C stops everything", addr)
		},
	})
	return errors.Join(err, s.leave(ctx))
}

// pollEvery is short: the repository is on this machine.
const pollEvery = 5 * time.Second

// leave stops the applications; the directory keeps the story.
func (s *stage) leave(ctx context.Context) error {
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), time.Minute)
	defer cancel()
	if err := s.engine.Stop(ctx, Environment, reconciler.Options{Reason: "end of quickstart"}); err != nil {
		return fmt.Errorf("stop the applications: %w", err)
	}
	if s.cfg.Docker != nil && s.cfg.Exit {
		return s.clear(ctx)
	}
	s.say("stopped; everything is still in %s, run it again to go on", s.cfg.Dir)
	if s.cfg.Docker != nil {
		s.say("'stella quickstart --docker --dir %s --remove' takes it off the engine", s.cfg.Dir)
	}
	return nil
}
