package reconciler

import (
	"slices"

	"github.com/stella-ops/stella"
	"github.com/stella-ops/stella/internal/git"
	"github.com/stella-ops/stella/internal/safe"
	"github.com/stella-ops/stella/ledger"
)

// undoes describes the commits that a rollback takes back, newest first. The
// newest is the change that is rolled back; what else goes with it is marked, so
// that a person can say no. A revert among them and what it took back cancel
// each other out: neither is in effect.
func undoes(b ledger.Book, undone []git.Commit) []UndoneCommit {
	gone := cancelled(undone)
	by := map[string]string{}
	for _, d := range b.Deployments {
		if d.Status == stella.Succeeded && by[d.Commit] == "" {
			by[d.Commit] = d.ID
		}
	}
	out := []UndoneCommit{}
	for _, c := range undone {
		if slices.Contains(gone, c.ID) {
			continue
		}
		out = append(out, UndoneCommit{
			Commit: string(c.ID), Subject: subjectOf(c), Author: safe.Clip(c.Author.Name, maxSubjectRunes), At: c.Author.When.UTC(),
			Deployment: by[string(c.ID)], Also: len(out) > 0,
		})
	}
	return out
}

// lastTook is how long the last deployments of a kind took, the middle one of at
// most five that were verified; zero where there is none to go by.
func lastTook(b ledger.Book, kind stella.Kind) float64 {
	const most = 5
	var took []float64
	for _, d := range slices.Backward(b.Deployments) {
		if d.Kind == kind && d.Status == stella.Succeeded && len(took) < most {
			took = append(took, d.DurationSeconds)
		}
	}
	if len(took) == 0 {
		return 0
	}
	slices.Sort(took)
	return took[len(took)/2]
}
