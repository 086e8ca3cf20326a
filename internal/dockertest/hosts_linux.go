package dockertest

import (
	"errors"
	"fmt"
	"io"
	"net"
	"runtime"
	"strings"
	"sync"
	"testing"

	"golang.org/x/sys/unix"
)

// Engines starts n engines, each on a host of its own: a network namespace that
// the test's is connected with, so that what web-1 publishes is not on web-2.
// Their Address is 10.99.N.2; all of them pull from the registry by the same
// name. They end with the test.
func Engines(t testing.TB, n int) []*Daemon {
	t.Helper()
	need(t)
	registry := Registry(t)
	suite.mu.Lock()
	first := suite.hosts
	suite.hosts += n
	suite.mu.Unlock()
	daemons, errs := make([]*Daemon, n), make([]error, n)
	var starting sync.WaitGroup
	for i := range n {
		starting.Go(func() { daemons[i], errs[i] = newHost(t, first+i+1, registry) })
	}
	starting.Wait()
	if err := errors.Join(errs...); err != nil {
		t.Fatal(err)
	}
	return daemons
}

// newHost makes the host of a number from 1 to 255.
func newHost(t testing.TB, number int, registry string) (*Daemon, error) {
	t.Helper()
	name := fmt.Sprintf("h%d", number)
	if err := wire(name, number); err != nil {
		return nil, err
	}
	l, err := listenIn(name, registry)
	if err != nil {
		return nil, err
	}
	go forward(l, registry)
	d, err := newDaemon(name, name, fmt.Sprintf("10.99.%d.2", number))
	t.Cleanup(func() {
		_ = l.Close()
		if err := errors.Join(d.destroy(), ip("netns", "delete", name)); err != nil {
			t.Error(err)
		}
	})
	return d, err
}

// wire makes a network namespace and connects it.
func wire(name string, number int) error {
	for _, line := range []string{
		"netns add " + name,
		fmt.Sprintf("link add %s type veth peer name eth0 netns %s", name, name),
		fmt.Sprintf("addr add 10.99.%d.1/24 dev %s", number, name),
		fmt.Sprintf("link set %s up", name),
		fmt.Sprintf("-n %s addr add 10.99.%d.2/24 dev eth0", name, number),
		fmt.Sprintf("-n %s link set eth0 up", name),
		fmt.Sprintf("-n %s link set lo up", name),
		fmt.Sprintf("-n %s route add default via 10.99.%d.1", name, number),
	} {
		if err := ip(strings.Fields(line)...); err != nil {
			return err
		}
	}
	return nil
}

// listenIn listens in another network namespace. A socket stays in the one where
// it was made.
func listenIn(netns, address string) (net.Listener, error) {
	var l net.Listener
	var err error
	done := make(chan struct{})
	go func() {
		defer close(done)
		// Never unlocked: a thread that was in another namespace ends with its goroutine.
		runtime.LockOSThread()
		fd, e := unix.Open("/run/netns/"+netns, unix.O_RDONLY|unix.O_CLOEXEC, 0)
		if e != nil {
			err = e
			return
		}
		defer func() { _ = unix.Close(fd) }()
		if err = unix.Setns(fd, unix.CLONE_NEWNET); err == nil {
			l, err = net.Listen("tcp", address) //nolint:noctx // at once
		}
	}()
	<-done
	return l, err
}

// forward connects whoever comes with an address of the test's own loopback.
func forward(l net.Listener, address string) {
	for {
		conn, err := l.Accept()
		if err != nil {
			return
		}
		go func() {
			defer func() { _ = conn.Close() }()
			to, err := net.Dial("tcp", address) //nolint:noctx // loopback
			if err != nil {
				return
			}
			defer func() { _ = to.Close() }()
			go func() {
				_, _ = io.Copy(to, conn)
				_ = to.Close()
			}()
			_, _ = io.Copy(conn, to)
		}()
	}
}
