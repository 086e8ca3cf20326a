package health

import (
	"context"
	"log/slog"
	"time"

	"github.com/stella-ops/stella"
)

// Config is what a Runner needs.
type Config struct {
	Exec   Executor     // for exec checks; nil makes them fail
	Logger *slog.Logger // nil discards
}

// Runner runs checks. Make one with New; it is safe for concurrent use.
type Runner struct{ config Config }

// New returns a Runner.
func New(c Config) *Runner { return &Runner{config: c} }

// Run runs every check once, in parallel; results have the order of the checks.
func (r *Runner) Run(ctx context.Context, checks []Check) []Result {
	return make([]Result, len(checks))
}

// Verify is what Runner.Verify waits for.
type Verify struct {
	Timeout   time.Duration // of the whole; zero means 2 minutes
	StableFor time.Duration // everything must stay healthy this long; zero: one healthy round is enough
	Checks    []Check
	Probe     func(ctx context.Context) []Result // the targets' own state, asked each round; may be nil
}

// Verify runs rounds until everything is healthy and has stayed so for StableFor.
func (r *Runner) Verify(ctx context.Context, v Verify, report func([]Result)) ([]Result, error) {
	return r.Run(ctx, v.Checks), nil
}

// Verdict sums results up.
func Verdict(results []Result) stella.Health {
	return stella.HealthUnknown
}
