package host

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"time"

	"golang.org/x/sys/unix"

	"github.com/stella-ops/stella"
	"github.com/stella-ops/stella/internal/durable"
	"github.com/stella-ops/stella/internal/effect"
	"github.com/stella-ops/stella/internal/safe"
)

// startPatience bounds how long a shim may take until its process was executed:
// mounts and one fork.
const startPatience = 30 * time.Second

// start runs the shim of a service and returns once its process was executed.
// The shim outlives this process.
func (h *Host) start(service string) error {
	return effect.Do("start", service, func() error { return h.startShim(service) })
}

func (h *Host) startShim(service string) error {
	if !filepath.IsAbs(h.cfg.Executable) {
		return fmt.Errorf("%w: no path of the stella program to run as the shim", stella.ErrInvalid)
	}
	ready, theirs, err := os.Pipe()
	if err != nil {
		return err
	}
	defer func() { _ = ready.Close() }()
	cmd := &exec.Cmd{
		Path: h.cfg.Executable,
		Args: append([]string{"stella"}, h.lay.shimArgs(service)...),
		Env:  []string{}, Dir: "/",
		ExtraFiles:  []*os.File{theirs},
		SysProcAttr: detached(),
	}
	err = errors.Join(cmd.Start(), theirs.Close())
	if err != nil {
		return fmt.Errorf("start shim: %w", err)
	}
	// Whoever waits for the shim here keeps it from being a zombie, should it
	// end before this process does.
	go func() { _ = cmd.Wait() }()
	answer, err := readAnswer(ready)
	switch {
	case errors.Is(err, os.ErrDeadlineExceeded):
		_ = cmd.Process.Kill() // its process dies with it
		return fmt.Errorf("%w: the shim did not start %s within %s", stella.ErrTimeout, service, startPatience)
	case err != nil:
		return err
	case answer == shimReady:
		return nil
	case answer == "":
		return fmt.Errorf("%w: the shim ended without a word; see the log of %s", stella.ErrUnhealthy, service)
	}
	return fmt.Errorf("%w: %s", stella.ErrUnhealthy, safe.Clip(answer, 1000))
}

// readAnswer reads all that the shim says until it closes its end.
func readAnswer(r *os.File) (string, error) {
	if err := r.SetReadDeadline(time.Now().Add(startPatience)); err != nil {
		return "", err
	}
	const most = 16 << 10
	answer, err := io.ReadAll(io.LimitReader(r, most))
	return string(bytes.TrimSpace(answer)), err
}

// stopSlack is what a shim may take beyond the grace of its service.
const stopSlack = 10 * time.Second

// stopService ends a service's shim and everything that runs from its releases.
// The shim gives its process the stop signal and the grace; one that does not
// end is killed. A service that does not run is fine.
func (h *Host) stopService(ctx context.Context, name string) error {
	return effect.Do("stop", name, func() error {
		if err := h.stopShim(ctx, name); err != nil {
			return err
		}
		// What got away from a shim that was killed, wherever it is in the tree.
		return killAll(func() []int { return h.processesOf(name) }, stopSlack)
	})
}

func (h *Host) stopShim(ctx context.Context, name string) error {
	shim, lives, err := h.findShim(ctx, name)
	if err != nil || !lives {
		return err
	}
	grace := defaultGrace
	if spec, err := h.lay.readSpec(name); err == nil {
		if s, errs := decodeService(spec.Resource); len(errs) == 0 {
			grace = s.grace()
		}
	}
	if err := signalProcess(shim, int(unix.SIGTERM)); err != nil {
		return fmt.Errorf("signal shim: %w", err)
	}
	if h.gone(ctx, shim, grace+h.slack) {
		return nil
	}
	h.log.WarnContext(ctx, "shim does not end, it is killed", "service", name)
	if err := signalProcess(shim, sigKill); err != nil {
		return fmt.Errorf("kill shim: %w", err)
	}
	if h.gone(ctx, shim, stopSlack) {
		return nil
	}
	return fmt.Errorf("%w: the shim, process %d, does not die", stella.ErrTimeout, shim.PID)
}

// findShim returns the living shim of a service. One that has the lock and no
// pid file is about to write it, or about to end: it is waited for.
func (h *Host) findShim(ctx context.Context, name string) (durable.Process, bool, error) {
	ctx, cancel := context.WithTimeout(ctx, h.slack)
	defer cancel()
	for {
		if shim, lives := h.lay.shimOf(name); lives {
			return shim, true, nil
		}
		lock, err := durable.TryLock(h.lay.shimLock(name))
		if errors.Is(err, fs.ErrNotExist) {
			return durable.Process{}, false, nil
		}
		if err == nil {
			return durable.Process{}, false, lock.Unlock()
		}
		select {
		case <-ctx.Done():
			return durable.Process{}, false, fmt.Errorf("find the shim: %w", err)
		case <-time.After(killPoll):
		}
	}
}

// gone waits until a process has ended.
func (h *Host) gone(ctx context.Context, p durable.Process, most time.Duration) bool {
	ctx, cancel := context.WithTimeout(ctx, most)
	defer cancel()
	for p.Alive() {
		select {
		case <-ctx.Done():
			return !p.Alive()
		case <-time.After(killPoll):
		}
	}
	return true
}

// Stop ends everything that was started here, what depends on others first.
// Nothing is removed: the next apply starts it again.
func (h *Host) Stop(ctx context.Context, fence int64) error {
	return h.locked(ctx, fence, func() error { return h.stopAll(context.WithoutCancel(ctx)) })
}

func (h *Host) stopAll(ctx context.Context) error {
	names, err := h.ourServices()
	if err != nil {
		return err
	}
	var services []service
	for _, name := range names {
		s := service{name: name}
		if spec, err := h.lay.readSpec(name); err == nil {
			s, _ = decodeService(spec.Resource)
			s.name = name
		}
		services = append(services, s)
	}
	var all []error
	for _, name := range stopOrder(services) {
		if err := h.effect("stop", func() error { return h.stopService(ctx, name) }); err != nil {
			all = append(all, fmt.Errorf("stop service/%s: %w", name, err))
		}
	}
	return errors.Join(all...)
}

// Remove stops everything and removes all that was put there, but the contents
// of volumes, which nobody could bring back, and target.json, which keeps
// refusing who was overtaken. Another target may take the root afterwards.
func (h *Host) Remove(ctx context.Context, fence int64) error {
	return h.locked(ctx, fence, func() error {
		names, err := h.ourServices()
		if err != nil {
			return err
		}
		if err := h.stopAll(context.WithoutCancel(ctx)); err != nil {
			return err
		}
		for _, name := range names {
			if err := h.forget(name); err != nil {
				return err
			}
		}
		return h.effect("remove", func() error { return h.removeAll(fence) })
	})
}

// removeAll removes the files. The caller has stopped everything and holds the
// lock.
func (h *Host) removeAll(fence int64) error {
	var all []error
	services, _ := os.ReadDir(h.lay.services())
	for _, e := range services {
		if _, err := os.Lstat(h.lay.shimLock(e.Name())); err != nil {
			if len(h.releaseNames(e.Name())) == 0 {
				continue // not made by us
			}
		}
		all = append(all, removeTree(h.lay.service(e.Name())))
	}
	volumes, _, err := h.observeVolumes()
	all = append(all, err)
	for _, v := range volumes {
		all = append(all, h.retireVolume(v.ID))
	}
	all = append(all, discard(h.lay.sticker()), ignoreMissing(ignoreNotEmpty(os.Remove(h.lay.services()))))
	if err := errors.Join(all...); err != nil {
		return err
	}
	return writeJSON(h.lay.target(), targetFile{SchemaVersion: 1, Machine: h.machine, Fence: fence})
}

func ignoreNotEmpty(err error) error {
	if errors.Is(err, unix.ENOTEMPTY) {
		return nil
	}
	return err
}
