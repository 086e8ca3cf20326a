package reconciler

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"strings"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stella-ops/stella"
	"github.com/stella-ops/stella/configrepo"
)

// quay has targets that can be watched, but for those that hang.
type quay struct {
	watched atomic.Int32
	release chan struct{} // ends what hangs
}

func (q *quay) Open(_ context.Context, spec TargetSpec) (Target, error) {
	if spec.Target.Name == "hangs when opened" {
		<-q.release
	}
	return &berth{quay: q, hangs: spec.Target.Name == "hangs when watched"}, nil
}

type berth struct {
	Target

	quay  *quay
	hangs bool
}

func (b *berth) Watch(ctx context.Context, changed func()) error {
	if b.hangs {
		<-b.quay.release
	}
	b.quay.watched.Add(1)
	context.AfterFunc(ctx, changed)
	return nil
}

func TestATargetThatHangsKeepsNoOtherFromBeingWatched(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		q := &quay{release: make(chan struct{})}
		e := &Engine{cfg: Config{Targets: q, Logger: slog.New(slog.DiscardHandler)}}
		env := &configrepo.Environment{Name: "prod"}
		specs := []TargetSpec{
			{Environment: env, Target: configrepo.Target{Name: "hangs when opened"}},
			{Environment: env, Target: configrepo.Target{Name: "hangs when watched"}},
		}
		for i := range 2 * maxParallel {
			specs = append(specs, TargetSpec{Environment: env, Target: configrepo.Target{Name: fmt.Sprint(i)}})
		}
		ctx, cancel := context.WithCancel(t.Context())
		var told atomic.Int32
		began := time.Now()
		err := e.watchTargets(ctx, specs, func() { told.Add(1) })
		if took := time.Since(began); took != observeTimeout {
			t.Errorf("it took %s, want %s: what hangs is waited for at once, and not for ever", took, observeTimeout)
		}
		if q.watched.Load() != 2*maxParallel {
			t.Errorf("%d are watched, want %d", q.watched.Load(), 2*maxParallel)
		}
		for _, name := range []string{"hangs when opened", "hangs when watched"} {
			if err == nil || !errors.Is(err, stella.ErrUnreachable) || !strings.Contains(err.Error(), "watch "+name+" of prod: no answer for 30s") {
				t.Errorf("%s: %v", name, err)
			}
		}
		if synctest.Wait(); told.Load() != 0 {
			t.Error("the watches ended with their begin")
		}
		cancel()
		if synctest.Wait(); told.Load() != 2*maxParallel {
			t.Errorf("%d watches ended with their context", told.Load())
		}
		close(q.release)
	})
}
