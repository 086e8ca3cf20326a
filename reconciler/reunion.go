package reconciler

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"slices"
	"time"

	"github.com/stella-ops/stella"
	"github.com/stella-ops/stella/internal/safe"
	"github.com/stella-ops/stella/ledger"
)

// errUnplaced: a record names a deployment that the ledger does not have as
// verified. Only a person can say what is wanted now: with a rollback.
var errUnplaced = fmt.Errorf("to what the ledger does not have as verified: %w", stella.ErrRefused)

// reunite brings what was done without the config repository into the ledger:
// the same rollback is carried out once more, now with a lock, a record, a
// proposal and a pin. On the targets there is nothing left to do but to verify,
// unless one of them was not reached then.
func (e *Engine) reunite(ctx context.Context, env stella.EnvName, record stella.OfflineRecord, o Options) (Outcome, error) {
	sc, err := e.look(ctx, env)
	if err != nil {
		return Outcome{Sync: stella.SyncUnknown}, err
	}
	good, ok := sc.book.Deployment(record.Restores)
	if !ok || good.Status != stella.Succeeded {
		err := fmt.Errorf("%s went back to %q without the config repository, %w", record.Actor, record.Restores, errUnplaced)
		return Outcome{Sync: stella.SyncUnknown}, stella.WithHint(err, fmt.Sprintf("run 'stella orch env status %s --detailed', then 'stella rollback %[1]s --to' a deployment that it lists", env))
	}
	e.events.notify(Warned{Environment: env, Text: fmt.Sprintf("%s went back to %s without the config repository at %s: %s; that is recorded first",
		record.Actor, record.Restores, record.StartedAt.UTC().Format(time.RFC3339), record.Reason)})
	j, err := e.restore(ctx, sc, good, intent{
		kind:   stella.KindRollback,
		reason: record.Reason, actor: record.Actor, offline: &record,
		opts: Options{Incident: record.Incident, PullRequest: true, Timeout: o.Timeout},
	})
	if err != nil {
		return Outcome{Sync: stella.SyncUnknown}, err
	}
	if j.bad, err = e.ranBefore(ctx, sc, record.From); err != nil {
		return Outcome{Sync: stella.SyncUnknown}, err
	}
	return e.drive(ctx, j)
}

// ranBefore is what a deployment asked for, to be held; what the branch asks for
// where that is not known.
func (e *Engine) ranBefore(ctx context.Context, sc *scene, deployment string) (*source, error) {
	d, ok := sc.book.Deployment(deployment)
	if !ok || d.Tree == "" || d.Tree == string(sc.branch.app) {
		return sc.branch, nil
	}
	src, err := e.withApp(ctx, sc.branch, d.Commit, d.Tree)
	if src == nil {
		return nil, err
	}
	return src, nil // whether it still renders does not matter
}

// offline is the newest record of what was done on a target without the config
// repository, nil for none. A target that comes back late still has one that the
// ledger has by now: that is no news, and what came after it stays.
func (s *survey) offline(b ledger.Book) *stella.OfflineRecord {
	if all := s.records(b); len(all) > 0 {
		return &all[len(all)-1]
	}
	return nil
}

// records are all such records, the newest last: targets may tell of several,
// where people who could not see each other went back with some of them each.
func (s *survey) records(b ledger.Book) []stella.OfflineRecord {
	var all []stella.OfflineRecord
	for _, site := range s.sites {
		if site.err != nil || site.live.Observed == nil || site.live.Observed.Sticker == nil || site.live.Observed.Sticker.Offline == nil {
			continue
		}
		rec := cleaned(*site.live.Observed.Sticker.Offline)
		known := slices.ContainsFunc(all, func(other stella.OfflineRecord) bool { return other.ID == rec.ID })
		if !known && !reunited(b, rec.ID) {
			all = append(all, rec)
		}
	}
	slices.SortStableFunc(all, func(a, b stella.OfflineRecord) int { return a.StartedAt.Compare(b.StartedAt) })
	return all
}

// wentOffline says what is waiting to be recorded, and how that is done.
func wentOffline(r stella.OfflineRecord) string {
	r = cleaned(r)
	return fmt.Sprintf("went back to %s without the config repository at %s: 'stella reconcile' or the daemon records that first",
		r.Restores, r.StartedAt.UTC().Format(time.RFC3339))
}

// cleaned is a record as it may be told and kept: it lay on a target, and is text
// from outside.
func cleaned(rec stella.OfflineRecord) stella.OfflineRecord {
	const most = 200
	for _, text := range []*string{&rec.ID, &rec.Actor, &rec.Incident, &rec.From, &rec.Restores} {
		*text = safe.Clip(*text, most)
	}
	rec.Actor, rec.Reason = cmp.Or(rec.Actor, "somebody"), safe.Clip(rec.Reason, maxReasonRunes)
	return rec
}

// reunited reports whether the ledger has a record of what was done without it.
// A reunion that broke off before its end counts for nothing: it is made again.
func reunited(b ledger.Book, record string) bool {
	return slices.ContainsFunc(b.Deployments, func(d stella.Deployment) bool {
		ended := d.Status == stella.Succeeded || d.Status == stella.Partial || d.Status == stella.Failed
		return ended && slices.ContainsFunc(d.Steps, func(s stella.Step) bool {
			return s.Name == stella.StepOffline && s.Detail["record"] == record
		})
	})
}

// reunitedFirst refuses a command that was planned before what its targets say
// was known: that is recorded, and a person decides again.
func (e *Engine) reunitedFirst(ctx context.Context, j *job) error {
	record := j.in.survey.offline(j.scene.book)
	if record == nil {
		return nil
	}
	out, err := e.reunite(ctx, j.scene.name, *record, j.intent.opts)
	if errors.Is(err, errUnplaced) && j.intent.kind.GoesBack() {
		e.events.notify(Warned{Environment: j.scene.name, Text: fmt.Sprintf("%v; this %s takes its place", err, j.intent.kind)})
		return nil
	}
	if err != nil {
		return err
	}
	err = fmt.Errorf("%s went back to %s without the config repository; that is recorded as %s now: %w",
		record.Actor, record.Restores, out.Deployment.ID, stella.ErrConflict)
	return stella.WithHint(err, fmt.Sprintf("run 'stella orch env status %s', then decide again", j.scene.name))
}

// met asks the targets of an environment whether something was done on them
// while the config repository did not answer. After an outage it does so until
// each of them has said that there is nothing that the ledger does not have.
func (e *Engine) met(ctx context.Context, sc *scene, req ReconcileRequest) *stella.OfflineRecord {
	e.mu.Lock()
	known := e.acquainted[sc.name]
	e.mu.Unlock()
	if known || req.DryRun || sc.env == nil || sc.book.State.Sequence == 0 {
		return nil
	}
	sv := e.openSites(ctx, sc.project, sc.env, sc.book)
	record := sv.offline(sc.book)
	silent := slices.ContainsFunc(sv.sites, func(s *site) bool { return s.err != nil })
	if record != nil || silent {
		return record // one that is silent may have something to say when it is back
	}
	e.mu.Lock()
	defer e.mu.Unlock()
	e.acquainted[sc.name] = true
	return nil
}

// cutOff notes that the config repository did not answer: whatever happens on
// the targets from now on is not in the ledger.
func (e *Engine) cutOff() {
	e.mu.Lock()
	defer e.mu.Unlock()
	clear(e.acquainted)
}

// told are the steps that a recorded offline rollback begins with: its own is the
// last, before it those of whoever went elsewhere, with other targets.
func (r *run) told(j *job) {
	rec := j.intent.offline
	if rec == nil {
		return
	}
	all := slices.DeleteFunc(j.in.survey.records(j.scene.book), func(other stella.OfflineRecord) bool { return other.ID == rec.ID })
	r.mu.Lock()
	defer r.mu.Unlock()
	for _, rec := range append(all, *rec) {
		r.dep.Steps = append(r.dep.Steps, stella.Step{
			Name: stella.StepOffline, Status: stella.StepSucceeded, StartedAt: rec.StartedAt,
			Detail: map[string]any{"record": rec.ID, "actor": rec.Actor, "reason": rec.Reason, "from": rec.From, "restores": rec.Restores},
		})
	}
}
