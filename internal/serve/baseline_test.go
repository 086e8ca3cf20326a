package serve

import (
	"bytes"
	"context"
	"errors"
	"log/slog"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stella-ops/stella"
	"github.com/stella-ops/stella/reconciler"
)

func (b *branch) CheckBaselines(context.Context) ([]reconciler.AutomaticBaseline, error) {
	if b.due == nil {
		return nil, nil
	}
	return b.due()
}

// shared is a writer of several goroutines.
type shared struct {
	mu sync.Mutex
	b  bytes.Buffer
}

func (s *shared) Write(p []byte) (int, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.b.Write(p)
}

func (s *shared) text() string {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.b.String()
}

func (s *shared) count(what string) int { return strings.Count(s.text(), what) }

// TestDueBaselinesAreLookedForWithEachPoll, a panic or an error ends no look but
// its own, and what stays the same is told once.
func TestDueBaselinesAreLookedForWithEachPoll(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var looked atomic.Int64
		b := &branch{keys: map[stella.EnvName]string{"prod": "1"}, answer: synced, weigh: readyNow}
		b.due = func() ([]reconciler.AutomaticBaseline, error) {
			a := reconciler.AutomaticBaseline{Environment: "prod", Deployment: "prod-1"}
			switch looks := looked.Add(1); {
			case looks == 1:
				panic("index out of range")
			case looks == 2:
				return nil, errors.New("nobody answers")
			case looks < 6:
				a.Blockers = []reconciler.Finding{{Code: "unhealthy", Message: "web is sick"}}
			case looks == 6:
				a.Captured = &reconciler.BaselineFile{Reason: "healthy"}
			}
			return []reconciler.AutomaticBaseline{a}, nil
		}
		out := &shared{}
		stop := runWith(t, b, Config{Poll: time.Minute, Logger: slog.New(slog.NewTextHandler(out, nil))})
		defer stop()
		time.Sleep(10 * time.Minute) // simulated
		if looks := looked.Load(); looks < 9 || looks > 11 {
			t.Errorf("%d looks in ten minutes", looks)
		}
		for what, times := range map[string]int{"index out of range": 1, "nobody answers": 1, "begins anew": 1, "captured the baseline": 1} {
			if n := out.count(what); n < times || n > times+1 {
				t.Errorf("%q was told %d times:\n%s", what, n, out.text())
			}
		}
	})
}
