package docker

import (
	"context"

	"github.com/stella-ops/stella"
)

// Stop stops every service, those that depend on others first. Their containers
// stay, and so does the sticker; the next order starts them. It is idempotent.
func (d *Docker) Stop(ctx context.Context, fence int64) error {
	st, inv, err := d.begin(ctx, fence)
	if err != nil {
		return err
	}
	// First: one that ends with success because it was told to has not completed.
	if !inv.ledger.Record.Stopped {
		if err := d.writeRecord(ctx, fence, func(r *record) { r.Stopped = true }); err != nil {
			return err
		}
	}
	return d.stopAll(ctx, st, inv)
}

// begin raises the fence for what is no order.
func (d *Docker) begin(ctx context.Context, fence int64) (step, *inventory, error) {
	st := step{d: d.under(fence), order: stella.Order{Fence: fence}}
	if err := d.checkEngine(ctx); err != nil {
		return st, nil, err
	}
	if err := d.spareInAll(ctx, "stop target "+d.cfg.Name); err != nil {
		return st, nil, err
	}
	if err := d.raise(ctx, fence); err != nil {
		return st, nil, err
	}
	inv, err := d.takeInventory(ctx)
	return st, inv, err
}

func (d *Docker) stopAll(ctx context.Context, st step, inv *inventory) error {
	depends := map[string]map[string]string{}
	for name, b := range inv.services {
		depends[name] = map[string]string{}
		if b.current == nil {
			continue
		}
		asked, err := inv.asked(b.current)
		if err != nil {
			continue // nobody knows what it depends on
		}
		needs, _ := asked["dependsOn"].(map[string]any)
		for on := range needs {
			depends[name][on] = ""
		}
	}
	for _, name := range stopOrder(depends) {
		b := inv.services[name]
		for _, x := range append([]*box{b.current}, b.strays...) {
			if x == nil {
				continue
			}
			if err := d.shelve(ctx, st, x, x.name); err != nil { // an engine that restarts must not start it
				return err
			}
		}
	}
	return nil
}

// Remove stops every service and removes all containers and networks. Volumes
// stay with what is in them, and so does a record that keeps the fence. It is
// idempotent.
func (d *Docker) Remove(ctx context.Context, fence int64) error {
	st, inv, err := d.begin(ctx, fence)
	if err != nil {
		return err
	}
	if err := d.stopAll(ctx, st, inv); err != nil {
		return err
	}
	for _, c := range inv.ours {
		if err := d.scrap(ctx, st, &box{Summary: c, name: nameOf(c)}); err != nil {
			return err
		}
	}
	if err := st.d.sweepFiles(ctx); err != nil {
		return err
	}
	if err := d.withHoldings(ctx, st, func(h *holdings) error { return st.d.removeStorage(ctx, h) }); err != nil {
		return err
	}
	return d.writeRecord(ctx, fence, func(r *record) { r.Sticker, r.Stopped, r.Adopted = nil, false, nil })
}

func (d hand) removeStorage(ctx context.Context, h *holdings) error {
	networks, _, err := d.observeNetworks(ctx, h)
	if err != nil {
		return err
	}
	volumes, _, err := d.observeVolumes(ctx, h)
	if err != nil {
		return err
	}
	ids := []stella.ResourceID{""} // the one of which the app says nothing
	for _, r := range networks {
		ids = append(ids, r.ID)
	}
	for _, id := range ids {
		if err := d.removeNetwork(ctx, id, h); err != nil {
			return err
		}
	}
	h.forget(networkPrefix + defaultNetwork) // an adopted one, of which the app says nothing
	for _, r := range volumes {
		if err := d.retireVolume(ctx, r.ID, h); err != nil {
			return err
		}
	}
	return nil
}
