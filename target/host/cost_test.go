//go:build linux

package host

import (
	"strings"
	"testing"

	"github.com/stella-ops/stella"
)

// TestGoingBackCosts counts the effects of going back to a release that is still
// there: each is a wait for the disk or for a process. Whoever needs more says
// what for.
func TestGoingBackCosts(t *testing.T) {
	t.Parallel()
	s := newScene(t)
	one, two := s.image(t, "1"), s.image(t, "2")
	s.deploy(t, serviceOf("web", one))
	s.deploy(t, serviceOf("web", two))
	s.store.forget(t) // nothing is pulled

	var effects []string
	s.trip = func(effect string, done bool) error {
		if !done {
			effects = append(effects, effect)
		}
		return nil
	}
	want := stateOf(serviceOf("web", one))
	s.fence++
	if err := s.Prepare(t.Context(), want, s.fence); err != nil {
		t.Fatal(err)
	}
	if err := s.Apply(t.Context(), orderOf(s.fence, stella.OpUpdate, want, "service/web"), nil); err != nil {
		t.Fatal(err)
	}
	const most = "fence spec link stop place start history prune sticker"
	if got := strings.Join(effects, " "); got != most {
		t.Errorf("effects %q, want %q", got, most)
	}
}
