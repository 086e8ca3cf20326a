package reconciler

import (
	"context"
	"fmt"

	"github.com/stella-ops/stella"
)

// restorePart plans going back with some components or on some targets.
func (e *Engine) restorePart(_ context.Context, sc *scene, _ stella.Deployment, _ RollbackRequest, _ intent) (*job, error) {
	return nil, fmt.Errorf("roll back a part of %s: %w", sc.name, stella.ErrUnsupported)
}
