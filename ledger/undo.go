package ledger

import (
	"slices"

	"github.com/stella-ops/stella"
)

// Verified returns the deployments that rollbacks go through, newest first: the
// history of verified deployments read like an undo stack. A rollback (or a
// reset, a heal, or either half of a drill) counts as the deployment it restored: what
// came after that one is undone and no longer in the stack. One that brought
// only a part of it back is content of its own: see GoesBack.
func (b Book) Verified() []stella.Deployment {
	s := b.stack()
	out := make([]stella.Deployment, 0, len(s.entries))
	for _, i := range slices.Backward(s.entries) {
		out = append(out, b.Deployments[i])
	}
	return out
}

// Previous returns the deployment to roll back to: the one that was verified
// before what runs now. Content that is held, or equal to what runs, is passed
// over. A second rollback so goes one further back, never forward. It is false
// when there is nothing to go back to.
func (b Book) Previous() (stella.Deployment, bool) {
	ways := b.WaysBack()
	if len(ways) == 0 {
		return stella.Deployment{}, false
	}
	return ways[0], true
}

// WaysBack returns what rollbacks could go back to, in the order in which they
// would: the first is Previous. Each content is in it once.
func (b Book) WaysBack() []stella.Deployment {
	candidates, running := b.candidates()
	seen := map[string]bool{"": true, running: true}
	var out []stella.Deployment
	for _, i := range slices.Backward(candidates) {
		c := b.Deployments[i]
		if _, held := b.Held(c.Tree); held || seen[c.Tree] {
			continue
		}
		seen[c.Tree] = true
		out = append(out, c)
	}
	return out
}

// candidates returns what a rollback may go to, as places in Deployments,
// oldest first, and the app tree that runs, empty when targets differ.
func (b Book) candidates() (entries []int, running string) {
	s := b.stack()
	// A deployment that has begun counts as what runs, whether or not anybody
	// has recorded yet that its driver died.
	last, ok := b.Running()
	if !ok {
		last, ok = b.Last()
	}
	if !ok {
		return s.entries, ""
	}
	whole := settled(last)
	if whole {
		running = last.Tree
	}
	if last.Status == stella.Succeeded || !b.GoesBack(last) {
		return s.entries, running
	}
	// A rollback that was not verified. It stands at what it goes back to: below
	// that when it got there and was rejected, there when it was interrupted.
	at := s.find(b, last.Restores)
	if at >= 0 && whole {
		return s.entries[:at], running
	}
	return s.entries[:at+1], running
}

// settled reports whether every target that could be reached has the content
// of the ended deployment.
func settled(d stella.Deployment) bool {
	switch d.Status {
	case stella.Succeeded, stella.Failed:
		return true
	case stella.Partial:
		return !slices.ContainsFunc(d.Targets, func(t stella.TargetResult) bool {
			return t.Status != stella.TargetVerified && t.Status != stella.TargetOwed
		})
	default:
		return false
	}
}

// GoesBack reports whether a deployment counts as the one that it restores: it
// brought that one's app tree back. A partial rollback names where its images
// come from and has a tree that was never there before; it counts as itself.
// Where nobody knows any more what the restored one had, it is believed.
//
// It has no case for the rules that a deployment was recorded by, though what is
// pruned goes by it: resets count since rules 2, and no stella that wrote rules 1
// could make one.
func (b Book) GoesBack(d stella.Deployment) bool {
	if !d.Kind.Restores() {
		return false
	}
	restored, known := b.Deployment(d.Restores)
	return d.Restores != "" && (!known || restored.Tree == d.Tree)
}

// undo is the undo stack while it is read: places in a book's Deployments,
// oldest first.
type undo struct {
	entries []int
	as      map[string]int // a deployment that went back → the place it counts as
}

func (b Book) stack() *undo {
	s := &undo{as: map[string]int{}}
	for i, d := range b.Deployments {
		if d.Status != stella.Succeeded {
			continue
		}
		if !b.GoesBack(d) {
			s.entries = append(s.entries, i)
			continue
		}
		if at := s.find(b, d.Restores); at >= 0 {
			s.entries = s.entries[:at+1]
		} else {
			s.entries = append(s.entries, s.restored(b, i))
		}
		s.as[d.ID] = s.entries[len(s.entries)-1]
	}
	return s
}

// place returns where the deployment is, or what it counts as.
func (s *undo) place(b Book, id string) (int, bool) {
	if i, ok := s.as[id]; ok {
		return i, true
	}
	return b.index(id)
}

// restored returns what a deployment that went forth to something undone
// counts as: that one, or itself where that one is no longer known.
func (s *undo) restored(b Book, i int) int {
	if j, ok := s.place(b, b.Deployments[i].Restores); ok && b.Deployments[j].Status == stella.Succeeded {
		return j
	}
	return i
}

// find returns where in the stack a deployment is, or what it counts as; -1
// when it is not in the stack.
func (s *undo) find(b Book, id string) int {
	if i, ok := s.place(b, id); ok {
		return slices.Index(s.entries, i)
	}
	return -1
}
