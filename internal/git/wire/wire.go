// Package wire speaks Git's wire protocol to a remote. Start with [Remote] (one
// remote and how to reach it) and [Conn] (one conversation: what the remote
// advertises, then at most one [Conn.Fetch] or [Conn.Push]).
//
// Invariants: every wait ends, by a deadline or because too little arrives;
// what the remote sends is bounded and made printable before it gets into an
// error; credentials go to the host they are for, and nowhere else, least of
// all into a text. Transports are an explicit list: files, ssh, https, and http
// where it is allowed.
//
// go-git's messages are used, its sessions are not: they can not be cancelled
// while connecting, take their environment from the process, and hide what the
// remote said. The package knows nothing of what is stored where.
package wire

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/go-git/go-git/v5/plumbing"

	"github.com/stella-ops/stella"
)

// Hash is the id of an object.
type Hash = plumbing.Hash

// Service is what a remote is asked for.
type Service string

// The services of a remote.
const (
	UploadPack  Service = "git-upload-pack"  // to list and fetch
	ReceivePack Service = "git-receive-pack" // to push
)

// Config says how a remote is reached.
type Config struct {
	Getenv    func(string) string
	AllowHTTP []string
	// Timeout bounds connecting, listing and pushing, and how long a fetch may
	// stand still. It must be positive.
	Timeout time.Duration
}

// Remote is one remote. It keeps connections and credentials between
// conversations, and is safe for several goroutines.
type Remote struct {
	cfg  Config
	ep   *Endpoint
	dial dialer
}

// dialer starts a service. What it returns has not been read from.
type dialer interface {
	dial(ctx context.Context, s Service, version int) (*Conn, error)
	close()
}

// New returns the remote at a URL, without speaking to it. Errors are of class
// stella.ErrInvalid.
func New(url string, cfg Config) (*Remote, error) {
	ep, err := ParseURL(url, cfg.AllowHTTP)
	if err != nil {
		return nil, err
	}
	r := &Remote{cfg: cfg, ep: ep}
	switch ep.Scheme {
	case "file":
		r.dial = &fileDialer{cfg: &r.cfg, ep: ep}
	case "ssh":
		r.dial = &sshDialer{cfg: &r.cfg, ep: ep}
	default:
		if r.dial, err = newHTTPDialer(&r.cfg, ep); err != nil {
			return nil, err
		}
	}
	return r, nil
}

// Close lets go of idle connections.
func (r *Remote) Close() { r.dial.close() }

// Endpoint returns where the remote is.
func (r *Remote) Endpoint() *Endpoint { return r.ep }

// Open starts a conversation and reads what the remote advertises. The
// conversation ends with ctx; it must be closed. Version is 0, or 2 where
// Conn.FetchExact is wanted; the remote may speak 0 all the same.
//
// Errors: stella.ErrNotFound, ErrDenied, ErrUnreachable, ErrInvalid (not a Git
// server), ErrUnsupported (sha256), ErrTampered (a changed host key).
func (r *Remote) Open(ctx context.Context, s Service, version int) (*Conn, error) {
	timeout := fmt.Errorf("%w: no answer within %s", stella.ErrUnreachable, r.cfg.Timeout)
	ctx, cancel := context.WithCancelCause(ctx)
	timer := time.AfterFunc(r.cfg.Timeout, func() { cancel(timeout) })
	defer timer.Stop()
	c, err := r.dial.dial(ctx, s, version)
	if err != nil {
		err = classify(ctx, err)
		cancel(nil)
		return nil, err
	}
	c.ctx, c.cancel, c.timeout, c.service = ctx, cancel, r.cfg.Timeout, s
	if err := c.readAdvert(version); err != nil {
		return nil, c.fail(err)
	}
	return c, nil
}

// classify gives an error a class and, when ctx has ended, the reason why.
func classify(ctx context.Context, err error) error {
	if err == nil {
		return nil
	}
	if cause := context.Cause(ctx); cause != nil {
		return cause
	}
	return classed(err)
}

// classed gives an error a class.
func classed(err error) error {
	for _, class := range []error{
		stella.ErrNotFound, stella.ErrDenied, stella.ErrUnreachable, stella.ErrInvalid,
		stella.ErrUnsupported, stella.ErrTampered, stella.ErrRefused, stella.ErrTimeout,
	} {
		if errors.Is(err, class) {
			return err
		}
	}
	return fmt.Errorf("%w: %s", stella.ErrUnreachable, printable(err))
}
