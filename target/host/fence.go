package host

import (
	"context"
	"errors"
	"fmt"
	"io/fs"

	"github.com/stella-ops/stella"
	"github.com/stella-ops/stella/internal/durable"
	"github.com/stella-ops/stella/internal/safe"
)

// targetFile is target.json: who owns the root, and the highest fence it has
// seen. It is a stored format.
type targetFile struct {
	SchemaVersion int            `json:"schemaVersion"` // 1
	Environment   stella.EnvName `json:"environment"`   // empty once removed
	Target        string         `json:"target"`        // empty once removed
	Machine       string         `json:"machine"`       // see identity
	Fence         int64          `json:"fence"`         // never goes down
	// Sums says that who wrote this gives a sticker a sum: one without it was
	// edited. An older stella drops it when it writes its own sticker.
	Sums bool `json:"sums,omitempty"`
}

// readTarget reads target.json; the zero value where there is none.
func (h *Host) readTarget() (targetFile, error) {
	var t targetFile
	err := readJSON(h.lay.target(), &t)
	if errors.Is(err, fs.ErrNotExist) {
		return targetFile{}, nil
	}
	if errors.Is(err, fs.ErrPermission) {
		return t, stella.WithHint(err, "run stella as the user whose file "+h.lay.target()+" is")
	}
	if errors.Is(err, stella.ErrTampered) {
		return t, stella.WithHint(err, "restore "+h.lay.target()+" with a fence at least as high as the ledger's")
	}
	return t, err
}

// owns refuses a root of another machine or another target.
func (h *Host) owns(t targetFile) error {
	if t.Machine != "" && t.Machine != h.machine {
		return notTheMachine(h.cfg.Name)
	}
	if t.Target != "" && (t.Target != h.cfg.Name || t.Environment != h.cfg.Environment) {
		err := fmt.Errorf("%w: %s belongs to target %s of %s", stella.ErrRefused, h.cfg.Root, safe.Line(t.Target), safe.Line(string(t.Environment)))
		return stella.WithHint(err, "give every target a root of its own, or run 'stella orch env delete' on the other environment first")
	}
	return nil
}

// locked runs fn under the target's lock, after the fence was found to be the
// highest so far and was written down. It takes the lock for one effect at a
// time: who was overtaken between two of them is refused at the next.
func (h *Host) locked(ctx context.Context, fence int64, fn func() error) (err error) {
	if err := h.lay.makeDirs(""); err != nil {
		return fmt.Errorf("create %s: %w", h.cfg.Root, err)
	}
	lock, err := durable.WaitLock(ctx, h.lay.lock())
	if err != nil {
		return fmt.Errorf("wait for another stella on target %s: %w", h.cfg.Name, err)
	}
	defer func() { err = errors.Join(err, lock.Unlock()) }()
	if err := h.raise(fence); err != nil {
		return err
	}
	return fn()
}

// raise refuses a stale fence and makes a higher one durable. The caller holds
// the lock. A crash before the write leaves the old fence, which the same
// holder passes again.
func (h *Host) raise(fence int64) error {
	t, err := h.readTarget()
	if err != nil {
		return err
	}
	if err := h.owns(t); err != nil {
		return err
	}
	seen := max(t.Fence, h.stickerFence(t))
	if fence < seen {
		return fmt.Errorf("%w: target %s has seen fence %d, this is %d", stella.ErrFenced, h.cfg.Name, seen, fence)
	}
	want := targetFile{SchemaVersion: 1, Environment: h.cfg.Environment, Target: h.cfg.Name, Machine: h.machine, Fence: fence, Sums: true}
	if t == want {
		return nil
	}
	return h.effect("fence", func() error { return writeJSON(h.lay.target(), want) })
}

// stickerFence is the fence that the sticker names: what is left to go by where
// target.json was lost. One that was edited may name any, and of one without a
// sum nobody knows: it is gone by only where there is nothing else.
func (h *Host) stickerFence(t targetFile) int64 {
	s, err := h.readSticker()
	if err != nil || s == nil || !s.whole(t) || s.Sum == "" && t.SchemaVersion != 0 {
		return 0
	}
	return s.Fence
}
