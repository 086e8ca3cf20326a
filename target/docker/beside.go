package docker

import (
	"context"
	"fmt"
	"slices"
	"strings"
)

// startsFirst reports whether the new container runs beside the old one until it
// is well: that was asked for, and nothing that only one can have is in the way.
// What is in the way is said.
func (r *replacement) startsFirst(ctx context.Context) bool {
	cur := r.boxes.current
	if !r.d.cfg.StartFirst || cur == nil || !cur.runs() {
		return false
	}
	why := r.onlyOne()
	if why != "" {
		r.d.log.WarnContext(ctx, "the old container stops before the new one starts", "service", r.name, "reason", why)
	}
	return why == ""
}

// onlyOne says what of a service two containers can not have at a time; empty for
// nothing. It is pure.
func (r *replacement) onlyOne() string {
	if len(r.bp.networks) == 0 {
		return "it is on no network of the project"
	}
	if r.keepsData() {
		return "it has a named volume"
	}
	for _, bindings := range r.bp.host.PortBindings {
		for _, b := range bindings {
			if b.HostPort != "" && b.HostPort != "0" && !strings.Contains(b.HostPort, "-") {
				return "it publishes port " + b.HostPort
			}
		}
	}
	for _, e := range r.bp.networks {
		if e != nil && e.IPAMConfig != nil && (e.IPAMConfig.IPv4Address.IsValid() || e.IPAMConfig.IPv6Address.IsValid()) {
			return "it has an address of its own"
		}
	}
	return ""
}

// keepsData reports whether a service has a named volume: two at a time would
// write to it.
func (r *replacement) keepsData() bool {
	for _, m := range r.bp.host.Mounts {
		if m.Type == "volume" && m.Source != "" {
			return true
		}
	}
	return slices.ContainsFunc(r.bp.host.Binds, func(b string) bool { return !strings.HasPrefix(b, "/") })
}

// startBeside starts the new container while the old one runs, and waits until it
// is well or the order ends. One that is not well then is stopped: both answer to
// the service's name until then. It stays as .next, with its output.
func (r *replacement) startBeside(ctx context.Context, next *box, reused bool) (*box, error) {
	next, err := r.startOrRemake(ctx, next, reused)
	if err != nil {
		return nil, err
	}
	if err := r.d.look(ctx, next); err != nil {
		return nil, err
	}
	condition := conditionStarted
	if next.live != nil && probed(next.live) {
		condition = conditionHealthy
	}
	err = r.d.waitFor(r.life, next.ID, condition) //nolint:contextcheck // the old one serves: the order's end may end it
	if err == nil {
		return next, nil
	}
	err = fmt.Errorf("start the new container beside the old one: %w", err)
	if stopErr := r.d.stopBox(ctx, r.step, next); stopErr != nil {
		return nil, fmt.Errorf("%w; and stop it: %w", err, stopErr)
	}
	return nil, err
}
