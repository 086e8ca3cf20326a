package merge

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"

	"github.com/stella-ops/stella"
	"github.com/stella-ops/stella/internal/git"
)

// Tree reads a directory and what is below it; *git.Tree does. A nil Tree has
// nothing in it.
type Tree interface {
	// Entries lists a directory, "" for the top.
	Entries(ctx context.Context, dir string) ([]git.Entry, error)
	// Read returns the content of a file of at most maxBytes.
	Read(ctx context.Context, path string, maxBytes int64) ([]byte, error)
}

// Limits bound what is merged. There are no defaults.
type Limits struct {
	MaxPaths     int   // that a change may have touched
	MaxFileBytes int64 // of a file that both sides changed
	// NoLines says which files are not to be merged by line; nil for none.
	NoLines func(name string) bool
}

// Leaf is what is at a path that is no directory; the zero value is nothing.
type Leaf struct {
	Mode uint32
	ID   git.ID
}

// IsZero reports whether nothing is there.
func (l Leaf) IsZero() bool { return l == Leaf{} }

func (l Leaf) isFile() bool { return l.Mode == git.ModeFile || l.Mode == git.ModeExecutable }

// Path is one path that the change touched, and what becomes of it.
type Path struct {
	Name               string // below the directory that is merged; untrusted text
	Base, Ours, Theirs Leaf   // as the change left it, now, and before the change
	// Want is what it becomes. Where Content is set it is a new blob and Want has
	// no ID.
	Want     Leaf
	Content  []byte
	Conflict *Conflict // it stays as it is; nil for none
}

// Stays reports whether nothing is to be done: it is as it was before the
// change, or as undoing would make it.
func (p Path) Stays() bool { return p.Conflict == nil && p.Content == nil && p.Want == p.Ours }

// Result is the outcome of an undo: every path that the change touched, sorted.
type Result struct{ Paths []Path }

// Conflicts are the paths that can not be undone, sorted.
func (r *Result) Conflicts() []Conflict {
	var out []Conflict
	for _, p := range r.Paths {
		if p.Conflict != nil {
			out = append(out, *p.Conflict)
		}
	}
	return out
}

// Nothing reports whether there is nothing to undo: every path is what undoing
// would make of it. What the change added and is gone counts as undone then,
// unless it was seen elsewhere.
func (r *Result) Nothing() bool {
	return !slices.ContainsFunc(r.Paths, func(p Path) bool {
		gone := p.Conflict != nil && p.Conflict.Why == WhyGone && p.Conflict.Other == ""
		return !gone && !p.Stays()
	})
}

// Edits make ours what the undo wants; paths that conflict are left alone. What
// goes away comes first, so that a file can take the place of a directory.
func (r *Result) Edits(dir string) []git.Edit {
	var gone, put []git.Edit
	for _, p := range r.Paths {
		path := dir + "/" + p.Name
		switch {
		case p.Conflict != nil || p.Stays():
		case p.Content != nil:
			put = append(put, git.Edit{Path: path, Content: p.Content, Mode: p.Want.Mode})
		case p.Want.IsZero():
			gone = append(gone, git.Edit{Path: path, Delete: true})
		default:
			put = append(put, git.Edit{Path: path, Graft: p.Want.ID, GraftMode: p.Want.Mode})
		}
	}
	return append(gone, put...)
}

// Undo merges what undoes the change from theirs to base into ours. Errors are
// those of the trees, and stella.ErrRefused for a change of too many paths.
func Undo(ctx context.Context, base, ours, theirs Tree, limits Limits) (*Result, error) {
	u := &undo{base: base, ours: ours, theirs: theirs, limits: limits}
	var sides [3]*git.Entry
	top := git.Entry{Mode: git.ModeDir}
	for i, t := range []Tree{base, ours, theirs} {
		if !isNil(t) {
			sides[i] = &top
		}
	}
	if err := u.walk(ctx, "", sides, 0); err != nil {
		return nil, err
	}
	slices.SortFunc(u.paths, func(a, b Path) int { return strings.Compare(a.Name, b.Name) })
	for i := range u.paths {
		if err := u.resolve(ctx, &u.paths[i]); err != nil {
			return nil, err
		}
	}
	if err := u.collisions(ctx); err != nil {
		return nil, err
	}
	return &Result{Paths: u.paths}, u.traceMoves(ctx)
}

func isNil(t Tree) bool {
	gt, ok := t.(*git.Tree)
	return t == nil || ok && gt == nil
}

type undo struct {
	base, ours, theirs Tree
	limits             Limits
	paths              []Path
	mergedBytes        int
}

// Sides, in the order of Undo's parameters.
const (
	sideBase = iota
	sideOurs
	sideTheirs
)

// maxDepth is that of the deepest path that git.Tree reads.
const maxDepth = 32

// walk collects the paths below dir in which base and theirs differ. An entry
// is nil on a side that has nothing there.
func (u *undo) walk(ctx context.Context, dir string, sides [3]*git.Entry, depth int) error {
	if depth > maxDepth {
		return fmt.Errorf("%s is too deep: %w", dir, stella.ErrRefused)
	}
	found := map[string][3]*git.Entry{}
	for i, t := range []Tree{u.base, u.ours, u.theirs} {
		if sides[i] == nil || !sides[i].IsDir() {
			continue
		}
		entries, err := t.Entries(ctx, dir)
		if err != nil {
			return err
		}
		for _, e := range entries {
			at := found[e.Name]
			at[i] = &e
			found[e.Name] = at
		}
	}
	for name, at := range found {
		if same(at[sideBase], at[sideTheirs]) {
			continue
		}
		if err := u.visit(ctx, joined(dir, name), at, depth); err != nil {
			return err
		}
	}
	return nil
}

// visit collects what the change did at one path and below it.
func (u *undo) visit(ctx context.Context, path string, at [3]*git.Entry, depth int) error {
	p := Path{Name: path, Base: leaf(at[sideBase]), Ours: leaf(at[sideOurs]), Theirs: leaf(at[sideTheirs])}
	if p.Base != p.Theirs {
		if len(u.paths) == u.limits.MaxPaths {
			return fmt.Errorf("it touches more than %d files: %w", u.limits.MaxPaths, stella.ErrRefused)
		}
		u.paths = append(u.paths, p)
	}
	if isDir(at[sideBase]) || isDir(at[sideTheirs]) {
		return u.walk(ctx, path, at, depth+1)
	}
	return nil
}

func same(a, b *git.Entry) bool {
	return a == nil && b == nil || a != nil && b != nil && a.Mode == b.Mode && a.ID == b.ID
}

func isDir(e *git.Entry) bool { return e != nil && e.IsDir() }

func leaf(e *git.Entry) Leaf {
	if e == nil || e.IsDir() {
		return Leaf{}
	}
	return Leaf{Mode: e.Mode, ID: e.ID}
}

func joined(dir, name string) string {
	if dir == "" {
		return name
	}
	return dir + "/" + name
}

// resolve decides what becomes of one path, by itself.
func (u *undo) resolve(ctx context.Context, p *Path) error {
	p.Want = p.Ours
	switch {
	case p.Ours == p.Theirs && p.Ours.IsZero():
		p.fail(WhyGone)
	case p.Ours == p.Theirs:
	case p.Ours == p.Base && !p.Theirs.IsZero() && !p.Theirs.isFile():
		p.fail(WhyLink)
	case p.Ours == p.Base:
		p.Want = p.Theirs
	case p.Base.IsZero():
		p.fail(WhyAdded)
	case p.Ours.IsZero():
		p.fail(WhyDeleted)
	case p.Theirs.IsZero():
		p.fail(WhyModified)
	case !p.Base.isFile() || !p.Ours.isFile() || !p.Theirs.isFile():
		p.fail(WhyKind)
	default:
		return u.both(ctx, p)
	}
	return nil
}

func (p *Path) fail(why Why) {
	p.Want, p.Content = p.Ours, nil
	p.Conflict = &Conflict{Path: p.Name, Why: why}
}

// both merges a regular file that both sides changed: mode and content each by
// itself.
func (u *undo) both(ctx context.Context, p *Path) error {
	if p.Ours.Mode == p.Base.Mode {
		p.Want.Mode = p.Theirs.Mode
	}
	switch {
	case p.Ours.ID == p.Theirs.ID || p.Theirs.ID == p.Base.ID:
		return nil
	case p.Ours.ID == p.Base.ID:
		p.Want.ID = p.Theirs.ID
		return nil
	case u.limits.NoLines != nil && u.limits.NoLines(p.Name):
		p.fail(WhyAttributes)
		return nil
	}
	return u.content(ctx, p)
}

// maxMergedBytes bounds what all merged files have together: they are kept in
// memory until they are pushed.
const maxMergedBytes = 64 << 20

func (u *undo) content(ctx context.Context, p *Path) error {
	var sides [3][]byte
	for i, t := range []Tree{u.base, u.ours, u.theirs} {
		var err error
		if sides[i], err = t.Read(ctx, p.Name, u.limits.MaxFileBytes); errors.Is(err, stella.ErrInvalid) {
			p.fail(WhySize) // it is a regular file: nothing else can be wrong with it
			return nil
		} else if err != nil {
			return err
		}
	}
	if slices.ContainsFunc(sides[:], func(data []byte) bool { return bytes.IndexByte(data, 0) >= 0 }) {
		p.fail(WhyBinary)
		return nil
	}
	merged, hunks, ok := Lines(sides[sideBase], sides[sideOurs], sides[sideTheirs])
	u.mergedBytes += len(merged)
	switch {
	case !ok || u.mergedBytes > maxMergedBytes:
		p.fail(WhySize)
	case len(hunks) > 0:
		p.fail(WhyLines)
		p.Conflict.Hunks = hunks
	case bytes.Equal(merged, sides[sideOurs]):
	case bytes.Equal(merged, sides[sideTheirs]):
		p.Want.ID = p.Theirs.ID
	default:
		p.Want.ID, p.Content = "", merged
	}
	return nil
}
