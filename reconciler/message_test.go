package reconciler

import (
	"strings"
	"testing"

	"github.com/stella-ops/stella"
	"github.com/stella-ops/stella/internal/git"
)

// The subject of a rollback's commit names what is gone, not a revert that went
// with what it had reverted.
func TestTheSubjectOfARevertNamesWhatIsGone(t *testing.T) {
	id := func(digit string) git.ID { return git.ID(strings.Repeat(digit, 40)) }
	one := git.Commit{ID: id("1"), Message: "Deploy 1.1.0 to prod\n"}
	two := git.Commit{ID: id("2"), Message: "Deploy 1.2.0 to prod\n"}
	back := git.Commit{ID: id("3"), Message: "Revert \"Deploy 1.2.0 to prod\"\n\nThis reverts commit " + string(two.ID) + " in envs/prod.\n"}
	good := stella.Deployment{ID: "prod-1", Release: "1.0.0"}
	for name, c := range map[string]struct {
		undone []git.Commit
		want   string
	}{
		"one":                          {[]git.Commit{two}, `Revert "Deploy 1.2.0 to prod"`},
		"a rollback and what it undid": {[]git.Commit{back, two, one}, `Revert "Deploy 1.1.0 to prod"`},
		"a rollback alone":             {[]git.Commit{back}, `Revert "Revert "Deploy 1.2.0 to prod""`},
		"nothing in effect":            {[]git.Commit{back, two}, "Bring prod back to prod-1 (1.0.0)"},
		"nothing":                      {nil, "Bring prod back to prod-1 (1.0.0)"},
	} {
		message := revertMessage("prod", good, intent{}, c.undone, map[git.ID]bool{two.ID: true})
		if got, _, _ := strings.Cut(message, "\n"); got != c.want {
			t.Errorf("%s: %s, want %s", name, got, c.want)
		}
		if n := strings.Count(message, "\nThis reverts commit "); n != len(c.undone) {
			t.Errorf("%s: names %d of %d commits:\n%s", name, n, len(c.undone), message)
		}
	}
}
