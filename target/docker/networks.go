package docker

import (
	"context"
	"errors"

	"github.com/stella-ops/stella"
)

// observeNetworks lists the networks of this target as resources, sorted by id.
// The network that services are on that name none is no resource unless the
// app says something of it.
func (d *Docker) observeNetworks(ctx context.Context, h *holdings) (out []stella.Resource, notes []string, err error) {
	return nil, nil, errors.ErrUnsupported
}

// checkNetworks finds what stands in the way of the networks of a desired state
// and touches nothing: fields that are not known, names that are taken, external
// ones that are not there, networks that would have to be made anew while
// somebody else's containers are on them.
func (d *Docker) checkNetworks(ctx context.Context, want stella.State, h *holdings) []error {
	return nil
}

// putNetwork makes a network as desired. One that is there and differs is made
// anew, with our containers taken off it and put back on. labels say whose it
// is and under which order it is made; those of the resource are added.
func (d *Docker) putNetwork(ctx context.Context, r stella.Resource, labels map[string]string, h *holdings) error {
	return errors.ErrUnsupported
}

// putDefaultNetwork makes the network that services are on that name none,
// where it is not there.
func (d *Docker) putDefaultNetwork(ctx context.Context, labels map[string]string, h *holdings) error {
	return errors.ErrUnsupported
}

// removeNetwork removes a network, after the services that were on it. One that
// is not there, or external, is forgotten.
func (d *Docker) removeNetwork(ctx context.Context, id stella.ResourceID, h *holdings) error {
	return errors.ErrUnsupported
}
