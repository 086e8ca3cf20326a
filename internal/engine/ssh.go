package engine

import (
	"errors"
	"fmt"
	"io"
	"net"
	"strings"
	"syscall"

	"github.com/stella-ops/stella"
	"github.com/stella-ops/stella/internal/safe"
)

// sshConn is a connection through the ssh command.
type sshConn struct {
	net.Conn
	host        string
	destination string
}

func (c *sshConn) Read(p []byte) (int, error) {
	n, err := c.Conn.Read(p)
	if err != nil && !errors.Is(err, io.EOF) {
		err = c.explain(err.Error())
	}
	return n, err
}

// Write does not fail when ssh has ended: the read that follows knows why.
func (c *sshConn) Write(p []byte) (int, error) {
	n, err := c.Conn.Write(p)
	if errors.Is(err, syscall.EPIPE) {
		return len(p), nil
	}
	if err != nil && strings.Contains(err.Error(), "has exited") {
		err = c.explain(err.Error())
	}
	return n, err
}

// explain reads what ssh and the docker command at the other end said: they have
// no other way to tell.
func (c *sshConn) explain(said string) error {
	has := func(s string) bool { return strings.Contains(strings.ToLower(said), s) }
	try := fmt.Sprintf("'ssh %s docker version'", c.destination)
	switch {
	case has("host key verification failed"), has("host identification has changed"):
		what, next := "its host key is not in known_hosts", fmt.Sprintf("compare its fingerprint, then accept it: 'ssh %s true'", c.destination)
		if has("has changed") {
			what, next = "ITS HOST KEY HAS CHANGED", fmt.Sprintf("find out why; if it was set up anew: 'ssh-keygen -R %s', then 'ssh %s true'", safe.Line(c.host), c.destination)
		}
		return stella.WithHint(fmt.Errorf("%w: ssh: %s", stella.ErrDenied, what), next)
	case has("permission denied ("):
		return stella.WithHint(fmt.Errorf("%w: ssh: no key is accepted", stella.ErrDenied), "add your key to the agent with 'ssh-add', and try "+try)
	case has("permission denied"):
		return stella.WithHint(fmt.Errorf("%w: the user there may not use the engine", stella.ErrDenied), "add the user to the group docker there, and try "+try)
	case has("command not found"), has("docker: not found"):
		return stella.WithHint(fmt.Errorf("%w: there is no docker command there", stella.ErrUnreachable), "install the docker command there, and try "+try)
	case has("cannot connect to the docker daemon"), has("dial unix"):
		return stella.WithHint(fmt.Errorf("%w: the machine answers, its engine does not", stella.ErrUnreachable), "start the engine there: 'systemctl start docker'")
	}
	return stella.WithHint(fmt.Errorf("%w: ssh: %s", stella.ErrUnreachable, reason(said)), "try "+try)
}

// reason is the last line that ssh printed. The engine's client must not find
// words in it that it replaces the error for: it compares case.
func reason(said string) string {
	if _, stderr, ok := strings.Cut(said, "stderr="); ok {
		said = stderr
	}
	lines := strings.Split(strings.TrimSpace(said), "\n")
	last := strings.TrimSpace(lines[len(lines)-1])
	if last == "" {
		last = "it ended without a word"
	}
	const most = 200
	return safe.Clip(safe.Line(strings.ReplaceAll(last, "connection refused", "Connection refused")), most)
}
