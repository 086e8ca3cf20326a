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

	"github.com/google/go-containerregistry/pkg/name"
	v1 "github.com/google/go-containerregistry/pkg/v1"
	"github.com/google/go-containerregistry/pkg/v1/mutate"
	"github.com/google/go-containerregistry/pkg/v1/remote"

	"github.com/stella-ops/stella"
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

// image is a version of an app: files that it shares with other versions, its
// own in a layer above them, and how it is run.
type image struct {
	base   string                   // names what is shared
	shared func() [][]registry.File // called once for each name
	own    []registry.File          // none: no layer
	config v1.Config
}

// bases are the shared layers, by name: to compress a program takes longer than
// to deploy it.
var bases = struct {
	mu  sync.Mutex // held while one is built: nobody builds it twice
	all map[string]v1.Image
}{all: map[string]v1.Image{}}

func (i image) build() (v1.Image, error) {
	bases.mu.Lock()
	defer bases.mu.Unlock()
	built, known := bases.all[i.base]
	if !known {
		var err error
		if built, err = (registry.Build{Layers: i.shared()}).Image(); err != nil {
			return nil, err
		}
		bases.all[i.base] = built
	}
	if len(i.own) > 0 {
		top, err := registry.Build{Layers: [][]registry.File{i.own}}.Image()
		if err != nil {
			return nil, err
		}
		layers, err := top.Layers()
		if err != nil {
			return nil, err
		}
		if built, err = mutate.AppendLayers(built, layers...); err != nil {
			return nil, err
		}
	}
	return mutate.Config(built, i.config)
}

// push pushes an image and returns it with its digest.
func (i image) push(t *testing.T, repository, tag string) stella.Artifact {
	t.Helper()
	built, err := i.build()
	if err != nil {
		t.Fatal(err)
	}
	ref, err := name.NewTag(shared.registry+"/"+repository+":"+tag, name.Insecure)
	if err != nil {
		t.Fatal(err)
	}
	if err := remote.Write(ref, built, remote.WithContext(t.Context())); err != nil {
		t.Fatal(err)
	}
	digest, err := built.Digest()
	if err != nil {
		t.Fatal(err)
	}
	return stella.Artifact{Registry: shared.registry, Repository: repository, Tag: tag, Digest: stella.Digest(digest.String())}
}

// readFile reads a program that goes into an image.
func readFile(t *testing.T, path string) []byte {
	t.Helper()
	data, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	return data
}

// app is a program that a world deploys.
type app interface {
	// image is a version of it.
	image(w *world, version string) image
	// files are what it has in envs/production/app besides release.yaml.
	files(w *world) map[string]string
	// version says which version a process is, from what the kernel knows of it.
	version(w *world, pid int) string
}

// tiny is busybox's HTTP server: it starts at once and is small. A version
// whose name ends in -bad starts and is not healthy.
type tiny struct{}

func bad(version string) bool { return strings.HasSuffix(version, "-bad") }

func (tiny) image(w *world, version string) image {
	w.t.Helper()
	busybox, err := exec.LookPath("busybox")
	if err != nil {
		w.t.Fatal(err)
	}
	pages := []registry.File{{Name: "www/version", Mode: 0o644, Content: []byte(version)}}
	if !bad(version) {
		pages = append(pages, registry.File{Name: "www/healthz", Mode: 0o644, Content: []byte("ok\n")})
	}
	return image{
		base: "busybox",
		shared: func() [][]registry.File {
			// Links between directories, as distributions with a merged /usr have them.
			return [][]registry.File{{
				{Name: "usr/"},
				{Name: "usr/bin/"},
				{Name: "bin", Link: "usr/bin"},
				{Name: "usr/bin/busybox", Content: readFile(w.t, busybox)},
				{Name: "www/"},
			}}
		},
		own:    pages,
		config: v1.Config{Entrypoint: []string{"/bin/busybox", "httpd", "-f", "-h", "/www"}, Env: []string{versionVariable + "=" + version}},
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

func (sample) image(w *world, version string) image {
	env := []string{sampleapp.EnvVersion + "=" + version}
	if bad(version) {
		env = append(env, sampleapp.EnvFault+"=unhealthy")
	}
	return image{
		base: "stella",
		shared: func() [][]registry.File {
			return [][]registry.File{{{Name: "stella", Content: readFile(w.t, shared.binary)}}}
		},
		config: v1.Config{Entrypoint: []string{"/stella", "sample-app"}, Env: env},
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
