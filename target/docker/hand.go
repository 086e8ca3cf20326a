package docker

import (
	"context"
	"time"

	"github.com/stella-ops/stella/internal/effect"
)

// hand is the target under a fence: nothing else changes anything on the engine.
type hand struct {
	*Docker
	fence int64
}

func (d *Docker) under(fence int64) hand { return hand{d, fence} }

// effect carries out one call that changes something on the engine. Every such
// call goes through it: it is refused once somebody with a higher fence was
// there, it ends after a time of its own, its error has a class, and tests can
// fail or crash before and after it.
func (d hand) effect(ctx context.Context, verb, what string, most time.Duration, do func(ctx context.Context) error) error {
	if d.trip != nil {
		if err := d.trip(verb+" "+what, false); err != nil {
			return err
		}
	}
	if err := d.gate(ctx, d.fence); err != nil {
		return err
	}
	ctx, cancel := d.within(ctx, most)
	defer cancel()
	if err := effect.Do(verb, what, func() error { return fault(do(ctx)) }); err != nil {
		return err
	}
	if d.trip != nil {
		return d.trip(verb+" "+what, true)
	}
	return nil
}
