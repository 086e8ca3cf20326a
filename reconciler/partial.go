package reconciler

import (
	"context"
	"fmt"
	"maps"
	"slices"
	"strings"
	"time"

	"github.com/stella-ops/stella"
	"github.com/stella-ops/stella/configrepo"
	"github.com/stella-ops/stella/internal/git"
	"github.com/stella-ops/stella/internal/safe"
)

// restorePart plans going back with some components or on some targets. The app
// stays as it is: what goes back is an override in release.yaml, with an end, so
// that Git says what runs and the divergence is declared rather than drift.
//
// Without a deployment that is named, a component goes back to the newest
// verified one, read like an undo stack, in which it had another image than it
// has now; so does a whole target where no component is named. Several
// components may so come from several deployments.
func (e *Engine) restorePart(ctx context.Context, sc *scene, req RollbackRequest, why intent) (*job, error) {
	if sc.invalid != nil {
		return nil, stella.WithHint(fmt.Errorf("cannot restore a part of %s: %w", sc.name, sc.invalid),
			fmt.Sprintf("correct it, or go back as a whole with 'stella rollback %s'", sc.name))
	}
	if sc.pinned() != nil {
		// An override on top of what waits for review would be two changes at once,
		// and one that was never verified: it could not be pinned either.
		err := fmt.Errorf("cannot restore a part of %s: it is %s: %w", sc.name, sc.pinReason(), stella.ErrRefused)
		return nil, stella.WithHint(err, fmt.Sprintf("merge that first, or go back as a whole with 'stella rollback %s --to …'", sc.name))
	}
	p, err := newPart(sc, req, e.cfg.Now())
	if err != nil {
		return nil, err
	}
	var good *stella.Deployment
	if req.To != "" {
		d, err := e.destination(ctx, sc, req.To)
		if err != nil {
			return nil, err
		}
		if d.Tree == "" {
			return nil, fmt.Errorf("cannot restore a part of %s: %w", sc.name, neverVerified(d))
		}
		good = &d
	}
	ways, err := p.ways(good)
	if err != nil {
		return nil, err
	}
	overrides := p.overrides(ways, req.Reason)
	why.restores = newestOf(ways).ID
	c := &change{draft: p.draft(ways, overrides, why)}
	cand, err := e.build(ctx, *c, sc.source)
	if err != nil {
		return nil, err
	}
	if cand.want.desired == nil || cand.want.desired.Digest == sc.desired.Digest {
		return nil, p.refuse("it would run what it runs now")
	}
	j, err := e.inspect(ctx, sc, why, c, cand)
	if err != nil {
		return nil, err
	}
	oldest := oldestOf(ways)
	waryOfApp(sc, oldest, j, p.flags()+" --to "+oldest.ID)
	j.in.plan.Warnings = append(j.in.plan.Warnings, p.warnings(ways, cand.want)...)
	return j, nil
}

// part is what is to go back of an environment.
type part struct {
	scene      *scene
	now, until time.Time
	named      bool     // components were named
	components []string // sorted
	everywhere bool     // no targets were named
	targets    []string // in the environment's order
	left       []string // components that a deployment did not have and that stay
}

// way is where one component on one target goes.
type way struct {
	component, target string
	image             stella.Artifact
	from              stella.Deployment
}

func newPart(sc *scene, req RollbackRequest, now time.Time) (*part, error) {
	p := &part{scene: sc, now: now, until: req.Until, named: len(req.Components) > 0, everywhere: len(req.Targets) == 0}
	known, targets := sortedKeys(sc.release.Release.Components), targetNames(sc.env)
	if err := onlyKnown(sc.name, "component", req.Components, known); err != nil {
		return nil, err
	}
	if err := onlyKnown(sc.name, "target", req.Targets, targets); err != nil {
		return nil, err
	}
	for _, name := range targets {
		if p.everywhere || slices.Contains(req.Targets, name) {
			p.targets = append(p.targets, name)
		}
	}
	for _, name := range known {
		if (!p.named || slices.Contains(req.Components, name)) && len(p.places(name)) > 0 {
			p.components = append(p.components, name)
		} else if p.named && slices.Contains(req.Components, name) {
			return nil, p.refuse(fmt.Sprintf("%s does not run on %s", name, strings.Join(p.targets, ", ")))
		}
	}
	if p.until.IsZero() {
		p.until = now.UTC().Truncate(24 * time.Hour).Add(DefaultOverride + 24*time.Hour)
	}
	if !p.until.After(now) {
		err := fmt.Errorf("an override that ends at %s: %w: that is over", p.until.UTC().Format(time.RFC3339), stella.ErrInvalid)
		return nil, stella.WithHint(err, "name a later end with --until, or leave it out: it is 30 days then")
	}
	return p, nil
}

// onlyKnown refuses the first name that is not known.
func onlyKnown(env stella.EnvName, what string, names, known []string) error {
	for _, name := range names {
		if !slices.Contains(known, name) {
			return stella.WithHint(fmt.Errorf("%s %q of %s: %w", what, safe.Clip(name, 80), env, stella.ErrNotFound),
				fmt.Sprintf("name one of %s", strings.Join(known, ", ")))
		}
	}
	return nil
}

// places are the targets, of those that go back, on which a component runs.
func (p *part) places(component string) []string {
	var out []string
	for _, t := range p.targets {
		if _, ok := p.scene.imagesOn(t)[component]; ok {
			out = append(out, t)
		}
	}
	return out
}

// refuse says why nothing can go back.
func (p *part) refuse(why string) error {
	err := fmt.Errorf("cannot restore a part of %s: %s: %w", p.scene.name, why, stella.ErrRefused)
	return stella.WithHint(err, fmt.Sprintf("run 'stella orch deployments list %s -o wide' and name one with --to", p.scene.name))
}

// overrides are those of the release with the ways in them: one for each
// deployment and set of targets. Overrides that are over are taken out.
func (p *part) overrides(ways []way, reason string) []configrepo.Override {
	file := p.scene.release.At(p.now)
	for _, o := range p.groups(ways) {
		o.Reason, o.Until = clipReason(reason), p.until
		file.Overrides = file.WithOverride(o, targetNames(p.scene.env))
		if p.isRelease(o) {
			file.Overrides = file.Overrides[:len(file.Overrides)-1] // the release says so itself
		}
	}
	return file.Overrides
}

func (p *part) isRelease(o configrepo.Override) bool {
	for name, a := range o.Components {
		if p.scene.release.Release.Components[name].Digest != a.Digest {
			return false
		}
	}
	return true
}

// groups puts ways together that an override can say at once. One that holds
// wherever its component runs names no targets.
func (p *part) groups(ways []way) []configrepo.Override {
	byPlace := map[string]configrepo.Override{}
	for _, name := range p.components {
		targets := map[stella.Artifact][]string{}
		from := map[stella.Artifact]string{}
		for _, w := range ways {
			if w.component == name && (p.everywhere || p.scene.imagesOn(w.target)[name].Digest != w.image.Digest) {
				targets[w.image] = append(targets[w.image], w.target)
				from[w.image] = w.from.ID
			}
		}
		for image, names := range targets {
			if p.everywhere && len(targets) == 1 {
				names = nil
			}
			own := p.scene.release.Release.Components[name].Digest == image.Digest
			key := fmt.Sprintf("%s %s %t", strings.Join(names, ","), from[image], own)
			o, ok := byPlace[key]
			if !ok {
				o = configrepo.Override{Targets: names, From: from[image], Components: map[string]stella.Artifact{}}
			}
			o.Components[name] = image
			byPlace[key] = o
		}
	}
	out := make([]configrepo.Override, 0, len(byPlace))
	for _, key := range slices.Sorted(maps.Keys(byPlace)) {
		out = append(out, byPlace[key])
	}
	return out
}

// draft makes the commit. It refuses a head on which the environment is no
// longer what the rollback was planned against.
func (p *part) draft(ways []way, overrides []configrepo.Override, why intent) func(context.Context, *source) ([]git.Edit, string, error) {
	return func(ctx context.Context, onto *source) ([]git.Edit, string, error) {
		if err := unchanged(string(onto.name), onto.app, p.scene.app, onto); err != nil {
			return nil, "", err
		}
		edits, err := editRelease(ctx, onto, func(old []byte) ([]byte, error) { return configrepo.SetOverrides(old, overrides) })
		return edits, partMessage(p, ways, why), err
	}
}

// warnings are what a person should know before: where everything goes, until
// when, and that nobody knows whether it works together.
func (p *part) warnings(ways []way, want *source) []string {
	var out []string
	for _, o := range p.groups(ways) {
		names := sortedKeys(o.Components)
		d := comesFrom(ways, o.From)
		if p.isRelease(o) {
			out = append(out, fmt.Sprintf("%s on %s: back to the release's image, as in %s", strings.Join(names, ", "), onTargets(o.Targets), titled(d)))
			continue
		}
		out = append(out, fmt.Sprintf("%s on %s: back to %s, declared in release.yaml until %s or the next deploy of it",
			strings.Join(names, ", "), onTargets(o.Targets), titled(d), p.until.UTC().Format(time.RFC3339)))
	}
	verified := slices.ContainsFunc(p.scene.book.Verified(), func(d stella.Deployment) bool { return d.Desired == want.desired.Digest })
	if !verified {
		out = append(out, "this combination was never verified: it is only when this rollback is")
	}
	if len(p.left) > 0 {
		out = append(out, fmt.Sprintf("%s stays as it is: it was not there then", strings.Join(p.left, ", ")))
	}
	if v := p.scene.decide(false, false); v.act == actApply {
		out = append(out, v.reason+": what else it changes comes along")
	}
	return out
}

// flags are how the command names the part.
func (p *part) flags() string {
	var b strings.Builder
	if p.named {
		for _, name := range p.components {
			b.WriteString(" --component " + name)
		}
	}
	if !p.everywhere {
		for _, name := range p.targets {
			b.WriteString(" --target " + name)
		}
	}
	return b.String()
}

// titled names a deployment with its version.
func titled(d stella.Deployment) string {
	if d.Release == "" {
		return d.ID
	}
	return fmt.Sprintf("%s (%s)", d.ID, safe.Line(d.Release))
}
