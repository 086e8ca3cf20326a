package host

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"syscall"
	"time"

	"github.com/stella-ops/stella"
	"github.com/stella-ops/stella/internal/durable"
	"github.com/stella-ops/stella/internal/safe"
)

// Restarts wait as Docker's do: longer each time, from the start again once the
// process ran for a while.
const (
	firstBackoff = 100 * time.Millisecond
	maxBackoff   = time.Minute
	longEnough   = 10 * time.Second
)

// rootPoll is how often the shim looks whether its root is still there.
const rootPoll = time.Second

// errVanished: the directories that the process runs from are gone.
var errVanished = errors.New("its root vanished")

// supervise starts the process, again and again as its restart policy says.
func (s *shim) supervise(ctx context.Context, answer *answer) int {
	backoff := firstBackoff
	for {
		if why := context.Cause(ctx); why != nil {
			s.conclude(why.Error(), false)
			return shimEnded
		}
		began := time.Now()
		end, err := s.runOnce(ctx, answer)
		s.status.LastEnd, s.status.LastEndAt = end.words, time.Now().UTC()
		if err != nil && !answer.given {
			s.report(stella.RunExited, end.words)
			answer.give(err.Error())
			return shimFailed
		}
		if end.stopped != nil {
			s.conclude(end.stopped.Error(), false)
			return shimEnded
		}
		if !s.service.restart.again(end.success, s.status.Restarts) {
			s.conclude(end.words, end.success)
			return shimEnded
		}
		if time.Since(began) >= longEnough {
			backoff = firstBackoff
		}
		s.log.note("%s; it is started again in %s", end.words, backoff)
		s.status.Process, s.status.Health = "", s.firstHealth()
		s.report(stella.RunStarting, end.words)
		if why := s.sleep(ctx, backoff); why != nil {
			s.conclude(why.Error(), false)
			return shimEnded
		}
		s.status.Restarts++
		backoff = min(2*backoff, maxBackoff)
	}
}

// conclude writes the last status of this shim.
func (s *shim) conclude(words string, success bool) {
	s.status.Process, s.status.Health, s.status.Completed = "", stella.RunHealthNone, success
	if success {
		words = completed
	}
	s.log.note("%s", words)
	s.report(stella.RunExited, words)
}

// ending is how one run of the process ended.
type ending struct {
	success bool
	words   string // for people, printable
	stopped error  // why it was ended on purpose; nil when it ended by itself
}

// child is the main process of a service.
type child struct {
	process durable.Process // the zero value where it ended before anyone could look
	ended   <-chan syscall.WaitStatus
}

// runOnce starts the process and returns when it and all that it left behind
// are gone, and all that they wrote is in the log. The error says that it could
// not be executed.
func (s *shim) runOnce(ctx context.Context, answer *answer) (ending, error) {
	c, written, err := s.startChild()
	if err != nil {
		return ending{words: safe.Clip(err.Error(), 300)}, err
	}
	s.status.Health = s.firstHealth()
	s.report(stella.RunRunning, "")
	answer.give(shimReady)

	health, cancel := context.WithCancel(ctx)
	status, stopped := s.watch(ctx, c, s.watchHealth(health))
	cancel()
	// Probes and everything that the process forked are below this one.
	if err := killAll(func() []int { return descendants(os.Getpid()) }, stopSlack); err != nil {
		s.log.note("%v", err)
	}
	select {
	case <-written:
	case <-time.After(stopSlack): // somebody who can not be killed has the other end
	}
	end := s.describe(status)
	end.stopped = stopped
	return end, nil
}

// startChild executes the program. written is closed when everything that had
// its output is gone.
func (s *shim) startChild() (c child, written <-chan struct{}, err error) {
	r, w, err := os.Pipe()
	if err != nil {
		return c, nil, err
	}
	pid, ended, err := s.reaper.start(func() (int, error) {
		return s.spawner.start(s.program, [3]*os.File{s.null, w, w}, true)
	})
	if err := errors.Join(err, w.Close()); err != nil {
		return c, nil, errors.Join(err, r.Close())
	}
	done := make(chan struct{})
	go func() {
		defer close(done)
		_, _ = io.Copy(s.log, r)
		_ = r.Close()
	}()
	c.ended = ended
	if c.process, err = durable.FindProcess(pid); err == nil {
		s.status.Process = c.process.String()
	}
	return c, done, nil
}

// watch waits for the process to end, and ends it when it is told to: then why
// is not nil.
func (s *shim) watch(ctx context.Context, c child, verdicts <-chan verdict) (status syscall.WaitStatus, why error) {
	ticker := time.NewTicker(rootPoll)
	defer ticker.Stop()
	for {
		select {
		case status := <-c.ended:
			return status, nil
		case <-s.asked:
			s.publish()
		case v := <-verdicts:
			s.status.Health = v.health
			s.report(stella.RunRunning, v.detail)
		case <-ctx.Done():
			return s.terminate(c), context.Cause(ctx)
		case <-ticker.C:
			if s.vanished() {
				return s.terminate(c), errVanished
			}
		}
	}
}

// terminate gives the process its stop signal and its grace.
func (s *shim) terminate(c child) syscall.WaitStatus {
	_ = signalProcess(c.process, int(s.stop)) // one that has ended by now is fine
	timer := time.NewTimer(s.service.grace())
	defer timer.Stop()
	select {
	case status := <-c.ended:
		return status
	case <-timer.C:
	}
	s.log.note("the process did not end within %s of its stop signal, it is killed", s.service.grace())
	_ = signalProcess(c.process, sigKill)
	return <-c.ended
}

// describe words how a process ended, with the last line that it wrote.
func (s *shim) describe(status syscall.WaitStatus) ending {
	words := fmt.Sprintf("exited with %d", status.ExitStatus())
	if status.Signaled() {
		words = fmt.Sprintf("killed by signal %d (%s)", status.Signal(), status.Signal())
	}
	success := status.Exited() && status.ExitStatus() == 0
	if line := s.log.lastLine(); line != "" && !success {
		words += ": " + safe.Clip(line, 200)
	}
	return ending{success: success, words: words}
}

// sleep waits and returns why it was cut short, nil when it was not.
func (s *shim) sleep(ctx context.Context, d time.Duration) error {
	timer := time.NewTimer(d)
	defer timer.Stop()
	ticker := time.NewTicker(rootPoll)
	defer ticker.Stop()
	for {
		select {
		case <-timer.C:
			return nil
		case <-s.asked:
			s.publish()
		case <-ctx.Done():
			return context.Cause(ctx)
		case <-ticker.C:
			if s.vanished() {
				return errVanished
			}
		}
	}
}

// vanished reports whether the service's directory is not the one that this
// shim started from.
func (s *shim) vanished() bool {
	now, err := os.Stat(s.lay.service(s.name))
	return err != nil || !os.SameFile(s.dir, now)
}

func (s *shim) firstHealth() stella.RunHealth {
	if s.health == nil {
		return stella.RunHealthNone
	}
	return stella.RunHealthStarting
}
