package reconciler

import (
	"errors"
	"log/slog"
	"os"
	"testing"

	"github.com/stella-ops/stella"
	"github.com/stella-ops/stella/internal/git"
	"github.com/stella-ops/stella/internal/git/gittest"
)

// TestTheSecondQuestionThatGoesUnansweredIsLikeTheFirst: who only reads goes on
// with what was seen, and whatever happens on the targets is not in the ledger.
func TestTheSecondQuestionThatGoesUnansweredIsLikeTheFirst(t *testing.T) {
	t.Parallel()
	bare := gittest.Bare(t)
	gittest.Seed(t, bare, map[string]string{"stella.yaml": "apiVersion: stella/v1\nkind: Project\nname: shop\n"})
	log := slog.New(slog.NewTextHandler(t.Output(), nil))
	repo, err := git.Open(t.Context(), git.Options{URL: bare, Dir: t.TempDir(), Getenv: gittest.Getenv(), Logger: log})
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = repo.Close() }()
	e := New(Config{Repo: repo, Logger: log})
	h, err := e.fetch(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	e.acquainted[stella.EnvName("prod")] = true
	if err := os.Rename(gittest.Dir(bare), gittest.Dir(bare)+".away"); err != nil {
		t.Fatal(err)
	}
	h.project.Branch = "elsewhere"
	if _, err := e.followProject(t.Context(), h, nil); !errors.Is(err, errFetch) || !unanswered(err) || len(e.acquainted) > 0 {
		t.Errorf("%v; still acquainted with %v", err, e.acquainted)
	}
}
