package reconciler

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"slices"
	"time"

	"github.com/stella-ops/stella"
	"github.com/stella-ops/stella/configrepo"
	"github.com/stella-ops/stella/drift"
	"github.com/stella-ops/stella/internal/safe"
	"github.com/stella-ops/stella/ledger"
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
	// Uncounted is how many more differences there are than findings are kept open.
	Uncounted int `json:"uncounted"`
	// Healed is the deployment that brought back what differed; nil for none.
	Healed   *stella.Deployment `json:"healed"`
	Flapping []Flapping         `json:"flapping"` // left alone, sorted as Open
	// NotHealed says why something that differs was not brought back though Mode is
	// heal, or why nothing was recorded; empty where neither is so.
	NotHealed string    `json:"notHealed"`
	NextHeal  time.Time `json:"nextHeal"` // when the limits allow the next try; zero for now, or never by itself
	// Causes says of opened findings what happened there, as far as their targets
	// can tell: for a log, by the place of the finding.
	Causes map[Spot][]string `json:"-"`
}

// Spot is a resource on a target.
type Spot struct {
	Target   string
	Resource stella.ResourceID
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
// it. Targets and environments that nobody can tell of are no error: they are in
// the Diff. With drift.mode off it asks no target and says so.
func (e *Engine) Scan(ctx context.Context, env stella.EnvName) (Scan, error) {
	s, err := e.scan(ctx, env)
	return s, errors.Join(err, context.Cause(ctx))
}

func (e *Engine) scan(ctx context.Context, env stella.EnvName) (Scan, error) {
	out := Scan{Diff: nothingSeen(env), Open: []stella.DriftFinding{}, Opened: []stella.DriftFinding{}, Ended: []stella.DriftFinding{}, Flapping: []Flapping{}}
	sc, err := e.lookLately(ctx, env)
	if err != nil {
		out.Diff.Error = err.Error()
		return out, err
	}
	s := &sight{sc: sc}
	out.found(sc.book.Drift.Open, sc.book.Drift.Uncounted)
	if out.Mode = s.sc.driftMode(); out.Mode == configrepo.DriftOff {
		out.Diff.Notes = append(out.Diff.Notes, "drift.mode is off: nothing was looked for")
		return out, nil
	}
	s, turn, err := e.lookForDrift(ctx, sc)
	if err != nil {
		out.Diff.Error = err.Error()
		return out, err
	}
	out.Mode, out.Diff = s.sc.driftMode(), s.diff
	out.found(turn.Open, turn.Uncounted)
	out.Opened, out.Ended = append(out.Opened, turn.Opened...), append(out.Ended, turn.Ended...)
	out.Causes = e.causes(ctx, s, turn.Opened)
	switch {
	case s.want == nil:
		out.NotHealed = cmp.Or(append(slices.Clone(s.diff.Notes), s.diff.Error)...)
	case s.unrecorded != nil:
		out.NotHealed = s.unrecorded.Error()
	case len(turn.Open) > 0 && s.verified():
		e.healDrift(ctx, s, turn.Open, &out)
	case out.Mode == configrepo.DriftHeal && s.diff.Drifted && !s.verified():
		out.NotHealed = fmt.Sprintf("%s is %s: what runs was not verified", s.in.ID, s.in.Status)
	}
	return out, nil
}

func (s *Scan) found(open []stella.DriftFinding, uncounted int) {
	s.Open, s.Uncounted = append([]stella.DriftFinding{}, open...), uncounted
}

// flaps are the places of open findings that flap.
func (e *Engine) flaps(b ledger.Book) []drift.Flap {
	return slices.DeleteFunc(drift.Flaps(b.Drift.History(), acted(b), e.cfg.Now()), func(f drift.Flap) bool {
		return !slices.ContainsFunc(b.Drift.Open, f.At)
	})
}

// flapping is what flaps, with who seems to write it where the target can tell.
func (e *Engine) flapping(ctx context.Context, s *sight, flaps []drift.Flap) []Flapping {
	out := []Flapping{}
	for _, f := range flaps {
		if i := slices.IndexFunc(s.sc.book.Drift.Open, f.At); i >= 0 {
			out = append(out, Flapping{
				Target: f.Target, Resource: f.Resource, Times: f.Times, Since: f.Since, Until: f.Until,
				Suspects: e.suspects(ctx, s.survey.site(f.Target), s.sc.book.Drift.Open[i]),
			})
		}
	}
	return out
}

// acted is when a person last had something deployed; zero for never.
func acted(b ledger.Book) (at time.Time) {
	for _, d := range b.Deployments {
		if !d.Automatic && d.Status != stella.Errored && d.StartedAt.After(at) {
			at = d.StartedAt
		}
	}
	return at
}

// suspects asks a target who else writes a finding's place.
func (e *Engine) suspects(ctx context.Context, s *site, f stella.DriftFinding) []string {
	out := []string{}
	if s == nil || s.target == nil {
		return out
	}
	who, ok := s.target.(Suspecter)
	if !ok {
		return out
	}
	ctx, cancel := context.WithTimeout(ctx, observeTimeout)
	defer cancel()
	err := e.guard("ask "+f.Target+" who writes", func() error {
		names, err := who.Suspects(ctx, f.Resource, f.Path)
		for _, name := range names[:min(len(names), maxSuspects)] {
			out = append(out, safe.Line(safe.Clip(name, maxSuspect)))
		}
		return err
	})
	if err != nil {
		e.cfg.Logger.InfoContext(ctx, "nobody can tell who writes", "target", f.Target, "err", err)
	}
	return out
}

// causes asks the targets what happened where findings were opened, at most
// maxCauses times.
func (e *Engine) causes(ctx context.Context, s *sight, opened []stella.DriftFinding) map[Spot][]string {
	out := map[Spot][]string{}
	if s.survey == nil {
		return out
	}
	for _, f := range opened {
		at := Spot{f.Target, f.Resource}
		if _, asked := out[at]; asked || len(out) >= maxCauses {
			continue
		}
		out[at] = e.suspects(ctx, s.survey.site(f.Target), f)
	}
	return out
}

// maxCauses is of how many places it is asked what happened there: where more
// differ at once, the first say it.
const maxCauses = 5

// The bounds of what a target says: how many lines are handed on, and how long
// each is.
const (
	maxSuspects = 10
	maxSuspect  = 300
)
