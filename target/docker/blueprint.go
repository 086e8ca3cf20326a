package docker

import (
	"slices"
	"strings"

	ocispec "github.com/moby/docker-image-spec/specs-go/v1"
	"github.com/moby/moby/api/types/container"
	"github.com/moby/moby/api/types/network"
)

// blueprint is a container as an engine is asked to make it, or as inspection
// says that it was made: both in one form, so that they can be compared.
type blueprint struct {
	config   container.Config
	host     container.HostConfig
	networks map[string]*network.EndpointSettings // by name on the engine
	platform string                               // "linux/arm64"; empty for the engine's own
	files    []file                               // copied in before it starts
	id       string                               // of a container that is there; empty for one that is asked for
	name     string                               // likewise, without the slash
	running  bool                                 // likewise: an address that the engine chose is there only while it runs
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
	// digests are the names by which the engine knows the image, with their
	// digests: "registry.example.com/web@sha256:…".
	digests []string
	// asked is the id of the image that the asked reference stood for when the
	// container was made; empty where nobody recorded it.
	asked string
}

// engineFacts is what an engine fills in where nothing was asked for.
type engineFacts struct {
	machine       string // identity
	version       string // "20.10.24"
	podman        bool
	loggingDriver string
	runtime       string
	cgroupVersion string
	// plain is what the engine made of a container for which nothing was asked,
	// such as the record's: its own defaults, of which the API tells no other
	// way. Nil where there is none yet: then those of a fresh installation count.
	plain *container.HostConfig
}

// scope is what the names in a service's fields mean on one engine. The zero
// value is that of a project without a name.
type scope struct {
	project  string
	networks map[string]string // resource → name on the engine, where it is not PROJECT_NAME
	volumes  map[string]string // likewise
	// containers are the current containers of the target's services, by id.
	containers map[string]string
	// api is the version of the engine's API; empty takes everything for known.
	api string
}

func (s scope) network(name string) string { return engineName(s.project, s.networks, name) }
func (s scope) volume(name string) string  { return engineName(s.project, s.volumes, name) }

func (s scope) networkField(name string) string { return fieldName(s.project, s.networks, name) }
func (s scope) volumeField(name string) string  { return fieldName(s.project, s.volumes, name) }

func engineName(project string, known map[string]string, name string) string {
	if to, ok := known[name]; ok {
		return to
	}
	return project + "_" + name
}

// fieldName is the inverse: a name that is not of the project stays as it is.
func fieldName(project string, known map[string]string, name string) string {
	found := []string{}
	for field, to := range known {
		if to == name {
			found = append(found, field)
		}
	}
	if len(found) > 0 {
		return slices.Min(found)
	}
	field, ok := strings.CutPrefix(name, project+"_")
	if _, renamed := known[field]; ok && field != "" && !renamed {
		return field
	}
	return name
}

// joined returns what the engine is told for "service:NAME" and "container:NAME",
// and other modes as they are; ok is false for a service that has no container.
func (s scope) joined(mode string) (to string, ok bool) {
	name, isService := strings.CutPrefix(mode, "service:")
	if !isService {
		return mode, true
	}
	id, ok := s.containers[name]
	return "container:" + id, ok && id != ""
}

// joinedField is the inverse.
func (s scope) joinedField(mode string) string {
	id, ok := strings.CutPrefix(mode, "container:")
	if !ok {
		return mode
	}
	for _, name := range sortedNames(s.containers) {
		if s.containers[name] == id {
			return "service:" + name
		}
	}
	return mode
}
