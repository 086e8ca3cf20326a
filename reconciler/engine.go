package reconciler

import (
	"log/slog"
	"sync"
	"time"

	"github.com/stella-ops/stella"
	"github.com/stella-ops/stella/configrepo"
	"github.com/stella-ops/stella/internal/git"
	"github.com/stella-ops/stella/ledger"
)

// Config wires an Engine. Every field without a default is required.
type Config struct {
	Repo    *git.Repo
	Targets Targets
	// Artifacts makes the registry client for a project: which registries are
	// spoken to without TLS is written there.
	Artifacts func(*configrepo.Project) Artifacts
	// Ledger opens the ledger under a project's ref prefix.
	Ledger func(prefix string) *ledger.Ledger
	// Journals is a directory for the finer steps of running deployments; empty
	// for none.
	Journals string
	// Actor is who asks: "Ana <ana@example.com>".
	Actor string
	// Identity signs commits that the engine makes.
	Identity git.Signature
	// Alone says that no other engine of this process works on the repository: a
	// lock that names this process and is not the engine's own was left behind.
	Alone   bool
	Version string
	Logger  *slog.Logger
	// Notify hears every event, one at a time; nil for nobody.
	Notify func(Event)
	// Now tells the time that is recorded, and by which overrides, limits and
	// flapping are decided; nil is the machine's clock. Deadlines, and locks with
	// their leases, go by the machine's own.
	Now func() time.Time
}

// Engine reconciles the environments of one config repository. It is safe for
// concurrent use; one environment is changed by one holder of its lock at a
// time, in this process or any other.
type Engine struct {
	cfg    Config
	events notifier

	standing   standing
	readings   readings
	agreements agreements // of baselines that are captured by themselves

	mu      sync.Mutex                       // guards what follows
	ledgers map[string]*ledger.Ledger        // by ref prefix
	watches map[stella.EnvName]*ledger.Watch // how long a lock was seen unchanged, over all passes
	mine    map[string]bool                  // ids of the locks that this engine holds
	// searched are the heads at which an environment's branch was searched for
	// commits that lift its hold.
	searched map[stella.EnvName]git.ID
	// acquainted are the environments whose targets were asked since the config
	// repository last failed to answer.
	acquainted map[stella.EnvName]bool
	// looked is when this engine last read each target to look for drift.
	looked map[stella.EnvName]map[string]time.Time
}

// New returns an engine.
func New(cfg Config) *Engine {
	if cfg.Now == nil {
		cfg.Now = time.Now
	}
	return &Engine{
		cfg: cfg, events: notifier{tell: cfg.Notify},
		ledgers: map[string]*ledger.Ledger{}, watches: map[stella.EnvName]*ledger.Watch{}, mine: map[string]bool{},
		searched: map[stella.EnvName]git.ID{}, acquainted: map[stella.EnvName]bool{}, looked: map[stella.EnvName]map[string]time.Time{},
	}
}
