// Package host brings services to a bare machine, without any container
// engine: images are unpacked by digest, a link says which one is current, and
// a shim supervises each process. Start with [Open] and [Host]; [Shim] is what
// the supervising process runs.
//
// The invariant: what [Host.Observe] reports was read from the processes that
// run and the files that lie there, never from what was last asked for; and a
// release that is started is complete, sealed and read-only. The package knows
// nothing of the engine, of Git or of the ledger.
//
// What it does not do: after the machine restarted nothing runs until the next
// apply or heal, since no unit of an init system is written, systemd's neither;
// services share the machine's network and its processes; a root has no /proc
// and no /sys, and is read-only but for /tmp (at most 256 MiB of memory) and
// volumes; a new volume is empty, whatever the image has in its place. A service
// that runs as root has few capabilities left and is still the user who may end
// and read other processes of root.
package host

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"log/slog"
	"os"
	"path/filepath"
	"time"

	"github.com/stella-ops/stella"
	"github.com/stella-ops/stella/artifact"
	"github.com/stella-ops/stella/internal/durable"
	"github.com/stella-ops/stella/internal/safe"
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
	Root         string       // absolute; all that is put on the machine lies below it
	AllowedRoots []string     // Root must lie below one of them
	AllowRoot    bool         // a service may run as root; without it that is refused
	Images       Puller       // may be nil where nothing is prepared
	Executable   string       // absolute path of this program, run again as the shim; may be empty where nothing is started
	Machine      string       // identity recorded at first contact; empty before it
	Logger       *slog.Logger // nil means none
}

// Host is one bare host target. Its methods may be called from several
// goroutines and processes: whoever writes takes the target's file lock.
type Host struct {
	cfg     Config
	lay     layout
	machine string
	uid     int           // effective, of this process
	chroots bool          // services run in a root of their own: this process is root
	slack   time.Duration // what a shim may take beyond the grace of its service
	log     *slog.Logger
	images  func(ctx context.Context, a stella.Artifact, dir string) (pulled, error) // nil: nowhere to pull from
	trip    func(effect string, done bool) error                                     // tests: fails or kills at an effect; nil otherwise
}

// Open opens the target. It creates nothing and needs no close. A root that is
// not allowed is of class stella.ErrInvalid; a machine that is not the recorded
// one, or a root that was copied from another machine, of stella.ErrUnreachable;
// a root that another target has, of stella.ErrRefused.
func Open(_ context.Context, c Config) (*Host, error) {
	if err := supported(); err != nil {
		return nil, err
	}
	if err := checkRoot(c.Root, c.AllowedRoots, os.Geteuid()); err != nil {
		return nil, fmt.Errorf("target %s: %w", c.Name, err)
	}
	h := &Host{
		cfg: c, lay: layout{c.Root}, machine: identity(c.Root), uid: os.Geteuid(), chroots: os.Geteuid() == 0,
		slack: stopSlack, log: c.Logger,
	}
	if h.log == nil {
		h.log = slog.New(slog.DiscardHandler)
	}
	if c.Images != nil {
		h.images = pullFrom(c.Images)
	}
	if c.Machine != "" && c.Machine != h.machine {
		return nil, notTheMachine(c.Name)
	}
	t, err := h.readTarget()
	if err != nil {
		return nil, err
	}
	if err := h.owns(t); err != nil {
		return nil, err
	}
	return h, nil
}

func notTheMachine(name string) error {
	err := fmt.Errorf("%w: this is not the machine of %s", stella.ErrUnreachable, safe.Line(name))
	return stella.WithHint(err, "run this on the machine that the target was first applied on, or give the target another name")
}

// identity names this machine and root: a reinstalled machine, a copied disk
// and a second root are all somebody else.
func identity(root string) string {
	sum := sha256.Sum256([]byte("stella host " + durable.MachineID() + "\x00" + filepath.Clean(root)))
	return hex.EncodeToString(sum[:16])
}

// effect carries out one effect on the machine. Every write goes through it, so
// that tests can fail or crash before and after each. It may be made of several
// effects of the process (effect.Do): those of package durable, and what is done
// to trees of files and to processes.
func (h *Host) effect(name string, do func() error) error {
	if h.trip != nil {
		if err := h.trip(name, false); err != nil {
			return err
		}
	}
	if err := do(); err != nil {
		return err
	}
	if h.trip != nil {
		return h.trip(name, true)
	}
	return nil
}
