package reconciler

import (
	"context"
	"fmt"
	"maps"
	"slices"
	"strings"
	"time"

	"github.com/stella-ops/stella"
	"github.com/stella-ops/stella/ledger"
)

// RollbackStatus asks every witness of a deployment whether it happened: Git,
// the ledger, each target's sticker and what really runs there. An empty id is
// the environment's last rollback; where something was deployed after that, or
// there never was one, the witnesses are asked about the deployment in effect.
func (e *Engine) RollbackStatus(ctx context.Context, env stella.EnvName, id string) (RollbackStatus, error) {
	sc, err := e.glimpse(ctx, env)
	if err != nil {
		return RollbackStatus{}, err
	}
	st := RollbackStatus{Environment: env, Disagree: []string{}, Witnesses: Witnesses{Targets: []TargetWitness{}}}
	if st.Deployment, err = named(sc.book, id); err != nil {
		return RollbackStatus{}, err
	}
	want := st.Deployment
	if id == "" {
		want = testified(sc.book, st.Deployment)
	}
	if want == nil {
		st.Witnesses.Git.Error = "nothing was ever deployed"
		st.Disagree = append(st.Disagree, "git")
		return st, nil
	}
	if d := st.Deployment; d != nil {
		st.Driver = e.driver(sc.ledger, sc.book, *d, time.Now())
		finer := e.finer(*d)
		st.Deployment = &finer
	}
	st.Witnesses.Git, st.Witnesses.Ledger = sc.git(*want), sc.recorded(*want)
	if sc.env != nil {
		sv := e.openSites(ctx, sc.project, sc.env, sc.book)
		for _, s := range sv.sites {
			changes := sc.differences(s, sv.at)
			w := witness(s, *want, sc.expected(*want, s.spec.Name), sc.placed(s.spec.Name, changes), changes)
			st.Witnesses.Targets = append(st.Witnesses.Targets, w)
		}
	}
	st.Disagree = st.Witnesses.against()
	st.Agrees = len(st.Disagree) == 0 && sc.env != nil
	return st, nil
}

// against names the witnesses that do not agree.
func (w Witnesses) against() []string {
	out := []string{}
	if !w.Git.OK {
		out = append(out, "git")
	}
	if !w.Ledger.OK {
		out = append(out, "ledger")
	}
	for _, t := range w.Targets {
		if !t.OK {
			out = append(out, t.Name)
		}
	}
	return out
}

// testified is the deployment that the witnesses are asked about: the last
// rollback, or what was deployed after it.
func testified(b ledger.Book, rollback *stella.Deployment) *stella.Deployment {
	if d, ok := b.Current(); ok && (rollback == nil || d.Sequence > rollback.Sequence) {
		return &d
	}
	if d, ok := b.Newest(); ok && rollback == nil {
		return &d
	}
	return rollback
}

// lastRollback is the newest rollback or reset, nil for none.
func lastRollback(b ledger.Book) *stella.Deployment {
	for _, d := range slices.Backward(b.Deployments) {
		if d.Kind.GoesBack() {
			return &d
		}
	}
	return nil
}

func (sc *scene) git(want stella.Deployment) GitWitness {
	w := GitWitness{Tree: string(sc.branch.app), Commit: string(sc.branch.commit), OK: string(sc.branch.app) == want.Tree}
	switch p := sc.pinned(); {
	case w.OK:
	case p != nil && p.Tree == want.Tree:
		w.Pinned = true
		w.Error = fmt.Sprintf("the branch does not have it yet: %s waits to be merged", proposal(*p).Where())
	default:
		w.Error = fmt.Sprintf("the branch asks for another app tree than %s brought", want.ID)
	}
	return w
}

func (sc *scene) recorded(want stella.Deployment) LedgerWitness {
	w := LedgerWitness{Deployment: sc.book.State.Current, Status: want.Status, OK: sc.book.State.Current == want.ID}
	switch {
	case w.OK:
	case w.Deployment == "":
		w.Error = fmt.Sprintf("%s is %s, and nothing that was verified is in effect", want.ID, want.Status)
	default:
		w.Error = fmt.Sprintf("%s is %s, and %s is in effect", want.ID, want.Status, w.Deployment)
	}
	return w
}

// placed are the services that a target is to run, by name, but for those whose
// absence is ignored.
func (sc *scene) placed(target string, changes []stella.Change) []string {
	var names []string
	none := unminded(changes)
	if sc.desired == nil {
		return nil
	}
	state, _ := sc.desired.Target(target)
	for _, r := range state.Resources {
		if name, ok := strings.CutPrefix(string(r.ID), "service/"); ok && !none[r.ID] {
			names = append(names, name)
		}
	}
	return names
}

// expected are the images that a deployment brought to a target. Where the
// branch still has its app, the overrides in it count.
func (sc *scene) expected(want stella.Deployment, target string) map[string]string {
	out := maps.Clone(want.Components)
	if want.Tree == string(sc.app) {
		for name, a := range sc.imagesOn(target) {
			out[name] = a.String()
		}
	}
	return out
}

func witness(s *site, want stella.Deployment, images map[string]string, placed []string, changes []stella.Change) TargetWitness {
	w := TargetWitness{Name: s.spec.Name, Running: map[string]string{}}
	if s.err != nil {
		w.Error = s.err.Error()
		return w
	}
	w.Running = running(s.live)
	if o := s.live.Observed; o != nil && o.Sticker != nil {
		w.Sticker.Deployment = o.Sticker.Deployment
	}
	w.Sticker.OK = w.Sticker.Deployment == want.ID
	w.OK = w.Sticker.OK
	if !w.OK {
		w.Error = fmt.Sprintf("its sticker names %q", w.Sticker.Deployment)
	}
	for name, image := range images {
		a, err := stella.ParseArtifact(image)
		if got, runs := w.Running[name]; err == nil && runs && got != string(a.Digest) {
			w.OK, w.Error = false, fmt.Sprintf("%s runs %s, not %s", name, stella.Digest(got).Short(), a.Digest.Short())
		}
	}
	for _, name := range placed {
		if w.Running[name] == "" {
			w.OK, w.Error = false, name+" does not run"
		}
	}
	if why := troubles(s.live, changes); why != "" {
		w.OK, w.Error = false, why
	}
	if o := s.live.Observed; !w.OK && o != nil && o.Sticker != nil && o.Sticker.Offline != nil {
		w.Error = "it " + wentOffline(*o.Sticker.Offline)
	}
	return w
}
