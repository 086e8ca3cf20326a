package ledger

import (
	"time"

	"github.com/stella-ops/stella"
)

// State is the present of one environment apart from its deployments' records:
// state.json. It is a stored format; fields are only ever added.
type State struct {
	SchemaVersion int            `json:"schemaVersion"` // 1
	Environment   stella.EnvName `json:"environment"`
	Rules         int            `json:"rules"`       // the newest rules of any transition so far; 0 before the first
	Transitions   int64          `json:"transitions"` // how many events led here; 0 for a new ledger
	At            time.Time      `json:"at"`          // of the last transition, by its writer's clock
	Sequence      int64          `json:"sequence"`    // of the newest deployment; 0 before the first
	// Current is the deployment that is in effect and verified; empty when what
	// runs is not verified.
	Current string `json:"current"`
	// LastGood is the newest deployment that was verified as a whole.
	LastGood string `json:"lastGood"`
	// Last is the last deployment that touched a target, however it ended.
	Last  string        `json:"last"`
	Lock  *stella.Lock  `json:"lock"` // null when free; see Book.Lock for one that ran out
	Holds []stella.Hold `json:"holds"`
	Fence int64         `json:"fence"` // of the newest lock; grows with each, never falls
	// Machines are the identities that targets were first met with.
	Machines map[string]string `json:"machines"` // target → identity
	Summary  Summary           `json:"summary"`
	Owed     []string          `json:"owed"` // targets still to be brought to Last, sorted
	Pin      *Pin              `json:"pin"`
	// FailedCommits are commits that were touched and rejected, oldest first, at
	// most 20: they are not tried again by themselves.
	FailedCommits []FailedCommit `json:"failedCommits"`
	// Stopped says who ended what runs, on purpose; nil where nobody did, or a
	// deployment touched a target since. From rules 2 on.
	Stopped *Stopped `json:"stopped,omitempty"`
}

// Stopped is that a person ended what runs on the targets of an environment: that
// nothing runs is wanted then, and no drift.
type Stopped struct {
	How    string    `json:"how"` // "stopped" or "deleted"
	By     string    `json:"by"`
	At     time.Time `json:"at"`
	Reason string    `json:"reason"`
}

// Summary is how an environment was last seen to do. It is written when
// anything but At changes.
type Summary struct {
	Sync       stella.Sync   `json:"sync"`
	Health     stella.Health `json:"health"`
	Reason     string        `json:"reason"`     // why Sync and Health are what they are
	Commit     string        `json:"commit"`     // of the branch, as seen
	Drifted    int           `json:"drifted"`    // how many differences that are not ignored
	DriftSince *time.Time    `json:"driftSince"` // null without drift
	Ready      bool          `json:"ready"`      // to be rolled back
	Blockers   []string      `json:"blockers"`   // why it is not
	// ReadyTo is the deployment that Ready and Blockers are about; empty where
	// there was none to go back to.
	ReadyTo string `json:"readyTo"`
	// ReadyAt is when Ready, Blockers and ReadyTo were found out; null before the
	// first time. What stays the same is written anew once a day only.
	ReadyAt *time.Time `json:"readyAt"`
	At      time.Time  `json:"at"` // when it was seen
}

// Pin keeps an environment on a commit that restores what was verified before
// and is not on the branch yet.
type Pin struct {
	Ref         string    `json:"ref"`         // the branch the commit is on: refs/heads/stella/rollback/…
	Commit      string    `json:"commit"`      // that restores
	Tree        string    `json:"tree"`        // its app tree
	Deployment  string    `json:"deployment"`  // that is restored
	PullRequest string    `json:"pullRequest"` // URL where known
	Since       time.Time `json:"since"`
	By          string    `json:"by"`
	Reason      string    `json:"reason"`
}

// FailedCommit is a commit that a deployment touched targets with and that was
// rejected.
type FailedCommit struct {
	Commit     string    `json:"commit"`
	Tree       string    `json:"tree"`
	Deployment string    `json:"deployment"`
	At         time.Time `json:"at"`
}
