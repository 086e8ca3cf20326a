package ledger

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"sync"

	"github.com/stella-ops/stella"
	"github.com/stella-ops/stella/internal/git"
	"github.com/stella-ops/stella/internal/safe"
)

// DefaultPrefix is below which refs ledgers are kept, one for each environment.
// Hosts that hide or refuse it are given another one.
const DefaultPrefix = "refs/stella/ledger"

// gitStore keeps each environment's chain as commits under one ref of a remote
// repository.
type gitStore struct {
	repo   *git.Repo
	prefix string

	mu   sync.Mutex // guards tips
	tips map[stella.EnvName]*tip
}

// NewGitStore returns a store in the remote of repo, with one ref for each
// environment below prefix ("" means DefaultPrefix).
func NewGitStore(repo *git.Repo, prefix string) Store {
	prefix = strings.TrimRight(or(prefix, DefaultPrefix), "/")
	return &gitStore{repo: repo, prefix: prefix, tips: map[stella.EnvName]*tip{}}
}

func (s *gitStore) ref(env stella.EnvName) string { return s.prefix + "/" + git.RefSafe(string(env)) }

// Refresh implements Store.
func (s *gitStore) Refresh(ctx context.Context, env stella.EnvName) error {
	_, err := s.repo.Fetch(ctx, git.Want{Names: []string{s.ref(env)}})
	return rewoundHint(env, err)
}

func rewoundHint(env stella.EnvName, err error) error {
	var rewound *git.RewoundError
	if !errors.As(err, &rewound) {
		return err
	}
	return stella.WithHint(err, fmt.Sprintf("run 'stella orch db verify %s', then 'stella orch repair --accept-head --reason …'", env))
}

// Load implements Store.
func (s *gitStore) Load(ctx context.Context, env stella.EnvName) (Head, Book, error) {
	refs, err := s.repo.Seen(ctx)
	if err != nil {
		return "", Book{}, err
	}
	id := refs.IDs[s.ref(env)]
	if id.IsZero() {
		return "", NewBook(env), nil
	}
	t, err := s.load(ctx, env, id)
	if err != nil {
		return Head(id), Book{}, err
	}
	return t.head(), t.book, nil
}

func (s *gitStore) cached(env stella.EnvName) *tip {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.tips[env]
}

func (s *gitStore) remember(env stella.EnvName, t *tip) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.tips[env] = t
}

// maxReplay bounds how many new transitions a Load checks by replay. A reader
// that was away for longer trusts what is older, as on first contact; db verify
// does not.
const maxReplay = 64

// load reads a head and replays the transitions that are new since the last
// one read here. On first contact there is nothing to compare with but the
// head's parent, and in a shallow clone not even that.
func (s *gitStore) load(ctx context.Context, env stella.EnvName, id git.ID) (*tip, error) {
	trusted := s.cached(env)
	if trusted != nil && trusted.commit.ID == id {
		return trusted, nil
	}
	fresh, trusted, err := s.since(ctx, env, id, trusted)
	if err != nil {
		return nil, err
	}
	t := trusted
	for _, c := range fresh {
		next, proved, err := s.advance(ctx, env, c, t)
		if err == nil && !proved {
			err = errors.Join(next.book.Check(), follows(t, next))
		}
		if err != nil {
			return nil, fmt.Errorf("%s: %w", at(c.ID, next.transitions()), err)
		}
		t = next
	}
	s.remember(env, t)
	return t, nil
}

// since lists the commits after the trusted one up to id, oldest first. Where
// the trusted one is not found soon, the oldest commit of the list is taken
// for it.
func (s *gitStore) since(ctx context.Context, env stella.EnvName, id git.ID, trusted *tip) ([]git.Commit, *tip, error) {
	most := maxReplay
	if trusted == nil {
		most = 2
	}
	var fresh []git.Commit
	for !id.IsZero() && len(fresh) < most {
		if trusted != nil && id == trusted.commit.ID {
			slices.Reverse(fresh)
			return fresh, trusted, nil
		}
		c, err := s.repo.Commit(ctx, id)
		if err != nil && len(fresh) > 0 {
			break // the edge of a shallow clone
		}
		if err != nil {
			return nil, nil, fmt.Errorf("%s: %w", at(id, 0), err)
		}
		fresh = append(fresh, c)
		id = firstParent(c)
	}
	slices.Reverse(fresh)
	if len(fresh[0].Parents) == 0 {
		return fresh, &tip{book: NewBook(env)}, nil
	}
	if len(fresh) == 1 {
		return fresh, nil, nil
	}
	base, err := s.read(ctx, env, fresh[0], nil)
	if err != nil {
		// It may be the parent that is broken and the head that mends it.
		return fresh[len(fresh)-1:], nil, nil //nolint:nilerr // db verify tells
	}
	return fresh[1:], base, nil
}

func firstParent(c git.Commit) git.ID {
	if len(c.Parents) == 0 {
		return ""
	}
	return c.Parents[0]
}

// at names a place in a chain.
func at(id git.ID, transitions int64) string {
	if transitions == 0 {
		return "commit " + id.Short()
	}
	return fmt.Sprintf("transition %d, commit %s", transitions, id.Short())
}

func short(h Head) git.ID { return git.ID(h) }

// Environments implements Store.
func (s *gitStore) Environments(ctx context.Context) ([]stella.EnvName, error) {
	refs, err := s.repo.List(ctx)
	if err != nil {
		return nil, fmt.Errorf("list ledgers: %w", err)
	}
	envs := []stella.EnvName{}
	for ref := range refs.IDs {
		encoded, ok := strings.CutPrefix(ref, s.prefix+"/")
		name, valid := git.RefUnsafe(encoded)
		if !ok || !valid {
			continue
		}
		if _, err := stella.ParseName(name); err == nil {
			envs = append(envs, stella.EnvName(name))
		}
	}
	slices.Sort(envs)
	return envs, nil
}

// Save implements Store.
func (s *gitStore) Save(ctx context.Context, env stella.EnvName, old Head, e Entry) (Head, error) {
	prev, err := s.before(ctx, env, old)
	if err != nil {
		return "", err
	}
	if e.Book.State.Environment != env {
		return "", refuse(stella.ErrInvalid, "the book of %q in the ledger of %s", safe.Clip(string(e.Book.State.Environment), 80), env)
	}
	w, err := s.stage(ctx, prev, e)
	if err != nil {
		return "", err
	}
	id, err := s.push(ctx, env, w)
	var rejected *git.RejectedError
	if errors.As(err, &rejected) && len(w.grafts) > 0 {
		// The remote may lack an app tree that the cache has. What is kept for
		// comfort must not keep an outcome from being recorded.
		w.dropGrafts()
		id, err = s.push(ctx, env, w)
	}
	if err != nil {
		return "", err
	}
	return Head(id), nil
}

func (s *gitStore) before(ctx context.Context, env stella.EnvName, old Head) (*tip, error) {
	if old == "" {
		return &tip{book: NewBook(env)}, nil
	}
	id, err := git.ParseID(string(old))
	if err != nil {
		return nil, err
	}
	return s.load(ctx, env, id)
}

func (s *gitStore) push(ctx context.Context, env stella.EnvName, w *stage) (git.ID, error) {
	built, err := s.repo.Build(ctx, w.draft(s.repo.Identity(ctx)))
	if err != nil {
		return "", fmt.Errorf("build the commit: %w", err)
	}
	err = s.repo.Push(ctx, []git.Update{{Ref: s.ref(env), Old: w.prev.commit.ID, New: built.Commit}}, built)
	if err != nil {
		return "", err
	}
	s.remember(env, w.tip(built))
	return built.Commit, nil
}
