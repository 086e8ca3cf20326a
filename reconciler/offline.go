package reconciler

import (
	"context"
	"fmt"

	"github.com/stella-ops/stella"
)

// rollbackOffline goes back without the Git host.
func (e *Engine) rollbackOffline(_ context.Context, req RollbackRequest) (Outcome, error) {
	return Outcome{}, fmt.Errorf("roll back %s without Git: %w", req.Environment, stella.ErrUnsupported)
}
