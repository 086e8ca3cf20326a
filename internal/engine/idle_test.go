package engine_test

import (
	"net"
	"net/http"
	"net/http/httptest"
	"path/filepath"
	"sync"
	"sync/atomic"
	"testing"

	"github.com/moby/moby/client"

	"github.com/stella-ops/stella/internal/engine"
)

// TestConnectionsAreUsedAgain asks eight things at a time, as an observation does,
// three times over.
func TestConnectionsAreUsedAgain(t *testing.T) {
	t.Parallel()
	const atATime, rounds = 8, 3
	var opened atomic.Int64
	var together sync.WaitGroup
	s := httptest.NewUnstartedServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		w.Header().Set("Api-Version", "1.47")
		if r.URL.Path != "/_ping" {
			together.Done()
			together.Wait() // so that each has a connection of its own
		}
		_, _ = w.Write([]byte("{}"))
	}))
	s.Config.ConnState = func(_ net.Conn, state http.ConnState) {
		if state == http.StateNew {
			opened.Add(1)
		}
	}
	socket := filepath.Join(t.TempDir(), "s")
	l, err := net.Listen("unix", socket)
	if err != nil {
		t.Fatal(err)
	}
	s.Listener = l
	s.Start()
	t.Cleanup(s.Close)
	c, err := pool(t, engine.Config{}).Open(t.Context(), engine.Address{Host: "unix://" + socket})
	if err != nil {
		t.Fatal(err)
	}
	for range rounds {
		together.Add(atATime)
		var all sync.WaitGroup
		for range atATime {
			all.Go(func() {
				if _, err := c.Info(t.Context(), client.InfoOptions{}); err != nil {
					t.Error(err)
				}
			})
		}
		all.Wait()
	}
	if n := opened.Load(); n > atATime+1 {
		t.Errorf("%d connections for %d at a time", n, atATime)
	}
}
