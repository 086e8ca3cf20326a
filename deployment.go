package stella

import "time"

// Kind is what sort of deployment it is.
type Kind string

// The kinds of deployments.
const (
	KindDeploy   Kind = "deploy"
	KindRollback Kind = "rollback"
	KindReset    Kind = "reset"
	KindHeal     Kind = "heal"
	KindDrill    Kind = "drill"
	KindImport   Kind = "import"
)

// GoesBack reports whether deployments of this kind bring an environment back to
// what a recorded one had: the one before it, or that of the baseline.
func (k Kind) GoesBack() bool { return k == KindRollback || k == KindReset }

// Restores reports whether deployments of this kind bring what was verified
// before, and nothing that is new: those that go back, a heal, and both halves
// of a drill.
func (k Kind) Restores() bool { return k.GoesBack() || k == KindHeal || k == KindDrill }

// Status is where a deployment stands. Pending and Running are open, all
// others are ends.
type Status string

// The statuses of a deployment.
const (
	Pending    Status = "pending"    // recorded, waiting for whoever applies it
	Running    Status = "running"    // its driver holds the environment's lock
	Succeeded  Status = "succeeded"  // verified on every target
	Failed     Status = "failed"     // touched, not verified; every target is on one known content
	Errored    Status = "errored"    // could not start; nothing was touched
	Partial    Status = "partial"    // targets differ, are owed or could not be observed
	Aborted    Status = "aborted"    // ended before its end, by a person or by repair
	Superseded Status = "superseded" // a newer one took its place
)

// Open reports whether the deployment has not ended.
func (s Status) Open() bool { return s == Pending || s == Running }

// Deployment is the record of one attempt to bring an environment to a commit.
// It is a stored format: fields are only ever added.
type Deployment struct {
	SchemaVersion   int               `json:"schemaVersion"` // 1
	ID              string            `json:"id"`            // "production-42"
	Environment     EnvName           `json:"environment"`
	Sequence        int64             `json:"sequence"` // from 1, without gaps
	Kind            Kind              `json:"kind"`
	Status          Status            `json:"status"`
	Commit          string            `json:"commit"`                  // config commit; empty until it exists
	Tree            string            `json:"tree"`                    // git tree id of the environment's app directory
	Shared          map[string]string `json:"shared"`                  // shared directory → tree id
	SecretsCommit   string            `json:"secretsCommit,omitempty"` // config commit whose secrets it brought; empty where the app has none
	Release         string            `json:"release"`                 // version
	Components      map[string]string `json:"components"`              // component → image with digest
	Restores        string            `json:"restores"`                // the deployment that a rollback, reset or heal goes back to
	Reverts         []string          `json:"reverts"`                 // config commits that a rollback or reset undoes
	Supersedes      string            `json:"supersedes"`              // the open deployment whose place this one took
	Automatic       bool              `json:"automatic"`               // nobody asked for it: automatic rollback, heal, a merged commit
	Actor           string            `json:"actor"`
	Reason          string            `json:"reason"`
	Incident        string            `json:"incident"`
	StartedAt       time.Time         `json:"startedAt"`
	FinishedAt      *time.Time        `json:"finishedAt"` // null while open
	DurationSeconds float64           `json:"durationSeconds"`
	Fence           int64             `json:"fence"`   // 0 while pending
	Forced          []string          `json:"forced"`  // what --force skipped
	Desired         Digest            `json:"desired"` // digest of the rendered desired state
	Error           string            `json:"error"`   // why it did not succeed
	Targets         []TargetResult    `json:"targets"`
	Steps           []Step            `json:"steps"`
}

// TargetStatus is what became of one target in a deployment.
type TargetStatus string

// The outcomes of a target.
const (
	TargetUntouched TargetStatus = "untouched"
	TargetPrepared  TargetStatus = "prepared"
	TargetApplied   TargetStatus = "applied"  // changed, not verified
	TargetVerified  TargetStatus = "verified" // observed at the wanted digests and healthy
	TargetFailed    TargetStatus = "failed"   // touched and rejected
	TargetOwed      TargetStatus = "owed"     // could not be reached; still to be brought there
	TargetUnknown   TargetStatus = "unknown"  // nobody could observe it
)

// TargetResult is one target's part of a deployment.
type TargetResult struct {
	Name   string            `json:"name"`
	Status TargetStatus      `json:"status"`
	Before map[string]string `json:"before"` // component → digest observed before
	After  map[string]string `json:"after"`  // component → digest observed after
	Error  string            `json:"error"`
}

// StepStatus is how a step of a deployment ended.
type StepStatus string

// The outcomes of a step.
const (
	StepRunning   StepStatus = "running"
	StepSucceeded StepStatus = "succeeded"
	StepFailed    StepStatus = "failed"
	StepSkipped   StepStatus = "skipped"
)

// The names of a deployment's steps, in order. Apply and verify repeat for
// each batch.
const (
	StepOffline   = "offline" // what was done without the config repository, and is recorded now
	StepPreflight = "preflight"
	StepLock      = "lock"
	StepArtifacts = "artifacts" // the registry gets back what it lost, where that was asked for
	StepCommit    = "commit"
	StepPrepare   = "prepare"
	StepApply     = "apply"
	StepVerify    = "verify"
	StepRecord    = "record"
)

// Step is one entry of a deployment's trace.
type Step struct {
	Name            string         `json:"name"`
	Target          string         `json:"target"` // empty for the whole environment
	Status          StepStatus     `json:"status"`
	StartedAt       time.Time      `json:"startedAt"`
	DurationSeconds float64        `json:"durationSeconds"`
	Error           string         `json:"error"`
	Detail          map[string]any `json:"detail"`
}

// Lock is the exclusive right to change one environment.
type Lock struct {
	ID         string    `json:"id"` // a nonce: two locks are never equal
	Holder     string    `json:"holder"`
	Purpose    string    `json:"purpose"`
	Deployment string    `json:"deployment"` // empty when taken by hand
	Machine    string    `json:"machine"`    // of the holder's process: machine id, boot id, pid, start time
	AcquiredAt time.Time `json:"acquiredAt"`
	RenewedAt  time.Time `json:"renewedAt"`
	ExpiresAt  time.Time `json:"expiresAt"` // shown to people; a take-over waits on its own clock
	Fence      int64     `json:"fence"`
	ByHand     bool      `json:"byHand"` // a freeze: ends at ExpiresAt, never by lease
}

// Hold is the memory that a change was rolled back: bringing it back is refused
// until it is lifted.
type Hold struct {
	ID          string    `json:"id"`
	Environment EnvName   `json:"environment"`
	Release     string    `json:"release"`
	Tree        string    `json:"tree"`       // the held app tree
	Resources   []string  `json:"resources"`  // rendered resources in which it differs from what was restored
	Deployment  string    `json:"deployment"` // that failed
	Since       time.Time `json:"since"`
	By          string    `json:"by"`
	Reason      string    `json:"reason"`
}

// Sync is how an environment's deployed commit relates to its branch.
type Sync string

// The values of Sync.
const (
	Synced      Sync = "Synced"
	OutOfSync   Sync = "OutOfSync"
	Progressing Sync = "Progressing"
	Pinned      Sync = "Pinned"
	Held        Sync = "Held"
	Invalid     Sync = "Invalid"
	SyncFailed  Sync = "Failed"
	SyncPartial Sync = "Partial"
	SyncUnknown Sync = "Unknown"
)

// Health is how an environment or target does.
type Health string

// The values of Health.
const (
	Healthy       Health = "Healthy"
	Degraded      Health = "Degraded"
	Unhealthy     Health = "Unhealthy"
	HealthUnknown Health = "Unknown"
)
