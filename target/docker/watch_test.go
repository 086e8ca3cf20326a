package docker

import (
	"archive/tar"
	"bytes"
	"context"
	"errors"
	"log/slog"
	"maps"
	"runtime"
	"slices"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/moby/moby/api/types/container"
	"github.com/moby/moby/api/types/network"
	"github.com/moby/moby/client"

	"github.com/stella-ops/stella"
	"github.com/stella-ops/stella/internal/dockertest"
)

// yard is a target on a real engine on which containers are made by hand, as the
// driver labels them.
type yard struct {
	*testing.T
	engine *dockertest.Daemon
	api    *client.Client
	d      *Docker
	image  string
}

func newYard(t *testing.T, engine *dockertest.Daemon, name string) *yard {
	t.Helper()
	a := dockertest.Image(t, "1.0.0")
	a.Tag = ""
	y := &yard{T: t, engine: engine, api: engine.Client, image: a.String()}
	pull, err := y.api.ImagePull(t.Context(), y.image, client.ImagePullOptions{})
	y.must(err)
	y.must(pull.Wait(t.Context()))
	y.d = &Docker{
		cfg: Config{Environment: "prod", Name: name, Project: name, Engine: y.api, Local: true}, api: y.api, log: slog.New(slog.NewTextHandler(t.Output(), nil)),
	}
	return y
}

func (y *yard) must(err error) {
	y.Helper()
	if err != nil {
		y.Fatal(err)
	}
}

func (y *yard) labels(resource string) map[string]string {
	labels := y.d.identity()
	labels[labelResource], labels[composeProject] = resource, y.d.cfg.Project
	return labels
}

// start starts a service of ours as changed, and returns the container's id.
func (y *yard) start(name string, change func(*client.ContainerCreateOptions)) string {
	y.Helper()
	o := client.ContainerCreateOptions{
		Name:   y.d.cfg.Project + "-" + name + "-1",
		Config: &container.Config{Image: y.image, Labels: y.labels("service/" + name)}, HostConfig: &container.HostConfig{},
	}
	if change != nil {
		change(&o)
	}
	c, err := y.api.ContainerCreate(y.Context(), o)
	y.must(err)
	y.Cleanup(func() {
		_, _ = y.api.ContainerRemove(context.WithoutCancel(y.Context()), c.ID, client.ContainerRemoveOptions{Force: true})
	})
	_, err = y.api.ContainerStart(y.Context(), c.ID, client.ContainerStartOptions{})
	y.must(err)
	return c.ID
}

func (y *yard) network(name string) string {
	y.Helper()
	n, err := y.api.NetworkCreate(y.Context(), y.d.cfg.Project+"_"+name, client.NetworkCreateOptions{Labels: y.labels("network/" + name)})
	y.must(err)
	y.Cleanup(func() {
		_, _ = y.api.NetworkRemove(context.WithoutCancel(y.Context()), n.ID, client.NetworkRemoveOptions{})
	})
	return n.ID
}

func (y *yard) eventually(what string, ok func() bool) {
	y.Helper()
	for deadline := time.Now().Add(time.Minute); !ok(); <-time.After(10 * time.Millisecond) {
		if time.Now().After(deadline) {
			y.Fatal(what)
		}
	}
}

// run runs a command in a container by hand.
func (y *yard) run(id string, command ...string) error {
	e, err := y.api.ExecCreate(y.Context(), id, client.ExecCreateOptions{Cmd: command, AttachStdout: true})
	if err != nil {
		return err
	}
	a, err := y.api.ExecAttach(y.Context(), e.ID, client.ExecAttachOptions{})
	if err != nil {
		return err
	}
	defer a.Close()
	_, err = a.Reader.WriteTo(&bytes.Buffer{})
	return err
}

func (y *yard) copyInto(id string) error {
	var b bytes.Buffer
	w := tar.NewWriter(&b)
	err := errors.Join(w.WriteHeader(&tar.Header{Name: "changed", Mode: 0o644, Size: 2}))
	_, more := w.Write([]byte("hi"))
	_, last := y.api.CopyToContainer(y.Context(), id, client.CopyToContainerOptions{DestinationPath: "/tmp", Content: &b})
	return errors.Join(err, more, w.Close(), last)
}

func (y *yard) kill(id, signal string) error {
	_, err := y.api.ContainerKill(y.Context(), id, client.ContainerKillOptions{Signal: signal})
	return err
}

// hands are what somebody does to a service, and the words for it.
func hands(net string) map[string]struct {
	do    func(y *yard, id string) error
	words string
} {
	type hand = struct {
		do    func(y *yard, id string) error
		words string
	}
	return map[string]hand{
		"killed": {func(y *yard, id string) error { return y.kill(id, "KILL") }, "killed by signal 9, KILL (exited with 137) after signal 9 (KILL) through the engine"},
		"stopped": {func(y *yard, id string) error {
			_, err := y.api.ContainerStop(y.Context(), id, client.ContainerStopOptions{})
			return err
		}, "exited with 0, stopped through the engine (docker stop)"},
		"restarted": {func(y *yard, id string) error {
			_, err := y.api.ContainerRestart(y.Context(), id, client.ContainerRestartOptions{})
			return err
		}, "restarted (docker restart)"},
		"paused": {func(y *yard, id string) error {
			_, err := y.api.ContainerPause(y.Context(), id, client.ContainerPauseOptions{})
			return err
		}, "paused (docker pause)"},
		"removed": {func(y *yard, id string) error {
			_, err := y.api.ContainerRemove(y.Context(), id, client.ContainerRemoveOptions{Force: true})
			return err
		}, "was removed (docker rm)"},
		"renamed": {func(y *yard, id string) error {
			_, err := y.api.ContainerRename(y.Context(), id, client.ContainerRenameOptions{NewName: y.d.cfg.Project + "-other"})
			return err
		}, "-other (docker rename)"},
		"updated": {func(y *yard, id string) error {
			_, err := y.api.ContainerUpdate(y.Context(), id, client.ContainerUpdateOptions{Resources: &container.Resources{CPUShares: 512}})
			return err
		}, "restart policy were changed (docker update)"},
		"command": {func(y *yard, id string) error { return y.run(id, "touch", "/tmp/s3cret") }, "docker exec touch at "},
		"copied":  {(*yard).copyInto, "files were copied into it (docker cp)"},
		"disconnected": {func(y *yard, id string) error {
			_, err := y.api.NetworkDisconnect(y.Context(), y.d.cfg.Project+"_"+net, client.NetworkDisconnectOptions{Container: id})
			return err
		}, "disconnected from network"},
	}
}

func TestWhatIsDoneByHandIsToldOfAndNamed(t *testing.T) {
	t.Parallel()
	engine := dockertest.Engine(t)
	for name, hand := range hands("front") {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			y := newYard(t, engine, "hand-"+name)
			y.network("front")
			id := y.start("web", func(o *client.ContainerCreateOptions) {
				o.NetworkingConfig = &network.NetworkingConfig{EndpointsConfig: map[string]*network.EndpointSettings{y.d.cfg.Project + "_front": {}}}
			})
			y.eventually("the app starts", func() bool {
				out, err := y.d.Logs(t.Context(), "web", 0)
				y.must(err)
				return strings.Contains(string(out), "starts")
			})
			// The network is left long after the start, or it would seem to come with it.
			if name == "disconnected" {
				<-time.After(together)
			}
			told := make(chan struct{}, 100)
			y.must(y.d.Watch(t.Context(), func() { told <- struct{}{} }))
			begun := time.Now()
			y.must(hand.do(y, id))
			select {
			case <-told:
				t.Logf("told %s after it was begun", time.Since(begun).Round(time.Millisecond))
			case <-time.After(30 * time.Second):
				t.Fatal("nobody was told")
			}
			var lines []string
			y.eventually("it is named", func() bool {
				var err error
				lines, err = y.d.Suspects(t.Context(), "service/web", "")
				y.must(err)
				return strings.Contains(strings.Join(lines, "\n"), hand.words)
			})
			if all := strings.Join(lines, "\n"); strings.Contains(all, "s3cret") {
				t.Errorf("arguments of a command are shown:\n%s", all)
			}
		})
	}
}

// TestReadingIsNoChange: what reads a container, its probes and what is not ours
// make events, and a look for drift must not lead to the next one.
func TestReadingIsNoChange(t *testing.T) {
	t.Parallel()
	y := newYard(t, dockertest.Engine(t), "reading")
	id := y.start("web", func(o *client.ContainerCreateOptions) {
		o.Config.Healthcheck = &container.HealthConfig{Test: []string{"CMD", "/healthy"}, Interval: 100 * time.Millisecond, Retries: 1}
		o.HostConfig.Binds = []string{"reading_data:/data"}
	})
	y.eventually("it gets healthy", func() bool {
		c, err := y.api.ContainerInspect(t.Context(), id, client.ContainerInspectOptions{})
		y.must(err)
		return c.Container.State.Health.Status == container.Healthy
	})
	own, err := y.d.owned(t.Context())
	y.must(err)
	f := newFilter(y.d, own)
	since, err := y.d.engineTime(t.Context())
	y.must(err)
	got, err := y.api.CopyFromContainer(t.Context(), id, client.CopyFromContainerOptions{SourcePath: "/app"})
	y.must(err)
	y.must(got.Content.Close())
	_, err = y.api.ContainerTop(t.Context(), id, client.ContainerTopOptions{})
	y.must(err)
	foreign := newYard(t, y.engine, "elsewhere")
	foreign.start("web", nil)
	probes := 0
	seen, started := map[string]bool{}, map[string]bool{}
	y.eventually("probes run", func() bool {
		past, err := y.d.recent(t.Context())
		y.must(err)
		for _, m := range past {
			key := string(m.Action) + m.Actor.ID + stamp(time.Unix(0, m.TimeNano))
			if m.TimeNano < since.UnixNano() || seen[key] {
				continue
			}
			seen[key] = true
			if verb, _ := split(m.Action); verb == "exec_die" && m.Actor.ID == id {
				probes++
			}
			exec := m.Actor.Attributes["execID"]
			if strings.HasPrefix(string(m.Action), "exec_start") {
				started[exec] = true
			}
			if m.Action == "exec_die" && !started[exec] {
				continue // it began before
			}
			if f.concerns(t.Context(), m) && m.Action != "health_status: healthy" {
				t.Fatalf("%s %s of %v is taken for a change", m.Type, m.Action, m.Actor.Attributes)
			}
		}
		return probes >= 3
	})
	if !slices.ContainsFunc(slices.Collect(maps.Keys(seen)), func(key string) bool { return strings.HasPrefix(key, "archive-path") }) {
		t.Error("nothing was read")
	}
	if lines, err := y.d.Suspects(t.Context(), "service/web", ""); err != nil || strings.Contains(strings.Join(lines, "\n"), "docker exec") {
		t.Errorf("probes are suspects: %q, %v", lines, err)
	}
}

func TestAWatchSurvivesTheEngine(t *testing.T) {
	engine := dockertest.Engines(t, 1)[0]
	y := newYard(t, engine, "survives")
	id := y.start("web", func(o *client.ContainerCreateOptions) {
		o.HostConfig.RestartPolicy = container.RestartPolicy{Name: container.RestartPolicyAlways}
	})
	ctx, cancel := context.WithCancel(t.Context())
	defer cancel()
	var times atomic.Int64
	y.must(y.d.Watch(ctx, func() { times.Add(1) }))
	engine.Kill(t)
	before := times.Load()
	engine.Start(t)
	y.eventually("it is told that something may have been missed", func() bool { return times.Load() > before })
	y.eventually("the container runs again", func() bool {
		c, err := y.api.ContainerInspect(ctx, id, client.ContainerInspectOptions{})
		return err == nil && c.Container.State.Running
	})
	before = times.Load()
	y.must(y.kill(id, "KILL"))
	y.eventually("it is told of what comes later", func() bool { return times.Load() > before })
	cancel()
	y.eventually("a watch leaves nothing behind", func() bool {
		stacks := make([]byte, 1<<20)
		return !strings.Contains(string(stacks[:runtime.Stack(stacks, true)]), "docker.(*watch)")
	})
	engine.Stop(t)
	if err := y.d.Watch(t.Context(), func() {}); !errors.Is(err, stella.ErrUnreachable) {
		t.Errorf("an engine that is gone is watched: %v", err)
	}
	engine.Start(t)
}
