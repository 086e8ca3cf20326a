package docker

import (
	"cmp"
	"context"
	"fmt"
	"maps"
	"slices"
	"strings"
	"time"

	"github.com/moby/moby/api/types/container"
	"github.com/moby/moby/api/types/mount"
	"golang.org/x/sync/errgroup"

	"github.com/stella-ops/stella"
	"github.com/stella-ops/stella/internal/safe"
)

// What is wrong on the engine with what nobody asks for by name is a field of the
// live resource that no desired one has, or a resource that none is. It is there
// only while something is wrong.
const (
	fieldMisnamed = "containerName" // the container is not called what it should be
	fieldPaused   = "paused"        // all its processes are
	fieldSpec     = "stella.spec"   // the label that says what was asked for

	stickerPrefix   = "sticker/"
	containerPrefix = "container/" // of ours, of no service or beside the one that counts
)

// view is the target as one observation sees it.
type view struct {
	*inventory
	engine   engineFacts
	scope    scope
	networks []stella.Resource
	volumes  []stella.Resource
	notes    []string
	awaited  map[string]bool // services whose success another one waits for
}

// Observe reads what runs and changes nothing. A service that does not run has no
// resource, except a one-shot that ended as it should; the observation says why.
// Errors are of class stella.ErrUnreachable where the engine does not answer or is
// another one than it was.
func (d *Docker) Observe(ctx context.Context) (stella.State, error) { return d.observeAs(ctx, nil) }

// observeAs is Observe by another record than there is; nil for that which there
// is.
func (d *Docker) observeAs(ctx context.Context, as func(*ledger)) (stella.State, error) {
	v, err := d.viewWith(ctx, func(ctx context.Context) (*inventory, error) { return d.takeInventoryAs(ctx, as) })
	if err != nil {
		return stella.State{}, err
	}
	services, err := d.liveServices(ctx, v)
	if err != nil {
		return stella.State{}, err
	}
	o := &stella.Observation{
		At: time.Now().UTC(), Machine: d.machine, Fence: v.ledger.fence(v.ours),
		Components: []stella.ComponentStatus{}, Notes: append([]string{}, v.notes...),
	}
	state := stella.State{Resources: []stella.Resource{}, Observed: o}
	for _, s := range services {
		if s.present {
			state.Resources = append(state.Resources, s.resource)
		}
		o.Components = append(o.Components, s.component)
		o.Notes = append(o.Notes, s.notes...)
	}
	state.Resources = append(state.Resources, d.oddities(v, o)...)
	state.Resources = append(append(state.Resources, v.networks...), v.volumes...)
	slices.SortFunc(state.Resources, func(a, b stella.Resource) int { return cmp.Compare(a.ID, b.ID) })
	for _, name := range v.foreign {
		o.Notes = append(o.Notes, fmt.Sprintf("container %s is of project %s and not of stella: it is left alone", name, d.cfg.Project))
	}
	return state, nil
}

// view takes the inventory and asks for all that is not of one service.
func (d *Docker) view(ctx context.Context) (*view, error) { return d.viewWith(ctx, d.takeInventory) }

// viewOf is a view in which only the current containers of the named services were
// looked at: an order of a hundred services does not inspect a hundred for each.
func (d *Docker) viewOf(ctx context.Context, services ...string) (*view, error) {
	return d.viewWith(ctx, func(ctx context.Context) (*inventory, error) {
		inv, err := d.listOurs(ctx)
		if err != nil {
			return nil, err
		}
		for _, service := range services {
			if b := inv.services[service]; b != nil && b.current != nil {
				if err := d.look(ctx, b.current); err != nil {
					return nil, err
				}
			}
		}
		return inv, nil
	})
}

func (d *Docker) viewWith(ctx context.Context, take func(context.Context) (*inventory, error)) (*view, error) {
	v := &view{}
	g, gctx := errgroup.WithContext(ctx)
	g.Go(func() (err error) {
		v.engine, err = d.engine(gctx)
		return err
	})
	g.Go(func() (err error) {
		v.inventory, err = take(gctx)
		return err
	})
	if err := g.Wait(); err != nil {
		return nil, fmt.Errorf("observe %s: %w", d.cfg.Name, err)
	}
	if v.engine.machine != d.machine {
		return nil, notTheEngine(d.cfg.Name)
	}
	h := v.holdings()
	var netNotes, volNotes []string
	g, gctx = errgroup.WithContext(ctx)
	g.Go(func() (err error) {
		v.networks, netNotes, err = d.observeNetworks(gctx, h)
		return fault(err)
	})
	g.Go(func() (err error) {
		v.volumes, volNotes, err = d.observeVolumes(gctx, h)
		return fault(err)
	})
	g.Go(func() (err error) {
		v.engine.plain, err = d.plainHost(gctx, v.ledger)
		return err
	})
	if err := g.Wait(); err != nil {
		return nil, fmt.Errorf("observe %s: %w", d.cfg.Name, err)
	}
	v.notes = append(netNotes, volNotes...)
	v.scope = d.scope(v.inventory, v.networks, v.volumes)
	return v, nil
}

// holdings are those of the record, for one use.
func (inv *inventory) holdings() *holdings {
	h := inv.ledger.Record.Holdings
	h.Unlabelled, h.Retired, h.Given = slices.Clone(h.Unlabelled), slices.Clone(h.Retired), maps.Clone(h.Given)
	h.adopted = func(id string) bool {
		_, ok := inv.ledger.Record.adoption(id)
		return ok
	}
	return &h
}

// scope is what names mean among these networks and volumes.
func (d *Docker) scope(inv *inventory, resources ...[]stella.Resource) scope {
	sc := scope{project: d.cfg.Project, networks: map[string]string{}, volumes: map[string]string{}, containers: map[string]string{}, api: d.api.ClientVersion()}
	for _, r := range slices.Concat(resources...) {
		kind, name, _ := strings.Cut(string(r.ID), "/")
		named, _ := r.Fields["named"].(bool)
		external, _ := r.Fields["external"].(bool)
		on, _ := r.Fields["name"].(string)
		if !named && !external || on == "" {
			continue
		}
		switch kind {
		case "network":
			sc.networks[name] = on
		case "volume":
			sc.volumes[name] = on
		}
	}
	for name, s := range inv.services {
		if s.current != nil {
			sc.containers[name] = s.current.ID
		}
	}
	return sc
}

// plainHost is what the engine made of the record's container, for which nothing
// was asked. It is asked for once: an engine does not change it while it runs.
func (d *Docker) plainHost(ctx context.Context, l ledger) (*container.HostConfig, error) {
	if known := d.plain.Load(); known != nil || len(l.found) == 0 {
		return known, nil
	}
	live, err := d.inspect(ctx, l.found[0].id)
	if err != nil || live == nil {
		return nil, err
	}
	d.plain.Store(live.HostConfig)
	return live.HostConfig, nil
}

// oddities are the resources that stand for what should not be there, and the
// sticker goes into the observation.
func (d *Docker) oddities(v *view, o *stella.Observation) []stella.Resource {
	var out []stella.Resource
	odd := ""
	switch l := v.ledger; {
	case l.whole:
		o.Sticker = l.Record.Sticker
	case len(l.found) > 0:
		odd = "changed by hand"
	case len(v.services) > 0:
		odd = "gone"
	}
	if odd != "" {
		out = append(out, stella.Resource{ID: stella.ResourceID(stickerPrefix + d.cfg.Name), Fields: map[string]any{"state": odd}})
	}
	for _, name := range v.names() {
		for _, b := range v.services[name].strays {
			if b.runs() {
				out = append(out, stella.Resource{ID: stella.ResourceID(containerPrefix + b.name), Fields: map[string]any{"service": name}})
			}
		}
	}
	return out
}

// liveService is one service as it was observed.
type liveService struct {
	present   bool // it runs, waits for a restart, or completed
	resource  stella.Resource
	component stella.ComponentStatus
	notes     []string
}

// detailEnded is of a service that ended with success and may not.
const detailEnded = `ended with success, and nothing says that it should: write 'restart: "no"' where it is meant to`

// meantToEnd reports whether a service that ended with success did what it was
// made for: it says that it is not started again, or another one waits for that.
// Of all others nobody can tell it from one that was stopped by hand.
func meantToEnd(asked map[string]any, awaited bool) bool {
	restart, _ := asked["restart"].(string)
	mode, _, _ := strings.Cut(restart, ":")
	return awaited || mode == "no" || mode == "on-failure"
}

// awaitedOnes are the services whose success another one waits for.
func (inv *inventory) awaitedOnes() map[string]bool {
	out := map[string]bool{}
	for _, s := range inv.services {
		if s.current == nil {
			continue
		}
		asked, _ := inv.asked(s.current) // one that can not be read waits for nobody
		needs, _ := asked["dependsOn"].(map[string]any)
		for on, how := range needs {
			if how, ok := how.(map[string]any); ok && how["condition"] == conditionCompleted {
				out[on] = true
			}
		}
	}
	return out
}

func (d *Docker) liveServices(ctx context.Context, v *view) ([]liveService, error) {
	v.awaited = v.awaitedOnes()
	const atATime = 8
	names := slices.DeleteFunc(v.names(), func(name string) bool {
		return v.services[name].current == nil && v.services[name].next == nil
	})
	out := make([]liveService, len(names))
	g, ctx := errgroup.WithContext(ctx)
	g.SetLimit(atATime)
	for i, name := range names {
		g.Go(func() (err error) {
			out[i], err = d.liveService(ctx, v, name)
			if err != nil {
				err = fmt.Errorf("observe service/%s: %w", name, err)
			}
			return err
		})
	}
	return out, g.Wait()
}

func (d *Docker) liveService(ctx context.Context, v *view, name string) (liveService, error) {
	s := liveService{component: stella.ComponentStatus{Name: name, State: stella.RunMissing, Health: stella.RunHealthNone}}
	s.resource = stella.Resource{ID: serviceID(name), Fields: map[string]any{}}
	b := v.services[name].current
	if b == nil || b.live == nil || b.live.State == nil {
		s.component.Detail = "has no container in its place"
		return s, nil
	}
	asked, err := v.asked(b)
	judge(&s, v.services[name], v.ledger.Record.Stopped, err != nil || meantToEnd(asked, v.awaited[name]))
	if err == nil {
		s.component.Desired, _ = asked["image"].(string)
		if jobOf(stella.Resource{Fields: asked}) != "" {
			judgeJob(&s, b.live)
		}
	}
	if !s.present {
		return s, nil
	}
	read, notes, readErr := d.read(ctx, v, b, asked)
	if readErr != nil {
		return s, readErr
	}
	s.resource.Fields, s.resource.Secrets, s.notes = read, secretPointers(read), notes
	d.hidden.learn("live", s.resource)
	if d.hidden.maskProbes(b.live); s.component.State == stella.RunRunning {
		s.component.Detail = safe.Clip(detail(*b.live), 500) // by what is known now
	}
	if err != nil {
		s.resource.Fields = map[string]any{fieldSpec: "changed by hand"}
		s.notes = append(s.notes, fmt.Sprintf("nobody knows what service %s was asked for: its label was changed", name))
	}
	if want := d.nameFor(name, asked); b.name != want && b.Labels[labelSpec] != "" {
		s.resource.Fields[fieldMisnamed] = b.name
	}
	if b.live.State.Paused {
		s.resource.Fields[fieldPaused] = true
	}
	s.notes = append(s.notes, nameless(name, b.live.Mounts)...)
	if s.component.State == stella.RunRunning {
		s.component.Running, _ = s.resource.Fields["image"].(string)
	}
	return s, nil
}

// asked are the fields that a container was asked for when it was made, without
// what its label does not tell.
func (inv *inventory) asked(b *box) (map[string]any, error) {
	label := b.Labels[labelSpec]
	if a, ok := inv.ledger.Record.adoption(b.ID); ok && label == "" {
		label = a.Spec
	}
	return parseSpec(label)
}

// read returns the fields of a container, as it is.
func (d *Docker) read(ctx context.Context, v *view, b *box, asked map[string]any) (out map[string]any, notes []string, err error) {
	g := sighting{id: serviceID(b.service), asked: asked, live: *b.live, engine: v.engine, scope: v.scope}
	if g.image, err = d.image(ctx, b.live.Image); err != nil {
		return nil, nil, err
	}
	if g.image.asked, err = d.recordedImage(ctx, b, g.image, asked); err != nil {
		return nil, nil, err
	}
	want := newCompiler(string(g.id), v.scope)
	want.fields(asked)
	if len(want.bp.files) > 0 {
		if g.files, notes, err = d.readFiles(ctx, b.ID, want.bp.files); err != nil {
			return nil, nil, fault(err)
		}
	}
	if b.Labels[labelSpec] == "" {
		unbind(&g, want.bp.files)
	}
	return fields(g), notes, nil
}

// nameless notes what of a service's data goes when its container is replaced.
func nameless(service string, mounts []container.MountPoint) []string {
	var out []string
	for _, m := range mounts {
		if m.Type == mount.TypeVolume && anonymous(m.Name) {
			out = append(out, fmt.Sprintf("service %s keeps %s in a volume without a name, which goes with its container: name it where it is data", service, safe.Clip(safe.Line(m.Destination), 200)))
		}
	}
	slices.Sort(out)
	return out
}

// anonymous reports whether a volume has a name that an engine made up.
func anonymous(volume string) bool {
	return len(volume) == 64 && strings.Trim(volume, "0123456789abcdef") == ""
}

// judge says what a service's current container is doing. One that ended with
// success is there only where it is meant to end, and where it did not end because
// its successor was to take over or the target was stopped.
func judge(s *liveService, b *boxes, stopped, meant bool) {
	live := b.current.live
	c, st := &s.component, live.State
	c.Restarts, c.Detail = live.RestartCount, safe.Clip(detail(*live), 500)
	c.Since = engineStamp(st.StartedAt)
	if st.Health != nil {
		c.Health = healthOf(st.Health.Status)
	}
	switch st.Status {
	case container.StateRunning:
		c.State, s.present = stella.RunRunning, true
	case container.StateRestarting:
		c.State, s.present = stella.RunStarting, true
	case container.StatePaused:
		c.State, s.present = stella.RunUnknown, true
	case container.StateExited:
		c.State, c.Since = stella.RunExited, engineStamp(st.FinishedAt)
		done := completed(live) && !stopped && b.next == nil
		switch s.present = done && meant; {
		case s.present:
			c.Detail = detailCompleted
		case done:
			c.Detail = detailEnded
		}
	default:
		c.State = stella.RunMissing
	}
	if st.OOMKilled {
		s.notes = append(s.notes, fmt.Sprintf("service %s ran out of memory", c.Name))
	}
}

// completed reports whether a container ended with success and is not started
// again.
func completed(live *container.InspectResponse) bool {
	if live.State.ExitCode != 0 || live.State.Error != "" || engineStamp(live.State.StartedAt).IsZero() || live.HostConfig == nil {
		return false
	}
	return !live.HostConfig.RestartPolicy.IsAlways() && !live.HostConfig.RestartPolicy.IsUnlessStopped()
}

func healthOf(s container.HealthStatus) stella.RunHealth {
	switch s {
	case container.Starting:
		return stella.RunHealthStarting
	case container.Healthy:
		return stella.RunHealthHealthy
	case container.Unhealthy:
		return stella.RunHealthUnhealthy
	}
	return stella.RunHealthNone
}
