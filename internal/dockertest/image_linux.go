package dockertest

import (
	"bytes"
	"context"
	"fmt"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/stella-ops/stella"
	"github.com/stella-ops/stella/artifact"
	"github.com/stella-ops/stella/internal/registry"
)

// App is the program of every image that [Image] makes, a shell script at /app.
// It prints "app VERSION starts", and then as its environment says:
//
//	PORT=80          serves /version and /healthz over HTTP there
//	HEALTH=bad       /healthz is not there, and the command /healthy fails
//	DIE_AFTER=30     ends with status 3 after so many seconds
//	SICK_AFTER=30    gets unhealthy after so many seconds, as with HEALTH=bad
//	ON_TERM=ignore   ignores SIGTERM; else prints "app VERSION ends" and ends with status 0
//	DIE_AT_ONCE=1    ends with status 3 without having started
//
// A file /tmp/sick in the container makes it unhealthy at any time.
const App = `#!/bin/sh
[ -z "$DIE_AT_ONCE" ] || { echo "app $APP_VERSION dies"; exit 3; }
if [ "$ON_TERM" = ignore ]; then trap '' TERM; else trap 'echo "app $APP_VERSION ends"; exit 0' TERM; fi
if [ "$HEALTH" = bad ]; then rm -f /www/healthz; touch /tmp/sick; fi
[ -z "$PORT" ] || httpd -p "$PORT" -h /www
echo "app $APP_VERSION starts"
if [ -n "$SICK_AFTER" ]; then (sleep "$SICK_AFTER"; rm -f /www/healthz; touch /tmp/sick) & fi
if [ -n "$DIE_AFTER" ]; then sleep "$DIE_AFTER" & wait $!; echo "app $APP_VERSION dies"; exit 3; fi
while :; do sleep 3600 & wait $!; done
`

// healthy is the command of health checks.
const healthy = "#!/bin/sh\n[ ! -e /tmp/sick ]\n"

// registryConfig listens on a free port of loopback only.
const registryConfig = `version: 0.1
log: {level: info, formatter: text, accesslog: {disabled: true}}
storage: {filesystem: {rootdirectory: %s}, delete: {enabled: true}}
http: {addr: "127.0.0.1:0"}
`

// Image makes an image of [App] of a version and pushes it to [Registry]. It has
// busybox with its usual commands, APP_VERSION in its environment, and no health
// check of its own: "CMD /healthy" is one. With changes to what is built the
// digest is another one, and the tag is the version all the same.
func Image(t testing.TB, version string, changes ...func(*registry.Build)) stella.Artifact {
	t.Helper()
	host := Registry(t)
	b, err := build(version)
	if err != nil {
		t.Fatal(err)
	}
	for _, change := range changes {
		change(&b)
	}
	a, err := registry.Push(t.Context(), host, "test/app", version, b)
	if err != nil {
		t.Fatal(err)
	}
	return a
}

// build is the image before any change. Versions share their lower layer.
func build(version string) (registry.Build, error) {
	path, err := exec.LookPath("busybox")
	if err != nil {
		return registry.Build{}, err
	}
	busybox, err := os.ReadFile(path) //nolint:gosec // a program of this machine
	if err != nil {
		return registry.Build{}, err
	}
	base := []registry.File{{Name: "bin/"}, {Name: "bin/busybox", Content: busybox}}
	for _, name := range []string{"sh", "sleep", "httpd", "rm", "touch", "cat", "echo", "env", "id", "ls", "mkdir", "nc", "ping", "ps", "pwd", "stat", "test", "true", "false", "wget", "hostname", "kill", "date", "dd", "grep", "sed", "nslookup", "mount", "df", "ip", "ifconfig"} {
		base = append(base, registry.File{Name: "bin/" + name, Link: "busybox"})
	}
	base = append(base, registry.File{Name: "tmp/", Mode: 0o1777}, registry.File{Name: "etc/"}, registry.File{Name: "www/", Mode: 0o777},
		registry.File{Name: "etc/passwd", Mode: 0o644, Content: []byte("root:x:0:0:root:/:/bin/sh\napp:x:1000:1000:app:/:/bin/sh\n")},
		registry.File{Name: "etc/group", Mode: 0o644, Content: []byte("root:x:0:\napp:x:1000:\n")})
	own := []registry.File{
		{Name: "app", Content: []byte(App)},
		{Name: "healthy", Content: []byte(healthy)},
		{Name: "www/version", Mode: 0o644, Content: []byte(version)},
		{Name: "www/healthz", Mode: 0o644, Content: []byte("ok\n")},
	}
	return registry.Build{
		Layers: [][]registry.File{base, own},
		Config: artifact.ImageConfig{Entrypoint: []string{"/app"}, Env: []string{"PATH=/bin", "APP_VERSION=" + version}},
	}, nil
}

// Registry returns the address of the registry that the tests of this binary
// share, a real docker-registry, as engines and tests name it. The first call
// starts it.
func Registry(t testing.TB) string {
	t.Helper()
	need(t)
	suite.mu.Lock()
	defer suite.mu.Unlock()
	if suite.registry == "" {
		address, err := startRegistry(filepath.Join(suite.dir, "registry"))
		if err != nil {
			t.Fatal(err)
		}
		suite.registry = address
	}
	return suite.registry
}

func startRegistry(dir string) (address string, err error) {
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return "", err
	}
	config := filepath.Join(dir, "config.yml")
	if err := os.WriteFile(config, fmt.Appendf(nil, registryConfig, filepath.Join(dir, "data")), 0o600); err != nil {
		return "", err
	}
	cmd := exec.Command("docker-registry", "serve", config) //nolint:noctx // lives longer than a test
	var log lockedBuffer
	cmd.Stdout, cmd.Stderr = &log, &log
	cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true} // Ctrl-C is for the tests
	if err := cmd.Start(); err != nil {
		return "", err
	}
	listens := regexp.MustCompile(`listening on (127\.0\.0\.1:[0-9]+)`)
	for deadline := time.Now().Add(patience); time.Now().Before(deadline); <-time.After(10 * time.Millisecond) {
		if m := listens.FindStringSubmatch(log.String()); m != nil {
			return m[1], pingRegistry(m[1])
		}
	}
	return "", fmt.Errorf("docker-registry does not listen:\n%s", log.String())
}

func pingRegistry(address string) error {
	ctx, cancel := context.WithTimeout(context.Background(), patience)
	defer cancel()
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, "http://"+address+"/v2/", http.NoBody)
	if err != nil {
		return err
	}
	resp, err := http.DefaultClient.Do(req)
	if err != nil {
		return err
	}
	return resp.Body.Close()
}

// lockedBuffer is a buffer that one goroutine writes and others read.
type lockedBuffer struct {
	mu  sync.Mutex // guards buf
	buf bytes.Buffer
}

func (l *lockedBuffer) Write(p []byte) (int, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.buf.Write(p)
}

func (l *lockedBuffer) String() string {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.buf.String()
}
