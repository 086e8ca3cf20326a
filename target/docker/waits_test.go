package docker

import (
	"context"
	"errors"
	"testing"
	"time"

	"github.com/stella-ops/stella"
)

// TestAWaitForWhatNeverEndsEndsWithTheOrder lets a service depend on the end of
// one that does not end, and interrupts the order, or lets its time run out.
func TestAWaitForWhatNeverEndsEndsWithTheOrder(t *testing.T) {
	t.Parallel()
	s := newScene(t)
	migrate := resourceOf("migrate", s.image(t, "1"), asJSON{"entrypoint": []any{"/bin/sh", "-c", "exec sleep 1000"}})
	web := s.web(t, "1", asJSON{"dependsOn": asJSON{"migrate": asJSON{"condition": conditionCompleted}}})
	must(t, s.goes(t, 1, "1", migrate))
	o := s.order(t, 2, "2", migrate, web)
	must(t, s.Prepare(t.Context(), o.Desired, 2))
	gone := errors.New("somebody pressed Ctrl-C")
	for _, want := range []error{stella.ErrTimeout, gone} {
		ctx, end := context.WithCancelCause(t.Context())
		late, cancel := ctx, context.CancelFunc(func() {})
		if errors.Is(want, gone) {
			s.trip = func(effect string, done bool) error {
				if effect == "create "+s.nameFor("web", nil)+suffixNext && done {
					end(gone)
				}
				return nil
			}
			must(t, s.goes(t, 3, "3", migrate)) // what the first one left is made anew
			o = s.order(t, 4, "4", migrate, web)
		} else {
			late, cancel = context.WithTimeout(ctx, 3*time.Second)
		}
		done := make(chan error, 1)
		go func() { done <- s.Apply(late, o, nil) }()
		select {
		case err := <-done:
			if !errors.Is(err, want) {
				t.Errorf("the order ended with %v, want %v", err, want)
			}
		case <-time.After(time.Minute):
			t.Fatal("the order is still waiting")
		}
		cancel()
		end(nil)
	}
	s.trip = nil
}
