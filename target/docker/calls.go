package docker

import (
	"context"
	"errors"
	"fmt"
	"net/url"
	"strings"
	"time"

	cerrdefs "github.com/containerd/errdefs"
	"github.com/moby/moby/api/types/container"
	"github.com/moby/moby/client"

	"github.com/stella-ops/stella"
	"github.com/stella-ops/stella/internal/safe"
)

// How long a call of the engine's API may take before the engine counts as gone.
// A busy machine takes seconds to start a container, and a pull as long as it
// gets on.
const (
	callTime  = 30 * time.Second
	startTime = 2 * time.Minute
	pullTime  = 6 * time.Hour
)

// errSilent is why a call was given up.
var errSilent = stella.WithHint(fmt.Errorf("%w: the engine did not answer in time", stella.ErrUnreachable),
	"look at the engine's log on its machine: 'journalctl -u docker'")

// within bounds one call.
func (d *Docker) within(ctx context.Context, most time.Duration) (context.Context, context.CancelFunc) {
	return context.WithTimeoutCause(ctx, d.patience(most), errSilent)
}

// patience is how long something may take that usually may take so long.
func (d *Docker) patience(usual time.Duration) time.Duration {
	if limit := time.Duration(d.limit.Load()); limit > 0 {
		return min(limit, usual)
	}
	return usual
}

// fault gives an error of the client its class, with the engine's words made
// harmless. It is idempotent.
func fault(err error) error {
	if _, raw := errors.AsType[*url.Error](err); raw && errors.Is(err, errSilent) {
		return errSilent // without the client's words
	}
	if err == nil || classified(err) {
		return err
	}
	text := safe.Clip(safe.Line(strings.TrimPrefix(err.Error(), "Error response from daemon: ")), 400)
	class := classOf(err)
	switch {
	case class == nil:
		return stella.WithHint(errors.New("engine: "+text), "look at the engine's log on its machine: 'journalctl -u docker'")
	case isFull(err):
		return stella.WithHint(fmt.Errorf("%w: engine: %s", class, text), "make room where the engine keeps its images, for example with 'docker image prune'")
	case errors.Is(err, context.DeadlineExceeded):
		return errSilent
	case errors.Is(class, stella.ErrUnreachable):
		return stella.WithHint(fmt.Errorf("%w: engine: %s", class, text), "see whether the engine runs on its machine: 'systemctl status docker'")
	}
	return fmt.Errorf("%w: engine: %s", class, text)
}

// startFault is fault for the start of a container. What the engine could not
// start is sick, whatever else it calls that: a command that is not there, a port
// that a process has.
func startFault(err error) error {
	out := fault(err)
	if out == nil || errors.Is(err, context.Canceled) || classified(out) && !errors.Is(out, stella.ErrInvalid) {
		return out
	}
	return fmt.Errorf("%w: could not be started: %s", stella.ErrUnhealthy, safe.Clip(safe.Line(strings.TrimPrefix(err.Error(), "Error response from daemon: ")), 400))
}

func classOf(err error) error {
	switch {
	case errors.Is(err, context.DeadlineExceeded), client.IsErrConnectionFailed(err), cerrdefs.IsUnavailable(err):
		return stella.ErrUnreachable
	case isFull(err):
		return stella.ErrRefused
	case cerrdefs.IsNotFound(err):
		return stella.ErrNotFound
	case cerrdefs.IsConflict(err):
		return stella.ErrConflict
	case cerrdefs.IsInvalidArgument(err):
		return stella.ErrInvalid
	case cerrdefs.IsUnauthorized(err), cerrdefs.IsPermissionDenied(err):
		return stella.ErrDenied
	case cerrdefs.IsNotImplemented(err):
		return stella.ErrUnsupported
	case errors.Is(err, context.Canceled):
		return context.Canceled
	}
	return nil
}

// isFull reports whether the engine's disk is full. The API has no code for it.
func isFull(err error) bool { return strings.Contains(err.Error(), "no space left on device") }

func classified(err error) bool {
	for _, class := range []error{
		stella.ErrInvalid, stella.ErrNotFound, stella.ErrUnreachable, stella.ErrDenied, stella.ErrConflict, stella.ErrFenced,
		stella.ErrRefused, stella.ErrUnhealthy, stella.ErrTampered, stella.ErrTimeout, stella.ErrUnsupported,
	} {
		if errors.Is(err, class) {
			return true
		}
	}
	return false
}

func (d *Docker) list(ctx context.Context, f client.Filters) ([]container.Summary, error) {
	ctx, cancel := d.within(ctx, callTime)
	defer cancel()
	res, err := d.api.ContainerList(ctx, client.ContainerListOptions{All: true, Filters: f})
	return res.Items, fault(err)
}

// inspect returns nil for a container that is not there.
func (d *Docker) inspect(ctx context.Context, id string) (*container.InspectResponse, error) {
	ctx, cancel := d.within(ctx, callTime)
	defer cancel()
	res, err := d.api.ContainerInspect(ctx, id, client.ContainerInspectOptions{})
	if cerrdefs.IsNotFound(err) {
		return nil, nil
	}
	if err != nil {
		return nil, fault(err)
	}
	d.hidden.maskProbes(&res.Container)
	return &res.Container, nil
}

// removeContainer ends and removes a container, with the volumes that have no name
// and that were made for it alone; one that is gone is fine. Nothing else would
// ever remove those: the container that comes after has new ones.
func (d hand) removeContainer(ctx context.Context, id, name string) error {
	return d.effect(ctx, "remove", name, startTime, func(ctx context.Context) error {
		_, err := d.api.ContainerRemove(ctx, id, client.ContainerRemoveOptions{Force: true, RemoveVolumes: true})
		if cerrdefs.IsNotFound(err) {
			return nil
		}
		return err
	})
}
