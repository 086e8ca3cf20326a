package docker

import (
	"fmt"
	"strings"
	"testing"

	"github.com/moby/moby/client"

	"github.com/stella-ops/stella"
)

// TestSomebodyElseMeddlesWithARollout has somebody remove, rename, stop and start
// containers of ours while they are replaced. An order ends with an error of a
// class, or gets there; what is observed is true; and the next pass gets there.
func TestSomebodyElseMeddlesWithARollout(t *testing.T) {
	t.Parallel()
	const web, next, previous = "", suffixNext, suffixPrevious
	remove := func(s *scene, id string) error {
		_, err := s.api.ContainerRemove(t.Context(), id, client.ContainerRemoveOptions{Force: true})
		return err
	}
	stop := func(s *scene, id string) error {
		_, err := s.api.ContainerStop(t.Context(), id, client.ContainerStopOptions{})
		return err
	}
	start := func(s *scene, id string) error {
		_, err := s.api.ContainerStart(t.Context(), id, client.ContainerStartOptions{})
		return err
	}
	rename := func(s *scene, id string) error {
		_, err := s.api.ContainerRename(t.Context(), id, client.ContainerRenameOptions{NewName: s.cfg.Project + "-mine"})
		return err
	}
	s := newScene(t)
	want := func(n int) stella.Resource {
		return s.web(t, []string{"1", "2"}[n%2], asJSON{"environment": asJSON{"ORDER": fmt.Sprint(n)}, "restart": "unless-stopped"})
	}
	must(t, s.goes(t, 1, "0", want(0)))
	fence := int64(1)
	for n, m := range []struct {
		effect string
		before bool
		whom   string
		do     func(*scene, string) error
	}{
		{"create", false, next, remove},
		{"create", false, next, rename},
		{"create", false, next, start},
		{"stop", true, web, remove},
		{"stop", true, web, rename},
		{"stop", false, web, start},
		{"rename", false, previous, remove},
		{"rename", false, previous, start},
		{"start", true, web, remove},
		{"start", true, web, rename},
		{"start", false, web, stop},
		{"start", false, web, remove},
	} {
		fence++
		o := s.order(t, fence, "order", want(n+1))
		must(t, s.Prepare(t.Context(), o.Desired, fence))
		hit := false
		s.trip = func(effect string, done bool) error {
			if verb, _, _ := strings.Cut(effect, " "); !hit && verb == m.effect && done != m.before {
				hit = true
				return m.do(s, s.nameFor("web", nil)+m.whom)
			}
			return nil
		}
		err := s.Apply(t.Context(), o, nil)
		s.trip = nil
		if !hit || err != nil && !classified(err) && stella.Hint(err) == "" {
			t.Errorf("case %d: hit: %v, %v", n, hit, err)
		}
		s.honest(t)
		fence++
		if err := s.goes(t, fence, "again", want(n+1)); err != nil {
			t.Fatalf("the pass after case %d, %s of %q: %v", n, m.effect, m.whom, err)
		}
		s.there(t, want(n+1))
		s.honest(t)
		if t.Failed() {
			t.Fatalf("case %d, %s of %q: %v", n, m.effect, m.whom, err)
		}
	}
}
