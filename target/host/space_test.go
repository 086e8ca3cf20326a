//go:build linux

package host

import (
	"path/filepath"
	"syscall"
	"testing"
)

func TestSpaceIsThatOfTheDiskThatARootWillBeOn(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	h := &Host{lay: layout{filepath.Join(dir, "not", "there", "yet")}}
	var st syscall.Statfs_t
	if err := syscall.Statfs(dir, &st); err != nil {
		t.Fatal(err)
	}
	total := int64(st.Blocks) * st.Bsize
	if free, err := h.Space(t.Context()); err != nil || free <= 0 || free > total {
		t.Errorf("%d bytes free of %d, %v", free, total, err)
	}
	h.lay.root = "/proc/self/no/such/place"
	if free, err := h.Space(t.Context()); err != nil || free != 0 {
		t.Errorf("/proc has %d bytes free, %v", free, err)
	}
}
