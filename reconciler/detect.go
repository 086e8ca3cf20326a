package reconciler

import (
	"context"

	"github.com/stella-ops/stella"
)

// DetectRequest asks for one scan for drift.
type DetectRequest struct {
	Environments []stella.EnvName // empty for all
}

// Detect looks once whether environments drifted: whether what runs is what the
// deployment in effect wants. It is the same for the command, for a cron job and
// for the daemon's schedule.
func (e *Engine) Detect(ctx context.Context, req DetectRequest) ([]Diff, error) {
	var all []Diff
	for _, env := range req.Environments {
		all = append(all, e.detect(ctx, env))
	}
	return all, nil
}

func (e *Engine) detect(ctx context.Context, env stella.EnvName) Diff {
	none := Diff{Environment: env, Targets: []TargetDiff{}}
	sc, err := e.look(ctx, env)
	if err != nil {
		none.Error = err.Error()
		return none
	}
	want, in, err := e.inEffect(ctx, sc)
	if err != nil {
		none.Error = err.Error()
		return none
	}
	return e.compareLive(ctx, want, sc.book, in.ID)
}
