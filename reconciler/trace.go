package reconciler

import (
	"cmp"
	"context"
	"fmt"
	"maps"
	"slices"
	"strings"
	"time"

	"github.com/stella-ops/stella"
	"github.com/stella-ops/stella/internal/git"
	"github.com/stella-ops/stella/ledger"
)

// Trace is the report of one deployment, as people want it after an incident.
type Trace struct {
	Deployment stella.Deployment `json:"deployment"`
	Driver     *Driver           `json:"driver"` // null once it has ended
	Components []Moved           `json:"components"`
	Undone     []Undone          `json:"undone"` // the config commits that it took back, newest first
	Held       []stella.Hold     `json:"held"`   // what must not come back now
	Logs       []LogTail         `json:"logs"`   // of what is not as it should be, as far as they were asked for
	Next       string            `json:"next"`   // the command to run
}

// Moved is what one component ran before a deployment and after.
type Moved struct {
	Component string   `json:"component"`
	From      []string `json:"from"` // images, or digests of no recorded image; several where targets differed
	To        string   `json:"to"`
}

// Undone is a config commit that a rollback took back.
type Undone struct {
	Commit  string     `json:"commit"`
	Subject string     `json:"subject"` // empty where the commit can not be read any more
	Author  string     `json:"author"`
	At      *time.Time `json:"at"`
}

// LogTail is the end of what a component wrote, read from its target when it
// was asked for. It is kept nowhere.
type LogTail struct {
	Target    string `json:"target"`
	Component string `json:"component"`
	Text      string `json:"text"`
	Error     string `json:"error"`
}

// Trace reports on a deployment: with an empty id the last rollback, else the
// newest deployment. Of one that has not ended it has the steps of this
// machine's journal too. With logs it asks the targets that are not as they
// should be for the end of what their components wrote.
func (e *Engine) Trace(ctx context.Context, env stella.EnvName, id string, logs bool) (Trace, error) {
	sc, err := e.glimpse(ctx, env)
	if err != nil {
		return Trace{}, err
	}
	d, err := named(sc.book, id)
	if err != nil {
		return Trace{}, err
	}
	if d == nil {
		err := fmt.Errorf("%s was never rolled back: %w", env, stella.ErrNotFound)
		return Trace{}, stella.WithHint(err, fmt.Sprintf("run 'stella orch deployments list %s' and name a deployment", env))
	}
	t := Trace{
		Deployment: e.finer(*d), Driver: e.driver(sc.ledger, sc.book, *d, time.Now()), Components: moved(sc.book, *d),
		Undone: e.undoneBy(ctx, *d), Held: append([]stella.Hold{}, sc.book.State.Holds...), Logs: []LogTail{},
	}
	t.Next = next(sc.book, *d, t.Driver)
	if logs && sc.env != nil {
		t.Logs = e.tails(ctx, sc, *d)
	}
	return t, nil
}

// named is the deployment with the id or, without one, the last rollback, nil
// for none.
func named(b ledger.Book, id string) (*stella.Deployment, error) {
	if id == "" {
		return lastRollback(b), nil
	}
	d, ok := b.Deployment(id)
	if !ok {
		return nil, stella.WithHint(fmt.Errorf("deployment %s: %w", id, stella.ErrNotFound), fmt.Sprintf("run 'stella orch deployments list %s'", b.State.Environment))
	}
	return &d, nil
}

// moved says for each component what ran before and after. Digests are told by
// the images that the ledger knows them as.
func moved(b ledger.Book, d stella.Deployment) []Moved {
	known := map[string]string{}
	for _, old := range append(slices.Clone(b.Deployments), d) {
		for _, image := range old.Components {
			if a, err := stella.ParseArtifact(image); err == nil {
				known[string(a.Digest)] = image
			}
		}
	}
	from := map[string]map[string]bool{}
	for name := range d.Components {
		from[name] = map[string]bool{}
	}
	for _, t := range d.Targets {
		for name, digest := range t.Before {
			if from[name] == nil {
				from[name] = map[string]bool{}
			}
			from[name][cmp.Or(known[digest], digest)] = true
		}
	}
	out := []Moved{}
	for _, name := range slices.Sorted(maps.Keys(from)) {
		out = append(out, Moved{Component: name, From: append([]string{}, slices.Sorted(maps.Keys(from[name]))...), To: d.Components[name]})
	}
	return out
}

// readUndone bounds reading the commits that were undone: without them the
// report is as true.
const readUndone = 10 * time.Second

func (e *Engine) undoneBy(ctx context.Context, d stella.Deployment) []Undone {
	ctx, cancel := context.WithTimeout(ctx, readUndone)
	defer cancel()
	out := []Undone{}
	for _, id := range d.Reverts {
		u := Undone{Commit: id}
		if c, err := e.cfg.Repo.Commit(ctx, git.ID(id)); err == nil {
			at := c.Author.When.UTC()
			u.Subject, u.Author, u.At = firstLine(strings.TrimSpace(c.Message)), c.Author.Name, &at
		}
		out = append(out, u)
	}
	return out
}

// next is the command to run after a deployment.
func next(b ledger.Book, d stella.Deployment, driver *Driver) string {
	env := d.Environment
	newest, _ := b.Newest()
	switch {
	case driver != nil:
		return driver.Next
	case newest.ID != d.ID:
		return fmt.Sprintf("run 'stella orch env status %s': %s came after it", env, newest.ID)
	case d.Status == stella.Failed && !d.Kind.GoesBack():
		return fmt.Sprintf("run 'stella rollback %s', or deploy a fix", env)
	case d.Status == stella.Failed:
		return fmt.Sprintf("run 'stella rollback ready %s' to see what else it could go back to", env)
	case d.Status == stella.Partial && len(b.State.Owed) > 0:
		return fmt.Sprintf("bring %s back, then run 'stella reconcile %s'", strings.Join(b.State.Owed, ", "), env)
	case d.Status == stella.Partial, d.Status == stella.Aborted:
		return fmt.Sprintf("run 'stella reconcile %s' to finish it, or 'stella rollback %[1]s'", env)
	case d.Status == stella.Errored:
		return fmt.Sprintf("mend what the error says, then run 'stella reconcile %s'", env)
	case len(b.State.Holds) > 0:
		return fmt.Sprintf("deploy a fix; what is held comes back with 'stella orch holds release %s --hold ID --reason …'", env)
	}
	return fmt.Sprintf("run 'stella rollback status %s' to see whether all still agree", env)
}
