package serve

import (
	"context"
	"math/rand/v2"
	"time"

	"github.com/stella-ops/stella"
	"github.com/stella-ops/stella/reconciler"
)

// capture has the engine look, as often as the remote is looked at, whether a
// deployment proved itself and becomes the baseline, until ctx ends. The engine
// knows when there is something to be looked at: where no environment asks for it
// a look costs nothing. It runs beside the passes and delays none of them.
func (d *daemon) capture(ctx context.Context) {
	told := map[stella.EnvName]string{}
	for {
		select {
		case <-ctx.Done():
			return
		case <-time.After(d.cfg.Poll - d.cfg.Poll/20 + rand.N(d.cfg.Poll/10+1)): //nolint:gosec // jitter, not a secret
		}
		all, err := d.checkBaselines(ctx)
		if err != nil && ctx.Err() == nil {
			d.cfg.Logger.WarnContext(ctx, "look for due baselines", "err", err)
		}
		for _, a := range all {
			d.tellBaseline(ctx, told, a)
		}
	}
}

// tellBaseline logs what is new about a baseline that is to come by itself.
func (d *daemon) tellBaseline(ctx context.Context, told map[stella.EnvName]string, a reconciler.AutomaticBaseline) {
	log := d.cfg.Logger.With("environment", a.Environment, "deployment", a.Deployment)
	news := func(what string) bool {
		was := told[a.Environment]
		told[a.Environment] = what
		return was != what
	}
	switch {
	case a.Error != "":
		if news(a.Error) && ctx.Err() == nil {
			log.WarnContext(ctx, "look for a due baseline", "err", a.Error)
		}
	case a.Proposal != nil:
		log.WarnContext(ctx, "the branch refuses the new baseline, it waits for review", "branch", a.Proposal.Branch, "url", a.Proposal.URL)
	case a.Captured != nil:
		log.InfoContext(ctx, "captured the baseline", "reason", a.Captured.Reason)
	case len(a.Blockers) > 0:
		if news(a.Blockers[0].Code) {
			log.InfoContext(ctx, "the time to the baseline begins anew", "because", a.Blockers[0].Message, "due_at", a.DueAt.UTC().Format(time.RFC3339))
		}
	default:
		delete(told, a.Environment)
	}
}

// checkBaselines asks the engine. A panic in it is an error of this look and of
// nothing else.
func (d *daemon) checkBaselines(ctx context.Context) (all []reconciler.AutomaticBaseline, err error) {
	defer func() {
		if p := recover(); p != nil {
			err = panicked(p)
		}
	}()
	return d.cfg.Engine.CheckBaselines(ctx)
}
