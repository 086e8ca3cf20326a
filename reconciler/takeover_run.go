package reconciler

import (
	"context"
	"errors"
	"fmt"

	"github.com/stella-ops/stella"
	"github.com/stella-ops/stella/ledger"
)

// preflightTakeOver compares what want asks for with what the targets would say,
// had they been taken over. Whatever differs is refused: taking over changes
// nothing, neither on a target nor in what somebody meant.
func (e *Engine) preflightTakeOver(ctx context.Context, want *source, book ledger.Book, why intent) *inspection {
	in := &inspection{want: want, survey: e.sites(ctx, want, book)}
	live := make([]stella.State, len(in.survey.sites))
	errs := make([]error, len(in.survey.sites))
	eachSite(e, in.survey, func(i int, s *site) error {
		live[i], errs[i] = e.foresee(ctx, s, want)
		return nil
	})
	seen := map[string]stella.State{}
	for i, s := range in.survey.sites {
		if s.err == nil && errs[i] == nil {
			seen[s.spec.Name] = live[i]
		}
	}
	in.plan = Compute(Situation{
		Environment: want.env, Desired: want.desired, Tree: string(want.app), Live: seen, Now: in.survey.at, Ignores: want.ignores,
	})
	in.plan.Commit = string(want.commit)
	in.reach(why)
	for i, s := range in.survey.sites {
		in.unadoptable(s, errs[i])
	}
	in.otherwise()
	in.backedBy(ctx, why)
	in.locked(book, why.opts)
	return in
}

func (e *Engine) foresee(ctx context.Context, s *site, want *source) (live stella.State, err error) {
	a, ok := s.target.(Adopter)
	if !ok {
		return live, errCannotAdopt
	}
	ctx, cancel := context.WithTimeout(ctx, observeTimeout)
	defer cancel()
	desired, _ := want.desired.Target(s.spec.Name)
	guarded := e.guard("look at what runs on "+s.spec.Name, func() error {
		live, err = a.Foresee(ctx, desired)
		return nil
	})
	return live, errors.Join(guarded, err)
}

// otherwise refuses what runs and is not as the files ask for. The plan shows
// each field; what would be done about it is not done.
func (in *inspection) otherwise() {
	for _, t := range in.plan.Targets {
		for _, a := range t.Actions {
			message := fmt.Sprintf("%s on %s runs otherwise than the app's files say: %s", a.Resource.ID, t.Target, a.Cause)
			fix := "write what runs into compose.yaml, or run 'docker compose up -d' where it was started so that it runs what compose.yaml says; " +
				"a difference that is to stay is declared under drift.ignore in environment.yaml"
			switch a.Op {
			case stella.OpCreate:
				message = fmt.Sprintf("%s is in the app's files and not on %s", a.Resource.ID, t.Target)
				fix = "run 'docker compose up -d' where it was started, or take it out of compose.yaml"
			case stella.OpRemove:
				message = fmt.Sprintf("%s is on %s and not in the app's files", a.Resource.ID, t.Target)
				fix = "add it to compose.yaml, or remove it there"
			case stella.OpUpdate:
			}
			in.find(FindingDiffers, t.Target, message, fix)
		}
	}
}

// backedBy warns of images that no registry has any more: they run, and can not
// be fetched again.
func (in *inspection) backedBy(ctx context.Context, why intent) {
	before := len(in.plan.Findings)
	in.have(ctx, why, in.want.desired.Artifacts, func(string, stella.Artifact) int { return 1 })
	for _, f := range in.plan.Findings[before:] {
		in.warn("%s; it runs, and is taken over all the same", f.Message)
	}
	in.plan.Findings = in.plan.Findings[:before]
}

// takeOver has each target record what runs as its own, and verifies that what
// it says then is what was committed. Nothing that runs is changed. A crash
// between two targets leaves some that know of it and some that do not: the same
// command again finds the first as they should be and does the rest.
func (r *run) takeOver(ctx context.Context) error {
	names := r.reachable()
	if err := r.each(names, func(name string) error { return r.takeOverOne(ctx, name) }); err != nil {
		return err
	}
	return r.verify(ctx, names, true)
}

func (r *run) takeOverOne(ctx context.Context, name string) error {
	a, ok := r.survey.site(name).target.(Adopter)
	if !ok {
		return fmt.Errorf("adopt %s: %w", name, errCannotAdopt)
	}
	want, _ := r.scene.desired.Target(name)
	order := stella.Order{Fence: r.dep.Fence, Actions: []stella.Action{}, Desired: want, Sticker: r.sticker(name)}
	err := r.step(ctx, stella.StepApply, name, stepTimeout, func(ctx context.Context) (map[string]any, error) {
		if err := r.foreseenStill(ctx, a, name, want); err != nil {
			return nil, err
		}
		r.setTarget(name, stella.TargetApplied, nil, nil)
		return map[string]any{"adopted": float64(len(want.Resources))}, a.Adopt(ctx, order)
	})
	if err != nil {
		if !errors.Is(err, errStopped) {
			r.setTarget(name, stella.TargetFailed, nil, err)
		}
		return fmt.Errorf("adopt what %s runs: %w", name, err)
	}
	return nil
}

// foreseenStill refuses what somebody changed since it was inspected: recorded
// as it is now it would be drift from the first moment on.
func (r *run) foreseenStill(ctx context.Context, a Adopter, name string, want stella.State) error {
	live, err := a.Foresee(ctx, want)
	if err != nil {
		return err
	}
	for _, c := range r.differences(name, live) {
		if !c.Ignored {
			err := fmt.Errorf("%w: %s%s runs otherwise than it was inspected (%s)", stella.ErrConflict, c.Resource, c.Path, c.Class)
			return stella.WithHint(err, fmt.Sprintf("run 'stella adopt %s' again: it shows what differs", r.dep.Environment))
		}
	}
	return nil
}
