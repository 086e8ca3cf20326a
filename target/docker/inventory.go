package docker

import (
	"cmp"
	"context"
	"fmt"
	"slices"
	"strings"

	"github.com/moby/moby/api/types/container"
	"github.com/moby/moby/client"
	"golang.org/x/sync/errgroup"

	"github.com/stella-ops/stella"
	"github.com/stella-ops/stella/internal/safe"
)

const servicePrefix = "service/"

// box is a container of ours.
type box struct {
	container.Summary
	name    string // on the engine
	service string
	live    *container.InspectResponse // nil until it was looked at, and where it is gone
}

// runs reports whether a process is, or will be again without our doing.
func (b *box) runs() bool {
	return b.State == container.StateRunning || b.State == container.StateRestarting || b.State == container.StatePaused
}

// boxes are the containers of one service.
type boxes struct {
	current  *box   // the one that counts; nil for none
	next     *box   // made and not in its place
	previous *box   // kept
	strays   []*box // the rest: nobody asked for them
}

// inventory is what the engine has of this target, from one listing.
type inventory struct {
	ledger   ledger
	ours     []container.Summary // without records
	services map[string]*boxes
	foreign  []string // names of containers in our project that are not ours, sorted
}

// takeInventory lists what is ours and looks at the containers that count.
func (d *Docker) takeInventory(ctx context.Context) (*inventory, error) {
	return d.takeInventoryAs(ctx, nil)
}

// takeInventoryAs is takeInventory by another record than there is: as changes
// it; nil for that which there is.
func (d *Docker) takeInventoryAs(ctx context.Context, as func(*ledger)) (*inventory, error) {
	inv, err := d.listOursAs(ctx, as)
	if err != nil {
		return nil, err
	}
	return inv, d.lookAll(ctx, inv)
}

// listOurs is an inventory before anything was looked at.
func (d *Docker) listOurs(ctx context.Context) (*inventory, error) { return d.listOursAs(ctx, nil) }

func (d *Docker) listOursAs(ctx context.Context, as func(*ledger)) (*inventory, error) {
	var ours, project []container.Summary
	g, gctx := errgroup.WithContext(ctx)
	g.Go(func() (err error) {
		ours, err = d.list(gctx, d.mine())
		return err
	})
	g.Go(func() (err error) {
		project, err = d.list(gctx, make(client.Filters).Add("label", composeProject+"="+d.cfg.Project))
		return err
	})
	if err := g.Wait(); err != nil {
		return nil, fmt.Errorf("list containers: %w", err)
	}
	l := d.ledgerOf(ours)
	if as != nil {
		as(&l)
	}
	return d.sortOut(l, ours, project), nil
}

// sortOut says what each container is. It is pure.
func (d *Docker) sortOut(l ledger, ours, project []container.Summary) *inventory {
	inv := &inventory{ledger: l, services: map[string]*boxes{}}
	known := map[string]bool{}
	byService := map[string][]*box{}
	add := func(c container.Summary) {
		known[c.ID] = true
		service := serviceOf(c)
		if d.isRecord(c) || isHelper(c) || service == "" || c.State == container.StateRemoving {
			return
		}
		inv.ours = append(inv.ours, c)
		byService[service] = append(byService[service], &box{Summary: c, name: nameOf(c), service: service})
	}
	for _, c := range ours {
		add(c)
	}
	for _, c := range project {
		if known[c.ID] {
			continue
		}
		if _, ok := inv.ledger.Record.adoption(c.ID); ok {
			add(c)
			continue
		}
		inv.foreign = append(inv.foreign, nameOf(c))
	}
	slices.Sort(inv.foreign)
	for service, all := range byService {
		inv.services[service] = assign(all)
	}
	return inv
}

// serviceOf names the service that a container of ours is of: by our label, and
// for an adopted one by Compose's. Containers of one-off commands are of none.
func serviceOf(c container.Summary) string {
	if id, ok := c.Labels[labelResource]; ok {
		service, _ := strings.CutPrefix(id, servicePrefix)
		return safe.Line(service)
	}
	if strings.EqualFold(c.Labels[composeOneoff], "true") {
		return ""
	}
	return safe.Line(c.Labels[composeService])
}

// assign gives each container of a service its role. Their names decide; but
// what runs counts before what does not, so that a service whose replacement was
// broken off is seen to run in whichever container it does.
func assign(all []*box) *boxes {
	rank := func(b *box) int {
		n := 0
		switch {
		case strings.HasSuffix(b.name, suffixPrevious):
			n = 2
		case strings.HasSuffix(b.name, suffixNext):
			n = 1
		}
		if b.runs() {
			return n
		}
		return n + 10
	}
	slices.SortStableFunc(all, func(a, b *box) int {
		return cmp.Or(rank(a)-rank(b), cmp.Compare(b.Created, a.Created), cmp.Compare(a.ID, b.ID))
	})
	out := &boxes{}
	for _, b := range all {
		r := rank(b)
		switch {
		case out.current == nil && (r < 10 || r == 10):
			out.current = b
		case b.runs():
			out.strays = append(out.strays, b)
		case r == 11 && out.next == nil:
			out.next = b
		case r == 12 && out.previous == nil:
			out.previous = b
		default:
			out.strays = append(out.strays, b)
		}
	}
	return out
}

// lookAll inspects the current container of each service, several at a time.
func (d *Docker) lookAll(ctx context.Context, inv *inventory) error {
	const atATime = 8
	g, ctx := errgroup.WithContext(ctx)
	g.SetLimit(atATime)
	for _, s := range inv.services {
		if s.current == nil {
			continue
		}
		g.Go(func() error { return d.look(ctx, s.current) })
	}
	return g.Wait()
}

// look inspects a container. One that went meanwhile has no inspection.
func (d *Docker) look(ctx context.Context, b *box) error {
	live, err := d.inspect(ctx, b.ID)
	if err != nil {
		return fmt.Errorf("inspect %s: %w", b.name, err)
	}
	b.live = live
	if live != nil && live.State != nil {
		b.State = live.State.Status
		b.name = safe.Line(strings.TrimPrefix(live.Name, "/"))
	}
	return nil
}

// nameFor is the name on the engine that the current container of a service has:
// its container_name, else as Compose has it.
func (d *Docker) nameFor(service string, fields map[string]any) string {
	if name, ok := fields["container_name"].(string); ok && name != "" {
		return name
	}
	return d.cfg.Project + "-" + service + "-1"
}

// has reports whether a container is one of ours, by its id.
func (inv *inventory) has(id string) bool {
	return slices.ContainsFunc(inv.ours, func(c container.Summary) bool { return c.ID == id })
}

// names returns the services that have a container, sorted.
func (inv *inventory) names() []string {
	out := make([]string, 0, len(inv.services))
	for name := range inv.services {
		out = append(out, name)
	}
	slices.Sort(out)
	return out
}

func serviceID(name string) stella.ResourceID { return stella.ResourceID(servicePrefix + name) }
