package docker

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"time"

	"github.com/moby/moby/api/types/container"
	"github.com/moby/moby/client"
	"golang.org/x/sync/errgroup"

	"github.com/stella-ops/stella"
)

// Prepare checks that the engine can do what is desired and fetches every image
// that it has not. It touches nothing that runs. All that stands in the way is
// returned at once: stella.ErrUnsupported for what is not known, stella.ErrInvalid
// for what is wrong, stella.ErrRefused for a name or a port that somebody else has
// and for a full disk, stella.ErrFenced for a fence lower than the target has seen.
func (d *Docker) Prepare(ctx context.Context, desired stella.State, fence int64) error {
	if err := d.checkEngine(ctx); err != nil {
		return err
	}
	inv, err := d.takeInventory(ctx)
	if err != nil {
		return err
	}
	set, err := d.parseDesired(desired, inv)
	if err != nil {
		return err
	}
	if err := d.spareInDesired(ctx, inv, set); err != nil {
		return err
	}
	if err := d.raise(ctx, fence); err != nil {
		return err
	}
	if err := d.checkWay(ctx, inv, set); err != nil {
		return err
	}
	d.images.forget()
	if err := d.under(fence).fetchAll(ctx, set.services); err != nil {
		return err
	}
	return d.checkHealthWaits(ctx, set)
}

// checkEngine refuses an engine that is another one than at first.
func (d *Docker) checkEngine(ctx context.Context) error {
	facts, err := d.engine(ctx)
	if err == nil && facts.machine != d.machine {
		err = notTheEngine(d.cfg.Name)
	}
	return err
}

// checkWay finds what others have that the desired state needs.
func (d *Docker) checkWay(ctx context.Context, inv *inventory, set desiredSet) error {
	everybody, err := d.list(ctx, nil)
	if err != nil {
		return fmt.Errorf("list containers: %w", err)
	}
	h := inv.holdings()
	all := d.checkNames(everybody, inv, set)
	all = append(all, d.checkNetworks(ctx, set.state, h)...)
	all = append(all, d.checkVolumes(ctx, set.state, h)...)
	yields := map[string]bool{}
	var ports []publication
	for _, s := range set.services {
		bp, _ := compile(s.resource, d.scopeOf(inv, set))
		if _, err := planFiles(bp); err != nil {
			all = append(all, fmt.Errorf("service/%s: %w", s.name, err))
		}
		if len(bp.host.PortBindings) > 0 {
			ports = append(ports, publication{s.name, bp.host.PortBindings})
		}
	}
	for name, b := range inv.services {
		w, wanted := set.service(name)
		yields[name] = !wanted || b.current == nil || b.current.Labels[labelSpecDigest] != digestOrNone(w.resource.Fields)
	}
	if len(ports) > 0 {
		all = append(all, d.checkPorts(ctx, ports, yields)...)
	}
	return errors.Join(all...)
}

func digestOrNone(fields map[string]any) string {
	sum, err := specDigest(fields)
	if err != nil {
		return ""
	}
	return string(sum)
}

// checkNames finds names that containers of others have.
func (d *Docker) checkNames(everybody []container.Summary, inv *inventory, set desiredSet) []error {
	taken := map[string]map[string]string{} // the labels of who has it
	for _, c := range everybody {
		if !inv.has(c.ID) && !d.labelled(c.Labels) {
			taken[nameOf(c)] = c.Labels
		}
	}
	var all []error
	for _, s := range set.services {
		for _, name := range []string{s.called, s.called + suffixNext, s.called + suffixPrevious} {
			if labels, is := taken[name]; is {
				all = append(all, d.taken(s.resource.ID, "container", name, labels))
			}
		}
	}
	return all
}

// fetchAll pulls what is not there, several at a time.
func (d hand) fetchAll(ctx context.Context, services []service) error {
	const atATime = 3
	g, ctx := errgroup.WithContext(ctx)
	g.SetLimit(atATime)
	seen := map[string]bool{}
	for _, s := range services {
		if seen[byDigest(s.image)] {
			continue
		}
		seen[byDigest(s.image)] = true
		g.Go(func() error {
			if err := d.fetch(ctx, s.image); err != nil {
				return fmt.Errorf("prepare %s: pull %s: %w", s.resource.ID, s.image, err)
			}
			return nil
		})
	}
	return g.Wait()
}

// fetch makes sure that the engine has an image, by its digest.
func (d hand) fetch(ctx context.Context, a stella.Artifact) error {
	_, found, err := d.has(ctx, a)
	if found || err != nil {
		return err
	}
	if err = d.effect(ctx, "pull", byDigest(a), pullTime, func(ctx context.Context) error { return d.pull(ctx, a) }); err != nil {
		return err
	}
	_, found, err = d.has(ctx, a)
	if err == nil && !found {
		err = fmt.Errorf("%w: the engine has pulled something else", stella.ErrTampered)
	}
	return err
}

// pull has the engine pull an image. It may take as long as it gets on.
func (d *Docker) pull(ctx context.Context, a stella.Artifact) (err error) {
	silence := d.patience(time.Minute)
	auth := ""
	if d.cfg.Credentials != nil {
		if auth, err = d.cfg.Credentials.EngineAuth(ctx, a); err != nil {
			return err
		}
	}
	ctx, cancel := context.WithCancelCause(ctx)
	defer cancel(nil)
	watchdog := time.AfterFunc(silence, func() { cancel(errSilent) })
	defer watchdog.Stop()
	res, err := d.api.ImagePull(ctx, byDigest(a), client.ImagePullOptions{RegistryAuth: auth})
	if err == nil {
		defer func() { err = errors.Join(err, res.Close()) }()
		for m, broken := range res.JSONMessages(ctx) {
			watchdog.Reset(silence)
			if err = broken; err == nil && m.Error != nil {
				err = m.Error
			}
			if err != nil {
				break
			}
		}
	}
	if err != nil && ctx.Err() != nil {
		return context.Cause(ctx)
	}
	return pullFault(err)
}

// pullFault classes what a registry said: the engine passes it on as text.
func pullFault(err error) error {
	if err == nil {
		return nil
	}
	out := fault(err)
	if !classified(out) {
		text := strings.ToLower(err.Error())
		for _, c := range []struct {
			words string
			class error
		}{
			{"manifest unknown", stella.ErrNotFound},
			{"not found", stella.ErrNotFound},
			{"unauthorized", stella.ErrDenied},
			{"denied", stella.ErrDenied},
			{"connection refused", stella.ErrUnreachable},
			{"timeout", stella.ErrUnreachable},
			{"no such host", stella.ErrUnreachable},
		} {
			if strings.Contains(text, c.words) {
				return fmt.Errorf("%w: %w", c.class, out)
			}
		}
	}
	return out
}

// checkHealthWaits refuses to wait for the health of a service that has no
// healthcheck.
func (d *Docker) checkHealthWaits(ctx context.Context, set desiredSet) error {
	var all []error
	for _, s := range set.services {
		for on, condition := range s.depends {
			other, here := set.service(on)
			if !here || condition != conditionHealthy {
				continue
			}
			image, _, err := d.has(ctx, other.image)
			if err != nil {
				return err
			}
			bp, _ := compile(other.resource, scope{project: d.cfg.Project})
			probe := bp.config.Healthcheck
			if probe == nil || len(probe.Test) == 0 {
				probe = image.config.Healthcheck
			}
			if probe == nil || len(probe.Test) == 0 || probe.Test[0] == "NONE" {
				all = append(all, fmt.Errorf("%w: %s: depends_on.%s: service_healthy, but %s has no healthcheck", stella.ErrInvalid, s.resource.ID, on, on))
			}
		}
	}
	return errors.Join(all...)
}

// Has reports whether the engine has the image, by its digest, so that going
// back to it needs no registry.
func (d *Docker) Has(ctx context.Context, a stella.Artifact) (bool, error) {
	if a.Digest == "" {
		return false, fmt.Errorf("%w: image %s has no digest", stella.ErrInvalid, a)
	}
	_, found, err := d.has(ctx, a)
	return found, err
}
