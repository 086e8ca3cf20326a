package dockertest

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/moby/moby/client"
	"golang.org/x/sys/unix"
)

// patience bounds what takes a second: the machine may be busy with other tests.
const patience = 2 * time.Minute

// suite is what the tests of one binary share.
var suite struct { //nolint:gochecknoglobals // one engine and one registry per test process
	dir     string // "" outside of the namespaces
	missing error  // why there is no engine; nil when Main was not called

	mu       sync.Mutex // guards what is below
	engine   *Daemon
	registry string // host:port
	hosts    int    // how many engines Engines made
}

// Daemon is a running container engine: a host.
type Daemon struct {
	Client  *client.Client
	Socket  string // path of its unix socket
	Address string // where its published ports are reached from the test

	dir     string   // holds everything of it
	netns   string   // name of its network namespace; "" is the test's
	args    []string // more options of the engine
	process *os.Process
	ended   chan struct{} // closed when the process has ended
}

// Engine returns the engine that the tests of this binary share; the first call
// starts it. Tests tell their containers apart by project or name. A test that
// stops or restarts it must not run in parallel with others.
func Engine(t testing.TB) *Daemon {
	t.Helper()
	need(t)
	suite.mu.Lock()
	defer suite.mu.Unlock()
	if suite.engine == nil {
		d, err := newDaemon("e0", "", "127.0.0.1")
		if err != nil {
			t.Fatal(err)
		}
		suite.engine = d
	}
	return suite.engine
}

// need skips or fails the test where no engine can be had.
func need(t testing.TB) {
	t.Helper()
	switch {
	case suite.dir != "":
	case suite.missing != nil:
		t.Skipf("SKIPPED, no container engine: %v", suite.missing)
	default:
		t.Fatal("TestMain does not call dockertest.Main")
	}
}

// newDaemon starts an engine. Its name is that of its directory, which is short:
// a socket's path is at most 107 bytes long.
func newDaemon(name, netns, address string, args ...string) (*Daemon, error) {
	d := &Daemon{dir: filepath.Join(suite.dir, name), netns: netns, Address: address, args: args}
	d.Socket = filepath.Join(d.dir, "d.sock")
	if err := os.MkdirAll(d.dir, 0o711); err != nil { //nolint:gosec // users of containers go through it
		return d, err
	}
	options, err := configuration(d.dir)
	if err != nil {
		return d, err
	}
	if err := os.WriteFile(filepath.Join(d.dir, "daemon.json"), options, 0o600); err != nil {
		return d, err
	}
	c, err := client.New(client.WithHost("unix://" + d.Socket))
	if err != nil {
		return d, err
	}
	d.Client = c
	return d, d.start()
}

// start starts the engine's process and waits until it answers.
func (d *Daemon) start() error {
	cmd, err := d.command()
	if err != nil {
		return err
	}
	log, err := os.OpenFile(filepath.Join(d.dir, "log"), os.O_CREATE|os.O_APPEND|os.O_WRONLY, 0o600)
	if err != nil {
		return err
	}
	defer func() { _ = log.Close() }()
	cmd.Stdout, cmd.Stderr = log, log
	if err := cmd.Start(); err != nil {
		return err
	}
	ended := make(chan struct{})
	d.process, d.ended = cmd.Process, ended
	go func() {
		_ = cmd.Wait() // the log has more
		close(ended)
	}()
	return d.ready()
}

func (d *Daemon) command() (*exec.Cmd, error) {
	binary, err := lookPath("dockerd")
	if err != nil {
		return nil, err
	}
	args := append([]string{
		binary, "-H", "unix://" + d.Socket, "--config-file", filepath.Join(d.dir, "daemon.json"),
		"--data-root", filepath.Join(d.dir, "data"), "--exec-root", filepath.Join(d.dir, "exec"), "--pidfile", filepath.Join(d.dir, "d.pid"),
		"--cgroup-parent", d.group(), "--log-level", "warn",
	}, d.args...)
	if d.netns != "" {
		// Not `ip netns exec`, which hides the mounts of the control groups.
		args = append([]string{"nsenter", "--net=/run/netns/" + d.netns}, args...)
	}
	cmd := exec.Command(args[0], args[1:]...) //nolint:noctx // lives longer than a test
	// It finds containerd and its other helpers on the PATH.
	path, _ := os.LookupEnv("PATH")
	cmd.Env = []string{"PATH=" + path + ":/usr/sbin:/sbin", "HOME=" + d.dir}
	return cmd, nil
}

// group is the control group that the engine's containers are in.
func (d *Daemon) group() string {
	return "/" + filepath.Base(suite.dir) + "/" + filepath.Base(d.dir)
}

// configuration is the engine's file of options, which replaces the machine's. It
// gives the engine an identity of its own: the first versions kept it for the
// whole machine in /etc/docker/key.json.
func configuration(dir string) ([]byte, error) {
	binary, err := lookPath("dockerd")
	if err != nil {
		return nil, err
	}
	out, err := exec.Command(binary, "--version").Output() //nolint:noctx // ends by itself
	if err != nil {
		return nil, fmt.Errorf("%s --version: %w", binary, err)
	}
	m := regexp.MustCompile(`version v?([0-9]+)\.`).FindSubmatch(out)
	if m == nil {
		return []byte("{}"), nil
	}
	if major, err := strconv.Atoi(string(m[1])); err == nil && major < 23 {
		return fmt.Appendf(nil, "{%q: %q}", "deprecated-key-path", filepath.Join(dir, "key.json")), nil
	}
	return []byte("{}"), nil
}

func (d *Daemon) ready() error {
	ctx, cancel := context.WithTimeout(context.Background(), patience)
	defer cancel()
	for {
		_, err := d.Client.Ping(ctx, client.PingOptions{})
		if err == nil {
			return nil
		}
		select {
		case <-d.ended:
			return fmt.Errorf("the engine ended: %w\n%s", err, d.Log())
		case <-ctx.Done():
			return fmt.Errorf("the engine does not answer: %w\n%s", err, d.Log())
		case <-time.After(20 * time.Millisecond):
		}
	}
}

// Log returns the end of what the engine logged.
func (d *Daemon) Log() string {
	const most = 8 << 10
	log, err := os.ReadFile(filepath.Join(d.dir, "log"))
	if err != nil {
		return err.Error()
	}
	return string(log[max(0, len(log)-most):])
}

// Stop ends the engine and its containers, as shutting down a host does. Start
// starts it again.
func (d *Daemon) Stop(t testing.TB) {
	t.Helper()
	d.end(t, syscall.SIGTERM)
}

// Kill ends the engine alone; its containers run on. Start starts it again.
func (d *Daemon) Kill(t testing.TB) {
	t.Helper()
	d.end(t, syscall.SIGKILL)
}

func (d *Daemon) end(t testing.TB, s syscall.Signal) {
	t.Helper()
	if err := d.process.Signal(s); err != nil && !errors.Is(err, os.ErrProcessDone) {
		t.Fatal(err)
	}
	select {
	case <-d.ended:
	case <-time.After(patience):
		t.Fatalf("the engine does not end:\n%s", d.Log())
	}
}

// Start starts an engine that was stopped or killed and waits until it answers.
func (d *Daemon) Start(t testing.TB) {
	t.Helper()
	// The containerd of a killed engine ends on its own.
	deadline := time.Now().Add(patience)
	for len(d.processes("containerd")) > 0 {
		if time.Now().After(deadline) {
			t.Fatal("containerd of the engine that was killed does not end")
		}
		<-time.After(10 * time.Millisecond)
	}
	if err := d.start(); err != nil {
		t.Fatal(err)
	}
}

// Restart ends the engine with its containers and starts it again.
func (d *Daemon) Restart(t testing.TB) {
	t.Helper()
	d.Stop(t)
	d.Start(t)
}

// Pause lets the engine hang: connections are taken and nothing is answered, until
// Resume.
func (d *Daemon) Pause(t testing.TB) {
	t.Helper()
	if err := d.process.Signal(syscall.SIGSTOP); err != nil {
		t.Fatal(err)
	}
}

// Resume lets a paused engine go on.
func (d *Daemon) Resume(t testing.TB) {
	t.Helper()
	if err := d.process.Signal(syscall.SIGCONT); err != nil {
		t.Fatal(err)
	}
}

// processes are those of a program ("" is any) that were told of the engine's
// directory: engine, containerd and the containers' shims.
func (d *Daemon) processes(program string) []int {
	var pids []int
	all, _ := filepath.Glob("/proc/[0-9]*/cmdline")
	for _, file := range all {
		line, err := os.ReadFile(file)
		if err != nil || !bytes.Contains(line, []byte(d.dir+"/")) {
			continue
		}
		name, _, _ := strings.Cut(string(line), "\x00")
		if pid, err := strconv.Atoi(filepath.Base(filepath.Dir(file))); err == nil && (program == "" || filepath.Base(name) == program) {
			pids = append(pids, pid)
		}
	}
	return pids
}

// destroy ends the engine with everything on it, and waits for none of it.
func (d *Daemon) destroy() error {
	_ = d.Client.Close()
	deadline := time.Now().Add(patience)
	for {
		pids := append(d.processes(""), d.contained()...)
		if len(pids) == 0 {
			break
		}
		if time.Now().After(deadline) {
			return fmt.Errorf("processes %v of an engine do not end", pids)
		}
		for _, pid := range pids {
			_ = syscall.Kill(pid, syscall.SIGKILL) // it may have ended
		}
		<-time.After(10 * time.Millisecond)
	}
	d.unmount()
	return os.RemoveAll(d.dir)
}

// contained are the processes in the engine's containers.
func (d *Daemon) contained() []int {
	var pids []int
	for _, pattern := range []string{"/sys/fs/cgroup/pids" + d.group() + "/*/cgroup.procs", "/sys/fs/cgroup" + d.group() + "/*/cgroup.procs"} {
		files, _ := filepath.Glob(pattern)
		for _, file := range files {
			text, _ := os.ReadFile(file)
			for line := range strings.Lines(string(text)) {
				if pid, err := strconv.Atoi(strings.TrimSpace(line)); err == nil && pid > 0 {
					pids = append(pids, pid)
				}
			}
		}
	}
	return pids
}

// unmount detaches what is mounted in the engine's directory.
func (d *Daemon) unmount() {
	mounts, _ := os.ReadFile("/proc/self/mounts")
	for line := range strings.Lines(string(mounts)) {
		if f := strings.Fields(line); len(f) > 1 && strings.HasPrefix(f[1], d.dir+"/") {
			_ = unix.Unmount(f[1], unix.MNT_DETACH)
		}
	}
}

// Serve restarts the engine so that it listens on one more address, with more
// options, and returns it. What runs on it ends.
func (d *Daemon) Serve(t testing.TB, address string, args ...string) *Daemon {
	t.Helper()
	d.args = append(d.args, append([]string{"-H", address}, args...)...)
	d.Restart(t)
	return d
}
