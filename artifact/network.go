package artifact

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/netip"
	"net/url"
	"strings"
	"sync"
	"syscall"
	"time"

	"golang.org/x/net/http/httpproxy"

	"github.com/stella-ops/stella"
	"github.com/stella-ops/stella/internal/safe"
)

// The bounds of talking to a registry. A redirect to a blob store, one more
// within it, and one to spare are what is seen in the field.
const (
	maxRedirects      = 3
	maxHeaderBytes    = 256 << 10
	maxSmallBodyBytes = 1 << 20 // of an answer that is neither manifest nor blob
	dialTimeout       = 10 * time.Second
	headerTimeout     = 30 * time.Second
)

// network is the way to one registry, and to where that registry sends us: its
// token server, its blob store. It is an http.RoundTripper that applies the
// rules on where a registry may send anybody, whatever client is above it.
type network struct {
	host   string          // the registry, "host:port", lower case
	plain  bool            // spoken to over HTTP
	listed map[string]bool // "host:port" of every registry listed as plain HTTP
	proxy  func(*url.URL) (*url.URL, error)
	inner  http.RoundTripper

	mu      sync.Mutex
	proxies map[string]bool // "host:port", as they were used
	reached reach           // where the registry itself was last found
}

// newNetwork returns the way to a registry, given as in a reference.
func newNetwork(registry string, c *Config) *network {
	n := &network{listed: map[string]bool{}, proxies: map[string]bool{}}
	for _, r := range c.PlainHTTP {
		n.listed[hostPort(r, "http")] = true
	}
	n.plain = n.listed[hostPort(registry, "http")]
	n.host = hostPort(registry, n.scheme())
	if ip, err := netip.ParseAddr(hostOf(n.host)); err == nil {
		n.reached = reachOf(ip) // a transport of the caller does not say
	}
	if n.inner = c.Transport; n.inner == nil {
		n.proxy = proxyFrom(c.Getenv)
		n.inner = n.transport(c)
	}
	return n
}

func (n *network) scheme() string {
	if n.plain {
		return "http"
	}
	return "https"
}

// hostPort returns "host:port" in lower case, with the scheme's port where
// there is none.
func hostPort(authority, scheme string) string {
	u := url.URL{Host: strings.ToLower(authority)}
	port := u.Port()
	if port == "" {
		port = map[string]string{"http": "80", "https": "443"}[scheme]
	}
	return net.JoinHostPort(u.Hostname(), port)
}

func hostOf(hostPort string) string {
	host, _, err := net.SplitHostPort(hostPort)
	if err != nil {
		return hostPort
	}
	return host
}

func proxyFrom(getenv func(string) string) func(*url.URL) (*url.URL, error) {
	get := func(names ...string) string {
		for _, name := range names {
			if v := getenv(name); v != "" {
				return v
			}
		}
		return ""
	}
	return (&httpproxy.Config{
		HTTPProxy: get("HTTP_PROXY", "http_proxy"), HTTPSProxy: get("HTTPS_PROXY", "https_proxy"), NoProxy: get("NO_PROXY", "no_proxy"),
	}).ProxyFunc()
}

func (n *network) transport(c *Config) *http.Transport {
	t := &http.Transport{
		Proxy:                  n.proxyFor,
		DialContext:            n.dial,
		ForceAttemptHTTP2:      true,
		DisableCompression:     true, // digests are of the bytes as they are
		MaxIdleConnsPerHost:    parallel,
		IdleConnTimeout:        time.Minute,
		TLSHandshakeTimeout:    dialTimeout,
		ResponseHeaderTimeout:  headerTimeout,
		MaxResponseHeaderBytes: maxHeaderBytes,
	}
	if c.RootCAs != nil {
		t.TLSClientConfig = tlsConfig(c.RootCAs)
	}
	return t
}

func (n *network) proxyFor(r *http.Request) (*url.URL, error) {
	u, err := n.proxy(r.URL)
	if u != nil {
		n.mu.Lock()
		n.proxies[hostPort(u.Host, u.Scheme)] = true
		n.mu.Unlock()
	}
	return u, err
}

// dial connects to an address and looks at the IP address that it turned out to
// be before a byte is sent: names are checked when they are used, since what
// they resolve to changes.
func (n *network) dial(ctx context.Context, network, addr string) (net.Conn, error) {
	d := net.Dialer{Timeout: dialTimeout, ControlContext: func(_ context.Context, _, found string, _ syscall.RawConn) error {
		at, err := netip.ParseAddrPort(found)
		if err != nil {
			return err
		}
		return n.permit(strings.ToLower(addr), at.Addr())
	}}
	return d.DialContext(ctx, network, addr)
}

// errForbidden is the class of what the rules on redirects, token servers and
// plain HTTP refuse. Trying again is no use.
var errForbidden = fmt.Errorf("%w by the rules for outgoing requests", stella.ErrRefused)

// permit decides whether to talk to target ("host:port") at an address.
func (n *network) permit(target string, ip netip.Addr) error {
	at := reachOf(ip)
	n.mu.Lock()
	defer n.mu.Unlock()
	switch {
	case n.proxies[target]:
		return nil // the operator's environment names it
	case at == never:
		return fmt.Errorf("%w: %s is at %s, where no registry may be", errForbidden, safe.Line(target), ip)
	case hostOf(target) == hostOf(n.host):
		n.reached = at
		return nil
	case at == public, at == n.reached, n.listed[target]:
		return nil
	}
	return fmt.Errorf("%w: %s sends to %s at %s, a %s address; list the host under registry.plainHTTP or give it a public one",
		errForbidden, safe.Line(n.host), safe.Line(target), ip, at)
}

// RoundTrip implements http.RoundTripper.
func (n *network) RoundTrip(r *http.Request) (*http.Response, error) {
	ctx := r.Context()
	r = r.Clone(ctx)
	if n.plain && hostPort(r.URL.Host, "http") == n.host {
		r.URL.Scheme = "http" // the client that asks for the challenge knows https only
	}
	if err := n.check(r); err != nil {
		closeBody(r.Body)
		return nil, err
	}
	resp, err := n.inner.RoundTrip(r)
	if err != nil {
		return nil, &wireError{err}
	}
	noteRetryAfter(ctx, resp)
	resp.Body = &cappedBody{ReadCloser: resp.Body, left: bodyCap(ctx)}
	return resp, nil
}

// wireError marks what happened on the way, to tell it from what a client above
// refuses to do.
type wireError struct{ err error }

func (e *wireError) Error() string { return e.err.Error() }
func (e *wireError) Unwrap() error { return e.err }

// errGuess answers go-containerregistry, which tries registries on loopback and
// private addresses without TLS, before or after it tried with.
var errGuess = errors.New("not tried without TLS")

// check applies the rules to a request, and takes the credentials off one that
// was redirected to another host.
func (n *network) check(r *http.Request) error {
	target := hostPort(r.URL.Host, r.URL.Scheme)
	if r.URL.Scheme == "http" && !n.plain && r.Response == nil && hostPort(r.URL.Host, "https") == n.host {
		return errGuess
	}
	if r.URL.Scheme != "https" && (r.URL.Scheme != "http" || !n.plain || !n.listed[target]) {
		return fmt.Errorf("%w: %s://%s is not https, and not listed under registry.plainHTTP", errForbidden, safe.Line(r.URL.Scheme), safe.Line(r.URL.Host))
	}
	if ip, err := netip.ParseAddr(hostOf(target)); err == nil {
		if err := n.permit(target, ip); err != nil {
			return err
		}
	}
	first, hops := r, 0
	for ; first.Response != nil && first.Response.Request != nil; first = first.Response.Request {
		if hops++; hops > maxRedirects {
			return fmt.Errorf("%w: more than %d redirects", errForbidden, maxRedirects)
		}
	}
	if hops == 0 || first.URL.Scheme == r.URL.Scheme && hostPort(first.URL.Host, first.URL.Scheme) == target {
		return nil
	}
	if r.Body != nil && r.Body != http.NoBody {
		return fmt.Errorf("%w: %s sends a form with credentials on to %s", errForbidden, safe.Line(first.URL.Host), safe.Line(target))
	}
	for _, header := range []string{"Authorization", "Cookie", "Referer"} {
		r.Header.Del(header)
	}
	return nil
}

func closeBody(b io.Closer) {
	if b != nil {
		_ = b.Close() // nothing was sent of it
	}
}

// cappedBody is a body that may not be longer than its cap: beyond it, reading
// is an error, not an end.
type cappedBody struct {
	io.ReadCloser
	left int64
}

var errBodyTooLong = errors.New("the answer is longer than allowed")

func (b *cappedBody) Read(p []byte) (int, error) {
	n, err := b.ReadCloser.Read(p)
	if b.left -= int64(n); b.left < 0 {
		return 0, errBodyTooLong
	}
	return n, err
}
