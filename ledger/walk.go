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
	var prev *tip
	for _, link := range slices.Backward(chain) {
		t, err := s.read(ctx, env, git.Commit{ID: link.id, Tree: link.tree, Parents: link.parents()}, prev)
		if err == nil && link.merges {
			err = refuse(stella.ErrTampered, "it has several parents")
		}
		if ctx.Err() != nil {
			return context.Cause(ctx)
		}
		r := Record{Head: t.head(), Parent: Head(link.parent), Entry: Entry{Events: t.events, Book: t.book}, Changed: changed(prev, t), Err: err}
		if err := fn(r); err != nil {
			return err
		}
		if err == nil {
			prev = t
		}
	}
	return rewoundHint(env, rewound)
}

// link is what a walk remembers of a commit: a chain of years has to fit.
type link struct {
	id, tree, parent git.ID
	merges           bool
}

func (l link) parents() []git.ID {
	if l.parent.IsZero() {
		return nil
	}
	return []git.ID{l.parent}
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
	if prev != nil && prev.dirs[deploymentsDir] == t.dirs[deploymentsDir] {
		return nil
	}
	var ids []string
	for name, blob := range t.records {
		if prev == nil || prev.records[name] != blob {
			ids = append(ids, t.parsed[blob].ID)
		}
	}
	if prev != nil {
		for name, blob := range prev.records {
			if _, kept := t.records[name]; !kept {
				ids = append(ids, prev.parsed[blob].ID)
			}
		}
	}
	slices.Sort(ids)
	return ids
}
