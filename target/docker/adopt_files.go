package docker

import (
	"slices"
	"strings"

	"github.com/moby/moby/api/types/mount"
)

// unbind makes the configs and secrets of a container that Compose made read as
// those of one of ours. Compose mounts a file of the machine where we copy its
// content, and leaves it the owner and permissions that it has there: neither is
// a difference. What the file holds is.
func unbind(g *sighting, wanted []file) {
	if g.live.HostConfig == nil || len(wanted) == 0 {
		return
	}
	bound := map[string]bool{}
	files := map[string]file{}
	for _, f := range wanted {
		files[f.path] = f
	}
	host := *g.live.HostConfig // the answer is shared
	host.Binds = slices.DeleteFunc(slices.Clone(host.Binds), func(bind string) bool {
		parts := strings.Split(bind, ":")
		return len(parts) > 1 && strings.HasPrefix(parts[0], "/") && isBound(files, bound, parts[1])
	})
	host.Mounts = slices.DeleteFunc(slices.Clone(host.Mounts), func(m mount.Mount) bool {
		return m.Type == mount.TypeBind && isBound(files, bound, m.Target)
	})
	g.live.HostConfig = &host
	for i, f := range g.files {
		if bound[f.path] {
			w := files[f.path]
			g.files[i].mode, g.files[i].uid, g.files[i].gid = w.mode, w.uid, w.gid
		}
	}
}

func isBound(files map[string]file, bound map[string]bool, path string) bool {
	if _, ok := files[path]; ok {
		bound[path] = true
	}
	return bound[path]
}
