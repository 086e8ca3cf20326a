package docker

import (
	"context"
	"strings"
	"time"

	cerrdefs "github.com/containerd/errdefs"
	"github.com/moby/moby/api/types/container"
	"github.com/moby/moby/client"
)

// keep stops a container and keeps it as the previous one, in the place of an
// older one.
func (r *replacement) keep(ctx context.Context, b *box) error {
	if old := r.boxes.previous; old != nil && old.ID != b.ID {
		if err := r.d.scrap(ctx, r.step, old); err != nil {
			return err
		}
		r.boxes.previous = nil
	}
	return r.d.shelve(ctx, r.step, b, r.called+suffixPrevious)
}

// shelve stops a container, sees to it that no engine starts it again, and gives
// it another name.
func (d *Docker) shelve(ctx context.Context, st step, b *box, name string) error {
	if err := d.stopBox(ctx, st, b); err != nil {
		return err
	}
	err := st.do(ctx, "update", b.name, callTime, func(ctx context.Context) error {
		_, err := d.api.ContainerUpdate(ctx, b.ID, client.ContainerUpdateOptions{RestartPolicy: &container.RestartPolicy{Name: container.RestartPolicyDisabled}})
		return gone(err)
	})
	if err != nil || b.name == name {
		return err
	}
	return st.do(ctx, "rename", b.name+" "+name, callTime, func(ctx context.Context) error {
		_, err := d.api.ContainerRename(ctx, b.ID, client.ContainerRenameOptions{NewName: name})
		if err == nil {
			b.name = name
		}
		return gone(err)
	})
}

// gone is for what somebody else removed meanwhile: it needs no more doing.
func gone(err error) error {
	if cerrdefs.IsNotFound(err) {
		return nil
	}
	return err
}

// stopBox stops a container with its own signal and grace; after that the engine
// kills it.
func (d *Docker) stopBox(ctx context.Context, st step, b *box) error {
	if !b.runs() {
		return nil
	}
	return st.do(ctx, "stop", b.name, graceOf(b.live)+startTime, func(ctx context.Context) error {
		_, err := d.api.ContainerStop(ctx, b.ID, client.ContainerStopOptions{})
		return gone(err)
	})
}

// graceOf is how long a container has to end by itself; the engine's own 10
// seconds where it does not say, or nothing is known of it.
func graceOf(live *container.InspectResponse) time.Duration {
	if live == nil || live.Config == nil || live.Config.StopTimeout == nil {
		return 10 * time.Second
	}
	return time.Duration(*live.Config.StopTimeout) * time.Second
}

// removeService takes a service away. Its container is kept for as long as the
// next order does not end, so that going back is a start.
func (d *Docker) removeService(ctx context.Context, st step, name string) error {
	inv, err := d.takeInventory(ctx)
	if err != nil {
		return err
	}
	b := inv.services[name]
	if b == nil {
		return nil
	}
	left := b.strays
	if b.next != nil {
		left = append(left, b.next)
	}
	if b.current != nil && b.previous != nil || d.cfg.DiscardPrevious && b.previous != nil {
		left = append(left, b.previous)
	}
	for _, x := range left {
		if err := d.scrap(ctx, st, x); err != nil {
			return err
		}
	}
	if b.current == nil {
		return nil
	}
	kept := strings.TrimSuffix(strings.TrimSuffix(b.current.name, suffixNext), suffixPrevious) + suffixPrevious
	if err := d.shelve(ctx, st, b.current, kept); err != nil || !d.cfg.DiscardPrevious {
		return err
	}
	return d.scrap(ctx, st, b.current)
}
