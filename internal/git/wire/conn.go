package wire

import (
	"bufio"
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"strings"
	"sync/atomic"
	"time"

	"github.com/stella-ops/stella"
	"github.com/stella-ops/stella/internal/safe"
)

// Conn is one conversation with a remote.
type Conn struct {
	Advert *Advert

	service Service
	ctx     context.Context
	cancel  context.CancelCauseFunc
	timeout time.Duration
	said    *said

	advert io.Reader // what the remote sends first
	heard  func()    // called when that was read; may be nil
	grace  time.Duration
	// send sends a request and returns the answer. It is called at most once
	// where the transport is a stream.
	send func(ctx context.Context, body []byte) (io.ReadCloser, error)
	// hangUp ends the transport; asked says whether something was sent. It
	// returns what the transport knows of why it ended.
	hangUp func(asked bool) error
	asked  bool
	closed bool
}

func (c *Conn) readAdvert(version int) error {
	a, err := readAdvert(bufio.NewReaderSize(&limited{r: c.advert, left: maxAdvertBytes}, 1<<16), c.service, version)
	c.Advert = a
	if err == nil && c.heard != nil {
		c.heard()
	}
	return err
}

// Close ends the conversation.
func (c *Conn) Close() error {
	if c.closed {
		return nil
	}
	c.closed = true
	timer := time.AfterFunc(max(closeGrace, c.grace), func() { c.cancel(errors.New("the remote did not hang up")) })
	defer timer.Stop()
	err := c.hangUp(c.asked)
	c.cancel(nil)
	return err
}

// closeGrace is how long a remote may take to hang up after all was said; a
// push leaves it more time, for hooks that run after the verdict.
const closeGrace = 5 * time.Second

// fail ends the conversation because of err, to which it adds a class and what
// the remote said.
func (c *Conn) fail(err error) error {
	cause := context.Cause(c.ctx)
	_ = c.Close()
	if cause != nil {
		return cause
	}
	text := c.said.raw()
	if remote, ok := errors.AsType[*remoteError](err); ok {
		text += "\n" + remote.text
	}
	if known := explain(text); known != nil {
		return known
	}
	err = classed(err)
	if s := c.said.String(); s != "" {
		err = fmt.Errorf("%w; the remote says: %s", err, s)
	}
	return err
}

// known are the texts by which remotes say why, and what they mean. The first
// match counts. The words are git's, GitHub's, GitLab's, Bitbucket's, Gitea's
// and OpenSSH's.
func explain(text string) error {
	known := []struct {
		part, what string
		class      error
		hint       string
	}{
		{
			"dubious ownership", "the repository belongs to another user", stella.ErrDenied,
			"run 'git config --global --add safe.directory DIRECTORY' as the user who runs stella",
		},
		{"does not appear to be a git repository", "there is no repository at that place", stella.ErrNotFound, "check the repository's address with 'git ls-remote'"},
		{"unknown repository extension", "the installed git can not read that repository's format", stella.ErrUnsupported, "use a repository with object format sha1 and ref format files"},
		{"expected git repo version", "the installed git can not read that repository's format", stella.ErrUnsupported, "use a repository with object format sha1 and ref format files"},
		{"unknown object format", "the repository's object ids are not sha1", stella.ErrUnsupported, "use a repository made with git init --object-format=sha1"},
		{"repository not found", "there is no such repository, or none that these credentials see", stella.ErrNotFound, "check the repository's address and the credentials with 'git ls-remote'"},
		{"repository does not exist", "there is no such repository, or none that these credentials see", stella.ErrNotFound, "check the repository's address and the credentials with 'git ls-remote'"},
		{"could not be found", "there is no such repository, or none that these credentials see", stella.ErrNotFound, "check the repository's address and the credentials with 'git ls-remote'"},
		{"no such file or directory", "there is no repository at that place", stella.ErrNotFound, "check the repository's address with 'git ls-remote'"},
		{"permission denied", "permission denied", stella.ErrDenied, "check the credentials with 'git ls-remote', and what they may do"},
		{"access denied", "access denied", stella.ErrDenied, "check the credentials with 'git ls-remote', and what they may do"},
		{"not allowed to", "access denied", stella.ErrDenied, "check the credentials with 'git ls-remote', and what they may do"},
		{"unauthorized", "access denied", stella.ErrDenied, "check the credentials with 'git ls-remote', and what they may do"},
	}
	lower := strings.ToLower(text)
	for _, k := range known {
		if strings.Contains(lower, k.part) {
			return stella.WithHint(fmt.Errorf("%w: %s", k.class, k.what), k.hint)
		}
	}
	return nil
}

// printable is an error's text, bounded and fit for a terminal.
func printable(err error) string { return safe.Clip(err.Error(), maxSaid) }

// limited reads at most so many bytes and says so.
type limited struct {
	r    io.Reader
	left int64
}

func (l *limited) Read(p []byte) (int, error) {
	if l.left <= 0 {
		return 0, fmt.Errorf("%w: the answer is longer than is read", stella.ErrInvalid)
	}
	n, err := l.r.Read(p[:min(int64(len(p)), l.left)])
	l.left -= int64(n)
	return n, err
}

// minRate is how much must arrive on average, in bytes a second; git's own
// choice where it is asked to care (http.lowSpeedLimit) is of this order.
const minRate = 200

// watched ends the conversation when less than minRate arrives.
type watched struct {
	r    io.Reader
	n    atomic.Int64
	stop chan struct{}
}

// watch starts to watch what is read from r until the returned func is called.
func (c *Conn) watch(r io.Reader) (*watched, func()) {
	w := &watched{r: r, stop: make(chan struct{})}
	window := c.timeout / 2
	go func() {
		tick := time.NewTicker(window)
		defer tick.Stop()
		for last := int64(0); ; {
			select {
			case <-w.stop:
				return
			case <-c.ctx.Done():
				return
			case <-tick.C:
			}
			now := w.n.Load()
			if float64(now-last) < minRate*window.Seconds() {
				c.cancel(fmt.Errorf("%w: the remote sent %d bytes in %s", stella.ErrUnreachable, now-last, window))
				return
			}
			last = now
		}
	}()
	return w, func() { close(w.stop) }
}

func (w *watched) Read(p []byte) (int, error) {
	n, err := w.r.Read(p)
	w.n.Add(int64(n))
	return n, err
}

// stream makes a Conn of a program's or session's pipes.
func stream(stdin io.WriteCloser, stdout io.Reader, s *said, wait func() error) *Conn {
	c := &Conn{said: s, advert: stdout}
	c.send = func(_ context.Context, body []byte) (io.ReadCloser, error) {
		// Written beside reading: a remote that has already refused may not read
		// to the end, and its words matter more than a broken pipe.
		// It ends with the transport at the latest.
		go func() {
			_, _ = io.Copy(stdin, bytes.NewReader(body))
			_ = stdin.Close()
		}()
		return io.NopCloser(stdout), nil
	}
	c.hangUp = func(asked bool) error {
		if !asked {
			// A flush says that nothing is wanted.
			_, _ = io.WriteString(stdin, flushPkt)
			_ = stdin.Close()
		}
		return wait()
	}
	return c
}
