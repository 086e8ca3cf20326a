package reconciler

import (
	"fmt"
	"time"

	"github.com/stella-ops/stella"
	"github.com/stella-ops/stella/internal/durable"
	"github.com/stella-ops/stella/ledger"
)

// DriverState is what is known of who carries a deployment out.
type DriverState string

// The states of a driver.
const (
	DriverWaiting DriverState = "waiting" // nobody began: whoever applies is next
	DriverAlive   DriverState = "alive"   // it renews its lock
	DriverSilent  DriverState = "silent"  // it did not renew its lock in time, by the clocks of two machines
	DriverDead    DriverState = "dead"    // its lock may be taken over now, or is gone
)

// Driver is who carries out a deployment that has not ended.
type Driver struct {
	State   DriverState `json:"state"`
	Holder  string      `json:"holder"`  // of the lock; empty where nobody holds it for this deployment
	Machine string      `json:"machine"` // "this machine, process 4711", or which other one
	Since   *time.Time  `json:"since"`   // when it took the lock
	// RenewedAt is when it last renewed the lock, and TakeoverAt from when on
	// others may take it over where it does not again; by the clocks of the
	// holder, so that they are for reading only.
	RenewedAt  *time.Time `json:"renewedAt"`
	TakeoverAt *time.Time `json:"takeoverAt"`
	Reason     string     `json:"reason"` // why it is in this state
	Next       string     `json:"next"`   // the command to run
}

// driver says who carries d out; nil for one that has ended.
func (e *Engine) driver(l *ledger.Ledger, b ledger.Book, d stella.Deployment, now time.Time) *Driver {
	if !d.Status.Open() {
		return nil
	}
	resume := fmt.Sprintf("run 'stella reconcile %s'", d.Environment)
	lock := b.Lock(now)
	switch ours := lock != nil && lock.Deployment == d.ID; {
	case d.Status == stella.Pending:
		return &Driver{State: DriverWaiting, Reason: "it waits for whoever applies", Next: resume}
	case !ours:
		return &Driver{State: DriverDead, Reason: "nobody holds a lock for it", Next: resume + " to bring the environment to a known state"}
	}
	since, renewed := lock.AcquiredAt.UTC(), lock.RenewedAt.UTC()
	takeover := lock.ExpiresAt.UTC().Add(ledger.DefaultDelay)
	out := &Driver{
		State: DriverAlive, Holder: lock.Holder, Machine: machineWords(lock.Machine), Since: &since, RenewedAt: &renewed, TakeoverAt: &takeover,
		Next: fmt.Sprintf("run 'stella rollback status %s --follow'", d.ID),
	}
	stale, why := e.stale(l, d.Environment, lock)
	switch {
	case stale:
		out.State, out.Reason = DriverDead, why
		out.Next = resume + ": it takes the lock over and brings the environment to a known state"
	case now.After(takeover) && !isAlive(lock.Machine):
		out.State, out.Reason = DriverSilent, "it has not renewed its lock since "+renewed.Format(time.RFC3339)
		out.Next = resume + fmt.Sprintf(": it takes the lock over when it has watched it for %s", ledger.DefaultLease+ledger.DefaultDelay)
	default:
		out.Reason = "it renews its lock"
	}
	return out
}

// machineWords says where a process runs, as far as this one can tell.
func machineWords(machine string) string {
	p, err := durable.ParseProcess(machine)
	switch {
	case err != nil:
		return ""
	case p.Local():
		return fmt.Sprintf("this machine, process %d", p.PID)
	}
	return fmt.Sprintf("another machine (%.8s), process %d", p.Machine, p.PID)
}

// isAlive reports whether the process is known to run: it is of this machine.
func isAlive(machine string) bool {
	p, err := durable.ParseProcess(machine)
	return err == nil && p.Local() && p.Alive()
}
