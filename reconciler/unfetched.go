package reconciler

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/stella-ops/stella"
)

// Unfetched says that the config repository did not answer, and that what is
// told of it and of its ledgers is what this machine saw last.
type Unfetched struct {
	Since time.Time // when something new was last seen
	Err   error
}

func (Unfetched) event() {}

// A command that only reads answers with the Git host down as well: what was
// seen last, and what the targets say now. What changes anything never does.

// glimpse is look for who only reads.
func (e *Engine) glimpse(ctx context.Context, env stella.EnvName) (*scene, error) {
	if _, err := stella.ParseName(string(env)); err != nil {
		return nil, err
	}
	h, err := e.fetchOrSeen(ctx, env)
	if err != nil {
		return nil, err
	}
	return e.sceneAt(ctx, h, env)
}

// fetchOrSeen is fetch for who only reads.
func (e *Engine) fetchOrSeen(ctx context.Context, envs ...stella.EnvName) (*head, error) {
	h, err := e.fetch(ctx, envs...)
	if !unanswered(err) {
		return h, err
	}
	seen, seenErr := e.seen(ctx)
	if seenErr != nil {
		return nil, err // nothing was ever seen here, or it can not be read any more
	}
	seen.unfetched = err
	e.events.notify(Unfetched{Since: seen.at, Err: err})
	return seen, nil
}

// unanswered reports whether the config repository could not be asked, for
// whatever reason: not that it was, and said something that must not be passed
// over.
func unanswered(err error) bool {
	return errors.Is(err, errFetch) && !errors.Is(err, stella.ErrTampered) && !errors.Is(err, context.Canceled)
}

// seen is the head as it was last seen, without the network.
func (e *Engine) seen(ctx context.Context) (*head, error) {
	refs, err := e.cfg.Repo.Seen(ctx)
	if err != nil {
		return nil, err
	}
	h, err := e.readHead(ctx, refs, refs.Default)
	if err == nil && h.project.Branch != "" && "refs/heads/"+h.project.Branch != h.ref {
		h, err = e.readHead(ctx, refs, "refs/heads/"+h.project.Branch)
	}
	return h, err
}

// asOf takes back what a status says for now where the config repository was not
// asked: it holds as of when something was seen last.
func (h *head) asOf(st *EnvironmentStatus) {
	if h.unfetched == nil {
		return
	}
	was := string(st.Sync)
	if st.Reason != "" {
		was += ": " + st.Reason
	}
	st.Sync, st.Reason = stella.SyncUnknown, fmt.Sprintf("%s; at %s it was %s",
		firstLine(h.unfetched.Error()), h.at.UTC().Format(time.RFC3339), was)
	st.WaitingFor = "the config repository"
}
