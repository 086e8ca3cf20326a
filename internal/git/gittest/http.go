package gittest

import (
	"net/http"
	"net/http/cgi"
	"net/http/httptest"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"
)

// HTTP serves a repository with git-http-backend, pushes allowed, and returns
// its URL. Faults may be nil.
func HTTP(t testing.TB, bare string, f *Faults) string {
	t.Helper()
	return serve(t, bare, f, httptest.NewServer)
}

// HTTPS is HTTP with TLS. The certificate is in the file that env names as
// GIT_SSL_CAINFO.
func HTTPS(t testing.TB, bare string, f *Faults) (url string, env map[string]string) {
	t.Helper()
	var srv *httptest.Server
	url = serve(t, bare, f, func(h http.Handler) *httptest.Server {
		srv = httptest.NewTLSServer(h)
		return srv
	})
	return url, map[string]string{"GIT_SSL_CAINFO": writeCA(t, srv)}
}

func serve(t testing.TB, bare string, f *Faults, start func(http.Handler) *httptest.Server) string {
	t.Helper()
	dir := Dir(bare)
	Run(t, dir, "config", "http.receivepack", "true")
	git, err := exec.LookPath("git")
	if err != nil {
		t.Fatal(err)
	}
	var handler http.Handler = &cgi.Handler{
		Path: git,
		Args: []string{"http-backend"},
		Env:  append(Environ(), "GIT_PROJECT_ROOT="+filepath.Dir(dir), "GIT_HTTP_EXPORT_ALL=1", "REMOTE_USER=test"),
		// What the backend says on its standard error is no part of a test.
		Stderr: t.Output(),
	}
	if f != nil {
		handler = f.wrap(handler)
	}
	srv := start(handler)
	t.Cleanup(func() {
		if f != nil {
			f.release()
		}
		srv.CloseClientConnections()
		srv.Close()
	})
	return srv.URL + "/" + filepath.Base(dir)
}

// Fault stands between a client and the server.
type Fault func(next http.Handler) http.Handler

// Match chooses requests. It must not call methods of Faults.
type Match func(*http.Request) bool

// Any matches every request.
func Any(*http.Request) bool { return true }

// Push matches the request that carries the pack of a push.
func Push(r *http.Request) bool {
	return r.Method == http.MethodPost && strings.HasSuffix(r.URL.Path, "/git-receive-pack")
}

// Fetch matches the request that asks for a pack.
func Fetch(r *http.Request) bool {
	return r.Method == http.MethodPost && strings.HasSuffix(r.URL.Path, "/git-upload-pack")
}

// List matches the request that lists refs, for a fetch or a push.
func List(r *http.Request) bool { return strings.HasSuffix(r.URL.Path, "/info/refs") }

// Seen is one request that the server got.
type Seen struct {
	Method, Path string
	Auth         bool // it carried an Authorization header
}

// Faults decides what goes wrong. The zero value lets everything pass. Its
// methods may be called at any time.
type Faults struct {
	mu    sync.Mutex
	rules []*rule
	seen  []Seen
	end   chan struct{} // closed when the test ends, to free what hangs
}

type rule struct {
	match Match
	fault Fault
	left  int
}

// Add makes the next n matching requests fail; a negative n means all of them.
func (f *Faults) Add(m Match, n int, fault Fault) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.rules = append(f.rules, &rule{match: m, fault: fault, left: n})
}

// Clear lets everything pass again.
func (f *Faults) Clear() {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.rules = nil
}

// Requests returns what the server got so far.
func (f *Faults) Requests() []Seen {
	f.mu.Lock()
	defer f.mu.Unlock()
	return append([]Seen(nil), f.seen...)
}

// Forget forgets the requests so far.
func (f *Faults) Forget() {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.seen = nil
}

func (f *Faults) wrap(next http.Handler) http.Handler {
	f.mu.Lock()
	f.end = make(chan struct{})
	f.mu.Unlock()
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		handler := next
		if fault := f.take(r); fault != nil {
			handler = fault(next)
		}
		handler.ServeHTTP(w, r)
	})
}

func (f *Faults) take(r *http.Request) Fault {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.seen = append(f.seen, Seen{Method: r.Method, Path: r.URL.Path, Auth: r.Header.Get("Authorization") != ""})
	for _, rule := range f.rules {
		if rule.left != 0 && rule.match(r) {
			rule.left--
			return rule.fault
		}
	}
	return nil
}

func (f *Faults) release() {
	f.mu.Lock()
	defer f.mu.Unlock()
	if f.end != nil {
		close(f.end)
		f.end = nil
	}
}

// wait waits until the time is over, the client has gone or the test ends.
func (f *Faults) wait(r *http.Request, d time.Duration) {
	f.mu.Lock()
	end := f.end
	f.mu.Unlock()
	timer := time.NewTimer(d)
	defer timer.Stop()
	select {
	case <-timer.C:
	case <-r.Context().Done():
	case <-end:
	}
}
