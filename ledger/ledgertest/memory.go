// Package ledgertest has [Memory], a ledger.Store that behaves, and [Run], what
// every ledger.Store has to pass.
//
// Memory keeps what it is given in the stored form, so that nothing survives
// it that would not survive a commit; it loses requests and responses when it
// is told to. It knows nothing of Git.
package ledgertest

import (
	"bytes"
	"context"
	"fmt"
	"maps"
	"slices"
	"sync"

	"github.com/stella-ops/stella"
	"github.com/stella-ops/stella/internal/git"
	"github.com/stella-ops/stella/ledger"
)

// remote is what several clients share.
type remote struct {
	mu     sync.Mutex // guards chains
	chains map[stella.EnvName][]commit
	ids    int
}

type commit struct {
	head, parent ledger.Head
	files        map[string][]byte
	trees        map[string]string
}

// Memory is one client of a remote in memory, with a cache of its own. It is
// safe for concurrent use.
type Memory struct {
	remote *remote

	mu            sync.Mutex // guards what follows
	seen          map[stella.EnvName][]commit
	loseResponses int
	loseRequests  int
	offline       bool
	saves         int
}

// NewMemory returns a client of a new, empty remote.
func NewMemory() *Memory {
	return client(&remote{chains: map[stella.EnvName][]commit{}})
}

func client(r *remote) *Memory { return &Memory{remote: r, seen: map[stella.EnvName][]commit{}} }

// Client returns another client of the same remote; its cache is empty.
func (m *Memory) Client() *Memory { return client(m.remote) }

// LoseResponses makes the next n Saves of this client land and be answered with
// stella.ErrUnreachable.
func (m *Memory) LoseResponses(n int) {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.loseResponses = n
}

// LoseRequests makes the next n Saves of this client not land and be answered
// with stella.ErrUnreachable.
func (m *Memory) LoseRequests(n int) {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.loseRequests = n
}

// SetOffline keeps this client from its remote.
func (m *Memory) SetOffline(offline bool) {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.offline = offline
}

// Saves returns how many Saves of this client reached the remote and won: what
// a host would count as pushes.
func (m *Memory) Saves() int {
	m.mu.Lock()
	defer m.mu.Unlock()
	return m.saves
}

// Rewind takes the remote's last n commits of an environment away, as a forced
// push would.
func (m *Memory) Rewind(env stella.EnvName, n int) {
	m.remote.mu.Lock()
	defer m.remote.mu.Unlock()
	chain := m.remote.chains[env]
	m.remote.chains[env] = chain[:len(chain)-n]
}

// Tamper lets edit change the files of the remote's i-th commit, from 0, as
// somebody with access to its storage could. Clients that have seen it keep
// what they saw.
func (m *Memory) Tamper(env stella.EnvName, i int, edit func(files map[string][]byte)) {
	m.remote.mu.Lock()
	defer m.remote.mu.Unlock()
	chain := slices.Clone(m.remote.chains[env])
	files := maps.Clone(chain[i].files)
	for name, data := range files {
		files[name] = bytes.Clone(data)
	}
	edit(files)
	chain[i].files = files
	m.remote.chains[env] = chain
}

// Swap exchanges two of the remote's commits, from 0, apart from who follows
// whom.
func (m *Memory) Swap(env stella.EnvName, i, j int) {
	m.remote.mu.Lock()
	defer m.remote.mu.Unlock()
	chain := slices.Clone(m.remote.chains[env])
	a, b := &chain[i], &chain[j]
	a.files, b.files = b.files, a.files
	a.trees, b.trees = b.trees, a.trees
	m.remote.chains[env] = chain
}

func unreachable() error {
	return fmt.Errorf("%w: the remote does not answer", stella.ErrUnreachable)
}

// Refresh implements ledger.Store.
func (m *Memory) Refresh(ctx context.Context, env stella.EnvName) error {
	if ctx.Err() != nil {
		return context.Cause(ctx)
	}
	m.mu.Lock()
	defer m.mu.Unlock()
	return m.refresh(env)
}

func (m *Memory) refresh(env stella.EnvName) error {
	if m.offline {
		return unreachable()
	}
	m.remote.mu.Lock()
	now := m.remote.chains[env]
	m.remote.mu.Unlock()
	if seen := m.seen[env]; len(seen) > 0 {
		last := seen[len(seen)-1].head
		if !slices.ContainsFunc(now, func(c commit) bool { return c.head == last }) {
			return fmt.Errorf("%w: the ledger of %s was at %s, which it does not descend from", stella.ErrTampered, env, last)
		}
	}
	m.seen[env] = now
	return nil
}

// Load implements ledger.Store.
func (m *Memory) Load(ctx context.Context, env stella.EnvName) (ledger.Head, ledger.Book, error) {
	if ctx.Err() != nil {
		return "", ledger.Book{}, context.Cause(ctx)
	}
	m.mu.Lock()
	chain := m.seen[env]
	m.mu.Unlock()
	if len(chain) == 0 {
		return "", ledger.NewBook(env), nil
	}
	c := chain[len(chain)-1]
	e, err := c.entry(env)
	if err == nil {
		err = e.Book.Check()
	}
	if err != nil {
		return c.head, ledger.Book{}, fmt.Errorf("commit %s: %w", c.head, err)
	}
	return c.head, e.Book, nil
}

func (c commit) entry(env stella.EnvName) (ledger.Entry, error) {
	e, err := ledger.DecodeEntry(env, c.files)
	e.Book.Trees = c.trees
	return e, err
}

// Save implements ledger.Store.
func (m *Memory) Save(ctx context.Context, env stella.EnvName, old ledger.Head, e ledger.Entry) (ledger.Head, error) {
	if ctx.Err() != nil {
		return "", context.Cause(ctx)
	}
	if e.Book.State.Environment != env {
		return "", fmt.Errorf("%w: the book of %s in the ledger of %s", stella.ErrInvalid, e.Book.State.Environment, env)
	}
	files, err := ledger.EncodeEntry(e)
	if err != nil {
		return "", err
	}
	m.mu.Lock()
	defer m.mu.Unlock()
	if m.offline {
		return "", unreachable()
	}
	if m.loseRequests > 0 {
		m.loseRequests--
		return "", fmt.Errorf("%w: %w: the request got lost", git.ErrUnknownOutcome, stella.ErrUnreachable)
	}
	chain, err := m.remote.push(env, commit{parent: old, files: files, trees: maps.Clone(e.Book.Trees)})
	if err != nil {
		return "", err
	}
	m.saves++
	if m.loseResponses > 0 {
		m.loseResponses--
		return "", fmt.Errorf("%w: %w: the response got lost", git.ErrUnknownOutcome, stella.ErrUnreachable)
	}
	m.seen[env] = chain
	return chain[len(chain)-1].head, nil
}

func (r *remote) push(env stella.EnvName, c commit) ([]commit, error) {
	r.mu.Lock()
	defer r.mu.Unlock()
	chain := r.chains[env]
	var head ledger.Head
	if len(chain) > 0 {
		head = chain[len(chain)-1].head
	}
	if head != c.parent {
		return nil, fmt.Errorf("%w: the ledger of %s is at %q, not at %q", stella.ErrConflict, env, head, c.parent)
	}
	r.ids++
	c.head = ledger.Head(fmt.Sprintf("%040x", r.ids))
	chain = append(slices.Clip(chain), c)
	r.chains[env] = chain
	return chain, nil
}

// Environments implements ledger.Store.
func (m *Memory) Environments(ctx context.Context) ([]stella.EnvName, error) {
	if ctx.Err() != nil {
		return nil, context.Cause(ctx)
	}
	m.mu.Lock()
	defer m.mu.Unlock()
	if m.offline {
		return nil, unreachable()
	}
	m.remote.mu.Lock()
	defer m.remote.mu.Unlock()
	return append([]stella.EnvName{}, slices.Sorted(maps.Keys(m.remote.chains))...), nil
}

// Walk implements ledger.Store.
func (m *Memory) Walk(ctx context.Context, env stella.EnvName, fn func(ledger.Record) error) error {
	m.mu.Lock()
	rewound := m.refresh(env)
	chain := m.seen[env]
	m.mu.Unlock()
	if rewound != nil && m.isOffline() {
		return rewound
	}
	var before map[string][]byte
	for _, c := range chain {
		if ctx.Err() != nil {
			return context.Cause(ctx)
		}
		e, err := c.entry(env)
		r := ledger.Record{Head: c.head, Parent: c.parent, Entry: e, Changed: changed(before, c.files, env), Err: err}
		if err := fn(r); err != nil {
			return err
		}
		before = c.files
	}
	return rewound
}

func (m *Memory) isOffline() bool {
	m.mu.Lock()
	defer m.mu.Unlock()
	return m.offline
}

// changed lists the deployments whose files differ.
func changed(before, after map[string][]byte, env stella.EnvName) []string {
	var ids []string
	add := func(data []byte) {
		if d, err := ledger.DecodeDeployment(env, data, false); err == nil {
			ids = append(ids, d.ID)
		}
	}
	for name, data := range after {
		if !bytes.Equal(before[name], data) {
			add(data)
		}
	}
	for name, data := range before {
		if after[name] == nil {
			add(data)
		}
	}
	slices.Sort(ids)
	return ids
}
