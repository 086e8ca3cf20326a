package unpack_test

import (
	"bytes"
	"fmt"
	"os"
	"strings"
	"testing"

	"github.com/stella-ops/stella/internal/unpack"
)

// BenchmarkTar unpacks 2,000 files of 8 KiB, five directories deep, twenty to each.
func BenchmarkTar(b *testing.B) {
	var entries []entry
	for i := range 2000 {
		entries = append(entries, file(fmt.Sprintf("usr/lib/python3/d%d/pkg/f%d", i/20, i), strings.Repeat("x", 8<<10)))
	}
	data := archive(b, entries...)
	for name, sync := range map[string]unpack.Sync{"all": unpack.SyncAll, "fs": unpack.SyncFS, "none": unpack.SyncNone} {
		b.Run(name, func(b *testing.B) {
			b.SetBytes(int64(len(data)))
			for b.Loop() {
				root, err := os.OpenRoot(b.TempDir())
				if err != nil {
					b.Fatal(err)
				}
				if _, err := unpack.Tar(b.Context(), bytes.NewReader(data), root, unpack.Limits{Sync: sync}); err != nil {
					b.Fatal(err)
				}
				_ = root.Close()
			}
		})
	}
}
