package docker

import (
	"errors"
	"maps"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/moby/moby/api/types/container"
	"github.com/moby/moby/api/types/network"
	"github.com/moby/moby/client"

	"github.com/stella-ops/stella"
	"github.com/stella-ops/stella/drift"
	"github.com/stella-ops/stella/internal/dockertest"
)

func net1(fields map[string]any) stella.Resource {
	all := map[string]any{"name": "front"}
	maps.Copy(all, fields)
	return stella.Resource{ID: "network/front", Fields: all}
}

func (y *yard) differences(want stella.Resource, h *holdings) []string {
	y.Helper()
	live, _, err := y.d.observeNetworks(y.Context(), h)
	y.must(err)
	more, _, err := y.d.observeVolumes(y.Context(), h)
	y.must(err)
	var out []string
	for _, c := range drift.Compare(stella.State{Resources: []stella.Resource{want}}, stella.State{Resources: append(live, more...)}, nil, testTime) {
		out = append(out, string(c.Class)+" "+string(c.Resource)+c.Path)
	}
	return out
}

// TestEveryFieldOfANetworkIsCarriedOutAndReadBack makes a network with each
// field, wants no difference, then makes it anew by hand with that field
// changed and wants exactly that difference.
func TestEveryFieldOfANetworkIsCarriedOutAndReadBack(t *testing.T) {
	t.Parallel()
	pool := func(s string) map[string]any {
		return map[string]any{"config": []any{map[string]any{"subnet": s}}}
	}
	for name, test := range map[string]struct {
		fields map[string]any
		hand   func(o *client.NetworkCreateOptions)
		want   []string
	}{
		"nothing": {hand: func(o *client.NetworkCreateOptions) { o.Internal = true }, want: []string{"extra network/front/internal"}},
		"internal": {
			fields: map[string]any{"internal": true}, hand: func(o *client.NetworkCreateOptions) { o.Internal = false },
			want: []string{"modified network/front/internal"},
		},
		"attachable": {
			fields: map[string]any{"attachable": true}, hand: func(o *client.NetworkCreateOptions) { o.Attachable = false },
			want: []string{"modified network/front/attachable"},
		},
		"driver_opts": {
			fields: map[string]any{"driver": "bridge", "driver_opts": map[string]any{"com.docker.network.driver.mtu": 1400.0}},
			hand: func(o *client.NetworkCreateOptions) {
				o.Options = map[string]string{"com.docker.network.driver.mtu": "1300"}
			},
			want: []string{"modified network/front/driver_opts/com.docker.network.driver.mtu"},
		},
		"a driver option more": {
			hand: func(o *client.NetworkCreateOptions) {
				o.Options = map[string]string{"com.docker.network.driver.mtu": "1300"}
			},
			want: []string{"extra network/front/driver_opts"},
		},
		"labels": {
			fields: map[string]any{"labels": map[string]any{"team": "shop", "tier": "1"}},
			hand:   func(o *client.NetworkCreateOptions) { o.Labels["team"] = "x" }, want: []string{"modified network/front/labels/team"},
		},
		"a subnet": {
			fields: map[string]any{"ipam": pool("10.201.1.0/24")},
			hand: func(o *client.NetworkCreateOptions) {
				o.IPAM.Config[0].Subnet = prefix("10.202.1.0/24")
			}, want: []string{"modified network/front/ipam/config/0/subnet"},
		},
		"a gateway by hand": {
			fields: map[string]any{"ipam": pool("10.203.1.0/24")},
			hand:   func(o *client.NetworkCreateOptions) { o.IPAM.Config[0].Gateway = addr("10.203.1.9") },
			want:   []string{"extra network/front/ipam/config/0/gateway"},
		},
		"a whole pool, and IPv6": {
			fields: map[string]any{"enable_ipv6": true, "ipam": map[string]any{"driver": "default", "config": []any{
				map[string]any{
					"subnet": "10.204.0.0/16", "ip_range": "10.204.5.0/24", "gateway": "10.204.5.254",
					"aux_addresses": map[string]any{"host1": "10.204.1.5"},
				},
				map[string]any{"subnet": "2001:db8:4::/64"},
			}}},
			hand: func(o *client.NetworkCreateOptions) { o.IPAM.Config[0].IPRange = prefix("10.204.6.0/24") },
			want: []string{"modified network/front/ipam/config/0/ip_range"},
		},
	} {
		t.Run(name, func(t *testing.T) {
			y := newYard(t, dockertest.Engine(t), "nets-"+strings.Map(letters, name))
			r, h := net1(test.fields), &holdings{}
			y.must(y.d.under(1<<40).putNetwork(t.Context(), r, nil, h))
			defer func() { y.must(y.d.under(1<<40).removeNetwork(t.Context(), r.ID, h)) }()
			if got := y.differences(r, h); len(got) > 0 {
				t.Fatalf("at once differs: %v", got)
			}
			all, err := y.d.ownNetworks(t.Context(), h)
			y.must(err)
			before := all[0].network.ID
			y.must(y.d.under(1<<40).putNetwork(t.Context(), r, nil, h))
			if all, err = y.d.ownNetworks(t.Context(), h); err != nil || all[0].network.ID != before {
				t.Errorf("a network as desired was made anew: %v", err)
			}
			o, _ := y.d.compileNetwork(r)
			o.Labels = all[0].network.Labels
			test.hand(&o)
			_, err = y.api.NetworkRemove(t.Context(), before, client.NetworkRemoveOptions{})
			y.must(err)
			_, err = y.api.NetworkCreate(t.Context(), y.d.nameOnEngine(r), o)
			y.must(err)
			if diff := cmp.Diff(test.want, y.differences(r, h)); diff != "" {
				t.Errorf("changed by hand (-want +got)\n%s", diff)
			}
			y.must(y.d.under(1<<40).putNetwork(t.Context(), r, nil, h))
			if got := y.differences(r, h); len(got) > 0 {
				t.Errorf("put again it differs: %v", got)
			}
		})
	}
}

func letters(r rune) rune {
	if r == ' ' || r == ',' || r == '_' {
		return '-'
	}
	return r
}

// TestAChangedNetworkTakesItsContainersAlong changes the addresses of a network
// that containers are on, one of them stopped: they are on the new one with
// their aliases. With somebody else's on it, nothing is touched.
func TestAChangedNetworkTakesItsContainersAlong(t *testing.T) {
	t.Parallel()
	y := newYard(t, dockertest.Engine(t), "netmove")
	r, h := net1(map[string]any{"ipam": map[string]any{"config": []any{map[string]any{"subnet": "10.211.0.0/24"}}}}), &holdings{}
	y.must(y.d.under(1<<40).putNetwork(t.Context(), r, nil, h))
	name := y.d.nameOnEngine(r)
	on := func(who string, labels map[string]string, e *network.EndpointSettings) string {
		made, err := y.api.ContainerCreate(t.Context(), client.ContainerCreateOptions{
			Name: who, Config: &container.Config{Image: y.image, Labels: labels}, HostConfig: &container.HostConfig{NetworkMode: container.NetworkMode(name)},
			NetworkingConfig: &network.NetworkingConfig{EndpointsConfig: map[string]*network.EndpointSettings{name: e}},
		})
		y.must(err)
		t.Cleanup(func() { _ = y.d.under(1<<40).discard(t.Context(), made.ID, who) })
		return made.ID
	}
	start := func(id string) {
		_, err := y.api.ContainerStart(t.Context(), id, client.ContainerStartOptions{})
		y.must(err)
	}
	web := on("netmove-web", y.labels("service/web"), &network.EndpointSettings{
		Aliases: []string{"web", "shop"}, IPAMConfig: &network.EndpointIPAMConfig{IPv4Address: addr("10.211.0.77")},
	})
	start(web)
	kept := on("netmove-kept", y.labels("service/web"), &network.EndpointSettings{Aliases: []string{"kept"}})
	alien := on("netmove-alien", nil, &network.EndpointSettings{})

	changed := net1(map[string]any{"ipam": map[string]any{"config": []any{map[string]any{"subnet": "10.212.0.0/24"}}}})
	before := y.networkID(name)
	errs := y.d.checkNetworks(t.Context(), stella.State{Resources: []stella.Resource{changed}}, h)
	err := y.d.under(1<<40).putNetwork(t.Context(), changed, nil, h)
	for _, err := range append(errs, err) {
		if !errors.Is(err, stella.ErrRefused) || !strings.Contains(err.Error(), "netmove-alien") || stella.Hint(err) == "" {
			t.Errorf("with a foreign container on it: %v", err)
		}
	}
	if len(errs) != 1 || y.networkID(name) != before {
		t.Errorf("a refused network was touched, or not refused beforehand: %v", errs)
	}
	_, err = y.api.ContainerRemove(t.Context(), alien, client.ContainerRemoveOptions{Force: true})
	y.must(err)

	y.must(y.d.under(1<<40).putNetwork(t.Context(), changed, nil, h))
	if got := y.differences(changed, h); len(got) > 0 {
		t.Errorf("the changed network differs: %v", got)
	}
	e := y.endpoint(web, name)
	if e == nil || !slices.Contains(e.Aliases, "shop") || !prefix("10.212.0.0/24").Contains(e.IPAddress) {
		t.Errorf("web is not on the new network as before: %+v", e)
	}
	start(kept)
	if e := y.endpoint(kept, name); e == nil || !slices.Contains(e.Aliases, "kept") {
		t.Errorf("the kept container is not on the new network: %+v", e)
	}
}

// TestNamesOfNetworksThatAreTaken wants a refusal that says whose the name is,
// and external networks left alone.
func TestNamesOfNetworksThatAreTaken(t *testing.T) {
	t.Parallel()
	y := newYard(t, dockertest.Engine(t), "nettaken")
	h := &holdings{}
	_, err := y.api.NetworkCreate(t.Context(), "nettaken_front", client.NetworkCreateOptions{})
	y.must(err)
	r := net1(nil)
	if err := y.d.under(1<<40).putNetwork(t.Context(), r, nil, h); !errors.Is(err, stella.ErrRefused) || !strings.Contains(stella.Hint(err), "stella adopt prod") {
		t.Errorf("a taken name: %v, hint %q", err, stella.Hint(err))
	}
	ext := stella.Resource{ID: "network/front", Fields: map[string]any{"name": "nettaken_front", "external": true}}
	y.must(y.d.under(1<<40).putNetwork(t.Context(), ext, nil, h))
	if got := y.differences(ext, h); len(got) > 0 {
		t.Errorf("an external network differs: %v", got)
	}
	before := y.networkID("nettaken_front")
	y.must(y.d.under(1<<40).removeNetwork(t.Context(), ext.ID, h))
	if y.networkID("nettaken_front") != before || len(h.Unlabelled) > 0 {
		t.Error("an external network was removed, or is remembered")
	}
	missing := stella.Resource{ID: "network/back", Fields: map[string]any{"name": "nettaken_none", "external": true}}
	if errs := y.d.checkNetworks(t.Context(), stella.State{Resources: []stella.Resource{missing}}, h); len(errs) != 1 || !errors.Is(errs[0], stella.ErrRefused) {
		t.Errorf("an external network that is not there: %v", errs)
	}
	y.must(y.d.under(1<<40).putDefaultNetwork(t.Context(), nil, h))
	y.must(y.d.under(1<<40).putDefaultNetwork(t.Context(), nil, h))
	live, notes, err := y.d.observeNetworks(t.Context(), h)
	if len(live)+len(notes) > 0 || err != nil || y.networkID("nettaken_default") == "" {
		t.Errorf("the implicit network is a resource: %v, %v, %v", live, notes, err)
	}
	wrong := stella.Resource{ID: "network/front", Fields: map[string]any{"name": "front", "scope": "swarm", "internal": "maybe"}}
	if errs := y.d.checkNetworks(t.Context(), stella.State{Resources: []stella.Resource{wrong}}, h); len(errs) != 2 || !errors.Is(errors.Join(errs...), stella.ErrUnsupported) {
		t.Errorf("fields that are wrong: %v", errs)
	}
}

func (y *yard) networkID(name string) string {
	y.Helper()
	n, _, err := y.d.networkNamed(y.Context(), name)
	y.must(err)
	return n.ID
}

func (y *yard) endpoint(id, name string) *network.EndpointSettings {
	y.Helper()
	live, err := y.api.ContainerInspect(y.Context(), id, client.ContainerInspectOptions{})
	y.must(err)
	return live.Container.NetworkSettings.Networks[name]
}
