package docker

import (
	"cmp"
	"fmt"
	"path"
	"slices"
	"strings"

	"github.com/moby/moby/api/types/mount"

	"github.com/stella-ops/stella"
	"github.com/stella-ops/stella/internal/safe"
)

// maxFileBytes bounds a config or secret, as it is asked for and as it is read
// back.
const maxFileBytes = 8 << 20

// filesPlan is how the files of a service get into its container: copied into
// it where its root file system can be written to, and otherwise into volumes
// of their own that are mounted read-only at the directories that they are in.
// No engine copies into a container whose root file system is read-only, started
// or not, and what is copied to below a tmpfs is hidden once it is mounted.
type filesPlan struct {
	volumes []string // directories that get a volume of their own, sorted
}

// planFiles decides how the files of a blueprint get to where they belong, and
// refuses what can not: it is pure.
func planFiles(b blueprint) (filesPlan, error) {
	mounts := mountsOf(b)
	var plan filesPlan
	for _, f := range b.files {
		dir := path.Dir(f.path)
		at, kind := innermost(mounts, f.path)
		what := "configs"
		if f.secret {
			what = "secrets"
		}
		refuse := func(why string) (filesPlan, error) {
			return filesPlan{}, fmt.Errorf("%s: %s: %w: %s", what, safe.Clip(f.path, 200), stella.ErrUnsupported, why)
		}
		switch {
		case len(f.content) > maxFileBytes:
			return refuse(fmt.Sprintf("it is larger than %d bytes: keep it in the image", maxFileBytes))
		case slices.Contains([]string{"proc", "sys", "dev"}, strings.Split(f.path, "/")[1]):
			return refuse("the engine mounts over this directory: choose another target")
		case kind == "tmpfs" && dir == at:
			return refuse("it lies directly in the tmpfs " + at + ", which starts empty: give it a target in a directory below")
		case kind != "" && kind != "tmpfs":
			return refuse("it lies in the " + kind + " that is mounted at " + at + ", whose content is not the release's: choose a target outside")
		case kind == "tmpfs" || b.host.ReadonlyRootfs && dir != "/":
			plan.volumes = append(plan.volumes, dir)
		case b.host.ReadonlyRootfs:
			return refuse("it lies directly in /, and the root file system is read-only: give it a target in a directory")
		}
	}
	slices.Sort(plan.volumes)
	plan.volumes = slices.Compact(plan.volumes)
	return plan, nil
}

// mountsOf are the kinds of what a blueprint mounts, by target.
func mountsOf(b blueprint) map[string]string {
	all := map[string]string{}
	for at := range b.host.Tmpfs {
		all[path.Clean(at)] = "tmpfs"
	}
	for _, m := range b.host.Mounts {
		all[path.Clean(m.Target)] = cmp.Or(string(m.Type), string(mount.TypeVolume))
	}
	for _, text := range b.host.Binds {
		if parts := strings.Split(text, ":"); len(parts) > 1 {
			kind := string(mount.TypeVolume)
			if path.IsAbs(parts[0]) {
				kind = string(mount.TypeBind)
			}
			all[path.Clean(parts[1])] = kind
		}
	}
	return all
}

// innermost finds the mount that a path lies in; kind is empty for none.
func innermost(mounts map[string]string, of string) (at, kind string) {
	for at := of; ; at = path.Dir(at) {
		if kind := mounts[at]; kind != "" {
			return at, kind
		}
		if at == "/" {
			return "", ""
		}
	}
}
