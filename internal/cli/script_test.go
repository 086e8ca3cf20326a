package cli

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"net/http/httptest"
	"net/url"
	"os"
	"os/exec"
	"os/signal"
	"path/filepath"
	"regexp"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/rogpeppe/go-internal/testscript"

	"github.com/stella-ops/stella/artifact"
	"github.com/stella-ops/stella/internal/registry"
	"github.com/stella-ops/stella/internal/sampleapp"
)

// TestMain makes the test binary the stella program as well: scripts run it,
// and host targets run it again as their supervisor.
func TestMain(m *testing.M) {
	if IsShim(os.Args[1:]) {
		os.Exit(Main(context.Background(), mainProcess()))
	}
	testscript.Main(m, map[string]func(){"stella": func() { os.Exit(stellaMain()) }})
}

// stellaMain is what cmd/stella does.
func stellaMain() int {
	ctx, cancel := context.WithCancelCause(context.Background())
	defer cancel(nil)
	signals := make(chan os.Signal, 1)
	signal.Notify(signals, os.Interrupt, syscall.SIGTERM)
	signal.Notify(make(chan os.Signal, 1), syscall.SIGPIPE)
	go func() {
		<-signals
		cancel(ErrInterrupted)
	}()
	return Main(ctx, mainProcess())
}

func mainProcess() Process {
	return Process{
		Args: os.Args[1:], Stdin: os.Stdin, Stdout: os.Stdout, Stderr: os.Stderr,
		Getenv: os.Getenv, Getwd: os.Getwd, Executable: os.Executable, Now: time.Now, Version: "0.1.0",
	}
}

// TestScripts runs the scripts that need nothing but stella.
func TestScripts(t *testing.T) {
	testscript.Run(t, testscript.Params{
		Dir: filepath.Join("testdata", "script"), Cmds: commands(), RequireUniqueNames: true, RequireExplicitExec: true,
		UpdateScripts: *update,
	})
}

// TestScriptsOnTargets runs the scripts that deploy: a real registry, a real
// Git and processes that run.
func TestScriptsOnTargets(t *testing.T) {
	shop := openShop(t)
	testscript.Run(t, testscript.Params{
		Dir: filepath.Join("testdata", "targets"), Cmds: commands(), RequireUniqueNames: true, RequireExplicitExec: true,
		UpdateScripts: *update, Setup: shop.setup,
	})
}

func commands() map[string]func(*testscript.TestScript, bool, []string) {
	return map[string]func(*testscript.TestScript, bool, []string){"exits": cmdExits, "expand": cmdExpand, "eventually": cmdEventually}
}

// cmdExits runs a command and checks its exit status:
//
//	exits 5 stella rollback production
func cmdExits(ts *testscript.TestScript, neg bool, args []string) {
	if neg || len(args) < 2 {
		ts.Fatalf("usage: exits STATUS COMMAND [ARG...]")
	}
	want, err := strconv.Atoi(args[0])
	ts.Check(err)
	got := 0
	if err := ts.Exec(args[1], args[2:]...); err != nil {
		var exit *exec.ExitError
		if !errors.As(err, &exit) {
			ts.Fatalf("%v", err)
		}
		got = exit.ExitCode()
	}
	if got != want {
		ts.Fatalf("exit status %d, want %d", got, want)
	}
}

// cmdExpand replaces ${NAME} in files by the script's environment.
func cmdExpand(ts *testscript.TestScript, _ bool, files []string) {
	for _, file := range files {
		ts.Check(os.WriteFile(ts.MkAbs(file), []byte(os.Expand(ts.ReadFile(file), ts.Getenv)), 0o644))
	}
}

// cmdEventually runs a command until it exits with 0 and prints what it is
// looked for:
//
//	eventually PATTERN stella orch deployments list production
func cmdEventually(ts *testscript.TestScript, neg bool, args []string) {
	if neg || len(args) < 2 {
		ts.Fatalf("usage: eventually PATTERN COMMAND [ARG...]")
	}
	pattern, err := regexp.Compile("(?m)" + args[0])
	ts.Check(err)
	deadline := time.After(patience)
	for {
		if err := ts.Exec(args[1], args[2:]...); err == nil && pattern.MatchString(ts.ReadFile("stdout")) {
			return
		}
		select {
		case <-deadline:
			ts.Fatalf("not within %s: %s", patience, pattern)
		case <-time.After(100 * time.Millisecond):
		}
	}
}

// patience is how long something is waited for that takes a second.
const patience = 30 * time.Second

// shop is a registry with the sample application in three versions; the third
// one starts and is not healthy.
type shop struct{ host string }

func openShop(t *testing.T) *shop {
	t.Helper()
	app := buildApp(t)
	handler, err := registry.New(t.TempDir(), slog.New(slog.DiscardHandler))
	if err != nil {
		t.Fatal(err)
	}
	server := httptest.NewServer(handler)
	t.Cleanup(server.Close)
	u, err := url.Parse(server.URL)
	if err != nil {
		t.Fatal(err)
	}
	for version, fault := range map[string]string{"1.0.0": "", "1.1.0": "", "1.2.0": "unhealthy"} {
		_, err := registry.Push(t.Context(), u.Host, "shop/web", version, registry.Build{
			Layers: [][]registry.File{{{Name: "app", Content: app}}},
			Config: artifact.ImageConfig{
				Entrypoint: []string{"/app"}, Env: []string{sampleapp.EnvVersion + "=" + version, sampleapp.EnvFault + "=" + fault},
			},
		})
		if err != nil {
			t.Fatal(err)
		}
	}
	return &shop{host: u.Host}
}

// buildApp builds the sample application, static so that it runs in a root of
// its own.
func buildApp(t *testing.T) []byte {
	t.Helper()
	file := filepath.Join(t.TempDir(), "app")
	build := exec.CommandContext(t.Context(), "go", "build", "-ldflags=-s -w", "-o", file, "./testdata/app")
	build.Env = append(os.Environ(), "CGO_ENABLED=0")
	if out, err := build.CombinedOutput(); err != nil {
		t.Fatalf("build the sample application: %v\n%s", err, out)
	}
	app, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	return app
}

// setup gives each script ports of its own, a place for targets, and the files
// of a config repository with its digests, pushed to config.git.
func (s *shop) setup(env *testscript.Env) error {
	ports := freePorts(2)
	hosts, err := os.MkdirTemp("", "stella-hosts-*") // short: sockets and other users look below it
	if err != nil {
		return err
	}
	if err := os.Chmod(hosts, 0o755); err != nil {
		return err
	}
	env.Defer(func() { _ = os.RemoveAll(hosts) }) // supervisors end when their root is gone
	env.Vars = append(env.Vars,
		"REGISTRY="+s.host, "PORT1="+ports[0], "PORT2="+ports[1], "HOSTS="+hosts, "STELLA_HOST_ROOTS="+hosts,
		"STELLA_STATE="+filepath.Join(env.WorkDir, "state"), "HOME="+env.WorkDir, "STELLA_REPO="+filepath.Join(env.WorkDir, "config.git"),
		"GIT_AUTHOR_NAME=Ana", "GIT_AUTHOR_EMAIL=ana@example.com", "GIT_COMMITTER_NAME=Ana", "GIT_COMMITTER_EMAIL=ana@example.com",
		"GIT_CONFIG_NOSYSTEM=1", "DOLLAR=$",
	)
	return nil
}

// ports are taken by listening and letting go; no two scripts of one run get
// the same.
var ports struct {
	sync.Mutex
	given map[string]bool
}

func freePorts(n int) []string {
	ports.Lock()
	defer ports.Unlock()
	if ports.given == nil {
		ports.given = map[string]bool{}
	}
	var found []string
	for len(found) < n {
		l, err := net.Listen("tcp", "127.0.0.1:0")
		if err != nil {
			panic(fmt.Sprintf("no free port: %v", err))
		}
		_, port, _ := strings.Cut(l.Addr().String(), ":")
		_ = l.Close()
		if !ports.given[port] {
			ports.given[port] = true
			found = append(found, port)
		}
	}
	return found
}
