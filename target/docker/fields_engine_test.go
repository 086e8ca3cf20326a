package docker

import (
	"context"
	"encoding/json"
	"maps"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/moby/moby/api/types/container"
	"github.com/moby/moby/api/types/network"
	"github.com/moby/moby/client"

	"github.com/stella-ops/stella"
	"github.com/stella-ops/stella/configrepo"
	"github.com/stella-ops/stella/drift"
	"github.com/stella-ops/stella/internal/dockertest"
)

// rendered returns the service web of a case, as configrepo renders it.
func (x composeCase) rendered(t *testing.T, image stella.Artifact) stella.Resource {
	t.Helper()
	service := "    " + x.service
	if strings.HasPrefix(x.service, "{") {
		service = "    <<: " + x.service
	}
	r := renderWeb(t, map[string]string{
		"stella.yaml":                "apiVersion: stella/v1\nkind: Project\nname: shop\n",
		"envs/prod/environment.yaml": "apiVersion: stella/v1\nkind: Environment\nname: prod\ntargets:\n- name: web-1\n  host: {root: /srv/shop}\n",
		"envs/prod/app/release.yaml": "apiVersion: stella/v1\nkind: Release\nversion: 1.0.0\ncomponents:\n  web: " + image.String() + "\n",
		"envs/prod/app/compose.yaml": "services:\n  web:\n    image: x\n" + service + "\nnetworks: {front: {}, back: {}}\nvolumes: {data: {}, other: {}}\n",
	})
	maps.Copy(r.Fields, x.more)
	return r
}

func renderWeb(t *testing.T, files map[string]string) stella.Resource {
	t.Helper()
	tree := memoryTree(files)
	p, err := configrepo.ReadProject(t.Context(), tree)
	if err != nil {
		t.Fatal(err)
	}
	e, err := configrepo.ReadEnvironment(t.Context(), tree, p, "prod")
	if err != nil {
		t.Fatal(err)
	}
	rel, err := configrepo.ReadRelease(t.Context(), tree, p, "prod")
	if err != nil {
		t.Fatal(err)
	}
	d, err := configrepo.Render(t.Context(), tree, p, e, rel)
	if err != nil {
		t.Fatal(err)
	}
	state, _ := d.Target("web-1")
	r, ok := state.Resource("service/web")
	if !ok {
		t.Fatal("there is no service web")
	}
	return r
}

// bench is an engine on which the containers of cases are made.
type bench struct {
	api    *client.Client
	image  imageFacts
	engine engineFacts
	scope  scope
}

// deployed is the container of one case.
type deployed struct {
	composeCase
	app    stella.Resource
	labels map[string]string
	id     string
}

func newBench(t *testing.T, engine *dockertest.Daemon, artifact stella.Artifact) *bench {
	t.Helper()
	b := &bench{api: engine.Client, scope: scope{project: "shop", api: engine.Client.ClientVersion()}}
	ctx := t.Context()
	plain := artifact
	plain.Tag = ""
	pull, err := b.api.ImagePull(ctx, plain.String(), client.ImagePullOptions{})
	if err == nil {
		err = pull.Wait(ctx)
	}
	if err != nil {
		t.Fatal(err)
	}
	image, err := b.api.ImageInspect(ctx, plain.String())
	if err != nil {
		t.Fatal(err)
	}
	b.image = imageFacts{id: image.ID, config: *image.Config, digests: image.RepoDigests}
	info, err := b.api.Info(ctx, client.InfoOptions{})
	if err != nil {
		t.Fatal(err)
	}
	b.engine = engineFacts{loggingDriver: info.Info.LoggingDriver, runtime: info.Info.DefaultRuntime, cgroupVersion: info.Info.CgroupVersion}
	for name, options := range map[string]client.NetworkCreateOptions{
		"shop_default": {}, "shop_back": {},
		"shop_front": {EnableIPv6: new(true), IPAM: &network.IPAM{Config: []network.IPAMConfig{{Subnet: prefix("172.30.0.0/16")}, {Subnet: prefix("fd00:30::/64")}}}},
	} {
		if _, err := b.api.NetworkCreate(ctx, name, options); err != nil {
			t.Fatal(err)
		}
	}
	return b
}

// create makes a container of a blueprint.
func (b *bench) create(ctx context.Context, bp blueprint, labels map[string]string) (string, error) {
	config, host := bp.config, bp.host
	config.Labels = maps.Clone(labels)
	maps.Copy(config.Labels, bp.config.Labels)
	c, err := b.api.ContainerCreate(ctx, client.ContainerCreateOptions{
		Config: &config, HostConfig: &host, NetworkingConfig: &network.NetworkingConfig{EndpointsConfig: bp.networks},
	})
	return c.ID, err
}

func (b *bench) deploy(t *testing.T, x composeCase, image stella.Artifact) *deployed {
	t.Helper()
	d := &deployed{composeCase: x, app: x.rendered(t, image)}
	bp, found := compile(d.app, b.scope)
	if len(found) > 0 {
		t.Fatal(found)
	}
	label, err := specLabel(d.app.Fields)
	if err != nil {
		t.Fatal(err)
	}
	d.labels = map[string]string{labelSpec: label, composeProject: "shop", composeService: "web"}
	bp.config.Image = b.image.id
	if d.id, err = b.create(t.Context(), bp, d.labels); err != nil {
		t.Fatal(err)
	}
	if _, err := b.api.ContainerStart(t.Context(), d.id, client.ContainerStartOptions{}); err != nil {
		t.Fatal(err)
	}
	return d
}

// changes compares what was asked for with a container.
func (b *bench) changes(t *testing.T, d *deployed, id string) []string {
	t.Helper()
	c, err := b.api.ContainerInspect(t.Context(), id, client.ContainerInspectOptions{})
	if err != nil {
		t.Fatal(err)
	}
	return b.compare(t, d.app, c.Container)
}

func (b *bench) compare(t *testing.T, want stella.Resource, live container.InspectResponse) []string {
	t.Helper()
	asked, err := parseSpec(live.Config.Labels[labelSpec])
	if err != nil {
		t.Fatal(err)
	}
	got := fields(sighting{id: want.ID, asked: asked, live: live, image: b.image, engine: b.engine, scope: b.scope})
	paths := []string{}
	for _, c := range drift.Compare(stella.State{Resources: []stella.Resource{want}}, stella.State{Resources: []stella.Resource{{ID: want.ID, Fields: got}}}, nil, time.Now()) {
		if !c.Ignored {
			paths = append(paths, c.Path)
		}
		t.Logf("%s: %v -> %v", c.Path, text(c.Desired), text(c.Live))
	}
	slices.Sort(paths)
	return paths
}

func text(v any) string {
	b, err := json.Marshal(v)
	if err != nil {
		return err.Error()
	}
	return string(b)
}

// byHand does what the case says, and returns the container that is looked at then.
func (b *bench) byHand(t *testing.T, d *deployed) string {
	t.Helper()
	if u := d.update; u != nil {
		options := client.ContainerUpdateOptions{Resources: &u.Resources}
		if u.RestartPolicy.Name != "" {
			options = client.ContainerUpdateOptions{RestartPolicy: &u.RestartPolicy, Resources: &container.Resources{}}
		}
		if _, err := b.api.ContainerUpdate(t.Context(), d.id, options); err != nil {
			t.Fatal(err)
		}
		return d.id
	}
	bp, _ := compile(d.app, b.scope)
	bp.config.Image = b.image.id
	d.by(&bp)
	if _, err := b.api.ContainerRemove(t.Context(), d.id, client.ContainerRemoveOptions{Force: true}); err != nil {
		t.Fatal(err)
	}
	id, err := b.create(t.Context(), bp, d.labels)
	if err != nil {
		t.Fatal(err)
	}
	return id
}

// TestComposeFilesOnAnEngine deploys a Compose file for each attribute: what is
// there is what was asked for, also after the engine was restarted; and what is
// changed by hand is the one difference.
func TestComposeFilesOnAnEngine(t *testing.T) {
	t.Parallel()
	engine := dockertest.Engines(t, 1)[0]
	image := dockertest.Image(t, "1.0.0")
	b := newBench(t, engine, image)
	var all []*deployed
	for _, x := range composeCases() {
		if x.model == "" {
			all = append(all, &deployed{composeCase: x})
		}
	}
	each := func(phase string, do func(t *testing.T, d *deployed)) {
		t.Run(phase, func(t *testing.T) {
			for _, d := range all {
				t.Run(d.name, func(t *testing.T) { t.Parallel(); do(t, d) })
			}
		})
	}
	same := func(t *testing.T, d *deployed) {
		if paths := b.changes(t, d, d.id); len(paths) > 0 {
			t.Errorf("it differs: %v", paths)
		}
	}
	each("deployed", func(t *testing.T, d *deployed) {
		*d = *b.deploy(t, d.composeCase, image)
		same(t, d)
	})
	if t.Failed() {
		return
	}
	engine.Restart(t)
	each("after a restart", same)
	each("by hand", func(t *testing.T, d *deployed) {
		slices.Sort(d.want)
		if diff := cmp.Diff(d.want, b.changes(t, d, b.byHand(t, d))); diff != "" {
			t.Errorf("(-want +got):\n%s", diff)
		}
	})
}
