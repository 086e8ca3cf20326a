package reconciler

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/stella-ops/stella"
	"github.com/stella-ops/stella/ledger"
)

// job is a deployment that was decided on and not begun: where it starts from,
// what it wants, and how its commit is made where there is none yet.
type job struct {
	scene  *scene // as planned; its source is what is to be deployed
	in     *inspection
	intent intent
	// change and cand make the commit; change is nil where the commit is on the
	// branch already.
	change *change
	cand   *candidate
	also   *extras // what a rollback restores besides the app
	// bad is what a rollback goes away from, to be held; nil holds nothing.
	bad *source
	// planned and checked are when preflight began and ended.
	planned, checked time.Time
}

// inspect runs preflight for what the scene or the candidate wants and makes
// the job's plan.
func (e *Engine) inspect(ctx context.Context, sc *scene, why intent, c *change, cand *candidate) (*job, error) {
	j := &job{scene: sc, intent: why, change: c, cand: cand, planned: time.Now()}
	want, branch := sc.source, sc.branch
	if cand != nil {
		want, branch = cand.want, cand.want
	}
	if why.good != nil && want.invalid != nil {
		j.in = e.unrenderable(ctx, sc, want, *why.good, why)
	} else {
		j.in = e.lookedAt(ctx, want, sc.book, why)
	}
	j.in.plan.Commit = string(sc.branch.commit)
	j.in.plan.Reverts = orEmpty(why.reverts)
	j.in.plan.Undoes = append([]UndoneCommit{}, why.undoes...)
	j.in.plan.ExpectedSeconds = lastTook(sc.book, why.kind)
	j.in.plan.Overrides = declared(want, sc.book, e.cfg.Now())
	if over := want.over(""); over != "" && why.kind.GoesBack() {
		j.in.plan.Warnings = append(j.in.plan.Warnings, over+": it does not come back with the app of then")
	}
	if s := j.in.survey; s != nil && why.offline == nil {
		if r := s.offline(sc.book); r != nil {
			j.in.plan.Warnings = append(j.in.plan.Warnings, cleaned(*r).Actor+" "+wentOffline(*r))
		}
	}
	if cand != nil {
		j.intent.uncommitted = true
		if why.opts.PlanHash != "" || why.opts.Confirmed {
			c.agreed = want
		}
		files, err := changedFiles(ctx, sc.branch.tree, want.tree, appPath(sc.source))
		if err != nil {
			return nil, err
		}
		j.in.plan.Files = files
		if why.opts.DryRun {
			if err := describeFiles(ctx, sc.branch.tree, want.tree, files); err != nil {
				return nil, err
			}
		}
	}
	j.scene = &scene{source: want, branch: branch, ledger: sc.ledger, book: sc.book}
	j.checked = time.Now()
	return j, nil
}

// sealed signs the job's commit, before anything is recorded: a key that is not
// at hand then stops a deployment that has not begun.
func (e *Engine) sealed(ctx context.Context, j *job) (err error) {
	if j.cand != nil {
		j.cand, err = e.sign(ctx, j.cand)
	}
	return err
}

// drive carries a job out: intent and lock, commit, targets, outcome, and the
// automatic rollback where that is called for.
func (e *Engine) drive(ctx context.Context, j *job) (Outcome, error) {
	if err := e.sealed(ctx, j); err != nil {
		return Outcome{Plan: &j.in.plan}, err
	}
	lockAt := time.Now()
	r, err := e.begin(ctx, j.scene, j.in, j.intent)
	if err != nil {
		return Outcome{Plan: &j.in.plan}, err
	}
	defer r.letGo()
	r.bad = j.bad
	r.told(j)
	r.past(stella.StepPreflight, j.planned, j.checked)
	r.past(stella.StepLock, lockAt, time.Now())
	if err = r.lookAgain(ctx, j); err == nil {
		err = r.mendRegistries(ctx, j)
	}
	if err == nil {
		err = r.land(ctx, j)
	}
	if err == nil {
		err = r.execute(ctx)
	}
	out := Outcome{Plan: &j.in.plan}
	if err != nil {
		return r.failed(ctx, err, out)
	}
	return r.succeeded(ctx, out)
}

// letGo ends the tenure of the lock, whether or not that could be recorded.
func (r *run) letGo() {
	r.lock.lose(errEnded)
	r.e.release(r.lockID)
}

// lookAgain runs preflight once more where the lock was taken over: who had it
// may have changed targets after they were observed.
func (r *run) lookAgain(ctx context.Context, j *job) error {
	if !r.takeover {
		return nil
	}
	in := r.e.lookedAt(ctx, r.scene.source, r.scene.book, j.intent)
	r.survey = in.survey
	in.plan.Files, in.plan.Reverts, in.plan.Undoes = r.plan.Files, r.plan.Reverts, r.plan.Undoes
	r.plan = in.plan
	r.mu.Lock()
	r.dep.Targets = results(in.survey)
	r.mu.Unlock()
	if o := j.intent.opts; o.PlanHash != "" && o.PlanHash != j.also.sealed(in.plan.Hash) {
		return errors.Join(fmt.Errorf("what the holder before left makes another plan: %w", errOtherPlan), errUntouched)
	}
	if err := refusal("take over from the holder before", in.plan); err != nil {
		return errors.Join(err, errUntouched)
	}
	return nil
}

// past adds a step that ended before the deployment had a trace.
func (r *run) past(name string, from, to time.Time) {
	s := stella.Step{
		Name: name, Status: stella.StepSucceeded, StartedAt: from.UTC(), DurationSeconds: to.Sub(from).Seconds(), Detail: map[string]any{},
	}
	r.mu.Lock()
	r.dep.Steps = append(r.dep.Steps, s)
	r.mu.Unlock()
	r.journal.mention(s)
}

// land pushes the job's commit. Where somebody else's commit came in between,
// what landed is read and checked again: it is what will be deployed. A crash
// before the push leaves nothing on the branch, one after it a commit that the
// next pass applies.
func (r *run) land(ctx context.Context, j *job) error {
	if j.change == nil {
		r.landed = true // it is there already
		return nil
	}
	var landed *candidate
	err := r.step(ctx, stella.StepCommit, "", stepTimeout, func(ctx context.Context) (map[string]any, error) {
		var err error
		if landed, err = r.commit(ctx, j); err != nil {
			return nil, err
		}
		detail := map[string]any{"commit": string(landed.built.Commit)}
		if r.proposal != nil {
			detail["branch"] = r.proposal.Branch
		}
		return detail, nil
	})
	if err != nil {
		return errors.Join(err, errUntouched)
	}
	r.landed = true
	return r.retarget(ctx, j, landed)
}

// commit puts the job's commit on the branch. Where that is to be reviewed
// first, or the branch refuses it, the environment is pinned to it, if it may be.
func (r *run) commit(ctx context.Context, j *job) (*candidate, error) {
	if j.intent.opts.PullRequest && j.mayPin() {
		return r.pin(ctx, j)
	}
	landed, err := r.e.push(ctx, *j.change, j.cand)
	switch {
	case err == nil || !refusedByBranch(err):
		return landed, err
	case !j.mayPin():
		return nil, stella.WithHint(err, "run the same command with --pr: it goes to a branch for review")
	}
	r.notify(Warned{Environment: r.dep.Environment, Text: firstLine(err.Error()) + "; it is pinned and goes to a branch for review"})
	pinned, pinErr := r.pin(ctx, j)
	if pinErr != nil {
		return nil, stella.WithHint(errors.Join(err, pinErr), cmp.Or(stella.Hint(pinErr), stella.Hint(err)))
	}
	return pinned, nil
}

// retarget makes what landed the run's aim. Only where it renders to something
// else than was planned does it look at the targets again.
func (r *run) retarget(ctx context.Context, j *job, landed *candidate) error {
	before := r.scene.desired
	r.scene.source = landed.want
	if r.scene.branch = landed.want; r.proposal != nil {
		r.scene.branch = landed.onto // nothing of it changed
	}
	r.mu.Lock()
	r.dep.Commit, r.dep.Tree = string(landed.built.Commit), string(landed.want.app)
	r.dep.Release, r.dep.Desired, r.dep.Shared = landed.want.release.Release.Version, landed.want.desired.Digest, landed.want.shared
	r.dep.Components, r.dep.SecretsCommit = images(landed.want), secretsFrom(landed.want, r.scene.branch)
	r.mu.Unlock()
	if landed.want.desired.Digest == before.Digest && sameSecrets(landed.want.desired, before) {
		return nil
	}
	in := r.e.lookedAt(ctx, landed.want, r.scene.book, j.intent)
	r.survey, r.plan = in.survey, in.plan
	r.mu.Lock()
	r.dep.Targets = results(in.survey)
	r.mu.Unlock()
	if err := refusal("deploy what landed on the branch", in.plan); err != nil {
		return errors.Join(err, errUntouched)
	}
	return nil
}

// images are the images of the components: those of the release, or of an
// override where it holds wherever the component runs.
func images(s *source) map[string]string {
	out := make(map[string]string, len(s.release.Release.Components))
	for name, a := range s.release.Release.Components {
		out[name] = a.String()
	}
	if len(s.release.Overrides) == 0 || s.desired == nil {
		return out
	}
	everywhere := map[string]map[string]bool{}
	for _, t := range s.desired.Targets {
		for name, a := range s.imagesOn(t.Name) {
			if everywhere[name] == nil {
				everywhere[name] = map[string]bool{}
			}
			everywhere[name][a.String()] = true
		}
	}
	for name, all := range everywhere {
		if len(all) == 1 {
			out[name] = sortedKeys(all)[0]
		}
	}
	return out
}

// succeeded records a verified deployment. Owed targets make it partial.
func (r *run) succeeded(ctx context.Context, out Outcome) (Outcome, error) {
	r.end(ctx, nil)
	hold := r.holding()
	d, err := r.record(ctx, func(b ledger.Book, d stella.Deployment) []ledger.Event {
		return append(r.outcome(b, d, hold), r.lifted(b, d)...)
	})
	out.Deployment, out.Commit = &d, d.Commit
	r.stands(d, &out)
	return out, err
}

// stands says where the environment stands after a deployment that worked.
func (r *run) stands(d stella.Deployment, out *Outcome) {
	pin := r.scene.pinned()
	switch {
	case d.Status == stella.Partial:
		out.Sync, out.Reason = stella.SyncPartial, "targets are owed"
	case pin != nil:
		out.Sync, out.Reason = stella.Pinned, r.scene.pinReason()
	default:
		out.Sync, out.Reason = stella.Synced, ""
	}
	if pin != nil && d.Kind.GoesBack() {
		out.Proposal = proposal(*pin)
	}
}

// holding is what to hold from now on: what a rollback went away from, as soon
// as its commit is on the branch, however it ends.
func (r *run) holding() *stella.Hold {
	if r.bad == nil || !r.landed || r.bad.app == r.scene.app || r.bad.app == "" {
		return nil
	}
	return newHold(r.bad, r.dep.ID, r.scene.desired, r.e.cfg.Actor, r.dep.Reason, r.e.cfg.Now())
}

// lifted ends the holds on what was deployed by force and verified: it is known
// to be good now, and would otherwise be held at the next pass.
func (r *run) lifted(b ledger.Book, d stella.Deployment) []ledger.Event {
	var events []ledger.Event
	if d.Status != stella.Succeeded || !forced(r.opts, ForceHold) {
		return nil
	}
	for _, h := range b.State.Holds {
		if heldBy([]stella.Hold{h}, r.scene.source) != nil {
			events = append(events, ledger.Lift{HoldID: h.ID, Reason: d.ID + " was deployed by force and verified: " + d.Reason})
		}
	}
	return events
}

// failed records a deployment that did not work, and goes back where the
// environment asks for it and the guards allow it.
func (r *run) failed(ctx context.Context, why error, out Outcome) (Outcome, error) {
	r.end(ctx, why)
	out.Sync, out.Reason = stella.SyncFailed, why.Error()
	if r.dep.Status == stella.Partial {
		out.Sync = stella.SyncPartial
	}
	good, no := r.mayGoBack(ctx, why)
	if no == "" {
		return r.goBack(ctx, *good, out)
	}
	if no != notAsked {
		r.notify(Warned{Environment: r.dep.Environment, Text: "no automatic rollback: " + no})
		r.note("no automatic rollback: " + no)
	}
	hold := r.holding()
	d, err := r.record(ctx, func(b ledger.Book, d stella.Deployment) []ledger.Event { return r.outcome(b, d, hold) })
	out.Deployment, out.Commit = &d, d.Commit
	if err == nil && d.Status == stella.Errored {
		err = untouchedError(d, why)
	}
	return out, err
}

// note adds a line to the deployment's error: it is what people read first.
func (r *run) note(text string) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.dep.Error += "; " + text
}

// untouchedError is what a caller hears of a deployment that touched nothing.
func untouchedError(d stella.Deployment, why error) error {
	err := fmt.Errorf("%s %s: %w", d.Kind, d.ID, why)
	if hint := stella.Hint(why); hint != "" {
		return stella.WithHint(err, hint)
	}
	return stella.WithHint(err, fmt.Sprintf("run 'stella rollback trace %s'", d.ID))
}
