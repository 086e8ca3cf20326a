package docker

import (
	"context"
	"time"
)

// patient is who knows how long a call may take: the target, or a hand on it.
type patient interface {
	within(ctx context.Context, most time.Duration) (context.Context, context.CancelFunc)
}

// bounded makes one call that only reads, with an end to it, and gives its error a
// class.
func bounded[T any](ctx context.Context, p patient, do func(ctx context.Context) (T, error)) (T, error) {
	ctx, cancel := p.within(ctx, callTime)
	defer cancel()
	v, err := do(ctx)
	return v, fault(err)
}
