package artifact

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/url"
	"slices"
	"strings"
	"time"

	"github.com/google/go-containerregistry/pkg/v1/remote/transport"

	"github.com/stella-ops/stella"
	"github.com/stella-ops/stella/internal/safe"
)

// fault is one try of a request that did not do.
type fault struct {
	class error         // of the root package
	what  string        // for a person, printable
	again bool          // trying again may help
	after time.Duration // what the registry asked to wait; zero if it did not
	hint  string
	err   error // what it came from, for errors.Is; its text is not shown
	// elsewhere: another host than the registry's answered.
	elsewhere bool
}

func (f *fault) Error() string { return f.class.Error() + ": " + f.what }

// Unwrap makes the class and, but for its text, the cause visible.
func (f *fault) Unwrap() []error {
	if f.err == nil {
		return []error{f.class}
	}
	return []error{f.class, f.err}
}

// maxMessageRunes is how much of a registry's own words is shown.
const maxMessageRunes = 200

// statusFault is an answer with a status that is not success. The body is the
// registry's text, of which only the errors of the distribution specification
// are shown, one line, cut.
func (s *session) statusFault(resp *http.Response) *fault {
	err := transport.CheckError(resp)
	what := safe.Clip("status "+resp.Status, maxMessageRunes)
	if told, ok := errors.AsType[*transport.Error](err); ok {
		what = statusText(told)
	}
	return s.classify(resp.StatusCode, what, resp.Request)
}

func statusText(e *transport.Error) string {
	text := []string{fmt.Sprintf("status %d %s", e.StatusCode, http.StatusText(e.StatusCode))}
	for _, d := range e.Errors[:min(len(e.Errors), 3)] {
		text = append(text, strings.TrimSpace(string(d.Code)+" "+d.Message))
	}
	return safe.Clip(strings.Join(text, "; "), maxMessageRunes)
}

// classify says what a status means for whoever asked; r is the request that
// was answered, after redirects.
func (s *session) classify(status int, what string, r *http.Request) *fault {
	f := &fault{class: stella.ErrInvalid, what: what}
	if r != nil && hostPort(r.URL.Host, r.URL.Scheme) != s.net.host {
		f.what, f.elsewhere = safe.Line(r.URL.Host)+": "+what, true
	}
	switch {
	case status == http.StatusUnauthorized, status == http.StatusForbidden:
		f.class = stella.ErrDenied
		f.hint = "run 'docker login " + safe.Line(s.registry()) + "', or check that the repository exists and may be read"
	case status == http.StatusNotFound:
		f.class = stella.ErrNotFound
		f.hint = "check the reference; if it was there once, a clean-up of the registry may have removed it"
	case slices.Contains([]int{http.StatusTooManyRequests, http.StatusInternalServerError, http.StatusBadGateway, http.StatusServiceUnavailable, http.StatusGatewayTimeout}, status):
		f.class, f.again = stella.ErrUnreachable, true
	case status >= http.StatusInternalServerError:
		f.class = stella.ErrUnreachable
	}
	return f
}

// fault is a request that got no answer, or whose answer broke off. The
// text of err is shown without the request's URL, which may be signed.
func (s *session) fault(err error) *fault {
	if already, ok := errors.AsType[*fault](err); ok {
		return already
	}
	if status, ok := errors.AsType[*transport.Error](err); ok {
		return s.classify(status.StatusCode, statusText(status), status.Request)
	}
	f := &fault{class: stella.ErrUnreachable, what: safe.Clip(withoutURL(err).Error(), maxMessageRunes), err: err}
	var (
		client *url.Error
		wire   *wireError
		record tls.RecordHeaderError
	)
	switch {
	case errors.Is(err, errForbidden):
		f.class = stella.ErrRefused
		f.what = strings.TrimPrefix(f.what, stella.ErrRefused.Error()+" ")
	case errors.Is(err, errBodyTooLong):
		f.class = stella.ErrInvalid
	case errors.As(err, &client) && !errors.As(err, &wire):
		f.class = stella.ErrRefused // by the client: a redirect to nowhere, or one that it has rules for
	case errors.As(err, &record) && string(record.RecordHeader[:]) == "HTTP/":
		f.what = "it answers without TLS"
		f.hint = "list " + safe.Line(s.registry()) + " under registry.plainHTTP in stella.yaml if it really has no TLS"
	default:
		f.again = isTransient(err)
	}
	return f
}

// isTransient reports whether a failed connection may come to life.
func isTransient(err error) bool {
	var (
		cert   *tls.CertificateVerificationError
		record tls.RecordHeaderError
		alert  tls.AlertError
		dns    *net.DNSError
	)
	switch {
	case errors.As(err, &cert), errors.As(err, &record), errors.As(err, &alert):
		return false
	case errors.As(err, &dns):
		return !dns.IsNotFound
	}
	return true
}

// isConnection recognises what a cut or absent connection looks like.
func isConnection(err error) bool {
	var op net.Error
	return errors.As(err, &op) || errors.Is(err, io.ErrUnexpectedEOF) || errors.Is(err, net.ErrClosed)
}

// withoutURL returns what is below the *url.Error of net/http.
func withoutURL(err error) error {
	var u *url.Error
	for errors.As(err, &u) {
		err = u.Err
	}
	return err
}

// ended returns why ctx ended, if it did: nothing that failed after that says
// anything about a registry.
func ended(ctx context.Context) error {
	if ctx.Err() == nil {
		return nil
	}
	return context.Cause(ctx)
}

// problem is a fault of the image itself: trying again does not change it.
func problem(class error, format string, args ...any) *fault {
	return &fault{class: class, what: fmt.Sprintf(format, args...)}
}
