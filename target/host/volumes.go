package host

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"slices"
	"strings"

	"github.com/stella-ops/stella"
)

// volumeFile is volumes/NAME.json. The directory beside it holds what services
// wrote and is never removed by an apply: a volume that is not wanted any more
// is retired, and one that is wanted again has its content. It is a stored
// format.
type volumeFile struct {
	SchemaVersion int             `json:"schemaVersion"` // 1
	Resource      stella.Resource `json:"resource"`      // as desired
	Retired       bool            `json:"retired"`
}

const volumePrefix = "volume/"

// observeVolumes lists the volumes that are in use, sorted by id. One of which
// nobody can tell any more what it is counts as not in use, with a note: where
// it is wanted, the next apply writes its record anew and leaves its content.
func (h *Host) observeVolumes() (out []stella.Resource, notes []string, err error) {
	entries, err := os.ReadDir(h.lay.volumes())
	if errors.Is(err, fs.ErrNotExist) {
		return nil, nil, nil
	}
	if err != nil {
		return nil, nil, fmt.Errorf("list volumes: %w", err)
	}
	for _, e := range entries {
		name, ok := strings.CutSuffix(e.Name(), ".json")
		if _, err := stella.ParseName(name); !ok || err != nil {
			continue
		}
		var v volumeFile
		if err := readJSON(h.lay.volumeRecord(name), &v); isLost(err) {
			notes = append(notes, fmt.Sprintf("the record of volume %s can not be read: %v", name, err))
			continue
		} else if err != nil {
			return nil, nil, err
		}
		if fi, err := os.Lstat(h.lay.volume(name)); err != nil || !fi.IsDir() || v.Retired {
			continue
		}
		out = append(out, stella.Resource{ID: stella.ResourceID(volumePrefix + name), Fields: v.Resource.Fields, Secrets: v.Resource.Secrets})
	}
	slices.SortFunc(out, func(a, b stella.Resource) int { return strings.Compare(string(a.ID), string(b.ID)) })
	return out, notes, nil
}

// putVolume makes a volume, or takes one back into use.
func (h *Host) putVolume(r stella.Resource) error {
	name := strings.TrimPrefix(string(r.ID), volumePrefix)
	return h.effect("volume", func() error {
		// The directory comes first: a record without one is not reported.
		if err := os.Mkdir(h.lay.volume(name), 0o755); err != nil && !errors.Is(err, fs.ErrExist) {
			return err
		}
		return writeJSON(h.lay.volumeRecord(name), volumeFile{SchemaVersion: 1, Resource: r})
	})
}

// retireVolume takes a volume out of use and keeps its content.
func (h *Host) retireVolume(id stella.ResourceID) error {
	name := strings.TrimPrefix(string(id), volumePrefix)
	var v volumeFile
	err := readJSON(h.lay.volumeRecord(name), &v)
	if isLost(err) {
		return nil // it is not in use
	}
	if err != nil {
		return err
	}
	v.Retired = true
	return h.effect("volume", func() error { return writeJSON(h.lay.volumeRecord(name), v) })
}
