package reconciler

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"

	"github.com/stella-ops/stella"
	"github.com/stella-ops/stella/configrepo"
	"github.com/stella-ops/stella/drift"
	"github.com/stella-ops/stella/internal/git"
	"github.com/stella-ops/stella/internal/safe"
)

// AdoptRequest asks to want what runs: the live value is written to the app as a
// commit, and deployed, which changes nothing on the targets.
type AdoptRequest struct {
	Environment stella.EnvName
	Resource    string // an id, or the name of a service
	// Path is a JSON Pointer into the resource: the differences there and below
	// are adopted. Empty for all differences of the resource.
	Path string
	// Target is the one whose value counts where targets differ; it is brought to
	// the others then.
	Target string
	// Heal lets the deployment bring back what else differs. Without it an adopt
	// that would restart or change anything is refused.
	Heal bool
	Options
}

// FindingAlsoDrifted is what keeps an adopt from being carried out: its
// deployment would bring back something else.
const FindingAlsoDrifted = "also-drifted"

// Adopt writes what runs into the app's files, where they have a place for it.
// It is carried out as a deployment, and recorded as one: what is wanted changed.
func (e *Engine) Adopt(ctx context.Context, req AdoptRequest) (Outcome, error) {
	if err := checkPath(req.Path); err != nil {
		return Outcome{}, err
	}
	q, err := e.ask(ctx, req.Environment, req.Resource, req.Options)
	if err != nil {
		return Outcome{}, err
	}
	if err := q.adoptable(); err != nil {
		return Outcome{}, err
	}
	a, err := e.adopt(ctx, q, req)
	if err != nil {
		return Outcome{}, fmt.Errorf("adopt %s: %w", spotOf(q.resource, req.Path), err)
	}
	c := &change{draft: a.draft(req.Options)}
	cand, err := e.build(ctx, *c, q.scene.branch)
	if err != nil {
		return Outcome{}, a.unrenderable(err)
	}
	if err := a.check(cand.want); err != nil {
		return Outcome{}, err
	}
	j, err := e.inspect(ctx, q.scene, intent{kind: stella.KindDeploy, reason: a.why(req.Reason), opts: req.Options}, c, cand)
	if err != nil {
		return Outcome{}, err
	}
	a.rest(&j.in.plan, req.Heal)
	return e.carryOutAdoption(ctx, j, req)
}

func (e *Engine) carryOutAdoption(ctx context.Context, j *job, req AdoptRequest) (Outcome, error) {
	out := Outcome{Plan: &j.in.plan}
	if req.DryRun {
		return out, nil
	}
	if err := refused(fmt.Sprintf("adopt what %s runs", req.Environment), j.in.plan, req.Options); err != nil {
		return out, err
	}
	if err := agreed(j.in.plan, j.scene.env, req.Options); err != nil {
		return out, err
	}
	if req.PullRequest {
		return e.proposed(ctx, j)
	}
	if j.scene.env.Apply == configrepo.ApplyServe && !req.ApplyHere {
		if err := e.reunitedFirst(ctx, j); err != nil {
			return out, err
		}
		return e.leaveToOthers(ctx, j, imagesOf(j.scene.source), false)
	}
	return e.carryOut(ctx, j, req.Options)
}

// imagesOf are the components that a source asks for.
func imagesOf(s *source) map[string]stella.Artifact { return s.release.Release.Components }

// adoptable refuses where what runs is measured against something else than what
// the branch asks for: the commit of an adopt would bring that along.
func (q *question) adoptable() error {
	sc := q.scene
	refuse := func(why, hint string) error {
		return stella.WithHint(fmt.Errorf("adopt what %s runs: %s: %w", sc.name, why, stella.ErrRefused), hint)
	}
	switch {
	case sc.branch.invalid != nil:
		return sc.branch.invalid
	case sc.pinned() != nil:
		return refuse("it is "+sc.pinReason(), fmt.Sprintf("merge that first; 'stella why %s' has more", sc.name))
	case q.in.Tree != string(sc.branch.app):
		return refuse(fmt.Sprintf("commit %.12s asks for something else than %s, which is deployed", sc.branch.commit, q.in.ID),
			fmt.Sprintf("run 'stella reconcile %s' first, which brings back what differs as well, or revert that commit; 'stella why %s' has more", sc.name, sc.name))
	}
	return nil
}

// adoption is what is to be taken over, and where it is written.
type adoption struct {
	*question
	paths  []string // of the differences, sorted
	target string   // whose values they are
	picked bool     // it was named: the others are to follow it
	after  map[string]map[string]any
	place  configrepo.Place
	mode   uint32
}

// adopt finds the differences that are meant, and the file that they belong to.
func (e *Engine) adopt(ctx context.Context, q *question, req AdoptRequest) (*adoption, error) {
	a := &adoption{question: q, target: req.Target, picked: req.Target != "", after: map[string]map[string]any{}}
	chosen, err := a.choose(req)
	if err != nil {
		return nil, err
	}
	if err := a.placeable(chosen); err != nil {
		return nil, err
	}
	if err := a.agree(chosen); err != nil {
		return nil, err
	}
	want, _ := q.want.desired.Target(a.target)
	r, _ := want.Resource(q.resource)
	a.after[a.target] = taking(r.Fields, chosen, a.target)
	for _, s := range chosen {
		if _, done := a.after[s.target]; !done {
			want, _ := q.want.desired.Target(s.target)
			r, _ := want.Resource(q.resource)
			a.after[s.target] = taking(r.Fields, chosen, s.target)
		}
	}
	b := q.scene.branch
	places, err := configrepo.PlaceLive(ctx, b.tree, b.project, b.env, b.release.At(e.cfg.Now()), serviceOf(q.resource), r.Fields, a.after[a.target])
	switch {
	case err != nil:
		return nil, err
	case len(places) == 0:
		return nil, fmt.Errorf("the files of the app say it already: %w", stella.ErrRefused)
	case len(places) > 1:
		var names []string
		for _, p := range places {
			names = append(names, safe.Line(p.Path))
		}
		err := fmt.Errorf("it belongs into several files, %s: %w", strings.Join(names, " and "), stella.ErrRefused)
		return nil, stella.WithHint(err, "name one path at a time: "+strings.Join(pathsOf(chosen), ", "))
	}
	a.place = places[0]
	if entry, err := b.tree.Lookup(ctx, a.place.Path); err == nil {
		a.mode = entry.Mode
	}
	return a, nil
}

func serviceOf(id stella.ResourceID) string { return strings.TrimPrefix(string(id), "service/") }

// choose returns the differences that are meant, of all targets.
func (a *adoption) choose(req AdoptRequest) ([]seen, error) {
	if a.picked && !slices.ContainsFunc(a.targets, func(t TargetDiff) bool { return t.Target == req.Target }) {
		err := fmt.Errorf("target %s of %s: %w", safe.Clip(req.Target, 80), a.scene.name, stella.ErrNotFound)
		return nil, stella.WithHint(err, "its targets are "+strings.Join(targetNames(a.want.env), ", "))
	}
	all := a.differing(drift.Ignore{Resource: patternOf(a.resource), Path: withForms(req.Path)})
	if req.Path == "" {
		all = counting(all)
	}
	all = slices.DeleteFunc(all, func(s seen) bool {
		return strings.HasPrefix(s.Path, "/configs/") && req.Path != "" && !meant(s.Path, req.Path)
	})
	if a.picked { // the others follow
		all = slices.DeleteFunc(all, func(s seen) bool { return s.target != a.target })
	}
	if len(all) > 0 {
		a.target, a.paths = all[0].target, distinct(all)
		slices.Sort(a.paths)
		return all, nil
	}
	return nil, a.nothingThere(req.Path, fmt.Sprintf("run 'stella drift detect %s' to see what differs", a.scene.name))
}

// withForms is the path of a config where the path of a form of its content is
// meant.
func withForms(path string) string {
	if config := oneConfig(path); config != "" {
		return config
	}
	return path
}

// meant reports whether a path is at or below the one that was named, or another
// form of the same content.
func meant(path, named string) bool {
	if path == named || strings.HasPrefix(path, named+"/") {
		return true
	}
	return oneConfig(path) != "" && oneConfig(path) == oneConfig(named)
}

// placeable refuses what no file of an app can say.
func (a *adoption) placeable(chosen []seen) error {
	heal := fmt.Sprintf("run 'stella reconcile %s' to bring it back to what was deployed", a.scene.name)
	for _, s := range chosen {
		if why := WhyNotAdopted(s.Change); why != "" {
			return stella.WithHint(fmt.Errorf("%s: %s: %w", s, why, stella.ErrRefused), heal)
		}
	}
	return nil
}

// WhyNotAdopted says why no file of an app can say what runs; empty where one may.
func WhyNotAdopted(c stella.Change) string {
	switch field, _, _ := strings.Cut(strings.TrimPrefix(c.Path, "/"), "/"); {
	case c.Secret:
		return "its value is a secret, which is never written to the config repository"
	case !strings.HasPrefix(string(c.Resource), "service/"):
		return "only services have a place in the app's files that is written by itself"
	case c.Path == "" && c.Class == stella.Missing:
		return "it does not run, and no file can say that it is not to"
	case c.Path == "" && c.Class == stella.Extra:
		return "nobody asked for it, and how it was made is not known"
	case c.Path == "":
		return "it is not known in which field it differs"
	case field == "files":
		return "files of its image were changed on the target, and an image is what its digest says"
	case field == "current" || field == "spec.json" || field == "status.json":
		return "it is a record of stella's own on the target"
	}
	return ""
}

// agree refuses where targets run different things, unless one was picked.
func (a *adoption) agree(chosen []seen) error {
	if a.picked {
		return nil
	}
	for _, path := range distinct(chosen) {
		mine, _ := a.valueAt(chosen, a.target, path)
		var says []string
		differ := false
		for _, t := range a.targets {
			value, runs := a.valueAt(chosen, t.Target, path)
			if !runs {
				continue
			}
			says = append(says, fmt.Sprintf("%s on %s", shortValue(value), t.Target))
			differ = differ || !sameJSON(value, mine) && !a.apart(chosen, t.Target, path)
		}
		if differ {
			err := fmt.Errorf("%s is not the same on all targets: %s: %w", spotOf(a.resource, path), strings.Join(says, ", "), stella.ErrRefused)
			return stella.WithHint(err, "pick the one whose value all of them are to have with --target, or bring it back with 'stella reconcile "+string(a.scene.name)+"'")
		}
	}
	return nil
}

// gone stands for a value that is not there.
type gone struct{}

// valueAt is what a target runs at a path; not ok where it does not run the
// resource, or could not be read.
func (a *adoption) valueAt(chosen []seen, target, path string) (any, bool) {
	if _, read := a.live[target]; !read {
		return nil, false
	}
	for _, s := range chosen {
		if s.target == target && s.Path == path {
			if s.Class == stella.Missing {
				return gone{}, true
			}
			return s.Live, true
		}
	}
	want, _ := a.want.desired.Target(target)
	r, ok := want.Resource(a.resource)
	if !ok {
		return nil, false
	}
	if v, has := drift.Lookup(r.Fields, path); has {
		return v, true
	}
	return gone{}, true
}

// apart reports whether a target does not differ at a path, and is to have
// another value there anyway: its own variables say so.
func (a *adoption) apart(chosen []seen, target, path string) bool {
	if slices.ContainsFunc(chosen, func(s seen) bool { return s.target == target && s.Path == path }) {
		return false
	}
	at := func(name string) any {
		want, _ := a.want.desired.Target(name)
		r, _ := want.Resource(a.resource)
		v, _ := drift.Lookup(r.Fields, path)
		return v
	}
	return !sameJSON(at(target), at(a.target))
}

// sameJSON compares canonical values.
func sameJSON(a, b any) bool {
	_, goneA := a.(gone)
	_, goneB := b.(gone)
	if goneA || goneB {
		return goneA == goneB
	}
	textA, errA := drift.Canonical(a)
	textB, errB := drift.Canonical(b)
	return errA == nil && errB == nil && string(textA) == string(textB)
}

// shortValue is a value in a few words.
func shortValue(v any) string {
	if _, is := v.(gone); is {
		return "nothing"
	}
	text, err := drift.Canonical(v)
	if err != nil {
		return "something"
	}
	return safe.Clip(string(text), 80)
}

// taking returns the fields with what a target runs in the place of what was
// asked for. The fields themselves stay as they are.
func taking(fields map[string]any, chosen []seen, target string) map[string]any {
	out, _ := deepCopy(fields).(map[string]any)
	if out == nil {
		out = map[string]any{}
	}
	for _, s := range chosen {
		if s.target != target {
			continue
		}
		if segments, err := drift.ParsePointer(s.Path); err == nil && len(segments) > 0 {
			put(out, segments, s.Class == stella.Missing, deepCopy(s.Live))
		}
	}
	return out
}

// put sets, or removes, what is at a path of a canonical value.
func put(at any, segments []string, remove bool, value any) {
	for _, s := range segments[:len(segments)-1] {
		at, _ = drift.Lookup(at, drift.Pointer(s))
	}
	last := segments[len(segments)-1]
	switch at := at.(type) {
	case map[string]any:
		if remove {
			delete(at, last)
		} else {
			at[last] = value
		}
	case []any:
		for i := range at {
			if fmt.Sprint(i) == last {
				at[i] = value
			}
		}
	}
}

func deepCopy(v any) any {
	switch v := v.(type) {
	case map[string]any:
		out := make(map[string]any, len(v))
		for k, e := range v {
			out[k] = deepCopy(e)
		}
		return out
	case []any:
		out := make([]any, len(v))
		for i, e := range v {
			out[i] = deepCopy(e)
		}
		return out
	}
	return v
}

// draft is the commit, on an app that is still the one that was looked at.
func (a *adoption) draft(o Options) func(context.Context, *source) ([]git.Edit, string, error) {
	return func(_ context.Context, onto *source) ([]git.Edit, string, error) {
		if err := unchanged("the app", onto.app, a.scene.branch.app, onto); err != nil {
			return nil, "", err
		}
		edit := git.Edit{Path: a.place.Path, Content: a.place.Content, Mode: a.mode}
		return []git.Edit{edit}, adoptMessage(a.scene.name, a, o), nil
	}
}

// why is the reason that the record has: the person's, or what was done.
func (a *adoption) why(reason string) string {
	if reason != "" {
		return reason
	}
	return fmt.Sprintf("adopted what ran: %s %s", a.resource, safe.Clip(safe.Line(strings.Join(a.paths, " ")), maxPartRunes))
}

// unrenderable refuses a value that the files could say, and that is not valid
// there.
func (a *adoption) unrenderable(err error) error {
	if !errors.Is(err, stella.ErrInvalid) {
		return err
	}
	err = fmt.Errorf("adopt %s: what runs can not be asked for: %w: %w", spotOf(a.resource, safe.Clip(strings.Join(a.paths, " "), maxPartRunes)), stella.ErrRefused, err)
	return stella.WithHint(err, fmt.Sprintf("run 'stella reconcile %s' to bring it back to what was deployed", a.scene.name))
}
