package docker

import (
	"bytes"
	"encoding/json"
	"maps"
	"net/netip"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	ocispec "github.com/moby/docker-image-spec/specs-go/v1"
	"github.com/moby/moby/api/types/container"
	"pgregory.net/rapid"

	"github.com/stella-ops/stella"
)

func prefix(s string) netip.Prefix { return netip.MustParsePrefix(s) }

const someImage = "registry.example.com/shop/web:1.0.0@sha256:1111111111111111111111111111111111111111111111111111111111111111"

// someFacts are an image and an engine of whose values every one is set.
func someFacts() (imageFacts, engineFacts) {
	image := imageFacts{id: "sha256:" + strings.Repeat("a", 64), digests: []string{"registry.example.com/shop/web@sha256:" + strings.Repeat("1", 64)}}
	image.config.Env = []string{"PATH=/bin", "APP_VERSION=1.0.0"}
	image.config.Entrypoint, image.config.Cmd = []string{"/app"}, []string{"serve"}
	image.config.User, image.config.WorkingDir, image.config.StopSignal = "1000", "/www", "SIGINT"
	image.config.Labels = map[string]string{"of.image": "yes"}
	image.config.ExposedPorts = map[string]struct{}{"80/tcp": {}}
	image.config.Volumes = map[string]struct{}{"/var/lib/app": {}}
	image.config.Healthcheck = &ocispec.HealthcheckConfig{Test: []string{"CMD", "/healthy"}, Retries: 7}
	return image, engineFacts{loggingDriver: "json-file", runtime: "runc", cgroupVersion: "2"}
}

// answer is a model of what an engine says of a container that it was asked for:
// the JSON of its API, with what it fills in.
func answer(t interface{ Fatal(args ...any) }, asked blueprint, image imageFacts, labels map[string]string) container.InspectResponse {
	data, err := json.Marshal(map[string]any{
		"Config": asked.config, "HostConfig": asked.host, "NetworkSettings": map[string]any{"Networks": asked.networks},
	})
	if err != nil {
		t.Fatal(err)
	}
	var live container.InspectResponse
	if err := json.Unmarshal(data, &live); err != nil {
		t.Fatal(err)
	}
	live.ID, live.Name, live.Image = strings.Repeat("c", 64), "/shop-web-1", image.id
	live.State = &container.State{Running: true}
	c, h := live.Config, live.HostConfig
	fillImage(c, image)
	c.Env = append(c.Env, slices.DeleteFunc(slices.Clone(image.config.Env), func(one string) bool {
		name, _, _ := strings.Cut(one, "=")
		return slices.ContainsFunc(c.Env, func(e string) bool { return strings.HasPrefix(e, name+"=") })
	})...)
	c.Labels = maps.Clone(image.config.Labels)
	maps.Copy(c.Labels, asked.config.Labels)
	maps.Copy(c.Labels, labels)
	if c.Hostname == "" {
		c.Hostname = live.ID[:12]
	}
	c.Volumes = image.config.Volumes
	for name := range image.config.ExposedPorts {
		b := blueprint{config: *c}
		(&compiler{bp: &b}).expose(port(name))
		c.ExposedPorts = b.config.ExposedPorts
	}
	fillHost(h)
	for _, e := range live.NetworkSettings.Networks {
		e.Aliases = append(e.Aliases, live.ID[:12])
		if len(e.MacAddress) == 0 {
			e.MacAddress = []byte{2, 0x42, 1, 2, 3, 4}
		}
	}
	return live
}

func fillHost(h *container.HostConfig) {
	if h.ShmSize == 0 {
		h.ShmSize = 64 << 20
	}
	if h.IpcMode == "" {
		h.IpcMode = "private"
	}
	if h.CgroupnsMode == "" {
		h.CgroupnsMode = "private"
	}
	if h.Runtime == "" {
		h.Runtime = "runc"
	}
	if h.LogConfig.Type == "" {
		h.LogConfig.Type = "json-file"
	}
	if h.MaskedPaths == nil {
		h.MaskedPaths, h.ReadonlyPaths = []string{"/proc/kcore"}, []string{"/proc/sys"}
	}
	if h.Memory > 0 && h.MemorySwap == 0 {
		h.MemorySwap = 2 * h.Memory
	}
	if h.RestartPolicy.Name == "" {
		h.RestartPolicy.Name = "no"
	}
	if h.Privileged {
		h.SecurityOpt = append(h.SecurityOpt, "label=disable")
	}
	for i := range h.CapAdd {
		h.CapAdd[i] = "CAP_" + h.CapAdd[i]
	}
}

// TestComposeFilesByAModel goes through all cases with a model of the engine, so
// that also those are seen that no machine of ours can do.
func TestComposeFilesByAModel(t *testing.T) {
	t.Parallel()
	image, engine := someFacts()
	b := &bench{image: image, engine: engine, scope: scope{project: "shop"}}
	a, err := stella.ParseArtifact(someImage)
	if err != nil {
		t.Fatal(err)
	}
	all := composeCases()
	if len(all) < 60 {
		t.Errorf("only %d Compose files", len(all))
	}
	for _, x := range all {
		t.Run(x.name, func(t *testing.T) {
			t.Parallel()
			r := x.rendered(t, a)
			bp, found := compile(r, b.scope)
			if len(found) > 0 {
				t.Fatal(found)
			}
			label, err := specLabel(r.Fields)
			if err != nil {
				t.Fatal(err)
			}
			labels := map[string]string{labelSpec: label}
			if paths := b.compare(t, r, answer(t, bp, image, labels)); len(paths) > 0 {
				t.Errorf("it differs: %v", paths)
			}
			if x.model == "" {
				return // the rest is shown on an engine
			}
			x.by(&bp)
			slices.Sort(x.want)
			if diff := cmp.Diff(x.want, b.compare(t, r, answer(t, bp, image, labels))); diff != "" {
				t.Errorf("(-want +got):\n%s", diff)
			}
		})
	}
}

// TestFieldsAreTheInverseOfCompile asks for any mixture of the fields of all
// cases: what is read of it is what was asked.
func TestFieldsAreTheInverseOfCompile(t *testing.T) {
	image, engine := someFacts()
	a, err := stella.ParseArtifact(someImage)
	if err != nil {
		t.Fatal(err)
	}
	pool := map[string][]any{}
	for _, x := range composeCases() {
		for name, value := range x.rendered(t, a).Fields {
			pool[name] = append(pool[name], value)
		}
	}
	names := sortedNames(pool)
	rapid.Check(t, func(t *rapid.T) {
		asked := map[string]any{"image": a.String()}
		for _, name := range names {
			if rapid.Bool().Draw(t, name) {
				asked[name] = rapid.SampledFrom(pool[name]).Draw(t, name)
			}
		}
		if asked["network_mode"] != nil {
			delete(asked, "networks")
			delete(asked, "mac_address")
		}
		if asked["deploy"] != nil { // it says some of the same
			for _, name := range []string{"mem_limit", "memswap_limit", "mem_reservation", "cpus", "pids_limit", "restart", "gpus"} {
				delete(asked, name)
			}
		}
		r := stella.Resource{ID: "service/web", Fields: asked}
		bp, found := compile(r, scope{project: "shop"})
		if len(found) > 0 {
			t.Fatal(found)
		}
		spec := specOf(asked)
		got := fields(sighting{
			id: r.ID, asked: spec, live: answer(t, bp, image, nil), files: bp.files, image: image, engine: engine, scope: scope{project: "shop"},
		})
		if diff := cmp.Diff(asked, got); diff != "" {
			t.Fatalf("(-asked +got):\n%s", diff)
		}
	})
}

// FuzzCompile asks for anything: it ends, finds a bounded number of faults, and
// what it lets pass can be read back.
func FuzzCompile(f *testing.F) {
	f.Add([]byte(`{"image":"x","ports":[{"target":80,"published":"1-9"}],"networks":{"a":null},"volumes":[{"type":"volume","target":"/a"}]}`))
	f.Add([]byte(`{"image":1,"deploy":{"resources":{"limits":{"cpus":"1e400"}}},"ulimits":{"a":{"soft":-1}},"expose":["1-65535"]}`))
	f.Add([]byte(`{"mac_address":"02:42:ac:11:00:03","network_mode":"service:x","configs":{"/a":{"content":"x","mode":"0777"}},"gpus":[{}]}`))
	image, engine := someFacts()
	f.Fuzz(func(t *testing.T, data []byte) {
		var asked map[string]any
		if len(data) > 1<<16 || json.NewDecoder(bytes.NewReader(data)).Decode(&asked) != nil {
			return
		}
		bp, found := compile(stella.Resource{ID: "service/web", Fields: asked}, scope{project: "shop"})
		if len(found) > maxFindings {
			t.Fatalf("%d findings", len(found))
		}
		if len(found) == 0 {
			fields(sighting{id: "service/web", asked: asked, live: answer(t, bp, image, nil), image: image, engine: engine, scope: scope{project: "shop"}})
		}
	})
}

// BenchmarkFields reads one container of some fields: a hundred of them are to
// take less than half of what a pass without a change may.
func BenchmarkFields(b *testing.B) {
	image, engine := someFacts()
	asked := map[string]any{
		"image": someImage, "command": []any{"serve"}, "environment": map[string]any{"A": "b", "C": "d"}, "restart": "always",
		"ports": []any{map[string]any{"target": 80.0, "published": "8080", "protocol": "tcp", "hostIP": ""}}, "mem_limit": "67108864",
		"volumes": []any{map[string]any{"type": "volume", "source": "data", "target": "/data", "readOnly": false}},
	}
	r := stella.Resource{ID: "service/web", Fields: asked}
	bp, _ := compile(r, scope{project: "shop"})
	live := answer(b, bp, image, nil)
	for b.Loop() {
		fields(sighting{id: r.ID, asked: asked, live: live, image: image, engine: engine, scope: scope{project: "shop"}})
	}
}

// TestFilesOfAContainerAreReadByTheirContents also shows what the label tells of
// secrets: where they are, and nothing of what they hold.
func TestFilesOfAContainerAreReadByTheirContents(t *testing.T) {
	image, engine := someFacts()
	asked := map[string]any{
		"image": someImage,
		"configs": map[string]any{"/etc/app.conf": map[string]any{
			"content": "a=1\n", "digest": "sha256:b1c39d1a0f0fa1c1a2d9d5d0b4ae6a2a", "mode": "0444", "uid": "", "gid": "0",
		}},
		"secrets": map[string]any{"/run/secrets/db": map[string]any{"content": "hush", "mode": "0400", "uid": "1000", "gid": ""}},
	}
	label, err := specLabel(asked)
	if err != nil {
		t.Fatal(err)
	}
	if strings.Contains(label, "hush") || strings.Contains(label, "a=1") {
		t.Errorf("the label tells contents: %s", label)
	}
	spec, err := parseSpec(label)
	if err != nil {
		t.Fatal(err)
	}
	bp, found := compile(stella.Resource{ID: "service/web", Fields: asked}, scope{project: "shop"})
	if len(found) > 0 {
		t.Fatal(found)
	}
	g := sighting{id: "service/web", asked: spec, live: answer(t, bp, image, nil), files: bp.files, image: image, engine: engine, scope: scope{project: "shop"}}
	got := fields(g)
	config, _ := askedBelow(got, "configs", "/etc/app.conf").(map[string]any)
	config["digest"] = askedBelow(asked, "configs", "/etc/app.conf", "digest") // the made-up one
	if diff := cmp.Diff(asked, got); diff != "" {
		t.Errorf("as asked (-want +got):\n%s", diff)
	}
	g.files = slices.Clone(bp.files)
	g.files[1].content, g.files[0].mode = []byte("other"), 0o600
	got = fields(g)
	if v := askedBelow(got, "secrets", "/run/secrets/db", "content"); v != "other" {
		t.Errorf("the secret reads %v", v)
	}
	if v := askedBelow(got, "configs", "/etc/app.conf", "mode"); v != "0600" {
		t.Errorf("the mode reads %v", v)
	}
}
