package docker

import (
	"testing"

	"github.com/moby/moby/client"

	"github.com/stella-ops/stella"
)

// TestWhoSharesANamespaceGoesAlong replaces a service alone, goes back to it, and
// starts it again: a service in its network is in the one that it has now.
func TestWhoSharesANamespaceGoesAlong(t *testing.T) {
	t.Parallel()
	s := newScene(t)
	web := func(version string) stella.Resource { return resourceOf("web", s.image(t, version)) }
	side := resourceOf("side", s.image(t, "1"), asJSON{"network_mode": "service:web"})
	along := func(when string, want ...stella.Resource) {
		t.Helper()
		s.there(t, want...)
		host, guest := s.current(t, "web"), s.current(t, "side")
		if string(guest.HostConfig.NetworkMode) != "container:"+host.ID {
			t.Errorf("%s: it is in %s, the service is %s", when, guest.HostConfig.NetworkMode, host.ID)
		}
		if engineStamp(host.State.StartedAt).After(engineStamp(guest.State.StartedAt)) {
			t.Errorf("%s: it is in a network that is gone", when)
		}
	}
	must(t, s.goes(t, 1, "1", side, web("1")))
	along("made", side, web("1"))
	must(t, s.goes(t, 2, "2", side, web("2")))
	along("replaced", side, web("2"))
	must(t, s.goes(t, 3, "1", side, web("1")))
	along("gone back", side, web("1"))

	_, err := s.api.ContainerKill(t.Context(), s.current(t, "web").ID, client.ContainerKillOptions{Signal: "KILL"})
	must(t, err)
	must(t, s.goes(t, 4, "1", side, web("1")))
	along("started again", side, web("1"))
	before := s.current(t, "side")
	must(t, s.Apply(t.Context(), stella.Order{Fence: 5, Desired: stella.State{Resources: []stella.Resource{side, web("1")}}, Actions: []stella.Action{{Op: stella.OpUpdate, Resource: web("1")}}, Sticker: stella.Sticker{}}, nil))
	if after := s.current(t, "side"); after.State.StartedAt != before.State.StartedAt {
		t.Error("it was started again for nothing")
	}
}
