package artifact_test

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"

	"github.com/google/go-containerregistry/pkg/name"
	v1 "github.com/google/go-containerregistry/pkg/v1"
	"github.com/google/go-containerregistry/pkg/v1/remote"
	"github.com/google/go-containerregistry/pkg/v1/types"

	"github.com/stella-ops/stella"
	"github.com/stella-ops/stella/artifact"
	"github.com/stella-ops/stella/internal/registry"
)

// lab is a registry that misbehaves on demand. It is reached over the network
// (serve) or in memory (the http.RoundTripper that it is), where synctest's
// clock runs.
type lab struct {
	t     testing.TB
	inner http.Handler

	mu    sync.Mutex
	fault func(w http.ResponseWriter, r *http.Request) (handled bool)
	seen  []string // method and path of each request
}

func newLab(t testing.TB) *lab {
	t.Helper()
	h, err := registry.New(t.TempDir(), slog.New(slog.NewTextHandler(t.Output(), nil)))
	if err != nil {
		t.Fatal(err)
	}
	return &lab{t: t, inner: h}
}

func (l *lab) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	l.mu.Lock()
	l.seen = append(l.seen, r.Method+" "+r.URL.Path)
	fault := l.fault
	l.mu.Unlock()
	if fault == nil || !fault(w, r) {
		l.inner.ServeHTTP(w, r)
	}
}

// breaks installs a fault and forgets what was seen.
func (l *lab) breaks(f func(w http.ResponseWriter, r *http.Request) bool) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.fault, l.seen = f, nil
}

func (l *lab) requests(part string) int {
	l.mu.Lock()
	defer l.mu.Unlock()
	n := 0
	for _, s := range l.seen {
		if strings.Contains(s, part) {
			n++
		}
	}
	return n
}

// serve makes the lab reachable over plain HTTP.
func (l *lab) serve() (host string) {
	s := httptest.NewServer(l)
	l.t.Cleanup(s.Close)
	return strings.TrimPrefix(s.URL, "http://")
}

// memoryHost is what the lab is called when it is reached in memory.
const memoryHost = "registry.test"

func (l *lab) client(c artifact.Config) *artifact.Client {
	c.Transport = l
	c.Logger = slog.New(slog.NewTextHandler(l.t.Output(), &slog.HandlerOptions{Level: slog.LevelDebug}))
	return artifact.New(c)
}

// RoundTrip implements http.RoundTripper: it runs the handler in this process,
// with a body that comes as it is written.
func (l *lab) RoundTrip(r *http.Request) (*http.Response, error) {
	pr, pw := io.Pipe()
	w := &pipeWriter{header: http.Header{}, body: pw, started: make(chan struct{})}
	go func() {
		defer func() {
			switch recover() {
			case nil:
				w.WriteHeader(http.StatusOK)
				_ = pw.Close()
			default: // http.ErrAbortHandler: the connection is cut
				w.start(0)
				_ = pw.CloseWithError(io.ErrUnexpectedEOF)
			}
		}()
		if r.Body == nil {
			r.Body = http.NoBody
		}
		l.ServeHTTP(w, r)
	}()
	ctx := r.Context()
	stop := context.AfterFunc(ctx, func() { _ = pr.CloseWithError(context.Cause(ctx)) })
	select {
	case <-w.started:
	case <-ctx.Done():
		return nil, ctx.Err()
	}
	if w.status == 0 {
		stop()
		return nil, io.ErrUnexpectedEOF
	}
	resp := &http.Response{
		StatusCode: w.status, Status: fmt.Sprintf("%d %s", w.status, http.StatusText(w.status)),
		Header: w.header, Request: r, ContentLength: -1, Body: &pipeBody{PipeReader: pr, stop: stop},
	}
	if n, err := fmt.Sscan(w.header.Get("Content-Length"), &resp.ContentLength); n != 1 || err != nil {
		resp.ContentLength = -1
	}
	if r.Method == http.MethodHead {
		_ = pr.Close()
		resp.Body = http.NoBody
	}
	return resp, nil
}

type pipeWriter struct {
	header  http.Header
	body    *io.PipeWriter
	started chan struct{}
	once    sync.Once
	status  int // 0: cut before it was said
}

func (w *pipeWriter) Header() http.Header { return w.header }

func (w *pipeWriter) WriteHeader(status int) { w.start(status) }

func (w *pipeWriter) start(status int) {
	w.once.Do(func() {
		w.status = status
		close(w.started)
	})
}

func (w *pipeWriter) Write(p []byte) (int, error) {
	w.WriteHeader(http.StatusOK)
	return w.body.Write(p)
}

func (w *pipeWriter) Flush() { w.WriteHeader(http.StatusOK) }

type pipeBody struct {
	*io.PipeReader
	stop func() bool
}

func (b *pipeBody) Close() error {
	b.stop()
	return b.PipeReader.Close()
}

// push puts an image or an index into the lab, and returns its reference on
// the host.
func (l *lab) push(host, tag string, what any) stella.Artifact {
	l.t.Helper()
	return push(l.t, l, host, tag, what)
}

func push(t testing.TB, rt http.RoundTripper, host, tag string, what any, opts ...remote.Option) stella.Artifact {
	t.Helper()
	ref, err := name.ParseReference(host + "/shop/api:" + tag)
	if err != nil {
		t.Fatal(err)
	}
	opts = append(opts, remote.WithContext(t.Context()), remote.WithTransport(rt))
	var digest v1.Hash
	switch what := what.(type) {
	case v1.Image:
		err = remote.Write(ref, what, opts...)
		digest, _ = what.Digest()
	case v1.ImageIndex:
		err = remote.WriteIndex(ref, what, opts...)
		digest, _ = what.Digest()
	}
	if err != nil {
		t.Fatal(err)
	}
	a := stella.Artifact{Registry: host, Repository: "shop/api", Tag: tag, Digest: stella.Digest(digest.String())}
	return a
}

// raw puts any bytes into the lab as a manifest, without a look at them.
func (l *lab) raw(contentType string, manifest []byte) stella.Artifact {
	l.t.Helper()
	d, _, err := v1.SHA256(bytes.NewReader(manifest))
	if err != nil {
		l.t.Fatal(err)
	}
	req := httptest.NewRequestWithContext(l.t.Context(), http.MethodPut, "/v2/shop/api/manifests/"+d.String(), bytes.NewReader(manifest))
	req.Header.Set("Content-Type", contentType)
	rec := httptest.NewRecorder()
	l.inner.ServeHTTP(rec, req)
	if rec.Code != http.StatusCreated {
		l.t.Fatalf("put manifest: %d %s", rec.Code, rec.Body)
	}
	return stella.Artifact{Registry: memoryHost, Repository: "shop/api", Digest: stella.Digest(d.String())}
}

// blob puts bytes into the lab.
func (l *lab) blob(data []byte) v1.Descriptor {
	l.t.Helper()
	d, size, err := v1.SHA256(bytes.NewReader(data))
	if err != nil {
		l.t.Fatal(err)
	}
	req := httptest.NewRequestWithContext(l.t.Context(), http.MethodPost, "/v2/shop/api/blobs/uploads/?digest="+d.String(), bytes.NewReader(data))
	rec := httptest.NewRecorder()
	l.inner.ServeHTTP(rec, req)
	if rec.Code != http.StatusCreated {
		l.t.Fatalf("put blob: %d %s", rec.Code, rec.Body)
	}
	return v1.Descriptor{Digest: d, Size: size, MediaType: types.OCILayer}
}

// sample is a small image for this machine.
func sample(t testing.TB, layers ...[]registry.File) v1.Image {
	t.Helper()
	if len(layers) == 0 {
		layers = [][]registry.File{
			{{Name: "usr/bin/app", Content: bytes.Repeat([]byte("incompressible? "), 200)}, {Name: "bin", Link: "usr/bin"}},
			{{Name: "etc/app.conf", Mode: 0o644, Content: []byte("port=80\n")}},
		}
	}
	image, err := registry.Build{Layers: layers, Config: artifact.ImageConfig{Entrypoint: []string{"/bin/app"}, User: "1000"}}.Image()
	if err != nil {
		t.Fatal(err)
	}
	return image
}

// pull is Pull into a new directory, which must be empty after an error.
func pull(t testing.TB, c *artifact.Client, a stella.Artifact) (*artifact.Image, error) {
	t.Helper()
	dir := t.TempDir()
	img, err := c.Pull(t.Context(), a, artifact.Host(), dir)
	left, gerr := filepath.Glob(filepath.Join(dir, "*"))
	if gerr != nil || err != nil && len(left) > 0 {
		t.Errorf("left behind: %v, %v", left, gerr)
	}
	return img, err
}

// wantClass fails unless err is of the class, of no other, and fit to print.
func wantClass(t testing.TB, err, want error) {
	t.Helper()
	if !errors.Is(err, want) {
		t.Errorf("got %v, want the class %v", err, want)
	}
	for _, other := range []error{
		stella.ErrNotFound, stella.ErrDenied, stella.ErrUnreachable, stella.ErrTampered, stella.ErrInvalid, stella.ErrUnsupported, stella.ErrRefused,
	} {
		if err != nil && !errors.Is(want, other) && errors.Is(err, other) {
			t.Errorf("%v is also of the class %v", err, other)
		}
	}
	if err != nil && strings.ContainsFunc(err.Error(), func(r rune) bool { return r < ' ' || r >= 0x7f && r < 0xa0 }) {
		t.Errorf("raw text in %q", err)
	}
}

func readFile(t testing.TB, path string) []byte {
	t.Helper()
	data, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	return data
}

func digestOf(data []byte) stella.Digest {
	d, _, _ := v1.SHA256(bytes.NewReader(data))
	return stella.Digest(d.String())
}
