package reconciler

import (
	"context"
	"fmt"

	"github.com/stella-ops/stella"
)

// undoCommit plans undoing one commit while keeping what came after it.
func (e *Engine) undoCommit(_ context.Context, _ *scene, commit string, _ intent) (*job, error) {
	return nil, fmt.Errorf("undo commit %s: %w", commit, stella.ErrUnsupported)
}
