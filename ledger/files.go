package ledger

import (
	"fmt"
	"slices"

	"github.com/stella-ops/stella"
)

// The names in a ledger's tree.
const (
	stateFile      = "state.json"
	eventsFileName = "events.json"
	deploymentsDir = "deployments"
	treesDir       = "trees"
)

// bucketSize is how many deployments share a directory, so that a change
// rewrites a small tree.
const bucketSize = 1000

func bucketName(sequence int64) string { return fmt.Sprintf("%04d", sequence/bucketSize) }

func recordName(sequence int64) string { return fmt.Sprintf("%06d.json", sequence) }

func recordPath(sequence int64) string {
	return deploymentsDir + "/" + bucketName(sequence) + "/" + recordName(sequence)
}

// Check checks a whole book, as it was read, for what the rules guarantee of
// every book. Errors are of class stella.ErrTampered.
func (b Book) Check() error {
	if err := checkState(b.State); err != nil {
		return err
	}
	if err := b.checkDeployments(); err != nil {
		return err
	}
	l := b.State.Lock
	if d, ok := b.Running(); ok && (l == nil || l.Deployment != d.ID) {
		return refuse(stella.ErrTampered, "%s runs and does not hold the lock", d.ID)
	}
	if d, ok := b.Current(); b.State.Current != "" && (!ok || d.Status != stella.Succeeded) {
		return refuse(stella.ErrTampered, "the current deployment %q is not one that succeeded", b.State.Current)
	}
	for id, tree := range b.Trees {
		if d, ok := b.Deployment(id); !ok || d.Tree != tree {
			return refuse(stella.ErrTampered, "the tree kept for %q is not its own", id)
		}
	}
	return nil
}

func (b Book) checkDeployments() error {
	running, last := 0, int64(0)
	for _, d := range b.Deployments {
		if d.Environment != b.State.Environment || d.Sequence <= last {
			return refuse(stella.ErrTampered, "deployment %q is not in its place", d.ID)
		}
		if d.Status == stella.Running {
			running++
		}
		last = d.Sequence
	}
	if running > 1 {
		return refuse(stella.ErrTampered, "%d deployments run at once", running)
	}
	if last > b.State.Sequence || last < b.State.Sequence {
		return refuse(stella.ErrTampered, "the newest deployment is number %d, not %d", last, b.State.Sequence)
	}
	return nil
}

// sortBySequence sorts deployments as a book has them.
func sortBySequence(ds []stella.Deployment) {
	slices.SortFunc(ds, func(a, b stella.Deployment) int { return int(min(max(a.Sequence-b.Sequence, -1), 1)) })
}
