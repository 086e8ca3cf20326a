package targettest

import (
	"errors"
	"fmt"
	"maps"
	"slices"
	"strings"

	"github.com/google/go-cmp/cmp"

	"github.com/stella-ops/stella"
	"github.com/stella-ops/stella/drift"
	"github.com/stella-ops/stella/reconciler"
)

func (s *suite) empty() {
	live := s.observe(s.f.Target)
	if len(live.Resources) != 0 || len(live.Observed.Components) != 0 || live.Observed.Fence != 0 {
		s.Errorf("an empty target has %+v", live)
	}
	s.checkSticker(s.f.Target, nil)
}

func (s *suite) applied() {
	o := s.deploy(s.f.Target, s.f.Service("api", "1"), s.f.Service("web", "2"))
	s.checkSticker(s.f.Target, &o.Sticker)
	live := s.observe(s.f.Reopen(s.T))
	if live.Observed.Fence != o.Fence {
		s.Errorf("fence %d, want %d", live.Observed.Fence, o.Fence)
	}
	if live.Observed.At.IsZero() {
		s.Error("an observation has no time")
	}
	var names []string
	for _, c := range live.Observed.Components {
		names = append(names, c.Name)
	}
	if diff := cmp.Diff([]string{"api", "web"}, names); diff != "" {
		s.Errorf("components (-want +got)\n%s", diff)
	}
}

func (s *suite) reported() {
	want := state(s.f.Service("api", "1"), s.f.Service("web", "1"))
	o := s.order(want, plan(want, s.observe(s.f.Target)))
	s.prepareFor(s.f.Target, o)
	var got []string
	err := s.f.Target.Apply(s.Context(), o, func(a stella.Action, err error) {
		got = append(got, fmt.Sprint(a.Op, " ", a.Resource.ID, " ", err))
	})
	if err != nil {
		s.Fatal(err)
	}
	if diff := cmp.Diff([]string{"create service/api <nil>", "create service/web <nil>"}, got); diff != "" {
		s.Errorf("reports (-want +got)\n%s", diff)
	}
}

func (s *suite) prepareFor(t reconciler.Target, o stella.Order) {
	s.Helper()
	if p, ok := t.(reconciler.Preparer); ok {
		if err := p.Prepare(s.Context(), o.Desired, o.Fence); err != nil {
			s.Fatalf("prepare: %v", err)
		}
	}
}

func (s *suite) idempotent() {
	web := s.f.Service("web", "1")
	s.deploy(s.f.Target, web)
	before := component(s.observe(s.f.Target), "web")
	for _, op := range []stella.Op{stella.OpCreate, stella.OpUpdate} {
		o := s.order(state(web), []stella.Action{{Op: op, Resource: web}})
		if err := s.f.Reopen(s.T).Apply(s.Context(), o, nil); err != nil {
			s.Fatalf("%s again: %v", op, err)
		}
		s.sameProcess(s.f.Target, "web", before)
		s.checkSticker(s.f.Target, &o.Sticker)
	}
	gone := s.order(state(web), []stella.Action{{Op: stella.OpRemove, Resource: stella.Resource{ID: "service/never"}}})
	if err := s.f.Target.Apply(s.Context(), gone, nil); err != nil {
		s.Errorf("remove what is not there: %v", err)
	}
}

func (s *suite) stickerOnly() {
	web := s.f.Service("web", "1")
	s.deploy(s.f.Target, web)
	before := component(s.observe(s.f.Target), "web")
	o := s.order(state(web), nil)
	if err := s.f.Target.Apply(s.Context(), o, nil); err != nil {
		s.Fatal(err)
	}
	s.checkSticker(s.f.Target, &o.Sticker)
	s.sameProcess(s.f.Target, "web", before)
}

func (s *suite) upgrade() {
	s.deploy(s.f.Target, s.f.Service("web", "1"))
	o := s.deploy(s.f.Reopen(s.T), s.f.Service("web", "2"))
	s.checkSticker(s.f.Target, &o.Sticker)
}

func (s *suite) prepare() {
	p, ok := s.f.Target.(reconciler.Preparer)
	if !ok {
		return
	}
	first := s.deploy(s.f.Target, s.f.Service("web", "1"))
	before := component(s.observe(s.f.Target), "web")
	next := s.f.Service("web", "2")
	s.seen++
	for range 2 {
		if err := p.Prepare(s.Context(), state(next, s.f.Service("worker", "1")), s.seen); err != nil {
			s.Fatal(err)
		}
	}
	s.sameProcess(s.f.Target, "web", before)
	if why := s.unsettled(s.f.Target, first.Desired); why != "" {
		s.Errorf("preparing changed something: %s", why)
	}
	s.checkSticker(s.f.Target, &first.Sticker)
	if k, ok := s.f.Target.(reconciler.Keeper); ok {
		s.has(k, next, true)
	}
}

func (s *suite) has(k reconciler.Keeper, r stella.Resource, want bool) {
	s.Helper()
	a, err := stella.ParseArtifact(image(r))
	if err != nil {
		s.Fatal(err)
	}
	if got, err := k.Has(s.Context(), a); err != nil || got != want {
		s.Errorf("Has(%s) = %v, %v, want %v", a, got, err, want)
	}
}

func (s *suite) goBack() {
	k, ok := s.f.Target.(reconciler.Keeper)
	if !ok {
		return
	}
	one, two, three := s.f.Service("web", "1"), s.f.Service("web", "2"), s.f.Service("web", "3")
	s.deploy(s.f.Target, one)
	s.deploy(s.f.Target, two)
	s.has(k, one, true)
	s.has(k, three, false)
	s.f.Offline(s.T)
	before := component(s.observe(s.f.Target), "web")
	if _, err := s.try(s.Context(), s.f.Target, state(three)); err == nil {
		s.Error("a release that is nowhere was applied")
	}
	s.sameProcess(s.f.Target, "web", before)
	s.deploy(s.f.Target, one)
}

func (s *suite) variable() {
	web := s.f.Set(s.f.Service("web", "1"), "LEVEL", "info")
	s.deploy(s.f.Target, web)
	changed := s.f.Set(web, "LEVEL", "debug")
	actions := plan(state(changed), s.observe(s.f.Target))
	if len(actions) != 1 || actions[0].Op != stella.OpUpdate || actions[0].Changes[0].Path != "/environment/LEVEL" {
		s.Fatalf("plan %+v, want one update of /environment/LEVEL", actions)
	}
	s.deploy(s.f.Target, changed)
	s.deploy(s.f.Target, web)
}

// takenOut removes one field after the other, as somebody does who deletes lines
// of a file: each is a difference, one order takes it away, and what is left is
// as desired.
func (s *suite) takenOut() {
	plain := s.f.Service("web", "1")
	full := s.f.Full(plain)
	s.deploy(s.f.Target, full)
	for _, field := range []string{"environment", "command", "configs"} {
		if _, ok := full.Fields[field]; !ok {
			s.Errorf("a full service has no %s", field)
		}
	}
	for _, field := range slices.Sorted(maps.Keys(full.Fields)) {
		if _, ok := plain.Fields[field]; ok {
			continue
		}
		if entries, ok := full.Fields[field].(map[string]any); ok && len(entries) > 1 {
			key := slices.Min(slices.Collect(maps.Keys(entries)))
			full = s.takeOut(full, drift.Pointer(field, key), func(r stella.Resource) {
				entries := maps.Clone(entries)
				delete(entries, key)
				r.Fields[field] = entries
			})
		}
		full = s.takeOut(full, drift.Pointer(field), func(r stella.Resource) { delete(r.Fields, field) })
	}
	if diff := cmp.Diff(plain, full); diff != "" {
		s.Errorf("something is left (-want +got)\n%s", diff)
	}
}

// takeOut deploys a service without what it has at a path, and returns it.
func (s *suite) takeOut(full stella.Resource, path string, remove func(stella.Resource)) stella.Resource {
	s.Helper()
	less := full
	less.Fields = maps.Clone(full.Fields)
	remove(less)
	before := component(s.observe(s.f.Target), "web")
	actions := plan(state(less), s.observe(s.f.Target))
	if len(actions) != 1 || actions[0].Op != stella.OpUpdate || len(actions[0].Changes) != 1 {
		s.Fatalf("without %s: plan %+v, want one update", path, actions)
	}
	if c := actions[0].Changes[0]; c.Path != path || c.Class != stella.Extra {
		s.Fatalf("without %s: change %+v, want an extra there", path, c)
	}
	s.deploy(s.f.Target, less)
	if after := component(s.observe(s.f.Target), "web"); after.Since.Equal(before.Since) {
		s.Errorf("without %s: the service was not started again", path)
	}
	return less
}

func (s *suite) fence() {
	o := s.deploy(s.f.Target, s.f.Service("web", "1"))
	before := component(s.observe(s.f.Target), "web")
	next := state(s.f.Service("web", "2"))
	stale := s.order(next, plan(next, s.observe(s.f.Target)))
	stale.Fence = o.Fence - 1
	for _, t := range []reconciler.Target{s.f.Target, s.f.Reopen(s.T)} {
		s.fenced("apply", t.Apply(s.Context(), stale, nil))
		stale.Actions = nil
		s.fenced("apply without actions", t.Apply(s.Context(), stale, nil))
		if p, ok := t.(reconciler.Preparer); ok {
			s.fenced("prepare", p.Prepare(s.Context(), next, stale.Fence))
		}
		if st, ok := t.(reconciler.Stopper); ok {
			s.fenced("stop", st.Stop(s.Context(), stale.Fence))
			s.fenced("remove", st.Remove(s.Context(), stale.Fence))
		}
	}
	s.sameProcess(s.f.Target, "web", before)
	s.checkSticker(s.f.Target, &o.Sticker)
	same := s.order(o.Desired, nil)
	same.Fence = o.Fence
	if err := s.f.Target.Apply(s.Context(), same, nil); err != nil {
		s.Errorf("the same fence again: %v", err)
	}
}

func (s *suite) fenced(what string, err error) {
	s.Helper()
	if !errors.Is(err, stella.ErrFenced) {
		s.Errorf("%s with a stale fence: %v, want ErrFenced", what, err)
	}
}

func (s *suite) removal() {
	s.deploy(s.f.Target, s.f.Service("api", "1"), s.f.Service("web", "1"))
	before := component(s.observe(s.f.Target), "api")
	s.deploy(s.f.Target, s.f.Service("api", "1"))
	s.sameProcess(s.f.Target, "api", before)
	if c := component(s.observe(s.f.Target), "web"); c.State != stella.RunMissing || c.Desired != "" {
		s.Errorf("what was removed is still known as %+v", c)
	}
	s.deploy(s.f.Target, s.f.Service("api", "1"), s.f.Service("web", "1"))
	s.sameProcess(s.f.Target, "api", before)
}

func (s *suite) extra() {
	s.deploy(s.f.Target, s.f.Service("api", "1"), s.f.Service("web", "1"))
	actions := plan(state(s.f.Service("web", "1")), s.observe(s.f.Target))
	if len(actions) != 1 || actions[0].Op != stella.OpRemove || actions[0].Resource.ID != "service/api" {
		s.Errorf("plan %+v, want the removal of service/api", actions)
	}
}

func (s *suite) volume() {
	if s.f.Volume == nil {
		return
	}
	data, web := s.f.Volume("data"), s.f.Service("web", "1")
	s.deploy(s.f.Target, web, data)
	s.deploy(s.f.Target, web)
	s.deploy(s.f.Target, web, data)
}

func (s *suite) foreign() {
	untouched := s.f.Foreign(s.T)
	if live := s.observe(s.f.Target); len(live.Resources) != 0 || len(live.Observed.Components) != 0 {
		s.Errorf("what stella did not make is observed as %+v", live)
	}
	s.deploy(s.f.Target, s.f.Service("api", "1"), s.f.Service("web", "1"))
	s.deploy(s.f.Target, s.f.Service("web", "2"))
	untouched(s.T)
	if st, ok := s.f.Target.(reconciler.Stopper); ok {
		s.seen++
		if err := errors.Join(st.Stop(s.Context(), s.seen), st.Remove(s.Context(), s.seen)); err != nil {
			s.Fatal(err)
		}
		untouched(s.T)
	}
}

func (s *suite) dead() {
	want := state(s.f.Service("api", "1"), s.f.Service("web", "1"))
	s.deploy(s.f.Target, want.Resources...)
	before := component(s.observe(s.f.Target), "api")
	s.f.Kill(s.T, "web")
	live := s.observe(s.f.Target)
	if c := component(live, "web"); c.State == stella.RunRunning || c.Running != "" {
		s.Errorf("a dead process is observed as %+v", c)
	}
	actions := plan(want, live)
	if len(actions) != 1 || actions[0].Op != stella.OpCreate || actions[0].Resource.ID != "service/web" {
		s.Errorf("plan %+v, want the creation of service/web", actions)
	}
	s.deploy(s.f.Target, want.Resources...)
	s.sameProcess(s.f.Target, "api", before)
}

func (s *suite) unknown() {
	o := s.deploy(s.f.Target, s.f.Service("web", "1"))
	bad := s.f.Service("web", "2")
	bad.Fields["flux_capacitor"] = map[string]any{"gigawatts": 1.21}
	bad.Fields["time_circuits"] = true
	_, err := s.try(s.Context(), s.f.Target, state(bad))
	if !errors.Is(err, stella.ErrUnsupported) {
		s.Fatalf("%v, want ErrUnsupported", err)
	}
	for _, field := range []string{"flux_capacitor", "time_circuits"} {
		if !strings.Contains(err.Error(), "web: "+field) {
			s.Errorf("%q does not name %s of web", err, field)
		}
	}
	s.checkSticker(s.f.Target, &o.Sticker)
}
