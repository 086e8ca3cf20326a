package docker

import (
	"context"
	"fmt"
	"slices"
	"strings"

	"github.com/moby/moby/api/types/container"

	"github.com/stella-ops/stella"
)

// withJobs returns the actions of an order as they are carried out, with one for
// each job that is due and has none; due are those jobs, by name. What runs
// before all else, with what it depends on, comes before any service is touched;
// what runs after, when all others are in their places.
func withJobs(o stella.Order, set desiredSet, inv *inventory) (acts []stella.Action, due map[string]bool) {
	first, then := jobs(o, inv.ledger.Record.Sticker, func(id stella.ResourceID) lastRun {
		s := inv.services[strings.TrimPrefix(string(id), servicePrefix)]
		if s == nil || s.current == nil || s.current.live == nil {
			return lastRun{}
		}
		return ranAs(*s.current.live)
	})
	due = map[string]bool{}
	all := slices.Clone(o.Actions)
	for _, r := range slices.Concat(first, then) {
		due[strings.TrimPrefix(string(r.ID), servicePrefix)] = true
		if !slices.ContainsFunc(all, func(a stella.Action) bool { return a.Resource.ID == r.ID && a.Op != stella.OpRemove }) {
			all = append(all, stella.Action{Op: stella.OpUpdate, Resource: r})
		}
	}
	all = inOrder(all, set)
	early, late, used := map[stella.ResourceID]bool{}, map[stella.ResourceID]bool{}, map[stella.ResourceID]bool{}
	for _, r := range first {
		needed(strings.TrimPrefix(string(r.ID), servicePrefix), set, early)
	}
	for _, s := range set.services {
		if slices.ContainsFunc(hostsOf(s.resource), func(host string) bool { return early[serviceID(host)] }) {
			needed(s.name, set, early) // it is where those are
		}
	}
	for _, r := range then {
		late[r.ID] = !early[r.ID]
	}
	for id := range early {
		if r, ok := set.state.Resource(id); ok {
			for _, n := range networksOf(r) {
				used[n] = true
			}
		}
	}
	turn := func(a stella.Action) int {
		if isNetwork := strings.HasPrefix(string(a.Resource.ID), networkPrefix); isNetwork && a.Op == stella.OpUpdate && !used[a.Resource.ID] {
			return 1 // it takes services off for a moment: not before a job that may fail
		}
		return turnOf(a, early, late)
	}
	slices.SortStableFunc(all, func(a, b stella.Action) int { return turn(a) - turn(b) })
	return all, due
}

// networksOf are the networks that a service asks for.
func networksOf(r stella.Resource) []stella.ResourceID {
	named, _ := r.Fields["networks"].(map[string]any)
	if len(named) == 0 {
		return []stella.ResourceID{networkPrefix + defaultNetwork}
	}
	var out []stella.ResourceID
	for name := range named {
		out = append(out, stella.ResourceID(networkPrefix+name))
	}
	return out
}

// needed adds a service and all that it depends on.
func needed(name string, set desiredSet, to map[stella.ResourceID]bool) {
	s, ok := set.service(name)
	if !ok || to[s.resource.ID] {
		return
	}
	to[s.resource.ID] = true
	for on := range s.depends {
		needed(on, set, to)
	}
}

// turnOf is when an action has its turn beside the jobs that are due. Without
// any the order stays as it is.
func turnOf(a stella.Action, early, late map[stella.ResourceID]bool) int {
	service := strings.HasPrefix(string(a.Resource.ID), servicePrefix)
	switch removal := a.Op == stella.OpRemove; {
	case len(early) > 0 && !removal && (!service || early[a.Resource.ID]):
		return 0
	case !removal && late[a.Resource.ID]:
		return 2
	case removal && !service && len(late) > 0:
		return 3
	}
	return 1
}

// putJob brings a job's container into its place, without starting it where the
// job is not due. Each run has a container of its own: a crash before the new one
// has its name leaves the last one, one after it a job that did not run yet.
func (r *replacement) putJob(ctx context.Context) error {
	b, err := r.jobBox(ctx)
	if err != nil || !r.due[r.name] {
		return err
	}
	if err := r.await(ctx); err != nil {
		return err
	}
	if !jobOf(r.resource).before() {
		if err := r.awaitAll(ctx); err != nil {
			return err
		}
	}
	return r.d.runJob(r.life, r.resource, b.ID) //nolint:contextcheck // a job that was begun goes on after an interrupt
}

// jobBox returns the container that the job is to run in, or that it ran in where
// it is not due.
func (r *replacement) jobBox(ctx context.Context) (*box, error) {
	cur := r.boxes.current
	same, err := r.asDesired(ctx, cur)
	if err != nil {
		return nil, err
	}
	if same && (!r.due[r.name] || r.mayGoOn(cur)) {
		if cur.name == r.called {
			return cur, nil
		}
		return cur, r.rename(ctx, cur, r.called)
	}
	if err := r.dropNext(ctx); err != nil {
		return nil, err
	}
	next, err := r.create(ctx, r.called+suffixNext)
	if err != nil {
		return nil, err
	}
	for _, old := range []*box{r.boxes.previous, cur} {
		if old == nil {
			continue
		}
		if err := r.d.scrap(ctx, r.step, old); err != nil {
			return nil, err
		}
	}
	return next, r.rename(ctx, next, r.called)
}

// mayGoOn reports whether a container was made for this very deployment and runs,
// or did not run yet.
func (r *replacement) mayGoOn(b *box) bool {
	last := ranAs(*b.live)
	return last.deployment == r.order.Sticker.Deployment && (b.runs() || !last.started)
}

// awaitAll waits until all services of the target are as their healthchecks say.
func (r *replacement) awaitAll(ctx context.Context) error {
	inv, err := r.d.takeInventory(ctx)
	if err != nil {
		return err
	}
	for _, s := range r.set.services {
		b := inv.services[s.name]
		if jobOf(s.resource) != "" || b == nil || b.current == nil || b.current.live == nil {
			continue
		}
		condition := conditionStarted
		if probed(b.current.live) {
			condition = conditionHealthy
		}
		if err := r.d.waitFor(r.life, b.current.ID, condition); err != nil { //nolint:contextcheck // nothing is begun meanwhile
			return fmt.Errorf("wait for %s before the job: %w", s.name, err)
		}
	}
	return nil
}

func probed(c *container.InspectResponse) bool { return c.State != nil && c.State.Health != nil }

// idle are the jobs of a set that are not due: whoever depends on one does not
// wait for it.
func (st step) idle(name string) bool {
	s, ok := st.set.service(name)
	return ok && jobOf(s.resource) != "" && !st.due[name]
}

// asked reports whether an action is one of the order's own.
func (st step) asked(a stella.Action) bool {
	return slices.ContainsFunc(st.order.Actions, func(o stella.Action) bool { return o.Op == a.Op && o.Resource.ID == a.Resource.ID })
}
