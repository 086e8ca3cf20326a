//go:build linux

package host

import (
	"archive/tar"
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"log/slog"
	"maps"
	"math/rand/v2"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/stella-ops/stella"
)

// fakeStore is a registry in a directory: DIGEST.tar and DIGEST.json. Several
// processes can use it.
type fakeStore string

type fakeFile struct {
	name, content, link string
	dir                 bool
	mode                int64
}

// push adds an image and returns a reference to it.
func (s fakeStore) push(t testing.TB, tag string, config imageConfig, files ...fakeFile) stella.Artifact {
	t.Helper()
	var b bytes.Buffer
	w := tar.NewWriter(&b)
	for _, f := range files {
		h := tar.Header{Name: f.name, Mode: 0o755, Size: int64(len(f.content)), Typeflag: tar.TypeReg}
		if f.mode != 0 {
			h.Mode = f.mode
		}
		switch {
		case f.dir:
			h.Typeflag = tar.TypeDir
		case f.link != "":
			h.Typeflag, h.Linkname = tar.TypeSymlink, f.link
		}
		if err := w.WriteHeader(&h); err != nil {
			t.Fatal(err)
		}
		if _, err := io.WriteString(w, f.content); err != nil {
			t.Fatal(err)
		}
	}
	if err := w.Close(); err != nil {
		t.Fatal(err)
	}
	doc, err := json.Marshal(config)
	if err != nil {
		t.Fatal(err)
	}
	digest := digestOf(append(b.Bytes(), doc...))
	s.write(t, digest.Hex()+".tar", b.Bytes())
	s.write(t, digest.Hex()+".json", doc)
	a, err := stella.ParseArtifact("registry.example.com/shop/api:" + tag + "@" + string(digest))
	if err != nil {
		t.Fatal(err)
	}
	return a
}

func (s fakeStore) write(t testing.TB, name string, data []byte) {
	t.Helper()
	if err := os.WriteFile(filepath.Join(string(s), name), data, 0o644); err != nil {
		t.Fatal(err)
	}
}

func (s fakeStore) pull(_ context.Context, a stella.Artifact, dir string) (pulled, error) {
	var c imageConfig
	doc, err := os.ReadFile(filepath.Join(string(s), a.Digest.Hex()+".json"))
	if err != nil {
		return pulled{}, fmt.Errorf("%w: the registry does not have it", stella.ErrNotFound)
	}
	if err := json.Unmarshal(doc, &c); err != nil {
		return pulled{}, err
	}
	return pulled{a.Digest, c, func(context.Context) (io.ReadCloser, error) {
		return os.Open(filepath.Join(string(s), a.Digest.Hex()+".tar"))
	}}, nil
}

// forget takes all images away: going back must work without.
func (s fakeStore) forget(t testing.TB) {
	t.Helper()
	entries, err := os.ReadDir(string(s))
	if err != nil {
		t.Fatal(err)
	}
	for _, e := range entries {
		if err := os.Remove(filepath.Join(string(s), e.Name())); err != nil {
			t.Fatal(err)
		}
	}
}

// scene is a target with a registry.
type scene struct {
	*Host
	store fakeStore
	fence int64
}

func newScene(t testing.TB, change ...func(*Config)) *scene {
	t.Helper()
	dir := t.TempDir()
	exe, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	c := Config{
		Environment: "production", Name: "edge", Root: filepath.Join(dir, "shop"), AllowedRoots: []string{dir}, Executable: exe,
		Logger: slog.New(slog.NewTextHandler(t.Output(), &slog.HandlerOptions{Level: slog.LevelDebug})),
	}
	for _, f := range change {
		f(&c)
	}
	store := fakeStore(filepath.Join(dir, "registry"))
	if err := os.Mkdir(string(store), 0o755); err != nil {
		t.Fatal(err)
	}
	s := &scene{Host: reopen(t, c, store), store: store, fence: 1}
	t.Cleanup(func() {
		endAll(t, s.Host)
		if err := removeTree(dir); err != nil { // releases are read-only
			t.Error(err)
		}
	})
	return s
}

func reopen(t testing.TB, c Config, store fakeStore) *Host {
	t.Helper()
	h, err := Open(t.Context(), c)
	if err != nil {
		t.Fatal(err)
	}
	h.images = store.pull
	return h
}

// endAll leaves no process behind, whatever the test did to the files.
func endAll(t testing.TB, h *Host) {
	h.trip = nil
	if err := h.stopAll(context.Background()); err != nil {
		t.Errorf("stop: %v", err)
	}
	left := func() []int {
		var pids []int
		for _, pid := range allProcesses() {
			line, _ := os.ReadFile(filepath.Join("/proc", strconv.Itoa(pid), "cmdline"))
			if bytes.Contains(line, []byte(h.lay.root)) && pid != os.Getpid() || h.serviceOf(pid) != "" {
				pids = append(pids, pid)
			}
		}
		return pids
	}
	if pids := left(); len(pids) > 0 {
		t.Errorf("processes are left: %v", pids)
		if err := killAll(left, 5*time.Second); err != nil {
			t.Error(err)
		}
	}
}

// image pushes an image that holds the sample program.
func (s *scene) image(t testing.TB, version string, config ...func(*imageConfig)) stella.Artifact {
	t.Helper()
	c := imageConfig{Entrypoint: []string{"/bin/app"}, Cmd: []string{"wait"}, Env: []string{"FROM=image"}}
	for _, f := range config {
		f(&c)
	}
	return s.store.push(t, version, c, appFiles(t, version)...)
}

func appFiles(t testing.TB, version string) []fakeFile {
	t.Helper()
	program, err := os.ReadFile(appPath)
	if err != nil {
		t.Fatal(err)
	}
	return []fakeFile{
		{name: "bin/", dir: true},
		{name: "bin/app", content: string(program)},
		{name: "etc/", dir: true},
		{name: "etc/passwd", mode: 0o644, content: "root:x:0:0:root:/root:/bin/sh\napp:x:1234:2345:app:/home/app:/bin/sh\n"},
		{name: "etc/group", mode: 0o644, content: "root:x:0:\nstaff:x:50:app\n"},
		{name: "version", mode: 0o644, content: version},
	}
}

// fields are a resource's.
type fields = map[string]any

func serviceOf(name string, a stella.Artifact, more ...fields) stella.Resource {
	f := fields{"image": a.String()}
	for _, m := range more {
		maps.Copy(f, m)
	}
	return stella.Resource{ID: serviceID(name), Fields: f}
}

func stateOf(rs ...stella.Resource) stella.State { return stella.State{Resources: rs} }

func orderOf(fence int64, op stella.Op, want stella.State, ids ...stella.ResourceID) stella.Order {
	o := stella.Order{Fence: fence, Desired: want, Sticker: stella.Sticker{
		SchemaVersion: 1, Environment: "production", Target: "edge", Deployment: fmt.Sprint("production-", fence), Fence: fence,
	}}
	for _, id := range ids {
		r, ok := want.Resource(id)
		if !ok {
			r = stella.Resource{ID: id}
		}
		o.Actions = append(o.Actions, stella.Action{Op: op, Resource: r})
	}
	return o
}

// allIDs lists a state's resources, volumes first as a plan has them.
func allIDs(s stella.State) []stella.ResourceID {
	var volumes, services []stella.ResourceID
	for _, r := range s.Resources {
		if strings.HasPrefix(string(r.ID), volumePrefix) {
			volumes = append(volumes, r.ID)
		} else {
			services = append(services, r.ID)
		}
	}
	return append(volumes, services...)
}

// deploy prepares and applies a whole state.
func (s *scene) deploy(t testing.TB, rs ...stella.Resource) {
	t.Helper()
	if err := s.tryDeploy(t.Context(), rs...); err != nil {
		t.Fatal(err)
	}
}

func (s *scene) tryDeploy(ctx context.Context, rs ...stella.Resource) error {
	s.fence++
	want := stateOf(rs...)
	if err := s.Prepare(ctx, want, s.fence); err != nil {
		return err
	}
	live, err := s.Observe(ctx)
	if err != nil {
		return err
	}
	o := orderOf(s.fence, stella.OpUpdate, want, allIDs(want)...)
	for _, r := range live.Resources {
		if _, wanted := want.Resource(r.ID); !wanted {
			o.Actions = append([]stella.Action{{Op: stella.OpRemove, Resource: stella.Resource{ID: r.ID}}}, o.Actions...)
		}
	}
	return s.Apply(ctx, o, nil)
}

func (s *scene) observe(t testing.TB) stella.State {
	t.Helper()
	live, err := s.Observe(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	return live
}

func (s *scene) component(t testing.TB, name string) stella.ComponentStatus {
	t.Helper()
	for _, c := range s.observe(t).Observed.Components {
		if c.Name == name {
			return c
		}
	}
	t.Fatalf("no component %s", name)
	return stella.ComponentStatus{}
}

// pid of a service's main process.
func (s *scene) pid(t testing.TB, name string) int {
	t.Helper()
	st, err := s.lay.readStatus(name)
	if err != nil {
		t.Fatal(err)
	}
	p, runs := st.process()
	if !runs {
		t.Fatalf("%s does not run: %+v", name, st)
	}
	return p.PID
}

func (s *scene) shimPID(t testing.TB, name string) int {
	t.Helper()
	p, lives := s.lay.shimOf(name)
	if !lives {
		t.Fatalf("%s has no shim", name)
	}
	return p.PID
}

// eventually waits until cond holds.
func eventually(t testing.TB, what string, cond func() bool) {
	t.Helper()
	deadline := time.After(15 * time.Second)
	for !cond() {
		select {
		case <-deadline:
			t.Fatalf("never: %s", what)
		case <-time.After(5 * time.Millisecond):
		}
	}
}

func (s *scene) logHas(t testing.TB, name, text string) {
	t.Helper()
	eventually(t, fmt.Sprintf("%s logs %q", name, text), func() bool {
		log, err := s.Logs(t.Context(), name, 0)
		if err != nil {
			t.Fatal(err)
		}
		return strings.Contains(string(log), text)
	})
}

// freePort is one that nobody listens on now. It is none of those that the
// kernel gives to whoever asks for any: another test would get it meanwhile.
func freePort(t testing.TB) int {
	t.Helper()
	for range 100 {
		port := 15000 + rand.IntN(15000)
		l, err := net.Listen("tcp", net.JoinHostPort("127.0.0.1", portText(port)))
		if err != nil {
			continue
		}
		if err := l.Close(); err != nil {
			t.Fatal(err)
		}
		return port
	}
	t.Fatal("no port is free")
	return 0
}

func portField(port int) []any {
	return []any{fields{"target": float64(port), "published": strconv.Itoa(port), "protocol": "tcp", "hostIP": "127.0.0.1"}}
}

// version asks a service that serves.
func version(t testing.TB, port int) string {
	t.Helper()
	var got string
	eventually(t, "the service answers", func() bool {
		req, err := http.NewRequestWithContext(t.Context(), http.MethodGet, fmt.Sprintf("http://127.0.0.1:%d/version", port), nil)
		if err != nil {
			t.Fatal(err)
		}
		res, err := http.DefaultClient.Do(req)
		if err != nil {
			return false
		}
		defer func() { _ = res.Body.Close() }()
		body, err := io.ReadAll(res.Body)
		got = strings.TrimSpace(string(body))
		return err == nil
	})
	return got
}

func alive(pid int) bool {
	_, ok := parents()[pid]
	return ok
}

func portText(port int) string { return strconv.Itoa(port) }

// contextThatEnds ends with a cause after a while.
func contextThatEnds(t testing.TB, why error, after time.Duration) (context.Context, context.CancelFunc) {
	ctx, cancel := context.WithCancelCause(t.Context())
	timer := time.AfterFunc(after, func() { cancel(why) })
	return ctx, func() { timer.Stop(); cancel(nil) }
}
