package dockertest

import (
	"fmt"
	"os"
	"path/filepath"
	"testing"

	"golang.org/x/sys/unix"
)

// Small starts an engine on a host of its own whose images and containers have
// so many bytes of disk. It ends with the test.
func Small(t testing.TB, diskBytes int64) *Daemon {
	t.Helper()
	need(t)
	registry := Registry(t)
	suite.mu.Lock()
	suite.hosts++
	number := suite.hosts
	suite.mu.Unlock()
	// The engine's end takes the mount away.
	data := filepath.Join(suite.dir, fmt.Sprintf("h%d", number), "data")
	if err := os.MkdirAll(data, 0o711); err != nil { //nolint:gosec // users of containers go through it
		t.Fatal(err)
	}
	if err := unix.Mount("tmpfs", data, "tmpfs", 0, fmt.Sprintf("size=%d,mode=0711", diskBytes)); err != nil {
		t.Fatal(err)
	}
	d, err := newHost(t, number, registry)
	if err != nil {
		t.Fatal(err)
	}
	return d
}
