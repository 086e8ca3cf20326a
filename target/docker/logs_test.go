package docker

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/moby/moby/api/types/container"
	"github.com/moby/moby/client"

	"github.com/stella-ops/stella"
	"github.com/stella-ops/stella/internal/dockertest"
)

func TestTheEndOfALogIsRead(t *testing.T) {
	t.Parallel()
	y := newYard(t, dockertest.Engine(t), "logs")
	long := func(o *client.ContainerCreateOptions) {
		o.Config.Entrypoint = []string{"/bin/sh", "-c", `i=0; while [ $i -lt 2000 ]; do i=$((i+1)); echo "line $i"; done; echo "the end" >&2; sleep 3600`}
	}
	y.start("web", long)
	y.start("local", func(o *client.ContainerCreateOptions) {
		long(o)
		o.HostConfig.LogConfig.Type = "local"
	})
	y.start("tty", func(o *client.ContainerCreateOptions) {
		long(o)
		o.Config.Tty = true
	})
	for _, name := range []string{"web", "local", "tty"} {
		y.eventually(name+" ends its log", func() bool {
			out, err := y.d.Logs(t.Context(), name, 100)
			y.must(err)
			text := strings.ReplaceAll(string(out), "\r", "")
			all, err := y.d.Logs(t.Context(), name, 0) // the two streams have no order between them
			y.must(err)
			first, _, _ := strings.Cut(text, " ")
			return len(out) <= 100 && (first == "line" || strings.HasPrefix(text, "the end\n")) && strings.Contains(text, "line 2000\n") &&
				strings.Contains(string(all), "the end") && strings.Contains(string(all), "line 1\n") != (name == "tty")
		})
	}
	y.start("none", func(o *client.ContainerCreateOptions) { o.HostConfig.LogConfig.Type = "none" })
	if _, err := y.d.Logs(t.Context(), "none", 0); !errors.Is(err, stella.ErrUnsupported) || !strings.Contains(err.Error(), "logging driver is none") {
		t.Errorf("a log that is not kept: %v", err)
	}
	if _, err := y.d.Logs(t.Context(), "nothing", 0); !errors.Is(err, stella.ErrNotFound) {
		t.Errorf("a service that is not there: %v", err)
	}
}

func TestACommandRunsInAComponent(t *testing.T) {
	t.Parallel()
	y := newYard(t, dockertest.Engine(t), "exec")
	id := y.start("web", nil)
	if out, err := y.d.Exec(t.Context(), "web", []string{"echo", "hello; $HOME `id`"}); err != nil || out != "hello; $HOME `id`\n" {
		t.Errorf("got %q, %v", out, err)
	}
	out, err := y.d.Exec(t.Context(), "web", []string{"sh", "-c", "echo no luck; exit 7"})
	if !errors.Is(err, stella.ErrUnhealthy) || !strings.Contains(err.Error(), "exited with 7: no luck") || out != "no luck\n" {
		t.Errorf("a command that fails: %q, %v", out, err)
	}
	if _, err := y.d.Exec(t.Context(), "web", []string{"/there/is/none"}); err == nil || !strings.Contains(err.Error(), "/there/is/none") {
		t.Errorf("a command that is not there: %v", err)
	}
	if out, err := y.d.Exec(t.Context(), "web", []string{"sh", "-c", "dd if=/dev/zero bs=1024 count=1024"}); err != nil || len(out) != maxExecOutput {
		t.Errorf("%d bytes of output, %v", len(out), err)
	}
	short, cancel := context.WithTimeout(t.Context(), time.Second)
	defer cancel()
	if _, err := y.d.Exec(short, "web", []string{"sleep", "3600"}); !errors.Is(err, stella.ErrTimeout) {
		t.Errorf("a command that does not end: %v", err)
	}
	y.must(y.kill(id, "KILL"))
	if _, err := y.d.Exec(t.Context(), "web", []string{"true"}); !errors.Is(err, stella.ErrNotFound) || !strings.Contains(err.Error(), "killed by signal 9") {
		t.Errorf("a command in a container that is dead: %v", err)
	}
}

// killedForMemory waits until the engine says that a container ran out of memory,
// and starts it again where it does not: on a busy machine it may hear of that
// only after the end, and forgets it.
func (y *yard) killedForMemory(id string) {
	y.Helper()
	for deadline := time.Now().Add(2 * time.Minute); time.Now().Before(deadline); <-time.After(10 * time.Millisecond) {
		c, err := y.api.ContainerInspect(y.Context(), id, client.ContainerInspectOptions{})
		y.must(err)
		switch s := c.Container.State; {
		case s.OOMKilled && !s.Running:
			return
		case !s.Running:
			_, err := y.api.ContainerStart(y.Context(), id, client.ContainerStartOptions{})
			y.must(err)
		}
	}
	y.Fatal("the engine never says that it ran out of memory")
}

func TestWhyAContainerDoesNotRunIsTold(t *testing.T) {
	t.Parallel()
	y := newYard(t, dockertest.Engine(t), "detail")
	sh := func(script string, change func(*client.ContainerCreateOptions)) func(*client.ContainerCreateOptions) {
		return func(o *client.ContainerCreateOptions) {
			o.Config.Entrypoint = []string{"/bin/sh", "-c", script}
			if change != nil {
				change(o)
			}
		}
	}
	y.start("fails", sh("exit 3", nil))
	y.killedForMemory(y.start("memory", sh("a=x; while true; do a=$a$a; done", func(o *client.ContainerCreateOptions) { o.HostConfig.Memory = 12 << 20 })))
	y.start("loops", sh("exit 4", func(o *client.ContainerCreateOptions) {
		o.HostConfig.RestartPolicy = container.RestartPolicy{Name: container.RestartPolicyAlways}
	}))
	y.start("sick", sh("sleep 3600", func(o *client.ContainerCreateOptions) {
		o.Config.Healthcheck = &container.HealthConfig{Test: []string{"CMD-SHELL", "echo the database is gone; false"}, Interval: 100 * time.Millisecond, Retries: 1}
	}))
	for name, want := range map[string]string{
		"fails": "exited with 3 at ", "memory": "out of memory (exited with 137) at ", "loops": " times): exited with 4 at ",
		"sick": " with 1: the database is gone",
	} {
		var got string
		for deadline := time.Now().Add(time.Minute); !strings.Contains(got, want) && time.Now().Before(deadline); <-time.After(10 * time.Millisecond) {
			c, err := y.d.component(t.Context(), name)
			y.must(err)
			got = detail(c)
		}
		if !strings.Contains(got, want) {
			t.Errorf("%s: %q, want %q in it", name, got, want)
		}
	}
	if lines, err := y.d.Suspects(t.Context(), "service/memory", ""); err != nil || !strings.Contains(strings.Join(lines, "\n"), "out of memory: killed by signal 9") {
		t.Errorf("suspects of what ran out of memory: %q, %v", lines, err)
	}
	if lines, err := y.d.Suspects(t.Context(), "service/sick", ""); err != nil || !strings.Contains(strings.Join(lines, "\n"), "became unhealthy at") {
		t.Errorf("suspects of what is unhealthy: %q, %v", lines, err)
	}
}

// TestAnOrderIsNoSuspect: it renames, stops and removes containers, and networks
// are made anew, as somebody at the engine would.
func TestAnOrderIsNoSuspect(t *testing.T) {
	t.Parallel()
	s := newScene(t)
	on := asJSON{"networks": asJSON{"front": asJSON{}}}
	suspects := func(id stella.ResourceID) string {
		t.Helper()
		lines, err := s.Suspects(t.Context(), id, "")
		must(t, err)
		return strings.Join(lines, "\n")
	}
	s.deploy(t, 1, s.service(t, "web", "1", on), storage("network/front", nil))
	s.deploy(t, 2, s.service(t, "web", "2", on), storage("network/front", asJSON{"attachable": true}))
	for _, id := range []stella.ResourceID{"service/web", "network/front"} {
		if said := suspects(id); said != "" {
			t.Errorf("of orders alone %s has\n%s", id, said)
		}
	}
	must(t, s.raise(t.Context(), 3)) // as the next order does before it begins
	s.kill(t, "web")
	if said := suspects("service/web"); !strings.Contains(said, "docker kill") {
		t.Errorf("after a kill it is\n%s", said)
	}
}

// TestWhatProgramsSayIsToldWithoutSecrets, also by a stella that has just started.
func TestWhatProgramsSayIsToldWithoutSecrets(t *testing.T) {
	t.Parallel()
	s := newScene(t)
	const secret = "hunter-two-of-them"
	must(t, s.try(t, 1, s.service(t, "web", "1", asJSON{
		"secrets":     asJSON{"/run/secrets/db": asJSON{"content": secret + "\n"}},
		"healthcheck": asJSON{"test": []any{"CMD-SHELL", "cat /run/secrets/db; echo from the probe; false"}, "intervalSeconds": 0.2, "retries": 1.0},
	})))
	s.Docker = open(t, s.cfg)
	var detail string
	eventually(t, "it gets sick", func() bool {
		live, err := s.Observe(t.Context())
		must(t, err)
		detail = live.Observed.Components[0].Detail
		return strings.Contains(detail, "from the probe")
	})
	suspects, err := s.Suspects(t.Context(), "service/web", "")
	must(t, err)
	out, err := s.Exec(t.Context(), "web", []string{"sh", "-c", "cat /run/secrets/db; exit 3"})
	if err == nil {
		t.Error("a command failed, and nobody is told")
	}
	for name, text := range map[string]string{
		"detail": detail, "suspects": strings.Join(suspects, "\n"), "output": out, "error": fmt.Sprint(err),
	} {
		if strings.Contains(text, secret) || !strings.Contains(text, "[secret]") {
			t.Errorf("%s: %q", name, text)
		}
	}
}
