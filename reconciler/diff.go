package reconciler

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/stella-ops/stella"
	"github.com/stella-ops/stella/configrepo"
	"github.com/stella-ops/stella/drift"
	"github.com/stella-ops/stella/internal/git"
	"github.com/stella-ops/stella/ledger"
)

// DiffRequest says what an environment's live state is compared with. At most
// one of Ref, Baseline and With is set; none is what is wanted now.
type DiffRequest struct {
	Environment stella.EnvName
	Ref         string         // a revision of the config repository
	Baseline    bool           // the environment's baseline
	With        stella.EnvName // not live state, but what two environments want
}

// Diff is how what runs differs from what it is compared with.
type Diff struct {
	Environment stella.EnvName `json:"environment"`
	// Against says what live state is compared with: "desired", a deployment's id,
	// a revision as it was named, "baseline", or the other environment.
	Against    string       `json:"against"`
	Commit     string       `json:"commit"`     // that it was rendered from
	ObservedAt time.Time    `json:"observedAt"` //
	Drifted    bool         `json:"drifted"`    // some difference counts
	Targets    []TargetDiff `json:"targets"`    // in environment order
	// Error says why nobody can tell of the whole environment; empty where
	// somebody can.
	Error string `json:"error"`
}

// TargetDiff is one target's part of a Diff.
type TargetDiff struct {
	Target    string          `json:"target"`
	Reachable bool            `json:"reachable"`
	Error     string          `json:"error"`   // why it could not be read; empty where it could
	Changes   []stella.Change `json:"changes"` // ignored ones are among them
	Notes     []string        `json:"notes"`   // what a person should know of the target
}

// Diff compares what an environment's targets run with what is asked for. It
// changes nothing. A target that can not be read is no error: it is in its part.
func (e *Engine) Diff(ctx context.Context, req DiffRequest) (Diff, error) {
	sc, err := e.look(ctx, req.Environment)
	if err != nil {
		return Diff{}, err
	}
	against := "desired"
	if req.Ref != "" {
		if sc, err = e.revision(ctx, sc, req.Ref); err != nil {
			return Diff{}, err
		}
		against = req.Ref
	}
	if sc.invalid != nil {
		return Diff{}, sc.invalid
	}
	return e.compareLive(ctx, sc.source, sc.book, against), nil
}

// compareLive observes the targets of what is wanted and compares each with its
// part of it. All that looks for drift goes through here.
func (e *Engine) compareLive(ctx context.Context, want *source, book ledger.Book, against string) Diff {
	sv := e.sites(ctx, want, book)
	d := Diff{Environment: want.name, Against: against, Commit: string(want.commit), ObservedAt: sv.at.UTC(), Targets: []TargetDiff{}}
	for _, s := range sv.sites {
		t := compareSite(s, want.desired, want.env.Drift.Ignore, e.cfg.Now())
		d.Drifted = d.Drifted || drift.Drifted(t.Changes)
		d.Targets = append(d.Targets, t)
	}
	return d
}

// compareSite compares one observed target with what is desired of it.
func compareSite(s *site, desired *configrepo.Desired, ignores []drift.Ignore, now time.Time) TargetDiff {
	t := TargetDiff{Target: s.spec.Name, Changes: []stella.Change{}, Notes: []string{}}
	if s.err != nil {
		t.Error, t.Reachable = s.err.Error(), !errors.Is(s.err, stella.ErrUnreachable)
		return t
	}
	t.Reachable = true
	if o := s.live.Observed; o != nil {
		t.Notes = append(t.Notes, o.Notes...)
	}
	want, _ := desired.Target(s.spec.Name)
	t.Changes = append(t.Changes, drift.Compare(want, s.live, ignores, now)...)
	return t
}

// errNothingInEffect is that an environment has no deployment that drift could
// be measured against.
var errNothingInEffect = errors.New("nothing was deployed yet")

// inEffect is what the deployment in effect wants: its app, operated as the
// environment is today, or, where today's environment.yaml can not be read, as
// it was then. Drift is measured against it, and not against the branch: what
// the branch asks for and nobody deployed is no drift.
func (e *Engine) inEffect(ctx context.Context, sc *scene) (*source, stella.Deployment, error) {
	d, ok := sc.book.Current()
	if !ok {
		d, ok = sc.book.Last()
	}
	if !ok || d.Tree == "" {
		return nil, d, fmt.Errorf("environment %s: %w: %w", sc.name, errNothingInEffect, stella.ErrNotFound)
	}
	if d.Tree == string(sc.app) && sc.invalid == nil {
		return sc.source, d, nil
	}
	if sc.branch.env == nil {
		h, err := e.headAt(ctx, git.ID(d.Commit))
		if err != nil {
			return nil, d, err
		}
		src, err := e.read(ctx, h, sc.name)
		return src, d, err
	}
	src, err := e.withApp(ctx, sc.branch, d.Commit, d.Tree)
	return src, d, err
}
