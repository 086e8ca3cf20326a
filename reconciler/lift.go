package reconciler

import (
	"context"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/stella-ops/stella"
	"github.com/stella-ops/stella/internal/git"
	"github.com/stella-ops/stella/ledger"
)

// liftTrailer ends a hold from the branch: a commit that was reviewed says that
// what was held is good now.
const liftTrailer = "Stella-Lifts:"

// maxLiftSearch bounds how many commits are searched for the trailer. A hold's
// id is random: only a commit that came after the hold can name it.
const maxLiftSearch = 200

// liftSkew is how far the clocks of a hold's and a commit's author may be apart.
const liftSkew = time.Hour

// withoutLifted is the scene after the branch ended the hold on what it asks for,
// where it did.
func (e *Engine) withoutLifted(ctx context.Context, sc *scene) (*scene, error) {
	lifted, err := e.liftFromBranch(ctx, sc)
	if err != nil || !lifted {
		return sc, err
	}
	return e.look(ctx, sc.name)
}

// liftFromBranch ends the holds on what the branch asks for, where commits on the
// branch say so. It reports whether it ended any.
func (e *Engine) liftFromBranch(ctx context.Context, sc *scene) (bool, error) {
	holds := sc.branch.holdsOn(sc.book.State.Holds)
	if len(holds) == 0 || e.searchedAt(sc) || !sc.project.Allows(e.cfg.Version) {
		return false, nil // nothing to end, or not for us
	}
	why := map[string]string{} // by the id of a hold that is lifted
	for _, hold := range holds {
		c, err := e.lifting(ctx, sc.branch.commit, hold)
		if err != nil {
			return false, err
		}
		if c != nil {
			why[hold.ID] = fmt.Sprintf("commit %.12s lifts it: %s", c.ID, subjectOf(*c))
		}
	}
	if len(why) < len(holds) {
		e.rememberSearch(sc)
	}
	if len(why) == 0 {
		return false, nil
	}
	_, err := sc.ledger.Append(ctx, sc.name, func(b ledger.Book) ([]ledger.Event, error) {
		var events []ledger.Event // none where somebody lifted them meanwhile
		for _, h := range b.State.Holds {
			if why[h.ID] != "" {
				events = append(events, ledger.Lift{HoldID: h.ID, Reason: why[h.ID]})
			}
		}
		return events, nil
	})
	if err != nil {
		return false, fmt.Errorf("lift %s: %w", strings.Join(sortedKeys(why), ", "), err)
	}
	return true, nil
}

// holdsOn are the holds on what could otherwise be deployed.
func (s *source) holdsOn(holds []stella.Hold) []stella.Hold {
	if s.invalid != nil {
		return nil
	}
	return holdsOn(holds, s)
}

// searchedAt reports whether the branch was searched at this commit before.
func (e *Engine) searchedAt(sc *scene) bool {
	e.mu.Lock()
	defer e.mu.Unlock()
	return e.searched[sc.name] == sc.branch.commit
}

func (e *Engine) rememberSearch(sc *scene) {
	e.mu.Lock()
	defer e.mu.Unlock()
	e.searched[sc.name] = sc.branch.commit
}

// lifting finds the commit that names the hold, among those that are younger
// than it: merged branches too. Nil when there is none.
func (e *Engine) lifting(ctx context.Context, from git.ID, hold stella.Hold) (*git.Commit, error) {
	seen, todo := map[git.ID]bool{from: true}, []git.ID{from}
	for len(todo) > 0 && len(seen) <= maxLiftSearch {
		c, err := e.cfg.Repo.Commit(ctx, todo[0])
		if err != nil {
			return nil, fmt.Errorf("look for a commit that lifts %s: %w", hold.ID, err)
		}
		if todo = todo[1:]; lifts(c, hold.ID) {
			return &c, nil
		}
		if c.Committer.When.Before(hold.Since.Add(-liftSkew)) {
			continue // what came before the hold can not know its id
		}
		for _, p := range c.Parents {
			if !seen[p] {
				seen[p] = true
				todo = append(todo, p)
			}
		}
	}
	return nil, nil
}

func lifts(c git.Commit, hold string) bool {
	for line := range strings.Lines(c.Message) {
		ids, ok := strings.CutPrefix(strings.TrimSpace(line), liftTrailer)
		if ok && slices.Contains(strings.Fields(strings.ReplaceAll(ids, ",", " ")), hold) {
			return true
		}
	}
	return false
}
