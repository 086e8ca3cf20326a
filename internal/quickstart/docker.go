package quickstart

import (
	"context"
	"crypto/rand"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strconv"
	"strings"

	cerrdefs "github.com/containerd/errdefs"
	"github.com/moby/moby/client"

	"github.com/stella-ops/stella"
	"github.com/stella-ops/stella/internal/engine"
	"github.com/stella-ops/stella/internal/safe"
)

// Docker says on which container engine the story is told.
type Docker struct {
	Address engine.Address
	Given   bool // somebody named the address: another one than at the first start is refused
	Remove  bool // take away what an earlier start left on the engine, and do nothing else
	// Connect returns the client for the engine, which is shared, and where it
	// listens, as engine.Pool.Where says it.
	Connect func(ctx context.Context, a engine.Address) (api *client.Client, host string, err error)
}

// engineProps are the part of quickstart.json about the engine.
type engineProps struct {
	Host    string `json:"host,omitempty"`
	Context string `json:"context,omitempty"`
	TLS     string `json:"tls,omitempty"`
	// Tag tells what is of this directory from all else on the engine. It is a part
	// of the targets' names, and so of the labels of all that is made there.
	Tag string `json:"tag"`
}

const (
	labelQuickstart  = "stella.quickstart"   // on the images; its value is the tag
	labelRecordImage = "stella.record.image" // on what the driver's records are made of
)

func (d *Docker) props() *engineProps {
	var tag [2]byte
	_, _ = rand.Read(tag[:]) // never fails
	return &engineProps{Host: d.Address.Host, Context: d.Address.Context, TLS: d.Address.TLS, Tag: hex.EncodeToString(tag[:])}
}

func (p engineProps) address() engine.Address {
	return engine.Address{Host: p.Host, Context: p.Context, TLS: p.TLS}
}

// target is the name of one of the two targets, which count from 1.
func (p props) target(n int) string {
	if p.Docker == nil {
		return fmt.Sprintf("web-%d", n)
	}
	return fmt.Sprintf("web-%d-%s", n, p.Docker.Tag)
}

// project is what the names of a target on the engine start with.
func (p props) project(n int) string { return fmt.Sprintf("stella-quickstart-%s-%d", p.Docker.Tag, n) }

func (p props) labels() map[string]string {
	if p.Docker == nil {
		return nil
	}
	return map[string]string{labelQuickstart: p.Docker.Tag}
}

// checkEngine refuses a directory whose story is told elsewhere.
func (s *stage) checkEngine() error {
	there, asked := s.props.Docker, s.cfg.Docker
	var err error
	switch {
	case there == nil && asked != nil:
		err = fmt.Errorf("%w: the story in %s is told on bare hosts", stella.ErrInvalid, s.cfg.Dir)
	case there != nil && asked == nil:
		err = fmt.Errorf("%w: the story in %s is told on the container engine %s", stella.ErrInvalid, s.cfg.Dir, there.address())
	case there != nil && asked.Given && there.address() != asked.Address:
		err = fmt.Errorf("%w: the story in %s is told on the container engine %s, not on %s", stella.ErrInvalid, s.cfg.Dir, there.address(), asked.Address)
	}
	return stella.WithHint(err, "choose another --dir")
}

// findEngine connects, and finds out whether the ports that are published there
// can be reached from here.
func (s *stage) findEngine(ctx context.Context) (err error) {
	if s.props.Docker == nil {
		return nil
	}
	var host string
	if s.api, host, err = s.cfg.Docker.Connect(ctx, s.props.Docker.address()); err != nil {
		return err
	}
	s.near = strings.HasPrefix(host, "unix://")
	s.say("container engine %s: what is made there has %q in its name", s.props.Docker.address(), "stella-quickstart-"+s.props.Docker.Tag)
	return nil
}

// composeFile is the application's on an engine. The port is published on that
// machine alone.
const composeFile = `services:
  web:
    image: 127.0.0.1:5000/shop/web   # what runs is the digest in release.yaml
    environment:
      PORT: "8080"
      SAMPLE_ADDRESS: 0.0.0.0
      SAMPLE_GREETING: /etc/greeting
    ports: ["127.0.0.1:${HTTP_PORT}:8080"]
    configs:
    - source: greeting               # travels by content: the engine needs no file of ours
      target: /etc/greeting
    healthcheck:
      test: ["CMD", "/app", "sample-app", "check"]
      interval: 1s
      timeout: 5s
      retries: 3
    restart: unless-stopped
    stop_grace_period: 5s
configs:
  greeting:
    file: ./config/greeting
`

// onEngine is what a file of the example is where the targets are an engine's.
func (s *stage) onEngine(path string, content []byte) []byte {
	switch path {
	case "envs/production/app/compose.yaml":
		return []byte(composeFile)
	case "envs/production/environment.yaml":
		return []byte(s.environmentOnEngine())
	}
	return content
}

func (s *stage) environmentOnEngine() string {
	var b strings.Builder
	b.WriteString("apiVersion: stella/v1\nkind: Environment\nname: production\ntargets:\n")
	for i, port := range s.props.TargetPorts {
		where := map[string]string{"project": s.props.project(i + 1)}
		for key, value := range map[string]string{"host": s.props.Docker.Host, "context": s.props.Docker.Context, "tls": s.props.Docker.TLS} {
			if value != "" {
				where[key] = value
			}
		}
		flow, _ := json.Marshal(where) // strings alone; JSON is YAML
		fmt.Fprintf(&b, "- name: %s\n  address: \"127.0.0.1:%d\"\n  variables: {HTTP_PORT: \"%d\"}\n  docker: %s\n", s.props.target(i+1), port, port, flow)
	}
	b.WriteString("rollout:\n  strategy: rolling               # one target after the other\n  batch: 1\n  onFailure: rollback\n" +
		"verify:\n  timeout: 15s\n  stableFor: 1s\n")
	if s.near {
		b.WriteString("  checks:\n  - name: web answers\n    http: {url: \"http://${target.address}/healthz\"}\n")
	}
	return b.String()
}

// removeOnly takes away what an earlier start left on the engine.
func (s *stage) removeOnly(ctx context.Context) error {
	data, err := os.ReadFile(s.path("quickstart.json"))
	if err == nil {
		err = json.Unmarshal(data, &s.props)
	}
	if err != nil {
		return stella.WithHint(fmt.Errorf("%w: no quickstart was started in %s: %w", stella.ErrNotFound, s.cfg.Dir, err), "name its directory with --dir")
	}
	if err := s.checkEngine(); err != nil {
		return err
	}
	if err := s.findEngine(ctx); err != nil {
		return err
	}
	return s.clear(ctx)
}

// clear removes containers, networks and images that this directory's story made
// on the engine, by their labels. It is idempotent.
func (s *stage) clear(ctx context.Context) error {
	containers, networks := 0, 0
	for n := 1; n <= len(s.props.TargetPorts); n++ {
		c, err := s.clearContainers(ctx, s.mine(n))
		if err != nil {
			return fmt.Errorf("remove the containers: %w", engine.Explain(err))
		}
		w, err := s.clearNetworks(ctx, s.mine(n))
		if err != nil {
			return fmt.Errorf("remove the networks: %w", engine.Explain(err))
		}
		containers, networks = containers+c, networks+w
	}
	images, err := s.clearImages(ctx)
	if err != nil {
		return fmt.Errorf("remove the images: %w", engine.Explain(err))
	}
	s.say("removed %d containers, %d networks and %d images from the engine; %s stays, run it again to go on", containers, networks, images, s.cfg.Dir)
	return nil
}

// mine selects what is labelled as of one of the two targets.
func (s *stage) mine(n int) client.Filters {
	return make(client.Filters).Add("label", "stella.environment="+string(Environment), "stella.target="+s.props.target(n))
}

func (s *stage) clearContainers(ctx context.Context, mine client.Filters) (n int, err error) {
	list, err := s.api.ContainerList(ctx, client.ContainerListOptions{All: true, Filters: mine})
	for _, c := range list.Items {
		_, gone := s.api.ContainerRemove(ctx, c.ID, client.ContainerRemoveOptions{Force: true, RemoveVolumes: true})
		err = errors.Join(err, unlessGone(gone))
	}
	return len(list.Items), err
}

func (s *stage) clearNetworks(ctx context.Context, mine client.Filters) (n int, err error) {
	list, err := s.api.NetworkList(ctx, client.NetworkListOptions{Filters: mine})
	for _, w := range list.Items {
		_, gone := s.api.NetworkRemove(ctx, w.ID, client.NetworkRemoveOptions{})
		err = errors.Join(err, unlessGone(gone))
	}
	return len(list.Items), err
}

// clearImages removes the sample application. The empty image that targets are
// remembered by goes too, unless another target needs it.
func (s *stage) clearImages(ctx context.Context) (n int, err error) {
	list, err := s.api.ImageList(ctx, client.ImageListOptions{Filters: make(client.Filters).Add("label", labelQuickstart+"="+s.props.Docker.Tag)})
	for _, i := range list.Items {
		_, gone := s.api.ImageRemove(ctx, i.ID, client.ImageRemoveOptions{Force: true, PruneChildren: true})
		err = errors.Join(err, unlessGone(gone))
	}
	records, listed := s.api.ImageList(ctx, client.ImageListOptions{All: true, Filters: make(client.Filters).Add("label", labelRecordImage)})
	for _, i := range records.Items {
		_, _ = s.api.ImageRemove(ctx, i.ID, client.ImageRemoveOptions{}) // in use, or gone
	}
	return len(list.Items), errors.Join(err, listed)
}

func unlessGone(err error) error {
	if cerrdefs.IsNotFound(err) {
		return nil
	}
	return err
}

// commandsOnEngine is the page of what to try next on an engine.
func (s *stage) commandsOnEngine() {
	s.line(`
Try it from another terminal:

  export PATH=%[1]s:$PATH
  export STELLA_REPO=%[2]s
  export STELLA_STATE=%[3]s
`, filepath.Dir(s.cfg.Executable), s.path("config.git"), s.path("state"))
	if s.near {
		s.line("  curl http://127.0.0.1:%s/", strconv.Itoa(s.props.TargetPorts[0]))
	}
	s.line(`  docker compose -p %[1]s ps    Compose sees what stella made
  docker stop %[1]s-web-1       and stella sees who stopped it
  stella orch env status production --detailed    what runs, and who says so
  stella orch env config diff production          what runs beside what is wanted
  stella reconcile production                     brings it back
  stella orch deployments list production         the history, from Git
  stella rollback trace production                how the rollback went, step by step
  stella orch holds list                          why 1.2.0 does not come back
  stella rollback production --dry-run            what going back once more would do
  stella deploy production --artifact %[2]s
  stella quickstart --docker --dir %[3]s --remove    takes everything off the engine`,
		s.props.project(1), s.props.images("1.0.0"), safe.Line(s.cfg.Dir))
}
