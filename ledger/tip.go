package ledger

import (
	"context"
	"errors"
	"fmt"
	"path"

	"github.com/stella-ops/stella"
	"github.com/stella-ops/stella/internal/git"
	"github.com/stella-ops/stella/internal/safe"
)

// tip is one commit of a chain, read.
type tip struct {
	commit git.Commit
	book   Book
	events []Event // nil where newer rules wrote them
	// dirs and records are ids of what was read: what has the same id again is
	// not read again.
	trees   git.ID                       // the directory of app trees
	dirs    map[string]git.ID            // directories of deployments
	records map[string]git.ID            // path of a deployment → blob
	parsed  map[git.ID]stella.Deployment // blob → deployment
}

func (t *tip) head() Head { return Head(t.commit.ID) }

// transitions is safe on nil: the position is unknown then.
func (t *tip) transitions() int64 {
	if t == nil {
		return 0
	}
	return t.book.State.Transitions
}

// read reads a commit. Prev, which may be nil, is one read before: what did not
// change is taken from it. With an error it returns as much as was read.
func (s *gitStore) read(ctx context.Context, env stella.EnvName, c git.Commit, prev *tip) (*tip, error) {
	t := &tip{commit: c, dirs: map[string]git.ID{}, records: map[string]git.ID{}, parsed: map[git.ID]stella.Deployment{}}
	tree, err := s.repo.Tree(ctx, c.Tree)
	if err != nil {
		return t, err
	}
	top, err := entriesOf(ctx, tree, "", 8)
	if err != nil {
		return t, err
	}
	data, err := tree.Read(ctx, stateFile, MaxStateBytes)
	if err != nil {
		return t, err
	}
	if t.book.State, err = DecodeState(env, data); err != nil {
		return t, err
	}
	if err := t.readEvents(ctx, env, tree); err != nil {
		return t, err
	}
	for _, e := range top {
		if err := t.readEntry(ctx, env, tree, e, prev); err != nil {
			return t, err
		}
	}
	return t, nil
}

func (t *tip) known() bool { return t.book.State.Rules <= RulesVersion }

func (t *tip) readEntry(ctx context.Context, env stella.EnvName, tree *git.Tree, e git.Entry, prev *tip) error {
	switch {
	case (e.Name == stateFile || e.Name == eventsFileName) && e.IsFile():
		return nil
	case e.Name == deploymentsDir && e.IsDir():
		return t.readDeployments(ctx, env, tree, e.ID, prev)
	case e.Name == treesDir && e.IsDir():
		return t.readTrees(ctx, tree, e.ID, prev)
	case t.known():
		return refuse(stella.ErrInvalid, "%q is no part of a ledger", safe.Clip(e.Name, 80))
	}
	return nil
}

func (t *tip) readEvents(ctx context.Context, env stella.EnvName, tree *git.Tree) error {
	data, err := tree.Read(ctx, eventsFileName, MaxEventsBytes)
	if err != nil {
		return err
	}
	events, transitions, err := DecodeEvents(env, data)
	if errors.Is(err, stella.ErrUnsupported) && !t.known() {
		return nil
	}
	if err != nil {
		return err
	}
	if transitions != t.book.State.Transitions {
		return refuse(stella.ErrTampered, "events.json is of transition %d, state.json of %d", transitions, t.book.State.Transitions)
	}
	t.events = events
	return nil
}

// Bounds of what a ledger's directories hold: the newest 100 records, those
// kept besides, and room.
const (
	maxBuckets = keepNewest + keepVerified + maxPending + 16
	maxRecords = maxBuckets
)

func (t *tip) readDeployments(ctx context.Context, env stella.EnvName, tree *git.Tree, id git.ID, prev *tip) error {
	t.dirs[deploymentsDir] = id
	if prev != nil && prev.dirs[deploymentsDir] == id {
		t.dirs, t.records, t.parsed, t.book.Deployments = prev.dirs, prev.records, prev.parsed, prev.book.Deployments
		return nil
	}
	buckets, err := entriesOf(ctx, tree, deploymentsDir, maxBuckets)
	if err != nil {
		return err
	}
	for _, b := range buckets {
		if err := t.readBucket(ctx, env, tree, b, prev); err != nil {
			return err
		}
	}
	if len(t.records) > maxRecords {
		return refuse(stella.ErrInvalid, "%d deployments", len(t.records))
	}
	for _, blob := range t.records {
		t.book.Deployments = append(t.book.Deployments, t.parsed[blob])
	}
	sortBySequence(t.book.Deployments)
	return nil
}

func (t *tip) readBucket(ctx context.Context, env stella.EnvName, tree *git.Tree, b git.Entry, prev *tip) error {
	dir := deploymentsDir + "/" + b.Name
	t.dirs[dir] = b.ID
	if prev != nil && prev.dirs[dir] == b.ID {
		for name, blob := range prev.records {
			if path.Dir(name) == dir {
				t.records[name], t.parsed[blob] = blob, prev.parsed[blob]
			}
		}
		return nil
	}
	files, err := entriesOf(ctx, tree, dir, maxRecords)
	if err != nil {
		return err
	}
	for _, f := range files {
		name := dir + "/" + f.Name
		t.records[name] = f.ID
		if prev != nil {
			if d, ok := prev.parsed[f.ID]; ok && recordPath(d.Sequence) == name {
				t.parsed[f.ID] = d
				continue
			}
		}
		if t.parsed[f.ID], err = t.readRecord(ctx, env, tree, name); err != nil {
			return fmt.Errorf("%s: %w", safe.Clip(name, 100), err)
		}
	}
	return nil
}

func (t *tip) readRecord(ctx context.Context, env stella.EnvName, tree *git.Tree, name string) (stella.Deployment, error) {
	data, err := tree.Read(ctx, name, MaxDeploymentBytes)
	if err != nil {
		return stella.Deployment{}, err
	}
	d, err := DecodeDeployment(env, data, t.known())
	if err == nil && recordPath(d.Sequence) != name {
		err = refuse(stella.ErrTampered, "it is the record of %s", d.ID)
	}
	return d, err
}

func (t *tip) readTrees(ctx context.Context, tree *git.Tree, id git.ID, prev *tip) error {
	t.trees = id
	if prev != nil && prev.trees == id {
		t.book.Trees = prev.book.Trees
		return nil
	}
	entries, err := entriesOf(ctx, tree, treesDir, maxRecords)
	if err != nil {
		return err
	}
	t.book.Trees = make(map[string]string, len(entries))
	for _, e := range entries {
		if !e.IsDir() {
			return refuse(stella.ErrInvalid, "%s/%s is no directory", treesDir, safe.Clip(e.Name, 80))
		}
		t.book.Trees[e.Name] = string(e.ID)
	}
	return nil
}

func entriesOf(ctx context.Context, tree *git.Tree, dir string, most int) ([]git.Entry, error) {
	entries, err := tree.Entries(ctx, dir)
	if err != nil {
		return nil, err
	}
	if len(entries) > most {
		return nil, refuse(stella.ErrInvalid, "%s/ has %d entries, more than %d", dir, len(entries), most)
	}
	return entries, nil
}
