package wire

import (
	"bytes"
	"context"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/url"
	"os"
	"strings"
	"time"

	"golang.org/x/net/http/httpproxy"

	"github.com/stella-ops/stella"
	"github.com/stella-ops/stella/internal/safe"
)

// httpDialer speaks the smart protocol over HTTP (gitprotocol-http(5)): one
// request to list, one to fetch or push.
type httpDialer struct {
	cfg    *Config
	ep     *Endpoint
	client *http.Client
	creds  *credentials
}

func newHTTPDialer(cfg *Config, ep *Endpoint) (*httpDialer, error) {
	roots, err := roots(cfg.Getenv)
	if err != nil {
		return nil, err
	}
	proxy := (&httpproxy.Config{
		HTTPProxy:  first(cfg.Getenv, "http_proxy", "HTTP_PROXY"),
		HTTPSProxy: first(cfg.Getenv, "https_proxy", "HTTPS_PROXY"),
		NoProxy:    first(cfg.Getenv, "no_proxy", "NO_PROXY"),
	}).ProxyFunc()
	d := &httpDialer{cfg: cfg, ep: ep, creds: newCredentials(cfg, ep)}
	d.client = &http.Client{
		CheckRedirect: d.checkRedirect,
		Transport: &http.Transport{
			Proxy:                  func(r *http.Request) (*url.URL, error) { return proxy(r.URL) },
			DialContext:            (&net.Dialer{Timeout: cfg.Timeout}).DialContext,
			TLSClientConfig:        &tls.Config{MinVersion: tls.VersionTLS12, RootCAs: roots},
			TLSHandshakeTimeout:    cfg.Timeout,
			ForceAttemptHTTP2:      true,
			MaxIdleConnsPerHost:    4,
			IdleConnTimeout:        90 * time.Second,
			MaxResponseHeaderBytes: 64 << 10,
		},
	}
	return d, nil
}

func (d *httpDialer) close() { d.client.CloseIdleConnections() }

func first(getenv func(string) string, names ...string) string {
	for _, n := range names {
		if v := getenv(n); v != "" {
			return v
		}
	}
	return ""
}

// roots adds the file that git would trust to those of the system.
func roots(getenv func(string) string) (*x509.CertPool, error) {
	file := getenv("GIT_SSL_CAINFO")
	if file == "" {
		return nil, nil
	}
	pem, err := os.ReadFile(file)
	if err != nil {
		return nil, fmt.Errorf("%w: GIT_SSL_CAINFO: %w", stella.ErrInvalid, err)
	}
	pool, err := x509.SystemCertPool()
	if err != nil {
		pool = x509.NewCertPool()
	}
	if !pool.AppendCertsFromPEM(pem) {
		return nil, fmt.Errorf("%w: GIT_SSL_CAINFO: no certificate in %s", stella.ErrInvalid, safe.Line(file))
	}
	return pool, nil
}

const maxRedirects = 3

// checkRedirect follows only the listing, only to the same host, and never from
// https to http: who wants another host has to say so in the configuration.
func (d *httpDialer) checkRedirect(req *http.Request, via []*http.Request) error {
	from := via[len(via)-1].URL
	to := safe.Clip(safe.URL(strings.TrimSuffix(req.URL.Scheme+"://"+req.URL.Host+req.URL.Path, infoRefs)), 200)
	sameHost := strings.EqualFold(from.Host, req.URL.Host) ||
		from.Scheme == "http" && req.URL.Scheme == "https" && strings.EqualFold(from.Hostname(), req.URL.Hostname()) && from.Port() == "" && req.URL.Port() == ""
	switch {
	case via[0].Method != http.MethodGet:
		return fmt.Errorf("%w: the server redirects a request with content to %s", stella.ErrInvalid, to)
	case !sameHost || req.URL.Scheme == "http" && from.Scheme == "https":
		return stella.WithHint(fmt.Errorf("%w: the server redirects to another place, %s", stella.ErrInvalid, to),
			"if that is right, set the repository's address to it")
	case len(via) > maxRedirects:
		return fmt.Errorf("%w: the server redirects more than %d times", stella.ErrInvalid, maxRedirects)
	}
	return nil
}

const infoRefs = "/info/refs"

func (d *httpDialer) base() string { return d.ep.Scheme + "://" + d.ep.hostPort() + d.ep.Path }

func (d *httpDialer) dial(ctx context.Context, s Service, version int) (*Conn, error) {
	//nolint:bodyclose // closed as c.advert
	resp, err := d.do(ctx, http.MethodGet, d.base()+infoRefs+"?service="+string(s), nil, version, "application/x-"+string(s)+"-advertisement")
	if err != nil {
		return nil, err
	}
	// Where a redirect led to is where the rest goes, too.
	base := *resp.Request.URL
	base.RawQuery = ""
	base.Path, base.RawPath = strings.TrimSuffix(base.Path, infoRefs), strings.TrimSuffix(base.RawPath, infoRefs)
	c := &Conn{said: &said{}, advert: resp.Body}
	advert := drained{resp.Body}
	c.heard = func() { _ = advert.Close() }
	c.send = func(ctx context.Context, body []byte) (io.ReadCloser, error) {
		//nolint:bodyclose // closed by who asked
		answer, err := d.do(ctx, http.MethodPost, base.String()+"/"+string(s), body, version, "application/x-"+string(s)+"-result")
		if err != nil {
			return nil, err
		}
		return drained{answer.Body}, nil
	}
	c.hangUp = func(bool) error { return advert.Close() }
	return c, nil
}

// drained reads the little that may be left before it closes, so that the
// connection can be used again.
type drained struct{ io.ReadCloser }

func (d drained) Close() error {
	_, _ = io.CopyN(io.Discard, d.ReadCloser, 1<<10)
	return d.ReadCloser.Close()
}

// do sends a request, with credentials once the server wants them.
func (d *httpDialer) do(ctx context.Context, method, url string, body []byte, version int, accept string) (*http.Response, error) {
	for try := 0; ; try++ {
		req, err := http.NewRequestWithContext(ctx, method, url, bytes.NewReader(body))
		if err != nil {
			return nil, fmt.Errorf("%w: the request can not be made", stella.ErrInvalid)
		}
		d.setHeaders(req, version, accept)
		used := d.creds.apply(req)
		resp, err := d.client.Do(req)
		if err != nil {
			return nil, transportError(err)
		}
		if resp.StatusCode == http.StatusUnauthorized {
			_ = resp.Body.Close()
			// Once with new credentials, and no more: repeating wrong ones locks
			// accounts.
			if try == 0 && d.creds.renew(ctx, used) {
				continue
			}
			return nil, d.denied(used)
		}
		if used && resp.StatusCode < 400 {
			d.creds.approve(ctx)
		}
		if err := checkResponse(resp, accept); err != nil {
			_ = resp.Body.Close()
			return nil, err
		}
		return resp, nil
	}
}

func (d *httpDialer) setHeaders(req *http.Request, version int, accept string) {
	req.Header.Set("User-Agent", userAgent)
	req.Header.Set("Accept", accept)
	req.Header.Set("Cache-Control", "no-cache")
	if version == 2 {
		req.Header.Set("Git-Protocol", "version=2")
	}
	if req.Method == http.MethodPost {
		req.Header.Set("Content-Type", strings.TrimSuffix(accept, "result")+"request")
	}
}

func (d *httpDialer) denied(used bool) error {
	hint := "set STELLA_GIT_TOKEN, or STELLA_GIT_USERNAME and STELLA_GIT_PASSWORD, or configure a git credential helper"
	if used {
		return stella.WithHint(notLetIn(fmt.Errorf("%w: the server does not accept the credentials", stella.ErrDenied)), hint)
	}
	return stella.WithHint(notLetIn(fmt.Errorf("%w: the server wants credentials", stella.ErrDenied)), hint)
}

// transportError is the reason without the URL that net/http puts before it.
func transportError(err error) error {
	if ue, ok := errors.AsType[*url.Error](err); ok {
		err = ue.Err
	}
	var unknown x509.UnknownAuthorityError
	var cert *tls.CertificateVerificationError
	if errors.As(err, &unknown) || errors.As(err, &cert) {
		return stella.WithHint(fmt.Errorf("%w: the server's certificate is not trusted: %s", stella.ErrUnreachable, printable(err)),
			"name the file of the authority's certificate in GIT_SSL_CAINFO")
	}
	return err
}

// checkResponse turns everything that is not the protocol into an error.
func checkResponse(resp *http.Response, accept string) error {
	switch code := resp.StatusCode; {
	case code == http.StatusForbidden:
		return stella.WithHint(notLetIn(fmt.Errorf("%w: the server forbids it", stella.ErrDenied)), "check with 'git ls-remote' what the credentials may do")
	case code == http.StatusNotFound || code == http.StatusGone:
		return stella.WithHint(notLetIn(fmt.Errorf("%w: the server knows no such repository", stella.ErrNotFound)),
			"check the repository's address with 'git ls-remote'; some servers say this when the credentials do not suffice")
	case code == http.StatusRequestEntityTooLarge:
		return notLetIn(fmt.Errorf("%w: the server says that it is too large", stella.ErrRefused))
	case code == http.StatusTooManyRequests || code == http.StatusServiceUnavailable:
		return &BusyError{Status: code, After: retryAfter(resp.Header.Get("Retry-After"), time.Now())}
	case code >= 500:
		return fmt.Errorf("%w: the server failed with HTTP status %d", stella.ErrUnreachable, code)
	case code != http.StatusOK:
		return fmt.Errorf("%w: the server answered with HTTP status %d", stella.ErrInvalid, code)
	}
	got, _, _ := strings.Cut(resp.Header.Get("Content-Type"), ";")
	if got = strings.TrimSpace(got); got != accept {
		return stella.WithHint(
			fmt.Errorf("%w: the answer is %s and not Git's protocol", stella.ErrUnreachable, orNothing(safe.Clip(got, 60))),
			"check the repository's address with 'git ls-remote', and whether a login page of the network or a proxy answers in its place")
	}
	return nil
}

func orNothing(s string) string {
	if s == "" {
		return "of no type"
	}
	return s
}

// BusyError says that the remote asked to come back later. It is of class
// stella.ErrUnreachable.
type BusyError struct {
	Status int           // of HTTP: 429 or 503
	After  time.Duration // as asked for, at most an hour; zero when it did not say
}

// Error implements error.
func (e *BusyError) Error() string {
	if e.After == 0 {
		return fmt.Sprintf("%s: the server is busy (HTTP status %d)", stella.ErrUnreachable, e.Status)
	}
	return fmt.Sprintf("%s: the server is busy (HTTP status %d) and asks to wait %s", stella.ErrUnreachable, e.Status, e.After)
}

// Unwrap returns stella.ErrUnreachable.
func (e *BusyError) Unwrap() error { return stella.ErrUnreachable }

// retryAfter parses a Retry-After header (RFC 9110, 10.2.3).
func retryAfter(v string, now time.Time) time.Duration {
	const most = time.Hour
	if at, err := http.ParseTime(v); err == nil {
		return min(max(0, at.Sub(now).Round(time.Second)), most)
	}
	var seconds uint32
	if _, err := fmt.Sscanf(v, "%d", &seconds); err != nil {
		return 0
	}
	return min(time.Duration(seconds)*time.Second, most)
}
