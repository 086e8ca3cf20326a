package odb

import (
	"bytes"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"

	"github.com/go-git/go-git/v5/plumbing"

	"github.com/stella-ops/stella/internal/durable"
)

func (db *DB) shallowFile() string { return filepath.Join(db.dir, "shallow") }

// Shallow returns the commits whose parents are not here, or may not be, in
// the format of git's own file of that name: one id a line. The error is
// ErrDamaged when the file is not that.
func (db *DB) Shallow() ([]Hash, error) {
	data, err := os.ReadFile(db.shallowFile())
	if errors.Is(err, fs.ErrNotExist) {
		return nil, nil
	}
	if err != nil {
		return nil, err
	}
	var out []Hash
	for line := range strings.Lines(string(data)) {
		line = strings.TrimSuffix(line, "\n")
		h := plumbing.NewHash(line)
		if h.String() != line || h.IsZero() {
			return nil, fmt.Errorf("%w: file shallow has a line that is no id", ErrDamaged)
		}
		out = append(out, h)
	}
	return out, nil
}

// SetShallow replaces the commits at which history is cut. The caller holds
// the lock.
func (db *DB) SetShallow(at []Hash) error {
	at = slices.Clone(at)
	plumbing.HashesSort(at)
	at = slices.Compact(at)
	if len(at) == 0 {
		return durable.Remove(db.shallowFile())
	}
	var b bytes.Buffer
	for _, h := range at {
		b.WriteString(h.String() + "\n")
	}
	return durable.WriteFile(db.shallowFile(), b.Bytes(), 0o600)
}
