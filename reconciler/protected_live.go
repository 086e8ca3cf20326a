package reconciler

import (
	"context"
	"time"

	"github.com/stella-ops/stella"
	"github.com/stella-ops/stella/ledger"
)

// recall notes when each image was last brought, and where images were.
func (k *keeping) recall(b ledger.Book) {
	k.used, k.places = map[stella.Digest]time.Time{}, map[string]stella.Artifact{}
	for _, d := range b.Deployments {
		for _, image := range d.Components {
			a, err := stella.ParseArtifact(image)
			if err != nil || a.Digest == "" {
				continue
			}
			k.places[place(a)] = at(a, "")
			if d.StartedAt.After(k.used[a.Digest]) {
				k.used[a.Digest] = d.StartedAt
			}
		}
	}
}

// keepLive adds what targets say that they have: by their sticker, and as it was
// seen to run.
func (e *Engine) keepLive(ctx context.Context, sc *scene, k *keeping) error {
	if sc.env == nil {
		if sc.app != "" {
			k.unasked = append(k.unasked, "all of "+string(sc.name))
		}
		return nil
	}
	for _, s := range e.openSites(ctx, sc.project, sc.env, sc.book).sites {
		if s.err != nil {
			k.unasked = append(k.unasked, s.spec.Name)
			continue
		}
		if err := k.site(s.spec.Name, s.live.Observed); err != nil {
			return err
		}
	}
	return nil
}

func (k *keeping) site(target string, o *stella.Observation) error {
	if o == nil {
		return nil
	}
	if s := o.Sticker; s != nil {
		for _, name := range sortedKeys(s.Components) {
			if err := k.addText(name, s.Components[name], s.Deployment, "on "+target); err != nil {
				return err
			}
		}
	}
	for _, c := range o.Components {
		// Somebody else's image has no digest, and nobody can go back to it.
		if a, err := stella.ParseArtifact(c.Running); err == nil && a.Digest != "" {
			if err := k.add(c.Name, a, "", "runs on "+target); err != nil {
				return err
			}
		}
	}
	return nil
}
