package serve

import (
	"context"
	"fmt"
	"io/fs"
	"log/slog"
	"path/filepath"
	"time"

	"github.com/fsnotify/fsnotify"
)

// settle is how long a repository must be quiet before it is looked at: a push
// touches several files.
const settle = 50 * time.Millisecond

// watch tells of changes to a local repository's refs. An empty dir is never
// told of. The schedule finds what events miss, so that a broken watch is a
// warning and no more.
func watch(ctx context.Context, dir string, log *slog.Logger) (<-chan struct{}, error) {
	wake := make(chan struct{}, 1)
	if dir == "" {
		return wake, nil
	}
	w, err := fsnotify.NewWatcher()
	if err != nil {
		return nil, fmt.Errorf("watch %s: %w", dir, err)
	}
	if err := add(w, dir); err != nil {
		_ = w.Close()
		return nil, fmt.Errorf("watch %s: %w", dir, err)
	}
	go follow(ctx, w, wake, log)
	return wake, nil
}

// add watches the directory, for packed-refs, and every directory of refs.
func add(w *fsnotify.Watcher, dir string) error {
	if err := w.Add(dir); err != nil {
		return err
	}
	return filepath.WalkDir(filepath.Join(dir, "refs"), func(path string, d fs.DirEntry, err error) error {
		if err != nil || !d.IsDir() {
			return err
		}
		return w.Add(path)
	})
}

// follow owns the watcher until ctx ends.
func follow(ctx context.Context, w *fsnotify.Watcher, wake chan<- struct{}, log *slog.Logger) {
	defer func() { _ = w.Close() }()
	quiet := time.NewTimer(time.Hour)
	quiet.Stop()
	for {
		select {
		case <-ctx.Done():
			return
		case ev, ok := <-w.Events:
			if !ok {
				return
			}
			if ev.Has(fsnotify.Create) {
				_ = w.Add(ev.Name) // a new directory of refs; files are refused and that is fine
			}
			quiet.Reset(settle)
		case err, ok := <-w.Errors:
			if !ok {
				return
			}
			log.WarnContext(ctx, "watch the config repository", "err", err)
		case <-quiet.C:
			select {
			case wake <- struct{}{}:
			default: // one is waiting already
			}
		}
	}
}
