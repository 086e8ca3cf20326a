package reconciler

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"time"

	"github.com/stella-ops/stella"
	"github.com/stella-ops/stella/configrepo"
	"github.com/stella-ops/stella/drift"
	"github.com/stella-ops/stella/internal/git"
	"github.com/stella-ops/stella/ledger"
)

// DefaultLedgerRef is where the ledger is unless stella.yaml says otherwise.
const DefaultLedgerRef = "refs/stella/ledger"

// head is the config repository as it was fetched at one moment.
type head struct {
	ref     string // of the branch, its full name
	commit  git.ID
	tree    GitTree
	project *configrepo.Project
	at      time.Time
	refs    map[string]git.ID // all refs as they were listed with it
	// unfetched is why the remote could not be asked: the head is what was seen
	// last then. Nil where it was asked.
	unfetched error
	// glance keeps what targets and registries said, for a look at several ways
	// back at one moment; nil where each is asked anew.
	glance *glance
}

// errFetch is that the remote could not be asked, for whatever reason.
var errFetch = errors.New("fetch config repository")

// fetch looks at the remote: the reconciled branch and the ledgers that are
// named. One list and at most one fetch, unless stella.yaml sends it to
// another branch or ledger.
func (e *Engine) fetch(ctx context.Context, envs ...stella.EnvName) (*head, error) {
	names := []string{}
	for _, env := range envs {
		names = append(names, ledgerRef(DefaultLedgerRef, env))
	}
	refs, err := e.listed(ctx, git.Want{Names: names, Branch: true})
	if err != nil {
		return nil, err
	}
	h, err := e.readHead(ctx, refs, refs.Default)
	if err != nil {
		return nil, err
	}
	return e.followProject(ctx, h, envs)
}

// listed asks the remote once; that it could not be asked is errFetch.
func (e *Engine) listed(ctx context.Context, want git.Want) (git.Refs, error) {
	refs, err := e.cfg.Repo.Fetch(ctx, want)
	if err != nil {
		e.cutOff()
		return git.Refs{}, fmt.Errorf("%w: %w", errFetch, err)
	}
	return refs, nil
}

// followProject fetches again where stella.yaml names another branch or
// another place for the ledger than was fetched.
func (e *Engine) followProject(ctx context.Context, h *head, envs []stella.EnvName) (*head, error) {
	branch := h.ref
	if h.project.Branch != "" {
		branch = "refs/heads/" + h.project.Branch
	}
	if branch == h.ref && h.project.LedgerRef == DefaultLedgerRef {
		return h, nil
	}
	want := git.Want{Names: []string{branch}}
	for _, env := range envs {
		want.Names = append(want.Names, ledgerRef(h.project.LedgerRef, env))
	}
	refs, err := e.listed(ctx, want)
	if err != nil {
		return nil, err
	}
	if branch == h.ref {
		return h, nil
	}
	return e.readHead(ctx, refs, branch)
}

func (e *Engine) readHead(ctx context.Context, refs git.Refs, branch string) (*head, error) {
	commit, ok := refs.IDs[branch]
	if !ok || commit.IsZero() {
		return nil, stella.WithHint(
			fmt.Errorf("branch %q of the config repository: %w", branch, stella.ErrNotFound),
			"push a first commit to it, for instance what 'stella init' writes, or correct `branch` in stella.yaml")
	}
	h, err := e.headAt(ctx, commit)
	if err != nil {
		return nil, err
	}
	h.ref, h.at, h.refs = branch, refs.At, refs.IDs
	return h, nil
}

// headAt reads the project at a commit that is in the cache.
func (e *Engine) headAt(ctx context.Context, commit git.ID) (*head, error) {
	t, err := e.cfg.Repo.Tree(ctx, commit)
	if err != nil {
		return nil, fmt.Errorf("read commit %.12s: %w", commit, err)
	}
	project, err := configrepo.ReadProject(ctx, TreeOf(t))
	if err != nil {
		return nil, err
	}
	return &head{commit: commit, tree: TreeOf(t), project: project}, nil
}

func ledgerRef(prefix string, env stella.EnvName) string { return prefix + "/" + string(env) }

// source is one environment as one commit wants it.
type source struct {
	*head

	name    stella.EnvName
	app     git.ID // tree id of envs/NAME/app; empty where that is gone
	env     *configrepo.Environment
	release *configrepo.ReleaseFile // as written
	ended   []configrepo.Override   // of the release's: those that were over when it was read
	ends    time.Time               // when the next of the others ends; zero for never
	desired *configrepo.Desired
	shared  map[string]string // shared directory → tree id
	// alone are places that a heal leaves as they are: what differs there does not
	// count for it.
	alone []drift.Place
	// invalid says why it can not be deployed; nil when it can.
	invalid error
}

// read reads and renders an environment at h. The source is returned even when
// its files are invalid, as far as they could be read.
func (e *Engine) read(ctx context.Context, h *head, env stella.EnvName) (*source, error) {
	key := readingKey{h.tree.id(), env}
	if s := e.readings.of(key, h, e.cfg.Now()); s != nil {
		return s, nil
	}
	s, err := e.readFiles(ctx, h, env)
	if s != nil {
		s.invalid = err
	}
	if err == nil {
		e.readings.remember(key, s)
	}
	return s, err
}

func (e *Engine) readFiles(ctx context.Context, h *head, env stella.EnvName) (*source, error) {
	s := &source{head: h, name: env}
	entry, err := h.tree.Lookup(ctx, configrepo.AppPath(h.project, env))
	if errors.Is(err, stella.ErrNotFound) {
		return nil, stella.WithHint(fmt.Errorf("environment %s at commit %.12s: %w", env, h.commit, stella.ErrNotFound), "run 'stella orch env list'")
	}
	if err != nil {
		return nil, err
	}
	s.app = git.ID(entry.ID)
	if s.env, err = configrepo.ReadEnvironment(ctx, h.tree, h.project, env); err != nil {
		s.release, _ = configrepo.ReadRelease(ctx, h.tree, h.project, env) // which one that is can be told all the same
		return s, err
	}
	if s.release, err = configrepo.ReadRelease(ctx, h.tree, h.project, env); err != nil {
		return s, err
	}
	if err := s.release.Pinned(); err != nil {
		return s, stella.WithHint(err, "run 'stella validate --fix' in a clone and commit what it changes")
	}
	if s.shared, err = sharedTrees(ctx, h, s.env.Shared); err != nil {
		return s, err
	}
	now := e.cfg.Now()
	for _, o := range s.release.Overrides {
		switch {
		case o.Ended(now):
			s.ended = append(s.ended, o)
		case !o.Until.IsZero() && (s.ends.IsZero() || o.Until.Before(s.ends)):
			s.ends = o.Until
		}
	}
	s.desired, err = configrepo.Render(ctx, h.tree, h.project, s.env, s.release.At(now))
	return s, err
}

// ignores are the rules that hold on a target: those of the environment's file,
// and for what is left alone there one each.
func (s *source) ignores(target string) []drift.Ignore {
	rules := s.env.Drift.Ignore
	for _, at := range s.alone {
		if at.Target == target {
			rules = append(slices.Clip(rules), drift.Ignore{Resource: escapePattern(string(at.Resource)), Reason: "it flaps"})
		}
	}
	return rules
}

// imagesOn are the components that a target is to run, with the overrides that
// are in effect there.
func (s *source) imagesOn(target string) map[string]stella.Artifact {
	out := map[string]stella.Artifact{}
	if s.desired == nil || s.release == nil {
		return out
	}
	state, _ := s.desired.Target(target)
	for name := range s.release.Release.Components {
		if r, ok := state.Resource(stella.ResourceID("service/" + name)); ok {
			text, _ := r.Fields["image"].(string)
			if a, err := stella.ParseArtifact(text); err == nil {
				out[name] = a
			}
		}
	}
	return out
}

func sharedTrees(ctx context.Context, h *head, dirs []string) (map[string]string, error) {
	out := make(map[string]string, len(dirs))
	for _, dir := range dirs {
		entry, err := h.tree.Lookup(ctx, dir)
		if err != nil {
			return nil, fmt.Errorf("shared directory %s: %w", dir, err)
		}
		out[dir] = entry.ID
	}
	return out, nil
}

// appPath is the directory of the environment's app.
func appPath(s *source) string { return configrepo.AppPath(s.project, s.name) }

// unchanged refuses a head on which something is no longer what a change was
// planned against.
func unchanged(what string, now, planned git.ID, onto *source) error {
	if now == planned {
		return nil
	}
	err := fmt.Errorf("%s changed meanwhile: commit %.12s: %w", what, onto.commit, stella.ErrConflict)
	return stella.WithHint(err, fmt.Sprintf("run 'stella orch env status %s', then decide again", onto.name))
}

// scene is all that a decision about one environment starts from.
type scene struct {
	*source // what is wanted: what the branch asks for, or what the pin keeps

	// branch is what the branch asks for. It is the source itself, but for a pin;
	// changes are made on top of it.
	branch *source
	ledger *ledger.Ledger
	book   ledger.Book
	// otherSecrets are the ids of deployments that brought what is wanted now but
	// for its secrets, which were changed since.
	otherSecrets []string
}

// asBranch is the scene without its pin: what the branch asks for is wanted.
func (sc *scene) asBranch() *scene {
	return sc.wanting(sc.branch)
}

// wanting is the scene in which something else is what is wanted.
func (sc *scene) wanting(src *source) *scene {
	return &scene{source: src, branch: sc.branch, ledger: sc.ledger, book: sc.book, otherSecrets: sc.otherSecrets}
}

// look fetches and reads one environment and its ledger. Invalid files are not
// an error of look: the ledger and what runs can be told all the same.
func (e *Engine) look(ctx context.Context, env stella.EnvName) (*scene, error) {
	if _, err := stella.ParseName(string(env)); err != nil {
		return nil, err
	}
	h, err := e.fetch(ctx, env)
	if err != nil {
		return nil, err
	}
	return e.sceneAt(ctx, h, env)
}

// sceneAt is the scene at a head: as its commit asks for, or as the pin keeps it.
func (e *Engine) sceneAt(ctx context.Context, h *head, env stella.EnvName) (*scene, error) {
	sc, err := e.askedAt(ctx, h, env)
	if err != nil {
		return nil, err
	}
	if err := e.keepPinned(ctx, sc); err != nil {
		return sc, err
	}
	return sc, e.compareSecrets(ctx, sc)
}

// askedAt is the scene as a commit asks for, whatever the pin.
func (e *Engine) askedAt(ctx context.Context, h *head, env stella.EnvName) (*scene, error) {
	sc := &scene{ledger: e.ledger(h)}
	src, lost := e.read(ctx, h, env)
	if src == nil && !errors.Is(lost, stella.ErrNotFound) {
		return nil, lost
	}
	var err error
	if sc.book, err = sc.ledger.Read(ctx, env); err != nil {
		return nil, err
	}
	if src == nil {
		if sc.book.State.Sequence == 0 {
			return nil, lost // nobody knows of such an environment
		}
		if src, err = e.remains(ctx, h, env, lost); err != nil {
			return nil, err
		}
	}
	sc.source, sc.branch = src, src
	return sc, nil
}

// remains is what a commit still has of an environment whose app is gone: it
// can not be deployed, but it can be gone back from.
func (e *Engine) remains(ctx context.Context, h *head, env stella.EnvName, lost error) (*source, error) {
	s := &source{head: h, name: env, invalid: lost}
	var err error
	if s.env, err = configrepo.ReadEnvironment(ctx, h.tree, h.project, env); err == nil {
		s.shared, err = sharedTrees(ctx, h, s.env.Shared)
	}
	if err != nil && !isInvalid(err) && !errors.Is(err, stella.ErrNotFound) {
		return nil, err
	}
	return s, nil
}
