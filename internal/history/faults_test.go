package history_test

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io/fs"
	"math/rand/v2"
	"os"
	"path/filepath"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"github.com/stella-ops/stella"
	"github.com/stella-ops/stella/internal/durable"
	"github.com/stella-ops/stella/internal/git"
	"github.com/stella-ops/stella/ledger"
)

const ref = ledger.DefaultPrefix + "/" + string(env)

// A fate is a file of Git configuration for the server's side of one
// connection.
const (
	fine   = ""
	before = "before" // receive-pack is killed before it moves the ref
	after  = "after"  // receive-pack is killed after that, and does not answer
	dark   = "dark"   // the remote can not be asked
)

// makeFates writes the configurations: hooks that kill the Git which runs them.
func makeFates(t testing.TB, dir string) {
	t.Helper()
	for fate, hook := range map[string][2]string{
		before: {"pre-receive", "kill -9 $PPID"},
		// Before post-receive is run the answer has been sent.
		after: {"reference-transaction", `[ "$1" != committed ] || kill -9 $PPID`},
	} {
		hooks := filepath.Join(dir, "hooks-"+fate)
		if err := os.Mkdir(hooks, 0o755); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(filepath.Join(hooks, hook[0]), []byte("#!/bin/sh\n"+hook[1]+"\n"), 0o755); err != nil {
			t.Fatal(err)
		}
		writeFile(t, filepath.Join(dir, fate), "[core]\n\thooksPath = "+hooks+"\n")
	}
	writeFile(t, filepath.Join(dir, dark), "[\n")
}

func writeFile(t testing.TB, file, content string) {
	t.Helper()
	if err := os.WriteFile(file, []byte(content), 0o600); err != nil {
		t.Fatal(err)
	}
}

// faults strikes a quarter of a client's pushes.
type faults struct {
	dir   string
	r     *rand.Rand
	on    bool
	blind bool // reading back never works

	fate string // of the next connections
	next string // of those after the first
}

// getenv is asked anew for each connection.
func (f *faults) getenv(name string) string {
	if name == "GIT_CONFIG_GLOBAL" && f.fate != fine {
		file := filepath.Join(f.dir, f.fate)
		f.fate = f.next
		return file
	}
	return clean(name)
}

func die() {
	_ = unix.Kill(os.Getpid(), unix.SIGKILL)
	select {} // it takes a moment
}

// perhapsDie is for effects that are no push.
func (f *faults) perhapsDie() {
	if f.on && f.r.IntN(8) == 0 {
		die()
	}
}

// push carries out one push with what may happen to it.
func (f *faults) push(do func() (ledger.Head, error)) (ledger.Head, error) {
	if !f.on || f.r.IntN(4) != 0 {
		return do()
	}
	defer func() { f.fate, f.next = fine, fine }()
	switch f.r.IntN(6) {
	case 0:
		die()
	case 1:
		wait := time.Duration(f.r.Int64N(int64(25 * time.Millisecond)))
		time.AfterFunc(wait, die)
		_, _ = do()
		select {}
	case 2:
		_, _ = do()
		die()
	case 3:
		f.fate, f.next = before, fine
	case 4:
		f.fate, f.next = after, fine
	case 5:
		f.fate, f.next = after, dark
	}
	if f.blind && f.fate == after {
		f.next = dark
	}
	return do()
}

// faulty is a store whose pushes go wrong, and that may be wrong itself.
type faulty struct {
	ledger.Store
	c *client
}

func (c *client) store() ledger.Store { return &faulty{ledger.NewGitStore(c.repo, ""), c} }

// Refresh implements ledger.Store.
func (s *faulty) Refresh(ctx context.Context, env stella.EnvName) error {
	err := s.Store.Refresh(ctx, env)
	if v := s.c.Variant; errors.Is(err, stella.ErrTampered) && (v == deletesRef || v == byForce) {
		// Whoever does such things does not mind them.
		if err := s.c.repo.AcceptHead(ref, ""); err != nil { //nolint:contextcheck // it takes none
			return err
		}
		return s.Store.Refresh(ctx, env)
	}
	return err
}

// Save implements ledger.Store.
func (s *faulty) Save(ctx context.Context, env stella.EnvName, old ledger.Head, e ledger.Entry) (ledger.Head, error) {
	head, err := s.c.faults.push(func() (ledger.Head, error) { return s.Store.Save(ctx, env, old, e) })
	switch {
	case s.c.Variant == noReadBack && errors.Is(err, stella.ErrUnreachable):
		return "", fmt.Errorf("%w: taken to have failed: %w", stella.ErrConflict, err)
	case s.c.Variant == byForce && errors.Is(err, stella.ErrConflict):
		return s.force(ctx, env, old, e)
	}
	return head, err
}

// force puts the ref back to where the writer believes it to be, and writes
// there: what came in between is lost.
func (s *faulty) force(ctx context.Context, env stella.EnvName, old ledger.Head, e ledger.Entry) (ledger.Head, error) {
	refs, err := s.c.repo.List(ctx)
	if err != nil {
		return "", err
	}
	if now := refs.IDs[ref]; now != git.ID(old) {
		if err := s.c.repo.Push(ctx, []git.Update{{Ref: ref, Old: now, New: git.ID(old)}}); err != nil {
			return "", err
		}
	}
	return s.Store.Save(ctx, env, old, e)
}

// deleteRef gives the lock back as a lock of its own would be: by deleting it.
func (c *client) deleteRef(ctx context.Context) error {
	refs, err := c.repo.Seen(ctx)
	if err != nil {
		return err
	}
	_, err = c.faults.push(func() (ledger.Head, error) {
		return "", c.repo.Push(ctx, []git.Update{{Ref: ref, Old: refs.IDs[ref]}})
	})
	return err
}

// target is what is deployed to: it refuses a fence lower than the highest it
// has seen, and keeps a line for each effect.
type target struct{ dir string }

func (t *target) file() string { return filepath.Join(t.dir, "effects") }

func (t *target) write(ctx context.Context, fence int64, deployment string) (err error) {
	lock, err := durable.WaitLock(ctx, t.file()+".lock")
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, lock.Unlock()) }()
	all, err := t.effects()
	if err != nil {
		return err
	}
	if n := len(all); n > 0 && all[n-1].fence > fence {
		return fmt.Errorf("%w: the target has seen fence %d", stella.ErrFenced, all[n-1].fence)
	}
	f, err := os.OpenFile(t.file(), os.O_CREATE|os.O_APPEND|os.O_WRONLY, 0o600)
	if err != nil {
		return err
	}
	_, err = fmt.Fprintf(f, "%d %s\n", fence, deployment)
	return errors.Join(err, f.Close())
}

type effect struct {
	fence      int64
	deployment string
}

func (t *target) effects() ([]effect, error) {
	f, err := os.Open(t.file())
	if errors.Is(err, fs.ErrNotExist) {
		return nil, nil
	}
	if err != nil {
		return nil, err
	}
	defer func() { _ = f.Close() }()
	var all []effect
	s := bufio.NewScanner(f)
	for s.Scan() {
		var e effect
		if _, err := fmt.Sscan(s.Text(), &e.fence, &e.deployment); err != nil {
			return nil, err
		}
		all = append(all, e)
	}
	return all, s.Err()
}
