package docker

import (
	"context"
	"errors"
	"fmt"
	"strings"

	cerrdefs "github.com/containerd/errdefs"
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

// mine selects what is labelled as this target's own.
func (d *Docker) mine() client.Filters {
	return make(client.Filters).Add("label",
		labelEnvironment+"="+string(d.cfg.Environment), labelTarget+"="+d.cfg.Name)
}

// labelled reports whether labels, or the attributes of an event, say that
// something is this target's own.
func (d *Docker) labelled(labels map[string]string) bool {
	return labels[labelEnvironment] == string(d.cfg.Environment) && labels[labelTarget] == d.cfg.Name
}

// owned lists what is labelled as ours.
func (d *Docker) owned(ctx context.Context) (owned, error) {
	o := owned{containers: map[string]bool{}, networks: map[string]bool{}, volumes: map[string]bool{}}
	containers, err := d.api.ContainerList(ctx, client.ContainerListOptions{All: true, Filters: d.mine()})
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
	for _, c := range containers.Items {
		o.containers[c.ID] = true
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
	listed, err := d.api.ContainerList(ctx, client.ContainerListOptions{
		All: true, Filters: d.mine().Add("label", labelResource+"=service/"+name),
	})
	if err != nil {
		return container.InspectResponse{}, classed(err)
	}
	for _, c := range listed.Items {
		if len(c.Names) == 0 || passing(c.Names[0]) {
			continue
		}
		got, err := d.api.ContainerInspect(ctx, c.ID, client.ContainerInspectOptions{})
		return got.Container, classed(err)
	}
	return container.InspectResponse{}, fmt.Errorf("%w: service %s has no container", stella.ErrNotFound, name)
}

// passing reports whether a container is of that name while it is replaced only.
func passing(name string) bool {
	return strings.HasSuffix(name, suffixNext) || strings.HasSuffix(name, suffixPrevious)
}

// classed gives an error of the engine's API the class that says what can be
// done about it.
func classed(err error) error {
	switch {
	case err == nil:
		return nil
	case cerrdefs.IsNotFound(err):
		return fmt.Errorf("%w: %w", stella.ErrNotFound, err)
	case cerrdefs.IsNotImplemented(err):
		return fmt.Errorf("%w: %w", stella.ErrUnsupported, err)
	case errors.Is(err, context.DeadlineExceeded):
		return fmt.Errorf("%w: %w", stella.ErrTimeout, err)
	case client.IsErrConnectionFailed(err):
		return fmt.Errorf("%w: %w", stella.ErrUnreachable, err)
	}
	return err
}
