package reconciler

import (
	"time"

	"github.com/stella-ops/stella"
)

// Plan is what bringing an environment to a commit would change. It is also the
// document of `plan -o json` and of every dry run.
type Plan struct {
	Environment stella.EnvName `json:"environment"`
	Commit      string         `json:"commit"` // the commit that the plan starts from
	Tree        string         `json:"tree"`   // the app tree that it leads to
	Release     string         `json:"release"`
	Hash        string         `json:"hash"` // of everything that the plan would do
	Empty       bool           `json:"empty"`
	Reverts     []string       `json:"reverts"` // config commits that it undoes
	// Undoes are those of them that are in effect, described; newest first.
	Undoes    []UndoneCommit  `json:"undoes"`
	Files     []FileChange    `json:"files"`
	Artifacts []ArtifactCheck `json:"artifacts"`
	Crosses   []Crossing      `json:"crosses"`
	// Overrides are the divergences that it leaves or makes on purpose.
	Overrides []DeclaredOverride `json:"overrides"`
	Targets   []TargetPlan       `json:"targets"`
	Warnings  []string           `json:"warnings"`
	// ExpectedSeconds is how long the last such deployments took; zero when there
	// was none.
	ExpectedSeconds float64 `json:"expectedSeconds"`
	// Findings are what preflight refuses; empty when it may go on.
	Findings []Finding `json:"findings"`
	// Conflicts are the files that keep one commit from being undone; each has a
	// finding. Empty for every other plan.
	Conflicts []RevertConflict `json:"conflicts"`
}

// RevertConflict is a file in which undoing a commit meets what came after it.
// Its text is printable and bounded.
type RevertConflict struct {
	Path    string         `json:"path"`
	Why     string         `json:"why"` // stable: lines, binary, size, attributes, kind, link, gone, added, deleted, modified, directory
	Message string         `json:"message"`
	Hunks   []ConflictHunk `json:"hunks"` // where lines conflict
}

// ConflictHunk is a place where changes touch.
type ConflictHunk struct {
	Now    ConflictSide `json:"now"`    // in the branch's head
	Commit ConflictSide `json:"commit"` // as the commit left it
	Before ConflictSide `json:"before"` // as it was before the commit
	// Ambiguous: a change could as well stand at another place there.
	Ambiguous bool `json:"ambiguous"`
}

// ConflictSide is one side of a hunk.
type ConflictSide struct {
	Line  int      `json:"line"` // of the first line, from 1
	Lines []string `json:"lines"`
	More  int      `json:"more"` // lines that are not shown
}

// UndoneCommit is a config commit that a plan takes back.
type UndoneCommit struct {
	Commit     string    `json:"commit"`
	Subject    string    `json:"subject"`
	Author     string    `json:"author"`
	At         time.Time `json:"at"`         // when it was written, by its author's clock
	Deployment string    `json:"deployment"` // that verified it; empty for none
	// Also: it is not the change that is rolled back, but goes with it.
	Also bool `json:"also"`
}

// FileChange is one file of the app that a commit changes.
type FileChange struct {
	Path string `json:"path"`
	Op   string `json:"op"` // add | modify | delete
	// Diff is how its text changes, in unified format; empty where it is no text,
	// or too long to be read.
	Diff string `json:"diff"`
}

// ArtifactCheck says whether an image can be had.
type ArtifactCheck struct {
	Image     string `json:"image"`
	Available bool   `json:"available"`
	Where     string `json:"where"` // target | registry | backup; empty when nowhere
	// Restored: it is first copied from the backup to the registry that lost it.
	Restored bool   `json:"restored"`
	Error    string `json:"error"` // where it was looked for and what each place said; empty when it can be had
}

// Crossing is an irreversible release that a plan goes back across.
type Crossing struct {
	Version string `json:"version"`
	Reason  string `json:"reason"`
}

// TargetPlan is one target's part of a plan.
type TargetPlan struct {
	Target  string          `json:"target"`
	Batch   int             `json:"batch"` // from 1
	Changes []stella.Change `json:"changes"`
	Actions []stella.Action `json:"actions"`
}

// Finding is a reason why preflight refuses, with the way out.
type Finding struct {
	Code    string `json:"code"`   // stable: artifact-missing, target-unreachable, held …
	Target  string `json:"target"` // empty for the whole environment
	Message string `json:"message"`
	Fix     string `json:"fix"` // the next command, or what to change
}

// EnvironmentStatus is the document of `why` and `orch env status`.
type EnvironmentStatus struct {
	Environment stella.EnvName     `json:"environment"`
	Sync        stella.Sync        `json:"sync"`
	Health      stella.Health      `json:"health"`
	Reason      string             `json:"reason"`
	WaitingFor  string             `json:"waitingFor"`
	SeenCommit  string             `json:"seenCommit"`
	FetchedAt   time.Time          `json:"fetchedAt"`
	NextTry     *time.Time         `json:"nextTry"`
	Pin         *Proposal          `json:"pin"`
	ObservedAt  *time.Time         `json:"observedAt"` // null when targets were not asked
	Desired     DesiredSummary     `json:"desired"`
	Current     *stella.Deployment `json:"current"` // without steps
	Last        *stella.Deployment `json:"last"`    // the newest deployment, without steps
	Drift       DriftSummary       `json:"drift"`
	Ready       Readiness          `json:"ready"`
	Lock        *LockStatus        `json:"lock"`
	Holds       []stella.Hold      `json:"holds"`
	Overrides   []DeclaredOverride `json:"overrides"`
	Targets     []TargetStatus     `json:"targets"`
}

// DeclaredOverride is a divergence from the release that release.yaml declares,
// as a partial rollback writes it. It is wanted, and no drift.
type DeclaredOverride struct {
	Targets    []string          `json:"targets"`    // empty for all
	Components map[string]string `json:"components"` // component → image
	From       string            `json:"from"`       // the deployment that the images come from; empty where not said
	Reason     string            `json:"reason"`
	Since      *time.Time        `json:"since"` // when a deployment brought it; null where none did yet
	Until      *time.Time        `json:"until"` // null without an end
	InEffect   bool              `json:"inEffect"`
	// Old: it has been in effect for longer than OldOverride. Somebody should
	// decide.
	Old bool `json:"old"`
}

// DesiredSummary is what the branch asks for.
type DesiredSummary struct {
	Commit     string            `json:"commit"`
	Tree       string            `json:"tree"`
	Release    string            `json:"release"`
	Components map[string]string `json:"components"`
}

// DriftSummary says what is known of drift. It counts differences between the deployment in effect and live
// state.
type DriftSummary struct {
	Count int        `json:"count"`
	Since *time.Time `json:"since"` // null when there is none or it is not known
	Mode  string     `json:"mode"`  // drift.mode of the environment; empty where its file can not be read
	// Flapping is how many resources are changed back as often as they are healed,
	// and are left alone.
	Flapping int `json:"flapping"`
}

// Readiness says whether the environment could be rolled back now.
type Readiness struct {
	Ready    bool     `json:"ready"`
	To       string   `json:"to"` // the deployment that a rollback would restore
	Blockers []string `json:"blockers"`
	// CheckedAt is when preflight was last known to have said so; null where only
	// the ledger was asked.
	CheckedAt *time.Time `json:"checkedAt"`
}

// EnvironmentReadiness is one environment of `rollback ready`.
type EnvironmentReadiness struct {
	Environment stella.EnvName `json:"environment"`
	Ready       bool           `json:"ready"` // the first candidate is
	To          string         `json:"to"`    // the first candidate; empty for none
	Candidates  []Candidate    `json:"candidates"`
	Restorable  Restorable     `json:"restorable"`
	Warnings    []string       `json:"warnings"` // of fewer versions than are wanted, and what would help
	Blockers    []Finding      `json:"blockers"` // of an environment without candidates
	Error       string         `json:"error"`    // why nobody can tell; empty where somebody can
	CheckedAt   time.Time      `json:"checkedAt"`
}

// Candidate is a deployment that an environment could go back to.
type Candidate struct {
	Deployment string     `json:"deployment"`
	Release    string     `json:"release"`
	VerifiedAt *time.Time `json:"verifiedAt"`
	Ready      bool       `json:"ready"`
	Blockers   []Finding  `json:"blockers"`
	Warnings   []string   `json:"warnings"`
}

// LockStatus is a lock as people see it.
type LockStatus struct {
	stella.Lock

	Environment stella.EnvName `json:"environment"`
	AgeSeconds  float64        `json:"ageSeconds"`
	Stale       bool           `json:"stale"`
	StaleReason string         `json:"staleReason"`
}

// TargetStatus is one target as it was observed.
type TargetStatus struct {
	Name       string                   `json:"name"`
	Driver     string                   `json:"driver"`
	Reachable  bool                     `json:"reachable"`
	Error      string                   `json:"error"`
	Sync       stella.Sync              `json:"sync"`
	Health     stella.Health            `json:"health"`
	Sticker    *stella.Sticker          `json:"sticker"`
	Components []stella.ComponentStatus `json:"components"`
	Changes    []stella.Change          `json:"changes"`
	Checks     []CheckResult            `json:"checks"`
	Notes      []string                 `json:"notes"`
}

// CheckResult is one verification check, as documents show it.
type CheckResult struct {
	Name          string  `json:"name"`
	Target        string  `json:"target"`
	OK            bool    `json:"ok"`
	LatencyMillis float64 `json:"latencyMillis"`
	Error         string  `json:"error"`
}

// HealthReport is the document of `orch health-check`.
type HealthReport struct {
	Environment stella.EnvName `json:"environment"`
	Healthy     bool           `json:"healthy"`
	Checks      []CheckResult  `json:"checks"`
}

// EnvironmentSummary is one line of `orch env list`.
type EnvironmentSummary struct {
	Name       stella.EnvName `json:"name"`
	Sync       stella.Sync    `json:"sync"`
	Health     stella.Health  `json:"health"`
	Release    string         `json:"release"`
	Commit     string         `json:"commit"`
	Deployment string         `json:"deployment"`
	Drifted    bool           `json:"drifted"`
	Ready      bool           `json:"ready"`
	Locked     bool           `json:"locked"`
	Held       bool           `json:"held"`
	Reason     string         `json:"reason"`
	// ReadyCheckedAt is when Ready was found out; null where only the ledger was
	// asked.
	ReadyCheckedAt *time.Time `json:"readyCheckedAt"`
}

// RollbackStatus is the document of `rollback status`: what each witness says.
type RollbackStatus struct {
	Environment stella.EnvName     `json:"environment"`
	Deployment  *stella.Deployment `json:"deployment"` // null when there never was a rollback
	Agrees      bool               `json:"agrees"`
	// Disagree names the witnesses that do not: "git", "ledger", targets by name.
	Disagree  []string  `json:"disagree"`
	Driver    *Driver   `json:"driver"` // who carries it out; null once it has ended
	Witnesses Witnesses `json:"witnesses"`
}

// Witnesses are the places that know what runs.
type Witnesses struct {
	Git     GitWitness      `json:"git"`
	Ledger  LedgerWitness   `json:"ledger"`
	Targets []TargetWitness `json:"targets"`
}

// GitWitness says whether the branch asks for what the deployment brought.
type GitWitness struct {
	Tree   string `json:"tree"`
	Commit string `json:"commit"`
	OK     bool   `json:"ok"`
	Pinned bool   `json:"pinned"` // the deployment is pinned to: the branch lacks it until its pull request is merged
	Error  string `json:"error"`
}

// LedgerWitness says whether the ledger has the deployment in effect.
type LedgerWitness struct {
	Deployment string        `json:"deployment"`
	Status     stella.Status `json:"status"`
	OK         bool          `json:"ok"`
	Error      string        `json:"error"`
}

// TargetWitness says what one target's sticker and its processes tell.
type TargetWitness struct {
	Name    string            `json:"name"`
	Sticker StickerWitness    `json:"sticker"`
	Running map[string]string `json:"running"` // component → digest
	OK      bool              `json:"ok"`
	Error   string            `json:"error"`
}

// StickerWitness says which deployment a target's sticker names.
type StickerWitness struct {
	Deployment string `json:"deployment"`
	OK         bool   `json:"ok"`
}
