package reconciler

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"io"
	"time"

	"github.com/stella-ops/stella"
	"github.com/stella-ops/stella/configrepo"
)

// Heads is what the branch asks for, told by ids alone: nothing of an
// environment is read. Environments whose key is the same as before ask for the
// same.
type Heads struct {
	Commit string
	At     time.Time
	Keys   map[stella.EnvName]string
}

// Heads looks at the remote. A poll that finds nothing changed costs one list of
// refs. The keys must not be changed.
func (e *Engine) Heads(ctx context.Context) (Heads, error) {
	h, err := e.fetch(ctx)
	if err != nil {
		return Heads{}, err
	}
	e.headsMu.Lock()
	defer e.headsMu.Unlock()
	if e.heads.Commit == string(h.commit) {
		e.heads.At = h.at
		return e.heads, nil
	}
	if e.heads, err = keys(ctx, h); err != nil {
		e.heads = Heads{}
	}
	return e.heads, err
}

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
// directory: stella.yaml and whatever may be a shared directory.
func surroundings(ctx context.Context, h *head) (string, error) {
	entries, err := h.tree.Entries(ctx, "")
	if err != nil {
		return "", err
	}
	sum := sha256.New()
	for _, entry := range entries {
		if entry.Name == "envs" || entry.Name == "baselines" || h.project.Root != "" && entry.Name == firstPart(h.project.Root) {
			continue
		}
		_, _ = io.WriteString(sum, entry.Name+"\x00"+entry.ID+"\x00") // a hash never fails
	}
	return hex.EncodeToString(sum.Sum(nil)), nil
}

func firstPart(path string) string {
	for i := range len(path) {
		if path[i] == '/' {
			return path[:i]
		}
	}
	return path
}
