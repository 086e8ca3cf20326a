package reconciler

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"

	"github.com/stella-ops/stella"
	"github.com/stella-ops/stella/configrepo"
	"github.com/stella-ops/stella/ledger"
)

// wary adds to a planned rollback what only going back must be asked about:
// whether it was ever verified, what it crosses, whose data it stands on, and
// what else lies outside the app.
func (e *Engine) wary(ctx context.Context, sc *scene, good stella.Deployment, j *job) (*job, error) {
	back := &wayBack{inspection: j.in, scene: sc, good: good, why: j.intent, command: commandBack(good, sc.name, j.intent.kind)}
	back.verified()
	back.irreversible()
	back.stateful()
	back.operated()
	back.retired()
	return j, back.shared(ctx, e)
}

// waryOfApp is wary for a rollback that leaves what lies outside the app as it
// is: of some components or targets, without the config repository, or of what
// one commit changed. flags are how the command asks for that.
func waryOfApp(sc *scene, good stella.Deployment, j *job, flags string) *wayBack {
	back := &wayBack{inspection: j.in, scene: sc, good: good, why: j.intent, command: "stella rollback " + string(sc.name) + flags}
	back.verified()
	back.irreversible()
	back.stateful()
	return back
}

// wayBack is a rollback while it is looked at.
type wayBack struct {
	*inspection

	scene   *scene
	good    stella.Deployment
	why     intent
	command string // that goes there
}

// again is the command that goes the same way with something more.
func (w *wayBack) again(more string) string {
	return w.command + " " + more
}

func (w *wayBack) verified() {
	if w.good.Status == stella.Succeeded {
		if _, known := w.scene.book.Deployment(w.good.ID); !known && w.why.restores == w.good.ID {
			w.warn("the ledger does not know %s: that it was verified is only what baselines/%s.yaml says; its content was on the branch", w.good.ID, w.scene.name)
		}
		return
	}
	w.find(FindingUnverified, "", fmt.Sprintf("%s was never verified, it is %s", w.good.ID, w.good.Status),
		fmt.Sprintf("run 'stella orch deployments list %s --status succeeded' and name one of those with --to", w.scene.name))
}

// irreversible looks for releases that there is no simple way back from, and
// that this one goes back across. What the environment says today counts, and
// with it what it said then where that is restored.
func (w *wayBack) irreversible() {
	for _, one := range w.declared() {
		by := crossed(w.scene.book, w.good, one.Version)
		if by == nil {
			continue
		}
		w.plan.Crosses = append(w.plan.Crosses, Crossing{Version: one.Version, Reason: one.Reason})
		if slices.Contains(w.why.scope.Cross, one.Version) {
			continue
		}
		why := ""
		if one.Reason != "" {
			why = ": " + one.Reason
		}
		w.find(FindingIrreversible, "",
			fmt.Sprintf("release %s is irreversible%s; %s (%s) has it, %s (%s) is from before it", one.Version, why, by.ID, by.Release, w.good.ID, w.good.Release),
			"run '"+w.again("--cross "+one.Version)+"' where the older release can live with that")
	}
}

func (w *wayBack) declared() []configrepo.Irreversible {
	var all []configrepo.Irreversible
	for _, env := range []*configrepo.Environment{w.scene.branch.env, w.want.env} {
		if env == nil {
			continue
		}
		for _, one := range env.Irreversible {
			if !slices.ContainsFunc(all, func(o configrepo.Irreversible) bool { return o.Version == one.Version }) {
				all = append(all, one)
			}
		}
	}
	return all
}

// crossed returns the newest of the deployments that a rollback undoes whose
// release is at or after a version, where the release that it restores is from
// before it; nil for none. Where releases are not numbered, at means of that
// very name.
func crossed(b ledger.Book, good stella.Deployment, version string) *stella.Deployment {
	if order, ok := compareVersions(good.Release, version); good.Release == version || ok && order >= 0 {
		return nil
	}
	for _, d := range slices.Backward(inEffectSince(b, good)) {
		if order, ok := compareVersions(d.Release, version); d.Release == version || ok && order >= 0 {
			return &d
		}
	}
	return nil
}

// inEffectSince are the deployments whose content is in effect and came after good,
// oldest first. What a rollback has taken back already is not among them.
func inEffectSince(b ledger.Book, good stella.Deployment) []stella.Deployment {
	var out []stella.Deployment
	for _, d := range b.Deployments {
		if d.Sequence <= good.Sequence || d.Status == stella.Pending || d.Status == stella.Errored || d.Status == stella.Superseded {
			continue
		}
		restored, ok := b.Deployment(d.Restores)
		if !ok || d.Status != stella.Succeeded || d.Tree != restored.Tree { // or it took back a part only
			out = append(out, d)
			continue
		}
		out = slices.DeleteFunc(out, func(o stella.Deployment) bool { return o.Sequence > restored.Sequence })
		if restored.Sequence > good.Sequence && !slices.ContainsFunc(out, func(o stella.Deployment) bool { return o.ID == restored.ID }) {
			out = append(out, restored)
		}
	}
	return out
}

// stateful refuses to change the image of a service that has data of its own, or
// that is to be left where it is, unless it is named.
func (w *wayBack) stateful() {
	if w.want.desired == nil {
		return
	}
	told := map[string]bool{}
	for _, t := range w.want.desired.Targets {
		for _, r := range t.State.Resources {
			name, ok := strings.CutPrefix(string(r.ID), "service/")
			from, moves := w.moves(t.Name, r)
			if !ok || !moves || told[name] || slices.Contains(w.why.scope.Cross, name) {
				continue
			}
			told[name] = true
			change := fmt.Sprintf("from %s to %s", shortImage(from.Fields["image"]), shortImage(r.Fields["image"]))
			switch volume := namedVolume(r, from); {
			case keeps(from) || keeps(r):
				w.find(FindingStateful, t.Name, fmt.Sprintf("%s says 'x-stella: {rollback: keep}', and going back would change its image %s", name, change), w.without(name))
			case volume != "":
				w.find(FindingStateful, t.Name, fmt.Sprintf("%s has its data in volume %s, and going back would change its image %s", name, volume, change),
					"run '"+w.again("--cross "+name)+"' where the older image can read that data")
			default:
				told[name] = false
			}
		}
	}
}

// retired names the volumes that what is restored does not have: they are taken
// out of use, and no data is removed.
func (w *wayBack) retired() {
	for _, t := range w.plan.Targets {
		for _, a := range t.Actions {
			if name, ok := strings.CutPrefix(string(a.Resource.ID), "volume/"); ok && a.Op == stella.OpRemove {
				w.warn("volume %s on %s is not in %s: it is taken out of use, and its data stays", name, t.Target, w.good.ID)
			}
		}
	}
}

// moves returns a service as it is now, and whether going back changes its
// image. What could not be observed is taken to be what is wanted today.
func (w *wayBack) moves(target string, want stella.Resource) (stella.Resource, bool) {
	var now stella.State
	if s := w.survey.site(target); s != nil && s.err == nil {
		now = s.live
	}
	from, ok := now.Resource(want.ID)
	if today := w.scene.desired; !ok && today != nil {
		state, _ := today.Target(target)
		from, ok = state.Resource(want.ID)
	}
	return from, ok && imageDigest(from) != "" && imageDigest(from) != imageDigest(want)
}

func imageDigest(r stella.Resource) stella.Digest {
	text, _ := r.Fields["image"].(string)
	a, err := stella.ParseArtifact(text)
	if err != nil {
		return ""
	}
	return a.Digest
}

// namedVolume is the first named volume that one of the services mounts.
func namedVolume(services ...stella.Resource) string {
	for _, r := range services {
		mounts, _ := r.Fields["volumes"].([]any)
		for _, m := range mounts {
			mount, _ := m.(map[string]any)
			if source, _ := mount["source"].(string); mount["type"] == "volume" && source != "" {
				return source
			}
		}
	}
	return ""
}

// keeps reports whether a service is to stay where it is when the others go
// back.
func keeps(r stella.Resource) bool {
	x, _ := r.Fields["x-stella"].(map[string]any)
	return x["rollback"] == "keep"
}

// without is the command that leaves a service where it is: all of the app as it
// was then can not, its other components can.
func (w *wayBack) without(service string) string {
	var others []string
	for _, name := range sortedKeys(w.good.Components) {
		if now := w.scene.release; name != service && now != nil && now.Release.Components[name].String() != w.good.Components[name] {
			others = append(others, name)
		}
	}
	if len(others) == 0 {
		return "run '" + w.again("--cross "+service) + "' to take it back with the others"
	}
	command := w.command
	if w.why.kind == stella.KindReset { // it takes back all or nothing
		command = commandBack(w.good, w.scene.name, stella.KindRollback)
	}
	return fmt.Sprintf("run '%s --component %s', which leaves it where it is, or add --cross %s to take it back too", command, strings.Join(others, ","), service)
}

// unrenderable is preflight for what can not be used today as it was then. What
// else stands in the way is found all the same, from what was recorded.
func (e *Engine) unrenderable(ctx context.Context, sc *scene, want *source, good stella.Deployment, why intent) *inspection {
	seen := *want
	if seen.env == nil {
		seen.env = sc.branch.env
	}
	in := &inspection{want: &seen, survey: &survey{artifacts: e.cfg.Artifacts(want.project), guard: e.guard}}
	in.plan = emptyPlan(sc.name, string(want.app), good.Release)
	in.find(FindingUnrenderable, "", fmt.Sprintf("what %s had can not be used today: %s", good.ID, strings.ReplaceAll(want.invalid.Error(), "\n", "; ")),
		fmt.Sprintf("%s, or bring it back by hand: 'git checkout %.12s -- %s', mend it, commit", why.another(sc.name), good.Commit, appPath(want)))
	if seen.env != nil {
		in.survey = e.sites(ctx, &seen, sc.book)
		in.reach(why)
	}
	var artifacts []stella.Artifact
	for _, name := range sortedKeys(good.Components) {
		if a, err := stella.ParseArtifact(good.Components[name]); err == nil {
			artifacts = append(artifacts, a)
		}
	}
	// Which target needs which nobody can tell: each is taken to need them all.
	in.have(ctx, why, artifacts, func(string, stella.Artifact) int { return 1 })
	in.locked(sc.book, why.opts)
	return in
}

// isInvalid reports whether the fault is in the files, and not in reading them.
func isInvalid(err error) bool { return errors.Is(err, stella.ErrInvalid) }
