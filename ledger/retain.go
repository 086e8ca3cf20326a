package ledger

import (
	"maps"
	"slices"

	"github.com/stella-ops/stella"
)

// How much of the past the tip of a ledger holds; the rest is in its chain.
const (
	keepNewest   = 100
	keepVerified = 10
)

// prune drops deployments that are older than the newest keepNewest, except
// those that are open, that the state names, or that a rollback could still go
// back to: a hundred failures must not make a rollback impossible.
func (d *draft) prune() {
	if len(d.Deployments) <= keepNewest {
		return
	}
	keep := map[string]bool{d.State.Current: true, d.State.LastGood: true, d.State.Last: true}
	if d.State.Pin != nil {
		keep[d.State.Pin.Deployment] = true
	}
	stack := d.stack().entries
	for _, i := range stack[max(0, len(stack)-keepVerified):] {
		keep[d.Deployments[i].ID] = true
	}
	oldest := d.Deployments[len(d.Deployments)-keepNewest].Sequence
	d.Deployments = slices.DeleteFunc(d.Deployments, func(r stella.Deployment) bool {
		return r.Sequence < oldest && !r.Status.Open() && !keep[r.ID]
	})
	d.keepTrees()
}

// keepTrees brings Trees in line: of each verified deployment in the book its
// app tree. A store leaves out those whose objects it does not have.
func (d *draft) keepTrees() {
	trees := map[string]string{}
	for _, r := range d.Deployments {
		if r.Status == stella.Succeeded && r.Tree != "" {
			trees[r.ID] = r.Tree
		}
	}
	if !maps.Equal(trees, d.Trees) {
		d.Trees = trees
	}
}
