package reconciler

import (
	"bytes"
	"context"
	"errors"
	"log/slog"
	"testing"
	"testing/synctest"

	"github.com/stella-ops/stella"
)

// TestARenewalUnderWayAtTheEndIsNoTrouble: nobody needs the lock any more.
func TestARenewalUnderWayAtTheEndIsNoTrouble(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var log bytes.Buffer
		e := &Engine{cfg: Config{Logger: slog.New(slog.NewTextHandler(&log, nil))}}
		held, lose := context.WithCancelCause(t.Context())
		renews := make(chan struct{})
		done := make(chan struct{})
		go func() {
			defer close(done)
			e.keepAlive(held, lose, "prod", func(ctx context.Context) error {
				close(renews)
				<-ctx.Done()
				return errors.Join(ctx.Err(), stella.ErrUnreachable)
			})
		}()
		<-renews
		lose(errEnded)
		if <-done; log.Len() > 0 || !errors.Is(context.Cause(held), errEnded) {
			t.Errorf("ended by %v; the log says %s", context.Cause(held), &log)
		}
	})
}
