package configrepo

import (
	"context"
	"errors"
	"fmt"
	"path"
	"slices"
	"strings"

	stella "github.com/stella-ops/stella"
	"github.com/stella-ops/stella/internal/safe"
)

// The limits of what is read for one environment: its app and its shared
// directories together.
const (
	MaxFiles       = 2_000
	MaxTotalBytes  = 16 << 20
	MaxDepth       = 32    // directories within one another, from the one that was asked for
	maxDirectories = 2_000 // a tree may hold any number of them without a file
	maxFileFaults  = 100   // problems collected before reading gives up
)

// File is a file's path from the top of its Tree, and its content.
type File struct {
	Path    string
	Content []byte
}

// ReadFiles returns every file below dirs, sorted by path, each one once. It
// reads nothing until all names, modes and sizes were found good. Anything that
// is not a plain file or directory, more than MaxFiles, MaxTotalBytes or
// MaxDepth, and a file of more than MaxFileBytes are Problems, and so is a
// directory that is not there.
func ReadFiles(ctx context.Context, t Tree, dirs ...string) ([]File, error) {
	w := walk{tree: t, seen: map[string]bool{}}
	for _, dir := range dirs {
		if err := w.top(ctx, dir); err != nil {
			return nil, err
		}
	}
	if err := w.problems.orNil(); err != nil {
		return nil, err
	}
	slices.Sort(w.files)
	files := make([]File, 0, len(w.files))
	var problems Problems
	for _, name := range w.files {
		content, err := readChecked(ctx, t, name)
		var bad Problems
		switch {
		case errors.As(err, &bad):
			problems = append(problems, bad...)
		case err != nil:
			return nil, err
		}
		files = append(files, File{Path: name, Content: content})
	}
	if err := problems.orNil(); err != nil {
		return nil, err
	}
	return files, nil
}

// walk collects the files of directories, and why they can not be read.
type walk struct {
	tree        Tree
	seen        map[string]bool // directories
	files       []string
	directories int
	bytes       int64
	problems    Problems
	full        bool // a limit was hit: nothing more is looked at
}

// top enters a directory that was asked for.
func (w *walk) top(ctx context.Context, dir string) error {
	if dir != "" {
		e, err := lookup(ctx, w.tree, dir)
		var bad Problems
		switch {
		case errors.Is(err, stella.ErrNotFound):
			w.add(dir, "is not there", "add the directory")
			return nil
		case errors.As(err, &bad):
			w.problems = append(w.problems, bad...)
			return nil
		case err != nil:
			return err
		}
		if p, bad := notDirectory(dir, e); bad {
			w.problems = append(w.problems, p)
			return nil
		}
	}
	return w.dir(ctx, dir, 0)
}

func (w *walk) dir(ctx context.Context, dir string, depth int) error {
	if w.seen[dir] || w.full {
		return nil
	}
	w.seen[dir] = true
	if err := ctx.Err(); err != nil {
		return context.Cause(ctx)
	}
	if w.directories++; w.directories > maxDirectories {
		w.stop(dir, fmt.Sprintf("is one of more than %d directories", maxDirectories), "remove what the app does not need")
		return nil
	}
	if depth > MaxDepth {
		w.add(dir, fmt.Sprintf("is more than %d directories deep", MaxDepth), "move it up")
		return nil
	}
	entries, err := w.tree.Entries(ctx, dir)
	if err != nil {
		return fmt.Errorf("list %s: %w", safe.Line(dir), err)
	}
	names := make(map[string]bool, min(len(entries), MaxFiles))
	for _, e := range entries {
		if w.full {
			return nil
		}
		if err := w.entry(ctx, dir, e, names, depth); err != nil {
			return err
		}
	}
	return nil
}

// entry looks at one entry of a directory; names are those before it.
func (w *walk) entry(ctx context.Context, dir string, e Entry, names map[string]bool, depth int) error {
	full := path.Join(dir, e.Name)
	if why := badName(e.Name); why != "" {
		// The name itself would be cleaned away by joining it.
		w.add(strings.TrimPrefix(dir+"/"+e.Name, "/"), "has "+why, "rename or remove it")
		return nil
	}
	if names[e.Name] {
		w.add(full, "is there twice", "remove one of them")
		return nil
	}
	names[e.Name] = true
	if e.Mode == ModeDir {
		return w.dir(ctx, full, depth+1)
	}
	if p, bad := notFile(full, e); bad {
		w.add(full, p.What, p.Fix)
		return nil
	}
	w.files = append(w.files, full)
	w.bytes += e.SizeBytes
	switch {
	case len(w.files) > MaxFiles:
		w.stop(dir, fmt.Sprintf("brings the environment to more than %d files", MaxFiles), "remove what the app does not need")
	case w.bytes > MaxTotalBytes:
		w.stop(dir, fmt.Sprintf("brings the environment to more than %d bytes", MaxTotalBytes), "remove what the app does not need")
	}
	return nil
}

func (w *walk) add(name, what, fix string) {
	w.problems = append(w.problems, Problem{Path: safe.Clip(name, 512), What: what, Fix: fix})
	if len(w.problems) >= maxFileFaults && !w.full {
		w.stop(name, "and more is wrong", "correct these first")
	}
}

// stop ends the walk with a last problem.
func (w *walk) stop(name, what, fix string) {
	w.full = true
	if name == "" {
		name = "."
	}
	w.problems = append(w.problems, Problem{Path: safe.Clip(name, 512), What: what, Fix: fix})
}
