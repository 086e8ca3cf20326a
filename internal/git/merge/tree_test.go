package merge_test

import (
	"context"
	"crypto/sha1"
	"encoding/hex"
	"fmt"
	"maps"
	"slices"
	"strings"

	"github.com/stella-ops/stella"
	"github.com/stella-ops/stella/internal/git"
)

// file is what a test has at a path.
type file struct {
	mode uint32
	text string // of a submodule the id of its commit
}

func regular(text string) file { return file{git.ModeFile, text} }

func (f file) id() git.ID {
	if f.mode == git.ModeSubmodule {
		return git.ID(f.text)
	}
	return blobID([]byte(f.text))
}

func blobID(data []byte) git.ID {
	sum := sha1.Sum(append(fmt.Appendf(nil, "blob %d\x00", len(data)), data...))
	return git.ID(hex.EncodeToString(sum[:]))
}

// memory is a directory in memory: path → file. It implements merge.Tree.
type memory map[string]file

func (m memory) Entries(_ context.Context, dir string) ([]git.Entry, error) {
	if dir != "" {
		dir += "/"
	}
	found := map[string]git.Entry{}
	below := map[string][]string{}
	for _, path := range slices.Sorted(maps.Keys(m)) {
		rest, ok := strings.CutPrefix(path, dir)
		if !ok {
			continue
		}
		name, deeper, isDir := strings.Cut(rest, "/")
		if isDir {
			below[name] = append(below[name], fmt.Sprint(deeper, m[path].mode, m[path].id()))
			sum := sha1.Sum([]byte(strings.Join(below[name], "\n")))
			found[name] = git.Entry{Name: name, Mode: git.ModeDir, ID: git.ID(hex.EncodeToString(sum[:]))}
			continue
		}
		found[name] = git.Entry{Name: name, Mode: m[path].mode, ID: m[path].id(), SizeBytes: int64(len(m[path].text))}
	}
	if len(found) == 0 && dir != "" {
		return nil, fmt.Errorf("%s: %w", dir, stella.ErrNotFound)
	}
	return slices.SortedFunc(maps.Values(found), func(a, b git.Entry) int { return strings.Compare(a.Name, b.Name) }), nil
}

func (m memory) Read(_ context.Context, path string, most int64) ([]byte, error) {
	f, ok := m[path]
	switch {
	case !ok:
		return nil, fmt.Errorf("%s: %w", path, stella.ErrNotFound)
	case int64(len(f.text)) > most:
		return nil, fmt.Errorf("%s: too big: %w", path, stella.ErrInvalid)
	}
	return []byte(f.text), nil
}

// edited is the directory with edits made, as internal/git makes them.
func (m memory) edited(edits []git.Edit, blobs ...memory) memory {
	out := maps.Clone(m)
	for _, e := range edits {
		path := strings.TrimPrefix(e.Path, "app/")
		maps.DeleteFunc(out, func(p string, _ file) bool { return p == path || strings.HasPrefix(p, path+"/") })
		switch {
		case e.Delete:
		case e.Graft == "":
			out[path] = file{e.Mode, string(e.Content)}
		default:
			for _, b := range blobs {
				for _, f := range b {
					if f.id() == e.Graft {
						out[path] = file{e.GraftMode, f.text}
					}
				}
			}
		}
	}
	return out
}
