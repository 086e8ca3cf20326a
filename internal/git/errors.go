package git

import (
	"errors"
	"fmt"

	"github.com/stella-ops/stella"
	"github.com/stella-ops/stella/internal/git/wire"
	"github.com/stella-ops/stella/internal/safe"
)

var (
	// ErrUnknownOutcome says that a push may or may not have landed and the remote could
	// not be asked. Such an error is of class stella.ErrUnreachable, too. Trying
	// again with the same Old is safe.
	ErrUnknownOutcome = errors.New("outcome unknown")
	// ErrEmpty says that the remote has no commit yet. Such an error is of class
	// stella.ErrNotFound, too.
	ErrEmpty = errors.New("the repository is empty")
)

// RewoundError says that a ref no longer descends from where it was last seen.
// It is of class stella.ErrTampered. Repo.AcceptHead accepts it.
type RewoundError struct {
	Ref  string // "HEAD" when the default branch became another; Seen and Now are zero then
	Seen ID     // last seen
	Now  ID     // what the remote has; empty: the ref is gone
	Note string // what to know besides
}

// Error implements error.
func (e *RewoundError) Error() string {
	switch {
	case e.Ref == "HEAD":
		return fmt.Sprintf("%s: %s", stella.ErrTampered, e.Note)
	case e.Now == "":
		return fmt.Sprintf("%s: %s was at %s and is gone", stella.ErrTampered, safe.Line(e.Ref), e.Seen.Short())
	}
	return fmt.Sprintf("%s: %s was at %s and is now at %s, which does not descend from it",
		stella.ErrTampered, safe.Line(e.Ref), e.Seen.Short(), e.Now.Short())
}

// Unwrap returns stella.ErrTampered.
func (e *RewoundError) Unwrap() error { return stella.ErrTampered }

// RejectedError says that the remote refused an update for a reason of its own:
// a hook, a protected branch, a hidden ref. It is of class stella.ErrRefused.
type RejectedError struct {
	Ref    string
	Reason string // the remote's words, printable and bounded
}

// Error implements error.
func (e *RejectedError) Error() string {
	return fmt.Sprintf("%s: the remote rejected %s: %s", stella.ErrRefused, safe.Line(e.Ref), e.Reason)
}

// Unwrap returns stella.ErrRefused.
func (e *RejectedError) Unwrap() error { return stella.ErrRefused }

// BusyError says that the remote asked to come back later. It is of class
// stella.ErrUnreachable.
type BusyError = wire.BusyError
