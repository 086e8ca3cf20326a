package host

import (
	"context"
	"errors"
	"fmt"
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
		began := time.Now()
		end, err := s.runOnce(ctx, answer)
		if err != nil && !answer.given {
			answer.give(err.Error())
			s.report(stella.RunExited, err.Error())
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

// runOnce starts the process and returns when it and all that it left behind
// are gone. The error says that it could not be executed.
func (s *shim) runOnce(ctx context.Context, answer *answer) (ending, error) {
	if ctx.Err() != nil {
		return ending{stopped: context.Cause(ctx)}, nil
	}
	pid, ended, err := s.reaper.start(func() (int, error) {
		return s.spawner.start(s.program, [3]*os.File{s.null, s.output, s.output}, true)
	})
	if err != nil {
		return ending{words: safe.Clip(err.Error(), 300)}, err
	}
	if p, err := durable.FindProcess(pid); err == nil {
		s.status.Process = p.String()
	}
	s.status.Health = s.firstHealth()
	s.report(stella.RunRunning, "")
	answer.give(shimReady)

	health, cancel := context.WithCancel(ctx)
	verdicts := s.watchHealth(health)
	end := s.watch(ctx, pid, ended, verdicts)
	cancel()
	// Probes and everything that the process forked are below this one.
	if err := killAll(func() []int { return descendants(os.Getpid()) }, stopSlack); err != nil {
		s.log.note("%v", err)
	}
	return end, nil
}

// watch waits for the process to end, and ends it when it is told to.
func (s *shim) watch(ctx context.Context, pid int, ended <-chan syscall.WaitStatus, verdicts <-chan verdict) ending {
	ticker := time.NewTicker(rootPoll)
	defer ticker.Stop()
	for {
		select {
		case status := <-ended:
			return s.describe(status)
		case v := <-verdicts:
			s.status.Health = v.health
			s.report(stella.RunRunning, v.detail)
		case <-ctx.Done():
			s.terminate(pid, ended)
			return ending{stopped: context.Cause(ctx)}
		case <-ticker.C:
			if s.vanished() {
				s.terminate(pid, ended)
				return ending{stopped: errVanished}
			}
		}
	}
}

// terminate gives the process its stop signal and its grace.
func (s *shim) terminate(pid int, ended <-chan syscall.WaitStatus) {
	_ = syscall.Kill(pid, s.stop) // not reaped yet: the pid is still its own
	timer := time.NewTimer(s.service.grace())
	defer timer.Stop()
	select {
	case <-ended:
	case <-timer.C:
		s.log.note("the process did not end within %s of its stop signal, it is killed", s.service.grace())
		_ = syscall.Kill(-pid, syscall.SIGKILL)
		<-ended
	}
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
