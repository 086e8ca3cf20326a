package docker

import (
	"archive/tar"
	"bytes"
	"errors"
	"maps"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/moby/moby/api/types/container"
	"github.com/moby/moby/api/types/mount"
	"github.com/moby/moby/client"

	"github.com/stella-ops/stella"
	"github.com/stella-ops/stella/internal/dockertest"
)

// someFiles are configs and secrets of every kind.
func someFiles(below string) []file {
	return []file{
		{path: below + "/app.conf", content: []byte("listen 80\n"), mode: 0o444},
		{path: below + "/deep/er/bin.dat", content: []byte{0, 0xff, 1}, mode: 0o640, uid: 1000, gid: 2000},
		{path: "/run/secrets/db", content: []byte("hunter2"), mode: 0o400, uid: 65534, secret: true},
		{path: below + "/empty", content: []byte{}, mode: 0o4755},
	}
}

func asked(files []file) []file {
	var out []file
	for _, f := range files { // labels tell of no contents
		out = append(out, file{path: f.path, secret: f.secret})
	}
	return out
}

// TestFilesGetIntoEveryContainerAndAreReadBack puts files into containers of
// every kind, starts them, and wants what was put there.
func TestFilesGetIntoEveryContainerAndAreReadBack(t *testing.T) {
	t.Parallel()
	for name, host := range map[string]container.HostConfig{
		"plain":     {},
		"read-only": {ReadonlyRootfs: true},
		"a tmpfs":   {Tmpfs: map[string]string{"/run": ""}},
		"read-only with a tmpfs, as a mount": {ReadonlyRootfs: true, Mounts: []mount.Mount{
			{Type: mount.TypeTmpfs, Target: "/run"},
		}},
	} {
		t.Run(name, func(t *testing.T) {
			y := newYard(t, dockertest.Engine(t), "files-"+strings.Map(letters, name))
			files := someFiles("/etc/shop")
			id := y.createWith(&host, files)
			found, notes, err := y.d.readFiles(t.Context(), id, asked(files))
			y.must(err)
			if diff := cmp.Diff(files, found, cmp.AllowUnexported(file{})); diff != "" || len(notes) > 0 {
				t.Errorf("read back before it starts (-want +got)\n%s%v", diff, notes)
			}
			_, err = y.api.ContainerStart(t.Context(), id, client.ContainerStartOptions{})
			y.must(err)
			if found, _, err = y.d.readFiles(t.Context(), id, asked(files)); err != nil {
				t.Fatal(err)
			}
			if diff := cmp.Diff(files, found, cmp.AllowUnexported(file{})); diff != "" {
				t.Errorf("read back while it runs (-want +got)\n%s", diff)
			}
			y.secretless(id)
			y.must(y.d.under(1<<40).discard(t.Context(), id, "web"))
			y.must(y.d.under(1 << 40).sweepFiles(t.Context()))
			left, err := y.api.VolumeList(t.Context(), client.VolumeListOptions{Filters: y.d.mine()})
			if err != nil || len(left.Items) > 0 {
				t.Errorf("volumes of files are left: %+v, %v", left.Items, err)
			}
		})
	}
}

func (y *yard) createWith(host *container.HostConfig, files []file) string {
	y.Helper()
	labels := maps.Clone(y.labels("service/web"))
	id, _, err := y.d.under(1<<40).createWithFiles(y.Context(), client.ContainerCreateOptions{
		Name: y.d.cfg.Project + "-web-1", Config: &container.Config{Image: y.image, Labels: labels}, HostConfig: host,
	}, files)
	y.must(err)
	y.Cleanup(func() { _ = y.d.under(1<<40).discard(y.Context(), id, "web") })
	return id
}

// secretless fails if inspection of anything shows the secret.
func (y *yard) secretless(id string) {
	y.Helper()
	raw, err := y.api.ContainerInspect(y.Context(), id, client.ContainerInspectOptions{})
	y.must(err)
	volumes, err := y.api.VolumeList(y.Context(), client.VolumeListOptions{})
	y.must(err)
	for _, v := range volumes.Items {
		if strings.Contains(strings.Join(append(values(v.Labels), values(v.Options)...), "\n"), "hunter2") {
			y.Error("a volume tells the secret")
		}
	}
	if bytes.Contains(raw.Raw, []byte("hunter2")) {
		y.Error("inspection shows the secret")
	}
}

func values(m map[string]string) []string {
	var all []string
	for k, v := range m {
		all = append(all, k, v)
	}
	return all
}

// TestFilesChangedByHandAreSeen changes files in a container behind its back.
func TestFilesChangedByHandAreSeen(t *testing.T) {
	t.Parallel()
	y := newYard(t, dockertest.Engine(t), "filehand")
	files := someFiles("/etc/shop")
	id := y.createWith(&container.HostConfig{}, files)
	put := func(f file) {
		archive, err := archiveOf(nil, []file{f})
		y.must(err)
		y.untar(id, archive)
	}
	changed := files[0]
	changed.content, changed.mode, changed.gid = []byte("listen 81\n"), 0o600, 7
	put(changed)
	put(file{path: "/run/secrets/db", content: make([]byte, maxFileBytes+1), mode: 0o400})
	y.untar(id, linkAt("etc/shop/empty", "/etc/passwd"))
	found, notes, err := y.d.readFiles(t.Context(), id, asked(files))
	y.must(err)
	big := file{path: "/run/secrets/db", content: []byte("‹8388609 bytes, more than is read›"), mode: 0o400, secret: true}
	if diff := cmp.Diff([]file{changed, files[1], big}, found, cmp.AllowUnexported(file{})); diff != "" {
		t.Errorf("(-want +got)\n%s", diff)
	}
	want := []string{"/run/secrets/db is larger than any file that is put there", "/etc/shop/empty is a symbolic link in the container and no file"}
	if diff := cmp.Diff(want, notes); diff != "" {
		t.Errorf("notes (-want +got)\n%s", diff)
	}
}

func (y *yard) untar(id string, archive []byte) {
	y.Helper()
	_, err := y.api.CopyToContainer(y.Context(), id, client.CopyToContainerOptions{DestinationPath: "/", Content: bytes.NewReader(archive)})
	y.must(err)
}

// linkAt is an archive of one symbolic link.
func linkAt(name, to string) []byte {
	var b bytes.Buffer
	w := tar.NewWriter(&b)
	_ = w.WriteHeader(&tar.Header{Typeflag: tar.TypeSymlink, Name: name, Linkname: to, Mode: 0o777})
	_ = w.Close()
	return b.Bytes()
}

func TestWhereFilesCanNotGo(t *testing.T) {
	t.Parallel()
	readOnly := container.HostConfig{ReadonlyRootfs: true}
	for name, test := range map[string]struct {
		host container.HostConfig
		path string
		want string
	}{
		"directly in a read-only /":  {readOnly, "/app.conf", "directly in /"},
		"directly in a tmpfs":        {container.HostConfig{Tmpfs: map[string]string{"/run": ""}}, "/run/x", "directly in the tmpfs /run"},
		"in a volume":                {container.HostConfig{Binds: []string{"data:/data"}}, "/data/conf/x", "volume that is mounted at /data"},
		"in a bind mount":            {container.HostConfig{Mounts: []mount.Mount{{Type: mount.TypeBind, Source: "/srv", Target: "/srv"}}}, "/srv/x", "bind"},
		"where a file system of the": {container.HostConfig{}, "/proc/x", "engine mounts over"},
	} {
		_, err := planFiles(blueprint{host: test.host, files: []file{{path: test.path, content: []byte("hunter2")}}})
		if !errors.Is(err, stella.ErrUnsupported) || !strings.Contains(err.Error(), test.want) || strings.Contains(err.Error(), "hunter2") {
			t.Errorf("%s: %v", name, err)
		}
	}
	if _, err := planFiles(blueprint{files: []file{{path: "/x", content: make([]byte, maxFileBytes+1)}}}); !errors.Is(err, stella.ErrUnsupported) {
		t.Errorf("a file that is too large: %v", err)
	}
}

// BenchmarkReadFile measures what one file costs at each look.
func BenchmarkReadFile(b *testing.B) {
	e := dockertest.Engine(b)
	a := dockertest.Image(b, "1.0.0")
	a.Tag = ""
	pull, err := e.Client.ImagePull(b.Context(), a.String(), client.ImagePullOptions{})
	if err == nil {
		err = pull.Wait(b.Context())
	}
	if err != nil {
		b.Fatal(err)
	}
	d := &Docker{cfg: Config{Environment: "prod", Name: "bench", Project: "bench"}, api: e.Client}
	id, _, err := d.under(1<<40).createWithFiles(b.Context(), client.ContainerCreateOptions{
		Config: &container.Config{Image: a.String()}, HostConfig: &container.HostConfig{},
	}, someFiles("/etc/shop"))
	if err != nil {
		b.Fatal(err)
	}
	for b.Loop() {
		if _, _, err := d.readFiles(b.Context(), id, asked(someFiles("/etc/shop"))[:1]); err != nil {
			b.Fatal(err)
		}
	}
}
