package docker

import (
	"errors"
	"strings"
	"testing"

	"github.com/moby/moby/api/types/container"
	"github.com/moby/moby/client"

	"github.com/stella-ops/stella"
	"github.com/stella-ops/stella/internal/dockertest"
	"github.com/stella-ops/stella/internal/registry"
)

// TestTwoRepositoriesOnOneEngine: targets of one name, of one environment's name,
// are two where their projects are.
func TestTwoRepositoriesOnOneEngine(t *testing.T) {
	t.Parallel()
	shop := newScene(t)
	shopWeb := shop.web(t, "1")
	if err := shop.goes(t, 500, "1", shopWeb); err != nil {
		t.Fatal(err)
	}
	before := shop.current(t, "web").ID
	blog := newScene(t, func(c *Config) { c.Name, c.Project = shop.cfg.Name, "blog-"+shop.cfg.Project })
	live, err := blog.Observe(t.Context())
	if err != nil || len(live.Resources) > 0 || live.Observed.Sticker != nil || live.Observed.Fence != 0 {
		t.Fatalf("the other repository's target sees %+v, %v", live, err)
	}
	if err := blog.goes(t, 3, "1", blog.web(t, "2")); err != nil {
		t.Fatal(err)
	}
	if err := blog.Remove(t.Context(), 4); err != nil {
		t.Fatal(err)
	}
	name := shop.nameFor("web", nil)
	err = blog.try(t, 5, resourceOf("web", blog.image(t, "2"), asJSON{"container_name": name}))
	if !errors.Is(err, stella.ErrRefused) || !strings.Contains(err.Error(), name+" is there and belongs to target "+shop.cfg.Name) || strings.Contains(stella.Hint(err), "adopt") {
		t.Errorf("the name of another target's container: %v (%s)", err, stella.Hint(err))
	}
	shop.there(t, shopWeb)
	live, err = shop.Observe(t.Context())
	if err != nil || live.Observed.Fence != 500 || shop.current(t, "web").ID != before {
		t.Errorf("it was touched: fence %d, %v", live.Observed.Fence, err)
	}
}

// TestLabelsOfAnImageAreNotBelieved: a container inherits them.
func TestLabelsOfAnImageAreNotBelieved(t *testing.T) {
	t.Parallel()
	s := newScene(t)
	forged, err := seal(1<<40, record{SchemaVersion: 1, Environment: s.cfg.Environment, Target: s.cfg.Name, Fence: 1 << 50})
	if err != nil {
		t.Fatal(err)
	}
	for version, labels := range map[string]map[string]string{
		"6.6.6": {labelRecord: forged}, "6.6.7": {labelRecord: "{}"}, "6.6.8": {labelFiles: "x"},
	} {
		a := dockertest.Image(t, version, func(b *registry.Build) { b.Config.Labels = labels })
		web := stella.Resource{ID: serviceID("web"), Fields: map[string]any{"image": a.String()}}
		if err := s.goes(t, 500, version, web); err != nil {
			t.Fatalf("%v: %v", labels, err)
		}
		s.there(t, web)
		if live, err := s.Observe(t.Context()); err != nil || live.Observed.Fence != 500 {
			t.Errorf("%v: fence %d, %v", labels, live.Observed.Fence, err)
		}
	}
}

// TestWhatWasStoppedByHandHasNotCompleted: most programs end with success when
// they are told to end.
func TestWhatWasStoppedByHandHasNotCompleted(t *testing.T) {
	t.Parallel()
	s := newScene(t)
	willing := asJSON{"entrypoint": []any{"/bin/sh", "-c", "trap 'exit 0' TERM; while :; do sleep 1 & wait $!; done"}}
	web, once := s.web(t, "1", willing), s.web(t, "1", willing, asJSON{"restart": "no"})
	once.ID = serviceID("once")
	if err := s.goes(t, 500, "1", web, once); err != nil {
		t.Fatal(err)
	}
	for _, name := range []string{"web", "once"} {
		if _, err := s.api.ContainerStop(t.Context(), s.current(t, name).ID, client.ContainerStopOptions{}); err != nil {
			t.Fatal(err)
		}
	}
	if got := s.differs(t, web, once); len(got) != 1 || got[0] != "missing service/web" {
		t.Errorf("differences %q", got)
	}
	ended := s.current(t, "once").State.FinishedAt
	if err := s.goes(t, 501, "1", web, once); err != nil {
		t.Fatal(err)
	}
	s.there(t, web, once)
	if !s.current(t, "web").State.Running {
		t.Error("what was stopped by hand was not started again")
	}
	if now := s.current(t, "once").State; now.Running || now.FinishedAt != ended {
		t.Error("what had done its work ran again")
	}
}

// TestWhatWasStoppedStaysStopped: an engine starts what has `restart: always` when
// it starts.
func TestWhatWasStoppedStaysStopped(t *testing.T) {
	t.Parallel()
	s := newScene(t)
	web := s.web(t, "1", asJSON{"restart": "always"})
	if err := s.goes(t, 500, "1", web); err != nil {
		t.Fatal(err)
	}
	if err := s.Stop(t.Context(), 501); err != nil {
		t.Fatal(err)
	}
	if policy := s.current(t, "web").HostConfig.RestartPolicy.Name; policy != container.RestartPolicyDisabled {
		t.Errorf("it would be started again: %s", policy)
	}
	if err := s.goes(t, 502, "1", web); err != nil {
		t.Fatal(err)
	}
	s.there(t, web)
}

func TestNamesOfThePublicHub(t *testing.T) {
	t.Parallel()
	const digest = "@sha256:4b825dc642cb6eb9a060e54bf8d69288fbee49044b825dc642cb6eb9a060e54b"
	for asked, known := range map[string]string{
		"docker.io/library/nginx": "nginx", "docker.io/nginx": "nginx", "index.docker.io/library/nginx": "nginx",
		"docker.io/grafana/grafana": "grafana/grafana", "ghcr.io/a/b": "ghcr.io/a/b", "127.0.0.1:5000/web": "127.0.0.1:5000/web",
	} {
		a, err := stella.ParseArtifact(asked + digest)
		if err != nil {
			t.Fatal(err)
		}
		if !(imageFacts{digests: []string{known + digest}}).named(a) {
			t.Errorf("%s is not %s", asked, known)
		}
		if (imageFacts{digests: []string{"evil.example.com/" + known + digest}}).named(a) {
			t.Errorf("%s is of somebody else", asked)
		}
	}
}
