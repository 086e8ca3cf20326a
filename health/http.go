package health

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
	"syscall"

	"github.com/stella-ops/stella/internal/safe"
)

const (
	maxBodyBytes   = 64 << 10 // of which BodyContains is looked for
	maxHeaderBytes = 64 << 10
	maxRedirects   = 3
)

// newClient returns a client of its own: no proxy from the environment, which
// would answer for the target; a new connection for each try, since a kept one
// says nothing about who would get one now; no compression, so that the body's
// bound is one on memory.
func newClient(dialer *net.Dialer) *http.Client {
	return &http.Client{
		Transport: &http.Transport{
			DialContext:            dialer.DialContext,
			DisableKeepAlives:      true,
			DisableCompression:     true,
			MaxResponseHeaderBytes: maxHeaderBytes,
		},
		CheckRedirect: checkRedirect,
	}
}

var errLinkLocal = errors.New("a link-local or multicast address is never asked")

// refuseLinkLocal keeps checks away from the addresses where clouds serve
// credentials (169.254.169.254). It sees the address that is dialled, after
// names were resolved.
func refuseLinkLocal(_, address string, _ syscall.RawConn) error {
	ap, err := netip.ParseAddrPort(address)
	if err != nil {
		return err
	}
	ip := ap.Addr().Unmap()
	if ip.IsLinkLocalUnicast() || ip.IsMulticast() {
		return errLinkLocal
	}
	return nil
}

// wantedStatus is how checkRedirect knows what the check waits for.
type wantedStatus struct{}

// checkRedirect follows a redirect on the same host and port, up to
// maxRedirects; any other is itself the answer.
func checkRedirect(req *http.Request, via []*http.Request) error {
	first := via[0]
	want, _ := first.Context().Value(wantedStatus{}).(int)
	switch {
	case want >= 300 && want < 400,
		!strings.EqualFold(req.URL.Host, first.URL.Host),
		first.URL.Scheme == "https" && req.URL.Scheme != "https":
		return http.ErrUseLastResponse
	case len(via) > maxRedirects:
		return fmt.Errorf("more than %d redirects", maxRedirects)
	default:
		return nil
	}
}

func (r *Runner) askHTTP(ctx context.Context, h HTTP) error {
	want := h.Status
	if want == 0 {
		want = http.StatusOK
	}
	ctx = context.WithValue(ctx, wantedStatus{}, want)
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, h.URL, http.NoBody)
	if err != nil {
		return withoutURL(err)
	}
	req.Header.Set("User-Agent", "stella-health")
	resp, err := r.client.Do(req)
	if err != nil {
		return withoutURL(err)
	}
	// Closing without reading the rest ends the connection: a body without an
	// end costs nothing.
	defer resp.Body.Close() //nolint:errcheck // nothing was written
	if resp.StatusCode != want {
		return statusError(resp, want)
	}
	return askBody(resp.Body, h.BodyContains)
}

// withoutURL drops the URL that net/http and net/url put in front of every
// error: the check's name says which it is, and its query may hold a
// credential.
func withoutURL(err error) error {
	if u, ok := errors.AsType[*url.Error](err); ok {
		return u.Err
	}
	return err
}

func statusError(resp *http.Response, want int) error {
	if to := resp.Header.Get("Location"); to != "" && resp.StatusCode >= 300 && resp.StatusCode < 400 {
		const mostRunes = 80
		return fmt.Errorf("answered %d, want %d: a redirect to %s is not followed", resp.StatusCode, want, safe.Clip(safe.URL(to), mostRunes))
	}
	return fmt.Errorf("answered %d, want %d", resp.StatusCode, want)
}

func askBody(body io.Reader, contains string) error {
	if contains == "" {
		return nil
	}
	text, err := io.ReadAll(io.LimitReader(body, maxBodyBytes))
	switch {
	case strings.Contains(string(text), contains):
		return nil
	case err != nil:
		return fmt.Errorf("read the body: %w", err)
	default:
		const mostRunes = 40
		return fmt.Errorf("the body does not contain %q in its first %d KiB", safe.Clip(contains, mostRunes), maxBodyBytes>>10)
	}
}
