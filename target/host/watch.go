package host

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"sync/atomic"
	"syscall"
	"time"

	"github.com/fsnotify/fsnotify"

	"github.com/stella-ops/stella"
	"github.com/stella-ops/stella/internal/durable"
)

// maxWatched bounds how many directories of one target are watched: each takes
// about a KiB of the kernel's memory, and a user has as few as 8,192 of them
// (inotify(7)).
const maxWatched = 1024

// watchPause keeps somebody who changes a thousand files a second from having
// the target looked at as often.
const watchPause = 200 * time.Millisecond

// Watch calls changed whenever something of the target may have changed: a
// config file, a link, a record, the sticker, a file of a release that is in
// use, a process that ended, a shim that did. It returns once it watches and
// goes on until ctx ends; changed may block. Where there are more directories
// than maxWatched, those that hold records and configs are watched first, and
// the log says how many are not. Logs and what is in volumes are not watched.
// Our own writes are told of as well.
//
// An error says that nothing is watched: a limit of the kernel was reached.
func (h *Host) Watch(ctx context.Context, changed func()) error {
	files, err := fsnotify.NewWatcher()
	if err != nil {
		return watchError(h.cfg.Name, err)
	}
	w := &watch{
		h: h, files: files, most: maxWatched, wake: make(chan struct{}, 1), dirs: map[string]fs.FileInfo{}, shims: map[string]followed{},
	}
	go w.listen(ctx) // until ctx ends, or the watcher is closed
	if err := w.look(ctx); err != nil {
		w.close()
		return watchError(h.cfg.Name, err)
	}
	go w.tell(ctx, changed)
	return nil
}

// watchError says which limit was reached and how to raise it.
func watchError(target string, err error) error {
	err = fmt.Errorf("watch target %s: %w", target, err)
	switch {
	case errors.Is(err, syscall.ENOSPC):
		return stella.WithHint(err, "allow more watches: 'sysctl fs.inotify.max_user_watches=524288'")
	case errors.Is(err, syscall.EMFILE):
		return stella.WithHint(err, "allow more watchers: 'sysctl fs.inotify.max_user_instances=1024', and more open files: 'ulimit -n'")
	}
	return err
}

// watch is one target that is watched. The goroutine of tell owns dirs and
// shims.
type watch struct {
	h     *Host
	files *fsnotify.Watcher
	most  int // directories
	wake  chan struct{}
	// moved is set when there may be other directories or processes than before.
	moved atomic.Bool

	dirs   map[string]fs.FileInfo // watched directories
	shims  map[string]followed    // by service
	warned int                    // how many directories it was said of that they are not watched
	said   string                 // why it is watched in part, as it was said
}

// followed is a shim whose end is waited for.
type followed struct {
	process durable.Process
	stop    context.CancelFunc
}

// stir has tell look, now or as soon as it can.
func (w *watch) stir() {
	select {
	case w.wake <- struct{}{}:
	default: // it will
	}
}

// listen drains events until ctx ends; it never waits for anybody else, or the
// kernel would drop some.
func (w *watch) listen(ctx context.Context) {
	for {
		select {
		case <-ctx.Done():
			return
		case ev, ok := <-w.files.Events:
			if !ok {
				return
			}
			if !w.concerns(ev.Name) {
				continue
			}
			if ev.Has(fsnotify.Create) || ev.Has(fsnotify.Remove) || ev.Has(fsnotify.Rename) {
				w.moved.Store(true)
			}
			w.stir()
		case err, ok := <-w.files.Errors:
			if !ok {
				return
			}
			if !errors.Is(err, fsnotify.ErrEventOverflow) {
				w.h.log.WarnContext(ctx, "watch target", "target", w.h.cfg.Name, "err", err)
			}
			w.moved.Store(true) // whatever was dropped
			w.stir()
		}
	}
}

// concerns reports whether a path is the root, below it or on the way to it.
func (w *watch) concerns(path string) bool {
	root := w.h.lay.root
	return path == root || below(path, root) || below(root, path)
}

// tell watches what there is to watch, then says that something changed: what
// happened before the watch began is for who looks next, what happens later is
// an event.
func (w *watch) tell(ctx context.Context, changed func()) {
	defer w.close()
	for {
		select {
		case <-ctx.Done():
			return
		case <-w.wake:
		}
		if w.moved.Swap(false) {
			if err := w.look(ctx); err != nil {
				w.inPart(ctx, err)
			}
		}
		changed()
		select {
		case <-ctx.Done():
			return
		case <-time.After(watchPause):
		}
	}
}

func (w *watch) close() {
	_ = w.files.Close() // only forgets watches
	for _, f := range w.shims {
		f.stop()
	}
}

// look brings what is watched to what there is.
func (w *watch) look(ctx context.Context) error {
	l := &looking{watch: w, wanted: map[string]bool{}, live: map[string]bool{}}
	for _, dir := range w.files.WatchList() {
		l.live[dir] = true
	}
	err := l.records()
	if err == nil {
		l.releases(ctx)
	}
	for dir := range w.dirs {
		if !l.wanted[dir] {
			_ = w.files.Remove(dir) // gone, most likely
			delete(w.dirs, dir)
		}
	}
	w.follow(ctx)
	return err
}

// looking is one look at a target's directories.
type looking struct {
	*watch
	wanted map[string]bool
	live   map[string]bool // as the watcher has them
	left   int             // directories that are not watched
}

// add watches a directory before it is read, so that nothing gets in between.
// One that is not there is fine.
func (l *looking) add(dir string) error {
	fi, err := os.Lstat(dir)
	if err != nil || !fi.IsDir() || l.wanted[dir] {
		return nil //nolint:nilerr // its parent tells when it comes
	}
	if len(l.wanted) >= l.most {
		l.left++
		return nil
	}
	was, known := l.dirs[dir]
	if known && l.live[dir] && os.SameFile(was, fi) {
		l.wanted[dir] = true
		return nil
	}
	if known {
		_ = l.files.Remove(dir) // another directory had its name
	}
	if err := l.files.Add(dir); err != nil {
		return ignoreMissing(err)
	}
	l.dirs[dir], l.wanted[dir] = fi, true
	return nil
}

// records adds the directories that hold stella's own files.
func (l *looking) records() error {
	lay := l.h.lay
	for dir := filepath.Dir(lay.root); ; dir = filepath.Dir(dir) {
		if err := l.add(dir); err != nil {
			return err
		}
		if l.wanted[dir] || dir == filepath.Dir(dir) {
			break // the root comes, or goes, in this one
		}
	}
	for _, dir := range []string{lay.root, lay.services(), lay.volumes()} {
		if err := l.add(dir); err != nil {
			return err
		}
	}
	for _, name := range l.services() {
		for _, dir := range []string{lay.service(name), lay.releases(name)} {
			if err := l.add(dir); err != nil {
				return err
			}
		}
	}
	return nil
}

func (l *looking) services() []string {
	entries, _ := os.ReadDir(l.h.lay.services())
	var names []string
	for _, e := range entries {
		if _, err := stella.ParseName(e.Name()); err == nil && e.IsDir() {
			names = append(names, e.Name())
		}
	}
	return names
}

// releases adds the directories of releases that are in use: those of config
// files before all others. A limit that is reached here is said, and what is
// watched stays so.
func (l *looking) releases(ctx context.Context) {
	var roots []string
	var err error
	for _, service := range l.services() {
		for _, name := range l.h.releasesInUse(service) {
			dir := l.h.lay.release(service, name)
			roots = append(roots, dir)
			err = errors.Join(err, l.add(dir))
			rel, _, _ := readRelease(dir) // one that can not be read has no configs that are known
			for _, c := range rel.Configs {
				if liesInside(dir, c) {
					err = errors.Join(err, l.add(filepath.Dir(configPath(dir, c))))
				}
			}
		}
	}
	for _, dir := range roots {
		err = errors.Join(err, l.tree(filepath.Join(dir, "rootfs")))
	}
	if l.left > 0 && l.left != l.warned {
		l.h.log.WarnContext(ctx, "a target has more directories than are watched; scheduled scans find what changes in the rest",
			"target", l.h.cfg.Name, "watched", len(l.wanted), "not_watched", l.left)
	}
	l.warned = l.left
	l.inPart(ctx, err)
}

// inPart says once why a target is watched in part, and again when it is for
// another reason: whoever changes many files is not to fill the log as well.
func (w *watch) inPart(ctx context.Context, err error) {
	if err == nil {
		w.said = ""
		return
	}
	err = watchError(w.h.cfg.Name, err)
	if text := err.Error(); text != w.said {
		w.said = text
		w.h.log.WarnContext(ctx, "a target is watched in part", "target", w.h.cfg.Name, "err", err, "hint", stella.Hint(err))
	}
}

// tree adds a directory and all below it, what lies higher first.
func (l *looking) tree(root string) error {
	for queue := []string{root}; len(queue) > 0; queue = queue[1:] {
		dir := queue[0]
		if err := l.add(dir); err != nil {
			return err
		}
		if len(l.wanted) >= l.most && !l.wanted[dir] {
			return nil // whoever counts what is below would have to read it all
		}
		entries, _ := os.ReadDir(dir)
		for _, e := range entries {
			if e.IsDir() {
				queue = append(queue, filepath.Join(dir, e.Name()))
			}
		}
	}
	return nil
}

// releasesInUse names the release that was used last, and the one that `current`
// leads to, which somebody may have changed.
func (h *Host) releasesInUse(service string) []string {
	var names []string
	if f, err := h.readHistory(service); err == nil && len(f.Releases) > 0 {
		names = append(names, f.Releases[0])
	}
	if target, err := os.Readlink(h.lay.current(service)); err == nil {
		if name, ok := strings.CutPrefix(target, "releases/"); ok && filepath.IsLocal(name) && !strings.Contains(name, "/") {
			names = append(names, name)
		}
	}
	return names
}

// follow waits for the end of every shim, which leaves no trace on disk when it
// is killed.
func (w *watch) follow(ctx context.Context) {
	now := map[string]durable.Process{}
	for _, e := range (&looking{watch: w}).services() {
		if p, ok := w.h.lay.pidOf(e); ok {
			now[e] = p
		}
	}
	for service, f := range w.shims {
		if now[service] != f.process {
			f.stop()
			delete(w.shims, service)
		}
	}
	for service, p := range now {
		if _, ok := w.shims[service]; ok {
			continue
		}
		ctx, stop := context.WithCancel(ctx)
		w.shims[service] = followed{p, stop}
		go func() {
			if awaitEnd(ctx, p) {
				w.moved.Store(true)
				w.stir()
			}
		}()
	}
}

// alivePoll is how often a process is looked for where the kernel does not tell
// of its end.
const alivePoll = time.Second

// awaitEnd returns true once a process has ended, false when ctx has.
func awaitEnd(ctx context.Context, p durable.Process) bool {
	if ended, ok := awaitPidfd(ctx, p); ok {
		return ended
	}
	ticker := time.NewTicker(alivePoll)
	defer ticker.Stop()
	for p.Alive() {
		select {
		case <-ctx.Done():
			return false
		case <-ticker.C:
		}
	}
	return true
}
