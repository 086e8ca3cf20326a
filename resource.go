package stella

import (
	"slices"
	"time"
)

// Resource is one thing on a target, in the shape that desired and live state
// share.
type Resource struct {
	ID ResourceID `json:"id"`
	// Fields are canonical JSON: only nil, bool, float64, string, []any and
	// map[string]any. In desired state they are what the files say. In live
	// state they are those that were asked for when the resource was last
	// applied, with what the target is seen to have in place of what was asked:
	// an image's or a runtime's defaults are no fields. So a field that only the
	// live side has is one that is not wanted any more.
	Fields map[string]any `json:"fields"`
	// Secrets are JSON Pointers (RFC 6901) into Fields whose values are secret:
	// never shown. In live state one may be a drift.MAC, where the target does not
	// tell it.
	Secrets []string `json:"secrets,omitempty"`
}

// State is what a target should run, or what it was observed to run.
type State struct {
	// Resources are sorted by ID and unique.
	Resources []Resource `json:"resources"`
	// Observed is what only a live target can say; nil in desired state.
	Observed *Observation `json:"observed,omitempty"`
}

// Resource returns the first resource with the id: what a target says may be in
// any order, and may name one twice.
func (s State) Resource(id ResourceID) (Resource, bool) {
	i := slices.IndexFunc(s.Resources, func(r Resource) bool { return r.ID == id })
	if i < 0 {
		return Resource{}, false
	}
	return s.Resources[i], true
}

// Observation is the part of live state that is reported and not compared.
type Observation struct {
	At         time.Time         `json:"at"`         // when it was read
	Machine    string            `json:"machine"`    // identity of the machine and root; empty when the driver has none
	Fence      int64             `json:"fence"`      // highest fence the target has seen; 0 for none
	Sticker    *Sticker          `json:"sticker"`    // nil when nothing was ever put there
	Components []ComponentStatus `json:"components"` // sorted by name
	Notes      []string          `json:"notes"`      // what a person should know: "runs without root: in place"
}

// ComponentStatus is how one component runs on one target.
type ComponentStatus struct {
	Name     string    `json:"name"`
	Desired  string    `json:"desired"` // image that should run; empty where unknown
	Running  string    `json:"running"` // image that was observed to run; empty where none runs
	State    RunState  `json:"state"`
	Health   RunHealth `json:"health"`   // by the service's own healthcheck
	Restarts int       `json:"restarts"` // since it was last applied
	Since    time.Time `json:"since"`    // when it entered State; zero where unknown
	Detail   string    `json:"detail"`   // why it is not running: "exited with 1", last log line
}

// RunState is what a component's process is doing.
type RunState string

// The states of a process.
const (
	RunRunning  RunState = "running"
	RunStarting RunState = "starting" // waiting for a dependency or a restart
	RunExited   RunState = "exited"
	RunMissing  RunState = "missing"
	RunUnknown  RunState = "unknown"
)

// RunHealth is the verdict of a component's own healthcheck.
type RunHealth string

// The verdicts; HealthNone means that there is no healthcheck.
const (
	RunHealthNone      RunHealth = "none"
	RunHealthStarting  RunHealth = "starting"
	RunHealthHealthy   RunHealth = "healthy"
	RunHealthUnhealthy RunHealth = "unhealthy"
)

// Sticker is the small record on a target of what stella last put there.
type Sticker struct {
	SchemaVersion int               `json:"schemaVersion"` // 1
	Environment   EnvName           `json:"environment"`
	Target        string            `json:"target"`
	Deployment    string            `json:"deployment"` // the deployment that last changed the target
	Release       string            `json:"release"`
	Commit        string            `json:"commit"`
	Components    map[string]string `json:"components"` // component → image with digest
	Fence         int64             `json:"fence"`
	WrittenAt     time.Time         `json:"writtenAt"`
	// Offline is set when it was put there without the config repository, and not
	// recorded in the ledger yet.
	Offline *OfflineRecord `json:"offline,omitempty"`
}

// OfflineRecord says who went back without the config repository, and why: what
// the ledger is told when it can be reached again.
type OfflineRecord struct {
	ID        string    `json:"id"` // the same on every target
	Actor     string    `json:"actor"`
	Reason    string    `json:"reason"`
	Incident  string    `json:"incident"`
	From      string    `json:"from"`     // the deployment in effect before, as far as was known
	Restores  string    `json:"restores"` // the deployment that was gone back to
	StartedAt time.Time `json:"startedAt"`
}

// Class is the kind of a difference.
type Class string

// The classes of differences.
const (
	Missing  Class = "missing"  // desired and not there
	Modified Class = "modified" // there and different
	Extra    Class = "extra"    // there and not desired
)

// Severity is how much a difference matters.
type Severity string

// The severities, from least to most.
const (
	SeverityInfo     Severity = "info"
	SeverityWarning  Severity = "warning"
	SeverityCritical Severity = "critical"
)

// Change is one difference between desired and live state. Secret values are
// never in it: they read [SecretChanged].
type Change struct {
	Resource ResourceID `json:"resource"`
	Class    Class      `json:"class"`
	Path     string     `json:"path"`    // JSON Pointer into the resource; empty for a whole resource
	Desired  any        `json:"desired"` // null where absent
	Live     any        `json:"live"`    // null where absent
	Severity Severity   `json:"severity"`
	Ignored  bool       `json:"ignored"` // by a rule; Reason says which
	Reason   string     `json:"reason"`
	Secret   bool       `json:"secret"`
}

// SecretChanged stands in a Change for a secret value.
const SecretChanged = "‹secret changed›"

// Action is one resource's move on one target, as planned. Actions are
// idempotent: repeating one that took effect succeeds and does nothing.
type Action struct {
	Op       Op       `json:"op"`
	Resource Resource `json:"resource"` // as desired; for a removal only its ID
	Cause    string   `json:"cause"`    // why, in words for a person
	Changes  []Change `json:"changes"`  // the differences that led to it
}

// Op says what an Action does.
type Op string

// The operations.
const (
	OpCreate Op = "create"
	OpUpdate Op = "update" // bring an existing resource to its desired fields; a service restarts
	OpRemove Op = "remove"
)

// Order is what a target is told to do: the actions of one deployment, in plan
// order, under a fence.
type Order struct {
	Kind    Kind     // of the deployment: which jobs belong to it
	Fence   int64    // a target refuses one lower than it has seen, with ErrFenced
	Actions []Action // in the order to carry them out
	Sticker Sticker  // what the target will be once all actions took effect
	Desired State    // the whole desired state of the target, for order and placement
}
