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
	if _, ok := errors.AsType[*git.RewoundError](err); !ok {
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

func (s *gitStore) remember(env stella.EnvName, t *tip) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.tips[env] = t
}

// prove remembers for other processes that the chain is right up to a tip. If
// that fails, they replay more than they need to.
func (s *gitStore) prove(ctx context.Context, env stella.EnvName, t *tip) {
	_ = s.repo.Prove(context.WithoutCancel(ctx), s.ref(env), t.commit.ID)
}

// known returns the newest tip that was read here, and the newest head that was
// proved on this machine; either may be missing. A head that was only seen is no
// base to go on from: this process or another may have found it forged.
func (s *gitStore) known(env stella.EnvName) (*tip, git.ID) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if t := s.tips[env]; t != nil {
		return t, t.commit.ID
	}
	return nil, s.repo.Proved(s.ref(env))
}

// maxReplay bounds how many new transitions a Load replays. A reader that was
// away for longer trusts the head, as on first contact; db verify does not.
const maxReplay = 4096

// load reads a head and replays the transitions that are new since the last
// one that was proved on this machine: all of them are here, since a fetch
// proves that the one descends from the other. On first contact there is nothing
// to compare with.
func (s *gitStore) load(ctx context.Context, env stella.EnvName, id git.ID) (*tip, error) {
	t, from := s.known(env)
	if t != nil && from == id {
		return t, nil
	}
	head, err := s.repo.Commit(ctx, id)
	if err != nil {
		return nil, fmt.Errorf("%s: %w", at(id, 0), err)
	}
	if t == nil && from != id {
		t = s.readSeen(ctx, env, from)
	}
	fresh := s.since(ctx, head, t)
	switch {
	case fresh == nil && len(head.Parents) == 0:
		t, fresh = &tip{book: NewBook(env)}, []git.Commit{head}
	case fresh == nil:
		t, fresh = nil, []git.Commit{head}
	}
	for _, c := range fresh {
		if t, err = s.follow(ctx, env, c, t); err != nil {
			return nil, err
		}
	}
	s.remember(env, t)
	s.prove(ctx, env, t)
	return t, nil
}

// follow reads the commit after prev and checks that it follows; where prev is
// nil, nobody knows what it follows.
func (s *gitStore) follow(ctx context.Context, env stella.EnvName, c git.Commit, prev *tip) (*tip, error) {
	t, proved, err := s.advance(ctx, env, c, prev)
	if err == nil && !proved {
		err = errors.Join(t.book.Check(), follows(prev, t))
	}
	if err != nil {
		return nil, fmt.Errorf("%s: %w", at(c.ID, t.transitions()), err)
	}
	return t, nil
}

// readSeen reads a head that was seen before; nil where there is none or it can
// not be read: it may be the new head that mends it.
func (s *gitStore) readSeen(ctx context.Context, env stella.EnvName, id git.ID) *tip {
	if id.IsZero() {
		return nil
	}
	c, err := s.repo.Commit(ctx, id)
	if err != nil {
		return nil
	}
	t, err := s.read(ctx, env, c, nil)
	if err != nil || t.book.Check() != nil {
		return nil
	}
	return t
}

// since lists the commits after the base up to head, oldest first; nil where
// the base is not found among head's ancestors: after a rewind that a person
// accepted, or for a reader that was away for long. How many transitions head
// claims to have is not asked: whoever forges a commit on top of the base could
// make it pass for one that does not follow it.
func (s *gitStore) since(ctx context.Context, head git.Commit, base *tip) []git.Commit {
	if base == nil {
		return nil
	}
	var fresh []git.Commit
	for c := head; len(fresh) < maxReplay; {
		fresh = append(fresh, c)
		parent := firstParent(c)
		switch parent {
		case base.commit.ID:
			slices.Reverse(fresh)
			return fresh
		case "":
			return nil
		}
		var err error
		if c, err = s.repo.Commit(ctx, parent); err != nil {
			return nil // a cache that was made anew is cut off somewhere
		}
	}
	return nil
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
	w, err := newStage(prev, e)
	if err != nil {
		return "", err
	}
	id, err := s.push(ctx, env, w)
	_, rejected := errors.AsType[*git.RejectedError](err)
	if len(w.grafts) > 0 && (rejected || errors.Is(err, stella.ErrNotFound)) {
		// Cache or remote lack an app tree. What is kept for comfort must not keep
		// an outcome from being recorded.
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

// signKey is a boolean of git's configuration: false leaves transitions unsigned
// where commits are signed, for keys that want to be touched each time.
const signKey = "stella.signLedger"

func (s *gitStore) push(ctx context.Context, env stella.EnvName, w *stage) (git.ID, error) {
	built, err := s.repo.Build(ctx, w.draft(s.repo.Identity(ctx)))
	if err != nil {
		return "", fmt.Errorf("build the commit: %w", err)
	}
	if built, err = s.repo.SignUnless(ctx, signKey, built); err != nil {
		return "", err
	}
	err = s.repo.Push(ctx, []git.Update{{Ref: s.ref(env), Old: w.prev.commit.ID, New: built.Commit}}, built)
	if err != nil {
		return "", err
	}
	t := w.tip(built)
	s.remember(env, t)
	s.prove(ctx, env, t)
	return built.Commit, nil
}
