package host

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"strings"
	"syscall"
	"time"

	"github.com/stella-ops/stella"
	"github.com/stella-ops/stella/internal/safe"
)

// verdict is a change of what the healthcheck says.
type verdict struct {
	health stella.RunHealth
	detail string
}

// healthState turns probe results into verdicts. It is a pure machine: time
// comes in.
type healthState struct {
	check     healthcheck
	began     time.Time // of the process
	health    stella.RunHealth
	failures  int       // in a row that count
	lastCount time.Time // when one counted last
}

// next takes the result of a probe.
func (h *healthState) next(ok bool, now time.Time) stella.RunHealth {
	switch {
	case ok:
		h.health, h.failures = stella.RunHealthHealthy, 0
		return h.health
	case h.health == stella.RunHealthStarting && now.Sub(h.began) < h.check.startPeriod:
		return h.health // it may still come up
	case h.health == stella.RunHealthStarting && !h.lastCount.IsZero() && now.Sub(h.lastCount) < h.check.interval:
		// Until the first verdict probes come more often than the interval
		// says; they must not use up the retries any sooner for it.
		return h.health
	}
	h.failures++
	h.lastCount = now
	if h.failures >= h.check.retries {
		h.health = stella.RunHealthUnhealthy
	}
	return h.health
}

// pause is how long to wait before the next probe.
func (h *healthState) pause() time.Duration {
	if h.health == stella.RunHealthStarting {
		return min(h.check.startInterval, eager)
	}
	return h.check.interval
}

// eager is how often a service that starts is probed: deployments wait for it.
const eager = 500 * time.Millisecond

// watchHealth probes until ctx ends and sends every change of the verdict.
func (s *shim) watchHealth(ctx context.Context) <-chan verdict {
	out := make(chan verdict)
	if s.health == nil {
		return out
	}
	go func() {
		state := healthState{check: *s.health, began: time.Now(), health: stella.RunHealthStarting}
		last := verdict{health: state.health}
		wait := min(state.pause(), firstProbe)
		for {
			select {
			case <-ctx.Done():
				return
			case <-time.After(wait):
			}
			ok, words := s.probeOnce(ctx)
			v := verdict{health: state.next(ok, time.Now())}
			if !ok {
				v.detail = words
			}
			if v != last && ctx.Err() == nil {
				select {
				case out <- v:
					last = v
				case <-ctx.Done():
					return
				}
			}
			wait = state.pause()
		}
	}()
	return out
}

// firstProbe gives a process the moment that most need to listen.
const firstProbe = 200 * time.Millisecond

// probeOnce runs the healthcheck's command beside the process.
func (s *shim) probeOnce(ctx context.Context) (ok bool, words string) {
	ctx, cancel := context.WithTimeout(ctx, s.health.timeout)
	defer cancel()
	output, status, err := s.run(ctx, *s.probe)
	switch {
	case errors.Is(err, context.DeadlineExceeded):
		return false, fmt.Sprintf("healthcheck took longer than %s", s.health.timeout)
	case err != nil:
		return false, "healthcheck: " + safe.Clip(err.Error(), 200)
	case status.Exited() && status.ExitStatus() == 0:
		return true, ""
	}
	words = fmt.Sprintf("healthcheck exited with %d", status.ExitStatus())
	if text := strings.TrimSpace(output); text != "" {
		words += ": " + safe.Clip(text, 200)
	}
	return false, words
}

// maxOutputBytes bounds what is kept of a probe's or a command's output.
const maxOutputBytes = 64 << 10

// run executes a program and collects its output until it ends or ctx does;
// then its process group is killed.
func (s *shim) run(ctx context.Context, p program) (string, syscall.WaitStatus, error) {
	r, w, err := os.Pipe()
	if err != nil {
		return "", 0, err
	}
	defer func() { _ = r.Close() }()
	pid, ended, err := s.reaper.start(func() (int, error) {
		return s.spawner.start(p, [3]*os.File{s.null, w, w}, true)
	})
	err = errors.Join(err, w.Close())
	if err != nil {
		return "", 0, err
	}
	collected := make(chan string, 1)
	go func() { collected <- collect(r) }()
	var status syscall.WaitStatus
	select {
	case status = <-ended:
	case <-ctx.Done():
		err = ctx.Err()
	}
	// While the leader is not reaped its pid is its own; afterwards only its
	// group can have the number, for as long as it has members.
	_ = syscall.Kill(-pid, syscall.SIGKILL)
	if err != nil {
		<-ended
	}
	// Whoever else has the pipe is not waited for.
	_ = r.SetReadDeadline(time.Now().Add(outputSlack))
	return <-collected, status, err
}

// outputSlack is how long the rest of the output may take once its writer has
// ended.
const outputSlack = 100 * time.Millisecond

// collect reads the start of an output and drops the rest.
func collect(r io.Reader) string {
	var b strings.Builder
	_, _ = io.Copy(&b, io.LimitReader(r, maxOutputBytes))
	_, _ = io.Copy(io.Discard, r)
	return b.String()
}
