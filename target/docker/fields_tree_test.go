package docker

import (
	"context"
	"fmt"
	"strings"

	"github.com/stella-ops/stella"
	"github.com/stella-ops/stella/configrepo"
)

// memoryTree is a config repository in memory, by the paths of its files.
type memoryTree map[string]string

// Entries implements configrepo.Tree.
func (m memoryTree) Entries(_ context.Context, dir string) ([]configrepo.Entry, error) {
	all := map[string]configrepo.Entry{}
	for path, content := range m {
		rest := path
		if dir != "" && dir != "." {
			var ok bool
			if rest, ok = strings.CutPrefix(path, dir+"/"); !ok {
				continue
			}
		}
		name, _, nested := strings.Cut(rest, "/")
		e := configrepo.Entry{Name: name, Mode: configrepo.ModeFile, SizeBytes: int64(len(content))}
		if nested {
			e = configrepo.Entry{Name: name, Mode: configrepo.ModeDir}
		}
		all[name] = e
	}
	if len(all) == 0 {
		return nil, fmt.Errorf("%w: %s", stella.ErrNotFound, dir)
	}
	out := []configrepo.Entry{}
	for _, name := range sortedNames(all) {
		out = append(out, all[name])
	}
	return out, nil
}

// Read implements configrepo.Tree.
func (m memoryTree) Read(_ context.Context, path string, _ int64) ([]byte, error) {
	content, ok := m[path]
	if !ok {
		return nil, fmt.Errorf("%w: %s", stella.ErrNotFound, path)
	}
	return []byte(content), nil
}
