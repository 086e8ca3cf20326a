package acceptance_test

import (
	"context"
	"encoding/json"
	"fmt"
	"os"
	"path/filepath"
	"testing"

	"github.com/moby/moby/api/types/container"
	"github.com/moby/moby/client"

	"github.com/stella-ops/stella"
	"github.com/stella-ops/stella/internal/dockertest"
)

// What a world on container engines does otherwise. The engine itself is asked
// what runs there.

// onEngines gives every target an engine on a host of its own.
func (w *world) onEngines() {
	w.t.Helper()
	for i, d := range dockertest.Engines(w.t, len(w.targets)) {
		w.targets[i].engine, w.targets[i].address = d, d.Address
	}
}

// where is the line of environment.yaml that says what a target is.
func (t target) where() string {
	if t.engine != nil {
		return "docker: {host: \"unix://" + t.engine.Socket + "\"}"
	}
	return "host: {root: " + t.root + "}"
}

// publishedFile is the Compose file of tiny: a container listens on all its
// addresses, and its port is published.
func publishedFile(w *world) string {
	text := "services:\n"
	for _, s := range w.services {
		port := "${" + portVariable(s) + "}"
		text += fmt.Sprintf("  %s:\n    command: [\"-p\", \"0.0.0.0:%s\"]\n    ports: [\"%s:%s\"]\n    restart: unless-stopped\n    stop_grace_period: 1s\n", s, port, port, port)
	}
	return text
}

// contained are the running containers of a target's project.
func (t target) contained(ctx context.Context) ([]container.Summary, error) {
	list, err := t.engine.Client.ContainerList(ctx, client.ContainerListOptions{
		Filters: make(client.Filters).Add("label", "com.docker.compose.project=shop-production"),
	})
	return list.Items, err
}

// allContained is allRunning on engines.
func (w *world) allContained() map[string]process {
	w.t.Helper()
	all := map[string]process{}
	for _, target := range w.targets {
		list, err := target.contained(w.t.Context())
		if err != nil {
			continue // an engine that is gone
		}
		for _, c := range list {
			inspected, err := target.engine.Client.ContainerInspect(w.t.Context(), c.ID, client.ContainerInspectOptions{})
			if err != nil {
				continue // it ended
			}
			pid := inspected.Container.State.Pid
			if start, ok := startTime(pid); ok {
				all[target.name+"/"+c.Labels["com.docker.compose.service"]] = process{pid, start, w.app.version(w, pid)}
			}
		}
	}
	return all
}

// remembered is what a target's record says of it.
type remembered struct {
	Fence   int64
	Sticker stella.Sticker
}

// recordOnEngine reads the newest record of a target.
func (w *world) recordOnEngine(t target) remembered {
	w.t.Helper()
	list, err := t.engine.Client.ContainerList(w.t.Context(), client.ContainerListOptions{
		All: true, Filters: make(client.Filters).Add("label", "stella.record", "stella.target="+t.name),
	})
	if err != nil {
		w.t.Fatal(err)
	}
	type sealed struct {
		Revision int64
		Record   remembered
	}
	var newest sealed
	for _, c := range list.Items {
		var s sealed
		if err := json.Unmarshal([]byte(c.Labels["stella.record"]), &s); err != nil {
			w.t.Fatal(err)
		}
		if s.Revision > newest.Revision {
			newest = s
		}
	}
	return newest.Record
}

// stoppedOnEngines proves that nothing runs on engines any more.
func (w *world) stoppedOnEngines(ctx context.Context, out string) {
	for _, target := range w.targets {
		if target.engine == nil {
			continue
		}
		left, err := target.contained(ctx)
		if err != nil || len(left) > 0 {
			w.t.Errorf("'stella orch env stop' left %d containers on %s (%v):\n%s", len(left), target.name, err, out)
		}
	}
}

// endedByHand ends what runs on a target, as somebody does who logs in.
func (w *world) endedByHand(target target) {
	w.t.Helper()
	if target.engine == nil {
		if err := ended(w, target); err != nil {
			w.t.Fatal(err)
		}
		return
	}
	list, err := target.contained(w.t.Context())
	if err != nil {
		w.t.Fatal(err)
	}
	for _, c := range list {
		if _, err := target.engine.Client.ContainerStop(w.t.Context(), c.ID, client.ContainerStopOptions{}); err != nil {
			w.t.Fatal(err)
		}
	}
}

// inVolume reads a file of the volume "data", as whoever has the machine does.
func (w *world) inVolume(target target, file string) string {
	w.t.Helper()
	v, err := target.engine.Client.VolumeInspect(w.t.Context(), "shop-production_data", client.VolumeInspectOptions{})
	if err != nil {
		w.t.Fatal(err)
	}
	return string(readFile(w.t, filepath.Join(v.Volume.Mountpoint, file)))
}

// editedByHand replaces the content of a file of the service web on a target.
func (w *world) editedByHand(target target, path, content string) {
	w.t.Helper()
	if target.engine == nil {
		if err := os.WriteFile(below(target, filepath.Join("CURRENT/rootfs", path)), []byte(content), 0o600); err != nil {
			w.t.Fatal(err)
		}
		return
	}
	list, err := target.contained(w.t.Context())
	if err != nil || len(list) != 1 {
		w.t.Fatalf("on %s run %d containers: %v", target.name, len(list), err)
	}
	// The file is read by the kernel's way into the container.
	inspected, err := target.engine.Client.ContainerInspect(w.t.Context(), list[0].ID, client.ContainerInspectOptions{})
	if err != nil {
		w.t.Fatal(err)
	}
	file := fmt.Sprintf("/proc/%d/root%s", inspected.Container.State.Pid, path)
	if err := os.WriteFile(file, []byte(content), 0o600); err != nil {
		w.t.Fatal(err)
	}
}

func TestScenesOnHosts(t *testing.T) {
	t.Parallel()
	scenes(t, false)
}

// TestScenesOnEngines runs in namespaces of its own, for the engines.
func TestScenesOnEngines(t *testing.T) {
	onlyInside(t, inside{}, func() { scenes(t, true) })
}

// inside is what a test tells itself when it runs in namespaces of its own.
type inside struct{ args, env []string }

// onlyInside runs the test in namespaces of its own, for the engines.
func onlyInside(t *testing.T, with inside, test func()) {
	t.Helper()
	if dockertest.Within() {
		shared.registry = dockertest.Registry(t)
		test()
		return
	}
	t.Parallel()
	args := []string{"-test.run=^" + t.Name() + "$"}
	if testing.Verbose() {
		args = append(args, "-test.v")
	}
	dockertest.Inside(t, append(args, with.args...), append(with.env, "STELLA_TEST_BINARY="+shared.binary)...)
}
