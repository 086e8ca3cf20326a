package docker

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/moby/moby/api/pkg/stdcopy"
	"github.com/moby/moby/client"

	"github.com/stella-ops/stella"
)

const (
	execPatience  = time.Minute // for a command where ctx has no deadline
	maxExecOutput = 64 << 10
)

// Exec runs a command in a component's container, as its user and with its
// environment. It returns what the command wrote, at most 64 KiB of it, also
// when it fails; the text is the command's own, without the secrets that the
// target has. A component that does not run is
// of class stella.ErrNotFound, a command that exits with another status than 0 of
// stella.ErrUnhealthy, one that takes longer than ctx (or a minute) of
// stella.ErrTimeout: an engine can not end it, so that it may go on.
func (d *Docker) Exec(ctx context.Context, component string, command []string) (string, error) {
	if ctx.Err() != nil {
		return "", context.Cause(ctx)
	}
	if len(command) == 0 {
		return "", fmt.Errorf("%w: no command to run in %s", stella.ErrInvalid, component)
	}
	if _, ok := ctx.Deadline(); !ok {
		var cancel context.CancelFunc
		ctx, cancel = context.WithTimeout(ctx, execPatience)
		defer cancel()
	}
	output, status, err := d.exec(ctx, component, command)
	output = d.hidden.mask(output)
	switch {
	case errors.Is(ctx.Err(), context.DeadlineExceeded):
		return output, fmt.Errorf("run a command in %s: %w: it may go on", component, stella.ErrTimeout)
	case ctx.Err() != nil:
		return output, fmt.Errorf("run a command in %s: %w", component, context.Cause(ctx))
	case err != nil:
		return output, fmt.Errorf("run a command in %s: %w", component, fault(err))
	case status != 0:
		return output, fmt.Errorf("%w: the command in %s %s%s", stella.ErrUnhealthy, component, exit(status), said(output))
	}
	return output, nil
}

func (d *Docker) exec(ctx context.Context, component string, command []string) (output string, status int, err error) {
	c, err := d.component(ctx, component)
	if err != nil {
		return "", 0, err
	}
	if s := c.State; s == nil || !s.Running || s.Paused || s.Restarting {
		return "", 0, fmt.Errorf("%w: it does not run: %s", stella.ErrNotFound, detail(c))
	}
	made, err := d.api.ExecCreate(ctx, c.ID, client.ExecCreateOptions{Cmd: command, AttachStdout: true, AttachStderr: true})
	if err != nil {
		return "", 0, err
	}
	attached, err := d.api.ExecAttach(ctx, made.ID, client.ExecAttachOptions{})
	if err != nil {
		return "", 0, err
	}
	unhook := context.AfterFunc(ctx, attached.Close)
	defer func() { unhook(); attached.Close() }()
	out := &beginning{most: maxExecOutput}
	if _, err := stdcopy.StdCopy(out, out, &frames{from: attached.Reader}); err != nil {
		return string(out.text), 0, err
	}
	got, err := d.api.ExecInspect(ctx, made.ID, client.ExecInspectOptions{})
	if err == nil && got.Running {
		err = errors.New("it closed its output and goes on")
	}
	return string(out.text), got.ExitCode, err
}
