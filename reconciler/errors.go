package reconciler

import (
	"errors"
	"fmt"

	"github.com/stella-ops/stella"
)

// errStopped is the cause when a person interrupted a deployment.
var errStopped = errors.New("stopped before the next step")

// errOtherPlan: what would be done is no longer what was agreed to.
var errOtherPlan = fmt.Errorf("the plan is another one now: %w", stella.ErrConflict)

func ignoreNotFound(err error) error {
	if errors.Is(err, stella.ErrNotFound) {
		return nil
	}
	return err
}
