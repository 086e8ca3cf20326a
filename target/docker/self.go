package docker

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path"
	"regexp"
	"slices"
	"strings"

	"github.com/moby/moby/api/types/container"

	"github.com/stella-ops/stella"
	"github.com/stella-ops/stella/internal/safe"
)

// self is what a process can tell of the container that it runs in. An engine's
// inspection confirms it: on another engine nothing has these numbers. Outside
// of containers it matches none.
type self struct {
	ids      []string // whole ids, from mounts and control groups
	hostname string   // the first digits of the id, where nobody chose another
	upper    string   // the writable layer that is our root, as a path of the engine's machine
}

// shortID is how many digits of its id a container has as hostname.
const shortID = 12

// containerID is an id with a slash, a dash, or nothing before it.
var containerID = regexp.MustCompile(`(?:^|[/:-])([0-9a-f]{64})(?:[./]|$)`)

// whoAmI reads it from the root directory of the process's machine. What can not be
// read says nothing.
func whoAmI(root fs.FS) self {
	var s self
	read := func(name string) []string {
		text, err := fs.ReadFile(root, name)
		if err != nil {
			return nil
		}
		return strings.Split(strings.TrimSpace(string(text)), "\n")
	}
	for _, line := range read("proc/self/mountinfo") {
		s.mount(line)
	}
	for _, line := range read("proc/self/cgroup") {
		// The last of a path is the innermost: engines run in containers, too.
		if all := containerID.FindAllStringSubmatch(line, -1); len(all) > 0 {
			s.add(all[len(all)-1][1])
		}
	}
	if lines := read("proc/sys/kernel/hostname"); len(lines) == 1 {
		s.hostname = lines[0]
	}
	return s
}

// mount reads one line of proc_pid_mountinfo(5): root and place are the fourth and
// fifth field. Engines mount these files from the container's own directory; with
// the network of another container, from that one's, which has to stay as well. On
// the machine itself other mounts name containers: they do not count.
func (s *self) mount(line string) {
	fields := strings.Fields(line)
	if len(fields) < 5 {
		return
	}
	switch from, at := fields[3], fields[4]; at {
	case "/etc/hostname", "/etc/hosts", "/etc/resolv.conf":
		if m := containerID.FindStringSubmatch(path.Dir(from) + "/"); m != nil {
			s.add(m[1])
		}
	case "/":
		for option := range strings.SplitSeq(fields[len(fields)-1], ",") {
			if upper, ok := strings.CutPrefix(option, "upperdir="); ok {
				s.upper = upper
			}
		}
	}
}

// nowhere reports whether there is no sign of a container at all.
func (s *self) nowhere() bool { return len(s.ids) == 0 && s.upper == "" && len(s.hostname) != shortID }

func (s *self) add(id string) {
	if !slices.Contains(s.ids, id) {
		s.ids = append(s.ids, id)
	}
}

// is reports whether a container that an engine has is the one that this process
// runs in, or whose network it has.
func (s *self) is(c *container.InspectResponse) bool {
	switch {
	case c.State != nil && !c.State.Running && !c.State.Paused:
		return false // we run
	case slices.Contains(s.ids, c.ID), len(s.hostname) == shortID && strings.HasPrefix(c.ID, s.hostname):
		return true
	}
	return s.upper != "" && c.GraphDriver != nil && c.GraphDriver.Data["UpperDir"] == s.upper
}

// spareSelf refuses to touch containers of which one is our own: whoever stops it
// ends the deployment half way, with nobody left to go on. What says what would be
// done, "replace service/web". It is called with all containers of an order before
// anything is touched. It only reads; containers that are gone are none.
func (d *Docker) spareSelf(ctx context.Context, what string, ids ...string) error {
	root := d.root
	if root == nil {
		root = os.DirFS("/")
	}
	return d.spare(ctx, whoAmI(root), what, ids...)
}

// spareInActions looks at all containers that an order's actions would touch.
func (d *Docker) spareInActions(ctx context.Context, inv *inventory, actions []stella.Action) error {
	var all []error
	for _, a := range actions {
		kind, name, _ := strings.Cut(string(a.Resource.ID), "/")
		var ids []string
		for service, b := range inv.services {
			for _, x := range b.all() {
				if kind == "service" && service == name || kind == "container" && x.name == name {
					ids = append(ids, x.ID)
				}
			}
		}
		all = append(all, d.spareSelf(ctx, string(a.Op)+" "+string(a.Resource.ID), ids...))
	}
	return errors.Join(all...)
}

// spareInDesired looks before there are actions: at services that will surely be
// replaced or removed.
func (d *Docker) spareInDesired(ctx context.Context, inv *inventory, set desiredSet) error {
	var all []error
	for _, name := range inv.names() {
		b := inv.services[name].current
		w, wanted := set.service(name)
		if b == nil || wanted && (b.Labels[labelSpecDigest] == "" || b.Labels[labelSpecDigest] == digestOrNone(w.resource.Fields)) {
			continue
		}
		all = append(all, d.spareSelf(ctx, "replace "+servicePrefix+safe.Line(name), b.ID))
	}
	return errors.Join(all...)
}

// spareInAll looks at everything of the target.
func (d *Docker) spareInAll(ctx context.Context, what string) error {
	inv, err := d.listOurs(ctx)
	if err != nil {
		return err
	}
	var ids []string
	for _, c := range inv.ours {
		ids = append(ids, c.ID)
	}
	return d.spareSelf(ctx, what, ids...)
}

// all lists the containers of a service.
func (b *boxes) all() []*box {
	return slices.DeleteFunc(append([]*box{b.current, b.next, b.previous}, b.strays...), func(x *box) bool { return x == nil })
}

func (d *Docker) spare(ctx context.Context, me self, what string, ids ...string) error {
	if me.nowhere() {
		return nil
	}
	for _, id := range ids {
		c, err := d.inspect(ctx, id)
		if err != nil {
			return fmt.Errorf("look whether container %s is our own: %w", safe.Clip(id, 12), err)
		}
		if c == nil || !me.is(c) {
			continue
		}
		name := safe.Line(strings.TrimPrefix(c.Name, "/"))
		err = fmt.Errorf("%s: %w: stella runs in the container %s, or in its network, and does not end itself", what, stella.ErrRefused, name)
		return stella.WithHint(err, fmt.Sprintf("stop that daemon, then run 'stella reconcile %s --apply here' on the engine's machine", d.cfg.Environment))
	}
	return nil
}
