package docker

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"maps"
	"slices"
	"strings"

	"github.com/moby/moby/api/types/volume"
	"github.com/moby/moby/client"

	"github.com/stella-ops/stella"
	"github.com/stella-ops/stella/drift"
	"github.com/stella-ops/stella/internal/safe"
)

const volumePrefix = "volume/"

// liveVolume is a volume of this target on the engine.
type liveVolume struct {
	asked  stella.Resource // as it was last applied
	volume volume.Volume
}

// ownVolumes lists the volumes of this target that are on the engine, those out
// of use too, but for those that hold files of a container.
func (d *Docker) ownVolumes(ctx context.Context, h *holdings) ([]liveVolume, error) {
	list, err := bounded(ctx, d, func(ctx context.Context) (client.VolumeListResult, error) {
		return d.api.VolumeList(ctx, client.VolumeListOptions{Filters: d.mine()})
	})
	if err != nil {
		return nil, fmt.Errorf("list volumes: %w", err)
	}
	var all []liveVolume
	for _, v := range list.Items {
		if asked := askedOf(v.Labels); strings.HasPrefix(string(asked.ID), volumePrefix) {
			all = append(all, liveVolume{asked, v})
		}
	}
	for _, x := range h.Unlabelled {
		if !strings.HasPrefix(string(x.Resource.ID), volumePrefix) {
			continue
		}
		v, there, err := d.volumeNamed(ctx, d.nameOnEngine(x.Resource))
		if err != nil {
			return nil, err
		}
		if there {
			all = append(all, liveVolume{x.Resource, v})
		}
	}
	return all, nil
}

func (d *Docker) volumeNamed(ctx context.Context, name string) (v volume.Volume, there bool, err error) {
	got, err := bounded(ctx, d, func(ctx context.Context) (client.VolumeInspectResult, error) {
		return d.api.VolumeInspect(ctx, name, client.VolumeInspectOptions{})
	})
	if errors.Is(err, stella.ErrNotFound) {
		return v, false, nil
	}
	if err != nil {
		return v, false, fmt.Errorf("inspect volume %s: %w", safe.Clip(name, 80), err)
	}
	return got.Volume, true, nil
}

// observeVolumes lists the volumes that are in use as resources, sorted by id.
func (d *Docker) observeVolumes(ctx context.Context, h *holdings) (out []stella.Resource, notes []string, err error) {
	all, err := d.ownVolumes(ctx, h)
	if err != nil {
		return nil, nil, err
	}
	seen := map[stella.ResourceID]bool{}
	for _, v := range all {
		id := v.asked.ID
		if slices.Contains(h.Retired, v.volume.Name) {
			continue
		}
		if seen[id] {
			notes = append(notes, fmt.Sprintf("volume %s is not in use: it is left of an earlier %s", safe.Clip(v.volume.Name, 80), id))
			continue
		}
		seen[id] = true
		out = append(out, stella.Resource{ID: id, Fields: d.volumeFields(v.asked, v.volume)})
	}
	slices.SortFunc(out, byID)
	return out, notes, nil
}

// volumeFields is the inverse of compileVolume, as networkFields is.
func (d *Docker) volumeFields(r stella.Resource, live volume.Volume) map[string]any {
	if isExternal(r) {
		return r.Fields
	}
	want, errs := d.compileVolume(r)
	out := maps.Clone(r.Fields)
	if len(errs) > 0 || out == nil {
		out = map[string]any{}
	}
	if live.Name != want.Name {
		out["name"], out["named"] = live.Name, true
	}
	if live.Driver != cmp.Or(want.Driver, "local") {
		out["driver"] = live.Driver
	}
	none := func(string, string) bool { return false }
	liveTexts(out, "driver_opts", want.DriverOpts, live.Options, none)
	liveTexts(out, "labels", want.Labels, live.Labels, func(k, _ string) bool { return isFurniture(k) })
	return out
}

// compileVolume returns the volume that a resource asks for, or every reason why
// it can not be had.
func (d *Docker) compileVolume(r stella.Resource) (client.VolumeCreateOptions, []error) {
	a := &asker{id: r.ID}
	o := client.VolumeCreateOptions{Name: d.nameOnEngine(r)}
	for _, name := range slices.Sorted(maps.Keys(r.Fields)) {
		v := r.Fields[name]
		switch name {
		case "name", "named", "external":
		case "driver":
			o.Driver = a.text(name, v)
		case "driver_opts":
			o.DriverOpts = a.texts(name, v)
		case "labels":
			o.Labels = a.labels(v)
		default:
			a.wrong(stella.ErrUnsupported, name, "this field of a volume is not known")
		}
	}
	return o, a.errs
}

// checkVolumes finds what stands in the way of the volumes of a desired state
// and touches nothing.
func (d *Docker) checkVolumes(ctx context.Context, want stella.State, h *holdings) []error {
	var all []error
	for _, r := range resourcesOf(want, volumePrefix) {
		if _, errs := d.compileVolume(r); len(errs) > 0 {
			all = append(all, errs...)
		} else if _, err := d.volumeFor(ctx, r, h); err != nil {
			all = append(all, err)
		}
	}
	return all
}

// volumeFor finds the volume on the engine that a resource asks for: nil for
// none. It refuses one that somebody else has, an external one that is not
// there, and one that was made otherwise: nothing but its data can be kept of
// it.
func (d *Docker) volumeFor(ctx context.Context, r stella.Resource, h *holdings) (*liveVolume, error) {
	name := d.nameOnEngine(r)
	found, there, err := d.volumeNamed(ctx, name)
	switch {
	case err != nil:
		return nil, fmt.Errorf("%s: %w", r.ID, err)
	case isExternal(r) && !there:
		return nil, stella.WithHint(fmt.Errorf("%s: %w: there is no volume %s, and it is external", r.ID, stella.ErrRefused, name),
			"run 'docker volume create "+name+"' on the engine of "+d.cfg.Name)
	case isExternal(r):
		return &liveVolume{r, found}, nil
	case !there:
		return nil, nil
	}
	asked := askedOf(found.Labels)
	if !d.labelled(found.Labels) || !strings.HasPrefix(string(asked.ID), volumePrefix) {
		kept, ok := h.find(r.ID)
		if !ok || isExternal(kept.Resource) || d.nameOnEngine(kept.Resource) != name {
			return nil, d.taken(r.ID, "volume", name, found.Labels)
		}
		asked = kept.Resource
	}
	// What is asked for now decides: a file may say in other words what is there.
	live, errLive := drift.Digest(d.volumeFields(r, found))
	want, errWant := drift.Digest(r.Fields)
	if err := errors.Join(errLive, errWant); err != nil {
		return nil, fmt.Errorf("%s: %w", r.ID, err)
	}
	if live != want {
		return nil, stella.WithHint(fmt.Errorf("%s: %w: the volume %s was made with another driver, other options or labels, which can not be changed; its data is left alone",
			r.ID, stella.ErrRefused, name), "take back the change, or give the volume another name and move the data there")
	}
	return &liveVolume{asked, found}, nil
}

// putVolume makes a volume, or takes one back into use. One that had another
// name before is out of use then, with its data.
func (d hand) putVolume(ctx context.Context, r stella.Resource, labels map[string]string, h *holdings) error {
	options, errs := d.compileVolume(r)
	if len(errs) > 0 {
		return errors.Join(errs...)
	}
	old, err := d.volumeFor(ctx, r, h)
	if err != nil {
		return err
	}
	if err := d.retireOthers(ctx, r.ID, options.Name, h); err != nil {
		return err
	}
	switch {
	case isExternal(r):
		h.keep(holding{Resource: r})
		return nil
	case old != nil:
		if !d.labelled(old.volume.Labels) {
			h.keep(holding{Resource: r})
		}
	default:
		if options.Labels, err = d.resourceLabels(r, labels, options.Labels, composeVolume); err != nil {
			return err
		}
		if err := d.createVolume(ctx, r.ID, options); err != nil {
			return err
		}
		h.forget(r.ID)
	}
	h.unretire(options.Name)
	return nil
}

// createVolume makes a volume. An engine answers with one that is there already:
// the labels tell whose it is.
func (d hand) createVolume(ctx context.Context, id stella.ResourceID, o client.VolumeCreateOptions) error {
	var made client.VolumeCreateResult
	err := d.effect(ctx, "volume", o.Name, callTime, func(ctx context.Context) (err error) {
		made, err = d.api.VolumeCreate(ctx, o)
		return err
	})
	if err != nil {
		return fmt.Errorf("create volume %s: %w", o.Name, err)
	}
	if !d.labelled(made.Volume.Labels) {
		return d.taken(id, "volume", o.Name, made.Volume.Labels)
	}
	return nil
}

// retireVolume takes a volume out of use. The volume and its data stay.
func (d *Docker) retireVolume(ctx context.Context, id stella.ResourceID, h *holdings) error {
	return d.retireOthers(ctx, id, "", h)
}

// retireOthers takes out of use what a resource had but for the volume of a
// name.
func (d *Docker) retireOthers(ctx context.Context, id stella.ResourceID, but string, h *holdings) error {
	all, err := d.ownVolumes(ctx, h)
	if err != nil {
		return err
	}
	for _, v := range all {
		switch {
		case v.asked.ID != id || v.volume.Name == but:
		case isExternal(v.asked):
			h.forget(id)
		default:
			h.retire(v.volume.Name)
		}
	}
	if kept, ok := h.find(id); ok && isExternal(kept.Resource) && but == "" {
		h.forget(id)
	}
	return nil
}
