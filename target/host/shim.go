package host

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"io"
	"os"
	"os/signal"
	"path/filepath"
	"runtime"
	"syscall"
	"time"

	"github.com/stella-ops/stella"
	"github.com/stella-ops/stella/internal/durable"
	"github.com/stella-ops/stella/internal/safe"
)

// ShimCommand is the hidden command whose arguments [Shim] takes.
const ShimCommand = "host-shim"

// shimReady is what a shim answers once its process was executed; anything else
// is why it was not.
const shimReady = "ready"

// The exit statuses of a shim.
const (
	shimEnded  = 0 // its process ended and is not started again, or it was told to stop
	shimFailed = 1 // it could not start its process
	shimUsage  = 2
)

// Shim supervises the process of one service until it ends for good, until
// SIGTERM or ctx, or until its root vanishes. args are those after the command's
// name: --root ROOT --service NAME and --ready FD, where it answers. It changes
// signal handling and the process's attributes, so nothing else may run in the
// process. It returns the exit status.
func Shim(ctx context.Context, args []string, stderr io.Writer) int {
	flags := flag.NewFlagSet(ShimCommand, flag.ContinueOnError)
	flags.SetOutput(stderr)
	root := flags.String("root", "", "of the target")
	name := flags.String("service", "", "to supervise")
	readyFD := flags.Int("ready", -1, "descriptor to answer on")
	if err := flags.Parse(args); err != nil {
		return shimUsage
	}
	if _, err := stella.ParseName(*name); err != nil || !filepath.IsAbs(*root) {
		_, _ = fmt.Fprintln(stderr, "stella host-shim is run by stella itself")
		return shimUsage
	}
	if err := errors.Join(closeInherited(*readyFD), adoptOrphans()); err != nil {
		_, _ = fmt.Fprintln(stderr, "stella: error:", err)
		return shimFailed
	}
	syscall.Umask(0o022)
	answer := newAnswer(*readyFD, stderr)
	defer answer.give("the shim ended before its process was started")
	s := &shim{
		lay: layout{*root}, name: *name, reaper: &reaper{waiting: map[int]chan<- syscall.WaitStatus{}}, asked: make(chan struct{}, 1),
	}
	defer runtime.KeepAlive(s) // and so its lock
	return s.main(ctx, answer)
}

// answer is told once how the start went.
type answer struct {
	w     io.WriteCloser
	given bool
}

func newAnswer(fd int, stderr io.Writer) *answer {
	if fd < 0 {
		return &answer{w: writerOnly{stderr}}
	}
	return &answer{w: os.NewFile(uintptr(fd), "ready")}
}

// give answers; only the first counts. Who asked may be gone by now.
func (a *answer) give(text string) {
	if !a.given {
		_, _ = fmt.Fprintln(a.w, text)
		_ = a.w.Close()
	}
	a.given = true
}

type writerOnly struct{ io.Writer }

func (writerOnly) Close() error { return nil }

// shim supervises one service. One goroutine, that of main, owns its fields
// once they are set up.
type shim struct {
	lay     layout
	name    string
	spec    specFile
	service service
	program program
	probe   *program // nil where there is no healthcheck
	health  *healthcheck
	stop    syscall.Signal
	held    *durable.Lock // never given back: it ends with the process, after everything else
	dir     os.FileInfo   // of the service's directory when it started
	reaper  *reaper
	spawner *spawner
	log     *logFile
	null    *os.File
	status  statusFile
	asked   chan struct{} // somebody lost the status and wants it written again
}

func (s *shim) main(ctx context.Context, answer *answer) int {
	ctx, cancel := context.WithCancelCause(ctx)
	defer cancel(nil)
	s.handleSignals(cancel)
	var err error
	if s.held, err = s.lock(ctx); err != nil {
		answer.give(err.Error())
		return shimFailed
	}
	defer func() { _ = os.Remove(s.lay.pid(s.name)) }()
	if err := s.setUp(); err != nil {
		s.report(stella.RunExited, safe.Clip(err.Error(), 300))
		answer.give(err.Error())
		return shimFailed
	}
	return s.supervise(ctx, answer)
}

// lock waits for the last shim's end. It is short: who started this one has
// seen that end.
func (s *shim) lock(ctx context.Context) (*durable.Lock, error) {
	const patience = 5 * time.Second
	ctx, cancel := context.WithTimeout(ctx, patience)
	defer cancel()
	return durable.WaitLock(ctx, s.lay.shimLock(s.name))
}

// errTold: somebody wants the process to end.
var errTold = errors.New("stopped")

func (s *shim) handleSignals(cancel context.CancelCauseFunc) {
	told := make(chan os.Signal, 1)
	signal.Notify(told, syscall.SIGTERM, syscall.SIGINT)
	ended := make(chan os.Signal, 1)
	signal.Notify(ended, syscall.SIGCHLD)
	// Handled, and so neither deadly here nor ignored in the process, whatever
	// stella was started with.
	dropped := make(chan os.Signal, 1)
	signal.Notify(dropped, syscall.SIGPIPE)
	again := make(chan os.Signal, 1)
	signal.Notify(again, askAgain)
	go func() {
		for {
			select {
			case <-told:
				cancel(errTold)
			case <-ended:
				s.reaper.reap()
			case <-dropped:
			case <-again:
				select {
				case s.asked <- struct{}{}:
				default: // asked already
				}
			}
		}
	}()
}

// askAgain makes a shim write its status again. Older ones do nothing.
const askAgain = syscall.SIGHUP

// setUp reads what is to be run and makes everything ready for it.
func (s *shim) setUp() error {
	var err error
	if s.dir, err = os.Stat(s.lay.service(s.name)); err != nil {
		return err
	}
	if s.null, err = os.OpenFile(os.DevNull, os.O_RDWR, 0); err != nil {
		return err
	}
	if s.spec, err = s.lay.readSpec(s.name); err != nil {
		return err
	}
	s.status = statusFile{SchemaVersion: 1, Health: stella.RunHealthNone, InPlace: os.Geteuid() != 0}
	if s.status.Spec, err = s.spec.digest(); err != nil {
		return err
	}
	self, err := durable.Self()
	if err != nil {
		return err
	}
	if err := s.lay.writePID(s.name, self); err != nil {
		return fmt.Errorf("write pid file: %w", err)
	}
	if err := s.lay.writeRunning(s.name, s.spec); err != nil {
		return fmt.Errorf("write what is run: %w", err)
	}
	s.log = openLog(s.lay.logs(s.name))
	return s.load()
}

// load works out how the service is run, and prepares the thread that does it.
func (s *shim) load() error {
	dir := s.lay.release(s.name, s.spec.Release)
	rel, _, err := readRelease(dir)
	if err != nil {
		return fmt.Errorf("release %s: %w", s.spec.Release, err)
	}
	var errs []error
	if s.service, errs = decodeService(s.spec.Resource); len(errs) > 0 {
		return errors.Join(errs...)
	}
	rootfs, chroot := s.lay.rootfs(s.name, s.spec.Release), os.Geteuid() == 0
	if s.program, err = newProgram(s.service, rel.Config, rootfs, chroot, s.spec.AllowRoot); err != nil {
		return err
	}
	s.status.User = fmt.Sprintf("%d:%d", os.Geteuid(), os.Getegid())
	if chroot {
		s.status.User = fmt.Sprintf("%d:%d", s.program.user.uid, s.program.user.gid)
	}
	if s.stop, err = parseSignal(stopSignal(s.service, rel.Config)); err != nil {
		return err
	}
	if s.health = newHealthcheck(s.service, rel.Config); s.health != nil {
		if err := s.loadProbe(rootfs); err != nil {
			return fmt.Errorf("healthcheck: %w", err)
		}
	}
	s.spawner, err = newSpawner(func() error {
		if !chroot {
			return nil
		}
		f := furnishingOf(s.lay, s.service, rel, rootfs)
		return errors.Join(giveVolumes(f.volumes, s.program.user), mountRoot(f))
	})
	return err
}

func (s *shim) loadProbe(rootfs string) error {
	root, err := os.OpenRoot(rootfs)
	if err != nil {
		return err
	}
	defer func() { _ = root.Close() }()
	probe, err := s.program.withCommand(root, s.health.command())
	if err != nil {
		return err
	}
	s.probe = &probe
	return nil
}

// report writes the status. A root that vanished has nobody to read it.
func (s *shim) report(state stella.RunState, detail string) {
	if s.status.State != state {
		s.status.Since = time.Now().UTC()
	}
	s.status.SchemaVersion, s.status.State, s.status.Detail = 1, state, detail
	s.publish()
}

func (s *shim) publish() {
	if err := s.lay.writeStatus(s.name, s.status); err != nil && s.log != nil {
		s.log.note("write status: %v", err)
	}
}
