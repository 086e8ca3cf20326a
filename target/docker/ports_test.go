package docker

import (
	"errors"
	"net"
	"net/netip"
	"strconv"
	"strings"
	"testing"

	"github.com/moby/moby/api/types/container"
	"github.com/moby/moby/api/types/network"
	"github.com/moby/moby/client"

	"github.com/stella-ops/stella"
	"github.com/stella-ops/stella/internal/dockertest"
)

// TestAPortThatIsTakenIsFoundBeforehand publishes ports that a foreign
// container, another service and a process have.
func TestAPortThatIsTakenIsFoundBeforehand(t *testing.T) {
	t.Parallel()
	y := newYard(t, dockertest.Engine(t), "ports")
	run := func(name string, labels map[string]string) uint16 {
		made, err := y.api.ContainerCreate(t.Context(), client.ContainerCreateOptions{
			Name: name, Config: &container.Config{Image: y.image, Labels: labels, ExposedPorts: network.PortSet{network.MustParsePort("80/tcp"): {}}},
			HostConfig: &container.HostConfig{PortBindings: network.PortMap{network.MustParsePort("80/tcp"): {{}}}},
		})
		y.must(err)
		t.Cleanup(func() { _ = y.d.under(1<<40).discard(t.Context(), made.ID, name) })
		_, err = y.api.ContainerStart(t.Context(), made.ID, client.ContainerStartOptions{})
		y.must(err)
		live, err := y.api.ContainerInspect(t.Context(), made.ID, client.ContainerInspectOptions{})
		y.must(err)
		n, err := strconv.ParseUint(live.Container.NetworkSettings.Ports[network.MustParsePort("80/tcp")][0].HostPort, 10, 16)
		y.must(err)
		return uint16(n)
	}
	foreign, other := run("ports-foreign", nil), run("ports-other", y.labels("service/other"))
	l, err := net.Listen("tcp", "127.0.0.1:0")
	y.must(err)
	defer func() { y.must(l.Close()) }()
	process := netip.MustParseAddrPort(l.Addr().String()).Port()
	want := func(n uint16, service string) []publication {
		return []publication{{service, network.PortMap{network.MustParsePort("80/tcp"): {{HostPort: strconv.Itoa(int(n))}}}}}
	}
	for name, test := range map[string]struct {
		want   []publication
		yields map[string]bool
		by     string // empty: free
	}{
		"a foreign container":                 {want: want(foreign, "web"), yields: map[string]bool{"other": true}, by: "container ports-foreign"},
		"another service that stays":          {want: want(other, "web"), by: "container ports-other"},
		"another service that yields":         {want: want(other, "web"), yields: map[string]bool{"other": true}},
		"the service itself":                  {want: want(other, "other")},
		"a process":                           {want: want(process, "web"), by: "a process on the engine's machine"},
		"two services of the app":             {want: append(want(1, "web"), want(1, "api")...), by: "service web"},
		"two services that swap their ports":  {want: append(want(other, "web"), want(2, "other")...), yields: map[string]bool{"other": true, "web": true}},
		"a port that the engine is to choose": {want: []publication{{"web", network.PortMap{network.MustParsePort("80/tcp"): {{}}}}}},
	} {
		errs := y.d.checkPorts(t.Context(), test.want, test.yields)
		switch {
		case test.by == "" && len(errs) > 0:
			t.Errorf("%s: %v", name, errs)
		case test.by != "" && (len(errs) != 1 || !errors.Is(errs[0], stella.ErrRefused) || !strings.Contains(errs[0].Error(), test.by) || stella.Hint(errs[0]) == ""):
			t.Errorf("%s: %v, want one that names %s", name, errs, test.by)
		}
	}
}
