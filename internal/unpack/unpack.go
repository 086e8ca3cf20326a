// Package unpack writes the file tree of an image below one directory.
package unpack

import (
	"context"
	"errors"
	"io"
	"os"
)

// Sync says how hard Tar makes what it wrote durable before it returns.
type Sync int

// The policies.
const (
	SyncAll  Sync = iota // fsync of every file and directory; the zero value
	SyncFS               // one syncfs(2) at the end, where the system has it; else as SyncAll
	SyncNone             // nothing: tests and throw-away trees
)

// Limits bound an archive. Zero fields mean the defaults.
type Limits struct {
	TotalBytes int64 // of the whole stream; 16 GiB
	FileBytes  int64 // of one file; 8 GiB
	Entries    int   // 500,000
	Sync       Sync
}

// Stats is what Tar wrote.
type Stats struct {
	Files, Dirs, Symlinks, Hardlinks int
	Bytes                            int64    // of regular files
	Skipped                          []string // device nodes and the like below dev/, at most 100, printable
}

// Tar unpacks the archive r into root.
func Tar(ctx context.Context, r io.Reader, root *os.Root, l Limits) (Stats, error) {
	return Stats{}, errors.New("not built yet")
}
