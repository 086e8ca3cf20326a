package health_test

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/stella-ops/stella"
	"github.com/stella-ops/stella/health"
)

// serve starts a server whose handlers end with the test at the latest.
func serve(t *testing.T, h http.HandlerFunc) *httptest.Server {
	t.Helper()
	srv := httptest.NewServer(h)
	t.Cleanup(srv.Close)
	return srv
}

func ask(t *testing.T, c health.Check) health.Result {
	t.Helper()
	return health.New(health.Config{}).Run(t.Context(), []health.Check{c})[0]
}

func TestHTTP(t *testing.T) {
	elsewhere := serve(t, func(http.ResponseWriter, *http.Request) { t.Error("a redirect to another host was followed") })
	mux := http.NewServeMux()
	mux.HandleFunc("/ok", func(w http.ResponseWriter, r *http.Request) { fmt.Fprint(w, "version 2.4.0 by "+r.UserAgent()) })
	mux.HandleFunc("/teapot", func(w http.ResponseWriter, _ *http.Request) { w.WriteHeader(http.StatusTeapot) })
	mux.HandleFunc("/late", func(w http.ResponseWriter, _ *http.Request) { fmt.Fprint(w, strings.Repeat("x", 64<<10)+"needle") })
	mux.HandleFunc("/elsewhere", func(w http.ResponseWriter, r *http.Request) {
		http.Redirect(w, r, elsewhere.URL+"/latest/meta-data?token=hunter2", http.StatusFound)
	})
	mux.HandleFunc("/hop/{n}", func(w http.ResponseWriter, r *http.Request) {
		next := map[string]string{"3": "/hop/2", "2": "/hop/1", "1": "/ok"}[r.PathValue("n")]
		if next == "" {
			next = "/hop/3"
		}
		http.Redirect(w, r, next, http.StatusMovedPermanently)
	})
	mux.HandleFunc("/header", func(w http.ResponseWriter, _ *http.Request) { w.Header().Set("X-Big", strings.Repeat("x", 1<<20)) })
	srv := serve(t, mux.ServeHTTP)
	for _, tt := range []struct {
		name string
		http health.HTTP
		want string // the error
	}{
		{"200 is what is wanted unless said", health.HTTP{URL: "/ok"}, ""},
		{"another status is not", health.HTTP{URL: "/teapot"}, "answered 418, want 200"},
		{"another status can be wanted", health.HTTP{URL: "/teapot", Status: 418}, ""},
		{"the body has the text", health.HTTP{URL: "/ok", BodyContains: "2.4.0 by stella-health"}, ""},
		{"200 with the wrong body", health.HTTP{URL: "/ok", BodyContains: "2.5.0\x1b[2J"}, `the body does not contain "2.5.0\\u001B[2J" in its first 64 KiB`},
		{"text beyond 64 KiB is not found", health.HTTP{URL: "/late", BodyContains: "needle"}, `the body does not contain "needle" in its first 64 KiB`},
		{"three redirects on the same host", health.HTTP{URL: "/hop/3", BodyContains: "2.4.0"}, ""},
		{"four are too many", health.HTTP{URL: "/hop/4"}, "more than 3 redirects"},
		{"a redirect that is wanted is not followed", health.HTTP{URL: "/elsewhere", Status: 302}, ""},
		{"a redirect to another host is the answer, its query is not shown", health.HTTP{URL: "/elsewhere"}, "answered 302, want 200: a redirect to " + elsewhere.URL + "/latest/meta-data is not followed"},
		{"headers without an end", health.HTTP{URL: "/header"}, "net/http: HTTP/1.x transport connection broken: net/http: server response headers exceeded 65536 bytes; aborted"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			tt.http.URL = srv.URL + tt.http.URL
			got := ask(t, health.Check{Name: "web answers", Target: "web-1", HTTP: &tt.http})
			want := health.Result{Name: "web answers", Target: "web-1", OK: tt.want == "", Error: tt.want, Latency: got.Latency}
			if diff := cmp.Diff(want, got); diff != "" {
				t.Errorf("result (-want +got)\n%s", diff)
			}
			if got.Latency <= 0 {
				t.Errorf("latency is %v", got.Latency)
			}
		})
	}
}

func TestHTTPNeverFollowsFromTLSToPlain(t *testing.T) {
	srv := httptest.NewTLSServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		http.Redirect(w, r, "http://"+r.Host+"/", http.StatusFound)
	}))
	t.Cleanup(srv.Close)
	r := health.New(health.Config{})
	r.Transport().TLSClientConfig = srv.Client().Transport.(*http.Transport).TLSClientConfig
	got := r.Run(t.Context(), []health.Check{{HTTP: &health.HTTP{URL: srv.URL}}})[0]
	want := "answered 302, want 200: a redirect to http://" + srv.Listener.Addr().String() + "/ is not followed"
	if got.Error != want {
		t.Errorf("got %q, want %q", got.Error, want)
	}
}

func TestHTTPAsksTheTargetItself(t *testing.T) {
	if health.New(health.Config{}).Transport().Proxy != nil {
		t.Error("the environment's proxy would answer for the target")
	}
}

func TestABodyWithoutAnEndIsCut(t *testing.T) {
	var sent atomic.Int64
	done := make(chan struct{})
	srv := serve(t, func(w http.ResponseWriter, _ *http.Request) {
		defer close(done)
		chunk := []byte(strings.Repeat("x", 32<<10))
		for sent.Load() < 10<<30 {
			n, err := w.Write(chunk)
			if err != nil {
				return
			}
			sent.Add(int64(n))
		}
	})
	got := ask(t, health.Check{HTTP: &health.HTTP{URL: srv.URL, BodyContains: "needle"}})
	if got.Error != `the body does not contain "needle" in its first 64 KiB` {
		t.Errorf("error %q", got.Error)
	}
	<-done
	// What the sockets' buffers took, and no more.
	if sent.Load() > 64<<20 {
		t.Errorf("%d bytes were sent", sent.Load())
	}
}

func TestHTTPThatHangs(t *testing.T) {
	hang := func(w http.ResponseWriter, r *http.Request) { <-r.Context().Done() }
	trickle := func(w http.ResponseWriter, r *http.Request) {
		fmt.Fprint(w, "a")
		_ = http.NewResponseController(w).Flush()
		<-r.Context().Done()
	}
	for name, h := range map[string]http.HandlerFunc{"before its header": hang, "in its body": trickle} {
		t.Run(name, func(t *testing.T) {
			c := health.Check{Timeout: 30 * time.Millisecond, HTTP: &health.HTTP{URL: serve(t, h).URL, BodyContains: "needle"}}
			if got := ask(t, c); got.OK || got.Error != "no answer within 30ms" {
				t.Errorf("result %+v", got)
			}
		})
	}
}

func TestLinkLocalIsNeverAsked(t *testing.T) {
	for _, c := range []health.Check{
		{HTTP: &health.HTTP{URL: "http://169.254.169.254/latest/meta-data"}},
		{HTTP: &health.HTTP{URL: "http://[::ffff:169.254.169.254]/"}},
		{TCP: &health.TCP{Address: "169.254.169.254:80"}},
		{TCP: &health.TCP{Address: "224.0.0.1:80"}},
	} {
		if got := ask(t, c); !strings.Contains(got.Error, "link-local") {
			t.Errorf("%+v: %+v", c, got)
		}
	}
}

func TestErrorsHideURLs(t *testing.T) {
	for _, u := range []string{"http://user:hunter2@127.0.0.1:1/?token=hunter2", "http://127.0.0.1:1/\x7f?hunter2", "gopher://127.0.0.1/hunter2"} {
		if got := ask(t, health.Check{HTTP: &health.HTTP{URL: u}}); got.OK || strings.Contains(got.Error, "hunter2") {
			t.Errorf("%q: %+v", u, got)
		}
	}
}

func TestTCP(t *testing.T) {
	var lc net.ListenConfig
	l, err := lc.Listen(t.Context(), "tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	c := health.Check{Name: "db reachable", TCP: &health.TCP{Address: l.Addr().String()}}
	if got := ask(t, c); !got.OK {
		t.Errorf("open port: %+v", got)
	}
	if err := l.Close(); err != nil {
		t.Fatal(err)
	}
	if got := ask(t, c); got.OK || !strings.Contains(got.Error, "connection refused") {
		t.Errorf("closed port: %+v", got)
	}
}

// executor answers for components by name.
type executor map[string]string

func (e executor) Exec(ctx context.Context, target, component string, command []string) (string, error) {
	if component == "hangs" {
		<-ctx.Done()
		return "", ctx.Err()
	}
	if out, ok := e[target+"/"+component+" "+strings.Join(command, " ")]; ok {
		return out, nil
	}
	return "line 1\n2\n3\n4\nconnecting\n\x1b[31mboom\x1b[0m\n", errors.New("exited with \x1b1")
}

func TestExec(t *testing.T) {
	r := health.New(health.Config{Exec: executor{"web-1/api /app selftest": "fine"}})
	exec := func(component string) health.Check {
		return health.Check{Target: "web-1", Timeout: 20 * time.Millisecond, Exec: &health.Exec{Component: component, Command: []string{"/app", "selftest"}}}
	}
	got := r.Run(t.Context(), []health.Check{exec("api"), exec("worker"), exec("hangs")})
	want := []health.Result{
		{Target: "web-1", OK: true},
		{Target: "web-1", Error: `exited with \u001B1`, Output: "2\n3\n4\nconnecting\n" + `\u001B[31mboom\u001B[0m`},
		{Target: "web-1", Error: "no answer within 20ms"},
	}
	for i := range got {
		got[i].Latency = 0
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("results (-want +got)\n%s", diff)
	}
	if got := ask(t, exec("api")); got.Error != "exec: not supported" {
		t.Errorf("without an executor: %+v", got)
	}
	if got := ask(t, health.Check{}); got.OK {
		t.Errorf("a check that asks nothing is OK: %+v", got)
	}
}

func TestRunIsParallelAndBounded(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var now, most atomic.Int64
		r := health.NewFake(func(_ context.Context, c health.Check) (string, error) {
			most.Store(max(most.Load(), now.Add(1)))
			<-time.After(time.Second)
			now.Add(-1)
			if c.Name == "7" {
				return "", errors.New("no")
			}
			return "", nil
		})
		checks := make([]health.Check, 32)
		for i := range checks {
			checks[i].Name = fmt.Sprint(i)
		}
		start := time.Now()
		results := r.Run(t.Context(), checks)
		if took := time.Since(start); took != 2*time.Second || most.Load() != 16 {
			t.Errorf("32 checks of one second took %v, %d at once; want 2s, 16", took, most.Load())
		}
		for i, res := range results {
			if res.Name != fmt.Sprint(i) || res.OK != (i != 7) {
				t.Errorf("result %d is %+v", i, res)
			}
		}
	})
}

func TestVerdict(t *testing.T) {
	ok, bad := health.Result{OK: true}, health.Result{}
	for _, tt := range []struct {
		results []health.Result
		want    stella.Health
	}{
		{nil, stella.HealthUnknown},
		{[]health.Result{ok, ok}, stella.Healthy},
		{[]health.Result{ok, bad}, stella.Degraded},
		{[]health.Result{bad}, stella.Unhealthy},
	} {
		if got := health.Verdict(tt.results); got != tt.want {
			t.Errorf("%v is %s, want %s", tt.results, got, tt.want)
		}
	}
}
