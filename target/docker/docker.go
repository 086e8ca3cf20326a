// Package docker brings services to a container engine: Docker Engine from API
// 1.41 on, or Podman's socket. Start with [Open] and [Docker].
//
// The invariant: what [Docker.Observe] reports was read by inspection of what
// runs there, never from what was last asked for; and nothing is touched that is
// not labelled as this target's own. The package plans nothing: it carries out
// the actions that it is given, one call of the engine's API after the other,
// and knows nothing of the engine of Stella, of Git or of the ledger.
package docker

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"io/fs"
	"log/slog"
	"strings"
	"sync/atomic"

	"github.com/moby/moby/api/types/container"
	"github.com/moby/moby/client"

	"github.com/stella-ops/stella"
	"github.com/stella-ops/stella/internal/safe"
)

// Credentials are those of registries; *artifact.Client has them.
type Credentials interface {
	// EngineAuth returns what an engine is told to pull an image with, as the
	// X-Registry-Auth header wants it; empty for nothing.
	EngineAuth(ctx context.Context, a stella.Artifact) (string, error)
}

// Config says which target to open.
type Config struct {
	Environment stella.EnvName
	Name        string         // of the target
	Project     string         // Compose project: the first part of all names on the engine
	Engine      *client.Client // connected; shared between targets of one engine and not closed
	Credentials Credentials    // nil pulls without
	Local       bool           // the engine is on this machine
	Machine     string         // identity of the engine recorded at first contact; empty before it
	// DiscardPrevious removes a replaced container at once. Without it the
	// previous one of each service is kept, stopped, so that going back is a start.
	DiscardPrevious bool
	StartFirst      bool // a new container is started before its predecessor stops, where nothing is in the way
	Logger          *slog.Logger
}

// Docker is one target on a container engine. Its methods may be called from
// several goroutines and processes.
type Docker struct {
	cfg     Config
	api     *client.Client
	log     *slog.Logger
	machine string
	images  *imageCache
	hidden  hidden
	plain   atomic.Pointer[container.HostConfig] // see plainHost
	root    fs.FS                                // of the machine that this process is on; nil for /
	trip    func(effect string, done bool) error // tests: fails or kills at an effect; nil otherwise
	limit   atomic.Int64                         // tests: no call may take longer, in nanoseconds; otherwise 0
}

// Open opens the target. It changes nothing and needs no close. An engine that
// does not answer, or is not the recorded one, is of class stella.ErrUnreachable.
func Open(ctx context.Context, c Config) (*Docker, error) {
	d := &Docker{cfg: c, api: c.Engine, log: c.Logger, images: newImageCache()}
	if d.log == nil {
		d.log = slog.New(slog.DiscardHandler)
	}
	if c.Project == "" {
		return nil, fmt.Errorf("%w: target %s has no project", stella.ErrInvalid, safe.Line(c.Name))
	}
	facts, err := d.engine(ctx)
	if err != nil {
		return nil, fmt.Errorf("target %s: %w", safe.Line(c.Name), err)
	}
	d.machine = facts.machine
	if c.Machine != "" && c.Machine != d.machine {
		return nil, notTheEngine(c.Name)
	}
	return d, nil
}

func notTheEngine(name string) error {
	err := fmt.Errorf("%w: this is not the engine of %s", stella.ErrUnreachable, safe.Line(name))
	return stella.WithHint(err, "connect to the engine that the target was first applied on, or give the target another name")
}

// engine asks the engine who it is. Podman has no identity of its own: there it
// is the machine's name and where its images lie.
func (d *Docker) engine(ctx context.Context) (engineFacts, error) {
	ctx, cancel := d.within(ctx, callTime)
	defer cancel()
	res, err := d.api.Info(ctx, client.InfoOptions{})
	if err != nil {
		return engineFacts{}, fmt.Errorf("ask the engine who it is: %w", fault(err))
	}
	info := res.Info
	f := engineFacts{
		version: info.ServerVersion, loggingDriver: info.LoggingDriver, runtime: info.DefaultRuntime,
		cgroupVersion: info.CgroupVersion, podman: strings.Contains(strings.ToLower(info.InitBinary+info.OperatingSystem), "podman") || info.ProductLicense == "Apache-2.0",
	}
	id := info.ID
	if f.podman {
		id = "podman " + info.Name + "\x00" + info.DockerRootDir
	}
	sum := sha256.Sum256([]byte("stella docker " + id))
	f.machine = hex.EncodeToString(sum[:16])
	return f, nil
}
