package docker

import "context"

// bounded makes one call that reads or changes a little, with an end to it, and
// gives its error a class.
func bounded[T any](ctx context.Context, do func(ctx context.Context) (T, error)) (T, error) {
	ctx, cancel := context.WithTimeoutCause(ctx, callTime, errSilent)
	defer cancel()
	v, err := do(ctx)
	return v, fault(err)
}
