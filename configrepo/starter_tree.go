package configrepo

import (
	"context"
	"fmt"
	"path"
	"strings"

	stella "github.com/stella-ops/stella"
	"github.com/stella-ops/stella/internal/safe"
)

// fileTree is a Tree of files that are not on disk yet, by path.
type fileTree map[string][]byte

func (t fileTree) Entries(_ context.Context, dir string) ([]Entry, error) {
	seen := map[string]bool{}
	var all []Entry
	for _, name := range sortedKeys(t) {
		rest, ok := strings.CutPrefix(name, dir+"/")
		if dir == "" {
			rest, ok = name, true
		}
		if !ok {
			continue
		}
		first, _, below := strings.Cut(rest, "/")
		e := Entry{Name: first, Mode: ModeFile, SizeBytes: int64(len(t[name]))}
		if below {
			e = Entry{Name: first, Mode: ModeDir}
		}
		if !seen[first] {
			seen[first] = true
			all = append(all, e)
		}
	}
	if len(all) == 0 && dir != "" {
		return nil, fmt.Errorf("%w: directory %s", stella.ErrNotFound, safe.Line(dir))
	}
	return all, nil
}

func (t fileTree) Read(_ context.Context, name string, maxBytes int64) ([]byte, error) {
	content, ok := t[path.Clean(name)]
	switch {
	case !ok:
		return nil, fmt.Errorf("%w: %s", stella.ErrNotFound, safe.Line(name))
	case int64(len(content)) > maxBytes:
		return nil, fmt.Errorf("%w: %s is larger than %d bytes", stella.ErrInvalid, safe.Line(name), maxBytes)
	}
	return content, nil
}
