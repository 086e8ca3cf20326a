package engine_test

import (
	"context"
	"errors"
	"net"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/moby/moby/client"

	"github.com/stella-ops/stella"
	"github.com/stella-ops/stella/internal/dockertest"
	"github.com/stella-ops/stella/internal/engine"
)

func TestMain(m *testing.M) { os.Exit(dockertest.Main(m)) }

// pool is one that ends with the test.
func pool(t *testing.T, c engine.Config) *engine.Pool {
	t.Helper()
	if c.Getenv == nil {
		c.Getenv = func(string) string { return "" }
	}
	p := engine.NewPool(c)
	t.Cleanup(func() {
		if err := p.Close(); err != nil {
			t.Error(err)
		}
	})
	return p
}

// answers demands that an engine is there and says who it is.
func answers(t *testing.T, p *engine.Pool, a engine.Address) string {
	t.Helper()
	c, err := p.Open(t.Context(), a)
	if err != nil {
		t.Fatalf("%v (%s)", err, stella.Hint(err))
	}
	info, err := c.Info(t.Context(), client.InfoOptions{})
	if err != nil {
		t.Fatal(err)
	}
	return info.Info.ID
}

// fails demands an error of a class with words in it and in its hint.
func fails(t *testing.T, p *engine.Pool, a engine.Address, class error, words, hint string) {
	t.Helper()
	_, err := p.Open(t.Context(), a)
	if !errors.Is(err, class) || !strings.Contains(err.Error(), words) || !strings.Contains(stella.Hint(err), hint) {
		t.Errorf("%s: %v (hint %q), want %v with %q (hint %q)", a, err, stella.Hint(err), class, words, hint)
	}
	if err != nil && !strings.Contains(err.Error(), a.String()) {
		t.Errorf("the error does not name %s: %v", a, err)
	}
}

func TestASocketHasOneClient(t *testing.T) {
	t.Parallel()
	d := dockertest.Engine(t)
	p := pool(t, engine.Config{})
	a := engine.Address{Host: "unix://" + d.Socket}
	if answers(t, p, a) == "" {
		t.Error("the engine has no identity")
	}
	first, err := p.Open(t.Context(), a)
	if err != nil {
		t.Fatal(err)
	}
	if second, err := p.Open(t.Context(), a); err != nil || first != second {
		t.Errorf("the second client is another one: %v", err)
	}
	if first.ClientVersion() == client.MaxAPIVersion {
		t.Skip("this engine speaks the newest version: there is nothing to agree on")
	}
}

func TestASocketThatIsNotThere(t *testing.T) {
	t.Parallel()
	p := pool(t, engine.Config{})
	dir := t.TempDir()
	fails(t, p, engine.Address{Host: "unix://" + dir + "/none.sock"}, stella.ErrUnreachable, "there is no socket "+dir+"/none.sock", "systemctl start docker")
	l, err := net.ListenUnix("unix", &net.UnixAddr{Name: filepath.Join(dir, "left.sock"), Net: "unix"})
	if err != nil {
		t.Fatal(err)
	}
	l.SetUnlinkOnClose(false)
	_ = l.Close()
	fails(t, p, engine.Address{Host: "unix://" + dir + "/left.sock"}, stella.ErrUnreachable, "nothing listens at the socket", "systemctl start docker")
}

func TestAnEngineThatGoesAndComesBack(t *testing.T) {
	t.Parallel()
	d := dockertest.Engines(t, 1)[0]
	p := pool(t, engine.Config{})
	a := engine.Address{Host: "unix://" + d.Socket}
	id := answers(t, p, a)
	c, err := p.Open(t.Context(), a)
	if err != nil {
		t.Fatal(err)
	}
	d.Stop(t)
	fails(t, p, a, stella.ErrUnreachable, "socket", "systemctl start docker")
	if _, err := c.Info(t.Context(), client.InfoOptions{}); !errors.Is(err, stella.ErrUnreachable) {
		t.Errorf("a call without an engine: %v, want %v", err, stella.ErrUnreachable)
	}
	d.Start(t)
	if again := answers(t, p, a); again != id {
		t.Errorf("the engine was %s and is %s", id, again)
	}
	d.Pause(t)
	defer d.Resume(t)
	ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
	defer cancel()
	if _, err := p.Open(ctx, a); !errors.Is(err, stella.ErrUnreachable) || !strings.Contains(err.Error(), "does not answer") {
		t.Errorf("an engine that hangs: %v", err)
	}
	if ctx.Err() != nil {
		t.Error("an engine that hangs made us hang")
	}
}

func TestAddressesThatCanNotBe(t *testing.T) {
	t.Parallel()
	p := pool(t, engine.Config{})
	fails(t, p, engine.Address{Host: "tcp://127.0.0.1:2375"}, stella.ErrInvalid, "plain tcp is refused", "ssh://")
	fails(t, p, engine.Address{Host: "ftp://127.0.0.1"}, stella.ErrInvalid, "no such kind of address", "unix://")
	fails(t, p, engine.Address{Host: "tcp://127.0.0.1:2376", TLS: "/nonexistent/tls"}, stella.ErrInvalid, "/nonexistent/tls", "ca.pem")
	fails(t, p, engine.Address{Context: "none"}, stella.ErrInvalid, "nobody says", "DOCKER_CONFIG")
}

// TestAnEngineThatIsTooOld needs one that can not be had any more: its answer is
// all that counts.
func TestAnEngineThatIsTooOld(t *testing.T) {
	t.Parallel()
	socket := filepath.Join(t.TempDir(), "old.sock")
	l, err := net.Listen("unix", socket)
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = l.Close() }()
	go func() {
		for {
			conn, err := l.Accept()
			if err != nil {
				return
			}
			_, _ = conn.Write([]byte("HTTP/1.1 200 OK\r\nApi-Version: 1.39\r\nContent-Length: 0\r\n\r\n"))
		}
	}()
	fails(t, pool(t, engine.Config{}), engine.Address{Host: "unix://" + socket}, stella.ErrUnsupported, "speaks version 1.39", "Docker Engine 20.10")
}
