package reconciler_test

import (
	"context"
	"slices"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/stella-ops/stella"
	"github.com/stella-ops/stella/internal/git/gittest"
	"github.com/stella-ops/stella/ledger"
	"github.com/stella-ops/stella/reconciler"
)

// TestARollbackCosts counts what a rollback asks of others, as the command
// makes one: a dry run that is shown, and the same carried out. Time is for the
// benchmark; these numbers do not depend on the machine. Whoever needs a higher
// one says what for.
func TestARollbackCosts(t *testing.T) {
	w := newWorld(t, "strategy: rolling, batch: 1, ", "")
	w.reconcile()
	w.mustDeploy("b")
	faults := &gittest.Faults{}
	w.bare = gittest.HTTP(t, w.bare, faults)
	counted := &counter{site: w.machines}
	cfg := w.config("ana", nil)
	cfg.Targets = counted
	e := reconciler.New(cfg)
	if _, err := e.Book(t.Context(), prod); err != nil { // the clone is there
		t.Fatal(err)
	}
	faults.Forget()

	began := time.Now()
	ask := reconciler.RollbackRequest{Environment: prod, Options: reconciler.Options{DryRun: true}}
	shown, err := e.Rollback(t.Context(), ask)
	if err != nil {
		t.Fatal(err)
	}
	ask.Options = reconciler.Options{Shown: shown.Plan}
	out, err := e.Rollback(t.Context(), ask)
	if err != nil || out.Deployment.Status != stella.Succeeded || w.runs() != "aa" {
		t.Fatalf("%v, runs %s", err, w.runs())
	}

	targets := int64(len(w.machines))
	// Both passes open and look at every target, and a verification without
	// stableFor looks once: that is the observation which is recorded.
	for what, n := range map[string][2]int64{
		"opened":   {counted.opened.Load(), 2 * targets},
		"observed": {counted.observed.Load(), 3 * targets},
		"applied":  {counted.applied.Load(), targets},
	} {
		if n[0] > n[1] {
			t.Errorf("%d targets were %s %d times, want %d", targets, what, n[0], n[1])
		}
	}
	var lists, fetches, pushes int
	for _, r := range faults.Requests() {
		switch {
		case strings.HasSuffix(r.Path, "/info/refs"):
			lists++
		case strings.HasSuffix(r.Path, "/git-receive-pack"):
			pushes++
		default:
			fetches++
		}
	}
	// Each pass lists once and each push once. The intent, the commit and the
	// outcome are pushed, and the lock where it takes long. What the commit goes
	// back over is fetched once.
	renewals := int(time.Since(began) / ledger.RenewEvery)
	if lists > 6+renewals || pushes > 3+renewals || fetches > 2 {
		t.Errorf("%d lists, %d pushes, %d fetches; want at most 6, 3, 2: %+v", lists, pushes, fetches, faults.Requests())
	}
	if !slices.Equal(shown.Plan.Reverts, out.Plan.Reverts) {
		t.Errorf("shown %v, done %v", shown.Plan.Reverts, out.Plan.Reverts)
	}
}

// counter counts what targets are asked.
type counter struct {
	site
	opened, observed, applied atomic.Int64
}

func (c *counter) Open(ctx context.Context, spec reconciler.TargetSpec) (reconciler.Target, error) {
	c.opened.Add(1)
	target, err := c.site.Open(ctx, spec)
	return &watched{target, c}, err
}

type watched struct {
	reconciler.Target
	by *counter
}

func (c *watched) Observe(ctx context.Context) (stella.State, error) {
	c.by.observed.Add(1)
	return c.Target.Observe(ctx)
}

func (c *watched) Apply(ctx context.Context, o stella.Order, report func(stella.Action, error)) error {
	c.by.applied.Add(1)
	return c.Target.Apply(ctx, o, report)
}
