package docker

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"net"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/moby/moby/api/types/container"
	"github.com/moby/moby/client"

	"github.com/stella-ops/stella"
	"github.com/stella-ops/stella/artifact"
	"github.com/stella-ops/stella/drift"
	"github.com/stella-ops/stella/internal/dockertest"
	"github.com/stella-ops/stella/internal/registry"
)

// try prepares and applies what is desired.
func (s *scene) try(t testing.TB, fence int64, want ...stella.Resource) error {
	t.Helper()
	return s.goes(t, fence, fmt.Sprint(fence), want...)
}

// deploy is try that succeeds and leaves nothing to do.
func (s *scene) deploy(t testing.TB, fence int64, want ...stella.Resource) {
	t.Helper()
	must(t, s.try(t, fence, want...))
	s.there(t, want...)
}

// called returns the id of the container of a name, and when it was last started
// and ended; empty where there is none.
func (s *scene) called(t testing.TB, name string) (id string, started, ended time.Time) {
	t.Helper()
	live, err := s.inspect(t.Context(), name)
	must(t, err)
	if live == nil {
		return "", time.Time{}, time.Time{}
	}
	return live.ID, engineStamp(live.State.StartedAt), engineStamp(live.State.FinishedAt)
}

func (s *scene) names(t testing.TB) []string {
	t.Helper()
	inv, err := s.listOurs(t.Context())
	must(t, err)
	var out []string
	for _, c := range inv.ours {
		out = append(out, strings.TrimPrefix(nameOf(c), s.cfg.Project+"-"))
	}
	slices.Sort(out)
	return out
}

func (s *scene) service(t testing.TB, name, version string, more ...asJSON) stella.Resource {
	return resourceOf(name, s.image(t, version), append([]asJSON{{"stopGracePeriodSeconds": 1.0}}, more...)...)
}

func env(pairs ...string) asJSON {
	e := asJSON{}
	for i := 0; i < len(pairs); i += 2 {
		e[pairs[i]] = pairs[i+1]
	}
	return asJSON{"environment": e}
}

// probe is a healthcheck that finds out soon.
func probe() asJSON {
	return asJSON{"healthcheck": asJSON{"test": []any{"CMD", "/healthy"}, "intervalSeconds": 0.2, "timeoutSeconds": 20.0, "retries": 1.0}}
}

func starting(c *Config) { c.StartFirst = true }

func TestTheNewContainerIsWellBeforeTheOldOneStops(t *testing.T) {
	t.Parallel()
	s := newScene(t, starting)
	s.deploy(t, 1, s.service(t, "web", "1", probe()))
	web := s.cfg.Project + "-web-1"
	old, _, _ := s.called(t, web)
	var order []string
	s.trip = func(effect string, done bool) error {
		if verb, _, _ := strings.Cut(effect, " "); done && (verb == "start" || verb == "stop") {
			order = append(order, verb)
			next, err := s.inspect(context.WithoutCancel(t.Context()), web+suffixNext)
			if verb == "stop" && (err != nil || next == nil || next.State.Health == nil || next.State.Health.Status != container.Healthy) {
				t.Errorf("the old one stopped before the new one was healthy: %+v, %v", next, err)
			}
		}
		return nil
	}
	s.deploy(t, 2, s.service(t, "web", "2", probe()))
	if !slices.Equal(order, []string{"start", "stop"}) {
		t.Errorf("effects %q", order)
	}
	kept, _, ended := s.called(t, web+suffixPrevious)
	now, started, _ := s.called(t, web)
	if kept != old || now == old || !started.Before(ended) {
		t.Errorf("the old one ended at %s, the new one had started at %s", ended, started)
	}
}

func TestWhatDoesNotGetWellBesideTheOldOneLeavesIt(t *testing.T) {
	t.Parallel()
	s := newScene(t, starting)
	one := s.service(t, "web", "1", probe())
	s.deploy(t, 1, one)
	web := s.cfg.Project + "-web-1"
	old, started, _ := s.called(t, web)
	err := s.try(t, 2, s.service(t, "web", "2", probe(), env("HEALTH", "bad")))
	if !errors.Is(err, stella.ErrUnhealthy) {
		t.Errorf("a sick one took the place: %v", err)
	}
	if id, at, _ := s.called(t, web); id != old || at != started {
		t.Error("the old one was touched")
	}
	if live, err := s.inspect(t.Context(), web+suffixNext); err != nil || live == nil || live.State.Running {
		t.Errorf("the sick one runs on beside it: %v", err)
	}
	s.deploy(t, 3, one)
	if got := s.names(t); !slices.Equal(got, []string{"web-1"}) {
		t.Errorf("left over: %v", got)
	}
}

// TestTheHealthcheckOfTheImageCountsBesideTheOldOne, where the file asks for none.
func TestTheHealthcheckOfTheImageCountsBesideTheOldOne(t *testing.T) {
	t.Parallel()
	s := newScene(t, starting)
	s.deploy(t, 1, s.service(t, "web", "1"))
	old := s.current(t, "web")
	a := dockertest.Image(t, "8.0.1", func(b *registry.Build) {
		b.Config.Healthcheck = &artifact.Healthcheck{Test: []string{"CMD", "/healthy"}, Interval: 200 * time.Millisecond, Timeout: 20 * time.Second, Retries: 1}
	})
	err := s.try(t, 2, resourceOf("web", a, env("HEALTH", "bad"), asJSON{"stopGracePeriodSeconds": 1.0}))
	if now := s.current(t, "web"); !errors.Is(err, stella.ErrUnhealthy) || now.ID != old.ID || now.State.StartedAt != old.State.StartedAt {
		t.Errorf("a sick one took the place: %v", err)
	}
	if live, err := s.inspect(t.Context(), s.nameFor("web", nil)+suffixNext); err != nil || live == nil || live.State.Running {
		t.Errorf("the sick one runs on: %v", err)
	}
}

func TestWhatOnlyOneCanHaveStopsFirst(t *testing.T) {
	t.Parallel()
	data := asJSON{"volumes": []any{asJSON{"type": "volume", "source": "data", "target": "/data", "readOnly": false}}}
	for name, more := range map[string]asJSON{
		"a port":         {"ports": []any{asJSON{"target": 80.0, "published": "43117", "protocol": "tcp"}}},
		"a named volume": data,
		"no network":     {"network_mode": "none"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			s := newScene(t, starting)
			all := func(version string) []stella.Resource {
				out := []stella.Resource{s.service(t, "web", version, more)}
				if name == "a named volume" {
					out = append(out, stella.Resource{ID: "volume/data", Fields: asJSON{"name": "data"}})
				}
				return out
			}
			s.deploy(t, 1, all("1")...)
			s.deploy(t, 2, all("2")...)
			_, _, ended := s.called(t, s.cfg.Project+"-web-1"+suffixPrevious)
			if _, started, _ := s.called(t, s.cfg.Project+"-web-1"); ended.IsZero() || started.Before(ended) {
				t.Errorf("the old one ended at %s, the new one started at %s", ended, started)
			}
		})
	}
}

func TestNothingIsKeptWhereNothingShallBe(t *testing.T) {
	t.Parallel()
	s := newScene(t, func(c *Config) { c.DiscardPrevious = true })
	s.deploy(t, 1, s.service(t, "web", "1"), s.service(t, "api", "1"))
	s.deploy(t, 2, s.service(t, "web", "2"))
	if got := s.names(t); !slices.Equal(got, []string{"web-1"}) {
		t.Errorf("there are %v", got)
	}
}

// TestWhatCanNotBeStartedIsSick, and the release that ran before is brought back
// like from any other sickness: what ran was kept.
func TestWhatCanNotBeStartedIsSick(t *testing.T) {
	t.Parallel()
	s := newScene(t)
	one := s.service(t, "web", "1")
	s.deploy(t, 1, one)
	old := s.current(t, "web").ID
	port, err := (&net.ListenConfig{}).Listen(t.Context(), "tcp", "0.0.0.0:0")
	must(t, err)
	defer func() { must(t, port.Close()) }()
	taken := asJSON{"target": 80.0, "published": strconv.Itoa(port.Addr().(*net.TCPAddr).Port), "protocol": "tcp"}
	for why, more := range map[string]asJSON{
		"no such file":   {"entrypoint": []any{"/there/is/no/such/program"}},
		"already in use": {"ports": []any{taken}},
	} {
		err := s.try(t, 2, s.service(t, "web", "2", more))
		if !errors.Is(err, stella.ErrUnhealthy) || !strings.Contains(err.Error(), why) {
			t.Errorf("what can not be started (%s): %v", why, err)
		}
		s.deploy(t, 2, one)
		if now := s.current(t, "web"); now.ID != old {
			t.Errorf("%s: not what ran before is back", why)
		}
	}
}

// TestWhatWasKeptGoesOnceNothingShallBe: it was switched off, or a crash was
// between the start of the new one and the removal of the old one.
func TestWhatWasKeptGoesOnceNothingShallBe(t *testing.T) {
	t.Parallel()
	s := newScene(t)
	s.deploy(t, 1, s.service(t, "web", "1"), s.service(t, "api", "1"))
	s.deploy(t, 2, s.service(t, "web", "2"), s.service(t, "api", "1"))
	s.cfg.DiscardPrevious = true
	s.deploy(t, 3, s.service(t, "web", "2"), s.service(t, "api", "2"))
	if got := s.names(t); !slices.Equal(got, []string{"api-1", "web-1"}) {
		t.Errorf("there are %v", got)
	}
}

func TestGoingBackStartsWhatWasKept(t *testing.T) {
	t.Parallel()
	s := newScene(t)
	one := s.service(t, "web", "1", asJSON{"restart": "always"})
	s.deploy(t, 1, one)
	web := s.cfg.Project + "-web-1"
	old, _, _ := s.called(t, web)
	s.deploy(t, 2, s.service(t, "web", "2", asJSON{"restart": "always"}))
	if kept, err := s.inspect(t.Context(), web+suffixPrevious); err != nil || kept == nil || kept.ID != old || kept.HostConfig.RestartPolicy.Name != container.RestartPolicyDisabled {
		t.Errorf("an engine that starts again would start what was kept: %+v, %v", kept, err)
	}
	made := 0
	s.trip = func(effect string, _ bool) error {
		if strings.HasPrefix(effect, "create ") || strings.HasPrefix(effect, "pull ") {
			made++
		}
		return nil
	}
	s.deploy(t, 3, one)
	live, err := s.inspect(t.Context(), web)
	if err != nil || live == nil || live.ID != old || made > 0 || live.HostConfig.RestartPolicy.Name != container.RestartPolicyAlways {
		t.Errorf("not what was kept is back, or %d things were made for it: %+v, %v", made, live, err)
	}
}

// TestWhatWasKeptIsMadeAnewAfterItsNetwork: its network has gone, and another has
// come by that name.
func TestWhatWasKeptIsMadeAnewAfterItsNetwork(t *testing.T) {
	t.Parallel()
	s := newScene(t)
	on := asJSON{"networks": asJSON{"back": asJSON{}}}
	network := func(subnet string) stella.Resource {
		return stella.Resource{ID: "network/back", Fields: asJSON{"name": "back", "ipam": asJSON{"config": []any{asJSON{"subnet": subnet}}}}}
	}
	one := s.service(t, "web", "1", on)
	s.deploy(t, 1, one, network("10.117.1.0/24"))
	s.deploy(t, 2, s.service(t, "web", "2", on), network("10.117.2.0/24"))
	s.deploy(t, 3, one, network("10.117.2.0/24"))
	if live := s.current(t, "web"); !live.State.Running {
		t.Errorf("it does not run: %+v", live.State)
	}
}

func TestANameThatSomebodyHasIsRefusedBeforeAnythingStops(t *testing.T) {
	t.Parallel()
	s := newScene(t)
	s.deploy(t, 1, s.service(t, "web", "1"))
	before := s.current(t, "web")
	for _, name := range []string{"api-1", "web-1" + suffixNext} {
		c, err := s.api.ContainerCreate(t.Context(), client.ContainerCreateOptions{
			Name: s.cfg.Project + "-" + name, Config: &container.Config{Image: before.Image}, HostConfig: &container.HostConfig{},
		})
		must(t, err)
		want := []stella.Resource{s.service(t, "web", "2"), s.service(t, "api", "1")}
		err = s.try(t, 2, want...)
		if !errors.Is(err, stella.ErrRefused) || !strings.Contains(err.Error(), s.cfg.Project+"-"+name) || stella.Hint(err) == "" {
			t.Errorf("%s is another's: %v", name, err)
		}
		if err := s.Apply(t.Context(), s.order(t, 2, "2", want...), nil); !errors.Is(err, stella.ErrRefused) {
			t.Errorf("%s is another's, without Prepare: %v", name, err)
		}
		if now := s.current(t, "web"); now.ID != before.ID || now.State.StartedAt != before.State.StartedAt {
			t.Errorf("%s is another's, and web was touched", name)
		}
		_, err = s.api.ContainerRemove(t.Context(), c.ID, client.ContainerRemoveOptions{Force: true})
		must(t, err)
	}
}

// TestVolumesWithoutNamesGoWithTheirContainer, and those that have one stay.
func TestVolumesWithoutNamesGoWithTheirContainer(t *testing.T) {
	t.Parallel()
	s := newScene(t)
	data := stella.Resource{ID: "volume/data", Fields: asJSON{"name": "data"}}
	web := func(version string) stella.Resource {
		return s.service(t, "web", version, asJSON{"volumes": []any{
			asJSON{"type": "volume", "source": "", "target": "/scratch", "readOnly": false},
			asJSON{"type": "volume", "source": "data", "target": "/data", "readOnly": false},
		}})
	}
	volumes := func() (all []string) {
		t.Helper()
		for _, m := range s.current(t, "web").Mounts {
			all = append(all, m.Name)
		}
		return all
	}
	s.deploy(t, 1, web("1"), data)
	first := volumes()
	live, err := s.Observe(t.Context())
	must(t, err)
	if notes := strings.Join(live.Observed.Notes, "\n"); !strings.Contains(notes, "service web keeps /scratch in a volume without a name") {
		t.Errorf("nobody is told: %q", notes)
	}
	_, err = s.Exec(t.Context(), "web", []string{"touch", "/data/kept"})
	must(t, err)
	s.deploy(t, 2, web("2"), data)
	s.deploy(t, 3, web("3"), data)
	for _, name := range first {
		_, there, err := s.volumeNamed(t.Context(), name)
		must(t, err)
		if named := !anonymous(name); named != there {
			t.Errorf("volume %s: there %v", name, there)
		}
	}
	_, err = s.Exec(t.Context(), "web", []string{"test", "-e", "/data/kept"})
	must(t, err)
}

// TestALimitThatTheEngineDropsIsRefused: kernels without the scheduler for it drop
// a weight, and the engine only warns.
func TestALimitThatTheEngineDropsIsRefused(t *testing.T) {
	t.Parallel()
	s := newScene(t)
	one := s.service(t, "web", "1")
	s.deploy(t, 1, one)
	before := s.current(t, "web")
	weighed := s.service(t, "web", "2", asJSON{"blkio_config": asJSON{"weight": 300.0}})
	err := s.try(t, 2, weighed)
	if err == nil { // this kernel has it
		s.there(t, weighed)
		return
	}
	if !errors.Is(err, stella.ErrUnsupported) || !strings.Contains(err.Error(), "blkio_config") || stella.Hint(err) == "" {
		t.Error(err)
	}
	if now := s.current(t, "web"); now.ID != before.ID || now.State.StartedAt != before.State.StartedAt {
		t.Error("it was touched")
	}
	if got := s.names(t); !slices.Equal(got, []string{"web-1"}) {
		t.Errorf("left over: %v", got)
	}
}

// TestALabelThatWasChangedIsADifference: what it says of what the container itself
// tells changes nothing, and the rest is what it says.
func TestALabelThatWasChangedIsADifference(t *testing.T) {
	t.Parallel()
	s := newScene(t)
	one := s.service(t, "web", "1", asJSON{"labels": asJSON{"team": "shop"}})
	must(t, s.under(1<<40).fetch(t.Context(), s.image(t, "2")))
	s.deploy(t, 1, one)
	two := one
	two.Fields = maps.Clone(one.Fields)
	two.Fields["image"] = s.image(t, "2").String()
	edit := func(from, to string) func(*container.Config) {
		return func(c *container.Config) { c.Labels[labelSpec] = strings.Replace(c.Labels[labelSpec], from, to, 1) }
	}
	for name, c := range map[string]struct {
		edit func(*container.Config)
		want stella.Resource
		path string // of the difference; empty for none
	}{
		"what is the label's alone": {edit("{", `{"x-stella":{"a":"b"},`), one, "/x-stella"},
		"a user that it has not":    {edit("{", `{"user":"app",`), one, ""},
		"an image that it is not":   {edit(string(s.image(t, "1").Digest), string(s.image(t, "2").Digest)), two, "/image"},
	} {
		s.remade(c.edit)(t, one)
		live, err := s.Observe(t.Context())
		must(t, err)
		path := ""
		for _, change := range drift.Compare(stella.State{Resources: []stella.Resource{c.want}}, live, nil, time.Now()) {
			path += change.Path
		}
		if path != c.path && (c.path == "" || !strings.HasPrefix(path, c.path)) {
			t.Errorf("%s: differs in %q, want %q", name, path, c.path)
		}
		must(t, s.try(t, 1, one))
	}
}
