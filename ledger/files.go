package ledger

import (
	"slices"
	"strconv"

	"github.com/stella-ops/stella"
	"github.com/stella-ops/stella/internal/safe"
)

// The names in a ledger's tree.
const (
	stateFile      = "state.json"
	eventsFileName = "events.json"
	driftFile      = "drift.json"
	deploymentsDir = "deployments"
	treesDir       = "trees"
)

// bucketSize is how many deployments share a directory, so that a change
// rewrites a small tree.
const bucketSize = 1000

func bucketName(sequence int64) string { return padded(sequence/bucketSize, 4) }

func recordName(sequence int64) string { return padded(sequence, 6) + ".json" }

// padded writes a number with zeros in front. It is called for every record of
// every transition that db verify looks at.
func padded(n int64, width int) string {
	s := strconv.FormatInt(n, 10)
	if len(s) >= width {
		return s
	}
	return "000000"[:width-len(s)] + s
}

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
	return b.Drift.check()
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

// EncodeEntry returns the files of an entry by their path, as any store keeps
// them: the state, the events and every deployment's record. App trees are not
// files; a store that has them keeps them beside.
func EncodeEntry(e Entry) (map[string][]byte, error) {
	state, err := EncodeState(e.Book.State)
	if err != nil {
		return nil, err
	}
	events, err := EncodeEvents(e.Book, e.Events)
	if err != nil {
		return nil, err
	}
	files := map[string][]byte{stateFile: state, eventsFileName: events}
	if !e.Book.Drift.isZero() {
		if files[driftFile], err = EncodeDrift(e.Book.State.Environment, e.Book.Drift); err != nil {
			return nil, err
		}
	}
	for _, d := range e.Book.Deployments {
		if files[recordPath(d.Sequence)], err = EncodeDeployment(d); err != nil {
			return nil, err
		}
	}
	return files, nil
}

// DecodeEntry reads the files that EncodeEntry made. With an error it returns
// as much as could be read.
func DecodeEntry(env stella.EnvName, files map[string][]byte) (Entry, error) {
	var e Entry
	var err error
	if e.Book.State, err = DecodeState(env, files[stateFile]); err != nil {
		return e, err
	}
	known := e.Book.State.Rules <= RulesVersion
	var transitions int64
	if e.Events, transitions, err = DecodeEvents(env, files[eventsFileName]); err != nil {
		return e, err
	}
	if transitions != e.Book.State.Transitions {
		return e, refuse(stella.ErrTampered, "events.json is of transition %d, state.json of %d", transitions, e.Book.State.Transitions)
	}
	if data, ok := files[driftFile]; ok {
		if e.Book.Drift, err = DecodeDrift(env, data, known); err != nil {
			return e, err
		}
	}
	for name, data := range files {
		if name == stateFile || name == eventsFileName || name == driftFile {
			continue
		}
		d, err := DecodeDeployment(env, data, known)
		if err != nil {
			return e, err
		}
		if recordPath(d.Sequence) != name {
			return e, refuse(stella.ErrTampered, "%s is the record of %s", safe.Clip(name, 100), d.ID)
		}
		e.Book.Deployments = append(e.Book.Deployments, d)
	}
	sortBySequence(e.Book.Deployments)
	return e, nil
}
