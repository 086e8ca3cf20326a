package docker

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"log/slog"
	"maps"
	"net/http/httptest"
	"net/http/httputil"
	"net/url"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/moby/moby/api/types/container"
	"github.com/moby/moby/client"

	"github.com/stella-ops/stella"
	"github.com/stella-ops/stella/internal/dockertest"
	"github.com/stella-ops/stella/reconciler"
	"github.com/stella-ops/stella/target/targettest"
)

var (
	_ reconciler.Target    = (*Docker)(nil)
	_ reconciler.Preparer  = (*Docker)(nil)
	_ reconciler.Keeper    = (*Docker)(nil)
	_ reconciler.Executor  = (*Docker)(nil)
	_ reconciler.Stopper   = (*Docker)(nil)
	_ reconciler.Logger    = (*Docker)(nil)
	_ reconciler.Watcher   = (*Docker)(nil)
	_ reconciler.Suspecter = (*Docker)(nil)
)

func TestConformance(t *testing.T) {
	targettest.Run(t, func(t *testing.T) targettest.Fixture { return newScene(t).fixture(t) })
}

var errInjected = errors.New("injected")

// asJSON are a resource's fields.
type asJSON = map[string]any

// scene is a target on a real engine, with a registry of its own: what it pulls
// has a name that no other test's has, though the bytes may be there already.
type scene struct {
	*Docker
	registry *httptest.Server
	latest   string // the release that it is brought to
}

var scenes atomic.Int64

func newScene(t testing.TB, change ...func(*Config)) *scene {
	t.Helper()
	engine := dockertest.Engine(t)
	host := &url.URL{Scheme: "http", Host: dockertest.Registry(t)}
	s := &scene{registry: httptest.NewServer(httputil.NewSingleHostReverseProxy(host))}
	t.Cleanup(s.registry.Close)
	name := fmt.Sprintf("edge%d", scenes.Add(1))
	c := Config{
		Environment: "production", Name: name, Project: name, Engine: engine.Client,
		Logger: slog.New(slog.NewTextHandler(t.Output(), &slog.HandlerOptions{Level: slog.LevelDebug})),
	}
	for _, f := range change {
		f(&c)
	}
	s.Docker = open(t, c)
	t.Cleanup(func() { s.clear(t) })
	return s
}

func open(t testing.TB, c Config) *Docker {
	t.Helper()
	d, err := Open(t.Context(), c)
	if err != nil {
		t.Fatal(err)
	}
	return d
}

// clear removes all of the target from the engine.
func (s *scene) clear(t testing.TB) {
	ctx, cancel := context.WithTimeout(context.WithoutCancel(t.Context()), time.Minute)
	defer cancel()
	for _, label := range []string{labelTarget + "=" + s.cfg.Name, composeProject + "=" + s.cfg.Project} {
		list, err := s.api.ContainerList(ctx, client.ContainerListOptions{All: true, Filters: make(client.Filters).Add("label", label)})
		if err != nil {
			t.Errorf("clear: %v", err)
		}
		for _, c := range list.Items {
			_, _ = s.api.ContainerRemove(ctx, c.ID, client.ContainerRemoveOptions{Force: true, RemoveVolumes: true})
		}
	}
	networks, _ := s.api.NetworkList(ctx, client.NetworkListOptions{Filters: s.mine()})
	for _, n := range networks.Items {
		_, _ = s.api.NetworkRemove(ctx, n.ID, client.NetworkRemoveOptions{})
	}
	volumes, _ := s.api.VolumeList(ctx, client.VolumeListOptions{Filters: s.mine()})
	for _, v := range volumes.Items {
		_, _ = s.api.VolumeRemove(ctx, v.Name, client.VolumeRemoveOptions{Force: true})
	}
}

// pushed are the images that all scenes share: pushing one twice at a time makes
// the registry mix them up.
var pushed = struct {
	sync.Mutex
	images map[string]stella.Artifact
}{images: map[string]stella.Artifact{}}

func (s *scene) image(t testing.TB, version string) stella.Artifact {
	t.Helper()
	pushed.Lock()
	defer pushed.Unlock()
	a, ok := pushed.images[version]
	if !ok {
		a = dockertest.Image(t, version)
		pushed.images[version] = a
	}
	a.Registry = strings.TrimPrefix(s.registry.URL, "http://")
	return a
}

func resourceOf(name string, a stella.Artifact, more ...asJSON) stella.Resource {
	f := asJSON{"image": a.String()}
	for _, m := range more {
		maps.Copy(f, m)
	}
	return stella.Resource{ID: serviceID(name), Fields: f}
}

func (s *scene) fixture(t *testing.T) targettest.Fixture {
	versions := map[string]stella.Artifact{}
	for _, v := range []string{"1", "2", "3"} {
		versions[v] = s.image(t, v)
	}
	return targettest.Fixture{
		Target: s.Docker, Name: s.cfg.Name, Environment: s.cfg.Environment,
		Reopen: func(t *testing.T) reconciler.Target { return open(t, s.cfg) },
		Service: func(name, version string) stella.Resource {
			return resourceOf(name, versions[version])
		},
		Set: func(r stella.Resource, key, value string) stella.Resource {
			r.Fields = maps.Clone(r.Fields)
			env, _ := r.Fields["environment"].(asJSON)
			if env = maps.Clone(env); env == nil {
				env = asJSON{}
			}
			env[key] = value
			r.Fields["environment"] = env
			return r
		},
		Full: full,
		Volume: func(name string) stella.Resource {
			return stella.Resource{ID: stella.ResourceID("volume/" + name), Fields: asJSON{"name": name}}
		},
		Kill:    func(t *testing.T, name string) { s.kill(t, name) },
		Offline: func(*testing.T) { s.registry.Close() },
		Foreign: func(t *testing.T) func(*testing.T) { return s.foreign(t) },
		Faulty: func(t *testing.T, n int, persist bool) (reconciler.Target, func() int) {
			d, count := open(t, s.cfg), atomic.Int64{}
			d.trip = func(_ string, done bool) error {
				if !done {
					count.Add(1)
				}
				if int(count.Load()) == n && done == persist {
					return errInjected
				}
				return nil
			}
			return d, func() int { return int(count.Load()) }
		},
		Damages: s.damages(), Wreck: s.wreck, Programs: s.programs(versions),
		Say:    func(text string) []string { return []string{"echo", text} },
		Output: "starts",
	}
}

// full sets many fields of every kind; each attribute of Compose has a test of
// its own.
func full(r stella.Resource) stella.Resource {
	r.Fields = maps.Clone(r.Fields)
	maps.Copy(r.Fields, asJSON{
		"entrypoint": []any{"/bin/sh", "/app"}, "command": []any{"longer"}, "workingDir": "/etc",
		"environment": asJSON{"A": "1", "B": "2"}, "labels": asJSON{"team": "shop", "tier": "web"},
		"configs":    asJSON{"/etc/a.conf": config("a"), "/etc/b.conf": config("b")},
		"stopSignal": "SIGINT", "stopGracePeriodSeconds": 2.0, "restart": "on-failure:3",
		"healthcheck": asJSON{"test": []any{"NONE"}}, "mem_limit": float64(64 << 20), "cap_drop": []any{"NET_RAW"},
	})
	return r
}

// config is one as a config repository has it.
func config(content string) asJSON {
	sum := sha256.Sum256([]byte(content))
	return asJSON{"content": content, "digest": "sha256:" + hex.EncodeToString(sum[:])}
}

// current inspects the container of a service by its name.
func (s *scene) current(t testing.TB, service string) container.InspectResponse {
	t.Helper()
	res, err := s.api.ContainerInspect(t.Context(), s.nameFor(service, nil), client.ContainerInspectOptions{})
	must(t, err)
	return res.Container
}

func must(t testing.TB, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

func (s *scene) kill(t testing.TB, service string) {
	t.Helper()
	id := s.current(t, service).ID
	_, err := s.api.ContainerKill(t.Context(), id, client.ContainerKillOptions{Signal: "KILL"})
	must(t, err)
	eventually(t, "it ends", func() bool {
		res, err := s.api.ContainerInspect(t.Context(), id, client.ContainerInspectOptions{})
		must(t, err)
		return !res.Container.State.Running
	})
}

func eventually(t testing.TB, what string, cond func() bool) {
	t.Helper()
	deadline := time.After(time.Minute)
	for !cond() {
		select {
		case <-deadline:
			t.Fatalf("never: %s", what)
		case <-time.After(20 * time.Millisecond):
		}
	}
}

// foreign puts somebody else's container, network and volume on the engine; the
// container is of the same Compose project.
func (s *scene) foreign(t *testing.T) func(*testing.T) {
	t.Helper()
	a := s.image(t, "1")
	must(t, s.under(1<<40).fetch(t.Context(), a))
	name := s.cfg.Project + "-theirs"
	labels := map[string]string{composeProject: s.cfg.Project, composeService: "theirs"}
	c, err := s.api.ContainerCreate(t.Context(), client.ContainerCreateOptions{
		Name: name, Config: &container.Config{Image: byDigest(a), Labels: labels}, HostConfig: &container.HostConfig{},
	})
	must(t, err)
	_, err = s.api.ContainerStart(t.Context(), c.ID, client.ContainerStartOptions{})
	must(t, err)
	n, err := s.api.NetworkCreate(t.Context(), name, client.NetworkCreateOptions{})
	must(t, err)
	_, err = s.api.VolumeCreate(t.Context(), client.VolumeCreateOptions{Name: name})
	must(t, err)
	t.Cleanup(func() {
		ctx := context.WithoutCancel(t.Context())
		_, _ = s.api.NetworkRemove(ctx, n.ID, client.NetworkRemoveOptions{})
		_, _ = s.api.VolumeRemove(ctx, name, client.VolumeRemoveOptions{})
	})
	look := func(t *testing.T) string {
		live, err := s.api.ContainerInspect(t.Context(), c.ID, client.ContainerInspectOptions{})
		must(t, err)
		net, err := s.api.NetworkInspect(t.Context(), n.ID, client.NetworkInspectOptions{})
		must(t, err)
		v, err := s.api.VolumeInspect(t.Context(), name, client.VolumeInspectOptions{})
		must(t, err)
		return fmt.Sprint(live.Container.Name, live.Container.State.Status, live.Container.State.StartedAt, net.Network.Name, v.Volume.Name)
	}
	before := look(t)
	return func(t *testing.T) {
		t.Helper()
		if diff := cmp.Diff(before, look(t)); diff != "" {
			t.Errorf("what stella did not make was touched (-want +got)\n%s", diff)
		}
	}
}
