package docker

import (
	"context"

	"github.com/moby/moby/api/types/network"
)

// publication is a port that a service asks to publish on its engine's machine.
type publication struct {
	service string
	ports   network.PortMap // as in container.HostConfig.PortBindings
}

// checkPorts finds published ports that somebody else has: a container of
// somebody else or of a service that is not in yields, and, where the engine is
// on this machine, any process. yields are the services of this target whose
// containers of now stop before the new ones start.
func (d *Docker) checkPorts(ctx context.Context, want []publication, yields map[string]bool) []error {
	return nil
}
