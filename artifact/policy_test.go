package artifact_test

import (
	"crypto/x509"
	"io"
	"log"
	"net/http"
	"net/http/httptest"
	"net/url"
	"strings"
	"sync/atomic"
	"testing"

	"github.com/stella-ops/stella"
	"github.com/stella-ops/stella/artifact"
)

// TestPlainHTTPIsNeverGuessed is R10: not on loopback, not on a private
// address, not after TLS failed.
func TestPlainHTTPIsNeverGuessed(t *testing.T) {
	l := newLab(t)
	host := l.serve()
	a := push(t, http.DefaultTransport, host, "1", sample(t))
	l.breaks(nil)
	for _, name := range []string{host, strings.Replace(host, "127.0.0.1", "localhost", 1)} {
		a.Registry = name
		_, err := artifact.New(artifact.Config{DockerConfig: login(t, name)}).Resolve(t.Context(), a)
		wantClass(t, err, stella.ErrUnreachable)
		if !strings.Contains(stella.Hint(err), "plainHTTP") || strings.Contains(err.Error(), "tried") {
			t.Errorf("%v (hint %q)", err, stella.Hint(err))
		}
	}
	if n := l.requests(""); n != 0 {
		t.Errorf("%d requests in the clear", n)
	}
	a.Registry = host
	for _, listed := range []string{host, strings.ToUpper(host)} {
		if _, err := artifact.New(artifact.Config{PlainHTTP: []string{listed}}).Resolve(t.Context(), a); err != nil {
			t.Errorf("listed as %s: %v", listed, err)
		}
	}
}

func TestTLS(t *testing.T) {
	l := newLab(t)
	s := httptest.NewUnstartedServer(l)
	s.Config.ErrorLog = log.New(t.Output(), "", 0)
	s.StartTLS()
	t.Cleanup(s.Close)
	host := strings.TrimPrefix(s.URL, "https://")
	a := push(t, s.Client().Transport, host, "1", sample(t))
	l.breaks(nil)
	_, err := artifact.New(artifact.Config{}).Resolve(t.Context(), a)
	wantClass(t, err, stella.ErrUnreachable)
	if err == nil || strings.Contains(err.Error(), "tried") {
		t.Errorf("a certificate of nobody: %v", err)
	}
	roots := x509.NewCertPool()
	roots.AddCert(s.Certificate())
	c := artifact.New(artifact.Config{RootCAs: roots})
	if _, err := c.Check(t.Context(), a); err != nil {
		t.Error(err)
	}
	// Its certificate is for 127.0.0.1 and example.com.
	a.Registry = strings.Replace(host, "127.0.0.1", "localhost", 1)
	_, err = c.Resolve(t.Context(), a)
	wantClass(t, err, stella.ErrUnreachable)
}

// redirect sends requests for a part of the registry elsewhere.
func redirect(part, to string) func(w http.ResponseWriter, r *http.Request) bool {
	return func(w http.ResponseWriter, r *http.Request) bool {
		if !strings.Contains(r.URL.Path, part) {
			return false
		}
		w.Header().Set("Location", to)
		w.WriteHeader(http.StatusTemporaryRedirect)
		return true
	}
}

// TestRedirectsThatAreRefused is R09, for blobs, manifests and token servers.
func TestRedirectsThatAreRefused(t *testing.T) {
	l := newLab(t)
	host := l.serve()
	a := push(t, http.DefaultTransport, host, "1", sample(t))
	var reached atomic.Int32
	other := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		reached.Add(1)
		_, _ = io.WriteString(w, `{"token":"stolen"}`)
	}))
	t.Cleanup(other.Close)
	port := other.URL[strings.LastIndex(other.URL, ":"):]
	c := artifact.New(artifact.Config{PlainHTTP: []string{host}, DockerConfig: login(t, host)})
	for name, target := range map[string]string{
		"the metadata service":         "http://169.254.169.254/latest/meta-data/",
		"the same over TLS":            "https://169.254.169.254/latest/meta-data/",
		"the same in IPv6":             "https://[fd00:ec2::254]/",
		"the same, mapped":             "https://[::ffff:169.254.169.254]/",
		"link-local":                   "https://[fe80::1]/",
		"any address":                  "https://0.0.0.0" + port + "/",
		"a private address":            "https://10.1.2.3/",
		"HTTP on loopback":             other.URL,
		"HTTP by name":                 "http://localhost" + port,
		"a file":                       "file:///etc/passwd",
		"itself for ever":              "/v2/shop/api/blobs/manifests/" + string(a.Digest),
		"itself for ever, with a name": "http://" + host + "/blobs/manifests/token",
	} {
		for _, part := range []string{"/manifests/", "/blobs/"} {
			t.Run(name+part, func(t *testing.T) {
				l.breaks(redirect(part, target))
				_, err := pull(t, c, a)
				wantClass(t, err, stella.ErrRefused)
				if n := l.requests(""); n > 12 {
					t.Errorf("%d requests", n)
				}
			})
		}
		if strings.HasPrefix(name, "itself") {
			continue
		}
		t.Run(name+" as token server", func(t *testing.T) {
			k := &tokens{realm: target}
			l.breaks(k.guard)
			fresh := artifact.New(artifact.Config{PlainHTTP: []string{host}, DockerConfig: login(t, host)})
			_, err := pull(t, fresh, a)
			want := stella.ErrRefused
			if strings.HasPrefix(target, "file:") {
				want = stella.ErrInvalid
			}
			wantClass(t, err, want)
			noSecret(t, err)
		})
		t.Run(name+" behind the token server", func(t *testing.T) {
			k := &tokens{realm: "http://" + host + "/token"}
			l.breaks(func(w http.ResponseWriter, r *http.Request) bool {
				return redirect("/token", target)(w, r) || k.guard(w, r)
			})
			fresh := artifact.New(artifact.Config{PlainHTTP: []string{host}, DockerConfig: login(t, host)})
			_, err := pull(t, fresh, a)
			wantClass(t, err, stella.ErrRefused)
			noSecret(t, err)
		})
	}
	if n := reached.Load(); n != 0 {
		t.Errorf("%d requests went where none may go", n)
	}
}

// TestRedirectsThatAreFollowed: a blob store on another host, which must not
// see the credentials, and whose URLs are signed.
func TestRedirectsThatAreFollowed(t *testing.T) {
	l := newLab(t)
	host := l.serve()
	a := push(t, http.DefaultTransport, host, "1", sample(t))
	var seen atomic.Value
	seen.Store("")
	store := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if r.Header.Get("Authorization") != "" || r.Header.Get("Referer") != "" {
			seen.Store("the store saw " + r.Header.Get("Authorization") + r.Header.Get("Referer"))
		}
		if r.Method == http.MethodHead || r.URL.Query().Get("sig") != secret {
			w.WriteHeader(http.StatusForbidden) // as signed URLs for GET are
			return
		}
		r.URL.RawQuery = ""
		l.inner.ServeHTTP(w, r)
	}))
	t.Cleanup(store.Close)
	storeHost := strings.TrimPrefix(store.URL, "http://")
	l.breaks(func(w http.ResponseWriter, r *http.Request) bool {
		if user, _, _ := r.BasicAuth(); user != "anna" {
			w.Header().Set("WWW-Authenticate", `Basic realm="lab"`)
			w.WriteHeader(http.StatusUnauthorized)
			return true
		}
		return redirect("/blobs/", store.URL+r.URL.Path+"?sig="+url.QueryEscape(secret))(w, r)
	})
	c := artifact.New(artifact.Config{PlainHTTP: []string{host, storeHost}, DockerConfig: login(t, host)})
	if _, err := pull(t, c, a); err != nil {
		t.Error(err)
	}
	if report, err := c.Check(t.Context(), a); err != nil || !report.Available {
		t.Errorf("Check: %+v, %v", report, err)
	}
	if s := seen.Load(); s != "" {
		t.Error(s)
	}
	// The store fails: its signed URL must not be in the error.
	store.CloseClientConnections()
	store.Close()
	c = artifact.New(artifact.Config{PlainHTTP: []string{host, storeHost}, DockerConfig: login(t, host), Attempts: 1})
	_, err := pull(t, c, a)
	wantClass(t, err, stella.ErrUnreachable)
	noSecret(t, err)
}

func TestAProxyIsUsed(t *testing.T) {
	l := newLab(t)
	a := l.push(memoryHost, "1", sample(t))
	proxy := httptest.NewServer(l) // HTTP requests through a proxy look like requests to it
	t.Cleanup(proxy.Close)
	c := artifact.New(artifact.Config{PlainHTTP: []string{memoryHost}, Getenv: func(k string) string {
		return map[string]string{"HTTP_PROXY": proxy.URL}[k]
	}})
	if _, err := pull(t, c, a); err != nil {
		t.Error(err)
	}
}

func TestAHostileHeaderIsCleaned(t *testing.T) {
	s := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		h, ok := w.(http.Hijacker)
		if !ok {
			return
		}
		conn, _, err := h.Hijack()
		if err != nil {
			return
		}
		_, _ = io.WriteString(conn, "HTTP/1.1 200 OK\r\n\x1b]0;evil\a: x\r\n\r\n")
		_ = conn.Close()
	}))
	t.Cleanup(s.Close)
	host := strings.TrimPrefix(s.URL, "http://")
	c := artifact.New(artifact.Config{PlainHTTP: []string{host}, Attempts: 1})
	_, err := c.Resolve(t.Context(), stella.Artifact{Registry: host, Repository: "a", Tag: "1"})
	wantClass(t, err, stella.ErrUnreachable)
}
