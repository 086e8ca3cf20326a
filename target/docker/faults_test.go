package docker

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"strings"
	"testing"
	"time"

	"github.com/moby/moby/api/types/container"
	"github.com/moby/moby/api/types/network"
	"github.com/moby/moby/client"

	"github.com/stella-ops/stella"
	"github.com/stella-ops/stella/internal/dockertest"
	"github.com/stella-ops/stella/internal/registry"
)

// soon is the end of a call that is never answered.
const soon = 150 * time.Millisecond

// demand wants that an error has a class and says what to do next.
func demand(t testing.TB, err, class error, words ...string) {
	t.Helper()
	if !errors.Is(err, class) || stella.Hint(err) == "" {
		t.Errorf("want an error of class %q with the next command: %v, hint %q", class, err, stella.Hint(err))
	}
	for _, w := range words {
		if err != nil && !strings.Contains(err.Error(), w) {
			t.Errorf("the error does not say %q: %v", w, err)
		}
	}
}

// honest wants what is observed to be what runs, by the engine's own words, no
// service to run twice without being told of, and the sticker to name the release that it is brought to
// only where it got there.
func (s *scene) honest(t testing.TB, want ...stella.Resource) {
	t.Helper()
	live, err := s.Observe(t.Context())
	must(t, err)
	list, err := s.api.ContainerList(t.Context(), client.ContainerListOptions{Filters: s.mine()})
	must(t, err)
	runs := map[string]bool{}
	for _, c := range list.Items {
		if runs[serviceOf(c)] && !strings.Contains(fmt.Sprint(live.Resources), containerPrefix) {
			t.Errorf("%s runs twice, and nobody says so", serviceOf(c))
		}
		runs[serviceOf(c)] = true
	}
	for _, c := range live.Observed.Components {
		_, said := live.Resource(serviceID(c.Name))
		if runs[c.Name] != said || said != (c.State == stella.RunRunning) {
			t.Errorf("%s is %s, listed %v; it runs: %v", c.Name, c.State, said, runs[c.Name])
		}
	}
	if st := live.Observed.Sticker; st != nil && st.Release == s.latest {
		s.there(t, want...)
	}
}

// alien makes a container that is not of stella. The image of version 1 has to
// be on the engine.
func (s *scene) alien(t testing.TB, name string, host *container.HostConfig) string {
	t.Helper()
	c, err := s.api.ContainerCreate(t.Context(), client.ContainerCreateOptions{
		Name: name, HostConfig: host,
		Config: &container.Config{Image: byDigest(s.image(t, "1")), ExposedPorts: network.PortSet{port("80/tcp"): {}}},
	})
	must(t, err)
	t.Cleanup(func() {
		_, _ = s.api.ContainerRemove(context.WithoutCancel(t.Context()), c.ID, client.ContainerRemoveOptions{Force: true})
	})
	return c.ID
}

// TestAnEngineThatFailsAtEachCall strikes each call of an order that replaces a
// service and makes a network anew, in every way in which a call fails. The order
// ends in time, with an error that says so; what is observed is true; and the
// next pass brings it where it was to go.
func TestAnEngineThatFailsAtEachCall(t *testing.T) {
	t.Parallel()
	for name, faults := range map[string][]dockertest.Fault{
		"never answered": {dockertest.Hang},
		"otherwise":      {dockertest.Lost, dockertest.Refuse, dockertest.HangOn, dockertest.Dropped},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			s := newScene(t)
			p := dockertest.Proxied(t, dockertest.Engine(t))
			want := func(n int) []stella.Resource {
				return []stella.Resource{
					s.web(t, fmt.Sprint(1+n%2), asJSON{"restart": "no", "networks": asJSON{"front": asJSON{}}, "configs": asJSON{"/etc/a.conf": config("a")}}),
					storage("network/front", asJSON{"attachable": n%2 == 0}),
				}
			}
			fence := int64(1)
			must(t, s.goes(t, fence, "0", want(0)...))
			for n := 1; s.struckAt(t, p, n, faults[n%len(faults)], &fence, want(n)); n++ {
			}
		})
	}
}

// struckAt is one order with a fault at its n-th effect; false where it has fewer.
func (s *scene) struckAt(t *testing.T, p *dockertest.Proxy, n int, f dockertest.Fault, fence *int64, want []stella.Resource) bool {
	t.Helper()
	s.latest = fmt.Sprint(n)
	*fence++
	o := s.order(t, *fence, s.latest, want...)
	must(t, s.Prepare(t.Context(), o.Desired, *fence))
	c := s.cfg
	c.Engine = p.Client
	d, count, hit := open(t, c), 0, ""
	d.trip = func(effect string, done bool) error {
		if done {
			return nil
		}
		count++
		d.limit.Store(0)
		if count == n {
			hit = effect
			d.limit.Store(int64(soon))
			p.Strike(f)
		}
		return nil
	}
	err := d.Apply(t.Context(), o, nil)
	if hit == "" {
		must(t, err)
		t.Logf("%d effects", count)
		return false
	}
	switch {
	case !p.Struck():
		t.Fatalf("%d: %s made no call", n, hit)
	case err == nil && strings.HasSuffix(hit, suffixNext) && (strings.HasPrefix(hit, "update ") || strings.HasPrefix(hit, "start ")):
		// A kept container that does not start is made anew at once.
	case f == dockertest.Refuse && (err == nil || !strings.Contains(err.Error(), "struck by the test") || stella.Hint(err) == ""):
		t.Errorf("%d, %s: %v, hint %q", n, hit, err, stella.Hint(err))
	case f != dockertest.Refuse:
		demand(t, err, stella.ErrUnreachable)
	}
	if t.Failed() {
		t.Fatalf("at effect %d, %s, fault %d: %v", n, hit, f, err)
	}
	s.honest(t, want...)
	*fence++
	if err := s.goes(t, *fence, s.latest, want...); err != nil {
		t.Fatalf("the pass after %d, %s (%v): %v", n, hit, f, err)
	}
	s.there(t, want...)
	s.honest(t, want...)
	if t.Failed() {
		t.Fatalf("at effect %d, %s, fault %d", n, hit, f)
	}
	return true
}

// TestAnEngineThatHangsIsSaidToHang lets reading hang.
func TestAnEngineThatHangsIsSaidToHang(t *testing.T) {
	t.Parallel()
	s := newScene(t)
	p := dockertest.Proxied(t, dockertest.Engine(t))
	c := s.cfg
	c.Engine = p.Client
	d := open(t, c)
	d.limit.Store(int64(soon))
	for _, path := range []string{"/info", "/containers/json", "/networks", "/volumes"} {
		p.StrikeAt(dockertest.Hang, func(r *http.Request) bool { return strings.HasSuffix(r.URL.Path, path) })
		_, err := d.Observe(t.Context())
		demand(t, err, stella.ErrUnreachable, "did not answer in time")
	}
}

// TestAnEngineThatIsKilled kills the engine before, during and after orders. Its
// containers end with it when it starts again, but for those that are to run
// always.
func TestAnEngineThatIsKilled(t *testing.T) {
	t.Parallel()
	e := dockertest.Engines(t, 1)[0]
	s := newScene(t, func(c *Config) { c.Engine = e.Client })
	versions := []stella.Artifact{dockertest.Image(t, "killed-1"), dockertest.Image(t, "killed-2")}
	want := func(n int) stella.Resource { return resourceOf("web", versions[n%2], asJSON{"restart": "always"}) }
	must(t, s.goes(t, 1, "0", want(0)))
	fence := int64(1)
	for i, at := range []struct {
		effect string
		done   bool
	}{{"create", false}, {"stop", true}, {"rename", true}, {"start", false}, {"start", true}, {"record", true}} {
		fence++
		s.latest = fmt.Sprint(i + 1)
		o := s.order(t, fence, s.latest, want(i+1))
		must(t, s.Prepare(t.Context(), o.Desired, fence))
		killed := false
		s.trip = func(effect string, done bool) error {
			if verb, _, _ := strings.Cut(effect, " "); !killed && verb == at.effect && done == at.done {
				killed = true
				e.Kill(t)
			}
			return nil
		}
		err := s.Apply(t.Context(), o, nil)
		s.trip = nil
		demand(t, err, stella.ErrUnreachable)
		_, err = s.Observe(t.Context())
		demand(t, err, stella.ErrUnreachable)
		_, err = Open(t.Context(), s.cfg)
		demand(t, err, stella.ErrUnreachable, s.cfg.Name)
		e.Start(t)
		s.honest(t, want(i+1))
		fence++
		must(t, s.goes(t, fence, s.latest, want(i+1)))
		s.there(t, want(i+1))
		s.honest(t, want(i+1))
		if t.Failed() {
			t.Fatalf("at %v", at)
		}
	}
	before := s.current(t, "web")
	e.Kill(t)
	e.Start(t)
	s.there(t, want(6))
	s.honest(t, want(6))
	if now := s.current(t, "web"); now.ID != before.ID || !now.State.Running {
		t.Errorf("after the engine was killed runs %s, %s; it was %s", now.ID, now.State.Status, before.ID)
	}
}

// TestADiskThatIsFullIsFoundBeforeAnythingStops pulls an image that the engine
// has no room for.
func TestADiskThatIsFullIsFoundBeforeAnythingStops(t *testing.T) {
	t.Parallel()
	e := dockertest.Small(t, 48<<20)
	s := newScene(t, func(c *Config) { c.Engine = e.Client })
	small := resourceOf("web", dockertest.Image(t, "small-1"))
	large := resourceOf("web", dockertest.Image(t, "large-1", func(b *registry.Build) {
		b.Layers = append(b.Layers, []registry.File{{Name: "large", Content: make([]byte, 64<<20)}})
	}))
	must(t, s.goes(t, 1, "1", small))
	before := s.current(t, "web")
	err := s.goes(t, 2, "2", large)
	demand(t, err, stella.ErrRefused, "no space left", "large-1")
	if !strings.Contains(stella.Hint(err), "docker image prune") {
		t.Errorf("the hint is %q", stella.Hint(err))
	}
	if now := s.current(t, "web"); now.ID != before.ID || !now.State.Running {
		t.Error("what ran was touched")
	}
	s.there(t, small)
	other := resourceOf("web", dockertest.Image(t, "small-2"))
	must(t, s.goes(t, 3, "3", other))
	s.there(t, other)
}

// TestWhatOthersHaveIsFoundBeforeAnythingStops has somebody else take the names
// and the port that a release needs.
func TestWhatOthersHaveIsFoundBeforeAnythingStops(t *testing.T) {
	t.Parallel()
	s := newScene(t)
	port := freePorts(t, 1)[0]
	must(t, s.goes(t, 1, "1", s.web(t, "1")))
	before := s.current(t, "web")
	want := s.web(t, "2", asJSON{"ports": []any{asJSON{"target": 80.0, "published": fmt.Sprint(port), "protocol": "tcp"}}})
	o := s.order(t, 2, "2", want)
	refused := func(words ...string) {
		t.Helper()
		demand(t, s.Prepare(t.Context(), o.Desired, 2), stella.ErrRefused, words...)
		demand(t, s.Apply(t.Context(), o, nil), stella.ErrRefused, words...)
		if now := s.current(t, "web"); now.ID != before.ID || !now.State.Running {
			t.Error("what ran was touched")
		}
	}
	for _, suffix := range []string{suffixNext, suffixPrevious} {
		name := s.nameFor("web", nil) + suffix
		id := s.alien(t, name, &container.HostConfig{})
		refused(name)
		_, err := s.api.ContainerRemove(t.Context(), id, client.ContainerRemoveOptions{})
		must(t, err)
	}
	name := s.cfg.Project + "-squatter"
	id := s.alien(t, name, &container.HostConfig{PortBindings: bind("80/tcp", fmt.Sprint(port))})
	_, err := s.api.ContainerStart(t.Context(), id, client.ContainerStartOptions{})
	must(t, err)
	refused(name, fmt.Sprint(port))
	_, err = s.api.ContainerRemove(t.Context(), id, client.ContainerRemoveOptions{Force: true})
	must(t, err)
	must(t, s.goes(t, 3, "2", want))
	s.there(t, want)
}

// TestAContainerThatIgnoresItsSignalIsKilled measures how long that takes.
func TestAContainerThatIgnoresItsSignalIsKilled(t *testing.T) {
	t.Parallel()
	s := newScene(t)
	must(t, s.goes(t, 1, "1", s.web(t, "1", asJSON{"environment": asJSON{"ON_TERM": "ignore"}, "stopGracePeriodSeconds": 1.0})))
	old := s.current(t, "web").ID
	eventually(t, "it ignores signals", func() bool {
		out, err := s.Logs(t.Context(), "web", 0)
		must(t, err)
		return strings.Contains(string(out), "starts")
	})
	var begun time.Time
	var took time.Duration
	s.trip = func(effect string, done bool) error {
		switch {
		case !strings.HasPrefix(effect, "stop "):
		case done:
			took = time.Since(begun)
		default:
			begun = time.Now()
		}
		return nil
	}
	must(t, s.goes(t, 2, "2", s.web(t, "2")))
	s.there(t, s.web(t, "2"))
	c, err := s.api.ContainerInspect(t.Context(), old, client.ContainerInspectOptions{})
	must(t, err)
	if t.Logf("killed after %s", took); took < time.Second || took > 30*time.Second || c.Container.State.ExitCode != 137 {
		t.Errorf("with a grace of a second it ended after %s, with %d", took, c.Container.State.ExitCode)
	}
}
