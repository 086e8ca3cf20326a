package reconciler

import (
	"errors"

	"github.com/stella-ops/stella"
)

// errStopped is the cause when a person interrupted a deployment.
var errStopped = errors.New("stopped before the next step")

func ignoreNotFound(err error) error {
	if errors.Is(err, stella.ErrNotFound) {
		return nil
	}
	return err
}
