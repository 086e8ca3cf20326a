package docker

import (
	"context"
	"fmt"
	"strings"

	"github.com/moby/moby/api/types/container"
	"github.com/moby/moby/client"

	"github.com/stella-ops/stella"
)

// The names that a container has besides its own while it is replaced.
const (
	suffixNext     = ".next"
	suffixPrevious = ".previous"
)

// owned is what of an engine is this target's own.
type owned struct {
	containers map[string]bool // by id
	networks   map[string]bool // by id and by name
	volumes    map[string]bool // by name
}

// identity are the labels that make something this target's own.
func (d *Docker) identity() map[string]string {
	return map[string]string{labelEnvironment: string(d.cfg.Environment), labelTarget: d.cfg.Name, labelProject: d.cfg.Project}
}

// mine selects what is labelled as this target's own.
func (d *Docker) mine() client.Filters {
	f := make(client.Filters)
	for label, value := range d.identity() {
		f.Add("label", label+"="+value)
	}
	return f
}

// labelled reports whether labels, or the attributes of an event, say that
// something is this target's own.
func (d *Docker) labelled(labels map[string]string) bool {
	for label, value := range d.identity() {
		if labels[label] != value {
			return false
		}
	}
	return true
}

// owned lists what is ours: labelled, or known to the record.
func (d *Docker) owned(ctx context.Context) (owned, error) {
	o := owned{containers: map[string]bool{}, networks: map[string]bool{}, volumes: map[string]bool{}}
	inv, err := d.listOurs(ctx)
	if err != nil {
		return o, err
	}
	networks, err := d.api.NetworkList(ctx, client.NetworkListOptions{Filters: d.mine()})
	if err != nil {
		return o, err
	}
	volumes, err := d.api.VolumeList(ctx, client.VolumeListOptions{Filters: d.mine()})
	if err != nil {
		return o, err
	}
	for _, c := range inv.ours {
		o.containers[c.ID] = true
	}
	for _, h := range inv.ledger.Record.Holdings.Unlabelled {
		kind, _, _ := strings.Cut(string(h.Resource.ID), "/")
		name := d.nameOnEngine(h.Resource)
		switch kind {
		case "network":
			o.networks[name] = true
		case "volume":
			o.volumes[name] = true
		}
	}
	for _, n := range networks.Items {
		o.networks[n.ID], o.networks[n.Name] = true, true
	}
	for _, v := range volumes.Items {
		o.volumes[v.Name] = true
	}
	return o, nil
}

// component inspects the container that a component runs in now, or ran in
// last; of class stella.ErrNotFound where there is none.
func (d *Docker) component(ctx context.Context, name string) (container.InspectResponse, error) {
	if _, err := stella.ParseName(name); err != nil {
		return container.InspectResponse{}, err
	}
	inv, err := d.listOurs(ctx)
	if err != nil {
		return container.InspectResponse{}, err
	}
	if s := inv.services[name]; s != nil && s.current != nil {
		if err := d.look(ctx, s.current); err != nil {
			return container.InspectResponse{}, err
		}
		if s.current.live != nil {
			return *s.current.live, nil
		}
	}
	return container.InspectResponse{}, fmt.Errorf("%w: service %s has no container", stella.ErrNotFound, name)
}
