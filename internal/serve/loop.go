package serve

import (
	"context"
	"errors"
	"math/rand/v2"
	"sync"
	"time"

	"github.com/cenkalti/backoff/v5"

	"github.com/stella-ops/stella"
	"github.com/stella-ops/stella/internal/git"
	"github.com/stella-ops/stella/reconciler"
)

// daemon is the state of a running Run.
type daemon struct {
	cfg Config
	// failed is told when a pass ended with an error, so that the wait is made
	// anew; it has room for one.
	failed chan struct{}
	// moved is told when an environment is to be looked into for readiness; it has
	// room for one.
	moved chan struct{}
	// stirred is told when there may be something to scan for drift; it has room
	// for one.
	stirred chan struct{}
	// again is told when an environment could not be passed because it was being
	// scanned; it has room for one.
	again chan struct{}
	// policed is the commit that the policies of drift were read from. The look
	// that is under way owns it.
	policed string
	// unprotected is why registries do not protect what rollbacks need, at the last
	// look; empty where they do. The loop that measures owns it.
	unprotected string

	mu           sync.Mutex // guards what follows
	environments map[stella.EnvName]*environment
	lastLook     time.Time // of the last look at the remote that succeeded
	lastErr      error     // of the last look; nil when it succeeded
	scans        int       // under way
	// When environments were last scanned, as the next daemon is to know it; nil
	// where nobody keeps it. unsaved says that it is newer than what was saved.
	recalled map[stella.EnvName]storedScan
	unsaved  bool
	saved    time.Time
}

func newDaemon(c Config) *daemon {
	room := func() chan struct{} { return make(chan struct{}, 1) }
	d := &daemon{cfg: c, failed: room(), moved: room(), stirred: room(), again: room(), environments: map[stella.EnvName]*environment{}}
	d.recallScans()
	c.Metrics.reads(d.readings)
	return d
}

// environment is what the daemon remembers of one environment. The pass or the
// scan that is busy with it owns it.
type environment struct {
	key     string // what was asked for when it was last settled; empty: look again
	tried   string // what was asked for when it last ended with an error
	busy    bool
	backoff *backoff.ExponentialBackOff
	next    time.Time // not before, after an error
	// Of readiness, guarded by the daemon's mutex: what was asked for when it was
	// last to be looked into, whether that is still to come, and the last verdict.
	weighed   string
	unweighed bool
	verdict   *bool

	drift  lookout
	wanted bool // a pass was wanted while it was scanned
}

// maxPasses bounds how many environments are worked on at once: one bad
// environment does not stop the others.
const maxPasses = 8

// loop looks, works and waits until ctx ends, and then for the passes that are
// under way.
func (d *daemon) loop(ctx context.Context, wake <-chan struct{}) {
	var passes sync.WaitGroup
	slots := make(chan struct{}, maxPasses)
	passes.Go(func() { d.measure(ctx) })
	passes.Go(func() { d.capture(ctx) })
	passes.Go(func() { d.lookOut(ctx) })
	for ctx.Err() == nil {
		d.look(ctx, &passes, slots)
		d.sleep(ctx, wake)
	}
	passes.Wait()
}

// sleep returns when it is time for the next look.
func (d *daemon) sleep(ctx context.Context, wake <-chan struct{}) {
	for {
		select {
		case <-d.failed: // it may be tried again sooner than the next poll
			continue
		case <-ctx.Done():
		case <-wake:
		case <-d.again:
		case <-time.After(d.wait()):
		}
		return
	}
}

// wait is the time to the next look: the poll with a tenth of jitter, or sooner
// when an environment is to be tried again.
func (d *daemon) wait() time.Duration {
	wait := d.cfg.Poll - d.cfg.Poll/20 + rand.N(d.cfg.Poll/10+1) //nolint:gosec // jitter, not a secret
	d.mu.Lock()
	defer d.mu.Unlock()
	if busy, ok := errors.AsType[*git.BusyError](d.lastErr); ok {
		return max(wait, busy.After) // it asked for that; a wake still wakes
	}
	if d.lastErr != nil {
		return wait // nothing can be tried while the remote does not answer
	}
	for _, env := range d.environments {
		if !env.busy && !env.next.IsZero() {
			wait = min(wait, max(time.Until(env.next), minWait))
		}
	}
	return wait
}

const minWait = 100 * time.Millisecond

// look asks the remote and starts a pass for every environment that asks for
// something else than what it was settled on.
func (d *daemon) look(ctx context.Context, passes *sync.WaitGroup, slots chan struct{}) {
	heads, err := d.cfg.Engine.Heads(ctx)
	d.looked(err)
	if err != nil {
		return
	}
	for name, key := range heads.Keys {
		env := d.claim(name, key)
		if env == nil {
			continue
		}
		passes.Go(func() {
			slots <- struct{}{}
			defer func() { <-slots }()
			d.pass(ctx, name, env, key)
		})
	}
	d.forget(heads)
	d.policies(ctx, heads.Commit)
}

// lookAgain has the branch looked at without waiting for the poll.
func (d *daemon) lookAgain() {
	select {
	case d.again <- struct{}{}:
	default: // told already
	}
}

func (d *daemon) looked(err error) {
	d.mu.Lock()
	defer d.mu.Unlock()
	if err == nil && d.lastErr != nil {
		for _, env := range d.environments {
			env.key = "" // something may have been done without the repository
		}
	}
	d.lastErr = err
	if err == nil {
		d.lastLook = time.Now()
	}
	d.cfg.Metrics.looked(d.lastLook, err)
	if err != nil && !errors.Is(err, context.Canceled) {
		d.cfg.Logger.Warn("look at the config repository", "err", err)
	}
}

// claim returns the environment when it needs a pass and nobody is at it.
func (d *daemon) claim(name stella.EnvName, key string) *environment {
	d.mu.Lock()
	defer d.mu.Unlock()
	env := d.environments[name]
	if env == nil {
		env = &environment{}
		d.environments[name] = env
	}
	if env.key == key || env.tried == key && time.Now().Before(env.next) {
		return nil
	}
	if env.busy {
		env.wanted = env.drift.scanning
		return nil
	}
	env.busy = true
	return env
}

// forget drops environments that are gone from the branch. What they run stays:
// only a person deletes.
func (d *daemon) forget(heads reconciler.Heads) {
	d.mu.Lock()
	defer d.mu.Unlock()
	for name, env := range d.environments {
		if _, ok := heads.Keys[name]; !ok && !env.busy {
			env.drift.stopWatching()
			delete(d.environments, name)
			delete(d.recalled, name)
			d.cfg.Metrics.forget(name)
		}
	}
}

// pass reconciles one environment and decides when to look at it again.
func (d *daemon) pass(ctx context.Context, name stella.EnvName, env *environment, key string) {
	out, err := d.reconcile(ctx, name)
	d.cfg.Metrics.passed(name, out, err)
	d.mu.Lock()
	defer d.mu.Unlock()
	env.busy, env.tried = false, key
	d.settled(env, out, err)
	d.stir() // what is due waited for this
	if err == nil {
		d.weighSoon(env, key)
	}
	switch {
	case err == nil && (out.Sync == stella.Synced || out.Nothing):
		env.key, env.next, env.backoff = key, time.Time{}, nil
	case err == nil, errors.Is(err, stella.ErrLocked), errors.Is(err, stella.ErrFrozen):
		env.key, env.next, env.backoff = "", time.Time{}, nil // held, failed, locked: somebody decides; look again with each poll
	default:
		env.key = ""
		env.retry()
		select {
		case d.failed <- struct{}{}:
		default: // told already
		}
		d.cfg.Logger.WarnContext(ctx, "reconcile", "environment", name, "err", err, "again_at", env.next.UTC().Format(time.RFC3339))
	}
}

// reconcile runs one pass. A panic in it is that environment's error and
// nobody else's.
func (d *daemon) reconcile(ctx context.Context, name stella.EnvName) (out reconciler.Outcome, err error) {
	defer func() {
		if p := recover(); p != nil {
			err = panicked(p)
		}
	}()
	return d.cfg.Engine.Reconcile(ctx, reconciler.ReconcileRequest{Environment: name, Automatic: true})
}

// Errors are tried again after one second, then twice as long each time, at
// most five minutes.
const (
	firstRetry = time.Second
	lastRetry  = 5 * time.Minute
)

func (env *environment) retry() {
	if env.backoff == nil {
		env.backoff = backoff.NewExponentialBackOff()
		env.backoff.InitialInterval, env.backoff.MaxInterval = firstRetry, lastRetry
	}
	env.next = time.Now().Add(env.backoff.NextBackOff())
}
