package docker

import (
	"errors"
	"strings"
	"testing"

	"github.com/stella-ops/stella"
)

// upgrade is an order with effects of every kind, on a target that is deployed.
func (s *scene) upgrade(t testing.TB) stella.Order {
	t.Helper()
	app := func(version string, more asJSON) []stella.Resource {
		on := asJSON{"networks": asJSON{"back": asJSON{}, "front": asJSON{}}, "read_only": true, "restart": "always"}
		on["secrets"] = asJSON{"/run/secrets/db": asJSON{"content": "hunter" + version}}
		return []stella.Resource{s.web(t, version, on), storage("network/back", more), storage("network/front", nil)}
	}
	must(t, s.goes(t, 1, "1", append(app("1", nil), resourceOf("old", s.image(t, "1")))...))
	job := resourceOf("migrate", s.image(t, "1"), asJSON{"x-stella": asJSON{"job": "pre-deploy"}, "entrypoint": []any{"/bin/true"}})
	o := s.order(t, 2, "2", append(app("2", asJSON{"internal": true}), job, storage("volume/data", nil))...)
	o.Kind = stella.KindDeploy
	must(t, s.Prepare(t.Context(), o.Desired, 2))
	return o
}

// verbs are the kinds of effects that an upgrade has; TestAnUpgradeHas says so.
var verbs = []string{
	"record", "network-remove", "network", "disconnect", "connect", "volume",
	"create", "files", "start", "stop", "update", "rename", "remove", "files-remove",
}

// TestAnUpgradeHasEffectsOfEveryKind keeps verbs whole.
func TestAnUpgradeHasEffectsOfEveryKind(t *testing.T) {
	t.Parallel()
	s := newScene(t, func(c *Config) { c.DiscardPrevious = true })
	o := s.upgrade(t)
	seen := map[string]bool{}
	s.trip = func(effect string, _ bool) error {
		verb, _, _ := strings.Cut(effect, " ")
		seen[verb] = true
		return nil
	}
	must(t, s.Apply(t.Context(), o, nil))
	for _, v := range verbs {
		if !seen[v] {
			t.Errorf("an upgrade has no %s", v)
		}
		delete(seen, v)
	}
	if len(seen) > 0 {
		t.Errorf("these are not tried: %v", seen)
	}
}

// TestNoEffectAfterAHigherFence lets somebody with a higher fence come right
// before an effect of each kind.
func TestNoEffectAfterAHigherFence(t *testing.T) {
	t.Parallel()
	for _, verb := range verbs {
		t.Run(verb, func(t *testing.T) {
			t.Parallel()
			s := newScene(t, func(c *Config) { c.DiscardPrevious = true })
			o := s.upgrade(t)
			other, raised := open(t, s.cfg), false
			s.trip = func(effect string, done bool) error {
				switch {
				case raised && done:
					t.Errorf("done after somebody else's fence: %s", effect)
				case !raised && !done && strings.HasPrefix(effect, verb+" "):
					raised = true
					return other.raise(t.Context(), 900)
				}
				return nil
			}
			if err := s.Apply(t.Context(), o, nil); !raised || !errors.Is(err, stella.ErrFenced) {
				t.Errorf("the order ended with %v; somebody else was there: %v", err, raised)
			}
		})
	}
}
