package dockertest_test

import (
	"context"
	"io"
	"net/http"
	"net/netip"
	"os"
	"strings"
	"testing"
	"time"

	"github.com/moby/moby/api/types/container"
	"github.com/moby/moby/api/types/network"
	"github.com/moby/moby/client"

	"github.com/stella-ops/stella"
	"github.com/stella-ops/stella/internal/dockertest"
)

func TestMain(m *testing.M) { os.Exit(dockertest.Main(m)) }

// run pulls an image, starts a container of it and returns its id.
func run(t *testing.T, d *dockertest.Daemon, image stella.Artifact, config container.Config, host container.HostConfig) string {
	t.Helper()
	image.Tag = ""
	ctx := t.Context()
	pull, err := d.Client.ImagePull(ctx, image.String(), client.ImagePullOptions{})
	if err != nil {
		t.Fatal(err)
	}
	if err := pull.Wait(ctx); err != nil {
		t.Fatal(err)
	}
	config.Image = image.String()
	c, err := d.Client.ContainerCreate(ctx, client.ContainerCreateOptions{Config: &config, HostConfig: &host})
	if err != nil {
		t.Fatal(err)
	}
	if _, err := d.Client.ContainerStart(ctx, c.ID, client.ContainerStartOptions{}); err != nil {
		t.Fatal(err)
	}
	return c.ID
}

func logs(t *testing.T, d *dockertest.Daemon, id string) string {
	t.Helper()
	r, err := d.Client.ContainerLogs(t.Context(), id, client.ContainerLogsOptions{ShowStdout: true})
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = r.Close() }()
	text, err := io.ReadAll(r)
	if err != nil {
		t.Fatal(err)
	}
	return string(text)
}

func eventually(t *testing.T, what string, ok func() bool) {
	t.Helper()
	for deadline := time.Now().Add(time.Minute); !ok(); <-time.After(20 * time.Millisecond) {
		if time.Now().After(deadline) {
			t.Fatal(what)
		}
	}
}

func TestAContainerOfTheAppRunsAndEnds(t *testing.T) {
	t.Parallel()
	d := dockertest.Engine(t)
	id := run(t, d, dockertest.Image(t, "1.0.0"), container.Config{}, container.HostConfig{})
	eventually(t, "the app says that it starts", func() bool { return strings.Contains(logs(t, d, id), "app 1.0.0 starts") })
	begun := time.Now()
	if _, err := d.Client.ContainerStop(t.Context(), id, client.ContainerStopOptions{}); err != nil {
		t.Fatal(err)
	}
	if !strings.Contains(logs(t, d, id), "app 1.0.0 ends") {
		t.Errorf("after %s the app has not ended on SIGTERM:\n%s", time.Since(begun), logs(t, d, id))
	}
}

func TestHostsAreApartAndPullFromOneRegistry(t *testing.T) {
	t.Parallel()
	hosts := dockertest.Engines(t, 2)
	ids := map[string]bool{}
	for i, d := range hosts {
		version := []string{"1.0.0", "2.0.0"}[i]
		port := network.MustParsePort("80/tcp")
		run(t, d, dockertest.Image(t, version), container.Config{Env: []string{"PORT=80"}, ExposedPorts: network.PortSet{port: {}}},
			container.HostConfig{PortBindings: network.PortMap{port: {{HostIP: netip.IPv4Unspecified(), HostPort: "80"}}}})
		eventually(t, d.Address+" serves "+version, func() bool { return get(t.Context(), "http://"+d.Address+"/version") == version })
		info, err := d.Client.Info(t.Context(), client.InfoOptions{})
		if err != nil {
			t.Fatal(err)
		}
		ids[info.Info.ID] = true
	}
	if len(ids) != 2 {
		t.Errorf("the engines' identities are %v, want two", ids)
	}
}

func get(ctx context.Context, url string) string {
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, url, http.NoBody)
	if err != nil {
		return err.Error()
	}
	resp, err := http.DefaultClient.Do(req)
	if err != nil {
		return err.Error()
	}
	defer func() { _ = resp.Body.Close() }()
	text, _ := io.ReadAll(resp.Body)
	return string(text)
}

func TestAnEngineIsKilledRestartedAndPaused(t *testing.T) {
	t.Parallel()
	d := dockertest.Engines(t, 1)[0]
	id := run(t, d, dockertest.Image(t, "1.0.0"), container.Config{}, container.HostConfig{RestartPolicy: container.RestartPolicy{Name: "always"}})
	d.Kill(t)
	if _, err := d.Client.Ping(t.Context(), client.PingOptions{}); err == nil {
		t.Error("an engine that was killed answers")
	}
	d.Start(t)
	running(t, d, id)
	d.Restart(t)
	running(t, d, id)
	d.Pause(t)
	ctx, cancel := context.WithTimeout(t.Context(), 100*time.Millisecond)
	defer cancel()
	if _, err := d.Client.Ping(ctx, client.PingOptions{}); err == nil {
		t.Error("an engine that hangs answers")
	}
	d.Resume(t)
	running(t, d, id)
}

func running(t *testing.T, d *dockertest.Daemon, id string) {
	t.Helper()
	eventually(t, "the container runs", func() bool {
		c, err := d.Client.ContainerInspect(t.Context(), id, client.ContainerInspectOptions{})
		return err == nil && c.Container.State.Running
	})
}

func TestComposeWorksWithTheEngine(t *testing.T) {
	t.Parallel()
	d := dockertest.Engine(t)
	dir := t.TempDir()
	image := dockertest.Image(t, "1.0.0")
	if err := os.WriteFile(dir+"/compose.yaml", []byte("services: {web: {image: \""+image.String()+"\"}}\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	d.Compose(t, dir, "-p", "composed", "up", "-d")
	if ps := d.Compose(t, dir, "-p", "composed", "ps"); !strings.Contains(ps, "composed-web-1") {
		t.Errorf("ps shows\n%s", ps)
	}
	d.Compose(t, dir, "-p", "composed", "down", "-t", "1")
}
