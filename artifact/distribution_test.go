package artifact_test

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"net"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/google/go-containerregistry/pkg/authn"
	v1 "github.com/google/go-containerregistry/pkg/v1"
	"github.com/google/go-containerregistry/pkg/v1/remote"
	"golang.org/x/crypto/bcrypt"

	"github.com/stella-ops/stella"
	"github.com/stella-ops/stella/artifact"
	"github.com/stella-ops/stella/internal/registry"
)

// distribution starts Debian's docker-registry on a free port of loopback, with
// users of an htpasswd file if there are any. It is not skipped where the
// program is missing: the registries that there are in the field are its kin.
func distribution(t *testing.T, users map[string]string) (host string) {
	t.Helper()
	binary, err := exec.LookPath("docker-registry")
	if err != nil {
		t.Fatal("docker-registry is missing: apt-get install docker-registry")
	}
	host = freePort(t)
	dir := t.TempDir()
	config := fmt.Sprintf("version: 0.1\nlog: {level: error}\nstorage:\n  filesystem: {rootdirectory: %s}\n  delete: {enabled: true}\nhttp: {addr: %q}\n", dir, host)
	if users != nil {
		var lines []string
		for user, password := range users {
			hash, err := bcrypt.GenerateFromPassword([]byte(password), bcrypt.MinCost)
			if err != nil {
				t.Fatal(err)
			}
			lines = append(lines, user+":"+string(hash))
		}
		file := filepath.Join(dir, "htpasswd")
		writeFile(t, file, []byte(strings.Join(lines, "\n")+"\n"))
		config += fmt.Sprintf("auth:\n  htpasswd: {realm: test, path: %s}\n", file)
	}
	configFile := filepath.Join(dir, "config.yml")
	writeFile(t, configFile, []byte(config))
	ctx, cancel := context.WithCancel(context.Background()) // t.Context ends before the clean-ups
	var out safeBuffer
	cmd := exec.CommandContext(ctx, binary, "serve", configFile)
	cmd.Env = []string{"PATH=" + os.Getenv("PATH")} // REGISTRY_… would change its configuration
	cmd.Stdout, cmd.Stderr = &out, &out
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	gone := make(chan error, 1)
	go func() { gone <- cmd.Wait() }()
	t.Cleanup(func() {
		cancel()
		if err := <-gone; err == nil {
			t.Error("docker-registry ended on its own")
		}
	})
	awaitPort(t, host, gone, &out)
	return host
}

type safeBuffer struct {
	mu sync.Mutex
	b  bytes.Buffer
}

func (s *safeBuffer) Write(p []byte) (int, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.b.Write(p)
}

func (s *safeBuffer) String() string {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.b.String()
}

func freePort(t *testing.T) string {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = l.Close() }()
	return l.Addr().String()
}

// awaitPort waits until somebody listens.
func awaitPort(t *testing.T, host string, gone chan error, out *safeBuffer) {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), 20*time.Second)
	defer cancel()
	tick := time.NewTicker(10 * time.Millisecond)
	defer tick.Stop()
	for {
		conn, err := (&net.Dialer{}).DialContext(ctx, "tcp", host)
		if err == nil {
			_ = conn.Close()
			return
		}
		select {
		case <-tick.C:
		case err := <-gone:
			gone <- err
			t.Fatalf("docker-registry ended: %v\n%s", err, out)
		case <-ctx.Done():
			t.Fatalf("docker-registry does not listen: %v\n%s", err, out)
		}
	}
}

// TestDistribution runs the whole against the registry that most are made of.
func TestDistribution(t *testing.T) {
	host := distribution(t, nil)
	c := artifact.New(artifact.Config{PlainHTTP: []string{host}})
	a, err := registry.Push(t.Context(), host, "shop/api", "1.0", registry.Build{
		Layers: [][]registry.File{{{Name: "bin/app", Content: []byte("#!")}}, {{Name: "etc/conf", Mode: 0o644, Content: []byte("x")}}},
		Config: artifact.ImageConfig{Cmd: []string{"/bin/app"}},
	})
	if err != nil {
		t.Fatal(err)
	}
	byTag := a
	byTag.Digest = ""
	if got, err := c.Resolve(t.Context(), byTag); err != nil || got != a {
		t.Errorf("Resolve: %v, %v", got, err)
	}
	report, err := c.Check(t.Context(), a)
	if err != nil || !report.Available {
		t.Errorf("Check: %+v, %v", report, err)
	}
	img, err := pull(t, c, a)
	if err != nil {
		t.Fatal(err)
	}
	if got := strings.Join(files(t, img), ", "); got != "bin/ 755, etc/ 755, bin/app 755 #!, etc/conf 644 x" {
		t.Errorf("files %s", got)
	}
	index := push(t, http.DefaultTransport, host, "multi", indexOf(t, map[string]v1.Image{artifact.Host().String(): sample(t), "plan9/arm": sample(t)}))
	if _, err := pull(t, c, index); err != nil {
		t.Error(err)
	}

	remove(t, host, "shop/api/manifests/"+string(a.Digest))
	_, err = c.Resolve(t.Context(), a)
	wantClass(t, err, stella.ErrNotFound)
	_, err = c.Resolve(t.Context(), stella.Artifact{Registry: host, Repository: "no/body", Tag: "1"})
	wantClass(t, err, stella.ErrNotFound)
	a.Registry = strings.Replace(host, "127.0.0.1", "localhost", 1)
	_, err = c.Resolve(t.Context(), a) // another name: not listed
	wantClass(t, err, stella.ErrUnreachable)
}

func remove(t *testing.T, host, path string) {
	t.Helper()
	req, err := http.NewRequestWithContext(t.Context(), http.MethodDelete, "http://"+host+"/v2/"+path, nil)
	if err != nil {
		t.Fatal(err)
	}
	resp, err := http.DefaultClient.Do(req)
	if err != nil {
		t.Fatal(err)
	}
	_ = resp.Body.Close()
	if resp.StatusCode != http.StatusAccepted {
		t.Fatal(resp.Status)
	}
}

// TestDistributionWithPasswords: htpasswd, and a layer that is gone.
func TestDistributionWithPasswords(t *testing.T) {
	host := distribution(t, map[string]string{"anna": secret})
	image := sample(t)
	a := push(t, http.DefaultTransport, host, "1", image, remote.WithAuth(&authn.Basic{Username: "anna", Password: secret}))
	c := artifact.New(artifact.Config{PlainHTTP: []string{host}, DockerConfig: login(t, host)})
	if _, err := pull(t, c, a); err != nil {
		t.Error(err)
	}
	if report, err := c.Check(t.Context(), a); err != nil || !report.Available {
		t.Errorf("Check: %+v, %v", report, err)
	}
	for name, config := range map[string]string{"nobody": t.TempDir(), "somebody else": dockerConfig(t, map[string]any{"auths": map[string]any{host: map[string]any{"username": "anna", "password": "no"}}})} {
		_, err := artifact.New(artifact.Config{PlainHTTP: []string{host}, DockerConfig: config}).Check(t.Context(), a)
		wantClass(t, err, stella.ErrDenied)
		if !strings.Contains(stella.Hint(err), "docker login "+host) {
			t.Errorf("%s: hint %q", name, stella.Hint(err))
		}
		noSecret(t, err)
	}
	layers, err := image.Layers()
	if err != nil {
		t.Fatal(err)
	}
	gone, err := layers[0].Digest()
	if err != nil {
		t.Fatal(err)
	}
	removeWithPassword(t, host, "shop/api/blobs/"+gone.String())
	report, err := c.Check(t.Context(), a)
	wantClass(t, err, stella.ErrNotFound)
	if report.Available || len(report.Missing) != 1 || report.Missing[0].Digest.Hex() != gone.Hex {
		t.Errorf("report %+v", report)
	}
	_, err = pull(t, c, a)
	wantClass(t, err, stella.ErrNotFound)
	if errors.Is(err, stella.ErrDenied) {
		t.Error(err)
	}
}

func removeWithPassword(t *testing.T, host, path string) { remove(t, "anna:"+secret+"@"+host, path) }
