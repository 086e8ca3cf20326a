package reconciler

import (
	"context"
	"fmt"
	"strconv"
	"strings"
	"time"

	"github.com/stella-ops/stella"
	"github.com/stella-ops/stella/internal/safe"
	"github.com/stella-ops/stella/ledger"
)

// A rollback without the Git host is break-glass: from the commit and the ledger
// as they were last seen, only to what the targets still have. There is no lock
// to take. Each target takes it under its own, raises its fence, so that whoever
// held the environment's lock is refused from then on, and keeps the record on
// its sticker until reunite brings it into the ledger.

const (
	// gitPatience is how long the config repository is given to answer after all.
	gitPatience = 3 * time.Second
	// offlineFence is how far the fence is raised: above whatever lock somebody
	// who does reach the ledger may take meanwhile, and far below what a ledger
	// takes for tampering.
	offlineFence = 16
)

// rollbackOffline goes back without the Git host.
func (e *Engine) rollbackOffline(ctx context.Context, req RollbackRequest) (Outcome, error) {
	sc, err := e.lastKnown(ctx, req)
	if err != nil {
		return Outcome{}, err
	}
	j, err := e.planOffline(ctx, sc, req)
	if err != nil {
		return Outcome{}, err
	}
	out := Outcome{Plan: &j.in.plan}
	if req.DryRun {
		return out, nil
	}
	if err := req.admit(j.in.plan, sc.env); err != nil {
		return out, err
	}
	return e.driveOffline(ctx, j, out)
}

// lastKnown is the scene from the cache, or from the config repository where it
// answers after all: then its lock counts, too. A freeze counts either way, as
// far as it was seen: it ends at its time, whoever is away.
func (e *Engine) lastKnown(ctx context.Context, req RollbackRequest) (*scene, error) {
	look, cancel := context.WithTimeout(ctx, gitPatience)
	defer cancel()
	sc, lookErr := e.look(look, req.Environment)
	if lookErr == nil {
		e.events.notify(Warned{Environment: req.Environment, Text: "the config repository answers: without --offline this would be recorded at once"})
		if lock := sc.book.Lock(time.Now()); lock != nil && (lock.ByHand || !forced(req.Options, ForceLock)) {
			return nil, lockedError(sc.name, *lock)
		}
		return sc, sc.branch.invalidEnvironment()
	}
	sc, err := e.fromCache(ctx, req.Environment)
	if err != nil {
		return nil, stella.WithHint(fmt.Errorf("what is known of %s without the config repository: %w", req.Environment, err),
			"run it on a machine that has worked with this repository before, such as the one where 'stella serve' runs")
	}
	e.events.notify(Warned{Environment: sc.name, Text: fmt.Sprintf(
		"%s; this goes by what was last seen of the config repository, at %s", firstLine(lookErr.Error()), sc.at.UTC().Format(time.RFC3339))})
	if lock := sc.book.Lock(time.Now()); lock != nil && lock.ByHand && !forced(req.Options, ForceLock) {
		return nil, stella.WithHint(lockedError(sc.name, *lock),
			"add --force lock if it can not wait: without the config repository nobody can release it")
	}
	return sc, nil
}

// fromCache is the scene as it was last seen, without the network.
func (e *Engine) fromCache(ctx context.Context, env stella.EnvName) (*scene, error) {
	if _, err := stella.ParseName(string(env)); err != nil {
		return nil, err
	}
	h, err := e.seen(ctx)
	if err != nil {
		return nil, err
	}
	sc, err := e.sceneAt(ctx, h, env)
	if err != nil {
		return nil, err
	}
	return sc, sc.branch.invalidEnvironment()
}

// invalidEnvironment says why not even environment.yaml could be read, nil where
// it could: what the app asks for does not matter where it is replaced.
func (s *source) invalidEnvironment() error {
	if s.env == nil {
		return s.invalid
	}
	return nil
}

// planOffline plans going back to what every target that needs it still has.
func (e *Engine) planOffline(ctx context.Context, sc *scene, req RollbackRequest) (*job, error) {
	good, err := destination(sc.book, req.To)
	if err != nil {
		return nil, err
	}
	want, err := e.withApp(ctx, sc.branch, good.Commit, good.Tree)
	if err != nil {
		return nil, cannotRestore(req.cannot(), good.ID, err)
	}
	before, _ := sc.book.Last()
	why := intent{kind: stella.KindRollback, restores: good.ID, reason: req.Reason, scope: req.Scope, opts: req.Options, offline: &stella.OfflineRecord{
		ID: "offline-" + nonce(), Actor: e.cfg.Actor, Reason: req.Reason, Incident: req.Incident, From: before.ID, Restores: good.ID, StartedAt: time.Now().UTC(),
	}}
	j, err := e.inspect(ctx, sc.wanting(want), why, nil, nil)
	if err != nil {
		return nil, err
	}
	back := waryOfApp(sc, good, j, " --reason … --offline --to "+good.ID)
	differ, err := back.differing(ctx)
	if err != nil {
		return nil, cannotRestore(req.cannot(), good.ID, err)
	}
	for _, dir := range differ {
		back.warn("shared directory %s is not what it was for %s, and stays as it is", dir, good.ID)
	}
	for _, a := range j.in.plan.Artifacts {
		if a.Available && a.Where != whereTarget {
			j.in.find(FindingArtifact, "", a.Image+" is not kept on every target that needs it", "name a release that is, with --to, or wait for the config repository")
		}
	}
	j.in.plan.Warnings = append(j.in.plan.Warnings, "nobody's lock is asked for: make sure that nobody else is changing "+string(sc.name))
	if ran := j.in.survey.ran(sc.name); ran != "" {
		if _, known := sc.book.Deployment(ran); !known {
			j.in.warn("the targets run %s, and that is newer than what was last seen of the config repository here: there may be better to go back to than %s", ran, good.ID)
		}
		why.offline.From = ran
	}
	j.afterAnother(req, why.offline)
	return j, nil
}

// afterAnother takes into account what was done without the config repository
// before and is not recorded yet. The ledger does not know it: going back once
// more without saying where to would lead to the same deployment.
func (j *job) afterAnother(req RollbackRequest, record *stella.OfflineRecord) {
	before := j.in.survey.offline(j.scene.book)
	if before == nil {
		return
	}
	if req.To == "" && before.Restores == record.Restores {
		j.in.find(FindingNowhere, "", fmt.Sprintf("%s went back to %s without the config repository already, at %s: %s",
			safe.Clip(before.Actor, 100), before.Restores, before.StartedAt.UTC().Format(time.RFC3339), safe.Clip(before.Reason, maxReasonRunes)),
			fmt.Sprintf("name an older one: 'stella rollback %s --offline --reason … --to DEPLOYMENT'", j.scene.name))
	}
	record.Reason = safe.Clip(fmt.Sprintf("%s (after %s, for: %s)", record.Reason, before.Restores, before.Reason), maxReasonRunes)
}

// ran is the deployment that the targets say they run: the newest, where they
// differ. What somebody did without the config repository before counts as what
// it went away from. Empty where none of them says.
func (s *survey) ran(env stella.EnvName) string {
	newest, most := "", int64(0)
	for _, site := range s.sites {
		if site.err != nil || site.live.Observed == nil || site.live.Observed.Sticker == nil {
			continue
		}
		id := site.live.Observed.Sticker.Deployment
		if rec := site.live.Observed.Sticker.Offline; rec != nil {
			id = rec.From
		}
		n, err := strconv.ParseInt(strings.TrimPrefix(id, string(env)+"-"), 10, 64)
		if err == nil && n > most && id == ledger.DeploymentID(env, n) {
			newest, most = id, n
		}
	}
	return newest
}

// driveOffline applies and verifies as ever, under the targets' own locks.
func (e *Engine) driveOffline(ctx context.Context, j *job, out Outcome) (Outcome, error) {
	held, lose := context.WithCancelCause(context.WithoutCancel(ctx)) // by nobody who could lose it
	defer lose(errEnded)
	r := &run{e: e, scene: j.scene, survey: j.in.survey, plan: j.in.plan, opts: j.intent.opts, offline: j.intent.offline, lock: newTenure(held, lose)}
	r.dep = e.draft(j.scene.book, j.scene, j.in.survey, j.intent)
	r.dep.ID = fmt.Sprintf("%s-%s", j.scene.name, j.intent.offline.ID)
	r.dep.Sequence = 0 // it gets one in the ledger
	r.dep.Fence = max(j.in.survey.fence(), j.scene.book.State.Fence) + offlineFence
	r.notify(Started{Deployment: r.snapshot()})
	r.past(stella.StepPreflight, j.planned, j.checked)
	err := r.execute(ctx)
	r.end(ctx, err)
	d := r.snapshot()
	r.notify(Ended{Deployment: d})
	out.Deployment, out.Offline = &d, true
	out.Sync, out.Reason = stella.Pinned, "it was carried out without the config repository; as soon as that answers it is recorded and the revert is proposed"
	if d.Status != stella.Succeeded {
		out.Sync, out.Reason = stella.SyncPartial, d.Error
	}
	return out, nil
}
