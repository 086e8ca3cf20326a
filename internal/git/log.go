package git

import (
	"bytes"
	"context"
	"encoding/hex"
	"errors"
	"fmt"

	"github.com/stella-ops/stella"
	"github.com/stella-ops/stella/internal/git/odb"
)

// Log returns the commits that changed what is at path, following first parents
// from a commit, newest first, at most most of them. An empty path is changed by
// every commit that is not empty. History that is not here is fetched. Errors
// are those of Commit; what was found before an error is returned with it.
func (r *Repo) Log(ctx context.Context, from ID, path string, most int) ([]Commit, error) {
	parts, err := splitPath(path)
	if err != nil {
		return nil, err
	}
	found, err := r.log(ctx, from, parts, most)
	if err != nil {
		return found, fmt.Errorf("read the history of %s: %w", shownPath(path), err)
	}
	return found, nil
}

func (r *Repo) log(ctx context.Context, from ID, parts []string, most int) (found []Commit, err error) {
	h := &historian{r: r, depth: firstDepth}
	c, err := r.Commit(ctx, from)
	if err != nil {
		return nil, err
	}
	at, err := r.at(ctx, c.Tree, parts)
	for err == nil && len(found) < most {
		if len(c.Parents) == 0 {
			if at != "" {
				found = append(found, c)
			}
			return found, nil
		}
		var parent Commit
		if parent, err = h.parent(ctx, c); err != nil {
			break
		}
		var before ID
		if before, err = r.at(ctx, parent.Tree, parts); err != nil {
			break
		}
		if before != at {
			found = append(found, c)
		}
		c, at = parent, before
	}
	return found, err
}

// cutsBelow returns those of the cuts at which the history of a commit ends.
func (r *Repo) cutsBelow(ctx context.Context, id ID, cuts []odb.Hash) (below []odb.Hash) {
	if len(cuts) == 0 {
		return nil
	}
	cut := make(map[ID]bool, len(cuts))
	for _, h := range cuts {
		cut[idOf(h)] = true
	}
	seen, todo := map[ID]bool{id: true}, []ID{id}
	for len(todo) > 0 && ctx.Err() == nil {
		next := todo[len(todo)-1]
		todo = todo[:len(todo)-1]
		if cut[next] {
			below = append(below, next.hash())
		}
		c, err := r.local(next)
		if err != nil {
			continue
		}
		for _, p := range c.Parents {
			if !seen[p] {
				seen[p] = true
				todo = append(todo, p)
			}
		}
	}
	return below
}

// historian walks back, fetching history where it is cut.
type historian struct {
	r     *Repo
	depth int
}

// parent returns the first parent of a commit.
func (h *historian) parent(ctx context.Context, c Commit) (Commit, error) {
	for {
		p, err := h.r.local(c.Parents[0])
		if !errors.Is(err, odb.ErrMissing) {
			if errors.Is(err, odb.ErrDamaged) {
				return h.r.Commit(ctx, c.Parents[0])
			}
			return p, err
		}
		if h.depth == pastEverything {
			// The remote itself has no more, or no branch leads here any longer.
			return h.r.Commit(ctx, c.Parents[0])
		}
		if err := h.r.deepen(ctx, c.ID, h.depth); err != nil {
			return Commit{}, err
		}
		h.depth = deeper(h.depth)
	}
}

// at returns the id of what is at a path; empty when nothing is. It does not
// parse whole directories: the history of a path below one with thousands of
// entries reads each version of it.
func (r *Repo) at(ctx context.Context, tree ID, parts []string) (ID, error) {
	id := tree
	for i, name := range parts {
		kind, data, err := r.object(ctx, id, maxTreeBytes, reached)
		if err != nil {
			return "", err
		}
		if kind != odb.Tree {
			return "", fmt.Errorf("%w: it is a %s where a directory should be", stella.ErrInvalid, kind)
		}
		mode, found, ok := scanTree(data, name)
		switch {
		case !ok:
			return "", nil
		case i < len(parts)-1 && mode != "40000":
			return "", nil
		}
		id = found
	}
	return id, nil
}

// scanTree finds one entry in the raw bytes of a tree.
func scanTree(data []byte, name string) (mode string, id ID, ok bool) {
	const idBytes = 20
	for len(data) > 0 {
		nul := bytes.IndexByte(data, 0)
		if nul < 0 || len(data) < nul+1+idBytes {
			return "", "", false
		}
		sp := bytes.IndexByte(data[:nul], ' ')
		if sp >= 0 && string(data[sp+1:nul]) == name {
			return string(data[:sp]), ID(hex.EncodeToString(data[nul+1 : nul+1+idBytes])), true
		}
		data = data[nul+1+idBytes:]
	}
	return "", "", false
}
