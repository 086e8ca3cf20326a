package history_test

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"math/rand/v2"
	"os"
	"path/filepath"
	"time"

	"golang.org/x/sys/unix"

	"github.com/stella-ops/stella"
	"github.com/stella-ops/stella/internal/git"
	"github.com/stella-ops/stella/internal/git/gittest"
	"github.com/stella-ops/stella/ledger"
)

const env = stella.EnvName("production")

// Operations of a client.
const (
	acquire  = "acquire"
	progress = "progress"
	apply    = "apply" // the effect on the target
	finish   = "finish"
	release  = "release"
)

// Answers that a client heard.
const (
	answered = "ok"
	refused  = "refused"
	unknown  = "unknown"
)

// entry is one line of a client's log. An operation has a call, a try for each
// time that something was about to be sent, and a return unless its client was
// killed.
type entry struct {
	What     string // call, try or return
	At       int64  // nanoseconds of the machine's monotonic clock
	Op       string
	Nonce    string // of the operation
	Fence    int64  // that it is done under
	Prev     int64  // try of an acquire: the fence that it saw
	Takeover bool   // try of an acquire: of a lock that was held
	ID       string // the deployment, if it is about one
	Answer   string // return
	Class    string // return: of a refusal
}

// tenure is what a client holds.
type tenure struct {
	lock    stella.Lock
	applied bool
	ended   bool // the outcome is recorded; only for who records it too early
}

// client is one process.
type client struct {
	config
	r      *rand.Rand
	repo   *git.Repo
	ledger *ledger.Ledger
	watch  *ledger.Watch
	target *target
	faults faults
	log    *os.File
	held   *tenure
	now    entry // the operation under way
	count  int
}

func stateDir(dir string, slot int) string { return filepath.Join(dir, fmt.Sprint("client-", slot)) }

func logFile(dir string, slot, life int) string {
	return filepath.Join(dir, fmt.Sprintf("log-%d-%03d", slot, life))
}

func work(cfg config) error {
	ctx, cancel := context.WithTimeout(context.Background(), patience)
	defer cancel()
	c := &client{config: cfg, r: rand.New(rand.NewPCG(cfg.Seed, uint64(cfg.Slot)<<32|uint64(cfg.Life)))}
	c.faults = faults{dir: cfg.Dir, r: c.r, on: cfg.Kills, blind: cfg.Variant == noReadBack}
	c.target = &target{dir: cfg.Dir}
	var err error
	if c.log, err = os.OpenFile(logFile(cfg.Dir, cfg.Slot, cfg.Life), os.O_CREATE|os.O_APPEND|os.O_WRONLY, 0o600); err != nil {
		return err
	}
	c.repo, err = git.Open(ctx, git.Options{URL: cfg.URL, Dir: stateDir(cfg.Dir, cfg.Slot), Timeout: patience / 5, Getenv: c.faults.getenv})
	if err != nil {
		return err
	}
	// All of them are the same person on the same machine, which is not this one:
	// nobody is known to be dead, so takeovers wait.
	c.ledger = ledger.New(c.store(), ledger.Options{Actor: "ana@example.com", Machine: "elsewhere/boot/1/1", Lease: lease, Delay: delay})
	c.watch = c.ledger.NewWatch()
	for c.count < c.Ops {
		if err := c.step(ctx); err != nil {
			return err
		}
		if err := c.pause(ctx); err != nil {
			return err
		}
	}
	return errors.Join(c.log.Close(), c.repo.Close())
}

// pause is short, or longer than the lease, or until somebody has taken over.
func (c *client) pause(ctx context.Context) error {
	d := time.Duration(c.r.Int64N(int64(8 * time.Millisecond)))
	if c.held != nil {
		switch c.r.IntN(8) {
		case 0, 1:
			d = lease + 3*delay + time.Duration(c.r.Int64N(int64(2*lease)))
		case 2:
			return c.oversleep(ctx)
		}
	}
	time.Sleep(d)
	return nil
}

// oversleep waits until the lock is somebody else's. They may all be waiting for
// something, or be done: it does not wait for ever.
func (c *client) oversleep(ctx context.Context) error {
	for range 30 {
		b, err := c.ledger.Refresh(ctx, env)
		if err != nil && !errors.Is(err, stella.ErrUnreachable) {
			return err
		}
		if l := b.State.Lock; err == nil && l != nil && l.Fence != c.held.lock.Fence {
			return nil
		}
		time.Sleep(delay)
	}
	return nil
}

func (c *client) step(ctx context.Context) error {
	if c.held == nil {
		if err := c.waitForTurn(ctx); err != nil {
			return err
		}
		return c.take(ctx)
	}
	deploys := c.held.lock.Deployment != ""
	switch {
	case c.r.IntN(5) < 2:
		return c.renew(ctx)
	case !deploys:
		return c.letGo(ctx)
	case c.held.ended, !c.held.applied && c.Variant != outcomeBefore:
		return c.touch(ctx)
	default:
		return c.end(ctx)
	}
}

// waitForTurn waits until the lock looks free, or for a while: then it asks for
// it all the same.
func (c *client) waitForTurn(ctx context.Context) error {
	for range 25 {
		b, err := c.ledger.Refresh(ctx, env)
		if errors.Is(err, stella.ErrUnreachable) {
			continue
		}
		if err != nil {
			return err
		}
		if stale, _ := c.watch.Stale(b.State.Lock); stale {
			return nil
		}
		time.Sleep(time.Duration(4+c.r.IntN(8)) * time.Millisecond)
	}
	return ctx.Err()
}

// begun notes the start of an operation.
func (c *client) begun(op string, fence int64) {
	c.count++
	c.now = entry{Op: op, Nonce: fmt.Sprintf("%d-%d-%d", c.Slot, c.Life, c.count), Fence: fence}
	c.write("call")
}

// ended notes what was heard.
func (c *client) ended(err error) error {
	switch {
	case err == nil:
		c.now.Answer = answered
	case errors.Is(err, stella.ErrUnreachable):
		c.now.Answer = unknown
	case errors.Is(err, stella.ErrFenced), errors.Is(err, stella.ErrLocked), errors.Is(err, stella.ErrConflict):
		c.now.Answer, c.now.Class = refused, classOf(err)
	default:
		return fmt.Errorf("%s: %w", c.now.Op, err)
	}
	c.write("return")
	if c.now.Answer != answered {
		c.held = nil
	}
	return nil
}

func classOf(err error) string {
	for _, class := range []error{stella.ErrFenced, stella.ErrLocked, stella.ErrConflict} {
		if errors.Is(err, class) {
			return class.Error()
		}
	}
	return ""
}

// write appends a line in one call of write(2): it is there if the process is
// killed right after.
func (c *client) write(what string) {
	c.now.What, c.now.At = what, monotonic()
	data, err := json.Marshal(c.now)
	if err == nil {
		_, err = c.log.Write(append(data, '\n'))
	}
	if err != nil {
		panic(err)
	}
}

func monotonic() int64 {
	var ts unix.Timespec
	if err := unix.ClockGettime(unix.CLOCK_MONOTONIC, &ts); err != nil {
		panic(err)
	}
	return ts.Nano()
}

// append is Append that notes each event that is about to be sent.
func (c *client) append(ctx context.Context, decide func(ledger.Book) ledger.Event) (ledger.Book, error) {
	noted := func(b ledger.Book) ([]ledger.Event, error) {
		e := decide(b)
		if e == nil {
			return nil, fmt.Errorf("%w: not stale", stella.ErrLocked)
		}
		c.write("try")
		return []ledger.Event{e}, nil
	}
	b, err := c.ledger.Append(ctx, env, noted)
	if c.Variant == blindRetry && errors.Is(err, stella.ErrUnreachable) {
		b, err = c.ledger.Append(ctx, env, noted)
	}
	return b, err
}

func (c *client) meta() ledger.Meta { return ledger.Meta{Nonce: c.now.Nonce} }

// sameSecond is what two processes of one person agree on.
func (c *client) sameSecond() ledger.Meta {
	m := c.meta()
	if m.At = time.Now().UTC().Truncate(time.Second); c.Variant == noNonce {
		m.Nonce = "none"
	}
	return m
}

// take begins a deployment, or takes the lock for work that is none.
func (c *client) take(ctx context.Context) error {
	c.begun(acquire, 0)
	deploys := c.r.IntN(3) > 0
	b, err := c.append(ctx, func(b ledger.Book) ledger.Event {
		takeover := ""
		if l := b.State.Lock; l != nil {
			if stale, _ := c.watch.Stale(l); !stale {
				return nil
			}
			takeover = l.ID
		}
		fence := b.State.Fence + 1
		c.now.Fence, c.now.Prev, c.now.Takeover = fence, b.State.Fence, takeover != ""
		lock := stella.Lock{ID: "lock-" + c.now.Nonce}
		if c.Variant == noNonce {
			lock.ID = fmt.Sprint("lock-", fence)
		}
		if !deploys {
			lock.Purpose = "test"
			return ledger.Lock{Meta: c.sameSecond(), Lock: lock, Takeover: takeover}
		}
		c.now.ID = b.NextID()
		if c.Variant == intentAfter && c.target.write(ctx, fence, c.now.ID) != nil {
			return nil
		}
		return ledger.Begin{Meta: c.sameSecond(), Deployment: stella.Deployment{Kind: stella.KindDeploy}, Lock: lock, Takeover: takeover}
	})
	if err == nil {
		c.held = &tenure{lock: *b.State.Lock, applied: c.Variant == intentAfter}
	}
	return c.ended(err)
}

// mine is the lock to write under.
func (c *client) mine(b ledger.Book) stella.Lock {
	if l := b.State.Lock; c.Variant == noFence && l != nil {
		return *l
	}
	return c.held.lock
}

func (c *client) renew(ctx context.Context) error {
	c.begun(progress, c.held.lock.Fence)
	_, err := c.append(ctx, func(b ledger.Book) ledger.Event {
		l := c.mine(b)
		return ledger.Progress{Meta: c.meta(), ID: l.Deployment, LockID: l.ID}
	})
	return c.ended(err)
}

func (c *client) letGo(ctx context.Context) error {
	c.begun(release, c.held.lock.Fence)
	if c.Variant == deletesRef {
		c.write("try")
		err := c.deleteRef(ctx)
		c.held = nil
		return c.ended(err)
	}
	_, err := c.append(ctx, func(b ledger.Book) ledger.Event {
		return ledger.Unlock{Meta: c.meta(), LockID: c.mine(b).ID, Reason: "done"}
	})
	c.held = nil
	return c.ended(err)
}

// touch is the effect of a deployment.
func (c *client) touch(ctx context.Context) error {
	c.begun(apply, c.held.lock.Fence)
	c.now.ID = c.held.lock.Deployment
	c.faults.perhapsDie()
	err := c.target.write(ctx, c.held.lock.Fence, c.held.lock.Deployment)
	c.faults.perhapsDie()
	ended := c.held.ended
	c.held.applied = true
	if ended {
		c.held = nil
	}
	return c.ended(err)
}

func (c *client) end(ctx context.Context) error {
	c.begun(finish, c.held.lock.Fence)
	c.now.ID = c.held.lock.Deployment
	_, err := c.append(ctx, func(b ledger.Book) ledger.Event {
		d, _ := b.Deployment(c.held.lock.Deployment)
		d.ID, d.Status = c.held.lock.Deployment, stella.Succeeded
		return ledger.Finish{Meta: c.meta(), Deployment: d, LockID: c.held.lock.ID, Current: true}
	})
	if c.held.ended = true; c.held.applied {
		c.held = nil
	}
	return c.ended(err)
}

// clean is what Git finds in its environment.
func clean(name string) string { return gittest.Getenv()(name) }
