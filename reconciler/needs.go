package reconciler

import (
	"context"

	"github.com/stella-ops/stella"
	"github.com/stella-ops/stella/artifact"
	"github.com/stella-ops/stella/configrepo"
)

// Target is one place that an environment runs on. Drivers satisfy it without
// knowing this package.
type Target interface {
	// Observe reads what runs and changes nothing. It returns an error of class
	// stella.ErrUnreachable when nobody can tell.
	Observe(ctx context.Context) (stella.State, error)
	// Apply carries out one target's actions in plan order and returns once the
	// target has accepted them; health is verified afterwards. Each action is
	// idempotent and reported as it ends. A fence lower than the target has
	// seen is refused with stella.ErrFenced.
	Apply(ctx context.Context, o stella.Order, report func(stella.Action, error)) error
}

// Preparer is a Target that can fetch what it will need beforehand. Prepare
// touches nothing that runs.
type Preparer interface {
	Prepare(ctx context.Context, desired stella.State, fence int64) error
}

// Keeper is a Target that knows which artifacts it still has, complete, so that
// going back to them needs no registry.
type Keeper interface {
	Has(ctx context.Context, a stella.Artifact) (bool, error)
}

// Spacer is a Target that knows how much room there is for what it fetches.
type Spacer interface {
	// Space returns how many bytes may still be written where images go.
	Space(ctx context.Context) (freeBytes int64, err error)
}

// Executor is a Target that can run a command beside a component, for checks.
type Executor interface {
	Exec(ctx context.Context, component string, command []string) (output string, err error)
}

// Stopper is a Target whose components can be stopped, or stopped and removed.
type Stopper interface {
	Stop(ctx context.Context, fence int64) error
	Remove(ctx context.Context, fence int64) error
}

// Logger is a Target that keeps its components' output.
type Logger interface {
	Logs(ctx context.Context, component string, maxBytes int64) ([]byte, error)
}

// Watcher is a Target that can tell at once that something of it changed.
type Watcher interface {
	// Watch calls changed, possibly often and from another goroutine, whenever
	// something may differ from what was last observed, until ctx ends. It says no
	// more than that: what changed is for Observe to find. It returns once it
	// watches, with an error where it can not.
	Watch(ctx context.Context, changed func()) error
}

// Suspecter is a Target that can say who else seems to write a resource.
type Suspecter interface {
	// Suspects returns lines for people, the likeliest first: "uid 1000 (deploy),
	// at 03:12:44". Empty where there is no trace.
	Suspects(ctx context.Context, id stella.ResourceID, path string) ([]string, error)
}

// Adopter is a Target that can take over what somebody else started there.
type Adopter interface {
	// Running finds what could be taken over and changes nothing. It refuses with
	// stella.ErrRefused what another environment or target has, and says
	// stella.ErrNotFound where nothing runs.
	Running(ctx context.Context) (stella.Found, error)
	// Foresee returns what Observe would, had what runs been taken over as
	// desired. It changes nothing.
	Foresee(ctx context.Context, desired stella.State) (stella.State, error)
	// Adopt records what runs as this target's own, asked for as the order's
	// desired state says, and writes the sticker. It creates, changes and ends
	// nothing that runs, and repeated it does nothing. That what runs is as desired
	// was foreseen right before. A stale fence is refused with stella.ErrFenced.
	Adopt(ctx context.Context, o stella.Order) error
}

// TargetSpec says which target to open.
type TargetSpec struct {
	Environment *configrepo.Environment
	Target      configrepo.Target
	Machine     string // the recorded identity; empty on first contact
	Artifacts   Artifacts
}

// Targets opens drivers. It is the one place that knows which there are.
type Targets interface {
	Open(ctx context.Context, spec TargetSpec) (Target, error)
}

// Artifacts is what the engine needs of registries.
type Artifacts interface {
	// Resolve pins a tag to the digest that it names now.
	Resolve(ctx context.Context, a stella.Artifact) (stella.Artifact, error)
	// Check looks whether the manifest and every blob are there.
	Check(ctx context.Context, a stella.Artifact, p ...artifact.Platform) (artifact.Report, error)
	// Inspect tells what an image is made of and, where asked to, proves it.
	Inspect(ctx context.Context, a stella.Artifact, look artifact.Look) (artifact.Inspection, error)
	// Pull fetches an image by digest into dir, verified to the last byte, from
	// its registry or else from the backup.
	Pull(ctx context.Context, a stella.Artifact, p artifact.Platform, dir string) (*artifact.Image, error)
	// Backup names where copies are kept that outlive their registry; empty for
	// nowhere.
	Backup() string
	// CheckBackup is Check for the copy there.
	CheckBackup(ctx context.Context, a stella.Artifact, p ...artifact.Platform) (artifact.Report, error)
	// Restore copies an image from the backup to its registry, by digest alone.
	Restore(ctx context.Context, a stella.Artifact) error
}
