package reconciler

import (
	"bytes"
	"context"
	"crypto/sha256"
	"encoding/hex"
	"io"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/stella-ops/stella"
	"github.com/stella-ops/stella/configrepo"
	"github.com/stella-ops/stella/internal/git"
)

// Heads is what the branch asks for, and how far the ledgers are, told by ids
// alone. An environment whose key is the same as before needs no pass.
type Heads struct {
	Commit string
	At     time.Time
	Keys   map[stella.EnvName]string
}

// standing is what the engine remembers of the head that it read last, so that a
// poll that finds the same one reads nothing, and one that finds another reads
// what changed.
type standing struct {
	mu     sync.Mutex // guards what follows
	commit string
	at     time.Time         // when the remote was asked
	refs   map[string]git.ID // what it listed
	around string            // what environments may depend on outside their directories
	asked  map[stella.EnvName]asked
}

// asked is what an environment's files say that concerns those who wait.
type asked struct {
	tree   string                 // of the environment's directory: what was read
	ends   []time.Time            // when the overrides of its release end
	policy configrepo.DriftPolicy // how its drift is looked for
	after  time.Duration          // of health after which it gets a baseline by itself; 0: never
}

// Heads looks at the remote. A poll that finds nothing changed costs one list of
// refs.
func (e *Engine) Heads(ctx context.Context) (Heads, error) {
	h, err := e.fetch(ctx)
	if err != nil {
		return Heads{}, err
	}
	e.standing.mu.Lock()
	defer e.standing.mu.Unlock()
	if err := e.standing.follow(ctx, h); err != nil {
		return Heads{}, err
	}
	now := e.cfg.Now()
	out := Heads{Commit: string(h.commit), At: h.at, Keys: make(map[stella.EnvName]string, len(e.standing.asked))}
	for name, asked := range e.standing.asked {
		// What somebody else did to an environment is worth a look too.
		out.Keys[name] = asked.tree + e.standing.around + string(h.refs[ledgerRef(h.project.LedgerRef, name)])
		// So is an override that ended: nothing in Git tells of it.
		for _, end := range asked.ends {
			if !now.Before(end) {
				out.Keys[name] += "+" + end.Format(time.RFC3339)
			}
		}
	}
	return out, nil
}

// DriftPolicies says how drift is looked for in each environment, as the branch
// had it when [Engine.Heads] last looked. An environment.yaml that can not be
// read asks for nothing special: drift is reported, on no schedule.
func (e *Engine) DriftPolicies(ctx context.Context) (map[stella.EnvName]configrepo.DriftPolicy, error) {
	e.standing.mu.Lock()
	unread := e.standing.commit == ""
	e.standing.mu.Unlock()
	if unread {
		if _, err := e.Heads(ctx); err != nil {
			return nil, err
		}
	}
	e.standing.mu.Lock()
	defer e.standing.mu.Unlock()
	out := make(map[stella.EnvName]configrepo.DriftPolicy, len(e.standing.asked))
	for name, asked := range e.standing.asked {
		out[name] = asked.policy
	}
	return out, nil
}

// lately is how old a poll may be for a look at drift to go by it: what it finds
// is recorded, and brought back, only where nothing moved meanwhile.
const lately = 2 * time.Minute

// lookLately is glimpse for who comes often. Where a poll found, not long ago,
// that this machine has all there is of an environment, the remote is not asked
// again.
func (e *Engine) lookLately(ctx context.Context, env stella.EnvName) (*scene, error) {
	e.standing.mu.Lock()
	commit, listed, at := e.standing.commit, e.standing.refs, e.standing.at
	e.standing.mu.Unlock()
	if commit == "" || time.Since(at) > lately {
		return e.glimpse(ctx, env)
	}
	h, err := e.seen(ctx)
	if err != nil || string(h.commit) != commit {
		return e.glimpse(ctx, env)
	}
	if ref := ledgerRef(h.project.LedgerRef, env); h.refs[ref] == "" || h.refs[ref] != listed[ref] {
		return e.glimpse(ctx, env)
	}
	return e.sceneAt(ctx, h, env)
}

// follow reads what changed between the head that was read last and this one.
// The caller has s.mu.
func (s *standing) follow(ctx context.Context, h *head) error {
	s.at, s.refs = time.Now(), h.refs
	if s.commit == string(h.commit) {
		return nil
	}
	refs, err := configrepo.Environments(ctx, h.tree, h.project)
	if err != nil {
		return err
	}
	around, err := surroundings(ctx, h)
	if err != nil {
		return err
	}
	next := make(map[stella.EnvName]asked, len(refs))
	for _, r := range refs {
		a, known := s.asked[r.Name]
		if !known || a.tree != r.Tree || s.around != around {
			a = asked{tree: r.Tree, ends: overrideEnds(ctx, h, r.Name)}
			a.policy, a.after = operation(ctx, h, r.Name)
		}
		next[r.Name] = a
	}
	s.commit, s.around, s.asked = string(h.commit), around, next
	return nil
}

// operation is how an environment's drift is looked for, and after how much
// health it gets a baseline: what is left out, as in most files, is not worth
// reading a whole file for.
func operation(ctx context.Context, h *head, env stella.EnvName) (configrepo.DriftPolicy, time.Duration) {
	unsaid := configrepo.DriftPolicy{Mode: configrepo.DriftReport}
	if !mentions(ctx, h, configrepo.EnvironmentPath(h.project, env), "drift", "baseline") {
		return unsaid, 0
	}
	read, err := configrepo.ReadEnvironment(ctx, h.tree, h.project, env)
	if err != nil {
		return unsaid, 0 // the pass that its commit leads to says what is wrong
	}
	return read.Drift, read.BaselineAfter
}

// mentions reports whether a file can be read and has one of the words somewhere.
func mentions(ctx context.Context, h *head, path string, words ...string) bool {
	text, err := h.tree.Read(ctx, path, configrepo.MaxFileBytes)
	return err == nil && slices.ContainsFunc(words, func(word string) bool { return bytes.Contains(text, []byte(word)) })
}

// overrideEnds are the times at which overrides of a release end. A release that
// can not be read has none: the pass that its commit leads to says what is wrong.
func overrideEnds(ctx context.Context, h *head, env stella.EnvName) []time.Time {
	if !mentions(ctx, h, configrepo.ReleasePath(h.project, env), "overrides") {
		return nil
	}
	release, err := configrepo.ReadRelease(ctx, h.tree, h.project, env)
	if err != nil {
		return nil
	}
	var ends []time.Time
	for _, o := range release.Overrides {
		if !o.Until.IsZero() {
			ends = append(ends, o.Until)
		}
	}
	return ends
}

// surroundings identifies all that an environment may depend on outside its own
// directory: stella.yaml and whatever may be a shared directory. From the top
// down to the project's root it takes in everything but the way there, and at
// the root all but the environments and baselines themselves.
func surroundings(ctx context.Context, h *head) (string, error) {
	sum := sha256.New()
	dir, rest := "", h.project.Root
	for {
		next, after, _ := strings.Cut(rest, "/")
		entries, err := h.tree.Entries(ctx, dir)
		if err != nil {
			return "", err
		}
		for _, entry := range entries {
			if entry.Name == next && next != "" || next == "" && (entry.Name == "envs" || entry.Name == "baselines") {
				continue
			}
			_, _ = io.WriteString(sum, dir+"/"+entry.Name+"\x00"+entry.ID+"\x00") // a hash never fails
		}
		if next == "" {
			return hex.EncodeToString(sum.Sum(nil)), nil
		}
		dir, rest = strings.TrimPrefix(dir+"/"+next, "/"), after
	}
}
