package ledger

import (
	"context"
	"errors"
	"fmt"
	"path"
	"strconv"
	"strings"

	"github.com/stella-ops/stella"
	"github.com/stella-ops/stella/internal/git"
	"github.com/stella-ops/stella/internal/safe"
)

// tip is one commit of a chain, read.
type tip struct {
	commit git.Commit
	book   Book
	events []Event // nil where newer rules wrote them
	// What follows are ids of what was read: what has the same id again is not
	// read again. An empty one is not known.
	trees       git.ID           // the directory of app trees
	deployments git.ID           // the directory of records
	drift       git.ID           // drift.json
	records     map[int64]git.ID // sequence of a deployment → its file
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
	t := &tip{commit: c, records: map[int64]git.ID{}}
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
	case e.Name == driftFile && e.IsFile():
		return t.readDrift(ctx, env, tree, e.ID, prev)
	case e.Name == treesDir && e.IsDir():
		return t.readTrees(ctx, tree, e.ID, prev)
	case t.known():
		return refuse(stella.ErrInvalid, "%q is no part of a ledger", safe.Clip(e.Name, 80))
	}
	return nil
}

func (t *tip) readDrift(ctx context.Context, env stella.EnvName, tree *git.Tree, id git.ID, prev *tip) error {
	t.drift = id
	if prev != nil && prev.drift == id {
		t.book.Drift = prev.book.Drift
		return nil
	}
	data, err := tree.Read(ctx, driftFile, MaxDriftBytes)
	if err != nil {
		return err
	}
	t.book.Drift, err = DecodeDrift(env, data, t.known())
	return err
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
	if len(events) == 0 {
		return refuse(stella.ErrTampered, "it has no transition")
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
	t.deployments = id
	if prev != nil && prev.deployments == id {
		t.records, t.book.Deployments = prev.records, prev.book.Deployments
		return nil
	}
	buckets, err := entriesOf(ctx, tree, deploymentsDir, maxBuckets)
	if err != nil {
		return err
	}
	for _, b := range buckets {
		files, err := entriesOf(ctx, tree, deploymentsDir+"/"+b.Name, maxRecords)
		if err != nil {
			return err
		}
		for _, f := range files {
			if err := t.readRecord(ctx, env, tree, deploymentsDir+"/"+b.Name+"/"+f.Name, f.ID, prev); err != nil {
				return fmt.Errorf("%s/%s: %w", safe.Clip(b.Name, 40), safe.Clip(f.Name, 80), err)
			}
		}
	}
	if len(t.records) > maxRecords {
		return refuse(stella.ErrInvalid, "%d deployments", len(t.records))
	}
	sortBySequence(t.book.Deployments)
	return nil
}

func (t *tip) readRecord(ctx context.Context, env stella.EnvName, tree *git.Tree, name string, id git.ID, prev *tip) error {
	d, ok := prev.record(name, id)
	if !ok {
		data, err := tree.Read(ctx, name, MaxDeploymentBytes)
		if err != nil {
			return err
		}
		if d, err = DecodeDeployment(env, data, t.known()); err != nil {
			return err
		}
		if recordPath(d.Sequence) != name {
			return refuse(stella.ErrTampered, "it is the record of %s", d.ID)
		}
	}
	t.records[d.Sequence] = id
	t.book.Deployments = append(t.book.Deployments, d)
	return nil
}

// record returns the deployment that a file holds if it was read before. It is
// safe on nil.
func (t *tip) record(name string, id git.ID) (stella.Deployment, bool) {
	seq, err := strconv.ParseInt(strings.TrimSuffix(path.Base(name), ".json"), 10, 64)
	if t == nil || err != nil || t.records[seq] != id || recordPath(seq) != name {
		return stella.Deployment{}, false
	}
	return t.book.Deployment(DeploymentID(t.book.State.Environment, seq))
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
