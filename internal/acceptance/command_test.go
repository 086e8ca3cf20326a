package acceptance_test

import (
	"bufio"
	"bytes"
	"cmp"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"strings"
	"sync"
	"testing"
	"time"
)

// command is a stella that runs.
type command struct {
	t     *testing.T
	args  []string
	cmd   *exec.Cmd
	out   bytes.Buffer // stdout; read it after ended
	began time.Time
	ended chan struct{} // closed when it has ended and all of stderr was read

	mu    sync.Mutex // guards what follows
	lines []line     // of stderr
	more  chan struct{}

	result result
}

// firstBegan is what times in logs count from.
var firstBegan = time.Now()

// line is one line of stderr and when it came.
type line struct {
	text string
	at   time.Time
}

// result is how a command line ended.
type result struct {
	args           []string
	code           int // -1 where a signal ended it
	stdout, stderr string
	took           time.Duration
}

func (r result) String() string {
	return fmt.Sprintf("stella %s\nexit code %d after %.2fs\n--- stdout\n%s--- stderr\n%s", strings.Join(r.args, " "), r.code, r.took.Seconds(), r.stdout, r.stderr)
}

// hint is the last line of stderr where that is a hint, else empty.
func (r result) hint() string {
	lines := strings.Split(strings.TrimSpace(r.stderr), "\n")
	hint, ok := strings.CutPrefix(lines[len(lines)-1], "stella: hint: ")
	if !ok {
		return ""
	}
	return hint
}

// stella runs one command line to its end.
func (w *world) stella(args ...string) result {
	w.t.Helper()
	return w.start(args...).wait()
}

// must is stella for a command that has to end with 0.
func (w *world) must(args ...string) result {
	w.t.Helper()
	r := w.stella(args...)
	if r.code != 0 {
		w.t.Fatalf("want exit code 0: %s", r)
	}
	return r
}

// document runs a command with -o json and reads what it prints.
func (w *world) document(into any, args ...string) result {
	w.t.Helper()
	r := w.stella(append(args, "-o", "json")...)
	if err := json.Unmarshal([]byte(r.stdout), into); err != nil {
		w.t.Fatalf("stdout is not one JSON document: %v: %s", err, r)
	}
	return r
}

// start runs a command line in the background. It is killed when the test ends
// first.
func (w *world) start(args ...string) *command {
	w.t.Helper()
	c := &command{t: w.t, args: args, began: time.Now(), ended: make(chan struct{}), more: make(chan struct{}, 1)}
	c.cmd = exec.Command(cmp.Or(w.program, shared.binary), args...)
	c.cmd.Env, c.cmd.Dir, c.cmd.Stdout = w.environ(), w.dir, &c.out
	// What stella starts must not keep its output open.
	c.cmd.WaitDelay = 5 * time.Second
	stderr, theirs, err := os.Pipe()
	if err != nil {
		w.t.Fatal(err)
	}
	c.cmd.Stderr = theirs
	err = errors.Join(c.cmd.Start(), theirs.Close())
	if err != nil {
		w.t.Fatal(err)
	}
	go c.follow(stderr)
	w.t.Cleanup(func() {
		_ = c.cmd.Process.Kill()
		<-c.ended
	})
	return c
}

// follow reads stderr line by line until it ends, and then waits for the
// process.
func (c *command) follow(stderr *os.File) {
	defer close(c.ended)
	read := make(chan struct{})
	go func() {
		defer close(read)
		for s := bufio.NewScanner(stderr); s.Scan(); {
			c.mu.Lock()
			c.lines = append(c.lines, line{s.Text(), time.Now()})
			c.mu.Unlock()
			select {
			case c.more <- struct{}{}:
			default:
			}
		}
	}()
	err := c.cmd.Wait()
	took := time.Since(c.began)
	select {
	case <-read:
	case <-time.After(c.cmd.WaitDelay):
		err = exec.ErrWaitDelay
	}
	_ = stderr.Close()
	<-read
	c.result = result{args: c.args, code: c.cmd.ProcessState.ExitCode(), stdout: c.out.String(), stderr: c.text(), took: took}
	cpu := c.cmd.ProcessState.UserTime() + c.cmd.ProcessState.SystemTime()
	c.t.Logf("%6.2fs took %5.2fs, %4.2fs of a core, exit %d: stella %s",
		c.began.Sub(firstBegan).Seconds(), took.Seconds(), cpu.Seconds(), c.result.code, strings.Join(c.args, " "))
	var exit *exec.ExitError
	if err != nil && !errors.As(err, &exit) {
		c.t.Errorf("stella %s: %v", strings.Join(c.args, " "), err)
	}
}

// stderr is what was said so far, line by line.
func (c *command) stderr() []line {
	c.mu.Lock()
	defer c.mu.Unlock()
	return append([]line(nil), c.lines...)
}

func (c *command) text() string {
	var b strings.Builder
	for _, l := range c.stderr() {
		b.WriteString(l.text + "\n")
	}
	return b.String()
}

// wait waits for the end.
func (c *command) wait() result {
	c.t.Helper()
	ctx, cancel := context.WithTimeout(c.t.Context(), 2*patience)
	defer cancel()
	select {
	case <-c.ended:
		return c.result
	case <-ctx.Done():
		_ = c.cmd.Process.Kill()
		<-c.ended
		c.t.Fatalf("did not end by itself: %s", c.result)
		return result{}
	}
}

// says waits for a line of stderr that contains text and returns it.
func (c *command) says(text string) string {
	c.t.Helper()
	var found string
	eventually(c.t, fmt.Sprintf("stella %s says %q", strings.Join(c.args, " "), text), patience, func() string {
		for _, l := range c.stderr() {
			if strings.Contains(l.text, text) {
				found = l.text
				return ""
			}
		}
		select {
		case <-c.ended:
			c.t.Fatalf("ended without saying %q: %s", text, c.result)
		default:
		}
		return "so far:\n" + c.text()
	})
	return found
}

// killAfter kills the process that long after its n-th line, counted from 1. It
// reports false when the process had ended by itself before.
func (c *command) killAfter(n int, wait time.Duration) bool {
	for len(c.stderr()) < n {
		select {
		case <-c.more:
		case <-c.ended:
			if len(c.stderr()) < n {
				return false
			}
		}
	}
	select {
	case <-time.After(wait):
	case <-c.ended:
		return false
	}
	_ = c.cmd.Process.Kill()
	<-c.ended
	return c.result.code == -1
}

// send sends the process a signal.
func (c *command) send(s os.Signal) {
	c.t.Helper()
	if err := c.cmd.Process.Signal(s); err != nil {
		c.t.Fatal(err)
	}
}
