// Package engine connects to container engines: over a unix socket, over TCP with
// TLS, over SSH, or as a Docker context says. Start with [NewPool] and
// [Pool.Open].
//
// The invariant: a certificate and a host key are always verified, nothing ever
// asks a person, and an engine that can not be reached is an error of class
// [stella.ErrUnreachable] or [stella.ErrDenied] that names its address and the
// next command. The package knows nothing of what runs on an engine.
package engine

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/http"
	"strconv"
	"strings"
	"sync"
	"time"

	"github.com/moby/moby/client"

	"github.com/stella-ops/stella"
	"github.com/stella-ops/stella/internal/safe"
)

const (
	// answerTime is how long an engine may take to say that it is there.
	answerTime = 15 * time.Second
	// dialTime bounds a connection with its handshakes.
	dialTime = 10 * time.Second
	// oldestMinor is the least version 1.N of the API: Docker Engine 20.10.
	oldestMinor = 41
	// idleConnections stay open to one engine: as many as are asked at a time.
	// Each one more would be a handshake, and over SSH a process.
	idleConnections = 16
)

// Address says where an engine is. Either Host or Context is set.
type Address struct {
	Host    string // unix:///PATH, tcp://HOST:PORT or ssh://[USER@]HOST[:PORT][/SOCKET]
	Context string // name of a Docker context
	// TLS is the absolute directory that has ca.pem, cert.pem and key.pem; a tcp
	// address is refused without it.
	TLS string
}

// String is the address as a person is told of it.
func (a Address) String() string {
	if a.Context != "" {
		return "context " + safe.Line(a.Context)
	}
	return safe.Line(a.Host)
}

// Config says what a pool takes from its process.
type Config struct {
	Getenv func(string) string // DOCKER_CONFIG and HOME: where Docker contexts are
	// SSH are more options of the ssh command, before those of ssh_config.
	SSH []string
}

// Pool has one client for each engine that it was asked for. Its methods may be
// called from several goroutines. Close ends it.
type Pool struct {
	cfg     Config
	mu      sync.Mutex // guards clients and all
	clients map[Address]*shared
	all     []*client.Client // to close, also those that were replaced
}

// shared is the client of one address.
type shared struct {
	mu      sync.Mutex // held while it is connected
	client  *client.Client
	version string // of the API, as the engine said
}

// NewPool returns a pool without clients.
func NewPool(c Config) *Pool { return &Pool{cfg: c, clients: map[Address]*shared{}} }

// Open returns the client for an engine that has just answered. The client
// speaks the newest version of the API that both know; callers share it and do
// not close it. Errors are of class ErrUnreachable, ErrDenied, ErrInvalid for
// an address that can not be one, and ErrUnsupported for an engine too old.
func (p *Pool) Open(ctx context.Context, a Address) (*client.Client, error) {
	p.mu.Lock()
	s, ok := p.clients[a]
	if !ok {
		s = &shared{}
		p.clients[a] = s
	}
	p.mu.Unlock()
	s.mu.Lock()
	defer s.mu.Unlock()
	c, err := p.connect(ctx, a, s)
	if err != nil {
		return nil, fmt.Errorf("connect to engine %s: %w", a, err)
	}
	return c, nil
}

func (p *Pool) connect(ctx context.Context, a Address, s *shared) (*client.Client, error) {
	ctx, cancel := context.WithTimeoutCause(ctx, answerTime, errSilent)
	defer cancel()
	if s.client != nil {
		pong, err := s.client.Ping(ctx, client.PingOptions{})
		if err != nil {
			return nil, explainPing(ctx, err)
		}
		if pong.APIVersion == s.version {
			return s.client, nil
		}
		// The engine was exchanged for another version; who has the old client
		// may end with it.
	}
	c, err := p.dial(a)
	if err != nil {
		return nil, err
	}
	pong, err := c.Ping(ctx, client.PingOptions{})
	if err != nil {
		return nil, explainPing(ctx, err)
	}
	if err := supported(pong.APIVersion); err != nil {
		return nil, err
	}
	if _, err := c.Ping(ctx, client.PingOptions{NegotiateAPIVersion: true}); err != nil {
		return nil, explainPing(ctx, err)
	}
	s.client, s.version = c, pong.APIVersion
	return c, nil
}

// dial makes a client, which connects when it is first used.
func (p *Pool) dial(a Address) (*client.Client, error) {
	d, err := p.dialer(a)
	if err != nil {
		return nil, err
	}
	// The client believes that it speaks plain HTTP: TLS is the dialer's, so that
	// requests and streams connect the same way and fail the same way.
	c, err := client.New(
		client.WithHTTPClient(&http.Client{
			// Both, since the client makes six of no bound.
			Transport: &http.Transport{
				DialContext: d, IdleConnTimeout: time.Minute, MaxIdleConnsPerHost: idleConnections, MaxIdleConns: idleConnections,
			},
			CheckRedirect: client.CheckRedirect,
		}),
		client.WithHost("tcp://engine.invalid:2375"), // replaces the dialer
		client.WithDialContext(d),
	)
	if err != nil {
		return nil, err
	}
	p.mu.Lock()
	defer p.mu.Unlock()
	p.all = append(p.all, c)
	return c, nil
}

// Where returns where an engine listens, a Docker context followed. It asks no
// engine.
func (p *Pool) Where(a Address) (host string, err error) {
	if a.Context == "" {
		return a.Host, nil
	}
	there, _, err := p.context(a.Context)
	return there.Host, err
}

// Close closes all clients.
func (p *Pool) Close() error {
	p.mu.Lock()
	defer p.mu.Unlock()
	var errs []error
	for _, c := range p.all {
		errs = append(errs, c.Close())
	}
	p.clients, p.all = map[Address]*shared{}, nil
	return errors.Join(errs...)
}

// supported refuses an engine that is too old. The check is made before the
// version is agreed on, so that the refusal says what to do.
func supported(version string) error {
	minor, ok := strings.CutPrefix(version, "1.")
	if n, err := strconv.Atoi(minor); ok && err == nil && n < oldestMinor {
		err := fmt.Errorf("%w: the engine speaks version %s of the API, and 1.%d is the oldest that works", stella.ErrUnsupported, version, oldestMinor)
		return stella.WithHint(err, "upgrade it to Docker Engine 20.10 or Podman 4, or to a newer one")
	}
	return nil
}

var errSilent = errors.New("the engine takes connections and does not answer")

// explainPing is Explain for a ping, which ends by our own deadline.
func explainPing(ctx context.Context, err error) error {
	if ctx.Err() != nil && errors.Is(context.Cause(ctx), errSilent) && class(err) == nil {
		return stella.WithHint(fmt.Errorf("%w: %w for %s", stella.ErrUnreachable, errSilent, answerTime), "look at the engine's log on its machine: 'journalctl -u docker'")
	}
	return Explain(err)
}

// Explain gives an error of a client of this package its class: that of a
// connection that broke, or that the engine's API did not answer in time, is
// ErrUnreachable. What the engine itself answered is returned as it is.
func Explain(err error) error {
	if err == nil || class(err) != nil {
		return err
	}
	if _, timeout := errors.AsType[net.Error](err); client.IsErrConnectionFailed(err) || timeout || errors.Is(err, context.DeadlineExceeded) {
		return fmt.Errorf("%w: %s", stella.ErrUnreachable, safe.Line(err.Error()))
	}
	return err
}

// class returns the class that an error was given when it came to be.
func class(err error) error {
	for _, c := range []error{stella.ErrUnreachable, stella.ErrDenied, stella.ErrInvalid, stella.ErrUnsupported} {
		if errors.Is(err, c) {
			return c
		}
	}
	return nil
}
