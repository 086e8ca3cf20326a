package baseline

import (
	"fmt"
	"maps"
	"slices"
	"strconv"
	"strings"

	"github.com/stella-ops/stella"
	"github.com/stella-ops/stella/configrepo"
)

// ComponentChange is how one component differs: an empty side does not have it.
type ComponentChange struct {
	Name, From, To string
}

// Components are the components in which two releases differ, by name.
func Components(from, to map[string]stella.Artifact) []ComponentChange { return components(from, to) }

func components(from, to map[string]stella.Artifact) []ComponentChange {
	names := maps.Clone(from)
	if names == nil {
		names = map[string]stella.Artifact{}
	}
	maps.Copy(names, to)
	var out []ComponentChange
	for _, name := range slices.Sorted(maps.Keys(names)) {
		a, has := from[name]
		b, had := to[name]
		if has && had && a == b {
			continue
		}
		c := ComponentChange{Name: name}
		if has {
			c.From = a.String()
		}
		if had {
			c.To = b.String()
		}
		out = append(out, c)
	}
	return out
}

// Disagreements are the members in which a baseline says something else than the
// record of the deployment that it names.
func Disagreements(b configrepo.Baseline, d stella.Deployment) []string {
	var out []string
	differ := func(what, says, recorded string) {
		if says != recorded {
			out = append(out, fmt.Sprintf("%s is %s, and %s recorded %s", what, says, d.ID, recorded))
		}
	}
	if b.Release != "" {
		differ("release", b.Release, d.Release)
	}
	differ("desired", string(b.Desired), string(d.Desired))
	recorded := make(map[string]stella.Artifact, len(d.Components))
	for name, image := range d.Components {
		recorded[name], _ = stella.ParseArtifact(image) // what is none differs from any
	}
	for _, c := range components(recorded, b.Components) {
		differ("component "+c.Name, orNothing(c.To), orNothing(c.From))
	}
	for _, dir := range union(b.Shared, d.Shared) {
		differ(dir, orNothing(b.Shared[dir]), orNothing(d.Shared[dir]))
	}
	return out
}

func union(a, b map[string]string) []string {
	all := maps.Clone(a)
	if all == nil {
		all = map[string]string{}
	}
	maps.Copy(all, b)
	return slices.Sorted(maps.Keys(all))
}

func orNothing(s string) string {
	if s == "" {
		return "nothing"
	}
	return s
}

// sequence is the number in the id of a baseline's deployment. An id of another
// environment has none: prod-eu-4 is none of prod's.
func sequence(b configrepo.Baseline) (int64, error) {
	number, ours := strings.CutPrefix(b.Deployment, string(b.Environment)+"-")
	if !ours {
		return 0, stella.ErrInvalid
	}
	n, err := strconv.ParseUint(number, 10, 63)
	return int64(n), err //nolint:gosec // 63 bits
}
