package registry_test

import (
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/stella-ops/stella/artifact"
	"github.com/stella-ops/stella/internal/registry"
)

func serve(t *testing.T, dir string) (host string, stop func()) {
	t.Helper()
	h, err := registry.New(dir, nil)
	if err != nil {
		t.Fatal(err)
	}
	s := httptest.NewServer(h)
	t.Cleanup(s.Close)
	return strings.TrimPrefix(s.URL, "http://"), s.Close
}

func sample(version string) registry.Build {
	return registry.Build{
		Layers: [][]registry.File{
			{{Name: "usr/bin/"}, {Name: "usr/bin/app", Content: []byte("#!" + version)}, {Name: "bin", Link: "usr/bin"}},
			{{Name: "etc/app.conf", Mode: 0o644, Content: []byte("x")}},
		},
		Config: artifact.ImageConfig{
			Entrypoint: []string{"/bin/app"}, Env: []string{"A=b"}, User: "1000", WorkingDir: "/srv", StopSignal: "SIGINT",
			ExposedPorts: []string{"80/tcp"}, Volumes: []string{"/data"}, Labels: map[string]string{"l": "v"},
			Healthcheck: &artifact.Healthcheck{Test: []string{"CMD", "true"}, Interval: time.Second, Retries: 3},
		},
	}
}

func TestASecondStartGoesOnWhereTheFirstWas(t *testing.T) {
	dir := t.TempDir()
	host, stop := serve(t, dir)
	old, err := registry.Push(t.Context(), host, "shop/api", "1", sample("1"))
	if err != nil {
		t.Fatal(err)
	}
	// The tag moves on; the old digest must survive that and the restart.
	moved, err := registry.Push(t.Context(), host, "shop/api", "1", sample("2"))
	if err != nil {
		t.Fatal(err)
	}
	if old.Digest == moved.Digest {
		t.Fatal("two different images have one digest")
	}
	stop()

	host, _ = serve(t, dir)
	c := artifact.New(artifact.Config{PlainHTTP: []string{host}, Attempts: 1})
	old.Registry, moved.Registry = host, host
	byTag := moved
	byTag.Digest = ""
	got, err := c.Resolve(t.Context(), byTag)
	if diff := cmp.Diff(moved, got); err != nil || diff != "" {
		t.Errorf("Resolve: %v (-want +got):\n%s", err, diff)
	}
	for _, a := range []struct {
		name string
		of   registry.Build
	}{{"1", sample("1")}, {"2", sample("2")}} {
		want := old
		if a.name == "2" {
			want = moved
		}
		img, err := c.Pull(t.Context(), want, artifact.Host(), t.TempDir())
		if err != nil {
			t.Fatal(err)
		}
		wantConfig := a.of.Config
		wantConfig.Platform = artifact.Host().String()
		if diff := cmp.Diff(wantConfig, img.Config); diff != "" {
			t.Errorf("config (-want +got):\n%s", diff)
		}
	}
}

func TestBuildIsReproducible(t *testing.T) {
	host, _ := serve(t, t.TempDir())
	one, err := registry.Push(t.Context(), host, "a", "1", sample("1"))
	if err != nil {
		t.Fatal(err)
	}
	two, err := registry.Push(t.Context(), host, "b", "2", sample("1"))
	if err != nil || one.Digest != two.Digest {
		t.Errorf("digests %s and %s, %v", one.Digest, two.Digest, err)
	}
}

func TestDamagedManifestsAreNotPassedOver(t *testing.T) {
	dir := t.TempDir()
	host, stop := serve(t, dir)
	if _, err := registry.Push(t.Context(), host, "a", "1", sample("1")); err != nil {
		t.Fatal(err)
	}
	stop()
	files, err := filepath.Glob(filepath.Join(dir, "manifests", "*.json"))
	if err != nil || len(files) != 2 {
		t.Fatalf("%d files, %v", len(files), err)
	}
	if err := os.WriteFile(files[0], []byte("{"), 0o600); err != nil {
		t.Fatal(err)
	}
	if _, err := registry.New(dir, nil); err == nil {
		t.Error("a damaged manifest went unnoticed")
	}
}
