package artifact

import (
	"runtime"
	"slices"
	"strings"

	"github.com/stella-ops/stella"
	"github.com/stella-ops/stella/internal/safe"
)

// Platform names what an image runs on, as the OCI image index does.
type Platform struct{ OS, Architecture, Variant string }

// Host returns the platform of this machine.
func Host() Platform {
	return Platform{OS: runtime.GOOS, Architecture: runtime.GOARCH}.normal()
}

// String returns "os/architecture" or "os/architecture/variant".
func (p Platform) String() string {
	s := p.OS + "/" + p.Architecture
	if p.Variant != "" {
		s += "/" + p.Variant
	}
	return s
}

// normal fills in and leaves out variants so that equal platforms are equal:
// arm64 is always v8 and says so seldom, arm without one means v7.
func (p Platform) normal() Platform {
	switch {
	case p.Architecture == "arm64" && p.Variant == "v8", p.Architecture == "amd64" && p.Variant == "v1":
		p.Variant = ""
	case p.Architecture == "arm" && p.Variant == "":
		p.Variant = "v7"
	}
	return p
}

// runs reports how well an image for p runs on the host: 0 not at all, more is
// better. Later variants of arm run the earlier ones' code; of other
// architectures a variant must be the same, or the image's be the base.
func (p Platform) runs(host Platform) int {
	p, host = p.normal(), host.normal()
	const exact = 100
	switch {
	case p.OS != host.OS || p.Architecture != host.Architecture:
		return 0
	case p.Variant == host.Variant:
		return exact
	case p.Architecture == "arm" && p.Variant < host.Variant:
		return exact - int(host.Variant[len(host.Variant)-1]-p.Variant[len(p.Variant)-1])
	case p.Variant == "":
		return 1
	}
	return 0
}

// child returns the manifest of an index that runs best on the host, which the
// one that comes first does among equals. Attestations and the like, which have
// no platform that anything is, do not count.
func (m *manifest) child(host Platform) (descriptor, error) {
	best, score := descriptor{}, 0
	for _, d := range m.children {
		if !d.forPlatform() {
			continue
		}
		if s := d.Platform.platform().runs(host); s > score {
			best, score = d, s
		}
	}
	if score == 0 {
		return descriptor{}, wrongPlatform(host, m.platforms())
	}
	return best, nil
}

// platforms returns what an index offers, each once, in its order.
func (m *manifest) platforms() []string {
	var all []string
	for _, d := range m.children {
		if !d.forPlatform() {
			continue
		}
		if p := safe.Clip(d.Platform.platform().String(), 40); !slices.Contains(all, p) {
			all = append(all, p)
		}
	}
	return all
}

func wrongPlatform(host Platform, has []string) error {
	return problem(stella.ErrUnsupported, "there is no image for %s, only for %s", safe.Line(host.String()), strings.Join(has, ", "))
}
