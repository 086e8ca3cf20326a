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
	"log/slog"

	"github.com/moby/moby/client"

	"github.com/stella-ops/stella"
	"github.com/stella-ops/stella/internal/effect"
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
	cfg  Config
	api  *client.Client
	log  *slog.Logger
	trip func(effect string, done bool) error // tests: fails or kills at an effect; nil otherwise
}

// effect carries out one call that changes something on the engine. Every such
// call goes through it, so that tests can fail or crash before and after each.
func (d *Docker) effect(verb, what string, do func() error) error {
	if d.trip != nil {
		if err := d.trip(verb+" "+what, false); err != nil {
			return err
		}
	}
	if err := effect.Do(verb, what, do); err != nil {
		return err
	}
	if d.trip != nil {
		return d.trip(verb+" "+what, true)
	}
	return nil
}
