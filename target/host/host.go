// Package host brings services to a bare machine, without any container
// engine: images are unpacked by digest, a link says which one is current, and
// a shim supervises each process. Start with [Open] and [Host]; [Shim] is what
// the supervising process runs.
//
// The invariant: what [Host.Observe] reports was read from the processes that
// run and the files that lie there, never from what was last asked for; and a
// release that is started is complete, sealed and read-only. The package knows
// nothing of environments' engine, Git or the ledger.
package host

import (
	"context"
	"errors"
	"io"
	"log/slog"

	"github.com/stella-ops/stella"
	"github.com/stella-ops/stella/artifact"
)

// Puller fetches images; *artifact.Client does.
type Puller interface {
	// Pull fetches the image by its digest into dir, an existing private
	// directory, and has verified every byte when it returns.
	Pull(ctx context.Context, a stella.Artifact, p artifact.Platform, dir string) (*artifact.Image, error)
}

// Config says which bare host target to open.
type Config struct {
	Environment  stella.EnvName
	Name         string       // of the target
	Root         string       // absolute; everything that is put on the machine lies below it
	AllowedRoots []string     // Root must lie below one of them
	AllowRoot    bool         // a process may run as root
	Images       Puller       // may be nil where nothing is prepared
	Executable   string       // this program's file, run again as the shim
	Machine      string       // identity recorded at first contact; empty before it
	Logger       *slog.Logger // nil means none
}

// Host is one bare host target.
type Host struct{ cfg Config }

var errTODO = errors.New("not built yet")

// Open opens the target. It creates nothing.
func Open(ctx context.Context, c Config) (*Host, error) { return &Host{cfg: c}, errTODO }

// Observe reads what runs and changes nothing.
func (h *Host) Observe(ctx context.Context) (stella.State, error) { return stella.State{}, errTODO }

// Prepare checks that the target can do what is desired and fetches everything
// that is not there. It touches nothing that runs.
func (h *Host) Prepare(ctx context.Context, desired stella.State, fence int64) error { return errTODO }

// Apply carries out the order's actions.
func (h *Host) Apply(ctx context.Context, o stella.Order, report func(stella.Action, error)) error {
	return errTODO
}

// Has reports whether the image is unpacked and sealed on the target.
func (h *Host) Has(ctx context.Context, a stella.Artifact) (bool, error) { return false, errTODO }

// Exec runs a command beside a component, as its user.
func (h *Host) Exec(ctx context.Context, component string, command []string) (string, error) {
	return "", errTODO
}

// Logs returns the end of a component's output.
func (h *Host) Logs(ctx context.Context, component string, maxBytes int64) ([]byte, error) {
	return nil, errTODO
}

// Stop ends every process that was started here.
func (h *Host) Stop(ctx context.Context, fence int64) error { return errTODO }

// Remove stops everything and removes all but the volumes.
func (h *Host) Remove(ctx context.Context, fence int64) error { return errTODO }

// Shim is the hidden command `host-shim`; args are those after its name. It
// returns the process's exit status.
func Shim(ctx context.Context, args []string, stderr io.Writer) int { return 2 }
