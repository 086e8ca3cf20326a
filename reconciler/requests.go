package reconciler

import (
	"time"

	"github.com/stella-ops/stella"
)

// Options are what every command that changes an environment takes.
type Options struct {
	Reason   string
	Incident string
	// Force skips what it names (ForceHold, ForceLock) and needs a Reason; the
	// ledger records it.
	Force []string
	// PlanHash, when set, is the hash of the dry run that was agreed to: another
	// plan is refused. On a protected environment it is required, unless
	// Confirmed.
	PlanHash  string
	Confirmed bool // a person typed the environment's name
	// Shown is the plan that whoever asks was shown first; nil for none. A
	// rollback is refused when by now it would lead elsewhere or undo something
	// else: two people who go back at once go back once.
	Shown  *Plan
	DryRun bool // plan, and change nothing
	// Timeout bounds waiting for a lock and for the end; zero means 10 minutes.
	Timeout time.Duration
	// Detach returns as soon as the commit is pushed and somebody else applies.
	Detach bool
	// ApplyHere carries it out in this process where the environment says
	// `apply: serve`.
	ApplyHere bool
	// PullRequest pushes to a branch for review instead of the reconciled one.
	PullRequest bool
}

// What Options.Force can name.
const (
	ForceHold   = "hold"
	ForceChecks = "checks" // recorded only: no check is skipped by it yet
	ForceLock   = "lock"
)

// DeployRequest asks for new artifacts, or for a recorded deployment again.
type DeployRequest struct {
	Environment stella.EnvName
	// Artifacts by component. The empty component stands for the one whose
	// repository is the artifact's, or the only one.
	Artifacts  map[string]stella.Artifact
	Version    string // of the release; empty: the tag of a single artifact, else unchanged
	Deployment string // a recorded deployment to bring back instead of Artifacts
	Options
}

// RollbackRequest asks to go back. At most one of To and Commit is set; Commit
// goes with neither Components nor Targets.
type RollbackRequest struct {
	Environment stella.EnvName
	// To is a deployment, version, commit, tag or "baseline"; empty: the one
	// verified before.
	To string
	// kind is what it is recorded as, by Reset; empty for a rollback.
	kind stella.Kind
	// Commit undoes this one commit and keeps what came later.
	Commit string
	// Components and Targets restrict the rollback to a part of the environment;
	// empty for all of it.
	Components []string
	Targets    []string
	// Until is when going back with a part ends: the release's images come back
	// then. Zero means DefaultOverride from now.
	Until time.Time
	// Offline goes back without the Git host, to what the targets still have.
	Offline bool
	Scope
	Options
}

// DefaultOverride is how long going back with a part holds unless somebody says
// otherwise: until the end of the day, in UTC, that many days from now.
const DefaultOverride = 30 * 24 * time.Hour

// Scope says how far a rollback may go. The zero value is the careful one.
type Scope struct {
	// Cross names the irreversible releases and the stateful services that it may
	// cross.
	Cross []string
	// RequireAll refuses when a target can not be reached, instead of owing it.
	RequireAll bool
	// IncludeShared restores the shared directories of then as well.
	IncludeShared bool
	// IncludeEnvironment restores environment.yaml of then as well.
	IncludeEnvironment bool
	// RestoreArtifacts brings back from the backup what the registry lost, before
	// anything is touched.
	RestoreArtifacts bool
}

// ReconcileRequest asks for one pass.
type ReconcileRequest struct {
	Environment stella.EnvName
	// Retry runs again what was touched and rejected at this commit: a person's
	// `stella reconcile` does, a poll does not. What was aborted goes on either
	// way.
	Retry bool
	// Heal brings drifted targets back even where nothing changed in Git.
	Heal bool
	// Automatic marks what is done as nobody's command: the daemon's.
	Automatic bool
	Options
}

// Outcome is how a request ended when it could be carried out at all.
type Outcome struct {
	// Deployment is the one that carried the request out, by whomever; nil when
	// there was nothing to do or nothing ran.
	Deployment *stella.Deployment
	// Rollback is the automatic rollback that followed, nil for none.
	Rollback *stella.Deployment
	// Plan is what was planned; always set by a dry run.
	Plan *Plan
	// Nothing: the environment is as wanted, nothing was recorded.
	Nothing bool
	// Sync is where the environment stands afterwards.
	Sync stella.Sync
	// Reason says why Sync is not Synced; empty when it is.
	Reason string
	// Proposal is the branch that waits for review; nil for none.
	Proposal *Proposal
	// Commit is the config commit that the request made; empty for none.
	Commit string
	// Offline: it was carried out without the config repository, and is recorded
	// and proposed as soon as that answers.
	Offline bool
	// Committed: it was a commit and nothing else: no target was to be touched.
	Committed bool
	// Detached: it was recorded and pushed, and somebody else carries it out.
	Detached bool
}

// Proposal is a branch pushed for review.
type Proposal struct {
	Branch string `json:"branch"`
	Commit string `json:"commit"`
	URL    string `json:"url"` // where a pull request can be opened; empty when the forge is not known
}

// Where says in words where to look for the proposal: a URL, or else its branch.
func (p Proposal) Where() string {
	if p.URL != "" {
		return p.URL
	}
	return "branch " + p.Branch
}
