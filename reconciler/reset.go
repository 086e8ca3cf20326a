package reconciler

import (
	"context"
	"fmt"

	"github.com/stella-ops/stella"
	"github.com/stella-ops/stella/internal/safe"
)

// ResetRequest asks to bring an environment back to its baseline.
type ResetRequest struct {
	Environment stella.EnvName
	Scope
	Options
}

// Reset brings an environment back to its baseline, in Git and on every target,
// and verifies it. It is a rollback that knows where it goes, and takes the same
// way: through the same plan, lock, holds, pins and record. Where the branch has
// the baseline's content already and the targets do not, it makes no commit,
// holds nothing, and puts the targets right.
func (e *Engine) Reset(ctx context.Context, req ResetRequest) (Outcome, error) {
	return e.Rollback(ctx, RollbackRequest{
		Environment: req.Environment, To: toBaseline, kind: stella.KindReset, Scope: req.Scope, Options: req.Options,
	})
}

// cannot is how a refusal of going back begins.
func (req RollbackRequest) cannot() string {
	switch {
	case req.kind == stella.KindReset:
		return fmt.Sprintf("cannot reset %s to its baseline", req.Environment)
	case req.Commit != "":
		return "cannot undo commit " + safe.Clip(req.Commit, 40)
	}
	return "cannot restore previous version"
}

// commandBack is the command that goes back to a deployment as this one does.
func commandBack(good stella.Deployment, env stella.EnvName, kind stella.Kind) string {
	if kind == stella.KindReset {
		return fmt.Sprintf("stella orch env reset %s --to-baseline", env)
	}
	return fmt.Sprintf("stella rollback %s --to %s", env, good.ID)
}

// another is how to go back to another deployment than this one does.
func (i intent) another(env stella.EnvName) string {
	if i.kind == stella.KindReset {
		return fmt.Sprintf("run 'stella orch deployments list %s' and go back to one that succeeded with 'stella rollback %[1]s --to …'", env)
	}
	return fmt.Sprintf("run 'stella orch deployments list %s' and name another one with --to", env)
}
