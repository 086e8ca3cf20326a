package reconciler

import (
	"fmt"
	"slices"
	"strings"

	"github.com/stella-ops/stella"
)

// ways finds where each component goes, sorted by component and then by target.
// It refuses when nothing would be another.
func (p *part) ways(good *stella.Deployment) ([]way, error) {
	var ways []way
	var err error
	switch {
	case good != nil:
		ways, err = p.to(*good)
	case p.named:
		ways, err = p.byComponent()
	default:
		ways, err = p.byTarget()
	}
	if err != nil {
		return nil, err
	}
	differ := slices.ContainsFunc(ways, func(w way) bool { return p.scene.imagesOn(w.target)[w.component].Digest != w.image.Digest })
	if !differ {
		return nil, p.refuse("nothing to go back to: it has these images already")
	}
	slices.SortStableFunc(ways, func(a, b way) int { return strings.Compare(a.component, b.component) })
	return ways, nil
}

// to goes to one deployment with everything.
func (p *part) to(d stella.Deployment) ([]way, error) {
	ways, missing := p.all(d, p.components, p.targets)
	if p.named && len(missing) > 0 {
		return nil, p.refuse(fmt.Sprintf("%s had no %s", d.ID, strings.Join(missing, ", ")))
	}
	p.left = missing
	return ways, nil
}

// byComponent goes one back with each component. Where it runs with several
// images, all of its targets go to the one before the newest.
func (p *part) byComponent() ([]way, error) {
	var all []way
	for _, name := range p.components {
		d, ok := p.newest(func(target string, d stella.Deployment) string { return p.digest(d, target, name) },
			func(target string) string { return string(p.scene.imagesOn(target)[name].Digest) }, p.places(name))
		if !ok {
			return nil, p.refuse(fmt.Sprintf("no older deployment with another %s was verified%s", name, p.unheld()))
		}
		ways, _ := p.all(d, []string{name}, p.targets)
		all = append(all, ways...)
	}
	return all, nil
}

// byTarget goes one back with whole targets, all of them to one deployment.
func (p *part) byTarget() ([]way, error) {
	of := func(digest func(component string) string) string {
		var b strings.Builder
		for _, name := range p.components {
			fmt.Fprintf(&b, "%s=%s;", name, digest(name))
		}
		return b.String()
	}
	d, ok := p.newest(
		func(target string, d stella.Deployment) string {
			return of(func(name string) string {
				if _, runs := p.scene.imagesOn(target)[name]; !runs {
					return ""
				}
				return p.digest(d, target, name)
			})
		},
		func(target string) string {
			return of(func(name string) string { return string(p.scene.imagesOn(target)[name].Digest) })
		}, p.targets)
	if !ok {
		return nil, p.refuse(fmt.Sprintf("no older deployment with other images on %s was verified%s", strings.Join(p.targets, ", "), p.unheld()))
	}
	ways, missing := p.all(d, p.components, p.targets)
	p.left = missing
	return ways, nil
}

// unheld says that what is held was passed over, where anything is.
func (p *part) unheld() string {
	if len(p.scene.book.State.Holds) == 0 {
		return ""
	}
	return " and is not held"
}

// all are the ways of components on targets to a deployment, and the components
// that it did not have.
func (p *part) all(d stella.Deployment, components, targets []string) (ways []way, missing []string) {
	for _, name := range components {
		for _, target := range targets {
			if _, runs := p.scene.imagesOn(target)[name]; !runs {
				continue
			}
			if image, ok := p.image(d, target, name); ok {
				ways = append(ways, way{name, target, image, d})
			} else if !slices.Contains(missing, name) {
				missing = append(missing, name)
			}
		}
	}
	return ways, missing
}

// newest is the newest of the deployments that targets go one back to.
func (p *part) newest(was func(target string, d stella.Deployment) string, is func(target string) string, targets []string) (stella.Deployment, bool) {
	var best stella.Deployment
	for _, target := range targets {
		d, ok := p.before(is(target), func(d stella.Deployment) string { return was(target, d) })
		if ok && d.Sequence > best.Sequence {
			best = d
		}
	}
	return best, best.ID != ""
}

// before reads the verified history as an undo stack of one thing that was, and
// returns the newest deployment that had another than runs now. A partial
// rollback that brought an earlier one back stands where that one does.
func (p *part) before(runs string, was func(stella.Deployment) string) (stella.Deployment, bool) {
	type entry struct {
		was string
		of  []stella.Deployment
	}
	var stack []entry
	for _, d := range slices.Backward(p.scene.book.Verified()) {
		had := was(d)
		at := slices.IndexFunc(stack, func(e entry) bool { return e.was == had })
		top := len(stack) - 1
		switch isPart := d.Kind == stella.KindRollback && !p.scene.book.GoesBack(d); {
		case isPart && at >= 0:
			stack = stack[:at+1] // the images came from there: that one is named
		case top >= 0 && stack[top].was == had:
			stack[top].of = append(stack[top].of, d)
		default:
			stack = append(stack, entry{had, []stella.Deployment{d}})
		}
	}
	for _, e := range slices.Backward(stack) {
		for _, d := range slices.Backward(e.of) {
			if _, held := p.scene.book.Held(d.Tree); !held && e.was != runs {
				return d, true
			}
		}
	}
	return stella.Deployment{}, false
}

// digest is what a deployment ran of a component on a target: as it was
// observed, or as it was wanted where the target was not there yet.
func (p *part) digest(d stella.Deployment, target, component string) string {
	for _, t := range d.Targets {
		if t.Name == target && t.After[component] != "" {
			return t.After[component]
		}
	}
	a, err := stella.ParseArtifact(d.Components[component])
	if err != nil {
		return ""
	}
	return string(a.Digest)
}

// image is the image that a deployment ran of a component on a target, false
// where it had no such component. The record of an override's images is that of
// the deployment that they came from.
func (p *part) image(d stella.Deployment, target, component string) (stella.Artifact, bool) {
	digest := p.digest(d, target, component)
	if _, had := d.Components[component]; !had || digest == "" {
		return stella.Artifact{}, false
	}
	for _, other := range append([]stella.Deployment{d}, p.scene.book.Deployments...) {
		if a, err := stella.ParseArtifact(other.Components[component]); err == nil && string(a.Digest) == digest {
			return a, true
		}
	}
	return stella.Artifact{}, false
}

// newestOf is the newest deployment that images come from.
func newestOf(ways []way) stella.Deployment {
	best := ways[0].from
	for _, w := range ways {
		if w.from.Sequence > best.Sequence {
			best = w.from
		}
	}
	return best
}

// oldestOf is the oldest of them.
func oldestOf(ways []way) stella.Deployment {
	best := ways[0].from
	for _, w := range ways {
		if w.from.Sequence < best.Sequence {
			best = w.from
		}
	}
	return best
}

// comesFrom is the deployment of some ways that has the id.
func comesFrom(ways []way, id string) stella.Deployment {
	for _, w := range ways {
		if w.from.ID == id {
			return w.from
		}
	}
	return stella.Deployment{ID: id}
}
