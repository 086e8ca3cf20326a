package docker

import (
	"context"
	"errors"

	"github.com/stella-ops/stella"
)

// observeVolumes lists the volumes that are in use as resources, sorted by id.
func (d *Docker) observeVolumes(ctx context.Context, h *holdings) (out []stella.Resource, notes []string, err error) {
	return nil, nil, errors.ErrUnsupported
}

// checkVolumes finds what stands in the way of the volumes of a desired state
// and touches nothing.
func (d *Docker) checkVolumes(ctx context.Context, want stella.State, h *holdings) []error {
	return nil
}

// putVolume makes a volume, or takes one back into use.
func (d *Docker) putVolume(ctx context.Context, r stella.Resource, labels map[string]string, h *holdings) error {
	return errors.ErrUnsupported
}

// retireVolume takes a volume out of use. The volume and its data stay.
func (d *Docker) retireVolume(ctx context.Context, id stella.ResourceID, h *holdings) error {
	return errors.ErrUnsupported
}
