package docker

import (
	"context"
	"maps"
	"reflect"
	"slices"
	"strings"

	"github.com/stella-ops/stella"
)

// rebound returns actions for the services that an order is not about and whose
// networks or volumes get other names on the engine with it: a container is bound
// to names, and nobody compares those before they have changed.
func (d *Docker) rebound(ctx context.Context, o stella.Order, set desiredSet, inv *inventory) ([]stella.Action, error) {
	if !slices.ContainsFunc(o.Actions, isStorage) {
		return nil, nil
	}
	h := inv.holdings()
	networks, _, err := d.observeNetworks(ctx, h)
	if err != nil {
		return nil, fault(err)
	}
	volumes, _, err := d.observeVolumes(ctx, h)
	if err != nil {
		return nil, fault(err)
	}
	was, will := d.scope(inv, networks, volumes), d.scopeOf(inv, set)
	var out []stella.Action
	for _, s := range set.services {
		about := func(a stella.Action) bool { return a.Resource.ID == s.resource.ID }
		if b := inv.services[s.name]; b == nil || b.current == nil || slices.ContainsFunc(o.Actions, about) {
			continue
		}
		before, _ := compile(s.resource, was)
		after, _ := compile(s.resource, will)
		if !sameBonds(before, after) {
			out = append(out, stella.Action{Op: stella.OpUpdate, Resource: s.resource})
		}
	}
	return out, nil
}

func isStorage(a stella.Action) bool {
	return strings.HasPrefix(string(a.Resource.ID), networkPrefix) || strings.HasPrefix(string(a.Resource.ID), volumePrefix)
}

// sameBonds reports whether two blueprints are on the same networks and mount the
// same.
func sameBonds(a, b blueprint) bool {
	return slices.Equal(slices.Sorted(maps.Keys(a.networks)), slices.Sorted(maps.Keys(b.networks))) &&
		a.host.NetworkMode == b.host.NetworkMode && slices.Equal(a.host.Binds, b.host.Binds) && reflect.DeepEqual(a.host.Mounts, b.host.Mounts)
}

// vacate stops the services that have a port which this one is to publish, and
// whose turn in the same order is still to come: two can change ports with each
// other. Who has a port otherwise was found before anything stopped.
func (r *replacement) vacate(ctx context.Context) error {
	want := hostPorts(r.bp.host.PortBindings)
	for _, name := range r.inv.names() {
		b := r.inv.services[name].current
		if name == r.name || !r.moves[name] || b == nil || !b.runs() {
			continue
		}
		for _, p := range listedPorts(b.Summary) {
			if !slices.ContainsFunc(want, p.overlaps) {
				continue
			}
			if err := r.d.stopBox(ctx, r.step, b); err != nil {
				return err
			}
			break
		}
	}
	return nil
}

// withGuests adds, right after each action about a service, an update of every
// service that shares a namespace of it: a new container has new namespaces, and
// so has one that starts again. Who is where it should be is left alone.
func withGuests(acts []stella.Action, set desiredSet, inv *inventory) []stella.Action {
	about := map[stella.ResourceID]bool{}
	for _, a := range acts {
		about[a.Resource.ID] = true
	}
	var out []stella.Action
	var add func(a stella.Action)
	add = func(a stella.Action) {
		out = append(out, a)
		host, isService := strings.CutPrefix(string(a.Resource.ID), servicePrefix)
		if !isService || a.Op == stella.OpRemove {
			return
		}
		for _, s := range set.services {
			b := inv.services[s.name]
			if about[s.resource.ID] || b == nil || b.current == nil || !slices.Contains(hostsOf(s.resource), host) {
				continue
			}
			about[s.resource.ID] = true
			add(stella.Action{Op: stella.OpUpdate, Resource: s.resource})
		}
	}
	for _, a := range acts {
		add(a)
	}
	return out
}

// hostsOf are the services whose namespaces a service shares.
func hostsOf(r stella.Resource) []string {
	var out []string
	for _, field := range []string{"network_mode", "pid", "ipc"} {
		mode, _ := r.Fields[field].(string)
		if name, ok := strings.CutPrefix(mode, "service:"); ok && !slices.Contains(out, name) {
			out = append(out, name)
		}
	}
	return out
}

// strandedIn reports whether a container that runs was started before one whose
// namespaces it shares: that one has new ones since, and this is alone in the old.
func (inv *inventory) strandedIn(b *box, hosts []string) bool {
	if b.live == nil || b.live.State == nil || !b.runs() {
		return false
	}
	since := engineStamp(b.live.State.StartedAt)
	return slices.ContainsFunc(hosts, func(name string) bool {
		h := inv.services[name]
		if h == nil || h.current == nil || h.current.live == nil || h.current.live.State == nil || !h.current.runs() {
			return false
		}
		return engineStamp(h.current.live.State.StartedAt).After(since)
	})
}
