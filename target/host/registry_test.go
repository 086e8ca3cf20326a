//go:build linux

package host

import (
	"errors"
	"net/http/httptest"
	"os"
	"strings"
	"testing"
	"time"

	"github.com/stella-ops/stella"
	"github.com/stella-ops/stella/artifact"
	"github.com/stella-ops/stella/internal/registry"
)

// TestFromARealRegistry has no fakes: an image of two layers is pushed, pulled,
// verified, flattened, unpacked and run.
func TestFromARealRegistry(t *testing.T) {
	t.Parallel()
	handler, err := registry.New(t.TempDir(), nil)
	if err != nil {
		t.Fatal(err)
	}
	server := httptest.NewServer(handler)
	defer server.Close()
	host := strings.TrimPrefix(server.URL, "http://")
	program, err := os.ReadFile(appPath)
	if err != nil {
		t.Fatal(err)
	}
	push := func(tag string) stella.Artifact {
		t.Helper()
		a, err := registry.Push(t.Context(), host, "shop/api", tag, registry.Build{
			Layers: [][]registry.File{
				{{Name: "usr/bin/app", Content: program}, {Name: "bin", Link: "usr/bin"}, {Name: "version", Content: []byte("base"), Mode: 0o644}, {Name: "secret", Content: []byte("x")}},
				{{Name: "version", Content: []byte(tag), Mode: 0o644}, {Name: ".wh.secret"}},
			},
			Config: artifact.ImageConfig{
				Entrypoint: []string{"app"}, Cmd: []string{"serve"}, Env: []string{"PATH=/bin"}, User: "1000",
				Healthcheck: &artifact.Healthcheck{Test: []string{"CMD", "app", "say", "well"}, Interval: 50 * time.Millisecond, Retries: 1},
			},
		})
		if err != nil {
			t.Fatal(err)
		}
		return a
	}
	client := artifact.New(artifact.Config{PlainHTTP: []string{host}})
	s := newScene(t, func(c *Config) { c.Images = client })
	if s.Host, err = Open(t.Context(), s.cfg); err != nil {
		t.Fatal(err)
	}
	port := freePort(t)
	web := func(a stella.Artifact) stella.Resource {
		return serviceOf("web", a, fields{"environment": fields{"PORT": portText(port)}, "ports": portField(port)})
	}
	one, two := push("1.0"), push("1.1")
	for _, a := range []stella.Artifact{one, two} {
		s.deploy(t, web(a))
		if got := version(t, port); got != a.Tag {
			t.Errorf("version %q, want %q", got, a.Tag)
		}
		eventually(t, "it is healthy", func() bool { return s.component(t, "web").Health == stella.RunHealthHealthy })
	}
	if _, err := s.Exec(t.Context(), "web", []string{"app", "exists", "/secret"}); err == nil {
		t.Error("a file that a layer removed is there")
	}
	server.Close()
	s.deploy(t, web(one))
	if got := version(t, port); got != "1.0" {
		t.Errorf("back: version %q", got)
	}
	ghost := one
	ghost.Digest = stella.Digest("sha256:" + strings.Repeat("0", 64))
	if err := s.tryDeploy(t.Context(), web(ghost)); !errors.Is(err, stella.ErrUnreachable) {
		t.Errorf("%v, want ErrUnreachable", err)
	}
	if got := version(t, port); got != "1.0" {
		t.Errorf("after a refusal: version %q", got)
	}
}
