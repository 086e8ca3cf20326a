package ledger

import (
	"fmt"
	"time"

	"github.com/stella-ops/stella"
	"github.com/stella-ops/stella/internal/safe"
)

// LockedError says who holds an environment. It is of class stella.ErrFrozen
// for a lock by hand, and of stella.ErrLocked for any other; its hint is the
// next command to run.
type LockedError struct {
	Environment stella.EnvName
	Lock        stella.Lock
	At          time.Time // when it was refused, for the lock's age; by the caller's clock
}

func (e *LockedError) Error() string {
	verb, until := "locked", "lease until"
	if e.Lock.ByHand {
		verb, until = "frozen", "until"
	}
	return fmt.Sprintf("%s is %s by %s", e.Environment, verb, holding(e.Lock, e.At)) +
		fmt.Sprintf(", %s %s", until, stamp(e.Lock.ExpiresAt))
}

// Unwrap returns the class, with a hint.
func (e *LockedError) Unwrap() error {
	class := stella.ErrLocked
	if e.Lock.ByHand {
		class = stella.ErrFrozen
	}
	return stella.WithHint(class, fmt.Sprintf("run 'stella orch locks list %s'", e.Environment))
}

// holding says who holds a lock, since when and for what.
func holding(l stella.Lock, now time.Time) string {
	s := fmt.Sprintf("%s since %s", safe.Clip(l.Holder, 200), stamp(l.AcquiredAt))
	if age := now.Sub(l.AcquiredAt); age > 0 {
		s += fmt.Sprintf(" (%s)", age.Truncate(time.Second))
	}
	if l.Deployment != "" {
		s += " for " + safe.Clip(l.Deployment, 100)
	}
	if l.Purpose != "" {
		s += ": " + safe.Clip(l.Purpose, 200)
	}
	return s
}

func stamp(t time.Time) string { return t.UTC().Format(time.RFC3339) }

// refuse makes an error of a class with a text of its own.
func refuse(class error, format string, args ...any) error {
	return fmt.Errorf("%w: %s", class, fmt.Sprintf(format, args...))
}
