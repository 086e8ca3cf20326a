package docker

import (
	"slices"
	"testing"

	"github.com/stella-ops/stella"
)

// TestNamesMoveWithinOneOrder gives one service the name that another has, with
// containers kept under both.
func TestNamesMoveWithinOneOrder(t *testing.T) {
	t.Parallel()
	s := newScene(t)
	named := func(service, version, name string) stella.Resource {
		return s.service(t, service, version, asJSON{"container_name": s.cfg.Project + "-" + name})
	}
	s.deploy(t, 1, named("api", "1", "a"), named("web", "1", "b"))
	s.deploy(t, 2, named("api", "2", "b"), named("web", "2", "c"))
	s.deploy(t, 3, named("api", "2", "c"), named("web", "2", "b"))
	s.deploy(t, 4, named("api", "1", "a"), named("web", "1", "b"))
	if got := s.names(t); !slices.Contains(got, "a") || !slices.Contains(got, "b") || slices.Contains(got, "c") {
		t.Errorf("there are %v", got)
	}
}
