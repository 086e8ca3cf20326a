package acceptance_test

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
	"regexp"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/stella-ops/stella"
	"github.com/stella-ops/stella/artifact"
	"github.com/stella-ops/stella/internal/registry"
	"github.com/stella-ops/stella/internal/sampleapp"
)

// registryConfig listens on a free port of loopback only; the packaged
// configuration would listen everywhere.
const registryConfig = `version: 0.1
log: {level: info, formatter: text, accesslog: {disabled: true}}
storage: {filesystem: {rootdirectory: %s}, delete: {enabled: true}}
http: {addr: "127.0.0.1:0"}
`

// startRegistry runs Debian's docker-registry until stop is called.
func startRegistry(ctx context.Context) (stop func(), err error) {
	config := filepath.Join(shared.scratch, "registry.yml")
	text := fmt.Sprintf(registryConfig, filepath.Join(shared.scratch, "registry"))
	if err := os.WriteFile(config, []byte(text), 0o600); err != nil {
		return func() {}, err
	}
	cmd := exec.CommandContext(ctx, "docker-registry", "serve", config)
	cmd.SysProcAttr = &syscall.SysProcAttr{Pdeathsig: syscall.SIGKILL}
	var log logBuffer
	cmd.Stdout, cmd.Stderr = &log, &log
	if err := cmd.Start(); err != nil {
		return func() {}, fmt.Errorf("start docker-registry, which scripts/setup-tests.sh installs: %w", err)
	}
	stop = func() {
		_ = cmd.Process.Kill()
		_ = cmd.Wait()
	}
	listens := regexp.MustCompile(`listening on (127\.0\.0\.1:[0-9]+)`)
	for deadline := time.Now().Add(patience); time.Now().Before(deadline); {
		if m := listens.FindStringSubmatch(log.String()); m != nil {
			shared.registry = m[1]
			return stop, pingRegistry(ctx)
		}
		<-time.After(20 * time.Millisecond)
	}
	return stop, fmt.Errorf("docker-registry does not listen:\n%s", log.String())
}

func pingRegistry(ctx context.Context) error {
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, "http://"+shared.registry+"/v2/", nil)
	if err != nil {
		return err
	}
	resp, err := http.DefaultClient.Do(req)
	if err != nil {
		return err
	}
	return resp.Body.Close()
}

// logBuffer is a buffer that one goroutine writes and others read.
type logBuffer struct {
	mu  sync.Mutex // guards buf
	buf bytes.Buffer
}

func (l *logBuffer) Write(p []byte) (int, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.buf.Write(p)
}

func (l *logBuffer) String() string {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.buf.String()
}

func pushImage(t *testing.T, repository, tag string, b registry.Build) stella.Artifact {
	t.Helper()
	a, err := registry.Push(t.Context(), shared.registry, repository, tag, b)
	if err != nil {
		t.Fatal(err)
	}
	return a
}

// app is a program that a world deploys.
type app interface {
	// image is a version of it.
	image(w *world, version string) registry.Build
	// files are what it has in envs/production/app besides release.yaml.
	files(w *world) map[string]string
	// version says which version a process is, from what the kernel knows of it.
	version(w *world, pid int) string
}

// tiny is busybox's HTTP server: it starts at once and is small. A version
// whose name ends in -bad starts and is not healthy.
type tiny struct{}

func bad(version string) bool { return strings.HasSuffix(version, "-bad") }

func (tiny) image(w *world, version string) registry.Build {
	w.t.Helper()
	busybox, err := exec.LookPath("busybox")
	if err != nil {
		w.t.Fatal(err)
	}
	program, err := os.ReadFile(busybox)
	if err != nil {
		w.t.Fatal(err)
	}
	pages := []registry.File{{Name: "www/version", Mode: 0o644, Content: []byte(version)}}
	if !bad(version) {
		pages = append(pages, registry.File{Name: "www/healthz", Mode: 0o644, Content: []byte("ok\n")})
	}
	return registry.Build{
		// Links between directories, as merged-/usr distributions have them.
		Layers: [][]registry.File{
			{{Name: "usr/"}, {Name: "usr/bin/"}, {Name: "bin", Link: "usr/bin"}, {Name: "usr/bin/busybox", Content: program}, {Name: "www/"}},
			pages,
		},
		Config: artifact.ImageConfig{Entrypoint: []string{"/bin/busybox", "httpd", "-f", "-h", "/www"}, Env: []string{versionVariable + "=" + version}},
	}
}

func (tiny) files(w *world) map[string]string {
	text := "services:\n"
	for _, s := range w.services {
		text += fmt.Sprintf("  %s:\n    command: [\"-p\", \"${ADDRESS}:${%s}\"]\n    restart: unless-stopped\n", s, portVariable(s))
	}
	return map[string]string{"envs/production/app/compose.yaml": text}
}

// versionVariable is in the environment that an image gives its process.
const versionVariable = sampleapp.EnvVersion

func (tiny) version(w *world, pid int) string { return variable(w.t, pid, versionVariable) }

// sample is the application that stella brings along. It listens on 127.0.0.1:
// a world of it has one target.
type sample struct{}

func (sample) image(w *world, version string) registry.Build {
	w.t.Helper()
	program, err := os.ReadFile(shared.binary)
	if err != nil {
		w.t.Fatal(err)
	}
	env := []string{sampleapp.EnvVersion + "=" + version}
	if bad(version) {
		env = append(env, sampleapp.EnvFault+"=unhealthy")
	}
	return registry.Build{
		Layers: [][]registry.File{{{Name: "stella", Content: program}}},
		Config: artifact.ImageConfig{Entrypoint: []string{"/stella", "sample-app"}, Env: env},
	}
}

func (sample) files(w *world) map[string]string {
	text := "services:\n"
	for _, s := range w.services {
		text += fmt.Sprintf("  %s:\n    restart: unless-stopped\n    environment:\n      PORT: ${%s}\n      SAMPLE_GREETING: /etc/greeting\n"+
			"    configs:\n    - {source: greeting, target: /etc/greeting}\n", s, portVariable(s))
	}
	return map[string]string{
		"envs/production/app/compose.yaml":    text + "configs:\n  greeting: {file: config/greeting}\n",
		"envs/production/app/config/greeting": "Good morning.\n",
	}
}

func (sample) version(w *world, pid int) string { return variable(w.t, pid, sampleapp.EnvVersion) }

// freePort returns a port that nothing listens on, below those that the kernel
// gives to outgoing connections: nobody takes it by chance.
func freePort(t *testing.T) int {
	t.Helper()
	for range 1000 {
		port := int(lastPort.Add(1))
		err := errors.Join(canListen(fmt.Sprintf("127.0.0.1:%d", port)), canListen(fmt.Sprintf("127.0.0.2:%d", port)))
		if err == nil {
			return port
		}
	}
	t.Fatal("no port is free")
	return 0
}

func canListen(address string) error {
	l, err := net.Listen("tcp", address)
	if err != nil {
		return err
	}
	return l.Close()
}
