package health

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"net/http"
	"strings"
	"time"

	"golang.org/x/sync/errgroup"

	"github.com/stella-ops/stella"
	"github.com/stella-ops/stella/internal/safe"
)

// Config is what a Runner needs.
type Config struct {
	Exec   Executor     // for exec checks; nil makes them fail
	Logger *slog.Logger // for rounds, at debug level; nil discards
}

// Runner runs checks. Make one with New; it is safe for concurrent use.
type Runner struct {
	exec   Executor
	log    *slog.Logger
	dialer *net.Dialer
	client *http.Client
	// try asks one check once; tests put their own here.
	try func(context.Context, Check) (output string, err error)
}

// New returns a Runner.
func New(c Config) *Runner {
	if c.Logger == nil {
		c.Logger = slog.New(slog.DiscardHandler)
	}
	dialer := &net.Dialer{Control: refuseLinkLocal}
	r := &Runner{exec: c.Exec, log: c.Logger, dialer: dialer, client: newClient(dialer)}
	r.try = r.ask
	return r
}

// maxParallel bounds the checks that run at once: enough that twenty hung ones
// do not make a round slow, few enough for the file descriptors of a small
// host.
const maxParallel = 16

// Run runs every check once, in parallel; results have the order of the
// checks. It takes no longer than the longest timeout where there are at most
// sixteen checks.
func (r *Runner) Run(ctx context.Context, checks []Check) []Result {
	results := make([]Result, len(checks))
	var g errgroup.Group
	g.SetLimit(maxParallel)
	for i, c := range checks {
		g.Go(func() error {
			results[i] = r.run(ctx, c)
			return nil
		})
	}
	_ = g.Wait() // no function returns an error: a failed check is a result
	return results
}

// errNoAnswer is why a try's context ends.
var errNoAnswer = errors.New("no answer in time")

func (r *Runner) run(ctx context.Context, c Check) Result {
	timeout := c.Timeout
	if timeout <= 0 {
		timeout = DefaultTimeout
	}
	ctx, cancel := context.WithTimeoutCause(ctx, timeout, errNoAnswer)
	defer cancel()
	start := time.Now()
	output, err := r.try(ctx, c)
	res := Result{Name: c.Name, Target: c.Target, OK: err == nil, Latency: time.Since(start)}
	if err != nil {
		res.Error, res.Output = describe(ctx, err, timeout), tail(output)
	}
	return res
}

// describe makes an error that may hold anything from the other side fit for a
// line. Where the context ended, its cause says more than the error.
func describe(ctx context.Context, err error, timeout time.Duration) string {
	const mostRunes = 200
	if cause := context.Cause(ctx); cause != nil {
		if errors.Is(cause, errNoAnswer) {
			return "no answer within " + timeout.String()
		}
		return safe.Clip("no answer yet: "+cause.Error(), mostRunes)
	}
	return safe.Clip(err.Error(), mostRunes)
}

// tail returns the last lines of a command's output, printable.
func tail(output string) string {
	const mostBytes, mostLines = 1024, 5
	output = output[max(0, len(output)-mostBytes):]
	lines := strings.Split(strings.TrimSpace(output), "\n")
	return safe.Block(strings.Join(lines[max(0, len(lines)-mostLines):], "\n"))
}

// ask asks the check's one question.
func (r *Runner) ask(ctx context.Context, c Check) (output string, err error) {
	switch {
	case c.HTTP != nil:
		return "", r.askHTTP(ctx, *c.HTTP)
	case c.TCP != nil:
		return "", r.askTCP(ctx, *c.TCP)
	case c.Exec != nil:
		return r.askExec(ctx, c.Target, *c.Exec)
	default:
		return "", fmt.Errorf("%w: the check asks nothing; want http, tcp or exec", stella.ErrInvalid)
	}
}

func (r *Runner) askTCP(ctx context.Context, t TCP) error {
	conn, err := r.dialer.DialContext(ctx, "tcp", t.Address)
	if err != nil {
		return err
	}
	_ = conn.Close() // it was opened: that is the answer
	return nil
}

func (r *Runner) askExec(ctx context.Context, target string, e Exec) (string, error) {
	if r.exec == nil {
		return "", fmt.Errorf("exec: %w", stella.ErrUnsupported)
	}
	return r.exec.Exec(ctx, target, e.Component, e.Command)
}

// Verdict sums results up: Healthy where all are OK, Unhealthy where none is,
// Degraded between, and Unknown where nothing was asked.
func Verdict(results []Result) stella.Health {
	ok := len(results) - len(failures(results))
	switch {
	case len(results) == 0:
		return stella.HealthUnknown
	case ok == len(results):
		return stella.Healthy
	case ok == 0:
		return stella.Unhealthy
	default:
		return stella.Degraded
	}
}

func failures(results []Result) []Result {
	var failed []Result
	for _, r := range results {
		if !r.OK {
			failed = append(failed, r)
		}
	}
	return failed
}
