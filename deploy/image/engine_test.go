package main

import (
	"context"
	"io"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/moby/moby/api/types/container"
	"github.com/moby/moby/api/types/mount"
	"github.com/moby/moby/client"

	"github.com/stella-ops/stella/internal/dockertest"
)

func TestMain(m *testing.M) { os.Exit(dockertest.Main(m)) }

// patience is for a machine that is busy with other tests.
const patience = 2 * time.Minute

// command runs a program and fails the test when it fails.
func command(t *testing.T, dir, name string, args ...string) {
	t.Helper()
	cmd := exec.CommandContext(t.Context(), name, args...)
	cmd.Dir = dir
	cmd.Env = append(os.Environ(), "CGO_ENABLED=0", "GIT_AUTHOR_NAME=t", "GIT_AUTHOR_EMAIL=t@localhost", "GIT_COMMITTER_NAME=t", "GIT_COMMITTER_EMAIL=t@localhost")
	if out, err := cmd.CombinedOutput(); err != nil {
		t.Fatalf("%s %v: %v\n%s", name, args, err, out)
	}
}

// aRepository makes a bare config repository that the image's user owns.
func aRepository(t *testing.T, stella string) string {
	t.Helper()
	dir := t.TempDir()
	work, bare := filepath.Join(dir, "work"), filepath.Join(dir, "config.git")
	command(t, dir, stella, "init", work)
	command(t, dir, "git", "init", "--quiet", "--initial-branch=main", work)
	command(t, work, "git", "add", ".")
	command(t, work, "git", "commit", "--quiet", "--message=A config repository")
	command(t, dir, "git", "clone", "--quiet", "--bare", work, bare)
	command(t, dir, "chown", "-R", "65532:65532", bare)
	return bare
}

func until(t *testing.T, what string, ok func(context.Context) bool) {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), patience)
	defer cancel()
	tick := time.NewTicker(100 * time.Millisecond)
	defer tick.Stop()
	for !ok(ctx) {
		select {
		case <-tick.C:
		case <-ctx.Done():
			t.Fatalf("not within %s: %s", patience, what)
		}
	}
}

func TestTheDaemonRunsInIt(t *testing.T) {
	engine := dockertest.Engine(t)
	stella := filepath.Join(t.TempDir(), "stella")
	command(t, filepath.Join("..", ".."), "go", "build", "-trimpath", "-o", stella, "./cmd/stella")
	archive, err := os.Open(makeImage(t, stella))
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = archive.Close() }()
	loaded, err := engine.Client.ImageLoad(t.Context(), archive, client.ImageLoadWithQuiet(true))
	if err != nil {
		t.Fatal(err)
	}
	if _, err := io.Copy(io.Discard, loaded); err != nil {
		t.Fatal(err)
	}
	made, err := engine.Client.ContainerCreate(t.Context(), client.ContainerCreateOptions{
		Config: &container.Config{
			Image: "stella:latest", Env: []string{"STELLA_REPO=/config.git"},
			Healthcheck: &container.HealthConfig{Interval: time.Second},
		},
		HostConfig: &container.HostConfig{
			ReadonlyRootfs: true, CapDrop: []string{"ALL"}, SecurityOpt: []string{"no-new-privileges"}, Tmpfs: map[string]string{"/tmp": ""},
			Mounts: []mount.Mount{{Type: mount.TypeBind, Source: aRepository(t, stella), Target: "/config.git"}},
		},
	})
	if err != nil {
		t.Fatal(err)
	}
	defer func() {
		_, err := engine.Client.ContainerRemove(context.WithoutCancel(t.Context()), made.ID, client.ContainerRemoveOptions{Force: true, RemoveVolumes: true})
		if err != nil {
			t.Error(err)
		}
	}()
	if _, err := engine.Client.ContainerStart(t.Context(), made.ID, client.ContainerStartOptions{}); err != nil {
		t.Fatal(err)
	}
	var live client.ContainerInspectResult
	until(t, "healthy by the image's own check", func(ctx context.Context) bool {
		if live, err = engine.Client.ContainerInspect(ctx, made.ID, client.ContainerInspectOptions{}); err != nil {
			t.Fatal(err)
		}
		if !live.Container.State.Running {
			t.Fatalf("it ended: %s", output(ctx, engine, made.ID))
		}
		return live.Container.State.Health != nil && live.Container.State.Health.Status == container.Healthy
	})
	address := live.Container.NetworkSettings.Networks["bridge"].IPAddress.String()
	until(t, "the config repository was read", func(ctx context.Context) bool { return answers(ctx, "http://"+address+":7070/readyz") })

	limit := 60
	if _, err := engine.Client.ContainerStop(t.Context(), made.ID, client.ContainerStopOptions{Timeout: &limit}); err != nil {
		t.Fatal(err)
	}
	if live, err = engine.Client.ContainerInspect(t.Context(), made.ID, client.ContainerInspectOptions{}); err != nil {
		t.Fatal(err)
	}
	if code := live.Container.State.ExitCode; code == 137 {
		t.Errorf("exit code %d: it did not end by itself: %s", code, output(t.Context(), engine, made.ID))
	}
}

func answers(ctx context.Context, url string) bool {
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, url, nil)
	if err != nil {
		return false
	}
	resp, err := http.DefaultClient.Do(req)
	if err != nil {
		return false
	}
	_ = resp.Body.Close()
	return resp.StatusCode == http.StatusOK
}

func output(ctx context.Context, engine *dockertest.Daemon, id string) string {
	r, err := engine.Client.ContainerLogs(ctx, id, client.ContainerLogsOptions{ShowStdout: true, ShowStderr: true})
	if err != nil {
		return err.Error()
	}
	defer func() { _ = r.Close() }()
	var text strings.Builder
	if _, err := io.Copy(&text, r); err != nil {
		return err.Error()
	}
	return text.String()
}
