package git_test

import (
	"errors"
	"math/rand/v2"
	"testing"

	"github.com/stella-ops/stella"
	"github.com/stella-ops/stella/internal/git"
)

// TestFindKnowsAllAncestorsAndNothingElse looks for commits of a tangled history
// in a cache that has its head only.
func TestFindKnowsAllAncestorsAndNothingElse(t *testing.T) {
	t.Parallel()
	bare, ids := tangle(t, rand.New(rand.NewPCG(5, 5)), 40)
	r := open(t, bare)
	if _, err := r.Fetch(t.Context(), git.Want{Names: []string{"refs/heads/c39"}}); err != nil {
		t.Fatal(err)
	}
	for _, id := range ids {
		ancestor, err := r.IsAncestor(t.Context(), id, ids[39])
		if err != nil {
			t.Fatal(err)
		}
		for _, prefix := range []string{string(id), string(id[:9])} {
			c, err := r.Find(t.Context(), prefix, ids[39])
			if ancestor && (err != nil || c.ID != id) || !ancestor && !errors.Is(err, stella.ErrNotFound) {
				t.Errorf("%s, an ancestor: %v: got %s, %v", prefix, ancestor, c.ID, err)
			}
		}
	}
	for _, wrong := range []string{"", "main", string(ids[0][:6]), string(ids[0]) + "0"} {
		if _, err := r.Find(t.Context(), wrong, ids[39]); !errors.Is(err, stella.ErrInvalid) {
			t.Errorf("%q: %v", wrong, err)
		}
	}
}
