package docker

import (
	"context"
	"fmt"
	"maps"
	"slices"
	"strings"
	"time"

	"github.com/stella-ops/stella"
	"github.com/stella-ops/stella/drift"
)

// Apply carries out the order's actions one after the other, each reported as it
// ends, and writes the sticker when all took effect. It stops at the first that
// fails. Actions that took effect already do nothing. ctx interrupts no effect
// that has begun, but it ends the waits of an action, for what a service depends
// on. Errors are of class stella.ErrFenced for a fence
// lower than the target has seen, before whichever effect that shows, and of
// stella.ErrRefused for what others have, before anything is stopped.
func (d *Docker) Apply(ctx context.Context, o stella.Order, report func(stella.Action, error)) error {
	if err := d.checkEngine(ctx); err != nil {
		return err
	}
	inv, err := d.takeInventory(ctx)
	if err != nil {
		return err
	}
	set, err := d.parseDesired(o.Desired, inv)
	if err != nil {
		return err
	}
	if err := d.checkActions(o.Actions, set); err != nil {
		return err
	}
	whole := o
	moved, err := d.rebound(ctx, o, set, inv)
	if err != nil {
		return err
	}
	whole.Actions = withGuests(slices.Concat(o.Actions, moved), set, inv)
	if err := d.spareInActions(ctx, inv, whole.Actions); err != nil {
		return err
	}
	if err := d.raise(ctx, o.Fence); err != nil {
		return err
	}
	acts, due := withJobs(whole, set, inv)
	if len(acts) > 0 {
		if err := d.under(o.Fence).ready(ctx, acts, inv, set); err != nil {
			return err
		}
	}
	st := step{d: d.under(o.Fence), order: o, set: set, due: due, moves: movesOf(acts), life: ctx}
	removed := map[string]bool{}
	for _, a := range acts {
		if ctx.Err() != nil {
			return fmt.Errorf("apply to %s: %w", d.cfg.Name, context.Cause(ctx))
		}
		err := d.act(context.WithoutCancel(ctx), st, a)
		if err != nil {
			err = fmt.Errorf("%s %s: %w", a.Op, a.Resource.ID, err)
		}
		if report != nil && st.asked(a) {
			report(a, err)
		}
		if err != nil {
			return err
		}
		if name, ok := strings.CutPrefix(string(a.Resource.ID), servicePrefix); ok && a.Op == stella.OpRemove {
			removed[name] = true
		}
	}
	return d.finish(context.WithoutCancel(ctx), st, removed)
}

// ready makes sure, before anything is touched, that nothing is in the way and
// every image is there. After a Prepare it only looks.
func (d hand) ready(ctx context.Context, acts []stella.Action, inv *inventory, set desiredSet) error {
	if err := d.checkWay(ctx, inv, set); err != nil {
		return err
	}
	var changed []service
	for _, a := range acts {
		name, isService := strings.CutPrefix(string(a.Resource.ID), servicePrefix)
		if b := inv.services[name]; isService && b != nil && b.current != nil {
			if err := d.spareSelf(ctx, string(a.Op)+" "+string(a.Resource.ID), b.current.ID); err != nil {
				return err
			}
		}
		if s, ok := set.service(name); ok && isService && a.Op != stella.OpRemove {
			changed = append(changed, s)
		}
	}
	return d.fetchAll(ctx, changed)
}

// checkActions refuses an order whose actions are not about its desired state.
func (d *Docker) checkActions(actions []stella.Action, set desiredSet) error {
	for _, a := range actions {
		kind, name, _ := strings.Cut(string(a.Resource.ID), "/")
		known := slices.Contains([]string{"service", "network", "volume", "container", "sticker"}, kind)
		if !known || name == "" {
			return fmt.Errorf("%w: action on %q", stella.ErrInvalid, a.Resource.ID)
		}
		if a.Op != stella.OpRemove && !set.has(a.Resource.ID) {
			return fmt.Errorf("%w: %s %s: not in the desired state", stella.ErrInvalid, a.Op, a.Resource.ID)
		}
	}
	return nil
}

// step is what an action needs to know of its order.
type step struct {
	d     hand // under the order's fence
	order stella.Order
	set   desiredSet
	due   map[string]bool // jobs that run in it, by name
	moves map[string]bool // services that it is about, by name
	life  context.Context // of the order: it ends jobs and waits, which may take long, and no effect
}

func movesOf(acts []stella.Action) map[string]bool {
	moves := map[string]bool{}
	for _, a := range acts {
		if name, ok := strings.CutPrefix(string(a.Resource.ID), servicePrefix); ok {
			moves[name] = true
		}
	}
	return moves
}

// do carries out one effect, and names it where it fails.
func (st step) do(ctx context.Context, verb, what string, most time.Duration, fn func(ctx context.Context) error) error {
	if err := st.d.effect(ctx, verb, what, most, fn); err != nil {
		return fmt.Errorf("%s %s: %w", verb, what, err)
	}
	return nil
}

func (d *Docker) act(ctx context.Context, st step, a stella.Action) error {
	kind, name, _ := strings.Cut(string(a.Resource.ID), "/")
	switch kind {
	case "sticker":
		return nil // every order ends with a whole one
	case "container":
		return d.removeStray(ctx, st, name)
	case "service":
		if a.Op == stella.OpRemove {
			return d.removeService(ctx, st, name)
		}
		s, _ := st.set.service(name)
		return d.putService(ctx, st, s)
	}
	return d.withHoldings(ctx, st, func(h *holdings) error {
		want, _ := st.set.state.Resource(a.Resource.ID)
		labels := d.labels(st, a.Resource.ID)
		switch {
		case kind == "network" && a.Op == stella.OpRemove:
			return st.d.leaveNetwork(ctx, st, a.Resource.ID, h)
		case kind == "network":
			return st.d.putNetwork(ctx, want, labels, h)
		case a.Op == stella.OpRemove:
			return d.retireVolume(ctx, a.Resource.ID, h)
		}
		return st.d.putVolume(ctx, want, labels, h)
	})
}

// withHoldings lets fn change what the record knows of networks and volumes, and
// writes it where it did. A crash in between leaves what fn did; it is done again
// and recorded then.
func (d *Docker) withHoldings(ctx context.Context, st step, fn func(*holdings) error) error {
	l, seen, err := d.readLedger(ctx)
	if err != nil {
		return err
	}
	if err := d.checkFence(st.order.Fence, seen); err != nil {
		return err
	}
	h := (&inventory{ledger: l}).holdings()
	if err := fn(h); err != nil {
		return fault(err)
	}
	if sameHoldings(l.Record.Holdings, *h) {
		return nil
	}
	return d.writeRecord(ctx, st.order.Fence, func(r *record) { r.Holdings = *h })
}

func sameHoldings(a, b holdings) bool {
	one, err1 := drift.Digest(a)
	two, err2 := drift.Digest(b)
	return err1 == nil && err2 == nil && one == two
}

// labels are those that everything of ours has.
func (d *Docker) labels(st step, id stella.ResourceID) map[string]string {
	all := d.identity()
	maps.Copy(all, map[string]string{
		labelResource: string(id), labelFence: fmt.Sprint(st.order.Fence), labelDeployment: st.order.Sticker.Deployment,
		labelRelease: st.order.Sticker.Release, labelCommit: st.order.Sticker.Commit, composeProject: d.cfg.Project,
	})
	return all
}

// finish ends an order: what a broken-off one left is removed, with what was kept
// of services that went in an earlier one, and all that was kept where nothing is
// to be; and the sticker is written last, so that it is never ahead of what runs.
func (d *Docker) finish(ctx context.Context, st step, removed map[string]bool) error {
	inv, err := d.takeInventory(ctx)
	if err != nil {
		return err
	}
	for _, name := range inv.names() {
		b := inv.services[name]
		_, wanted := st.set.service(name)
		left := slices.DeleteFunc(slices.Clone(b.strays), (*box).runs)
		if b.next != nil {
			left = append(left, b.next)
		}
		if b.previous != nil && (d.cfg.DiscardPrevious || !wanted && !removed[name]) {
			left = append(left, b.previous)
		}
		for _, x := range left {
			if err := d.scrap(ctx, st, x); err != nil {
				return err
			}
		}
	}
	if err := st.d.sweepFiles(ctx); err != nil {
		return err
	}
	sticker := st.order.Sticker
	sticker.SchemaVersion = 1
	return d.writeRecord(ctx, st.order.Fence, func(r *record) {
		r.Sticker, r.Stopped = &sticker, false
		r.Adopted = slices.DeleteFunc(slices.Clone(r.Adopted), func(a adopted) bool { return !inv.has(a.ID) })
	})
}

// scrap removes a container of ours, as it is.
func (d *Docker) scrap(ctx context.Context, st step, b *box) error {
	if err := st.d.removeContainer(ctx, b.ID, b.name); err != nil {
		return fmt.Errorf("remove %s: %w", b.name, err)
	}
	return nil
}

// removeStray removes a container of ours that nobody asked for.
func (d *Docker) removeStray(ctx context.Context, st step, name string) error {
	inv, err := d.takeInventory(ctx)
	if err != nil {
		return err
	}
	for _, b := range inv.services {
		for _, x := range b.strays {
			if x.name == name {
				if err := d.scrap(ctx, st, x); err != nil {
					return err
				}
			}
		}
	}
	return nil
}
