package dockertest

import (
	"context"
	"io"
	"log"
	"net"
	"net/http"
	"net/http/httptest"
	"net/http/httputil"
	"net/url"
	"os"
	"path/filepath"
	"sync"
	"testing"

	"github.com/moby/moby/client"
)

// Fault is what a [Proxy] does to a call.
type Fault int

// The faults. Lost is a call that took effect and whose answer never came.
const (
	None    Fault = iota
	Hang          // it is never answered, and does not take effect
	HangOn        // it takes effect, and is never answered
	Refuse        // it does not take effect and is answered with status 500
	Dropped       // it does not take effect, and the connection is reset
	Lost          // it takes effect, and the connection is reset
)

// Proxy stands between a client and an engine.
type Proxy struct {
	Client *client.Client // speaks to the engine through the proxy
	Socket string         // where the proxy listens

	mu      sync.Mutex // guards what is below
	fault   Fault
	is      func(*http.Request) bool // the call that is hit, once
	rewrite func(*http.Request)
}

// Proxied returns a proxy in front of an engine, which ends with the test.
func Proxied(t testing.TB, d *Daemon) *Proxy {
	t.Helper()
	dir, err := os.MkdirTemp("", "p") // a socket's path is short
	if err != nil {
		t.Fatal(err)
	}
	p := &Proxy{Socket: filepath.Join(dir, "p.sock")}
	l, err := net.Listen("unix", p.Socket) //nolint:noctx // at once
	if err != nil {
		t.Fatal(err)
	}
	forward := httputil.NewSingleHostReverseProxy(&url.URL{Scheme: "http", Host: "engine"})
	forward.FlushInterval = -1
	forward.ErrorLog = log.New(io.Discard, "", 0)
	forward.Transport = &http.Transport{
		DisableKeepAlives: true, // a connection of an engine that was killed is not used again
		DialContext: func(ctx context.Context, _, _ string) (net.Conn, error) {
			return (&net.Dialer{}).DialContext(ctx, "unix", d.Socket)
		},
	}
	forward.ErrorHandler = func(http.ResponseWriter, *http.Request, error) { panic(http.ErrAbortHandler) }
	server := &httptest.Server{Listener: l, Config: &http.Server{Handler: p.handler(forward), ErrorLog: log.New(io.Discard, "", 0)}} //nolint:gosec // the client is the test
	server.Start()
	if p.Client, err = client.New(client.WithHost("unix://" + p.Socket)); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		_ = p.Client.Close()
		server.CloseClientConnections()
		server.Close()
		_ = os.RemoveAll(dir)
	})
	return p
}

// Strike hits the next call that changes something.
func (p *Proxy) Strike(f Fault) { p.StrikeAt(f, changes) }

// StrikeAt hits the next call that is told of.
func (p *Proxy) StrikeAt(f Fault, is func(*http.Request) bool) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.fault, p.is = f, is
}

// Rewrite changes every request before the engine sees it.
func (p *Proxy) Rewrite(change func(*http.Request)) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.rewrite = change
}

// Struck reports whether the call that was to be hit was.
func (p *Proxy) Struck() bool {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.fault == None
}

func changes(r *http.Request) bool { return r.Method != http.MethodGet && r.Method != http.MethodHead }

// take returns what is to be done to a call.
func (p *Proxy) take(r *http.Request) Fault {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.rewrite != nil {
		p.rewrite(r)
	}
	if p.fault == None || !p.is(r) {
		return None
	}
	f := p.fault
	p.fault = None
	return f
}

func (p *Proxy) handler(forward http.Handler) http.HandlerFunc {
	return func(w http.ResponseWriter, r *http.Request) {
		f := p.take(r)
		switch f {
		case None:
			forward.ServeHTTP(w, r)
			return
		case HangOn, Lost:
			// Nobody hears the answer, and who has gone does not break it off.
			forward.ServeHTTP(httptest.NewRecorder(), r.WithContext(context.WithoutCancel(r.Context())))
		case Refuse:
			http.Error(w, `{"message": "struck by the test"}`, http.StatusInternalServerError)
			return
		case Hang:
			_, _ = io.Copy(io.Discard, r.Body) // a server sees a client go only once it has read all
		case Dropped:
		}
		if f == Hang || f == HangOn {
			<-r.Context().Done()
		}
		panic(http.ErrAbortHandler) // closes the connection without an answer
	}
}
