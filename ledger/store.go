package ledger

import (
	"context"

	"github.com/stella-ops/stella"
)

// Head identifies one state of one environment's ledger: the id of the commit
// that stores it. Empty means that there is no ledger yet.
type Head string

// Entry is what one commit stores: its transitions and the state after them.
type Entry struct {
	Events []Event
	Book   Book
}

// Record is one commit of an environment's chain, as [Store.Walk] finds it.
type Record struct {
	Head   Head
	Parent Head // empty for the first
	Entry  Entry
	// Proved says that the store itself has replayed Events on the record before
	// and found every stored byte to be what comes out.
	Proved bool
	// Changed are the deployments whose records this commit wrote or removed. It
	// is not said of what is Proved.
	Changed []string
	// Err says why Entry could not be read; the walk goes on. For a commit that
	// is lost, only Head is known beside it.
	Err error
}

// Store keeps the chains. Implementations are safe for concurrent use and pass
// ledgertest.Run. What is read is checked for shape, size and environment:
// what is not as it must be is of class stella.ErrTampered or
// stella.ErrInvalid and names commit and position.
type Store interface {
	// Refresh looks at the remote. A head that does not descend from the last
	// one seen is of class stella.ErrTampered; a remote that does not answer
	// of stella.ErrUnreachable.
	Refresh(ctx context.Context, env stella.EnvName) error
	// Load returns what the last Refresh or Save left here, without the network.
	// Without a ledger the head is empty and the book new.
	Load(ctx context.Context, env stella.EnvName) (Head, Book, error)
	// Save stores the entry as the successor of old, and only if old is still
	// the remote's head: otherwise stella.ErrConflict. An outcome that got lost
	// is resolved by reading back; where that fails too, the error is of class
	// stella.ErrUnreachable and the entry may have landed.
	Save(ctx context.Context, env stella.EnvName, old Head, e Entry) (Head, error)
	// Environments lists the environments that have a ledger, sorted.
	Environments(ctx context.Context) ([]stella.EnvName, error)
	// Walk calls fn for each commit of the environment's whole chain, oldest
	// first, until fn returns an error, which it returns.
	Walk(ctx context.Context, env stella.EnvName, fn func(Record) error) error
}
