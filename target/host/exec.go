package host

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"runtime"
	"syscall"
	"time"

	"github.com/stella-ops/stella"
)

// execPatience bounds a command beside a component where ctx has no deadline.
const execPatience = time.Minute

// Exec runs a command beside a component: in its root and mount namespace, as
// its user, with its environment and working directory. It returns what the
// command wrote, at most 64 KiB of it, also when it fails; the text is the
// command's own. A component that does not run is of class stella.ErrNotFound,
// a command that exits with another status than 0 of stella.ErrUnhealthy, one
// that takes longer than ctx (or a minute) of stella.ErrTimeout; it is killed.
func (h *Host) Exec(ctx context.Context, component string, command []string) (string, error) {
	if _, err := stella.ParseName(component); err != nil {
		return "", err
	}
	if ctx.Err() != nil {
		return "", context.Cause(ctx)
	}
	p, pid, err := h.beside(component, command)
	if err != nil {
		return "", fmt.Errorf("run a command in %s: %w", component, err)
	}
	if _, ok := ctx.Deadline(); !ok {
		var cancel context.CancelFunc
		ctx, cancel = context.WithTimeout(ctx, execPatience)
		defer cancel()
	}
	output, status, err := runBeside(ctx, p, pid)
	switch {
	case errors.Is(err, context.DeadlineExceeded):
		return output, fmt.Errorf("run a command in %s: %w", component, stella.ErrTimeout)
	case err != nil:
		return output, fmt.Errorf("run a command in %s: %w", component, err)
	case status.Signaled():
		return output, fmt.Errorf("%w: the command in %s was killed by signal %d", stella.ErrUnhealthy, component, status.Signal())
	case status.ExitStatus() != 0:
		return output, fmt.Errorf("%w: the command in %s exited with %d", stella.ErrUnhealthy, component, status.ExitStatus())
	}
	return output, nil
}

// beside works out how to run a command in a service that runs now, and which
// process it runs beside.
func (h *Host) beside(name string, command []string) (program, int, error) {
	spec, err := h.lay.readSpec(name)
	if errors.Is(err, fs.ErrNotExist) {
		return program{}, 0, fmt.Errorf("%w: it was never applied", stella.ErrNotFound)
	}
	if err != nil {
		return program{}, 0, err
	}
	status, err := h.lay.readStatus(name)
	if ignoreMissing(err) != nil {
		return program{}, 0, err
	}
	process, runs := status.process()
	if !runs {
		return program{}, 0, fmt.Errorf("%w: it does not run", stella.ErrNotFound)
	}
	rel, _, err := readRelease(h.lay.release(name, spec.Release))
	if err != nil {
		return program{}, 0, err
	}
	s, errs := decodeService(spec.Resource)
	if len(errs) > 0 {
		return program{}, 0, errors.Join(errs...)
	}
	rootfs := h.lay.rootfs(name, spec.Release)
	p, err := newProgram(s, rel.Config, rootfs, h.chroots, spec.AllowRoot)
	if err != nil {
		return program{}, 0, err
	}
	root, err := os.OpenRoot(rootfs)
	if err != nil {
		return program{}, 0, err
	}
	defer func() { _ = root.Close() }()
	p, err = p.withCommand(root, command)
	return p, process.PID, err
}

// runBeside runs a program on a thread that enters the namespace of a process,
// gives up its privileges and ends with it.
func runBeside(ctx context.Context, p program, pid int) (string, syscall.WaitStatus, error) {
	null, err := os.OpenFile(os.DevNull, os.O_RDWR, 0)
	if err != nil {
		return "", 0, err
	}
	defer func() { _ = null.Close() }()
	r, w, err := os.Pipe()
	if err != nil {
		return "", 0, err
	}
	defer func() { _ = r.Close() }()
	started := make(chan spawnResult)
	go func() {
		runtime.LockOSThread() // never unlocked: the thread ends with the goroutine
		var err error
		if p.chroot {
			err = enterNamespace(pid)
		}
		if err == nil {
			err = giveUpPrivileges()
		}
		var child int
		if err == nil {
			child, err = p.fork([3]*os.File{null, w, w}, false)
		}
		started <- spawnResult{child, err}
	}()
	result := <-started
	if err := errors.Join(result.err, w.Close()); err != nil {
		return "", 0, err
	}
	return follow(ctx, result.pid, r)
}

// follow waits for a child of this process and collects its output.
func follow(ctx context.Context, pid int, r *os.File) (string, syscall.WaitStatus, error) {
	child, err := os.FindProcess(pid)
	if err != nil {
		return "", 0, err
	}
	ended := make(chan struct{})
	var state *os.ProcessState
	go func() {
		state, err = child.Wait()
		close(ended)
	}()
	collected := make(chan string, 1)
	go func() { collected <- collect(r) }()
	cut := false
	select {
	case <-ended:
	case <-ctx.Done():
		cut = true
	}
	_ = syscall.Kill(-pid, syscall.SIGKILL)
	<-ended
	_ = r.SetReadDeadline(time.Now().Add(outputSlack))
	output := <-collected
	if cut {
		return output, 0, context.Cause(ctx)
	}
	if err != nil {
		return output, 0, err
	}
	status, ok := state.Sys().(syscall.WaitStatus)
	if !ok {
		return output, 0, errors.New("no wait status")
	}
	return output, status, nil
}
