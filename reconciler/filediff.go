package reconciler

import (
	"bytes"
	"context"
	"unicode/utf8"

	udiff "github.com/aymanbagabas/go-udiff"

	"github.com/stella-ops/stella/internal/git"
)

// What a plan shows of its files: enough to read, and no more.
const (
	maxDiffedFile = 64 << 10
	maxDiffs      = 32 << 10 // of all files together
)

// describeFiles adds to each changed file how its text changes, as far as it is
// text and there is room. The files are in Git in clear text: secrets are not in
// the app.
func describeFiles(ctx context.Context, from, to GitTree, files []FileChange) error {
	left := maxDiffs
	for i := range files {
		f := &files[i]
		before, err := diffable(ctx, from, f.Path)
		if err != nil {
			return err
		}
		after, err := diffable(ctx, to, f.Path)
		if err != nil {
			return err
		}
		if before == nil || after == nil {
			continue
		}
		if diff := udiff.Unified("a/"+f.Path, "b/"+f.Path, string(before), string(after)); len(diff) <= left {
			f.Diff, left = diff, left-len(diff)
		}
	}
	return nil
}

// diffable is a file's text, empty where there is no such file, and nil where it
// is no text, no file or too long.
func diffable(ctx context.Context, t GitTree, path string) ([]byte, error) {
	entry, err := t.Lookup(ctx, path)
	switch {
	case err != nil:
		return []byte{}, ignoreNotFound(err)
	case entry.Mode != git.ModeFile && entry.Mode != git.ModeExecutable, entry.SizeBytes > maxDiffedFile:
		return nil, nil
	}
	text, err := t.Read(ctx, path, maxDiffedFile)
	if err != nil {
		return []byte{}, ignoreNotFound(err)
	}
	if !utf8.Valid(text) || bytes.IndexByte(text, 0) >= 0 {
		return nil, nil
	}
	return text, nil
}
