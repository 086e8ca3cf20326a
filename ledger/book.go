package ledger

import (
	"fmt"
	"slices"
	"strconv"
	"strings"

	"github.com/stella-ops/stella"
)

// Book is everything that the tip of an environment's ledger says. It is a
// value: no method changes it, and what it points to must not be changed.
type Book struct {
	State State
	// Deployments are ascending by sequence: the newest 100, and of the older
	// ones those still open, named by State, or among the newest 10 that a
	// rollback can go back to.
	Deployments []stella.Deployment
	// Trees are the app trees that the ledger itself keeps reachable, by
	// deployment id.
	Trees map[string]string
	// Drift is what was found to differ from the deployment in effect.
	Drift Drift
}

// NewBook returns the book of an environment without a ledger.
func NewBook(env stella.EnvName) Book {
	return Book{State: normalState(State{SchemaVersion: 1, Environment: env})}
}

// Deployment returns the deployment with the id.
func (b Book) Deployment(id string) (stella.Deployment, bool) {
	if i, ok := b.index(id); ok {
		return b.Deployments[i], true
	}
	return stella.Deployment{}, false
}

func (b Book) index(id string) (int, bool) {
	seq, ok := sequenceOf(b.State.Environment, id)
	if !ok {
		return 0, false
	}
	return slices.BinarySearchFunc(b.Deployments, seq, func(d stella.Deployment, seq int64) int {
		return int(min(max(d.Sequence-seq, -1), 1))
	})
}

// Open returns the deployments that have not ended, oldest first: at most one
// is running.
func (b Book) Open() []stella.Deployment {
	var open []stella.Deployment
	for _, d := range b.Deployments {
		if d.Status.Open() {
			open = append(open, d)
		}
	}
	return open
}

// Running returns the deployment that runs now.
func (b Book) Running() (stella.Deployment, bool) {
	for _, d := range b.Deployments {
		if d.Status == stella.Running {
			return d, true
		}
	}
	return stella.Deployment{}, false
}

// Current returns the deployment that is in effect and verified.
func (b Book) Current() (stella.Deployment, bool) { return b.Deployment(b.State.Current) }

// LastGood returns the newest deployment that was verified as a whole.
func (b Book) LastGood() (stella.Deployment, bool) { return b.Deployment(b.State.LastGood) }

// Last returns the last deployment that touched a target, however it ended.
func (b Book) Last() (stella.Deployment, bool) { return b.Deployment(b.State.Last) }

// Newest returns the newest deployment, whatever its status.
func (b Book) Newest() (stella.Deployment, bool) {
	if len(b.Deployments) == 0 {
		return stella.Deployment{}, false
	}
	return b.Deployments[len(b.Deployments)-1], true
}

// NextID returns the id that the next new deployment gets.
func (b Book) NextID() string { return DeploymentID(b.State.Environment, b.State.Sequence+1) }

// Held returns the hold on an app tree.
func (b Book) Held(tree string) (stella.Hold, bool) {
	for _, h := range b.State.Holds {
		if tree != "" && h.Tree == tree {
			return h, true
		}
	}
	return stella.Hold{}, false
}

// FailedCommit returns the memory of a commit that was touched and rejected.
func (b Book) FailedCommit(commit string) (FailedCommit, bool) {
	for _, f := range b.State.FailedCommits {
		if commit != "" && f.Commit == commit {
			return f, true
		}
	}
	return FailedCommit{}, false
}

// DeploymentID returns the id of an environment's deployment: "production-42".
func DeploymentID(env stella.EnvName, sequence int64) string {
	return fmt.Sprintf("%s-%d", env, sequence)
}

// sequenceOf is the inverse of DeploymentID; it takes no other spelling.
func sequenceOf(env stella.EnvName, id string) (int64, bool) {
	digits, ok := strings.CutPrefix(id, string(env)+"-")
	if !ok {
		return 0, false
	}
	seq, err := strconv.ParseInt(digits, 10, 64)
	return seq, err == nil && seq > 0 && strconv.FormatInt(seq, 10) == digits
}
