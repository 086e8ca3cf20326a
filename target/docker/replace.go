package docker

import (
	"context"
	"time"

	"github.com/moby/moby/api/types/container"
	"github.com/moby/moby/client"

	"github.com/stella-ops/stella"
	"github.com/stella-ops/stella/drift"
)

// replacement is a service on its way from one container to another. The effects
// and what a kill after each leaves; NAME is the name that the container should
// have, old and new are the containers:
//
//	effect                   NAME        .next   .previous  seen as
//	create new as .next      old runs    new     (older)    as before; .next is used or removed
//	[start-first: start]     old runs    runs    (older)    as before, and a stray that runs
//	remove the older one     old runs    new                as before
//	stop old                 old ended   new                missing: created again, from .next
//	  [start-first]          old ended   runs               running, misnamed: names are put right
//	old's policy: no         old ended   new                missing, likewise
//	rename old .previous                 new     old        missing, likewise
//	rename new NAME          new         -       old        missing: started
//	new's policy: as asked   new         -       old        missing: started
//	start new                new runs    -       old        running
//
// One that ended with success counts as completed elsewhere, and as missing here:
// while a .next is there it ended because it was told to.
//
// The old one's policy is set to "no" since an engine that starts again starts
// what is to run always. A kept one that comes back is renamed .next first, and
// goes the same way, but that it is started before it gets its name.
type replacement struct {
	step
	service
	inv   *inventory
	boxes *boxes
	bp    blueprint
	view  *view
}

// putService brings one service to its desired fields. One that has them and
// runs is not touched.
func (d *Docker) putService(ctx context.Context, st step, s service) error {
	v, err := d.viewOf(ctx, append(hostsOf(s.resource), s.name)...)
	if err != nil {
		return err
	}
	r := &replacement{step: st, service: s, inv: v.inventory, view: v, boxes: v.services[s.name]}
	if r.boxes == nil {
		r.boxes = &boxes{}
	}
	bp, errs := compile(s.resource, d.scopeOf(v.inventory, st.set))
	if len(errs) > 0 {
		return errorsOf(errs)
	}
	r.bp = bp
	for _, x := range r.boxes.strays {
		if err := d.scrap(ctx, st, x); err != nil {
			return err
		}
	}
	if jobOf(s.resource) != "" {
		return r.putJob(ctx)
	}
	same, err := r.asDesired(ctx, r.boxes.current)
	if err != nil {
		return err
	}
	if same {
		return r.straighten(ctx)
	}
	return r.replace(ctx)
}

// asDesired reports whether a container is what is desired, but for its name, its
// policy where it does not run, and whether it does.
func (r *replacement) asDesired(ctx context.Context, b *box) (bool, error) {
	if b == nil {
		return false, nil
	}
	changes, err := r.differences(ctx, b)
	return err == nil && len(changes) == 0, err
}

// differences are those of a container and what is desired, looked at likewise.
func (r *replacement) differences(ctx context.Context, b *box) ([]stella.Change, error) {
	all := []stella.Change{{Class: stella.Missing, Resource: r.resource.ID}}
	if b.live == nil {
		if err := r.d.look(ctx, b); err != nil || b.live == nil {
			return all, err
		}
	}
	asked, err := r.inv.asked(b)
	if err != nil || b.live.HostConfig == nil || b.live.State == nil {
		return all, nil //nolint:nilerr // nobody knows what it was asked for: it is not what is desired
	}
	looked := *b
	if !b.runs() {
		live, host := *b.live, *b.live.HostConfig
		host.RestartPolicy = r.bp.host.RestartPolicy
		live.HostConfig = &host
		looked.live = &live
	}
	fields, _, err := r.d.read(ctx, r.view, &looked, asked)
	if err != nil {
		return nil, err
	}
	have := stella.State{Resources: []stella.Resource{{ID: r.resource.ID, Fields: fields, Secrets: r.resource.Secrets}}}
	want := stella.State{Resources: []stella.Resource{r.resource}}
	return drift.Compare(want, have, nil, time.Now()), nil
}

// straighten brings a container that is as desired into its place, and to run.
func (r *replacement) straighten(ctx context.Context) error {
	b := r.boxes.current
	if b.live.State.Paused {
		if err := r.do(ctx, "unpause", b.name, callTime, func(ctx context.Context) error {
			_, err := r.d.api.ContainerUnpause(ctx, b.ID, client.ContainerUnpauseOptions{})
			return err
		}); err != nil {
			return err
		}
	}
	if b.name != r.called {
		if err := r.freeNames(ctx); err != nil {
			return err
		}
		if err := r.clearName(ctx, b); err != nil {
			return err
		}
		if err := r.rename(ctx, b, r.called); err != nil {
			return err
		}
	}
	var l liveService
	judge(&l, r.boxes, r.inv.ledger.Record.Stopped, meantToEnd(r.resource.Fields, r.set.awaits(r.name)))
	if l.present && !r.inv.strandedIn(b, hostsOf(r.resource)) {
		return nil
	}
	if err := r.await(ctx); err != nil {
		return err
	}
	if l.present {
		if err := r.d.stopBox(ctx, r.step, b); err != nil {
			return err
		}
	}
	return r.start(ctx, b)
}

// clearName moves whoever of ours has the service's name out of the way.
func (r *replacement) clearName(ctx context.Context, but *box) error {
	for _, c := range r.inv.ours {
		b := &box{Summary: c, name: nameOf(c)}
		if c.ID == but.ID || b.name != r.called || serviceOf(c) != r.name {
			continue
		}
		return r.keep(ctx, b)
	}
	return nil
}

func (r *replacement) replace(ctx context.Context) error {
	if err := r.freeNames(ctx); err != nil {
		return err
	}
	next, reused, err := r.successor(ctx)
	if err != nil {
		return err
	}
	// Before the old one stops: what is waited for may take its time.
	if err := r.await(ctx); err != nil {
		return err
	}
	first := r.startsFirst(ctx)
	if first {
		if next, err = r.startBeside(ctx, next, reused); err != nil {
			return err
		}
	}
	if cur := r.boxes.current; cur != nil {
		if err := r.keep(ctx, cur); err != nil {
			return err
		}
	}
	if reused && !first {
		// It ran before. In its place and not started it would count as one that
		// has completed, where it ended with success.
		if next, err = r.startOrRemake(ctx, next, true); err != nil {
			return err
		}
	}
	if err := r.rename(ctx, next, r.called); err != nil {
		return err
	}
	if !reused && !first {
		if err := r.start(ctx, next); err != nil {
			return err
		}
	}
	if r.d.cfg.DiscardPrevious && r.boxes.current != nil {
		return r.d.scrap(ctx, r.step, r.boxes.current)
	}
	return nil
}

// successor finds or makes the container that is to be the service's, named
// .next: what a broken-off replacement made, or what was kept, where it is as
// desired; else a new one.
func (r *replacement) successor(ctx context.Context) (next *box, reused bool, err error) {
	for _, b := range []*box{r.boxes.next, r.boxes.previous} {
		same, err := r.asDesired(ctx, b)
		if err != nil {
			return nil, false, err
		}
		if same {
			if b == r.boxes.previous {
				if err := r.dropNext(ctx); err != nil {
					return nil, false, err
				}
				r.boxes.previous = nil
				err = r.rename(ctx, b, r.called+suffixNext)
			}
			return b, true, err
		}
	}
	if err := r.dropNext(ctx); err != nil {
		return nil, false, err
	}
	next, err = r.create(ctx, r.called+suffixNext)
	return next, false, err
}

func (r *replacement) dropNext(ctx context.Context) error {
	if r.boxes.next == nil {
		return nil
	}
	return r.d.scrap(ctx, r.step, r.boxes.next)
}

func (r *replacement) rename(ctx context.Context, b *box, name string) error {
	if b.name == name {
		return nil
	}
	err := r.do(ctx, "rename", b.name+" "+name, callTime, func(ctx context.Context) error {
		_, err := r.d.api.ContainerRename(ctx, b.ID, client.ContainerRenameOptions{NewName: name})
		return err
	})
	if err == nil {
		b.name = name
	}
	return err
}

// start gives a container its own policy again and starts it.
func (r *replacement) start(ctx context.Context, b *box) error {
	if b.live != nil && b.live.HostConfig != nil && b.live.HostConfig.RestartPolicy != r.bp.host.RestartPolicy {
		policy := r.bp.host.RestartPolicy
		if policy.Name == "" {
			policy.Name = container.RestartPolicyDisabled
		}
		err := r.do(ctx, "update", b.name, callTime, func(ctx context.Context) error {
			_, err := r.d.api.ContainerUpdate(ctx, b.ID, client.ContainerUpdateOptions{RestartPolicy: &policy})
			return err
		})
		if err != nil {
			return err
		}
	}
	if err := r.vacate(ctx); err != nil {
		return err
	}
	return r.do(ctx, "start", b.name, startTime, func(ctx context.Context) error {
		_, err := r.d.api.ContainerStart(ctx, b.ID, client.ContainerStartOptions{})
		return startFault(err)
	})
}

// startOrRemake starts the new container. One that was kept may have been on a
// network that was made anew since: it is made anew then, too.
func (r *replacement) startOrRemake(ctx context.Context, b *box, reused bool) (*box, error) {
	err := r.start(ctx, b)
	if err == nil || !reused {
		return b, err
	}
	name := b.name
	if err := r.d.scrap(ctx, r.step, b); err != nil {
		return nil, err
	}
	if b, err = r.create(ctx, name); err != nil {
		return nil, err
	}
	return b, r.start(ctx, b)
}
