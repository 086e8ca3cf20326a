package stella_test

import (
	"slices"
	"testing"

	"github.com/stella-ops/stella"
)

// TestTheFirstResourceWithAnIDCounts wherever a list has it: a target may say
// what it has in any order, and twice.
func TestTheFirstResourceWithAnIDCounts(t *testing.T) {
	t.Parallel()
	ids := []stella.ResourceID{"service/d", "service/b", "service/a", "service/b", "service/c", "service/b", "service/a"}
	var s stella.State
	for i, id := range ids {
		s.Resources = append(s.Resources, stella.Resource{ID: id, Fields: map[string]any{"at": float64(i)}})
	}
	for _, id := range ids {
		if r, ok := s.Resource(id); !ok || r.ID != id || r.Fields["at"] != float64(slices.Index(ids, id)) {
			t.Errorf("%s: got %+v, %t; want the one at %d", id, r, ok, slices.Index(ids, id))
		}
	}
	if r, ok := s.Resource("service/e"); ok {
		t.Errorf("nobody has it, and it is %+v", r)
	}
}
