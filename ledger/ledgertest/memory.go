// Package ledgertest has a store that behaves and the conformance suite for
// every other one.
package ledgertest

import (
	"context"
	"testing"

	"github.com/stella-ops/stella"
	"github.com/stella-ops/stella/ledger"
)

// Memory is a ledger.Store in memory.
type Memory struct{}

// NewMemory returns an empty store.
func NewMemory() *Memory { return &Memory{} }

// Client returns another client of the same remote with a cache of its own.
func (m *Memory) Client() *Memory { return m }

// LoseResponses makes the next n Saves land and be answered with
// stella.ErrUnreachable.
func (m *Memory) LoseResponses(n int) {}

// LoseRequests makes the next n Saves not land and be answered with
// stella.ErrUnreachable.
func (m *Memory) LoseRequests(n int) {}

// SetOffline makes the remote not answer at all.
func (m *Memory) SetOffline(offline bool) {}

// Refresh implements ledger.Store.
func (m *Memory) Refresh(ctx context.Context, env stella.EnvName) error { return nil }

// Load implements ledger.Store.
func (m *Memory) Load(ctx context.Context, env stella.EnvName) (ledger.Head, ledger.Book, error) {
	return "", ledger.NewBook(env), nil
}

// Save implements ledger.Store.
func (m *Memory) Save(ctx context.Context, env stella.EnvName, old ledger.Head, e ledger.Entry) (ledger.Head, error) {
	return "", nil
}

// Environments implements ledger.Store.
func (m *Memory) Environments(ctx context.Context) ([]stella.EnvName, error) { return nil, nil }

// Walk implements ledger.Store.
func (m *Memory) Walk(ctx context.Context, env stella.EnvName, fn func(ledger.Record) error) error {
	return nil
}

// Run holds a store against what ledger.Store promises. Each call of open
// returns another client of one remote per test.
func Run(t *testing.T, open func(t *testing.T) ledger.Store) {}
