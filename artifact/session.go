package artifact

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"fmt"
	"io"
	"maps"
	"net/http"
	"sync"

	"github.com/google/go-containerregistry/pkg/name"

	"github.com/stella-ops/stella"
	"github.com/stella-ops/stella/internal/safe"
)

// parallel is how many requests one operation has under way.
const parallel = 4

// session is one repository of one registry, with what opens it.
type session struct {
	client *Client
	net    *network
	repo   name.Repository
	http   *http.Client

	mu    sync.Mutex // guards below
	round int        // how often login was done
	valid bool       // auth is the result of the last round
	auth  safe.Secret
}

// maxSessions bounds what a client remembers; a service that sees more
// repositories than that logs in more often.
const maxSessions = 256

// session returns the session for the repository of an artifact.
func (c *Client) session(a stella.Artifact) (*session, error) {
	repo, err := name.NewRepository(a.Registry + "/" + a.Repository)
	if err != nil {
		return nil, fmt.Errorf("%w: image %q: %s", stella.ErrInvalid, safe.Clip(a.String(), 80), safe.Clip(err.Error(), 80))
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	if s := c.sessions[repo.Name()]; s != nil {
		return s, nil
	}
	registry := repo.RegistryStr()
	if len(c.sessions) >= maxSessions {
		clear(c.sessions)
		clear(c.networks)
	}
	if c.networks[registry] == nil {
		c.networks[registry] = newNetwork(registry, &c.cfg)
	}
	s := &session{client: c, net: c.networks[registry], repo: repo}
	s.http = &http.Client{Transport: s.net}
	c.sessions[repo.Name()] = s
	return s, nil
}

func (s *session) registry() string { return s.repo.RegistryStr() }

// authorization returns the header to use. A round that the caller has seen
// refused is renewed, once for all who saw it.
func (s *session) authorization(ctx context.Context, refused int) (safe.Secret, int, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.valid && s.round > refused {
		return s.auth, s.round, nil
	}
	ctx, cancel := within(ctx, s.client.cfg.Timeout) // others wait for it
	defer cancel()
	auth, err := s.login(ctx)
	if err != nil {
		return "", s.round, err
	}
	s.auth, s.valid = auth, true
	s.round++
	return s.auth, s.round, nil
}

// forget makes the next request log in again.
func (s *session) forget() {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.valid, s.auth = false, ""
}

// do sends one request for a path below the repository ("blobs/sha256:…"),
// with one renewal of the credentials if they are refused, and returns an
// answer with status 200, or 206 where a range was asked for. It does not try again: see Client.retry.
func (s *session) do(ctx context.Context, method, path string, header http.Header) (*http.Response, error) {
	ctx, wait := withRetryAfter(ctx)
	resp, err := s.doOnce(ctx, method, path, header)
	if err == nil {
		return resp, nil
	}
	if cause := ended(ctx); cause != nil {
		return nil, cause
	}
	f := s.fault(err)
	if f.after == 0 && f.again {
		f.after = *wait
	}
	return nil, f
}

func (s *session) doOnce(ctx context.Context, method, path string, header http.Header) (*http.Response, error) {
	auth, round, err := s.authorization(ctx, 0)
	if err != nil {
		return nil, err
	}
	resp, err := s.send(ctx, method, path, header, auth)
	if err != nil {
		return nil, err
	}
	if resp.StatusCode == http.StatusUnauthorized {
		old := auth
		if auth, _, err = s.authorization(ctx, round); err != nil {
			discard(resp)
			return nil, err
		}
		if auth != old {
			discard(resp)
			if resp, err = s.send(ctx, method, path, header, auth); err != nil {
				return nil, err
			}
		}
	}
	if resp.StatusCode == http.StatusOK || resp.StatusCode == http.StatusPartialContent && header.Get("Range") != "" {
		return resp, nil
	}
	defer discard(resp)
	f := s.statusFault(resp)
	if resp.StatusCode == http.StatusUnauthorized {
		s.forget()
	}
	return nil, f
}

func (s *session) send(ctx context.Context, method, path string, header http.Header, auth safe.Secret) (*http.Response, error) {
	u := s.net.scheme() + "://" + s.registry() + "/v2/" + s.repo.RepositoryStr() + "/" + path
	req, err := http.NewRequestWithContext(ctx, method, u, nil)
	if err != nil {
		return nil, err
	}
	maps.Copy(req.Header, header)
	req.Header.Set("User-Agent", "stella")
	if auth != "" {
		req.Header.Set("Authorization", auth.Reveal())
	}
	return s.http.Do(req)
}

// brief bounds one try of a request with a small answer. Its end is a fault
// that may be tried again.
func (s *session) brief(ctx context.Context) (context.Context, context.CancelFunc) {
	d := s.client.cfg.StallTimeout
	return context.WithTimeoutCause(ctx, d, &fault{class: stella.ErrUnreachable, what: "no answer within " + d.String(), again: true})
}

// discard ends an answer that nobody reads, and keeps its connection if what is
// left of it is little.
func discard(resp *http.Response) {
	_, _ = io.CopyN(io.Discard, resp.Body, 64<<10)
	_ = resp.Body.Close()
}

func tlsConfig(roots *x509.CertPool) *tls.Config {
	return &tls.Config{RootCAs: roots, MinVersion: tls.VersionTLS12}
}
