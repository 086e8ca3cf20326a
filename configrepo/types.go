package configrepo

import (
	"time"

	stella "github.com/stella-ops/stella"
	"github.com/stella-ops/stella/drift"
	"github.com/stella-ops/stella/health"
	"github.com/stella-ops/stella/internal/safe"
)

// Project is stella.yaml at the top of a config repository.
type Project struct {
	Name           string
	Branch         string   // the branch that is reconciled; empty: the remote's HEAD
	Root           string   // directory of envs/ and baselines/, without slashes at the ends; empty: the top
	Requires       string   // the version of stella that may write, ">=0.1"; empty: any; see Allows
	CommitTrailers []string // lines added to the messages of commits that stella makes
	Backup         string   // where lost images are looked for: registry/prefix or "oci:/path"; empty: nowhere
	PlainHTTP      []string // registries spoken to without TLS, host or host:port
	MinVersions    int      // newest distinct versions of a component kept restorable; 1 to 1000, default 5
	LedgerRef      string   // prefix of the ledger's refs, default "refs/stella/ledger"
	LedgerRepo     string   // repository of the ledger; empty: this one
}

// Environment is envs/NAME/environment.yaml: how an environment is operated.
type Environment struct {
	Name          stella.EnvName
	Protected     bool          // changes are confirmed by name or plan hash
	Apply         string        // who carries changes out: ApplyAnyone (default) or ApplyServe
	AllowRoot     bool          // host targets may run services as root
	Allow         []Permission  // what the app may ask of an engine besides what is harmless
	BindRoots     []string      // directories of an engine's machine that the app may mount; absolute, clean, not "/"
	Profiles      []string      // of the Compose file, that are enabled
	Shared        []string      // directories outside app/ that the app may refer to, from the repository's top
	Targets       []Target      // at least one, in file order
	Rollout       Rollout       // default: all at once, OnFailure rollback
	Verify        Verify        //
	Drift         DriftPolicy   //
	MaxFailureAge time.Duration // automatic rollback reverts nothing older; default 20m
	BaselineAfter time.Duration // of health after which a deployment becomes the baseline by itself; 0: never
	Irreversible  []Irreversible
	Secrets       SecretFiles // what the app may mount as secrets: those of the tree that this was read from
}

// SecretFiles are the files below an environment's secrets directory, by path
// from the top of the repository. Nothing prints their contents.
type SecretFiles map[string]safe.Secret

// The values of Environment.Apply.
const (
	ApplyAnyone = "anyone" // whoever has access and holds the lock
	ApplyServe  = "serve"  // only the daemon
)

// Target is one place where an environment runs. Exactly one of Host and
// Docker is set.
type Target struct {
	Name      string
	Address   string // for ${target.address} in checks; may be empty
	Labels    map[string]string
	Variables map[string]string // of this target, over the release's
	Host      *HostTarget
	Docker    *DockerTarget
}

// HostTarget is a bare host: no engine.
type HostTarget struct {
	Root string // absolute and clean
}

// DockerTarget is a container engine. Exactly one of Host and Context is set.
type DockerTarget struct {
	Host    string // unix://, tcp:// (with TLS) or ssh:// URL
	Context string // the name of a Docker context of whoever runs stella
	TLS     string // directory of ca.pem, cert.pem and key.pem, absolute; only with tcp://, and always with it
	Project string // Compose project: the first part of names on the engine; default: project and environment, with a dash
}

// Permission is something that the app may ask of a container engine only where
// its environment allows it by name.
type Permission string

// The permissions. docs/docker.md says what each one covers.
const (
	AllowPrivileged   Permission = "privileged"
	AllowHostNetwork  Permission = "hostNetwork"
	AllowHostPID      Permission = "hostPID"
	AllowHostIPC      Permission = "hostIPC"
	AllowEngineSocket Permission = "engineSocket"
	AllowDevices      Permission = "devices"
	AllowCapabilities Permission = "capabilities"
	AllowUnconfined   Permission = "unconfined"
	AllowRuntime      Permission = "runtime"
	AllowPlugins      Permission = "plugins"
)

// permissions are all of them, in the order of the documentation.
func permissions() []Permission {
	return []Permission{
		AllowPrivileged, AllowHostNetwork, AllowHostPID, AllowHostIPC, AllowEngineSocket,
		AllowDevices, AllowCapabilities, AllowUnconfined, AllowRuntime, AllowPlugins,
	}
}

// UpdateOrder is which of an old and a new container comes first.
type UpdateOrder string

// The values of UpdateOrder.
const (
	StopFirst  UpdateOrder = "stop-first"
	StartFirst UpdateOrder = "start-first"
)

// OnFailure is what follows when a deployment is not verified.
type OnFailure string

// The values of OnFailure.
const (
	OnFailureRollback OnFailure = "rollback"
	OnFailurePause    OnFailure = "pause"
	OnFailureContinue OnFailure = "continue"
)

// Rollout is how a change spreads over the targets. The zero value is all at
// once. At most one of BatchCount and BatchPercent is set.
type Rollout struct {
	Rolling      bool
	BatchCount   int           // targets at a time, from 1
	BatchPercent int           // of all targets at a time, 1 to 100, rounded up
	Pause        time.Duration // between batches
	OnFailure    OnFailure
	UpdateOrder  UpdateOrder // of containers; default StopFirst
	KeepPrevious bool        // a replaced container is kept, stopped, so that going back is a start; default true
}

// Verify is when a deployment counts as good.
type Verify struct {
	Timeout   time.Duration  // default 2m
	StableFor time.Duration  // healthy this long before it counts; default 0
	Checks    []health.Check // not expanded; see ChecksFor and EnvironmentChecks
}

// The values of DriftPolicy.Mode.
const (
	DriftOff    = "off"
	DriftReport = "report"
	DriftHeal   = "heal"
)

// DriftPolicy is how differences between what is wanted and what runs are
// looked for and treated.
type DriftPolicy struct {
	Schedule string         // cron in UTC; empty: only when asked
	Mode     string         // DriftOff, DriftReport (default) or DriftHeal
	Ignore   []drift.Ignore // differences that do not count
	Intended []Intended     // differences to other environments that are meant to be
}

// Intended is a rule for how an environment differs from another on purpose. It
// covers differences as an ignore rule does, and only between these two.
type Intended struct {
	drift.Ignore

	With stella.EnvName // the other one
}

// Irreversible is a release that a rollback crosses only when told by name.
type Irreversible struct {
	Version string
	Reason  string
}

// ReleaseFile is envs/NAME/app/release.yaml.
type ReleaseFile struct {
	Release    stella.Release
	Variables  map[string]string // what ${…} in the app may use; a target's go over them
	Overrides  []Override        // in file order
	Undigested []string          // components without a digest, of the release and its overrides, sorted; see Pinned

	undigested Problems
}

// Override is a declared divergence: other images for some components on some
// targets.
type Override struct {
	Targets    []string // empty: all
	Components map[string]stella.Artifact
	From       string    // the deployment that it comes from
	Reason     string    //
	Until      time.Time // zero: no end
}

// Pinned returns nil when every component has a digest, and otherwise Problems
// that name each one that has none. What is not pinned must not be deployed.
func (f *ReleaseFile) Pinned() error {
	return f.undigested.orNil()
}

// Baseline is baselines/NAME.yaml: a state that was agreed to be good.
type Baseline struct {
	Environment stella.EnvName
	Deployment  string // that proved it
	Commit      string // config commit
	Tree        string // git tree id of the app directory at Commit
	Release     string // version
	Components  map[string]stella.Artifact
	Shared      map[string]string // shared directory → tree id
	Desired     stella.Digest     // of the rendered desired state
	CapturedAt  time.Time
	CapturedBy  string
	Reason      string
}

// EnvironmentRef is an environment as the trees name it, before anything of it
// is read.
type EnvironmentRef struct {
	Name stella.EnvName
	Tree string // git tree id of envs/NAME
	App  string // git tree id of envs/NAME/app; empty where there is none
}
