package dockertest

import (
	"errors"
	"flag"
	"fmt"
	"io"
	"os"
	"os/exec"
	"os/signal"
	"path/filepath"
	"runtime"
	"slices"
	"strings"
	"syscall"
	"testing"
	"time"

	"golang.org/x/sys/unix"
)

// Demand is the variable that makes a machine without an engine a failure.
// Without it the tests that need one are skipped.
const Demand = "STELLA_TEST_DOCKER"

// The variables that the test binary tells itself with what it is, and where the
// directory of all engines is.
const (
	roleVariable = "STELLA_DOCKERTEST_ROLE"
	dirVariable  = "STELLA_DOCKERTEST_DIR"
)

// The roles in the order in which they start each other. The first one starts
// the reaper and takes away what is left; the reaper is the first process of its
// namespace, so that everything in it ends with it; the last one runs the tests.
const (
	roleReaper = "reaper"
	roleTests  = "tests"
)

// prefix is what the directories of all test binaries are called.
const prefix = "stella-dockertest-"

// Main runs the tests of a package with engines at hand and returns the exit
// code: func TestMain(m *testing.M) { os.Exit(dockertest.Main(m)) }.
func Main(m *testing.M) int { return Run(m.Run) }

// Run is Main for a TestMain that has something to do before its tests; run is
// called within the namespaces.
func Run(run func() int) int {
	if code, done := asToldInside(run); done {
		return code
	}
	err := available()
	if err == nil {
		code, err := supervise(os.Args[1:], os.NewFile(1, "stdout"), os.NewFile(2, "stderr"))
		if err != nil {
			complain("%v", err)
		}
		return code
	}
	suite.missing = err
	demand, _ := os.LookupEnv(Demand)
	if demand == "1" {
		complain("no container engine, and %s=1 demands one: %v", Demand, err)
		return 1
	}
	complain("ALL TESTS THAT NEED A CONTAINER ENGINE ARE SKIPPED: %v", err)
	return run()
}

// atATime lets more tests run at a time than there are processors, unless the
// command line says how many: they wait for an engine most of the time.
func atATime() {
	const most = "8"
	said := slices.ContainsFunc(os.Args, func(arg string) bool { return strings.HasPrefix(arg, "-test.parallel") })
	if f := flag.Lookup("test.parallel"); f != nil && !said {
		_ = f.Value.Set(most) // a number, as it wants
	}
}

// asToldInside runs what a process of the namespaces is there for; false where
// this is none.
func asToldInside(run func() int) (code int, done bool) {
	role, _ := os.LookupEnv(roleVariable)
	dir, _ := os.LookupEnv(dirVariable)
	switch role {
	case roleReaper:
		return reap(), true
	case roleTests:
		// What the tests start is none of this.
		_ = errors.Join(os.Unsetenv(roleVariable), os.Unsetenv(dirVariable))
		suite.dir = dir
		atATime()
		return run(), true
	}
	return 0, false
}

// RunBoth is Run for a package whose tests run where they are, on the machine's
// network. One of them calls [Inside] for those that need an engine.
func RunBoth(run func() int) int {
	if code, done := asToldInside(run); done {
		return code
	}
	suite.missing = errOutside
	return run()
}

var errOutside = errors.New("outside of the namespaces")

// Within reports whether this test binary runs in the namespaces.
func Within() bool { return suite.dir != "" }

// Inside runs this test binary again in the namespaces, with arguments like
// "-test.run=^TestX$", and fails with it. More variables go to its environment.
func Inside(t *testing.T, args []string, env ...string) {
	t.Helper()
	if err := available(); err != nil {
		if demand, _ := os.LookupEnv(Demand); demand == "1" {
			t.Fatalf("no container engine, and %s=1 demands one: %v", Demand, err)
		}
		t.Skipf("SKIPPED, no container engine: %v", err)
	}
	code, err := supervise(args, t.Output(), t.Output(), env...)
	if err != nil || code != 0 {
		t.Fatalf("inside: exit code %d, %v", code, err)
	}
}

func complain(format string, args ...any) {
	_, _ = fmt.Fprintf(os.NewFile(2, "stderr"), "dockertest: "+format+"\n", args...)
}

// available says what is missing.
func available() error {
	if os.Getuid() != 0 {
		return errors.New("engines are run as root: run the tests as root")
	}
	for _, name := range []string{"dockerd", "containerd", "docker-registry", "busybox", "iptables", "ip"} {
		if _, err := lookPath(name); err != nil {
			return fmt.Errorf("%s is missing: run scripts/setup-tests.sh", name)
		}
	}
	return nil
}

// lookPath also finds what is not on the PATH of a login without /usr/sbin.
func lookPath(name string) (string, error) {
	if path, err := exec.LookPath(name); err == nil {
		return path, nil
	}
	return exec.LookPath(filepath.Join("/usr/sbin", name))
}

// supervise runs the test binary in its namespaces and takes away what it left,
// also what earlier ones left that were killed.
func supervise(args []string, stdout, stderr io.Writer, env ...string) (code int, err error) {
	clearLeftovers()
	dir, err := os.MkdirTemp("", prefix)
	if err != nil {
		return 1, err
	}
	lock, err := lockDir(dir)
	if err != nil {
		return 1, err
	}
	defer func() {
		removeDir(dir)
		_ = lock.Close()
	}()
	cmd := exec.Command("/proc/self/exe", args...) //nolint:noctx // ends by itself, with its tests
	cmd.Args[0] = os.Args[0]
	cmd.Stdin, cmd.Stdout, cmd.Stderr = os.NewFile(0, "stdin"), stdout, stderr
	cmd.Env = append(append(os.Environ(), env...), roleVariable+"="+roleReaper, dirVariable+"="+dir)
	cmd.SysProcAttr = &syscall.SysProcAttr{
		Cloneflags: syscall.CLONE_NEWNET | syscall.CLONE_NEWPID | syscall.CLONE_NEWNS,
		Pdeathsig:  syscall.SIGKILL,
	}
	code, err = runNamespaced(cmd)
	if err != nil {
		return 1, fmt.Errorf("run in namespaces of its own: %w", err)
	}
	return code, nil
}

// runNamespaced runs the reaper until it ends.
func runNamespaced(cmd *exec.Cmd) (code int, err error) {
	// The death signal is sent when the thread ends that started the child.
	runtime.LockOSThread()
	defer runtime.UnlockOSThread()
	if err := cmd.Start(); err != nil {
		return 0, err
	}
	pass := make(chan os.Signal, 1)
	signal.Notify(pass, syscall.SIGQUIT, syscall.SIGTERM, syscall.SIGINT)
	defer signal.Stop(pass)
	go func() {
		for s := range pass {
			_ = cmd.Process.Signal(s) // it may have ended
		}
	}()
	return exitCode(cmd.Wait())
}

func exitCode(err error) (int, error) {
	if exit, ok := errors.AsType[*exec.ExitError](err); ok {
		return max(exit.ExitCode(), 1), nil
	}
	return 0, err
}

// reap makes the namespaces usable, runs the tests in them and collects whoever
// lost its parent.
func reap() int {
	if err := furnish(); err != nil {
		complain("%v", err)
		return 1
	}
	exe, err := os.Readlink("/proc/self/exe")
	if err != nil {
		complain("%v", err)
		return 1
	}
	if err := os.Setenv(roleVariable, roleTests); err != nil {
		complain("%v", err)
		return 1
	}
	pid, err := syscall.ForkExec(exe, os.Args, &syscall.ProcAttr{Env: os.Environ(), Files: []uintptr{0, 1, 2}})
	if err != nil {
		complain("%v", err)
		return 1
	}
	pass := make(chan os.Signal, 1)
	signal.Notify(pass, syscall.SIGQUIT, syscall.SIGTERM, syscall.SIGINT)
	go func() {
		for s := range pass {
			if n, ok := s.(syscall.Signal); ok {
				_ = syscall.Kill(pid, n)
			}
		}
	}()
	for {
		var status syscall.WaitStatus
		got, err := syscall.Wait4(-1, &status, 0, nil)
		switch {
		case errors.Is(err, syscall.EINTR):
		case err != nil:
			complain("%v", err)
			return 1
		case got == pid && status.Exited():
			return status.ExitStatus()
		case got == pid && status.Signaled():
			complain("the tests were ended by signal %s", status.Signal())
			return 1
		}
	}
}

// furnish gives the namespaces a /proc, a /run of their own (the engine's
// runtime keeps sockets there) and a loopback.
func furnish() error {
	if err := unix.Mount("", "/", "", unix.MS_REC|unix.MS_PRIVATE, ""); err != nil {
		return fmt.Errorf("make mounts private: %w", err)
	}
	if err := unix.Mount("proc", "/proc", "proc", unix.MS_NOSUID|unix.MS_NODEV|unix.MS_NOEXEC, ""); err != nil {
		return fmt.Errorf("mount /proc: %w", err)
	}
	if err := unix.Mount("tmpfs", "/run", "tmpfs", unix.MS_NOSUID|unix.MS_NODEV, "mode=0755"); err != nil {
		return fmt.Errorf("mount /run: %w", err)
	}
	for _, dir := range []string{"/run/sshd", "/run/netns", "/run/lock"} {
		if err := os.MkdirAll(dir, 0o755); err != nil { //nolint:gosec // as a machine has them
			return err
		}
	}
	return ip("link", "set", "lo", "up")
}

func ip(args ...string) error {
	path, err := lookPath("ip")
	if err != nil {
		return err
	}
	out, err := exec.Command(path, args...).CombinedOutput() //nolint:noctx // ends by itself
	if err != nil {
		return fmt.Errorf("ip %s: %w: %s", strings.Join(args, " "), err, out)
	}
	return nil
}

// lockDir marks a directory as used for as long as this process lives.
func lockDir(dir string) (*os.File, error) {
	f, err := os.OpenFile(filepath.Join(dir, "lock"), os.O_CREATE|os.O_RDWR, 0o600)
	if err != nil {
		return nil, err
	}
	if err := unix.Flock(int(f.Fd()), unix.LOCK_EX|unix.LOCK_NB); err != nil {
		return nil, errors.Join(err, f.Close())
	}
	return f, nil
}

// clearLeftovers removes the directories of test binaries that were killed. Their
// processes and mounts are gone: they went with the namespaces.
func clearLeftovers() {
	dirs, err := filepath.Glob(filepath.Join(os.TempDir(), prefix+"*"))
	if err != nil {
		return
	}
	for _, dir := range dirs {
		info, err := os.Stat(dir)
		if err != nil || time.Since(info.ModTime()) < time.Minute {
			continue // one that is just being made has no lock yet
		}
		if lock, err := lockDir(dir); err == nil {
			removeDir(dir)
			_ = lock.Close()
		}
	}
}

// removeDir removes the directory of a test binary and the control groups that
// its containers were in.
func removeDir(dir string) {
	groups, _ := filepath.Glob(filepath.Join("/sys/fs/cgroup/*", filepath.Base(dir)))
	for _, group := range append(groups, filepath.Join("/sys/fs/cgroup", filepath.Base(dir))) {
		removeGroup(group)
	}
	if err := os.RemoveAll(dir); err != nil {
		complain("%v", err)
	}
}

// removeGroup removes a control group with those below it: a directory whose
// files can not be removed and need not be.
func removeGroup(group string) {
	entries, err := os.ReadDir(group)
	if err != nil {
		return
	}
	for _, e := range entries {
		if e.IsDir() {
			removeGroup(filepath.Join(group, e.Name()))
		}
	}
	_ = unix.Rmdir(group)
}
