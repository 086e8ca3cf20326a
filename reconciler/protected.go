package reconciler

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"

	"golang.org/x/sync/errgroup"

	"github.com/stella-ops/stella"
	"github.com/stella-ops/stella/configrepo"
	"github.com/stella-ops/stella/ledger"
)

// Protection is one image that has to be there when an environment goes back, or
// is repaired.
type Protection struct {
	Environment stella.EnvName  // whose
	Component   string          // or the service, where that names its own image
	Image       stella.Artifact // with its digest
	Deployment  string          // that brought it first of what is listed in Why; empty where none did yet
	Why         []string        // what needs it, in words, the weightiest first; never empty
}

// Protected lists the images that environments need: what runs, what the branch
// asks for, what rollbacks could go back to, the baseline, what an open
// deployment, a pin or an override wants, and what the targets say that they
// have. Each is listed once for an environment and component. No names mean all
// environments, with those that are gone from the branch and that nobody deleted.
//
// An environment that can not be read is an error, whatever could be read of the
// others: it never protects nothing. A target that does not answer is none: what
// it was last brought to is protected by the ledger.
func (e *Engine) Protected(ctx context.Context, envs ...stella.EnvName) ([]Protection, error) {
	all, err := e.keepings(ctx, envs, true)
	if err != nil {
		return nil, err
	}
	out := []Protection{}
	for _, k := range all {
		out = append(out, k.protections()...)
	}
	return out, nil
}

// keeping is what one environment needs.
type keeping struct {
	env     stella.EnvName
	project *configrepo.Project
	byImage map[protectionKey]*Protection
	order   []protectionKey
	// digests are what targets were seen to run where nobody can say from which
	// repository it came.
	digests map[stella.Digest]bool
	// used is when a deployment last brought each image, and places the repositories
	// of all of them: of as many deployments as the ledger remembers.
	used   map[stella.Digest]time.Time
	places map[string]stella.Artifact
	// unasked are the targets that did not answer: what they run nobody can tell.
	unasked []string
}

type protectionKey struct{ component, image string }

// add notes that an image is needed. One without a digest is an error: nobody can
// say what it is.
func (k *keeping) add(component string, a stella.Artifact, deployment, why string) error {
	if a.Digest == "" || a.Repository == "" {
		return fmt.Errorf("%w: %s of %s has an image without a digest: %q", stella.ErrInvalid, component, k.env, a.String())
	}
	key := protectionKey{component, a.Registry + "/" + a.Repository + "@" + string(a.Digest)}
	p := k.byImage[key]
	if p == nil {
		p = &Protection{Environment: k.env, Component: component, Image: a}
		k.byImage[key], k.order = p, append(k.order, key)
	}
	p.Deployment = cmp.Or(p.Deployment, deployment)
	if p.Image.Tag == "" {
		p.Image.Tag = a.Tag
	}
	if !slices.Contains(p.Why, why) {
		p.Why = append(p.Why, why)
	}
	return nil
}

// addText is add for an image as a record has it.
func (k *keeping) addText(component, image, deployment, why string) error {
	a, err := stella.ParseArtifact(image)
	if err != nil {
		return fmt.Errorf("%s of %s: %w", component, cmp.Or(deployment, string(k.env)), err)
	}
	return k.add(component, a, deployment, why)
}

func (k *keeping) protections() []Protection {
	out := make([]Protection, 0, len(k.order))
	for _, key := range k.order {
		out = append(out, *k.byImage[key])
	}
	return out
}

// keepings is what each of the environments needs, in their order; with live also
// by what their targets say.
func (e *Engine) keepings(ctx context.Context, envs []stella.EnvName, live bool) ([]*keeping, error) {
	h, envs, err := e.everKnown(ctx, envs)
	if err != nil {
		return nil, err
	}
	out, errs := make([]*keeping, len(envs)), make([]error, len(envs))
	var g errgroup.Group
	g.SetLimit(maxReady)
	for i, env := range envs {
		g.Go(func() error {
			errs[i] = e.guard("read what "+string(env)+" needs", func() (err error) {
				out[i], err = e.needs(ctx, h, env, live)
				return err
			})
			return nil
		})
	}
	_ = g.Wait() // errors are by place
	for i, err := range errs {
		if err != nil {
			errs[i] = fmt.Errorf("what %s needs can not be told: %w", envs[i], err)
		}
	}
	return out, errors.Join(errs...)
}

// everKnown fetches the environments that are named, or else all that the branch
// or a ledger knows.
func (e *Engine) everKnown(ctx context.Context, envs []stella.EnvName) (*head, []stella.EnvName, error) {
	for _, env := range envs {
		if _, err := stella.ParseName(string(env)); err != nil {
			return nil, nil, err
		}
	}
	if len(envs) > 0 {
		h, err := e.fetch(ctx, envs...)
		return h, envs, err
	}
	h, refs, err := e.names(ctx, e.fetch)
	if err != nil {
		return nil, nil, err
	}
	for _, r := range refs {
		envs = append(envs, r.Name)
	}
	for _, ref := range sortedKeys(h.refs) {
		name, ok := strings.CutPrefix(ref, h.project.LedgerRef+"/")
		if _, err := stella.ParseName(name); ok && err == nil && !slices.Contains(envs, stella.EnvName(name)) {
			envs = append(envs, stella.EnvName(name))
		}
	}
	if len(envs) == len(refs) {
		return h, envs, nil
	}
	h, err = e.fetch(ctx, envs...)
	return h, envs, err
}

// needs is what one environment needs.
func (e *Engine) needs(ctx context.Context, h *head, env stella.EnvName, live bool) (*keeping, error) {
	k := &keeping{env: env, project: h.project, byImage: map[protectionKey]*Protection{}, digests: map[stella.Digest]bool{}}
	sc, err := e.askedAt(ctx, h, env)
	if err != nil {
		return nil, err
	}
	k.recall(sc.book)
	if s := sc.book.State.Stopped; sc.app == "" && s != nil && s.How == "deleted" {
		return k, nil // removed from its targets and from the branch
	}
	if sc.release == nil && sc.app != "" {
		return nil, fmt.Errorf("what the branch asks for: %w", sc.invalid)
	}
	for _, add := range []func(context.Context, *scene) error{
		k.current,
		func(_ context.Context, sc *scene) error { return k.source(sc.source, "", "wanted by the branch") },
		func(ctx context.Context, sc *scene) error { return e.keepRecorded(ctx, sc, k) },
		func(_ context.Context, sc *scene) error { return k.versions(sc.book, sc.project.MinVersions) },
		k.baseline,
		func(ctx context.Context, sc *scene) error {
			if !live {
				return nil
			}
			return e.keepLive(ctx, sc, k)
		},
	} {
		if err := add(ctx, sc); err != nil {
			return nil, err
		}
	}
	return k, nil
}

// current adds what is in effect.
func (k *keeping) current(_ context.Context, sc *scene) error {
	d, ok := sc.book.Current()
	if !ok {
		return nil
	}
	return k.record(d, "in effect")
}

// record adds the components of a deployment.
func (k *keeping) record(d stella.Deployment, why string) error {
	for _, name := range sortedKeys(d.Components) {
		if err := k.addText(name, d.Components[name], d.ID, why); err != nil {
			return err
		}
	}
	return nil
}

// source adds what files ask for: the release, its overrides while they hold, and
// services that name their own image. What has no digest can not be deployed, and
// is passed over.
func (k *keeping) source(s *source, deployment, why string) error {
	if s.release == nil {
		return nil
	}
	for _, name := range sortedKeys(s.release.Release.Components) {
		if a := s.release.Release.Components[name]; a.Digest != "" {
			if err := k.add(name, a, deployment, why); err != nil {
				return err
			}
		}
	}
	for _, o := range s.release.Overrides {
		for _, name := range sortedKeys(o.Components) {
			if a := o.Components[name]; a.Digest != "" && !slices.ContainsFunc(s.ended, func(e configrepo.Override) bool { return sameOverride(e, o) }) {
				if err := k.add(name, a, deployment, why+", by an override"); err != nil {
					return err
				}
			}
		}
	}
	if s.desired == nil {
		return nil
	}
	for _, t := range s.desired.Targets {
		for _, r := range t.State.Resources {
			name, isService := strings.CutPrefix(string(r.ID), "service/")
			image, _ := r.Fields["image"].(string)
			if !isService || image == "" {
				continue
			}
			if err := k.addText(name, image, deployment, why); err != nil {
				return err
			}
		}
	}
	return nil
}

// sameOverride reports whether two are the same entry of a file.
func sameOverride(a, b configrepo.Override) bool {
	return a.From == b.From && a.Reason == b.Reason && a.Until.Equal(b.Until) && slices.Equal(a.Targets, b.Targets)
}

// versions adds the newest verified images of each component: so many besides
// the one in effect, both of what rollbacks go through and of what was undone.
func (k *keeping) versions(b ledger.Book, n int) error {
	why := fmt.Sprintf("one of the last %d verified", n)
	everything := []stella.Deployment{}
	for _, d := range slices.Backward(b.Deployments) {
		if d.Status == stella.Succeeded {
			everything = append(everything, d)
		}
	}
	now, _ := b.Current()
	for _, list := range [][]stella.Deployment{b.Verified(), everything} {
		seen := map[string]map[string]bool{}
		for _, d := range list {
			for _, name := range sortedKeys(d.Components) {
				image := d.Components[name]
				if seen[name] == nil {
					seen[name] = map[string]bool{}
				}
				if image == now.Components[name] || seen[name][image] || len(seen[name]) >= n {
					continue
				}
				seen[name][image] = true
				if err := k.addText(name, image, d.ID, why); err != nil {
					return err
				}
			}
		}
	}
	return nil
}

// baseline adds what was agreed to be good, as the file says and, where the
// ledger knows its deployment, as that was.
func (k *keeping) baseline(ctx context.Context, sc *scene) error {
	b, err := configrepo.ReadBaseline(ctx, sc.branch.tree, sc.branch.project, sc.name)
	if errors.Is(err, stella.ErrNotFound) {
		return nil
	}
	if err != nil {
		return fmt.Errorf("its baseline: %w", err)
	}
	for _, name := range sortedKeys(b.Components) {
		if err := k.add(name, b.Components[name], b.Deployment, "the baseline"); err != nil {
			return err
		}
	}
	if d, ok := sc.book.Deployment(b.Deployment); ok {
		return k.record(d, "the baseline")
	}
	return nil
}

// keepRecorded adds what deployments of the ledger want, with all that their
// files named: what is in effect, what is open with what it restores, what
// touched a target last, what is pinned, and the ways back.
func (e *Engine) keepRecorded(ctx context.Context, sc *scene, k *keeping) error {
	b, n := sc.book, sc.project.MinVersions
	whole := func(d stella.Deployment, known bool, why string) error {
		if !known {
			return nil
		}
		return errors.Join(k.record(d, why), e.keepFiles(ctx, sc, k, d.Commit, d.Tree, d.ID, why))
	}
	d, ok := b.Current()
	errs := []error{whole(d, ok, "in effect")}
	for _, d := range b.Open() {
		errs = append(errs, whole(d, true, fmt.Sprintf("wanted by %s, which is %s", d.ID, d.Status)), k.observed(b, d))
		restored, known := b.Deployment(d.Restores)
		errs = append(errs, whole(restored, known, fmt.Sprintf("what %s goes back to", d.ID)))
	}
	d, ok = b.Last()
	errs = append(errs, whole(d, ok, "last brought to a target"), k.observed(b, d))
	d, ok = b.LastGood()
	errs = append(errs, whole(d, ok, "the last one that was verified"))
	if pin := b.State.Pin; pin != nil {
		d, ok = b.Deployment(pin.Deployment)
		errs = append(errs, whole(d, ok, "pinned"), e.keepFiles(ctx, sc, k, pin.Commit, pin.Tree, pin.Deployment, "pinned"))
	}
	ways := b.WaysBack()
	for i, d := range ways[:min(len(ways), n)] {
		why := "a way back"
		if i == 0 {
			why = "what a rollback goes back to"
		}
		errs = append(errs, whole(d, true, why))
	}
	return errors.Join(errs...)
}

// keepFiles adds what the app of a recorded tree asks for. One that nobody has
// any more, or that can not be deployed as the environment is operated today, has
// its record only.
func (e *Engine) keepFiles(ctx context.Context, sc *scene, k *keeping, commit, tree, deployment, why string) error {
	if tree == "" {
		return nil
	}
	src, err := e.withApp(ctx, sc.branch, commit, tree)
	if err != nil && !errors.Is(err, stella.ErrNotFound) && !isInvalid(err) {
		return fmt.Errorf("the files of %s: %w", cmp.Or(deployment, commit), err)
	}
	if src == nil {
		return nil
	}
	return k.source(src, deployment, why)
}

// observed adds what targets were seen to run before and after a deployment.
func (k *keeping) observed(b ledger.Book, d stella.Deployment) error {
	for _, t := range d.Targets {
		for _, had := range []map[string]string{t.Before, t.After} {
			for _, name := range sortedKeys(had) {
				a, ok := imageOf(b, name, had[name])
				if !ok {
					k.digests[stella.Digest(had[name])] = true
					continue
				}
				if a.String() == d.Components[name] {
					continue // is in the record
				}
				if err := k.add(name, a, "", fmt.Sprintf("seen on %s by %s", t.Name, d.ID)); err != nil {
					return err
				}
			}
		}
	}
	return nil
}

// imageOf finds which image of a component had a digest, false where no record
// says.
func imageOf(b ledger.Book, component, digest string) (stella.Artifact, bool) {
	for _, d := range slices.Backward(b.Deployments) {
		if a, err := stella.ParseArtifact(d.Components[component]); err == nil && string(a.Digest) == digest {
			return a, true
		}
	}
	return stella.Artifact{}, false
}
