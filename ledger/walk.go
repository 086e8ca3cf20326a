package ledger

import (
	"context"
	"errors"
	"fmt"
	"slices"

	"github.com/stella-ops/stella"
	"github.com/stella-ops/stella/internal/git"
)

// Walk implements Store. It fetches the whole chain. A rewound ref is walked as
// it was last seen, and reported after that.
func (s *gitStore) Walk(ctx context.Context, env stella.EnvName, fn func(Record) error) error {
	_, rewound := s.repo.Fetch(ctx, git.Want{Names: []string{s.ref(env)}, Deep: true})
	if rewound != nil && !errors.Is(rewound, stella.ErrTampered) {
		return rewound
	}
	refs, err := s.repo.Seen(ctx)
	if err != nil {
		return err
	}
	chain, lost, err := s.chain(ctx, refs.IDs[s.ref(env)])
	if err != nil {
		return err
	}
	if lost != nil {
		if err := fn(*lost); err != nil {
			return err
		}
	}
	prev := beginning(env, chain)
	for _, link := range slices.Backward(chain) {
		t, proved, err := s.advance(ctx, env, link.commit(), prev)
		if err == nil && link.merges {
			err = refuse(stella.ErrTampered, "it has several parents")
		}
		if ctx.Err() != nil {
			return context.Cause(ctx)
		}
		r := Record{Head: t.head(), Parent: Head(link.parent), Entry: Entry{Events: t.events, Book: t.book}, Proved: proved, Err: err}
		if !proved {
			r.Changed = changed(prev, t)
		}
		if err := fn(r); err != nil {
			return err
		}
		if err == nil {
			prev = t
		}
	}
	return rewoundHint(env, rewound)
}

// beginning is what comes before the first commit; nil where that one is lost.
func beginning(env stella.EnvName, chain []link) *tip {
	if len(chain) > 0 && !chain[len(chain)-1].parent.IsZero() {
		return nil
	}
	return &tip{book: NewBook(env)}
}

// link is what a walk remembers of a commit: a chain of years has to fit.
type link struct {
	id, tree, parent git.ID
	merges           bool
}

func (l link) commit() git.Commit {
	c := git.Commit{ID: l.id, Tree: l.tree}
	if !l.parent.IsZero() {
		c.Parents = []git.ID{l.parent}
	}
	return c
}

// chain lists the commits from id to the first, newest first. A commit that
// can not be read ends it, and is returned as lost.
func (s *gitStore) chain(ctx context.Context, id git.ID) (links []link, lost *Record, err error) {
	for !id.IsZero() {
		c, err := s.repo.Commit(ctx, id)
		if ctx.Err() != nil {
			return nil, nil, context.Cause(ctx)
		}
		if err != nil {
			return links, &Record{Head: Head(id), Err: fmt.Errorf("read commit %s: %w", id.Short(), err)}, nil
		}
		links = append(links, link{id: id, tree: c.Tree, parent: firstParent(c), merges: len(c.Parents) > 1})
		id = firstParent(c)
	}
	return links, nil, nil
}

// changed lists the deployments whose records differ between two commits.
func changed(prev, t *tip) []string {
	if prev == nil {
		prev = &tip{}
	}
	if prev.deployments == t.deployments {
		return nil
	}
	var ids []string
	for seq, blob := range t.records {
		if prev.records[seq] != blob {
			ids = append(ids, DeploymentID(t.book.State.Environment, seq))
		}
	}
	for seq := range prev.records {
		if _, kept := t.records[seq]; !kept {
			ids = append(ids, DeploymentID(t.book.State.Environment, seq))
		}
	}
	slices.Sort(ids)
	return ids
}
