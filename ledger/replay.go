package ledger

import (
	"bytes"

	"github.com/stella-ops/stella"
	"github.com/stella-ops/stella/internal/safe"
)

// follows checks that a commit is the one before it plus its events. Without
// the one before it, or under newer rules, there is nothing to check.
func follows(prev, t *tip) error {
	if prev == nil || !t.known() {
		return nil
	}
	if len(t.commit.Parents) > 1 || firstParent(t.commit) != prev.commit.ID {
		return refuse(stella.ErrTampered, "it does not follow commit %s alone", prev.commit.ID.Short())
	}
	want, _, err := replay(prev.book, t.events)
	if err != nil {
		// Not wrapped: a conflict of long ago is nothing to try again after.
		return refuse(stella.ErrTampered, "%s", err.Error())
	}
	return same(want, t.book)
}

// replay applies events that were read, and lists the deployments whose records
// they write.
func replay(b Book, events []Event) (Book, []string, error) {
	if len(events) == 0 {
		return b, nil, refuse(stella.ErrInvalid, "it has no transition")
	}
	var written []string
	for _, e := range events {
		next, ids, err := b.step(e)
		if err != nil {
			return b, nil, err
		}
		b, written = next, append(written, ids...)
	}
	return b, written, nil
}

// same compares what the events make of a book with what is stored. Trees may
// be missing: a store leaves out what it does not have.
func same(want, got Book) error {
	if err := sameState(want.State, got.State); err != nil {
		return err
	}
	if err := sameDrift(want, got); err != nil {
		return err
	}
	if len(want.Deployments) != len(got.Deployments) {
		return refuse(stella.ErrTampered, "it has %d records of deployments, and its transitions make %d", len(got.Deployments), len(want.Deployments))
	}
	for i, w := range want.Deployments {
		if err := sameDeployment(w, got.Deployments[i]); err != nil {
			return err
		}
	}
	return sameTrees(want, got)
}

func sameState(want, got State) error {
	w, err := EncodeState(want)
	if err != nil {
		return err
	}
	g, err := EncodeState(got)
	if err != nil {
		return err
	}
	if !bytes.Equal(w, g) {
		return refuse(stella.ErrTampered, "state.json is not what its transitions make of it")
	}
	return nil
}

func sameDrift(want, got Book) error {
	if want.Drift.isZero() && got.Drift.isZero() {
		return nil
	}
	w, err := EncodeDrift(want.State.Environment, want.Drift)
	if err != nil {
		return err
	}
	g, err := EncodeDrift(got.State.Environment, got.Drift)
	if err != nil {
		return err
	}
	if !bytes.Equal(w, g) {
		return refuse(stella.ErrTampered, "drift.json is not what its transitions make of it")
	}
	return nil
}

func sameDeployment(want, got stella.Deployment) error {
	w, err := EncodeDeployment(want)
	if err != nil {
		return err
	}
	g, err := EncodeDeployment(got)
	if err != nil {
		return err
	}
	if !bytes.Equal(w, g) {
		return refuse(stella.ErrTampered, "the record of %s is not what its transitions make of it", want.ID)
	}
	return nil
}

func sameTrees(want, got Book) error {
	for id, tree := range got.Trees {
		if want.Trees[id] != tree {
			return refuse(stella.ErrTampered, "the tree kept for %s is not its own", safe.Clip(id, 80))
		}
	}
	return nil
}
