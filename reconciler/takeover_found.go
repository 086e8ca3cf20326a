package reconciler

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"

	"github.com/stella-ops/stella"
	"github.com/stella-ops/stella/internal/safe"
)

// runningFound is what the targets of an environment run before it is taken over.
type runningFound struct {
	pins map[string]stella.Artifact // component → what runs, where release.yaml says something else
	plan Plan                       // nothing but findings and warnings
}

// findRunning asks every target what could be taken over and says which digests
// release.yaml has to name.
func (e *Engine) findRunning(ctx context.Context, sc *scene) *runningFound {
	b := sc.branch
	in := &inspection{want: b, survey: e.sites(ctx, b, sc.book)}
	in.plan = emptyPlan(b.name, string(b.app), b.release.Release.Version)
	in.plan.Commit, in.plan.Empty = string(b.commit), true
	in.reach(intent{kind: stella.KindImport})
	found := make([]stella.Found, len(in.survey.sites))
	errs := make([]error, len(in.survey.sites))
	eachSite(e, in.survey, func(i int, s *site) error {
		found[i], errs[i] = e.runningOn(ctx, s)
		return nil
	})
	runs := map[string][]sighting{}
	for i, s := range in.survey.sites {
		in.unadoptable(s, errs[i])
		for _, note := range found[i].Notes {
			in.warn("%s: %s", s.spec.Name, note)
		}
		for _, c := range found[i].Components {
			runs[c.Name] = append(runs[c.Name], sighting{s.spec.Name, c})
		}
	}
	f := &runningFound{pins: in.pins(runs)}
	in.plan.Hash = in.plan.hash(nil)
	f.plan = in.plan
	return f
}

// eachSite calls fn for every site that answered, in parallel.
func eachSite(e *Engine, sv *survey, fn func(i int, s *site) error) {
	r := &run{e: e}
	names := make([]string, 0, len(sv.sites))
	for _, s := range sv.sites {
		if s.err == nil {
			names = append(names, s.spec.Name)
		}
	}
	_ = r.each(names, func(name string) error { // fn keeps its own errors
		i := slices.IndexFunc(sv.sites, func(s *site) bool { return s.spec.Name == name })
		return fn(i, sv.sites[i])
	})
}

// errCannotAdopt is a target whose driver can not take over.
var errCannotAdopt = errors.New("what runs there can not be taken over")

func (e *Engine) runningOn(ctx context.Context, s *site) (r stella.Found, err error) {
	a, ok := s.target.(Adopter)
	if !ok {
		return r, errCannotAdopt
	}
	ctx, cancel := context.WithTimeout(ctx, observeTimeout)
	defer cancel()
	guarded := e.guard("look at what runs on "+s.spec.Name, func() error {
		r, err = a.Running(ctx)
		return nil
	})
	return r, errors.Join(guarded, err)
}

// unadoptable refuses for a target on which there is nothing to take over, or
// on which it may not be.
func (in *inspection) unadoptable(s *site, err error) {
	switch {
	case err == nil:
	case errors.Is(err, errCannotAdopt):
		in.find(FindingCannotAdopt, s.spec.Name, fmt.Sprintf("%s: a target of kind %s has nothing to take over", s.spec.Name, driver(s.spec)),
			fmt.Sprintf("run 'stella reconcile %s', which deploys to it", in.plan.Environment))
	case errors.Is(err, stella.ErrNotFound):
		in.find(FindingNothingRuns, s.spec.Name, s.spec.Name+": "+err.Error(), stella.Hint(err))
	default:
		in.find(FindingUnreachable, s.spec.Name, s.spec.Name+": "+err.Error(), stella.Hint(err))
	}
}

// sighting is a component as one target runs it.
type sighting struct {
	target string
	stella.FoundComponent
}

// pins are the digests that release.yaml has to name and does not yet.
func (in *inspection) pins(runs map[string][]sighting) map[string]stella.Artifact {
	pins := map[string]stella.Artifact{}
	components := in.want.release.Release.Components
	for _, name := range sortedKeys(components) {
		asked := components[name]
		var picked stella.Artifact
		for i, s := range runs[name] {
			a, ok := pick(asked, s.FoundComponent)
			switch {
			case !ok:
				in.unpushed(s, asked)
			case i > 0 && picked.Digest != "" && a.Digest != picked.Digest:
				in.find(FindingUnlike, s.target, fmt.Sprintf("%s runs %s of %s, and %s runs %s", runs[name][0].target, picked.Digest.Short(), name, s.target, a.Digest.Short()),
					"bring the targets to the same image first, or give each an environment of its own")
			case picked.Digest == "":
				picked = a
			}
		}
		if picked.Digest == "" || picked == asked {
			continue
		}
		if asked.Digest != "" && asked.Digest != picked.Digest {
			in.warn("release.yaml asks for %s of %s, and %s runs: that is what it will say", asked.Digest.Short(), name, picked.Digest.Short())
		}
		pins[name] = picked
	}
	return pins
}

// pick chooses under which name what runs is recorded: that of the repository
// which release.yaml names, with the digest that it asks for where what runs has
// that, and the tag that what runs was started with.
func pick(asked stella.Artifact, c stella.FoundComponent) (stella.Artifact, bool) {
	var same []stella.Artifact
	for _, a := range c.Artifacts {
		if a.Registry == asked.Registry && a.Repository == asked.Repository {
			same = append(same, a)
		}
	}
	if len(same) == 0 {
		return stella.Artifact{}, false
	}
	i := max(0, slices.IndexFunc(same, func(a stella.Artifact) bool { return a.Digest == asked.Digest }))
	a := same[i]
	a.Tag = asked.Tag
	if tag, ok := tagOf(c.Image, a); ok && a.Digest != asked.Digest {
		a.Tag = tag
	}
	return a, true
}

// tagOf is the tag of an image as Docker spells it, where it is of the artifact's
// repository.
func tagOf(image string, a stella.Artifact) (string, bool) {
	named, err := stella.ParseArtifact(image)
	if err != nil || named.Tag == "" || named.Registry != a.Registry || named.Repository != a.Repository {
		return "", false
	}
	return named.Tag, true
}

// unpushed refuses an image that is not known by the name that release.yaml has.
func (in *inspection) unpushed(s sighting, asked stella.Artifact) {
	name := asked
	name.Digest = ""
	if len(s.Artifacts) == 0 {
		in.find(FindingUnpushed, s.target, fmt.Sprintf("%s runs an image of %s that was never pushed to a registry, %s: a release is digests", s.target, s.Name, safe.Line(s.Image)),
			fmt.Sprintf("run 'docker tag %s %s && docker push %s' there: what runs is not restarted by it", safe.Line(s.Image), name, name))
		return
	}
	known := make([]string, len(s.Artifacts))
	for i, a := range s.Artifacts {
		known[i] = a.Registry + "/" + a.Repository
	}
	in.find(FindingUnpushed, s.target, fmt.Sprintf("%s runs an image of %s that comes from %s, not from %s/%s", s.target, s.Name, strings.Join(slices.Compact(known), ", "), asked.Registry, asked.Repository),
		fmt.Sprintf("name %s/%s as %s in release.yaml, or push what runs to %s/%s", s.Artifacts[0].Registry, s.Artifacts[0].Repository, s.Name, asked.Registry, asked.Repository))
}
