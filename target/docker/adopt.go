package docker

import (
	"cmp"
	"context"
	"fmt"
	"maps"
	"slices"
	"strings"

	"github.com/moby/moby/api/types/container"
	"github.com/moby/moby/client"

	"github.com/stella-ops/stella"
	"github.com/stella-ops/stella/internal/safe"
)

// Running finds the containers of the target's Compose project, made by whom
// ever, and changes nothing. It refuses those that another environment or target
// has, and a service that runs more than once.
func (d *Docker) Running(ctx context.Context) (stella.Found, error) {
	all, err := d.adoptable(ctx)
	if err != nil {
		return stella.Found{}, err
	}
	var f stella.Found
	for _, service := range slices.Sorted(maps.Keys(all.services)) {
		c := all.services[service]
		facts, err := d.image(ctx, c.ImageID)
		if err != nil {
			return f, fmt.Errorf("service %s: %w", service, err)
		}
		found := stella.FoundComponent{Name: service, Image: fullName(safe.Line(c.Image)), Artifacts: []stella.Artifact{}}
		for _, name := range facts.digests {
			if a, err := stella.ParseArtifact(fullName(name)); err == nil && a.Digest != "" {
				found.Artifacts = append(found.Artifacts, a)
			}
		}
		slices.SortFunc(found.Artifacts, func(a, b stella.Artifact) int { return cmp.Compare(a.String(), b.String()) })
		f.Components = append(f.Components, found)
	}
	for _, c := range all.rest {
		f.Notes = append(f.Notes, fmt.Sprintf("container %s is of a command that was run once: it is left alone", nameOf(c)))
	}
	return f, nil
}

// Foresee returns what Observe would, had what runs been taken over as desired.
// It changes nothing.
func (d *Docker) Foresee(ctx context.Context, desired stella.State) (stella.State, error) {
	change, err := d.takingOver(ctx, desired)
	if err != nil {
		return stella.State{}, err
	}
	return d.observeAs(ctx, func(l *ledger) {
		change(&l.Record)
		l.whole = true // a sticker that is not there yet is no finding
	})
}

// Adopt records what runs as this target's own: containers without our labels
// by their ids, with what the order says they were asked for; networks and
// volumes as the record's holdings. It is one write of the record, and nothing
// else on the engine is created, changed or ended.
//
// A crash before that write leaves nothing, one after it a target that is taken
// over. The record may be lost with 'docker system prune'; then what was adopted
// and not replaced since is nobody's again, and Adopt takes it over again.
func (d *Docker) Adopt(ctx context.Context, o stella.Order) error {
	change, err := d.takingOver(ctx, o.Desired)
	if err != nil {
		return err
	}
	return d.writeRecord(ctx, o.Fence, func(r *record) {
		change(r)
		sticker := o.Sticker
		r.Sticker, r.Stopped = &sticker, false
	})
}

// takingOver returns what a record says more once what runs was taken over.
func (d *Docker) takingOver(ctx context.Context, desired stella.State) (func(*record), error) {
	all, err := d.adoptable(ctx)
	if err != nil {
		return nil, err
	}
	var taken []adopted
	for _, r := range desired.Resources {
		service, ok := strings.CutPrefix(string(r.ID), servicePrefix)
		c, runs := all.services[service]
		if !ok || !runs || d.labelled(c.Labels) {
			continue
		}
		spec, err := specLabel(r.Fields)
		if err != nil {
			return nil, fmt.Errorf("adopt %s: %w", r.ID, err)
		}
		taken = append(taken, adopted{ID: c.ID, Spec: spec})
	}
	held, err := d.holdable(ctx, desired)
	if err != nil {
		return nil, err
	}
	return func(r *record) {
		for _, a := range taken {
			r.Adopted = slices.DeleteFunc(slices.Clone(r.Adopted), func(old adopted) bool { return old.ID == a.ID })
			r.Adopted = append(r.Adopted, a)
		}
		slices.SortFunc(r.Adopted, func(a, b adopted) int { return cmp.Compare(a.ID, b.ID) })
		r.Holdings.Unlabelled = slices.Clone(r.Holdings.Unlabelled)
		for _, h := range held {
			r.Holdings.keep(h)
		}
	}, nil
}

// holdable are the networks and volumes of a desired state that are there and
// have no labels of ours, and the project's own network. Those of somebody else
// are refused.
func (d *Docker) holdable(ctx context.Context, desired stella.State) ([]holding, error) {
	var out []holding
	for _, r := range resourcesOf(desired, networkPrefix) {
		h, err := d.holdableNetwork(ctx, r)
		if err != nil {
			return nil, err
		}
		out = append(out, h...)
	}
	for _, r := range resourcesOf(desired, volumePrefix) {
		v, there, err := d.volumeNamed(ctx, d.nameOnEngine(r))
		if err != nil {
			return nil, err
		}
		if !there || d.labelled(v.Labels) {
			continue
		}
		if v.Labels[labelEnvironment] != "" && !isExternal(r) {
			return nil, d.taken(r.ID, "volume", v.Name, v.Labels)
		}
		out = append(out, holding{Resource: r})
	}
	if _, declared := desired.Resource(networkPrefix + defaultNetwork); declared {
		return out, nil
	}
	h, err := d.holdableNetwork(ctx, stella.Resource{ID: networkPrefix + defaultNetwork})
	return append(out, h...), err
}

func (d *Docker) holdableNetwork(ctx context.Context, r stella.Resource) ([]holding, error) {
	n, there, err := d.networkNamed(ctx, d.nameOnEngine(r))
	if err != nil || !there || d.labelled(n.Labels) {
		return nil, err
	}
	if isExternal(r) {
		return []holding{{Resource: r}}, nil
	}
	if n.Labels[labelEnvironment] != "" {
		return nil, d.taken(r.ID, "network", n.Name, n.Labels)
	}
	return []holding{{Resource: r, EngineID: n.ID}}, nil
}

// adoptables are the containers of the target's project.
type adoptables struct {
	services map[string]container.Summary
	rest     []container.Summary // of one-off commands
}

func (d *Docker) adoptable(ctx context.Context) (*adoptables, error) {
	project, err := d.list(ctx, make(client.Filters).Add("label", composeProject+"="+d.cfg.Project))
	if err != nil {
		return nil, fmt.Errorf("list containers: %w", err)
	}
	records, err := d.list(ctx, make(client.Filters).Add("label", labelRecord))
	if err != nil {
		return nil, fmt.Errorf("list records: %w", err)
	}
	all, err := d.sortAdoptables(project, records)
	if err == nil && len(all.services) == 0 {
		err = d.nothingRuns(ctx)
	}
	return all, err
}

// sortAdoptables says which container is which service's.
func (d *Docker) sortAdoptables(project, records []container.Summary) (*adoptables, error) {
	all := &adoptables{services: map[string]container.Summary{}}
	for _, c := range project {
		service := serviceOf(c)
		switch {
		case c.State == container.StateRemoving || isPassing(nameOf(c)):
			continue
		case service == "":
			all.rest = append(all.rest, c)
			continue
		}
		if err := d.somebodys(c, records); err != nil {
			return nil, err
		}
		other, twice := all.services[service]
		if twice && d.labelled(c.Labels) == d.labelled(other.Labels) {
			err := fmt.Errorf("%w: service %s of project %s has two containers, %s and %s, and a target has one of each service",
				stella.ErrRefused, service, d.cfg.Project, nameOf(other), nameOf(c))
			return nil, stella.WithHint(err, fmt.Sprintf("run 'docker compose -p %s up -d --scale %s=1' first, or declare another target", d.cfg.Project, service))
		}
		if !twice || d.labelled(other.Labels) && c.State == container.StateRunning {
			all.services[service] = c
		}
	}
	return all, nil
}

// somebodys refuses a container that another environment or target has, by its
// labels or by that one's record.
func (d *Docker) somebodys(c container.Summary, records []container.Summary) error {
	env, target := c.Labels[labelEnvironment], c.Labels[labelTarget]
	for _, r := range records {
		s, whole := unseal(r.Labels[labelRecord])
		if _, has := s.Record.adoption(c.ID); whole && has {
			env, target = string(s.Record.Environment), s.Record.Target
		}
	}
	if env == "" || env == string(d.cfg.Environment) && target == d.cfg.Name {
		return nil
	}
	err := fmt.Errorf("%w: container %s of project %s belongs to target %s of environment %s", stella.ErrRefused, nameOf(c), d.cfg.Project, safe.Clip(target, 60), safe.Clip(env, 60))
	return stella.WithHint(err, "name another project for the target in environment.yaml, or adopt that environment")
}

// nothingRuns says which projects there are instead.
func (d *Docker) nothingRuns(ctx context.Context) error {
	all, err := d.list(ctx, make(client.Filters).Add("label", composeProject))
	if err != nil {
		return fmt.Errorf("list containers: %w", err)
	}
	names := map[string]bool{}
	for _, c := range all {
		if name := c.Labels[composeProject]; name != "" && c.Labels[labelEnvironment] == "" {
			names[safe.Clip(name, 60)] = true
		}
	}
	err = fmt.Errorf("%w: no container of Compose project %s runs there", stella.ErrNotFound, d.cfg.Project)
	if len(names) == 0 {
		return stella.WithHint(err, "run 'docker compose up -d' there first, or 'stella reconcile "+string(d.cfg.Environment)+"', which deploys")
	}
	return stella.WithHint(err, fmt.Sprintf("set 'project' of the target in environment.yaml: there are %s", strings.Join(slices.Sorted(maps.Keys(names)), ", ")))
}

// isPassing reports whether a container is of that name while it is replaced, or
// since.
func isPassing(name string) bool {
	return strings.HasSuffix(name, suffixNext) || strings.HasSuffix(name, suffixPrevious)
}
