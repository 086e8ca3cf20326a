package docker

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"slices"
	"strings"

	"github.com/moby/moby/api/types/container"
	"github.com/moby/moby/api/types/network"
	"github.com/moby/moby/client"

	"github.com/stella-ops/stella"
	"github.com/stella-ops/stella/internal/safe"
)

// create makes the container, with its files and on all its networks.
func (r *replacement) create(ctx context.Context, name string) (*box, error) {
	image, found, err := r.d.has(ctx, r.image)
	if err != nil || !found {
		return nil, fmt.Errorf("%w: the engine does not have image %s any more", stella.ErrNotFound, r.image)
	}
	labels, err := r.labels(image)
	if err != nil {
		return nil, err
	}
	if err := r.defaultNetwork(ctx); err != nil {
		return nil, err
	}
	config, host := r.bp.config, r.bp.host
	config.Image = byDigest(r.image)
	config.Labels = maps.Clone(config.Labels)
	if config.Labels == nil {
		config.Labels = map[string]string{}
	}
	maps.Copy(config.Labels, labels)
	options := client.ContainerCreateOptions{Name: name, Config: &config, HostConfig: &host}
	options.NetworkingConfig = endpoints(r.bp)
	names := slices.Sorted(maps.Keys(r.bp.networks))
	if options.NetworkingConfig != nil {
		names = slices.DeleteFunc(names, func(n string) bool { return options.NetworkingConfig.EndpointsConfig[n] != nil })
	}
	id, warnings, err := r.d.createWithFiles(ctx, options, r.bp.files)
	if err != nil {
		return nil, fmt.Errorf("create %s: %w", name, fault(err))
	}
	b := &box{Summary: container.Summary{ID: id, Labels: config.Labels, State: container.StateCreated}, name: name, service: r.name}
	for _, n := range names {
		if err := r.do(ctx, "connect", name+" "+n, callTime, func(ctx context.Context) error {
			_, err := r.d.api.NetworkConnect(ctx, n, client.NetworkConnectOptions{Container: id, EndpointConfig: r.bp.networks[n]})
			return err
		}); err != nil {
			return nil, err
		}
	}
	return b, r.heed(ctx, b, warnings)
}

// heed takes what the engine warned of for what it is: a limit that it can not keep
// it takes away, and the container would differ from what is desired for ever.
// Such a container is removed again, before anything was stopped for it.
func (r *replacement) heed(ctx context.Context, b *box, warnings []string) error {
	if len(warnings) == 0 {
		return nil
	}
	said := safe.Clip(safe.Line(strings.Join(warnings, "; ")), 400)
	changes, err := r.differences(ctx, b)
	if err != nil {
		return err
	}
	if len(changes) == 0 {
		r.d.log.WarnContext(ctx, "the engine warns of a container", "service", r.name, "warning", said)
		return nil
	}
	fields := make([]string, len(changes))
	for i, c := range changes {
		fields[i] = strings.ReplaceAll(strings.TrimPrefix(c.Path, "/"), "/", ".")
	}
	err = fmt.Errorf("%w: the engine can not do what %s asks for (%s): %s", stella.ErrUnsupported, r.resource.ID, strings.Join(fields, ", "), said)
	err = stella.WithHint(err, "take it out of the Compose file, or have the kernel of the engine of "+r.d.cfg.Name+" support it")
	return errors.Join(err, r.d.discard(ctx, b.ID, b.name))
}

// defaultNetwork makes the network of those that name none, where the desired
// state says nothing of it.
func (r *replacement) defaultNetwork(ctx context.Context) error {
	if _, used := r.bp.networks[r.d.cfg.Project+"_default"]; !used || r.set.has("network/default") {
		return nil
	}
	return r.d.withHoldings(ctx, r.step, func(h *holdings) error {
		return r.d.putDefaultNetwork(ctx, r.d.labels(r.step, "network/default"), h)
	})
}

// labels are those of the service's container: ours, and those by which Compose
// finds it.
func (r *replacement) labels(image imageFacts) (map[string]string, error) {
	spec, err := specLabel(r.resource.Fields)
	if err != nil {
		return nil, err
	}
	digest, err := specDigest(r.resource.Fields)
	if err != nil {
		return nil, err
	}
	out := r.d.labels(r.step, r.resource.ID)
	maps.Copy(out, map[string]string{
		labelSpec: spec, labelSpecDigest: string(digest), labelImage: image.id,
		composeService: r.name, composeContainerNumber: "1", composeOneoff: "False",
		composeConfigHash: digest.Hex(), composeImage: image.id, composeDependsOn: composeNeeds(r.depends),
	})
	return out, nil
}

// composeNeeds is a label of Compose: "db:service_healthy:false,cache:service_started:false".
func composeNeeds(depends map[string]string) string {
	var out []string
	for _, on := range slices.Sorted(maps.Keys(depends)) {
		out = append(out, on+":"+depends[on]+":false")
	}
	return strings.Join(out, ",")
}

// endpoints is the network that a container is made on: the one that its mode
// names, else the first. Engines before API 1.44 take one; the others follow.
func endpoints(bp blueprint) *network.NetworkingConfig {
	if len(bp.networks) == 0 {
		return nil
	}
	first := string(bp.host.NetworkMode)
	if _, ok := bp.networks[first]; !ok {
		first = slices.Min(slices.Collect(maps.Keys(bp.networks)))
	}
	return &network.NetworkingConfig{EndpointsConfig: map[string]*network.EndpointSettings{first: bp.networks[first]}}
}
