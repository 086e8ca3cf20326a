package host

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
)

// Space returns how many bytes this user may still write below the target's
// root, or where that will be made.
func (h *Host) Space(_ context.Context) (int64, error) {
	dir := h.lay.root
	for {
		_, err := os.Stat(dir)
		if err == nil {
			break
		}
		if up := filepath.Dir(dir); errors.Is(err, fs.ErrNotExist) && up != dir {
			dir = up
			continue
		}
		return 0, fmt.Errorf("look for room: %w", err)
	}
	free, err := freeBytes(dir)
	if err != nil {
		return 0, fmt.Errorf("look for room in %s: %w", dir, err)
	}
	return free, nil
}
