package acceptance_test

import (
	"bytes"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"syscall"
	"testing"

	"github.com/moby/moby/api/types/container"
	"github.com/moby/moby/client"

	"github.com/stella-ops/stella/internal/dockertest"
)

// TestQuickstartOnAnEngine tells the story on a real engine: interrupted, then to
// its end, and everything is removed; what others have there is as it was.
func TestQuickstartOnAnEngine(t *testing.T) {
	if !dockertest.Within() {
		t.Parallel()
		args := []string{"-test.run=^" + t.Name() + "$"}
		if testing.Verbose() {
			args = append(args, "-test.v")
		}
		dockertest.Inside(t, args, "STELLA_TEST_BINARY="+shared.binary)
		return
	}
	q := &told{T: t, engine: dockertest.Engine(t), dir: filepath.Join(t.TempDir(), "story")}
	image := dockertest.Image(t, "1.0.0").String()
	q.pull(image)
	foreign := q.foreign(image)
	before := q.everything()

	out := q.interrupted("production-2: deploy 1.1.0 succeeded")
	if strings.Contains(out, "removed") || q.running() != 1 {
		t.Errorf("an interrupt removes nothing and stops all that is ours; %d containers run:\n%s", q.running(), out)
	}
	out = q.told("--exit")
	for _, want := range []string{
		`going on where the last start ended`,
		`deploy 1\.2\.0 .*failed|verify web-1-.* failed`,
		`back to production-\d+, as a Git revert`,
		`rollback 1\.1\.0 succeeded`,
		`ledger +production-\d+ is in effect: agrees`,
		`web-2-[0-9a-f]{4} sticker production-\d+, web runs [0-9a-f]{12}: agrees`,
		`removed [1-9]\d* containers, 2 networks and [1-3] images from the engine`,
	} {
		if !regexp.MustCompile(want).MatchString(out) {
			t.Errorf("the story does not say %q:\n%s", want, out)
		}
	}
	if after := q.everything(); after != before {
		t.Errorf("left on the engine: %s, want %s", after, before)
	}
	if c, err := q.engine.Client.ContainerInspect(t.Context(), foreign, client.ContainerInspectOptions{}); err != nil || !c.Container.State.Running {
		t.Errorf("the container of somebody else does not run any more: %v", err)
	}
	if out := q.told("--remove"); !strings.Contains(out, "removed 0 containers, 0 networks and 0 images") {
		t.Errorf("--remove found something:\n%s", out)
	}
}

// told is a quickstart in a directory.
type told struct {
	*testing.T
	engine *dockertest.Daemon
	dir    string
}

func (q *told) command(args ...string) (*exec.Cmd, *bytes.Buffer) {
	cmd := exec.CommandContext(q.Context(), shared.binary, append([]string{"quickstart", "--docker", "--dir", q.dir}, args...)...)
	cmd.Env = []string{"PATH=" + os.Getenv("PATH"), "HOME=" + q.TempDir(), "DOCKER_HOST=unix://" + q.engine.Socket}
	var out bytes.Buffer
	cmd.Stdout, cmd.Stderr = &out, &out
	return cmd, &out
}

func (q *told) told(args ...string) string {
	q.Helper()
	cmd, out := q.command(args...)
	if err := cmd.Run(); err != nil {
		q.Fatalf("quickstart %v: %v\n%s", args, err, out)
	}
	return out.String()
}

// interrupted tells the story until it says something, and interrupts it there.
func (q *told) interrupted(at string) string {
	q.Helper()
	cmd, _ := q.command()
	var out bytes.Buffer
	watch := &watcher{to: &out, text: at, then: func() { _ = cmd.Process.Signal(syscall.SIGINT) }}
	cmd.Stdout, cmd.Stderr = watch, watch
	if err := cmd.Run(); !watch.seen {
		q.Fatalf("quickstart ended (%v) before it said %q:\n%s", err, at, out.String())
	}
	return out.String()
}

// watcher does something once a text was written.
type watcher struct {
	to   *bytes.Buffer
	text string
	then func()
	seen bool
}

func (w *watcher) Write(p []byte) (int, error) {
	n, err := w.to.Write(p)
	if !w.seen && strings.Contains(w.to.String(), w.text) {
		w.seen = true
		w.then()
	}
	return n, err
}

func (q *told) pull(image string) {
	q.Helper()
	res, err := q.engine.Client.ImagePull(q.Context(), image, client.ImagePullOptions{})
	if err == nil {
		err = res.Wait(q.Context())
	}
	if err != nil {
		q.Fatal(err)
	}
}

// foreign starts what a real environment of the same name would have: nothing of
// the quickstart's but much like it.
func (q *told) foreign(image string) string {
	q.Helper()
	res, err := q.engine.Client.ContainerCreate(q.Context(), client.ContainerCreateOptions{
		Name: "shop-production-web-1",
		Config: &container.Config{Image: image, Labels: map[string]string{
			"stella.environment": "production", "stella.target": "web-1", "stella.resource": "service/web", "com.docker.compose.project": "shop-production",
		}},
	})
	if err == nil {
		_, err = q.engine.Client.ContainerStart(q.Context(), res.ID, client.ContainerStartOptions{})
	}
	if err != nil {
		q.Fatal(err)
	}
	return res.ID
}

// running counts the containers that run.
func (q *told) running() int {
	q.Helper()
	list, err := q.engine.Client.ContainerList(q.Context(), client.ContainerListOptions{})
	if err != nil {
		q.Fatal(err)
	}
	return len(list.Items)
}

// everything names all containers, networks, volumes and images of the engine.
func (q *told) everything() string {
	q.Helper()
	var names []string
	api, ctx := q.engine.Client, q.Context()
	containers, err := api.ContainerList(ctx, client.ContainerListOptions{All: true})
	if err != nil {
		q.Fatal(err)
	}
	for _, c := range containers.Items {
		names = append(names, c.Names...)
	}
	networks, err := api.NetworkList(ctx, client.NetworkListOptions{})
	if err != nil {
		q.Fatal(err)
	}
	for _, n := range networks.Items {
		names = append(names, n.Name)
	}
	volumes, err := api.VolumeList(ctx, client.VolumeListOptions{})
	if err != nil {
		q.Fatal(err)
	}
	for _, v := range volumes.Items {
		names = append(names, v.Name)
	}
	images, err := api.ImageList(ctx, client.ImageListOptions{All: true})
	if err != nil {
		q.Fatal(err)
	}
	for _, i := range images.Items {
		names = append(names, strings.Join(append(append(i.RepoTags, i.RepoDigests...), i.ID), " "))
	}
	slices.Sort(names)
	return strings.Join(names, " ")
}
