package docker

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"maps"
	"slices"
	"strings"

	"github.com/moby/moby/api/types/network"
	"github.com/moby/moby/client"

	"github.com/stella-ops/stella"
	"github.com/stella-ops/stella/drift"
	"github.com/stella-ops/stella/internal/safe"
)

const (
	networkPrefix  = "network/"
	defaultNetwork = "default"
)

// nameOnEngine is what a network or volume is called on the engine: as its file
// says where it says a name, and below the project otherwise.
func (d *Docker) nameOnEngine(r stella.Resource) string {
	name, _ := r.Fields["name"].(string)
	if r.Fields["named"] == true || isExternal(r) {
		return name
	}
	_, own, _ := strings.Cut(string(r.ID), "/")
	return d.cfg.Project + "_" + own
}

func isExternal(r stella.Resource) bool {
	switch v := r.Fields["external"].(type) {
	case bool:
		return v
	case map[string]any:
		return true
	}
	return false
}

// liveNetwork is a network of this target on the engine.
type liveNetwork struct {
	asked   stella.Resource // as it was last applied; without an id for the implicit one
	network network.Network
}

// ownNetworks lists the networks of this target that are on the engine. Of two
// for one resource the newer comes first.
func (d *Docker) ownNetworks(ctx context.Context, h *holdings) ([]liveNetwork, error) {
	list, err := bounded(ctx, d, func(ctx context.Context) (client.NetworkListResult, error) {
		return d.api.NetworkList(ctx, client.NetworkListOptions{Filters: d.mine()})
	})
	if err != nil {
		return nil, fmt.Errorf("list networks: %w", err)
	}
	var all []liveNetwork
	for _, n := range list.Items {
		own := n.Network
		own.Options = maps.Clone(own.Options)
		maps.DeleteFunc(own.Options, func(k, v string) bool {
			given, is := h.Given[own.ID][k]
			return is && given == v
		})
		all = append(all, liveNetwork{askedOf(n.Labels), own})
	}
	for _, x := range h.Unlabelled {
		if !strings.HasPrefix(string(x.Resource.ID), networkPrefix) {
			continue
		}
		n, there, err := d.networkNamed(ctx, cmp.Or(x.EngineID, d.nameOnEngine(x.Resource)))
		if err != nil {
			return nil, err
		}
		if there && x.Resource.Fields == nil {
			x.Resource.ID = "" // the implicit one, of a project that was adopted
		}
		if there {
			all = append(all, liveNetwork{x.Resource, n})
		}
	}
	slices.SortStableFunc(all, func(a, b liveNetwork) int { return b.network.Created.Compare(a.network.Created) })
	return all, nil
}

// askedOf reads from labels what was asked for. A network or volume whose labels
// do not tell it was changed by hand: it reads as one of which nothing was
// asked.
func askedOf(labels map[string]string) stella.Resource {
	r := stella.Resource{ID: stella.ResourceID(labels[labelResource])}
	if err := decodeSpec(labels[labelSpec], &r.Fields); err != nil || r.Fields == nil {
		r.Fields = map[string]any{}
	}
	return r
}

// networkNamed finds a network by its id or its whole name.
func (d *Docker) networkNamed(ctx context.Context, name string) (n network.Network, there bool, err error) {
	got, err := bounded(ctx, d, func(ctx context.Context) (client.NetworkInspectResult, error) {
		return d.api.NetworkInspect(ctx, name, client.NetworkInspectOptions{})
	})
	if errors.Is(err, stella.ErrNotFound) {
		return n, false, nil
	}
	if err != nil {
		return n, false, fmt.Errorf("inspect network %s: %w", safe.Clip(name, 80), err)
	}
	n = got.Network.Network
	return n, n.Name == name || n.ID == name, nil // not one whose id begins so
}

// observeNetworks lists the networks of this target as resources, sorted by id.
// The network that services are on that name none is no resource unless the
// app says something of it.
func (d *Docker) observeNetworks(ctx context.Context, h *holdings) (out []stella.Resource, notes []string, err error) {
	all, err := d.ownNetworks(ctx, h)
	if err != nil {
		return nil, nil, err
	}
	seen := map[stella.ResourceID]string{}
	for _, n := range all {
		id := n.asked.ID
		if id == "" {
			continue
		}
		if newer, twice := seen[id]; twice {
			if newer != n.network.Name {
				notes = append(notes, fmt.Sprintf("network %s is left of an earlier %s: it goes with the next change of it", safe.Clip(n.network.Name, 80), id))
			}
			continue
		}
		seen[id] = n.network.Name
		out = append(out, stella.Resource{ID: id, Fields: d.networkFields(n.asked, n.network)})
	}
	slices.SortFunc(out, byID)
	return out, notes, nil
}

func byID(a, b stella.Resource) int { return strings.Compare(string(a.ID), string(b.ID)) }

// resourcesOf are the resources of a kind.
func resourcesOf(want stella.State, prefix string) []stella.Resource {
	var out []stella.Resource
	for _, r := range want.Resources {
		if strings.HasPrefix(string(r.ID), prefix) {
			out = append(out, r)
		}
	}
	return out
}

// checkNetworks finds what stands in the way of the networks of a desired state
// and touches nothing: fields that are not known, names that are taken, external
// ones that are not there, networks that would have to be made anew while
// somebody else's containers are on them.
func (d *Docker) checkNetworks(ctx context.Context, want stella.State, h *holdings) []error {
	var all []error
	for _, r := range resourcesOf(want, networkPrefix) {
		if _, errs := d.compileNetwork(r); len(errs) > 0 {
			all = append(all, errs...)
			continue
		}
		old, err := d.networkFor(ctx, r, h)
		if err == nil && old != nil && !d.sameNetwork(r, *old) {
			_, err = d.attached(ctx, r.ID, old.network, h)
		}
		if err != nil {
			all = append(all, err)
		}
	}
	return all
}

// networkFor finds the network on the engine that is a resource's: nil for
// none. It refuses a name that somebody else has, and an external network that
// is not there.
func (d *Docker) networkFor(ctx context.Context, r stella.Resource, h *holdings) (*liveNetwork, error) {
	name := d.nameOnEngine(r)
	found, there, err := d.networkNamed(ctx, name)
	if err != nil {
		return nil, fmt.Errorf("%s: %w", r.ID, err)
	}
	if isExternal(r) {
		if !there {
			return nil, stella.WithHint(fmt.Errorf("%s: %w: there is no network %s, and it is external", r.ID, stella.ErrRefused, name),
				"run 'docker network create "+name+"' on the engine of "+d.cfg.Name)
		}
		return &liveNetwork{r, found}, nil
	}
	all, err := d.ownNetworks(ctx, h)
	if err != nil {
		return nil, err
	}
	if there && !slices.ContainsFunc(all, func(n liveNetwork) bool { return n.network.ID == found.ID && !isExternal(n.asked) }) {
		return nil, d.taken(r.ID, "network", name, found.Labels)
	}
	isDefault := r.ID == networkPrefix+defaultNetwork
	for i, n := range all {
		if n.asked.ID == r.ID && !isExternal(n.asked) || n.network.Name == name && (n.asked.ID == "" && isDefault || n.asked.ID == r.ID) {
			return &all[i], nil
		}
	}
	if there {
		return nil, fmt.Errorf("%s: %w: %s is the name of another network of this target", r.ID, stella.ErrRefused, name)
	}
	return nil, nil
}

// taken is the error for a name that somebody else has.
func (d *Docker) taken(id stella.ResourceID, kind, name string, labels map[string]string) error {
	whose := "was not made by stella"
	hint := fmt.Sprintf("run 'stella adopt %s' to take over what runs, or give it another name", d.cfg.Environment)
	if kind == "container" {
		hint = fmt.Sprintf("run 'stella adopt %s' where it is this service, else 'docker rename %s OTHER' on the engine of %s", d.cfg.Environment, safe.Line(name), d.cfg.Name)
	}
	if env := labels[labelEnvironment]; env != "" {
		whose = fmt.Sprintf("belongs to target %s of environment %s", safe.Clip(labels[labelTarget], 60), safe.Clip(env, 60))
		hint = "give it a name of its own, or declare it external"
		if kind == "container" {
			hint = "give it a container_name of its own, or the target a project of its own in environment.yaml"
		}
	}
	return stella.WithHint(fmt.Errorf("%s: %w: the %s %s is there and %s", id, stella.ErrRefused, kind, safe.Line(name), whose), hint)
}

// sameNetwork reports whether a network needs nothing to be as desired.
func (d *Docker) sameNetwork(r stella.Resource, n liveNetwork) bool {
	if isExternal(r) {
		return true
	}
	if n.asked.ID != r.ID || n.network.Name != d.nameOnEngine(r) {
		return false
	}
	live := stella.Resource{ID: r.ID, Fields: d.networkFields(n.asked, n.network)}
	want, errWant := drift.Digest(r.Fields)
	got, errGot := drift.Digest(live.Fields)
	return errWant == nil && errGot == nil && want == got
}

// putNetwork makes a network as desired. One that is there and differs is made
// anew, with our containers taken off it and put back on. labels say whose it
// is and under which order it is made; those of the resource are added.
func (d hand) putNetwork(ctx context.Context, r stella.Resource, labels map[string]string, h *holdings) error {
	options, errs := d.compileNetwork(r)
	if len(errs) > 0 {
		return errors.Join(errs...)
	}
	old, err := d.networkFor(ctx, r, h)
	if err != nil {
		return err
	}
	if isExternal(r) {
		h.keep(holding{Resource: r})
		return nil
	}
	if old != nil && d.sameNetwork(r, *old) {
		return nil
	}
	if options.Labels, err = d.resourceLabels(r, labels, options.Labels, composeNetwork); err != nil {
		return err
	}
	name := d.nameOnEngine(r)
	if old == nil {
		_, err := d.createNetwork(ctx, name, options, h)
		return err
	}
	if err := d.replaceNetwork(ctx, r.ID, *old, name, options, h); err != nil {
		return err
	}
	h.forget(r.ID)
	return nil
}

// putDefaultNetwork makes the network that services are on that name none,
// where it is not there.
func (d hand) putDefaultNetwork(ctx context.Context, labels map[string]string, h *holdings) error {
	r, options, err := d.implicitNetwork(labels)
	if err != nil {
		return err
	}
	old, err := d.networkFor(ctx, r, h)
	if err != nil || old != nil {
		return err
	}
	_, err = d.createNetwork(ctx, d.nameOnEngine(r), options, h)
	return err
}

// implicitNetwork is the network of which an app says nothing.
func (d *Docker) implicitNetwork(labels map[string]string) (stella.Resource, client.NetworkCreateOptions, error) {
	r := stella.Resource{ID: networkPrefix + defaultNetwork, Fields: map[string]any{"name": defaultNetwork}}
	all, err := d.resourceLabels(r, labels, nil, composeNetwork)
	if err != nil {
		return r, client.NetworkCreateOptions{}, err
	}
	delete(all, labelResource) // it is no resource
	delete(all, labelSpec)
	delete(all, labelSpecDigest)
	return r, client.NetworkCreateOptions{Labels: all}, nil
}

// leaveNetwork takes away a network that the app says nothing of any more. The
// one that services are on that name none is made anew, as one of which nothing
// is asked, with them on it.
func (d hand) leaveNetwork(ctx context.Context, st step, id stella.ResourceID, h *holdings) error {
	if id != networkPrefix+defaultNetwork || !d.usesDefault(st.set) {
		return d.removeNetwork(ctx, id, h)
	}
	r, options, err := d.implicitNetwork(d.labels(st, id))
	if err != nil {
		return err
	}
	all, err := d.ownNetworks(ctx, h)
	if err != nil {
		return err
	}
	name := d.nameOnEngine(r)
	i := slices.IndexFunc(all, func(n liveNetwork) bool { return n.asked.ID == id && !isExternal(n.asked) && n.network.Name == name })
	if i < 0 {
		return d.removeNetwork(ctx, id, h)
	}
	if err := d.replaceNetwork(ctx, id, all[i], name, options, h); err != nil {
		return err
	}
	return d.removeNetwork(ctx, id, h) // what is left under another name
}

// usesDefault reports whether any service of a desired state names no network.
func (d *Docker) usesDefault(set desiredSet) bool {
	return slices.ContainsFunc(set.services, func(s service) bool {
		bp, _ := compile(s.resource, scope{project: d.cfg.Project, api: d.api.ClientVersion()})
		_, on := bp.networks[d.cfg.Project+"_"+defaultNetwork]
		return on
	})
}

// removeNetwork removes a network, after the services that were on it. One that
// is not there, or external, is forgotten.
func (d hand) removeNetwork(ctx context.Context, id stella.ResourceID, h *holdings) error {
	all, err := d.ownNetworks(ctx, h)
	if err != nil {
		return err
	}
	for _, n := range all {
		if n.asked.ID != id || isExternal(n.asked) {
			continue
		}
		if err := d.dropNetwork(ctx, id, n.network, h); err != nil {
			return err
		}
	}
	h.forget(id)
	return nil
}

// dropNetwork removes a network with what of ours is still on it taken off.
func (d hand) dropNetwork(ctx context.Context, id stella.ResourceID, n network.Network, h *holdings) error {
	on, err := d.attached(ctx, id, n, h)
	if err != nil {
		return err
	}
	for _, a := range on {
		if err := d.disconnect(ctx, n, a); err != nil {
			return err
		}
	}
	delete(h.Given, n.ID)
	return d.deleteNetwork(ctx, n)
}

// createNetwork makes a network and returns its id. Two may have one name: of
// two that are made at once ours goes again.
func (d hand) createNetwork(ctx context.Context, name string, options client.NetworkCreateOptions, h *holdings) (id string, err error) {
	err = d.effect(ctx, "network", name, callTime, func(ctx context.Context) error {
		made, err := d.api.NetworkCreate(ctx, name, options)
		id = made.ID
		return err
	})
	if err != nil {
		return "", fmt.Errorf("create network %s: %w", name, err)
	}
	list, err := bounded(ctx, d, func(ctx context.Context) (client.NetworkListResult, error) {
		return d.api.NetworkList(ctx, client.NetworkListOptions{Filters: make(client.Filters).Add("name", name)})
	})
	if err != nil {
		return "", fmt.Errorf("list networks: %w", err)
	}
	if slices.ContainsFunc(list.Items, func(n network.Summary) bool { return n.Name == name && n.ID != id }) {
		err := d.deleteNetwork(ctx, network.Network{ID: id, Name: name})
		return "", errors.Join(fmt.Errorf("create network %s: %w: somebody else made one of this name", name, stella.ErrConflict), err)
	}
	made, there, err := d.networkNamed(ctx, id)
	if err != nil || !there {
		return id, err
	}
	maps.DeleteFunc(made.Options, func(k, _ string) bool {
		_, asked := options.Options[k]
		return asked || isAddressing(k)
	})
	h.give(id, made.Options)
	return id, nil
}

func (d hand) deleteNetwork(ctx context.Context, n network.Network) error {
	err := d.effect(ctx, "network-remove", n.Name, callTime, func(ctx context.Context) error {
		_, err := d.api.NetworkRemove(ctx, n.ID, client.NetworkRemoveOptions{})
		return err
	})
	if err != nil && !errors.Is(err, stella.ErrNotFound) {
		return fmt.Errorf("remove network %s: %w", safe.Clip(n.Name, 80), err)
	}
	return nil
}
