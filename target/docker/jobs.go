package docker

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/moby/moby/api/types/container"
	"github.com/moby/moby/client"

	"github.com/stella-ops/stella"
)

// job says when a one-shot runs: the value of `x-stella: {job: …}`. Empty for a
// service that is none. See docs/design/0023-jobs.md.
type job string

// The jobs.
const (
	jobPreDeploy    job = "pre-deploy"
	jobPostDeploy   job = "post-deploy"
	jobPreRollback  job = "pre-rollback"
	jobPostRollback job = "post-rollback"
)

// What the detail of a component says of a job that has nothing to do.
const (
	detailCompleted = "completed"
	detailNotDue    = "not due"
)

// jobOf returns which job a resource is.
func jobOf(r stella.Resource) job {
	x, _ := r.Fields["x-stella"].(map[string]any)
	when, _ := x["job"].(string)
	return job(when)
}

// before reports whether a job runs before any service is touched.
func (j job) before() bool { return j == jobPreDeploy || j == jobPreRollback }

// of reports whether a job belongs to a kind of deployment. A heal, a drill and
// an import run none: nothing of the release changes.
func (j job) of(k stella.Kind) bool {
	switch j {
	case jobPreDeploy, jobPostDeploy:
		return k == stella.KindDeploy
	case jobPreRollback, jobPostRollback:
		return k.GoesBack()
	}
	return false
}

// lastRun is what is known of a job's container.
type lastRun struct {
	deployment string // that it was made for; empty where there is no container
	started    bool
	succeeded  bool
}

// ranAs reads it from inspection.
func ranAs(c container.InspectResponse) lastRun {
	l := lastRun{}
	if c.Config != nil {
		l.deployment = c.Config.Labels[labelDeployment]
	}
	if s := c.State; s != nil {
		l.started = !engineStamp(s.StartedAt).IsZero()
		l.succeeded = l.started && s.Status == container.StateExited && s.ExitCode == 0 && !s.OOMKilled
	}
	return l
}

// isDue reports whether an order runs a job: it belongs to the kind of
// deployment and did not succeed in this very one; and, in one that goes forward,
// the release, or the job itself, is another one than the target has, or the job
// did not succeed when it ran last. before is the target's sticker; nil for none.
func isDue(r stella.Resource, o stella.Order, before *stella.Sticker, last lastRun) bool {
	switch {
	case !jobOf(r).of(o.Kind):
		return false
	case last.deployment == o.Sticker.Deployment && last.succeeded:
		return false // after a crash
	case o.Kind.GoesBack():
		return true // also where a deployment failed before it had a sticker
	case before == nil || before.Release != o.Sticker.Release:
		return true
	case last.started && !last.succeeded:
		return true
	}
	return slices.ContainsFunc(o.Actions, func(a stella.Action) bool {
		if a.Resource.ID != r.ID || a.Op == stella.OpRemove {
			return false
		}
		_, known := before.Components[strings.TrimPrefix(string(r.ID), "service/")]
		return a.Op == stella.OpUpdate || !known // one that was cleaned up has run already
	})
}

// jobs returns those of an order that are due, before and after the services,
// in the order of the desired state.
func jobs(o stella.Order, before *stella.Sticker, last func(stella.ResourceID) lastRun) (first, then []stella.Resource) {
	for _, r := range o.Desired.Resources {
		switch {
		case jobOf(r) == "" || !isDue(r, o, before, last(r.ID)):
		case jobOf(r).before():
			first = append(first, r)
		default:
			then = append(then, r)
		}
	}
	return first, then
}

// checkJob refuses what makes no sense for a one-shot.
func checkJob(r stella.Resource) error {
	restart, _ := r.Fields["restart"].(string)
	if jobOf(r) == "" || restart != "always" && restart != "unless-stopped" {
		return nil
	}
	return stella.WithHint(fmt.Errorf("%w: %s: restart: %s: a job ends", stella.ErrInvalid, r.ID, restart),
		"write restart: on-failure:3 to have it tried again, or take restart out")
}

// jobDetail is the detail of a job's container, and whether there is nothing
// wrong with it.
func jobDetail(c container.InspectResponse) (text string, fine bool) {
	switch l := ranAs(c); {
	case l.succeeded:
		return detailCompleted, true
	case !l.started && c.State != nil && c.State.Error == "":
		return detailNotDue, true
	}
	return detail(c), false
}

// judgeJob says what a job's container is doing. It is there whether or not it
// ran: that it failed is its component's trouble, and no difference.
func judgeJob(s *liveService, live *container.InspectResponse) {
	s.present = true
	text, fine := jobDetail(*live)
	switch {
	case live.State.Running || live.State.Restarting:
	case fine:
		s.component.State, s.component.Detail = stella.RunExited, text
	default:
		s.component.State = stella.RunExited
	}
}

// jobPoll is short beside the start of a container.
const jobPoll = 100 * time.Millisecond

// runJob starts a job's container and waits until it has ended for good: its
// restart policy may have it tried again. One that runs already, of a stella that
// was interrupted, is waited for. A job that fails is of class
// stella.ErrUnhealthy, with the end of its output; one that ctx ends is stopped.
func (d hand) runJob(ctx context.Context, r stella.Resource, id string) error {
	got, err := bounded(ctx, d, func(ctx context.Context) (client.ContainerInspectResult, error) {
		return d.api.ContainerInspect(ctx, id, client.ContainerInspectOptions{})
	})
	if err != nil {
		return err
	}
	if s := got.Container.State; s == nil || !s.Running && !s.Restarting {
		err = d.effect(context.WithoutCancel(ctx), "start", string(r.ID), startTime, func(ctx context.Context) error {
			_, err := d.api.ContainerStart(ctx, id, client.ContainerStartOptions{})
			return err
		})
		if err != nil {
			return fmt.Errorf("start %s %s: %w", jobOf(r), r.ID, fault(err))
		}
	}
	c, err := d.awaitEnd(ctx, id)
	switch {
	case err != nil && ctx.Err() != nil:
		return errors.Join(d.cutOff(ctx, r, id, c), d.failedJob(ctx, r, c))
	case err != nil:
		return fmt.Errorf("wait for %s %s: %w", jobOf(r), r.ID, fault(err))
	case !ranAs(c).succeeded:
		return d.failedJob(ctx, r, c)
	}
	return nil
}

// awaitEnd returns a container that neither runs nor is going to.
func (d *Docker) awaitEnd(ctx context.Context, id string) (c container.InspectResponse, err error) {
	for {
		ask, cancel := context.WithTimeout(ctx, readPatience)
		got, err := d.api.ContainerInspect(ask, id, client.ContainerInspectOptions{})
		cancel()
		if err != nil {
			return c, err
		}
		c = got.Container
		if s := c.State; s != nil && !s.Running && !s.Restarting {
			return c, nil
		}
		select {
		case <-ctx.Done():
			return c, context.Cause(ctx)
		case <-time.After(jobPoll):
		}
	}
}

// cutOff stops a job that nobody waits for any more: it must not go on behind
// what comes next.
func (d hand) cutOff(ctx context.Context, r stella.Resource, id string, c container.InspectResponse) error {
	why := fmt.Errorf("%s %s: %w", jobOf(r), r.ID, context.Cause(ctx))
	if errors.Is(ctx.Err(), context.DeadlineExceeded) {
		why = fmt.Errorf("%s %s did not end in time and was stopped: %w", jobOf(r), r.ID, stella.ErrTimeout)
	}
	err := d.effect(context.WithoutCancel(ctx), "stop", string(r.ID), graceOf(&c)+startTime, func(ctx context.Context) error {
		_, err := d.api.ContainerStop(ctx, id, client.ContainerStopOptions{})
		return err
	})
	if err != nil {
		return errors.Join(why, fmt.Errorf("stop %s: it may go on: %w", r.ID, fault(err)))
	}
	return why
}

// failedJob says how a job ended, with the end of its output and without the
// secrets that are known.
func (d *Docker) failedJob(ctx context.Context, r stella.Resource, c container.InspectResponse) error {
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), readPatience)
	defer cancel()
	if c.ID == "" || c.State == nil {
		return nil // nothing is known of it
	}
	how := "was cut off"
	if !c.State.Running {
		how = ending(c)
	}
	d.hidden.learn("desired", r)
	out, err := d.tail(ctx, c, 4<<10)
	text := said(d.hidden.mask(string(out)))
	if err != nil && text == "" {
		text = ": its output can not be read"
	}
	return fmt.Errorf("%w: %s %s %s%s", stella.ErrUnhealthy, jobOf(r), r.ID, how, text)
}
