package reconciler

import (
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
	out := Heads{Commit: string(h.commit), At: h.at, Keys: make(map[stella.EnvName]string, len(refs))}
	for _, r := range refs {
		out.Keys[r.Name] = r.Tree + around
	}
	return out, nil
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
