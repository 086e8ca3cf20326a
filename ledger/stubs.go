package ledger

import (
	"context"
	"time"

	"github.com/stella-ops/stella"
)

func normalState(s State) State { return s }

// Apply returns the book after the event, or why that is not allowed.
func (b Book) Apply(e Event) (Book, error) { return b, nil }

// Verified returns the undo stack.
func (b Book) Verified() []stella.Deployment { return nil }

// Previous returns where a rollback goes.
func (b Book) Previous() (stella.Deployment, bool) { return stella.Deployment{}, false }

// Find returns the deployments that ref means.
func (b Book) Find(ref string) ([]stella.Deployment, error) { return nil, nil }

// Lock returns the lock that counts at the time: one by hand ends by itself.
func (b Book) Lock(now time.Time) *stella.Lock { return b.State.Lock }

// Report is what Verify found.
type Report struct {
	Environment stella.EnvName
	Transitions int64
	Findings    []Finding
}

// Finding is one thing that is not as it must be.
type Finding struct {
	Code, Message, At, Fix string
	Warning                bool
}

// OK reports whether there are no findings but warnings.
func (r Report) OK() bool { return len(r.Findings) == 0 }

// Verify replays the chain.
func Verify(ctx context.Context, store Store, env stella.EnvName, exists func(commit string) bool) (Report, error) {
	return Report{}, nil
}

// Journal is a deployment's local trace.
type Journal struct{}

// JournalLine is one line of a journal.
type JournalLine struct {
	At     time.Time         `json:"at"`
	Step   string            `json:"step"`
	Target string            `json:"target"`
	Event  string            `json:"event"`
	Error  string            `json:"error"`
	Detail map[string]string `json:"detail"`
}

// OpenJournal opens the journal of a deployment for appending.
func OpenJournal(dir, deployment string) (*Journal, error) { return &Journal{}, nil }

// Append writes a line.
func (j *Journal) Append(l JournalLine) error { return nil }

// Close closes it.
func (j *Journal) Close() error { return nil }

// ReadJournal reads a journal.
func ReadJournal(dir, deployment string) ([]JournalLine, error) { return nil, nil }

// RemoveJournal removes it.
func RemoveJournal(dir, deployment string) error { return nil }

// Journals lists deployments with one.
func Journals(dir string) ([]string, error) { return nil, nil }
