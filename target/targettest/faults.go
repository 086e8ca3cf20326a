package targettest

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/stella-ops/stella"
	"github.com/stella-ops/stella/reconciler"
)

// stickerTruth has an order whose second action can not succeed.
func (s *suite) stickerTruth() {
	first := s.deploy(s.f.Target, s.f.Service("api", "1"))
	want := state(s.f.Service("api", "2"))
	ghost := s.f.Service("ghost", "1")
	o := s.order(want, []stella.Action{{Op: stella.OpUpdate, Resource: want.Resources[0]}, {Op: stella.OpCreate, Resource: ghost}})
	if err := s.f.Target.Apply(s.Context(), o, nil); err == nil {
		s.Fatal("an action on what is not desired succeeded")
	}
	s.checkSticker(s.f.Target, &first.Sticker)
}

// faults lets every effect of an upgrade fail, twice: once it did not happen,
// once it did. Whatever was left, the next pass must get there.
func (s *suite) faults() {
	if s.f.Faulty == nil {
		return
	}
	s.deploy(s.f.Target, s.before()...)
	clean, effects := s.f.Faulty(s.T, 0, false)
	s.deploy(clean, s.after()...)
	if effects() == 0 {
		s.Fatal("an upgrade without effects")
	}
	for n := 1; n <= effects(); n++ {
		for _, persist := range []bool{false, true} {
			s.Run(fmt.Sprintf("effect %d, persist %v", n, persist), func(t *testing.T) {
				t.Parallel()
				one := &suite{T: t, f: s.fresh(t), fresh: s.fresh, seen: 100}
				one.fault(n, persist)
			})
		}
	}
}

// before and after are what the upgrade starts from and leads to: one service
// goes, one changes. One that comes takes the same steps but the first.
func (s *suite) before() []stella.Resource {
	return []stella.Resource{s.f.Service("api", "1"), s.f.Service("web", "1")}
}

func (s *suite) after() []stella.Resource {
	return []stella.Resource{s.f.Service("web", "2")}
}

// fault lets the n-th effect of an upgrade fail.
func (s *suite) fault(n int, persist bool) {
	first := s.deploy(s.f.Target, s.before()...)
	want := state(s.after()...)
	faulty, _ := s.f.Faulty(s.T, n, persist)
	o, err := s.try(s.Context(), faulty, want)
	if err == nil {
		s.Fatal("an effect failed and nobody said so")
	}
	switch got := s.observe(s.f.Target).Observed.Sticker; {
	case got == nil:
		s.Errorf("after %v there is no sticker", err)
	case got.Deployment == o.Sticker.Deployment:
		s.settle(s.f.Target, want) // it may say so only when it is so
	case got.Deployment != first.Sticker.Deployment:
		s.Errorf("after %v the sticker says %+v", err, got)
	}
	last := s.deploy(s.f.Reopen(s.T), want.Resources...)
	s.checkSticker(s.f.Target, &last.Sticker)
	if actions := plan(want, s.observe(s.f.Target)); len(actions) != 0 {
		s.Errorf("there is something left to do: %+v", actions)
	}
}

func (s *suite) stop() {
	st, ok := s.f.Target.(reconciler.Stopper)
	if !ok {
		return
	}
	want := state(s.f.Service("api", "1"), s.f.Service("web", "1"))
	o := s.deploy(s.f.Target, want.Resources...)
	s.seen++
	for range 2 {
		if err := st.Stop(s.Context(), s.seen); err != nil {
			s.Fatal(err)
		}
	}
	live := s.observe(s.f.Target)
	for _, name := range []string{"api", "web"} {
		if c := component(live, name); c.State == stella.RunRunning || c.State == stella.RunStarting {
			s.Errorf("after stop: %+v", c)
		}
	}
	if actions := plan(want, live); len(actions) != 2 {
		s.Errorf("plan %+v, want both to be created", actions)
	}
	s.checkSticker(s.f.Target, &o.Sticker)
	s.deploy(s.f.Target, want.Resources...)
}

func (s *suite) remove() {
	st, ok := s.f.Target.(reconciler.Stopper)
	if !ok {
		return
	}
	web := s.f.Service("web", "1")
	o := s.deploy(s.f.Target, web)
	s.seen++
	for range 2 {
		if err := st.Remove(s.Context(), s.seen); err != nil {
			s.Fatal(err)
		}
	}
	live := s.observe(s.f.Reopen(s.T))
	if len(live.Resources) != 0 || len(live.Observed.Components) != 0 || live.Observed.Sticker != nil {
		s.Errorf("after remove: %+v, sticker %+v", live, live.Observed.Sticker)
	}
	s.fenced("apply after remove", s.f.Target.Apply(s.Context(), o, nil))
	s.deploy(s.f.Target, web)
}

func (s *suite) exec() {
	e, ok := s.f.Target.(reconciler.Executor)
	if !ok {
		return
	}
	if _, err := e.Exec(s.Context(), "web", s.f.Say("x")); err == nil {
		s.Error("a command ran in a component that does not")
	}
	s.deploy(s.f.Target, s.f.Service("web", "1"))
	out, err := e.Exec(s.Context(), "web", s.f.Say("hello; $HOME `id`"))
	if err != nil || strings.TrimSpace(out) != "hello; $HOME `id`" {
		s.Errorf("got %q, %v", out, err)
	}
	if _, err := e.Exec(s.Context(), "web", []string{"/there/is/no/such/program"}); err == nil {
		s.Error("a command that does not exist succeeded")
	}
	ctx, cancel := context.WithCancelCause(s.Context())
	cancel(errors.New("enough"))
	if _, err := e.Exec(ctx, "web", s.f.Say("x")); err == nil {
		s.Error("a command ran after its context had ended")
	}
	s.f.Kill(s.T, "web")
	if _, err := e.Exec(s.Context(), "web", s.f.Say("x")); err == nil {
		s.Error("a command ran beside a dead process")
	}
}

func (s *suite) logs() {
	l, ok := s.f.Target.(reconciler.Logger)
	if !ok {
		return
	}
	s.deploy(s.f.Target, s.f.Service("web", "1"))
	deadline := time.After(patience)
	for {
		out, err := l.Logs(s.Context(), "web", 1<<16)
		if err != nil {
			s.Fatal(err)
		}
		if strings.Contains(string(out), s.f.Output) {
			break
		}
		select {
		case <-deadline:
			s.Fatalf("the log has %q, want %q in it", out, s.f.Output)
		case <-time.After(20 * time.Millisecond):
		}
	}
	short, err := l.Logs(s.Context(), "web", 4)
	if err != nil || len(short) > 4 {
		s.Errorf("4 bytes of log are %q, %v", short, err)
	}
	if _, err := l.Logs(s.Context(), "never", 100); err == nil {
		s.Error("a component that never was has a log")
	}
}
