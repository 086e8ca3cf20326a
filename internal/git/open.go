package git

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"os"
	"path/filepath"
	"sync"
	"sync/atomic"
	"time"

	"github.com/stella-ops/stella"
	"github.com/stella-ops/stella/internal/durable"
	"github.com/stella-ops/stella/internal/git/odb"
	"github.com/stella-ops/stella/internal/git/wire"
)

const (
	defaultTimeout    = time.Minute
	defaultFetchBytes = 1 << 30
	// patience is how many times Timeout a fetch that keeps moving may take.
	patience = 10
	// strayAge is when a half-written file belongs to nobody any more.
	strayAge = time.Hour
)

// Repo is one remote with its cache. It is safe for several goroutines, and
// several Repos, of other processes, too, may share one cache.
type Repo struct {
	opts   Options
	remote *wire.Remote
	db     *odb.DB
	seen   *headsFile
	dirs   *dirCache

	writer  chan struct{} // holds one token: who has it may wait for the file lock
	overlay overlay       // what was built and not pushed
	rebuilt atomic.Int64  // when the cache was last rebuilt, Unix time; 0 never
	healing sync.Mutex    // one rebuild at a time

	who      sync.Mutex        // guards settings
	settings map[string]string // of git's configuration; nil until they are asked for
}

// Open opens the cache of a remote, making it if need be, and does not speak to
// the remote. Errors are of class stella.ErrInvalid for options that are wrong.
func Open(ctx context.Context, o Options) (*Repo, error) {
	o = withDefaults(o)
	remote, err := wire.New(o.URL, wire.Config{Getenv: o.Getenv, AllowHTTP: o.AllowHTTP, Timeout: o.Timeout})
	if err != nil {
		return nil, err
	}
	if err := privateDir(o.Dir); err != nil {
		return nil, fmt.Errorf("open the cache of %s: %w", remote.Endpoint(), err)
	}
	db, err := odb.Open(filepath.Join(o.Dir, "clone.git"))
	if err != nil {
		return nil, fmt.Errorf("open the cache of %s: %w", remote.Endpoint(), err)
	}
	r := &Repo{
		opts: o, remote: remote, db: db, dirs: newDirCache(),
		seen: &headsFile{path: filepath.Join(o.Dir, "heads.json")}, writer: make(chan struct{}, 1),
	}
	r.writer <- struct{}{}
	r.sweep(ctx)
	return r, nil
}

func withDefaults(o Options) Options {
	if o.Getenv == nil {
		o.Getenv = func(string) string { return "" }
	}
	if o.Timeout <= 0 {
		o.Timeout = defaultTimeout
	}
	if o.MaxFetchBytes <= 0 {
		o.MaxFetchBytes = defaultFetchBytes
	}
	if o.Logger == nil {
		o.Logger = slog.New(slog.DiscardHandler)
	}
	return o
}

// privateDir makes a directory for us alone. One that others can write to is
// refused: what is in it may not be ours.
func privateDir(dir string) error {
	if dir == "" {
		return fmt.Errorf("%w: no cache directory is named", stella.ErrInvalid)
	}
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return err
	}
	info, err := os.Stat(dir)
	if err != nil {
		return err
	}
	if info.Mode().Perm()&0o022 != 0 {
		return stella.WithHint(fmt.Errorf("%w: directory %s can be written to by others", stella.ErrInvalid, dir), "run 'chmod go-w "+dir+"'")
	}
	return nil
}

// sweep tidies up after crashes when nobody else is writing.
func (r *Repo) sweep(ctx context.Context) {
	lock, err := durable.TryLock(r.lockFile())
	if err != nil {
		return
	}
	defer func() { _ = lock.Unlock() }()
	err = r.db.Sweep(strayAge, time.Now())
	strays, globErr := filepath.Glob(filepath.Join(r.opts.Dir, ".heads.json.tmp-*"))
	for _, stray := range strays {
		// Whoever writes the file holds the lock.
		_ = os.Remove(stray)
	}
	if err = errors.Join(err, globErr, r.sweepSigning(time.Now())); err != nil {
		r.opts.Logger.DebugContext(ctx, "sweep the cache", "err", err)
	}
}

// Close lets go of files and connections. Trees that are still read fail.
func (r *Repo) Close() error {
	r.remote.Close()
	return r.db.Close()
}

// Remote returns where the remote is, without credentials, for people.
func (r *Repo) Remote() string { return r.remote.Endpoint().String() }

func (r *Repo) lockFile() string { return filepath.Join(r.opts.Dir, "lock") }

// locked runs fn while no other goroutine or process writes to the cache.
// Nothing that waits for the network runs here.
func (r *Repo) locked(ctx context.Context, fn func() error) error {
	select {
	case <-r.writer:
	case <-ctx.Done():
		return context.Cause(ctx)
	}
	defer func() { r.writer <- struct{}{} }()
	lock, err := durable.WaitLock(ctx, r.lockFile())
	switch {
	case err != nil && ctx.Err() != nil:
		// Not of class ErrLocked: no environment is.
		return fmt.Errorf("wait for the lock of the cache: %w", context.Cause(ctx))
	case err != nil:
		return fmt.Errorf("lock the cache: %w", err)
	}
	return errors.Join(fn(), lock.Unlock())
}
