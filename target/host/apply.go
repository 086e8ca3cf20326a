package host

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"maps"
	"os"
	"path/filepath"
	"reflect"
	"slices"
	"strings"
	"time"

	"github.com/stella-ops/stella"
	"github.com/stella-ops/stella/internal/durable"
)

// Apply carries out the order's actions one after the other, each under the
// target's lock and reported as it ends, and writes the sticker when all took
// effect. It stops at the first that fails. Actions that took effect already do
// nothing; nothing at all is changed by an order that has none, besides the
// sticker. Once an action has begun, ctx does not interrupt it.
//
// A service is stopped before its successor starts: both would want the same
// ports. Errors are of class stella.ErrFenced for a fence lower than the target
// has seen.
func (h *Host) Apply(ctx context.Context, o stella.Order, report func(stella.Action, error)) error {
	d, err := h.parseDesired(o.Desired)
	if err != nil {
		return err
	}
	actions, err := h.checkActions(o.Actions, d)
	if err != nil {
		return err
	}
	if err := h.fetch(ctx, actions, d, o.Fence); err != nil {
		return err
	}
	for i, a := range actions {
		if ctx.Err() != nil {
			return fmt.Errorf("apply to %s: %w", h.cfg.Name, context.Cause(ctx))
		}
		err := h.act(ctx, step{a, actions[i+1:], d, o.Fence})
		if err != nil {
			err = fmt.Errorf("%s %s: %w", a.Op, a.Resource.ID, err)
		}
		if report != nil {
			report(a, err)
		}
		if err != nil {
			return err
		}
	}
	return h.locked(ctx, o.Fence, func() error { return h.finish(ctx, o, d) })
}

// checkActions refuses an order whose actions are not about its desired state,
// and sorts them.
func (h *Host) checkActions(actions []stella.Action, d desiredSet) ([]stella.Action, error) {
	for _, a := range actions {
		id := a.Resource.ID
		kind, name, _ := strings.Cut(string(id), "/")
		if id == h.stickerID() && a.Op == stella.OpRemove {
			continue
		}
		if _, err := stella.ParseName(name); err != nil || kind != "service" && kind != "volume" {
			return nil, fmt.Errorf("%w: action on %q", stella.ErrInvalid, id)
		}
		if a.Op == stella.OpRemove {
			continue
		}
		_, isService := d.service(name)
		isVolume := slices.ContainsFunc(d.volumes, func(r stella.Resource) bool { return r.ID == id })
		if kind == "service" && !isService || kind == "volume" && !isVolume {
			return nil, fmt.Errorf("%w: %s %s: not in the desired state", stella.ErrInvalid, a.Op, id)
		}
	}
	return inOrder(actions, d), nil
}

// fetch makes sure, before anything is touched, that every release is there.
// After a Prepare it only looks.
func (h *Host) fetch(ctx context.Context, actions []stella.Action, d desiredSet, fence int64) error {
	for _, a := range actions {
		name, isService := serviceName(a.Resource.ID)
		if !isService || a.Op == stella.OpRemove {
			continue
		}
		s, _ := d.service(name)
		rel, release, err := h.ensureRelease(ctx, s, fence)
		if err == nil {
			err = h.checkRunnable(s, rel, release)
		}
		if err != nil {
			return fmt.Errorf("prepare %s: %w", s.resource.ID, err)
		}
	}
	return nil
}

// step is one action with what it needs to know of its order.
type step struct {
	action  stella.Action
	later   []stella.Action
	desired desiredSet
	fence   int64
}

// comes reports whether a service is changed later in the order.
func (s step) comes(service string) bool {
	return slices.ContainsFunc(s.later, func(a stella.Action) bool { return a.Resource.ID == serviceID(service) })
}

func (h *Host) act(ctx context.Context, st step) error {
	a, d, fence := st.action, st.desired, st.fence
	name, isService := serviceName(a.Resource.ID)
	switch {
	case a.Resource.ID == h.stickerID():
		return nil // every order ends with a whole one
	case !isService && a.Op == stella.OpRemove:
		return h.locked(ctx, fence, func() error { return h.retireVolume(a.Resource.ID) })
	case !isService:
		i := slices.IndexFunc(d.volumes, func(r stella.Resource) bool { return r.ID == a.Resource.ID })
		return h.locked(ctx, fence, func() error { return h.putVolume(d.volumes[i]) })
	case a.Op == stella.OpRemove:
		return h.locked(ctx, fence, func() error { return h.removeService(context.WithoutCancel(ctx), name) })
	}
	s, _ := d.service(name)
	if err := h.waitForDependencies(ctx, s, d); err != nil {
		return err
	}
	return h.locked(ctx, fence, func() error { return h.replace(context.WithoutCancel(ctx), s, st) })
}

// inEffect reports whether a service runs, or completed, exactly as wanted. What
// is wrong with the records that are kept of it does not count: mend puts that
// right while it runs.
func (h *Host) inEffect(ctx context.Context, s service) (liveService, bool) {
	live, err := h.observeService(ctx, s.name)
	if err != nil || !live.present || live.lost || live.spec.AllowRoot != h.cfg.AllowRoot {
		return live, false
	}
	fields := maps.Clone(live.resource.Fields)
	maps.DeleteFunc(fields, func(k string, _ any) bool { return isRecord(k) })
	return live, reflect.DeepEqual(fields, s.resource.Fields)
}

// replace brings one service to its desired fields. The caller holds the lock.
func (h *Host) replace(ctx context.Context, s service, st step) error {
	release, err := releaseName(s)
	if err != nil {
		return err
	}
	if live, ok := h.inEffect(ctx, s); ok {
		mended, err := h.mend(ctx, live, release)
		if err != nil {
			return err
		}
		if mended {
			return h.remember(ctx, s.name, release)
		}
	}
	if err := h.checkPorts([]service{s}, st.comes); err != nil {
		return err
	}
	spec := specFile{
		SchemaVersion: 1, Resource: s.resource, Release: release, AllowRoot: h.cfg.AllowRoot, AppliedAt: time.Now().UTC(),
	}
	// What can fail for want of space or rights comes before the old process is
	// stopped. A crash here leaves a file that the next apply replaces.
	if err := h.effect("spec", func() error { return writeJSON(h.lay.nextSpec(s.name), spec) }); err != nil {
		return fmt.Errorf("write spec: %w", err)
	}
	// A crash here: the link names the new release, the old one runs. Observe
	// believes the process, so the next plan has this action again.
	if err := h.link(s.name, release); err != nil {
		return err
	}
	// A crash here: nothing runs, the service is missing, the next plan creates it.
	if err := h.effect("stop", func() error { return h.clear(ctx, s) }); err != nil {
		return fmt.Errorf("stop the old process: %w", err)
	}
	// A crash here: as before. The spec is exchanged only now, since it always
	// names what the living shim runs.
	if err := h.effect("place", func() error { return h.placeSpec(ctx, s.name) }); err != nil {
		return fmt.Errorf("place spec: %w", err)
	}
	// A crash here: the new one runs under its shim, and is observed.
	if err := h.effect("start", func() error { return h.start(s.name) }); err != nil {
		return fmt.Errorf("start: %w", err)
	}
	return h.remember(ctx, s.name, release)
}

// clear stops what runs of a service, and those services that have its ports
// and are changed later in the same order: two may have swapped them.
func (h *Host) clear(ctx context.Context, s service) error {
	if err := h.stopService(ctx, s.name); err != nil {
		return err
	}
	found, err := h.portHolders([]service{s})
	if err != nil {
		return err
	}
	for _, f := range found {
		if f.service == "" {
			return f.refusal()
		}
		if err := h.stopService(ctx, f.service); err != nil {
			return fmt.Errorf("stop service/%s, which has its port: %w", f.service, err)
		}
	}
	return nil
}

// straighten undoes what an apply that was broken off before it stopped the old
// process has begun: where the old one is wanted again, there is no action that
// would.
func (h *Host) straighten(service string) error {
	spec, err := h.lay.readSpec(service)
	if errors.Is(err, fs.ErrNotExist) {
		return nil // it never ran
	}
	if err != nil {
		return err
	}
	if err := h.link(service, spec.Release); err != nil {
		return err
	}
	for _, left := range []string{h.lay.nextSpec(service), h.lay.current(service) + ".next"} {
		if _, err := os.Lstat(left); err != nil {
			continue
		}
		if err := discard(left); err != nil {
			return err
		}
	}
	return nil
}

// link points `current` at a release, atomically. A directory that somebody put
// in its place is renamed away first.
func (h *Host) link(service, release string) error {
	target := filepath.Join("releases", release)
	if at, err := os.Readlink(h.lay.current(service)); err == nil && at == target {
		return nil
	}
	return h.effect("link", func() error {
		if err := makeWay(h.lay.current(service)); err != nil {
			return err
		}
		return durable.Symlink(target, h.lay.current(service))
	})
}

// placeSpec makes the next spec the one that the shim reads. Holding the shim's
// own lock proves that none lives.
func (h *Host) placeSpec(ctx context.Context, service string) error {
	// A shim that is seen to have ended has its lock until the last of its threads
	// is gone, and so has what it had just forked; a busy machine takes its time.
	ctx, cancel := context.WithTimeout(ctx, stopSlack)
	defer cancel()
	lock, err := durable.WaitLock(ctx, h.lay.shimLock(service))
	if err != nil {
		return err
	}
	// The status goes first: a crash in between must not leave the new spec with
	// the old one's status, which would tell of a job that completed and never ran.
	err = errors.Join(discard(h.lay.status(service)), makeWay(h.lay.spec(service)))
	if err == nil {
		err = durable.Rename(h.lay.nextSpec(service), h.lay.spec(service))
	}
	return errors.Join(err, lock.Unlock())
}

// removeService stops a service and forgets it. Its releases stay, as many as
// history keeps, so that going back needs no pull.
func (h *Host) removeService(ctx context.Context, name string) error {
	if !h.isOurs(name) {
		return nil
	}
	// A crash after the stop leaves a service that does not run; finish forgets it.
	if err := h.effect("stop", func() error { return h.stopService(ctx, name) }); err != nil {
		return fmt.Errorf("stop: %w", err)
	}
	return h.forget(name)
}

// forget removes what says that a service is ours to run. The caller has seen
// that nothing of it runs.
func (h *Host) forget(name string) error {
	return h.effect("forget", func() error {
		return errors.Join(discard(h.lay.spec(name)), discard(h.lay.nextSpec(name)),
			discard(h.lay.current(name)), discard(h.lay.running(name)), discard(h.lay.status(name)), discard(h.lay.pid(name)))
	})
}

// finish ends an order: what a crash left of services that are not wanted is
// forgotten, and the sticker is written last, so that it is never ahead of what
// runs.
func (h *Host) finish(ctx context.Context, o stella.Order, d desiredSet) error {
	services, err := h.ourServices()
	if err != nil {
		return err
	}
	for _, name := range services {
		if _, wanted := d.service(name); wanted {
			h.removeScratch(ctx, name) // nothing may have been unpacked in its stead
			if err := h.straighten(name); err != nil {
				return fmt.Errorf("straighten %s: %w", name, err)
			}
			continue
		}
		if _, lives := h.lay.shimOf(name); lives || len(h.processesOf(name)) > 0 {
			continue // nobody told us to stop it
		}
		if err := h.forget(name); err != nil {
			return err
		}
	}
	h.sweep(ctx)
	s := o.Sticker
	s.SchemaVersion = 1
	return h.effect("sticker", func() error { return h.writeSticker(s) })
}
