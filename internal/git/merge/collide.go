package merge

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"path"
	"slices"

	"github.com/stella-ops/stella"
	"github.com/stella-ops/stella/internal/git"
)

// collisions finds what the undo would put where a directory is now, or below
// what is a file now, and which is not going away itself.
func (u *undo) collisions(ctx context.Context) error {
	goes := map[string]bool{}
	for _, p := range u.paths {
		if p.Conflict == nil && p.Want.IsZero() {
			goes[p.Name] = true
		}
	}
	for i := range u.paths {
		p := &u.paths[i]
		if p.Conflict != nil || p.Want.IsZero() || !p.Ours.IsZero() {
			continue
		}
		other, err := u.inTheWay(ctx, p.Name, goes)
		if err != nil {
			return err
		}
		if other != "" {
			p.fail(WhyDirectory)
			p.Conflict.Other = other
		}
	}
	return nil
}

// inTheWay returns what ours has in place of a path that is to be put; empty
// for nothing.
func (u *undo) inTheWay(ctx context.Context, name string, goes map[string]bool) (string, error) {
	for dir := path.Dir(name); dir != "."; dir = path.Dir(dir) {
		if e, err := u.now(ctx, dir); err != nil || e != nil && !e.IsDir() && !goes[dir] {
			return dir, err
		}
	}
	e, err := u.now(ctx, name)
	if err != nil || e == nil || !e.IsDir() {
		return "", err
	}
	other := ""
	// One more than can go away: one of them stays.
	err = each(ctx, u.ours, name, u.limits.MaxPaths+1, func(at string, _ git.Entry) bool {
		if !goes[at] {
			other = at
		}
		return other == ""
	})
	return other, err
}

// now returns what ours has at a path, nil for nothing.
func (u *undo) now(ctx context.Context, name string) (*git.Entry, error) {
	dir, base := path.Split(name)
	dir = path.Clean(dir)
	if dir == "." {
		dir = ""
	} else if e, err := u.now(ctx, dir); err != nil || e == nil || !e.IsDir() {
		return nil, err
	}
	if isNil(u.ours) {
		return nil, nil
	}
	entries, err := u.ours.Entries(ctx, dir)
	if err != nil {
		return nil, err
	}
	i := slices.IndexFunc(entries, func(e git.Entry) bool { return e.Name == base })
	if i < 0 {
		return nil, nil
	}
	return &entries[i], nil
}

// traceMoves looks where in ours the content is that the change added at a path
// that is gone.
func (u *undo) traceMoves(ctx context.Context) error {
	gone := map[git.ID][]*Conflict{}
	for _, p := range u.paths {
		if p.Conflict != nil && p.Conflict.Why == WhyGone {
			gone[p.Base.ID] = append(gone[p.Base.ID], p.Conflict)
		}
	}
	if len(gone) == 0 || isNil(u.ours) {
		return nil
	}
	return each(ctx, u.ours, "", u.limits.MaxPaths, func(at string, e git.Entry) bool {
		for _, c := range gone[e.ID] {
			if c.Other == "" {
				c.Other = at
			}
		}
		return true
	})
}

var errEnough = errors.New("enough")

// each calls visit for what is below dir and is no directory, at most most
// times, until it returns false.
func each(ctx context.Context, t Tree, dir string, most int, visit func(string, git.Entry) bool) error {
	var walk func(dir string, depth int) error
	walk = func(dir string, depth int) error {
		entries, err := t.Entries(ctx, dir)
		if err != nil || depth > maxDepth {
			return err
		}
		for _, e := range entries {
			at := joined(dir, e.Name)
			if e.IsDir() {
				if err := walk(at, depth+1); err != nil {
					return err
				}
				continue
			}
			if most--; most < 0 || !visit(at, e) {
				return errEnough
			}
		}
		return nil
	}
	if err := walk(dir, 0); err != nil && !errors.Is(err, errEnough) {
		return err
	}
	return nil
}

// Proves checks that got is ours with the result's edits and nothing else: that
// every path is what the result wants, and every other path what it was. It
// trusts neither how the result came about nor how it was written. Errors are of
// class stella.ErrTampered.
func (r *Result) Proves(ctx context.Context, ours, got Tree) error {
	before, err := leaves(ctx, ours)
	if err != nil {
		return err
	}
	after, err := leaves(ctx, got)
	if err != nil {
		return err
	}
	for _, p := range r.Paths {
		ok, err := p.is(ctx, after[p.Name], got)
		if err != nil {
			return err
		}
		if !ok {
			return fmt.Errorf("%s is not what undoing makes of it: %w", p.Name, stella.ErrTampered)
		}
		delete(before, p.Name)
		delete(after, p.Name)
	}
	for name := range after {
		if before[name] != after[name] {
			return fmt.Errorf("%s changed, which was not to be undone: %w", name, stella.ErrTampered)
		}
	}
	for name := range before {
		if _, ok := after[name]; !ok {
			return fmt.Errorf("%s is gone, which was not to be undone: %w", name, stella.ErrTampered)
		}
	}
	return nil
}

// is reports whether a path is what the result wants.
func (p Path) is(ctx context.Context, found Leaf, got Tree) (bool, error) {
	if p.Conflict != nil || p.Content == nil {
		return p.Conflict == nil && found == p.Want, nil
	}
	if found.Mode != p.Want.Mode {
		return false, nil
	}
	data, err := got.Read(ctx, p.Name, int64(len(p.Content)))
	return err == nil && bytes.Equal(data, p.Content), err
}

// maxProved bounds what Proves compares.
const maxProved = 100_000

func leaves(ctx context.Context, t Tree) (map[string]Leaf, error) {
	out := map[string]Leaf{}
	if isNil(t) {
		return out, nil
	}
	err := each(ctx, t, "", maxProved, func(at string, e git.Entry) bool {
		out[at] = leaf(&e)
		return true
	})
	if len(out) == maxProved {
		return nil, fmt.Errorf("more than %d files: %w", maxProved-1, stella.ErrRefused)
	}
	return out, err
}
