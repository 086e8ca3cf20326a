package reconciler

import (
	"bytes"
	"context"
	"crypto/sha256"
	"encoding/hex"
	"io"
	"strings"
	"time"

	"github.com/stella-ops/stella"
	"github.com/stella-ops/stella/configrepo"
)

// Heads is what the branch asks for, and how far the ledgers are, told by ids
// alone. An environment whose key is the same as before needs no pass.
type Heads struct {
	Commit string
	At     time.Time
	Keys   map[stella.EnvName]string

	ends map[stella.EnvName][]time.Time // when the overrides of releases end
}

// Heads looks at the remote. A poll that finds nothing changed costs one list of
// refs.
func (e *Engine) Heads(ctx context.Context) (Heads, error) {
	h, err := e.fetch(ctx)
	if err != nil {
		return Heads{}, err
	}
	e.headsMu.Lock()
	defer e.headsMu.Unlock()
	if e.heads.Commit != string(h.commit) {
		if e.heads, err = keys(ctx, h); err != nil {
			e.heads = Heads{}
			return Heads{}, err
		}
	}
	out := Heads{Commit: e.heads.Commit, At: h.at, Keys: make(map[stella.EnvName]string, len(e.heads.Keys))}
	for name, key := range e.heads.Keys {
		// What somebody else did to an environment is worth a look too.
		out.Keys[name] = key + string(h.refs[ledgerRef(h.project.LedgerRef, name)])
		// So is an override that ended: nothing in Git tells of it.
		for _, end := range e.heads.ends[name] {
			if !e.cfg.Now().Before(end) {
				out.Keys[name] += "+" + end.Format(time.RFC3339)
			}
		}
	}
	return out, nil
}

// keys identifies what a commit asks of every environment.
func keys(ctx context.Context, h *head) (Heads, error) {
	refs, err := configrepo.Environments(ctx, h.tree, h.project)
	if err != nil {
		return Heads{}, err
	}
	around, err := surroundings(ctx, h)
	if err != nil {
		return Heads{}, err
	}
	out := Heads{Commit: string(h.commit), At: h.at, Keys: make(map[stella.EnvName]string, len(refs)), ends: map[stella.EnvName][]time.Time{}}
	for _, r := range refs {
		out.Keys[r.Name] = r.Tree + around
		if ends := overrideEnds(ctx, h, r.Name); len(ends) > 0 {
			out.ends[r.Name] = ends
		}
	}
	return out, nil
}

// overrideEnds are the times at which overrides of a release end. A release that
// can not be read has none: the pass that its commit leads to says what is wrong.
func overrideEnds(ctx context.Context, h *head, env stella.EnvName) []time.Time {
	text, err := h.tree.Read(ctx, configrepo.ReleasePath(h.project, env), configrepo.MaxFileBytes)
	if err != nil || !bytes.Contains(text, []byte("overrides")) {
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
