package docker

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"

	"github.com/moby/moby/api/types/container"
	"github.com/moby/moby/api/types/network"
	"github.com/moby/moby/client"

	"github.com/stella-ops/stella"
	"github.com/stella-ops/stella/internal/safe"
)

// attachment is a container of ours on a network.
type attachment struct {
	id, name string
	endpoint *network.EndpointSettings // as it was asked for
}

// attached lists our containers on a network, stopped ones too. It refuses where
// somebody else's are on it.
func (d *Docker) attached(ctx context.Context, id stella.ResourceID, n network.Network, h *holdings) ([]attachment, error) {
	list, err := bounded(ctx, d, func(ctx context.Context) (client.ContainerListResult, error) {
		return d.api.ContainerList(ctx, client.ContainerListOptions{All: true, Filters: make(client.Filters).Add("network", n.ID, n.Name)}) // a container that never ran has the name only
	})
	if err != nil {
		return nil, fmt.Errorf("%s: list containers: %w", id, err)
	}
	var out []attachment
	var foreign []string
	for _, c := range list.Items {
		name := safe.Clip(bareName(c.Names), 80)
		if !d.labelled(c.Labels) && (h.adopted == nil || !h.adopted(c.ID)) {
			foreign = append(foreign, name)
			continue
		}
		live, err := bounded(ctx, d, func(ctx context.Context) (client.ContainerInspectResult, error) {
			return d.api.ContainerInspect(ctx, c.ID, client.ContainerInspectOptions{})
		})
		if errors.Is(err, stella.ErrNotFound) {
			continue
		}
		if err != nil {
			return nil, fmt.Errorf("%s: inspect %s: %w", id, name, err)
		}
		if e := endpointOn(live.Container, n); e != nil {
			out = append(out, attachment{c.ID, name, e})
		}
	}
	if len(foreign) > 0 {
		slices.Sort(foreign)
		return nil, stella.WithHint(fmt.Errorf("%s: %w: network %s has to be made anew, and containers that are not of this target are on it: %s",
			id, stella.ErrRefused, n.Name, strings.Join(foreign, ", ")), "disconnect them with 'docker network disconnect'")
	}
	return out, nil
}

// endpointOn is how a container asked to be on a network; nil where it is not.
func endpointOn(c container.InspectResponse, n network.Network) *network.EndpointSettings {
	if c.NetworkSettings == nil {
		return nil
	}
	live := c.NetworkSettings.Networks[n.Name]
	if live == nil {
		return nil
	}
	short := c.ID[:min(12, len(c.ID))]
	return &network.EndpointSettings{
		IPAMConfig: live.IPAMConfig.Copy(), Links: live.Links, DriverOpts: live.DriverOpts, GwPriority: live.GwPriority,
		Aliases: slices.DeleteFunc(slices.Clone(live.Aliases), func(a string) bool { return a == short }), // the engine's own
	}
}

func (d hand) disconnect(ctx context.Context, n network.Network, a attachment) error {
	err := d.effect(ctx, "disconnect", a.name+" "+n.Name, callTime, func(ctx context.Context) error {
		_, err := d.api.NetworkDisconnect(ctx, n.ID, client.NetworkDisconnectOptions{Container: a.id, Force: true})
		return err
	})
	if err != nil && !errors.Is(err, stella.ErrNotFound) && !isNotConnected(err) {
		return fmt.Errorf("disconnect %s from network %s: %w", a.name, n.Name, err)
	}
	return nil
}

// isNotConnected reports that a container was off a network already, which
// engines answer as a failure of theirs or as something forbidden.
func isNotConnected(err error) bool {
	return strings.Contains(err.Error(), "is not connected to")
}

func (d hand) connect(ctx context.Context, networkID, name string, a attachment) error {
	err := d.effect(ctx, "connect", a.name+" "+name, callTime, func(ctx context.Context) error {
		_, err := d.api.NetworkConnect(ctx, networkID, client.NetworkConnectOptions{Container: a.id, EndpointConfig: a.endpoint})
		return err
	})
	if err != nil && !errors.Is(err, stella.ErrNotFound) {
		return fmt.Errorf("connect %s to network %s: %w", a.name, name, err)
	}
	return nil
}

// replaceNetwork makes a network anew. A crash in the middle leaves containers
// of ours off it, which shows as a difference of theirs. Where the new one can
// not be made, the old one is put back.
func (d hand) replaceNetwork(ctx context.Context, id stella.ResourceID, old liveNetwork, name string, options client.NetworkCreateOptions, h *holdings) error {
	on, err := d.attached(ctx, id, old.network, h)
	if err != nil {
		return err
	}
	for _, a := range on {
		if err := d.disconnect(ctx, old.network, a); err != nil {
			return err
		}
	}
	if err := d.deleteNetwork(ctx, old.network); err != nil {
		return errors.Join(err, d.reconnect(ctx, old.network.ID, old.network.Name, on, &old.network.IPAM))
	}
	delete(h.Given, old.network.ID)
	made, err := d.createNetwork(ctx, name, options, h)
	if err != nil {
		return errors.Join(err, d.putBack(ctx, old.network, on, h))
	}
	return d.reconnect(ctx, made, name, on, options.IPAM)
}

// reconnect puts containers on a network. One that had an address of its own
// which the network does not have any more gets another one: it differs then
// from what was asked for it, and is seen to.
func (d hand) reconnect(ctx context.Context, networkID, name string, on []attachment, pools *network.IPAM) error {
	var all []error
	for _, a := range on {
		if c := a.endpoint.IPAMConfig; c != nil && (c.IPv4Address.IsValid() && !poolOf(pools, c.IPv4Address) || c.IPv6Address.IsValid() && !poolOf(pools, c.IPv6Address)) {
			a.endpoint.IPAMConfig = nil
		}
		if err := d.connect(ctx, networkID, name, a); err != nil {
			all = append(all, err)
		}
	}
	return errors.Join(all...)
}

// putBack makes a network as it was.
func (d hand) putBack(ctx context.Context, n network.Network, on []attachment, h *holdings) error {
	ctx = context.WithoutCancel(ctx)
	o := client.NetworkCreateOptions{
		Driver: n.Driver, Options: n.Options, Labels: n.Labels, Internal: n.Internal, Attachable: n.Attachable, IPAM: &n.IPAM,
		EnableIPv6: &n.EnableIPv6,
	}
	if d.knowsIPv4() {
		o.EnableIPv4 = &n.EnableIPv4
	}
	made, err := d.createNetwork(ctx, n.Name, o, h)
	if err != nil {
		return fmt.Errorf("put the network back: %w", err)
	}
	return d.reconnect(ctx, made, n.Name, on, &n.IPAM)
}
