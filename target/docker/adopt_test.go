package docker

import (
	"context"
	"errors"
	"log/slog"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/moby/moby/client"

	"github.com/stella-ops/stella"
	"github.com/stella-ops/stella/configrepo"
	"github.com/stella-ops/stella/drift"
	"github.com/stella-ops/stella/internal/dockertest"
)

// composed is a Compose project that docker compose started, and the target that
// is to take it over.
type composed struct {
	*testing.T
	engine *dockertest.Daemon
	d      *Docker
	dir    string
	image  stella.Artifact
}

// aProject has what Compose fills in by itself: a default network beside one of
// its own, volumes, a dependency, a health check, limits.
const aProject = `services:
  web:
    image: ${IMAGE}
    environment: {LEVEL: "${LEVEL}", PORT: "80"}
    depends_on: {db: {condition: service_healthy}}
    networks: {default: {}, back: {aliases: [www]}}
    restart: unless-stopped
    mem_limit: 64m
    tmpfs: [/run]
    labels: {tier: front}
    init: true
  db:
    image: ${IMAGE}
    volumes: [data:/data, "cache:/cache:ro"]
    networks: [back]
    healthcheck: {test: [CMD, /healthy], interval: 1s, retries: 3}
    stop_grace_period: 1s
  plain:
    image: ${IMAGE}
    extra_hosts: ["there:10.1.2.3"]
    cap_drop: [NET_RAW]
    ulimits: {nofile: 1000}
    stop_grace_period: 1s
networks: {back: {driver_opts: {com.docker.network.bridge.enable_icc: "true"}}}
volumes: {data: {}, cache: {labels: {kind: cache}}}
`

func newComposed(t *testing.T, project string) *composed {
	t.Helper()
	c := &composed{T: t, engine: dockertest.Engine(t), image: dockertest.Image(t, "1.0.0"), dir: filepath.Join(t.TempDir(), project)}
	if err := os.Mkdir(c.dir, 0o755); err != nil {
		t.Fatal(err)
	}
	image := c.image
	image.Digest = ""
	for name, content := range map[string]string{"compose.yaml": aProject, ".env": "IMAGE=" + image.String() + "\nLEVEL=info\n"} {
		if err := os.WriteFile(filepath.Join(c.dir, name), []byte(content), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	c.engine.Compose(t, c.dir, "up", "-d", "--wait")
	t.Cleanup(func() {
		ctx := context.WithoutCancel(t.Context())
		list, _ := c.d.list(ctx, make(client.Filters).Add("label", composeProject+"="+project))
		for _, one := range list {
			_ = c.d.under(1<<40).removeContainer(ctx, one.ID, "")
		}
	})
	c.d = c.open("prod")
	return c
}

func (c *composed) open(env stella.EnvName) *Docker {
	c.Helper()
	d, err := Open(c.Context(), Config{
		Environment: env, Name: "web-1", Project: filepath.Base(c.dir), Engine: c.engine.Client, Logger: slog.New(slog.NewTextHandler(c.Output(), nil)),
	})
	if err != nil {
		c.Fatal(err)
	}
	return d
}

// desired is what the same Compose file renders to.
func (c *composed) desired(level string) stella.State {
	c.Helper()
	project := filepath.Base(c.dir)
	components := ""
	for _, name := range []string{"db", "plain", "web"} {
		components += "  " + name + ": " + c.image.String() + "\n"
	}
	tree := memoryTree{
		"stella.yaml":                "apiVersion: stella/v1\nkind: Project\nname: shop\n",
		"envs/prod/environment.yaml": "apiVersion: stella/v1\nkind: Environment\nname: prod\ntargets:\n- name: web-1\n  docker: {host: unix:///run/docker.sock, project: " + project + "}\n",
		"envs/prod/app/release.yaml": "apiVersion: stella/v1\nkind: Release\nversion: 1.0.0\ncomponents:\n" + components + "variables: {IMAGE: x, LEVEL: " + level + "}\n",
		"envs/prod/app/compose.yaml": aProject,
	}
	p, err := configrepo.ReadProject(c.Context(), tree)
	if err != nil {
		c.Fatal(err)
	}
	e, err := configrepo.ReadEnvironment(c.Context(), tree, p, "prod")
	if err != nil {
		c.Fatal(err)
	}
	rel, err := configrepo.ReadRelease(c.Context(), tree, p, "prod")
	if err != nil {
		c.Fatal(err)
	}
	d, err := configrepo.Render(c.Context(), tree, p, e, rel)
	if err != nil {
		c.Fatal(err)
	}
	state, _ := d.Target("web-1")
	return state
}

// differences fails the test where live state is not as desired.
func (c *composed) differences(when string, want, live stella.State) {
	c.Helper()
	for _, x := range drift.Compare(want, live, nil, time.Now()) {
		c.Errorf("%s: %s%s %s: %v → %v", when, x.Resource, x.Path, x.Class, x.Desired, x.Live)
	}
}

func (c *composed) observed() stella.State {
	c.Helper()
	s, err := c.d.Observe(c.Context())
	if err != nil {
		c.Fatal(err)
	}
	return s
}

// runs is service → container and when that was started.
func (c *composed) runs() map[string]string {
	c.Helper()
	list, err := c.d.list(c.Context(), make(client.Filters).Add("label", composeProject+"="+filepath.Base(c.dir)))
	if err != nil {
		c.Fatal(err)
	}
	out := map[string]string{}
	for _, one := range list {
		live, err := c.d.inspect(c.Context(), one.ID)
		if err != nil || live == nil {
			c.Fatal(one.ID, err)
		}
		if live.State.Running {
			out[one.Labels[composeService]] = one.ID + " " + live.State.StartedAt
		}
	}
	return out
}

func (c *composed) order(fence int64, want stella.State, actions ...stella.Action) stella.Order {
	return stella.Order{Fence: fence, Actions: actions, Desired: want, Sticker: stella.Sticker{
		SchemaVersion: 1, Environment: "prod", Target: "web-1", Deployment: "prod-1", Release: "1.0.0", Components: map[string]string{}, Fence: fence,
	}}
}

func TestWhatComposeStartedIsTakenOverAsItIs(t *testing.T) {
	t.Parallel()
	c := newComposed(t, "taken")
	before, want := c.runs(), c.desired("info")

	found, err := c.d.Running(t.Context())
	if err != nil || len(found.Components) != 3 || len(found.Components[0].Artifacts) != 1 || found.Components[0].Artifacts[0].Digest != c.image.Digest {
		t.Fatalf("found %+v, %v", found, err)
	}
	seen, err := c.d.Foresee(t.Context(), want)
	if err != nil {
		t.Fatal(err)
	}
	c.differences("foreseen", want, seen)
	for range 2 {
		if err := c.d.Adopt(t.Context(), c.order(1, want)); err != nil {
			t.Fatal(err)
		}
		c.differences("adopted", want, c.observed())
	}
	if after := c.runs(); !equalRuns(before, after) {
		t.Fatalf("something was restarted:\n%v\n%v", before, after)
	}
	if _, err := c.open("staging").Running(t.Context()); err == nil || !strings.Contains(err.Error(), "belongs to target web-1 of environment prod") {
		t.Fatalf("another environment may take it over: %v", err)
	}
	c.firstDeploy(before, want)
}

// firstDeploy changes one service and goes back again.
func (c *composed) firstDeploy(before map[string]string, want stella.State) {
	c.Helper()
	next := c.desired("debug")
	report := func(a stella.Action, err error) {
		if err != nil {
			c.Errorf("%s %s: %v", a.Op, a.Resource.ID, err)
		}
	}
	web, _ := next.Resource("service/web")
	if err := c.d.Apply(c.Context(), c.order(2, next, stella.Action{Op: stella.OpUpdate, Resource: web}), report); err != nil {
		c.Fatal(err)
	}
	c.differences("deployed", next, c.observed())
	after := c.runs()
	if after["db"] != before["db"] || after["plain"] != before["plain"] || after["web"] == before["web"] {
		c.Fatalf("want web alone replaced:\n%v\n%v", before, after)
	}
	ps := c.engine.Compose(c.T, c.dir, "ps", "--format", "{{.Service}} {{.State}}")
	for _, line := range []string{"web running", "db running", "plain running"} {
		if !strings.Contains(ps, line) {
			c.Errorf("docker compose ps shows no %q:\n%s", line, ps)
		}
	}
	if logs := c.engine.Compose(c.T, c.dir, "logs", "web"); !strings.Contains(logs, "starts") {
		c.Errorf("docker compose logs shows\n%s", logs)
	}
	web, _ = want.Resource("service/web")
	if err := c.d.Apply(c.Context(), c.order(3, want, stella.Action{Op: stella.OpUpdate, Resource: web}), report); err != nil {
		c.Fatal(err)
	}
	c.differences("gone back", want, c.observed())
	if back := c.runs(); strings.Fields(back["web"])[0] != strings.Fields(before["web"])[0] {
		c.Errorf("what compose made did not come back: %v, %v", before["web"], back["web"])
	}
}

func equalRuns(a, b map[string]string) bool {
	for name, one := range a {
		if b[name] != one {
			return false
		}
	}
	return len(a) == len(b)
}

// TestWhatWasAdoptedIsAdoptedAgainAfterAPrune: the record is a container that does
// not run, so that 'docker container prune' removes it.
func TestWhatWasAdoptedIsAdoptedAgainAfterAPrune(t *testing.T) {
	t.Parallel()
	c := newComposed(t, "pruned")
	before, want := c.runs(), c.desired("info")
	must(t, c.d.Adopt(t.Context(), c.order(1, want)))
	l, _, err := c.d.readLedger(t.Context())
	must(t, err)
	for _, r := range l.found { // as the prune does, and without touching other tests' containers
		must(t, c.d.under(1<<40).removeContainer(t.Context(), r.id, r.name))
	}
	next := c.desired("debug")
	web, _ := next.Resource("service/web")
	err = c.d.Apply(t.Context(), c.order(2, next, stella.Action{Op: stella.OpUpdate, Resource: web}), nil)
	if !errors.Is(err, stella.ErrRefused) || !strings.HasPrefix(stella.Hint(err), "run 'stella adopt prod'") {
		t.Errorf("a deployment of what is nobody's: %v (%s)", err, stella.Hint(err))
	}
	must(t, c.d.Adopt(t.Context(), c.order(3, want)))
	c.differences("adopted again", want, c.observed())
	if after := c.runs(); !equalRuns(before, after) {
		t.Errorf("something was restarted:\n%v\n%v", before, after)
	}
}

// TestARemovalTakesAdoptedNetworksAway, and what is remembered of what is gone.
func TestARemovalTakesAdoptedNetworksAway(t *testing.T) {
	t.Parallel()
	c := newComposed(t, "leaving")
	want := c.desired("info")
	must(t, c.d.Adopt(t.Context(), c.order(1, want)))
	next := c.desired("debug")
	web, _ := next.Resource("service/web")
	for fence := range int64(2) { // after the second nothing is kept of what was adopted
		env, _ := web.Fields["environment"].(map[string]any)
		env["LEVEL"] = []string{"debug", "trace"}[fence]
		must(t, c.d.Apply(t.Context(), c.order(2+fence, next, stella.Action{Op: stella.OpUpdate, Resource: web}), nil))
	}
	must(t, c.d.Apply(t.Context(), c.order(4, next), nil))
	l, _, err := c.d.readLedger(t.Context())
	must(t, err)
	if n := len(l.Record.Adopted); n != 2 {
		t.Errorf("%d containers are remembered of three that were adopted, of which one is gone", n)
	}
	must(t, c.d.Remove(t.Context(), 5))
	for _, name := range []string{"default", "back"} {
		if _, there, err := c.d.networkNamed(t.Context(), "leaving_"+name); there || err != nil {
			t.Errorf("network %s is there: %v, %v", name, there, err)
		}
	}
	if l, _, err = c.d.readLedger(t.Context()); err != nil || slices.ContainsFunc(l.Record.Holdings.Unlabelled, func(h holding) bool {
		return strings.HasPrefix(string(h.Resource.ID), networkPrefix)
	}) {
		t.Errorf("networks that are gone are remembered: %+v, %v", l.Record.Holdings, err)
	}
}
