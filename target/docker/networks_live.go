package docker

import (
	"cmp"
	"maps"
	"net/netip"
	"slices"
	"strings"

	"github.com/moby/moby/api/types/network"

	"github.com/stella-ops/stella"
)

// networkFields is the inverse of compileNetwork: what a network has of each
// field that was asked for, and of those that were not and that no engine fills
// in. What is as asked reads as it was asked.
func (d *Docker) networkFields(r stella.Resource, live network.Network) map[string]any {
	if isExternal(r) {
		return r.Fields
	}
	want, errs := d.compileNetwork(r)
	out := maps.Clone(r.Fields)
	if len(errs) > 0 || out == nil {
		out = map[string]any{}
	}
	if live.Name != d.nameOnEngine(r) {
		out["name"], out["named"] = live.Name, true
	}
	if want := cmp.Or(want.Driver, "bridge"); live.Driver != want {
		out["driver"] = live.Driver
	}
	liveTexts(out, "driver_opts", want.Options, live.Options, func(k, _ string) bool { return isAddressing(k) })
	liveTexts(out, "labels", want.Labels, live.Labels, func(k, _ string) bool { return isFurniture(k) })
	liveBool(out, "internal", want.Internal, live.Internal)
	liveBool(out, "attachable", want.Attachable, live.Attachable)
	if d.knowsIPv4() {
		liveBool(out, "enable_ipv4", want.EnableIPv4 == nil || *want.EnableIPv4, live.EnableIPv4)
	}
	liveBool(out, "enable_ipv6", want.EnableIPv6 != nil && *want.EnableIPv6, live.EnableIPv6)
	liveIPAM(out, want.IPAM, live)
	return out
}

// isAddressing reports whether a driver's option says what is said elsewhere.
func isAddressing(option string) bool {
	return option == "com.docker.network.enable_ipv4" || option == "com.docker.network.enable_ipv6"
}

// liveBool writes a boolean where it is not as asked.
func liveBool(out map[string]any, name string, want, live bool) {
	if want != live {
		out[name] = live
	}
}

// liveTexts writes a mapping of texts key by key where it is not as asked.
// explained are those that nobody asked for and that are none of a file's.
func liveTexts(out map[string]any, name string, want, live map[string]string, explained func(k, v string) bool) {
	same := true
	for k, v := range want {
		if got, there := live[k]; !there || got != v {
			same = false
		}
	}
	for k, v := range live {
		if _, asked := want[k]; !asked && !explained(k, v) {
			same = false
		}
	}
	if same {
		return
	}
	asked, _ := out[name].(map[string]any)
	now := map[string]any{}
	for k, v := range live {
		switch wanted, wasAsked := want[k]; {
		case wasAsked && wanted == v && asked != nil:
			now[k] = asked[k]
		case wasAsked || !explained(k, v):
			now[k] = v
		}
	}
	out[name] = now
}

// liveIPAM writes what a network's addresses are where they are not as asked. An
// engine chooses pools where none are asked for, and a pool's gateway.
func liveIPAM(out map[string]any, want *network.IPAM, live network.Network) {
	if want == nil {
		want = &network.IPAM{}
	}
	asked, _ := out["ipam"].(map[string]any)
	now := maps.Clone(asked)
	if now == nil {
		now = map[string]any{}
	}
	if got := cmp.Or(live.IPAM.Driver, "default"); got != cmp.Or(want.Driver, "default") {
		now["driver"] = got
	}
	liveTexts(now, "options", want.Options, live.IPAM.Options, func(string, string) bool { return false })
	if pools, differ := livePools(asked["config"], want.Config, live); differ {
		now["config"] = pools
	}
	if len(now) > 0 || asked != nil {
		out["ipam"] = now
	}
}

// livePools compares the pools that were asked for with those that are there: by
// subnet, and in their order. Pools of a family that was not asked for are the
// engine's own.
func livePools(asked any, want []network.IPAMConfig, live network.Network) (pools []any, differ bool) {
	list, _ := asked.([]any)
	left := slices.Clone(live.IPAM.Config)
	for i, w := range want {
		at := slices.IndexFunc(left, func(l network.IPAMConfig) bool { return fits(w, l) })
		if at < 0 {
			at = slices.IndexFunc(left, func(l network.IPAMConfig) bool { return w.Subnet.IsValid() && l.Subnet == w.Subnet })
		}
		if at < 0 {
			differ = true
			continue
		}
		if fits(w, left[at]) && i < len(list) {
			pools = append(pools, list[i])
		} else {
			pools, differ = append(pools, livePool(w, left[at], list[i])), true
		}
		left = slices.Delete(left, at, at+1)
	}
	for _, l := range left {
		if isChosen(l, want) {
			continue
		}
		pools, differ = append(pools, livePool(network.IPAMConfig{}, l, nil)), true
	}
	return pools, differ
}

// isChosen reports whether an engine may have chosen a pool by itself.
func isChosen(l network.IPAMConfig, want []network.IPAMConfig) bool {
	sameFamily := func(w network.IPAMConfig) bool { return w.Subnet.Addr().Is4() == l.Subnet.Addr().Is4() }
	return !slices.ContainsFunc(want, sameFamily) && fits(network.IPAMConfig{}, l)
}

// fits reports whether a pool is as asked: what was not asked for is as an
// engine chooses it.
func fits(w, l network.IPAMConfig) bool {
	return (!w.Subnet.IsValid() || w.Subnet == l.Subnet.Masked()) && w.IPRange == l.IPRange && fitsGateway(w, l) &&
		maps.Equal(w.AuxAddress, l.AuxAddress)
}

// fitsGateway reports whether a pool's gateway is as asked: where none was, the
// first address of the pool or of its range, or none.
func fitsGateway(w, l network.IPAMConfig) bool {
	switch {
	case w.Gateway.IsValid():
		return w.Gateway == l.Gateway
	case !l.Gateway.IsValid():
		return true
	}
	return slices.ContainsFunc([]netip.Prefix{l.Subnet, l.IPRange}, func(p netip.Prefix) bool {
		return p.IsValid() && (p.Masked().Addr() == l.Gateway || p.Masked().Addr().Next() == l.Gateway)
	})
}

// livePool is a pool in the words of a file: attributes that are as asked read
// as asked.
func livePool(w, l network.IPAMConfig, asked any) map[string]any {
	was, _ := asked.(map[string]any)
	out := map[string]any{}
	put := func(name string, same, there bool, live string) {
		switch {
		case same && was[name] != nil:
			out[name] = was[name]
		case !same && there:
			out[name] = live
		}
	}
	put("subnet", w.Subnet == l.Subnet.Masked(), l.Subnet.IsValid(), l.Subnet.String())
	put("ip_range", w.IPRange == l.IPRange, l.IPRange.IsValid(), l.IPRange.String())
	put("gateway", fitsGateway(w, l), l.Gateway.IsValid(), l.Gateway.String())
	switch {
	case maps.Equal(w.AuxAddress, l.AuxAddress):
		if was["aux_addresses"] != nil {
			out["aux_addresses"] = was["aux_addresses"]
		}
	case len(l.AuxAddress) > 0:
		all := map[string]any{}
		for k, v := range l.AuxAddress {
			all[k] = v.String()
		}
		out["aux_addresses"] = all
	}
	return out
}

// poolOf reports whether an address belongs to one of a network's pools; any
// does where they are not known yet.
func poolOf(ipam *network.IPAM, a netip.Addr) bool {
	if !a.IsValid() || ipam == nil || len(ipam.Config) == 0 {
		return !a.IsValid()
	}
	return slices.ContainsFunc(ipam.Config, func(c network.IPAMConfig) bool { return c.Subnet.Contains(a) })
}

// bareName takes the slash off a container's name.
func bareName(names []string) string {
	for _, n := range names {
		if n = strings.TrimPrefix(n, "/"); !strings.Contains(n, "/") {
			return n
		}
	}
	return ""
}
