package docker

import (
	"errors"
	"io"
	"io/fs"
	"strings"
	"testing"
	"testing/fstest"

	"github.com/moby/moby/api/pkg/stdcopy"
	"github.com/moby/moby/api/types/container"
	"github.com/moby/moby/client"

	"github.com/stella-ops/stella"
	"github.com/stella-ops/stella/internal/dockertest"
)

// facts reads in a container what whoAmI reads: it is there what the process in it
// would be told.
func (y *yard) facts(id string) self { return whoAmI(y.inside(id)) }

func (y *yard) inside(id string) fs.FS {
	y.Helper()
	files := fstest.MapFS{}
	for _, name := range []string{"proc/self/mountinfo", "proc/self/cgroup", "proc/sys/kernel/hostname"} {
		made, err := y.api.ExecCreate(y.Context(), id, client.ExecCreateOptions{Cmd: []string{"cat", "/" + name}, AttachStdout: true})
		y.must(err)
		read, err := y.api.ExecAttach(y.Context(), made.ID, client.ExecAttachOptions{})
		y.must(err)
		var text strings.Builder
		_, err = stdcopy.StdCopy(&text, io.Discard, read.Reader)
		read.Close()
		y.must(err)
		files[name] = &fstest.MapFile{Data: []byte(text.String())}
	}
	return files
}

// TestItDoesNotEndItself has containers tell who they are, with as little to go by
// as a container can have.
func TestItDoesNotEndItself(t *testing.T) {
	t.Parallel()
	y := newYard(t, dockertest.Engine(t), "self")
	other := y.start("web", nil)
	for name, change := range map[string]func(*client.ContainerCreateOptions){
		"plain":          nil,
		"a name":         func(o *client.ContainerCreateOptions) { o.Config.Hostname = "stella" },
		"the host's net": func(o *client.ContainerCreateOptions) { o.HostConfig.NetworkMode = "host" },
		"another's net": func(o *client.ContainerCreateOptions) {
			o.HostConfig.NetworkMode = container.NetworkMode("container:" + other)
		},
		"the host's name": func(o *client.ContainerCreateOptions) { o.HostConfig.UTSMode = "host" },
	} {
		mine := y.start(strings.NewReplacer(" ", "-", "'", "").Replace(name), change)
		me := y.facts(mine)
		err := y.d.spare(t.Context(), me, "replace service/stella", mine)
		if !errors.Is(err, stella.ErrRefused) || stella.Hint(err) == "" || !strings.Contains(err.Error(), "replace service/stella") {
			t.Errorf("%s: it may be ended: %v, %+v", name, err, me)
		}
		err = y.d.spare(t.Context(), me, "replace service/web", other)
		if shared := name == "another's net"; shared != errors.Is(err, stella.ErrRefused) || !shared && err != nil {
			t.Errorf("%s: may it end another: %v, %+v", name, err, me)
		}
		if err := y.d.spare(t.Context(), me, "replace service/web", strings.Repeat("0", 64)); err != nil {
			t.Errorf("%s: a container that is gone: %v", name, err)
		}
	}
	if err := y.d.spareSelf(t.Context(), "replace service/web", other); err != nil {
		t.Errorf("this process runs in no container of that engine: %v", err)
	}
}

// TestAMachineIsNoContainer: what mounts of running containers a machine has says
// nothing about who looks.
func TestAMachineIsNoContainer(t *testing.T) {
	id := strings.Repeat("0123456789abcdef", 4)
	me := whoAmI(fstest.MapFS{
		"proc/self/mountinfo": {Data: []byte(strings.Join([]string{
			"24 1 254:0 / / rw,relatime shared:1 - ext4 /dev/vda1 rw",
			"99 24 0:44 / /var/lib/docker/containers/" + id + "/mounts/shm rw shared:2 - tmpfs shm rw",
			"98 24 0:45 / /var/lib/docker/overlay2/" + id + "/merged rw shared:3 - overlay overlay rw,lowerdir=/l,upperdir=/u,workdir=/w",
			"short",
		}, "\n"))},
		"proc/self/cgroup":         {Data: []byte("0::/user.slice/user-1000.slice/session-1.scope\n")},
		"proc/sys/kernel/hostname": {Data: []byte("build-7\n")},
	})
	if !me.nowhere() {
		t.Errorf("a machine is taken for a container: %+v", me)
	}
	for name, files := range map[string]fstest.MapFS{
		"systemd":       {"proc/self/cgroup": {Data: []byte("1:name=systemd:/system.slice/docker-" + id + ".scope\n")}},
		"podman":        {"proc/self/cgroup": {Data: []byte("0::/machine.slice/libpod-" + id + ".scope/container\n")}},
		"nested":        {"proc/self/cgroup": {Data: []byte("0::/docker/" + strings.Repeat("f", 64) + "/docker/" + id + "\n")}},
		"podman mounts": {"proc/self/mountinfo": {Data: []byte("1 2 0:3 /containers/overlay-containers/" + id + "/userdata/hostname /etc/hostname rw - tmpfs tmpfs rw\n")}},
	} {
		if me := whoAmI(files); len(me.ids) != 1 || me.ids[0] != id {
			t.Errorf("%s: %+v", name, me)
		}
	}
}
