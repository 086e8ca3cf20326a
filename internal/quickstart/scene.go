package quickstart

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"net"
	"os"
	"os/exec"
	"strconv"
	"strings"
	"time"

	"github.com/stella-ops/stella"
	"github.com/stella-ops/stella/artifact"
	"github.com/stella-ops/stella/configrepo"
	"github.com/stella-ops/stella/examples"
	"github.com/stella-ops/stella/internal/durable"
	"github.com/stella-ops/stella/internal/git"
	"github.com/stella-ops/stella/internal/registry"
	"github.com/stella-ops/stella/internal/sampleapp"
)

// props are what must be the same at the next start: quickstart.json.
type props struct {
	Port         int    `json:"port"` // of the daemon
	RegistryPort int    `json:"registryPort"`
	TargetPorts  [2]int `json:"targetPorts"`
	// Docker says which engine the targets are on; nil for bare hosts.
	Docker *engineProps `json:"docker,omitempty"`
}

// images is the sample application's image of a version, by tag.
func (p props) images(version string) stella.Artifact {
	return stella.Artifact{Registry: p.registry(), Repository: "shop/web", Tag: version}
}

func (p props) registry() string { return net.JoinHostPort("127.0.0.1", strconv.Itoa(p.RegistryPort)) }

// setScene finds the ports and makes the directories, or finds those of the
// last start.
func (s *stage) setScene(ctx context.Context) error {
	data, err := os.ReadFile(s.path("quickstart.json"))
	switch {
	case err == nil:
		if err := json.Unmarshal(data, &s.props); err != nil {
			return stella.WithHint(fmt.Errorf("read %s: %w", s.path("quickstart.json"), err), "remove the directory and start again")
		}
	case errors.Is(err, fs.ErrNotExist):
		if s.props, err = choosePorts(ctx, s.cfg.Port); err != nil {
			return err
		}
		if s.cfg.Docker != nil {
			s.props.Docker = s.cfg.Docker.props()
		}
	default:
		return err
	}
	if err := s.checkEngine(); err != nil {
		return err
	}
	for _, dir := range []string{"hosts", "state"} {
		if err := os.MkdirAll(s.path(dir), 0o755); err != nil { //nolint:gosec // targets' users look below it
			return err
		}
	}
	if data, err = json.MarshalIndent(s.props, "", "  "); err != nil {
		return err
	}
	return durable.WriteFile(s.path("quickstart.json"), append(data, '\n'), 0o644)
}

// choosePorts takes four in a row from base, or free ones for base zero, and
// checks that they can be had.
func choosePorts(ctx context.Context, base int) (props, error) {
	var ports [4]int
	for i := range ports {
		want := 0
		if base != 0 {
			want = base + i
		}
		l, err := listen(ctx, want)
		if err != nil {
			return props{}, err
		}
		defer func() { _ = l.Close() }() // all at once, so that no port is found twice
		addr, _ := l.Addr().(*net.TCPAddr)
		ports[i] = addr.Port
	}
	return props{Port: ports[0], RegistryPort: ports[1], TargetPorts: [2]int{ports[2], ports[3]}}, nil
}

// stock fills the registry and the config repository, each only once.
func (s *stage) stock(ctx context.Context) error {
	first, err := s.pushImages(ctx)
	if err != nil {
		return fmt.Errorf("fill the registry: %w", err)
	}
	s.say("registry %s has shop/web 1.0.0, 1.1.0 and 1.2.0, which is broken", s.props.registry())
	if err := s.seed(ctx, first); err != nil {
		return fmt.Errorf("make the config repository: %w", err)
	}
	s.say("config repository %s has envs/production with the targets %s and %s", s.path("config.git"), s.props.target(1), s.props.target(2))
	return nil
}

// pushImages builds the versions of the sample application out of this binary.
// It returns the first one.
func (s *stage) pushImages(ctx context.Context) (stella.Artifact, error) {
	app, err := os.ReadFile(s.cfg.Executable)
	if err != nil {
		return stella.Artifact{}, err
	}
	var first stella.Artifact
	for _, a := range acts() {
		fault := ""
		if !a.good {
			fault = "unhealthy"
		}
		pushed, err := registry.Push(ctx, s.props.registry(), "shop/web", a.version, registry.Build{
			Layers: [][]registry.File{{{Name: "app", Content: app}}},
			Config: artifact.ImageConfig{
				Entrypoint: []string{"/app", "sample-app"},
				Env:        []string{sampleapp.EnvVersion + "=" + a.version, sampleapp.EnvFault + "=" + fault},
				Labels:     s.props.labels(),
			},
		})
		if err != nil {
			return stella.Artifact{}, err
		}
		if first.Digest == "" {
			first = pushed
		}
	}
	return first, nil
}

// seed makes the config repository out of the example, with this machine's
// ports and paths in it.
func (s *stage) seed(ctx context.Context, first stella.Artifact) error {
	dir := s.path("config.git")
	cmd := exec.CommandContext(ctx, "git", "init", "--quiet", "--bare", "--initial-branch=main", dir) //nolint:gosec // our own path
	if out, err := cmd.CombinedOutput(); err != nil {
		return fmt.Errorf("git init: %w: %s", err, bytes.TrimSpace(out))
	}
	repo, err := git.Open(ctx, git.Options{URL: dir, Dir: s.path("state", "seed"), Getenv: s.cfg.Getenv, Logger: s.cfg.Logger})
	if err != nil {
		return err
	}
	defer func() { _ = repo.Close() }()
	refs, err := repo.List(ctx)
	if err == nil && refs.IDs["refs/heads/main"] != "" {
		return nil // an earlier start made it
	}
	edits, err := s.files(first)
	if err != nil {
		return err
	}
	me := git.Signature{Name: "Stella quickstart", Email: "quickstart@localhost", When: time.Now()}
	built, err := repo.Build(ctx, git.Draft{Edits: edits, Author: me, Committer: me, Message: "An environment with two targets\n"})
	if err != nil {
		return err
	}
	return repo.Push(ctx, []git.Update{{Ref: "refs/heads/main", New: built.Commit}}, built)
}

// files are the example's, adapted to this machine.
func (s *stage) files(first stella.Artifact) ([]git.Edit, error) {
	adapt := strings.NewReplacer(s.replacements()...)
	var edits []git.Edit
	err := fs.WalkDir(examples.Files(), ".", func(path string, d fs.DirEntry, err error) error {
		if err != nil || d.IsDir() || strings.HasPrefix(path, "envs/") && !strings.HasPrefix(path, "envs/production/") {
			return err // one environment is enough for the story
		}
		content, err := fs.ReadFile(examples.Files(), path)
		if err != nil {
			return err
		}
		if s.props.Docker != nil {
			content = s.onEngine(path, content)
		}
		adapted := []byte(adapt.Replace(string(content)))
		if path == "envs/production/app/release.yaml" {
			if adapted, err = configrepo.SetRelease(adapted, "1.0.0", map[string]stella.Artifact{"web": first}); err != nil {
				return err
			}
		}
		edits = append(edits, git.Edit{Path: path, Content: adapted})
		return nil
	})
	return edits, err
}

// replacements put this machine in the place of the example's; which strings
// those are is the example's promise.
func (s *stage) replacements() []string {
	return []string{
		"127.0.0.1:5000", s.props.registry(),
		"8081", strconv.Itoa(s.props.TargetPorts[0]),
		"8082", strconv.Itoa(s.props.TargetPorts[1]),
		"/srv/shop", s.path("hosts"),
		"timeout: 15s", "timeout: 5s", // nobody waits longer to see a release rejected
	}
}
