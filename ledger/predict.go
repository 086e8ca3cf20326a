package ledger

import (
	"cmp"
	"context"
	"crypto/sha1" //nolint:gosec // git's object ids
	"encoding/hex"
	"errors"
	"fmt"
	"maps"
	"slices"

	"github.com/stella-ops/stella"
	"github.com/stella-ops/stella/internal/git"
)

// advance reads the commit after prev. Nearly always it is what its events make
// of prev, to the last byte: then the ids agree, that is proved, and nothing
// but the events is read. Otherwise, and without prev, it is read as it is.
func (s *gitStore) advance(ctx context.Context, env stella.EnvName, c git.Commit, prev *tip) (t *tip, proved bool, err error) {
	if prev != nil && firstParent(c) == prev.commit.ID {
		if t, err := s.predict(ctx, env, c, prev); err == nil {
			return t, true, nil
		}
	}
	t, err = s.read(ctx, env, c, prev)
	return t, false, err
}

var errOther = errors.New("not as predicted")

// predict makes the tree that the commit's events lead to and compares its id
// with the commit's.
func (s *gitStore) predict(ctx context.Context, env stella.EnvName, c git.Commit, prev *tip) (*tip, error) {
	tree, err := s.repo.Tree(ctx, c.Tree)
	if err != nil {
		return nil, err
	}
	data, err := tree.Read(ctx, eventsFileName, MaxEventsBytes)
	if err != nil {
		return nil, err
	}
	events, transitions, err := DecodeEvents(env, data)
	if err != nil {
		return nil, err
	}
	book, written, err := replay(prev.book, events)
	if err != nil {
		return nil, err
	}
	t := &tip{commit: c, book: book, events: events}
	if err := t.predictTrees(ctx, tree, prev); err != nil {
		return nil, err
	}
	if err := t.predictRecords(prev, written); err != nil {
		return nil, err
	}
	if err := t.predictDrift(prev); err != nil {
		return nil, err
	}
	state, err := EncodeState(book.State)
	if err != nil {
		return nil, err
	}
	if transitions != book.State.Transitions || t.rootID(blobID(state), blobID(data)) != c.Tree {
		return nil, errOther
	}
	return t, nil
}

// predictTrees reads which app trees are kept: a writer may have had fewer than
// there could be, never others.
func (t *tip) predictTrees(ctx context.Context, tree *git.Tree, prev *tip) error {
	want := t.book
	e, err := tree.Lookup(ctx, treesDir)
	switch {
	case errors.Is(err, stella.ErrNotFound):
		t.book.Trees = nil
		return nil
	case err != nil:
		return err
	}
	if err := t.readTrees(ctx, tree, e.ID, prev); err != nil {
		return err
	}
	return sameTrees(want, t.book)
}

func (t *tip) predictDrift(prev *tip) error {
	if !slices.ContainsFunc(t.events, func(e Event) bool { _, found := e.(Found); return found }) {
		t.drift = prev.drift
		return nil
	}
	data, err := EncodeDrift(t.book.State.Environment, t.book.Drift)
	if err != nil {
		return err
	}
	t.drift = blobID(data)
	return nil
}

func (t *tip) predictRecords(prev *tip, written []string) error {
	if len(written) == 0 {
		t.records, t.deployments = prev.records, prev.deployments
		return nil
	}
	t.records = make(map[int64]git.ID, len(t.book.Deployments))
	for _, d := range t.book.Deployments {
		id, known := prev.records[d.Sequence]
		if !known || slices.Contains(written, d.ID) {
			data, err := EncodeDeployment(d)
			if err != nil {
				return err
			}
			id = blobID(data)
		}
		t.records[d.Sequence] = id
	}
	t.deployments = recordsID(t.book, t.records)
	return nil
}

// rootID is the id of the whole tree.
func (t *tip) rootID(state, events git.ID) git.ID {
	top := []treeEntry{{name: stateFile, id: state}, {name: eventsFileName, id: events}}
	if !t.deployments.IsZero() {
		top = append(top, treeEntry{name: deploymentsDir, id: t.deployments, dir: true})
	}
	if !t.drift.IsZero() {
		top = append(top, treeEntry{name: driftFile, id: t.drift})
	}
	if !t.trees.IsZero() {
		top = append(top, treeEntry{name: treesDir, id: t.trees, dir: true})
	}
	return treeID(top)
}

// recordsID is the id of the directory of records; empty without any.
func recordsID(b Book, records map[int64]git.ID) git.ID {
	var top, files []treeEntry
	for i, d := range b.Deployments {
		files = append(files, treeEntry{name: recordName(d.Sequence), id: records[d.Sequence]})
		// They are in order of their sequence, and so of their directories.
		bucket := bucketName(d.Sequence)
		if i+1 == len(b.Deployments) || bucketName(b.Deployments[i+1].Sequence) != bucket {
			top = append(top, treeEntry{name: bucket, id: treeID(files), dir: true})
			files = files[:0]
		}
	}
	return treeID(top)
}

// treesID is the id of the directory of app trees; empty without any.
func treesID(trees map[string]string) git.ID {
	top := make([]treeEntry, 0, len(trees))
	for _, id := range slices.Sorted(maps.Keys(trees)) {
		top = append(top, treeEntry{name: id, id: git.ID(trees[id]), dir: true})
	}
	return treeID(top)
}

// treeEntry is a file or directory in a Git tree.
type treeEntry struct {
	name string
	id   git.ID
	dir  bool
}

// treeID is the id that Git gives to a directory; empty for one without
// entries, which Git does not store.
func treeID(entries []treeEntry) git.ID {
	if len(entries) == 0 {
		return ""
	}
	key := func(e treeEntry) string { // Git sorts a directory as if its name ended with a slash
		if e.dir {
			return e.name + "/"
		}
		return e.name
	}
	byName := func(a, b treeEntry) int { return cmp.Compare(key(a), key(b)) }
	if !slices.IsSortedFunc(entries, byName) {
		slices.SortFunc(entries, byName)
	}
	body := make([]byte, 0, 48*len(entries))
	for _, e := range entries {
		mode := "100644 "
		if e.dir {
			mode = "40000 "
		}
		body = append(append(append(body, mode...), e.name...), 0)
		var err error
		if body, err = hex.AppendDecode(body, []byte(e.id)); err != nil {
			return "" // equals nothing
		}
	}
	return objectID("tree", body)
}

// blobID is the id that Git gives to a file's content.
func blobID(data []byte) git.ID { return objectID("blob", data) }

// objectID is the id of a Git object: gitformat-loose(5).
func objectID(kind string, data []byte) git.ID {
	h := sha1.New() //nolint:gosec // git's object ids
	h.Write(fmt.Appendf(nil, "%s %d\x00", kind, len(data)))
	h.Write(data)
	return git.ID(hex.EncodeToString(h.Sum(nil)))
}
