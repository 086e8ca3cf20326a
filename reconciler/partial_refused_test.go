package reconciler_test

import (
	"errors"
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/stella-ops/stella"
	"github.com/stella-ops/stella/internal/git/gittest"
	"github.com/stella-ops/stella/reconciler"
)

func TestAPartThatCanNotGoBack(t *testing.T) {
	w := newPartWorld(t)
	w.mustPut("api=b")
	gittest.Seed(t, w.bare, map[string]string{
		"envs/prod/app/compose.yaml": "services:\n  api: {}\n  web: {}\n  new: {}\n",
		releasePath:                  strings.Replace(w.release(), "components:\n", "components:\n  new: "+part("new", "d").String()+"\n", 1),
	})
	w.reconcile()
	for name, c := range map[string]struct {
		req         reconciler.RollbackRequest
		class       error
		words, hint string
	}{
		"an unknown component": {reconciler.RollbackRequest{Components: []string{"db"}}, stella.ErrNotFound, `"db"`, "api, new, web"},
		"an unknown target":    {reconciler.RollbackRequest{Targets: []string{"z"}}, stella.ErrNotFound, `"z"`, "a, b"},
		"an unknown deployment": {
			reconciler.RollbackRequest{Components: []string{"api"}, To: "prod-9"}, stella.ErrNotFound, "prod-9", "deployments list",
		},
		"a component that was not there then": {
			reconciler.RollbackRequest{Components: []string{"new"}, To: "prod-1"}, stella.ErrRefused, "prod-1 had no new", "--to",
		},
		"a component that never was another": {reconciler.RollbackRequest{Components: []string{"web"}}, stella.ErrRefused, "another web", "--to"},
		"a component that is the same there": {
			reconciler.RollbackRequest{Components: []string{"web"}, To: "prod-1"}, stella.ErrRefused, "nothing to go back to", "--to",
		},
		"an end that is over": {
			reconciler.RollbackRequest{Components: []string{"api"}, Until: w.now.Add(-time.Hour)}, stella.ErrInvalid, "over", "",
		},
	} {
		t.Run(name, func(t *testing.T) {
			out, err := w.back(c.req)
			if !errors.Is(err, c.class) || !strings.Contains(fmt.Sprint(err), c.words) || !strings.Contains(stella.Hint(err), c.hint) {
				t.Errorf("got %v, hint %q", err, stella.Hint(err))
			}
			if out.Deployment != nil {
				t.Errorf("recorded %+v", out.Deployment)
			}
		})
	}
	w.want("a: api=b new=d web=a; b: api=b new=d web=a")
}

func TestAPartIsProposedForReviewAndNothingIsApplied(t *testing.T) {
	w := newPartWorld(t)
	w.mustPut("api=b")
	out, err := w.back(reconciler.RollbackRequest{Components: []string{"api"}, Options: reconciler.Options{PullRequest: true}})
	if err != nil || out.Proposal == nil || out.Deployment != nil {
		t.Fatalf("%+v, %v", out, err)
	}
	w.want("a: api=b web=a; b: api=b web=a")
	text := gittest.Run(t, gittest.Dir(w.bare), "show", out.Proposal.Branch+":"+releasePath)
	if !strings.Contains(text, "from: prod-1") || strings.Contains(w.release(), "overrides") {
		t.Errorf("on the branch:\n%s\non main:\n%s", text, w.release())
	}
}

func TestAPartThatIsRejectedDoesNotGoBackByItself(t *testing.T) {
	w := newPartWorld(t)
	w.mustPut("api=b")
	w.machines["a"].sick[string(digestOf("a"))] = true
	out, err := w.back(reconciler.RollbackRequest{Components: []string{"api"}, Targets: []string{"a"}})
	if err != nil || out.Rollback != nil || out.Deployment.Status == stella.Succeeded {
		t.Fatalf("%+v, %+v, %v", out.Deployment, out.Rollback, err)
	}
	delete(w.machines["a"].sick, string(digestOf("a")))
	// The release from before it is what was verified last, and it is held.
	out, err = w.back(reconciler.RollbackRequest{})
	if err != nil || out.Deployment.Restores != "prod-1" {
		t.Fatalf("%+v, %v", out.Deployment, err)
	}
	w.want("a: api=a web=a; b: api=a web=a")
}
