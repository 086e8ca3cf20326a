package ledger

import (
	"maps"
	"slices"

	"github.com/stella-ops/stella/internal/git"
)

// stage is an entry on its way into a commit: only files that change are part
// of it.
type stage struct {
	prev    *tip
	entry   Entry
	edits   []git.Edit
	grafts  []git.Edit // app trees; an entry can do without them
	records map[int64]git.ID
	drift   git.ID // of drift.json; empty without one
}

func newStage(prev *tip, e Entry) (*stage, error) {
	w := &stage{prev: prev, entry: e, records: map[int64]git.ID{}}
	state, err := EncodeState(e.Book.State)
	if err != nil {
		return nil, err
	}
	events, err := EncodeEvents(e.Book, e.Events)
	if err != nil {
		return nil, err
	}
	w.edits = []git.Edit{{Path: stateFile, Content: state}, {Path: eventsFileName, Content: events}}
	if err := w.stageRecords(); err != nil {
		return nil, err
	}
	if err := w.stageDrift(); err != nil {
		return nil, err
	}
	w.stageTrees()
	return w, nil
}

func (w *stage) stageDrift() error {
	if w.entry.Book.Drift.isZero() {
		return nil // and never was anything else
	}
	data, err := EncodeDrift(w.entry.Book.State.Environment, w.entry.Book.Drift)
	if err != nil {
		return err
	}
	if w.drift = blobID(data); w.drift != w.prev.drift {
		w.edits = append(w.edits, git.Edit{Path: driftFile, Content: data})
	}
	return nil
}

func (w *stage) stageRecords() error {
	for _, d := range w.entry.Book.Deployments {
		data, err := EncodeDeployment(d)
		if err != nil {
			return err
		}
		id := blobID(data)
		w.records[d.Sequence] = id
		if w.prev.records[d.Sequence] != id {
			w.edits = append(w.edits, git.Edit{Path: recordPath(d.Sequence), Content: data})
		}
	}
	for _, seq := range slices.Sorted(maps.Keys(w.prev.records)) {
		if _, kept := w.records[seq]; !kept {
			w.edits = append(w.edits, git.Edit{Path: recordPath(seq), Delete: true})
		}
	}
	return nil
}

// stageTrees grafts the app trees of deployments that end here, which are on
// the remote by now, and drops those of deployments that are gone.
func (w *stage) stageTrees() {
	before, after := w.prev.book.Trees, w.entry.Book.Trees
	ended := map[string]bool{}
	for _, e := range w.entry.Events {
		if f, ok := e.(Finish); ok {
			ended[f.Deployment.ID] = true
		}
	}
	trees := map[string]string{}
	for _, id := range slices.Sorted(maps.Keys(after)) {
		tree, err := git.ParseID(after[id])
		switch {
		case before[id] == after[id]:
			trees[id] = after[id]
		case err == nil && ended[id]:
			trees[id] = after[id]
			w.grafts = append(w.grafts, git.Edit{Path: treesDir + "/" + id, Graft: tree, GraftMode: git.ModeDir})
		}
	}
	for _, id := range slices.Sorted(maps.Keys(before)) {
		if _, kept := trees[id]; !kept {
			w.edits = append(w.edits, git.Edit{Path: treesDir + "/" + id, Delete: true})
		}
	}
	w.entry.Book.Trees = trees
}

// dropGrafts takes the new app trees out again.
func (w *stage) dropGrafts() {
	w.grafts = nil
	w.entry.Book.Trees = maps.Clone(w.entry.Book.Trees)
	maps.DeleteFunc(w.entry.Book.Trees, func(id, tree string) bool { return w.prev.book.Trees[id] != tree })
}

// draft is the commit. Its author is who wanted it, its committer whose
// machine wrote it.
func (w *stage) draft(committer git.Signature) git.Draft {
	d := git.Draft{
		Base: w.prev.commit.ID, Edits: append(slices.Clone(w.edits), w.grafts...),
		Committer: committer, Message: message(w.prev.book, w.entry),
	}
	if id := w.prev.commit.ID; !id.IsZero() {
		d.Parents = []git.ID{id}
	}
	d.Committer.When = w.entry.Book.State.At
	if n := len(w.entry.Events); n > 0 {
		d.Author.Name, d.Author.Email = identity(w.entry.Events[n-1].meta().By)
	}
	return d
}

// tip is what reading the pushed commit back would give.
func (w *stage) tip(b *git.Built) *tip {
	c := git.Commit{ID: b.Commit, Tree: b.Tree}
	if id := w.prev.commit.ID; !id.IsZero() {
		c.Parents = []git.ID{id}
	}
	return &tip{
		commit: c, book: w.entry.Book, events: w.entry.Events,
		trees: treesID(w.entry.Book.Trees), deployments: recordsID(w.entry.Book, w.records), records: w.records, drift: w.drift,
	}
}
